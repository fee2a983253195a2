import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import {
  type Config,
  findSharedKeys,
  parseJsonConfig,
  type ResolvedKey,
  resolveReference,
} from "../lib/config.ts";
import { parseFeed } from "../lib/core/feed.ts";
import { outsidesOf, type TargetConfig } from "../lib/core/list.ts";
import { outsideKey } from "../lib/core/outside.ts";
import type { Problem } from "../lib/core/snapshot.ts";
import { parseStoredSnapshot, storedSnapshot } from "../lib/core/snapshot.ts";
import { isLogLevel, LOG_LEVELS, makeLogger } from "../lib/logger.ts";
import { dnsClient } from "../lib/sources/dns.ts";
import type { NameClient } from "../lib/sources/names.ts";
import { sourceReader } from "../lib/sources/reader.ts";
import { fileStore } from "../lib/stores/file.ts";
import { parseTargetObject } from "../lib/stores/lease.ts";
import { openLog } from "../lib/stores/log.ts";
import { memoryStore } from "../lib/stores/memory.ts";
import { parseSourceReading } from "../lib/stores/readings.ts";
import type { Store } from "../lib/stores/store.ts";
import type { SyncContext } from "../lib/sync.ts";
import { type MemoryTargets, memoryTargets } from "../lib/targets/memory.ts";
import { kinds } from "../lib/targets/registry.ts";
import { type Target, TargetError } from "../lib/targets/target.ts";
import { type ClusterKeys, parseSigningKey } from "../lib/wire/signature.ts";
import { makeWorld, type World } from "../lib/world.ts";
import { type PublishedFeed, publishedFeeds } from "./feeds.ts";
import { ConfigurationError, resolveTokens } from "./tokens.ts";

const TRIM_INTERVAL_MS = 3_600_000;
const CONFIG_DEFAULT = "./allowlist.json";

/** Everything that the functions are made of; `serve`, `dev` and the commands make one too. */
export interface Wiring extends SyncContext {
  readonly config: Config;
  /** Keys that clusters sign with. */
  keys(): readonly ClusterKeys[];
  /** Bearer tokens that may read the status from elsewhere. Throws a ConfigurationError. */
  statusTokens(): readonly string[];
  /** Lists that can be fetched, by each of their names. */
  readonly feeds: ReadonlyMap<string, PublishedFeed>;
  /** Trims the logs, at most once an hour each. */
  trim(): Promise<void>;
}

export interface WiringOptions {
  readonly config: Config;
  readonly world: World;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** What relative paths in the configuration are relative to. */
  readonly folder: string;
  /** Instead of the configured store. */
  readonly store?: Store;
  /** Instead of the configured keys: `dev` signs with a key of its own process. */
  readonly keys?: readonly ClusterKeys[];
  /** Contents of the kind `memory`. */
  readonly memory?: MemoryTargets;
  /** Instead of this machine's name servers. */
  readonly names?: NameClient;
}

/** Makes clients, logs and targets on demand, each once. Rejects nothing until it is used. */
export function makeWiring(options: WiringOptions): Wiring {
  const { config, world, env } = options;
  const store = options.store ?? makeStore(options);
  const logs = { store, prefix: "", world };
  const memory = options.memory ?? memoryTargets();
  const secret = (reference: string) => resolveSecret(reference, options);
  const targets = new Map<string, Promise<Target>>();
  const trimmed = new Map<string, number>();
  const clusterLog = (name: string) =>
    openLog({
      ...logs,
      kind: "clusters",
      name,
      parse: parseStoredSnapshot,
      render: storedSnapshot,
    });
  const objectLog = (name: string) =>
    openLog({ ...logs, kind: "targets", name, parse: parseTargetObject });
  const sourceLog = (name: string) =>
    openLog({ ...logs, kind: "sources", name, parse: parseSourceReading });
  const feedLog = (name: string) => openLog({ ...logs, kind: "feeds", name, parse: parseFeed });
  const feeds = publishedFeeds(config, { feedLog, secret });
  const context = { world, env, memory, secret, feed: feedLog };

  return {
    config,
    policy: config,
    world,
    clusterLog,
    objectLog,
    sourceLog,
    readSource: sourceReader(context, options.names ?? dnsClient()),
    traitsOf: (target) => kindOf(target).traits(target.settings),
    targetOf(target) {
      const forget = () => targets.delete(target.name);
      const create = async () => renewing(await kindOf(target).create(target, context), forget);
      const made = targets.get(target.name) ?? create();
      targets.set(target.name, made);
      // What could not be made is tried again: credentials and networks come back.
      made.catch(forget);
      return made;
    },
    keys: once(() => options.keys ?? resolveKeys(options)),
    feeds,
    statusTokens: once(() => resolveTokens(config.statusTokens, { path: "status.tokens", secret })),
    async trim() {
      const objects = config.lists.flatMap((list) => list.targets.map((target) => target.object));
      const clusters = Object.keys(config.clusters);
      const outsides = outsidesOf(config.lists).map(outsideKey);
      const due = [
        ...clusters.map((name) => ({ name: `clusters/${name}`, log: clusterLog(name) })),
        ...[...new Set(objects)].map((name) => ({ name: `targets/${name}`, log: objectLog(name) })),
        ...outsides.map((name) => ({ name: `sources/${name}`, log: sourceLog(name) })),
        ...[...new Set(feeds.values())].flatMap(({ parts }) =>
          Object.entries(parts).map(([name, log]) => ({ name: `feeds/${name}`, log })),
        ),
      ].filter(({ name }) => world.now() - (trimmed.get(name) ?? 0) >= TRIM_INTERVAL_MS);
      for (const { name, log } of due) {
        trimmed.set(name, world.now());
        await trimOne(world, name, log);
      }
    },
  };
}

/** A target that is made anew after it was denied: its keys may have been exchanged meanwhile. */
function renewing(target: Target, forget: () => void): Target {
  const watch = <T>(work: Promise<T>) =>
    work.catch((error) => {
      if (error instanceof TargetError && error.kind === "denied") forget();
      throw error;
    });
  return {
    ...target,
    observe: (signal) => watch(target.observe(signal)),
    apply: (batch, revision, signal) => watch(target.apply(batch, revision, signal)),
  };
}

// History that is left lying costs storage, nothing else: the next hour tries again.
async function trimOne(
  world: World,
  name: string,
  log: { trim(): Promise<number> },
): Promise<void> {
  try {
    const gone = await log.trim();
    if (gone > 0) world.log.info({ log: name, gone }, "Trimmed a log");
  } catch (error) {
    const message = error instanceof Error ? error.message : "unknown error";
    world.log.warn({ log: name, error: message }, "Cannot trim a log");
  }
}

function kindOf(target: TargetConfig) {
  const kind = kinds[target.kind];
  if (kind === undefined) throw new Error(`Cannot find target kind "${target.kind}"`);
  return kind;
}

function makeStore({ config, world, folder }: WiringOptions): Store {
  switch (config.store.kind) {
    case "memory":
      return memoryStore(world);
    case "file":
      return fileStore(resolve(folder, config.store.path), world);
    default:
      throw new Error(`Unreachable: ${JSON.stringify(config.store satisfies never)}`);
  }
}

function resolveSecret(reference: string, { env, folder }: WiringOptions): string {
  return resolveReference(reference, {
    env,
    readFile: (path) => readFileSync(resolve(folder, path), "utf8"),
  });
}

/** Every key of every cluster, or a ConfigurationError with all that is wrong with them. */
function resolveKeys(options: WiringOptions): readonly ClusterKeys[] {
  const problems: Problem[] = [];
  const resolved: ResolvedKey[] = [];
  const clusters = Object.entries(options.config.auth).map(([cluster, auth]) => {
    const references = auth.signature?.keys ?? [];
    const keys = references.flatMap((reference) => {
      try {
        const value = resolveSecret(reference, options);
        resolved.push({ cluster, reference, value });
        return [parseSigningKey(value)];
      } catch (error) {
        const message = error instanceof Error ? error.message : "Cannot read the key";
        problems.push({ path: `clusters.${cluster}.auth.signature.keys`, message });
        return [];
      }
    });
    return { cluster, keys };
  });
  problems.push(...findSharedKeys(resolved));
  if (problems.length > 0) throw new ConfigurationError(problems);
  return clusters;
}

function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | null = null;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}

/** The wiring of a deployed function, from its environment and the configuration in its bundle. */
export function environmentWiring(): Wiring {
  const { env } = process;
  const path = resolve(env.KUBE_ALLOWLIST_CONFIG ?? CONFIG_DEFAULT);
  const reading = parseJsonConfig(readFileSync(path, "utf8"));
  if (reading.kind === "invalid") throw new ConfigurationError(reading.problems);
  const level = env.KUBE_ALLOWLIST_LOG_LEVEL ?? "info";
  if (!isLogLevel(level)) {
    const message = `Cannot use log level "${level}": one of ${LOG_LEVELS.join(", ")}`;
    throw new ConfigurationError([{ path: "KUBE_ALLOWLIST_LOG_LEVEL", message }]);
  }
  const world = makeWorld(makeLogger(level, { log: process.stdout, audit: process.stdout }));
  return makeWiring({ config: reading.config, world, env, folder: dirname(path) });
}
