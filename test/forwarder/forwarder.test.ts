import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { ForwarderEvent } from "../../forwarder/journal.ts";
import { runForwarder } from "../../forwarder/main.ts";
import type { Settings } from "../../forwarder/settings.ts";
import { compareGenerations } from "../../lib/core/snapshot.ts";
import { parseSigningKey } from "../../lib/wire/signature.ts";
import type { World } from "../../lib/world.ts";
import { type ManualWorld, manualWorld } from "./clock.ts";
import { type Receiver, SECRET, startReceiver } from "./receiver.ts";
import { external, type Server, startCluster } from "./stage.ts";

const MINUTE_MS = 60_000;
const LEASE = "default/kube-allowlist";

interface Stage {
  readonly world: ManualWorld;
  readonly server: Server;
  readonly receiver: Receiver;
}

async function stageOf(t: TestContext): Promise<Stage> {
  const world = manualWorld();
  const server = await startCluster(t, { world });
  return { world, server, receiver: await startReceiver(t, world) };
}

/** A forwarder that runs until it is told to end; ended with the test. */
function forward(
  t: TestContext,
  stage: Stage,
  options: { readonly settings?: Partial<Settings>; readonly world?: World } = {},
) {
  const end = new AbortController();
  const events: ForwarderEvent[] = [];
  const settings: Settings = {
    url: stage.receiver.url,
    cluster: "test",
    credential: { signing: { kind: "keys", keys: [parseSigningKey(SECRET)] }, tokenFile: null },
    labels: [],
    pods: [],
    gate: null,
    listen: null,
    lease: { kind: "kubernetes", namespace: null, name: "kube-allowlist" },
    heartbeatMs: 300_000,
    proxy: {},
    ...options.settings,
  };
  let isOver = false;
  const running = runForwarder(settings, {
    world: options.world ?? stage.world,
    signal: end.signal,
    kubeConfig: { kind: "text", text: stage.server.kubeconfig },
    onEvent: (event) => events.push(event),
  }).finally(() => {
    isOver = true;
  });
  const stop = async () => {
    end.abort(new Error("the end"));
    await stage.world.until("the forwarder's end", () => isOver, { withinMs: 40_000 });
    await running;
  };
  t.after(async () => {
    stage.server.faults.clear();
    stage.server.faults.silence(false);
    await stop();
  });
  return { events, stop, isOver: () => isOver };
}

/** The same clock, but frozen: nothing that sleeps in it ever wakes, as in a stopped process. */
function freezable(world: ManualWorld) {
  let thaw: (() => void) | null = null;
  let frozen: Promise<void> = Promise.resolve();
  const own: World = {
    ...world,
    random: manualWorld({ seed: 99 }).random,
    async sleep(ms, signal) {
      await world.sleep(ms, signal);
      await frozen;
    },
  };
  return {
    world: own,
    freeze() {
      frozen = new Promise((resolve) => {
        thaw = resolve;
      });
    },
    thaw() {
      thaw?.();
      frozen = Promise.resolve();
    },
  };
}

function holderOf(server: Server): unknown {
  const spec = server.store.read("leases", LEASE)?.spec;
  return typeof spec === "object" && spec !== null && "holderIdentity" in spec
    ? spec.holderIdentity
    : null;
}

const memory = { lease: { kind: "memory" } } as const;

test("runForwarder() delivers every node with cluster uid, epoch and sequence", async (t) => {
  const stage = await stageOf(t);
  const { world, server, receiver } = stage;
  server.nodes.put("a", { ...external("203.0.113.1"), labels: { pool: "x", other: "y" } });
  forward(t, stage, { settings: { labels: ["pool"] } });
  await world.until("a delivery", () => receiver.addresses().length === 1, { withinMs: 1_000 });
  const { held } = receiver;
  assert.equal(held?.clusterUid, server.store.read("namespaces", "kube-system")?.metadata.uid);
  assert.deepEqual(held?.generation, { epoch: 1, sequence: 1 });
  assert.deepEqual(held?.scope, { labels: ["pool"], pods: [] });
  assert.deepEqual(held?.nodes[0]?.labels, { pool: "x" });
});

test("runForwarder() delivers nothing before the first complete list", async (t) => {
  const stage = await stageOf(t);
  stage.server.faults.add("watch", { kind: "status", status: 500 });
  stage.server.faults.add("list", { kind: "status", status: 500 });
  forward(t, stage);
  await stage.world.advance(5 * MINUTE_MS);
  assert.deepEqual(stage.receiver.received, []);
});

test("runForwarder() delivers nothing before it knows whose nodes they are", async (t) => {
  const stage = await stageOf(t);
  const lift = stage.server.faults.add("namespace", { kind: "status", status: 403 });
  const { events } = forward(t, stage);
  await stage.world.advance(5 * MINUTE_MS);
  assert.deepEqual(stage.receiver.received, []);
  const failed = events.findLast((event) => event.kind === "watch-failed");
  assert.match(failed?.kind === "watch-failed" ? failed.message : "", /403.*grant.*kube-system/);
  lift();
  await stage.world.until("a delivery", () => stage.receiver.received.length > 0);
  const lists = stage.server.requests().filter(({ kind }) => kind === "list");
  assert.deepEqual(lists, [], "that says nothing of streamed lists");
});

test("runForwarder() lists once more after it acquired the Lease, before it delivers", async (t) => {
  const stage = await stageOf(t);
  const { world, server, receiver } = stage;
  const lift = server.faults.add("lease", { kind: "status", status: 503 });
  const { events } = forward(t, stage);
  await world.until("a first list", () => events.some(({ kind }) => kind === "listed"));
  // From here on what is known is old, and the one who delivered until now may have known more.
  server.faults.add("watch", { kind: "status", status: 500 });
  lift();
  await world.until("the Lease", () => events.some(({ kind }) => kind === "lease-acquired"));
  await world.advance(5_000);
  assert.deepEqual(receiver.received, []);
  server.faults.clear();
  await world.until("a delivery", () => receiver.received.length > 0);
});

test("runForwarder() delivers at once what changed while a delivery was in flight", async (t) => {
  const stage = await stageOf(t);
  const { world, server, receiver } = stage;
  receiver.mishaps = [{ kind: "slow", ms: 20_000 }];
  forward(t, stage, { settings: memory });
  await world.until("it is on its way", () => receiver.received.length === 1);
  server.nodes.put("a", external("203.0.113.1"));
  await world.advance(19_000);
  assert.equal(receiver.received.length, 1);
  await world.until("the change", () => receiver.addresses().length === 1, { withinMs: 2_000 });
});

test("runForwarder() sends an address within a second of its appearing, and changes it in one message", async (t) => {
  const stage = await stageOf(t);
  const { world, server, receiver } = stage;
  forward(t, stage, { settings: memory });
  server.nodes.put("a", { addresses: [{ type: "Hostname", address: "a" }] });
  await world.until("the node", () => receiver.held?.nodes.length === 1);
  assert.deepEqual(receiver.addresses(), []);
  const { addresses } = external("203.0.113.1");
  server.nodes.patch("a", { status: { addresses } });
  await world.until("its address", () => receiver.addresses().length === 1, { withinMs: 1_000 });
  server.nodes.patch("a", { status: external("203.0.113.2", "2001:db8::2") });
  await world.until("the new ones", () => receiver.addresses().length === 2, { withinMs: 1_000 });
  assert.deepEqual(receiver.addresses(), ["2001:db8::2", "203.0.113.2"]);
  assert.deepEqual(
    receiver.held?.changes.map(({ kind }) => kind),
    ["node.changed"],
  );
});

test("runForwarder() makes one delivery of a burst", async (t) => {
  const stage = await stageOf(t);
  const { world, server, receiver } = stage;
  forward(t, stage, { settings: memory });
  await world.until("a delivery", () => receiver.received.length === 1);
  for (let n = 0; n < 100; n += 1) server.nodes.put(`n${n}`, external(`10.0.0.${n}`));
  await world.advance(5_000);
  assert.equal(receiver.received.length, 2);
  assert.equal(receiver.addresses().length, 100);
  assert.equal(receiver.held?.changes.length, 100);
});

test("runForwarder() tells of nodes that join for a second by a handful of deliveries, the first at once", async (t) => {
  const stage = await stageOf(t);
  const { world, server, receiver } = stage;
  forward(t, stage, { settings: memory });
  await world.until("a delivery", () => receiver.received.length === 1);
  await world.advance(1_000);
  const begunAt = world.now();
  for (let n = 0; n < 50; n += 1) {
    server.nodes.put(`n${n}`, external(`10.0.0.${n}`));
    await world.advance(20);
  }
  await world.advance(1_000);
  assert.equal(receiver.addresses().length, 50);
  const told = receiver.received.slice(1).map(({ at }) => at - begunAt);
  assert.ok(told.length <= 5, `${told}`);
  assert.equal(told[0], 10);
  assert.ok((told.at(-1) ?? 0) <= 1_300, `${told}`);
});

test("runForwarder() sends no word of heartbeats and readiness, but repeats the truth", async (t) => {
  const stage = await stageOf(t);
  const { world, server, receiver } = stage;
  server.nodes.put("a", external("203.0.113.1"));
  forward(t, stage, { settings: memory });
  await world.until("a delivery", () => receiver.received.length === 1);
  for (let n = 0; n < 6; n += 1) {
    const status = n % 2 === 0 ? "False" : "Unknown";
    server.nodes.patch("a", { status: { conditions: [{ type: "Ready", status, n }] } });
    server.nodes.patch("a", { spec: { unschedulable: n % 2 === 0 } });
    await world.advance(10_000);
  }
  assert.equal(receiver.received.length, 1);
  await world.advance(6 * MINUTE_MS);
  assert.equal(receiver.received.length, 2);
  assert.deepEqual(receiver.addresses(), ["203.0.113.1"]);
});

test("runForwarder() has at most one delivery in flight, and never sends an old body again", async (t) => {
  const stage = await stageOf(t);
  const { world, server, receiver } = stage;
  forward(t, stage, { settings: memory });
  await world.until("a delivery", () => receiver.received.length === 1);
  receiver.mishaps = [
    { kind: "stall", headers: false },
    { kind: "status", status: 500 },
    { kind: "stall", headers: true },
    { kind: "lose-answer" },
  ];
  for (let n = 1; n <= 20; n += 1) {
    server.nodes.put(`n${n}`, external(`10.0.0.${n}`));
    await world.advance(7_000);
  }
  await world.until("the newest truth", () => receiver.addresses().length === 20, {
    withinMs: 3 * MINUTE_MS,
  });
  assert.equal(receiver.inFlightMax, 1);
  const { received } = receiver;
  assert.equal(new Set(receiver.generations()).size, received.length);
  for (const [index, snapshot] of received.slice(1).entries()) {
    const before = received[index];
    assert.ok(before && compareGenerations(snapshot.generation, before.generation) > 0);
    assert.ok(snapshot.time > before.time && snapshot.nodes.length >= before.nodes.length);
  }
});

test("runForwarder() never gives up on a receiver that is away", async (t) => {
  const stage = await stageOf(t);
  const { world, server, receiver } = stage;
  server.nodes.put("a", external("203.0.113.1"));
  receiver.mishaps = Array.from({ length: 30 }, () => ({ kind: "status", status: 503 }));
  forward(t, stage, { settings: memory });
  await world.until("an admission", () => receiver.held !== null, { withinMs: 40 * MINUTE_MS });
  const gaps = receiver.received.slice(1).map(({ at }, n) => at - (receiver.received[n]?.at ?? 0));
  assert.ok(Math.max(...gaps) <= 61_000 && Math.min(...gaps) >= 500, gaps.join());
});

test("runForwarder() waits as long as Retry-After says, and obeys again", async (t) => {
  const stage = await stageOf(t);
  const { world, receiver } = stage;
  receiver.mishaps = [{ kind: "status", status: 429, retryAfter: "90" }];
  receiver.again = 5;
  forward(t, stage, { settings: memory });
  await world.advance(89_000);
  assert.equal(receiver.received.length, 1);
  await world.until("an admission", () => receiver.held !== null);
  await world.advance(20_500);
  assert.equal(receiver.received.length, 6);
});

test("runForwarder() compresses large bodies and signs what is on the wire", async (t) => {
  const stage = await stageOf(t);
  const { world, server, receiver } = stage;
  for (let n = 0; n < 1_000; n += 1) {
    server.nodes.put(`n${n}`, external(`10.1.${Math.floor(n / 250)}.${n % 250}`));
  }
  forward(t, stage, { settings: memory });
  await world.until("all nodes", () => receiver.held?.nodes.length === 1_000);
  assert.equal(receiver.headers.at(-1)?.["content-encoding"], "gzip");
  assert.ok(Number(receiver.headers.at(-1)?.["content-length"]) < 64 * 1024);
});

test("runForwarder() keeps the API server's token and its own key to itself", async (t) => {
  const stage = await stageOf(t);
  const { world, receiver } = stage;
  const url = new URL(receiver.url);
  url.search = "?sig=canary-query";
  url.username = "user";
  url.password = "canary-password";
  receiver.mishaps = [{ kind: "status", status: 500 }];
  const { events } = forward(t, stage, { settings: { url } });
  await world.until("an admission", () => receiver.held !== null);
  assert.doesNotMatch(JSON.stringify(receiver.headers), /embedded-1/);
  const said = JSON.stringify([world.lines, events]);
  assert.doesNotMatch(said, /canary|embedded-1|whsec_/);
});

test("runForwarder() takes a new key from its file, at once after a 401", async (t) => {
  const stage = await stageOf(t);
  const { world, receiver } = stage;
  const folder = mkdtempSync(join(tmpdir(), "forwarder-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "key");
  writeFileSync(path, `${SECRET}\n`);
  const credential = { signing: { kind: "file", path }, tokenFile: null } as const;
  const { events } = forward(t, stage, { settings: { ...memory, credential } });
  await world.until("an admission", () => receiver.held !== null);
  const secret = `whsec_${Buffer.alloc(32, 8).toString("base64")}`;
  receiver.secrets = [secret];
  stage.server.nodes.put("a", external("203.0.113.1"));
  await world.until("a refusal", () => events.some(({ kind }) => kind === "undelivered"));
  writeFileSync(path, `${SECRET}\n${secret}\n`);
  await world.until("an admission", () => receiver.addresses().length === 1);
});

test("runForwarder() of an old watch tells its age, so that it goes stale", async (t) => {
  const stage = await stageOf(t);
  const { world, server, receiver } = stage;
  server.nodes.put("a", external("203.0.113.1"));
  forward(t, stage, { settings: memory });
  await world.until("a delivery", () => receiver.received.length === 1);
  server.faults.silence(true);
  server.faults.add("any", { kind: "stall" });
  await world.advance(20 * MINUTE_MS);
  const { held } = receiver;
  assert.ok(held && held.time - held.observedAt > 13 * MINUTE_MS);
  assert.ok(receiver.received.length >= 3, "it goes on saying what it knows");
});

test("runForwarder() reinstalled at epoch 1 catches up after one 409", async (t) => {
  const stage = await stageOf(t);
  const { world, server, receiver } = stage;
  const first = forward(t, stage);
  await world.until("a delivery", () => receiver.held !== null);
  const { held } = receiver;
  assert.ok(held);
  receiver.held = { ...held, generation: { epoch: 41, sequence: 7 } };
  await first.stop();
  server.store.remove("leases", LEASE);
  server.nodes.put("a", external("203.0.113.1"));
  receiver.received.length = 0;
  forward(t, stage);
  await world.until("the truth", () => receiver.addresses().length === 1, { withinMs: 10_000 });
  assert.deepEqual(receiver.generations(), ["1/1", "42/1"]);
  const annotations = server.store.read("leases", LEASE)?.metadata.annotations;
  assert.deepEqual(annotations, { "kube-allowlist.dev/epoch": "42" });
});

test("runForwarder() never raises its epoch over another cluster's", async (t) => {
  const stage = await stageOf(t);
  const { world, receiver, server } = stage;
  forward(t, stage);
  await world.until("a delivery", () => receiver.held !== null);
  const { held } = receiver;
  assert.ok(held);
  receiver.held = { ...held, clusterUid: "another", generation: { epoch: 9, sequence: 9 } };
  server.nodes.put("a", external("203.0.113.1"));
  await world.advance(10 * MINUTE_MS);
  assert.ok(receiver.received.length > 5);
  assert.ok(receiver.received.every(({ generation }) => generation.epoch === 1));
});

test("runForwarder() of two takes turns: one delivers, the other follows when it ends", async (t) => {
  const stage = await stageOf(t);
  const { world, server, receiver } = stage;
  const first = forward(t, stage);
  await world.until("the first", () => receiver.held !== null);
  const second = forward(t, stage, { world: freezable(world).world });
  await world.until("it follows", () => second.events.some(({ kind }) => kind === "listed"));
  server.nodes.put("a", external("203.0.113.1"));
  await world.advance(5 * MINUTE_MS);
  assert.ok(receiver.received.every(({ generation }) => generation.epoch === 1));
  assert.ok(!second.events.some(({ kind }) => kind === "delivered"));
  await first.stop();
  assert.equal(holderOf(server), "");
  await world.until("the second", () => receiver.held?.generation.epoch === 2, {
    withinMs: 10_000,
  });
  assert.deepEqual(receiver.held?.changes, [], "what the first delivered is no news");
});

test("runForwarder() that was frozen cannot change what its successor said", async (t) => {
  const stage = await stageOf(t);
  const { world, server, receiver } = stage;
  const paused = freezable(world);
  const first = forward(t, stage, { world: paused.world });
  await world.until("the first", () => receiver.held !== null);
  // Its sockets go on in this process, but nothing that waits for time does.
  paused.freeze();
  forward(t, stage);
  await world.until("the second", () => receiver.held?.generation.epoch === 2, {
    withinMs: 30_000,
  });
  server.nodes.put("a", external("203.0.113.1"));
  await world.until("its truth", () => receiver.addresses().length === 1);
  paused.thaw();
  await world.advance(2 * MINUTE_MS);
  assert.equal(receiver.held?.generation.epoch, 2);
  assert.deepEqual(receiver.addresses(), ["203.0.113.1"]);
  assert.ok(first.events.some(({ kind }) => kind === "lease-lost"));
});

test("runForwarder() begins no delivery once the Lease was not renewed for 10 s", async (t) => {
  const stage = await stageOf(t);
  const { world, server, receiver } = stage;
  forward(t, stage);
  await world.until("a delivery", () => receiver.held !== null);
  server.faults.add("lease", { kind: "status", status: 500 });
  await world.advance(11_000);
  const before = receiver.received.length;
  server.nodes.put("a", external("203.0.113.1"));
  await world.advance(2 * MINUTE_MS);
  assert.equal(receiver.received.length, before);
  server.faults.clear();
  await world.until("the truth", () => receiver.addresses().length === 1, { withinMs: 10_000 });
  assert.equal(receiver.held?.generation.epoch, 1, "nobody else had it meanwhile");
});

test("runForwarder() begins a new epoch in a restored cluster", async (t) => {
  const stage = await stageOf(t);
  const { world, server, receiver } = stage;
  server.nodes.put("a", external("203.0.113.1"));
  forward(t, stage, { settings: memory });
  await world.until("a delivery", () => receiver.held !== null);
  const backup = server.store.backup();
  for (const n of [2, 3, 4]) server.nodes.put(`n${n}`, external(`203.0.113.${n}`));
  await world.until("all", () => receiver.addresses().length === 4);
  server.restore(backup);
  await world.until("the past", () => receiver.addresses().length === 1, {
    withinMs: 30 * MINUTE_MS,
  });
  assert.equal(receiver.held?.generation.epoch, 2);
});

test("runForwarder() delivers what is new before it ends, and releases the Lease", async (t) => {
  const stage = await stageOf(t);
  const { world, server, receiver } = stage;
  const forwarder = forward(t, stage);
  await world.until("a delivery", () => receiver.held !== null);
  server.nodes.put("a", external("203.0.113.1"));
  await world.until("the change", () => forwarder.events.some(({ kind }) => kind === "seen"), {
    withinMs: 0,
  });
  await forwarder.stop();
  assert.deepEqual(receiver.addresses(), ["203.0.113.1"]);
  const lease = server.store.read("leases", LEASE);
  assert.equal(holderOf(server), "");
  assert.deepEqual(lease?.metadata.annotations, { "kube-allowlist.dev/epoch": "1" });
});

test("runForwarder() does not wait for a receiver for more than 10 s when it ends", async (t) => {
  const stage = await stageOf(t);
  const { world, server, receiver } = stage;
  const forwarder = forward(t, stage);
  await world.until("a delivery", () => receiver.held !== null);
  receiver.mishaps = Array.from({ length: 9 }, () => ({ kind: "stall", headers: false }));
  server.nodes.put("a", external("203.0.113.1"));
  await world.until("it is on its way", () => receiver.received.length === 2);
  const before = world.now();
  await forwarder.stop();
  assert.ok(world.now() - before <= 11_000);
});

test("runForwarder() goes on when the clock is set back", async (t) => {
  const stage = await stageOf(t);
  const { world, server, receiver } = stage;
  forward(t, stage);
  await world.until("a delivery", () => receiver.received.length === 1);
  await world.advance(2 * MINUTE_MS);
  world.setClock(-600 * MINUTE_MS);
  await world.advance(15 * MINUTE_MS);
  assert.ok(receiver.received.length >= 2, "heartbeats");
  server.faults.silence(true);
  server.nodes.put("a", external("203.0.113.1"));
  server.faults.silence(false);
  world.setClock(-600 * MINUTE_MS);
  await world.until("the silent watch is noticed", () => receiver.addresses().length === 1, {
    withinMs: 6 * MINUTE_MS,
  });
});

test("runForwarder() keeps deliveries apart by no clock of the past, and not at its end", async (t) => {
  const stage = await stageOf(t);
  const { world, server, receiver } = stage;
  const forwarder = forward(t, stage, { settings: memory });
  const told = (count: number) => () => receiver.addresses().length === count;
  await world.until("a delivery", () => receiver.held !== null);
  world.setClock(-5 * MINUTE_MS);
  server.nodes.put("a", external("203.0.113.1"));
  await world.until("the first change", told(1), { withinMs: 1_000 });
  server.nodes.put("b", external("203.0.113.2"));
  const isSeen = () => forwarder.events.filter(({ kind }) => kind === "seen").length === 2;
  await world.until("the second change", isSeen, { withinMs: 0 });
  const endedAt = world.now();
  await forwarder.stop();
  assert.ok(told(2)());
  assert.ok((receiver.received.at(-1)?.at ?? 0) - endedAt < 100);
});

test("runForwarder() says once a minute, not once a second, that its Lease is out of reach", async (t) => {
  const stage = await stageOf(t);
  stage.server.faults.add("lease", { kind: "status", status: 403 });
  const forwarder = forward(t, stage);
  for (let second = 0; second < 130; second += 1) await stage.world.advance(1_000);
  const tries = forwarder.events.filter(({ kind }) => kind === "lease-failed").length;
  const said = stage.world.lines.filter((line) => JSON.stringify(line).includes("lease-failed"));
  assert(tries > 20, `${tries} tries`);
  assert(said.length >= 2 && said.length <= 4, `${said.length} lines for ${tries} tries`);
});

test("runForwarder() delivers the pods of its selectors beside the nodes, and their changes", async (t) => {
  const stage = await stageOf(t);
  const { world, server, receiver } = stage;
  server.nodes.put("a", external("203.0.113.1"));
  const labels = { app: "api" };
  server.pods.put("default/api-0", { addresses: ["10.2.0.1", "2001:db8::1"], labels });
  const selector = { namespace: "default", labels };
  forward(t, stage, { settings: { pods: [selector] } });
  await world.until("a delivery", () => receiver.held !== null, { withinMs: 10_000 });
  assert.deepEqual(receiver.held?.scope, { labels: [], pods: [selector] });
  assert.deepEqual(
    receiver.held?.pods.map(({ name, addresses }) => [name, addresses]),
    [["api-0", ["10.2.0.1/32", "2001:db8::1/128"]]],
  );
  server.pods.patch("default/api-0", { status: { phase: "Failed" } });
  await world.until("its end", () => receiver.held?.pods.length === 0, { withinMs: 1_000 });
  const told = receiver.held?.changes.map(({ kind, name }) => `${kind} ${name}`);
  assert.deepEqual(told, ["pod.removed default/api-0"]);
  assert.deepEqual(receiver.addresses(), ["203.0.113.1"]);
});

test("runForwarder() delivers the nodes after a failover though the pods are denied by then", async (t) => {
  const stage = await stageOf(t);
  const { world, server, receiver } = stage;
  server.nodes.put("a", external("203.0.113.1"));
  server.pods.put("default/api-0", { addresses: ["10.2.0.1"], labels: { app: "api" } });
  const settings = { pods: [{ namespace: "default", labels: { app: "api" } }] };
  const first = forward(t, stage, { settings });
  await world.until("the first", () => receiver.held?.pods.length === 1);
  const second = forward(t, stage, { settings, world: freezable(world).world });
  await world.until("it follows", () => second.events.some(({ kind }) => kind === "listed"));
  for (const on of ["pods-watch", "pods-list"] as const) {
    server.faults.add(on, { kind: "status", status: 403 });
  }
  await first.stop();
  await world.until("the second", () => receiver.held?.generation.epoch === 2, {
    withinMs: 10_000,
  });
  assert.deepEqual([receiver.held?.scope.pods, receiver.held?.pods], [[], []]);
  assert.deepEqual(receiver.addresses(), ["203.0.113.1"]);
  server.faults.clear();
  await world.until("the pods", () => receiver.held?.pods.length === 1, {
    withinMs: 2 * MINUTE_MS,
  });
  assert.equal(receiver.held?.scope.pods.length, 1);
});
