import { randomBytes } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { stringify } from "yaml";
import type { ListReport } from "../../lib/core/report.ts";
import type { Generation } from "../../lib/core/snapshot.ts";
import { apply, kustomizeFolder, objectsOf } from "./apply.ts";
import { freePort, temporaryFolder } from "./child.ts";
import { eventually } from "./eventually.ts";
import type { KubeApiserver } from "./kube-apiserver.ts";
import { compareRules, type Moto, type Rule } from "./moto.ts";
import { type Program, startProgram } from "./program.ts";

export const GRACE_MS = 5_000;
export const NAMESPACE = "kube-allowlist";
const INSTALLATION = "e2e";
const LIST = "payments-db";
const PORT = 5432;
const OWN_TEXT = new RegExp(`^ka1[a-z2-7]{12} ${INSTALLATION}/${LIST}$`);
const START_WITHIN_MS = 30_000;
const SAMPLE_INTERVAL_MS = 100;

/** Entries that people made by hand beside ours, none of which we may ever touch. */
const HAND_MADE: readonly Rule[] = [
  { cidr: "198.51.100.7/32", protocol: "tcp", port: PORT, description: "office" },
  // Like one of our nodes, but for another port, so another slot.
  { cidr: "203.0.113.11/32", protocol: "tcp", port: 22, description: "bastion" },
  // Looks a little like ours.
  {
    cidr: "203.0.113.200/32",
    protocol: "tcp",
    port: PORT,
    description: `ka1 ${INSTALLATION}/${LIST}`,
  },
  { cidr: "2001:db8::200/128", protocol: "tcp", port: PORT, description: "partner" },
];

/** A security group, and the configuration and secrets of a receiver that keeps a list on it. */
export interface Stage {
  readonly name: string;
  readonly folder: string;
  /** Path of allowlist.yaml. */
  readonly config: string;
  /** For the receiver: credentials of the cloud and every cluster's key. */
  readonly env: Readonly<Record<string, string>>;
  readonly group: string;
  /** CIDRs on the group that carry our marker, sorted. */
  own(): Promise<readonly string[]>;
  /** All other rules. */
  handMade(): Promise<readonly Rule[]>;
  /** Path of the file that holds a cluster's key. */
  secretFile(cluster: string): string;
}

export interface StageOptions {
  /** Also the value of the label `pool` that selects this stage's nodes. */
  readonly name: string;
  readonly clusters: readonly string[];
  /** Of the cloud; without, the environment's AWS_ENDPOINT_URL says it. */
  readonly endpoint?: string;
}

export async function setStage(moto: Moto, options: StageOptions): Promise<Stage> {
  const { name, clusters } = options;
  const folder = temporaryFolder(`stage-${name}`);
  const group = await moto.ec2.createSecurityGroup(name);
  for (const rule of HAND_MADE) await moto.ec2.authorize(group, rule);
  const config = join(folder, "allowlist.yaml");
  const target = {
    ...(options.endpoint ? { endpoint: options.endpoint } : {}),
    region: moto.region,
  };
  writeFileSync(config, stringify(configuration({ name, clusters, group, target })));
  const secrets = clusters.map((cluster) => {
    const key = `whsec_${randomBytes(32).toString("base64")}`;
    const secretFile = join(folder, `${cluster}.key`);
    writeFileSync(secretFile, `${key}\n`, { mode: 0o600 });
    return [keyVariable(cluster), key] as const;
  });
  const { AWS_ENDPOINT_URL: endpoint = "", ...cloud } = moto.env;
  return {
    name,
    folder,
    config,
    group,
    env: {
      ...cloud,
      ...(options.endpoint ? {} : { AWS_ENDPOINT_URL: endpoint }),
      ...Object.fromEntries(secrets),
    },
    async own() {
      const rules = await moto.ec2.rules(group);
      const own = rules.filter(({ description }) => OWN_TEXT.test(description));
      return own.map(({ cidr, protocol, port }) => {
        if (protocol !== "tcp" || port !== PORT) throw new Error(`Unexpected ${protocol} ${port}`);
        return cidr;
      });
    },
    async handMade() {
      const rules = await moto.ec2.rules(group);
      return rules.filter(({ description }) => !OWN_TEXT.test(description));
    },
    secretFile: (cluster) => join(folder, `${cluster}.key`),
  };
}

/** Hand-made rules as they were before the curtain rose, in the order of {@link Stage.handMade}. */
export function handMadeAtFirst(...further: readonly Rule[]): readonly Rule[] {
  return [...HAND_MADE, ...further].toSorted(compareRules);
}

function keyVariable(cluster: string): string {
  return `${cluster.toUpperCase()}_WEBHOOK_SECRET`;
}

function configuration(options: {
  readonly name: string;
  readonly clusters: readonly string[];
  readonly group: string;
  readonly target: object;
}) {
  const { name, clusters, group, target } = options;
  return {
    version: 1,
    installation: INSTALLATION,
    store: { kind: "file", path: "store" },
    clusters: Object.fromEntries(
      clusters.map((cluster) => [
        cluster,
        {
          auth: { signature: { keys: [`env:${keyVariable(cluster)}`] } },
          bounds: ["203.0.113.0/24", "2001:db8::/32"],
        },
      ]),
    ),
    lists: {
      [LIST]: {
        from: clusters.map((cluster) => ({
          cluster,
          nodes: { pool: name },
          addresses: ["ExternalIP"],
        })),
        removal: { policy: "sync", grace: `${GRACE_MS / 1000}s`, maxRatio: 0.3, minRemaining: 1 },
        targets: [
          {
            kind: "aws/security-group",
            ...target,
            id: group,
            permission: { protocol: "tcp", port: PORT },
          },
        ],
      },
    },
  };
}

export interface Status {
  readonly version: 1;
  readonly clusters: readonly {
    readonly cluster: string;
    readonly generation: Generation;
    readonly nodes: number;
    readonly fresh: boolean;
  }[];
  readonly lists: readonly ListReport[];
}

/** A running `serve` or `dev`. */
export interface Receiver {
  readonly program: Program;
  readonly url: string;
  status(): Promise<Status>;
}

/** Starts `serve`, and waits until it takes deliveries. A restart passes the port of before. */
export async function startServe(
  stage: Pick<Stage, "config" | "env" | "folder">,
  options: { readonly port?: number } = {},
): Promise<Receiver> {
  const port = options.port ?? (await freePort());
  const args = ["serve", "--config", stage.config, "--port", String(port), "--resync", "2s"];
  return openReceiver(await startProgram(args, { env: stage.env, folder: stage.folder }), port);
}

/** Starts `dev`: receiver and forwarder in one process. */
export async function startDev(
  stage: Stage,
  options: { readonly cluster: string; readonly kubeconfig: string },
): Promise<Receiver> {
  const port = await freePort();
  const args = ["dev", "--config", stage.config, "--port", String(port), "--resync", "2s"];
  args.push("--kubeconfig", options.kubeconfig, "--cluster", options.cluster);
  return openReceiver(await startProgram(args, { env: stage.env, folder: stage.folder }), port);
}

async function openReceiver(program: Program, port: number): Promise<Receiver> {
  const url = `http://127.0.0.1:${port}`;
  const get = async (path: string) => {
    const answer = await fetch(url + path, {
      headers: { accept: "application/json" },
      signal: AbortSignal.timeout(5_000),
    });
    if (!answer.ok) throw new Error(`Cannot get ${path}: ${answer.status}`);
    return answer;
  };
  try {
    await program.waitFor(() => get("/healthz").then(() => true), START_WITHIN_MS);
  } catch (error) {
    await program.stop();
    throw error;
  }
  return {
    program,
    url,
    status: async () => (await (await get("/v1/status")).json()) as Status,
  };
}

/** Starts `forward` as it would run in the cluster, but outside. */
export async function startForwarder(
  stage: Pick<Stage, "name" | "folder" | "secretFile">,
  options: {
    readonly receiver: Pick<Receiver, "url">;
    readonly cluster: string;
    readonly kubeconfig: string;
    /** Another than one of this stage in our namespace. */
    readonly lease?: string;
    /** Beside what is given here. */
    readonly env?: Readonly<Record<string, string>>;
  },
): Promise<Program> {
  const args = [
    "forward",
    ...["--url", `${options.receiver.url}/v1/snapshots`],
    ...["--cluster", options.cluster],
    ...["--secret-file", stage.secretFile(options.cluster)],
    ...["--kubeconfig", options.kubeconfig],
    ...["--labels", "pool"],
    ...["--lease", options.lease ?? `${NAMESPACE}/${stage.name}`],
    ...["--heartbeat", "10s"],
  ];
  const folder = join(stage.folder, `forwarder-${options.cluster}`);
  mkdirSync(folder, { recursive: true });
  return startProgram(args, { folder, env: options.env ?? {} });
}

/**
 * What an installed forwarder may do, from the manifests that are shipped, and besides keep Leases
 * of other names, one for each stage. Returns the token of its service account.
 */
export async function grantForwarder(kube: KubeApiserver): Promise<string> {
  const account = "forwarder";
  const rights = objectsOf(kustomizeFolder("base")).filter(
    ({ kind }) => ["Namespace", "ServiceAccount"].includes(kind) || kind.includes("Role"),
  );
  const group = "rbac.authorization.k8s.io";
  const metadata = { name: "leases-of-stages", namespace: NAMESPACE };
  const verbs = ["get", "create", "update"];
  await apply(kube, rights);
  await apply(kube, [
    {
      apiVersion: `${group}/v1`,
      kind: "Role",
      metadata,
      rules: [{ apiGroups: ["coordination.k8s.io"], resources: ["leases"], verbs }],
    },
    {
      apiVersion: `${group}/v1`,
      kind: "RoleBinding",
      metadata,
      roleRef: { apiGroup: group, kind: "Role", name: metadata.name },
      subjects: [{ kind: "ServiceAccount", name: account, namespace: NAMESPACE }],
    },
  ]);
  return kube.createToken(NAMESPACE, account);
}

/** The own rules over time, sampled; each state once, with the moment it was first seen. */
export interface History {
  states(): readonly { readonly at: number; readonly cidrs: readonly string[] }[];
  /** States in which one of these was missing after all had been there; all if they never were. */
  gaps(cidrs: readonly string[]): readonly (readonly string[])[];
  /** When the CIDR was last seen, or null. */
  lastSeen(cidr: string): number | null;
  /** Lines such as `+1.2 s + 203.0.113.5/32`. */
  lines(): readonly string[];
  stop(): Promise<void>;
}

export function recordHistory(stage: Pick<Stage, "own">): History {
  const startedAt = Date.now();
  const states: { at: number; cidrs: readonly string[] }[] = [];
  const lastSeen = new Map<string, number>();
  let open = true;
  const sample = async () => {
    while (open) {
      const at = Date.now();
      const cidrs = await stage.own();
      for (const cidr of cidrs) lastSeen.set(cidr, at);
      if (states.at(-1)?.cidrs.join() !== cidrs.join()) states.push({ at, cidrs });
      await sleep(SAMPLE_INTERVAL_MS);
    }
  };
  const sampling = sample();
  // Rejections surface in stop(); until then nobody listens.
  sampling.catch(() => undefined);
  return {
    states: () => states,
    gaps(cidrs) {
      const lacks = (state: { cidrs: readonly string[] }) =>
        !cidrs.every((cidr) => state.cidrs.includes(cidr));
      const first = states.findIndex((state) => !lacks(state));
      return states
        .slice(Math.max(first, 0))
        .filter(lacks)
        .map((state) => state.cidrs);
    },
    lastSeen: (cidr) => lastSeen.get(cidr) ?? null,
    lines: () => states.flatMap((state, index) => describe(states[index - 1], state, startedAt)),
    async stop() {
      open = false;
      await sampling;
    },
  };
}

function describe(
  before: { readonly cidrs: readonly string[] } | undefined,
  state: { readonly at: number; readonly cidrs: readonly string[] },
  startedAt: number,
): readonly string[] {
  const had = before?.cidrs ?? [];
  const time = `+${((state.at - startedAt) / 1000).toFixed(1)} s`;
  const added = state.cidrs.filter((cidr) => !had.includes(cidr));
  const removed = had.filter((cidr) => !state.cidrs.includes(cidr));
  return [
    ...added.map((cidr) => `${time} + ${cidr}`),
    ...removed.map((cidr) => `${time} - ${cidr}`),
  ];
}

/** Waits until the own rules are exactly these, in any order; returns how long it took. */
export async function untilOwn(
  stage: Stage,
  expected: readonly string[],
  options: { readonly withinMs: number; readonly programs: readonly Program[] },
): Promise<number> {
  const startedAt = Date.now();
  const wanted = expected.toSorted().join(" ");
  let seen = "";
  const probe = async () => {
    seen = (await stage.own()).toSorted().join(" ");
    return seen === wanted;
  };
  try {
    await eventually(`the own rules are ${wanted}`, probe, {
      withinMs: options.withinMs,
      hopeless: () => endedEarly(options.programs),
    });
  } catch (error) {
    const outputs = options.programs.map((program) => program.output().slice(-6_000));
    const message = `They are ${seen || "none"}. The programs said:\n${outputs.join("\n----\n")}`;
    throw new Error(`${error instanceof Error ? error.message : error}. ${message}`, {
      cause: error,
    });
  }
  return Date.now() - startedAt;
}

function endedEarly(programs: readonly Program[]): string | null {
  const ended = programs.find((program) => program.exit() !== null);
  return ended ? `a program ended: ${JSON.stringify(ended.exit())}\n${ended.output()}` : null;
}
