import assert from "node:assert/strict";
import { test } from "node:test";
import { answerTo, type GateStage, gateStage, OURS } from "./gate-stage.ts";

/*
 * When a node counts as ready: never before every one of its addresses, as they are at the moment
 * of the patch, was read back.
 */

const LIMIT_MS = 60_000;
const MOVED = { addresses: [{ type: "ExternalIP", address: "203.0.113.99" }] };

async function openStage(t: Parameters<typeof gateStage>[0]) {
  const stage = await gateStage(t);
  const gate = stage.start();
  const uid = stage.join("a");
  return { ...stage, gate, uid };
}

/** Long enough for everything but the timeout. */
async function assertShut(stage: Pick<GateStage, "world" | "taintsOf" | "opened">): Promise<void> {
  await stage.world.advance(120_000);
  assert.deepEqual(stage.taintsOf("a"), [OURS]);
  assert.deepEqual(stage.opened(), []);
}

test("makeGate() opens nothing before an answer says that the node is ready", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await openStage(t);
  await assertShut(stage);
  stage.answer(stage.gate, []);
  await assertShut(stage);
  stage.answer(stage.gate, ["a"]);
  await stage.world.advance(1_000);
  assert.deepEqual(stage.opened(), ["a ready"]);
});

test("makeGate() believes no answer of an earlier generation than was sent", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await openStage(t);
  const earlier = stage.snapshot();
  const sent = stage.snapshot();
  stage.gate.answered(sent, answerTo(earlier, [stage.uid]));
  await assertShut(stage);
});

test("makeGate() believes no answer of a later generation, which somebody else sent", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await openStage(t);
  const sent = stage.snapshot();
  stage.gate.answered(sent, answerTo(stage.snapshot(), [stage.uid]));
  await assertShut(stage);
});

test("makeGate() waits for an answer to the address that came after the delivery", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await openStage(t);
  const sent = stage.snapshot();
  stage.server.nodes.patch("a", { status: MOVED });
  stage.gate.answered(sent, answerTo(sent, [stage.uid]));
  await assertShut(stage);
  stage.answer(stage.gate, ["a"]);
  await stage.world.advance(1_000);
  assert.deepEqual(stage.opened(), ["a ready"]);
});

test("makeGate() waits when a node was ready and its address changes before it is opened", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await openStage(t);
  stage.state.epoch = null;
  const sent = { ...stage.snapshot(), generation: { epoch: 1, sequence: 7 } };
  stage.gate.answered(sent, answerTo(sent, [stage.uid]));
  stage.server.nodes.patch("a", { status: MOVED });
  stage.state.epoch = 1;
  await assertShut(stage);
});

test("makeGate() waits when a label of the scope changed, which may put the node on another list", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await openStage(t);
  const sent = stage.snapshot();
  stage.server.nodes.patch("a", { metadata: { labels: { pool: "y" } } });
  stage.gate.answered(sent, answerTo(sent, [stage.uid]));
  await assertShut(stage);
});

test("makeGate() looks at the node itself, for the watch may be behind", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await openStage(t);
  stage.state.frozen = true;
  stage.server.nodes.patch("a", { status: MOVED });
  stage.answer(stage.gate, ["a"]);
  await assertShut(stage);
  stage.state.frozen = false;
  stage.see();
  stage.answer(stage.gate, ["a"]);
  await stage.world.advance(12_000);
  assert.deepEqual(stage.opened(), ["a ready"]);
});

test("makeGate() is not overtaken by an address that changes right before its patch", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await openStage(t);
  stage.state.frozen = true;
  stage.interference.beforePatch = () => {
    stage.server.nodes.patch("a", { status: MOVED });
  };
  stage.answer(stage.gate, ["a"]);
  await assertShut(stage);
});

test("makeGate() is not overtaken by a label that changes right before its patch", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await openStage(t);
  stage.state.frozen = true;
  stage.interference.beforePatch = () => {
    stage.server.nodes.patch("a", { metadata: { labels: { pool: "y" } } });
  };
  stage.answer(stage.gate, ["a"]);
  await assertShut(stage);
});

for (const before of [undefined, ["10.8.0.0/24"]]) {
  test(`makeGate() is not overtaken by a pod CIDR right before its patch, after ${before ?? "none"}`, {
    timeout: LIMIT_MS,
  }, async (t) => {
    const stage = await openStage(t);
    if (before !== undefined) stage.server.nodes.patch("a", { spec: { podCIDRs: before } });
    stage.state.frozen = true;
    stage.interference.beforePatch = () => {
      stage.server.nodes.patch("a", { spec: { podCIDRs: ["10.9.0.0/24"] } });
    };
    stage.answer(stage.gate, ["a"]);
    await assertShut(stage);
    stage.interference.beforePatch = null;
    stage.state.frozen = false;
    stage.see();
    stage.answer(stage.gate, ["a"]);
    await stage.world.advance(12_000);
    assert.deepEqual(stage.opened(), ["a ready"]);
  });
}

test("makeGate() leaves a node shut whose unsent addresses stand behind much that is none", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await openStage(t);
  const garbage = Array.from({ length: 40 }, (_, n) => `!bad${n}`);
  const real = Array.from({ length: 300 }, (_, n) => `10.0.${Math.floor(n / 250)}.${n % 250}`);
  const addresses = [...garbage, ...real].map((address) => ({ type: "InternalIP", address }));
  stage.server.nodes.patch("a", { status: { addresses } });
  stage.answer(stage.gate, ["a"]);
  await assertShut(stage);
});

test("makeGate() looks at the newest answer alone", { timeout: LIMIT_MS }, async (t) => {
  const stage = await openStage(t);
  stage.state.epoch = null;
  for (const [sequence, ready] of [
    [1, [stage.uid]],
    [2, []],
  ] as const) {
    const sent = { ...stage.snapshot(), generation: { epoch: 1, sequence } };
    stage.gate.answered(sent, answerTo(sent, ready));
  }
  stage.state.epoch = 1;
  await assertShut(stage);
});

test("makeGate() opens nothing in a process that does not hold the Lease", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await openStage(t);
  const sent = stage.snapshot();
  stage.state.epoch = null;
  stage.gate.answered(sent, answerTo(sent, [stage.uid]));
  await stage.world.advance(3_600_000);
  assert.deepEqual(stage.requests, []);
});

test("makeGate() begins no patch once the Lease is lost", { timeout: LIMIT_MS }, async (t) => {
  const stage = await openStage(t);
  stage.interference.beforeRead = () => {
    stage.state.epoch = null;
  };
  stage.answer(stage.gate, ["a"]);
  await assertShut(stage);
  assert.deepEqual(stage.requests, ["GET a"]);
});

test("makeGate() forgets what was answered under another epoch", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await openStage(t);
  const sent = stage.snapshot();
  stage.state.epoch = 2;
  stage.gate.answered(sent, answerTo(sent, [stage.uid]));
  await assertShut(stage);
  stage.answer(stage.gate, ["a"]);
  await stage.world.advance(1_000);
  assert.deepEqual(stage.opened(), ["a ready"]);
});

test("makeGate() leaves a node shut of whose addresses some were not sent", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await openStage(t);
  const addresses = Array.from({ length: 300 }, (_, n) => ({
    type: "InternalIP",
    address: `10.0.${Math.floor(n / 250)}.${n % 250}`,
  }));
  stage.server.nodes.patch("a", { status: { addresses } });
  stage.answer(stage.gate, ["a"]);
  await assertShut(stage);
  stage.server.nodes.patch("a", {
    status: { addresses: [...MOVED.addresses, { type: "InternalIP", address: "no address" }] },
  });
  stage.answer(stage.gate, ["a"]);
  await stage.world.advance(12_000);
  assert.deepEqual(stage.opened(), ["a ready"], "what is no address is nobody's");
});

test("makeGate() takes a node that is said to be both ready and on no list for the latter", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await openStage(t);
  stage.answer(stage.gate, ["a"], { unlisted: [stage.uid] });
  await assertShut(stage);
});

test("makeGate() does not ask whether a node is Ready", { timeout: LIMIT_MS }, async (t) => {
  const stage = await openStage(t);
  const conditions = [{ type: "Ready", status: "False", reason: "KubeletNotReady" }];
  stage.server.nodes.patch("a", { status: { conditions } });
  stage.answer(stage.gate, ["a"]);
  await stage.world.advance(1_000);
  assert.deepEqual(stage.opened(), ["a ready"]);
});
