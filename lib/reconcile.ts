import type { Observation } from "./core/observation.ts";
import type { Slot } from "./core/record.ts";
import { sendAdditions, sendRemovals } from "./send.ts";
import { failed, finished, unchecked } from "./slot.ts";
import { type Target, TargetError } from "./targets/target.ts";
import { judgeNow, lookAgain, observe, type Place, type Progress, type Turn } from "./turn.ts";

/** Conflicts met in a row before the target is left to the next run. */
const ROUNDS_MAX = 3;

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
