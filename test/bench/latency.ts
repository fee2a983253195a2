import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { startEmbeddedKubernetes } from "../../cli/embedded/kubernetes.ts";
import { startServer } from "../../cli/server.ts";
import type { ForwarderEvent } from "../../forwarder/journal.ts";
import { runForwarder } from "../../forwarder/main.ts";
import { LOOPBACK } from "../../functions/middleware/event.ts";
import { makeStatus } from "../../functions/status.ts";
import { makeWebhook } from "../../functions/webhook.ts";
import { makeWiring } from "../../functions/wiring.ts";
import { parseConfig } from "../../lib/config.ts";
import { fileStore } from "../../lib/stores/file.ts";
import { memoryStore } from "../../lib/stores/memory.ts";
import { parseSigningKey } from "../../lib/wire/signature.ts";
import { type Logger, makeWorld, type World } from "../../lib/world.ts";
import { printTable, quantile } from "./table.ts";

/*
 * From a node's creation in the cluster to the answer that calls it ready: embedded API server,
 * forwarder, signed HTTP delivery, webhook, memory target without latency. Everything between the
 * two is ours, so the figures are the floor that a real cloud's latency is added to.
 */

const SAMPLES = 100;
const quiet = () => {};
const LOG: Logger = { debug: quiet, info: quiet, warn: quiet, error: quiet, audit: quiet };
const KEY = parseSigningKey(`whsec_${Buffer.alloc(32, 1).toString("base64")}`);

const addressOf = (index: number) => `10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`;

interface Stage {
  readonly put: (index: number) => string;
  readonly untilReady: (uid: string) => Promise<void>;
  readonly remove: (index: number) => void;
  /** Resolves when an answer no longer names the node. */
  readonly untilGone: (uid: string) => Promise<void>;
  readonly close: () => Promise<void>;
}

const FILE = {
  version: 1,
  installation: "bench",
  store: { kind: "memory" },
  clusters: {
    eu: {
      auth: { signature: { keys: ["env:UNUSED"] } },
      bounds: ["10.0.0.0/8"],
      maxEntries: 20_000,
    },
  },
  lists: {
    db: {
      from: [{ cluster: "eu", nodes: {}, addresses: ["InternalIP"] }],
      removal: { policy: "sync" },
      targets: [{ kind: "memory", id: "one" }],
    },
  },
};

async function openServer(store: "memory" | "file", world: World) {
  const reading = parseConfig(FILE);
  if (reading.kind === "invalid") throw new Error(JSON.stringify(reading.problems));
  const folder = await mkdtemp(join(tmpdir(), "kube-allowlist-bench-"));
  const wiring = makeWiring({
    config: reading.config,
    world,
    env: {},
    folder,
    store: store === "memory" ? memoryStore(world) : fileStore(folder, world),
    keys: [{ cluster: "eu", keys: [KEY] }],
  });
  const server = await startServer({
    functions: { webhook: makeWebhook(wiring), status: makeStatus(wiring) } as never,
    host: "127.0.0.1",
    port: 0,
    world,
    loopbackKey: LOOPBACK,
  });
  return {
    url: server.url,
    async close() {
      await server.close();
      await rm(folder, { recursive: true });
    },
  };
}

async function openStage(store: "memory" | "file"): Promise<Stage> {
  const world = makeWorld(LOG);
  const server = await openServer(store, world);
  const cluster = await startEmbeddedKubernetes({ world });
  const ending = new AbortController();
  let ready: ReadonlySet<string> = new Set();
  const checks: (() => void)[] = [];
  const until = (holds: () => boolean) =>
    new Promise<void>((resolve) => {
      const check = () => {
        if (holds()) resolve();
        else checks.push(check);
      };
      check();
    });
  const onEvent = (event: ForwarderEvent) => {
    if (event.kind !== "answered") return;
    ready = new Set(event.answer.readyNodes);
    for (const check of checks.splice(0)) check();
  };
  const running = runForwarder(
    {
      url: new URL(`${server.url}/v1/snapshots`),
      cluster: "eu",
      credential: { signing: { kind: "keys", keys: [KEY] }, tokenFile: null },
      labels: [],
      pods: [],
      gate: null,
      listen: null,
      lease: { kind: "memory" },
      heartbeatMs: 300_000,
      proxy: {},
    },
    {
      world,
      signal: ending.signal,
      kubeConfig: { kind: "text", text: cluster.kubeconfig },
      onEvent,
    },
  );
  return {
    put: (index) =>
      cluster.nodes.put(`n${index}`, {
        addresses: [{ type: "InternalIP", address: addressOf(index) }],
      }),
    untilReady: (uid) => until(() => ready.has(uid)),
    untilGone: (uid) => until(() => !ready.has(uid)),
    remove: (index) => cluster.nodes.remove(`n${index}`),
    async close() {
      ending.abort();
      await running;
      await server.close();
      await cluster.close();
    },
  };
}

/** Single nodes, one after the other, in a cluster of `count`. */
async function measure(count: number, store: "memory" | "file") {
  const stage = await openStage(store);
  const burstAt = performance.now();
  const uids = Array.from({ length: count }, (_, index) => stage.put(index));
  await Promise.all(uids.map((uid) => stage.untilReady(uid)));
  const burst = performance.now() - burstAt;
  const samples: number[] = [];
  for (let index = count; index < count + SAMPLES; index += 1) {
    const at = performance.now();
    const uid = stage.put(index);
    await stage.untilReady(uid);
    samples.push(performance.now() - at);
    stage.remove(index);
    await stage.untilGone(uid);
  }
  await stage.close();
  return { burst, median: quantile(samples, 0.5), p99: quantile(samples, 0.99) };
}

await measure(10, "memory");
const rows = [];
for (const store of ["memory", "file"] as const) {
  for (const count of [10, 100, 1_000]) {
    const { burst, median, p99 } = await measure(count, store);
    rows.push([store, String(count), median.toFixed(1), p99.toFixed(1), burst.toFixed(0)]);
  }
}
printTable(`Node created → answer says ready, ms (${SAMPLES} single nodes each)`, [
  ["store", "nodes", "median", "p99", "all at once"],
  ...rows,
]);
