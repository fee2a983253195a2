import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import {
  type Config,
  findSharedKeys,
  parseJsonConfig,
  type ResolvedKey,
  resolveReference,
} from "../lib/config.ts";
import type { TargetConfig } from "../lib/core/list.ts";
import type { Instant } from "../lib/core/record.ts";
import type { Problem } from "../lib/core/snapshot.ts";
import { isLogLevel, LOG_LEVELS, type LogLevel } from "../lib/log-line.ts";
import { dnsClient } from "../lib/sources/dns.ts";
import type { NameClient } from "../lib/sources/names.ts";
import { sourceReader } from "../lib/sources/reader.ts";
import type { Store } from "../lib/stores/store.ts";
import type { SyncContext } from "../lib/sync.ts";
import { type MemoryTargets, memoryTargets } from "../lib/targets/memory.ts";
import { kinds } from "../lib/targets/registry.ts";
import { type Target, TargetError } from "../lib/targets/target.ts";
import { type ClusterKeys, parseSigningKey } from "../lib/wire/signature.ts";
import { type LogFields, type Logger, makeWorld, type World } from "../lib/world.ts";
import { type PublishedFeed, publishedFeeds } from "./feeds.ts";
import { renderLine } from "./line.ts";
import { lineLogger } from "./line-log.ts";
import { type Logs, openLogs } from "./logs.ts";
import { runLog } from "./run.ts";
import { openStore } from "./store.ts";
import { type ClusterTokens, resolveTokenRules } from "./token-rules.ts";
import { ConfigurationError, resolveTokens } from "./tokens.ts";
import { trimmer } from "./trim.ts";

const CONFIG_DEFAULT = "./allowlist.json";

/** Everything that the functions are made of; `serve`, `dev` and the commands make one too. */
export interface Wiring extends SyncContext {
  readonly config: Config;
  readonly clusterLog: Logs["clusterLog"];
  readonly objectLog: Logs["objectLog"];
  readonly sourceLog: Logs["sourceLog"];
  /** Keys that clusters sign with. */
  keys(): readonly ClusterKeys[];
  /** Whose service accounts' tokens speak for which cluster. Throws a ConfigurationError. */
  tokenRules(): readonly ClusterTokens[];
  /** Bearer tokens that may read the status from elsewhere. Throws a ConfigurationError. */
  statusTokens(): readonly string[];
  /** Lists that can be fetched, by each of their names. */
  readonly feeds: ReadonlyMap<string, PublishedFeed>;
  /** Trims the logs, at most once an hour each, for as long as there is time. */
  trim(deadline?: Instant): Promise<void>;
  /** Takes the members of a line that tells the numbers of a run. */
  measure(fields: LogFields): void;
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
  /** Is told the numbers of each run. Nobody is unless given: only a cloud's log reads them. */
  readonly measure?: (fields: LogFields) => void;
}

/** Makes clients, logs and targets on demand, each once. Rejects nothing until it is used. */
export function makeWiring(options: WiringOptions): Wiring {
  const { config, env, measure = () => undefined } = options;
  const world = { ...options.world, log: runLog(options.world.log) };
  const memory = options.memory ?? memoryTargets();
  const secret = (reference: string) => resolveSecret(reference, options);
  const { folder } = options;
  const store = options.store ?? openStore(config.store, { world, env, secret, folder });
  const { feedLog, ...logs } = openLogs(store, { installation: config.installation, world });
  const targets = new Map<string, Promise<Target>>();
  const feeds = publishedFeeds(config, { feedLog, secret });
  const context = { world, env, memory, secret, feed: feedLog };
  // Made when it is asked for: the webhook, which leaves both to the resync, is packaged without.
  const trim = once(() => trimmer({ config, feeds, logs: { ...logs, feedLog }, world }));
  const reader = once(() => sourceReader(context, options.names ?? dnsClient()));

  return {
    config,
    policy: config,
    world,
    ...logs,
    readSource: async (source, signal) => reader()(source, signal),
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
    tokenRules: once(() => resolveTokenRules(config.auth, { world, secret })),
    feeds,
    statusTokens: once(() => resolveTokens(config.statusTokens, { path: "status.tokens", secret })),
    trim: (deadline) => trim()(deadline),
    measure,
  };
}

/** The same, for one run: no call to the store is begun or waited for after `deadline`. */
export function until(wiring: Wiring, deadline: Instant): Wiring {
  return {
    ...wiring,
    clusterLog: (name) => wiring.clusterLog(name, deadline),
    objectLog: (name) => wiring.objectLog(name, deadline),
    sourceLog: (name) => wiring.sourceLog(name, deadline),
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

function kindOf(target: TargetConfig) {
  const kind = kinds[target.kind];
  if (kind === undefined) throw new Error(`Cannot find target kind "${target.kind}"`);
  return kind;
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

/** The variables of this process, as they are now. */
export function environment(): Readonly<Record<string, string | undefined>> {
  return { ...process.env };
}

// A pipe's or a file's write is over when it returns, so that no line waits in a frozen instance.
const write = (line: string) => void process.stdout.write(line);

/** The log of a deployed function, which is there also where no wiring can be made. */
export function standardLog(level: LogLevel): Logger {
  return lineLogger(level, { write, now: () => Date.now() });
}

/**
 * The wiring of a deployed function, from its environment and the configuration in its bundle.
 * What clients ask of `env` they ask at every call.
 */
export function environmentWiring(env = environment()): Wiring {
  const path = resolve(env.KUBE_ALLOWLIST_CONFIG ?? CONFIG_DEFAULT);
  const reading = parseJsonConfig(readFileSync(path, "utf8"));
  if (reading.kind === "invalid") throw new ConfigurationError(reading.problems);
  const level = env.KUBE_ALLOWLIST_LOG_LEVEL ?? "info";
  if (!isLogLevel(level)) {
    const message = `Cannot use log level "${level}": one of ${LOG_LEVELS.join(", ")}`;
    throw new ConfigurationError([{ path: "KUBE_ALLOWLIST_LOG_LEVEL", message }]);
  }
  const world = makeWorld(standardLog(level));
  const measure = (fields: LogFields) => write(`${renderLine(fields)}\n`);
  return makeWiring({ config: reading.config, world, env, folder: dirname(path), measure });
}
