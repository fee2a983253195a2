import assert from "node:assert/strict";
import test from "node:test";
import type { List } from "../lib/core/list.ts";
import { outsideKey } from "../lib/core/outside.ts";
import { memoryStore } from "../lib/stores/memory.ts";
import { type Store, StoreError } from "../lib/stores/store.ts";
import { statusOf, survey } from "../lib/survey.ts";
import {
  cidrs,
  EXTERNAL,
  GRACE_MS,
  hosts,
  list,
  memoryConfig,
  NAT,
  policy,
  SUBNET,
} from "./core/cases.ts";
import { type Corridor, corridor, nodes, reportOf, says, unread } from "./corridor.ts";
import { START, type VirtualWorld, virtualWorld } from "./virtual-world.ts";

const MINUTE_MS = 60_000;
const SUBNET_KEY = outsideKey(SUBNET);
const NAT_KEY = outsideKey(NAT);
const SUBNETS = {
  kind: "subnets",
  subnets: [SUBNET],
  widest: { ipv4: 20, ipv6: 56 },
} as const;
const NAMES = { kind: "dns", names: [NAT], bounds: "public" } as const;

function room(given: Partial<List>, options: { world?: VirtualWorld; store?: Store } = {}) {
  return corridor({ policy: policy([list(given)]), ...options });
}

/** Minute by minute, a resync each. */
async function minutes(one: Corridor, count: number, each: () => void = () => undefined) {
  for (let minute = 0; minute < count; minute += 1) {
    await one.world.advance(MINUTE_MS);
    each();
    await one.run("resync");
  }
}

const revisionOf = async (one: Corridor, key: string) =>
  (await one.context.sourceLog(key).newest())?.revision ?? 0;

test("sync() keeps a list of a subnet, a name and static members without any cluster", async () => {
  const one = room({
    sources: [SUBNETS, NAMES, { kind: "static", cidrs: cidrs("198.51.100.7") }],
  });
  one.outside.set(SUBNET_KEY, says("10.0.0.0/24", "2001:db8::/64"));
  one.outside.set(NAT_KEY, says("8.8.8.8"));
  const outcome = await one.run("resync");
  assert.deepEqual(one.on("one"), [
    "8.8.8.8/32",
    "10.0.0.0/24",
    "198.51.100.7/32",
    "2001:db8::/64",
  ]);
  assert.equal(reportOf(outcome).state, "converged");
});

test("sync() asks no source for a delivery, and writes what is stored of them", async () => {
  const one = room({ sources: [EXTERNAL, SUBNETS] });
  one.outside.set(SUBNET_KEY, says("10.0.0.0/24"));
  await one.deliver(nodes(2));
  assert.deepEqual(one.asked(), []);
  assert.deepEqual(one.on("one"), hosts(2));
  await one.run("resync");
  assert.deepEqual(one.asked(), [SUBNET_KEY]);
  await one.world.advance(MINUTE_MS);
  await one.deliver(nodes(3));
  assert.deepEqual(one.asked(), []);
  assert.deepEqual(one.on("one"), ["10.0.0.0/24", ...hosts(3)].toSorted());
});

test("sync() asks a subnet every five minutes and a name every minute, and reads no target for what it knows", async () => {
  const one = room({ sources: [SUBNETS, NAMES] });
  one.outside.set(SUBNET_KEY, says("10.0.0.0/24"));
  one.outside.set(NAT_KEY, says("8.8.8.8"));
  await one.run("resync");
  assert.deepEqual(one.asked(), [SUBNET_KEY, NAT_KEY]);
  one.calls();
  for (let second = 0; second < 240; second += 15) {
    await one.world.advance(15_000);
    await one.run("resync");
  }
  assert.deepEqual(one.asked(), [NAT_KEY, NAT_KEY, NAT_KEY, NAT_KEY]);
  assert.deepEqual(one.calls(), []);
  assert.equal(await revisionOf(one, NAT_KEY), 1, "what says the same is not written each minute");
  await one.world.advance(MINUTE_MS);
  await one.run("resync");
  assert.deepEqual(one.asked(), [SUBNET_KEY, NAT_KEY]);
  assert.equal(await revisionOf(one, NAT_KEY), 2, "it is heard of every five minutes");
});

test("sync() asks a subnet that failed every minute, and writes the same trouble down every five", async () => {
  const one = room({ sources: [SUBNETS] });
  await minutes(one, 5);
  assert.equal(one.asked().length, 5);
  assert.equal(await revisionOf(one, SUBNET_KEY), 1);
  await minutes(one, 1);
  assert.equal(await revisionOf(one, SUBNET_KEY), 2);
  one.outside.set(SUBNET_KEY, says("10.0.0.0/24"));
  await minutes(one, 1);
  assert.deepEqual(one.on("one"), ["10.0.0.0/24"]);
});

test("sync() removes nothing for a subnet that vanished, and says whom it waits for", async () => {
  const one = room({ sources: [SUBNETS, NAMES] });
  one.outside.set(SUBNET_KEY, says("10.0.0.0/24"));
  one.outside.set(NAT_KEY, says("8.8.8.8"));
  await one.run("resync");
  const message = "Cannot read aws/subnet/subnet-0a1b: there is none of this id";
  one.outside.set(SUBNET_KEY, async () => unread(message));
  await minutes(one, 14);
  assert.deepEqual(one.on("one"), ["8.8.8.8/32", "10.0.0.0/24"]);
  assert.equal(reportOf(await one.run("resync")).state, "converged", "nothing is missing so far");
  await minutes(one, 24 * 60);
  assert.deepEqual(one.on("one"), ["8.8.8.8/32", "10.0.0.0/24"]);
  const report = reportOf(await one.run("resync"));
  assert.equal(report.reason, "not-heard");
  assert.equal(report.state, "withheld");
  assert.equal(
    report.message,
    `Cannot tell all members of "db": aws/subnet/subnet-0a1b was last read at ` +
      `${new Date(START).toISOString()}. ${message}`,
  );
  assert.deepEqual(report.leaving, []);
});

test("sync() lets nothing of other sources go while one of them cannot be read", async () => {
  const one = room({ sources: [EXTERNAL, SUBNETS] });
  one.outside.set(SUBNET_KEY, says("10.0.0.0/24"));
  await one.run("resync");
  await one.deliver(nodes(3));
  one.outside.set(SUBNET_KEY, async () => unread("Cannot read it: denied"));
  await minutes(one, 6);
  await one.deliver(nodes(2));
  await one.world.advance(GRACE_MS);
  await one.deliver(nodes(2));
  const withheld = reportOf(await one.run("resync"));
  assert.equal(withheld.reason, "not-heard");
  assert.match(
    withheld.message,
    /^Cannot remove 1 entries from "db": aws\/subnet\/subnet-0a1b was/,
  );
  assert.match(withheld.message, /Cannot read it: denied$/);
  assert(one.on("one").includes("203.0.113.3/32"));
  one.outside.set(SUBNET_KEY, says("10.0.0.0/24"));
  await one.world.advance(MINUTE_MS);
  await one.deliver(nodes(2));
  await one.run("resync");
  assert.deepEqual(one.on("one"), ["10.0.0.0/24", ...hosts(2)].toSorted());
});

test("sync() lets the old network of a changed subnet go after grace and a reading since", async () => {
  const removal = { ...list().removal, graceMs: 7 * MINUTE_MS };
  const one = room({ sources: [SUBNETS, NAMES], removal });
  one.outside.set(NAT_KEY, says("8.8.8.8", "8.8.4.4"));
  one.outside.set(SUBNET_KEY, says("10.0.0.0/24"));
  await one.run("resync");
  one.outside.set(SUBNET_KEY, says("10.0.1.0/24"));
  await minutes(one, 5);
  const both = ["10.0.0.0/24", "10.0.1.0/24"];
  const held = () => one.on("one").filter((cidr) => cidr.startsWith("10."));
  assert.deepEqual(held(), both, "the new one is added before the old one goes");
  // Read at 5 min; the grace ends at 12 min; the next reading is at 10 min, the one after at 15.
  await minutes(one, 9);
  assert.deepEqual(held(), both, "nobody has read the subnet since the grace ended");
  await minutes(one, 1);
  assert.deepEqual(held(), ["10.0.1.0/24"]);
});

test("sync() neither removes nor adds twice what a name gives by turns", async () => {
  const one = room({ sources: [NAMES] });
  const turns = ["8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1"];
  let turn = 0;
  const next = () => {
    one.outside.set(NAT_KEY, says(turns[turn % 4] ?? ""));
    turn += 1;
  };
  next();
  await one.run("resync");
  await minutes(one, 180, next);
  assert.equal(one.on("one").length, 4);
  const writes = one.world.audits.map(({ action, entries }) => `${action} ${entries}`);
  assert.equal(writes.length, 4, writes.join());
  assert.equal(new Set(writes).size, 4);
  assert(writes.every((write) => write.startsWith("add ")));
});

test("sync() drops an address of a name an hour after it was last given, and its grace", async () => {
  const one = room({ sources: [NAMES] });
  one.outside.set(NAT_KEY, says("8.8.8.8", "8.8.4.4", "1.1.1.1"));
  await one.run("resync");
  one.outside.set(NAT_KEY, says("8.8.4.4", "1.1.1.1"));
  await minutes(one, 64);
  assert.equal(one.on("one").length, 3);
  await minutes(one, 16);
  assert.deepEqual(one.on("one"), ["1.1.1.1/32", "8.8.4.4/32"]);
});

test("sync() keeps every address of a name that answers nothing, fails or hangs", async () => {
  const one = room({ sources: [NAMES] });
  one.outside.set(NAT_KEY, says("8.8.8.8"));
  await one.run("resync");
  const troubles = [
    async () => unread("Cannot read dns/nat.example.com: it has no address"),
    async () => unread("Cannot read dns/nat.example.com: there is no such name"),
    () => Promise.reject(new TypeError("a bug")),
  ];
  for (const trouble of troubles) {
    one.outside.set(NAT_KEY, trouble);
    await minutes(one, 120);
    assert.deepEqual(one.on("one"), ["8.8.8.8/32"]);
  }
});

test("sync() waits for a source that hangs no longer than for its own time, and is not held up by it", async () => {
  const one = room({ sources: [NAMES, SUBNETS] });
  one.outside.set(NAT_KEY, (signal) => {
    return new Promise((_resolve, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason));
    });
  });
  one.outside.set(SUBNET_KEY, says("10.0.0.0/24"));
  const running = one.run("resync", { deadline: one.world.now() + 60_000 });
  await one.world.advance(7_999);
  assert.deepEqual(one.on("one"), []);
  await one.world.advance(1);
  await running;
  assert.deepEqual(one.on("one"), ["10.0.0.0/24"]);
  const status = await statusOf(one.context, one.context.policy.lists);
  assert.equal(
    status.sources.find(({ source }) => source.startsWith("dns/"))?.message,
    "Cannot read dns/nat.example.com: no answer in time; it is tried again",
  );
});

test("sync() leaves most of a run to the targets, and asks those first that waited longest", async () => {
  const names = Array.from({ length: 60 }, (_, index) => ({
    ...NAT,
    name: `n${index}.example.com`,
  }));
  const one = room({ sources: [{ ...NAMES, names }] });
  for (const name of names) {
    one.outside.set(outsideKey(name), async () => {
      await one.world.sleep(2_000);
      return says("8.8.8.8")();
    });
  }
  const first = one.run("resync", { deadline: one.world.now() + 30_000 });
  await one.world.advance(10_000);
  await first;
  assert.deepEqual(one.on("one"), ["8.8.8.8/32"]);
  const asked = one.asked();
  assert(asked.length < 60, `${asked.length} were asked`);
  await one.world.advance(MINUTE_MS);
  const second = one.run("resync", { deadline: one.world.now() + 30_000 });
  await one.world.advance(10_000);
  await second;
  const rest = one.asked().filter((key) => !asked.includes(key));
  assert.equal(asked.length + rest.length, 60, "those that had no turn come first");
});

test("sync() loses nothing when the process ends between reading and storing", async () => {
  const world = virtualWorld();
  const inner = memoryStore(world);
  let broken = false;
  const store: Store = {
    ...inner,
    async put(key, body) {
      if (broken && key.includes("/sources/")) throw new StoreError("Cannot put: the line is cut");
      return inner.put(key, body);
    },
  };
  const one = room({ sources: [NAMES] }, { world, store });
  one.outside.set(NAT_KEY, says("8.8.8.8"));
  await one.run("resync");
  broken = true;
  one.outside.set(NAT_KEY, says("8.8.4.4"));
  await minutes(one, 20);
  assert.deepEqual(one.on("one"), ["8.8.8.8/32"], "only what is stored is believed");
  const report = reportOf(await one.run("resync"));
  assert.equal(report.reason, "stale");
  broken = false;
  await minutes(one, 1);
  assert.deepEqual(one.on("one"), ["8.8.4.4/32", "8.8.8.8/32"]);
});

test("sync() does not judge a list by a reading that it cannot understand", async () => {
  const one = room({ sources: [SUBNETS] });
  one.outside.set(SUBNET_KEY, says("10.0.0.0/24"));
  await one.run("resync");
  await one.store.put(`v1/sources/${SUBNET_KEY}/999999999997.json`, '{"version":2}');
  one.calls();
  one.asked();
  await one.world.advance(10 * MINUTE_MS);
  const report = reportOf(await one.run("resync"));
  assert.equal(report.reason, "unavailable");
  assert.match(report.message, /version 2 of an entry/);
  assert.deepEqual(one.calls(), []);
  assert.deepEqual(one.on("one"), ["10.0.0.0/24"]);
  assert.deepEqual(one.asked(), [], "nothing that it says could be written down");
  const { sources } = await statusOf(one.context, one.context.policy.lists);
  assert.match(sources[0]?.message ?? "", /^Cannot read "v1\/sources\/.*version 2 of an entry/);
});

test("sync() asks again at once when what was stored of a source is lost", async () => {
  const one = room({ sources: [NAMES] });
  one.outside.set(NAT_KEY, says("8.8.8.8"));
  await one.run("resync");
  await minutes(one, 1);
  one.asked();
  for (const { key } of await one.store.list("v1/sources/", 10)) await one.store.delete(key);
  await one.world.advance(10_000);
  await one.run("resync");
  assert.deepEqual(one.asked(), [NAT_KEY], "that this process asked a moment ago does not count");
  assert.equal(await revisionOf(one, NAT_KEY), 1);
});

test("sync() writes a reading over one of a clock that ran ahead", async () => {
  const one = room({ sources: [NAMES] });
  const ahead = START + 24 * 60 * MINUTE_MS;
  const answers = cidrs("8.8.4.4").map((cidr) => ({ cidr, since: ahead, seenAt: ahead }));
  const held = { readAt: ahead, answers, free: null, trouble: null };
  await one.context.sourceLog(NAT_KEY).append(0, held);
  one.outside.set(NAT_KEY, says("8.8.8.8"));
  await one.run("resync");
  const newest = await one.context.sourceLog(NAT_KEY).newest();
  assert.equal(newest?.body.readAt, START);
  assert.deepEqual(one.on("one"), ["8.8.4.4/32", "8.8.8.8/32"]);
});

test("sync() removes nothing for a name whose every answer is refused, and says so", async () => {
  for (const lie of ["0.0.0.0", "127.0.0.1", "10.0.0.5"]) {
    const one = room({ sources: [NAMES] });
    one.outside.set(NAT_KEY, says("8.8.8.8", "8.8.4.4"));
    await one.run("resync");
    one.outside.set(NAT_KEY, says(lie));
    await minutes(one, 180);
    assert.deepEqual(one.on("one"), ["8.8.4.4/32", "8.8.8.8/32"]);
    const report = reportOf(await one.run("resync"));
    assert.equal(report.state, "withheld");
    assert.equal(report.reason, "not-heard");
    assert(report.message.includes(`Cannot take any of its addresses for "db": ${lie} (`));
    const { sources } = await statusOf(one.context, one.context.policy.lists);
    assert.match(sources[0]?.message ?? "", /^Cannot take any of its addresses for "db"/);
    one.outside.set(NAT_KEY, says("8.8.8.8"));
    await minutes(one, 20);
    assert.deepEqual(one.on("one"), ["8.8.8.8/32"], "what it says again counts again");
  }
});

test("sync() keeps every address of a healthy name that gives some of many by turns", async () => {
  const one = room({ sources: [NAMES] });
  const all = Array.from({ length: 20 }, (_, index) => `8.8.8.${index + 1}`);
  let turn = 0;
  const next = () => {
    one.outside.set(NAT_KEY, says(all[(2 * turn) % 20] ?? "", all[(2 * turn + 1) % 20] ?? ""));
    turn += 1;
  };
  next();
  await one.run("resync");
  await minutes(one, 180, next);
  assert.equal(one.on("one").length, 20);
  assert(one.world.audits.every(({ action }) => action === "add"));
});

test("sync() keeps every address of a name by turns over an outage of its servers, or of the resync", async () => {
  for (const outage of ["servers", "resync"]) {
    const one = room({ sources: [NAMES] });
    const all = Array.from({ length: 8 }, (_, index) => `8.8.8.${index + 1}`);
    let turn = 0;
    const next = () => {
      one.outside.set(NAT_KEY, says(all[turn % 8] ?? ""));
      turn += 1;
    };
    next();
    await one.run("resync");
    await minutes(one, 60, next);
    one.outside.set(NAT_KEY, async () => unread("Cannot read it: ESERVFAIL"));
    if (outage === "servers") await minutes(one, 70);
    else await one.world.advance(70 * MINUTE_MS);
    await minutes(one, 30, next);
    assert.equal(one.on("one").length, 8, outage);
    assert(one.world.audits.every(({ action }) => action === "add"));
  }
});

test("sync() takes the later of two readings that were made at the same time", async () => {
  const one = room({ sources: [SUBNETS] });
  const other = corridor({
    policy: one.context.policy,
    world: one.world,
    store: one.store,
    contents: one.contents,
  });
  one.outside.set(SUBNET_KEY, async () => {
    await one.world.sleep(1_000);
    return says("10.0.0.0/24")();
  });
  other.outside.set(SUBNET_KEY, says("10.0.1.0/24"));
  const slow = one.run("resync");
  await one.world.advance(500);
  await other.run("resync");
  await one.world.advance(500);
  await slow;
  assert.deepEqual(one.on("one"), ["10.0.1.0/24"]);
  assert.equal(await revisionOf(one, SUBNET_KEY), 1);
});

test("sync() begins to ask nobody once the process was told to end", async () => {
  const one = room({ sources: [SUBNETS] });
  const signal = AbortSignal.abort();
  const ending = { ...one.context, signal };
  await survey(ending, one.context.policy.lists);
  assert.deepEqual(one.asked(), []);
});

test("survey() asks the sources and judges by what they say now, and writes nothing down", async () => {
  const one = room({ sources: [SUBNETS] });
  one.outside.set(SUBNET_KEY, says("10.0.0.0/24"));
  await one.run("resync");
  one.asked();
  const lists = one.context.policy.lists;
  await survey(one.context, lists);
  assert.deepEqual(one.asked(), [], "what is fresh is not asked for again");
  await one.world.advance(5 * MINUTE_MS);
  one.outside.set(SUBNET_KEY, says("10.0.1.0/24"));
  const found = await survey(one.context, lists);
  assert.deepEqual(one.asked(), [SUBNET_KEY]);
  assert.deepEqual(found.lists[0]?.add, ["10.0.1.0/24"]);
  assert.deepEqual(found.sources[0]?.cidrs, ["10.0.1.0/24"]);
  assert.equal(await revisionOf(one, SUBNET_KEY), 1);
  const status = await statusOf(one.context, lists);
  assert.deepEqual(
    status.sources[0]?.cidrs,
    ["10.0.0.0/24"],
    "the status only tells what is stored",
  );
});

test("statusOf() tells of each source once what it gives, how much is free, when it was read and what is wrong", async () => {
  const two = policy([
    list({ sources: [SUBNETS, NAMES] }),
    list({ name: "web", sources: [SUBNETS], targets: [memoryConfig("two")] }),
  ]);
  const one = corridor({ policy: two });
  one.outside.set(SUBNET_KEY, async () => ({
    kind: "read",
    cidrs: cidrs("10.0.0.0/24"),
    free: 3,
  }));
  const outcome = await one.run("resync");
  assert.deepEqual(one.asked(), [SUBNET_KEY, NAT_KEY], "one subnet of two lists is asked once");
  assert.equal(
    reportOf(outcome, "memory/two").state,
    "converged",
    "few free addresses are no error",
  );
  const { sources } = await statusOf(one.context, two.lists);
  assert.deepEqual(sources, [
    {
      source: "aws/subnet/subnet-0a1b",
      cidrs: ["10.0.0.0/24"],
      free: 3,
      readAt: new Date(START).toISOString(),
      fresh: true,
      message: null,
    },
    {
      source: "dns/nat.example.com",
      cidrs: [],
      free: null,
      readAt: null,
      fresh: false,
      message: `Cannot read ${NAT_KEY}: nobody answers`,
    },
  ]);
  assert.equal(
    reportOf(outcome, "memory/one").message,
    `Cannot tell all members of "db": dns/nat.example.com was never read. ` +
      `Cannot read ${NAT_KEY}: nobody answers`,
  );
});
