import assert from "node:assert/strict";
import { test } from "node:test";
import { START } from "./clock.ts";
import { external, watchStage } from "./stage.ts";

const MINUTE_MS = 60_000;

test("watchNodes() abandons a silent watch within its limit and resumes from the last version", async (t) => {
  const stage = await watchStage(t);
  await stage.synced();
  stage.server.faults.silence(true);
  stage.server.nodes.put("a", external("203.0.113.1"));
  stage.server.faults.silence(false);
  await stage.world.advance(140_000);
  assert.deepEqual(stage.addresses(), []);
  await stage.world.until("the lost event", () => stage.addresses().length === 1, {
    withinMs: 20_000,
  });
  assert.equal(stage.count("list"), 0);
  const resumed = stage.server.requests().filter(({ kind }) => kind === "watch");
  assert.match(resumed.at(-1)?.query ?? "", /resourceVersion=[0-9]+$/);
});

test("watchNodes() lists consistently after two silent watches in a row", async (t) => {
  const stage = await watchStage(t, { watchList: false });
  await stage.synced();
  await stage.world.advance(2 * MINUTE_MS);
  const before = stage.count("list");
  stage.server.faults.silence(true);
  await stage.world.until("another list", () => stage.count("list") > before, {
    withinMs: 6 * MINUTE_MS,
  });
  const list = stage.server.requests().findLast(({ kind }) => kind === "list");
  assert.equal(list?.query, "limit=250");
});

test("watchNodes() truth() of a frozen watch stays behind", async (t) => {
  const stage = await watchStage(t);
  await stage.synced();
  await stage.world.advance(90_000);
  const heardAt = stage.watch.truth()?.observedAt ?? 0;
  assert.equal(heardAt, START + MINUTE_MS);
  stage.server.faults.silence(true);
  stage.server.faults.add("any", { kind: "stall" });
  await stage.world.advance(10 * MINUTE_MS);
  assert.equal(stage.watch.truth()?.observedAt, heardAt);
});

test("watchNodes() does not wait for headers longer than the connect timeout", async (t) => {
  const stage = await watchStage(t, {
    prepare: (server) => {
      server.nodes.put("a", external("203.0.113.1"));
      server.faults.add("watch", { kind: "stall" }, { times: 1 });
    },
  });
  await stage.world.until("a truth", () => stage.addresses().length === 1, { withinMs: 35_000 });
});

test("watchNodes() asks a server that closes every stream at most 20 times in 5 minutes", async (t) => {
  const stage = await watchStage(t);
  await stage.synced();
  const lift = stage.server.faults.add("watch", { kind: "close" });
  const before = stage.count("watch");
  stage.server.faults.closeWatches();
  await stage.world.advance(5 * MINUTE_MS);
  const asked = stage.count("watch") - before;
  assert.ok(asked >= 5 && asked <= 20, `${asked} watches`);
  lift();
  stage.server.nodes.put("a", external("203.0.113.1"));
  await stage.world.until("healed", () => stage.addresses().length === 1);
});

for (const on of ["watch", "list"] as const) {
  for (const status of [401, 403, 429, 500, 503]) {
    test(`watchNodes() survives ${status} on ${on}`, async (t) => {
      const retryAfterS = status === 429 ? { retryAfterS: 7 } : {};
      const stage = await watchStage(t, {
        watchList: on === "watch",
        prepare: ({ faults }) => {
          faults.add(on, { kind: "status", status, ...retryAfterS }, { times: 3 });
        },
      });
      stage.server.nodes.put("a", external("203.0.113.1"));
      await stage.world.until("a truth", () => stage.addresses().length === 1, {
        withinMs: 3 * MINUTE_MS,
      });
      assert.ok(stage.events.some((event) => event.kind === "watch-failed"));
    });
  }
}

test("watchNodes() waits as long as Retry-After says", async (t) => {
  const stage = await watchStage(t, {
    prepare: ({ faults }) => {
      faults.add("watch", { kind: "status", status: 429, retryAfterS: 40 }, { times: 1 });
    },
  });
  await stage.world.advance(39_000);
  assert.equal(stage.watch.truth(), null);
  await stage.world.advance(2_000);
  assert.notEqual(stage.watch.truth(), null);
});

test("watchNodes() survives refused and cut connections and misses nothing", async (t) => {
  const stage = await watchStage(t);
  await stage.synced();
  await stage.server.faults.refuse();
  await stage.world.advance(20_000);
  stage.server.nodes.put("a", external("203.0.113.1"));
  await stage.server.faults.accept();
  await stage.world.until("the node", () => stage.addresses().length === 1);
  stage.server.faults.cut();
  stage.server.nodes.put("b", external("203.0.113.2"));
  await stage.world.until("the other", () => stage.addresses().length === 2);
  assert.equal(stage.count("list"), 0);
});

for (const [name, expire] of [
  ["an HTTP status", { kind: "status", status: 410 }],
  ["an ERROR in the stream", { kind: "error-event", status: 410 }],
] as const) {
  test(`watchNodes() lists once after 410 as ${name}, and tells what changed`, async (t) => {
    const stage = await watchStage(t, { watchList: false });
    const { nodes, faults } = stage.server;
    nodes.put("stays", external("203.0.113.1"));
    nodes.put("goes", external("203.0.113.2"));
    await stage.synced();
    await stage.world.until("both", () => stage.addresses().length === 2);
    const before = stage.count("list");
    stage.changes.length = 0;
    faults.add("watch", expire, { times: 1 });
    faults.cut();
    nodes.remove("goes");
    nodes.put("fleeting", external("203.0.113.9"));
    nodes.remove("fleeting");
    nodes.put("comes", external("203.0.113.3"));
    await stage.world.until("the list", () => stage.count("list") > before);
    await stage.world.advance(5 * MINUTE_MS);
    assert.equal(stage.count("list"), before + 1);
    assert.deepEqual(stage.addresses(), ["203.0.113.1", "203.0.113.3"]);
    const told = stage.changes.map(({ kind, name: node }) => `${kind} ${node}`);
    assert.deepEqual(told, ["node.removed goes", "node.added comes"]);
  });
}

test("watchNodes() lists again when the server has compacted its history", async (t) => {
  const stage = await watchStage(t);
  await stage.synced();
  await stage.server.faults.refuse();
  stage.server.nodes.put("a", external("203.0.113.1"));
  stage.server.store.compact();
  await stage.server.faults.accept();
  await stage.world.until("the node", () => stage.addresses().length === 1);
});

for (const status of [429, 500, 504]) {
  test(`watchNodes() ends a watch with ERROR ${status} in it, and backs off`, async (t) => {
    const stage = await watchStage(t);
    await stage.synced();
    stage.server.faults.add("watch", { kind: "error-event", status }, { times: 4 });
    const before = stage.count("watch");
    stage.server.faults.closeWatches();
    await stage.world.advance(2_000);
    const early = stage.count("watch") - before;
    assert.ok(early >= 1 && early <= 3, `${early} watches in 2 s`);
    stage.server.nodes.put("a", external("203.0.113.1"));
    await stage.world.until("healed", () => stage.addresses().length === 1);
    assert.ok(stage.count("watch") - before >= 5);
  });
}

test("watchNodes() tells a node that was made anew under its name, seen live", async (t) => {
  const stage = await watchStage(t);
  stage.server.nodes.put("a", external("203.0.113.1"));
  await stage.world.until("the node", () => stage.addresses().length === 1);
  stage.changes.length = 0;
  stage.server.nodes.remove("a");
  const uid = stage.server.nodes.put("a", external("203.0.113.2"));
  await stage.world.until("the new one", () => stage.addresses()[0] === "203.0.113.2");
  assert.deepEqual(
    stage.changes.map(({ kind }) => kind),
    ["node.removed", "node.added"],
  );
  assert.equal(stage.changes[1]?.uid, uid);
});

test("watchNodes() tells a node that was made anew under its name across a relist", async (t) => {
  const stage = await watchStage(t, { watchList: false });
  stage.server.nodes.put("a", external("203.0.113.1"));
  await stage.world.until("the node", () => stage.addresses().length === 1);
  stage.changes.length = 0;
  await stage.server.faults.refuse();
  stage.server.nodes.remove("a");
  stage.server.nodes.put("a", external("203.0.113.2"));
  stage.server.store.compact();
  await stage.server.faults.accept();
  await stage.world.until("the new one", () => stage.addresses()[0] === "203.0.113.2");
  assert.deepEqual(
    stage.changes.map(({ kind }) => kind),
    ["node.removed", "node.added"],
  );
});

test("watchNodes() keeps an address that another node still claims", async (t) => {
  const stage = await watchStage(t);
  stage.server.nodes.put("a", external("203.0.113.1"));
  stage.server.nodes.put("b", external("203.0.113.1"));
  await stage.world.until("both", () => stage.addresses().length === 2);
  stage.server.nodes.remove("a");
  await stage.world.until("one", () => stage.addresses().length === 1);
  assert.deepEqual(stage.addresses(), ["203.0.113.1"]);
});

test("watchNodes() believes a consistent list of a restored cluster, and says so", async (t) => {
  const stage = await watchStage(t);
  stage.server.nodes.put("a", external("203.0.113.1"));
  await stage.world.until("the node", () => stage.addresses().length === 1);
  const backup = stage.server.store.backup();
  for (const n of [2, 3, 4]) stage.server.nodes.put(`n${n}`, external(`203.0.113.${n}`));
  await stage.world.until("all", () => stage.addresses().length === 4);
  stage.server.restore(backup);
  // A watch from a version of the future stays silent, so only silence or the periodic list can
  // tell.
  await stage.world.until("the past", () => stage.addresses().length === 1, {
    withinMs: 30 * MINUTE_MS,
  });
  assert.equal(stage.restored(), 1);
  assert.ok(stage.events.some((event) => event.kind === "restored"));
});

test("watchNodes() lists consistently when a server does not know its version yet", async (t) => {
  const stage = await watchStage(t, { watchList: false });
  stage.server.nodes.put("a", external("203.0.113.1"));
  await stage.world.until("the node", () => stage.addresses().length === 1);
  const backup = stage.server.store.backup();
  stage.server.nodes.put("b", external("203.0.113.2"));
  await stage.world.until("both", () => stage.addresses().length === 2);
  stage.server.faults.add("watch", { kind: "status", status: 410 }, { times: 1 });
  stage.server.restore(backup);
  await stage.world.until("the past", () => stage.addresses().length === 1, { withinMs: 30_000 });
  assert.equal(stage.restored(), 1);
});

test("watchNodes() does not take an event that is older than what it saw", async (t) => {
  const stage = await watchStage(t);
  stage.server.nodes.put("a", external("203.0.113.1"));
  await stage.world.until("the node", () => stage.addresses().length === 1);
  const object = structuredClone(stage.server.store.read("nodes", "a"));
  const late = { ...object, metadata: { ...object?.metadata, resourceVersion: "2" }, status: {} };
  stage.server.faults.write(`${JSON.stringify({ type: "MODIFIED", object: late })}\n`);
  await stage.world.advance(5_000);
  assert.deepEqual(stage.addresses(), ["203.0.113.1"]);
  assert.ok(!stage.changes.some(({ kind }) => kind === "node.changed"));
  const watch = stage.server.requests().findLast(({ kind }) => kind === "watch");
  assert.match(watch?.query ?? "", /sendInitialEvents/);
});

test("watchNodes() does not take a relist that is older than what it saw", async (t) => {
  const stage = await watchStage(t, { watchList: false });
  const { nodes, faults } = stage.server;
  nodes.put("a", external("203.0.113.1"));
  nodes.put("b", external("203.0.113.2"));
  await stage.world.until("both", () => stage.addresses().length === 2);
  const stale = {
    kind: "NodeList",
    apiVersion: "v1",
    metadata: { resourceVersion: "2" },
    items: [],
  };
  const body = JSON.stringify(stale);
  faults.add("list", { kind: "body", contentType: "application/json", body }, { times: 1 });
  faults.add("watch", { kind: "status", status: 410 }, { times: 1 });
  const before = stage.count("list");
  faults.cut();
  await stage.world.until("a consistent list", () => stage.count("list") === before + 2);
  await stage.world.advance(1_000);
  assert.equal(stage.addresses().length, 2);
  assert.equal(stage.restored(), 0);
  assert.ok(!stage.changes.some(({ kind }) => kind === "node.removed"));
});

test("watchNodes() works with versions beyond the numbers of JavaScript", async (t) => {
  const firstRevision = 99_999_999_999_999_999_998n;
  const stage = await watchStage(t, { firstRevision, watchList: false });
  await stage.synced();
  stage.server.nodes.put("a", external("203.0.113.1"));
  stage.server.nodes.put("b", external("203.0.113.2"));
  await stage.world.until("both", () => stage.addresses().length === 2);
  stage.server.faults.cut();
  stage.server.nodes.put("c", external("203.0.113.3"));
  await stage.world.until("all", () => stage.addresses().length === 3);
  assert.equal(stage.restored(), 0);
});

test("watchNodes() takes no part of a paged list for the truth", async (t) => {
  const stage = await watchStage(t, {
    watchList: false,
    prepare: ({ nodes, faults }) => {
      for (let n = 0; n < 600; n += 1) {
        nodes.put(`node-${n}`, external(`10.0.${Math.floor(n / 250)}.${n % 250}`));
      }
      faults.add("page", { kind: "cut" }, { times: 3 });
    },
  });
  await stage.world.until("three failures", () => stage.count("page") === 3);
  assert.equal(stage.watch.truth(), null);
  await stage.world.until("a truth", () => stage.watch.truth() !== null);
  assert.equal(stage.addresses().length, 600);
});

test("watchNodes() begins a paged list anew when a later page has expired", async (t) => {
  const stage = await watchStage(t, {
    watchList: false,
    prepare: ({ nodes, faults }) => {
      for (let n = 0; n < 300; n += 1) nodes.put(`node-${n}`, external(`10.0.${n % 2}.${n % 250}`));
      faults.add("page", { kind: "status", status: 410 }, { times: 1 });
    },
  });
  await stage.world.until("a truth", () => stage.watch.truth() !== null, { withinMs: 1_000 });
  assert.equal(stage.watch.truth()?.nodes.length, 300);
  // The whole in one piece: it cannot expire again.
  assert.equal(stage.server.requests().findLast(({ kind }) => kind === "list")?.query, "");
});

test("watchNodes() publishes a streamed list only when its first events are complete", async (t) => {
  const stage = await watchStage(t, {
    prepare: ({ nodes, faults }) => {
      for (let n = 1; n <= 50; n += 1) nodes.put(`node-${n}`, external(`203.0.113.${n}`));
      const node = (n: number) => ({
        metadata: { name: `node-${n}`, uid: `u${n}`, resourceVersion: "5" },
      });
      const bookmark = { type: "BOOKMARK", object: { metadata: { resourceVersion: "5" } } };
      const body = [1, 2]
        .map((n) => ({ type: "ADDED", object: node(n) }))
        .concat([bookmark as never])
        .map((event) => `${JSON.stringify(event)}\n`)
        .join("");
      faults.add("watch", { kind: "body", contentType: "application/json", body }, { times: 1 });
    },
  });
  await stage.world.until("a truth", () => stage.watch.truth() !== null);
  assert.equal(stage.addresses().length, 50);
  const listed = stage.events.filter((event) => event.kind === "listed");
  assert.deepEqual(
    listed.map(({ nodes }) => nodes),
    [50],
  );
});

test("watchNodes() remembers that a server streams no lists", async (t) => {
  const stage = await watchStage(t, { watchList: false });
  await stage.synced();
  const asked = () =>
    stage.server.requests().filter(({ query }) => query.includes("sendInitialEvents")).length;
  assert.equal(asked(), 1);
  void stage.watch.refresh(stage.signal);
  await stage.world.until("another list", () => stage.count("list") === 2);
  assert.equal(asked(), 1);
});

test("watchNodes() does not list because of a quiet hour: bookmarks keep its version young", async (t) => {
  const stage = await watchStage(t, { watchList: false });
  await stage.synced();
  // Others write, and the history that was there at the beginning is forgotten.
  for (let minutes = 0; minutes < 60; minutes += 2) {
    stage.server.store.put("leases", "default/other", {
      apiVersion: "coordination.k8s.io/v1",
      kind: "Lease",
      metadata: { name: "other", n: minutes },
    });
    await stage.world.advance(2 * MINUTE_MS);
    stage.server.store.compact();
  }
  const lists = stage.server.requests().filter(({ kind }) => kind === "list");
  assert.ok(
    lists.every(({ query }) => query === "limit=250"),
    "consistent lists only",
  );
  assert.ok(lists.length >= 2 && lists.length <= 5, `${lists.length} lists in an hour`);
  assert.ok(!stage.events.some((event) => event.kind === "watch-failed" && event.retryInMs > 0));
});

test("watchNodes() lists consistently every 30 minutes at the latest", async (t) => {
  const stage = await watchStage(t, { watchList: false });
  await stage.synced();
  await stage.world.advance(120 * MINUTE_MS);
  const times = stage.server
    .requests()
    .filter(({ kind }) => kind === "list")
    .map(({ at }) => at);
  const gaps = times.slice(1).map((at, index) => at - (times[index] ?? 0));
  assert.ok(gaps.length >= 3);
  assert.ok(
    gaps.every((ms) => ms <= 30 * MINUTE_MS),
    gaps.join(),
  );
});

test("watchNodes() hears nothing of heartbeats, conditions and images", async (t) => {
  const stage = await watchStage(t, { labels: ["pool"] });
  stage.server.nodes.put("a", { ...external("203.0.113.1"), labels: { pool: "x" } });
  await stage.world.until("the node", () => stage.addresses().length === 1);
  stage.changes.length = 0;
  const before = stage.watch.truth()?.observedAt ?? 0;
  await stage.world.advance(1_000);
  const { patch } = stage.server.nodes;
  patch("a", { status: { conditions: [{ type: "Ready", status: "Unknown" }] } });
  patch("a", { status: { images: [{ names: ["x"] }] }, metadata: { labels: { other: "y" } } });
  patch("a", { spec: { unschedulable: true, taints: [{ key: "node.kubernetes.io/not-ready" }] } });
  await stage.world.advance(1_000);
  assert.deepEqual(stage.changes, []);
  assert.deepEqual(stage.addresses(), ["203.0.113.1"]);
  assert.ok((stage.watch.truth()?.observedAt ?? 0) > before, "they do prove that the watch lives");
});

test("watchNodes() reads characters that are cut between two pieces", async (t) => {
  const stage = await watchStage(t, { labels: ["pool"] });
  await stage.synced();
  stage.server.faults.shred(1);
  stage.server.nodes.put("a", { ...external("203.0.113.1"), labels: { pool: "ü€𝄞" } });
  // Every byte takes its own turn of the loop.
  for (let turns = 0; turns < 40; turns += 1) await stage.world.advance(1);
  await stage.world.until("the node", () => stage.addresses().length === 1);
  assert.equal(stage.watch.truth()?.nodes[0]?.labels.pool, "ü€𝄞");
});

for (const [name, bytes] of [
  ["a garbled line", "}{\n"],
  ["a line that is no event", '{"type":"SURPRISE","object":{}}\n'],
  ["a node without uid", '{"type":"ADDED","object":{"metadata":{"resourceVersion":"999"}}}\n'],
  [
    "bytes that are no UTF-8",
    Buffer.from(
      '{"type":"ADDED","object":{"metadata":{"uid":"u","name":"\xff","resourceVersion":"3"}}}\n',
      "latin1",
    ),
  ],
] as const) {
  test(`watchNodes() ends a watch with ${name} in it, and loses nothing`, async (t) => {
    const stage = await watchStage(t);
    await stage.synced();
    stage.server.faults.write(bytes);
    stage.server.nodes.put("a", external("203.0.113.1"));
    await stage.world.until("the node", () => stage.addresses().length === 1);
    assert.equal(stage.count("watch"), 2);
  });
}

test("watchNodes() does not take half a line for an event", async (t) => {
  const stage = await watchStage(t);
  stage.server.nodes.put("a", external("203.0.113.1"));
  await stage.world.until("the node", () => stage.addresses().length === 1);
  const gone = stage.server.store.read("nodes", "a");
  const line = JSON.stringify({ type: "DELETED", object: gone });
  stage.server.faults.write(line);
  stage.server.faults.closeWatches();
  await stage.world.advance(10_000);
  assert.deepEqual(stage.addresses(), ["203.0.113.1"]);
});

test("watchNodes() does not lose an event whose hearer throws, and lives on", async (t) => {
  let isBroken = false;
  const stage = await watchStage(t, {
    onChanges() {
      if (isBroken) throw new Error("a bug of ours");
    },
  });
  await stage.synced();
  isBroken = true;
  stage.server.nodes.put("a", external("203.0.113.1"));
  await stage.world.advance(3_000);
  assert.deepEqual(stage.addresses(), []);
  assert.ok(stage.events.some((event) => event.kind === "watch-failed"));
  isBroken = false;
  await stage.world.until("the event", () => stage.addresses().length === 1);
  assert.deepEqual(
    stage.changes.map(({ kind }) => kind),
    ["node.added"],
  );
});

for (const [name, answer] of [
  ["a page of a proxy", { contentType: "text/html", body: "<html>welcome</html>" }],
  ["an empty object", { contentType: "application/json", body: "{}" }],
  ["half an answer", { contentType: "application/json", body: '{"kind":"NodeList","items":[' }],
  [
    "a list of something else",
    {
      contentType: "application/json",
      body: '{"kind":"PodList","metadata":{"resourceVersion":"999"},"items":[]}',
    },
  ],
  [
    "a list without version",
    { contentType: "application/json", body: '{"kind":"NodeList","metadata":{},"items":[]}' },
  ],
] as const) {
  test(`watchNodes() does not take ${name} for an empty cluster`, async (t) => {
    const stage = await watchStage(t, { watchList: false });
    stage.server.nodes.put("a", external("203.0.113.1"));
    await stage.world.until("the node", () => stage.addresses().length === 1);
    const lift = stage.server.faults.add("list", { kind: "body", ...answer });
    void stage.watch.refresh(stage.signal).catch(() => undefined);
    await stage.world.advance(2 * MINUTE_MS);
    assert.deepEqual(stage.addresses(), ["203.0.113.1"]);
    lift();
    stage.server.nodes.remove("a");
    await stage.world.until("healed", () => stage.addresses().length === 0);
  });
}

test("refresh() resolves with a consistent list that began after it", async (t) => {
  const stage = await watchStage(t);
  await stage.synced();
  const before = stage.count("watch");
  let isDone = false;
  void stage.watch.refresh(stage.signal).then(() => {
    isDone = true;
  });
  await stage.world.until("refreshed", () => isDone, { withinMs: 1_000 });
  const list = stage.server.requests().findLast(({ kind }) => kind === "watch");
  assert.equal(stage.count("watch"), before + 1);
  assert.doesNotMatch(list?.query ?? "", /resourceVersion=/);
});

test("watchNodes() names the way out when its credentials are not taken", async (t) => {
  const stage = await watchStage(t);
  await stage.synced();
  stage.server.rotateToken();
  stage.server.faults.cut();
  await stage.world.advance(5_000);
  const failed = stage.events.findLast((event) => event.kind === "watch-failed");
  assert.match(failed?.kind === "watch-failed" ? failed.message : "", /401.*renew the credentials/);
});

test("watchNodes() notices another cluster behind the same URL, and never gives its nodes the old uid", async (t) => {
  for (const watchList of [true, false]) {
    const stage = await watchStage(t, {
      watchList,
      prepare: (server) => {
        for (let last = 1; last <= 10; last += 1) {
          server.nodes.put(`n${last}`, external(`203.0.113.${last}`));
        }
      },
    });
    await stage.synced();
    const before = stage.watch.truth()?.clusterUid;
    const { store, nodes, faults } = stage.server;
    await faults.refuse();
    for (const name of nodes.names()) nodes.remove(name);
    store.remove("namespaces", "kube-system");
    store.put("namespaces", "kube-system", {
      apiVersion: "v1",
      kind: "Namespace",
      metadata: { name: "kube-system" },
    });
    nodes.put("x1", external("198.51.100.1"));
    faults.add("watch", { kind: "status", status: 410 }, { times: 1 });
    await faults.accept();
    for (let second = 0; second < 120; second += 5) {
      await stage.world.advance(5_000);
      const truth = stage.watch.truth();
      if (stage.addresses().some((address) => address?.startsWith("198."))) {
        assert.notEqual(truth?.clusterUid, before, `watchList ${watchList}`);
      }
    }
    assert.notEqual(stage.watch.truth()?.clusterUid, before, "within two minutes");
  }
});
