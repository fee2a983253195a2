import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { ForwarderEvent } from "../../forwarder/journal.ts";
import { openKube } from "../../forwarder/kube.ts";
import { makeKubernetesLease } from "../../forwarder/lease.ts";
import { freeInMs, readLease, sight } from "../../forwarder/lease-object.ts";
import { makeMemoryLease } from "../../forwarder/memory-lease.ts";
import { type ManualWorld, manualWorld } from "./clock.ts";
import { type Server, startCluster } from "./stage.ts";

const KEY = "default/kube-allowlist";
const LIMIT_MS = 60_000;
const EPOCH = "kube-allowlist.dev/epoch";

async function stageOf(t: TestContext) {
  const world = manualWorld();
  return { world, server: await startCluster(t, { world }) };
}

/** One candidate; runs until the test ends. */
function compete(
  t: TestContext,
  world: ManualWorld,
  server: Server,
  identity: string,
  { slowMs = 0 }: { readonly slowMs?: number } = {},
) {
  const events: ForwarderEvent[] = [];
  const source = { kind: "text", text: server.kubeconfig } as const;
  const kube = openKube(source, { world, proxy: {}, warn: () => undefined });
  const lease = makeKubernetesLease({
    kube: {
      ...kube,
      async write(...request) {
        if (slowMs > 0) await world.sleep(slowMs);
        return kube.write(...request);
      },
    },
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
    // A request that is on its way is awaited.
    if (slowMs > 0) await world.advance(slowMs);
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

test("makeKubernetesLease() creates the Lease at epoch 1 and renewing does not raise it", {
  timeout: LIMIT_MS,
}, async (t) => {
  const { world, server } = await stageOf(t);
  const { lease } = compete(t, world, server, "a");
  await world.until("held", () => lease.held() !== null);
  assert.deepEqual(lease.held(), { epoch: 1, acquisition: 1 });
  const first = stored(server)?.version;
  await world.advance(60_000);
  assert.deepEqual(lease.held(), { epoch: 1, acquisition: 1 });
  assert.notEqual(stored(server)?.version, first);
});

test("makeKubernetesLease() never lets two hold it, whoever is cut off", {
  timeout: LIMIT_MS,
}, async (t) => {
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

test("makeKubernetesLease() takes an expired Lease with the next epoch, by its own clock", {
  timeout: LIMIT_MS,
}, async (t) => {
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
  test(`makeKubernetesLease() counts an epoch of ${JSON.stringify(garbled)} as 0`, {
    timeout: LIMIT_MS,
  }, async (t) => {
    const { world, server } = await stageOf(t);
    put(server, { spec: { holderIdentity: "" } }, { annotations: { [EPOCH]: garbled } });
    const { lease } = compete(t, world, server, "a");
    await world.until("held", () => lease.held() !== null);
    assert.equal(lease.held()?.epoch, 1);
  });
}

test("makeKubernetesLease() that lost its object to somebody's hands never goes back in epochs", {
  timeout: LIMIT_MS,
}, async (t) => {
  const { world, server } = await stageOf(t);
  const { lease, events } = compete(t, world, server, "a");
  await world.until("held", () => lease.held() !== null);
  assert.equal(await lease.raise(30), 31);
  server.store.remove("leases", KEY);
  await world.until("lost", () => events.some(({ kind }) => kind === "lease-lost"));
  await world.until("held again", () => lease.held() !== null);
  assert.deepEqual(lease.held(), { epoch: 32, acquisition: 2 });
});

test("makeKubernetesLease() counts a lost compare-and-swap as a lost Lease", {
  timeout: LIMIT_MS,
}, async (t) => {
  const { world, server } = await stageOf(t);
  const { lease, events } = compete(t, world, server, "a");
  await world.until("held", () => lease.held() !== null);
  put(server, { spec: { holderIdentity: "b", leaseDurationSeconds: 15 } });
  assert.equal(await lease.raise(5), null);
  assert.equal(lease.held(), null);
  assert.ok(events.some(({ kind }) => kind === "lease-lost"));
  assert.equal(stored(server)?.holder, "b");
});

test("makeKubernetesLease() keeps its Lease when only the answer to a renewal was lost", {
  timeout: LIMIT_MS,
}, async (t) => {
  const { world, server } = await stageOf(t);
  const { lease } = compete(t, world, server, "a");
  await world.until("held", () => lease.held() !== null);
  server.faults.add("lease", { kind: "lose-reply" }, { times: 1 });
  await world.advance(20_000);
  assert.deepEqual(lease.held(), { epoch: 1, acquisition: 1 });
});

test("makeKubernetesLease() is not held once 10 s passed without renewal", {
  timeout: LIMIT_MS,
}, async (t) => {
  const { world, server } = await stageOf(t);
  const { lease } = compete(t, world, server, "a");
  await world.until("held", () => lease.held() !== null);
  server.faults.add("lease", { kind: "stall" });
  await world.advance(9_000);
  assert.notEqual(lease.held(), null);
  await world.advance(1_500);
  assert.equal(lease.held(), null);
});

test("release() empties the holder and keeps the epoch", { timeout: LIMIT_MS }, async (t) => {
  const { world, server } = await stageOf(t);
  const { lease, stop } = compete(t, world, server, "a");
  await world.until("held", () => lease.held() !== null);
  await lease.raise(9);
  await stop();
  await lease.release();
  assert.deepEqual([stored(server)?.holder, stored(server)?.epoch], ["", 10]);
  assert.equal(lease.held(), null);
});

test("raise() refuses to leave ten digits", { timeout: LIMIT_MS }, async (t) => {
  const { world, server } = await stageOf(t);
  const { lease } = compete(t, world, server, "a");
  await world.until("held", () => lease.held() !== null);
  assert.equal(await lease.raise(9_999_999_999), null);
  assert.equal(lease.held()?.epoch, 1);
});

test("freeInMs() judges by when a Lease was first seen as it is", () => {
  const view = { uid: "u", version: "5", holder: "b", epoch: 1, durationMs: 15_000, record: "r" };
  const first = sight(null, view, 1_000);
  // Another version is no renewal: anybody may write a label.
  const again = sight(first, { ...view, version: "6" }, 9_000);
  assert.equal(again.at, 1_000);
  assert.equal(freeInMs(view, { identity: "a", sighting: again, now: 15_999 }), 1);
  assert.equal(freeInMs(view, { identity: "a", sighting: again, now: 16_000 }), 0);
  const renewed = sight(again, { ...view, version: "6", record: "s" }, 12_000);
  assert.equal(freeInMs(view, { identity: "a", sighting: renewed, now: 20_000 }), 7_000);
  const nobodys = { ...view, holder: "" };
  assert.equal(freeInMs(nobodys, { identity: "a", sighting: renewed, now: 0 }), 0);
});

test("makeKubernetesLease() takes the Lease of a dead holder though somebody goes on writing its labels", {
  timeout: LIMIT_MS,
}, async (t) => {
  const { world, server } = await stageOf(t);
  const first = compete(t, world, server, "a");
  await world.until("held", () => first.lease.held() !== null);
  await first.stop();
  const { lease } = compete(t, world, server, "b");
  const diedAt = world.now();
  const touch = () => {
    const before = server.store.read("leases", "default/kube-allowlist");
    if (before === null) throw new Error("there is no Lease");
    const metadata = { ...before.metadata, labels: { at: String(world.now()) } };
    server.store.put("leases", "default/kube-allowlist", { ...before, metadata });
  };
  while (lease.held() === null && world.now() - diedAt < 60_000) {
    touch();
    await world.advance(3_000);
  }
  assert.equal(lease.held()?.epoch, 2);
  const tookMs = world.now() - diedAt;
  assert.ok(tookMs >= 10_000 && tookMs <= 24_000, `${tookMs} ms`);
});

for (const byMs of [-3_600_000, 3_600_000]) {
  test(`makeKubernetesLease() is renewed in time though the clock was set by ${byMs} ms during a renewal`, {
    timeout: LIMIT_MS,
  }, async (t) => {
    const { world, server } = await stageOf(t);
    const { lease } = compete(t, world, server, "a", { slowMs: 1_000 });
    await world.until("held", () => lease.held() !== null);
    const before = stored(server)?.version;
    // Renewed every 5 s or a little sooner or later: now one is on its way.
    await world.advance(4_700);
    world.setClock(byMs);
    await world.until("a renewal", () => stored(server)?.version !== before, { withinMs: 2_000 });
    for (let n = 0; n < 10; n += 1) {
      await world.advance(6_500);
      assert.deepEqual(lease.held(), { epoch: 1, acquisition: 1 });
    }
  });
}

for (const phaseMs of [0, 1_000, 2_500, 4_000]) {
  test(`makeKubernetesLease() has a successor within 18 s when the holder dies ${phaseMs} ms after a renewal`, {
    timeout: LIMIT_MS,
  }, async (t) => {
    const { world, server } = await stageOf(t);
    const first = compete(t, world, server, "a");
    await world.until("held", () => first.lease.held() !== null);
    const second = compete(t, world, server, "b");
    await world.advance(20_000);
    const version = stored(server)?.version;
    await world.until("a renewal", () => stored(server)?.version !== version);
    await world.advance(phaseMs);
    const diedAt = world.now();
    await first.stop();
    await world.until("the successor", () => second.lease.held() !== null);
    const tookMs = world.now() - diedAt;
    t.diagnostic(`succeeded after ${tookMs} ms`);
    assert.ok(tookMs <= 18_000, `${tookMs} ms`);
    assert.ok(tookMs >= 15_000 - phaseMs, "not before the Lease has run out");
  });
}

test("makeKubernetesLease() has a successor within 3 s of a release", {
  timeout: LIMIT_MS,
}, async (t) => {
  const { world, server } = await stageOf(t);
  const first = compete(t, world, server, "a");
  await world.until("held", () => first.lease.held() !== null);
  const second = compete(t, world, server, "b");
  await world.advance(7_000);
  await first.stop();
  await first.lease.release();
  await world.until("the successor", () => second.lease.held() !== null, { withinMs: 3_000 });
});

test("makeKubernetesLease() says once of each other holder that it waits for it", {
  timeout: LIMIT_MS,
}, async (t) => {
  const { world, server } = await stageOf(t);
  const spec = { leaseDurationSeconds: 15, holderIdentity: "b" };
  put(server, { spec }, { annotations: { [EPOCH]: "7" } });
  const { events } = compete(t, world, server, "a");
  const renew = async (holderIdentity: string) => {
    for (let n = 0; n < 6; n += 1) {
      put(server, { spec: { ...spec, holderIdentity, n } }, { annotations: { [EPOCH]: "7" } });
      await world.advance(10_000);
    }
  };
  await renew("b");
  await renew("c");
  const told = events.filter((event) => event.kind === "lease-waiting");
  assert.deepEqual(
    told.map(({ lease, holder, epoch }) => [lease, holder, epoch]),
    [
      [KEY, "b", 7],
      [KEY, "c", 7],
    ],
  );
});

test("makeKubernetesLease() that saw another's epoch never begins below it, though the Lease is deleted", {
  timeout: LIMIT_MS,
}, async (t) => {
  const { world, server } = await stageOf(t);
  put(
    server,
    { spec: { holderIdentity: "b", leaseDurationSeconds: 15 } },
    { annotations: { [EPOCH]: "7" } },
  );
  const { lease } = compete(t, world, server, "a");
  await world.advance(3_000);
  server.store.remove("leases", KEY);
  await world.until("held", () => lease.held() !== null);
  assert.equal(lease.held()?.epoch, 8);
});

test("makeKubernetesLease() believes whoever corrects an epoch that leads nowhere", {
  timeout: LIMIT_MS,
}, async (t) => {
  const { world, server } = await stageOf(t);
  put(server, { spec: { holderIdentity: "" } }, { annotations: { [EPOCH]: "9999999999" } });
  const { lease, events } = compete(t, world, server, "a");
  await world.advance(10_000);
  assert.equal(lease.held(), null);
  const failed = events.find((event) => event.kind === "lease-failed");
  assert.match(failed?.message ?? "", /correct the annotation kube-allowlist.dev\/epoch/);
  assert.equal(failed?.lasting, true);
  put(server, { spec: { holderIdentity: "" } }, { annotations: { [EPOCH]: "3" } });
  await world.until("held", () => lease.held() !== null);
  assert.equal(lease.held()?.epoch, 4);
});

test("makeKubernetesLease() counts another Lease under its name as a lost one", {
  timeout: LIMIT_MS,
}, async (t) => {
  const { world, server } = await stageOf(t);
  const { lease, events } = compete(t, world, server, "a");
  await world.until("held", () => lease.held() !== null);
  const before = server.store.read("leases", KEY);
  server.store.remove("leases", KEY);
  // The same holder and epoch, as somebody's backup might put it there.
  put(server, { spec: before?.spec }, { annotations: before?.metadata.annotations });
  assert.notEqual(stored(server)?.uid, before?.metadata.uid);
  await world.until("lost", () => events.some(({ kind }) => kind === "lease-lost"));
  await world.until("held again", () => lease.held() !== null);
  assert.deepEqual(lease.held(), { epoch: 2, acquisition: 2 });
});

test("makeKubernetesLease() counts its own Lease of an older version as a lost one", {
  timeout: LIMIT_MS,
}, async (t) => {
  const { world, server } = await stageOf(t);
  const { lease, events } = compete(t, world, server, "a");
  await world.until("held", () => lease.held() !== null);
  const backup = server.store.backup();
  await world.advance(30_000);
  // Down for a moment, so that a renewal fails; then the same holder and epoch as in the backup.
  server.faults.add("lease", { kind: "cut" }, { times: 1 });
  await world.until("a failure", () => events.some(({ kind }) => kind === "lease-failed"));
  server.restore(backup);
  await world.until("lost", () => events.some(({ kind }) => kind === "lease-lost"));
  await world.until("held again", () => lease.held() !== null);
  assert.deepEqual(lease.held(), { epoch: 2, acquisition: 2 });
});

for (const [status, wayOut] of [
  [403, /grant get, create and update on the Lease/],
  [404, /create the namespace/],
] as const) {
  test(`makeKubernetesLease() asks for people's help at ${status}, and not every second`, {
    timeout: LIMIT_MS,
  }, async (t) => {
    const { world, server } = await stageOf(t);
    if (status === 403) server.faults.add("lease", { kind: "status", status });
    else server.store.remove("namespaces", "default");
    const { events } = compete(t, world, server, "a");
    await world.advance(60_000);
    const failed = events.filter((event) => event.kind === "lease-failed");
    assert.ok(failed.every(({ lasting, message }) => lasting && wayOut.test(message)));
    assert.ok(failed.length >= 10 && failed.length <= 15, `${failed.length} tries a minute`);
  });
}

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

test("makeKubernetesLease() is taken over though the clock was set back meanwhile", {
  timeout: LIMIT_MS,
}, async (t) => {
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

test("makeKubernetesLease() is not held while the clock is before its last renewal", {
  timeout: LIMIT_MS,
}, async (t) => {
  const { world, server } = await stageOf(t);
  const { lease } = compete(t, world, server, "a");
  await world.until("held", () => lease.held() !== null);
  // How long ago the renewal was, nobody can tell now: the Lease may be another's.
  world.setClock(-1);
  assert.equal(lease.held(), null);
  world.setClock(-3_600_000);
  assert.equal(lease.held(), null);
  // The next renewal is of the new time.
  await world.advance(6_000);
  assert.deepEqual(lease.held(), { epoch: 1, acquisition: 1 });
});

for (const epoch of ["3", "31", "garbled"]) {
  test(`makeKubernetesLease() never goes back in epochs though its Lease is put back at ${epoch}`, {
    timeout: LIMIT_MS,
  }, async (t) => {
    const { world, server } = await stageOf(t);
    const { lease, events } = compete(t, world, server, "a");
    await world.until("held", () => lease.held() !== null);
    assert.equal(await lease.raise(30), 31);
    put(server, { spec: { holderIdentity: "" } }, { annotations: { [EPOCH]: epoch } });
    await world.until("lost", () => events.some(({ kind }) => kind === "lease-lost"));
    await world.until("held again", () => lease.held() !== null);
    assert.deepEqual(lease.held(), { epoch: 32, acquisition: 2 });
  });
}
