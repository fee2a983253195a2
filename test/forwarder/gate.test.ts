import assert from "node:assert/strict";
import { test } from "node:test";
import { KubeError } from "../../forwarder/kube.ts";
import { answerTo, gateStage, OURS, refusal, type Taint } from "./gate-stage.ts";

const OTHER: Taint = {
  key: "node.cloudprovider.kubernetes.io/uninitialized",
  effect: "NoSchedule",
};
const CNI: Taint = { key: "node.cilium.io/agent-not-ready", effect: "NoExecute", value: "true" };
const LIMIT_MS = 60_000;

test("makeGate() takes away our taint and no other, whatever its effects and place", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await gateStage(t);
  const gate = stage.start();
  const NEARLY = { ...OURS, key: `${OURS.key}-not-quite` };
  const AGAIN = { ...OURS, effect: "NoExecute", value: "x" };
  stage.join("a", { taints: [OURS, NEARLY, OTHER, AGAIN, CNI] });
  stage.join("b", { taints: [OTHER, OURS] });
  stage.join("c", { taints: [NEARLY, CNI] });
  await stage.world.advance(1_000);
  stage.answer(gate, ["a", "b", "c"]);
  await stage.world.advance(1_000);
  assert.deepEqual(stage.taintsOf("a"), [NEARLY, OTHER, CNI]);
  assert.deepEqual(stage.taintsOf("b"), [OTHER]);
  assert.equal(stage.taintsOf("c").length, 2);
  assert.deepEqual(stage.opened(), ["a ready", "b ready"]);
});

test("makeGate() keeps what others write between its reading and its patch", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await gateStage(t);
  const gate = stage.start();
  stage.join("a", { taints: [OTHER, OURS] });
  const edits: (readonly Taint[])[] = [[CNI, OTHER, OURS], [OURS], [OTHER, CNI, OURS]];
  stage.interference.beforePatch = () => {
    const taints = edits.shift();
    if (taints !== undefined) stage.server.nodes.patch("a", { spec: { taints } });
  };
  stage.answer(gate, ["a"]);
  await stage.world.advance(1_000);
  assert.deepEqual(edits, []);
  assert.deepEqual(stage.taintsOf("a"), [OTHER, CNI]);
  assert.deepEqual(stage.failed(), []);
});

test("makeGate() gives up after five tries on a node that never rests, and comes back", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await gateStage(t);
  const gate = stage.start();
  stage.join("a");
  let edits = 0;
  stage.interference.beforePatch = () => {
    edits += 1;
    const taints = edits % 2 === 0 ? [OURS] : [OTHER, OURS];
    stage.server.nodes.patch("a", { spec: { taints } });
  };
  stage.answer(gate, ["a"]);
  await stage.world.advance(500);
  assert.equal(edits, 5);
  const [failed] = stage.failed();
  assert.match(failed?.kind === "gate-failed" ? failed.message : "", /a: it changed 5 times/);
  assert.equal(failed?.kind === "gate-failed" && failed.lasting, false);
  stage.interference.beforePatch = null;
  await stage.world.advance(10_000);
  assert.deepEqual(stage.taintsOf("a"), [OTHER]);
});

for (const [status, reason] of [
  [409, "Conflict"],
  [422, "Invalid"],
] as const) {
  test(`makeGate() reads again after ${status}`, { timeout: LIMIT_MS }, async (t) => {
    const stage = await gateStage(t);
    const gate = stage.start();
    stage.join("a");
    let refusals = 4;
    stage.interference.beforePatch = () => {
      refusals -= 1;
      if (refusals >= 0) throw refusal(status, reason);
    };
    stage.answer(gate, ["a"]);
    await stage.world.advance(500);
    assert.deepEqual(stage.taintsOf("a"), []);
    assert.equal(stage.requests.filter((request) => request === "GET a").length, 5);
    assert.deepEqual([stage.opened(), stage.failed()], [["a ready"], []]);
  });
}

test("makeGate() changes nothing of another node of the same name", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await gateStage(t);
  const gate = stage.start();
  stage.join("a");
  stage.state.frozen = true;
  stage.server.nodes.remove("a");
  stage.join("a");
  stage.answer(gate, ["a"]);
  await stage.world.advance(120_000);
  assert.deepEqual(stage.taintsOf("a"), [OURS]);
  // And when it is exchanged after it was read.
  stage.state.frozen = false;
  stage.see();
  stage.interference.beforePatch = () => {
    stage.server.nodes.remove("a");
    stage.join("a");
  };
  stage.answer(gate, ["a"]);
  await stage.world.advance(120_000);
  assert.deepEqual(stage.taintsOf("a"), [OURS]);
  assert.deepEqual(stage.opened(), []);
});

test("makeGate() is done with a node that is gone", { timeout: LIMIT_MS }, async (t) => {
  const stage = await gateStage(t);
  const gate = stage.start();
  stage.join("a");
  stage.state.frozen = true;
  stage.server.nodes.remove("a");
  stage.answer(gate, ["a"]);
  await stage.world.advance(5_000);
  assert.deepEqual([stage.requests, stage.opened(), stage.failed()], [["GET a"], [], []]);
});

test("makeGate() says what to grant when it is forbidden, and tries again slowly", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await gateStage(t);
  const gate = stage.start();
  stage.join("a");
  let patches = 0;
  stage.interference.beforePatch = () => {
    patches += 1;
    throw refusal(403, "Forbidden");
  };
  stage.answer(gate, ["a"]);
  await stage.world.advance(240_000);
  assert.equal(patches, 1);
  const [failed] = stage.failed();
  assert.ok(failed?.kind === "gate-failed" && failed.lasting);
  assert.match(failed.message, /403.*; grant .*ClusterRole kube-allowlist-gate/);
  stage.interference.beforePatch = null;
  await stage.world.advance(120_000);
  assert.deepEqual(stage.taintsOf("a"), []);
});

test("makeGate() opens the others when one node is forbidden to it", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await gateStage(t);
  const gate = stage.start();
  for (const name of ["a", "b", "c", "d"]) stage.join(name);
  stage.interference.beforePatch = (name) => {
    if (name === "a") throw refusal(403, "Forbidden");
  };
  stage.answer(gate, ["a", "b", "c", "d"]);
  await stage.world.advance(30_000);
  assert.deepEqual(stage.opened().toSorted(), ["b ready", "c ready", "d ready"]);
});

test("makeGate() tells of an opening whose answer was lost, once", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await gateStage(t);
  const gate = stage.start();
  stage.join("a");
  let lost = 0;
  stage.interference.afterPatch = () => {
    lost += 1;
    throw new KubeError("Cannot PATCH: socket hang up");
  };
  stage.answer(gate, ["a"]);
  await stage.world.advance(60_000);
  assert.equal(lost, 1);
  assert.deepEqual(stage.taintsOf("a"), []);
  assert.deepEqual(stage.opened(), ["a ready"]);
});

test("makeGate() tries one node at a time while the API server is away", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await gateStage(t);
  const gate = stage.start();
  for (let n = 0; n < 50; n += 1) stage.join(`n${n}`);
  stage.interference.beforeRead = () => {
    throw new KubeError("Cannot GET: ECONNREFUSED");
  };
  stage.answer(gate, ["n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8", "n9"]);
  await stage.world.advance(300_000);
  assert.ok(stage.requests.length < 40, `${stage.requests.length} requests`);
  stage.interference.beforeRead = null;
  await stage.world.advance(120_000);
  assert.equal(stage.opened().length, 10);
});

test("makeGate() opens hundreds of nodes, a few at once and twenty a second", {
  timeout: 120_000,
}, async (t) => {
  const stage = await gateStage(t);
  const gate = stage.start();
  stage.state.frozen = true;
  const names = Array.from({ length: 350 }, (_, n) => `n${n}`);
  for (const name of names) stage.join(name);
  stage.see();
  stage.answer(gate, names);
  const at = stage.world.now();
  await stage.world.advance(5_000);
  const soon = stage.opened().length;
  assert.ok(soon >= 140 && soon <= 151, `${soon} in five seconds`);
  await stage.world.until("all are open", () => stage.opened().length === names.length, {
    withinMs: 3_600_000,
  });
  assert.ok(names.every((name) => stage.taintsOf(name).length === 0));
  // Though the watch, which is behind, shows those that are open as shut.
  const tookMs = stage.world.now() - at;
  assert.ok(tookMs < 20_000, `${tookMs} ms`);
  assert.ok(stage.inFlightMax() > 1 && stage.inFlightMax() <= 8, `${stage.inFlightMax()}`);
});

test("makeGate() takes a taint away again that is put back, ever more seldom", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await gateStage(t);
  const gate = stage.start();
  stage.join("a");
  stage.answer(gate, ["a"]);
  await stage.world.advance(1_000);
  const patches = () => stage.requests.filter((request) => request === "PATCH a").length;
  assert.equal(patches(), 1);
  stage.interference.afterPatch = () => {
    stage.server.nodes.patch("a", { spec: { taints: [OURS, CNI] } });
  };
  stage.server.nodes.patch("a", { spec: { taints: [OURS, CNI] } });
  await stage.world.advance(8_000);
  assert.equal(patches(), 1, "not at once");
  await stage.world.advance(2_000);
  assert.equal(patches(), 2);
  await stage.world.advance(600_000);
  assert.ok(patches() > 4 && patches() < 10, `${patches()} in ten minutes`);
  stage.interference.afterPatch = null;
  await stage.world.advance(300_000);
  assert.deepEqual(stage.taintsOf("a"), [CNI]);
});

test("makeGate() has no request on its way once it has ended", { timeout: LIMIT_MS }, async (t) => {
  const stage = await gateStage(t);
  const gate = stage.start();
  stage.join("a");
  stage.server.faults.add("node", { kind: "stall" });
  stage.answer(gate, ["a"]);
  await stage.world.advance(100);
  assert.deepEqual(stage.requests, ["GET a"]);
  await gate.stop();
  stage.server.faults.clear();
  await stage.world.advance(60_000);
  assert.deepEqual(stage.requests, ["GET a"]);
  assert.deepEqual(stage.taintsOf("a"), [OURS]);
});

test("makeGate() ends only when the request that was on its way has ended", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await gateStage(t);
  const gate = stage.start();
  stage.join("a");
  let release = () => {};
  stage.interference.beforeRead = () =>
    new Promise((resolve) => {
      release = resolve;
    });
  stage.answer(gate, ["a"]);
  await stage.world.advance(100);
  let isOver = false;
  const stopping = gate.stop().then(() => {
    isOver = true;
  });
  await stage.world.advance(1_000);
  assert.equal(isOver, false);
  release();
  await stopping;
});

test("makeGate() goes on though an answer is of no use", { timeout: LIMIT_MS }, async (t) => {
  const stage = await gateStage(t);
  const gate = stage.start();
  stage.join("a");
  const sent = stage.snapshot();
  gate.answered(sent, answerTo(sent, ["nobody"], { unlisted: ["nobody", "neither"] }));
  await stage.world.advance(1_000);
  stage.answer(gate, ["a"]);
  await stage.world.advance(1_000);
  assert.deepEqual(stage.opened(), ["a ready"]);
});
