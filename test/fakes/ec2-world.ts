import { type VirtualWorld, virtualWorld } from "../virtual-world.ts";

const WAIT_MS_MAX = 1_000;

/** A virtual world in which short waits, as between looks at a state, take no time at all. */
export function briskWorld(): VirtualWorld {
  const world = virtualWorld();
  let waitedMs = 0;
  return {
    ...world,
    now: () => world.now() + waitedMs,
    async sleep(ms, signal) {
      if (ms > WAIT_MS_MAX) return world.sleep(ms, signal);
      signal?.throwIfAborted();
      waitedMs += ms;
      await new Promise((resolve) => setImmediate(resolve));
      signal?.throwIfAborted();
    },
  };
}
