import { backoffMs } from "./core/due.ts";
import type { Slot } from "./core/record.ts";
import {
  blankReport,
  type ListReport,
  type Reason,
  stateOf,
  type TargetErrorKind,
} from "./core/report.ts";
import { nextRemoved } from "./core/verdict.ts";
import { hurried } from "./recall.ts";
import type { TargetError } from "./targets/target.ts";
import type { Place, Progress, Turn } from "./turn.ts";

/** What is remembered of a turn that read its target. */
export function finished(turn: Turn, progress: Progress): Slot {
  const { error, slot } = progress;
  const next = slotOf(turn, progress);
  if (error !== null) {
    return { ...next, report: failedReport(next.report, error), ...setback(turn, slot, error) };
  }
  const { reason } = next.report;
  // Known from what was read, without an error: it is no reason to ask more often.
  if (reason === "full" || reason === "shadowed") {
    return { ...next, ...setback(turn, slot, { kind: reason, retryAfterMs: null }) };
  }
  // Sent, answered well, and not there: reads may lag, but not for ever.
  const unseen = progress.sent && progress.verdict.plan.add.length > 0;
  return unseen
    ? { ...next, ...setback(turn, slot, { kind: "unavailable", retryAfterMs: null }) }
    : next;
}

/** What is remembered of a turn that could not read its target: all that was, and the failure. */
export function failed(turn: Place, slot: Slot | null, error: TargetError): Slot {
  const report = failedReport(reportBefore(turn, slot), error);
  return { ...unchanged(turn, slot, report), ...setback(turn, slot, error) };
}

/** No time was left for even one read: nothing is known that was not known before. */
export function unchecked(turn: Place, slot: Slot | null): Slot {
  return unchanged(turn, slot, hurried(reportBefore(turn, slot)));
}

function reportBefore(turn: Place, slot: Slot | null): ListReport {
  const report = slot?.report ?? blankReport(turn.list.name, turn.config.name);
  // A list that was renamed inherits what was remembered, not the name it was said under.
  return { ...report, list: turn.list.name };
}

function failedReport(report: ListReport, error: TargetError): ListReport {
  return { ...report, ...reasoned(error.kind, error.message) };
}

function reasoned(reason: Reason, message: string) {
  return { state: stateOf(reason), reason, message };
}

function setback(
  turn: Place,
  slot: Slot | null,
  error: { readonly kind: TargetErrorKind | "shadowed"; readonly retryAfterMs: number | null },
) {
  const failures = (slot?.failures ?? 0) + 1;
  const wait = backoffMs(error.kind, failures, error.retryAfterMs);
  return { failures, notBefore: turn.world.now() + wait };
}

function unchanged(turn: Place, slot: Slot | null, report: ListReport): Slot {
  const identity = identityOf(turn);
  if (slot !== null) return { ...slot, ...identity, desired: slot.desired, report };
  const nothing = { entries: {}, unwanted: {}, removed: {}, sizes: [] };
  const times = { failures: 0, notBefore: 0, checkedAt: 0, judgedAt: 0 };
  return { ...identity, desired: "", ...nothing, ...times, claimed: false, report };
}

function identityOf(turn: Place) {
  const config = { ...turn.config.settings, kind: turn.config.kind };
  return { list: turn.list.name, config, digest: turn.digest };
}

/** The slot as it stands now, as if the turn ended here and well. */
export function slotOf(turn: Turn, progress: Progress): Slot {
  const { verdict, slot, heard } = progress;
  const now = turn.world.now();
  // What was not carried out, or not judged by the newest voices, is still to be judged.
  const judged = turn.removes && verdict.go.length === 0;
  const nothingToRemove = turn.removes && verdict.plan.unwanted.length === 0;
  const accepted = (turn.accepted?.size ?? 0) > 0;
  return {
    ...identityOf(turn),
    desired: heard.desired,
    report: verdict.report,
    entries: verdict.entries,
    unwanted: verdict.unwanted,
    removed: nextRemoved(progress.removed, [], now),
    sizes: verdict.sizes,
    failures: 0,
    notBefore: 0,
    checkedAt: now,
    judgedAt: judged ? heard.at : (slot?.judgedAt ?? 0),
    claimed: (slot?.claimed ?? false) || nothingToRemove || accepted,
  };
}
