import assert from "node:assert/strict";
import { test } from "node:test";
import type { ObjectFault } from "../../cli/embedded/object-storage.ts";
import { parseStoredSnapshot } from "../../lib/core/snapshot.ts";
import { openLog } from "../../lib/stores/log.ts";
import { memoryStore } from "../../lib/stores/memory.ts";
import type { Store } from "../../lib/stores/store.ts";
import { parseAnswer } from "../../lib/wire/reply.ts";
import { hosts, node } from "../core/cases.ts";
import { storeInProcess, vendors } from "../stores/buckets.ts";
import { START, virtualWorld } from "../virtual-world.ts";
import { receiver } from "./receiver.ts";

const NODES = [node("a", ["203.0.113.1"]), node("b", ["203.0.113.2"])];
const HOUR_MS = 3_600_000;
const TIMEOUT = { timeout: 60_000 };

/** The work's result, and how much of the virtual time it took. */
async function timed<T>(world: ReturnType<typeof virtualWorld>, work: Promise<T>) {
  const begunAt = world.now();
  let result: { readonly value: T } | null = null;
  const watched = work.then((value) => {
    result = { value };
  });
  for (let steps = 0; result === null && steps < 1_000; steps += 1) await world.advance(100);
  assert.ok(result !== null, "it ended");
  await watched;
  return { value: (result as { readonly value: T }).value, ms: world.now() - begunAt };
}

test("webhook answers 503 in time when its store hangs at any of its calls", TIMEOUT, async () => {
  const counted = receiver();
  let calls = 0;
  const counting = (store: Store, hangAt: number): Store => {
    const count = <T>(work: () => Promise<T>): Promise<T> => {
      calls += 1;
      return calls >= hangAt ? new Promise<never>(() => undefined) : work();
    };
    return {
      put: (key, body) => count(() => store.put(key, body)),
      get: (key) => count(() => store.get(key)),
      list: (prefix, limit) => count(() => store.list(prefix, limit)),
      delete: (key) => count(() => store.delete(key)),
    };
  };
  const whole = receiver({ store: counting(counted.store, Number.POSITIVE_INFINITY) });
  await whole.deliver({ nodes: NODES });
  const callsMax = calls;
  assert.ok(callsMax >= 7, `${callsMax} calls`);
  for (let hangAt = 1; hangAt <= callsMax; hangAt += 1) {
    calls = 0;
    const inner = memoryStore({ now: () => START });
    const room = receiver({ store: counting(inner, hangAt) });
    const { value, ms } = await timed(room.world, room.deliver({ nodes: NODES }));
    const isAdmitted = (await inner.list("v1/clusters/eu/", 1)).length > 0;
    // A write that hangs is not known to have arrived: the delivery is to be sent again.
    assert.equal(value.statusCode, isAdmitted ? 200 : 503, `call ${hangAt}: ${value.body}`);
    assert.ok(ms <= 28_500, `call ${hangAt}: ${ms} ms`);
  }
});

test(
  "webhook and resync end in time over a store whose every call takes just less than too long",
  TIMEOUT,
  async () => {
    const world = virtualWorld();
    const inner = memoryStore(world);
    const later: { sleep: (ms: number) => Promise<void> } = { sleep: () => Promise.resolve() };
    let callMs = 4_900;
    const slow = async <T>(work: () => Promise<T>): Promise<T> => {
      await later.sleep(callMs);
      return work();
    };
    const room = receiver({
      store: {
        put: (key, body) => slow(() => inner.put(key, body)),
        get: (key) => slow(() => inner.get(key)),
        list: (prefix, limit) => slow(() => inner.list(prefix, limit)),
        delete: (key) => slow(() => inner.delete(key)),
      },
    });
    later.sleep = room.world.sleep;
    for (const _ of [1, 2, 3]) {
      const delivery = await timed(room.world, room.deliver({ nodes: NODES }));
      assert.equal(delivery.value.statusCode, 200);
      assert.ok(delivery.ms <= 28_500, `${delivery.ms} ms`);
      const resync = await timed(room.world, room.resync() as Promise<unknown>);
      assert.ok(resync.ms <= 59_500, `${resync.ms} ms`);
    }
    // A removal asks the store most: it is judged once more, and written down before.
    for (let minute = 0; minute < 8; minute += 1) {
      callMs = 0;
      await timed(room.world, room.deliver({ nodes: NODES.slice(1) }));
      await room.world.advance(60_000);
      callMs = 6_500;
      const resync = await timed(room.world, room.resync() as Promise<unknown>);
      assert.ok(resync.ms <= 59_500, `${resync.ms} ms`);
    }
  },
);

test("webhook and resync of two installations that share a store write nothing of each other's", async () => {
  const store = memoryStore({ now: () => START });
  const acme = receiver({ store });
  const beta = receiver({ store, file: { installation: "beta" } });
  assert.equal((await acme.deliver({ nodes: NODES })).statusCode, 200);
  const before = await store.list("", 100);
  const response = await beta.deliver({ nodes: NODES.slice(1) });
  assert.equal(response.statusCode, 503, response.body);
  const result = JSON.stringify(await beta.resync());
  assert.match(
    result,
    /is of installation \\"acme\\", and this is \\"beta\\"; give each a store.prefix/,
  );
  assert.deepEqual(beta.memory.entries("one"), []);
  assert.deepEqual(await store.list("", 100), before);
  assert.equal((await acme.deliver({ nodes: NODES })).statusCode, 200);
});

const FAULTS: readonly ObjectFault[] = [
  { kind: "cut", done: false },
  { kind: "cut", done: true },
  { kind: "refuse", done: true, status: 500, code: "InternalError" },
  { kind: "refuse", done: false, status: 503, code: "SlowDown" },
];

/** The functions over a bucket whose calls fail as the test says, one number each. */
function faulty(vendor: (typeof vendors)[number], fails: (call: number) => ObjectFault | null) {
  let call = 0;
  let isMended = false;
  const clock = { now: () => START };
  const store = storeInProcess(vendor, { now: () => clock.now() }, () => {
    call += 1;
    return isMended ? null : fails(call);
  });
  const { world, memory, deliver, resync } = receiver({ store });
  clock.now = world.now;
  const held = openLog({
    store,
    prefix: "",
    installation: "acme",
    kind: "clusters",
    name: "eu",
    parse: parseStoredSnapshot,
    world,
  });
  const mend = () => {
    isMended = true;
  };
  return { world, memory, deliver, resync, held, calls: () => call, mend };
}

const onTarget = (room: Pick<ReturnType<typeof receiver>, "memory">) =>
  room.memory.entries("one").map((entry) => entry.cidr);

for (const vendor of vendors) {
  test(
    `webhook and resync over ${vendor.name} leave nothing half done, whichever call fails`,
    TIMEOUT,
    async () => {
      const smooth = faulty(vendor, () => null);
      await smooth.deliver({ nodes: NODES });
      const callsMax = smooth.calls() + 2;
      for (const fault of FAULTS) {
        for (let at = 1; at <= callsMax; at += 1) {
          const room = faulty(vendor, (call) => (call === at ? fault : null));
          const what = `${JSON.stringify(fault)} at call ${at}`;
          const response = await room.deliver({ nodes: NODES });
          room.mend();
          assert.ok([200, 503].includes(response.statusCode), what);
          if (response.statusCode === 200) {
            const held = await room.held.newest();
            assert.equal(held?.body.generation.sequence, 1, `admitted and stored: ${what}`);
            const answer = parseAnswer(JSON.parse(response.body));
            const isOpen = onTarget(room).length === 2;
            if (!isOpen) assert.deepEqual(answer?.readyNodes, [], `not ready too early: ${what}`);
          }
          await room.world.advance(70_000);
          assert.equal((await room.deliver({ nodes: NODES })).statusCode, 200, what);
          assert.deepEqual(onTarget(room), hosts(2), what);
          await room.resync();
          assert.deepEqual(onTarget(room), hosts(2), what);
        }
      }
    },
  );

  test(
    `resync over ${vendor.name} cuts nothing off while calls fail, and removes once they do not`,
    TIMEOUT,
    async () => {
      for (const fault of FAULTS) {
        let fails = false;
        const room = faulty(vendor, (call) => (fails && call % 5 === 0 ? fault : null));
        const nodes = ["1", "2", "3"].map((n) => node(n, [`203.0.113.${n}`]));
        await room.deliver({ nodes });
        assert.deepEqual(onTarget(room), hosts(3));
        fails = true;
        const kept = nodes.slice(0, 2);
        for (let minute = 0; minute < 28; minute += 1) {
          // Grace, a heartbeat and two resyncs before the end.
          if (minute === 20) room.mend();
          await room.deliver({ nodes: kept });
          await room.resync();
          await room.world.advance(60_000);
          for (const cidr of hosts(2)) assert.ok(onTarget(room).includes(cidr), "never cut off");
        }

        assert.deepEqual(onTarget(room), hosts(2), JSON.stringify(fault));
      }
    },
  );
}

test(
  "acquireLease() of a sync goes by the store's clock, however wrong the process's is",
  TIMEOUT,
  async () => {
    for (const vendor of vendors) {
      for (const hours of [-5, 5]) {
        const clock = { now: () => START };
        const store = storeInProcess(vendor, { now: () => clock.now() });
        const holder = receiver({ store });
        clock.now = () => holder.world.now() + hours * HOUR_MS;
        const log = holder.wiring.objectLog("memory.one");
        await log.append(0, { state: "held", forMs: 65_000, slots: {} });
        await timed(holder.world, holder.deliver({ nodes: NODES }));
        await holder.resync();
        assert.deepEqual(onTarget(holder), [], `${hours} h: somebody else holds it`);
        await holder.world.advance(START + 64_000 - holder.world.now());
        await holder.resync();
        assert.deepEqual(onTarget(holder), [], `${hours} h: for another 5 s`);
        await holder.world.advance(8_000);
        await holder.resync();
        assert.deepEqual(onTarget(holder), hosts(2), `${hours} h: nobody does any more`);
      }
    }
  },
);
