import type { List, Policy, TargetConfig } from "./core/list.ts";
import type { Membership } from "./core/members.ts";
import type { Observation, Revision } from "./core/observation.ts";
import type { Clocks, Instant, Slot, Slots } from "./core/record.ts";
import { judge, type Verdict } from "./core/verdict.ts";
import type { Lease } from "./stores/lease.ts";
import { type Target, TargetError } from "./targets/target.ts";
import { type World, withTimeout } from "./world.ts";

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
  /** Tells that other slots of the object may have been written over: they are looked at again. */
  readonly disturb: () => void;
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
export interface Progress {
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

/** What a turn is, before its target is open. */
export type Place = Omit<Turn, "target">;

/** Judges what was read last by the truth that was read last. */
export function judgeNow(
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
export async function observe(turn: Turn): Promise<Observation | null> {
  if (!fits(turn)) return null;
  return call(turn, "read", (signal) => turn.target.observe(signal));
}

/**
 * Reads again and judges anew. Without a second look nothing that was sent is reported as there.
 */
export async function lookAgain(turn: Turn, progress: Progress): Promise<TargetError | null> {
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

/** Whether another call would end before the deadline; never once the process was asked to end. */
export function fits(turn: Turn): boolean {
  if (turn.isEnding()) return false;
  return turn.world.now() + turn.target.traits.callMs <= turn.deadline;
}

/** One call with its own timeout, always awaited to its end. Rejects with TargetError. */
export async function call<T>(
  turn: Turn,
  what: "read" | "write",
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const { callMs } = turn.target.traits;
  const reason = () =>
    new TargetError("unavailable", `Cannot ${what} ${turn.target.name}: no answer in ${callMs} ms`);
  return withTimeout(turn.world, callMs, { reason }, work);
}
