import type { LogFields, World } from "../lib/world.ts";

/**
 * A World whose clock stands still until it is told to go on, and whose chance is a seeded
 * sequence.
 */
export interface VirtualWorld extends World {
  /**
   * Moves the clock and wakes what slept until then, in order of time, each with all its
   * consequences.
   */
  advance(ms: number): Promise<void>;
  readonly audits: LogFields[];
  readonly lines: {
    readonly level: string;
    readonly fields: LogFields;
    readonly message: string;
  }[];
}

interface Sleeper {
  readonly at: number;
  readonly wake: () => void;
}

export const START = Date.UTC(2026, 10, 20, 21, 0, 0);

export function virtualWorld(seed = 1): VirtualWorld {
  let now = START;
  let state = seed;
  let sleepers: Sleeper[] = [];
  const audits: LogFields[] = [];
  const lines: VirtualWorld["lines"] = [];
  const write = (level: string) => (fields: LogFields, message: string) => {
    lines.push({ level, fields, message });
  };
  return {
    now: () => now,
    monotonic: () => now - START,
    random() {
      state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
      return state / 2_147_483_648;
    },
    sleep(ms, signal) {
      return new Promise((resolve, reject) => {
        if (signal?.aborted) return reject(signal.reason);
        const sleeper = { at: now + ms, wake: resolve };
        sleepers.push(sleeper);
        signal?.addEventListener("abort", () => {
          sleepers = sleepers.filter((one) => one !== sleeper);
          reject(signal.reason);
        });
      });
    },
    fetch: () => Promise.reject(new Error("Cannot fetch: a virtual world has no network")),
    log: {
      debug: write("debug"),
      info: write("info"),
      warn: write("warn"),
      error: write("error"),
      audit: (fields) => audits.push(fields),
    },
    audits,
    lines,
    async advance(ms) {
      const end = now + ms;
      await settle();
      for (;;) {
        const due = sleepers.filter(({ at }) => at <= end).toSorted((a, b) => a.at - b.at)[0];
        if (due === undefined) break;
        sleepers = sleepers.filter((one) => one !== due);
        now = Math.max(now, due.at);
        due.wake();
        await settle();
      }
      now = end;
      await settle();
    },
  };
}

/** Lets everything that is ready run to its next wait. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
