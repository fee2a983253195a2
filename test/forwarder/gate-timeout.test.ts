import assert from "node:assert/strict";
import { test } from "node:test";
import { gateStage, OURS } from "./gate-stage.ts";

const MINUTE_MS = 60_000;
const LIMIT_MS = 60_000;

test("makeGate() opens a node after its timeout, loudly, when the receiver is away", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await gateStage(t);
  stage.start();
  await stage.world.advance(1_000);
  stage.join("a");
  await stage.world.advance(10 * MINUTE_MS - 1);
  assert.deepEqual(stage.taintsOf("a"), [OURS]);
  await stage.world.advance(1);
  assert.deepEqual(stage.taintsOf("a"), []);
  const event = stage.events.at(-1);
  assert.ok(event?.kind === "gate-opened");
  assert.deepEqual([event.why, event.afterMs, event.node.name], ["timeout", 600_000, "a"]);
});

test("makeGate() opens no node that is not ready when it has no timeout", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await gateStage(t, { timeoutMs: null });
  const gate = stage.start();
  stage.join("a");
  stage.answer(gate, []);
  await stage.world.advance(40 * MINUTE_MS);
  assert.deepEqual(stage.requests, []);
  stage.answer(gate, ["a"]);
  await stage.world.advance(1_000);
  assert.deepEqual(stage.opened(), ["a ready"]);
});

test("makeGate() leaves a node on no list to the timeout", { timeout: LIMIT_MS }, async (t) => {
  const stage = await gateStage(t);
  const gate = stage.start();
  const uid = stage.join("a");
  stage.answer(gate, [], { unlisted: [uid] });
  await stage.world.advance(10 * MINUTE_MS - 1_000);
  assert.deepEqual(stage.opened(), []);
  await stage.world.advance(2_000);
  assert.deepEqual(stage.opened(), ["a timeout"]);
});

test("makeGate() counts on while another process leads", { timeout: LIMIT_MS }, async (t) => {
  const stage = await gateStage(t);
  stage.start();
  await stage.world.advance(1_000);
  stage.state.epoch = null;
  stage.join("a");
  await stage.world.advance(9 * MINUTE_MS);
  stage.state.epoch = 2;
  await stage.world.advance(MINUTE_MS - 1_000);
  assert.deepEqual(stage.opened(), []);
  await stage.world.advance(1_000);
  assert.deepEqual(stage.opened(), ["a timeout"]);
});

test("makeGate() opens nothing by timeout without the Lease, and at once with it", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await gateStage(t);
  stage.start();
  stage.state.epoch = null;
  stage.join("a");
  await stage.world.advance(30 * MINUTE_MS);
  assert.deepEqual(stage.requests, []);
  stage.state.epoch = 3;
  await stage.world.advance(5_000);
  assert.deepEqual(stage.opened(), ["a timeout"]);
});

test("makeGate() gives a node that waited before it was started a minute, and no more than its time", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await gateStage(t);
  stage.join("old");
  await stage.world.advance(7 * MINUTE_MS);
  stage.join("new");
  await stage.world.advance(5 * MINUTE_MS);
  stage.start();
  await stage.world.advance(MINUTE_MS - 1);
  assert.deepEqual(stage.opened(), []);
  await stage.world.advance(1);
  assert.deepEqual(stage.opened(), ["old timeout"]);
  await stage.world.advance(4 * MINUTE_MS - 1_000);
  assert.deepEqual(stage.opened(), ["old timeout"]);
  await stage.world.advance(1_000);
  assert.deepEqual(stage.opened(), ["old timeout", "new timeout"]);
});

test("makeGate() is not postponed for ever by being started again and again", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await gateStage(t);
  stage.join("a");
  for (let starts = 0; starts < 12; starts += 1) {
    const { stop } = stage.start();
    await stage.world.advance(70_000);
    await stop();
  }
  assert.deepEqual(stage.opened(), ["a timeout"]);
});

test("makeGate() gives a node that it saw open all of its time when it is shut again", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await gateStage(t);
  stage.join("a", { taints: [] });
  await stage.world.advance(60 * MINUTE_MS);
  stage.start();
  await stage.world.advance(1_000);
  stage.server.nodes.patch("a", { spec: { taints: [OURS] } });
  await stage.world.advance(10 * MINUTE_MS - 1_000);
  assert.deepEqual(stage.opened(), []);
  await stage.world.advance(1_000);
  assert.deepEqual(stage.opened(), ["a timeout"]);
});

test("makeGate() gives a node that it let go all of its time when it is shut again", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await gateStage(t);
  stage.start();
  await stage.world.advance(1_000);
  stage.join("a");
  // Put back in the very moment, so that the watch never shows the node open.
  let isPutBack = false;
  stage.interference.beforePatch = () => {
    stage.state.frozen = true;
  };
  stage.interference.afterPatch = () => {
    if (!isPutBack) stage.server.nodes.patch("a", { spec: { taints: [OURS] } });
    isPutBack = true;
    stage.state.frozen = false;
    stage.see();
  };
  await stage.world.advance(10 * MINUTE_MS);
  assert.deepEqual(stage.opened(), ["a timeout"]);
  await stage.world.advance(10 * MINUTE_MS - 1_000);
  assert.deepEqual(stage.opened(), ["a timeout"]);
  await stage.world.advance(1_000);
  assert.deepEqual(stage.opened(), ["a timeout", "a timeout"]);
});

test("makeGate() lets an address that changes postpone nothing", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await gateStage(t);
  stage.start();
  await stage.world.advance(1_000);
  stage.join("a");
  await stage.world.advance(9 * MINUTE_MS);
  stage.server.nodes.patch("a", { status: { addresses: [] } });
  await stage.world.advance(MINUTE_MS);
  assert.deepEqual(stage.opened(), ["a timeout"]);
});

for (const [name, jumpMs] of [
  ["back", -3_600_000],
  ["forward", 3_600_000],
] as const) {
  test(`makeGate() opens in time though the clock is set ${name} by an hour`, {
    timeout: LIMIT_MS,
  }, async (t) => {
    const stage = await gateStage(t);
    stage.start();
    await stage.world.advance(1_000);
    stage.join("a");
    await stage.world.advance(4 * MINUTE_MS);
    stage.world.setClock(jumpMs);
    await stage.world.advance(6 * MINUTE_MS - 40_000);
    assert.deepEqual(stage.opened(), []);
    await stage.world.advance(80_000);
    assert.deepEqual(stage.opened(), ["a timeout"]);
  });
}

test("makeGate() gives a node that joins all of its time though the clock is an hour ahead", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await gateStage(t);
  stage.join("first", { taints: [] });
  stage.start();
  await stage.world.advance(1_000);
  stage.state.frozen = true;
  stage.join("a");
  stage.world.setClock(3_600_000);
  stage.see();
  stage.state.frozen = false;
  await stage.world.advance(9 * MINUTE_MS);
  assert.deepEqual(stage.opened(), []);
});

test("makeGate() opens no node by the timeout of another of the same name", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await gateStage(t);
  stage.start();
  stage.join("a");
  await stage.world.advance(MINUTE_MS);
  stage.state.frozen = true;
  stage.server.nodes.remove("a");
  stage.join("a");
  await stage.world.advance(12 * MINUTE_MS);
  assert.deepEqual([stage.taintsOf("a"), stage.opened()], [[OURS], []]);
});

test("makeGate() begins no patch by timeout once the Lease is lost", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await gateStage(t);
  stage.start();
  stage.join("a");
  stage.interference.beforeRead = () => {
    stage.state.epoch = null;
  };
  await stage.world.advance(12 * MINUTE_MS);
  assert.deepEqual(stage.requests, ["GET a"]);
});

test("makeGate() tries again when the API server is away at the moment of the timeout", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await gateStage(t);
  stage.start();
  stage.join("a");
  const lift = stage.server.faults.add("any", { kind: "status", status: 503 });
  await stage.world.advance(12 * MINUTE_MS);
  assert.deepEqual(stage.opened(), []);
  lift();
  await stage.world.advance(MINUTE_MS);
  assert.deepEqual(stage.opened(), ["a timeout"]);
});

test("makeGate() does not say timeout of a node that became ready meanwhile", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await gateStage(t);
  const gate = stage.start();
  stage.join("a");
  const lift = stage.server.faults.add("any", { kind: "status", status: 503 });
  await stage.world.advance(12 * MINUTE_MS);
  stage.answer(gate, ["a"]);
  lift();
  await stage.world.advance(MINUTE_MS);
  assert.deepEqual(stage.opened(), ["a ready"]);
});
