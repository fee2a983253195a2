import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { makeVoice, openHearers } from "../../forwarder/hearers.ts";
import type { ForwarderEvent } from "../../forwarder/journal.ts";
import { openKube } from "../../forwarder/kube.ts";
import { followLists } from "../../forwarder/lists.ts";
import { lineOf, makeEventLog } from "../../forwarder/log-line.ts";
import { followStaleness } from "../../forwarder/staleness.ts";
import type { Truth } from "../../forwarder/truth.ts";
import { blankReport, type ListReport } from "../../lib/core/report.ts";
import { manualWorld, START } from "./clock.ts";
import { startCluster } from "./stage.ts";

const MINUTE_MS = 60_000;
const LIMIT = { timeout: 20_000 };

function reportOf(given: Partial<ListReport>): ListReport {
  return { ...blankReport("db", "memory/a"), ...given };
}

const FAILED = { state: "failed", reason: "denied" } as const;
const CONVERGED = { state: "converged", reason: null } as const;

function watchFailed(at: number, message: string, collection = "nodes"): ForwarderEvent {
  return { kind: "watch-failed", at, collection, message, retryInMs: 800, lasting: false };
}

test("lineOf() names things in one way: event, node, uid, collection, epoch, sequence", () => {
  const node = { name: "a", uid: "u" };
  const generation = { epoch: 7, sequence: 3 };
  const answer = { generation, readyNodes: [], unlisted: [], again: 5, lists: [] };
  const events: readonly ForwarderEvent[] = [
    { kind: "answered", at: START, generation, changes: [], answer, tookMs: 4 },
    { kind: "gate-opened", at: START, node, why: "timeout", afterMs: 9 },
    { kind: "list-changed", at: START, report: reportOf(FAILED) },
    watchFailed(START, "broken"),
  ];
  const lines = events.map(lineOf);
  assert.deepEqual(
    lines.map(({ level }) => level),
    ["debug", "error", "error", "warn"],
  );
  assert.deepEqual(lines[0]?.fields, {
    event: "answered",
    epoch: 7,
    sequence: 3,
    tookMs: 4,
    again: 5,
  });
  assert.deepEqual(lines[1]?.fields, {
    event: "gate-opened",
    node: "a",
    uid: "u",
    why: "timeout",
    afterMs: 9,
  });
  const { list, target, state, reason } = lines[2]?.fields ?? {};
  assert.deepEqual([list, target, state, reason], ["db", "memory/a", "failed", "denied"]);
  assert.equal(lines[3]?.fields.collection, "nodes");
});

test("makeEventLog() says the same thing once a minute, with how often it was repeated", () => {
  const { log, lines } = manualWorld();
  const hear = makeEventLog(log);
  for (let second = 0; second < 150; second += 1) {
    hear(watchFailed(START + second * 1_000, "Cannot list: refused"));
  }
  assert.deepEqual(
    lines.map(({ fields }) => fields.repeated),
    [undefined, 59, 59],
  );
  hear(watchFailed(START + 150_000, "Cannot list: refused", "pods of pay"));
  hear(watchFailed(START + 150_000, "Cannot list: forbidden"));
  assert.equal(lines.length, 5, "another collection and another sentence are news");
});

test("makeEventLog() cuts a flood short, and counts what it left out", () => {
  const { log, lines } = manualWorld();
  const hear = makeEventLog(log);
  const seen = (at: number, n: number): ForwarderEvent => ({
    kind: "seen",
    at,
    changes: [{ kind: "pod.added", name: `p${n}`, uid: `u${n}` }],
  });
  for (let n = 0; n < 10_000; n += 1) hear(seen(START + n, n));
  assert.ok(lines.length >= 100 && lines.length <= 120, `${lines.length} lines`);
  hear({ kind: "lease-lost", at: START + 10_000, message: "lost" });
  assert.equal(lines.at(-1)?.message, "lost", "another kind has its own room");
  hear(seen(START + 20_000, 1));
  const omitted = lines.reduce((sum, { fields }) => sum + Number(fields.omitted ?? 0), 0);
  const told = lines.filter(({ fields }) => fields.event === "seen").length;
  assert.equal(omitted + told, 10_001);
});

test("makeVoice() lets a hearer that throws harm no other", () => {
  const { log, lines } = manualWorld();
  const voice = makeVoice(log);
  const heard: string[] = [];
  voice.add(() => {
    throw new Error("deaf");
  });
  voice.add(({ kind }) => heard.push(kind));
  voice.emit({ kind: "warning", at: START, message: "careful" });
  assert.deepEqual(heard, ["warning"]);
  assert.match(lines.at(-1)?.message ?? "", /Cannot show an event: deaf/);
});

function listsStage() {
  const events: ForwarderEvent[] = [];
  const lists = followLists({ now: () => START, emit: (event) => events.push(event) });
  return {
    answered: (...reports: readonly Partial<ListReport>[]) =>
      lists.answered(reports.map((given) => reportOf(given))),
    told: () =>
      events
        .splice(0)
        .map((event) => (event.kind === "list-changed" ? `${event.report.state}` : event.kind)),
  };
}

test("followLists() says when a list begins to fail, and when it is well again", () => {
  const stage = listsStage();
  stage.answered(CONVERGED);
  stage.answered(FAILED);
  stage.answered(FAILED);
  assert.deepEqual(stage.told(), ["failed"]);
  stage.answered({ state: "failed", reason: "full" });
  assert.deepEqual(stage.told(), ["failed"], "another reason is news");
  stage.answered({ state: "pending", reason: "batch" });
  stage.answered({ state: "failed", reason: "full" });
  assert.deepEqual(stage.told(), [], "trying again is neither better nor news");
  stage.answered(CONVERGED);
  stage.answered(CONVERGED);
  assert.deepEqual(stage.told(), ["converged"]);
});

test("followLists() tells of what is wrong when it first hears, and of nothing else", () => {
  const stage = listsStage();
  const withheld = { target: "memory/b", state: "withheld", reason: "ratio" } as const;
  stage.answered({ state: "pending", reason: "batch" }, withheld);
  assert.deepEqual(stage.told(), ["withheld"]);
  stage.answered({ state: "pending", reason: "batch" });
  stage.answered({ state: "pending", reason: "batch" }, withheld);
  assert.deepEqual(stage.told(), ["withheld"], "it was gone from the configuration");
});

function staleStage(t: TestContext) {
  const world = manualWorld();
  const events: ForwarderEvent[] = [];
  const state: { truth: Truth | null } = { truth: null };
  const staleness = followStaleness({
    world,
    emit: (event) => events.push(event),
    truth: () => state.truth,
  });
  const end = new AbortController();
  const running = staleness.run(end.signal);
  t.after(async () => {
    end.abort(new Error("the test is over"));
    await running;
  });
  const observe = () => {
    const scope = { labels: [], pods: [] };
    state.truth = { clusterUid: "u", scope, nodes: [], pods: [], observedAt: world.now() };
  };
  return { world, events, observe, kinds: () => events.map(({ kind }) => kind) };
}

test(
  "followStaleness() tells of a truth that is five minutes old, and when it is current again",
  LIMIT,
  async (t) => {
    const stage = staleStage(t);
    await stage.world.advance(60 * MINUTE_MS);
    assert.deepEqual(stage.kinds(), [], "nothing is known that could be old");
    stage.observe();
    for (let minute = 0; minute < 30; minute += 1) {
      await stage.world.advance(MINUTE_MS);
      stage.observe();
    }
    assert.deepEqual(stage.kinds(), []);
    await stage.world.advance(4 * MINUTE_MS);
    assert.deepEqual(stage.kinds(), []);
    await stage.world.advance(2 * MINUTE_MS);
    assert.deepEqual(stage.kinds(), ["watch-stale"]);
    await stage.world.advance(125 * MINUTE_MS);
    assert.equal(stage.kinds().length, 3, "again after an hour");
    stage.observe();
    await stage.world.advance(MINUTE_MS);
    assert.equal(stage.kinds().at(-1), "watch-current");
  },
);

test("openHearers() lets no bug of what it tells reach what is delivered", LIMIT, async (t) => {
  const world = manualWorld();
  const server = await startCluster(t, { world });
  const source = { kind: "text", text: server.kubeconfig } as const;
  const kube = openKube(source, { world, proxy: {}, warn: () => undefined });
  t.after(() => kube.close());
  const fail = () => {
    throw new Error("a bug");
  };
  const hearers = await openHearers(
    { lease: { kind: "memory" }, listen: null },
    {
      world,
      voice: makeVoice(world.log),
      kube,
      watch: { nodes: fail, truth: fail },
      lease: { held: () => null },
      identity: "a",
      process: fail,
      version: "0",
    },
  );
  const end = new AbortController();
  const running = hearers.run(end.signal, end.signal);
  await world.advance(2 * MINUTE_MS);
  const generation = { epoch: 1, sequence: 1 };
  const scope = { labels: [], pods: [] };
  const times = { time: START, observedAt: START };
  const sent = { cluster: "test", clusterUid: "u", generation, ...times, scope };
  const answer = { generation, readyNodes: [], unlisted: [], again: null, lists: [] };
  hearers.answered({ ...sent, changes: [], nodes: [], pods: [] }, answer);
  end.abort(new Error("the test is over"));
  await running;
  await hearers.close();
  const said = world.lines.map(({ message }) => message);
  assert.ok(said.includes("Cannot follow an answer: a bug"));
  assert.ok(said.includes("Cannot go on telling: a bug"));
});
