import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, type TestContext, test } from "node:test";
import type { ForwarderEvent } from "../../forwarder/journal.ts";
import { openKube } from "../../forwarder/kube.ts";
import { NOTE_REASONS } from "../../forwarder/notes.ts";
import { makeRecorder } from "../../forwarder/recorder.ts";
import { blankReport, type Reason, type State } from "../../lib/core/report.ts";
import { makeWorld } from "../../lib/world.ts";
import { KUBERNETES, skipWithout } from "./assets.ts";
import { eventually } from "./eventually.ts";
import { type KubeApiserver, startKubeApiserver } from "./kube-apiserver.ts";

/*
 * Every Event that a forwarder may write, written to a real API server, which validates strictly,
 * by an account that may do nothing else.
 */

const NAMESPACE = "speaking";
const WITHIN_MS = 20_000;
const LIMIT = 60_000;
const LEASE = { namespace: NAMESPACE, name: "kube-allowlist" };

const skip = skipWithout(KUBERNETES);
let kube: KubeApiserver;

before(async () => {
  if (skip) return;
  kube = await startKubeApiserver();
  await kube.request("POST", "/api/v1/namespaces", { metadata: { name: NAMESPACE } });
  const leases = `/apis/coordination.k8s.io/v1/namespaces/${NAMESPACE}/leases`;
  await kube.request("POST", leases, { metadata: { name: LEASE.name }, spec: {} });
});
after(async () => {
  await kube?.stop();
});

interface WrittenEvent {
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly reason: string;
  readonly note: string;
  readonly regarding: { readonly kind: string; readonly name: string; readonly uid?: string };
  readonly series?: { readonly count: number; readonly lastObservedTime: string };
}

async function eventsIn(namespace: string): Promise<readonly WrittenEvent[]> {
  const path = `/apis/events.k8s.io/v1/namespaces/${namespace}/events`;
  const { items } = await kube.request<{ items: WrittenEvent[] }>("GET", path);
  return items.filter(({ reason }) => Object.hasOwn(NOTE_REASONS, reason));
}

/** Token of an account that may read Leases of its namespace and write Events in these. */
async function accountOf(name: string, namespaces: readonly string[]): Promise<string> {
  const accounts = `/api/v1/namespaces/${NAMESPACE}/serviceaccounts`;
  await kube.request("POST", accounts, { metadata: { name } });
  for (const namespace of namespaces) {
    const base = `/apis/rbac.authorization.k8s.io/v1/namespaces/${namespace}`;
    const rules = [
      { apiGroups: ["events.k8s.io"], resources: ["events"], verbs: ["create", "patch"] },
      { apiGroups: ["coordination.k8s.io"], resources: ["leases"], verbs: ["get"] },
    ];
    await kube.request("POST", `${base}/roles`, { metadata: { name }, rules });
    await kube.request("POST", `${base}/rolebindings`, {
      metadata: { name },
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name },
      subjects: [{ kind: "ServiceAccount", name, namespace: NAMESPACE }],
    });
  }
  return kube.createToken(NAMESPACE, name);
}

function record(t: TestContext, token: string) {
  const lines: string[] = [];
  const say = (_fields: object, message: string) => lines.push(message);
  const world = makeWorld({ debug: say, info: say, warn: say, error: say, audit: () => undefined });
  const source = { kind: "text", text: readFileSync(kube.kubeconfigFor(token), "utf8") } as const;
  const client = openKube(source, { world, proxy: {}, warn: () => undefined });
  const identity = "host_0123456789abcdef";
  const recorder = makeRecorder({
    kube: client,
    world,
    lease: LEASE,
    identity,
    nodes: () => new Map(),
  });
  const end = new AbortController();
  const running = recorder.run(end.signal);
  const stop = async () => {
    end.abort(new Error("the end"));
    await running;
  };
  t.after(async () => {
    await stop();
    client.close();
  });
  return { recorder, lines, stop, now: world.now };
}

function reportOf(state: State, reason: Reason | null) {
  return { ...blankReport("db", `memory/${reason}`), state, reason, message: "ä".repeat(900) };
}

/** One event for each reason; some reasons need another event before. */
function everything(now: number, node: { uid: string; name: string }): readonly ForwarderEvent[] {
  const failure = { message: "no", retryInMs: 1, lasting: true };
  const minutes = (count: number) => now - count * 60_000;
  return [
    { kind: "node-ready", at: now, node, tookMs: 1 },
    { kind: "node-pending", at: now, node, forMs: 1, message: "It waits" },
    { kind: "gate-opened", at: now, node, why: "ready", afterMs: 1 },
    { kind: "gate-opened", at: now, node, why: "timeout", afterMs: 1 },
    { kind: "gate-failed", at: now, node, message: "no", lasting: true },
    { kind: "unsent", at: now, node: node.name, addresses: ["a.example", "\u0000"] },
    { kind: "list-changed", at: now, report: reportOf("failed", "denied") },
    { kind: "list-changed", at: now, report: reportOf("failed", "full") },
    { kind: "list-changed", at: now, report: reportOf("withheld", "ratio") },
    { kind: "list-changed", at: now, report: reportOf("withheld", "stale") },
    { kind: "list-changed", at: now, report: reportOf("withheld", "out-of-scope") },
    { kind: "list-changed", at: now, report: reportOf("converged", null) },
    { kind: "restored", at: now, collection: "nodes", from: "9", to: "1" },
    { kind: "watch-failed", at: now, collection: "nodes", ...failure },
    { kind: "watch-stale", at: now, ageMs: 1 },
    { kind: "watch-current", at: now, afterMs: 1 },
    { kind: "lease-failed", at: now, message: "no", lasting: true },
    { kind: "undelivered", at: minutes(9), why: "unclear", ...failure, lasting: false },
    { kind: "undelivered", at: minutes(1), why: "unclear", ...failure, lasting: false },
    { kind: "undelivered", at: now, why: "refused", ...failure },
    { kind: "undelivered", at: now, why: "other-cluster", ...failure },
    { kind: "undelivered", at: now, why: "stale", ...failure },
    { kind: "epoch-raised", at: now, epoch: 2 },
    {
      kind: "answered",
      at: now,
      generation: { epoch: 2, sequence: 1 },
      changes: [],
      answer: {
        generation: { epoch: 2, sequence: 1 },
        readyNodes: [],
        unlisted: [],
        again: null,
        lists: [],
      },
      tookMs: 1,
    },
    { kind: "lease-lost", at: now, message: "Lost the Lease" },
  ];
}

test("makeRecorder() writes every reason to a real API server, with two verbs in two namespaces", {
  skip,
  timeout: LIMIT,
}, async (t) => {
  const name = "node-1.eu-west-1.compute.internal";
  const uid = await kube.createNode({ name });
  const { recorder, lines, now, stop } = record(t, await accountOf("all", ["default", NAMESPACE]));
  for (const event of everything(now(), { uid, name })) recorder.hear(event);
  const reasons = Object.keys(NOTE_REASONS).toSorted();
  const written = await eventually(
    "every reason is written",
    async () => {
      const events = [...(await eventsIn("default")), ...(await eventsIn(NAMESPACE))];
      return new Set(events.map(({ reason }) => reason)).size === reasons.length && events;
    },
    { withinMs: WITHIN_MS, hopeless: () => lines[0] ?? null },
  );
  assert.deepEqual([...new Set(written.map(({ reason }) => reason))].toSorted(), reasons);
  for (const { regarding, metadata } of written) {
    assert.equal(metadata.namespace, regarding.kind === "Node" ? "default" : NAMESPACE);
  }
  const node = written.find(({ reason }) => reason === "AddressAllowlisted");
  assert.equal(node?.regarding.uid, uid);
  const lease = written.find(({ reason }) => reason === "LeaseLost");
  assert.match(lease?.regarding.uid ?? "", /^[0-9a-f-]{36}$/, "the Lease's, which it looked up");

  // The older form of the API, which kubectl reads, shows the same Events.
  const path = `/api/v1/namespaces/default/events?fieldSelector=involvedObject.uid=${uid}`;
  const { items } = await kube.request<{ items: { message: string }[] }>("GET", path);
  assert.ok(items.some(({ message }) => /on every gating list/.test(message)));

  recorder.hear({ kind: "lease-lost", at: now(), message: "Lost the Lease" });
  await stop();
  const again = (await eventsIn(NAMESPACE)).filter(({ reason }) => reason === "LeaseLost");
  assert.deepEqual(
    again.map(({ series }) => series?.count),
    [2],
    "counted up at the end",
  );
  assert.deepEqual(lines, []);
});

test("makeRecorder() says once what to grant, and writes where it may", {
  skip,
  timeout: LIMIT,
}, async (t) => {
  const { recorder, lines, now } = record(t, await accountOf("some", [NAMESPACE]));
  const before = (await eventsIn(NAMESPACE)).length;
  for (const name of ["x", "y", "z"]) {
    recorder.hear({ kind: "node-ready", at: now(), node: { uid: `uid-${name}`, name }, tookMs: 1 });
  }
  recorder.hear({ kind: "watch-stale", at: now(), ageMs: 1 });
  await eventually(
    "the own namespace has it",
    async () => (await eventsIn(NAMESPACE)).length === before + 1,
    { withinMs: WITHIN_MS },
  );
  await eventually("the others are given up", () => recorder.tally().dropped === 3, {
    withinMs: WITHIN_MS,
  });
  assert.equal(lines.length, 1);
  assert.match(
    lines[0] ?? "",
    /403 .*grant create and patch on events of events\.k8s\.io in "default"/,
  );
});
