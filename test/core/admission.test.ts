import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type Admission, admit, EPOCH_JUMP_MAX, heardAt } from "../../lib/core/admission.ts";
import type { Cluster } from "../../lib/core/list.ts";
import {
  type AdmittedSnapshot,
  compareGenerations,
  type Generation,
  type Node,
  type Snapshot,
} from "../../lib/core/snapshot.ts";

const STALE_AFTER_MS = 900_000;
const START = Date.UTC(2026, 10, 20, 21, 0, 0);

const CLUSTER: Cluster = {
  name: "prod-eu",
  bounds: "public",
  maxEntries: 1000,
  staleAfterMs: STALE_AFTER_MS,
  uid: null,
  retired: false,
  widest: { ipv4: 20, ipv6: 56 },
};

function generation(epoch: number, sequence: number): Generation {
  return { epoch, sequence };
}

function nodeNamed(name: string): Node {
  return { uid: name, name, labels: {}, addresses: [], podCidrs: [] };
}

function snapshot(members: Partial<Snapshot> = {}): Snapshot {
  return {
    cluster: "prod-eu",
    clusterUid: "uid-1",
    generation: generation(7, 1042),
    time: START,
    observedAt: START,
    scope: { labels: [], pods: [] },
    changes: [],
    nodes: [nodeNamed("a")],
    pods: [],
    ...members,
  };
}

function admitted(members: Partial<AdmittedSnapshot> = {}): AdmittedSnapshot {
  return { ...snapshot(members), receivedAt: START, ...members };
}

function judge(
  held: AdmittedSnapshot | null,
  given: Snapshot,
  options: { readonly now?: number; readonly cluster?: Partial<Cluster> } = {},
): Admission {
  const cluster = { ...CLUSTER, ...options.cluster };
  return admit(held, given, { now: options.now ?? START, cluster });
}

function kindOf(...judged: Parameters<typeof judge>): string {
  return judge(...judged).kind;
}

test("admit() takes the first snapshot of a cluster, whatever its generation", () => {
  for (const first of [generation(0, 0), generation(9_999_999_999, 9_999_999_999)]) {
    assert.deepEqual(judge(null, snapshot({ generation: first })), { kind: "newer" });
  }
});

test("admit() takes a later sequence and a later epoch, and nothing earlier", () => {
  const held = admitted();
  const later = [
    generation(7, 1043),
    generation(8, 0),
    generation(8, 1),
    generation(7, 9_999_999_999),
  ];
  for (const given of later) {
    assert.deepEqual(judge(held, snapshot({ generation: given })), { kind: "newer" });
  }
  const earlier = [
    generation(7, 1041),
    generation(7, 0),
    generation(6, 9_999_999_999),
    generation(0, 0),
  ];
  for (const given of earlier) {
    assert.deepEqual(judge(held, snapshot({ generation: given })), {
      kind: "stale",
      held: generation(7, 1042),
    });
  }
});

test("admit() knows a repeat by its truth, whatever its times and changes", () => {
  const again = snapshot({
    time: START + 5,
    observedAt: START + 5,
    changes: [{ kind: "node.added", name: "a", uid: "a" }],
  });
  assert.deepEqual(judge(admitted(), again), { kind: "repeat" });
});

test("admit() calls other content under a held generation stale", () => {
  const held = admitted();
  const others: readonly Partial<Snapshot>[] = [
    { nodes: [] },
    { nodes: [nodeNamed("b")] },
    { scope: { labels: ["pool"], pods: [] } },
    { pods: [{ uid: "p", namespace: "pay", name: "p", labels: {}, addresses: [] }] },
  ];
  for (const members of others) {
    assert.deepEqual(judge(held, snapshot(members)), { kind: "stale", held: generation(7, 1042) });
  }
});

test("admit() takes a silent cluster's own next snapshot however late it comes", () => {
  const now = START + 1000 * STALE_AFTER_MS;
  assert.equal(kindOf(admitted(), snapshot({ generation: generation(7, 1043) }), { now }), "newer");
  assert.equal(kindOf(admitted(), snapshot({ generation: generation(7, 1041) }), { now }), "stale");
});

test("admit() refuses an epoch that jumps, of the cluster that is held only", () => {
  const held = admitted();
  const jump = (by: number, clusterUid = "uid-1") =>
    snapshot({ generation: generation(7 + by, 0), clusterUid });
  assert.deepEqual(judge(held, jump(EPOCH_JUMP_MAX)), { kind: "newer" });
  assert.deepEqual(judge(held, jump(EPOCH_JUMP_MAX + 1)), {
    kind: "invalid",
    problems: [
      {
        path: "generation.epoch",
        message: "Cannot take epoch 1000008: 7 is held, and it may rise by at most 1000000 at once",
      },
    ],
  });
  const now = START + STALE_AFTER_MS + 1;
  assert.equal(kindOf(held, jump(EPOCH_JUMP_MAX + 1), { now }), "invalid");
  assert.equal(kindOf(held, jump(EPOCH_JUMP_MAX + 1, "uid-2"), { now }), "newer");
  assert.equal(kindOf(held, jump(EPOCH_JUMP_MAX + 1, "uid-2")), "other-cluster");
});

test("admit() takes a sequence that jumps", () => {
  const given = snapshot({ generation: generation(7, 9_999_999_999) });
  assert.equal(kindOf(admitted(), given), "newer");
});

// Another cluster under the same name.

test("admit() refuses another cluster while the held one is fresh, before it compares anything", () => {
  const held = admitted();
  for (const given of [
    generation(7, 1043),
    generation(7, 1042),
    generation(1, 1),
    generation(99, 0),
  ]) {
    const refused = judge(held, snapshot({ clusterUid: "uid-2", generation: given }));
    assert.equal(refused.kind, "other-cluster");
    assert.deepEqual(refused.held, generation(7, 1042));
    assert.match(
      refused.message,
      /^Cannot admit cluster uid-2 as "prod-eu": uid-1 delivered 0 s ago/,
    );
  }
});

test("admit() lets another cluster take over once the held one is silent, whatever its generation", () => {
  const held = admitted();
  const other = snapshot({ clusterUid: "uid-2", generation: generation(0, 1) });
  assert.equal(kindOf(held, other, { now: START + STALE_AFTER_MS }), "other-cluster");
  assert.equal(kindOf(held, other, { now: START + STALE_AFTER_MS + 1 }), "newer");
  assert.equal(kindOf(held, other, { now: START - 5_000 }), "other-cluster");
});

test("admit() counts silence from the last arrival, however old the truth that came", () => {
  const other = snapshot({ clusterUid: "uid-2" });
  for (const ageMs of [0, 600_000, 22 * 60_000, 1000 * STALE_AFTER_MS]) {
    const held = admitted({ observedAt: START - ageMs });
    assert.equal(kindOf(held, other, { now: START + 10_000 }), "other-cluster");
    assert.equal(kindOf(held, other, { now: START + STALE_AFTER_MS }), "other-cluster");
    assert.equal(kindOf(held, other, { now: START + STALE_AFTER_MS + 1 }), "newer");
  }
});

test("admit() leaves a name to a cluster that delivers, though it sees nothing for hours", () => {
  const other = snapshot({ clusterUid: "uid-2", generation: generation(99, 0) });
  let held = admitted();
  for (let beat = 1; beat <= 50; beat += 1) {
    const now = START + beat * 300_000;
    assert.equal(kindOf(held, other, { now }), "other-cluster", `after ${beat} heartbeats`);
    const next = snapshot({ generation: generation(7, 1042 + beat), time: now });
    assert.equal(kindOf(held, next, { now }), "newer");
    held = { ...next, receivedAt: now };
  }
});

test("admit() refuses the cluster that was taken over from, as long as its successor is fresh", () => {
  const held = admitted({ clusterUid: "uid-2", generation: generation(0, 1) });
  const old = snapshot({ generation: generation(7, 1043) });
  assert.equal(kindOf(held, old), "other-cluster");
});

test("admit() obeys a pinned uid alone", () => {
  const cluster = { uid: "uid-1" };
  const silent = START + STALE_AFTER_MS + 1;
  const other = snapshot({ clusterUid: "uid-2" });
  for (const held of [null, admitted()]) {
    for (const now of [START, silent]) {
      const refused = judge(held, other, { now, cluster });
      assert.equal(refused.kind, "other-cluster");
      assert.deepEqual(refused.held, held === null ? null : generation(7, 1042));
      assert.match(refused.message, /the configuration pins uid-1/);
    }
    assert.equal(kindOf(held, snapshot({ generation: generation(8, 0) }), { cluster }), "newer");
  }
});

test("admit() lets the pinned cluster take its name back from a fresh impostor", () => {
  const impostor = admitted({ clusterUid: "uid-2", generation: generation(99, 0) });
  assert.equal(kindOf(impostor, snapshot(), { cluster: { uid: "uid-1" } }), "newer");
  const again = snapshot({ clusterUid: "uid-2", generation: generation(99, 1) });
  assert.equal(kindOf(impostor, again, { cluster: { uid: "uid-1" } }), "other-cluster");
});

test("admit() is never asked about a snapshot of another name", () => {
  assert.throws(() => judge(null, snapshot({ cluster: "prod-us" })), { code: "ERR_ASSERTION" });
});

// Any order, any number of times.

interface Delivery {
  readonly given: Snapshot;
  readonly result: Admission;
  readonly held: AdmittedSnapshot | null;
}

/** What a receiver holds while it takes these deliveries one by one. */
function receive(deliveries: readonly Snapshot[]): readonly Delivery[] {
  let held: AdmittedSnapshot | null = null;
  return deliveries.map((given, index) => {
    const now = START + index * 1000;
    const result = judge(held, given, { now });
    if (result.kind === "newer") held = { ...given, receivedAt: now };
    return { given, result, held };
  });
}

const someGenerations = fc.uniqueArray(fc.record({ epoch: fc.nat(4), sequence: fc.nat(6) }), {
  minLength: 1,
  maxLength: 10,
  selector: ({ epoch, sequence }) => `${epoch}/${sequence}`,
});

const someDeliveries = someGenerations.chain((generations) => {
  const snapshots = generations.map((each) =>
    snapshot({ generation: each, nodes: [nodeNamed(`node-${each.epoch}-${each.sequence}`)] }),
  );
  const repeated = fc.array(fc.constantFrom(...snapshots), { maxLength: 12 });
  return repeated.chain((more) =>
    fc.shuffledSubarray([...snapshots, ...more], { minLength: snapshots.length + more.length }),
  );
});

test("admit() ends with the newest snapshot, in whatever order and however often they come", () => {
  fc.assert(
    fc.property(someDeliveries, (deliveries) => {
      const newest = deliveries.toSorted((a, b) =>
        compareGenerations(b.generation, a.generation),
      )[0];
      const last = receive(deliveries).at(-1)?.held;
      assert.deepEqual(last?.generation, newest?.generation);
      assert.deepEqual(last?.nodes, newest?.nodes);
    }),
    { numRuns: 500 },
  );
});

test("admit() never goes back, and says what is held to whoever comes late", () => {
  fc.assert(
    fc.property(someDeliveries, (deliveries) => {
      let before: AdmittedSnapshot | null = null;
      for (const { given, result, held } of receive(deliveries)) {
        assert(held !== null);
        const order: number =
          before === null ? 1 : compareGenerations(given.generation, before.generation);
        assert.equal(result.kind, order > 0 ? "newer" : order === 0 ? "repeat" : "stale");
        if (result.kind === "stale") assert.deepEqual(result.held, held.generation);
        if (before !== null) assert(compareGenerations(held.generation, before.generation) >= 0);
        before = held;
      }
    }),
    { numRuns: 500 },
  );
});

test("admit() never lets two clusters that both speak take turns", () => {
  const speaker = fc.record({
    clusterUid: fc.constantFrom("uid-1", "uid-2"),
    epoch: fc.nat(1000),
    sequence: fc.nat(1000),
  });
  fc.assert(
    fc.property(fc.array(speaker, { minLength: 1, maxLength: 30 }), (speakers) => {
      const deliveries = speakers.map(({ clusterUid, epoch, sequence }) =>
        snapshot({ clusterUid, generation: generation(epoch, sequence) }),
      );
      for (const { given, result, held } of receive(deliveries)) {
        assert.equal(held?.clusterUid, deliveries[0]?.clusterUid);
        assert.equal(result.kind === "other-cluster", given.clusterUid !== held?.clusterUid);
      }
    }),
    { numRuns: 500 },
  );
});

// Heard.

test("heardAt() takes the age of the truth off the time of arrival", () => {
  assert.equal(heardAt(admitted()), START);
  assert.equal(heardAt(admitted({ observedAt: START - 40_000 })), START - 40_000);
});

test("heardAt() is free of the sender's clock", () => {
  fc.assert(
    fc.property(fc.integer({ min: -1e12, max: 1e12 }), fc.nat(1e9), (skew, age) => {
      const time = START + skew;
      assert.equal(heardAt(admitted({ time, observedAt: time - age })), START - age);
    }),
    { numRuns: 200 },
  );
});

test("heardAt() is never later than the arrival", () => {
  assert.equal(heardAt(admitted({ observedAt: START + 60_000 })), START);
});
