import assert from "node:assert/strict";
import { test } from "node:test";
import { gateStage, refusal } from "./gate-stage.ts";

const MINUTE_MS = 60_000;
const LIMIT_MS = 60_000;
const CONDITION = { mark: { kind: "condition" } } as const;

async function conditionStage(t: Parameters<typeof gateStage>[0]) {
  const stage = await gateStage(t, CONDITION);
  const gate = stage.start();
  await stage.world.advance(1_000);
  const uid = stage.join("a", { taints: [] });
  return {
    ...stage,
    gate,
    uid,
    mark: () => {
      const condition = stage.conditionOf("a");
      return condition === null ? null : `${condition.status}/${condition.reason}`;
    },
    writes: () => stage.requests.filter((request) => request.startsWith("PATCH")).length,
  };
}

test("makeGate() writes nothing of a node before it was answered for", {
  timeout: LIMIT_MS,
}, async (t) => {
  const { world, mark, requests } = await conditionStage(t);
  await world.advance(5 * MINUTE_MS);
  assert.deepEqual([mark(), requests], [null, []]);
});

test("makeGate() says with a condition whether a node waits, is ready, or is on no list", {
  timeout: LIMIT_MS,
}, async (t) => {
  const { world, answer, gate, uid, mark, opened } = await conditionStage(t);
  answer(gate, [], { unlisted: [uid] });
  await world.advance(1_000);
  assert.equal(mark(), "Unknown/Unlisted");
  answer(gate, []);
  await world.advance(1_000);
  assert.equal(mark(), "False/AllowlistPending");
  answer(gate, ["a"]);
  await world.advance(1_000);
  assert.equal(mark(), "True/Allowlisted");
  assert.deepEqual(opened(), ["a ready"]);
});

test("makeGate() writes a condition when it changes, and then once", {
  timeout: LIMIT_MS,
}, async (t) => {
  const { world, answer, gate, writes, server } = await conditionStage(t);
  for (let beats = 0; beats < 20; beats += 1) {
    answer(gate, []);
    server.nodes.patch("a", { metadata: { annotations: { beat: `${beats}` } } });
    await world.advance(30_000);
    if (beats < 10) assert.equal(writes(), 1);
  }
  assert.equal(writes(), 2, "the timeout is the other");
});

test("makeGate() leaves other conditions, addresses and taints as they are", {
  timeout: LIMIT_MS,
}, async (t) => {
  const { world, answer, gate, server } = await conditionStage(t);
  const before = server.store.read("nodes", "a");
  answer(gate, ["a"]);
  await world.advance(1_000);
  const after = server.store.read("nodes", "a");
  const status = after?.status as { conditions: { type: string }[] } & object;
  const conditions = status.conditions.filter(({ type }) => !type.startsWith("kube-allowlist.dev"));
  assert.equal(status.conditions.length, 2);
  assert.deepEqual({ ...status, conditions }, before?.status);
  assert.deepEqual([after?.spec, after?.metadata.labels], [before?.spec, before?.metadata.labels]);
});

test("makeGate() moves the time of transition with the status only", {
  timeout: LIMIT_MS,
}, async (t) => {
  const { world, answer, gate, conditionOf, mark } = await conditionStage(t);
  answer(gate, []);
  await world.advance(10 * MINUTE_MS);
  assert.equal(mark(), "True/GateTimeout");
  const since = conditionOf("a")?.lastTransitionTime;
  await world.advance(MINUTE_MS);
  answer(gate, ["a"]);
  await world.advance(1_000);
  assert.equal(mark(), "True/Allowlisted");
  assert.equal(conditionOf("a")?.lastTransitionTime, since);
  await world.advance(MINUTE_MS);
  answer(gate, []);
  await world.advance(1_000);
  assert.equal(mark(), "False/AllowlistPending");
  assert.notEqual(conditionOf("a")?.lastTransitionTime, since);
});

test("makeGate() lets a node go after the timeout, loudly, and then not again", {
  timeout: LIMIT_MS,
}, async (t) => {
  const { world, answer, gate, mark, writes, opened } = await conditionStage(t);
  await world.advance(9 * MINUTE_MS);
  assert.equal(mark(), null);
  await world.advance(MINUTE_MS);
  assert.equal(mark(), "True/GateTimeout");
  assert.deepEqual(opened(), ["a timeout"]);
  for (let minute = 0; minute < 15; minute += 1) {
    answer(gate, []);
    await world.advance(MINUTE_MS);
  }
  assert.equal(mark(), "True/GateTimeout");
  assert.equal(writes(), 1);
  assert.deepEqual(opened(), ["a timeout"]);
});

test("makeGate() lets a node on no list go after the timeout, without alarm, until it is on one", {
  timeout: LIMIT_MS,
}, async (t) => {
  const { world, answer, gate, uid, mark, writes, opened, conditionOf } = await conditionStage(t);
  answer(gate, [], { unlisted: [uid] });
  await world.advance(9 * MINUTE_MS);
  assert.equal(mark(), "Unknown/Unlisted");
  await world.advance(MINUTE_MS);
  assert.equal(mark(), "True/Unlisted");
  assert.deepEqual(opened(), ["a unlisted"]);
  for (let minute = 0; minute < 15; minute += 1) {
    answer(gate, [], { unlisted: [uid] });
    await world.advance(MINUTE_MS);
  }
  assert.deepEqual([mark(), writes()], ["True/Unlisted", 2]);
  const since = conditionOf("a")?.lastTransitionTime;
  answer(gate, ["a"]);
  await world.advance(MINUTE_MS);
  assert.equal(mark(), "True/Allowlisted");
  assert.equal(conditionOf("a")?.lastTransitionTime, since);
});

test("makeGate() says of a node that was let go on no list that it waits, once it is on one", {
  timeout: LIMIT_MS,
}, async (t) => {
  const { world, answer, gate, uid, mark, opened } = await conditionStage(t);
  answer(gate, [], { unlisted: [uid] });
  await world.advance(11 * MINUTE_MS);
  answer(gate, []);
  await world.advance(MINUTE_MS);
  assert.equal(mark(), "False/AllowlistPending");
  await world.advance(10 * MINUTE_MS);
  assert.equal(mark(), "True/GateTimeout");
  assert.deepEqual(opened(), ["a unlisted", "a timeout"]);
});

test("makeGate() keeps a node open that its timeout let go and that is on no list now", {
  timeout: LIMIT_MS,
}, async (t) => {
  const { world, answer, gate, uid, mark, opened } = await conditionStage(t);
  await world.advance(11 * MINUTE_MS);
  assert.equal(mark(), "True/GateTimeout");
  answer(gate, [], { unlisted: [uid] });
  await world.advance(MINUTE_MS);
  assert.equal(mark(), "True/Unlisted");
  assert.deepEqual(opened(), ["a timeout"]);
});

test("makeGate() lets no node on no list go when it has no timeout", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await gateStage(t, { ...CONDITION, timeoutMs: null });
  const gate = stage.start();
  await stage.world.advance(1_000);
  const uid = stage.join("a", { taints: [] });
  stage.answer(gate, [], { unlisted: [uid] });
  await stage.world.advance(40 * MINUTE_MS);
  assert.equal(stage.conditionOf("a")?.status, "Unknown");
});

test("makeGate() says of a ready node whose address changed that it waits, once that is answered", {
  timeout: LIMIT_MS,
}, async (t) => {
  const { world, answer, gate, mark, server } = await conditionStage(t);
  answer(gate, ["a"]);
  await world.advance(1_000);
  const addresses = [{ type: "ExternalIP", address: "203.0.113.99" }];
  server.nodes.patch("a", { status: { addresses } });
  await world.advance(1_000);
  assert.equal(mark(), "True/Allowlisted");
  answer(gate, []);
  await world.advance(1_000);
  assert.equal(mark(), "False/AllowlistPending");
});

test("makeGate() takes no word of the watch for it when a node was let go meanwhile", {
  timeout: LIMIT_MS,
}, async (t) => {
  const { world, answer, gate, mark, state } = await conditionStage(t);
  // From here on the watch shows a node without the condition.
  state.frozen = true;
  await world.advance(10 * MINUTE_MS);
  assert.equal(mark(), "True/GateTimeout");
  answer(gate, []);
  await world.advance(5 * MINUTE_MS);
  assert.equal(mark(), "True/GateTimeout");
});

test("makeGate() sets no condition on another node of the same name", {
  timeout: LIMIT_MS,
}, async (t) => {
  const { world, answer, gate, mark, interference, server, join } = await conditionStage(t);
  interference.beforePatch = () => {
    server.nodes.remove("a");
    join("a", { taints: [] });
  };
  answer(gate, ["a"]);
  await world.advance(MINUTE_MS);
  assert.equal(mark(), null);
});

test("makeGate() sets no condition of what changed since it was read", {
  timeout: LIMIT_MS,
}, async (t) => {
  const { world, answer, gate, mark, interference, server, state } = await conditionStage(t);
  state.frozen = true;
  interference.beforePatch = () => {
    const addresses = [{ type: "ExternalIP", address: "203.0.113.99" }];
    server.nodes.patch("a", { status: { addresses } });
  };
  answer(gate, ["a"]);
  await world.advance(MINUTE_MS);
  assert.equal(mark(), null);
});

test("makeGate() sets its condition again when somebody overwrites it, not in a fight", {
  timeout: LIMIT_MS,
}, async (t) => {
  const { world, answer, gate, mark, writes, interference, server } = await conditionStage(t);
  interference.afterPatch = () => server.nodes.patch("a", { status: { conditions: [] } });
  answer(gate, ["a"]);
  await world.advance(5 * MINUTE_MS);
  assert.ok(writes() > 2 && writes() < 10, `${writes()} in five minutes`);
  interference.afterPatch = null;
  await world.advance(5 * MINUTE_MS);
  assert.equal(mark(), "True/Allowlisted");
});

test("makeGate() says what to grant when it may not write the status", {
  timeout: LIMIT_MS,
}, async (t) => {
  const { world, answer, gate, interference, failed } = await conditionStage(t);
  interference.beforePatch = () => {
    throw refusal(403, "Forbidden");
  };
  answer(gate, ["a"]);
  await world.advance(MINUTE_MS);
  const [event] = failed();
  assert.ok(event?.kind === "gate-failed" && event.lasting);
  assert.match(event.message, /grant/);
});
