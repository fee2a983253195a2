import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { ForwarderEvent } from "../../forwarder/journal.ts";
import { runForwarder } from "../../forwarder/main.ts";
import type { GateSettings } from "../../forwarder/settings.ts";
import { GATE_TAINT } from "../../forwarder/variables.ts";
import { parseSigningKey } from "../../lib/wire/signature.ts";
import { manualWorld } from "./clock.ts";
import { SECRET, startReceiver } from "./receiver.ts";
import { external, startCluster } from "./stage.ts";

const MINUTE_MS = 60_000;
const OURS = { key: GATE_TAINT, effect: "NoSchedule" };
const CNI = { key: "node.cilium.io/agent-not-ready", effect: "NoExecute" };
const TAINT: GateSettings = { mark: { kind: "taint", key: GATE_TAINT }, timeoutMs: 600_000 };
const CONDITION: GateSettings = { mark: { kind: "condition" }, timeoutMs: 600_000 };
const LIMIT_MS = 60_000;

/** A cluster all of whose nodes are gated, its receiver, and forwarders as one wants them. */
async function stageOf(t: TestContext, nodes: number) {
  const world = manualWorld();
  const server = await startCluster(t, { world });
  const receiver = await startReceiver(t, world);
  // As if every list had been read back by the time of the answer.
  receiver.verdict = {
    get readyNodes() {
      return (receiver.held?.nodes ?? []).map(({ uid }) => uid);
    },
  };
  const names = Array.from({ length: nodes }, (_, n) => `n${n}`);
  const join = (name: string, ip: string) => {
    server.nodes.put(name, external(ip));
    server.nodes.patch(name, { spec: { taints: [CNI, OURS] } });
  };
  names.forEach((name, n) => {
    join(name, `203.0.113.${n + 1}`);
  });
  const start = (gate: GateSettings) => {
    const end = new AbortController();
    const events: ForwarderEvent[] = [];
    let isOver = false;
    const settings = {
      url: receiver.url,
      cluster: "test",
      credential: { signing: { kind: "keys", keys: [parseSigningKey(SECRET)] }, tokenFile: null },
      labels: [],
      pods: [],
      gate,
      listen: null,
      lease: { kind: "kubernetes", namespace: null, name: "kube-allowlist" },
      heartbeatMs: 300_000,
      proxy: {},
    } as const;
    const running = runForwarder(settings, {
      world,
      signal: end.signal,
      kubeConfig: { kind: "text", text: server.kubeconfig },
      onEvent: (event) => events.push(event),
    }).finally(() => {
      isOver = true;
    });
    t.after(async () => {
      end.abort(new Error("the end"));
      await world.until("the end", () => isOver, { withinMs: 40_000 });
      await running;
    });
    return events;
  };
  const taintsOf = (name: string) =>
    (server.store.read("nodes", name)?.spec as { taints?: object[] } | undefined)?.taints ?? [];
  const open = () => names.filter((name) => !JSON.stringify(taintsOf(name)).includes(GATE_TAINT));
  return { world, server, receiver, names, join, start, taintsOf, open };
}

test("runForwarder() opens every gate of a brand-new cluster once the receiver has answered", {
  timeout: LIMIT_MS,
}, async (t) => {
  const { world, receiver, names, start, open, taintsOf } = await stageOf(t, 20);
  receiver.mishaps = [1, 2, 3].map(() => ({ kind: "status", status: 503 }));
  const events = start(TAINT);
  await world.until("deliveries", () => receiver.received.length === 3);
  assert.deepEqual(open(), []);
  await world.until("all are open", () => open().length === names.length);
  assert.ok(names.every((name) => JSON.stringify(taintsOf(name)) === JSON.stringify([CNI])));
  const opened = events.flatMap((event) => (event.kind === "gate-opened" ? [event.why] : []));
  assert.deepEqual(opened, new Array(names.length).fill("ready"));
});

test("runForwarder() opens the gate of a node that joins within a second of the answer", {
  timeout: LIMIT_MS,
}, async (t) => {
  const { world, receiver, start, open, join, taintsOf } = await stageOf(t, 1);
  start(TAINT);
  await world.until("the first", () => open().length === 1);
  join("late", "203.0.113.99");
  await world.until("it was sent", () => receiver.addresses().includes("203.0.113.99"));
  await world.until("it is open", () => taintsOf("late").length === 1, { withinMs: 1_000 });
});

test("runForwarder() makes no delivery because a gate was opened", {
  timeout: LIMIT_MS,
}, async (t) => {
  const { world, receiver, start, open } = await stageOf(t, 5);
  start(TAINT);
  await world.until("all are open", () => open().length === 5);
  const { length } = receiver.received;
  await world.advance(2 * MINUTE_MS);
  assert.equal(receiver.received.length, length);
});

test("runForwarder() leaves gates shut while the receiver is away, until their time is over", {
  timeout: LIMIT_MS,
}, async (t) => {
  const { world, receiver, start, open } = await stageOf(t, 3);
  receiver.mishaps = Array.from({ length: 1_000 }, () => ({ kind: "status", status: 503 }));
  const events = start(TAINT);
  await world.advance(9 * MINUTE_MS);
  assert.deepEqual(open(), []);
  await world.advance(90_000);
  assert.equal(open().length, 3);
  const opened = events.flatMap((event) => (event.kind === "gate-opened" ? [event.why] : []));
  assert.deepEqual(opened, ["timeout", "timeout", "timeout"]);
  assert.ok(world.lines.some(({ message }) => /although the node is not ready/.test(message)));
});

test("runForwarder() opens each gate once, though two of them run", {
  timeout: LIMIT_MS,
}, async (t) => {
  const { world, server, start, open } = await stageOf(t, 5);
  const [a, b] = [start(TAINT), start(TAINT)];
  await world.until("all are open", () => open().length === 5);
  await world.advance(MINUTE_MS);
  const opened = [...a, ...b].filter(({ kind }) => kind === "gate-opened");
  assert.equal(opened.length, 5);
  const patches = server.requests().filter(({ method }) => method === "PATCH");
  assert.equal(patches.filter(({ path }) => path.startsWith("/api/v1/nodes/")).length, 5);
});

test("runForwarder() sets the condition instead of removing the taint", {
  timeout: LIMIT_MS,
}, async (t) => {
  const { world, server, start, open, names } = await stageOf(t, 3);
  start(CONDITION);
  const isSet = (name: string) =>
    JSON.stringify(server.store.read("nodes", name)?.status).includes('"Allowlisted"');
  await world.until("all are set", () => names.every(isSet));
  assert.deepEqual(open(), []);
});
