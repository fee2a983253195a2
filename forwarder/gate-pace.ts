import type { World } from "../lib/world.ts";
import { type Backoff, backoffMs } from "./backoff.ts";
import type { Allowance } from "./bucket.ts";
import type { Outcome } from "./gate-attempt.ts";
import type { Opening, Wish } from "./gate-sight.ts";

/*
 * How often a gate may ask for something; all times are of its stopwatch.
 */

/** How it went with one node so far. */
export interface Pace {
  /** What was last written on it. */
  readonly wrote: string | null;
  readonly wroteMs: number;
  /** How often the same was written again, because somebody took it back. */
  readonly repeats: number;
  readonly failures: number;
  /** After a failure: not before. */
  readonly retryMs: number;
  /** Waits only for the watch to show what the node was when it was read. */
  readonly isDropped: boolean;
  /** The node may have been let go by us, and nobody was told yet. */
  readonly unsure: Opening | null;
}

export const CALM: Pace = {
  wrote: null,
  wroteMs: 0,
  repeats: 0,
  failures: 0,
  retryMs: 0,
  isDropped: false,
  unsure: null,
};

/** Node pools may put a taint back that is theirs: no reason to fight, nor to give up. */
const REPEAT: Backoff = { firstMs: 10_000, lastMs: 300_000 };
/** What held for so long was not taken back by the same hand. */
const REPEAT_FORGET_MS = 900_000;
const FAILURE: Backoff = { firstMs: 1_000, lastMs: 60_000 };
/** The node is not as the watch has it: it will say so in a moment. */
const DROP: Backoff = { firstMs: 1_000, lastMs: 30_000 };
/** What people must mend is tried slowly. */
const LASTING_RETRY_MS = 300_000;
const RETRY_AFTER_MS_MAX = 300_000;

/** A thousand nodes that turn ready at once are no reason for a thousand requests. */
export const ATTEMPTS_MAX = 8;
/** So many of them may be for nodes that failed before, lest these keep all others waiting. */
export const RETRIES_MAX = 4;
/** Attempts of all kinds: what everybody who watches nodes has to hear of. */
export const ATTEMPTS: Allowance = { burst: 50, everyMs: 50 };
/** Attempts for nodes that failed before: some may do so for as long as they live. */
export const RETRIES: Allowance = { burst: 8, everyMs: 1_000 };

function nameOf(wish: Wish): string {
  return wish.kind === "no-taint" ? wish.kind : `${wish.status}/${wish.reason}`;
}

/** From when on this may be wished for of a node. */
export function dueFor(pace: Pace, wish: Wish): number {
  if (pace.wrote !== nameOf(wish)) return pace.retryMs;
  // The upper half is drawn from where many forwarders do the same thing; here only one does.
  const restMs = backoffMs(pace.repeats + 1, REPEAT, { random: () => 0 });
  return Math.max(pace.retryMs, pace.wroteMs + restMs);
}

/** After an attempt. */
export function paceAfter(
  pace: Pace,
  attempt: { readonly wish: Wish; readonly outcome: Outcome },
  { elapsedMs, world }: { readonly elapsedMs: number; readonly world: Pick<World, "random"> },
): Pace {
  const { wish, outcome } = attempt;
  switch (outcome.kind) {
    case "written": {
      const wrote = nameOf(outcome.wish);
      const isAgain = pace.wrote === wrote && elapsedMs - pace.wroteMs < REPEAT_FORGET_MS;
      const repeats = isAgain ? pace.repeats + 1 : 0;
      return { ...CALM, wrote, wroteMs: elapsedMs, repeats };
    }
    case "gone":
      // The watch will say so; until then it is left alone.
      return { ...CALM, wrote: nameOf(wish), wroteMs: elapsedMs };
    case "dropped": {
      const failures = pace.failures + 1;
      const retryMs = elapsedMs + backoffMs(failures, DROP, world);
      return { ...pace, failures, retryMs, isDropped: true };
    }
    case "failed": {
      const { lasting } = outcome;
      const unsure = outcome.unsure ?? pace.unsure;
      const failures = failuresOf(pace) + 1;
      const restMs = lasting ? LASTING_RETRY_MS : backoffMs(failures, FAILURE, world);
      const waitMs = Math.max(restMs, Math.min(RETRY_AFTER_MS_MAX, outcome.retryAfterMs ?? 0));
      return { ...pace, failures, retryMs: elapsedMs + waitMs, isDropped: false, unsure };
    }
    default:
      throw new Error(`Unreachable: ${JSON.stringify(outcome satisfies never)}`);
  }
}

/** How often an attempt at the node failed; that it was not as the watch has it is no failure. */
export function failuresOf(pace: Pace): number {
  return pace.isDropped ? 0 : pace.failures;
}

/**
 * How much was tried at the node: 0 for one that nothing was. What fails again and again, or is
 * shut again and again, takes no place from what may be done with one attempt.
 */
export function effortsOf(pace: Pace): number {
  return pace.failures + pace.repeats + (pace.wrote === null ? 0 : 1);
}

/** The watch shows something new of the node. */
export function paceAnew(pace: Pace): Pace {
  return pace.isDropped ? { ...pace, failures: 0, retryMs: 0, isDropped: false } : pace;
}

/** The API server does not even let nodes be read; while it lasts, one at a time is tried. */
export interface Trouble {
  readonly failures: number;
  readonly failedMs: number;
  /** Not before, by the server's own wish. */
  readonly untilMs: number;
}

export const NO_TROUBLE: Trouble = { failures: 0, failedMs: 0, untilMs: 0 };

/** A server that is there says no to one node as well as to all: others wait for seconds only. */
const ASKED_MS_MAX = 10_000;

/** One node that can be read shows that the server is there, whatever became of the attempt. */
export function troubleAfter(trouble: Trouble, outcome: Outcome, elapsedMs: number): Trouble {
  if (outcome.kind !== "failed" || !outcome.isAway) return NO_TROUBLE;
  const askedMs = Math.min(ASKED_MS_MAX, outcome.retryAfterMs ?? 0);
  return { failures: trouble.failures + 1, failedMs: elapsedMs, untilMs: elapsedMs + askedMs };
}

/**
 * From when on a node that failed so often may be tried. Trouble keeps it waiting for little longer
 * than so many failures of its own would: what fails again and again must not hold up what never
 * did.
 */
export function dueInTrouble(trouble: Trouble, failures: number): number {
  if (trouble.failures === 0) return 0;
  const steps = Math.min(trouble.failures, failures + 2);
  const waitMs = backoffMs(steps, FAILURE, { random: () => 1 });
  return Math.max(trouble.untilMs, trouble.failedMs + waitMs);
}
