import assert from "node:assert/strict";
import test from "node:test";
import { readinessOf } from "../lib/core/answer.ts";
import type { Traits } from "../lib/core/observation.ts";
import type { SyncOutcome } from "../lib/sync.ts";
import { TargetError } from "../lib/targets/target.ts";
import { cidr, entry, hosts, list, memoryConfig, policy, REMOVAL } from "./core/cases.ts";
import { type Corridor, corridor, nodes, reportOf } from "./corridor.ts";

/* Reads that lag, writes that arrive after their time, and what may be believed meanwhile. */

const NO_GRACE = { ...REMOVAL, graceMs: 0 };
const lost = () =>
  new TargetError("unavailable", "Cannot write memory: no answer; it is tried again");

function room(traits: Partial<Traits> = {}, limit: number | null = null): Corridor {
  const targets = [memoryConfig("one", limit)];
  return corridor({ policy: policy([list({ removal: NO_GRACE, targets })]), traits });
}

function readyIn(found: Corridor, outcome: SyncOutcome): readonly string[] {
  const { snapshots } = outcome;
  assert(snapshots.eu);
  const options = { policy: found.context.policy, snapshots, now: found.world.now() };
  return readinessOf(snapshots.eu, new Map([["db", outcome.targets]]), options).ready;
}

/**
 * A backend that takes what is there already for done, and a removal whose request is on its way.
 */
async function withRemovalOnItsWay(): Promise<Corridor> {
  const found = room();
  await found.deliver(nodes(3));
  await found.deliver(nodes(2));
  found.interfere(async (call, proceed) => {
    if (call.verb === "remove") throw lost();
    return proceed();
  });
  await found.run("resync");
  found.interfere(async (call, proceed) => {
    if (call.verb !== "add") return proceed();
    return proceed().catch((error) => {
      if (error instanceof TargetError && error.kind === "conflict") return null;
      throw error;
    });
  });
  return found;
}

test("a node that comes back while its removal is on its way is not ready before that can no longer come", async () => {
  const found = await withRemovalOnItsWay();
  await found.world.advance(2_000);
  const back = await found.deliver(nodes(3));
  assert.deepEqual(readyIn(found, back), ["n1", "n2"]);
  found.contents.drop("one", cidr("203.0.113.3"));
  await found.world.advance(58_000);
  const looked = await found.deliver(nodes(3));
  assert.deepEqual(found.on("one"), hosts(3), "looked at again, and mended");
  assert.deepEqual(readyIn(found, looked), ["n1", "n2", "n3"]);
});

test("a list that is written whole is not written to remove while something wanted was not read", async () => {
  for (const write of ["whole", "entry"] as const) {
    const found = room({ write });
    await found.deliver(nodes(3));
    await found.deliver(nodes(2));
    let reads = 0;
    found.interfere(async (call, proceed) => {
      const result = await proceed();
      // After the first look a node joins, which nothing that was read shows.
      if (call.verb === "observe" && ++reads === 1)
        await found.admit([...nodes(2), ...nodes(1, 9)]);
      return result;
    });
    found.calls();
    await found.run("resync");
    const made = found.calls().includes("one:remove");
    assert.equal(made, write === "entry");
    found.interfere(null);
    await found.run("resync");
    assert.deepEqual(found.on("one"), [...hosts(2), ...hosts(1, 9)]);
  }
});

test("at the limit a read that is late gives nobody's place away", async () => {
  const found = room({}, 3);
  await found.deliver(nodes(3, 5));
  const [gone] = found.contents.entries("one").filter((one) => one.cidr === cidr("203.0.113.7"));
  assert(gone !== undefined);
  let isLate = true;
  found.interfere(async (call, proceed) => {
    if (call.verb !== "observe" || !isLate) return proceed();
    isLate = false;
    found.contents.drop("one", gone.cidr);
    return proceed();
  });
  // A new node with an address before all others comes with the late read.
  const outcome = await found.deliver([...nodes(3, 5), ...nodes(1, 1)]);
  assert.deepEqual(found.on("one"), hosts(3, 5));
  assert.equal(reportOf(outcome).reason, "full");
});

test("an entry is looked after until it is in effect, whatever worse state hides that", async () => {
  const settleMs = 60_000;
  const removal = { ...NO_GRACE, minRemaining: 5 };
  const found = corridor({ policy: policy([list({ removal })]), traits: { settleMs } });
  await found.deliver(nodes(4));
  await found.deliver([...nodes(2), ...nodes(1, 9)]);
  assert.equal(reportOf(await found.run("resync")).reason, "min-remaining");
  found.calls();
  await found.world.advance(30_000);
  await found.run("resync");
  assert.deepEqual(found.calls(), ["one:observe"]);
  await found.world.advance(31_000);
  await found.run("resync");
  found.calls();
  await found.world.advance(60_000);
  await found.run("resync");
  assert.deepEqual(found.calls(), [], "in effect, so nobody looks before it is time");
});

test("after a write of a whole list that may still arrive nothing on it is believed for a minute", async () => {
  for (const write of ["whole", "entry"] as const) {
    const found = room({ write });
    await found.deliver(nodes(2));
    found.interfere(async (call, proceed) => {
      const result = await proceed();
      if (call.verb === "add") throw lost();
      return result;
    });
    const unsure = await found.deliver(nodes(3));
    assert.equal(readyIn(found, unsure).length, write === "whole" ? 0 : 3);
    found.interfere(null);
    // What arrives late puts the old list back.
    found.contents.drop("one", cidr("203.0.113.3"));
    await found.world.advance(60_000);
    const looked = await found.deliver(nodes(3));
    if (write === "entry") continue;
    assert.deepEqual(found.on("one"), hosts(3));
    assert.equal(readyIn(found, looked).length, 3);
  }
});

test("a conflict on a list that is written whole has the neighbours on its object looked at again", async () => {
  const object = "memory.shared";
  const targets = ["a", "b"].map((id) => ({ ...memoryConfig(id), object }));
  const [first, second] = targets.map((target, index) =>
    list({ name: `db${index}`, targets: [target], removal: NO_GRACE }),
  );
  assert(first !== undefined && second !== undefined);
  const found = corridor({ policy: policy([first, second]), traits: { write: "whole" } });
  await found.deliver(nodes(2));
  let isRaced = true;
  found.interfere(async (call, proceed) => {
    const result = await proceed();
    if (call.target !== "memory/b" || call.verb !== "add" || !isRaced) return result;
    isRaced = false;
    // Our write was carried out, and with it the neighbour's newest entry went.
    found.contents.drop("a", cidr("203.0.113.2"));
    throw new TargetError("conflict", "Cannot write memory: somebody else wrote; read again");
  });
  await found.deliver(nodes(3));
  assert(!found.on("a").includes("203.0.113.2/32"));
  await found.world.advance(1_000);
  await found.run("resync");
  assert.deepEqual(found.on("a"), hosts(3));
});

test("a target that does not take what is added is not asked to remove", async () => {
  const found = room();
  await found.deliver(nodes(3));
  await found.deliver(nodes(2));
  await found.admit([...nodes(2), ...nodes(1, 9)]);
  found.interfere(async (call, proceed) => {
    if (call.verb === "add") throw lost();
    return proceed();
  });
  found.calls();
  await found.run("resync");
  assert(!found.calls().includes("one:remove"));
  assert.deepEqual(found.on("one"), hosts(3));
});

test("a throttled removal is not remembered as one that may still arrive", async () => {
  const found = room();
  await found.deliver(nodes(3));
  await found.deliver(nodes(2));
  found.interfere(async (call, proceed) => {
    if (call.verb !== "remove") return proceed();
    throw new TargetError("throttled", "Cannot write memory: too many requests; it is tried later");
  });
  await found.run("resync");
  found.interfere(null);
  await found.world.advance(1_000);
  const outcome = await found.deliver(nodes(3));
  assert.deepEqual(readyIn(found, outcome), ["n1", "n2", "n3"]);
});

test("what takes a network's place is in effect before the network goes", async () => {
  const settleMs = 60_000;
  const before = room({ settleMs }, 1);
  await before.deliver(nodes(64, 64));
  assert.deepEqual(before.on("one"), ["203.0.113.64/26"]);
  await before.deliver(nodes(63, 64));
  await before.run("resync");
  await before.world.advance(2 * settleMs);
  const { world, store, contents } = before;
  const wide = policy([
    list({ removal: { ...NO_GRACE, maxRatio: 1 }, targets: [memoryConfig("one")] }),
  ]);
  const found = corridor({
    policy: wide,
    world,
    store,
    contents,
    traits: { settleMs },
    sequence: 9,
  });
  await found.deliver(nodes(63, 64));
  await found.run("resync");
  assert(found.on("one").includes("203.0.113.64/26"), "the parts were only read back");
  await world.advance(settleMs - 1);
  await found.run("resync");
  assert(found.on("one").includes("203.0.113.64/26"));
  await world.advance(1);
  await found.run("resync");
  assert.deepEqual(found.on("one"), hosts(63, 64));
});

test("an entry that its backend is still bringing into effect counts from when it is", async () => {
  const settleMs = 10_000;
  const found = room({ settleMs });
  const { targetOf } = found.context;
  let isArriving = true;
  Object.assign(found.context, {
    targetOf: async (config: Parameters<typeof targetOf>[0]) => {
      const target = await targetOf(config);
      return {
        ...target,
        async observe(signal: AbortSignal) {
          const observation = await target.observe(signal);
          const entries = observation.entries.map((one) => ({ ...one, arriving: isArriving }));
          return { ...observation, entries };
        },
      };
    },
  });
  await found.deliver(nodes(1));
  for (let looks = 0; looks < 3; looks += 1) {
    await found.world.advance(settleMs);
    assert.deepEqual(readyIn(found, await found.deliver(nodes(1))), []);
  }
  isArriving = false;
  await found.deliver(nodes(1));
  await found.world.advance(settleMs);
  assert.deepEqual(readyIn(found, await found.deliver(nodes(1))), ["n1"]);
});

test("an entry by hand on a list is never taken for one of ours that is late", async () => {
  const found = room();
  await found.deliver(nodes(2));
  found.contents.put("one", entry(cidr("198.51.100.7"), "by hand"));
  await found.run("resync");
  assert(found.on("one").includes("198.51.100.7/32"));
});
