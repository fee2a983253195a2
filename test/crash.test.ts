import assert from "node:assert/strict";
import test from "node:test";
import { memoryStore } from "../lib/stores/memory.ts";
import type { Store } from "../lib/stores/store.ts";
import { memoryTargets } from "../lib/targets/memory.ts";
import { GRACE_MS, hosts, list, memoryConfig, node, policy } from "./core/cases.ts";
import { type Corridor, corridor, reportOf } from "./corridor.ts";
import { virtualWorld } from "./virtual-world.ts";

/*
 * A process may die at every await. Each case runs one process up to its k-th operation on the
 * store or a target, lets that operation happen or not, and then lets the process hang for ever, as
 * a frozen or killed one does. Another process comes later and must find everything it needs.
 */

const NODES = (count: number) =>
  hosts(count).map((host, index) => node(`n${index}`, [host.replace("/32", "")]));

const TARGETS = [memoryConfig("one"), memoryConfig("two")];

interface Death {
  /** The operation at which the process dies, counted from 0. */
  readonly at: number;
  /** Whether that operation still takes effect. */
  readonly applied: boolean;
}

/** Counts operations and never answers from the deadly one on. */
function mortal(death: Death) {
  let count = 0;
  let died = false;
  let tell = () => {};
  const dead = new Promise<void>((resolve) => {
    tell = resolve;
  });
  return {
    dead,
    hasDied: () => died,
    async operate<T>(work: () => Promise<T>): Promise<T> {
      const mine = count;
      count += 1;
      if (died) return new Promise(() => {});
      if (mine !== death.at) return work();
      died = true;
      if (death.applied) await work();
      tell();
      return new Promise(() => {});
    },
  };
}

type Mortal = ReturnType<typeof mortal>;

function dyingStore(store: Store, life: Mortal): Store {
  return {
    put: (key, body) => life.operate(() => store.put(key, body)),
    get: (key) => life.operate(() => store.get(key)),
    list: (prefix, limit) => life.operate(() => store.list(prefix, limit)),
    delete: (key) => life.operate(() => store.delete(key)),
  };
}

interface Scene {
  readonly successor: Corridor;
  readonly dying: Corridor;
}

function scene(life: Mortal): Scene {
  const world = virtualWorld();
  const store = memoryStore(world);
  const contents = memoryTargets();
  const shared = { policy: policy([list({ targets: TARGETS })]), world, contents };
  const dying = corridor({ ...shared, store: dyingStore(store, life) });
  dying.interfere((_call, proceed) => life.operate(proceed));
  return { successor: corridor({ ...shared, store }), dying };
}

/** Every death at every operation of `work`, until one run survives to its end. */
async function enumerate(
  work: (scene: Scene) => Promise<unknown>,
  prepare: (scene: Scene) => Promise<unknown>,
  check: (scene: Scene, death: Death) => Promise<void>,
): Promise<number> {
  for (const applied of [false, true]) {
    for (let at = 0; ; at += 1) {
      assert(at < 200, "the work comes to an end");
      const life = mortal({ at, applied });
      const found = scene(life);
      await prepare(found);
      await Promise.race([work(found), life.dead]);
      await check(found, { at, applied });
      if (!life.hasDied()) {
        if (applied) return at;
        break;
      }
    }
  }
  throw new Error("unreachable");
}

test("a delivery that dies at any operation strands no node: the next heartbeat of the same truth brings it", async () => {
  const operations = await enumerate(
    ({ dying }) => dying.deliver(NODES(3), { generation: { epoch: 1, sequence: 50 } }),
    async () => {},
    async ({ successor }, death) => {
      // Longer than a lease of the dead process holds.
      await successor.world.advance(70_000);
      const generation = { epoch: 1, sequence: 51 };
      const outcome = await successor.deliver(NODES(3), { generation });
      for (const { name } of TARGETS) {
        assert.equal(reportOf(outcome, name).state, "converged", JSON.stringify(death));
      }
      assert.deepEqual(successor.on("one"), hosts(3));
      assert.deepEqual(successor.on("two"), hosts(3));
    },
  );
  assert(operations > 15, `${operations} operations were interrupted`);
});

test("a delivery that was admitted before its process died is brought about by the resync alone", async () => {
  await enumerate(
    ({ dying }) => dying.run("webhook"),
    ({ successor }) => successor.admit(NODES(3)),
    async ({ successor }, death) => {
      await successor.world.advance(70_000);
      await successor.run("resync");
      assert.deepEqual(successor.on("one"), hosts(3), JSON.stringify(death));
      assert.deepEqual(successor.on("two"), hosts(3), JSON.stringify(death));
    },
  );
});

test("a resync that dies at any operation removes nothing that is desired, and the next ones finish it", async () => {
  await enumerate(
    ({ dying }) => dying.run("resync"),
    async ({ successor }) => {
      await successor.deliver(NODES(4));
      await successor.deliver(NODES(3));
      await successor.world.advance(GRACE_MS);
      await successor.deliver(NODES(3));
    },
    async ({ successor }, death) => {
      for (const id of ["one", "two"]) {
        for (const host of hosts(3)) {
          assert(successor.on(id).includes(host), `${host} stays: ${JSON.stringify(death)}`);
        }
      }
      // The memory of a removal lasts a minute, a lease as long, a lost record restarts the
      // grace.
      for (let minute = 0; minute < 8; minute += 1) {
        await successor.world.advance(60_000);
        await successor.deliver(NODES(3), { generation: { epoch: 1, sequence: 100 + minute } });
        await successor.run("resync");
      }
      assert.deepEqual(successor.on("one"), hosts(3), JSON.stringify(death));
      assert.deepEqual(successor.on("two"), hosts(3), JSON.stringify(death));
    },
  );
});
