import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { KUBERNETES, skipWithout } from "./assets.ts";
import { atEnd } from "./at-end.ts";
import { killChildren } from "./child.ts";
import { eventually } from "./eventually.ts";
import { setFeedStage } from "./feed-stage.ts";
import { type KubeApiserver, startKubeApiserver } from "./kube-apiserver.ts";
import { grantForwarder, startForwarder, startServe } from "./stage.ts";

const WITHIN_MS = 60_000;
/** Several times the grace and the resync of the stage's list. */
const WATCHED_MS = 10_000;

const skip = skipWithout(KUBERNETES);
let kube: KubeApiserver;

before(async () => {
  if (!skip) kube = await startKubeApiserver();
});
after(async () => {
  await kube?.stop();
  killChildren();
});

test("forward: nodes that are NotReady, unknown, cordoned, shut down, tainted or about to go keep their entries until they are deleted", {
  skip,
}, async (t) => {
  const stage = setFeedStage({ name: "ailing", cluster: "west" });
  const receiver = await startServe(stage);
  const forwarder = await startForwarder(stage, {
    receiver,
    cluster: "west",
    kubeconfig: kube.kubeconfigFor(await grantForwarder(kube)),
  });
  atEnd(t, () => Promise.all([forwarder.stop(), receiver.program.stop()]));
  const ailing = [
    { path: "/status", body: { status: { conditions: [{ type: "Ready", status: "False" }] } } },
    { path: "/status", body: { status: { conditions: [{ type: "Ready", status: "Unknown" }] } } },
    { path: "", body: { spec: { unschedulable: true } } },
    { path: "", body: tainted("node.cloudprovider.kubernetes.io/shutdown", "NoSchedule") },
    { path: "", body: tainted("node.kubernetes.io/unreachable", "NoExecute") },
    { path: "", body: tainted("ToBeDeletedByClusterAutoscaler", "NoSchedule") },
    // With a finalizer, as Karpenter's, it is deleted but still there.
    { path: "", body: { metadata: { finalizers: ["karpenter.sh/termination"] } } },
  ];
  for (const host of ailing.keys()) {
    await kube.createNode({
      name: `ailing-${host}`,
      labels: { pool: "ailing" },
      addresses: [{ type: "ExternalIP", address: `203.0.113.${host}` }],
    });
  }
  const all = ailing.map((_, host) => `203.0.113.${host}/32`);
  const holds = (entries: readonly string[]) =>
    eventually(
      `the list is ${entries}`,
      async () => (await stage.entries(receiver))?.join() === entries.join(),
      { withinMs: WITHIN_MS },
    );
  await holds(all);
  for (const [host, { path, body }] of ailing.entries()) {
    await kube.request("PATCH", `/api/v1/nodes/ailing-${host}${path}`, body);
  }
  await kube.deleteNode("ailing-6");
  const end = Date.now() + WATCHED_MS;
  while (Date.now() < end) {
    assert.deepEqual(await stage.entries(receiver), all);
    await sleep(200);
  }
  await kube.deleteNode("ailing-0");
  await kube.request("PATCH", "/api/v1/nodes/ailing-6", { metadata: { finalizers: [] } });
  await holds(all.slice(1, -1));
});

function tainted(key: string, effect: string) {
  return { spec: { taints: [{ key, effect }] } };
}
