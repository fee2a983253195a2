import assert from "node:assert/strict";
import test from "node:test";
import { readinessOf } from "../lib/core/answer.ts";
import { StoreError } from "../lib/stores/store.ts";
import { statusOf } from "../lib/survey.ts";
import type { SyncOutcome } from "../lib/sync.ts";
import { TargetError } from "../lib/targets/target.ts";
import {
  cidr,
  cluster,
  entry,
  GRACE_MS,
  hosts,
  list,
  memoryConfig,
  node,
  policy,
  REMOVAL,
} from "./core/cases.ts";
import { type Corridor, corridor, nodes, reportOf, timePasses } from "./corridor.ts";

/* Cases in which a turn met something new between its own steps. Each of them went wrong once. */

const NO_GRACE = { ...REMOVAL, graceMs: 0 };

/** Everything that was ever removed, by the audit lines. */
function removedBy(room: Corridor): readonly unknown[] {
  return room.world.audits
    .filter((line) => line.action === "remove")
    .flatMap((line) => line.entries);
}

function readyIn(room: Corridor, outcome: SyncOutcome): readonly string[] {
  const { snapshots } = outcome;
  const { eu } = snapshots;
  assert(eu);
  const options = { policy: room.context.policy, snapshots, now: room.world.now() };
  return readinessOf(eu, new Map([["db", outcome.targets]]), options).ready;
}

test("reconcile() judges every batch of removals by the newest truth, not only the first", async () => {
  const room = corridor({ policy: policy([list({ removal: NO_GRACE })]), traits: { batchMax: 1 } });
  await room.deliver(nodes(10));
  await room.deliver(nodes(8));
  room.interfere(async (call, proceed) => {
    const result = await proceed();
    if (call.verb === "remove" && room.on("one").length === 9) await room.admit(nodes(10));
    return result;
  });
  await room.run("resync");
  assert.deepEqual(removedBy(room), hosts(1, 9), "the second one was wanted again");
  assert.deepEqual(room.on("one"), hosts(10), "and the first came back");
});

test("reconcile() reads the truth after it has written its removals down, right before the call", async () => {
  const room = corridor({ policy: policy([list({ removal: NO_GRACE })]) });
  await room.deliver(nodes(3));
  await room.deliver(nodes(2));
  const { objectLog } = room.context;
  const late: Corridor["context"]["objectLog"] = (name) => {
    const log = objectLog(name);
    return {
      ...log,
      async append(after, body) {
        const done = await log.append(after, body);
        const removed = body.slots["memory/one"]?.removed ?? {};
        if (Object.keys(removed).length > 0 && body.state === "held") await room.admit(nodes(3));
        return done;
      },
    };
  };
  Object.assign(room.context, { objectLog: late });
  await room.run("resync");
  assert.deepEqual(room.on("one"), hosts(3));
});

test("reconcile() remembers what it removed when the store fails in the middle", async () => {
  const room = corridor({ policy: policy([list({ removal: NO_GRACE })]), traits: { batchMax: 1 } });
  await room.deliver(nodes(10));
  await room.deliver(nodes(8));
  const { objectLog } = room.context;
  let extensions = 0;
  Object.assign(room.context, {
    objectLog: (name: string) => {
      const log = objectLog(name);
      const append: typeof log.append = (after, body) => {
        const held = body.state === "held" && Object.keys(body.slots).length > 0;
        if (held) extensions += 1;
        // The first is the acquisition, the second goes before the first removal.
        return held && extensions === 3
          ? Promise.reject(new StoreError("Cannot write: the line is cut"))
          : log.append(after, body);
      };
      return { ...log, append };
    },
  });
  await room.run("resync");
  assert.equal(room.on("one").length, 9);
  const newest = await objectLog("memory.one").newest();
  assert.deepEqual(Object.keys(newest?.body.slots["memory/one"]?.removed ?? {}), [
    "203.0.113.9/32",
  ]);
});

test("reconcile() is not deceived by an aggregate: losing all it stands for is a loss", async () => {
  const tight = list({ targets: [memoryConfig("one", 60)] });
  const room = corridor({ policy: policy([tight]) });
  await room.deliver(nodes(64, 64));
  assert.deepEqual(room.on("one"), ["203.0.113.64/26"]);
  await room.deliver(nodes(1, 64));
  const outcome = await timePasses(room, GRACE_MS, nodes(1, 64));
  assert.equal(reportOf(outcome).reason, "shrink");
  assert(room.on("one").includes("203.0.113.64/26"));
});

test("reconcile() keeps running nodes on a list that its cluster's maxEntries cuts", async () => {
  const few = policy([list()], [cluster("eu", { maxEntries: 10 })]);
  const room = corridor({ policy: few });
  await room.deliver(nodes(10, 2));
  await room.deliver(nodes(9, 3));
  await room.deliver(nodes(10, 3));
  const back = await room.deliver(nodes(11, 2));
  assert.deepEqual(
    reportOf(back).refused.map((one) => one.address),
    ["203.0.113.2"],
    "who comes back from its grace stands behind",
  );
});

test("reconcile() lets a list that is over its limit follow its cluster", async () => {
  const tight = list({ targets: [memoryConfig("one", 20)] });
  const room = corridor({ policy: policy([tight]) });
  const odd = (first: number) =>
    Array.from({ length: 40 }, (_, index) => {
      const last = (first + index) * 2;
      return node(`n${last}`, [`203.0.113.${last}`]);
    });
  await room.deliver(odd(0));
  for (let round = 1; round <= 10; round += 1) {
    await room.deliver(odd(round));
    await timePasses(room, 1_800_000, odd(round));
  }
  const wanted = new Set(odd(10).flatMap((one) => one.addresses.map(({ address }) => address)));
  const held = room.on("one").filter((one) => wanted.has(cidr(one)));
  assert(held.length >= 18, `${held.length} of 20 are of nodes that live`);
});

test("reconcile() goes on adding while a removal is withheld", async () => {
  const room = corridor({
    policy: policy([list({ removal: NO_GRACE })]),
    traits: { batchMax: 10 },
  });
  await room.deliver(nodes(10));
  const few = await room.deliver(nodes(3));
  assert.equal(reportOf(few).reason, "ratio");
  let calls = 0;
  room.interfere((_call, proceed) => {
    calls += 1;
    return calls === 3 ? Promise.reject(new TargetError("throttled", "Cannot add")) : proceed();
  });
  await room.deliver([...nodes(3), ...nodes(40, 50)]);
  for (let minute = 0; minute < 3; minute += 1) {
    await room.world.advance(60_000);
    await room.deliver([...nodes(3), ...nodes(40, 50)]);
  }
  assert.equal(room.on("one").length, 50);
});

test("reconcile() finishes in the next resync what it had no time to remove", async () => {
  const room = corridor({
    policy: policy([list({ removal: { ...NO_GRACE, maxRatio: 1, minRemaining: 0 } })]),
    traits: { batchMax: 10, callMs: 5_000 },
  });
  await room.deliver(nodes(40));
  await room.deliver(nodes(20));
  room.interfere(async (call, proceed) => {
    if (call.verb === "remove") await room.world.advance(4_000);
    return proceed();
  });
  await room.run("resync", { deadline: room.world.now() + 13_000 });
  assert.equal(room.on("one").length, 30);
  await room.world.advance(60_000);
  await room.run("resync");
  assert.equal(room.on("one").length, 20);
});

test("reconcile() counts an entry that had to be added again as read back now, not long ago", async () => {
  const room = corridor({ policy: policy([list()]), traits: { settleMs: 30_000 } });
  await room.deliver(nodes(2));
  await room.world.advance(60_000);
  const settled = await room.deliver(nodes(2));
  assert.deepEqual(readyIn(room, settled), ["n1", "n2"]);
  room.contents.drop("one", cidr("203.0.113.2"));
  await room.world.advance(300_000);
  const repaired = await room.run("resync");
  assert.deepEqual(room.on("one"), hosts(2));
  assert.deepEqual(readyIn(room, repaired), ["n1"]);
});

test("reconcile() starts the clock of what left while it was at work, and stops it when it returns", async () => {
  const room = corridor({ policy: policy([list()]) });
  await room.deliver(nodes(10));
  await room.deliver(nodes(9));
  await room.world.advance(GRACE_MS);
  await room.deliver(nodes(9));
  let once = true;
  room.interfere(async (call, proceed) => {
    const result = await proceed();
    if (call.verb === "observe" && once) {
      once = false;
      await room.admit(nodes(8));
    }
    return result;
  });
  await room.run("resync");
  room.interfere(null);
  const back = await room.deliver(nodes(9));
  assert.equal(reportOf(back).state, "converged");
  assert.deepEqual(reportOf(back).leaving, []);
});

test("reconcile() tells only the nodes behind a foreign deny rule that they are not ready", async () => {
  const room = corridor({ policy: policy([list()]) });
  room.contents.put("one", { ...entry(cidr("203.0.113.2/31"), null), effect: "deny" });
  const outcome = await room.deliver(nodes(3));
  assert.equal(reportOf(outcome).reason, "shadowed");
  assert.equal(room.on("one").length, 4, "they are on the target all the same");
  assert.deepEqual(readyIn(room, outcome), ["n1"]);
});

test("reconcile() asks ever more rarely for what was sent and is never seen", async () => {
  const room = corridor({ policy: policy([list()]) });
  room.interfere(async (call, proceed) => (call.verb === "add" ? null : proceed()));
  await room.deliver(nodes(1));
  room.calls();
  for (let second = 0; second < 120; second += 1) {
    await room.world.advance(1_000);
    await room.deliver(nodes(1));
  }
  const writes = room.calls().filter((call) => call === "one:add").length;
  assert(writes <= 9, `${writes} writes in two minutes`);
});

test("sync() looks at a target that another list had before, whatever both have in common", async () => {
  const room = corridor({ policy: policy([list()]) });
  await room.deliver(nodes(3));
  const renamed = list({ name: "db2", formerly: ["db"] });
  const after = corridor({
    policy: policy([renamed]),
    world: room.world,
    store: room.store,
    contents: room.contents,
  });
  const outcome = await after.deliver(nodes(3), { generation: { epoch: 1, sequence: 9 } });
  assert.equal(reportOf(outcome).list, "db2");
  assert.deepEqual(after.calls(), ["one:observe"]);
  assert.equal(reportOf(outcome).owned, 3);
});

test("sync() looks again when two lists of the same addresses exchange their targets", async () => {
  const pair = (first: string, second: string) => [
    list({ name: "a", targets: [memoryConfig(first)] }),
    list({ name: "b", targets: [memoryConfig(second)] }),
  ];
  const room = corridor({ policy: policy(pair("one", "two")) });
  await room.deliver(nodes(3));
  const after = corridor({
    policy: policy(pair("two", "one")),
    world: room.world,
    store: room.store,
    contents: room.contents,
  });
  const outcome = await after.deliver(nodes(3), { generation: { epoch: 1, sequence: 9 } });
  const reports = outcome.targets.map(({ report }) => [report.list, report.target]);
  assert.deepEqual(reports, [
    ["a", "memory/two"],
    ["b", "memory/one"],
  ]);
  assert.deepEqual(
    outcome.targets.map(({ report }) => [report.state, report.orphaned]),
    [
      ["converged", 3],
      ["converged", 3],
    ],
  );
});

test("sync() begins no further call once its process was asked to end, and gives its lease back", async () => {
  const room = corridor({ policy: policy([list()]) });
  const ending = new AbortController();
  Object.assign(room.context, { signal: ending.signal });
  room.interfere(async (_call, proceed) => {
    ending.abort();
    return proceed();
  });
  await room.deliver(nodes(3));
  assert.deepEqual(room.calls(), ["one:observe"]);
  assert.equal((await room.context.objectLog("memory.one").newest())?.body.state, "done");
});

test("sync() outwaits the lease of a process that died", async () => {
  const room = corridor({ policy: policy([list({ removal: NO_GRACE })]) });
  await room.deliver(nodes(3));
  await room.admit(nodes(2));
  const log = room.context.objectLog("memory.one");
  const newest = await log.newest();
  const slots = newest?.body.slots ?? {};
  await log.append(newest?.revision ?? 0, { state: "held", forMs: 65_000, slots });
  const deadline = room.world.now() + 600_000;
  const running = room.run("command", { deadline, waitMs: 70_000 });
  await room.world.advance(75_000);
  assert.equal(reportOf(await running).state, "converged");
  assert.deepEqual(room.on("one"), hosts(2));
});

test("sync() does not believe a notBefore that a clock running ahead has written", async () => {
  const room = corridor({ policy: policy([list()]) });
  await room.deliver(nodes(1));
  const log = room.context.objectLog("memory.one");
  const newest = await log.newest();
  const slot = newest?.body.slots["memory/one"];
  assert(newest && slot);
  const far = room.world.now() + 86_400_000;
  const slots = { "memory/one": { ...slot, notBefore: far, checkedAt: far, failures: 3 } };
  await log.append(newest.revision, { state: "done", slots });
  await room.deliver(nodes(2));
  assert.deepEqual(room.on("one"), hosts(2));
});

test("sync() remembers a target that cannot be opened, and status says so", async () => {
  const room = corridor({ policy: policy([list()]) });
  await room.deliver(nodes(1));
  Object.assign(room.context, {
    targetOf: () => Promise.reject(new TargetError("invalid", "Cannot open it: REGION is not set")),
  });
  await room.deliver(nodes(2));
  const status = await statusOf(room.context, room.context.policy.lists);
  assert.equal(status.lists[0]?.reason, "invalid");
});

test("statusOf() does not call converged what a newer truth has not reached yet", async () => {
  const room = corridor({ policy: policy([list()]) });
  await room.deliver(nodes(1));
  await room.admit(nodes(2));
  const status = await statusOf(room.context, room.context.policy.lists);
  assert.deepEqual([status.lists[0]?.state, status.lists[0]?.reason], ["pending", "batch"]);
});

test("reconcile() reports a renamed list under its new name, also when it cannot read", async () => {
  const room = corridor({ policy: policy([list()]) });
  await room.deliver(nodes(3));
  const after = corridor({
    policy: policy([list({ name: "db2", formerly: ["db"] })]),
    world: room.world,
    store: room.store,
    contents: room.contents,
  });
  after.interfere(() => Promise.reject(new TargetError("unavailable", "Cannot read it")));
  const outcome = await after.run("resync");
  assert.deepEqual([reportOf(outcome).list, reportOf(outcome).reason], ["db2", "unavailable"]);
});
