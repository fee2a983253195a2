import * as z from "zod/mini";
import { readStored } from "../core/problem.ts";
import type { Slots } from "../core/record.ts";
import { onwardClock, type World } from "../world.ts";
import type { Log, LogEntry } from "./log.ts";
import { slotsSchema } from "./slots.ts";

/**
 * Others wait this much longer than the holder counts: for clocks that drift or tell whole seconds
 * only.
 */
const MARGIN_MS = 5_000;
/** Longest that a holder counts without extending; others wait at most {@link MARGIN_MS} more. */
const HOLD_MS_MAX = 60_000;
/**
 * Who was silent for longer may meet a number that was used and trimmed since; far below the day
 * that entries are kept.
 */
const SILENCE_MS_MAX = 3_600_000;
/** How old a look may be that a lease is taken from; far below that day, too. */
const LOOK_MS_MAX = 60_000;
const LOST_APPENDS_MAX = 5;
const PAUSE_MS_MIN = 100;
const PAUSE_MS_MAX = 2_000;

/** Lease and record of one object: who may write to it, and what was known about its slots. */
export type TargetObject =
  | { readonly state: "held"; readonly forMs: number; readonly slots: Slots }
  | { readonly state: "done"; readonly slots: Slots };

/** What the log of an object showed to a run that may ask for its lease later. */
export interface Look {
  readonly newest: LogEntry<TargetObject> | null;
  /** By the clock, before the log was asked. */
  readonly askedAt: number;
  /** Goes on from the look, whoever sets the world's clock back since. */
  readonly clock: () => number;
}

/** Looks at the log of an object. Rejects with StoreError: then nothing is known of it. */
export async function lookAt(
  log: Log<TargetObject>,
  world: Pick<World, "now" | "monotonic">,
): Promise<Look> {
  const clock = onwardClock(world);
  const askedAt = clock();
  return { newest: await log.newest(), askedAt, clock };
}

/** The right to write to one object. Its verbs must not overlap each other. */
export interface Lease {
  /** As found: of whoever held it before. */
  readonly slots: Slots;
  /**
   * How long this process may go on; 0 when it was released, lost or used up. Counts from before
   * the store was asked, and on when somebody sets the clock back, so that it never counts longer
   * than others wait.
   */
  remainingMs(): number;
  /**
   * Holds for another `remainingMs` (at most a minute) and stores the slots. False: the lease is
   * lost, begin nothing more and release nothing. Rejects with StoreError: the outcome is unknown;
   * what was held before is still held, and release may be tried.
   */
  extend(slots: Slots, remainingMs: number): Promise<boolean>;
  /**
   * Stores the slots and lets others in. False: it was lost before. Rejects with StoreError: others
   * wait it out.
   */
  release(slots: Slots): Promise<boolean>;
}

/**
 * Waits up to `waitMs` until the object is free, then holds it for `remainingMs`, which is the
 * caller's own time left as of this call. Null: contended, or no time is left. Rejects with
 * StoreError, or with the signal's reason; a lease that was taken is always returned.
 */
export async function acquireLease(
  log: Log<TargetObject>,
  options: {
    /** Saves a look of its own, unless it is too old or somebody held the object by then. */
    readonly look?: Look | undefined;
    readonly world: Pick<World, "now" | "monotonic" | "sleep" | "random">;
    readonly remainingMs: number;
    readonly waitMs: number;
    readonly signal?: AbortSignal;
  },
): Promise<Lease | null> {
  const { signal } = options;
  const { sleep, random } = options.world;
  const world = { sleep, random, now: options.look?.clock ?? onwardClock(options.world) };
  const calledAt = world.now();
  let early = options.look;
  let lostAppends = 0;
  for (let looks = 0; lostAppends < LOST_APPENDS_MAX; looks += 1) {
    signal?.throwIfAborted();
    // Before the look, not only before the write: who is frozen in between must not count afresh.
    // An earlier look is younger than its bound at this moment: a number that was used and trimmed
    // since is free only after nearly a day from here, when this lease is long over.
    const askedAt = world.now();
    const remainingMs = options.remainingMs - (askedAt - calledAt);
    if (remainingMs <= 0) return null;
    const newest = isUsable(early, askedAt) ? early.newest : await log.newest();
    early = undefined;
    if (isFree(newest)) {
      const slots = newest?.body.slots ?? {};
      const entry = await log.append(newest?.revision ?? 0, held(slots, remainingMs));
      if (entry !== "exists") {
        return holdLease(log, world, { entry, askedAt, untilAt: askedAt + holdMs(remainingMs) });
      }
      lostAppends += 1;
      continue;
    }
    const leftMs = calledAt + options.waitMs - world.now();
    if (leftMs <= 0) return null;
    const pauseMs = Math.min(PAUSE_MS_MIN * 2 ** looks, PAUSE_MS_MAX) * (0.5 + world.random());
    await world.sleep(Math.min(leftMs, pauseMs), signal);
  }
  return null;
}

const stateShape = z.object({ state: z.enum(["held", "done"]) });
const doneShape = z.object({ state: z.literal("done"), slots: slotsSchema });
const heldShape = z.object({
  state: z.literal("held"),
  forMs: z.number().check(z.minimum(0), z.maximum(HOLD_MS_MAX + MARGIN_MS)),
  slots: slotsSchema,
});

/** The `parse` of an object's log. Throws RangeError with every problem and its path. */
export function parseTargetObject(stored: unknown): TargetObject {
  const { state } = readStored(stateShape, stored);
  return state === "held" ? readStored(heldShape, stored) : readStored(doneShape, stored);
}

/** What was held may be free by now. */
function isUsable(look: Look | undefined, now: number): look is Look {
  if (look === undefined || look.newest?.body.state === "held") return false;
  return now - look.askedAt <= LOOK_MS_MAX;
}

function isFree(newest: LogEntry<TargetObject> | null): boolean {
  if (newest === null || newest.body.state === "done") return true;
  return newest.ageMs > newest.body.forMs;
}

function holdMs(remainingMs: number): number {
  return Math.min(Math.max(0, remainingMs), HOLD_MS_MAX);
}

function held(slots: Slots, remainingMs: number): TargetObject {
  return { state: "held", forMs: Math.ceil(holdMs(remainingMs)) + MARGIN_MS, slots };
}

function holdLease(
  log: Log<TargetObject>,
  world: Pick<World, "now">,
  start: {
    readonly entry: LogEntry<TargetObject>;
    readonly askedAt: number;
    readonly untilAt: number;
  },
): Lease {
  let { askedAt, untilAt } = start;
  let revision = start.entry.revision;
  let lost = false;

  async function append(body: TargetObject, now: number): Promise<boolean> {
    if (now - askedAt > SILENCE_MS_MAX) lost = true;
    if (lost) return false;
    const entry = await log.append(revision, body);
    if (entry === "exists") {
      lost = true;
      return false;
    }
    revision = entry.revision;
    askedAt = now;
    return true;
  }

  return {
    slots: start.entry.body.slots,

    remainingMs() {
      return lost ? 0 : Math.max(0, untilAt - world.now());
    },

    async extend(slots, remainingMs) {
      const now = world.now();
      const nextUntilAt = now + holdMs(remainingMs);
      // Others may see the new entry long before its answer comes: until then the shorter one
      // counts.
      untilAt = Math.min(untilAt, nextUntilAt);
      if (!(await append(held(slots, remainingMs), now))) return false;
      untilAt = nextUntilAt;
      return true;
    },

    async release(slots) {
      // From the moment of asking: the next holder may begin before the answer comes.
      const now = world.now();
      untilAt = Math.min(untilAt, now);
      return append({ state: "done", slots }, now);
    },
  };
}
