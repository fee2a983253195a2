import assert from "node:assert/strict";
import test from "node:test";
import type { Node, Pod } from "../lib/core/snapshot.ts";
import { TargetError } from "../lib/targets/target.ts";
import {
  API,
  API_SCOPE,
  cidr,
  cidrs,
  cluster,
  EXTERNAL,
  entry,
  GRACE_MS,
  list,
  node,
  pod,
  policy,
  REMOVAL,
} from "./core/cases.ts";
import { type Corridor, corridor, nodes, reportOf } from "./corridor.ts";

/*
 * Pods as members of a list, from the snapshot to the target.
 */

// The guard is another test's matter.
const removal = { ...REMOVAL, maxRatio: 1, minRemaining: 0 };
const PODS = list({ sources: [API], removal });
const MINUTE_MS = 60_000;

/** `count` pods with the addresses 10.2.0.first and so on. */
function pods(count: number, first = 1): Pod[] {
  return Array.from({ length: count }, (_, index) =>
    pod(`p${first + index}`, [`10.2.0.${first + index}`]),
  );
}

const hostsOf = (...lasts: readonly number[]) => lasts.map((last) => `10.2.0.${last}/32`);

function deliver(room: Corridor, given: readonly Pod[], members: readonly Node[] = []) {
  return room.deliver(members, { scope: API_SCOPE, pods: given });
}

/** The forwarder could not list the pods, so it says nothing of them. */
function deliverBlind(room: Corridor, members: readonly Node[] = []) {
  return room.deliver(members, { scope: { labels: [], pods: [] }, pods: [] });
}

/** Minute by minute, a heartbeat and a resync. */
async function passes(room: Corridor, ms: number, heartbeat: () => Promise<unknown>) {
  let last = await room.run("resync");
  for (let passed = 0; passed < ms; passed += MINUTE_MS) {
    await room.world.advance(MINUTE_MS);
    await heartbeat();
    last = await room.run("resync");
  }
  return last;
}

test("sync() opens a list for pods at once, and lets them go after their grace", async () => {
  const room = corridor({ policy: policy([PODS]) });
  await deliver(room, pods(3));
  assert.deepEqual(room.on("one"), hostsOf(1, 2, 3));
  await deliver(room, pods(2));
  await passes(room, GRACE_MS - MINUTE_MS, () => deliver(room, pods(2)));
  assert.deepEqual(room.on("one"), hostsOf(1, 2, 3));
  await passes(room, MINUTE_MS, () => deliver(room, pods(2)));
  assert.deepEqual(room.on("one"), hostsOf(1, 2));
});

test("sync() keeps an address that was given to another pod, and never writes it twice", async () => {
  const room = corridor({ policy: policy([PODS]) });
  await deliver(room, pods(2));
  room.calls();
  const heir = [pod("p1", ["10.2.0.1"]), pod("heir", ["10.2.0.2"])];
  await passes(room, 2 * GRACE_MS, () => deliver(room, heir));
  assert.deepEqual(room.on("one"), hostsOf(1, 2));
  assert.deepEqual(
    room.calls().filter((call) => !call.endsWith("observe")),
    [],
  );
});

test("sync() keeps an address as long as a node, a pod or another cluster's pod claims it", async () => {
  const everyone = list({
    removal,
    sources: [
      { ...EXTERNAL, addresses: ["InternalIP"] },
      API,
      { ...API, cluster: "us" },
      { ...API, namespace: "web" },
    ],
  });
  const room = corridor({ policy: policy([everyone], [cluster("eu"), cluster("us")]) });
  const scope = { labels: [], pods: [...API_SCOPE.pods, { namespace: "web", labels: API.labels }] };
  const internal = (uid: string, last: number) =>
    node(uid, [], { addresses: [{ type: "InternalIP", address: cidr(`10.2.0.${last}`) }] });
  const say = async (who: readonly ("node" | "pod" | "other" | "us")[]) => {
    const claimed = ["10.2.0.9"];
    await room.deliver(
      [internal("stays", 1), ...(who.includes("node") ? [internal("n", 9)] : [])],
      {
        scope,
        pods: [
          ...(who.includes("pod") ? [pod("p", claimed)] : []),
          ...(who.includes("other") ? [pod("q", claimed, { namespace: "web" })] : []),
        ],
      },
    );
    const theirs = who.includes("us") ? [pod("r", claimed)] : [];
    const us = { cluster: "us", clusterUid: "uid-us", scope: API_SCOPE, pods: theirs };
    return room.deliver([], us);
  };
  await say(["node", "pod", "other", "us"]);
  for (const left of [["pod", "other", "us"], ["other", "us"], ["us"], ["other"]] as const) {
    await passes(room, 2 * GRACE_MS, () => say(left));
    assert.deepEqual(room.on("one"), hostsOf(1, 9), left.join());
  }
  await passes(room, 2 * GRACE_MS, () => say([]));
  assert.deepEqual(room.on("one"), hostsOf(1));
});

test("sync() adds what it can and removes nothing while the forwarder does not look at the pods, and says what to set at once", async () => {
  const mixed = list({ sources: [EXTERNAL, API], removal });
  const room = corridor({ policy: policy([mixed]) });
  await deliver(room, pods(3), nodes(2));
  const outcome = await deliverBlind(room, nodes(3));
  const report = reportOf(outcome);
  assert.equal(report.state, "withheld");
  assert.equal(report.reason, "out-of-scope");
  assert.match(report.message, /KUBE_ALLOWLIST_PODS must select "pay\/app=api"/);
  assert.match(report.message, /list and watch pods in "pay"/);
  const everything = [...hostsOf(1, 2, 3), "203.0.113.1/32", "203.0.113.2/32", "203.0.113.3/32"];
  assert.deepEqual(room.on("one"), everything);
  const later = await passes(room, 4 * GRACE_MS, () => deliverBlind(room, nodes(1)));
  assert.equal(reportOf(later).reason, "out-of-scope");
  assert.deepEqual(room.on("one"), everything, "nor those of nodes that left");
});

test("sync() does not take pods without their labels for none", async () => {
  const room = corridor({ policy: policy([PODS]) });
  await deliver(room, pods(3));
  const scope = { labels: [], pods: [{ namespace: "pay", labels: {} }] };
  const bare = pods(3).map((one) => ({ ...one, labels: {} }));
  const broad = () => room.deliver([], { scope, pods: bare });
  const outcome = await passes(room, 3 * GRACE_MS, broad);
  assert.match(reportOf(outcome).message, /KUBE_ALLOWLIST_LABELS must name "app"/);
  assert.deepEqual(room.on("one"), hostsOf(1, 2, 3));
});

test("sync() gives an entry its whole grace once its pods are looked at again", async () => {
  for (const blindMs of [1, 4, 5, 6, 15].map((minutes) => minutes * MINUTE_MS)) {
    const room = corridor({ policy: policy([PODS]) });
    await deliver(room, pods(3));
    await passes(room, blindMs, () => deliverBlind(room));
    await deliver(room, pods(2));
    await passes(room, GRACE_MS - MINUTE_MS, () => deliver(room, pods(2)));
    assert.deepEqual(room.on("one"), hostsOf(1, 2, 3), `blind for ${blindMs} ms`);
    await passes(room, MINUTE_MS, () => deliver(room, pods(2)));
    assert.deepEqual(room.on("one"), hostsOf(1, 2));
  }
});

test("sync() gives an entry its whole grace when its cluster fell silent while it did not look there", async () => {
  const room = corridor({ policy: policy([PODS]) });
  await deliver(room, pods(3));
  await deliverBlind(room);
  const silent = await passes(room, 6 * GRACE_MS, async () => undefined);
  assert.equal(reportOf(silent).reason, "out-of-scope", "still what is to be mended first");
  await deliver(room, pods(2));
  await passes(room, GRACE_MS - MINUTE_MS, () => deliver(room, pods(2)));
  assert.deepEqual(room.on("one"), hostsOf(1, 2, 3));
  await passes(room, MINUTE_MS, () => deliver(room, pods(2)));
  assert.deepEqual(room.on("one"), hostsOf(1, 2));
});

test("sync() begins a grace anew that ran when its pods went out of sight, whether or not the target answers", async () => {
  for (const answers of [true, false]) {
    const room = corridor({ policy: policy([PODS]) });
    await deliver(room, pods(3));
    await passes(room, GRACE_MS - MINUTE_MS, () => deliver(room, pods(2)));
    const broken = async () => {
      throw new TargetError("unavailable", "Cannot read it: no answer");
    };
    if (!answers) room.interfere(broken);
    await deliverBlind(room);
    room.interfere(null);
    await room.world.advance(MINUTE_MS);
    await deliver(room, pods(2));
    await passes(room, GRACE_MS - MINUTE_MS, () => deliver(room, pods(2)));
    assert.deepEqual(room.on("one"), hostsOf(1, 2, 3), `answers: ${answers}`);
    await passes(room, MINUTE_MS, () => deliver(room, pods(2)));
    assert.deepEqual(room.on("one"), hostsOf(1, 2));
  }
});

test("sync() gives the same grace to nodes whose label was out of sight", async () => {
  const pool = list({ sources: [{ ...EXTERNAL, labels: { pool: "db" } }], removal });
  const room = corridor({ policy: policy([pool]) });
  const labelled = (count: number) =>
    nodes(count).map((one) => ({ ...one, labels: { pool: "db" } }));
  const say = (count: number) =>
    room.deliver(labelled(count), { scope: { labels: ["pool"], pods: [] } });
  await say(3);
  await passes(room, 3 * GRACE_MS, () => room.deliver(nodes(3)));
  await say(2);
  await passes(room, GRACE_MS - MINUTE_MS, () => say(2));
  assert.equal(room.on("one").length, 3);
  await passes(room, MINUTE_MS, () => say(2));
  assert.equal(room.on("one").length, 2);
});

test("sync() gives an entry its whole grace when a cluster is heard for the first time without it", async () => {
  const both = list({ sources: [API, { ...API, cluster: "us" }], removal });
  const clusters = [cluster("eu"), cluster("us")];
  const room = corridor({ policy: policy([both], clusters) });
  // As after the store was lost: nobody remembers who brought it.
  for (const at of cidrs(...hostsOf(1, 9))) room.contents.put("one", entry(at));
  const heard = () => deliver(room, pods(1));
  const silent = await passes(room, 3 * GRACE_MS, heard);
  assert.equal(reportOf(silent).reason, "not-heard");
  assert.deepEqual(
    reportOf(silent).leaving.map((one) => one.cidr),
    hostsOf(9),
    "it is said which",
  );
  const us = { cluster: "us", clusterUid: "uid-us", scope: API_SCOPE };
  const all = async () => {
    await heard();
    await room.deliver([], us);
  };
  await all();
  await passes(room, GRACE_MS - MINUTE_MS, all);
  assert.deepEqual(room.on("one"), hostsOf(1, 9));
  await passes(room, MINUTE_MS, all);
  assert.deepEqual(room.on("one"), hostsOf(1));
});

test("sync() goes on with a grace that ran when its cluster fell silent, since what it said last counts", async () => {
  const room = corridor({ policy: policy([PODS]) });
  await deliver(room, pods(3));
  await passes(room, MINUTE_MS, () => deliver(room, pods(2)));
  await room.world.advance(10 * GRACE_MS);
  const silent = await room.run("resync");
  assert.equal(reportOf(silent).reason, "stale");
  assert.deepEqual(room.on("one"), hostsOf(1, 2, 3));
  await deliver(room, pods(1));
  await room.run("resync");
  assert.deepEqual(room.on("one"), hostsOf(1, 2), "what went meanwhile has its grace before it");
});

test("sync() gives room to the pods that are on the target, whatever comes and goes", async () => {
  const few = cluster("eu", { maxEntries: 3 });
  const room = corridor({ policy: policy([PODS], [few]) });
  await deliver(room, pods(3, 10));
  const flood = [...pods(9), ...pods(3, 10)];
  const outcome = await deliver(room, flood);
  assert.deepEqual(room.on("one"), hostsOf(10, 11, 12));
  assert.deepEqual(
    reportOf(outcome).refused.map(({ node: name, reason }) => [name, reason]),
    pods(9).map(({ uid }) => [`pay/pod-${uid}`, "max-entries"]),
  );
  // One of them is replaced under its address: the heir has its place.
  const heir = [...pods(9), ...pods(2, 10), pod("aa", ["10.2.0.12"])];
  await passes(room, 2 * GRACE_MS, () => deliver(room, heir));
  assert.deepEqual(room.on("one"), hostsOf(10, 11, 12));
  // One leaves: the first in order takes the place at once, which is a place among the wanted.
  const left = [...pods(9), ...pods(2, 10)];
  await deliver(room, left);
  assert.deepEqual(room.on("one"), hostsOf(1, 10, 11, 12));
  await passes(room, GRACE_MS + MINUTE_MS, () => deliver(room, left));
  assert.deepEqual(room.on("one"), hostsOf(1, 10, 11));
});

test("sync() withholds the removal of pods that are suddenly all gone", async () => {
  const guarded = list({ sources: [API] });
  const room = corridor({ policy: policy([guarded]) });
  await deliver(room, pods(10));
  const outcome = await passes(room, 3 * GRACE_MS, () => deliver(room, []));
  assert.equal(reportOf(outcome).reason, "ratio");
  assert.equal(room.on("one").length, 10);
});

test("sync() lets a rollout of all pods pass where half may go at once, and withholds it by default", async () => {
  for (const [maxRatio, left] of [
    [0.3, 20],
    [0.5, 10],
  ] as const) {
    const room = corridor({
      policy: policy([list({ sources: [API], removal: { ...REMOVAL, maxRatio } })]),
    });
    await deliver(room, pods(10));
    await passes(room, 2 * GRACE_MS, () => deliver(room, pods(10, 50)));
    assert.equal(room.on("one").length, left, `maxRatio ${maxRatio}`);
  }
});
