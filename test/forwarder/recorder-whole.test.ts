import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { ForwarderEvent } from "../../forwarder/journal.ts";
import { runForwarder } from "../../forwarder/main.ts";
import type { Settings } from "../../forwarder/settings.ts";
import { blankReport } from "../../lib/core/report.ts";
import { parseSigningKey } from "../../lib/wire/signature.ts";
import { manualWorld } from "./clock.ts";
import { SECRET, startReceiver } from "./receiver.ts";
import { external, startCluster } from "./stage.ts";

/*
 * What people find in a cluster after something has happened to it: each of these situations ends
 * with an Event that says what happened and what to do.
 */

const MINUTE_MS = 60_000;
const LIMIT = { timeout: 30_000 };
const LEASE = "default/kube-allowlist";

async function stageOf(t: TestContext) {
  const world = manualWorld();
  const server = await startCluster(t, { world });
  const receiver = await startReceiver(t, world);
  const events = () => server.store.list("events", server.store.revision());
  const noteOf = (reason: string) =>
    String(events().find((event) => event.reason === reason)?.note ?? "");
  const forward = (settings: Partial<Settings> = {}) => {
    const end = new AbortController();
    const heard: ForwarderEvent[] = [];
    let isOver = false;
    const all: Settings = {
      url: receiver.url,
      cluster: "test",
      credential: { signing: { kind: "keys", keys: [parseSigningKey(SECRET)] }, tokenFile: null },
      labels: [],
      pods: [],
      gate: null,
      listen: null,
      lease: { kind: "kubernetes", namespace: null, name: "kube-allowlist" },
      heartbeatMs: 300_000,
      proxy: {},
      ...settings,
    };
    const running = runForwarder(all, {
      world,
      signal: end.signal,
      kubeConfig: { kind: "text", text: server.kubeconfig },
      onEvent: (event) => heard.push(event),
    }).finally(() => {
      isOver = true;
    });
    const stop = async () => {
      end.abort(new Error("the end"));
      await world.until("the forwarder's end", () => isOver, { withinMs: 40_000 });
      await running;
    };
    t.after(async () => {
      server.faults.clear();
      server.faults.silence(false);
      await stop();
    });
    return { heard, stop };
  };
  return {
    world,
    server,
    receiver,
    forward,
    events,
    reasons: () => [...new Set(events().map(({ reason }) => String(reason)))].toSorted(),
    noteOf,
    admitted: () => world.until("an admission", () => receiver.held !== null),
    told: (reason: string, withinMs = MINUTE_MS) =>
      world.until(`an Event ${reason}`, () => noteOf(reason) !== "", { withinMs }),
  };
}

test("runForwarder() writes no Event while all is well", LIMIT, async (t) => {
  const stage = await stageOf(t);
  stage.server.nodes.put("a", external("203.0.113.1"));
  const { stop } = stage.forward();
  await stage.admitted();
  const uid = stage.server.nodes.put("b", external("203.0.113.2"));
  stage.receiver.verdict = { unlisted: [uid] };
  stage.server.nodes.remove("a");
  await stage.world.advance(30 * MINUTE_MS);
  await stop();
  assert.deepEqual(stage.reasons(), []);
});

test("runForwarder() explains a Lease that was deleted, and goes on", LIMIT, async (t) => {
  const stage = await stageOf(t);
  stage.forward();
  await stage.admitted();
  stage.server.store.remove("leases", LEASE);
  await stage.told("LeaseLost");
  await stage.world.until("a new epoch", () => stage.receiver.held?.generation.epoch === 2);
  assert.match(stage.noteOf("LeaseLost"), /deleted is made again by itself.*Nothing is left to do/);
  const [event] = stage.events();
  const uid = stage.server.store.read("leases", LEASE)?.metadata.uid;
  assert.deepEqual(stage.reasons(), ["LeaseLost"]);
  assert.ok(Object(event?.regarding).uid === uid || Object(event?.regarding).uid === undefined);
});

test(
  "runForwarder() explains a chart that was reinstalled: what the receiver held, and the new epoch",
  LIMIT,
  async (t) => {
    const stage = await stageOf(t);
    const first = stage.forward();
    await stage.admitted();
    await first.stop();
    const { held } = stage.receiver;
    assert.ok(held !== null);
    stage.receiver.held = { ...held, generation: { epoch: 41, sequence: 7 } };
    stage.server.store.remove("leases", LEASE);
    stage.forward();
    await stage.told("EpochRaised");
    assert.match(stage.noteOf("EpochRaised"), /holds generation 41\/7.*epoch is 42 now/);
    assert.match(stage.noteOf("EpochRaised"), /chart reinstalled.*another forwarder/);
    assert.deepEqual(stage.reasons(), ["EpochRaised"]);
  },
);

test("runForwarder() explains a cluster that was restored from a backup", LIMIT, async (t) => {
  const stage = await stageOf(t);
  stage.server.nodes.put("a", external("203.0.113.1"));
  stage.forward();
  await stage.admitted();
  const backup = stage.server.store.backup();
  for (const n of [2, 3, 4]) stage.server.nodes.put(`n${n}`, external(`203.0.113.${n}`));
  await stage.world.until("all", () => stage.receiver.addresses().length === 4);
  // A day of a cluster's life, which the Lease does not make up for at once.
  for (let n = 0; n < 2_000; n += 1) stage.server.nodes.patch("a", { metadata: { labels: { n } } });
  await stage.world.advance(1_000);
  stage.server.restore(backup);
  await stage.told("ClusterRestored", 40 * MINUTE_MS);
  assert.match(
    stage.noteOf("ClusterRestored"),
    /nodes went back from \d+ to \d+.*Compare its nodes/,
  );
  assert.ok(!stage.reasons().includes("EpochRaised"), "one explanation is enough");
});

test("runForwarder() explains that another cluster speaks under its name", LIMIT, async (t) => {
  const stage = await stageOf(t);
  stage.forward();
  await stage.admitted();
  const { held } = stage.receiver;
  assert.ok(held !== null);
  stage.receiver.held = { ...held, clusterUid: "another", generation: { epoch: 9, sequence: 9 } };
  stage.server.nodes.put("a", external("203.0.113.1"));
  await stage.told("OtherCluster");
  assert.match(stage.noteOf("OtherCluster"), /name and a credential of its own.*staleAfter/);
});

test(
  "runForwarder() explains two forwarders that overtake each other, and stops racing",
  LIMIT,
  async (t) => {
    const stage = await stageOf(t);
    stage.forward();
    await stage.admitted();
    for (let second = 0; second < 30 && stage.noteOf("EpochContested") === ""; second += 1) {
      const { held } = stage.receiver;
      assert.ok(held !== null);
      const generation = { epoch: held.generation.epoch + 5, sequence: 1 };
      stage.receiver.held = { ...held, generation };
      stage.server.nodes.put("a", external(`203.0.113.${second}`));
      await stage.world.advance(2_000);
    }
    assert.match(stage.noteOf("EpochContested"), /find the other forwarder/);
  },
);

test(
  "runForwarder() explains a delivery that is refused, and says when it is taken again",
  LIMIT,
  async (t) => {
    const stage = await stageOf(t);
    stage.receiver.mishaps = [{ kind: "status", status: 422 }];
    stage.forward();
    await stage.told("DeliveryRefused");
    assert.match(stage.noteOf("DeliveryRefused"), /422.*Nothing changes outside/);
    await stage.told("DeliveryRecovered", 2 * MINUTE_MS);
  },
);

test(
  "runForwarder() explains a receiver that is away for five minutes, and no shorter absence",
  LIMIT,
  async (t) => {
    const stage = await stageOf(t);
    stage.receiver.mishaps = Array.from({ length: 40 }, () => ({ kind: "status", status: 503 }));
    stage.forward();
    await stage.world.advance(4 * MINUTE_MS);
    assert.deepEqual(stage.reasons(), []);
    await stage.told("DeliveryFailing", 3 * MINUTE_MS);
    assert.match(stage.noteOf("DeliveryFailing"), /503.*nothing is lost/);
  },
);

test("runForwarder() explains a Lease that it may not read", LIMIT, async (t) => {
  const stage = await stageOf(t);
  stage.server.faults.add("lease", { kind: "status", status: 403 });
  stage.forward();
  await stage.told("LeaseFailing");
  assert.match(stage.noteOf("LeaseFailing"), /grant get, create and update on the Lease/);
});

test(
  "runForwarder() explains a watch that is refused, and one that has become stale",
  LIMIT,
  async (t) => {
    const stage = await stageOf(t);
    stage.forward();
    await stage.admitted();
    for (const kind of ["watch", "list"] as const) {
      stage.server.faults.add(kind, { kind: "status", status: 403 });
    }
    stage.server.faults.closeWatches();
    await stage.told("WatchFailing", 2 * MINUTE_MS);
    assert.match(stage.noteOf("WatchFailing"), /403/);
    await stage.told("WatchStale", 7 * MINUTE_MS);
    stage.server.faults.clear();
    await stage.told("WatchCurrent", 3 * MINUTE_MS);
  },
);

test(
  "runForwarder() tells of each node that becomes ready, and of one that does not",
  LIMIT,
  async (t) => {
    const stage = await stageOf(t);
    stage.forward();
    await stage.admitted();
    const uid = stage.server.nodes.put("good", external("203.0.113.1"));
    stage.receiver.verdict = { readyNodes: [uid] };
    await stage.told("AddressAllowlisted");
    stage.server.nodes.put("bare", { addresses: [{ type: "Hostname", address: "bare" }] });
    await stage.told("AllowlistPending", 6 * MINUTE_MS);
    assert.match(
      stage.noteOf("AllowlistPending"),
      /no address of the types InternalIP or ExternalIP/,
    );
    const about = stage
      .events()
      .map(({ reason, regarding }) => `${reason} ${Object(regarding).name}`);
    assert.deepEqual(about.toSorted(), ["AddressAllowlisted good", "AllowlistPending bare"]);
  },
);

test(
  "runForwarder() tells of lists that fail, and each kind of trouble by its own reason",
  LIMIT,
  async (t) => {
    const stage = await stageOf(t);
    const troubles = [
      ["denied", "AllowlistFailed"],
      ["full", "AllowlistQuotaExceeded"],
      ["ratio", "RemovalGuardTripped"],
      ["not-heard", "ClusterUnheard"],
      ["out-of-scope", "ScopeTooNarrow"],
    ] as const;
    const lists = troubles.map(([reason], n) => ({
      ...blankReport("db", `memory/${n}`),
      state: n < 2 ? ("failed" as const) : ("withheld" as const),
      reason,
      message: `because of ${reason}`,
    }));
    stage.receiver.verdict = { lists };
    stage.receiver.again = 1;
    stage.forward();
    await stage.told("AllowlistFailed");
    await stage.world.advance(MINUTE_MS);
    assert.deepEqual(stage.reasons(), troubles.map(([, reason]) => reason).toSorted());
    assert.equal(stage.events().length, troubles.length, "once for each, not with each answer");
    stage.receiver.verdict = {
      lists: lists.map((report) => ({ ...report, state: "converged" as const, reason: null })),
    };
    await stage.told("AllowlistRecovered");
  },
);

test(
  "runForwarder() that follows says nothing about deliveries, nor of nodes that wait",
  LIMIT,
  async (t) => {
    const stage = await stageOf(t);
    stage.forward();
    await stage.admitted();
    const follower = stage.forward();
    const follows = () => follower.heard.some(({ kind }) => kind === "listed");
    await stage.world.until("it follows", follows);
    stage.server.nodes.put("bare", { addresses: [] });
    stage.receiver.mishaps = [{ kind: "status", status: 422 }];
    await stage.told("AllowlistPending", 8 * MINUTE_MS);
    await stage.told("DeliveryRefused");
    const speakers = new Set(stage.events().map((event) => event.reportingInstance));
    assert.equal(speakers.size, 1);
    assert.deepEqual(
      follower.heard.filter(({ kind }) => kind === "node-pending" || kind === "undelivered"),
      [],
    );
  },
);

test("runForwarder() outside of a cluster writes no Events to it", LIMIT, async (t) => {
  const stage = await stageOf(t);
  stage.receiver.mishaps = [{ kind: "status", status: 422 }];
  const { heard } = stage.forward({ lease: { kind: "memory" } });
  await stage.world.until("a refusal", () => heard.some(({ kind }) => kind === "undelivered"));
  await stage.world.advance(MINUTE_MS);
  assert.deepEqual(stage.reasons(), []);
});

test(
  "runForwarder() answers its probes, and shows in its metrics what has happened",
  LIMIT,
  async (t) => {
    const stage = await stageOf(t);
    stage.server.nodes.put("a", external("203.0.113.1"));
    const { heard } = stage.forward({ listen: { host: "127.0.0.1", port: 0 } });
    await stage.admitted();
    await stage.world.advance(1_000);
    const started = heard.find(({ kind }) => kind === "started");
    assert.ok(started?.kind === "started" && started.listening !== null);
    const ask = async (path: string) => (await fetch(`http://${started.listening}${path}`)).text();
    assert.match(await ask("/healthz"), /^alive/);
    assert.match(await ask("/readyz"), /^ready/);
    const metrics = await ask("/metrics");
    assert.match(metrics, /^kube_allowlist_forwarder_nodes 1$/m);
    assert.match(metrics, /^kube_allowlist_forwarder_leader 1$/m);
    assert.match(metrics, /^kube_allowlist_forwarder_deliveries_total\{result="answered"\} [12]$/m);
    assert.match(metrics, /^process_resident_memory_bytes [1-9]/m);
    stage.server.faults.closeWatches();
    await stage.world.advance(1_000);
    // What liveness is judged by, where a server sends neither bookmarks nor news.
    const ends = heard.flatMap((event) => (event.kind === "watch-ended" ? [event.why] : []));
    assert.ok(ends.includes("closed"), ends.join());
  },
);

test("runForwarder() does not begin where it cannot listen", LIMIT, async (t) => {
  const stage = await stageOf(t);
  const port = Number(stage.receiver.url.port);
  const options = { url: stage.receiver.url, cluster: "test" };
  const settings: Settings = {
    ...options,
    credential: { signing: { kind: "keys", keys: [parseSigningKey(SECRET)] }, tokenFile: null },
    labels: [],
    pods: [],
    gate: null,
    listen: { host: "127.0.0.1", port },
    lease: { kind: "memory" },
    heartbeatMs: 300_000,
    proxy: {},
  };
  const { signal } = new AbortController();
  const kubeConfig = { kind: "text", text: stage.server.kubeconfig } as const;
  const running = runForwarder(settings, { world: stage.world, signal, kubeConfig });
  await assert.rejects(running, /Cannot listen on 127\.0\.0\.1:\d+: the port is in use/);
  assert.deepEqual(stage.server.requests(), []);
});

test(
  "runForwarder() frees the Lease at once at the end, when only a heartbeat is on its way",
  LIMIT,
  async (t) => {
    const stage = await stageOf(t);
    const { stop } = stage.forward();
    await stage.admitted();
    await stage.world.advance(1_000);
    const before = stage.receiver.received.length;
    stage.receiver.mishaps = [{ kind: "stall", headers: false }];
    const isSent = () => stage.receiver.received.length > before;
    await stage.world.until("a heartbeat", isSent, { withinMs: 7 * MINUTE_MS });
    const endedAt = stage.world.now();
    const stopping = stop();
    const holder = () => Object(stage.server.store.read("leases", LEASE)?.spec).holderIdentity;
    await stage.world.until("the Lease is free", () => holder() === "", { withinMs: 2_000 });
    assert.ok(stage.world.now() - endedAt < 2_000);
    await stopping;
  },
);
