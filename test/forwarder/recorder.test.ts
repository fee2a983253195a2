import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { KubeObject } from "../../cli/embedded/kubernetes-store.ts";
import { noteText } from "../../forwarder/event-object.ts";
import type { ForwarderEvent } from "../../forwarder/journal.ts";
import { KubeError, openKube } from "../../forwarder/kube.ts";
import { makeNotes } from "../../forwarder/notes.ts";
import type { ObservedNode } from "../../forwarder/projection.ts";
import { makeRecorder } from "../../forwarder/recorder.ts";
import { blankReport } from "../../lib/core/report.ts";
import { manualWorld, START } from "./clock.ts";
import { startCluster } from "./stage.ts";

const MINUTE_MS = 60_000;
const LIMIT = { timeout: 30_000 };

async function stageOf(t: TestContext, options: { readonly identity?: string } = {}) {
  const world = manualWorld();
  const server = await startCluster(t, { world });
  const source = { kind: "text", text: server.kubeconfig } as const;
  const kube = openKube(source, { world, proxy: {}, warn: () => undefined });
  const lease = { namespace: "kube-public", name: "kube-allowlist" };
  const draft = { apiVersion: "coordination.k8s.io/v1", kind: "Lease", metadata: lease };
  const leaseUid = server.store.put("leases", "kube-public/kube-allowlist", draft).metadata.uid;
  const nodes = new Map<string, ObservedNode>();
  const recorder = makeRecorder({
    kube,
    world,
    lease,
    identity: options.identity ?? "host_0123456789abcdef",
    nodes: () => nodes,
  });
  const end = new AbortController();
  const run = { isOver: false };
  const running = recorder.run(end.signal).then(() => {
    run.isOver = true;
  });
  const stop = () => end.abort(new Error("the end"));
  t.after(async () => {
    stop();
    server.faults.clear();
    await world.until("the recorder's end", () => run.isOver, { withinMs: 30_000 });
    await running;
    kube.close();
  });
  const events = () => server.store.list("events", server.store.revision());
  return {
    world,
    server,
    nodes,
    leaseUid,
    recorder,
    run,
    stop,
    events,
    hear: (event: ForwarderEvent) => recorder.hear(event),
    reasons: () => events().map(({ reason }) => String(reason)),
    /** Real connections take real time, of which a manual clock knows nothing. */
    async written(count: number) {
      for (let tries = 0; tries < 1_000 && events().length < count; tries += 1) {
        await world.advance(10);
      }
      await world.advance(100);
      assert.equal(events().length, count);
    },
    requests: () => server.requests().filter(({ kind }) => kind === "event").length,
    ready: (name: string): ForwarderEvent => ({
      kind: "node-ready",
      at: world.now(),
      node: { uid: `uid-${name}`, name },
      tookMs: 1_000,
    }),
    lost: (): ForwarderEvent => ({ kind: "lease-lost", at: world.now(), message: "Lost it" }),
    failed: (target: string): ForwarderEvent => ({
      kind: "list-changed",
      at: world.now(),
      report: { ...blankReport("db", target), state: "failed", reason: "denied", message: "no" },
    }),
  };
}

function seriesCount(event: KubeObject | undefined): unknown {
  return event === undefined ? null : Object(event.series).count;
}

test(
  "makeRecorder() writes of a node in default, and of itself about its Lease",
  LIMIT,
  async (t) => {
    const stage = await stageOf(t);
    stage.hear(stage.ready("a"));
    stage.hear(stage.failed("memory/a"));
    await stage.written(2);
    const [node, own] = stage.events();
    assert.deepEqual(node?.regarding, { apiVersion: "v1", kind: "Node", name: "a", uid: "uid-a" });
    assert.deepEqual(
      [node?.metadata.namespace, node?.reason, node?.type, node?.action],
      ["default", "AddressAllowlisted", "Normal", "Allowlist"],
    );
    assert.equal(node?.eventTime, "2026-11-20T21:00:00.000000Z");
    assert.equal(node?.reportingController, "kube-allowlist.dev/forwarder");
    assert.equal(node?.series, undefined);
    assert.deepEqual(own?.regarding, {
      apiVersion: "coordination.k8s.io/v1",
      kind: "Lease",
      namespace: "kube-public",
      name: "kube-allowlist",
      uid: stage.leaseUid,
    });
    assert.deepEqual([own?.metadata.namespace, own?.type], ["kube-public", "Warning"]);
    assert.match(String(own?.note), /^db at memory\/a: no$/);
    assert.deepEqual(stage.recorder.tally(), { written: 2, dropped: 0 });
  },
);

test("makeRecorder() finds the uid of a node that only its name is known of", LIMIT, async (t) => {
  const stage = await stageOf(t);
  const node = { uid: "uid-b", name: "b", labels: {}, addresses: [], podCidrs: [] };
  stage.hear({ kind: "unsent", at: stage.world.now(), node: "b", addresses: ["a.example"] });
  stage.nodes.set("uid-b", { node, unsent: ["a.example"], mark: null, createdAt: null });
  await stage.written(1);
  const [event] = stage.events();
  assert.equal(event?.reason, "AddressNotSent");
  assert.equal(Object(event?.regarding).uid, "uid-b");
});

test(
  "makeRecorder() counts what comes again up in one Event, at most every 30 s",
  LIMIT,
  async (t) => {
    const stage = await stageOf(t);
    for (let second = 0; second < 120; second += 1) {
      stage.hear(stage.lost());
      await stage.world.advance(1_000);
    }
    await stage.world.advance(31_000);
    const [event, ...others] = stage.events();
    assert.equal(others.length, 0);
    assert.equal(seriesCount(event), 120);
    assert.ok(stage.requests() <= 7, `${stage.requests()} requests`);
    assert.equal(Object(event?.series).lastObservedTime, "2026-11-20T21:01:59.000000Z");
  },
);

test("makeRecorder() begins another Event after six quiet minutes", LIMIT, async (t) => {
  const stage = await stageOf(t);
  stage.hear(stage.lost());
  await stage.world.advance(5 * MINUTE_MS);
  stage.hear(stage.lost());
  await stage.world.advance(7 * MINUTE_MS);
  stage.hear(stage.lost());
  await stage.written(2);
  assert.deepEqual(stage.events().map(seriesCount).toSorted(), [2, undefined]);
});

test(
  "makeRecorder() tells targets apart, though both Events are about one Lease",
  LIMIT,
  async (t) => {
    const stage = await stageOf(t);
    stage.hear(stage.failed("memory/a"));
    stage.hear(stage.failed("memory/b"));
    await stage.written(2);
    const notes = stage.events().map(({ note }) => String(note));
    assert.deepEqual(notes.toSorted(), ["db at memory/a: no", "db at memory/b: no"]);
  },
);

test(
  "makeRecorder() writes a part of a thousand Events at once, and drowns no warning",
  LIMIT,
  async (t) => {
    const stage = await stageOf(t);
    for (let n = 0; n < 1_000; n += 1) stage.hear(stage.ready(`n${n}`));
    stage.hear(stage.lost());
    await stage.written(26);
    assert.deepEqual(stage.recorder.tally(), { written: 26, dropped: 975 });
    assert.ok(stage.reasons().includes("LeaseLost"));
    await stage.world.advance(10 * MINUTE_MS);
    stage.hear(stage.ready("late"));
    await stage.written(27);
  },
);

test(
  "makeRecorder() limits what is said of one node, however long it goes on",
  LIMIT,
  async (t) => {
    const stage = await stageOf(t);
    // Every seven minutes: each is a new Event.
    for (let n = 0; n < 40; n += 1) {
      stage.hear(stage.ready("a"));
      await stage.world.advance(7 * MINUTE_MS);
    }
    assert.ok(stage.events().length >= 25, "one in five minutes is allowed");
    for (let n = 0; n < 100; n += 1) {
      stage.hear(stage.failed(`memory/${n}`));
      await stage.world.advance(1_000);
    }
    const failures = stage.reasons().filter((reason) => reason === "AllowlistFailed");
    assert.ok(failures.length >= 25 && failures.length <= 27, `${failures.length} Events`);
  },
);

test(
  "makeRecorder() is told once what to grant, and leaves the API server alone",
  LIMIT,
  async (t) => {
    const stage = await stageOf(t);
    stage.server.faults.add("event", { kind: "status", status: 403 });
    for (let n = 0; n < 120; n += 1) {
      stage.hear(stage.failed(`memory/${n}`));
      await stage.world.advance(MINUTE_MS);
    }
    const said = stage.world.lines.filter(({ fields }) => fields.event === "event-failed");
    assert.equal(said.length, 1);
    assert.match(said[0]?.message ?? "", /grant create and patch on events of events\.k8s\.io/);
    assert.equal(said[0]?.fields.namespace, "kube-public");
    assert.ok(stage.requests() <= 13, `${stage.requests()} requests in two hours`);
    assert.equal(stage.recorder.tally().dropped, 120);
    stage.server.faults.clear();
    await stage.world.advance(11 * MINUTE_MS);
    stage.hear(stage.lost());
    await stage.written(1);
  },
);

test("makeRecorder() keeps writing where it may, when it may not elsewhere", LIMIT, async (t) => {
  const stage = await stageOf(t);
  stage.server.faults.add("event", { kind: "status", status: 403 }, { path: "/default/" });
  stage.hear(stage.ready("a"));
  stage.hear(stage.lost());
  await stage.written(1);
  assert.deepEqual(stage.reasons(), ["LeaseLost"]);
});

test(
  "makeRecorder() outlasts an API server that is away, with growing pauses",
  LIMIT,
  async (t) => {
    const stage = await stageOf(t);
    stage.server.faults.add("event", { kind: "status", status: 503 });
    stage.hear(stage.lost());
    await stage.world.advance(20 * MINUTE_MS);
    assert.ok(stage.requests() <= 35, `${stage.requests()} requests`);
    stage.server.faults.clear();
    await stage.world.advance(MINUTE_MS + 1_000);
    const [event] = stage.events();
    assert.equal(event?.eventTime, "2026-11-20T21:00:00.000000Z", "it says when it was");
  },
);

test("makeRecorder() waits as long as Retry-After says", LIMIT, async (t) => {
  const stage = await stageOf(t);
  const fault = { kind: "status", status: 429, retryAfterS: 90 } as const;
  stage.server.faults.add("event", fault, { times: 1 });
  stage.hear(stage.lost());
  await stage.world.advance(89_000);
  assert.equal(stage.requests(), 1);
  await stage.world.advance(3_000);
  assert.equal(stage.events().length, 1);
});

test(
  "makeRecorder() writes an Event once, also when the answer to it is lost",
  LIMIT,
  async (t) => {
    const stage = await stageOf(t);
    stage.server.faults.add("event", { kind: "lose-reply" }, { times: 1 });
    stage.hear(stage.lost());
    await stage.world.advance(10_000);
    assert.deepEqual([stage.events().length, stage.requests()], [1, 2]);
    assert.deepEqual(stage.recorder.tally(), { written: 1, dropped: 0 });
  },
);

test("makeRecorder() makes an Event anew that has expired meanwhile", LIMIT, async (t) => {
  const stage = await stageOf(t);
  stage.hear(stage.lost());
  await stage.written(1);
  const [first] = stage.events();
  stage.server.store.remove("events", `kube-public/${first?.metadata.name}`);
  stage.hear(stage.lost());
  await stage.world.advance(31_000);
  const [second, ...others] = stage.events();
  assert.equal(others.length, 0);
  assert.ok(second !== undefined && second.metadata.name !== first?.metadata.name);
});

test("makeRecorder() drops what an API server refuses, and goes on", LIMIT, async (t) => {
  const stage = await stageOf(t);
  stage.server.faults.add("event", { kind: "status", status: 422 }, { times: 2 });
  stage.hear(stage.failed("memory/a"));
  stage.hear(stage.failed("memory/b"));
  stage.hear(stage.failed("memory/c"));
  await stage.written(1);
  assert.deepEqual(stage.recorder.tally(), { written: 1, dropped: 2 });
  const said = stage.world.lines.filter(({ fields }) => fields.event === "event-failed");
  assert.equal(said.length, 1);
});

test(
  "makeRecorder() writes at the end what waits, within two seconds or not at all",
  LIMIT,
  async (t) => {
    const stage = await stageOf(t);
    stage.hear(stage.lost());
    await stage.written(1);
    stage.hear(stage.lost());
    stage.hear(stage.failed("memory/a"));
    stage.stop();
    await stage.world.until("the end", () => stage.run.isOver, { withinMs: 0 });
    assert.equal(stage.events().length, 2);
    assert.deepEqual(stage.events().map(seriesCount).toSorted(), [2, undefined]);
  },
);

test("makeRecorder() does not hold up the end when the API server hangs", LIMIT, async (t) => {
  const stage = await stageOf(t);
  stage.server.faults.add("event", { kind: "stall" });
  for (let n = 0; n < 20; n += 1) stage.hear(stage.failed(`memory/${n}`));
  await stage.world.advance(100);
  const before = stage.world.now();
  stage.stop();
  await stage.world.until("the end", () => stage.run.isOver, { withinMs: 10_000 });
  assert.ok(stage.world.now() - before <= 2_000, `${stage.world.now() - before} ms`);
});

test("makeRecorder() fits awkward names into what an API server takes", LIMIT, async (t) => {
  const stage = await stageOf(t, { identity: `${"h".repeat(200)}_0123456789abcdef` });
  const name = `${"a".repeat(229)}.${"b".repeat(20)}`;
  stage.hear(stage.ready(name));
  await stage.written(1);
  const [event] = stage.events();
  assert.equal(Object(event?.regarding).name, name);
  assert.match(String(event?.reportingInstance), /_0123456789abcdef$/);
});

test("noteText() keeps within 1,024 bytes and cuts no character in two", () => {
  assert.equal(noteText("  a\n\tb\u0000c "), "a b c");
  assert.equal(noteText("x".repeat(1_024)), "x".repeat(1_024));
  for (const text of ["x".repeat(2_000), "ä".repeat(2_000), "x🦊".repeat(2_000)]) {
    const note = noteText(text);
    assert.ok(Buffer.byteLength(note) <= 1_024 && Buffer.byteLength(note) > 1_015);
    assert.ok(note.endsWith("…") && !note.includes("\ufffd"));
    assert.ok(text.startsWith(note.slice(0, -1)));
  }
});

/** A recorder whose Events go where a test wants, at the test's own pace. */
function recordTo(t: TestContext, write: (event: { readonly note: string }) => Promise<unknown>) {
  const world = manualWorld();
  const recorder = makeRecorder({
    kube: {
      read: async () => ({}),
      patch: async () => ({}),
      write: (_method, _path, { body }) => write(body as { readonly note: string }),
    },
    world,
    lease: { namespace: "kube-public", name: "kube-allowlist" },
    identity: "host_0123456789abcdef",
    nodes: () => new Map(),
  });
  const end = new AbortController();
  const running = recorder.run(end.signal);
  t.after(async () => {
    end.abort(new Error("the test is over"));
    await running;
  });
  const failed = (target: string) =>
    recorder.hear({
      kind: "list-changed",
      at: world.now(),
      report: { ...blankReport("db", target), state: "failed", reason: "denied", message: "no" },
    });
  return { world, failed };
}

test("makeRecorder() hears what is said at the very moment it goes to rest", LIMIT, async (t) => {
  for (let turns = 0; turns < 20; turns += 1) {
    let written = 0;
    const stage = recordTo(t, async () => {
      written += 1;
      if (written > 1) return {};
      void (async () => {
        for (let turn = 0; turn < turns; turn += 1) await null;
        stage.failed("memory/second");
      })();
      return {};
    });
    stage.failed("memory/first");
    await stage.world.advance(100);
    assert.equal(written, 2, `after ${turns} turns`);
  }
});

test("makeRecorder() lets an Event that cannot be written hold up no other", LIMIT, async (t) => {
  const written: string[] = [];
  const stage = recordTo(t, async ({ note }) => {
    if (note.includes("memory/bad")) throw new KubeError("no", { status: 500 });
    written.push(note);
    return {};
  });
  for (const target of ["memory/bad", "memory/a", "memory/b"]) stage.failed(target);
  await stage.world.advance(10 * MINUTE_MS);
  assert.equal(written.length, 2);
});

test("makeNotes() takes two failures of the Lease, hours apart, for no trouble", () => {
  const notesOf = makeNotes();
  const failed = (at: number) =>
    notesOf({ kind: "lease-failed", at, message: "timeout", lasting: false }).length;
  assert.equal(failed(START), 0);
  assert.equal(failed(START + 60 * MINUTE_MS), 0);
  assert.equal(failed(START + 120 * MINUTE_MS), 0);
  let told = 0;
  for (let second = 0; second <= 70; second += 5) {
    told += failed(START + 180 * MINUTE_MS + second * 1_000);
  }
  assert.equal(told, 3, "from a minute on");
});

test("makeNotes() tells of a dead receiver though the Lease is lost every few minutes", () => {
  const notesOf = makeNotes();
  const told = new Map<string, number>();
  const hear = (event: ForwarderEvent) => {
    for (const { reason } of notesOf(event)) told.set(reason, event.at);
  };
  const rest = { message: "no answer", why: "unclear", retryInMs: 1, lasting: false } as const;
  const failed = (at: number) => hear({ kind: "undelivered", at, ...rest });
  for (let minute = 0; minute < 20; minute += 1) {
    const at = START + minute * MINUTE_MS;
    if (minute % 4 === 3) hear({ kind: "lease-lost", at, message: "Lost it" });
    if (minute % 4 === 3) hear({ kind: "lease-acquired", at, epoch: minute });
    failed(at);
    assert.equal(told.has("DeliveryFailing"), minute >= 5, `after ${minute} min`);
  }
  told.clear();
  const generation = { epoch: 1, sequence: 1 };
  const answer = { generation, readyNodes: [], unlisted: [], again: null, lists: [] };
  const at = START + 20 * MINUTE_MS;
  hear({ kind: "answered", at, generation, changes: [], answer, tookMs: 1 });
  assert.ok(told.has("DeliveryRecovered"));
  told.clear();
  failed(at + MINUTE_MS);
  hear({ kind: "lease-lost", at: at + MINUTE_MS, message: "Lost it" });
  // Another process delivered for an hour; one failure after that is none to tell of.
  failed(at + 60 * MINUTE_MS);
  assert.ok(!told.has("DeliveryFailing"));
});
