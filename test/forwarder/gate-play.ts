import { setImmediate as turn } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { patchObject } from "../../cli/embedded/kubernetes-patch.ts";
import type { KubeObject } from "../../cli/embedded/kubernetes-store.ts";
import { makeGate } from "../../forwarder/gate.ts";
import { GATE_CONDITION } from "../../forwarder/gate-patch.ts";
import { type Kube, KubeError } from "../../forwarder/kube.ts";
import { type ObservedNode, projectNode } from "../../forwarder/projection.ts";
import type { GateMark } from "../../forwarder/variables.ts";
import type { Snapshot } from "../../lib/core/snapshot.ts";
import { answerTo } from "./gate-stage.ts";

/*
 * A gate among everything that may happen around it, step by step: an API server, a watch that is
 * behind, a receiver, a Lease, restarts, and clocks that jump. Beside it a model that knows nothing
 * of the gate but what it promises: a node is let go only when the addresses and labels that it has
 * at that moment were read back under the Lease that is held, or when its time was over.
 */

export type Step = { readonly turns: number } & (
  | { readonly kind: "join" | "leave" | "shut" | "open" | "heartbeat"; readonly name: string }
  | { readonly kind: "address" | "label"; readonly name: string; readonly value: number }
  | { readonly kind: "watch" | "send" | "lose" | "acquire" | "restart" }
  | { readonly kind: "answer"; readonly ready: readonly string[]; readonly shift: number }
  | { readonly kind: "time" | "clock"; readonly ms: number }
  | { readonly kind: "api"; readonly how: ApiHealth }
);

export type ApiHealth = "works" | "is away" | "loses answers";

export const TIMEOUT_MS = 600_000;
const FIRST_MS = 60_000;
/** A clock that is set forward may gain a gate so much. */
const JUMP_MS = 10_000;
const OTHER = { key: "example.com/other", effect: "NoExecute" };
const SETTLED_TURNS = 8;

/** What the model remembers of a node that the watch showed shut. */
interface Seen {
  /** When, in time that passed. */
  readonly at: number;
  /** How old it was then by the clocks, where it was there before the process; 0 otherwise. */
  readonly ageMs: number;
}

interface Playing {
  readonly mark: GateMark;
  readonly objects: Map<string, KubeObject>;
  readonly view: Map<string, ObservedNode>;
  readonly sleepers: Set<{ readonly at: number; readonly wake: () => void }>;
  readonly violations: string[];
  readonly openings: string[];
  passed: number;
  clock: number;
  jumps: number;
  version: number;
  health: ApiHealth;
  epoch: number | null;
  epochs: number;
  sequence: number;
  /** What is on its way to the receiver, with what the nodes in it were. */
  sent: { readonly snapshot: Snapshot; readonly contents: ReadonlyMap<string, string> } | null;
  /** What was read back last, and under which epoch it had been sent. */
  covered: { readonly epoch: number; readonly contents: ReadonlyMap<string, string> } | null;
  startedAt: number;
  isFirstLook: boolean;
  readonly seen: Map<string, Seen>;
  gate: ReturnType<typeof makeGate> | null;
  end: () => Promise<void>;
}

/** Plays the steps, then lets everything be well; says what was against the promise. */
export async function play(mark: GateMark, steps: readonly Step[]) {
  const playing: Playing = {
    mark,
    objects: new Map(),
    view: new Map(),
    sleepers: new Set(),
    violations: [],
    openings: [],
    passed: 0,
    clock: Date.parse("2026-11-20T21:00:00Z"),
    jumps: 0,
    version: 1,
    health: "works",
    epoch: 1,
    epochs: 1,
    sequence: 0,
    sent: null,
    covered: null,
    startedAt: 0,
    isFirstLook: true,
    seen: new Map(),
    gate: null,
    end: async () => undefined,
  };
  start(playing);
  for (const step of steps) {
    await take(playing, step);
    await settle(step.turns);
  }
  await heal(playing);
  await playing.end();
  const shut = [...playing.objects.values()].filter((object) => isShut(object, mark));
  return {
    violations: playing.violations,
    openings: playing.openings,
    shutAtEnd: shut.map(({ metadata }) => metadata.name),
  };
}

async function settle(turns: number): Promise<void> {
  for (let taken = 0; taken < turns; taken += 1) await turn();
}

function start(playing: Playing): void {
  const end = new AbortController();
  const gate = makeGate({
    mark: playing.mark,
    timeoutMs: TIMEOUT_MS,
    kube: kubeOf(playing),
    world: {
      now: () => playing.passed + playing.clock,
      random: () => 0.5,
      sleep: (ms, signal) => sleep(playing, ms, signal),
    },
    emit: (event) => {
      if (event.kind === "warning") playing.violations.push(event.message);
    },
    nodes: () => playing.view,
    epoch: () => playing.epoch,
  });
  const running = gate.run(end.signal);
  playing.gate = gate;
  playing.end = async () => {
    end.abort(new Error("the end"));
    await running;
  };
}

function sleep(playing: Playing, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const sleeper = { at: playing.passed + ms, wake: resolve };
    playing.sleepers.add(sleeper);
    signal?.addEventListener("abort", () => {
      playing.sleepers.delete(sleeper);
      reject(signal.reason);
    });
  });
}

async function pass(playing: Playing, ms: number): Promise<void> {
  const end = playing.passed + ms;
  for (;;) {
    await settle(SETTLED_TURNS);
    const due = [...playing.sleepers].filter(({ at }) => at <= end);
    const [next] = due.sort((a, b) => a.at - b.at);
    playing.passed = next === undefined ? end : Math.max(playing.passed, next.at);
    if (next === undefined) return;
    playing.sleepers.delete(next);
    next.wake();
  }
}

/** Everything works, and everybody is told that all nodes are ready. */
async function heal(playing: Playing): Promise<void> {
  await settle(SETTLED_TURNS);
  playing.health = "works";
  acquire(playing);
  watch(playing);
  send(playing);
  answer(playing, [...playing.objects.keys()], 0);
  // The longest that a node is left alone whose mark was put back again and again.
  await pass(playing, 310_000);
}

async function take(playing: Playing, step: Step): Promise<void> {
  switch (step.kind) {
    case "join":
      if (!playing.objects.has(step.name)) put(playing, newNode(playing, step.name));
      return;
    case "leave":
      playing.objects.delete(step.name);
      return;
    case "watch":
      watch(playing);
      // The gate looks within a turn, and not after a clock was set in the meantime.
      return settle(2);
    case "send":
      return send(playing);
    case "answer":
      return answer(playing, step.ready, step.shift);
    case "lose":
      playing.epoch = null;
      return;
    case "acquire":
      return acquire(playing);
    case "time":
      return pass(playing, step.ms);
    case "clock":
      playing.clock += step.ms;
      playing.jumps += 1;
      return;
    case "restart":
      await playing.end();
      Object.assign(playing, { startedAt: playing.passed, isFirstLook: true, sent: null });
      Object.assign(playing, { epoch: null, covered: null });
      playing.seen.clear();
      playing.view.clear();
      return start(playing);
    case "api":
      playing.health = step.how;
      return;
    default: {
      const object = playing.objects.get(step.name);
      const after = object === undefined ? null : edited(object, step, playing.mark);
      if (after !== null) put(playing, after);
    }
  }
}

function acquire(playing: Playing): void {
  if (playing.epoch !== null) return;
  playing.epochs += 1;
  playing.epoch = playing.epochs;
  playing.sequence = 0;
}

/** What somebody else does to a node that is there; null for what is no such thing. */
function edited(object: KubeObject, step: Step, mark: GateMark): KubeObject | null {
  const { metadata, status, spec } = object as KubeObject & NodeParts;
  switch (step.kind) {
    case "shut":
      return marked(object, mark, true);
    case "open":
      return marked(object, mark, false);
    case "heartbeat":
      return { ...object, spec: { ...spec, taints: spec.taints.toReversed() } };
    case "label":
      return { ...object, metadata: { ...metadata, labels: { pool: `${step.value}` } } };
    case "address": {
      const addresses = [{ type: "ExternalIP", address: `203.0.113.${step.value}` }];
      return { ...object, status: { ...status, addresses } };
    }
    default:
      return null;
  }
}

interface NodeParts {
  readonly spec: { readonly taints: readonly { readonly key: string }[] };
  readonly status: { readonly conditions: readonly { readonly type: string }[] };
}

function put(playing: Playing, object: KubeObject): void {
  playing.version += 1;
  const metadata = { ...object.metadata, resourceVersion: `${playing.version}` };
  playing.objects.set(metadata.name, { ...object, metadata });
}

function newNode(playing: Playing, name: string): KubeObject {
  playing.version += 1;
  const creationTimestamp = new Date(playing.passed + playing.clock).toISOString();
  const uid = `${name}-${playing.version}`;
  const addresses = [{ type: "ExternalIP", address: "203.0.113.1" }];
  const node = {
    apiVersion: "v1",
    kind: "Node",
    metadata: { name, uid, resourceVersion: "0", creationTimestamp, labels: { pool: "1" } },
    spec: { taints: [OTHER] },
    status: { addresses, conditions: [{ type: "Ready", status: "True" }] },
  };
  return marked(node, playing.mark, true);
}

/** With the gate's mark set by other hands; a node without the condition is shut. */
function marked(object: KubeObject, mark: GateMark, shut: boolean): KubeObject {
  const { spec, status } = object as KubeObject & NodeParts;
  if (mark.kind === "taint") {
    const others = spec.taints.filter(({ key }) => key !== mark.key);
    const ours = shut ? [{ key: mark.key, effect: "NoSchedule" }] : [];
    return { ...object, spec: { ...spec, taints: [...ours, ...others] } };
  }
  const others = status.conditions.filter(({ type }) => type !== GATE_CONDITION);
  const ours = shut ? [] : [{ type: GATE_CONDITION, status: "True", reason: "ByHand" }];
  return { ...object, status: { ...status, conditions: [...others, ...ours] } };
}

function isShut(object: KubeObject, mark: GateMark): boolean {
  const { spec, status } = object as KubeObject & NodeParts;
  if (mark.kind === "taint") return spec.taints.some(({ key }) => key === mark.key);
  const found = status.conditions.find(({ type }) => type === GATE_CONDITION);
  return found === undefined || !("status" in found) || found.status !== "True";
}

/** What a receiver is told of a node, as the model has it. */
function contentOf(object: KubeObject): string {
  const { metadata, status } = object as KubeObject & { status: { addresses: unknown } };
  return JSON.stringify([metadata.uid, metadata.labels, status.addresses]);
}

/** The watch shows what is, and the model notes who is seen shut. */
function watch(playing: Playing): void {
  const { objects, view, mark, seen } = playing;
  const before = new Map(view);
  view.clear();
  for (const object of objects.values()) {
    const observed = projectNode(object, { labels: ["pool"], mark, held: before });
    view.set(observed.node.uid, observed);
    const { uid, creationTimestamp } = object.metadata;
    if (!isShut(object, mark)) seen.delete(uid);
    else if (!seen.has(uid)) {
      const age = playing.passed + playing.clock - Date.parse(creationTimestamp);
      const isOld = playing.isFirstLook && !before.has(uid);
      seen.set(uid, { at: playing.passed, ageMs: isOld ? age : 0 });
    }
  }
  for (const uid of [...seen.keys()]) if (!view.has(uid)) seen.delete(uid);
  if (view.size > 0) playing.isFirstLook = false;
  playing.gate?.look();
}

function send(playing: Playing): void {
  const { epoch, view } = playing;
  if (epoch === null) return;
  playing.sequence += 1;
  const nodes = [...view.values()].map(({ node }) => node);
  const now = playing.passed + playing.clock;
  const snapshot: Snapshot = {
    cluster: "test",
    clusterUid: "c",
    generation: { epoch, sequence: playing.sequence },
    time: now,
    observedAt: now,
    scope: { labels: ["pool"], pods: [] },
    changes: [],
    nodes,
    pods: [],
  };
  // By the model's own means: what a node in the message is, in the words of the API.
  const contents = nodes.map(({ uid, labels, addresses }) => {
    const given = addresses.map(({ type, address }) => ({ type, address: address.split("/")[0] }));
    return [uid, JSON.stringify([uid, labels, given])] as const;
  });
  playing.sent = { snapshot, contents: new Map(contents) };
}

function answer(playing: Playing, ready: readonly string[], shift: number): void {
  const { sent, gate } = playing;
  if (sent === null) return;
  playing.sent = null;
  const { nodes } = sent.snapshot;
  const uids = nodes.filter(({ name }) => ready.includes(name)).map(({ uid }) => uid);
  const { generation } = sent.snapshot;
  const contents = new Map([...sent.contents].filter(([uid]) => uids.includes(uid)));
  playing.covered = shift === 0 ? { epoch: generation.epoch, contents } : null;
  const shifted = { ...generation, sequence: generation.sequence + shift };
  gate?.answered(sent.snapshot, answerTo(sent.snapshot, uids, { generation: shifted }));
}

function kubeOf(playing: Playing): Kube {
  const find = async (path: string) => {
    await turn();
    if (playing.health === "is away") throw new KubeError("Cannot connect");
    const object = playing.objects.get(path.split("/")[4] ?? "");
    if (object === undefined) throw new KubeError("Cannot find it", { status: 404 });
    return object;
  };
  const kube: Pick<Kube, "read" | "patch"> = {
    async read(path) {
      const object = structuredClone(await find(path));
      await turn();
      return object;
    },
    async patch(form, path, { body }) {
      // Nobody can call back what is on its way: it is judged by what was known when it was sent,
      // and by what the node is when it is done.
      const { epoch, covered, passed } = playing;
      const known = { epoch, covered, passed, seen: new Map(playing.seen) };
      const before = await find(path);
      const type = `application/${form === "json" ? "json" : "strategic-merge"}-patch+json`;
      const patched = patchObject(before, { type, body: JSON.stringify(body), title: "nodes" });
      if (patched.kind === "failure") {
        throw new KubeError("Cannot patch it", { status: patched.failure.status });
      }
      const after = patched.draft as KubeObject;
      judge(playing, known, { before, after });
      put(playing, after);
      await turn();
      if (playing.health === "loses answers") throw new KubeError("Cannot hear");
      return after;
    },
  };
  return kube as Kube;
}

/** The promise, at the moment when something is written. */
function judge(
  playing: Playing,
  known: Pick<Playing, "epoch" | "covered" | "passed" | "seen">,
  { before, after }: { readonly before: KubeObject; readonly after: KubeObject },
): void {
  const { mark, violations } = playing;
  const { covered, epoch, passed, seen } = known;
  const { name, uid } = before.metadata;
  const without = (object: KubeObject) => marked(object, mark, false);
  if (mark.kind === "taint") {
    if (!isDeepStrictEqual(without(before), without(after))) violations.push(`${name}: others`);
  } else {
    const stripped = [before, after].map((object) => marked(without(object), mark, true));
    if (!isDeepStrictEqual(stripped[0], stripped[1])) violations.push(`${name}: others`);
  }
  if (!isShut(before, mark) || isShut(after, mark)) {
    if (mark.kind === "taint") violations.push(`${name}: a write that opens nothing`);
    return;
  }
  if (epoch === null) violations.push(`${name}: opened without the Lease`);
  const isReadBack =
    covered !== null && covered.epoch === epoch && covered.contents.get(uid) === contentOf(before);
  const shut = seen.get(uid);
  const gainedMs = playing.jumps * JUMP_MS;
  const shutMs = shut === undefined ? 0 : passed - shut.at + gainedMs;
  const livedMs = passed - playing.startedAt + gainedMs;
  const isOver =
    shut !== undefined &&
    (shutMs >= TIMEOUT_MS || (livedMs >= FIRST_MS && shutMs + shut.ageMs >= TIMEOUT_MS));
  if (!isReadBack && !isOver) violations.push(`${name}: opened too early`);
  playing.openings.push(isReadBack ? "ready" : "timeout");
  // Who is shut again after this begins anew.
  if (shut !== undefined) playing.seen.set(uid, { at: playing.passed, ageMs: 0 });
}
