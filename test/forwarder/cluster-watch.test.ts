import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { watchCluster } from "../../forwarder/cluster-watch.ts";
import { type ManualWorld, manualWorld } from "./clock.ts";
import { external, watchStage } from "./stage.ts";

const MINUTE_MS = 60_000;
const API = { namespace: "default", labels: { app: "api" } };
const WEB = { namespace: "default", labels: { tier: "web" } };

type StageOptions = Parameters<typeof watchStage>[1];

/** A node, and a cluster of which the pods of some selectors are followed. */
async function podStage(t: TestContext, options: StageOptions = {}) {
  return watchStage(t, {
    pods: [API],
    ...options,
    async prepare(server) {
      server.nodes.put("a", external("203.0.113.1"));
      await options.prepare?.(server);
    },
  });
}

type Stage = Awaited<ReturnType<typeof podStage>>;

function selectorsOf({ watch }: Stage): readonly object[] | undefined {
  return watch.truth()?.scope.pods.map(({ labels }) => labels);
}

/** Begins a confirmation, and says when it is over. */
function confirming({ watch, signal }: Stage): () => boolean {
  let isDone = false;
  void watch.confirm(signal).then(
    () => {
      isDone = true;
    },
    () => undefined,
  );
  return () => isDone;
}

function replaceCluster({ server }: Stage): void {
  server.store.remove("namespaces", "kube-system");
  const metadata = { name: "kube-system" };
  server.store.put("namespaces", "kube-system", { apiVersion: "v1", kind: "Namespace", metadata });
}

for (const watchList of [true, false]) {
  const how = watchList ? "streamed" : "paged";
  test(`watchCluster() follows the pods of a selector, ${how}`, async (t) => {
    const stage = await podStage(t, { watchList, labels: ["team"] });
    const { pods } = stage.server;
    const draft = { addresses: ["10.2.0.1"], labels: { app: "api", team: "x", other: "y" } };
    pods.put("default/api-0", draft);
    pods.put("default/db-0", { addresses: ["10.2.0.2"], labels: { app: "db" } });
    pods.put("kube-system/api-0", draft);
    await stage.world.until("the pod", () => stage.podAddresses().length === 1);
    const [pod] = stage.watch.truth()?.pods ?? [];
    assert.deepEqual([pod?.namespace, pod?.name], ["default", "api-0"]);
    assert.deepEqual(pod?.labels, { app: "api", team: "x" });
    assert.deepEqual(selectorsOf(stage), [{ app: "api" }]);
    pods.put("default/api-1", { labels: { app: "api" } });
    stage.changes.length = 0;
    pods.patch("default/api-1", { status: { podIP: "10.2.0.3", podIPs: [{ ip: "10.2.0.3" }] } });
    await stage.world.until("its address", () => stage.podAddresses().length === 2);
    assert.deepEqual(
      stage.changes.map(({ kind, name }) => `${kind} ${name}`),
      ["pod.added default/api-1"],
    );
  });
}

test("watchCluster() counts a finished pod as gone, and keeps an address that was given to another", async (t) => {
  const stage = await podStage(t, { pods: [API, WEB] });
  const { pods } = stage.server;
  pods.put("default/api-0", { addresses: ["10.2.0.9"], labels: { app: "api" } });
  await stage.world.until("the pod", () => stage.podAddresses().length === 1);
  // The address is given to a pod of the other selector before the first one is seen to be over.
  pods.put("default/web-0", { addresses: ["10.2.0.9"], labels: { tier: "web" } });
  await stage.world.until("both", () => stage.podAddresses().length === 2);
  stage.changes.length = 0;
  pods.patch("default/api-0", { status: { phase: "Succeeded" } });
  await stage.world.until("one", () => stage.podAddresses().length === 1);
  assert.deepEqual(stage.podAddresses(), ["10.2.0.9"]);
  pods.remove("default/api-0");
  await stage.world.advance(1_000);
  assert.deepEqual(stage.podAddresses(), ["10.2.0.9"]);
  assert.deepEqual(
    stage.changes.map(({ kind }) => kind),
    ["pod.removed"],
  );
});

test("watchCluster() keeps a pod's address that a node claims, too", async (t) => {
  const stage = await podStage(t);
  stage.server.pods.put("default/api-0", { addresses: ["203.0.113.1"], labels: { app: "api" } });
  await stage.world.until("the pod", () => stage.podAddresses().length === 1);
  stage.server.pods.remove("default/api-0");
  await stage.world.until("its end", () => stage.podAddresses().length === 0);
  assert.deepEqual(stage.addresses(), ["203.0.113.1"]);
});

test("watchCluster() hears nothing of pods of the host's network, nor of finished ones", async (t) => {
  const stage = await podStage(t);
  await stage.synced();
  const labels = { app: "api" };
  stage.server.pods.put("default/a", { addresses: ["10.2.0.1"], labels, hostNetwork: true });
  stage.server.pods.put("default/b", { addresses: ["10.2.0.2"], labels, phase: "Failed" });
  stage.server.pods.put("default/c", { addresses: ["10.2.0.3"], labels, phase: "Succeeded" });
  stage.server.pods.put("default/d", { addresses: ["10.2.0.4"], labels, phase: "Pending" });
  await stage.world.until("the last", () => stage.podAddresses().length > 0);
  await stage.world.advance(1_000);
  assert.deepEqual(stage.podAddresses(), ["10.2.0.4"]);
});

test("watchCluster() keeps a pod that is being deleted until it is gone", async (t) => {
  const stage = await podStage(t);
  const { pods } = stage.server;
  pods.put("default/api-0", { addresses: ["10.2.0.9"], labels: { app: "api" } });
  await stage.world.until("the pod", () => stage.podAddresses().length === 1);
  pods.patch("default/api-0", { metadata: { deletionTimestamp: "2026-11-20T21:00:05Z" } });
  await stage.world.advance(1_000);
  assert.deepEqual(stage.podAddresses(), ["10.2.0.9"]);
  pods.remove("default/api-0");
  await stage.world.until("its end", () => stage.podAddresses().length === 0);
});

test("watchCluster() lets a pod go that its selector no longer takes, unless another one does", async (t) => {
  const stage = await podStage(t, { pods: [API, WEB] });
  const { pods } = stage.server;
  pods.put("default/x", { addresses: ["10.2.0.1"], labels: { app: "api", tier: "web" } });
  await stage.world.until("once", () => stage.podAddresses().length === 1);
  await stage.world.until("with both labels", () => {
    const [pod] = stage.watch.truth()?.pods ?? [];
    return Object.keys(pod?.labels ?? {}).length === 2;
  });
  pods.patch("default/x", { metadata: { labels: { app: null } } });
  await stage.world.until("one label", () => {
    const [pod] = stage.watch.truth()?.pods ?? [];
    return pod !== undefined && Object.keys(pod.labels).join() === "tier";
  });
  pods.patch("default/x", { metadata: { labels: { tier: "other" } } });
  await stage.world.until("nobody", () => stage.podAddresses().length === 0);
});

for (const [name, fault] of [
  ["denied", { kind: "status", status: 403 }],
  ["failing", { kind: "status", status: 500 }],
  ["hanging", { kind: "stall" }],
  ["closed at once", { kind: "close" }],
] as const) {
  test(`watchCluster() tells of the nodes while the pods are ${name}, and of the pods once they are not`, async (t) => {
    const path = "labelSelector=app";
    const stage = await podStage(t, {
      pods: [API, WEB],
      prepare({ pods, faults }) {
        pods.put("default/api-0", { addresses: ["10.2.0.1"], labels: { app: "api" } });
        pods.put("default/web-0", { addresses: ["10.2.0.2"], labels: { tier: "web" } });
        faults.add("pods-watch", fault, { path });
        faults.add("pods-list", fault, { path });
      },
    });
    const isDone = confirming(stage);
    await stage.world.until("a confirmation", isDone, { withinMs: 6_000 });
    assert.deepEqual(stage.addresses(), ["203.0.113.1"]);
    assert.deepEqual(selectorsOf(stage), [{ tier: "web" }]);
    assert.deepEqual(stage.podAddresses(), ["10.2.0.2"]);
    const before = stage.told();
    stage.server.faults.clear();
    await stage.world.until("the scope", () => selectorsOf(stage)?.length === 2, {
      withinMs: 2 * MINUTE_MS,
    });
    assert.deepEqual(stage.podAddresses(), ["10.2.0.1", "10.2.0.2"]);
    assert.ok(stage.told() > before, "worth a delivery");
  });
}

test("watchCluster() names the way out when pods are denied", async (t) => {
  const stage = await podStage(t, {
    prepare: ({ faults }) => void faults.add("pods-watch", { kind: "status", status: 403 }),
  });
  const lasting = () =>
    stage.events.find((event) => event.kind === "watch-failed" && event.lasting);
  await stage.world.until("a lasting failure", () => lasting() !== undefined);
  const failed = lasting();
  assert.ok(failed?.kind === "watch-failed");
  assert.equal(failed.collection, "pods of default/app=api");
  assert.match(failed.message, /grant list and watch on pods in the namespace default/);
});

test("confirm() leaves pods out that cannot be listed any more, and says so", async (t) => {
  const stage = await podStage(t);
  const { pods, faults } = stage.server;
  pods.put("default/api-0", { addresses: ["10.2.0.1"], labels: { app: "api" } });
  await stage.world.until("the pod", () => stage.podAddresses().length === 1);
  faults.add("pods-watch", { kind: "status", status: 403 });
  const isDone = confirming(stage);
  await stage.world.until("a confirmation", isDone, { withinMs: 6_000 });
  assert.deepEqual([selectorsOf(stage), stage.podAddresses()], [[], []]);
  assert.deepEqual(stage.addresses(), ["203.0.113.1"]);
  const before = stage.told();
  faults.clear();
  await stage.world.until("the pod", () => stage.podAddresses().length === 1, {
    withinMs: 2 * MINUTE_MS,
  });
  assert.ok(stage.told() > before, "worth a delivery");
});

test("confirm() waits for the pods of every selector where they can be listed", async (t) => {
  for (const watchList of [true, false]) {
    const slow = async (path: string, world: ManualWorld, signal: AbortSignal) => {
      if (path.includes("/pods")) await world.sleep(2_000, signal);
    };
    const stage = await podStage(t, {
      pods: [API, WEB],
      watchList,
      wrap: (kube, world) => ({
        ...kube,
        async lines(path, request) {
          await slow(path, world, request.signal);
          return kube.lines(path, request);
        },
        async read(path, request) {
          await slow(path, world, request.signal);
          return kube.read(path, request);
        },
      }),
    });
    const isDone = confirming(stage);
    await stage.world.advance(1_000);
    assert.deepEqual([isDone(), stage.addresses()], [false, ["203.0.113.1"]]);
    await stage.world.until("a confirmation", isDone, { withinMs: 4_000 });
    assert.equal(selectorsOf(stage)?.length, 2);
  }
});

test("confirm() waits for nodes, however long they take, and rejects only at the end", async (t) => {
  const stage = await podStage(t);
  await stage.synced();
  stage.server.faults.add("watch", { kind: "status", status: 500 });
  const isDone = confirming(stage);
  await stage.world.advance(3 * MINUTE_MS);
  assert.equal(isDone(), false);
  const over = new AbortController();
  const rejected = assert.rejects(stage.watch.confirm(over.signal), /enough/);
  over.abort(new Error("enough"));
  await rejected;
});

for (const [name, fault, withinMs] of [
  ["denied", { kind: "status", status: 403 }, MINUTE_MS],
  ["hanging", { kind: "stall" }, 8 * MINUTE_MS],
] as const) {
  test(`watchCluster() leaves pods out that were listed and then are ${name}, until they are listed again`, async (t) => {
    const path = "labelSelector=app";
    const stage = await podStage(t, { pods: [API, WEB] });
    const { pods, nodes, faults } = stage.server;
    pods.put("default/api-0", { addresses: ["10.2.0.1"], labels: { app: "api" } });
    pods.put("default/web-0", { addresses: ["10.2.0.2"], labels: { tier: "web" } });
    await stage.world.until("both", () => stage.podAddresses().length === 2);
    faults.add("pods-watch", fault, { path });
    faults.add("pods-list", fault, { path });
    faults.closeWatches();
    const since = stage.world.now();
    let before = 0;
    const isLeftOut = () => selectorsOf(stage)?.length === 1;
    while (!isLeftOut() && stage.world.now() - since < withinMs) {
      stage.elsewhere();
      nodes.patch("a", { status: { at: stage.world.now() } });
      before = stage.told();
      await stage.world.advance(10_000);
    }
    assert.deepEqual(selectorsOf(stage), [{ tier: "web" }]);
    assert.deepEqual(stage.podAddresses(), ["10.2.0.2"]);
    assert.ok(stage.told() > before, "worth a delivery");
    for (let minute = 0; minute < 20; minute += 1) {
      stage.elsewhere();
      nodes.patch("a", { status: { minute } });
      await stage.world.advance(MINUTE_MS);
    }
    const ageMs = stage.world.now() - (stage.watch.truth()?.observedAt ?? 0);
    assert.ok(ageMs < 2 * MINUTE_MS, `the truth is ${ageMs} ms old`);
    pods.remove("default/api-0");
    faults.clear();
    const isBack = () => selectorsOf(stage)?.length === 2;
    await stage.world.until("the scope", isBack, { withinMs: 2 * MINUTE_MS });
    assert.deepEqual(stage.podAddresses(), ["10.2.0.2"]);
  });
}

test("watchCluster() leaves no pods out while nothing is heard of the nodes either, nor right after", async (t) => {
  const stage = await podStage(t);
  await stage.synced();
  await stage.world.until("the pods", () => selectorsOf(stage)?.length === 1);
  const isIn = () => assert.deepEqual(selectorsOf(stage), [{ app: "api" }]);
  await stage.server.faults.refuse();
  for (let minute = 0; minute < 20; minute += 1) {
    await stage.world.advance(MINUTE_MS);
    isIn();
  }
  // The pods come back one pause later than the nodes.
  const lift = stage.server.faults.add("pods-watch", { kind: "status", status: 500 });
  stage.server.nodes.put("b", external("203.0.113.2"));
  await stage.server.faults.accept();
  await stage.world.until("the nodes", () => stage.addresses().length === 2);
  for (let second = 0; second < 180; second += 1) {
    if (second === 30) lift();
    stage.server.nodes.patch("a", { status: { second } });
    await stage.world.advance(1_000);
    isIn();
  }
});

for (const first of ["nodes", "pods"] as const) {
  test(`watchCluster() gives no truth of two clusters when its ${first} notice another one first`, async (t) => {
    const stage = await podStage(t);
    const { pods, nodes, store, faults } = stage.server;
    pods.put("default/api-0", { addresses: ["10.2.0.1"], labels: { app: "api" } });
    await stage.world.until("the pod", () => stage.podAddresses().length === 1);
    const before = stage.watch.truth()?.clusterUid;
    await faults.refuse();
    replaceCluster(stage);
    pods.remove("default/api-0");
    pods.put("default/api-0", { addresses: ["10.9.0.1"], labels: { app: "api" } });
    nodes.remove("a");
    nodes.put("z", external("198.51.100.1"));
    const other = first === "nodes" ? "pods-watch" : "watch";
    // The one goes on to hang where the other lists anew.
    faults.add(
      first === "nodes" ? "watch" : "pods-watch",
      { kind: "status", status: 410 },
      { times: 1 },
    );
    const lift = faults.add(other, { kind: "stall" });
    await faults.accept();
    const uid = store.read("namespaces", "kube-system")?.metadata.uid;
    const agree = () => {
      const truth = stage.watch.truth();
      if (truth === null) return false;
      const addresses = [...stage.addresses(), ...stage.podAddresses()].join();
      const isOld = truth.clusterUid === before;
      assert.equal(isOld ? /198|10\.9/.test(addresses) : /203|10\.2/.test(addresses), false);
      return truth.clusterUid === uid && stage.podAddresses().length === 1;
    };
    for (let second = 0; second < 20; second += 1) {
      await stage.world.advance(1_000);
      agree();
    }
    // Nodes are told without the pods of the other cluster; pods are not told without nodes.
    assert.deepEqual(stage.watch.truth()?.scope.pods ?? null, first === "nodes" ? [] : null);
    lift();
    await stage.world.until("one cluster", agree, { withinMs: MINUTE_MS });
    assert.deepEqual([stage.addresses(), stage.podAddresses()], [["198.51.100.1"], ["10.9.0.1"]]);
  });
}

for (const first of ["watch", "pods-watch"] as const) {
  test(`watchCluster() lists everything at once when its ${first} finds a restored cluster, and says so once`, async (t) => {
    const stage = await podStage(t, { pods: [API, WEB] });
    const { pods, nodes, store, faults } = stage.server;
    pods.put("default/api-0", { addresses: ["10.2.0.1"], labels: { app: "api" } });
    await stage.world.until("the pod", () => stage.podAddresses().length === 1);
    const backup = store.backup();
    for (let n = 1; n < 4; n += 1) {
      nodes.put(`n${n}`, external(`203.0.113.${n + 1}`));
      pods.put(`default/api-${n}`, { addresses: [`10.2.0.${n + 1}`], labels: { app: "api" } });
      pods.put(`default/web-${n}`, { addresses: [`10.2.1.${n}`], labels: { tier: "web" } });
    }
    await stage.world.until("all", () => stage.podAddresses().length === 7);
    faults.add(first, { kind: "status", status: 410 }, { times: 1 });
    stage.server.restore(backup);
    const isPast = () => stage.addresses().length === 1 && stage.podAddresses().length === 1;
    await stage.world.until("the past", isPast, { withinMs: 10_000 });
    await stage.world.advance(5 * MINUTE_MS);
    assert.equal(stage.restored(), 1);
    const restored = stage.events.filter(({ kind }) => kind === "restored");
    assert.ok(restored.length >= 2, "each collection tells of itself");
    assert.equal(selectorsOf(stage)?.length, 2);
  });
}

test("watchCluster() does not list all the time where two clusters answer under one URL", async (t) => {
  const asked: number[] = [];
  const stage = await podStage(t, {
    // Each list is of one cluster, and the next one of the other.
    wrap: (kube, world) => ({
      ...kube,
      async read(path, request) {
        if (!path.endsWith("/kube-system")) return kube.read(path, request);
        asked.push(world.now());
        if (asked.length > 500) throw new Error("asked far too often");
        return { metadata: { uid: `cluster-${Math.floor((asked.length - 1) / 2) % 2}` } };
      },
    }),
  });
  await stage.world.advance(5 * MINUTE_MS);
  // Twice for each list; both list at first, and once more each when they disagree.
  const within = (at: number) => asked.filter((other) => other >= at && other < at + 5_000).length;
  const most = Math.max(...asked.map(within));
  assert.ok(most >= 4 && most <= 12, `asked ${most} times within five seconds`);
});

test("watchCluster() leaves out a selector of more pods than a message holds, and says so", async (t) => {
  const item = (n: number) => ({
    metadata: { uid: `u${n}`, name: `p${n}`, namespace: "default", resourceVersion: "5" },
    status: { phase: "Running", podIP: `10.${n >> 16}.${(n >> 8) & 255}.${n & 255}` },
  });
  const items = Array.from({ length: 50_001 }, (_, n) => item(n));
  const metadata = { resourceVersion: "99999" };
  const stage = await podStage(t, {
    watchList: false,
    pods: [API, WEB],
    prepare({ faults, pods }) {
      pods.put("default/web-0", { addresses: ["10.2.0.2"], labels: { tier: "web" } });
      const body = JSON.stringify({ kind: "PodList", apiVersion: "v1", metadata, items });
      const fault = { kind: "body", contentType: "application/json", body } as const;
      faults.add("pods-list", fault, { path: "labelSelector=app" });
    },
  });
  const said = () => stage.events.some((event) => event.kind === "warning");
  await stage.world.until("a warning", said);
  await stage.world.until("the other pods", () => stage.podAddresses().length === 1);
  assert.deepEqual(selectorsOf(stage), [{ tier: "web" }]);
  const warnings = stage.events.flatMap((event) =>
    event.kind === "warning" ? [event.message] : [],
  );
  assert.equal(warnings.length, 1);
  assert.match(warnings.join(), /default\/app=api.*narrow the selector/);
});

test("watchCluster() refuses more labels of one pod than a message holds", () => {
  const labels = Array.from({ length: 64 }, (_, n) => `k${n}`);
  const world = manualWorld();
  const nothing = () => undefined;
  const hearers = { onChanges: nothing, onRestored: nothing, onMarks: nothing, emit: nothing };
  const read = () => Promise.reject(new Error("not asked"));
  const kube = { server: "", namespace: "", read, write: read, patch: read, lines: read };
  const options = { world, kube: { ...kube, close: nothing }, mark: null, ...hearers };
  assert.throws(() => watchCluster({ ...options, labels, pods: [API] }), /65 in "default"/);
});
