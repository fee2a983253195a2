import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import * as fc from "fast-check";
import type { ForwarderEvent } from "../../forwarder/journal.ts";
import { runForwarder } from "../../forwarder/main.ts";
import { admit } from "../../lib/core/admission.ts";
import {
  type AdmittedSnapshot,
  compareGenerations,
  contentOf,
  type Snapshot,
} from "../../lib/core/snapshot.ts";
import { parseSigningKey } from "../../lib/wire/signature.ts";
import type { World } from "../../lib/world.ts";
import { type ManualWorld, manualWorld } from "./clock.ts";
import { CLUSTER, type Receiver, SECRET, startReceiver } from "./receiver.ts";
import { external, type Server, startCluster } from "./stage.ts";

/*
 * Whole forwarders after one Lease, on the manual clock: who delivers, how soon a successor does,
 * and what a receiver makes of everything that they ever said.
 */

const LEASE = "default/kube-allowlist";
const MINUTE_MS = 60_000;
const LIMIT_MS = 60_000;

interface Stage {
  readonly world: ManualWorld;
  readonly server: Server;
  readonly receiver: Receiver;
}

async function stageOf(t: TestContext): Promise<Stage> {
  const world = manualWorld();
  return {
    world,
    server: await startCluster(t, { world }),
    receiver: await startReceiver(t, world),
  };
}

/** A forwarder with chance and, when it is frozen, a time of its own; ended with the test. */
function forward(t: TestContext, { world, server, receiver }: Stage, seed: number) {
  let isFrozen = false;
  let thaw = () => {};
  let thawed: Promise<void> = Promise.resolve();
  const own: World = {
    ...world,
    random: manualWorld({ seed }).random,
    async sleep(ms, signal) {
      await world.sleep(ms, signal);
      await thawed;
    },
  };
  const ending = new AbortController();
  const events: ForwarderEvent[] = [];
  let isOver = false;
  const running = runForwarder(
    {
      url: receiver.url,
      cluster: "test",
      credential: { signing: { kind: "keys", keys: [parseSigningKey(SECRET)] }, tokenFile: null },
      labels: [],
      pods: [],
      gate: null,
      listen: null,
      lease: { kind: "kubernetes", namespace: null, name: "kube-allowlist" },
      heartbeatMs: 300_000,
      proxy: {},
    },
    {
      world: own,
      signal: ending.signal,
      kubeConfig: { kind: "text", text: server.kubeconfig },
      onEvent: (event) => events.push(event),
    },
  ).finally(() => {
    isOver = true;
  });
  const end = async () => {
    if (isFrozen) thaw();
    thawed = Promise.resolve();
    ending.abort(new Error("the end"));
    await world.until("the forwarder's end", () => isOver, { withinMs: 40_000 });
    await running;
  };
  t.after(end);
  return {
    events,
    end,
    heard: (kind: ForwarderEvent["kind"]) => events.some((event) => event.kind === kind),
    /** As a killed process to all who look at it: nothing that waits for time ever goes on. */
    freeze() {
      isFrozen = true;
      thawed = new Promise((resolve) => {
        thaw = resolve;
      });
    },
  };
}

function holderOf(server: Server): string {
  const spec = server.store.read("leases", LEASE)?.spec;
  return String(Reflect.get(Object(spec), "holderIdentity"));
}

for (const phaseMs of [0, 1_500, 3_000, 4_500]) {
  test(`runForwarder() has a successor that delivers within 20 s when the leader dies ${phaseMs} ms after a renewal`, {
    timeout: LIMIT_MS,
  }, async (t) => {
    const stage = await stageOf(t);
    const { world, server, receiver } = stage;
    const first = forward(t, stage, 11);
    await world.until("the first", () => receiver.held !== null);
    const second = forward(t, stage, 12);
    await world.until("it follows", () => second.heard("lease-waiting"));
    await world.advance(7_000);
    const version = server.store.read("leases", LEASE)?.metadata.resourceVersion;
    await world.until("a renewal", () => {
      return server.store.read("leases", LEASE)?.metadata.resourceVersion !== version;
    });
    await world.advance(phaseMs);
    first.freeze();
    server.nodes.put("a", external("203.0.113.1"));
    const diedAt = world.now();
    // What it began in its last moment may still arrive; its successor is known by the epoch.
    await world.until("the successor", () => receiver.held?.generation.epoch === 2);
    await world.until("its truth", () => receiver.addresses().length === 1);
    const tookMs = world.now() - diedAt;
    t.diagnostic(`delivered after ${tookMs} ms`);
    assert.ok(tookMs < 20_000, `${tookMs} ms`);
  });
}

test("runForwarder() ends within 2 s and releases its Lease when nothing is unanswered", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await stageOf(t);
  const { world, server, receiver } = stage;
  const forwarder = forward(t, stage, 11);
  await world.until("a delivery", () => receiver.held !== null);
  await world.advance(33_000);
  const before = world.now();
  await forwarder.end();
  assert.ok(world.now() - before < 2_000, `${world.now() - before} ms`);
  assert.equal(holderOf(server), "");
  assert.ok(forwarder.heard("lease-released"));
});

test("runForwarder() tells two processes of one host apart", { timeout: LIMIT_MS }, async (t) => {
  const stage = await stageOf(t);
  const { world, server, receiver } = stage;
  const first = forward(t, stage, 11);
  await world.until("the first", () => receiver.held !== null);
  const firstHolder = holderOf(server);
  const second = forward(t, stage, 12);
  await world.until("it follows", () => second.heard("lease-waiting"));
  await first.end();
  await world.until("the second", () => receiver.held?.generation.epoch === 2);
  const secondHolder = holderOf(server);
  assert.notEqual(secondHolder, firstHolder);
  assert.equal(secondHolder.split("_")[0], firstHolder.split("_")[0], "the host's name");
});

test("runForwarder() of a second cluster is refused as long as the first is heard, and taken once it is stale", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await stageOf(t);
  const { world, server, receiver } = stage;
  server.nodes.put("a", external("203.0.113.1"));
  const first = forward(t, stage, 11);
  await world.until("the first", () => receiver.held !== null);
  const other = await startCluster(t, { world });
  other.nodes.put("b", external("203.0.113.2"));
  const second = forward(t, { ...stage, server: other }, 12);
  await world.advance(20 * MINUTE_MS);
  assert.deepEqual(receiver.addresses(), ["203.0.113.1"]);
  const refusals = second.events.filter((event) => event.kind === "undelivered");
  assert.ok(refusals.length > 0 && refusals.every(({ why }) => why === "other-cluster"));
  await first.end();
  // The last heartbeat of the first was up to six minutes ago.
  await world.advance(8 * MINUTE_MS);
  assert.deepEqual(receiver.addresses(), ["203.0.113.1"]);
  await world.until("it is taken", () => receiver.addresses()[0] === "203.0.113.2", {
    withinMs: 10 * MINUTE_MS,
  });
  assert.equal(receiver.held?.generation.epoch, 1, "whatever its generation");
  assert.ok(!second.heard("epoch-raised"));
  // The first comes back, and is now the second cluster under this name.
  const again = forward(t, stage, 13);
  await world.until("it is refused", () => again.heard("undelivered"));
  await world.advance(MINUTE_MS);
  assert.deepEqual(receiver.addresses(), ["203.0.113.2"]);
});

/** What a receiver holds after these, in this order. */
function heldAfter(snapshots: readonly Snapshot[]): AdmittedSnapshot | null {
  let held: AdmittedSnapshot | null = null;
  for (const [now, snapshot] of snapshots.entries()) {
    const admission = admit(held, snapshot, { now, cluster: CLUSTER });
    if (admission.kind === "newer") held = { ...snapshot, receivedAt: now };
  }
  return held;
}

test("runForwarder() says the whole truth each time: repeated, lost and in any order, its messages lead to the newest", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await stageOf(t);
  const { world, server, receiver } = stage;
  const change = async (n: number) => {
    server.nodes.put(`n${n}`, external(`203.0.113.${n}`));
    if (n > 2) server.nodes.remove(`n${n - 2}`);
    await world.advance(1_500);
  };
  const first = forward(t, stage, 11);
  await world.until("the first", () => receiver.held !== null);
  for (let n = 1; n <= 5; n += 1) await change(n);
  const second = forward(t, stage, 12);
  await world.until("it follows", () => second.heard("lease-waiting"));
  first.freeze();
  await world.until("the second", () => receiver.held?.generation.epoch === 2);
  for (let n = 6; n <= 9; n += 1) await change(n);
  const said = receiver.received.map(({ at: _at, ...snapshot }) => snapshot);
  const uid = server.store.read("namespaces", "kube-system")?.metadata.uid;
  assert.ok(said.length >= 10 && said.every(({ clusterUid }) => clusterUid === uid));
  assert.deepEqual(new Set(said.map(({ generation }) => generation.epoch)), new Set([1, 2]));
  const newest = said.toSorted((a, b) => compareGenerations(a.generation, b.generation)).at(-1);
  assert.ok(newest);
  await fc.assert(
    fc.property(fc.array(fc.constantFrom(...said), { maxLength: 40 }), (arrived) => {
      for (const last of [0, Math.floor(arrived.length / 2), arrived.length]) {
        const held = heldAfter(arrived.toSpliced(last, 0, newest));
        assert.ok(held && contentOf(held) === contentOf(newest));
        assert.deepEqual(held.generation, newest.generation);
      }
    }),
    { numRuns: 200 },
  );
  assert.deepEqual(receiver.addresses(), ["203.0.113.8", "203.0.113.9"]);
});
