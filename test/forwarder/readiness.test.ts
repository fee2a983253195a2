import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { ForwarderEvent } from "../../forwarder/journal.ts";
import type { ObservedNode } from "../../forwarder/projection.ts";
import { followReadiness } from "../../forwarder/readiness.ts";
import { parseAddress } from "../../lib/core/cidr.ts";
import { blankReport, type ListReport } from "../../lib/core/report.ts";
import type { Generation, Node, Snapshot } from "../../lib/core/snapshot.ts";
import { manualWorld, START } from "./clock.ts";

const MINUTE_MS = 60_000;
const LIMIT = { timeout: 20_000 };

function nodeOf(name: string, ...addresses: readonly string[]): Node {
  return {
    uid: `uid-${name}`,
    name,
    labels: {},
    addresses: addresses.flatMap((text) => {
      const address = parseAddress(text);
      return address === null ? [] : [{ type: "ExternalIP" as const, address }];
    }),
    podCidrs: [],
  };
}

function reportOf(given: Partial<ListReport>): ListReport {
  return {
    ...blankReport("db", "memory/a"),
    state: "converged",
    reason: null,
    ...given,
  };
}

function snapshotOf(
  { generation, time }: Pick<Snapshot, "generation" | "time">,
  nodes: readonly Node[],
): Snapshot {
  const scope = { labels: [], pods: [] };
  const of = { cluster: "test", clusterUid: "uid", generation, time, observedAt: time, scope };
  return { ...of, changes: [], nodes, pods: [] };
}

/** Readiness over nodes that a test puts and takes, of a process that leads until it says not. */
function stageOf(t: TestContext) {
  const world = manualWorld();
  const nodes = new Map<string, ObservedNode>();
  const events: ForwarderEvent[] = [];
  const state = { isLeader: true, sequence: 0 };
  const readiness = followReadiness({
    world,
    emit: (event) => events.push(event),
    nodes: () => nodes,
    isLeader: () => state.isLeader,
  });
  const end = new AbortController();
  const running = readiness.run(end.signal);
  t.after(async () => {
    end.abort(new Error("the test is over"));
    await running;
  });
  const put = (node: Node) => {
    const kind = nodes.has(node.uid) ? "node.changed" : "node.added";
    const changes = [{ kind, name: node.name, uid: node.uid }];
    readiness.hear({ kind: "seen", at: world.now(), changes });
    nodes.set(node.uid, { node, unsent: [], mark: null, createdAt: null });
  };
  return {
    world,
    nodes,
    state,
    readiness,
    put,
    remove(name: string) {
      nodes.delete(`uid-${name}`);
      const changes = [{ kind: "node.removed", name, uid: `uid-${name}` }];
      readiness.hear({ kind: "seen", at: world.now(), changes });
    },
    /** Everything that is held is sent and admitted, and these are ready. */
    answer(
      ready: readonly string[],
      more: {
        readonly unlisted?: readonly string[];
        readonly lists?: readonly ListReport[];
        readonly sent?: readonly Node[];
        /** What the answer was computed from. */
        readonly answered?: Generation;
      } = {},
    ) {
      state.sequence += 1;
      const generation = { epoch: 1, sequence: state.sequence };
      const sent = snapshotOf(
        { generation, time: world.now() },
        more.sent ?? [...nodes.values()].map(({ node }) => node),
      );
      readiness.answered(sent, {
        generation: more.answered ?? generation,
        readyNodes: ready.map((name) => `uid-${name}`),
        unlisted: (more.unlisted ?? []).map((name) => `uid-${name}`),
        again: null,
        lists: more.lists ?? [],
      });
    },
    told: () =>
      events.flatMap((event) => {
        if (event.kind === "node-ready") return [`ready ${event.node.name}`];
        return event.kind === "node-pending" ? [`pending ${event.node.name}`] : [];
      }),
    messages: () => events.flatMap((event) => ("message" in event ? [event.message] : [])),
    events,
  };
}

test("followReadiness() says that a node is ready, and since when it waited", LIMIT, async (t) => {
  const stage = stageOf(t);
  stage.answer([]);
  stage.put(nodeOf("a", "203.0.113.1"));
  await stage.world.advance(3_000);
  stage.answer(["a"]);
  stage.answer(["a"]);
  assert.deepEqual(stage.told(), ["ready a"]);
  const [event] = stage.events;
  assert.ok(event?.kind === "node-ready");
  assert.deepEqual([event.node.uid, event.tookMs], ["uid-a", 3_000]);
});

test("followReadiness() is silent of nodes that are ready in the first answer", LIMIT, (t) => {
  const stage = stageOf(t);
  for (let n = 0; n < 1_000; n += 1) stage.put(nodeOf(`n${n}`, "203.0.113.1"));
  stage.answer([...stage.nodes.values()].map(({ node }) => node.name));
  assert.deepEqual(stage.told(), []);
  assert.deepEqual(stage.readiness.counts(), { ready: 1_000, pending: 0, unlisted: 0 });
  // What becomes ready later was seen to wait.
  stage.put(nodeOf("late", "203.0.113.2"));
  stage.answer(["late"]);
  assert.deepEqual(stage.told(), ["ready late"]);
});

test("followReadiness() begins anew with each acquisition of the Lease", LIMIT, (t) => {
  const stage = stageOf(t);
  stage.answer([]);
  stage.put(nodeOf("a", "203.0.113.1"));
  // Another process delivers it and says so.
  stage.readiness.hear({ kind: "lease-lost", at: START, message: "lost" });
  stage.readiness.hear({ kind: "lease-acquired", at: START, epoch: 3 });
  stage.answer(["a"]);
  assert.deepEqual(stage.told(), []);
});

test("followReadiness() counts each node once, and as pending from its change on", LIMIT, (t) => {
  const stage = stageOf(t);
  for (const name of ["a", "b", "c"]) stage.put(nodeOf(name, "203.0.113.1"));
  assert.deepEqual(stage.readiness.counts(), { ready: 0, pending: 3, unlisted: 0 });
  stage.answer(["a"], { unlisted: ["b"] });
  assert.deepEqual(stage.readiness.counts(), { ready: 1, pending: 1, unlisted: 1 });
  stage.put(nodeOf("a", "203.0.113.9"));
  stage.put(nodeOf("b", "203.0.113.9"));
  assert.deepEqual(stage.readiness.counts(), { ready: 0, pending: 3, unlisted: 0 });
  stage.state.isLeader = false;
  assert.equal(stage.readiness.counts(), null);
});

test("followReadiness() believes no answer about other addresses than are held", LIMIT, (t) => {
  const stage = stageOf(t);
  stage.answer([]);
  const before = nodeOf("a", "203.0.113.1");
  stage.put(before);
  stage.put(nodeOf("a", "203.0.113.2"));
  stage.answer(["a"], { sent: [before] });
  assert.deepEqual(stage.told(), []);
  assert.equal(stage.readiness.counts()?.pending, 1);
  stage.answer(["a"]);
  assert.deepEqual(stage.told(), ["ready a"]);
});

test("followReadiness() believes no answer of a generation that is not its own", LIMIT, (t) => {
  const stage = stageOf(t);
  stage.answer([]);
  stage.put(nodeOf("a", "203.0.113.1"));
  // Another process has delivered meanwhile, and may have seen another address.
  stage.answer(["a"], { answered: { epoch: 2, sequence: 1 } });
  assert.deepEqual(stage.told(), []);
  assert.equal(stage.readiness.counts()?.ready, 0);
});

test(
  "followReadiness() tells once of a node that waits for five minutes, and why",
  LIMIT,
  async (t) => {
    const stage = stageOf(t);
    stage.put(nodeOf("bare"));
    stage.put(nodeOf("slow", "203.0.113.1"));
    stage.put(nodeOf("free", "203.0.113.2"));
    const lists = [
      reportOf({ list: "ok" }),
      reportOf({ list: "kept", state: "withheld", reason: "ratio", remove: ["203.0.113.7/32"] }),
      reportOf({ list: "late", state: "pending", reason: "settling" }),
      reportOf({ list: "broken", state: "failed", reason: "denied" }),
    ];
    stage.answer([], { unlisted: ["free"], lists });
    await stage.world.advance(5 * MINUTE_MS - 11_000);
    assert.deepEqual(stage.told(), []);
    await stage.world.advance(22_000);
    assert.deepEqual(stage.told().toSorted(), ["pending bare", "pending slow"]);
    const [bare, slow] = stage.messages();
    assert.match(bare ?? "", /no address of the types InternalIP or ExternalIP/);
    assert.match(slow ?? "", /\(broken at memory\/a: denied, late at memory\/a: settling\)/);
    await stage.world.advance(30 * MINUTE_MS);
    assert.equal(stage.told().length, 2);
    stage.answer(["bare", "slow"]);
    assert.deepEqual(stage.told().slice(2).toSorted(), ["ready bare", "ready slow"]);
  },
);

test(
  "followReadiness() names a refused address, and a delivery that did not come",
  LIMIT,
  async (t) => {
    const stage = stageOf(t);
    stage.put(nodeOf("far", "198.51.100.1"));
    const refused = [
      { address: "192.0.2.1", cluster: "other", node: "far", reason: "forbidden" as const },
      { address: "198.51.100.1", cluster: "test", node: "far", reason: "out-of-bounds" as const },
    ];
    stage.answer([], { lists: [reportOf({ list: "db", refused })] });
    stage.put(nodeOf("new", "203.0.113.1"));
    await stage.world.advance(6 * MINUTE_MS);
    const messages = stage.messages().toSorted();
    assert.match(messages[0] ?? "", /db refuses 198\.51\.100\.1: out-of-bounds/);
    assert.match(messages[1] ?? "", /no delivery was admitted since it came/);
  },
);

test(
  "followReadiness() judges nobody while another process delivers, or nothing was answered",
  LIMIT,
  async (t) => {
    const stage = stageOf(t);
    stage.put(nodeOf("a", "203.0.113.1"));
    await stage.world.advance(20 * MINUTE_MS);
    assert.deepEqual(stage.told(), [], "the receiver is silent, not the node");
    stage.answer([]);
    stage.state.isLeader = false;
    await stage.world.advance(20 * MINUTE_MS);
    assert.deepEqual(stage.told(), []);
  },
);

test(
  "followReadiness() forgets nodes that are gone, and a new one begins to wait anew",
  LIMIT,
  async (t) => {
    const stage = stageOf(t);
    stage.answer([]);
    stage.put(nodeOf("a"));
    await stage.world.advance(4 * MINUTE_MS);
    stage.remove("a");
    await stage.world.advance(4 * MINUTE_MS);
    stage.put(nodeOf("a"));
    await stage.world.advance(4 * MINUTE_MS);
    assert.deepEqual(stage.told(), []);
  },
);

test(
  "followReadiness() names twenty of a thousand nodes that wait, and counts the others",
  LIMIT,
  async (t) => {
    const stage = stageOf(t);
    for (let n = 0; n < 1_000; n += 1) stage.put(nodeOf(`n${n}`, "203.0.113.1"));
    stage.answer([]);
    await stage.world.advance(10 * MINUTE_MS);
    assert.equal(stage.told().length, 20);
    assert.match(stage.messages().at(-1) ?? "", /^980 more nodes/);
  },
);

test("followReadiness() keeps nobody waiting for a clock that was set back", LIMIT, async (t) => {
  const stage = stageOf(t);
  stage.answer([]);
  stage.put(nodeOf("a"));
  await stage.world.advance(MINUTE_MS);
  stage.world.setClock(-600 * MINUTE_MS);
  await stage.world.advance(6 * MINUTE_MS);
  assert.deepEqual(stage.told(), ["pending a"]);
});
