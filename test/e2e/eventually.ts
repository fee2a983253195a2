import { setTimeout as sleep } from "node:timers/promises";

const PROBE_INTERVAL_MS = 100;

export interface Patience {
  readonly withinMs: number;
  readonly everyMs?: number;
  /** Asked before each probe: a sentence, as that a process ended, ends the waiting at once. */
  readonly hopeless?: () => string | null;
}

/**
 * Probes until the answer is neither undefined, null nor false, and returns it. An exception of the
 * probe counts as "not yet". Throws with `what`, the time waited and the last failure.
 */
export async function eventually<T>(
  what: string,
  probe: () => T | Promise<T>,
  patience: Patience,
): Promise<Exclude<T, undefined | null | false>> {
  const startedAt = Date.now();
  let failure: unknown = null;
  for (;;) {
    const reason = patience.hopeless?.();
    if (reason) throw new Error(`Cannot wait until ${what}: ${reason}`, { cause: failure });
    try {
      const answer = await probe();
      if (answer !== undefined && answer !== null && answer !== false) {
        return answer as Exclude<T, undefined | null | false>;
      }
      failure = null;
    } catch (error) {
      failure = error;
    }
    if (Date.now() - startedAt > patience.withinMs) {
      const last = failure instanceof Error ? `; the last failure was: ${failure.message}` : "";
      const message = `Cannot see that ${what}: not within ${patience.withinMs} ms${last}`;
      throw new Error(message, { cause: failure });
    }
    await sleep(patience.everyMs ?? PROBE_INTERVAL_MS);
  }
}
