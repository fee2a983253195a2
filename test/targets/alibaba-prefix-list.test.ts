import assert from "node:assert/strict";
import { test } from "node:test";
import type { PrefixList, PrefixListClient } from "../../lib/clouds/alibaba/prefix-lists.ts";
import { CloudError } from "../../lib/clouds/error.ts";
import { type Cidr, parseCidr } from "../../lib/core/cidr.ts";
import { markerText } from "../../lib/core/marker.ts";
import { prefixListKind, prefixListTarget } from "../../lib/targets/alibaba/prefix-list.ts";
import type { Target, TargetError } from "../../lib/targets/target.ts";
import { kindNamed, OWNER } from "./making.ts";

const SIGNAL = new AbortController().signal;
const TEXT = markerText("acme", "payments-db");
const NAMES = { name: "alibaba/prefix-list/pl-1", object: "x", owner: OWNER };

type Entry = PrefixList["entries"][number];

/** A client that shows a list and keeps what it is asked to write. */
function clientOf(list: Partial<PrefixList> & { entries: readonly Entry[] }) {
  const added: (readonly Entry[])[] = [];
  const removed: (readonly string[])[] = [];
  const client: PrefixListClient = {
    describe: async () => ({ family: "ipv4", entriesMax: 20, ...list }),
    add: async (_listId, entries) => {
      added.push(entries);
    },
    remove: async (_listId, addresses) => {
      removed.push(addresses);
    },
  };
  return { client, added, removed };
}

function targetOf(
  client: PrefixListClient,
  given: { readonly family?: "ipv4" | "ipv6"; readonly limit?: number } = {},
): Target {
  const { family, limit = null } = given;
  const settings = { region: "cn-hangzhou", id: "pl-1", family };
  return prefixListTarget({ ...NAMES, limit }, settings, client);
}

const entry = (address: string, description: string | null = TEXT) => ({ address, description });

function change(verb: "add" | "remove", ...texts: readonly string[]) {
  const cidrs: readonly Cidr[] = texts.map((text) => parseCidr(text) ?? assert.fail(text));
  return { verb, cidrs, text: TEXT, instead: [], late: [] };
}

test("observe() shows the entries and how many there may be, the limit's number if that is smaller", async () => {
  const { client } = clientOf({
    entries: [entry("192.0.2.1/32"), entry("10.0.0.0/8", "office")],
  });
  const { entries, capacity, revision } = await targetOf(client).observe(SIGNAL);
  assert.deepEqual(
    entries.map(({ cidr, text }) => `${cidr} ${text}`),
    ["10.0.0.0/8 office", `192.0.2.1/32 ${TEXT}`],
  );
  assert.deepEqual([revision, capacity], [null, [{ families: ["ipv4"], used: 2, limit: 20 }]]);
  const limited = await targetOf(client, { limit: 5 }).observe(SIGNAL);
  assert.equal(limited.capacity[0]?.limit, 5);
  const roomier = await targetOf(client, { limit: 500 }).observe(SIGNAL);
  assert.equal(roomier.capacity[0]?.limit, 20);
});

test("observe() and apply() refuse a list of the other family, and say which to set", async () => {
  const { client, added } = clientOf({ family: "ipv6", entries: [entry("2001:db8::/64")] });
  const expected = { kind: "invalid", message: /; set family: ipv6, or/ };
  await assert.rejects(targetOf(client).observe(SIGNAL), expected);
  const wrong = targetOf(client).apply(change("add", "192.0.2.1"), null, SIGNAL);
  await assert.rejects(wrong, expected);
  assert.deepEqual(added, []);
  const right = targetOf(client, { family: "ipv6" });
  assert.deepEqual(right.traits.families, ["ipv6"]);
  assert.equal((await right.observe(SIGNAL)).entries[0]?.cidr, "2001:db8::/64");
  await right.apply(change("add", "2001:db8::1"), null, SIGNAL);
  assert.deepEqual(added, [[entry("2001:db8::1/128")]]);
});

test("observe() rejects a list of which it cannot read every entry, or reads one twice", async () => {
  for (const address of ["nonsense", "2001:db8::/64", "192.0.2.1"]) {
    const { client } = clientOf({ entries: [entry("192.0.2.1/32"), entry(address)] });
    await assert.rejects(targetOf(client).observe(SIGNAL), { kind: "unavailable" }, address);
  }
});

test("apply() adds with as much of the text as an entry takes", async () => {
  const { client, added } = clientOf({ entries: [] });
  const long = markerText("acme", "payments-database-of-shop");
  const batch = { ...change("add", "192.0.2.2", "192.0.2.1"), text: long };
  await targetOf(client).apply(batch, null, SIGNAL);
  const [marker = ""] = long.split(" ");
  assert.deepEqual(added, [[entry("192.0.2.1/32", marker), entry("192.0.2.2/32", marker)]]);
  await targetOf(client).apply(change("add", "192.0.2.3"), null, SIGNAL);
  assert.equal(TEXT.length, 32);
  assert.deepEqual(added[1], [entry("192.0.2.3/32", TEXT)]);
});

test("apply() never writes over an entry with another's text, and writes nothing of the batch then", async () => {
  for (const text of [
    "office",
    null,
    markerText("acme", "other"),
    markerText("x", "payments-db"),
  ]) {
    const { client, added, removed } = clientOf({ entries: [entry("192.0.2.1/32", text)] });
    for (const verb of ["add", "remove"] as const) {
      const batch = change(verb, "192.0.2.1", "192.0.2.2");
      await assert.rejects(
        targetOf(client).apply(batch, null, SIGNAL),
        ({ kind, message }: TargetError) =>
          kind === "conflict" && message.includes("192.0.2.1/32") && !message.includes("192.0.2.2"),
      );
    }
    assert.deepEqual([added, removed], [[], []]);
  }
});

test("apply() adds again what a read shows as ours: the read may lag", async () => {
  const { client, added } = clientOf({ entries: [entry("192.0.2.1/32")] });
  await targetOf(client).apply(change("add", "192.0.2.1"), null, SIGNAL);
  assert.deepEqual(added, [[entry("192.0.2.1/32")]]);
});

test("apply() removes what is there of ours, and makes no call when nothing is", async () => {
  const { client, removed } = clientOf({ entries: [entry("192.0.2.1/32"), entry("192.0.2.3/32")] });
  const target = targetOf(client);
  await target.apply(change("remove", "192.0.2.2", "192.0.2.1"), null, SIGNAL);
  await target.apply(change("remove", "192.0.2.9"), null, SIGNAL);
  assert.deepEqual(removed, [["192.0.2.1/32"]]);
});

test("apply() removes what a former name of the list wrote", async () => {
  const owner = { ...OWNER, formerly: ["old-name"] };
  const { client, removed } = clientOf({
    entries: [entry("192.0.2.1/32", markerText("acme", "old-name"))],
  });
  const settings = { region: "cn-hangzhou", id: "pl-1" };
  const target = prefixListTarget({ ...NAMES, owner, limit: null }, settings, client);
  await target.apply(change("remove", "192.0.2.1"), null, SIGNAL);
  assert.deepEqual(removed, [["192.0.2.1/32"]]);
});

test("apply() writes nothing when the read before it fails", async () => {
  const { client, added } = clientOf({ entries: [] });
  const error = new CloudError("unavailable", "X", { operation: "ecs:X" });
  const failing = { ...client, describe: () => Promise.reject(error) };
  const work = targetOf(failing).apply(change("add", "192.0.2.1"), null, SIGNAL);
  await assert.rejects(work, { kind: "unavailable", message: /^Cannot add 1 entry on / });
  assert.deepEqual(added, []);
});

test("a full list says that it cannot grow, and what to do", async () => {
  const { client } = clientOf({ entries: [] });
  const error = new CloudError("full", "LimitExceed.MaxEntries", { operation: "ecs:X" });
  const failing = { ...client, add: () => Promise.reject(error) };
  await assert.rejects(targetOf(failing).apply(change("add", "192.0.2.1"), null, SIGNAL), {
    kind: "full",
    message: /; a list's largest number of entries cannot be changed; make a larger list/,
  });
});

test("settings of a prefix list are checked, and permissions() name the one list", () => {
  const { schema } = kindNamed("alibaba/prefix-list");
  const settings = { region: "cn-hangzhou", id: "pl-x1j1k5ykzqlixdcy0abc" };
  assert(schema.safeParse({ ...settings, family: "ipv6" }).success);
  for (const wrong of [{ id: "sg-1" }, { family: "both" }, { region: "x" }, { group: "x" }]) {
    assert(!schema.safeParse({ ...settings, ...wrong }).success, JSON.stringify(wrong));
  }
  const resources = ["acs:ecs:cn-hangzhou:1234567890123456:prefixlist/pl-1"];
  const modify = [{ actions: ["ecs:ModifyPrefixList"], resources }];
  assert.deepEqual(
    prefixListKind.permissions({ region: "cn-hangzhou", id: "pl-1" }, "1234567890123456"),
    {
      dialect: "ram",
      read: [{ actions: ["ecs:DescribePrefixListAttributes"], resources }],
      add: modify,
      remove: modify,
    },
  );
});
