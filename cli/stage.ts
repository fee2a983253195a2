import { randomBytes } from "node:crypto";
import { resolve } from "node:path";
import type { KubeSource } from "../forwarder/kube.ts";
import type { WiringOptions } from "../functions/wiring.ts";
import type { ClusterAuth, Config } from "../lib/config.ts";
import { type ClusterKeys, parseSigningKey, type SigningKey } from "../lib/wire/signature.ts";
import type { World } from "../lib/world.ts";
import { loadConfig } from "./configuration.ts";
import { openWiring, resolveKeys, resolveSecrets } from "./receiver.ts";
import { type Shell, sentenceOf, UsageError } from "./shell.ts";

/** What `dev` plays on: whose nodes, whose targets. */
export interface Stage {
  readonly config: Config;
  /** What relative paths in the configuration are relative to. */
  readonly folder: string;
  readonly env: Shell["env"];
  /**
   * The cluster whose nodes the forwarder of this process follows; null where there is no such
   * forwarder.
   */
  readonly following: Following | null;
  /** What deliveries are verified with. */
  readonly keys: readonly ClusterKeys[];
  /** When the first resync begins. */
  readonly firstResyncMs: number;
  /** Null where cluster and targets are the user's own. */
  readonly embedded: Embedded | null;
  close(): Promise<void>;
}

/** A cluster and targets of this process, which can be played with and looked into. */
export interface Embedded {
  /** Where each target answers, for other programs of this machine. */
  readonly places: readonly { readonly target: string; readonly url: string }[];
  /** Lets nodes come and go until the signal aborts. */
  play(signal: AbortSignal): Promise<void>;
  /** Whether every target holds every node that is there now. */
  isHome(): boolean;
  /** Compares what each target holds with the cluster, whatever the product says of it. */
  check(options: { readonly resyncMs: number }): Check;
}

export interface Following {
  readonly cluster: string;
  readonly kubeConfig: KubeSource;
  /** Of this process; nobody else ever has it. */
  readonly key: SigningKey;
}

export interface Check {
  /** Whether all findings are. */
  readonly isGood: boolean;
  /** One for each target. */
  readonly findings: readonly Finding[];
}

export interface Finding {
  readonly isGood: boolean;
  readonly sentence: string;
}

export interface StageOptions {
  readonly config: string;
  readonly kubeconfig?: string;
  readonly cluster?: string;
}

export interface StageContext {
  readonly shell: Shell;
  readonly world: World;
  readonly note: (text: string) => void;
}

/**
 * A configured stage: the user's own targets, and the cluster of the kubeconfig where one is given.
 */
export async function openStage(options: StageOptions, context: StageContext): Promise<Stage> {
  const { shell, world } = context;
  const { config, folder } = loadConfig(options.config, shell);
  const following = followingOf(options, { config, shell });
  // Before anything is resynced: a mistake on the command line must not have changed a target.
  if (following !== null) await requireKubeConfig(following);
  const base = { config, world, env: shell.env, folder };
  const { auth, keys } =
    following === null
      ? { auth: config.auth, keys: await resolveSecrets(await openWiring(base)) }
      : await doorsOf(base, following, context);
  return {
    config: { ...config, auth },
    folder,
    env: shell.env,
    following,
    keys,
    firstResyncMs: 0,
    embedded: null,
    close: async () => undefined,
  };
}

export function randomKey(): SigningKey {
  return parseSigningKey(`whsec_${randomBytes(32).toString("base64")}`);
}

export function ownKeys({ cluster, key }: Following): ClusterKeys {
  return { cluster, keys: [key] };
}

function followingOf(
  options: StageOptions,
  { config, shell }: { readonly config: Config; readonly shell: Shell },
): Following | null {
  const { kubeconfig, cluster } = options;
  if (kubeconfig === undefined) {
    if (cluster === undefined) return null;
    throw new UsageError(
      `Cannot follow cluster "${cluster}": name its kubeconfig with --kubeconfig`,
    );
  }
  const clusters = Object.values(config.clusters);
  const names = clusters.filter(({ retired }) => !retired).map(({ name }) => name);
  const [only, ...others] = names;
  if (cluster === undefined && only !== undefined && others.length === 0) {
    return follow(only, kubeconfig, shell);
  }
  if (cluster !== undefined && names.includes(cluster)) return follow(cluster, kubeconfig, shell);
  const what = `Cannot follow cluster "${cluster}"`;
  if (cluster !== undefined && config.clusters[cluster]?.retired) {
    throw new UsageError(`${what}: it is retired; ${UNRETIRE}`);
  }
  if (only === undefined) {
    const retired = clusters.map(({ name }) => name).join(", ");
    const why = retired === "" ? "it has no clusters" : `its clusters are retired (${retired})`;
    throw new UsageError(`Cannot follow a cluster of this configuration: ${why}; ${UNRETIRE}`);
  }
  const which =
    cluster === undefined
      ? `Cannot tell which cluster ${kubeconfig} is: say it with --cluster`
      : `${what}: the configuration has none of this name`;
  throw new UsageError(`${which}; there are ${names.join(", ")}`);
}

const UNRETIRE = 'write one under "clusters" that is not "retired: true"';

/** Opens no connection. */
async function requireKubeConfig({ kubeConfig }: Following): Promise<void> {
  const { openKube } = await import("../forwarder/kube.ts");
  const world = { now: () => 0, sleep: async () => undefined };
  try {
    openKube(kubeConfig, { world, proxy: {}, warn: () => undefined }).close();
  } catch (error) {
    throw new UsageError(sentenceOf(error));
  }
}

function follow(cluster: string, kubeconfig: string, { folder }: Shell): Following {
  const path = resolve(folder, kubeconfig);
  return { cluster, kubeConfig: { kind: "file", path }, key: randomKey() };
}

/** Nothing proves anything: deliveries are refused. */
const SHUT: ClusterAuth = { serviceAccount: null, signature: null };
/** With the key of this process, which stands nowhere. */
const OWN: ClusterAuth = { serviceAccount: null, signature: { keys: ["env:NONE"] } };

/**
 * The cluster that is followed here is known by the key of this process, whatever else it proves
 * itself by. Whoever tries out one cluster need not have the others' keys: the deliveries of those
 * that have none are refused, and so nothing of theirs is removed.
 */
async function doorsOf(
  base: WiringOptions,
  following: Following,
  { note }: StageContext,
): Promise<Pick<Stage, "keys"> & { readonly auth: Config["auth"] }> {
  const { auth } = base.config;
  const shut = Object.fromEntries(Object.keys(auth).map((name) => [name, SHUT]));
  const doors: Record<string, ClusterAuth> = { ...shut, [following.cluster]: OWN };
  const found: ClusterKeys[] = [];
  for (const [name, own] of Object.entries(auth)) {
    if (name === following.cluster) continue;
    const alone = { ...shut, [name]: own };
    const wiring = await openWiring({ ...base, config: { ...base.config, auth: alone } });
    const { keys, problems } = await resolveKeys(wiring);
    for (const { message } of problems) note(`Deliveries of ${name} are refused here: ${message}`);
    if (problems.length > 0) continue;
    found.push(...keys.filter((one) => one.cluster === name));
    doors[name] = own;
  }
  return { auth: doors, keys: [...found, ownKeys(following)] };
}
