import type { Wiring } from "../../functions/wiring.ts";
import { makeLogger } from "../../lib/logger.ts";
import { makeWorld } from "../../lib/world.ts";
import { loadConfig } from "../configuration.ts";
import { logLevelOf } from "../log-level.ts";
import { openWiring, resolveSecrets, startReceiver } from "../receiver.ts";
import { type Shell, sentenceOf, UsageError, untilAborted } from "../shell.ts";

export interface ServeOptions {
  readonly config?: string;
  readonly port: number;
  readonly host: string;
  /** Milliseconds. */
  readonly resync: number;
}

/**
 * The production receiver for users without a function platform; until the process is asked to end.
 */
export async function runServe(options: ServeOptions, shell: Shell): Promise<number> {
  const { config, folder } = loadConfig(options.config, shell);
  const level = logLevelOf(shell.env);
  // People read the log, programs keep the audit: each has a stream of its own.
  const world = makeWorld(makeLogger(level, { log: shell.stderr, audit: shell.stdout }));
  const wiring = await openWiring({ config, world, env: shell.env, folder });
  await resolveSecrets(wiring);
  await requireStore(wiring);
  const { host, port, resync: resyncMs } = options;
  const receiver = await startReceiver(wiring, { host, port, resyncMs });
  // Asked for now, so that the log says at once what deliveries would meet.
  const asking = Promise.allSettled(wiring.tokenRules().map(({ source }) => source.keys()));
  if (config.store.kind === "memory") {
    world.log.warn(
      {},
      "The store is memory: what is known ends with this process, and graces begin again",
    );
  }
  world.log.info({ url: receiver.url, resyncMs }, "Taking deliveries");
  await untilAborted(shell.signal, shell.stdout.closed);
  const isDeaf = !shell.signal.aborted;
  // A change without its audit line must not happen, so nothing more is changed.
  if (isDeaf) world.log.error({}, "Cannot write audit lines: nobody reads stdout any more; ending");
  else world.log.info({}, "Ending");
  await receiver.close();
  await asking;
  return isDeaf ? 1 : 0;
}

/** A store that cannot be read takes no delivery either: better known now than by the first one. */
async function requireStore(wiring: Wiring): Promise<void> {
  try {
    await wiring.objectLog("start").newest();
  } catch (error) {
    throw new UsageError(sentenceOf(error));
  }
}
