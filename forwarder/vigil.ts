import type { Instant } from "../lib/core/record.ts";
import type { World } from "../lib/world.ts";
import type { ForwarderEvent } from "./journal.ts";
import { slept } from "./signal.ts";
import type { Truth } from "./truth.ts";

/** Tells a watch that goes on from one that hangs, so that only the latter costs a restart. */
export interface Vigil {
  hear(event: ForwarderEvent): void;
  /** Null while everything goes on; otherwise what does not, for people. */
  trouble(): string | null;
  /** Counts minutes until the signal aborts, then resolves. */
  run(signal: AbortSignal): Promise<void>;
}

const TICK_MS = 60_000;
/**
 * Minutes without any sign of life of one collection's watch. The longest that a watch in order may
 * be silent for: its stream lives 10 min and 30 s at most, whether bytes come or not, and its end
 * is told; then a failure is told before its pause, which is 60 s, or the 5 min of a Retry-After.
 * Whether the API server or the receiver can be reached plays no part: a watch that fails and tries
 * again is alive, and a restart would bring nobody back.
 */
const LIFELESS_TICKS = 15;
const NODES = "nodes";

/**
 * Minutes are counted by ticks of this process, not by a clock: after an hour in which the process
 * was stopped, or a clock that jumped, it has a full quarter of an hour to come to life again.
 */
export function makeVigil(options: {
  readonly world: Pick<World, "sleep">;
  readonly truth: () => Truth | null;
}): Vigil {
  const { world, truth } = options;
  // The watch of the nodes is expected; others are known once they were heard of.
  const lifeless = new Map<string, number>([[NODES, 0]]);
  let observedAt: Instant | null = null;
  const tick = () => {
    for (const [collection, ticks] of lifeless) lifeless.set(collection, ticks + 1);
    const now = truth()?.observedAt ?? null;
    // It is the earliest of all collections' last signs, bookmarks included, so all have moved.
    if (now !== observedAt) for (const collection of lifeless.keys()) lifeless.set(collection, 0);
    observedAt = now;
  };
  return {
    hear(event) {
      switch (event.kind) {
        case "list-goes-on":
        case "listed":
        case "restored":
        case "watch-ended":
        case "watch-failed":
          lifeless.set(event.collection, 0);
          return;
        default:
          return;
      }
    },
    trouble() {
      const dead = [...lifeless].filter(([, ticks]) => ticks >= LIFELESS_TICKS);
      if (dead.length === 0) return null;
      const names = dead.map(([collection]) => collection).toSorted();
      const more = names.length > 1 ? ` and ${names.length - 1} more` : "";
      return `not alive: the watch of ${names[0]}${more} shows no life for ${LIFELESS_TICKS} min`;
    },
    async run(signal) {
      while (await slept(world, TICK_MS, signal)) tick();
    },
  };
}
