import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { stringify } from "yaml";
import { startEmbeddedEc2 } from "../../cli/embedded/ec2.ts";
import { ec2Groups } from "../../cli/embedded/ec2-groups.ts";
import { startEmbeddedKubernetes } from "../../cli/embedded/kubernetes.ts";
import { makeWorld } from "../../lib/world.ts";
import { soon, start } from "./shell.ts";

/*
 * Pods of a user's cluster, from an API server over the forwarder and the receiver to a security
 * group, all over HTTP.
 */

async function ownStage(t: TestContext, from: readonly unknown[]) {
  const folder = mkdtempSync(join(tmpdir(), "kube-allowlist-pods-"));
  const groups = ec2Groups(["sg-1"]);
  const ec2 = await startEmbeddedEc2({ groups });
  const quiet = () => undefined;
  const log = { debug: quiet, info: quiet, warn: quiet, error: quiet, audit: quiet };
  const kubernetes = await startEmbeddedKubernetes({ world: makeWorld(log) });
  t.after(async () => {
    await Promise.all([ec2.close(), kubernetes.close()]);
    rmSync(folder, { recursive: true });
  });
  const target = {
    kind: "aws/security-group",
    region: "eu-west-1",
    id: "sg-1",
    permission: { protocol: "tcp", port: 5432 },
    endpoint: ec2.url,
  };
  const file = {
    version: 1,
    installation: "acme",
    store: { kind: "file", path: "store" },
    clusters: {
      eu: {
        auth: { signature: { keys: ["env:EU_KEY"] } },
        bounds: ["203.0.113.0/24", "10.2.0.0/16"],
      },
    },
    lists: {
      db: { from, removal: { policy: "sync", grace: "1s", maxRatio: 1 }, targets: [target] },
    },
  };
  writeFileSync(join(folder, "allowlist.yaml"), stringify(file));
  writeFileSync(join(folder, "kubeconfig"), kubernetes.kubeconfig);
  const args = ["dev", "--config", "allowlist.yaml", "--kubeconfig", "kubeconfig"];
  const env = {
    AWS_ACCESS_KEY_ID: "AKIDEXAMPLE",
    AWS_SECRET_ACCESS_KEY: "example",
    AWS_ENDPOINT_URL: "",
  };
  const own = () =>
    groups
      .rules("sg-1")
      .map(({ source }) => source.text)
      .toSorted();
  const begin = () => start(t, [...args, "--port", "0", "--resync", "1s"], { folder, env });
  return { kubernetes, own, begin };
}

const NODES = { cluster: "eu", nodes: { pool: "db" }, addresses: ["ExternalIP"] };
const PODS = { cluster: "eu", pods: { namespace: "pay", labels: { app: "api", tier: "" } } };
const API = { app: "api", tier: "" };

test("dev --config asks for the pods that its lists select, and follows them", {
  timeout: 60_000,
}, async (t) => {
  const { kubernetes, own, begin } = await ownStage(t, [NODES, PODS]);
  const { nodes, pods } = kubernetes;
  nodes.put("a", {
    addresses: [{ type: "ExternalIP", address: "203.0.113.1" }],
    labels: { pool: "db" },
  });
  pods.put("pay/api-0", { addresses: ["10.2.0.1"], labels: API });
  pods.put("pay/api-1", { addresses: ["10.2.0.2"], labels: { ...API, more: "x" } });
  pods.put("pay/far", { addresses: ["10.9.0.1"], labels: API });
  pods.put("pay/web", { addresses: ["10.2.0.3"], labels: { app: "web", tier: "" } });
  pods.put("pay/bare", { addresses: ["10.2.0.4"], labels: { app: "api" } });
  pods.put("web/api-0", { addresses: ["10.2.0.5"], labels: API });
  pods.put("pay/done", { addresses: ["10.2.0.6"], labels: API, phase: "Succeeded" });
  pods.put("pay/host", { addresses: ["203.0.113.9"], labels: API, hostNetwork: true });
  const running = begin();
  const first = ["10.2.0.1/32", "10.2.0.2/32", "203.0.113.1/32"];
  await soon("nodes and pods are there", () => own().length === 3);
  assert.deepEqual(own(), first);
  const asked = kubernetes.requests().filter(({ path }) => path.includes("/pods"));
  const queries = asked.map(({ query }) => new URLSearchParams(query).get("labelSelector"));
  assert.deepEqual([...new Set(queries)], ["app=api,tier="]);
  assert.deepEqual([...new Set(asked.map(({ path }) => path))], ["/api/v1/namespaces/pay/pods"]);
  // One ends, and its address is given to another at once.
  pods.patch("pay/api-1", { status: { phase: "Failed" } });
  pods.put("pay/api-2", { addresses: ["10.2.0.2"], labels: API });
  pods.put("pay/api-3", { addresses: ["10.2.0.7"], labels: API });
  await soon("the new one is there", () => own().includes("10.2.0.7/32"));
  pods.remove("pay/api-0");
  await soon("the removed one goes after its grace", () => !own().includes("10.2.0.1/32"));
  assert.deepEqual(own(), ["10.2.0.2/32", "10.2.0.7/32", "203.0.113.1/32"]);
  running.interrupt();
  assert.equal(await running.ended, 0, running.output());
  const text = running.stdout();
  assert.match(text, /remove 1 on aws\/security-group\/sg-1\/tcp-5432 for db: done\n/);
  assert.match(text, /\n {2}1 node at the start, 0 joined, 0 left, 0 changed\n/);
});

test("dev --config removes nothing while it may not list the pods, says so, and goes on once it may", {
  timeout: 60_000,
}, async (t) => {
  const { kubernetes, own, begin } = await ownStage(t, [NODES, PODS]);
  const { nodes, pods, faults } = kubernetes;
  for (const host of [1, 2]) {
    nodes.put(`node-${host}`, {
      addresses: [{ type: "ExternalIP", address: `203.0.113.${host}` }],
      labels: { pool: "db" },
    });
  }
  pods.put("pay/api-0", { addresses: ["10.2.0.1"], labels: API });
  const before = begin();
  await soon("all are there", () => own().length === 3);
  before.interrupt();
  await before.ended;
  for (const kind of ["pods-list", "pods-watch"] as const) {
    faults.add(kind, { kind: "status", status: 403 });
  }
  const running = begin();
  await soon("it is said", () => running.stdout().includes("withheld, out-of-scope"));
  assert.match(running.stdout(), /KUBE_ALLOWLIST_PODS must select "pay\/app=api,tier="/);
  nodes.remove("node-2");
  nodes.put("node-3", {
    addresses: [{ type: "ExternalIP", address: "203.0.113.3" }],
    labels: { pool: "db" },
  });
  await soon("who joins is added", () => own().includes("203.0.113.3/32"));
  assert.equal(own().length, 4, "nobody goes");
  running.interrupt();
  assert.equal(await running.ended, 0, running.output());
  faults.clear();
  const after = begin();
  await soon("it goes on", () => !own().includes("203.0.113.2/32"));
  assert.deepEqual(own(), ["10.2.0.1/32", "203.0.113.1/32", "203.0.113.3/32"]);
  after.interrupt();
  assert.equal(await after.ended, 0, after.output());
});
