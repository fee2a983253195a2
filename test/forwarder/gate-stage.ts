import type { TestContext } from "node:test";
import { startEmbeddedKubernetes } from "../../cli/embedded/kubernetes.ts";
import { type Gate, makeGate } from "../../forwarder/gate.ts";
import { GATE_CONDITION } from "../../forwarder/gate-patch.ts";
import type { ForwarderEvent } from "../../forwarder/journal.ts";
import { type Kube, KubeError, openKube } from "../../forwarder/kube.ts";
import { type ObservedNode, projectNode } from "../../forwarder/projection.ts";
import { GATE_TAINT, type GateMark } from "../../forwarder/variables.ts";
import type { Snapshot } from "../../lib/core/snapshot.ts";
import type { Answer } from "../../lib/wire/protocol.ts";
import type { World } from "../../lib/world.ts";
import { manualWorld } from "./clock.ts";

export interface Taint {
  readonly key: string;
  readonly effect: string;
  readonly value?: string;
}

export const OURS: Taint = { key: GATE_TAINT, effect: "NoSchedule" };
export const TAINT: GateMark = { kind: "taint", key: GATE_TAINT };
const LABELS = ["pool"];

/** What happens right before a request to the API server, or instead of it by throwing. */
export interface Interference {
  beforeRead: ((name: string) => void | Promise<void>) | null;
  beforePatch: ((name: string) => void | Promise<void>) | null;
  afterPatch: ((name: string) => void | Promise<void>) | null;
}

/**
 * A gate, an embedded cluster, and a watch that shows the gate every write at once, unless it is
 * frozen. Deliveries are made by hand.
 */
export async function gateStage(
  t: TestContext,
  options: { readonly mark?: GateMark; readonly timeoutMs?: number | null } = {},
) {
  const world = manualWorld();
  const server = await startEmbeddedKubernetes({ world });
  t.after(() => server.close());
  const { mark = TAINT, timeoutMs = 600_000 } = options;
  const source = { kind: "text", text: server.kubeconfig } as const;
  const interference: Interference = { beforeRead: null, beforePatch: null, afterPatch: null };
  const plain = openKube(source, { world, proxy: {}, warn: () => undefined });
  t.after(() => plain.close());
  const traffic = countTraffic(interfered(plain, interference));
  const state = { epoch: 1 as number | null, sequence: 0, frozen: false };
  const view = new Map<string, ObservedNode>();
  const gates = new Set<Gate>();
  const see = () => {
    const objects = server.store.list("nodes", server.store.revision());
    const seen = objects.map((object) => projectNode(object, { labels: LABELS, mark, held: view }));
    view.clear();
    for (const observed of seen) view.set(observed.node.uid, observed);
    for (const gate of gates) gate.look();
  };
  t.after(server.store.subscribe(() => (state.frozen ? undefined : see())));
  const events: ForwarderEvent[] = [];
  /** A process with a gate, which ends with the test. */
  const start = () => {
    const gate = makeGate({
      mark,
      timeoutMs,
      kube: traffic.kube,
      world,
      emit: (event) => events.push(event),
      nodes: () => view,
      epoch: () => state.epoch,
    });
    gates.add(gate);
    const end = new AbortController();
    const running = gate.run(end.signal);
    const stop = async () => {
      gates.delete(gate);
      end.abort(new Error("the end"));
      await running;
    };
    t.after(stop);
    return { ...gate, stop };
  };
  const { requests, inFlightMax } = traffic;
  return {
    ...{ world, server, state, events, interference, requests, inFlightMax, see, start },
    ...deliveries(view, { state, world }),
    /** Creates a node, by default with our taint. */
    join: (name: string, given: GivenNode = {}) =>
      server.store.put("nodes", name, nodeObject(name, given)).metadata.uid,
    taintsOf: (name: string) => taintsIn(server.store.read("nodes", name)),
    conditionOf: (name: string) => conditionIn(server.store.read("nodes", name)),
    opened: () =>
      events.flatMap((event) =>
        event.kind === "gate-opened" ? [`${event.node.name} ${event.why}`] : [],
      ),
    failed: () => events.filter((event) => event.kind === "gate-failed"),
  };
}

interface GivenNode {
  readonly taints?: readonly Taint[];
  readonly ip?: string;
}

function nodeObject(name: string, { taints = [OURS], ip = "203.0.113.1" }: GivenNode) {
  const metadata = { name, labels: { pool: "x" } };
  const status = { addresses: [{ type: "ExternalIP", address: ip }], conditions: [READY] };
  return { apiVersion: "v1", kind: "Node", metadata, spec: { taints }, status };
}

/** What a forwarder would send of what the watch shows, and what it would be answered. */
function deliveries(
  view: ReadonlyMap<string, ObservedNode>,
  given: {
    readonly state: { readonly epoch: number | null; sequence: number };
    readonly world: Pick<World, "now">;
  },
) {
  const { state, world } = given;
  const uidsOf = (names: readonly string[]) =>
    [...view.values()].filter(({ node }) => names.includes(node.name)).map(({ node }) => node.uid);
  const snapshot = (): Snapshot => {
    state.sequence += 1;
    return {
      cluster: "test",
      clusterUid: "c",
      generation: { epoch: state.epoch ?? 0, sequence: state.sequence },
      time: world.now(),
      observedAt: world.now(),
      scope: { labels: LABELS, pods: [] },
      changes: [],
      nodes: [...view.values()].map(({ node }) => node),
      pods: [],
    };
  };
  return {
    snapshot,
    uidsOf,
    /** A delivery now, and its answer at once. */
    answer(gate: Gate, ready: readonly string[], more: Partial<Answer> = {}) {
      const sent = snapshot();
      gate.answered(sent, answerTo(sent, uidsOf(ready), more));
    },
  };
}

export type GateStage = Awaited<ReturnType<typeof gateStage>>;

const READY = { type: "Ready", status: "True", reason: "KubeletReady" };

export function answerTo(
  { generation }: Snapshot,
  readyNodes: readonly string[],
  more: Partial<Answer> = {},
): Answer {
  return { generation, readyNodes, unlisted: [], again: null, lists: [], ...more };
}

function taintsIn(object: unknown): readonly Taint[] {
  return (object as { spec?: { taints?: Taint[] } } | null)?.spec?.taints ?? [];
}

export interface GivenCondition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly lastTransitionTime: string;
}

function conditionIn(object: unknown): GivenCondition | null {
  const { conditions = [] } =
    (object as { status?: { conditions?: GivenCondition[] } } | null)?.status ?? {};
  return conditions.find(({ type }) => type === GATE_CONDITION) ?? null;
}

function nameIn(path: string): string {
  return path.split("/")[4] ?? "";
}

function interfered(kube: Kube, interference: Interference): Kube {
  return {
    ...kube,
    async read(path, request) {
      await interference.beforeRead?.(nameIn(path));
      return kube.read(path, request);
    },
    async patch(form, path, request) {
      await interference.beforePatch?.(nameIn(path));
      const object = await kube.patch(form, path, request);
      await interference.afterPatch?.(nameIn(path));
      return object;
    },
  };
}

function countTraffic(kube: Kube) {
  const requests: string[] = [];
  let inFlight = 0;
  let inFlightMax = 0;
  async function counted<T>(request: string, work: () => Promise<T>): Promise<T> {
    requests.push(request);
    inFlight += 1;
    inFlightMax = Math.max(inFlightMax, inFlight);
    try {
      return await work();
    } finally {
      inFlight -= 1;
    }
  }
  const counting: Kube = {
    ...kube,
    read: (path, request) => counted(`GET ${nameIn(path)}`, () => kube.read(path, request)),
    patch: (form, path, request) =>
      counted(`PATCH ${nameIn(path)}`, () => kube.patch(form, path, request)),
  };
  return { kube: counting, requests, inFlightMax: () => inFlightMax };
}

/** What a server answers that refuses. */
export function refusal(status: number, reason: string): KubeError {
  return new KubeError(`Cannot PATCH: ${status} on purpose`, { status, reason });
}
