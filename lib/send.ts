import assert from "node:assert/strict";
import { type Cidr, familyOf, prefixLengthOf } from "./core/cidr.ts";
import { markerText } from "./core/marker.ts";
import { REMOVED_MEMORY_MS } from "./core/plan.ts";
import { nextRemoved, type Verdict } from "./core/verdict.ts";
import { slotOf } from "./slot.ts";
import { StoreError } from "./stores/store.ts";
import { type Batch, TargetError } from "./targets/target.ts";
import { call, fits, judgeNow, type Progress, type Turn } from "./turn.ts";

/** A removal is begun only with this much of the lease left. */
const LEASE_LEFT_MS = 10_000;

type Sending =
  | { readonly kind: "sent" }
  | { readonly kind: "out-of-time" }
  | { readonly kind: "error"; readonly error: TargetError };

/**
 * Sends what the plan adds, as far as time and room allow. The outcome is what was answered, not
 * what is there.
 */
export async function sendAdditions(turn: Turn, progress: Progress): Promise<Sending> {
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
    // It is there, but the removal that was sent may still be on its way, also where the backend
    // says nothing of what is there already: it counts from when that can no longer come.
    progress.doubts = { ...progress.doubts, [cidr]: removedAt + REMOVED_MEMORY_MS };
  }
  return outcome;
}

interface Errand {
  readonly verb: Batch["verb"];
  readonly cidrs: readonly Cidr[];
  readonly instead?: readonly Cidr[];
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

/**
 * Batch after batch, each of them written down, then judged once more by the newest snapshots, then
 * sent: nothing stands between the last look at the truth and the call.
 */
export async function sendRemovals(
  turn: Turn,
  progress: Progress,
): Promise<"nothing" | "sent" | TargetError> {
  let outcome: "nothing" | "sent" = "nothing";
  for (const batch of removalBatches(turn, progress.verdict)) {
    const before = progress.removed;
    const cidrs = await prepareRemoval(turn, progress, batch);
    if (cidrs === null) {
      progress.removed = before;
      return outcome;
    }
    progress.removed = nextRemoved(before, cidrs, turn.world.now());
    if (cidrs.length === 0) continue;
    const { replacements } = progress.verdict.plan;
    const instead = cidrs.flatMap((cidr) => replacements.get(cidr) ?? []);
    const error = await apply(turn, progress, { verb: "remove", cidrs, instead });
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
  // What is written whole is made from what was read: with something wanted missing there, a write
  // that only removes would confirm that it is missing.
  const { write } = turn.target.traits;
  if (write === "whole" && progress.verdict.plan.add.length > 0) return null;
  const go = new Set<string>(progress.verdict.go);
  // What an entry leaves behind may have grown since the batch was cut: the rest waits.
  const still = { ...progress.verdict, go: batch.filter((cidr) => go.has(cidr)) };
  const cidrs = removalBatches(turn, still)[0] ?? [];
  return fits(turn) && turn.lease.remainingMs() >= LEASE_LEFT_MS ? cidrs : null;
}

/**
 * One write, one audit line. Returns the error instead of rejecting, because it is not the last
 * word.
 */
async function apply(turn: Turn, progress: Progress, errand: Errand): Promise<TargetError | null> {
  const { target, list, policy, world } = turn;
  const { verb, cidrs, instead = [] } = errand;
  const size = cidrs.length + instead.length;
  assert(cidrs.length > 0 && size <= target.traits.batchMax, "a batch is within its limit");
  const written = verb === "add" ? cidrs : instead;
  assert(
    written.every((cidr) => prefixLengthOf(cidr) > 0),
    "everything is never an entry",
  );
  const batch = {
    verb,
    cidrs,
    text: markerText(policy.installation, list.name),
    instead,
    late: progress.verdict.plan.gone,
  };
  const place = { list: list.name, target: target.name };
  const line = {
    ...turn.cause,
    ...place,
    action: verb,
    entries: cidrs,
    ...(instead.length === 0 ? {} : { instead }),
  };
  try {
    progress.revision = await call(turn, "write", (signal) =>
      target.apply(batch, progress.revision, signal),
    );
  } catch (error) {
    // A fault of ours tells nothing of what was written before it.
    const isKnown = error instanceof TargetError;
    world.log.audit({ ...line, result: isKnown ? error.kind : "unknown" });
    if (!isKnown) throw error;
    // Also when another read puts it right: what was met on the way must be said somewhere.
    world.log.warn({ ...place, error: error.message }, "Cannot carry out a write");
    if (target.traits.write === "whole") unsettle(turn, progress, error);
    return error;
  }
  world.log.audit({ ...line, result: "done" });
  return null;
}

/**
 * A list that is written whole is one thing for all its slots. A write that may still arrive would
 * put all of it back, so for as long nothing on it is believed; and one that met somebody else's
 * may have been met by a list of ours beside this one.
 */
function unsettle(turn: Turn, progress: Progress, error: TargetError): void {
  const { covered, add } = progress.verdict.plan;
  if (error.kind === "conflict") turn.disturb();
  if (error.kind !== "unavailable") return;
  const until = turn.world.now() + REMOVED_MEMORY_MS;
  const doubted = Object.fromEntries([...covered, ...add].map((cidr) => [cidr, until]));
  progress.doubts = { ...progress.doubts, ...doubted };
}

/** Each with what it writes in place of what it removes; one entry's replacements always fit. */
function removalBatches(turn: Turn, { go, plan }: Verdict): readonly (readonly Cidr[])[] {
  const { batchMax } = turn.target.traits;
  const batches: Cidr[][] = [];
  let room = 0;
  for (const cidr of go) {
    const takes = 1 + (plan.replacements.get(cidr)?.length ?? 0);
    if (takes > room) {
      batches.push([]);
      room = batchMax;
    }
    batches.at(-1)?.push(cidr);
    room -= takes;
  }
  return batches;
}

function inBatches(cidrs: readonly Cidr[], max: number): (readonly Cidr[])[] {
  return Array.from({ length: Math.ceil(cidrs.length / max) }, (_, index) =>
    cidrs.slice(index * max, (index + 1) * max),
  );
}
