import { makeLogger } from "../../lib/logger.ts";
import { makeWorld } from "../../lib/world.ts";
import { loadConfig } from "../configuration.ts";
import { logLevelOf, openWiring, resolveSecrets, startReceiver } from "../receiver.ts";
import { type Shell, untilAborted } from "../shell.ts";

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
  const { host, port, resync: resyncMs } = options;
  const receiver = await startReceiver(wiring, { host, port, resyncMs });
  if (config.store.kind === "memory") {
    world.log.warn(
      {},
      "The store is memory: what is known ends with this process, and graces begin again",
    );
  }
  world.log.info({ url: receiver.url, resyncMs }, "Taking deliveries");
  await untilAborted(shell.signal);
  world.log.info({}, "Ending");
  await receiver.close();
  return 0;
}
