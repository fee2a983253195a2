import assert from "node:assert/strict";
import test from "node:test";
import { readinessOf } from "../lib/core/answer.ts";
import { acquireLease } from "../lib/stores/lease.ts";
import { StoreError } from "../lib/stores/store.ts";
import { planIdOf, statusOf, survey } from "../lib/survey.ts";
import { TargetError } from "../lib/targets/target.ts";
import {
  cidr,
  cluster,
  EXTERNAL,
  entry,
  GRACE_MS,
  hosts,
  list,
  memoryConfig,
  node,
  OURS,
  policy,
  REMOVAL,
} from "./core/cases.ts";
import { corridor, nodes, reportOf, timePasses } from "./corridor.ts";

const unavailable = () => new TargetError("unavailable", "Cannot reach it: the line is cut");

test("sync() brings a hundred joining nodes onto a target with two reads and one write", async () => {
  const room = corridor({ policy: policy([list()]) });
  const outcome = await room.deliver(nodes(100));
  assert.deepEqual(room.calls(), ["one:observe", "one:add", "one:observe"]);
  assert.equal(reportOf(outcome).state, "converged");
  assert.deepEqual(room.on("one"), hosts(100));
  assert.equal(room.contents.entries("one")[0]?.text, OURS);
});

test("sync() reads and writes nothing for an unchanged heartbeat or an early resync", async () => {
  const room = corridor({ policy: policy([list()]) });
  await room.deliver(nodes(3));
  room.calls();
  await timePasses(room, 299_999, nodes(3));
  assert.deepEqual(room.calls(), []);
  await timePasses(room, 1, nodes(3));
  assert.deepEqual(room.calls(), ["one:observe"]);
});

test("sync() removes in a resync only, after grace and a snapshot that came after it", async () => {
  const room = corridor({ policy: policy([list()]) });
  await room.deliver(nodes(3));
  const gone = await room.deliver(nodes(2));
  assert.equal(reportOf(gone).reason, "grace");
  assert.equal(reportOf(gone).leaving[0]?.cidr, "203.0.113.3/32");

  await room.world.advance(GRACE_MS);
  await room.run("resync");
  assert.deepEqual(room.on("one"), hosts(3), "nobody has spoken since the grace ended");

  await room.deliver(nodes(2));
  assert.deepEqual(room.on("one"), hosts(3), "the webhook only adds");
  await room.deliver([...nodes(2), ...nodes(1, 9)]);
  assert.deepEqual(room.on("one"), [...hosts(3), ...hosts(1, 9)], "also when it has work there");
  await room.deliver(nodes(2));
  room.contents.drop("one", cidr("203.0.113.9"));
  room.calls();
  const after = await room.run("resync");
  assert.deepEqual(room.on("one"), hosts(2));
  assert.equal(reportOf(after).state, "converged");
  assert.deepEqual(room.calls(), ["one:observe", "one:remove", "one:observe"]);
});

test("sync() adds the new address at once and lets the old one go after its grace", async () => {
  const room = corridor({ policy: policy([list()]) });
  await room.deliver([...nodes(2), node("x", ["203.0.113.50"])]);
  await room.deliver([...nodes(2), node("x", ["203.0.113.51"])]);
  assert.deepEqual(room.on("one"), [...hosts(2), ...hosts(2, 50)]);
  await timePasses(room, GRACE_MS, [...nodes(2), node("x", ["203.0.113.51"])]);
  assert.deepEqual(room.on("one"), [...hosts(2), ...hosts(1, 51)]);
});

test("sync() stops the clock of an address that is desired again", async () => {
  const room = corridor({ policy: policy([list()]) });
  await room.deliver(nodes(3));
  await room.deliver(nodes(2));
  await room.world.advance(GRACE_MS - 1_000);
  await room.deliver(nodes(3));
  await room.deliver(nodes(2));
  await timePasses(room, GRACE_MS - 1_000, nodes(2));
  assert.deepEqual(room.on("one"), hosts(3), "its second grace is not over");
  await timePasses(room, 1_000, nodes(2));
  assert.deepEqual(room.on("one"), hosts(2));
});

test("sync() stops the clock of an address that is desired again while its target does not answer or is left alone", async () => {
  for (const isAsked of [true, false]) {
    const room = corridor({ policy: policy([list()]) });
    const broken = async () => {
      throw new TargetError("denied", "Cannot read it: denied");
    };
    await room.deliver(nodes(3));
    await room.deliver(nodes(2));
    await room.world.advance(GRACE_MS - 60_000);
    if (!isAsked) {
      room.interfere(broken);
      await room.run("command");
    }
    room.calls();
    // It comes, stays as long as nobody can look at the target, and goes.
    room.interfere(broken);
    await room.deliver(nodes(3));
    assert.deepEqual(room.calls(), isAsked ? ["one:observe"] : []);
    await room.world.advance(310_000);
    room.interfere(null);
    await room.deliver(nodes(2));
    await timePasses(room, GRACE_MS - 60_000, nodes(2));
    assert.deepEqual(room.on("one"), hosts(3), `asked: ${isAsked}`);
    await timePasses(room, 60_000, nodes(2));
    assert.deepEqual(room.on("one"), hosts(2));
  }
});

test("sync() lets those go that a lower maxEntries leaves out, and writes nothing at heartbeats meanwhile", async () => {
  const removal = { ...REMOVAL, maxRatio: 1 };
  const before = corridor({ policy: policy([list({ removal })]) });
  await before.deliver(nodes(5));
  const few = policy([list({ removal })], [cluster("eu", { maxEntries: 3 })]);
  const { world, store, contents } = before;
  const room = corridor({ policy: few, world, store, contents, sequence: 1 });
  await room.deliver(nodes(5));
  await room.run("resync");
  const revision = async () => (await room.context.objectLog("memory.one").newest())?.revision;
  const written = await revision();
  await room.world.advance(60_000);
  await room.deliver(nodes(5));
  await room.run("resync");
  assert.equal(await revision(), written);
  await timePasses(room, GRACE_MS, nodes(5));
  assert.deepEqual(room.on("one"), hosts(3));
});

test("sync() restarts every clock when the list is configured otherwise, and keeps the guard's memory", async () => {
  const room = corridor({ policy: policy([list()]) });
  await room.deliver(nodes(3));
  await room.deliver(nodes(2));
  await room.world.advance(GRACE_MS - 1_000);
  const renamed = list({ formerly: ["old"] });
  const edited = corridor({
    policy: policy([renamed]),
    world: room.world,
    store: room.store,
    contents: room.contents,
  });
  await edited.run("resync");
  await edited.world.advance(1_000);
  await edited.admit(nodes(2), { generation: { epoch: 1, sequence: 90 } });
  await edited.run("resync");
  assert.deepEqual(room.on("one"), hosts(3), "its grace began anew with the new configuration");
  await edited.world.advance(GRACE_MS);
  await edited.admit(nodes(2), { generation: { epoch: 1, sequence: 91 } });
  await edited.run("resync");
  assert.deepEqual(room.on("one"), hosts(2));
});

test("sync() removes nothing once its lease is lost, and writes removals down before it sends them", async () => {
  const room = corridor({ policy: policy([list()]) });
  await room.deliver(nodes(3));
  await room.deliver(nodes(2));
  await room.world.advance(GRACE_MS);
  await room.deliver(nodes(2));
  const log = room.context.objectLog("memory.one");
  const written: unknown[] = [];
  room.interfere(async (call, proceed) => {
    if (call.verb === "remove") {
      const newest = await log.newest();
      written.push(Object.keys(newest?.body.slots["memory/one"]?.removed ?? {}));
    }
    return proceed();
  });
  const stolen = corridor({
    policy: room.context.policy,
    world: room.world,
    store: room.store,
    contents: room.contents,
  });
  stolen.interfere(async (_call, proceed) => {
    const newest = await log.newest();
    const slots = newest?.body.slots ?? {};
    await log.append(newest?.revision ?? 0, { state: "held", forMs: 65_000, slots });
    return proceed();
  });
  await stolen.run("resync");
  assert.deepEqual(room.on("one"), hosts(3), "somebody else may be at work");
  await room.world.advance(66_000);
  await room.deliver(nodes(2), { generation: { epoch: 1, sequence: 90 } });
  await room.run("resync");
  assert.deepEqual(room.on("one"), hosts(2));
  assert.deepEqual(written, [["203.0.113.3/32"]]);
});

test("sync() never empties a target for an empty, a missing or a stale truth", async () => {
  const room = corridor({ policy: policy([list()]) });
  await room.deliver(nodes(3));
  await room.deliver([]);
  const empty = await timePasses(room, GRACE_MS, []);
  assert.equal(reportOf(empty).reason, "ratio");
  assert.deepEqual(room.on("one"), hosts(3));

  await room.world.advance(900_001);
  const stale = await room.run("resync");
  assert.equal(reportOf(stale).reason, "stale");
  assert.deepEqual(room.on("one"), hosts(3));

  const nobody = corridor({ policy: policy([list()]), contents: room.contents });
  await nobody.run("resync");
  await nobody.world.advance(GRACE_MS);
  const unheard = await nobody.run("resync");
  assert.equal(reportOf(unheard).reason, "not-heard");
  assert.deepEqual(room.on("one"), hosts(3));
});

test("sync() adds what it can and removes nothing when a label is outside the forwarder's scope", async () => {
  const pool = { ...EXTERNAL, labels: { pool: "db" } };
  const both = list({ sources: [pool, { kind: "static", cidrs: hosts(1, 90) }] });
  const room = corridor({ policy: policy([both]) });
  room.contents.put("one", entry(cidr("203.0.113.1")));
  await room.deliver(nodes(2));
  const outcome = await timePasses(room, GRACE_MS, nodes(2));
  assert.equal(reportOf(outcome).reason, "out-of-scope");
  assert.match(reportOf(outcome).message, /KUBE_ALLOWLIST_LABELS must name "pool"/);
  assert.deepEqual(room.on("one"), [...hosts(1), ...hosts(1, 90)]);
});

test("sync() leaves the entries of others as they are, and borrows an identical one", async () => {
  const room = corridor({ policy: policy([list()]) });
  const foreign = [entry(cidr("203.0.113.1"), "by hand"), entry(cidr("192.0.2.0/24"), null)];
  for (const one of foreign) room.contents.put("one", one);
  const outcome = await room.deliver(nodes(2));
  assert.equal(reportOf(outcome).borrowed, 1);
  assert.equal(reportOf(outcome).foreign, 2);
  await room.deliver([]);
  await timePasses(room, GRACE_MS, nodes(1, 2));
  assert.deepEqual(
    room.contents.entries("one").filter((one) => one.text !== OURS),
    [entry(cidr("192.0.2.0/24"), null), entry(cidr("203.0.113.1"), "by hand")],
  );
  room.contents.drop("one", cidr("203.0.113.1"));
  await timePasses(room, 300_000, nodes(2));
  assert.deepEqual(
    room.contents
      .entries("one")
      .filter((one) => one.text === OURS)
      .map((one) => one.cidr),
    hosts(2),
    "ours is added once the other one is gone",
  );
});

test("sync() repairs what somebody removed by hand", async () => {
  const room = corridor({ policy: policy([list()]) });
  await room.deliver(nodes(3));
  room.contents.drop("one", cidr("203.0.113.2"));
  await timePasses(room, 300_000, nodes(3));
  assert.deepEqual(room.on("one"), hosts(3));
});

test("sync() never removes under the policy add-only, and says what is surplus", async () => {
  const removal = { ...REMOVAL, policy: "add-only", graceMs: 0 } as const;
  const room = corridor({ policy: policy([list({ removal })]) });
  await room.deliver(nodes(3));
  await room.deliver(nodes(2));
  const outcome = await timePasses(room, 3_600_000, nodes(2));
  assert.deepEqual(room.on("one"), hosts(3));
  assert.equal(reportOf(outcome).state, "converged");
  assert.equal(reportOf(outcome).reason, "add-only");
  assert.match(reportOf(outcome).message, /203\.0\.113\.3\/32/);
});

test("sync() keeps an address that any cluster of the list still claims", async () => {
  const both = list({ sources: [EXTERNAL, { ...EXTERNAL, cluster: "us" }] });
  const room = corridor({ policy: policy([both], [cluster("eu"), cluster("us")]) });
  const us = { cluster: "us", clusterUid: "uid-us" };
  await room.deliver(nodes(3));
  await room.deliver(nodes(2), us);
  await room.deliver([]);
  await room.world.advance(GRACE_MS);
  await room.deliver([]);
  await room.run("resync");
  assert.deepEqual(room.on("one"), hosts(3), "us has not spoken since the grace ended");
  await room.deliver(nodes(2), us);
  await room.run("resync");
  assert.deepEqual(room.on("one"), hosts(2));
});

test("sync() looks at the newest snapshots once more before it removes", async () => {
  const room = corridor({ policy: policy([list()]) });
  await room.deliver(nodes(3));
  await room.deliver(nodes(2));
  await room.world.advance(GRACE_MS);
  await room.deliver(nodes(2));
  let late = true;
  room.interfere(async (call, proceed) => {
    const result = await proceed();
    if (call.verb === "observe" && late) {
      late = false;
      await room.admit(nodes(3));
    }
    return result;
  });
  await room.run("resync");
  assert.deepEqual(room.on("one"), hosts(3));
});

test("sync() believes what it reads, not the error of a write whose reply was lost", async () => {
  const room = corridor({ policy: policy([list()]) });
  room.interfere(async (call, proceed) => {
    const result = await proceed();
    if (call.verb === "add") throw unavailable();
    return result;
  });
  const outcome = await room.deliver(nodes(2));
  assert.equal(reportOf(outcome).state, "converged");
});

test("sync() reports what it read, not what it sent", async () => {
  const room = corridor({ policy: policy([list()]) });
  room.interfere(async (call, proceed) => (call.verb === "add" ? null : proceed()));
  const outcome = await room.deliver(nodes(2));
  assert.deepEqual([reportOf(outcome).state, reportOf(outcome).reason], ["pending", "settling"]);
  assert.deepEqual(reportOf(outcome).add, hosts(2));
});

test("sync() settles a duplicate by reading again and adding the rest", async () => {
  const room = corridor({ policy: policy([list()]) });
  let raced = false;
  room.interfere(async (call, proceed) => {
    if (call.verb === "add" && !raced) {
      raced = true;
      room.contents.put("one", entry(cidr("203.0.113.1"), "by hand, just now"));
    }
    return proceed();
  });
  const outcome = await room.deliver(nodes(3));
  assert.equal(reportOf(outcome).state, "converged");
  assert.equal(reportOf(outcome).borrowed, 1);
  assert.deepEqual(room.on("one"), hosts(3));
});

test("sync() leaves a target alone until notBefore and heals by itself", async () => {
  const room = corridor({ policy: policy([list()]) });
  room.interfere(() => Promise.reject(unavailable()));
  const first = await room.deliver(nodes(2));
  assert.equal(reportOf(first).reason, "unavailable");
  room.calls();
  await room.deliver(nodes(3));
  assert.deepEqual(room.calls(), [], "not hammered");
  await room.world.advance(1_000);
  await room.deliver(nodes(3));
  assert.equal(room.calls().length, 1);
  room.interfere(null);
  await room.world.advance(2_000);
  assert.equal(reportOf(await room.deliver(nodes(3))).state, "converged");
});

test("sync() converges a healthy target in its own time beside a hung and a throttled one", async () => {
  const targets = ["hung", "throttled", "healthy"].map((id) => memoryConfig(id));
  const room = corridor({ policy: policy([list({ targets })]), traits: { callMs: 5_000 } });
  room.interfere((call, proceed) => {
    if (call.target === "memory/throttled") {
      return Promise.reject(new TargetError("throttled", "Cannot read: too many requests"));
    }
    if (call.target === "memory/healthy") return proceed();
    return room.world.sleep(5_000).then(() => Promise.reject(unavailable()));
  });
  const running = room.deliver(nodes(2));
  await room.world.advance(0);
  assert.deepEqual(room.on("healthy"), hosts(2), "before the hung one has answered");
  await room.world.advance(5_000);
  const outcome = await running;
  assert.deepEqual(
    targets.map((target) => reportOf(outcome, target.name).reason),
    ["unavailable", "throttled", null],
  );
  assert.equal(room.inFlight(), 0, "nothing runs on when it returns");
});

test("sync() begins no call that would not end before the deadline", async () => {
  const room = corridor({ policy: policy([list()]), traits: { callMs: 5_000, batchMax: 10 } });
  room.interfere(async (_call, proceed) => {
    await room.world.advance(4_000);
    return proceed();
  });
  await room.admit(nodes(100));
  const deadline = room.world.now() + 26_000;
  const outcome = await room.run("webhook", { deadline });
  assert(room.world.now() <= deadline);
  assert.equal(reportOf(outcome).reason, "batch");
  assert(room.on("one").length >= 10, "one batch at least");
});

test("sync() adds what fits where the backend is full, removes nothing, and says so with numbers", async () => {
  const room = corridor({ policy: policy([list({ targets: [memoryConfig("one", 10)] })]) });
  const odd = Array.from({ length: 12 }, (_, index) =>
    node(`n${index}`, [`203.0.113.${index * 2}`]),
  );
  const outcome = await room.deliver(odd);
  assert.equal(room.on("one").length, 10);
  assert.equal(reportOf(outcome).reason, "full");
  assert.match(reportOf(outcome).message, /Cannot add 2 of 12 entries to "db": 10 of 10 are used/);
});

test("sync() finds by halves what fits where the backend does not tell its limit", async () => {
  const room = corridor({ policy: policy([list()]) });
  room.interfere((call, proceed) => {
    if (call.verb === "observe") return proceed();
    return proceed().then((result) => {
      if (room.on("one").length <= 10) return result;
      // All or nothing, as the backend would: undo what was just added beyond the quota.
      for (const host of added.splice(0)) room.contents.drop("one", host);
      throw new TargetError("full", "Cannot add: the quota is used up");
    });
  });
  const put = room.contents.put;
  const added: ReturnType<typeof hosts> = [];
  Object.assign(room.contents, {
    put: (id: string, one: Parameters<typeof put>[1]) => {
      added.push(one.cidr);
      put(id, one);
    },
  });
  const odd = Array.from({ length: 13 }, (_, index) =>
    node(`n${index}`, [`203.0.113.${index * 2}`]),
  );
  const running = room.deliver(odd);
  const outcome = await running;
  assert.equal(reportOf(outcome).reason, "full");
  assert(room.on("one").length >= 6, `${room.on("one").length} were added`);
});

test("sync() lets a target that is full shrink, and fills the room at once", async () => {
  for (const limit of [10, null]) {
    const room = corridor({ policy: policy([list({ targets: [memoryConfig("one", limit)] })]) });
    room.interfere((call, proceed) => {
      if (call.verb === "add" && room.on("one").length >= 10) {
        return Promise.reject(new TargetError("full", "Cannot add: the quota is used up"));
      }
      return proceed();
    });
    const odd = (first: number) =>
      Array.from({ length: 10 }, (_, index) => {
        const last = (first + index) * 2;
        return node(`n${last}`, [`203.0.113.${last}`]);
      });
    await room.deliver(odd(0));
    const outcome = await room.deliver(odd(2));
    assert.equal(reportOf(outcome).reason, "full", `limit ${limit}`);
    await timePasses(room, GRACE_MS, odd(2));
    await timePasses(room, GRACE_MS, odd(2));
    assert.deepEqual(
      room.on("one"),
      odd(2).map((one) => one.addresses[0]?.address),
    );
  }
});

test("sync() does not ask a target that is full or shadowed at every heartbeat", async () => {
  const room = corridor({ policy: policy([list({ targets: [memoryConfig("one", 1)] })]) });
  await room.deliver([node("a", ["203.0.113.1"]), node("b", ["203.0.113.9"])]);
  room.calls();
  await room.world.advance(299_999);
  await room.deliver([node("a", ["203.0.113.1"]), node("b", ["203.0.113.9"])]);
  assert.deepEqual(room.calls(), []);
});

test("sync() adds an entry again that it removed a moment ago, even if a read still shows it", async () => {
  const removal = { ...REMOVAL, graceMs: 0 };
  const room = corridor({ policy: policy([list({ removal })]) });
  await room.deliver(nodes(3));
  await room.deliver(nodes(2));
  await room.run("resync");
  assert.deepEqual(room.on("one"), hosts(2));
  room.interfere(async (call, proceed) => {
    if (call.verb !== "observe" || room.on("one").length === 3) return proceed();
    const seen = (await proceed()) as { entries: unknown[] };
    return { ...seen, entries: [...seen.entries, entry(cidr("203.0.113.3"))] };
  });
  await room.deliver(nodes(3));
  assert.deepEqual(room.on("one"), hosts(3));
});

test("sync() does not repeat a removal blindly whose outcome is unknown, and looks again a minute later", async () => {
  const removal = { ...REMOVAL, graceMs: 0 };
  const room = corridor({ policy: policy([list({ removal })]) });
  await room.deliver(nodes(3));
  await room.deliver(nodes(2));
  room.interfere((call, proceed) =>
    call.verb === "remove" ? Promise.reject(unavailable()) : proceed(),
  );
  await room.run("resync");
  room.interfere(null);
  room.calls();
  await room.world.advance(30_000);
  await room.run("resync");
  assert(!room.calls().includes("one:remove"), "it may still be on its way");
  await room.world.advance(30_000);
  await room.run("resync");
  assert.deepEqual(room.on("one"), hosts(2));
});

test("sync() waits for a lease that somebody holds and then says contended", async () => {
  const room = corridor({ policy: policy([list()]) });
  const holder = corridor({
    policy: room.context.policy,
    world: room.world,
    store: room.store,
    contents: room.contents,
    traits: { callMs: 20_000 },
  });
  holder.interfere(async (_call, proceed) => {
    await room.world.sleep(15_000);
    return proceed();
  });
  const held = holder.deliver(nodes(2));
  await room.world.advance(0);
  const waiting = room.run("webhook", { waitMs: 5_000 });
  await room.world.advance(6_000);
  assert.equal(reportOf(await waiting).reason, "contended");
  await room.world.advance(60_000);
  assert.equal((await held).targets.length, 1);
});

test("sync() whose time is over before its turn says so, and not that somebody else is at work", async () => {
  const room = corridor({ policy: policy([list()]) });
  await room.admit(nodes(2));
  const late = reportOf(await room.run("webhook", { deadline: room.world.now(), waitMs: 5_000 }));
  assert.deepEqual([late.state, late.reason], ["pending", "batch"]);
  assert.equal(late.message, 'No time was left to look at "db" in this run');
  assert.deepEqual(room.on("one"), []);
  assert.equal(reportOf(await room.run("resync")).state, "converged");
});

test("sync() takes a lease that was held when its run began and is free by its turn", async () => {
  const room = corridor({ policy: policy([list()]) });
  await room.admit(nodes(2));
  const log = room.context.objectLog(list().targets[0]?.object ?? "");
  const lease = await acquireLease(log, { world: room.world, remainingMs: 60_000, waitMs: 0 });
  let ends = 1;
  const late = corridor({
    policy: room.context.policy,
    world: room.world,
    contents: room.contents,
    store: {
      ...room.store,
      async get(key) {
        const text = await room.store.get(key);
        if (key.includes("/targets/") && ends-- > 0) await lease?.release({});
        return text;
      },
    },
  });
  assert.equal(reportOf(await late.run("resync")).state, "converged");
  assert.deepEqual(room.on("one"), hosts(2));
});

test("sync() never takes a record that it could not read for none, while its first numbers are free again", async () => {
  const room = corridor({ policy: policy([list()]) });
  await room.deliver(nodes(2));
  await room.world.advance(25 * 3_600_000);
  const log = room.context.objectLog(list().targets[0]?.object ?? "");
  const holder = { world: room.world, remainingMs: 60_000, waitMs: 0 };
  await (await acquireLease(log, holder))?.release({});
  const lease = await acquireLease(log, holder);
  assert.ok((await log.trim()) > 0, "the first number is free again");
  await room.admit(nodes(3));
  let fails = 1;
  const late = corridor({
    policy: room.context.policy,
    world: room.world,
    contents: room.contents,
    store: {
      ...room.store,
      async list(prefix, limit) {
        if (prefix.includes("/targets/") && fails-- > 0) throw new StoreError("Cannot list");
        return room.store.list(prefix, limit);
      },
    },
  });
  assert.equal(reportOf(await late.run("resync")).reason, "contended");
  assert.equal(fails, -1, "its first look failed, and it looked again");
  assert.deepEqual(room.on("one"), hosts(2), "two would have been at work");
  assert.equal(await lease?.release({}), true);
});

test("sync() stops a list whose stored snapshot cannot be read, names the object, and goes on with the others", async () => {
  const other = list({
    name: "web",
    sources: [{ ...EXTERNAL, cluster: "us" }],
    targets: [memoryConfig("two")],
  });
  const room = corridor({ policy: policy([list(), other], [cluster("eu"), cluster("us")]) });
  await room.deliver(nodes(2));
  await room.admit(nodes(2), { cluster: "us" });
  await room.store.put(`v1/clusters/eu/${999_999_999_999 - 2}.json`, "{garbled");
  const outcome = await room.run("resync");
  assert.match(reportOf(outcome, "memory/one").message, /v1\/clusters\/eu\/999999999997\.json/);
  assert.equal(reportOf(outcome, "memory/one").state, "failed");
  assert.deepEqual(room.on("one"), hosts(2));
  assert.deepEqual(room.on("two"), hosts(2));
});

test("sync() carries out exactly an accepted plan, and refuses the rest", async () => {
  const room = corridor({ policy: policy([list()]) });
  await room.deliver(nodes(10));
  await room.deliver([]);
  await timePasses(room, GRACE_MS, []);
  const { plan, lists } = await survey(room.context, room.context.policy.lists);
  assert.equal(lists[0]?.reason, "ratio");
  assert.equal(plan, planIdOf(lists));
  const some = new Map([["memory/one", new Set(hosts(4))]]);
  await room.run("command", { accepted: some });
  assert.deepEqual(room.on("one"), hosts(6, 5));
});

test("survey() writes nothing and says what a resync would do", async () => {
  const room = corridor({ policy: policy([list()]) });
  await room.admit(nodes(2));
  const before = await room.store.list("", 100);
  const found = await survey(room.context, room.context.policy.lists);
  assert.deepEqual(found.lists[0]?.add, hosts(2));
  assert.equal(found.plan, null);
  assert.deepEqual(room.calls(), ["one:observe"]);
  assert.deepEqual(await room.store.list("", 100), before);
});

test("statusOf() tells the state of every list from the store alone", async () => {
  const room = corridor({ policy: policy([list()]) });
  const before = await statusOf(room.context, room.context.policy.lists);
  assert.equal(before.clusters[0]?.heardAt, null);
  assert.equal(before.lists[0]?.state, "pending");
  await room.deliver(nodes(2));
  room.calls();
  const after = await statusOf(room.context, room.context.policy.lists);
  assert.deepEqual(room.calls(), []);
  assert.equal(after.lists[0]?.state, "converged");
  assert.deepEqual(after.clusters[0], {
    cluster: "eu",
    clusterUid: "uid-eu",
    generation: { epoch: 1, sequence: 1 },
    nodes: 2,
    pods: 0,
    heardAt: "2026-11-20T21:00:00.000Z",
    fresh: true,
    retired: false,
  });
});

test("statusOf() counts a cluster that is retired as fresh, whether it was ever heard or not", async () => {
  const retired = cluster("eu", { retired: true });
  const room = corridor({ policy: policy([list()], [retired]) });
  const unheard = await statusOf(room.context, room.context.policy.lists);
  const { heardAt, fresh, retired: isRetired } = unheard.clusters[0] ?? {};
  assert.deepEqual([heardAt, fresh, isRetired], [null, true, true]);
  await room.admit(nodes(1));
  await room.world.advance(86_400_000);
  const heard = await statusOf(room.context, room.context.policy.lists);
  assert.deepEqual([heard.clusters[0]?.fresh, heard.clusters[0]?.nodes], [true, 1]);
});

test("survey() counts what is desired where a target cannot be read, from when it was read last", async () => {
  const room = corridor({ policy: policy([list()]) });
  const looks = () => survey(room.context, room.context.policy.lists);
  const deaf = async () => {
    throw new TargetError("denied", "Cannot read memory/one: denied; check the credentials");
  };
  await room.admit(nodes(2));
  room.interfere(deaf);
  const never = await looks();
  const { desired, owned, checkedAt, reason } = never.lists[0] ?? {};
  assert.deepEqual([desired, owned, reason], [2, 0, "denied"]);
  assert.equal(checkedAt, "1970-01-01T00:00:00.000Z");
  assert.deepEqual([never.unread, never.waiting], [["memory/one"], []]);
  room.interfere(null);
  await room.deliver(nodes(2));
  await room.deliver(nodes(1));
  const readAt = new Date(room.world.now()).toISOString();
  await room.world.advance(GRACE_MS);
  await room.admit(nodes(1));
  room.interfere(deaf);
  const [report] = (await looks()).lists;
  assert.deepEqual([report?.desired, report?.owned, report?.checkedAt], [1, 2, readAt]);
  assert.deepEqual([report?.remove, report?.leaving], [[], []], "what would change is not known");
});

test("survey() says whose additions wait because the list begins whole", async () => {
  const both = list({ sources: [EXTERNAL, { ...EXTERNAL, cluster: "us" }] });
  const room = corridor({
    policy: policy([both], [cluster("eu"), cluster("us")]),
    traits: { beginsWhole: true },
  });
  await room.admit(nodes(2));
  const before = await survey(room.context, room.context.policy.lists);
  assert.deepEqual([before.lists[0]?.state, before.lists[0]?.reason], ["withheld", "not-heard"]);
  assert.deepEqual(before.waiting, ["memory/one"]);
  await room.admit([], { cluster: "us", clusterUid: "uid-us" });
  const after = await survey(room.context, room.context.policy.lists);
  assert.deepEqual([after.lists[0]?.add, after.waiting], [hosts(2), []]);
});

test("sync() writes one audit line for every batch", async () => {
  const room = corridor({ policy: policy([list()]) });
  await room.admit(nodes(2));
  await room.run("webhook", { cause: { delivery: "eu/1/1", cluster: "eu" } });
  assert.deepEqual(room.world.audits, [
    {
      delivery: "eu/1/1",
      cluster: "eu",
      list: "db",
      target: "memory/one",
      action: "add",
      entries: hosts(2),
      result: "done",
    },
  ]);
});

test("sync() begins no removal with less than ten seconds of its lease left", async () => {
  const room = corridor({ policy: policy([list()]) });
  await room.deliver(nodes(3));
  await room.deliver(nodes(2));
  await room.world.advance(GRACE_MS);
  await room.deliver(nodes(2));
  await room.run("resync", { deadline: room.world.now() + 9_000 });
  assert.deepEqual(room.on("one"), hosts(3));
  await room.run("resync", { deadline: room.world.now() + 11_000 });
  assert.deepEqual(room.on("one"), hosts(2));
});

test("sync() does not let an entry whose removal is in doubt hold up another one", async () => {
  const removal = { ...REMOVAL, graceMs: 0 };
  const room = corridor({ policy: policy([list({ removal })]) });
  await room.deliver(nodes(3));
  await room.deliver(nodes(2));
  room.interfere((call, proceed) =>
    call.verb === "remove" ? Promise.reject(unavailable()) : proceed(),
  );
  await room.run("resync");
  room.interfere(null);
  await room.world.advance(2_000);
  const outcome = await room.deliver(nodes(4));
  assert.deepEqual(room.on("one"), hosts(4));
  assert.equal(reportOf(outcome).reason, "settling", "the removal may still be on its way");
  const ready = () => {
    const slot = outcome.targets[0]?.slot ?? null;
    const targets = [{ slot, traits: room.context.traitsOf(memoryConfig("one")) }];
    const { policy: rules, world } = room.context;
    const { snapshots } = outcome;
    const eu = snapshots.eu;
    assert(eu);
    const options = { policy: rules, snapshots, now: world.now() };
    return readinessOf(eu, new Map([["db", targets]]), options).ready;
  };
  assert.deepEqual(ready(), ["n1", "n2", "n4"]);
  room.contents.drop("one", cidr("203.0.113.3"));
  await room.world.advance(60_000);
  const after = await room.deliver(nodes(4));
  assert.deepEqual(room.on("one"), hosts(4), "it came, and was seen a minute later");
  assert.equal(reportOf(after).state, "converged");
});

test("sync() keeps a network of ours that still covers a node while there is no room for its parts", async () => {
  const tight = list({ targets: [memoryConfig("one", 6)] });
  const room = corridor({ policy: policy([tight]) });
  const apart = [11, 13, 15, 17, 19].map((last) => node(`a${last}`, [`203.0.113.${last}`]));
  const four = [4, 5, 6, 7].map((last) => node(`n${last}`, [`203.0.113.${last}`]));
  await room.deliver([...four, ...apart]);
  assert.equal(room.on("one")[0], "203.0.113.4/30");
  const left = [...four.slice(0, 3), ...apart];
  await room.deliver(left);
  const outcome = await timePasses(room, 900_000, left);
  assert.equal(room.on("one")[0], "203.0.113.4/30");
  assert.equal(reportOf(outcome).reason, "full");
});

test("sync() catches a list that creeps away within an hour, and lets rolling replacement pass", async () => {
  const creeping = corridor({ policy: policy([list()]) });
  await creeping.deliver(nodes(60));
  await creeping.deliver(nodes(42));
  await timePasses(creeping, GRACE_MS, nodes(42));
  assert.equal(creeping.on("one").length, 42);
  await creeping.deliver(nodes(30));
  const outcome = await timePasses(creeping, GRACE_MS, nodes(30));
  assert.equal(reportOf(outcome).reason, "shrink");
  assert.equal(creeping.on("one").length, 42);

  for (const perMinute of [1, 3]) {
    const rolling = corridor({ policy: policy([list()]) });
    let first = 1;
    await rolling.deliver(nodes(10, first));
    for (let minute = 0; minute < 40; minute += 1) {
      if (first < 31) first += perMinute;
      await timePasses(rolling, 60_000, nodes(10, first));
    }
    assert.deepEqual(rolling.on("one"), hosts(10, first), `${perMinute} nodes a minute`);
  }
});

test("sync() that waited for a lease works from the truth of then, not from what it read before", async () => {
  const room = corridor({ policy: policy([list()]) });
  const holder = corridor({
    policy: room.context.policy,
    world: room.world,
    store: room.store,
    contents: room.contents,
    traits: { callMs: 5_000 },
  });
  holder.interfere(async (_call, proceed) => {
    await room.world.sleep(1_000);
    return proceed();
  });
  await room.admit(nodes(2), { generation: { epoch: 1, sequence: 1 } });
  const held = holder.run("webhook");
  await room.world.advance(0);
  await room.admit([...nodes(2), node("x", ["203.0.113.77"])], {
    generation: { epoch: 1, sequence: 2 },
  });
  const waiting = room.run("webhook", { waitMs: 5_000 });
  await room.world.advance(0);
  await room.admit([...nodes(2), node("y", ["203.0.113.78"])], {
    generation: { epoch: 1, sequence: 3 },
  });
  await room.world.advance(20_000);
  await held;
  await waiting;
  assert.deepEqual(
    room.on("one"),
    [...hosts(2), ...hosts(1, 78)],
    "x was gone before it was added",
  );
});

test("sync() that was overtaken between its look and its lease works from what is there by then", async () => {
  const room = corridor({ policy: policy([list()]) });
  const first = [...nodes(2), node("x", ["203.0.113.77"])];
  await room.admit(first);
  let overtake = async () => {};
  const late = corridor({
    policy: room.context.policy,
    world: room.world,
    contents: room.contents,
    store: {
      ...room.store,
      async put(key, body) {
        const go = overtake;
        overtake = async () => {};
        await go();
        return room.store.put(key, body);
      },
    },
  });
  overtake = async () => {
    await room.deliver(nodes(2));
  };
  const report = reportOf(await late.run("webhook"));
  assert.deepEqual(room.on("one"), hosts(2), "x was gone before it was added");
  assert.deepEqual([report.state, report.owned], ["converged", 2]);
  const newest = await room.context.objectLog(list().targets[0]?.object ?? "").newest();
  assert.equal(newest?.body.state, "done");
  assert.deepEqual(Object.keys(newest?.body.slots["memory/one"]?.entries ?? {}), hosts(2));
});
