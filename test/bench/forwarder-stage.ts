import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";
import { BUNDLING, bundleEntry } from "../../scripts/bundle.ts";
import { temporaryFolder } from "../e2e/child.ts";
import { eventually } from "../e2e/eventually.ts";
import { type BenchReceiver, startBenchReceiver } from "./bench-receiver.ts";
import { type BenchCluster, startBenchCluster } from "./forwarder-cluster.ts";
import { type Subject, startSubject } from "./subject.ts";

/** A program that follows a cluster; the forwarder is the only one that delivers. */
export interface Way {
  readonly name: string;
  readonly delivers: boolean;
  /** Behind the flags of Node, before the kubeconfig. */
  readonly args: readonly string[];
}

export interface Ways {
  readonly forwarder: Way;
  /** The forwarder as a command of the whole program. */
  readonly command: Way;
  readonly informer: Way;
  readonly bundledInformer: Way;
}

/** One program before one cluster, from its start. */
export interface Stage {
  readonly cluster: BenchCluster;
  readonly subject: Subject;
  readonly receiver: BenchReceiver;
  close(): Promise<void>;
}

const DELIVERED_MS_MAX = 60_000;

/** Builds what is compared: both bundled in the same way, by what `npm run build` uses. */
export async function prepareWays(): Promise<Ways> {
  const folder = temporaryFolder("bench");
  await bundleEntry("forwarder", folder);
  await bundleEntry("cli", folder);
  const source = join(import.meta.dirname, "informer.ts");
  const bundled = join(folder, "informer.cjs");
  await build({ ...BUNDLING, entryPoints: [source], outfile: bundled, format: "cjs" });
  const of = (name: string, delivers: boolean, args: readonly string[]): Way => ({
    name,
    delivers,
    args,
  });
  return {
    forwarder: of("forwarder", true, [join(folder, "forwarder.cjs"), "--kubeconfig"]),
    command: of("forward of the whole command", true, [
      join(folder, "cli.cjs"),
      "forward",
      "--kubeconfig",
    ]),
    informer: of("informer", false, [source]),
    bundledInformer: of("informer, bundled", false, [bundled]),
  };
}

export async function openStage(
  way: Way,
  options: Parameters<typeof startBenchCluster>[0] & {
    /** Of Node. */
    readonly flags: readonly string[];
  },
): Promise<Stage> {
  const { flags, ...clusterOptions } = options;
  const cluster = await startBenchCluster(clusterOptions);
  const receiver = await startBenchReceiver();
  const env = way.delivers ? environmentOf(receiver.url, clusterOptions.pods ?? []) : {};
  const subject = await startSubject([...flags, ...way.args, cluster.kubeconfig], env);
  return {
    cluster,
    subject,
    receiver,
    async close() {
      await subject.stop();
      receiver.close();
      await cluster.close();
    },
  };
}

function environmentOf(
  url: string,
  pods: NonNullable<Parameters<typeof startBenchCluster>[0]["pods"]>,
): Readonly<Record<string, string>> {
  const secrets = join(temporaryFolder("bench"), "secret");
  writeFileSync(secrets, `whsec_${Buffer.alloc(32, 1).toString("base64")}\n`);
  const selectors = pods.map(({ namespace, labels }) => {
    const pairs = Object.entries(labels).map(([key, value]) => `${key}=${value}`);
    return `${namespace}/${pairs.join(",")}`;
  });
  return {
    KUBE_ALLOWLIST_URL: url,
    KUBE_ALLOWLIST_CLUSTER: "bench",
    KUBE_ALLOWLIST_SECRET_FILE: secrets,
    KUBE_ALLOWLIST_LABELS: "pool",
    KUBE_ALLOWLIST_PODS: selectors.join("; "),
    KUBE_ALLOWLIST_LISTEN: "127.0.0.1:0",
  };
}

/** Resolves when a delivery holds so many nodes and pods; at once for who delivers nothing. */
export async function untilDelivered(
  stage: Stage,
  way: Way,
  expected: { readonly nodes: number; readonly pods?: number },
): Promise<void> {
  if (!way.delivers) return;
  const { nodes, pods = 0 } = expected;
  const holds = () => {
    const last = stage.receiver.received.at(-1);
    return last !== undefined && last.nodes.size === nodes && last.pods === pods;
  };
  await eventually(`a delivery holds ${nodes} nodes and ${pods} pods`, holds, {
    withinMs: DELIVERED_MS_MAX,
    everyMs: 10,
    hopeless: () => (stage.subject.exit() === null ? null : stage.subject.output()),
  });
}
