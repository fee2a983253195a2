import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { type Admitted, admitSnapshot } from "../lib/admit.ts";
import {
  type AdmittedSnapshot,
  compareGenerations,
  type Generation,
} from "../lib/core/snapshot.ts";
import {
  API,
  API_SCOPE,
  cidrs,
  cluster,
  EXTERNAL,
  GRACE_MS,
  list,
  node,
  pod,
  policy,
  REMOVAL,
  snapshot,
} from "./core/cases.ts";
import { type Corridor, corridor } from "./corridor.ts";

/*
 * Deliveries that are lost, repeated, late and all at once, through to the target.
 */

const removal = { ...REMOVAL, maxRatio: 1, minRemaining: 0 };
const EU = cluster("eu");
// The last entry of a list never goes, so one stays whatever the cluster says.
const STATIC = { kind: "static", cidrs: cidrs("192.0.2.1") } as const;
const MIXED = list({ sources: [EXTERNAL, API, STATIC], removal });

/** What a cluster said at a generation: some of eight nodes and eight pods. */
interface Said {
  readonly generation: Generation;
  readonly nodes: readonly number[];
  readonly pods: readonly number[];
}

function sent(room: Corridor, { generation, nodes, pods }: Said): AdmittedSnapshot {
  const given = { generation, receivedAt: room.world.now(), scope: API_SCOPE };
  return snapshot(
    nodes.map((last) => node(`n${last}`, [`203.0.113.${last}`])),
    { ...given, pods: pods.map((last) => pod(`p${last}`, [`10.2.0.${last}`])) },
  );
}

function addressesOf({ nodes, pods }: Said): readonly string[] {
  const ofPods = pods.map((last) => `10.2.0.${last}/32`);
  return [...ofPods, "192.0.2.1/32", ...nodes.map((last) => `203.0.113.${last}/32`)].toSorted();
}

async function deliver(room: Corridor, said: Said): Promise<Admitted> {
  const log = room.context.clusterLog("eu");
  const given = { cluster: EU, world: room.world };
  const admitted = await admitSnapshot(log, sent(room, said), given);
  // Who finds the target taken leaves it to whoever has it, or to the next delivery.
  await room.run("webhook");
  return admitted;
}

async function heldBy(room: Corridor): Promise<AdmittedSnapshot | null> {
  return (await room.context.clusterLog("eu").newest())?.body ?? null;
}

const some = fc.subarray([1, 2, 3, 4, 5, 6, 7, 8]);
const someSaid: fc.Arbitrary<readonly Said[]> = fc.uniqueArray(
  fc.record({
    generation: fc.record({ epoch: fc.integer({ min: 1, max: 4 }), sequence: fc.nat(6) }),
    nodes: some,
    pods: some,
  }),
  {
    minLength: 1,
    maxLength: 8,
    selector: ({ generation }) => `${generation.epoch}/${generation.sequence}`,
  },
);
/** Which of them arrive, in which order and how many at once; the newest at least once. */
const someDeliveries = someSaid.chain((said) => {
  const newest = said.toSorted((a, b) => compareGenerations(b.generation, a.generation))[0];
  assert(newest !== undefined);
  const any = fc.array(fc.constantFrom(...said), { maxLength: 8 });
  return fc.record({
    newest: fc.constant(newest),
    waves: fc
      .tuple(any, any, fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 20, maxLength: 20 }))
      .map(([before, after, sizes]) => wavesOf([...before, newest, ...after], sizes)),
  });
});

function wavesOf(all: readonly Said[], sizes: readonly number[]): readonly (readonly Said[])[] {
  const waves: Said[][] = [];
  let from = 0;
  for (const size of sizes) {
    waves.push(all.slice(from, from + size));
    from += size;
  }
  return waves.filter((wave) => wave.length > 0);
}

test("sync() ends with the newest truth on the target, whatever was lost, repeated, late or at once", async () => {
  await fc.assert(
    fc.asyncProperty(someDeliveries, async ({ newest, waves }) => {
      const room = corridor({ policy: policy([MIXED], [EU]) });
      let before: Generation | null = null;
      for (const wave of waves) {
        await Promise.all(wave.map((said) => deliver(room, said)));
        const held: AdmittedSnapshot | null = await heldBy(room);
        assert(held !== null);
        if (before !== null) assert(compareGenerations(held.generation, before) >= 0, "never back");
        before = held.generation;
      }
      const held = await heldBy(room);
      assert(held !== null && compareGenerations(held.generation, newest.generation) === 0);
      assert.deepEqual(held.nodes, sent(room, newest).nodes);
      // Heartbeats of the newest truth, each followed by the oldest that is still under way.
      let { sequence } = newest.generation;
      for (let minutes = 0; minutes <= 2 * (GRACE_MS / 60_000); minutes += 1) {
        sequence += 1;
        const generation = { ...newest.generation, sequence };
        const kind = (await deliver(room, { ...newest, generation })).kind;
        assert.equal(kind, "newer");
        const there = room.on("one");
        for (const one of addressesOf(newest)) assert(there.includes(one), `${one} is missing`);
        for (const late of waves[0] ?? []) assert.equal((await deliver(room, late)).kind, "stale");
        await room.run("resync");
        await room.world.advance(60_000);
      }
      assert.deepEqual(room.on("one").toSorted(), addressesOf(newest));
    }),
    { numRuns: 60 },
  );
});

test("admitSnapshot() keeps the epoch of a forwarder that lost its Lease, and tells it what to go beyond", async () => {
  const room = corridor({ policy: policy([MIXED], [EU]) });
  const truth = { nodes: [1, 2], pods: [1] };
  const at = (epoch: number, sequence: number) => ({ epoch, sequence });
  await deliver(room, { ...truth, generation: at(7, 1_042) });
  const there = room.on("one");
  // The Lease was deleted, or the same pod begins again under its name: it counts from one.
  for (const sequence of [1, 2, 5_000]) {
    const admitted = await deliver(room, { nodes: [], pods: [], generation: at(1, sequence) });
    assert.deepEqual(admitted, { kind: "stale", held: at(7, 1_042) });
  }
  assert.deepEqual((await heldBy(room))?.generation, at(7, 1_042));
  const above = await deliver(room, { ...truth, pods: [1, 2], generation: at(8, 1) });
  assert.equal(above.kind, "newer");
  // The leader before it wakes up.
  const woken = await deliver(room, { nodes: [], pods: [], generation: at(7, 9_999) });
  assert.deepEqual(woken, { kind: "stale", held: at(8, 1) });
  for (const one of there) assert(room.on("one").includes(one));
  assert.deepEqual((await heldBy(room))?.generation, at(8, 1));
});

test("admitSnapshot() never lets the accepted generation fall, however many admit at once", async () => {
  const generations = fc.array(fc.record({ epoch: fc.nat(5), sequence: fc.nat(5) }), {
    minLength: 1,
    maxLength: 12,
  });
  await fc.assert(
    fc.asyncProperty(generations, async (given) => {
      const room = corridor({ policy: policy([MIXED], [EU]) });
      const log = room.context.clusterLog("eu");
      const appended: Generation[] = [];
      const watched: typeof log = {
        ...log,
        async append(after, body) {
          const entry = await log.append(after, body);
          if (entry !== "exists") appended.push(body.generation);
          return entry;
        },
      };
      const all = given.map((generation) => sent(room, { generation, nodes: [], pods: [] }));
      await Promise.allSettled(
        all.map((one) => admitSnapshot(watched, one, { cluster: EU, world: room.world })),
      );
      assert(appended.length > 0);
      for (const [index, generation] of appended.entries()) {
        const earlier = appended[index - 1];
        if (earlier !== undefined) assert(compareGenerations(generation, earlier) > 0);
      }
    }),
    { numRuns: 200 },
  );
});
