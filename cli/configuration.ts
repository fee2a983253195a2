import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { parseYamlConfig } from "../lib/config/yaml.ts";
import type { Config } from "../lib/config.ts";
import { type Shell, UsageError } from "./shell.ts";

const PATH_DEFAULT = "./allowlist.yaml";

/** A configuration, and what relative paths in it are relative to. */
export interface LoadedConfig {
  readonly config: Config;
  readonly folder: string;
  /** As it was named. */
  readonly path: string;
}

/** Reads the receiver's configuration; throws a UsageError with every problem of it. */
export function loadConfig(given: string | undefined, shell: Pick<Shell, "folder">): LoadedConfig {
  const path = given ?? PATH_DEFAULT;
  const absolute = resolve(shell.folder, path);
  const reading = parseYamlConfig(readText(absolute, path));
  if (reading.kind === "invalid") {
    const count =
      reading.problems.length === 1 ? "1 problem" : `${reading.problems.length} problems`;
    throw new UsageError(`Cannot use the configuration ${path}: ${count}`, reading.problems);
  }
  return { config: reading.config, folder: dirname(absolute), path };
}

/**
 * {@link loadConfig} for commands that work from what is stored, which a memory store has lost by
 * then.
 */
export function loadStoredConfig(
  given: string | undefined,
  shell: Pick<Shell, "folder">,
  command: string,
): LoadedConfig {
  const loaded = loadConfig(given, shell);
  if (loaded.config.store.kind !== "memory") return loaded;
  throw new UsageError(
    `Cannot ${command} from a memory store: it lives and ends with the process that serves; ` +
      "configure store: { kind: file, path: … }, or ask the running process for /v1/status",
  );
}

function readText(absolute: string, shown: string): string {
  try {
    return readFileSync(absolute, "utf8");
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "unreadable";
    throw new UsageError(
      `Cannot read the configuration ${shown}: ${code}; name an existing file with --config`,
    );
  }
}
