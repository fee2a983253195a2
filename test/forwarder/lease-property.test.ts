import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { makeObjectStore, type ObjectStore } from "../../cli/embedded/kubernetes-store.ts";
import { writeObject } from "../../cli/embedded/kubernetes-write.ts";
import { type Kube, statusError } from "../../forwarder/kube.ts";
import { makeKubernetesLease } from "../../forwarder/lease.ts";
import { readLease } from "../../forwarder/lease-object.ts";
import { compareGenerations, type Generation } from "../../lib/core/snapshot.ts";
import type { World } from "../../lib/world.ts";
import { type VirtualWorld, virtualWorld } from "../virtual-world.ts";

/*
 * Two or three forwarders after one Lease, on the embedded server's own rules of writing: requests
 * and answers are late or lost, processes freeze, are killed and started again, clocks are set.
 */

const KEY = "default/kube-allowlist";
const SETTLE_MS = 60_000;
const DELIVER_MS = 400;
const LATE_MS_MAX = 12_000;

/** How a request fares from now on. */
interface Weather {
  readonly thereMs: number;
  readonly backMs: number;
  readonly loses: "request" | "answer" | null;
}

const FAIR: Weather = { thereMs: 1, backMs: 1, loses: null };

type Deed =
  | { readonly kind: "pass"; readonly ms: number }
  | { readonly kind: "weather"; readonly who: number; readonly weather: Weather }
  | { readonly kind: "fair"; readonly who: number }
  | { readonly kind: "freeze" | "thaw"; readonly who: number }
  | { readonly kind: "clock"; readonly who: number; readonly byMs: number }
  /** Killed, or ended in good order, and at once started again as another process. */
  | { readonly kind: "kill" | "end"; readonly who: number }
  /** As after a restored cluster. */
  | { readonly kind: "raise"; readonly who: number };

/** What people and backups do to the object itself. */
interface Assault {
  readonly kind: "delete" | "reinstall" | "backup" | "restore" | "touch";
}

/** A receiver that admits by generation alone, and remembers whose each admitted epoch was. */
interface Receiving {
  held: { readonly generation: Generation; readonly by: string } | null;
  readonly epochs: number[];
}

interface Stage {
  readonly world: VirtualWorld;
  readonly store: ObjectStore;
  readonly receiving: Receiving;
  /** Every process that might once have begun a delivery, by epoch. */
  readonly deliverers: Map<number, Set<string>>;
  processes: Process[];
  started: number;
  backup: ReturnType<ObjectStore["backup"]>;
}

interface Process {
  readonly name: string;
  weather: Weather;
  freeze(): void;
  thaw(): void;
  setClock(byMs: number): void;
  raise(): void;
  held(): { readonly epoch: number } | null;
  /** Ends in good order; the Lease is released. */
  end(): void;
  /** Nothing of it happens any more but what is on its way. */
  kill(): void;
}

function openStage(seed: number): Stage {
  const world = virtualWorld(seed);
  const store = makeObjectStore(world, { firstRevision: 1n });
  store.put("namespaces", "default", {
    apiVersion: "v1",
    kind: "Namespace",
    metadata: { name: "default" },
  });
  return {
    world,
    store,
    receiving: { held: null, epochs: [] },
    deliverers: new Map(),
    processes: [],
    started: 0,
    backup: store.backup(),
  };
}

/** A process with a clock of its own that can be frozen; the network goes on without it. */
function machine(world: VirtualWorld) {
  let offsetMs = 0;
  let thaw: (() => void) | null = null;
  let thawed: Promise<void> = Promise.resolve();
  const own: Pick<World, "now" | "random" | "sleep"> = {
    now: () => world.now() + offsetMs,
    random: world.random,
    async sleep(ms, signal) {
      await world.sleep(ms, signal);
      await thawed;
    },
  };
  return {
    world: own,
    thawed: () => thawed,
    freeze() {
      if (thaw !== null) return;
      thawed = new Promise((resolve) => {
        thaw = resolve;
      });
    },
    thaw() {
      thaw?.();
      thaw = null;
      thawed = Promise.resolve();
    },
    setClock(byMs: number) {
      offsetMs += byMs;
    },
  };
}

/** Requests that travel: what is on its way arrives, whether anybody still waits for it or not. */
function travelling(
  { world, store }: Stage,
  options: { readonly weather: () => Weather; readonly thawed: () => Promise<void> },
): Kube {
  const exchange = async (method: string, pathname: string, given: object) => {
    const { thereMs, backMs, loses } = options.weather();
    const { timeoutMs, body } = given as { readonly timeoutMs: number; readonly body?: unknown };
    const name = `${method} ${pathname}`;
    const lost = world.sleep(timeoutMs).then(() => {
      throw new Error(`Cannot ${name}: no answer`);
    });
    const travel = (async () => {
      await world.sleep(thereMs);
      if (loses === "request") return lost;
      const text = JSON.stringify(body ?? null);
      const request = { method, pathname, type: "application/json", body: text };
      const written = writeObject(store, request);
      await world.sleep(backMs);
      if (loses === "answer") return lost;
      if (written.kind === "written") return written.body;
      const { status, body: said } = written.failure;
      throw statusError(name, said, { status, retryAfterMs: null });
    })();
    travel.catch(() => undefined);
    lost.catch(() => undefined);
    try {
      return await Promise.race([travel, lost]);
    } finally {
      await options.thawed();
    }
  };
  return {
    server: "",
    namespace: "default",
    read: (path, request) => exchange("GET", path, request),
    write: (method, path, request) => exchange(method, path, request),
    patch: () => Promise.reject(new Error("not asked for")),
    lines: () => Promise.reject(new Error("not asked for")),
    close: () => undefined,
  };
}

function start(stage: Stage): Process {
  const { world } = stage;
  stage.started += 1;
  const name = `p${stage.started}`;
  const box = machine(world);
  const state = { weather: FAIR, isAlive: true };
  const kube = travelling(stage, { weather: () => state.weather, thawed: box.thawed });
  const lease = makeKubernetesLease({
    kube,
    world: box.world,
    identity: name,
    namespace: "default",
    name: "kube-allowlist",
    emit: () => undefined,
    onAcquired: () => undefined,
  });
  const ending = new AbortController();
  const running = lease.run(ending.signal);
  const held = () => (state.isAlive ? lease.held() : null);
  void deliver(stage, { name, box, held, raise: lease.raise });
  return {
    name,
    get weather() {
      return state.weather;
    },
    set weather(weather) {
      state.weather = weather;
    },
    freeze: box.freeze,
    thaw: () => state.isAlive && box.thaw(),
    setClock: box.setClock,
    raise: () => void lease.raise(0),
    held,
    end() {
      ending.abort();
      void running.then(() => lease.release());
    },
    kill() {
      state.isAlive = false;
      box.freeze();
    },
  };
}

/**
 * Delivers again and again while it may, and raises the epoch when it is told that it is behind.
 */
async function deliver(
  { world, receiving, deliverers }: Stage,
  process: {
    readonly name: string;
    readonly box: ReturnType<typeof machine>;
    readonly held: () => { readonly epoch: number } | null;
    readonly raise: (above: number) => Promise<number | null>;
  },
): Promise<never> {
  const { name, box, held, raise } = process;
  let last: Generation = { epoch: 0, sequence: 0 };
  for (;;) {
    await box.world.sleep(DELIVER_MS);
    const permit = held();
    if (permit === null) continue;
    const { epoch } = permit;
    deliverers.set(epoch, (deliverers.get(epoch) ?? new Set()).add(name));
    last = { epoch, sequence: last.epoch === epoch ? last.sequence + 1 : 1 };
    // On its way it is nobody's any more: it arrives also when its sender is frozen.
    await world.sleep(world.random() * LATE_MS_MAX * (world.random() < 0.1 ? 1 : 0.01));
    const known = receiving.held;
    if (known === null || compareGenerations(last, known.generation) > 0) {
      receiving.held = { generation: last, by: name };
      receiving.epochs.push(epoch);
      continue;
    }
    await box.thawed();
    await raise(known.generation.epoch);
  }
}

async function carryOut(stage: Stage, deed: Deed): Promise<void> {
  if (deed.kind === "pass") {
    await stage.world.advance(deed.ms);
    return;
  }
  const { processes } = stage;
  const at = deed.who % processes.length;
  const process = processes[at];
  assert.ok(process);
  switch (deed.kind) {
    case "weather":
      process.weather = deed.weather;
      return;
    case "fair":
      process.weather = FAIR;
      return;
    case "clock":
      process.setClock(deed.byMs);
      return;
    case "kill":
    case "end":
      process[deed.kind]();
      processes[at] = start(stage);
      return;
    case "freeze":
    case "thaw":
    case "raise":
      process[deed.kind]();
      return;
    default:
      throw new Error(`Unreachable: ${JSON.stringify(deed satisfies never)}`);
  }
}

function isAssault(deed: Deed | Assault): deed is Assault {
  return !("who" in deed || "ms" in deed);
}

function inflict(stage: Stage, { kind }: Assault): void {
  const { store } = stage;
  const object = store.read("leases", KEY);
  switch (kind) {
    case "delete":
      store.remove("leases", KEY);
      return;
    case "reinstall":
      store.remove("leases", KEY);
      for (const process of stage.processes) process.kill();
      stage.processes = stage.processes.map(() => start(stage));
      return;
    case "backup":
      stage.backup = store.backup();
      return;
    case "restore":
      store.restore(stage.backup);
      return;
    case "touch":
      if (object !== null) store.put("leases", KEY, { ...object, touched: stage.started });
      return;
    default:
      throw new Error(`Unreachable: ${JSON.stringify(kind satisfies never)}`);
  }
}

/** Faults stop; somebody must then have the Lease, alone, and be believed. */
async function assertEndsWell(stage: Stage): Promise<void> {
  for (const process of stage.processes) {
    process.weather = FAIR;
    process.thaw();
  }
  await stage.world.advance(SETTLE_MS);
  const holders = stage.processes.filter((process) => process.held() !== null);
  assert.equal(holders.length, 1, `${holders.length} hold the Lease in the end`);
  const object = stage.store.read("leases", KEY);
  const view = readLease(object);
  assert.equal(view.holder, holders[0]?.name);
  const { held } = stage.receiving;
  assert.deepEqual([held?.by, held?.generation.epoch], [view.holder, view.epoch]);
  const { epochs } = stage.receiving;
  assert.deepEqual(
    epochs,
    epochs.toSorted((a, b) => a - b),
  );
}

const who = fc.nat(2);
const travelMs = fc.oneof(fc.nat(50), fc.nat(LATE_MS_MAX));
const deeds: fc.Arbitrary<Deed> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("pass"), ms: fc.nat(9_000) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("pass"), ms: fc.nat(40_000) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("weather"),
      who,
      weather: fc.record({
        thereMs: travelMs,
        backMs: travelMs,
        loses: fc.constantFrom(null, null, "request", "answer"),
      }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom("fair", "thaw"), who }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom("freeze", "raise"), who }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom("kill", "end"), who }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("clock"),
      who,
      byMs: fc.integer({ min: -40_000, max: 40_000 }),
    }),
  },
) as fc.Arbitrary<Deed>;

test("makeKubernetesLease() never lets two deliver under one epoch, and always has a successor, whatever is late, lost, frozen or killed", {
  timeout: 120_000,
}, async () => {
  const scenes = fc.record({
    seed: fc.integer({ min: 1, max: 2 ** 30 }),
    count: fc.integer({ min: 2, max: 3 }),
    deeds: fc.array(deeds, { maxLength: 40 }),
  });
  await fc.assert(
    fc.asyncProperty(scenes, async ({ seed, count, deeds }) => {
      const stage = openStage(seed);
      stage.processes = Array.from({ length: count }, () => start(stage));
      for (const deed of deeds) await carryOut(stage, deed);
      await assertEndsWell(stage);
      for (const [epoch, names] of stage.deliverers) {
        assert.equal(names.size, 1, `${[...names].join()} might deliver under epoch ${epoch}`);
      }
    }),
    { numRuns: 300 },
  );
});

test("makeKubernetesLease() ends with one that is believed though the Lease is deleted, restored or edited", {
  timeout: 120_000,
}, async () => {
  const assaults: fc.Arbitrary<Assault> = fc.record({
    kind: fc.constantFrom("delete", "reinstall", "backup", "restore", "touch"),
  });
  const scenes = fc.record({
    seed: fc.integer({ min: 1, max: 2 ** 30 }),
    count: fc.integer({ min: 2, max: 3 }),
    deeds: fc.array(fc.oneof({ weight: 3, arbitrary: deeds }, { weight: 1, arbitrary: assaults }), {
      maxLength: 40,
    }),
  });
  await fc.assert(
    fc.asyncProperty(scenes, async ({ seed, count, deeds }) => {
      const stage = openStage(seed);
      stage.processes = Array.from({ length: count }, () => start(stage));
      for (const deed of deeds) {
        if (isAssault(deed)) inflict(stage, deed);
        else await carryOut(stage, deed);
      }
      await assertEndsWell(stage);
    }),
    { numRuns: 200 },
  );
});
