import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { makeDelivery, type Post } from "../../forwarder/delivery.ts";
import type { ForwarderEvent } from "../../forwarder/journal.ts";
import type { Truth } from "../../forwarder/truth.ts";
import { parseAddress } from "../../lib/core/cidr.ts";
import type { Node, Pod } from "../../lib/core/snapshot.ts";
import { problemDocument } from "../../lib/wire/protocol.ts";
import { manualWorld } from "./clock.ts";

const MINUTE_MS = 60_000;
const LIMIT = { timeout: 30_000 };
const ADDRESS = parseAddress("203.0.113.1");
const ANSWER = { readyNodes: [], unlisted: [], again: null, lists: [] };

function nodesOf(count: number, labels: Readonly<Record<string, string>> = {}): readonly Node[] {
  assert.ok(ADDRESS !== null);
  const addresses = [{ type: "ExternalIP" as const, address: ADDRESS }];
  return Array.from({ length: count }, (_, n) => {
    const uid = String(n).padStart(6, "0");
    return { uid, name: `n${n}`, labels, addresses, podCidrs: [] };
  });
}

function replyOf(body: object) {
  return { status: 200, retryAfter: undefined, body: JSON.stringify(body) };
}

function staleReply(epoch: number) {
  const problem = problemDocument("stale", 409, { detail: "behind", held: { epoch, sequence: 7 } });
  return { ...replyOf(problem), status: 409 };
}

/** A receiver that is asked by hand: answers at once, or never until the request is given up. */
function stageOf(t: TestContext) {
  const world = manualWorld();
  const events: ForwarderEvent[] = [];
  const state = {
    truth: null as Truth | null,
    isPermitted: true,
    hangs: false,
    status: 200,
    posted: 0,
    /** Of what the receiver holds: an epoch that is not above it is stale. */
    heldEpoch: 0,
    epoch: 1,
    canRaise: false,
  };
  const post: Post = async (_body, _headers, signal) => {
    state.posted += 1;
    if (state.hangs) {
      await new Promise((_resolve, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason), { once: true });
      });
    }
    if (state.epoch <= state.heldEpoch) return staleReply(state.heldEpoch);
    const generation = { epoch: state.epoch, sequence: state.posted };
    return { ...replyOf({ ...ANSWER, generation }), status: state.status };
  };
  const delivery = makeDelivery({
    cluster: "test",
    heartbeatMs: 300_000,
    world,
    emit: (event) => events.push(event),
    post,
    authenticate: async () => ({}),
    permit() {
      const { truth } = state;
      return truth === null || !state.isPermitted ? null : { epoch: state.epoch, truth };
    },
    async raise(above) {
      if (state.canRaise) state.epoch = above + 1;
      return state.canRaise ? state.epoch : null;
    },
    onAnswered: () => undefined,
  });
  const end = new AbortController();
  const last = new AbortController();
  const run = { isOver: false };
  const running = delivery.run(end.signal, last.signal).then(() => {
    run.isOver = true;
  });
  t.after(async () => {
    end.abort(new Error("the test is over"));
    last.abort(new Error("the test is over"));
    await running;
  });
  return {
    world,
    state,
    events,
    run,
    /** Nodes and pods are seen to be these. */
    show(nodes: readonly Node[], pods: readonly Pod[] = []) {
      const scope = { labels: [], pods: [] };
      state.truth = { clusterUid: "u", scope, nodes, pods, observedAt: world.now() };
      delivery.changed([]);
    },
    end: () => end.abort(new Error("the end")),
    last: () => last.abort(new Error("the very end")),
    refusals: () => events.filter((event) => event.kind === "undelivered"),
  };
}

test(
  "makeDelivery() neither sends nor cuts what no message holds, and says what to do",
  LIMIT,
  async (t) => {
    const stage = stageOf(t);
    const pod = { uid: "u", namespace: "pay", name: "p", labels: {}, addresses: [] };
    const pods = Array.from({ length: 50_001 }, (_, n) => ({ ...pod, uid: `${n}` }));
    const cases: readonly (readonly [readonly Node[], readonly Pod[], RegExp])[] = [
      [nodesOf(20_001), [], /20001 nodes: a message holds 20000 .* subnets/],
      [nodesOf(1), pods, /50001 pods: .* KUBE_ALLOWLIST_PODS/],
      [
        nodesOf(20_000, Object.fromEntries([..."abcdef"].map((key) => [key, "x".repeat(63)]))),
        [],
        /message of \d+ bytes: 8388608 .* KUBE_ALLOWLIST_LABELS/,
      ],
    ];
    for (const [nodes, given, sentence] of cases) {
      stage.show(nodes, given);
      await stage.world.advance(2 * MINUTE_MS);
      const refusal = stage.refusals().at(-1);
      assert.ok(refusal?.kind === "undelivered" && refusal.lasting);
      assert.equal(refusal.why, "refused");
      assert.match(refusal.message, sentence);
      assert.ok(refusal.retryInMs >= 30_000, "at the cap of the backoff");
    }
    assert.equal(stage.state.posted, 0);
    assert.ok(!stage.events.some(({ kind }) => kind === "delivered"));
    assert.ok(stage.refusals().length <= 15, `${stage.refusals().length} in six minutes`);
    stage.show(nodesOf(3));
    await stage.world.advance(MINUTE_MS);
    assert.equal(stage.state.posted, 1, "what fits again is sent");
  },
);

test("makeDelivery() sends as many nodes as a message holds", LIMIT, async (t) => {
  const stage = stageOf(t);
  stage.show(nodesOf(20_000));
  await stage.world.advance(1_000);
  assert.equal(stage.state.posted, 1);
  assert.deepEqual(stage.refusals(), []);
});

test("makeDelivery() gives a heartbeat up at once when the end is asked for", LIMIT, async (t) => {
  const stage = stageOf(t);
  stage.show(nodesOf(1));
  await stage.world.advance(1_000);
  stage.state.hangs = true;
  await stage.world.until("a heartbeat", () => stage.state.posted === 2, {
    withinMs: 7 * MINUTE_MS,
  });
  stage.end();
  await stage.world.until("its end", () => stage.run.isOver, { withinMs: 0 });
  assert.deepEqual(stage.refusals(), [], "nobody is told of a heartbeat that is not needed");
});

test(
  "makeDelivery() goes on at the end with what was not acknowledged, until the very end",
  LIMIT,
  async (t) => {
    const stage = stageOf(t);
    stage.state.hangs = true;
    stage.show(nodesOf(1));
    await stage.world.until("an attempt", () => stage.state.posted === 1);
    stage.end();
    await stage.world.advance(9_000);
    assert.equal(stage.run.isOver, false);
    assert.equal(stage.state.posted, 1, "the one that was on its way may still be answered");
    stage.last();
    await stage.world.until("its end", () => stage.run.isOver, { withinMs: 0 });
  },
);

test(
  "makeDelivery() sends at the end what changed while a heartbeat was on its way",
  LIMIT,
  async (t) => {
    const stage = stageOf(t);
    stage.show(nodesOf(1));
    await stage.world.advance(1_000);
    stage.state.hangs = true;
    await stage.world.until("a heartbeat", () => stage.state.posted === 2, {
      withinMs: 7 * MINUTE_MS,
    });
    stage.show(nodesOf(2));
    stage.state.hangs = false;
    stage.end();
    await stage.world.until("its end", () => stage.run.isOver, { withinMs: 1_000 });
    const sent = stage.events.findLast((event) => event.kind === "delivered");
    assert.equal(sent?.kind === "delivered" ? sent.nodes : 0, 2);
    assert.equal(stage.events.at(-1)?.kind, "answered");
  },
);

test(
  "makeDelivery() does not hold the Lease at the end for a receiver that wants to be left alone",
  LIMIT,
  async (t) => {
    const stage = stageOf(t);
    stage.state.status = 403;
    stage.show(nodesOf(1));
    await stage.world.advance(1_000);
    assert.equal(stage.refusals().length, 1);
    stage.end();
    await stage.world.until("its end", () => stage.run.isOver, { withinMs: 0 });
    assert.equal(stage.state.posted, 1);
  },
);

test(
  "makeDelivery() does not wait ten minutes for raises that could not be done",
  LIMIT,
  async (t) => {
    const stage = stageOf(t);
    stage.state.heldEpoch = 40;
    stage.show(nodesOf(1));
    await stage.world.advance(60_000);
    assert.ok(stage.refusals().length > 3);
    assert.ok(stage.refusals().every(({ retryInMs }) => retryInMs <= 60_000));
    stage.state.canRaise = true;
    const isAnswered = () => stage.events.some(({ kind }) => kind === "answered");
    await stage.world.until("answered", isAnswered, { withinMs: 61_000 });
  },
);

test("makeDelivery() stops overtaking whoever overtakes it in turn", LIMIT, async (t) => {
  const stage = stageOf(t);
  stage.state.canRaise = true;
  Object.defineProperty(stage.state, "heldEpoch", { get: () => stage.state.epoch });
  stage.show(nodesOf(1));
  await stage.world.advance(5 * MINUTE_MS);
  assert.equal(stage.state.epoch, 4, "raised three times");
  assert.match(stage.refusals().at(-1)?.message ?? "", /overtaking it 3 times did not help/);
});
