import type { Wiring } from "../functions/wiring.ts";
import { makeWorld } from "../lib/world.ts";
import { commandLogger } from "./command-log.ts";
import { loadStoredConfig } from "./configuration.ts";
import { openWiring } from "./receiver.ts";
import type { Shell } from "./shell.ts";

/**
 * What `plan`, `sync`, `verify` and `status` work with: the stored snapshots and the targets, no
 * forwarder and no key.
 */
export interface Stored {
  readonly wiring: Wiring;
  /** Of the configuration, as it was named. */
  readonly path: string;
}

export interface StoredOptions {
  readonly config?: string;
  readonly json?: boolean;
}

export async function openStored(
  command: string,
  options: StoredOptions,
  shell: Shell,
): Promise<Stored> {
  const { config, folder, path } = loadStoredConfig(options.config, shell, command);
  const world = makeWorld(commandLogger(shell.stderr));
  const wiring = await openWiring({ config, world, env: shell.env, folder });
  return { wiring: { ...wiring, signal: shell.signal }, path };
}

export function writeJson(shell: Shell, value: unknown): void {
  shell.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}
