import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { ForwarderEvent } from "../../forwarder/journal.ts";
import { openKube } from "../../forwarder/kube.ts";
import {
  isFree,
  makeKubernetesLease,
  makeMemoryLease,
  readLease,
  sight,
} from "../../forwarder/lease.ts";
import { type ManualWorld, manualWorld } from "./clock.ts";
import { type Server, startCluster } from "./stage.ts";

const KEY = "default/kube-allowlist";
const EPOCH = "kube-allowlist.dev/epoch";

async function stageOf(t: TestContext) {
  const world = manualWorld();
  return { world, server: await startCluster(t, { world }) };
}

/** One candidate; runs until the test ends. */
function compete(t: TestContext, world: ManualWorld, server: Server, identity: string) {
  const events: ForwarderEvent[] = [];
  const source = { kind: "text", text: server.kubeconfig } as const;
  const kube = openKube(source, { world, proxy: {}, warn: () => undefined });
  const lease = makeKubernetesLease({
    kube,
    world,
    identity,
    namespace: "default",
    name: "kube-allowlist",
    emit: (event) => events.push(event),
    onAcquired: () => undefined,
  });
  const end = new AbortController();
  const running = lease.run(end.signal);
  const stop = async () => {
    end.abort(new Error("the end"));
    await running;
  };
  t.after(async () => {
    await stop();
    kube.close();
  });
  return { lease, events, stop };
}

function put(server: Server, members: object, metadata: object = {}): void {
  server.store.put("leases", KEY, {
    apiVersion: "coordination.k8s.io/v1",
    kind: "Lease",
    ...members,
    metadata: { name: "kube-allowlist", namespace: "default", ...metadata },
  });
}

function stored(server: Server) {
  const object = server.store.read("leases", KEY);
  return object === null ? null : readLease(object);
}

test("makeKubernetesLease() creates the Lease at epoch 1 and renewing does not raise it", async (t) => {
  const { world, server } = await stageOf(t);
  const { lease } = compete(t, world, server, "a");
  await world.until("held", () => lease.held() !== null);
  assert.deepEqual(lease.held(), { epoch: 1, acquisition: 1 });
  const first = stored(server)?.version;
  await world.advance(60_000);
  assert.deepEqual(lease.held(), { epoch: 1, acquisition: 1 });
  assert.notEqual(stored(server)?.version, first);
});

test("makeKubernetesLease() never lets two hold it, whoever is cut off", async (t) => {
  const { world, server } = await stageOf(t);
  const [a, b] = ["a", "b"].map((identity) => compete(t, world, server, identity));
  assert.ok(a && b);
  const epochs: number[] = [];
  for (let second = 0; second < 300; second += 1) {
    if (second % 60 === 20) server.faults.add("lease", { kind: "lose-reply" }, { times: 4 });
    if (second % 60 === 40) server.faults.add("lease", { kind: "stall" }, { times: 3 });
    await world.advance(1_000);
    const held = [a.lease.held(), b.lease.held()].filter((one) => one !== null);
    assert.ok(held.length <= 1, `two holders at ${second} s`);
    epochs.push(...held.map(({ epoch }) => epoch));
  }
  assert.deepEqual(
    epochs,
    epochs.toSorted((x, y) => x - y),
  );
  assert.ok(epochs.length > 100);
});

test("makeKubernetesLease() takes an expired Lease with the next epoch, by its own clock", async (t) => {
  const { world, server } = await stageOf(t);
  const renewTime = "2036-01-01T00:00:00.000000Z";
  const spec = { holderIdentity: "dead", leaseDurationSeconds: 15, renewTime, leaseTransitions: 4 };
  put(server, { spec }, { annotations: { [EPOCH]: "7", kept: "yes" } });
  const { lease } = compete(t, world, server, "a");
  await world.advance(14_000);
  assert.equal(lease.held(), null);
  await world.advance(7_000);
  assert.equal(lease.held()?.epoch, 8);
  const object = server.store.read("leases", KEY);
  assert.deepEqual(object?.metadata.annotations, { [EPOCH]: "8", kept: "yes" });
  assert.deepEqual(object?.spec, { ...Object(object?.spec), leaseTransitions: 5 });
});

for (const garbled of ["", "-1", "7.5", "1e9", "99999999999", "seven"]) {
  test(`makeKubernetesLease() counts an epoch of ${JSON.stringify(garbled)} as 0`, async (t) => {
    const { world, server } = await stageOf(t);
    put(server, { spec: { holderIdentity: "" } }, { annotations: { [EPOCH]: garbled } });
    const { lease } = compete(t, world, server, "a");
    await world.until("held", () => lease.held() !== null);
    assert.equal(lease.held()?.epoch, 1);
  });
}

test("makeKubernetesLease() that lost its object to somebody's hands never goes back in epochs", async (t) => {
  const { world, server } = await stageOf(t);
  const { lease, events } = compete(t, world, server, "a");
  await world.until("held", () => lease.held() !== null);
  assert.equal(await lease.raise(30), 31);
  server.store.remove("leases", KEY);
  await world.until("lost", () => events.some(({ kind }) => kind === "lease-lost"));
  await world.until("held again", () => lease.held() !== null);
  assert.deepEqual(lease.held(), { epoch: 32, acquisition: 2 });
});

test("makeKubernetesLease() counts a lost compare-and-swap as a lost Lease", async (t) => {
  const { world, server } = await stageOf(t);
  const { lease, events } = compete(t, world, server, "a");
  await world.until("held", () => lease.held() !== null);
  put(server, { spec: { holderIdentity: "b", leaseDurationSeconds: 15 } });
  assert.equal(await lease.raise(5), null);
  assert.equal(lease.held(), null);
  assert.ok(events.some(({ kind }) => kind === "lease-lost"));
  assert.equal(stored(server)?.holder, "b");
});

test("makeKubernetesLease() keeps its Lease when only the answer to a renewal was lost", async (t) => {
  const { world, server } = await stageOf(t);
  const { lease } = compete(t, world, server, "a");
  await world.until("held", () => lease.held() !== null);
  server.faults.add("lease", { kind: "lose-reply" }, { times: 1 });
  await world.advance(20_000);
  assert.deepEqual(lease.held(), { epoch: 1, acquisition: 1 });
});

test("makeKubernetesLease() is not held once 10 s passed without renewal", async (t) => {
  const { world, server } = await stageOf(t);
  const { lease } = compete(t, world, server, "a");
  await world.until("held", () => lease.held() !== null);
  server.faults.add("lease", { kind: "stall" });
  await world.advance(9_000);
  assert.notEqual(lease.held(), null);
  await world.advance(1_500);
  assert.equal(lease.held(), null);
});

test("release() empties the holder and keeps the epoch", async (t) => {
  const { world, server } = await stageOf(t);
  const { lease, stop } = compete(t, world, server, "a");
  await world.until("held", () => lease.held() !== null);
  await lease.raise(9);
  await stop();
  await lease.release();
  assert.deepEqual([stored(server)?.holder, stored(server)?.epoch], ["", 10]);
  assert.equal(lease.held(), null);
});

test("raise() refuses to leave ten digits", async (t) => {
  const { world, server } = await stageOf(t);
  const { lease } = compete(t, world, server, "a");
  await world.until("held", () => lease.held() !== null);
  assert.equal(await lease.raise(9_999_999_999), null);
  assert.equal(lease.held()?.epoch, 1);
});

test("isFree() judges by when a Lease was first seen as it is", () => {
  const view = { uid: "u", version: "5", holder: "b", epoch: 1, durationMs: 15_000 };
  const first = sight(null, view, 1_000);
  const again = sight(first, view, 9_000);
  assert.equal(again.at, 1_000);
  assert.equal(isFree(view, { identity: "a", sighting: again, now: 15_999 }), false);
  assert.equal(isFree(view, { identity: "a", sighting: again, now: 16_000 }), true);
  const renewed = sight(again, { ...view, version: "6" }, 12_000);
  assert.equal(isFree(view, { identity: "a", sighting: renewed, now: 20_000 }), false);
  assert.equal(isFree({ ...view, holder: "" }, { identity: "a", sighting: renewed, now: 0 }), true);
});

test("makeMemoryLease() follows the same rule", async () => {
  const world = manualWorld();
  const end = new AbortController();
  let acquired = 0;
  const lease = makeMemoryLease({
    world,
    emit: () => undefined,
    onAcquired: () => {
      acquired += 1;
    },
  });
  const running = lease.run(end.signal);
  assert.deepEqual(lease.held(), { epoch: 1, acquisition: 1 });
  assert.equal(await lease.raise(41), 42);
  assert.equal(lease.held()?.epoch, 42);
  assert.equal(acquired, 1);
  end.abort();
  await running;
  await lease.release();
  assert.equal(lease.held(), null);
});

test("makeKubernetesLease() is taken over though the clock was set back meanwhile", async (t) => {
  const { world, server } = await stageOf(t);
  put(server, { spec: { holderIdentity: "dead", leaseDurationSeconds: 15 } });
  const { lease } = compete(t, world, server, "a");
  await world.advance(6_000);
  world.setClock(-3_600_000);
  await world.advance(14_000);
  assert.equal(lease.held(), null);
  await world.advance(10_000);
  assert.notEqual(lease.held(), null);
});
