import { type World, withTimeout } from "../world.ts";
import { type Store, StoreError } from "./store.ts";

/**
 * Upper bound of one verb, with every request that it takes: whoever waits for it has half a minute
 * for all it does.
 */
export const VERB_MS_MAX = 15_000;

/**
 * A store of which no call outlasts {@link VERB_MS_MAX}, nor `deadline` on the world's clock. After
 * that nothing is begun. A store that does not honour its signal, as no file system does, may still
 * do later what it was asked: then the outcome is unknown like any other's.
 */
export function timedStore(
  store: Store,
  options: {
    readonly world: Pick<World, "now" | "sleep">;
    readonly deadline?: number;
  },
): Store {
  const { world, deadline = Number.POSITIVE_INFINITY } = options;
  const within = <T>(
    what: string,
    outer: AbortSignal | undefined,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> => {
    const ms = Math.min(VERB_MS_MAX, deadline - world.now());
    const reason = () =>
      new StoreError(`Cannot ${what}: no answer within ${(ms / 1_000).toFixed(1)} s`);
    if (ms <= 0) return Promise.reject(new StoreError(`Cannot ${what}: no time is left`));
    return withTimeout(world, ms, { signal: outer, reason }, (signal) =>
      untilAborted(work(signal), signal, what),
    );
  };
  return {
    put: (key, body, signal) =>
      within(`create "${key}"`, signal, (inner) => store.put(key, body, inner)),
    get: (key, signal) => within(`read "${key}"`, signal, (inner) => store.get(key, inner)),
    list: (prefix, limit, signal) =>
      within(`list "${prefix}"`, signal, (inner) => store.list(prefix, limit, inner)),
    delete: (key, signal) => within(`delete "${key}"`, signal, (inner) => store.delete(key, inner)),
  };
}

/** The result, or a StoreError as soon as the signal aborts, whatever the work does then. */
async function untilAborted<T>(work: Promise<T>, signal: AbortSignal, what: string): Promise<T> {
  const over = new AbortController();
  const aborted = new Promise<never>((_resolve, reject) => {
    const refuse = () => {
      const { reason } = signal;
      reject(reason instanceof StoreError ? reason : new StoreError(`Cannot ${what}: given up`));
    };
    if (signal.aborted) refuse();
    signal.addEventListener("abort", refuse, { once: true, signal: over.signal });
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    over.abort();
  }
}
