import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  CreateManagedPrefixListCommand,
  DescribeManagedPrefixListsCommand,
  EC2Client,
  GetManagedPrefixListEntriesCommand,
  ModifyManagedPrefixListCommand,
} from "@aws-sdk/client-ec2";
import { type Cidr, parseCidr } from "../../lib/core/cidr.ts";
import type { Target, TargetError } from "../../lib/targets/target.ts";
import { makeWorld } from "../../lib/world.ts";
import { makeTarget } from "../targets/making.ts";
import { virtualWorld } from "../virtual-world.ts";
import { MOTO, skipWithout } from "./assets.ts";
import { type Moto, startMoto } from "./moto.ts";

/*
 * The target `aws/prefix-list` against a third-party EC2: its requests are understood by somebody
 * else's server, and that server's answers by us. Where moto differs from EC2 the test says so;
 * what EC2 does there is tested against the embedded endpoint.
 */

const SIGNAL = new AbortController().signal;
const TEXT = "ka1abcdefghijkl acme/payments-db";
const NAME = "nodes";

const skip = skipWithout(MOTO);
let moto: Moto;
let ec2: EC2Client;

before(async () => {
  if (skip) return;
  moto = await startMoto();
  ec2 = new EC2Client({
    endpoint: moto.url,
    region: moto.region,
    credentials: { accessKeyId: "test", secretAccessKey: "test" },
  });
});
after(async () => {
  if (skip) return;
  ec2.destroy();
  await moto.stop();
});

interface Opened {
  readonly id: string;
  readonly target: Target;
  add(revision: string | null, ...texts: readonly string[]): Promise<string | null>;
  remove(revision: string | null, ...texts: readonly string[]): Promise<string | null>;
}

/** A list as somebody made it, and the target as the product makes it. */
async function open(entries: readonly string[], family: "ipv4" | "ipv6" = "ipv4"): Promise<Opened> {
  const { PrefixList } = await ec2.send(
    new CreateManagedPrefixListCommand({
      PrefixListName: NAME,
      MaxEntries: 500,
      AddressFamily: family === "ipv4" ? "IPv4" : "IPv6",
      Entries: entries.map((Cidr) => ({ Cidr, Description: "by hand" })),
    }),
  );
  const id = PrefixList?.PrefixListId ?? "";
  const settings = { region: moto.region, id, family, endpoint: moto.url };
  const context = { world: makeWorld(virtualWorld().log) };
  const target = await makeTarget("aws/prefix-list", settings, { env: moto.env, context });
  const apply =
    (verb: "add" | "remove") =>
    (revision: string | null, ...texts: readonly string[]) =>
      target.apply(
        { verb, cidrs: cidrs(texts), text: TEXT, instead: [], late: [] },
        revision,
        SIGNAL,
      );
  return { id, target, add: apply("add"), remove: apply("remove") };
}

function cidrs(texts: readonly string[]): readonly Cidr[] {
  return texts.map((text) => parseCidr(text) ?? assert.fail(text));
}

const hosts = (count: number) =>
  Array.from(
    { length: count },
    (_, index) => `198.18.${Math.floor(index / 200)}.${index % 200}/32`,
  );

/** What moto holds, asked without the product. */
async function held(id: string): Promise<readonly string[]> {
  const command = new GetManagedPrefixListEntriesCommand({ PrefixListId: id });
  const { Entries = [] } = await ec2.send(command);
  return Entries.map(({ Cidr, Description }) => `${Cidr} ${Description}`).toSorted();
}

async function described(id: string) {
  const command = new DescribeManagedPrefixListsCommand({ PrefixListIds: [id] });
  return (await ec2.send(command)).PrefixLists?.[0];
}

test("aws/prefix-list adds, reads back and removes at moto, and leaves others' entries", {
  skip,
}, async () => {
  const { id, target, add, remove } = await open(["203.0.113.0/24"]);
  const first = await target.observe(SIGNAL);
  assert.deepEqual(first.entries, [{ cidr: "203.0.113.0/24", text: "by hand", effect: "allow" }]);
  assert.deepEqual(first.capacity, [{ families: ["ipv4"], used: 1, limit: 500 }]);
  const added = await add(first.revision, "192.0.2.1/32", "192.0.2.2/32", "10.2.0.0/16");
  await remove(added, "192.0.2.1/32");
  assert.deepEqual(await held(id), [
    `10.2.0.0/16 ${TEXT}`,
    `192.0.2.2/32 ${TEXT}`,
    "203.0.113.0/24 by hand",
  ]);
  assert.equal((await target.observe(SIGNAL)).entries.length, 3);
});

test("aws/prefix-list writes batch after batch at moto, each of the version that the last one made", {
  skip,
}, async () => {
  const { id, target, add } = await open(["203.0.113.1/32"]);
  let { revision } = await target.observe(SIGNAL);
  const before = Number(revision);
  for (const batch of [0, 100, 200]) {
    revision = await add(revision, ...hosts(250).slice(batch, batch + 100));
  }
  assert.equal(Number(revision), before + 3);
  const { entries, revision: read } = await target.observe(SIGNAL);
  assert.equal(entries.length, 251);
  assert.equal(read, revision);
  assert.equal((await described(id))?.Version, Number(revision));
});

test("aws/prefix-list reads and writes IPv6 at moto", { skip }, async () => {
  const { target, add } = await open(["2001:db8:1::/48"], "ipv6");
  const { revision } = await target.observe(SIGNAL);
  await add(revision, "2001:db8::1/128");
  assert.deepEqual(
    (await target.observe(SIGNAL)).entries.map(({ cidr }) => cidr),
    ["2001:db8::1/128", "2001:db8:1::/48"],
  );
});

test("aws/prefix-list refuses a list of the other family at moto", { skip }, async () => {
  const { id } = await open([], "ipv6");
  const settings = { region: moto.region, id, endpoint: moto.url };
  const target = await makeTarget("aws/prefix-list", settings, { env: moto.env });
  await assert.rejects(target.observe(SIGNAL), { name: "TargetError", kind: "invalid" });
});

test("moto differs from EC2 where the embedded endpoint is asked instead", {
  skip,
}, async (context) => {
  const { id, target, add } = await open(["203.0.113.1/32"]);
  const { revision } = await target.observe(SIGNAL);
  const next = await add(revision, "192.0.2.1/32");

  context.diagnostic("EC2 keeps a name that a change leaves out; moto erases it");
  assert.notEqual((await described(id))?.PrefixListName, NAME);

  context.diagnostic(
    "EC2 refuses a change of an older version; moto takes it and drops what was newer",
  );
  const stale = { PrefixListId: id, CurrentVersion: Number(revision) };
  const AddEntries = [{ Cidr: "192.0.2.9/32" }];
  await ec2.send(new ModifyManagedPrefixListCommand({ ...stale, AddEntries }));
  assert(!(await held(id)).some((entry) => entry.startsWith("192.0.2.1/32")));
  // The version shows that somebody wrote, and the next read what is lost.
  const after = await target.observe(SIGNAL);
  assert.notEqual(after.revision, next);
  assert(!after.entries.some(({ cidr }) => cidr === "192.0.2.1/32"));

  context.diagnostic(
    "EC2 shows an empty list as an empty set; moto shows no set, which says nothing",
  );
  const empty = await open([]);
  await assert.rejects(empty.target.observe(SIGNAL), { kind: "unavailable" });

  context.diagnostic("EC2 answers an unknown id with an error code; moto with a page of HTML");
  const settings = { region: moto.region, id: "pl-0ff1ce", endpoint: moto.url };
  const nowhere = await makeTarget("aws/prefix-list", settings, { env: moto.env });
  await assert.rejects(nowhere.observe(SIGNAL), (error: TargetError) => {
    assert.equal(error.kind, "unavailable");
    return true;
  });
});
