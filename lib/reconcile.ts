import assert from "node:assert/strict";
import type { Cidr } from "./core/cidr.ts";
import { familyOf } from "./core/cidr.ts";
import { backoffMs } from "./core/due.ts";
import type { List, Policy, TargetConfig } from "./core/list.ts";
import { markerText } from "./core/marker.ts";
import type { Membership } from "./core/members.ts";
import type { Observation, Revision } from "./core/observation.ts";
import { REMOVED_MEMORY_MS } from "./core/plan.ts";
import type { Clocks, Instant, Slot, Slots } from "./core/record.ts";
import {
  blankReport,
  type ListReport,
  type Reason,
  stateOf,
  type TargetErrorKind,
} from "./core/report.ts";
import { judge, nextRemoved, type Verdict } from "./core/verdict.ts";
import type { Lease } from "./stores/lease.ts";
import { StoreError } from "./stores/store.ts";
import { type Batch, type Target, TargetError } from "./targets/target.ts";
import { type World, withTimeout } from "./world.ts";

/** A removal is begun only with this much of the lease left. */
const LEASE_LEFT_MS = 10_000;
/** Conflicts met in a row before the target is left to the next run. */
const ROUNDS_MAX = 3;

/** One target's turn, under the lease of its object. */
export interface Turn {
  readonly world: World;
  readonly policy: Policy;
  readonly list: List;
  readonly config: TargetConfig;
  readonly target: Target;
  readonly heard: Heard;
  /** Re-reads the newest snapshots: whatever is removed was unwanted a moment before. */
  readonly refresh: () => Promise<Heard>;
  readonly digest: string;
  readonly deadline: Instant;
  /** Whether the process was asked to end, so that no further call may begin. */
  readonly isEnding: () => boolean;
  readonly removes: boolean;
  readonly accepted: ReadonlySet<string> | null;
  readonly lease: Lease;
  /** All slots of the object, the neighbours' included. */
  readonly slots: Slots;
  /** Said in every audit line. */
  readonly cause: Readonly<Record<string, unknown>>;
}

/** What the stored snapshots say of a list, and when they were read. */
export interface Heard {
  readonly membership: Membership;
  /** Hash of the addresses that are wanted. */
  readonly desired: string;
  readonly at: Instant;
}

/** What changes while a turn is taken. */
interface Progress {
  /** Memory that still counts; clocks of another configuration do not. */
  readonly slot: Slot | null;
  observation: Observation;
  revision: Revision;
  verdict: Verdict;
  removed: Clocks;
  /**
   * Entries whose removal may still be on its way although they are there, by when it no longer can
   * be.
   */
  doubts: Clocks;
  heard: Heard;
  full: boolean;
  sent: boolean;
  error: TargetError | null;
}

/**
 * Observe, plan, apply, observe. Never rejects for what the world does: that is part of the slot.
 */
export async function reconcile(
  request: Omit<Turn, "target"> & { readonly open: () => Promise<Target> },
): Promise<Slot> {
  const slot = memoryOf(request);
  let turn: Turn;
  let observation: Observation | null;
  try {
    turn = { ...request, target: await request.open() };
    observation = await observe(turn);
  } catch (error) {
    if (!(error instanceof TargetError)) throw error;
    return failed(request, slot, error);
  }
  if (observation === null) return unchecked(turn, slot);
  const progress = begin(turn, slot, observation);
  await addMissing(turn, progress);
  if (turn.removes && mayGoOn(progress.error)) {
    const removed = await removeUnwanted(turn, progress);
    // What was full may have room now.
    if (removed) await addMissing(turn, progress);
  }
  return finished(turn, progress);
}

/**
 * Whether a turn whose additions failed may still remove. A target that is full must be able to
 * shrink; one that does not answer or asks for time is left alone.
 */
function mayGoOn(error: TargetError | null): boolean {
  return error === null || ["full", "invalid", "conflict"].includes(error.kind);
}

/** What a turn is, before its target is open. */
type Place = Omit<Turn, "target">;

function memoryOf({ slots, config, list, digest }: Place): Slot | null {
  const slot = slots[config.name];
  if (slot === undefined || ![list.name, ...list.formerly].includes(slot.list)) return null;
  return slot.digest === digest ? slot : { ...slot, unwanted: {}, failures: 0, notBefore: 0 };
}

function begin(turn: Turn, slot: Slot | null, observation: Observation): Progress {
  const removed = slot?.removed ?? {};
  const state = {
    slot,
    observation,
    revision: observation.revision,
    removed,
    doubts: {},
    heard: turn.heard,
    full: false,
    sent: false,
    error: null,
  };
  return { ...state, verdict: judgeNow(turn, { ...state, verdict: null }) };
}

function judgeNow(
  turn: Turn,
  progress: Omit<Progress, "verdict"> & { readonly verdict: Verdict | null },
): Verdict {
  const { slot, verdict } = progress;
  const claimed = slot?.claimed ?? false;
  return judge({
    policy: turn.policy,
    list: turn.list,
    target: turn.config,
    traits: turn.target.traits,
    membership: progress.heard.membership,
    // What was judged a moment ago in this turn is remembered as well as what was stored.
    memory: verdict === null ? slot : { ...verdict, claimed },
    removed: progress.removed,
    doubts: progress.doubts,
    observation: progress.observation,
    now: turn.world.now(),
    full: progress.full,
    sent: progress.sent,
    accepted: turn.accepted,
  });
}

/** Null when a read no longer fits before the deadline. */
async function observe(turn: Turn): Promise<Observation | null> {
  if (!fits(turn)) return null;
  return call(turn, "read", (signal) => turn.target.observe(signal));
}

/**
 * Reads again and judges anew. Without a second look nothing that was sent is reported as there.
 */
async function lookAgain(turn: Turn, progress: Progress): Promise<TargetError | null> {
  try {
    const observation = await observe(turn);
    if (observation === null) return null;
    progress.observation = observation;
    progress.revision = observation.revision;
    progress.verdict = judgeNow(turn, progress);
    return null;
  } catch (error) {
    if (!(error instanceof TargetError)) throw error;
    return error;
  }
}

async function addMissing(turn: Turn, progress: Progress): Promise<void> {
  for (let round = 0; round < ROUNDS_MAX && progress.verdict.plan.add.length > 0; round += 1) {
    const outcome = await sendAdditions(turn, progress);
    const error = outcome.kind === "error" ? outcome.error : null;
    progress.error = error;
    // Throttled means that nothing was done, so there is nothing to look at.
    if (error?.kind === "throttled") return;
    progress.sent = outcome.kind === "sent";
    progress.full ||= error?.kind === "full";
    const unreadable = await lookAgain(turn, progress);
    // Codes are ambiguous: what was read after an error decides, not the error.
    const settled = progress.verdict.plan.add.length === 0;
    progress.error = unreadable ?? (settled ? null : error);
    if (unreadable !== null || error === null || settled) return;
    if (error.kind !== "conflict" && error.kind !== "full") return;
  }
}

type Sending =
  | { readonly kind: "sent" }
  | { readonly kind: "out-of-time" }
  | { readonly kind: "error"; readonly error: TargetError };

async function sendAdditions(turn: Turn, progress: Progress): Promise<Sending> {
  const shown = new Set<string>(progress.observation.entries.map((entry) => entry.cidr));
  const { add } = progress.verdict.plan;
  // Shown although we removed it a moment ago: either the read lags, or the removal is still on its
  // way. Each of these goes alone, so that "it is there" from the backend is said of it and no
  // other.
  const doubtful = add.filter((cidr) => shown.has(cidr));
  const plain = add.filter((cidr) => !shown.has(cidr));
  const outcome = progress.full
    ? await sendWhatFits(turn, progress, plain)
    : await sendAll(turn, progress, { verb: "add", cidrs: plain });
  if (outcome.kind !== "sent") return outcome;
  for (const cidr of doubtful) {
    if (!fits(turn)) return { kind: "out-of-time" };
    const error = await apply(turn, progress, { verb: "add", cidrs: [cidr] });
    if (error !== null && error.kind !== "conflict") return { kind: "error", error };
    const { [cidr]: removedAt = 0, ...removed } = progress.removed;
    progress.removed = removed;
    // It is there, but so may be the removal that was sent: it counts from when that can no longer
    // come.
    if (error !== null) {
      progress.doubts = { ...progress.doubts, [cidr]: removedAt + REMOVED_MEMORY_MS };
    }
  }
  return outcome;
}

interface Errand {
  readonly verb: Batch["verb"];
  readonly cidrs: readonly Cidr[];
}

/** Batch after batch until time is up or one fails. */
async function sendAll(turn: Turn, progress: Progress, errand: Errand): Promise<Sending> {
  for (const cidrs of inBatches(errand.cidrs, turn.target.traits.batchMax)) {
    if (!fits(turn)) return { kind: "out-of-time" };
    const error = await apply(turn, progress, { verb: errand.verb, cidrs });
    if (error !== null) return { kind: "error", error };
  }
  return { kind: "sent" };
}

/** Finds by halves how much the backend takes, family by family, because quotas may be separate. */
async function sendWhatFits(
  turn: Turn,
  progress: Progress,
  cidrs: readonly Cidr[],
): Promise<Sending> {
  let refusal: TargetError | null = null;
  let queue = turn.target.traits.families
    .map((family) => cidrs.filter((cidr) => familyOf(cidr) === family))
    .flatMap((family) => inBatches(family, turn.target.traits.batchMax));
  for (let batch = queue.shift(); batch !== undefined; batch = queue.shift()) {
    if (!fits(turn)) return { kind: "out-of-time" };
    const error = await apply(turn, progress, { verb: "add", cidrs: batch });
    if (error === null) continue;
    if (error.kind !== "full") return { kind: "error", error };
    refusal = error;
    const half = Math.floor(batch.length / 2);
    const family = batch.map(familyOf)[0];
    // When not even one more fits, nothing else of that family will.
    if (half === 0) queue = queue.filter((other) => other.map(familyOf)[0] !== family);
    else queue.unshift(batch.slice(0, half), batch.slice(half));
  }
  return refusal === null ? { kind: "sent" } : { kind: "error", error: refusal };
}

/** Tells whether anything was removed, as far as that is known. */
async function removeUnwanted(turn: Turn, progress: Progress): Promise<boolean> {
  const outcome = await sendRemovals(turn, progress);
  if (outcome === "nothing") return false;
  const unreadable = await lookAgain(turn, progress);
  const { add, unwanted, late } = progress.verdict.plan;
  const settled = unwanted.length + late.length === 0;
  const earlier = add.length === 0 ? null : progress.error;
  progress.error = unreadable ?? (settled || outcome === "sent" ? earlier : outcome);
  return outcome === "sent" && unreadable === null;
}

/**
 * Batch after batch, each of them written down, then judged once more by the newest snapshots, then
 * sent: nothing stands between the last look at the truth and the call.
 */
async function sendRemovals(
  turn: Turn,
  progress: Progress,
): Promise<"nothing" | "sent" | TargetError> {
  let outcome: "nothing" | "sent" = "nothing";
  const batches = inBatches(progress.verdict.go, turn.target.traits.batchMax);
  for (const batch of batches) {
    const before = progress.removed;
    const cidrs = await prepareRemoval(turn, progress, batch);
    if (cidrs === null) {
      progress.removed = before;
      return outcome;
    }
    progress.removed = nextRemoved(before, cidrs, turn.world.now());
    if (cidrs.length === 0) continue;
    const error = await apply(turn, progress, { verb: "remove", cidrs });
    // Throttled is the one error that says for certain that nothing happened.
    if (error?.kind === "throttled") progress.removed = before;
    if (error !== null) return error;
    outcome = "sent";
  }
  return outcome;
}

/** What of a batch may still go, or null when nothing more may be begun. */
async function prepareRemoval(
  turn: Turn,
  progress: Progress,
  batch: readonly Cidr[],
): Promise<readonly Cidr[] | null> {
  if (!fits(turn)) return null;
  const now = turn.world.now();
  try {
    // Written down before it is done, so that a successor never mistakes a lagging read for truth.
    const removed = nextRemoved(progress.removed, batch, now);
    const slots = { ...turn.slots, [turn.config.name]: slotOf(turn, { ...progress, removed }) };
    if (!(await turn.lease.extend(slots, turn.deadline - now))) return null;
    progress.heard = await turn.refresh();
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    turn.world.log.warn({ error: error.message }, "Cannot write down or confirm a removal");
    return null;
  }
  progress.verdict = judgeNow(turn, progress);
  const go = new Set<string>(progress.verdict.go);
  const cidrs = batch.filter((cidr) => go.has(cidr));
  return fits(turn) && turn.lease.remainingMs() >= LEASE_LEFT_MS ? cidrs : null;
}

/**
 * One write, one audit line. Returns the error instead of rejecting, because it is not the last
 * word.
 */
async function apply(turn: Turn, progress: Progress, errand: Errand): Promise<TargetError | null> {
  const { target, list, policy, world } = turn;
  const { verb, cidrs } = errand;
  assert(cidrs.length > 0 && cidrs.length <= target.traits.batchMax, "a batch is within its limit");
  const batch = { verb, cidrs, text: markerText(policy.installation, list.name) };
  const place = { list: list.name, target: target.name };
  const line = { ...turn.cause, ...place, action: verb, entries: cidrs };
  try {
    progress.revision = await call(turn, "write", (signal) =>
      target.apply(batch, progress.revision, signal),
    );
    world.log.audit({ ...line, result: "done" });
    return null;
  } catch (error) {
    if (!(error instanceof TargetError)) throw error;
    world.log.audit({ ...line, result: error.kind });
    return error;
  }
}

function fits(turn: Turn): boolean {
  if (turn.isEnding()) return false;
  return turn.world.now() + turn.target.traits.callMs <= turn.deadline;
}

async function call<T>(
  turn: Turn,
  what: "read" | "write",
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const { callMs } = turn.target.traits;
  const reason = () =>
    new TargetError("unavailable", `Cannot ${what} ${turn.target.name}: no answer in ${callMs} ms`);
  return withTimeout(turn.world, callMs, { reason }, work);
}

function inBatches(cidrs: readonly Cidr[], max: number): (readonly Cidr[])[] {
  return Array.from({ length: Math.ceil(cidrs.length / max) }, (_, index) =>
    cidrs.slice(index * max, (index + 1) * max),
  );
}

function finished(turn: Turn, progress: Progress): Slot {
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

function failed(turn: Place, slot: Slot | null, error: TargetError): Slot {
  const report = failedReport(reportBefore(turn, slot), error);
  return { ...unchanged(turn, slot, report), ...setback(turn, slot, error) };
}

/** No time was left for even one read: nothing is known that was not known before. */
function unchecked(turn: Place, slot: Slot | null): Slot {
  const message = `No time was left to look at "${turn.list.name}" in this run`;
  const report: ListReport = { ...reportBefore(turn, slot), ...reasoned("batch", message) };
  return unchanged(turn, slot, report);
}

function reportBefore(turn: Place, slot: Slot | null): ListReport {
  return slot?.report ?? blankReport(turn.list.name, turn.config.name);
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

function slotOf(turn: Turn, progress: Progress): Slot {
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
