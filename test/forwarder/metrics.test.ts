import assert from "node:assert/strict";
import { test } from "node:test";
import type { ForwarderEvent } from "../../forwarder/journal.ts";
import type { HeldLease } from "../../forwarder/lease.ts";
import { makeMetrics } from "../../forwarder/metrics.ts";
import type { ReadinessCounts } from "../../forwarder/readiness.ts";
import type { Truth } from "../../forwarder/truth.ts";
import { blankReport, type ListReport } from "../../lib/core/report.ts";
import type { Node } from "../../lib/core/snapshot.ts";
import { START } from "./clock.ts";
import { parseExposition } from "./exposition.ts";

const P = "kube_allowlist_forwarder_";
const GENERATION = { epoch: 7, sequence: 1 };

function nodeOf(name: string): Node {
  return { uid: `uid-${name}`, name, labels: {}, addresses: [], podCidrs: [] };
}

function truthOf(observedAt: number, count: number): Truth {
  const nodes = Array.from({ length: count }, (_, n) => nodeOf(`n${n}`));
  return { clusterUid: "u", scope: { labels: [], pods: [] }, nodes, pods: [], observedAt };
}

function stageOf() {
  const state: {
    now: number;
    truth: Truth | null;
    held: HeldLease | null;
    counts: ReadinessCounts | null;
    events: { written: number; dropped: number } | null;
  } = { now: START, truth: null, held: null, counts: null, events: { written: 0, dropped: 0 } };
  const metrics = makeMetrics({
    now: () => state.now,
    truth: () => state.truth,
    held: () => state.held,
    counts: () => state.counts,
    events: () => state.events,
    process: () => ({ residentBytes: 5e7, cpuSeconds: 1.5, startedAtSeconds: 1.7e9 }),
    version: "2.0.0",
  });
  const samples = async () => parseExposition(await metrics.render());
  return {
    state,
    metrics,
    hear: (event: ForwarderEvent) => metrics.hear(event),
    samples,
    /** The one sample of that name and these labels, or null. */
    async value(name: string, labels: Readonly<Record<string, string>> = {}) {
      const found = (await samples()).filter(
        (sample) =>
          sample.name === P + name &&
          Object.entries(labels).every(([key, text]) => sample.labels[key] === text),
      );
      assert.ok(found.length <= 1, `${found.length} of ${name}`);
      return found[0]?.value ?? null;
    },
  };
}

function answered(at: number, lists: readonly ListReport[] = []): ForwarderEvent {
  const answer = { generation: GENERATION, readyNodes: [], unlisted: [], again: null, lists };
  return { kind: "answered", at, generation: GENERATION, changes: [], answer, tookMs: 1 };
}

function delivered(at: number): ForwarderEvent {
  return { kind: "delivered", at, generation: GENERATION, nodes: 1, changes: [] };
}

function undelivered(at: number): ForwarderEvent {
  const rest = { message: "no", why: "unclear", retryInMs: 1, lasting: false } as const;
  return { kind: "undelivered", at, ...rest };
}

function seen(at: number): ForwarderEvent {
  return { kind: "seen", at, changes: [{ kind: "node.added", name: "a", uid: "u" }] };
}

const acquired = (at: number): ForwarderEvent => ({ kind: "lease-acquired", at, epoch: 7 });
const lost = (at: number): ForwarderEvent => ({ kind: "lease-lost", at, message: "lost" });

function reportOf(given: Partial<ListReport>): ListReport {
  return { ...blankReport("db", "memory/a"), ...given };
}

test("makeMetrics() renders what a scraper takes, before and after anything has happened", async () => {
  const stage = stageOf();
  assert.match(stage.metrics.contentType, /^text\/plain; version=0\.0\.4/);
  const before = await stage.samples();
  assert.ok(before.length > 30);
  stage.state.truth = truthOf(START, 3);
  stage.state.held = { epoch: 7, acquisition: 1 };
  stage.state.counts = { ready: 1, pending: 1, unlisted: 1 };
  stage.hear(acquired(START));
  const awkward = reportOf({ list: 'a"b\\c\nd', state: "failed", reason: "full" });
  stage.hear(answered(START, [awkward]));
  const after = await stage.samples();
  const state = after.find(({ name }) => name === `${P}target_state`);
  assert.equal(state?.labels.list, 'a"b\\c\nd');
});

test("makeMetrics() counts deliveries by result and times those that were on their way", async () => {
  const stage = stageOf();
  assert.equal(await stage.value("deliveries_total", { result: "refused" }), 0);
  stage.hear(delivered(START));
  stage.hear(answered(START + 300));
  stage.hear(delivered(START + 1_000));
  stage.hear(undelivered(START + 36_000));
  // Too large to be sent at all.
  stage.hear(undelivered(START + 96_000));
  assert.equal(await stage.value("deliveries_total", { result: "answered" }), 1);
  assert.equal(await stage.value("deliveries_total", { result: "unclear" }), 2);
  assert.equal(await stage.value("delivery_duration_seconds_count"), 2);
  assert.equal(await stage.value("delivery_duration_seconds_sum"), 35.3);
});

test("makeMetrics() times a change from its first event to the acknowledgement, over failures", async () => {
  const stage = stageOf();
  const sum = () => stage.value("acknowledgement_latency_seconds_sum");
  stage.hear(acquired(START));
  stage.hear(seen(START + 1_000));
  stage.hear(seen(START + 1_500));
  stage.hear(delivered(START + 1_600));
  stage.hear(undelivered(START + 2_000));
  stage.hear(delivered(START + 3_000));
  stage.hear(seen(START + 3_100));
  stage.hear(answered(START + 4_000));
  assert.equal(await sum(), 3);
  stage.hear(delivered(START + 4_100));
  stage.hear(answered(START + 4_600));
  assert.equal(await sum(), 4.5);
  stage.hear(delivered(START + 9_000));
  stage.hear(answered(START + 9_500));
  assert.equal(await sum(), 4.5, "a heartbeat acknowledges nothing new");
});

test("makeMetrics() does not time what was another process's to deliver", async () => {
  const stage = stageOf();
  stage.hear(seen(START));
  stage.hear(acquired(START + 3_600_000));
  stage.hear(delivered(START + 3_600_100));
  stage.hear(answered(START + 3_600_200));
  assert.equal(await stage.value("acknowledgement_latency_seconds_count"), 0);
});

test("makeMetrics() shows ages at the scrape, and none that mean nothing", async () => {
  const stage = stageOf();
  const ages = async () => [
    await stage.value("acknowledged_age_seconds"),
    await stage.value("observation_age_seconds"),
  ];
  assert.deepEqual(await ages(), [null, null]);
  stage.state.truth = truthOf(START, 1);
  stage.hear(acquired(START + 10_000));
  stage.state.now = START + 30_000;
  assert.deepEqual(await ages(), [30, 30], "nothing was acknowledged since the start");
  stage.hear(answered(START + 25_000));
  assert.deepEqual(await ages(), [5, 30]);
  stage.hear(lost(START + 30_000));
  assert.deepEqual(await ages(), [null, 30]);
  stage.state.now = START - 60_000;
  assert.deepEqual(await ages(), [null, 0], "a clock that was set back");
  stage.hear(acquired(START - 60_000));
  assert.deepEqual(await ages(), [0, 0]);
});

test("makeMetrics() counts the age of the acknowledgement on, through every loss of the Lease", async () => {
  const stage = stageOf();
  const age = () => stage.value("acknowledged_age_seconds");
  const minute = 60_000;
  stage.hear(acquired(START));
  stage.hear(answered(START + minute));
  for (let at = START + 4 * minute; at <= START + 180 * minute; at += 4 * minute) {
    stage.state.now = at;
    stage.hear(undelivered(at));
    stage.hear(lost(at));
    assert.equal(await age(), null);
    stage.hear(acquired(at));
    assert.equal(await age(), (at - START - minute) / 1_000);
  }
  stage.hear(answered(stage.state.now));
  assert.equal(await age(), 0);
});

test("makeMetrics() shows the targets of the last answer, and forgets those of before", async () => {
  const stage = stageOf();
  const states = async () =>
    (await stage.samples())
      .filter(({ name }) => name === `${P}target_state`)
      .map(({ labels, value }) => [labels.target, labels.state, labels.reason, value].join(" "))
      .toSorted();
  stage.hear(acquired(START));
  const converged = reportOf({ target: "b", state: "converged", reason: null });
  stage.hear(answered(START, [reportOf({ state: "failed", reason: "full" }), converged]));
  assert.deepEqual(await states(), ["b converged  1", "memory/a failed full 1"]);
  stage.hear(answered(START, [reportOf({ state: "withheld", reason: "ratio" })]));
  assert.deepEqual(await states(), ["memory/a withheld ratio 1"]);
  stage.hear(lost(START));
  assert.deepEqual(await states(), [], "another process shows them now");
});

test("makeMetrics() counts a refused address once, however many targets its list has", async () => {
  const stage = stageOf();
  const refused = ["203.0.113.1", "203.0.113.2"].map((address) => ({
    address,
    cluster: "test",
    node: "a",
    reason: "out-of-bounds" as const,
  }));
  stage.hear(acquired(START));
  stage.hear(answered(START, [reportOf({ refused }), reportOf({ target: "b", refused })]));
  const labels = { list: "db", reason: "out-of-bounds" };
  assert.equal(await stage.value("refused_addresses", labels), 2);
  stage.hear(answered(START, [reportOf({})]));
  assert.equal(await stage.value("refused_addresses", labels), null);
});

test("makeMetrics() shows who leads, with which epoch, and nodes by readiness only there", async () => {
  const stage = stageOf();
  stage.state.truth = truthOf(START, 4);
  assert.deepEqual([await stage.value("leader"), await stage.value("epoch")], [0, null]);
  assert.equal(await stage.value("nodes"), 4);
  const ready = () => stage.value("nodes_by_readiness", { readiness: "ready" });
  assert.equal(await ready(), null);
  stage.state.held = { epoch: 7, acquisition: 1 };
  stage.state.counts = { ready: 3, pending: 1, unlisted: 0 };
  assert.deepEqual([await stage.value("leader"), await stage.value("epoch")], [1, 7]);
  assert.equal(await ready(), 3);
  stage.state.held = null;
  stage.state.counts = null;
  assert.deepEqual([await stage.value("epoch"), await ready()], [null, null]);
});

test("makeMetrics() counts what the watch, the Lease and the gate did", async () => {
  const stage = stageOf();
  const at = START;
  const node = { uid: "u", name: "a" };
  const failure = { at, message: "no", retryInMs: 1 };
  stage.hear({ kind: "watch-ended", at, collection: "nodes", why: "closed" });
  stage.hear({ kind: "watch-ended", at, collection: "pods of pay/app=api", why: "silent" });
  stage.hear({ kind: "watch-failed", ...failure, collection: "nodes", lasting: true });
  stage.hear({ kind: "listed", at, collection: "pods of ops", count: 3 });
  stage.hear({ kind: "restored", at, collection: "nodes", from: "9", to: "1" });
  stage.hear({ kind: "unsent", at, node: "a", addresses: ["x", "y"] });
  stage.hear({ kind: "epoch-raised", at, epoch: 2 });
  stage.hear({ kind: "lease-failed", at, message: "no", lasting: false });
  stage.hear({ kind: "gate-opened", at, node, why: "timeout", afterMs: 1 });
  stage.hear({ kind: "gate-failed", at, node, message: "no", lasting: false });
  stage.state.events = { written: 5, dropped: 2 };
  const pods = { collection: "pods" };
  const values = [
    await stage.value("watch_restarts_total", { collection: "nodes", reason: "closed" }),
    await stage.value("watch_restarts_total", { ...pods, reason: "silent" }),
    await stage.value("watch_failures_total", { collection: "nodes", lasting: "true" }),
    await stage.value("lists_total", pods),
    await stage.value("cluster_restores_total"),
    await stage.value("unsent_addresses_total"),
    await stage.value("lease_changes_total", { change: "raised" }),
    await stage.value("lease_failures_total"),
    await stage.value("gate_openings_total", { why: "timeout" }),
    await stage.value("gate_failures_total"),
    await stage.value("events_written_total"),
    await stage.value("events_dropped_total"),
  ];
  assert.deepEqual(values, [1, 1, 1, 1, 1, 2, 1, 1, 1, 1, 5, 2]);
});

test("makeMetrics() never makes a series of a node, a pod, an address or a selector", async () => {
  const stage = stageOf();
  stage.state.truth = truthOf(START, 2_000);
  stage.state.held = { epoch: 7, acquisition: 1 };
  stage.state.counts = { ready: 2_000, pending: 0, unlisted: 0 };
  stage.hear(acquired(START));
  stage.hear(answered(START));
  const few = (await stage.samples()).length;
  for (let n = 0; n < 2_000; n += 1) {
    const node = { uid: `uid-n${n}`, name: `n${n}` };
    const changes = [{ kind: "node.added", name: `n${n}`, uid: `uid-n${n}` }];
    stage.hear({ kind: "seen", at: START, changes });
    stage.hear({ kind: "unsent", at: START, node: `n${n}`, addresses: [`x${n}`] });
    stage.hear({ kind: "node-ready", at: START, node, tookMs: n });
    stage.hear({ kind: "gate-opened", at: START, node, why: "ready", afterMs: n });
    stage.hear({ kind: "listed", at: START, collection: `pods of ns${n}`, count: 1 });
  }
  const refused = Array.from({ length: 2_000 }, (_, n) => ({
    address: `10.0.${n >> 8}.${n & 255}`,
    cluster: "test",
    node: `n${n}`,
    reason: "out-of-bounds" as const,
  }));
  stage.hear(answered(START, [reportOf({ refused })]));
  const many = (await stage.samples()).length;
  assert.ok(many - few <= 5, `${many - few} more series`);
});
