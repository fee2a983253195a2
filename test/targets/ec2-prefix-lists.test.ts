import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import {
  DescribeManagedPrefixListsCommand,
  EC2Client,
  GetManagedPrefixListEntriesCommand,
  ModifyManagedPrefixListCommand,
  type ModifyManagedPrefixListRequest,
} from "@aws-sdk/client-ec2";
import { startEmbeddedEc2 } from "../../cli/embedded/ec2.ts";
import { ec2Groups } from "../../cli/embedded/ec2-groups.ts";
import {
  type Ec2PrefixListSettings,
  ec2PrefixLists,
  type NewPrefixList,
} from "../../cli/embedded/ec2-prefix-lists.ts";

const PrefixListId = "pl-0a1b";

/** The embedded endpoint and what AWS's own client makes of it. */
async function start(
  context: TestContext,
  settings: Partial<Ec2PrefixListSettings> = {},
  list: Partial<NewPrefixList> = {},
) {
  const lists = ec2PrefixLists([{ id: PrefixListId, ...list }], settings);
  const server = await startEmbeddedEc2({ groups: ec2Groups([]), prefixLists: lists });
  context.after(() => server.close());
  const ec2 = new EC2Client({
    region: "eu-west-1",
    endpoint: server.url,
    maxAttempts: 1,
    credentials: { accessKeyId: "a", secretAccessKey: "b" },
  });
  context.after(() => ec2.destroy());
  const modify = (change: Partial<ModifyManagedPrefixListRequest>) =>
    ec2.send(new ModifyManagedPrefixListCommand({ PrefixListId, ...change }));
  return {
    lists,
    ec2,
    modify,
    refused: (change: Partial<ModifyManagedPrefixListRequest>, name: string) =>
      assert.rejects(modify(change), { name }),
    async describe() {
      const command = new DescribeManagedPrefixListsCommand({ PrefixListIds: [PrefixListId] });
      return (await ec2.send(command)).PrefixLists?.[0];
    },
    entries: (input: { TargetVersion?: number; MaxResults?: number; NextToken?: string } = {}) =>
      ec2.send(new GetManagedPrefixListEntriesCommand({ PrefixListId, ...input })),
  };
}

const entry = (Cidr: string, Description = "by hand") => ({ Cidr, Description });
const hosts = (count: number, net = "192.0.2") =>
  Array.from({ length: count }, (_, index) => entry(`${net}.${index}/32`));

test("the embedded EC2 completes a change of a prefix list after some looks, as a new version", async (context) => {
  const { modify, describe, entries } = await start(context, { pendingLooks: 1 });
  const { PrefixList } = await modify({ CurrentVersion: 1, AddEntries: hosts(2) });
  assert.deepEqual([PrefixList?.State, PrefixList?.Version], ["modify-in-progress", 1]);
  assert.equal((await describe())?.State, "modify-in-progress");
  assert.deepEqual((await entries()).Entries, []);
  const done = await describe();
  assert.deepEqual([done?.State, done?.Version, done?.MaxEntries], ["modify-complete", 2, 100]);
  assert.deepEqual((await entries()).Entries, hosts(2));
  assert.deepEqual((await entries({ TargetVersion: 1 })).Entries, []);
  await assert.rejects(entries({ TargetVersion: 3 }), { name: "InvalidParameterValue" });
});

test("the embedded EC2 makes one change of a prefix list at a time, of the version that it is of", async (context) => {
  const { lists, modify, refused, describe } = await start(context, { pendingLooks: 0 });
  await refused({ AddEntries: hosts(1) }, "InvalidParameterValue");
  await refused({ CurrentVersion: 0, AddEntries: hosts(1) }, "InvalidParameterValue");
  await refused({ CurrentVersion: 2, AddEntries: hosts(1) }, "PrefixListVersionMismatch");
  await modify({ CurrentVersion: 1, AddEntries: hosts(1) });
  await refused({ CurrentVersion: 1, AddEntries: hosts(2).slice(1) }, "IncorrectState");
  await describe();
  await refused({ CurrentVersion: 1, AddEntries: hosts(2).slice(1) }, "PrefixListVersionMismatch");
  assert.equal(lists.list(PrefixListId).length, 1);
});

test("the embedded EC2 refuses what EC2 refuses of a change of a prefix list, and keeps nothing of it", async (context) => {
  const { lists, modify, refused } = await start(
    context,
    { pendingLooks: null },
    { maxEntries: 150 },
  );
  await modify({ CurrentVersion: 1, AddEntries: hosts(100) });
  const refuse = (change: Partial<ModifyManagedPrefixListRequest>, name: string) =>
    refused({ CurrentVersion: 2, ...change }, name);
  const added = hosts(101, "198.51.100");
  await refuse({ AddEntries: added }, "InvalidParameterValue");
  await refuse(
    { AddEntries: added.slice(0, 60), RemoveEntries: hosts(41) },
    "InvalidParameterValue",
  );
  await refuse({ AddEntries: added.slice(0, 51) }, "PrefixListMaxEntriesExceeded");
  await refuse({ AddEntries: hosts(1), RemoveEntries: hosts(1) }, "InvalidParameterValue");
  await refuse({ AddEntries: hosts(1) }, "InvalidPrefixListModification");
  await refuse(
    { AddEntries: [...added.slice(0, 1), ...added.slice(0, 1)] },
    "InvalidPrefixListModification",
  );
  await refuse({ RemoveEntries: added.slice(0, 1) }, "InvalidPrefixListModification");
  await refuse({ AddEntries: added.slice(0, 1), MaxEntries: 200 }, "InvalidParameterCombination");
  await refuse({ AddEntries: [entry("2001:db8::/32")] }, "InvalidParameterValue");
  await refuse({ AddEntries: [entry("192.0.2.200")] }, "InvalidParameterValue");
  await refuse({ AddEntries: [entry("192.0.2.200/32", "x".repeat(256))] }, "InvalidParameterValue");
  await refuse({}, "MissingParameter");
  await refuse({ PrefixListId: "pl-0ff" }, "InvalidPrefixListID.NotFound");
  assert.equal(lists.list(PrefixListId).length, 100);
});

test("the embedded EC2 keeps a name that is left out, and makes no version of another name or size", async (context) => {
  const { modify, describe, refused } = await start(context, { pendingLooks: 0, sizeMax: 500 });
  await modify({ CurrentVersion: 1, AddEntries: hosts(1) });
  assert.equal((await describe())?.PrefixListName, "nodes");
  await modify({ PrefixListName: "other" });
  await describe();
  await modify({ MaxEntries: 300 });
  const done = await describe();
  assert.deepEqual([done?.PrefixListName, done?.MaxEntries, done?.Version], ["other", 300, 2]);
  await modify({ MaxEntries: 501 });
  await refused({ CurrentVersion: 2, RemoveEntries: hosts(1) }, "IncorrectState");
  const failed = await describe();
  assert.deepEqual([failed?.State, failed?.MaxEntries], ["modify-failed", 300]);
  await modify({ CurrentVersion: 2, RemoveEntries: hosts(1) });
});

test("the embedded EC2 shows the entries of a prefix list in pages of at most 100", async (context) => {
  const { lists, entries } = await start(context, {}, { maxEntries: 1_000 });
  const all = Array.from({ length: 230 }, (_, index) => ({
    cidr: `10.0.${index}.0/24`,
    description: null,
  }));
  lists.set(PrefixListId, all);
  const sizes: number[] = [];
  let NextToken: string | undefined;
  do {
    const page = await entries(NextToken === undefined ? {} : { NextToken });
    sizes.push(page.Entries?.length ?? 0);
    NextToken = page.NextToken;
  } while (NextToken);
  assert.deepEqual(sizes, [100, 100, 30]);
  assert.equal((await entries({ MaxResults: 7 })).Entries?.length, 7);
  for (const MaxResults of [0, 101]) {
    await assert.rejects(entries({ MaxResults }), { name: "InvalidParameterValue" });
  }
});

test("the embedded EC2 lets nobody write lists of AWS or of IPAM, and shows AWS's without a version", async (context) => {
  const { lists, refused, describe } = await start(context);
  lists.alter(PrefixListId, { synced: true });
  await refused({ CurrentVersion: 1, AddEntries: hosts(1) }, "UnsupportedOperation");
  lists.alter(PrefixListId, { ownerId: "AWS", synced: false });
  await refused({ CurrentVersion: 1, AddEntries: hosts(1) }, "OperationNotPermitted");
  const shown = await describe();
  assert.deepEqual(
    [shown?.OwnerId, shown?.Version, shown?.MaxEntries],
    ["AWS", undefined, undefined],
  );
});

test("the embedded EC2 knows prefix lists and subnets only where it was given some", async (context) => {
  const server = await startEmbeddedEc2({ groups: ec2Groups([]) });
  context.after(() => server.close());
  const body = "Action=DescribeManagedPrefixLists&PrefixListId.1=pl-0a1b";
  const answer = await fetch(server.url, { method: "POST", body });
  assert.match(await answer.text(), /InvalidAction/);
});
