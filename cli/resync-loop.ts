import type { World } from "../lib/world.ts";
import { sentenceOf } from "./shell.ts";

/** Runs on its own until it is stopped. */
export interface ResyncLoop {
  /** Begins no further run; resolves when the one that is under way has ended. */
  stop(): Promise<void>;
}

export interface ResyncLoopOptions {
  readonly world: Pick<World, "now" | "sleep" | "log">;
  /** From beginning to beginning. A run that takes longer delays the next one. */
  readonly intervalMs: number;
  /** Default: the first run begins at once. */
  readonly firstAfterMs?: number;
}

/**
 * Calls `resync` again and again, never twice at the same time; what it rejects with is logged and
 * ends nothing.
 */
export function startResyncLoop(
  resync: () => Promise<unknown>,
  options: ResyncLoopOptions,
): ResyncLoop {
  const stopping = new AbortController();
  const running = run(resync, options, stopping.signal);
  return {
    stop() {
      stopping.abort();
      return running;
    },
  };
}

async function run(
  resync: () => Promise<unknown>,
  options: ResyncLoopOptions,
  signal: AbortSignal,
): Promise<void> {
  const { world, intervalMs } = options;
  let nextAt = world.now() + (options.firstAfterMs ?? 0);
  while (await sleptUntil(nextAt, world, signal)) {
    nextAt = world.now() + intervalMs;
    try {
      await resync();
    } catch (error) {
      world.log.error(
        { error: sentenceOf(error) },
        "Cannot finish a resync; the next one tries again",
      );
    }
  }
}

/** False when the loop was stopped meanwhile. */
async function sleptUntil(
  at: number,
  world: Pick<World, "now" | "sleep">,
  signal: AbortSignal,
): Promise<boolean> {
  const waitMs = at - world.now();
  if (waitMs > 0) await world.sleep(waitMs, signal).catch(() => undefined);
  return !signal.aborted;
}
