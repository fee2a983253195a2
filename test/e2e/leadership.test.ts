import assert from "node:assert/strict";
import { after, before, type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { KUBERNETES, skipWithout } from "./assets.ts";
import { atEnd } from "./at-end.ts";
import { killChildren } from "./child.ts";
import { eventually } from "./eventually.ts";
import { type FeedStage, setFeedStage } from "./feed-stage.ts";
import { type KubeApiserver, startKubeApiserver } from "./kube-apiserver.ts";
import type { Program } from "./program.ts";
import { startProxy } from "./proxy.ts";
import { grantForwarder, NAMESPACE, type Receiver, startForwarder, startServe } from "./stage.ts";

/*
 * Who delivers, on a real API server with the product's own processes: leaders are killed, stopped
 * and ended, their Lease is deleted, their cluster restored. What is true is what the receiver
 * holds.
 */

const WITHIN_MS = 90_000;
/** Longer than a Lease, and than a delivery may have been on its way. */
const FROZEN_MS = 40_000;
/** What happens in a cluster between a backup and its use; in truth it is much more. */
const WRITES = 500;

const skip = skipWithout(KUBERNETES);
let kube: KubeApiserver;
let token: string;

before(async () => {
  if (skip) return;
  kube = await startKubeApiserver();
  token = await grantForwarder(kube);
});
after(async () => {
  await kube?.stop();
  killChildren();
});

/** A receiver, its stage, and forwarders after one Lease; all end with the test. */
async function openScene(t: TestContext, name: string) {
  const stage = setFeedStage({ name, cluster: "west" });
  const receiver = await startServe(stage);
  atEnd(t, () => receiver.program.stop());
  const start = async (
    options: { readonly kubeconfig?: string; readonly url?: string } = {},
  ): Promise<Program> => {
    const program = await startForwarder(stage, {
      receiver: { url: options.url ?? receiver.url },
      cluster: "west",
      kubeconfig: options.kubeconfig ?? kube.kubeconfigFor(token),
    });
    atEnd(t, () => program.stop());
    return program;
  };
  return { stage, receiver, start, nodes: nodesOf(t, stage) };
}

function nodesOf(t: TestContext, { name }: FeedStage, server = kube) {
  const present = new Set<number>();
  const leave = async (host: number) => {
    await server.deleteNode(`${name}-${host}`);
    present.delete(host);
  };
  atEnd(t, async () => {
    for (const host of present) await leave(host).catch(() => undefined);
  });
  return {
    leave,
    async join(host: number) {
      await server.createNode({
        name: `${name}-${host}`,
        labels: { pool: name },
        addresses: [{ type: "ExternalIP", address: `203.0.113.${host}` }],
      });
      present.add(host);
    },
  };
}

/** Waits until the list is exactly this; returns how long it took. */
async function untilList(
  { stage, receiver }: { readonly stage: FeedStage; readonly receiver: Receiver },
  hosts: readonly number[],
  programs: readonly Program[],
): Promise<number> {
  const startedAt = Date.now();
  const wanted = hosts.map((host) => `203.0.113.${host}/32`).join(" ");
  let seen = "";
  const probe = async () => {
    seen = (await stage.entries(receiver))?.join(" ") ?? "none";
    return seen === wanted;
  };
  await eventually(`the list is ${wanted}`, probe, { withinMs: WITHIN_MS }).catch((error) => {
    const outputs = programs.map((program) => program.output().slice(-4_000)).join("\n----\n");
    throw new Error(`${error.message}; it is ${seen}\n${outputs}`, { cause: error });
  });
  return Date.now() - startedAt;
}

interface LeaseObject {
  readonly metadata: {
    readonly uid: string;
    readonly resourceVersion: string;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec: { readonly holderIdentity?: string };
}

function leasePath({ name }: FeedStage): string {
  return `/apis/coordination.k8s.io/v1/namespaces/${NAMESPACE}/leases/${name}`;
}

async function leaseOf(stage: FeedStage, server = kube) {
  const { metadata, spec } = await server.request<LeaseObject>("GET", leasePath(stage));
  const epoch = Number(metadata.annotations?.["kube-allowlist.dev/epoch"]);
  return { uid: metadata.uid, holder: spec.holderIdentity ?? "", epoch };
}

async function epochOf(receiver: Receiver): Promise<number> {
  const [cluster] = (await receiver.status()).clusters;
  return cluster?.generation.epoch ?? 0;
}

/** Waits for an Event about the stage's Lease. */
async function untilEvent(stage: FeedStage, reason: string, server = kube): Promise<void> {
  const path = `/apis/events.k8s.io/v1/namespaces/${NAMESPACE}/events`;
  const probe = async () => {
    const { items } = await server.request<{
      readonly items: readonly {
        readonly reason: string;
        readonly regarding: { readonly name: string };
      }[];
    }>("GET", path);
    return items.some((event) => event.reason === reason && event.regarding.name === stage.name);
  };
  await eventually(`there is an Event ${reason}`, probe, { withinMs: WITHIN_MS });
}

function said(program: Program, event: string): readonly Readonly<Record<string, unknown>>[] {
  return program
    .stderr()
    .split("\n")
    .filter((line) => line.includes(`"event":"${event}"`))
    .map((line) => JSON.parse(line));
}

test("forward: a leader that is killed has a successor, which delivers what happened meanwhile", {
  skip,
}, async (t) => {
  const scene = await openScene(t, "killed");
  const { stage, receiver, start, nodes } = scene;
  await nodes.join(1);
  const first = await start();
  await untilList(scene, [1], [first]);
  const second = await start();
  await second.waitFor(/"event":"lease-waiting"/, WITHIN_MS);
  const before = await leaseOf(stage);
  const [waiting] = said(second, "lease-waiting");
  assert.deepEqual([waiting?.holder, waiting?.epoch], [before.holder, before.epoch]);

  first.kill("SIGKILL");
  const killedAt = Date.now();
  await nodes.join(2);
  await untilList(scene, [1, 2], [second]);
  t.diagnostic(`the list is right ${Date.now() - killedAt} ms after the leader was killed`);
  const successor = await leaseOf(stage);
  assert.notEqual(successor.holder, before.holder);
  assert.deepEqual(
    [successor.epoch, await epochOf(receiver)],
    [before.epoch + 1, before.epoch + 1],
  );
  assert.deepEqual(said(second, "undelivered"), []);
});

test("forward: SIGTERM gives the Lease back at once, and the next one has it within seconds", {
  skip,
}, async (t) => {
  const scene = await openScene(t, "ended");
  const { stage, start, nodes } = scene;
  await nodes.join(1);
  const first = await start();
  await untilList(scene, [1], [first]);
  const { epoch } = await leaseOf(stage);
  const endedAt = Date.now();
  first.kill("SIGTERM");
  assert.deepEqual(await first.exited, { code: 0, signal: null });
  t.diagnostic(`it ended ${Date.now() - endedAt} ms after SIGTERM`);
  assert.deepEqual(
    said(first, "lease-released").map((line) => line.epoch),
    [epoch],
  );
  const released = await leaseOf(stage);
  assert.deepEqual([released.holder, released.epoch], ["", epoch]);

  const second = await start();
  // The list is right already; whoever of the two is first would have the Lease.
  await second.waitFor(/"event":"lease-acquired"/, WITHIN_MS);
  const third = await start();
  await third.waitFor(/"event":"lease-waiting"/, WITHIN_MS);
  const handedAt = Date.now();
  second.kill("SIGTERM");
  await nodes.join(2);
  await untilList(scene, [1, 2], [third]);
  t.diagnostic(`the follower's list is right ${Date.now() - handedAt} ms after SIGTERM`);
  assert.equal((await leaseOf(stage)).epoch, epoch + 2);
});

test("forward: a leader stopped for longer than its Lease, with a delivery on its way, changes nothing when it wakes up", {
  skip,
}, async (t) => {
  const scene = await openScene(t, "frozen");
  const { stage, receiver, start, nodes } = scene;
  const proxy = await startProxy(Number(new URL(receiver.url).port));
  atEnd(t, () => proxy.stop());
  await nodes.join(1);
  const first = await start({ url: `http://127.0.0.1:${proxy.port}` });
  await untilList(scene, [1], [first]);
  const before = await leaseOf(stage);
  const second = await start();
  await second.waitFor(/"event":"lease-waiting"/, WITHIN_MS);

  // What it says of node 2 is held up on its way, while it is stopped itself.
  proxy.blackHole();
  await nodes.join(2);
  await first.waitFor(/"event":"seen".*frozen-2/, WITHIN_MS);
  await sleep(1_000);
  first.kill("SIGSTOP");
  atEnd(t, () => first.kill("SIGCONT"));
  const stoppedAt = Date.now();
  await nodes.leave(2);
  await nodes.join(3);
  const tookMs = await untilList(scene, [1, 3], [second]);
  t.diagnostic(`the successor's list is right ${tookMs} ms after the leader was stopped`);
  const after = await leaseOf(stage);
  assert.equal(after.epoch, before.epoch + 1);
  await sleep(Math.max(0, stoppedAt + FROZEN_MS - Date.now()));

  proxy.heal();
  first.kill("SIGCONT");
  await first.waitFor(/"event":"lease-lost"/, WITHIN_MS);
  await sleep(5_000);
  assert.deepEqual(await stage.entries(receiver), ["203.0.113.1/32", "203.0.113.3/32"]);
  assert.equal(await epochOf(receiver), after.epoch);
  assert.deepEqual(await leaseOf(stage), after);
  assert.deepEqual(said(first, "epoch-raised"), []);
  await first.waitFor(/"event":"lease-waiting"/, WITHIN_MS);
});

test("forward: a deleted Lease is made again above every epoch that was seen, with an Event that explains it", {
  skip,
}, async (t) => {
  const scene = await openScene(t, "deleted");
  const { stage, receiver, start, nodes } = scene;
  await nodes.join(1);
  const [first, second] = [await start(), await start()];
  await untilList(scene, [1], [first, second]);
  await eventually(
    "one follows",
    () => [first, second].some((one) => said(one, "lease-waiting").length > 0),
    { withinMs: WITHIN_MS },
  );
  const before = await leaseOf(stage);
  await kube.request("DELETE", leasePath(stage));
  await eventually("there is a Lease again", async () => (await leaseOf(stage)).holder !== "", {
    withinMs: WITHIN_MS,
  });
  await nodes.join(2);
  await untilList(scene, [1, 2], [first, second]);
  const made = await leaseOf(stage);
  assert.notEqual(made.uid, before.uid);
  assert.ok(made.epoch > before.epoch, `${made.epoch} after ${before.epoch}`);
  await eventually("it is believed", async () => (await epochOf(receiver)) === made.epoch, {
    withinMs: WITHIN_MS,
  });
  // Whoever had it may have said something before it knew; that was refused, and told it so.
  const refused = [...said(first, "undelivered"), ...said(second, "undelivered")];
  assert.ok(refused.every(({ why }) => why === "stale"));
  await untilEvent(stage, "LeaseLost");
});

test("forward: reinstalled, it begins at epoch 1 and overtakes what the receiver holds in one step", {
  skip,
}, async (t) => {
  const scene = await openScene(t, "reinstalled");
  const { stage, receiver, start, nodes } = scene;
  await nodes.join(1);
  const first = await start();
  await untilList(scene, [1], [first]);
  await first.stop();
  const second = await start();
  await eventually("the second is believed", async () => (await epochOf(receiver)) === 2, {
    withinMs: WITHIN_MS,
  });
  await second.stop();
  await kube.request("DELETE", leasePath(stage));
  await nodes.join(2);
  const third = await start();
  await untilList(scene, [1, 2], [third]);
  assert.deepEqual([(await leaseOf(stage)).epoch, await epochOf(receiver)], [3, 3]);
  assert.deepEqual(
    said(third, "undelivered").map(({ why }) => why),
    ["stale"],
  );
  assert.deepEqual(
    said(third, "epoch-raised").map(({ epoch }) => epoch),
    [3],
  );
  await untilEvent(stage, "EpochRaised");
});

test("forward: a second cluster under the same name is refused, never raises its epoch, and is told why", {
  skip,
}, async (t) => {
  const other = await startKubeApiserver();
  atEnd(t, () => other.stop());
  const kubeconfig = other.kubeconfigFor(await grantForwarder(other));
  const scene = await openScene(t, "namesakes");
  const { stage, receiver, start, nodes } = scene;
  await nodes.join(1);
  const first = await start();
  await untilList(scene, [1], [first]);
  const held = await receiver.status();
  await nodesOf(t, stage, other).join(9);
  const second = await start({ kubeconfig });
  await second.waitFor(/"why":"other-cluster"/, WITHIN_MS);
  await untilEvent(stage, "OtherCluster", other);
  await nodes.join(2);
  await untilList(scene, [1, 2], [first, second]);
  assert.deepEqual(said(second, "epoch-raised"), []);
  assert.equal((await leaseOf(stage, other)).epoch, 1);
  const now = await receiver.status();
  assert.equal(
    Reflect.get(now.clusters[0] ?? {}, "clusterUid"),
    Reflect.get(held.clusters[0] ?? {}, "clusterUid"),
  );
  assert.deepEqual(said(first, "undelivered"), []);
});

test("forward: a restored etcd begins a new epoch with what the cluster says now, and an Event", {
  skip,
}, async (t) => {
  const scene = await openScene(t, "restored");
  const { stage, receiver, start, nodes } = scene;
  await nodes.join(1);
  const forwarder = await start();
  await untilList(scene, [1], [forwarder]);
  await kube.backup();
  const versionOf = async () =>
    (await kube.request<LeaseObject>("GET", leasePath(stage))).metadata.resourceVersion;
  const kept = await versionOf();
  // A server that starts writes a little itself; that must not bring it to where it was.
  for (let n = 0; n < WRITES; n += 1) {
    await kube.request("PATCH", "/api/v1/namespaces/default", {
      metadata: { labels: { n: `${n}` } },
    });
  }
  await nodes.join(2);
  await nodes.join(3);
  await untilList(scene, [1, 2, 3], [forwarder]);
  // A backup is older than the last renewal; otherwise the watch alone would find out, in minutes.
  await eventually("the Lease was renewed", async () => (await versionOf()) !== kept, {
    withinMs: WITHIN_MS,
  });
  const before = await epochOf(receiver);
  // What was written since is forgotten, and so is every version that it had.
  const restoredAt = Date.now();
  await kube.restore();
  const tookMs = await untilList(scene, [1], [forwarder]);
  t.diagnostic(
    `the list is right ${tookMs} ms after the restored server was ready, ` +
      `${Date.now() - restoredAt} ms after it was stopped`,
  );
  const after = await epochOf(receiver);
  assert.ok(after > before, `${after} after ${before}`);
  assert.equal((await leaseOf(stage)).epoch, after);
  assert.equal(said(forwarder, "restored").length, 1);
  await untilEvent(stage, "ClusterRestored");
  await nodes.join(4);
  await untilList(scene, [1, 4], [forwarder]);
});
