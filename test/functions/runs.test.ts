import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { makeResync } from "../../functions/resync.ts";
import { makeWebhook } from "../../functions/webhook.ts";
import { makeWiring, type Wiring } from "../../functions/wiring.ts";
import { memoryStore } from "../../lib/stores/memory.ts";
import { StoreError } from "../../lib/stores/store.ts";
import { TargetError } from "../../lib/targets/target.ts";
import { renderDelivery } from "../../lib/wire/protocol.ts";
import { parseSigningKey } from "../../lib/wire/signature.ts";
import type { LogFields } from "../../lib/world.ts";
import { ROOT } from "../../scripts/bundle.ts";
import { node, snapshot } from "../core/cases.ts";
import { virtualWorld } from "../virtual-world.ts";
import { embeddedOf } from "./embedded.ts";
import { CANARIES, gatewayEvent, receiver, signed } from "./receiver.ts";

/* What the functions say of their runs: lines, audit lines and numbers. */

const EU = parseSigningKey(CANARIES.EU_KEY);
const US = parseSigningKey(CANARIES.US_KEY);
const NODES = [node("a", ["203.0.113.1"]), node("b", ["203.0.113.2"])];
const MINUTE_MS = 60_000;
const STATES = ["ListsConverged", "ListsPending", "ListsWithheld", "ListsFailed"] as const;

type Room = ReturnType<typeof receiver>;

/** The numbers of the last run; asserts that it told one line of them. */
async function numbersOf(room: Room, run: () => Promise<unknown>) {
  const before = room.measured.length;
  await run();
  assert.equal(room.measured.length, before + 1);
  const line = room.measured.at(-1) ?? {};
  return { ...embeddedOf(line).values, line } as Record<string, unknown> & { line: LogFields };
}

function deliveriesIn(numbers: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(numbers).filter(([name]) => name.startsWith("Deliveries")),
  );
}

test("webhook tells every delivery under one name, by what became of it", async () => {
  const room = receiver();
  const generation = { epoch: 7, sequence: 1_042 };
  const first = await numbersOf(room, () => room.deliver({ nodes: NODES, generation }));
  assert.deepEqual(deliveriesIn(first), { DeliveriesNewer: 1 });
  assert.deepEqual([first.Nodes, first.EntriesAdded, first.AnswerTime], [2, 2, 0]);
  assert.deepEqual([first.line.Installation, first.line.Cluster], ["acme", "eu"]);
  assert.equal(first.line.correlation_id, "eu/7/1042");
  const again = await numbersOf(room, () => room.deliver({ nodes: NODES, generation }));
  assert.deepEqual(deliveriesIn(again), { DeliveriesRepeated: 1 });
  assert.equal(again.EntriesAdded, undefined, "nothing happened");
  const old = { generation: { epoch: 7, sequence: 1 } };
  const stale = await numbersOf(room, () => room.deliver(old));
  assert.deepEqual(deliveriesIn(stale), { DeliveriesStale: 1 });
  const other = { clusterUid: "another", generation: { epoch: 9, sequence: 1 } };
  const stranger = await numbersOf(room, () => room.deliver(other));
  assert.deepEqual(deliveriesIn(stranger), { DeliveriesOtherCluster: 1 });
  const invalid = await numbersOf(room, () =>
    room.post({ body: Buffer.from("{"), headers: signed(Buffer.from("{"), EU, room.world.now()) }),
  );
  assert.deepEqual(deliveriesIn(invalid), { DeliveriesInvalid: 1 });
  const jump = await numbersOf(room, () =>
    room.deliver({ nodes: NODES, generation: { epoch: 9_000_000, sequence: 1 } }),
  );
  assert.deepEqual(deliveriesIn(jump), { DeliveriesInvalid: 1 });
});

test("webhook tells how old a truth was when it was sent, whatever the sender's clock says", async () => {
  const room = receiver();
  const now = room.world.now();
  const old = { nodes: NODES, time: now + 90_000, observedAt: now + 30_000 };
  assert.equal((await numbersOf(room, () => room.deliver(old))).SnapshotAge, MINUTE_MS);
  const ahead = { nodes: NODES, time: now, observedAt: now + 1 };
  assert.equal((await numbersOf(room, () => room.deliver(ahead))).SnapshotAge, 0);
});

test("webhook tells refusals without a cluster, and strangers' answers have no time", async () => {
  const room = receiver();
  const body = Buffer.from(renderDelivery(snapshot(NODES)));
  const headers = { "content-type": "application/cloudevents+json" };
  for (const run of [
    () => room.post({ body, headers }),
    () => room.post({ body, headers: { "content-type": "text/plain" } }),
  ]) {
    const numbers = await numbersOf(room, run);
    assert.deepEqual(deliveriesIn(numbers), { DeliveriesRefused: 1 });
    assert.deepEqual(
      [numbers.AnswerTime, numbers.Nodes, numbers.line.Cluster, numbers.line.correlation_id],
      [undefined, undefined, undefined, undefined],
    );
  }
  const other = await numbersOf(room, () => room.deliver({ nodes: NODES }, US));
  assert.deepEqual(deliveriesIn(other), { DeliveriesRefused: 1 });
  assert.equal(other.line.cluster, "us", "whose credential it was");
  assert.equal(other.line.correlation_id, undefined, "it speaks for another");
});

test("webhook tells failures of the store, and that the delivery failed", async () => {
  const down = () => Promise.reject(new StoreError("Cannot reach the bucket"));
  const room = receiver({ store: { put: down, get: down, list: down, delete: down } });
  const numbers = await numbersOf(room, () => room.deliver({ nodes: NODES }));
  assert.deepEqual(deliveriesIn(numbers), { DeliveriesFailed: 1 });
  assert.equal(numbers.StoreFailures, 1);
  assert.equal(numbers.line.correlation_id, "eu/1/1");
});

test("webhook's lines about a delivery bear its id from when it is known to be true", async () => {
  const room = receiver();
  await room.deliver({ nodes: NODES, generation: { epoch: 7, sequence: 2 } });
  assert.deepEqual(
    room.world.audits.map(({ correlation_id, delivery }) => [correlation_id, delivery]),
    [["eu/7/2", "eu/7/2"]],
  );
  await room.deliver({ generation: { epoch: 7, sequence: 1 } });
  const line = room.world.lines.at(-1);
  assert.deepEqual([line?.fields.status, line?.fields.correlation_id], [409, "eu/7/1"]);
  assert.equal(line?.fields.unverified_delivery, undefined);
});

test("webhook names a delivery that nobody vouches for by another field, where it looks like one", async () => {
  const room = receiver();
  const body = Buffer.from(renderDelivery(snapshot(NODES)));
  const good = signed(body, EU, room.world.now());
  const claims: readonly (readonly [string, unknown])[] = [
    ["eu/1/1", "eu/1/1"],
    ["eu/1/1 ", undefined],
    ["eu/1/1\nx", undefined],
    [CANARIES.STATUS_TOKEN, undefined],
    [`${"e".repeat(33)}/1/1`, undefined],
    ["eu/12345678901/1", undefined],
    ["EU/1/1", undefined],
  ];
  for (const [id, expected] of claims) {
    const headers = { ...good, "webhook-id": id, "webhook-signature": "v1,QUJD" };
    assert.equal((await room.post({ body, headers })).statusCode, 401);
    const { fields } = room.world.lines.at(-1) ?? {};
    assert.equal(fields?.unverified_delivery, expected, id);
    assert.equal(fields?.correlation_id, undefined, id);
  }
  const odd = { ...gatewayEvent("POST", "/v1/snapshots", { headers: {} }), rawPath: 1 };
  const webhook = makeWebhook(room.wiring);
  const event = { ...odd, headers: { "webhook-id": ["eu/1/1"] } };
  assert.equal((await webhook(event, {})).statusCode, 400);
  assert.equal(room.world.lines.at(-1)?.fields.unverified_delivery, undefined);
});

test("two deliveries at the same time never log under each other's id", async () => {
  const world = virtualWorld();
  const memory = memoryStore(world);
  // The first waits in the store until the second has been answered.
  let wake = () => {};
  const woken = new Promise<void>((resolve) => {
    wake = resolve;
  });
  let isFirst = true;
  const room = receiver({
    store: {
      ...memory,
      async list(...given) {
        const waits = isFirst;
        isFirst = false;
        if (waits) await woken;
        return memory.list(...given);
      },
    },
  });
  const one = room.deliver({ nodes: NODES, generation: { epoch: 1, sequence: 1 } });
  const two = await room.deliver({ nodes: NODES, generation: { epoch: 1, sequence: 2 } });
  wake();
  assert.deepEqual([two.statusCode, (await one).statusCode], [200, 409]);
  const { fields } = room.world.lines.at(-1) ?? {};
  assert.equal(fields?.correlation_id, "eu/1/1");
  assert.deepEqual(
    room.measured.map(({ correlation_id }) => correlation_id),
    ["eu/1/2", "eu/1/1"],
  );
});

test("resync tells all states, also as 0, and who was heard, also with nothing to do", async () => {
  const room = receiver();
  const before = await numbersOf(room, room.resync);
  assert.deepEqual(
    [before.ClustersHeard, before.ClustersStale, before.TruthAge],
    [0, 1, undefined],
  );
  await room.deliver({ nodes: NODES });
  await room.world.advance(MINUTE_MS);
  for (const age of [1, 2]) {
    const numbers = await numbersOf(room, room.resync);
    assert.deepEqual(
      STATES.map((name) => numbers[name]),
      [1, 0, 0, 0],
    );
    assert.deepEqual(
      [numbers.ClustersHeard, numbers.ClustersStale, numbers.TruthAge, numbers.RemovalsWithheld],
      [1, 0, age * MINUTE_MS, 0],
    );
    assert.deepEqual([numbers.line.deliveries, numbers.line.Cluster], [["eu/1/1"], undefined]);
    assert.equal(numbers.EntriesRemoved, undefined);
    await room.world.advance(MINUTE_MS);
  }
  await room.world.advance(15 * MINUTE_MS);
  const late = await numbersOf(room, room.resync);
  assert.deepEqual([late.ClustersHeard, late.ClustersStale], [0, 1]);
});

test("resync tells what it removed, and how many removals wait for somebody", async () => {
  const many = Array.from({ length: 10 }, (_, index) => node(`n${index}`, [`203.0.113.${index}`]));
  const room = receiver();
  await room.deliver({ nodes: many });
  await room.resync();
  await room.deliver({ nodes: many.slice(0, 9) });
  await room.resync();
  await room.world.advance(6 * MINUTE_MS);
  await room.deliver({ nodes: many.slice(0, 9) });
  const removed = await numbersOf(room, room.resync);
  assert.deepEqual([removed.EntriesRemoved, removed.RemovalsWithheld], [1, 0]);
  await room.world.advance(61 * MINUTE_MS);
  await room.deliver({ nodes: many.slice(0, 1) });
  await room.resync();
  await room.world.advance(6 * MINUTE_MS);
  await room.deliver({ nodes: many.slice(0, 1) });
  const withheld = await numbersOf(room, room.resync);
  assert.deepEqual([withheld.ListsWithheld, withheld.RemovalsWithheld], [1, 8]);
  assert.equal(withheld.EntriesRemoved, undefined);
});

test("resync counts no retired cluster, and says nothing of clusters that it cannot read", async () => {
  const memory = memoryStore(virtualWorld());
  let isDown = false;
  const room = receiver({
    store: {
      ...memory,
      list: async (prefix, limit) => {
        if (isDown && prefix.includes("clusters/")) throw new StoreError("Cannot reach the bucket");
        return memory.list(prefix, limit);
      },
    },
  });
  await room.deliver({ nodes: NODES });
  isDown = true;
  const numbers = await numbersOf(room, room.resync);
  assert.deepEqual([numbers.ClustersHeard, numbers.ClustersStale], [undefined, undefined]);
  assert.equal(numbers.ListsFailed, 1);
  assert(Number(numbers.StoreFailures) > 0);
  const clusters = { eu: { bounds: ["203.0.113.0/24"], retired: true } };
  const retired = receiver({ file: { clusters } });
  const none = await numbersOf(retired, retired.resync);
  assert.deepEqual([none.ClustersHeard, none.ClustersStale], [0, 0]);
});

test("resync tells its numbers when it throws, and none that it does not know", async () => {
  const room = receiver();
  const traitsOf = () => {
    throw new Error("a fault of ours");
  };
  const resync = makeResync({ ...room.wiring, traitsOf });
  const numbers = await numbersOf(room, () => assert.rejects(resync({}, {}), /a fault of ours/));
  assert.deepEqual([numbers.ResyncsFailed, numbers.ResyncTime], [1, 0]);
  for (const name of STATES) assert.equal(numbers[name], undefined, name);
  assert.equal(numbers.ClustersStale, undefined);
});

test("resync tells its numbers when its time is over before it has looked at anything", async () => {
  const room = receiver();
  await room.deliver({ nodes: NODES });
  const resync = makeResync(room.wiring);
  const context = { getRemainingTimeInMillis: () => 1 };
  const numbers = await numbersOf(room, () => resync({}, context));
  assert.equal(typeof numbers.ResyncTime, "number");
  assert.equal(numbers.ListsFailed, 1, "the store had no time either");
});

test("resync asked over HTTP tells nothing, because it does not run", async () => {
  const room = receiver();
  const resync = makeResync(room.wiring);
  const event = gatewayEvent("POST", "/", { headers: {} });
  assert.equal(((await resync(event, {})) as unknown as { statusCode: number }).statusCode, 403);
  assert.deepEqual(room.measured, []);
});

test("a run is what it was though nobody can be told its numbers", async () => {
  const { wiring, world, deliver, measured } = receiver();
  const broken: Wiring = {
    ...wiring,
    measure() {
      throw new Error("no disk, no pipe");
    },
  };
  await deliver({ nodes: NODES });
  const { lists } = await makeResync(broken)({}, {});
  assert.equal(lists[0]?.state, "converged");
  assert.equal(world.lines.at(-1)?.message, "Cannot tell what was measured");
  assert.equal(measured.length, 1);
});

test("nobody is told numbers where the wiring names nobody, as in serve and dev", async (context) => {
  const { wiring, world, store, memory } = receiver();
  const { config } = wiring;
  const stage = { config, world, env: CANARIES, folder: "/nonexistent", store, memory };
  const write = context.mock.method(process.stdout, "write");
  await makeResync(makeWiring(stage))({}, {});
  const written = write.mock.calls.map((call) => String(call.arguments[0]));
  write.mock.restore();
  assert(!written.join("").includes("_aws"));
  assert(!JSON.stringify([world.lines, world.audits]).includes("_aws"));
});

test("read tells what it refused or could not show, and nothing of what went well", async () => {
  const token = { authorization: `Bearer ${CANARIES.STATUS_TOKEN}` };
  const room = receiver({ env: { STATUS_TOKEN: "canary-status-token-long" } });
  const good = { authorization: "Bearer canary-status-token-long" };
  assert.equal((await room.read("/v1/status", good)).statusCode, 200);
  assert.deepEqual(room.measured, []);
  const refused = await numbersOf(room, () => room.read("/v1/status", token));
  assert.equal(refused.ReadsRefused, 1);
  const weak = receiver({ env: { STATUS_TOKEN: "short" } });
  const failed = await numbersOf(weak, () => weak.read("/v1/status", token));
  assert.equal(failed.ReadsFailed, 1);
});

/** A target whose writes end as told, after they were carried out. */
function failingWrites(wiring: Wiring, error: Error): Wiring {
  return {
    ...wiring,
    async targetOf(config) {
      const target = await wiring.targetOf(config);
      return {
        ...target,
        async apply(...given) {
          await target.apply(...given);
          throw error;
        },
      };
    },
  };
}

test("every write has exactly one audit line, also where nobody knows what came of it", async () => {
  const cases = [
    [new TargetError("unavailable", "Cannot write one: no answer"), "unavailable"],
    [new TargetError("denied", "Cannot write one: denied"), "denied"],
    [new Error("a fault of ours"), "unknown"],
  ] as const;
  for (const [error, result] of cases) {
    const room = receiver();
    const webhook = makeWebhook(failingWrites(room.wiring, error));
    const body = Buffer.from(renderDelivery(snapshot(NODES, { receivedAt: room.world.now() })));
    const headers = signed(body, EU, room.world.now());
    const event = gatewayEvent("POST", "/v1/snapshots", { body, headers });
    await webhook(event, {});
    const [line, ...more] = room.world.audits;
    assert.deepEqual(more, [], result);
    assert.deepEqual(line, {
      correlation_id: "eu/1/1",
      cluster: "eu",
      admission: "newer",
      delivery: "eu/1/1",
      generation: { epoch: 1, sequence: 1 },
      list: "db",
      target: "memory/one",
      action: "add",
      entries: ["203.0.113.1/32", "203.0.113.2/32"],
      result,
    });
    const { values } = embeddedOf(room.measured.at(-1) ?? {});
    assert.deepEqual([values.WritesFailed, values.EntriesAdded], [1, undefined]);
  }
});

test("an installation in which nothing goes wrong has as many series as the page says", async () => {
  const room = receiver();
  await room.deliver({ nodes: NODES });
  const begun = room.measured.length;
  await room.resync();
  await room.deliver({ nodes: NODES });
  const series = room.measured.slice(begun).flatMap((line) => Object.keys(embeddedOf(line).values));
  const page = readFileSync(join(ROOT, "docs/observability.md"), "utf8");
  const [, told = ""] = /CloudWatch charges for each series: (\d+) for /.exec(page) ?? [];
  assert.equal(new Set(series).size, Number(told));
});

test("resync answers with states, and only its log at debug has whole reports", async () => {
  const room = receiver();
  await room.deliver({ nodes: [...NODES, node("c", ["198.51.100.1"])] });
  const answer = JSON.stringify(await room.resync());
  assert(!answer.includes("203.0.113.1") && !answer.includes("198.51.100.1"), answer);
  assert.deepEqual(
    JSON.parse(answer).lists.map((list: object) => Object.keys(list)),
    [["list", "target", "state", "reason", "message"]],
  );
  const whole = room.world.lines.filter(({ fields }) => fields.report !== undefined);
  assert.deepEqual(
    whole.map(({ level, fields }) => [level, fields.report]),
    room.reports.flat().map((report) => ["debug", report]),
  );
});
