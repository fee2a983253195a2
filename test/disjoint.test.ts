import assert from "node:assert/strict";
import test from "node:test";
import type { List } from "../lib/core/list.ts";
import type { Traits } from "../lib/core/observation.ts";
import {
  cidr,
  cidrs,
  EXTERNAL,
  GRACE_MS,
  hosts,
  list,
  memoryConfig,
  policy,
  REMOVAL,
} from "./core/cases.ts";
import { corridor, nodes, reportOf, timePasses } from "./corridor.ts";

/* Lists on a backend that refuses an address inside a network which stands there already. */

const traits = { overlap: false, whenEmpty: "rejected" } as const;
const WIDE = { kind: "static", cidrs: cidrs("203.0.113.0/28") } as const;

/** The same installation after somebody edited its configuration. */
function edited(
  room: ReturnType<typeof corridor>,
  given: Partial<List>,
  more: Partial<Traits> = {},
) {
  const { world, store, contents } = room;
  const kept = { world, store, contents, traits: { ...traits, ...more }, sequence: 9 };
  return corridor({ policy: policy([list(given)]), ...kept });
}

test("a network that left the configuration gives way to the nodes inside it in one call", async () => {
  const before = corridor({ policy: policy([list({ sources: [EXTERNAL, WIDE] })]), traits });
  await before.deliver(nodes(3));
  assert.deepEqual(before.on("one"), ["203.0.113.0/28"]);
  const room = edited(before, {});
  const waiting = await room.deliver(nodes(3));
  assert.equal(reportOf(waiting).reason, "grace");
  assert.deepEqual(reportOf(waiting).add, []);
  assert.deepEqual(room.on("one"), ["203.0.113.0/28"]);
  room.calls();
  const outcome = await timePasses(room, GRACE_MS, nodes(3));
  assert.deepEqual(room.on("one"), ["203.0.113.1/32", "203.0.113.2/32", "203.0.113.3/32"]);
  assert.equal(reportOf(outcome).state, "converged");
  assert.deepEqual(
    room.calls().filter((call) => call !== "one:observe"),
    ["one:remove"],
  );
});

test("a network that entered the configuration takes the place of the nodes inside it", async () => {
  const before = corridor({ policy: policy([list()]), traits });
  await before.deliver(nodes(3));
  const room = edited(before, { sources: [EXTERNAL, WIDE] });
  await room.deliver(nodes(3));
  assert.deepEqual(room.on("one"), ["203.0.113.0/28"]);
  assert.equal(reportOf(await room.run("resync")).state, "converged");
});

test("at capacity the nodes give way to their exact aggregate, in one call, and none is lost", async () => {
  const targets = [memoryConfig("one", 5)];
  const room = corridor({ policy: policy([list({ targets })]), traits });
  await room.deliver(nodes(5, 4));
  assert.equal(room.on("one").length, 5);
  const outcome = await room.deliver(nodes(6, 4));
  assert.deepEqual(room.on("one"), ["203.0.113.4/30", "203.0.113.8/31"]);
  assert.equal(reportOf(outcome).state, "converged");
});

test("a node that comes while its network leaves is in the call that removes the network", async () => {
  const before = corridor({ policy: policy([list({ sources: [EXTERNAL, WIDE] })]), traits });
  await before.deliver(nodes(2));
  const room = edited(before, {});
  await room.deliver(nodes(2));
  await room.world.advance(GRACE_MS);
  await room.deliver(nodes(2));
  room.interfere(async (call, proceed) => {
    // After the first read, before the removal is judged for the last time.
    const result = await proceed();
    if (call.verb === "observe" && room.on("one").includes(cidr("203.0.113.0/28"))) {
      room.interfere(null);
      await room.admit(nodes(3));
    }
    return result;
  });
  await room.run("resync");
  assert.deepEqual(room.on("one"), ["203.0.113.1/32", "203.0.113.2/32", "203.0.113.3/32"]);
});

const TWO = { kind: "static", cidrs: cidrs("203.0.113.0/28", "203.0.113.16/28") } as const;

test("every call has room for what it writes in the place of what it removes", async () => {
  const before = corridor({ policy: policy([list({ sources: [EXTERNAL, TWO] })]), traits });
  const four = [...nodes(2), ...nodes(2, 17)];
  await before.deliver(four);
  const room = edited(before, {}, { batchMax: 4 });
  await room.deliver(four);
  room.calls();
  await timePasses(room, GRACE_MS, four);
  assert.deepEqual(room.on("one"), [...hosts(2), ...hosts(2, 17)]);
  const written = room.calls().filter((call) => call !== "one:observe");
  assert.deepEqual(written, ["one:remove", "one:remove"]);
});

test("a call that has grown since it was planned removes less, and the rest later", async () => {
  const before = corridor({ policy: policy([list({ sources: [EXTERNAL, TWO] })]), traits });
  const some = [...nodes(2), ...nodes(1, 17)];
  await before.deliver(some);
  const room = edited(before, {}, { batchMax: 5 });
  await room.deliver(some);
  await room.world.advance(GRACE_MS);
  await room.deliver(some);
  room.interfere(async (call, proceed) => {
    const result = await proceed();
    if (call.verb === "observe") {
      room.interfere(null);
      await room.admit([...nodes(3), ...nodes(1, 17)]);
    }
    return result;
  });
  await room.run("resync");
  assert.deepEqual(room.on("one"), [...hosts(3), "203.0.113.16/28"]);
  await timePasses(room, 60_000, [...nodes(3), ...nodes(1, 17)]);
  assert.deepEqual(room.on("one"), [...hosts(3), ...hosts(1, 17)]);
});

test("a container of our name gives entries back at once, a stranger's only when it was claimed", async () => {
  const container = { ...traits, marking: "container" } as const;
  const removal = { ...REMOVAL, graceMs: 0 };
  const reasonFor = async (group: string | null) => {
    const room = corridor({ policy: policy([list({ removal })]), traits: container });
    await room.deliver(nodes(3));
    for (const { cidr, text } of room.contents.entries("one")) {
      room.contents.put("one", { cidr, text: group ?? text, effect: "allow" });
    }
    await room.deliver(nodes(2));
    return reportOf(await room.run("resync")).reason;
  };
  assert.equal(await reasonFor(null), null);
  assert.equal(await reasonFor("k8s_prod"), "first-sync");
});
