import assert from "node:assert/strict";
import { test } from "node:test";
import { makeGate } from "../../forwarder/gate.ts";
import { type Kube, KubeError } from "../../forwarder/kube.ts";
import { type ObservedNode, projectNode } from "../../forwarder/projection.ts";
import { type GateStage, gateStage, OURS, refusal, TAINT } from "./gate-stage.ts";

/*
 * Nodes that cannot be read or written, among others that can: the others do not wait for them.
 */

const LIMIT_MS = 60_000;
/** Longer than any wait grows. */
const LONG_MS = 400_000;
const SECONDS_MS = 10_000;

const TROUBLES: Readonly<Record<string, () => Promise<never>>> = {
  "an admission webhook that fails": () => Promise.reject(refusal(500, "InternalError")),
  "an admission webhook that refuses": () => Promise.reject(refusal(403, "Forbidden")),
  "a server that has enough": () =>
    Promise.reject(new KubeError("Cannot PATCH: 429", { status: 429, retryAfterMs: 3_600_000 })),
  silence: () => Promise.reject(new KubeError("Cannot PATCH: no answer within 10000 ms")),
};

async function badStage(t: Parameters<typeof gateStage>[0], bad: readonly string[]) {
  const stage = await gateStage(t);
  const gate = stage.start();
  for (const name of bad) stage.join(name);
  stage.answer(gate, bad);
  return { ...stage, gate };
}

async function openIn(stage: GateStage, name: string): Promise<number> {
  const at = stage.world.now();
  await stage.world.until(`${name} is open`, () => stage.taintsOf(name).length === 0, {
    withinMs: 7_200_000,
  });
  return stage.world.now() - at;
}

for (const [what, fail] of Object.entries(TROUBLES)) {
  for (const request of ["beforeRead", "beforePatch"] as const) {
    test(`makeGate() opens a node within seconds though others have met ${what} for long: ${request}`, {
      timeout: LIMIT_MS,
    }, async (t) => {
      const bad = Array.from({ length: 20 }, (_, n) => `bad${n}`);
      const stage = await badStage(t, bad);
      stage.interference[request] = (name) => (name.startsWith("bad") ? fail() : undefined);
      await stage.world.advance(LONG_MS);
      stage.join("good");
      stage.answer(stage.gate, [...bad, "good"]);
      const tookMs = await openIn(stage, "good");
      assert.ok(tookMs <= SECONDS_MS, `${tookMs} ms`);
    });
  }
}

test("makeGate() opens a node within seconds though others hang", {
  timeout: LIMIT_MS,
}, async (t) => {
  const bad = Array.from({ length: 40 }, (_, n) => `bad${n}`);
  const stage = await badStage(t, bad);
  stage.interference.beforePatch = async (name) => {
    if (!name.startsWith("bad")) return;
    await stage.world.sleep(30_000);
    throw new KubeError("Cannot PATCH: no answer");
  };
  await stage.world.advance(LONG_MS);
  stage.join("good");
  stage.answer(stage.gate, [...bad, "good"]);
  const tookMs = await openIn(stage, "good");
  // Or the gate would wait at its end for what nobody wakes.
  stage.interference.beforePatch = null;
  await stage.world.advance(60_000);
  assert.ok(tookMs <= SECONDS_MS, `${tookMs} ms`);
});

test("makeGate() gives a node its turn that failed once, though others fail again and again", {
  timeout: LIMIT_MS,
}, async (t) => {
  const bad = Array.from({ length: 20 }, (_, n) => `bad${n}`);
  const stage = await badStage(t, bad);
  let refusals = 1;
  stage.interference.beforeRead = (name) => {
    if (name === "good") refusals -= 1;
    if (name.startsWith("bad") || refusals === 0) throw refusal(500, "InternalError");
  };
  await stage.world.advance(LONG_MS);
  stage.join("good");
  stage.answer(stage.gate, [...bad, "good"]);
  const tookMs = await openIn(stage, "good");
  assert.ok(tookMs <= 2 * SECONDS_MS, `${tookMs} ms`);
});

test("makeGate() asks a server that refuses every node once a second at most", {
  timeout: LIMIT_MS,
}, async (t) => {
  const bad = Array.from({ length: 100 }, (_, n) => `bad${n}`);
  const stage = await badStage(t, bad);
  const patches = () => stage.requests.filter((request) => request.startsWith("PATCH")).length;
  stage.interference.beforePatch = () => Promise.reject(refusal(500, "InternalError"));
  await stage.world.advance(SECONDS_MS);
  const before = patches();
  await stage.world.advance(120_000);
  assert.ok(before >= 100, "each was tried");
  assert.ok(patches() - before <= 121, `${patches() - before} in two minutes`);
  stage.interference.beforePatch = null;
  await stage.world.advance(240_000);
  assert.equal(stage.opened().length, bad.length);
});

test("makeGate() says in the server's words what admission refuses, and does not press it", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await badStage(t, ["a"]);
  let patches = 0;
  const words = "422 ValidatingAdmissionPolicy 'theirs' with binding 'theirs' denied request: Held";
  stage.interference.beforePatch = () => {
    patches += 1;
    throw new KubeError(`Cannot PATCH: ${words}`, { status: 422, reason: "Invalid" });
  };
  await stage.world.advance(240_000);
  assert.equal(patches, 1);
  const [failed] = stage.failed();
  assert.ok(failed?.kind === "gate-failed" && failed.lasting);
  assert.ok(failed.message.includes(`${words}; let the policy`), failed.message);
  assert.doesNotMatch(failed.message, /ClusterRole/);
});

test("makeGate() quotes the server where it refuses with 422 for no known reason", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await badStage(t, ["a"]);
  stage.interference.beforePatch = () => {
    throw new KubeError("Cannot PATCH: 422 the moon is full", { status: 422, reason: "Invalid" });
  };
  await stage.world.advance(500);
  const [failed] = stage.failed();
  assert.match(failed?.kind === "gate-failed" ? failed.message : "", /the moon is full/);
});

test("makeGate() judges each of thousands of nodes once for an answer, however often it looks", {
  timeout: LIMIT_MS,
}, async (t) => {
  const stage = await gateStage(t);
  const count = 1_000;
  let judged = 0;
  // What every judgement compares first: the uid that the receiver was told.
  const view = new Map<string, ObservedNode>();
  for (let n = 0; n < count; n += 1) {
    const metadata = { name: `n${n}`, uid: `u${n}`, labels: {} };
    const spec = { taints: [OURS] };
    const observed = projectNode({ metadata, spec }, { labels: [], mark: TAINT, held: view });
    view.set(observed.node.uid, {
      ...observed,
      get unsent() {
        judged += 1;
        return observed.unsent;
      },
    });
  }
  const gate = makeGate({
    mark: TAINT,
    timeoutMs: null,
    kube: {} as Kube,
    world: stage.world,
    emit: () => undefined,
    nodes: () => view,
    epoch: () => 1,
  });
  const end = new AbortController();
  const running = gate.run(end.signal);
  const nodes = [...view.values()].map(({ node }) => node);
  const sent = { ...stage.snapshot(), generation: { epoch: 1, sequence: 1 }, nodes };
  const { generation } = sent;
  gate.answered(sent, { generation, readyNodes: [], unlisted: [], again: null, lists: [] });
  for (let looks = 0; looks < 20; looks += 1) {
    gate.look();
    await stage.world.advance(100);
  }
  end.abort(new Error("the end"));
  await running;
  assert.equal(judged, count);
});
