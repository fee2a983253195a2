import type { Instant } from "../lib/core/record.ts";
import type { World } from "../lib/world.ts";
import type { Emit } from "./journal.ts";
import { slept } from "./signal.ts";
import type { Truth } from "./truth.ts";

/** Watches whether what is known still holds. */
export interface Staleness {
  /** Looks until the signal aborts, then resolves. */
  run(signal: AbortSignal): Promise<void>;
}

/**
 * By then a silent watch has been given up and opened again twice (bookmarks come each minute, and
 * silence is suffered for 150 s); a receiver calls the cluster stale after 12 minutes at the
 * earliest.
 */
const STALE_MS = 300_000;
const LOOK_MS = 15_000;
const AGAIN_MS = 3_600_000;

/**
 * Says when the truth becomes old, once an hour while it stays so, and when it is current again.
 */
export function followStaleness(options: {
  readonly world: Pick<World, "now" | "sleep">;
  readonly emit: Emit;
  readonly truth: () => Truth | null;
}): Staleness {
  const { world, emit, truth } = options;
  let stale: { readonly since: Instant; readonly toldAt: Instant } | null = null;
  const look = () => {
    const now = world.now();
    const observedAt = truth()?.observedAt;
    // Before a first list nothing is known that could be old; why there is none is said elsewhere.
    if (observedAt === undefined) return;
    const ageMs = now - observedAt;
    if (ageMs < STALE_MS) {
      if (stale !== null) emit({ kind: "watch-current", at: now, afterMs: now - stale.since });
      stale = null;
      return;
    }
    if (stale !== null && Math.abs(now - stale.toldAt) < AGAIN_MS) return;
    stale = { since: stale?.since ?? now, toldAt: now };
    emit({ kind: "watch-stale", at: now, ageMs });
  };
  return {
    async run(signal) {
      do look();
      while (await slept(world, LOOK_MS, signal));
    },
  };
}
