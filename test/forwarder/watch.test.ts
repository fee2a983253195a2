import assert from "node:assert/strict";
import { test } from "node:test";
import { START } from "./clock.ts";
import { external, watchStage } from "./stage.ts";

const MINUTE_MS = 60_000;

test("watchCluster() abandons a silent watch within its limit and resumes from the last version", async (t) => {
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

test("watchCluster() lists consistently after two silent watches in a row", async (t) => {
  const stage = await watchStage(t, { watchList: false });
  await stage.synced();
  await stage.world.advance(2 * MINUTE_MS);
  const before = stage.count("list");
  stage.server.faults.silence(true);
  await stage.world.until("another list", () => stage.count("list") > before, {
    withinMs: 6 * MINUTE_MS,
  });
  const list = stage.server.requests().findLast(({ kind }) => kind === "list");
  assert.equal(list?.query, "limit=50");
});

test("watchCluster() truth() of a frozen watch stays behind", async (t) => {
  const stage = await watchStage(t);
  await stage.synced();
  stage.elsewhere();
  await stage.world.advance(90_000);
  const heardAt = stage.watch.truth()?.observedAt ?? 0;
  assert.equal(heardAt, START + MINUTE_MS);
  stage.server.faults.silence(true);
  stage.server.faults.add("any", { kind: "stall" });
  await stage.world.advance(10 * MINUTE_MS);
  assert.equal(stage.watch.truth()?.observedAt, heardAt);
});

for (const [on, withinMs] of [
  ["watch", 35_000],
  ["list", 65_000],
  ["namespace", 35_000],
] as const) {
  test(`watchCluster() does not wait longer than its limit for a ${on} that gives no headers`, async (t) => {
    const stage = await watchStage(t, {
      watchList: on !== "list",
      prepare: (server) => {
        server.nodes.put("a", external("203.0.113.1"));
        server.faults.add(on, { kind: "stall" }, { times: 1 });
      },
    });
    await stage.world.until("a truth", () => stage.addresses().length === 1, { withinMs });
  });
}

test("watchCluster() asks a server that closes every stream at most 20 times in 5 minutes", async (t) => {
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
    test(`watchCluster() survives ${status} on ${on}`, async (t) => {
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

for (const on of ["watch", "list", "namespace"] as const) {
  test(`watchCluster() survives connections that are cut before an answer, on ${on}`, async (t) => {
    const stage = await watchStage(t, {
      watchList: on !== "list",
      prepare: ({ nodes, faults }) => {
        nodes.put("a", external("203.0.113.1"));
        faults.add(on, { kind: "cut" }, { times: 4 });
      },
    });
    await stage.world.until("a truth", () => stage.addresses().length === 1);
    const failed = stage.events.filter(({ kind }) => kind === "watch-failed");
    assert.ok(failed.length >= 4, `${failed.length} failures were said`);
  });
}

test("watchCluster() waits as long as Retry-After says", async (t) => {
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

test("watchCluster() survives refused and cut connections and misses nothing", async (t) => {
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
  test(`watchCluster() lists once after 410 as ${name}, and tells what changed`, async (t) => {
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
    await stage.world.advance(4 * MINUTE_MS);
    assert.equal(stage.count("list"), before + 1);
    assert.deepEqual(stage.addresses(), ["203.0.113.1", "203.0.113.3"]);
    const told = stage.changes.map(({ kind, name: node }) => `${kind} ${node}`);
    assert.deepEqual(told, ["node.removed goes", "node.added comes"]);
  });
}

test("watchCluster() lists again when the server has compacted its history", async (t) => {
  const stage = await watchStage(t);
  await stage.synced();
  await stage.server.faults.refuse();
  stage.server.nodes.put("a", external("203.0.113.1"));
  stage.server.store.compact();
  await stage.server.faults.accept();
  await stage.world.until("the node", () => stage.addresses().length === 1);
});

for (const status of [429, 500, 504]) {
  test(`watchCluster() ends a watch with ERROR ${status} in it, and backs off`, async (t) => {
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

test("watchCluster() tells a node that was made anew under its name, seen live", async (t) => {
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

test("watchCluster() tells a node that was made anew under its name across a relist", async (t) => {
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

test("watchCluster() keeps an address that another node still claims", async (t) => {
  const stage = await watchStage(t);
  stage.server.nodes.put("a", external("203.0.113.1"));
  stage.server.nodes.put("b", external("203.0.113.1"));
  await stage.world.until("both", () => stage.addresses().length === 2);
  stage.server.nodes.remove("a");
  await stage.world.until("one", () => stage.addresses().length === 1);
  assert.deepEqual(stage.addresses(), ["203.0.113.1"]);
});

test("watchCluster() believes a consistent list of a restored cluster, and says so", async (t) => {
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

test("watchCluster() lists consistently when a server does not know its version yet", async (t) => {
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

test("watchCluster() takes versions that are no numbers as they come, and lists when they are refused", async (t) => {
  const stage = await watchStage(t, { watchList: false });
  await stage.synced();
  const metadata = { name: "odd", uid: "u-odd", resourceVersion: "v-7" };
  const object = { metadata, status: external("203.0.113.7") };
  stage.server.faults.write(`${JSON.stringify({ type: "ADDED", object })}\n`);
  await stage.world.until("the event", () => stage.addresses().length === 1);
  const before = stage.count("list");
  stage.server.nodes.put("a", external("203.0.113.1"));
  stage.server.faults.cut();
  await stage.world.until("the list", () => stage.count("list") > before);
  await stage.world.until("what it holds", () => stage.addresses().join() === "203.0.113.1");
  const resumed = stage.server.requests().find(({ query }) => query.includes("=v-7"));
  assert.ok(resumed, "it was tried first");
});

test("watchCluster() does not take an event that is older than what it saw", async (t) => {
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

test("watchCluster() does not take a relist that is older than what it saw", async (t) => {
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

test("watchCluster() works with versions beyond the numbers of JavaScript", async (t) => {
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

test("watchCluster() takes no part of a paged list for the truth", async (t) => {
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

test("watchCluster() begins a paged list anew when a later page has expired", async (t) => {
  const stage = await watchStage(t, {
    watchList: false,
    prepare: ({ nodes, faults }) => {
      for (let n = 0; n < 300; n += 1) nodes.put(`node-${n}`, external(`10.0.${n % 2}.${n % 250}`));
      faults.add("page", { kind: "status", status: 410 }, { times: 1 });
    },
  });
  await stage.world.until("a truth", () => stage.watch.truth() !== null, { withinMs: 1_000 });
  assert.equal(stage.watch.truth()?.nodes.length, 300);
  assert.equal(stage.server.requests().findLast(({ kind }) => kind === "list")?.query, "limit=50");
});

test("watchCluster() lists in one piece what expires page by page again and again", async (t) => {
  const stage = await watchStage(t, {
    watchList: false,
    prepare: ({ nodes, faults }) => {
      for (let n = 0; n < 60; n += 1) nodes.put(`node-${n}`, external(`10.0.0.${n}`));
      faults.add("page", { kind: "status", status: 410 });
    },
  });
  await stage.world.until("a truth", () => stage.watch.truth() !== null, { withinMs: 1_000 });
  assert.equal(stage.watch.truth()?.nodes.length, 60);
  const lists = stage.server.requests().filter(({ kind }) => kind === "list");
  assert.deepEqual(
    lists.map(({ query }) => query),
    ["limit=50", "limit=50", ""],
  );
});

test("watchCluster() publishes a streamed list only when its first events are complete", async (t) => {
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
    listed.map(({ count }) => count),
    [50],
  );
});

test("watchCluster() remembers that a server streams no lists", async (t) => {
  const stage = await watchStage(t, { watchList: false });
  await stage.synced();
  const asked = () =>
    stage.server.requests().filter(({ query }) => query.includes("sendInitialEvents")).length;
  assert.equal(asked(), 1);
  void stage.watch.confirm(stage.signal);
  await stage.world.until("another list", () => stage.count("list") === 2);
  assert.equal(asked(), 1);
});

test("watchCluster() does not list because of a quiet hour: bookmarks keep its version young", async (t) => {
  const stage = await watchStage(t, { watchList: false });
  await stage.synced();
  // Others write, and the history that was there at the beginning is forgotten.
  for (let minutes = 0; minutes < 60; minutes += 2) {
    stage.elsewhere();
    await stage.world.advance(2 * MINUTE_MS);
    stage.server.store.compact();
  }
  const lists = stage.server.requests().filter(({ kind }) => kind === "list");
  assert.ok(
    lists.every(({ query }) => query === "limit=50"),
    "consistent lists only",
  );
  assert.ok(lists.length >= 2 && lists.length <= 5, `${lists.length} lists in an hour`);
  assert.ok(!stage.events.some((event) => event.kind === "watch-failed" && event.retryInMs > 0));
});

for (const watchList of [true, false]) {
  const how = watchList ? "streamed" : "paged";
  test(`watchCluster() lists within 6 minutes what bookmarks that stand still do not prove, ${how}`, async (t) => {
    const stage = await watchStage(t, { watchList });
    await stage.synced();
    await stage.world.advance(4 * MINUTE_MS);
    assert.equal(stage.watch.truth()?.observedAt, START, "bookmarks alone prove nothing");
    let oldest = 0;
    for (let second = 0; second < 3_600; second += 30) {
      await stage.world.advance(30_000);
      const { observedAt } = stage.watch.truth() ?? { observedAt: 0 };
      oldest = Math.max(oldest, stage.world.now() - observedAt);
    }
    assert.ok(oldest <= 6 * MINUTE_MS, `${oldest} ms old`);
    const failed = stage.events.filter((event) => event.kind === "watch-failed");
    assert.ok(
      failed.every(({ retryInMs }) => retryInMs === 0),
      "nothing failed",
    );
  });
}

test("watchCluster() sees what a frozen cache of the server does not show", async (t) => {
  const stage = await watchStage(t, { watchList: false });
  await stage.synced();
  stage.server.faults.freeze(true);
  stage.server.nodes.put("a", external("203.0.113.1"));
  await stage.world.advance(4 * MINUTE_MS);
  assert.deepEqual(stage.addresses(), []);
  assert.equal(stage.watch.truth()?.observedAt, START, "it does not pretend to be current");
  await stage.world.until("the node", () => stage.addresses().length === 1, {
    withinMs: 2 * MINUTE_MS,
  });
  stage.server.faults.freeze(false);
  stage.server.nodes.put("b", external("203.0.113.2"));
  await stage.world.until("the other", () => stage.addresses().length === 2, {
    withinMs: 6 * MINUTE_MS,
  });
});

test("watchCluster() goes on watching when a list fails that would have proven it current", async (t) => {
  const stage = await watchStage(t, { watchList: false });
  await stage.synced();
  stage.server.faults.add("list", { kind: "status", status: 503 });
  await stage.world.advance(6 * MINUTE_MS);
  assert.ok(stage.events.some(({ kind }) => kind === "watch-failed"));
  stage.server.nodes.put("a", external("203.0.113.1"));
  await stage.world.until("the node", () => stage.addresses().length === 1, { withinMs: 10_000 });
  const before = stage.count("list");
  await stage.world.advance(30 * MINUTE_MS);
  const lists = stage.count("list") - before;
  assert.ok(lists >= 5 && lists <= 30, `${lists} lists in half an hour`);
});

test("watchCluster() does not take itself for current after the clock was set back", async (t) => {
  const stage = await watchStage(t);
  await stage.synced();
  stage.server.faults.silence(true);
  stage.server.faults.add("any", { kind: "stall" });
  await stage.world.advance(MINUTE_MS);
  stage.world.setClock(-600 * MINUTE_MS);
  const setAt = stage.world.now();
  await stage.world.advance(20 * MINUTE_MS);
  const { observedAt } = stage.watch.truth() ?? { observedAt: 0 };
  assert.ok(observedAt <= setAt + 3 * MINUTE_MS, `${stage.world.now() - observedAt} ms old`);
});

test("watchCluster() lists consistently every 30 minutes at the latest", async (t) => {
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

test("watchCluster() hears nothing of heartbeats, conditions and images", async (t) => {
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

test("watchCluster() reads characters that are cut between two pieces", async (t) => {
  const stage = await watchStage(t);
  await stage.synced();
  stage.server.faults.shred(1);
  stage.server.nodes.put("a", external("203.0.113.1", "ü€𝄞"));
  // Every byte takes its own turn of the loop.
  for (let turns = 0; turns < 40; turns += 1) await stage.world.advance(1);
  await stage.world.until("the node", () => stage.addresses().length === 1);
  assert.deepEqual([...stage.watch.nodes().values()][0]?.unsent, ["ü€𝄞"]);
});

for (const [name, bytes] of [
  ["a garbled line", "}{\n"],
  ["an empty object", "{}\n"],
  ["no object", '"ADDED"\n'],
  ["an event without object", '{"type":"ADDED"}\n'],
  ["an ERROR without status", '{"type":"ERROR","object":{}}\n'],
  [
    "a name that is no name",
    '{"type":"ADDED","object":{"metadata":{"uid":"u","name":"\u00fc","resourceVersion":"999"}}}\n',
  ],
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
  test(`watchCluster() ends a watch with ${name} in it, and loses nothing`, async (t) => {
    const stage = await watchStage(t);
    await stage.synced();
    stage.server.faults.write(bytes);
    stage.server.nodes.put("a", external("203.0.113.1"));
    await stage.world.until("the node", () => stage.addresses().length === 1);
    assert.equal(stage.count("watch"), 2);
  });
}

test("watchCluster() tells a node that was made anew under its name, though its end was never shown", async (t) => {
  const stage = await watchStage(t);
  stage.server.nodes.put("a", external("203.0.113.1"));
  await stage.world.until("the node", () => stage.addresses().length === 1);
  stage.changes.length = 0;
  const before = stage.server.store.read("nodes", "a");
  const resourceVersion = String(stage.server.store.revision() + 1n);
  const metadata = { ...before?.metadata, uid: "another", resourceVersion };
  const object = { ...before, metadata, status: external("203.0.113.2") };
  stage.server.faults.write(`${JSON.stringify({ type: "MODIFIED", object })}\n`);
  await stage.world.until("the new one", () => stage.addresses().join() === "203.0.113.2");
  assert.deepEqual(
    stage.changes.map(({ kind, uid }) => `${kind} ${uid}`),
    [`node.removed ${before?.metadata.uid}`, "node.added another"],
  );
});

test("watchCluster() reads nodes of 150 kB, streamed and paged, and keeps little of them", async (t) => {
  for (const watchList of [true, false]) {
    const stage = await watchStage(t, {
      watchList,
      prepare: ({ nodes }) => {
        for (const n of [1, 2, 3]) {
          nodes.put(`n${n}`, external(`203.0.113.${n}`));
          const names = Array.from({ length: 50 }, (_, k) => `registry/${k}/${"x".repeat(2_900)}`);
          nodes.patch(`n${n}`, { status: { images: [{ names }] } });
        }
      },
    });
    await stage.world.until("a truth", () => stage.addresses().length === 3);
    stage.server.nodes.patch("n1", { status: external("203.0.113.9") });
    await stage.world.until("a change", () => stage.addresses().includes("203.0.113.9"));
    assert.ok(JSON.stringify([...stage.watch.nodes()]).length < 1_000);
  }
});

test("watchCluster() does not take half a line for an event", async (t) => {
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

test("watchCluster() does not lose an event whose hearer throws, and lives on", async (t) => {
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

for (const kind of ["watch-failed", "watch-ended", "listed", "seen"] as const) {
  test(`watchCluster() lives on when who hears that it has ${kind} throws`, async (t) => {
    let isBroken = true;
    const stage = await watchStage(t, {
      prepare: ({ faults }) => void faults.add("watch", { kind: "close" }, { times: 1 }),
      onEvent(event) {
        if (isBroken && event.kind === kind) throw new Error("a bug of ours");
      },
    });
    stage.server.nodes.put("a", external("203.0.113.1"));
    const heard = () => stage.events.filter((event) => event.kind === kind).length;
    await stage.world.until("what it says", () => heard() > 0);
    await stage.world.advance(MINUTE_MS);
    isBroken = false;
    await stage.world.until("the node", () => stage.addresses().length === 1);
  });
}

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
  test(`watchCluster() does not take ${name} for an empty cluster`, async (t) => {
    const stage = await watchStage(t, { watchList: false });
    stage.server.nodes.put("a", external("203.0.113.1"));
    await stage.world.until("the node", () => stage.addresses().length === 1);
    const lift = stage.server.faults.add("list", { kind: "body", ...answer });
    void stage.watch.confirm(stage.signal).catch(() => undefined);
    await stage.world.advance(2 * MINUTE_MS);
    assert.deepEqual(stage.addresses(), ["203.0.113.1"]);
    lift();
    stage.server.nodes.remove("a");
    await stage.world.until("healed", () => stage.addresses().length === 0);
  });
}

test("confirm() resolves with a consistent list that began after it", async (t) => {
  const stage = await watchStage(t);
  await stage.synced();
  const before = stage.count("watch");
  let isDone = false;
  void stage.watch.confirm(stage.signal).then(() => {
    isDone = true;
  });
  await stage.world.until("refreshed", () => isDone, { withinMs: 1_000 });
  const list = stage.server.requests().findLast(({ kind }) => kind === "watch");
  assert.equal(stage.count("watch"), before + 1);
  assert.doesNotMatch(list?.query ?? "", /resourceVersion=/);
});

test("watchCluster() names the way out when its credentials are not taken", async (t) => {
  const stage = await watchStage(t);
  await stage.synced();
  stage.server.rotateToken();
  stage.server.faults.cut();
  await stage.world.advance(5_000);
  const failed = stage.events.findLast((event) => event.kind === "watch-failed");
  assert.match(failed?.kind === "watch-failed" ? failed.message : "", /401.*renew the credentials/);
});

test("watchCluster() never gives one cluster's nodes to another that took its place during a list", async (t) => {
  let isAbout = () => {};
  const stage = await watchStage(t, {
    watchList: false,
    wrap: (kube) => ({
      ...kube,
      async read(path, request) {
        if (path.endsWith("/kube-system")) isAbout();
        return kube.read(path, request);
      },
    }),
  });
  const { nodes, store, faults } = stage.server;
  nodes.put("a", external("203.0.113.1"));
  await stage.world.until("the node", () => stage.addresses().length === 1);
  const before = stage.watch.truth()?.clusterUid;
  const lists = stage.count("list");
  let swapped = false;
  isAbout = () => {
    if (swapped || stage.count("list") === lists) return;
    swapped = true;
    // A watch that goes on would soon show the truth.
    faults.freeze(true);
    nodes.remove("a");
    nodes.put("z", external("198.51.100.1"));
    const metadata = { name: "kube-system" };
    store.remove("namespaces", "kube-system");
    store.put("namespaces", "kube-system", { apiVersion: "v1", kind: "Namespace", metadata });
  };
  void stage.watch.confirm(stage.signal).catch(() => undefined);
  for (let second = 0; second < 60; second += 1) {
    await stage.world.advance(1_000);
    const isNew = stage.watch.truth()?.clusterUid !== before;
    assert.deepEqual(stage.addresses(), isNew ? ["198.51.100.1"] : ["203.0.113.1"]);
  }
  assert.ok(swapped && stage.watch.truth()?.clusterUid !== before);
});

test("watchCluster() notices another cluster behind the same URL, and never gives its nodes the old uid", async (t) => {
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

test("watchCluster() shows a mark at once, tells the gate, and delivers nothing for it", async (t) => {
  const mark = { kind: "taint", key: "example.com/gate" } as const;
  const stage = await watchStage(t, { mark });
  const taints = [{ key: mark.key, effect: "NoSchedule" }];
  const uid = stage.server.nodes.put("a", external("203.0.113.1"));
  stage.server.nodes.patch("a", { spec: { taints } });
  await stage.world.until("the mark", () => stage.watch.nodes().get(uid)?.mark === "NoSchedule");
  assert.ok(stage.marks() > 0);
  const [marks, told, events] = [stage.marks(), stage.told(), stage.events.length];
  const { nodes } = stage.watch.truth() ?? {};
  stage.server.nodes.patch("a", { spec: { taints: [] } });
  await stage.world.until("no mark", () => stage.watch.nodes().get(uid)?.mark === null);
  assert.equal(stage.marks(), marks + 1);
  assert.deepEqual([stage.told(), stage.events.length], [told, events]);
  assert.equal(stage.watch.truth()?.nodes, nodes, "what is sent is the very same");
  stage.server.nodes.patch("a", { status: { conditions: [{ type: "Ready", status: "True" }] } });
  await stage.world.advance(1_000);
  assert.equal(stage.marks(), marks + 1, "a heartbeat is no news for a gate");
});
