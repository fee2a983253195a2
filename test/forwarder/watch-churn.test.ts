import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { test } from "node:test";
import { watchCluster } from "../../forwarder/cluster-watch.ts";
import type { Kube } from "../../forwarder/kube.ts";
import { abortError } from "../../forwarder/signal.ts";
import { START } from "./clock.ts";

const EVENTS = 60_000;
const STREAM_EVENTS = 1_000;
const NODES_MAX = 300;
const EVENT_MS = 50;

interface Made {
  readonly uid: string;
  readonly name: string;
  readonly host: number;
  readonly beats: number;
}

function objectOf({ uid, name, host, beats }: Made, version: number) {
  return {
    metadata: { uid, name, resourceVersion: String(version) },
    status: {
      addresses: [{ type: "InternalIP", address: `10.0.${host >> 8}.${host & 255}` }],
      conditions: [{ type: "Ready", status: "True", lastHeartbeatTime: beats }],
    },
  };
}

/** A cluster whose nodes come, go, change and beat without end; a stream ends every so often. */
function makeChurn(random: () => number, pass: () => void) {
  const nodes = new Map<string, Made>();
  let version = 1;
  let born = 0;
  let events = 0;
  const pick = () => [...nodes.values()][Math.floor(random() * nodes.size)];
  const write = (type: string, made: Made) => {
    version += 1;
    events += 1;
    pass();
    return JSON.stringify({ type, object: objectOf(made, version) });
  };
  const next = (): string => {
    const before = pick();
    const chance = random();
    if (before === undefined || (chance < 0.2 && nodes.size < NODES_MAX)) {
      born += 1;
      const host = Math.floor(random() * 65_536);
      // Names are used again, uids are not.
      const name = `n${born % (2 * NODES_MAX)}`;
      for (const [uid, made] of nodes) if (made.name === name) nodes.delete(uid);
      const made = { uid: `u${born}`, name, host, beats: 0 };
      nodes.set(made.uid, made);
      return write("ADDED", made);
    }
    if (chance < 0.4) {
      nodes.delete(before.uid);
      return write("DELETED", before);
    }
    const made = { ...before, beats: before.beats + 1 };
    if (chance < 0.5) made.host = Math.floor(random() * 65_536);
    nodes.set(made.uid, made);
    return write("MODIFIED", made);
  };
  return { nodes, next, version: () => version, events: () => events };
}

/** Streams of that cluster; whatever else is asked for is what makes the watch believe them. */
function makeKube(churn: ReturnType<typeof makeChurn>, end: AbortController): Kube {
  async function* lines(isList: boolean): AsyncGenerator<string, void, void> {
    if (isList) {
      for (const made of churn.nodes.values()) {
        yield JSON.stringify({ type: "ADDED", object: objectOf(made, 1) });
      }
      const annotations = { "k8s.io/initial-events-end": "true" };
      const metadata = { resourceVersion: String(churn.version()), annotations };
      yield JSON.stringify({ type: "BOOKMARK", object: { metadata } });
    }
    for (let n = 0; n < STREAM_EVENTS && churn.events() < EVENTS; n += 1) yield churn.next();
    if (churn.events() >= EVENTS) end.abort(new Error("enough"));
  }
  const never = () => Promise.reject(new Error("nobody asks for this"));
  return {
    server: "http://churn",
    namespace: "default",
    read: async () => ({ metadata: { uid: "cluster" } }),
    write: never,
    patch: never,
    lines: async (path) => lines(path.includes("sendInitialEvents")),
    close: () => undefined,
  };
}

test("watchCluster() keeps no more after 60,000 events than after a thousand", async () => {
  let now = START;
  let state = 7;
  const random = () => {
    state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32;
    return state / 2 ** 32;
  };
  const end = new AbortController();
  const churn = makeChurn(random, () => {
    now += EVENT_MS;
  });
  let sleepers = 0;
  const most = { held: 0, sleepers: 0, listeners: 0 };
  const world = {
    now: () => now,
    random,
    /** Nothing is waited for but rests and the end of streams, which ends waiting. */
    sleep: (ms: number, signal?: AbortSignal) =>
      new Promise<void>((resolve, reject) => {
        if (ms < 1_000) {
          now += ms;
          resolve();
          return;
        }
        sleepers += 1;
        const onAbort = () => {
          sleepers -= 1;
          if (signal !== undefined) reject(abortError(signal));
        };
        if (signal?.aborted) onAbort();
        else signal?.addEventListener("abort", onAbort, { once: true });
      }),
  };
  let wrong = 0;
  const watch = watchCluster({
    kube: makeKube(churn, end),
    world,
    labels: [],
    pods: [],
    mark: null,
    emit: (event) => {
      if (event.kind === "watch-failed") wrong += 1;
    },
    onChanges() {
      most.held = Math.max(most.held, watch.nodes().size);
      most.sleepers = Math.max(most.sleepers, sleepers);
      most.listeners = Math.max(most.listeners, getEventListeners(end.signal, "abort").length);
    },
    onRestored: () => undefined,
    onMarks: () => undefined,
  });
  await watch.run(end.signal);
  assert.equal(churn.events(), EVENTS);
  assert.equal(wrong, 0);
  const expected = [...churn.nodes.values()].map(({ uid, host }) => `${uid} ${host}`);
  const held = (watch.truth()?.nodes ?? []).map(({ uid, addresses }) => {
    const [, , high = "", low = ""] = addresses[0]?.address.split(/[./]/) ?? [];
    return `${uid} ${Number(high) * 256 + Number(low)}`;
  });
  assert.deepEqual(held.toSorted(), expected.toSorted());
  assert.ok(most.held <= NODES_MAX, `${most.held} nodes`);
  assert.ok(most.sleepers <= 3, `${most.sleepers} waits`);
  assert.ok(most.listeners <= 3, `${most.listeners} listeners`);
  assert.equal(sleepers, 0, "nothing waits any more");
});
