import type { Instant } from "../lib/core/record.ts";
import type { World } from "../lib/world.ts";

/** When a watch reads on. */
export interface Rest {
  /** The next event is asked for. */
  ask(): void;
  /**
   * An event was taken; `isNews`: it changed something. Null to read on at once, or what to wait
   * for, which rejects with the signal's reason.
   */
  after(isNews: boolean, signal: AbortSignal): Promise<void> | null;
}

/**
 * Heartbeats of a large cluster come all the time and change nothing; waking up for each of them
 * costs several times what reading it does. So they are left with the kernel for this long, and
 * read together. A change among them is seen so much later at the most.
 */
const REST_MS = 200;
/** Events of a cluster of less than about 6,000 nodes in good order are taken one by one. */
const EVENTS_PER_S_MIN = 20;
/** An API server gives up watches that do not keep up; so many are work enough without rests. */
const EVENTS_PER_S_MAX = 500;
/** What came sooner than this was there already: there may be more, which is read first. */
const WAITED_MS_MIN = 2;
const WINDOW_MS = 1_000;

export function makeRest(world: Pick<World, "now" | "sleep">): Rest {
  let askedAt: Instant = world.now();
  let windowAt: Instant = askedAt;
  let events = 0;
  let perSecond = 0;
  return {
    ask() {
      askedAt = world.now();
    },
    after(isNews, signal) {
      const now = world.now();
      events += 1;
      if (now - windowAt >= WINDOW_MS) {
        perSecond = (events * 1_000) / (now - windowAt);
        windowAt = now;
        events = 0;
      }
      if (isNews || now - askedAt < WAITED_MS_MIN) return null;
      const isWorthIt = perSecond >= EVENTS_PER_S_MIN && perSecond <= EVENTS_PER_S_MAX;
      return isWorthIt ? world.sleep(REST_MS, signal) : null;
    },
  };
}
