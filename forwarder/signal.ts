import type { World } from "../lib/world.ts";

/** The reason of an aborted signal as an error. */
export function abortError(signal: AbortSignal): Error {
  return signal.reason instanceof Error ? signal.reason : new Error(String(signal.reason));
}

/** Settles with `work`, or rejects with the signal's reason; for work that knows no signals. */
export async function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) {
    work.catch(() => undefined);
    throw abortError(signal);
  }
  let onAbort = () => {};
  const aborted = new Promise<never>((_resolve, reject) => {
    onAbort = () => reject(abortError(signal));
    signal.addEventListener("abort", onAbort, { once: true });
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** Waits that can be cut short from elsewhere. */
export interface Bell {
  /** Ends every wait of now; one that begins later does not hear it. */
  ring(): void;
  /**
   * Resolves after `ms` or at the next ring; rejects with the signal's reason. `Infinity` waits for
   * the ring.
   */
  wait(ms: number, signal: AbortSignal): Promise<void>;
}

export function makeBell(world: Pick<World, "sleep">): Bell {
  const waiting = new Set<() => void>();
  return {
    ring() {
      for (const wake of [...waiting]) wake();
    },
    async wait(ms, signal) {
      const over = new AbortController();
      let wake = () => {};
      const rung = new Promise<void>((resolve) => {
        wake = resolve;
      });
      waiting.add(wake);
      const timer =
        ms === Number.POSITIVE_INFINITY
          ? rung
          : world.sleep(ms, over.signal).catch(() => undefined);
      try {
        await abortable(Promise.race([rung, timer]), signal);
      } finally {
        waiting.delete(wake);
        over.abort();
        wake();
      }
    },
  };
}

/** Sleeps; false when the signal ended it. */
export async function slept(
  world: Pick<World, "sleep">,
  ms: number,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    await world.sleep(ms, signal);
    return true;
  } catch (error) {
    if (signal.aborted) return false;
    throw error;
  }
}

/** Text of an error for a log: one line, bounded. */
export function errorText(error: unknown): string {
  const text = error instanceof Error ? error.message || error.name : String(error);
  return text.replaceAll(/[\s\p{Cc}]+/gu, " ").slice(0, ERROR_CHARACTERS_MAX);
}

const ERROR_CHARACTERS_MAX = 500;
