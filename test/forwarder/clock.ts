import { setTimeout as pause, setImmediate as turn } from "node:timers/promises";
import type { LogFields, World } from "../../lib/world.ts";

/**
 * A World whose time passes only when a test says so, while sockets of this process are real:
 * before
 * time moves on, everything that is under way between them is let to arrive.
 */
export interface ManualWorld extends World {
  /** Lets so much time pass, stopping at everything that wakes meanwhile. */
  advance(ms: number): Promise<void>;
  /** Lets time pass until the condition holds; throws when it does not within `withinMs` of it. */
  until(what: string, condition: () => boolean, options?: { withinMs?: number }): Promise<void>;
  /** Sets the clock, and nothing else: who sleeps, sleeps on for as long as before. */
  setClock(byMs: number): void;
  /** What was logged. */
  readonly lines: readonly { readonly fields: LogFields; readonly message: string }[];
}

export const START = Date.parse("2026-11-20T21:00:00Z");

const TURNS = 25;
const PAUSES = 2;
const FILE_PAUSES_MAX = 1_000;

interface Sleeper {
  at: number;
  readonly wake: () => void;
}

export function manualWorld({ seed = 1 }: { readonly seed?: number } = {}): ManualWorld {
  let now = START;
  let set = 0;
  let state = seed;
  const sleepers = new Set<Sleeper>();
  const lines: { fields: LogFields; message: string }[] = [];
  const write = (fields: LogFields, message: string) => {
    lines.push({ fields, message });
  };
  const wakeNext = (until: number): boolean => {
    const [next] = [...sleepers].filter(({ at }) => at <= until).sort((a, b) => a.at - b.at);
    if (next === undefined) return false;
    sleepers.delete(next);
    now = Math.max(now, next.at);
    next.wake();
    return true;
  };
  return {
    now: () => now,
    monotonic: () => now - START - set,
    // A linear congruential generator is chance enough for delays and ids.
    random() {
      state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32;
      return state / 2 ** 32;
    },
    sleep: (ms, signal) => sleep(sleepers, now + ms, signal),
    fetch: () => Promise.reject(new Error("There is no network here")),
    log: { debug: write, info: write, warn: write, error: write, audit: () => undefined },
    lines,
    setClock(byMs) {
      now += byMs;
      set += byMs;
      for (const sleeper of sleepers) sleeper.at += byMs;
    },
    async advance(ms) {
      const end = now + ms;
      do await settle();
      while (wakeNext(end));
      now = end;
      await settle();
    },
    async until(what, condition, { withinMs = 60_000 } = {}) {
      const end = now + withinMs;
      do {
        await settle();
        if (condition()) return;
      } while (wakeNext(end));
      const last = lines.slice(-5).map(({ message }) => message);
      throw new Error(`Not within ${withinMs} ms: ${what}; last said: ${last.join(" | ")}`);
    },
  };
}

function sleep(sleepers: Set<Sleeper>, at: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const onAbort = () => {
      sleepers.delete(sleeper);
      reject(signal?.reason);
    };
    const sleeper = {
      at,
      wake() {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      },
    };
    sleepers.add(sleeper);
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

/** Loopback sockets deliver within a few turns of the loop; files are read by another thread. */
async function settle(): Promise<void> {
  for (let pauses = 0; pauses < PAUSES; pauses += 1) {
    for (let turns = 0; turns < TURNS; turns += 1) await turn();
    await pause(1);
  }
  const isReading = () => process.getActiveResourcesInfo().includes("FSReqPromise");
  for (let pauses = 0; pauses < FILE_PAUSES_MAX && isReading(); pauses += 1) await pause(1);
}
