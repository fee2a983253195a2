import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { startEmbeddedEc2 } from "../../cli/embedded/ec2.ts";
import { ec2Groups } from "../../cli/embedded/ec2-groups.ts";
import {
  type Ec2PrefixListSettings,
  ec2PrefixLists,
  type NewPrefixList,
} from "../../cli/embedded/ec2-prefix-lists.ts";
import { CloudError } from "../../lib/clouds/error.ts";
import { type Cidr, parseCidr } from "../../lib/core/cidr.ts";
import { prefixListKind, prefixListTarget } from "../../lib/targets/aws/prefix-list.ts";
import { type Target, TargetError } from "../../lib/targets/target.ts";
import { faultyPrefixLists } from "../fakes/ec2-prefix-lists.ts";
import { briskWorld } from "../fakes/ec2-world.ts";
import { kindNamed, makeTarget, OWNER, settingsProblems } from "./making.ts";

const LIST = "pl-0a1b";
const SIGNAL = new AbortController().signal;
const TEXT = "ka1abcdefghijkl acme/payments-db";
const BY_HAND = "office, by hand";
const ENV = { AWS_ACCESS_KEY_ID: "a", AWS_SECRET_ACCESS_KEY: "b" };

interface Given {
  readonly list?: Partial<NewPrefixList>;
  readonly settings?: Partial<Ec2PrefixListSettings>;
  readonly target?: Readonly<Record<string, unknown>>;
  readonly limit?: number;
}

/** The target as the product makes it, against the embedded endpoint. */
async function start(context: TestContext, given: Given = {}) {
  const lists = ec2PrefixLists([{ id: LIST, ...given.list }], given.settings);
  const backend = faultyPrefixLists(lists);
  const server = await startEmbeddedEc2({ groups: ec2Groups([]), prefixLists: backend });
  context.after(() => server.close());
  const settings = { region: "eu-west-1", id: LIST, endpoint: server.url, ...given.target };
  const world = briskWorld();
  const options = { env: ENV, limit: given.limit, context: { world } };
  const make = () => makeTarget("aws/prefix-list", settings, options);
  const target = await make();
  // As another run would: with a target that remembers nothing.
  const again = async () => handsOn(await make());
  return { lists, backend, world, target, again, ...handsOn(target) };
}

function handsOn(target: Target) {
  const apply = (verb: "add" | "remove", revision: string | null, texts: readonly string[]) =>
    target.apply(
      { verb, cidrs: cidrs(...texts), text: TEXT, instead: [], late: [] },
      revision,
      SIGNAL,
    );
  return {
    observe: () => target.observe(SIGNAL),
    add: (revision: string | null, ...texts: readonly string[]) => apply("add", revision, texts),
    remove: (revision: string | null, ...texts: readonly string[]) =>
      apply("remove", revision, texts),
  };
}

function cidrs(...texts: readonly string[]): readonly Cidr[] {
  return texts.map((text) => parseCidr(text) ?? assert.fail(text));
}

const hosts = (count: number) =>
  Array.from(
    { length: count },
    (_, index) => `198.18.${Math.floor(index / 256)}.${index % 256}/32`,
  );

async function failure(work: Promise<unknown>, kind: TargetError["kind"], says: RegExp) {
  const error = await work.then(
    () => assert.fail("it did not fail"),
    (thrown: unknown) => thrown,
  );
  assert(error instanceof TargetError, String(error));
  assert.equal(error.kind, kind, error.message);
  assert.match(error.message, says);
  assert(error.message.includes(`aws/prefix-list/${LIST}`));
  return error;
}

test("observe() reads all pages of one version, whatever is written between them", async (context) => {
  const { lists, backend, observe, add } = await start(context, { list: { maxEntries: 1_000 } });
  const first = hosts(250).map((cidr) => ({ cidr, description: TEXT }));
  lists.set(LIST, first);
  const by = () => lists.set(LIST, [{ cidr: "203.0.113.1/32", description: BY_HAND }]);
  backend.inject("entries", { kind: "none" }, { kind: "preceded", by });
  const { entries, revision } = await observe();
  assert.equal(entries.length, 250);
  assert.equal(revision, "2");
  assert.equal(backend.calls.entries, 3);
  await failure(add(revision, "192.0.2.1/32"), "conflict", /PrefixListVersionMismatch/);
  assert.deepEqual(lists.list(LIST), [{ cidr: "203.0.113.1/32", description: BY_HAND }]);
});

test("observe() judges every state of a list", async (context) => {
  const { lists, observe } = await start(context);
  const told = async (state: string) => {
    lists.alter(LIST, { state });
    return observe().then(
      () => "read",
      (error: TargetError) => error.kind,
    );
  };
  const table: Record<string, readonly string[]> = {};
  for (const doing of ["create", "modify", "restore", "delete"]) {
    const [progress, complete] = [
      await told(`${doing}-in-progress`),
      await told(`${doing}-complete`),
    ];
    table[doing] = [progress, complete, await told(`${doing}-failed`)];
  }
  assert.deepEqual(table, {
    create: ["busy", "read", "missing"],
    modify: ["busy", "read", "read"],
    restore: ["busy", "read", "read"],
    // A list that could not be deleted goes on to count.
    delete: ["missing", "missing", "read"],
  });
  assert.equal(await told("archived"), "unavailable");
});

test("observe() refuses lists of AWS, of IPAM and of the other family, and says what to do", async (context) => {
  const { lists, observe, add } = await start(context);
  lists.alter(LIST, { synced: true });
  await failure(observe(), "invalid", /: IPAM writes its entries; switch that off/);
  await failure(add(null, "192.0.2.1/32"), "invalid", /^Cannot add 1 entry on .*: IPAM writes/);
  lists.alter(LIST, { synced: false, family: "IPv6" });
  await failure(observe(), "invalid", /: it holds ipv6 only; write family: ipv6$/);
  lists.alter(LIST, { ownerId: "AWS" });
  await failure(observe(), "invalid", /: the list belongs to AWS; name one of your own$/);
});

test("observe() knows both spellings of a list that is not there", async (context) => {
  const { backend, observe } = await start(context);
  for (const code of ["InvalidPrefixListID.NotFound", "InvalidPrefixListId.NotFound"]) {
    backend.inject("describe", { kind: "refuse", code });
    await failure(observe(), "missing", new RegExp(code.replace(".", "\\.")));
  }
});

test("observe() shows the smaller of the configured limit and MaxEntries, as somebody resizes it", async (context) => {
  const { lists, observe } = await start(context, { list: { maxEntries: 50 }, limit: 60 });
  lists.set(LIST, [{ cidr: "192.0.2.1/32", description: BY_HAND }]);
  const capacity = async () => (await observe()).capacity;
  assert.deepEqual(await capacity(), [{ families: ["ipv4"], used: 1, limit: 50 }]);
  lists.alter(LIST, { maxEntries: 100 });
  assert.deepEqual(await capacity(), [{ families: ["ipv4"], used: 1, limit: 60 }]);
});

test("a resize by somebody else is busy while it lasts, and no other version after it", async (context) => {
  const { lists, observe, add } = await start(context, { settings: { pendingLooks: 1 } });
  const { revision } = await observe();
  const nothing = { id: LIST, currentVersion: null, add: [], remove: [], name: null };
  lists.modify({ ...nothing, maxEntries: 200 });
  await failure(add(revision, "192.0.2.1/32"), "busy", /ended in IncorrectState/);
  await failure(observe(), "busy", /: its state is modify-in-progress; it is tried again later$/);
  assert.equal((await observe()).capacity[0]?.limit, 200);
  assert.equal(await add(revision, "192.0.2.1/32"), "2");
  // Beyond what refers to the list has room for, the size stays and the state says so: the entries
  // are as good as before.
  lists.modify({ ...nothing, maxEntries: 5_000 });
  await failure(observe(), "busy", /modify-in-progress/);
  assert.equal((await observe()).capacity[0]?.limit, 200);
  assert.equal(await add("2", "192.0.2.2/32"), "3");
});

test("apply() names the version, each address once and our text, and nothing else", async (context) => {
  const { backend, observe, add, remove } = await start(context);
  const { revision } = await observe();
  const next = await add(revision, "192.0.2.9/32", "192.0.2.1/32", "192.0.2.9/32");
  await remove(next, "192.0.2.1/32");
  const rest = { id: LIST, name: null, maxEntries: null };
  const added = (cidr: string) => ({ cidr, description: TEXT });
  assert.deepEqual(backend.changes, [
    { ...rest, currentVersion: 1, add: ["192.0.2.1/32", "192.0.2.9/32"].map(added), remove: [] },
    { ...rest, currentVersion: 2, add: [], remove: ["192.0.2.1/32"] },
  ]);
});

test("apply() waits for the change, and goes on with the next batch without another read", async (context) => {
  const { lists, backend, observe, add } = await start(context, {
    list: { maxEntries: 1_000 },
    settings: { pendingLooks: 3 },
  });
  let { revision } = await observe();
  const read = [backend.calls.describe, backend.calls.entries];
  for (const batch of [hosts(250).slice(0, 100), hosts(250).slice(100, 200)]) {
    revision = await add(revision, ...batch);
  }
  assert.equal(revision, "3");
  assert.equal(lists.list(LIST).length, 200);
  assert.deepEqual(read, [1, 1]);
  assert.equal(backend.calls.entries, 1);
  assert.equal(backend.calls.describe, 1 + 2 * 4);
});

test("apply() looks no further where the answer says that the change is complete", async (context) => {
  const { backend, observe, add } = await start(context, { settings: { pendingLooks: null } });
  const { revision } = await observe();
  assert.equal(await add(revision, "192.0.2.1/32"), "2");
  assert.equal(backend.calls.describe, 1);
});

test("apply() calls a change busy that is not complete in time, and the next read shows it", async (context) => {
  const { lists, world, observe, add } = await start(context, { settings: { pendingLooks: 100 } });
  const { revision } = await observe();
  const began = world.now();
  await failure(add(revision, "192.0.2.1/32"), "busy", /EC2 took the change and has not completed/);
  const { callMs } = prefixListKind.traits({ region: "eu-west-1", id: LIST });
  assert(world.now() - began <= callMs && world.now() - began > callMs / 2);
  await failure(observe(), "busy", /modify-in-progress/);
  assert.equal(lists.list(LIST).length, 1);
});

test("apply() does not call a change throttled, denied or missing because a look at it was", async (context) => {
  const { backend, observe, add } = await start(context);
  for (const code of ["RequestLimitExceeded", "UnauthorizedOperation", "InternalError"]) {
    const { revision, entries } = await observe();
    const refuse = { kind: "refuse", code, status: 503 } as const;
    backend.inject("describe", refuse, refuse);
    const next = await add(revision, `192.0.2.${entries.length}/32`);
    assert.equal(Number(next), Number(revision) + 1);
  }
});

test("apply() takes the state from before its change for no end of it", async (context) => {
  const { backend, observe, add } = await start(context, { settings: { pendingLooks: 0 } });
  const { revision } = await observe();
  await add(revision, "192.0.2.1/32");
  backend.inject("describe", { kind: "stale", writes: 1 }, { kind: "stale", writes: 1 });
  assert.equal(await add("2", "192.0.2.2/32"), "3");
});

test("apply() tells of a change that EC2 took and did not make, without its words", async (context) => {
  const { lists, observe, add } = await start(context);
  const { revision } = await observe();
  lists.settings.outcome = "failed";
  const says =
    /EC2 took the change, and its state became modify-failed; look at the list in the VPC/;
  const error = await failure(add(revision, "192.0.2.1/32"), "unavailable", says);
  assert(!JSON.stringify([error, error.message]).includes("sg-0ff1ce"));
  assert.deepEqual((await observe()).entries, []);
});

test("apply() sees who wrote right after it, and who deletes the list", async (context) => {
  const { lists, backend, observe, add } = await start(context, { settings: { pendingLooks: 0 } });
  const { revision } = await observe();
  const by = () =>
    lists.set(LIST, [...lists.list(LIST), { cidr: "203.0.113.1/32", description: "" }]);
  backend.inject("describe", { kind: "preceded", by });
  await failure(
    add(revision, "192.0.2.1/32"),
    "conflict",
    /: somebody else wrote right after it; /,
  );
  assert.equal((await observe()).entries.length, 2);
  const gone = () => lists.alter(LIST, { state: "delete-in-progress" });
  lists.settings.pendingLooks = 5;
  backend.inject("describe", { kind: "preceded", by: gone });
  await failure(add("3", "192.0.2.2/32"), "missing", /its state became delete-in-progress; /);
});

test("apply() explains what a bigger list costs when it is full", async (context) => {
  const { observe, add } = await start(context, { list: { maxEntries: 2 } });
  const { revision } = await observe();
  const { message } = await failure(
    add(revision, ...hosts(3)),
    "full",
    /PrefixListMaxEntriesExceeded/,
  );
  assert.match(
    message,
    /; raise its MaxEntries yourself, or list fewer: every security group rule/,
  );
  assert.match(message, /weighs MaxEntries.*L-0EA8095F, 60 by default.*50 a table/);
});

test("apply() leaves an identical entry of somebody else alone, without asking EC2 about it", async (context) => {
  const { lists, backend, observe, add } = await start(context);
  lists.set(LIST, [{ cidr: "192.0.2.1/32", description: BY_HAND }]);
  const { revision } = await observe();
  for (const read of [revision, null]) {
    const says = /: 192\.0\.2\.1\/32 is already there; read again$/;
    await failure(add(read, "192.0.2.2/32", "192.0.2.1/32"), "conflict", says);
  }
  assert.deepEqual(backend.changes, []);
});

test("apply() writes nothing for a read that is no longer true, whoever read it", async (context) => {
  const { lists, backend, observe, add, remove, again } = await start(context);
  lists.set(LIST, [{ cidr: "192.0.2.1/32", description: TEXT }]);
  const { revision } = await observe();
  lists.set(LIST, [{ cidr: "192.0.2.1/32", description: BY_HAND }]);
  const other = await again();
  const says = /: somebody else wrote meanwhile; read again$/;
  await failure(other.remove(revision, "192.0.2.1/32"), "conflict", says);
  await failure(other.add(revision, "192.0.2.2/32"), "conflict", says);
  assert.deepEqual(backend.changes, []);
  await failure(remove(revision, "192.0.2.1/32"), "conflict", /PrefixListVersionMismatch/);
  await failure(add(revision, "192.0.2.2/32"), "conflict", /PrefixListVersionMismatch/);
  assert.deepEqual(lists.list(LIST), [{ cidr: "192.0.2.1/32", description: BY_HAND }]);
  await other.add("3", "192.0.2.2/32");
});

test("apply() removes nothing that was not read, and by the text that EC2 has", async (context) => {
  const { lists, backend, observe, remove } = await start(context);
  await failure(remove("1", "192.0.2.1/32"), "conflict", /: 192\.0\.2\.1\/32 is not there; /);
  lists.set(LIST, [{ cidr: "10.1.0.9/24", description: TEXT }]);
  const { entries, revision } = await observe();
  assert.deepEqual(entries, [{ cidr: "10.1.0.0/24", text: TEXT, effect: "allow" }]);
  await remove(revision, "10.1.0.0/24");
  assert.deepEqual(
    backend.changes.map((change) => change.remove),
    [["10.1.0.9/24"]],
  );
  lists.set(LIST, [
    { cidr: "10.1.0.9/24", description: BY_HAND },
    { cidr: "10.1.0.0/24", description: TEXT },
  ]);
  const twice = await observe();
  assert.equal(twice.entries.length, 2);
  const says = /: 10\.1\.0\.0\/24 stands there twice; remove all but one by hand$/;
  await failure(remove(twice.revision, "10.1.0.0/24"), "invalid", says);
  assert.equal(backend.changes.length, 1);
});

test("a list of IPv6 is read and written like one of IPv4", async (context) => {
  const given = { list: { family: "IPv6" }, target: { family: "ipv6" } } as const;
  const { lists, target, observe, add, remove } = await start(context, given);
  assert.deepEqual(target.traits.families, ["ipv6"]);
  lists.set(LIST, [{ cidr: "2001:DB8:0::A1/128", description: BY_HAND }]);
  const { revision, capacity } = await observe();
  assert.deepEqual(capacity[0]?.families, ["ipv6"]);
  const next = await add(revision, "2001:db8::2/128", "2001:db8:1::/48");
  await remove(next, "2001:db8::2/128");
  assert.deepEqual(
    (await observe()).entries.map(({ cidr, text }) => [cidr, text]),
    [
      ["2001:db8::a1/128", BY_HAND],
      ["2001:db8:1::/48", TEXT],
    ],
  );
});

test("apply() shortens a text that EC2 would not take to its marker", async (context) => {
  const { lists, observe, target } = await start(context);
  const { revision } = await observe();
  const text = `ka1abcdefghijkl ${"x".repeat(255)}`;
  const batch = { verb: "add", cidrs: cidrs("192.0.2.1/32"), text, instead: [], late: [] } as const;
  await target.apply(batch, revision, SIGNAL);
  assert.equal(lists.list(LIST)[0]?.description, "ka1abcdefghijkl");
});

test("a waiting apply() ends with its signal", async (context) => {
  const { target, backend, observe } = await start(context, { settings: { pendingLooks: 9 } });
  const { revision } = await observe();
  const abort = new AbortController();
  backend.inject("describe", { kind: "none" }, { kind: "preceded", by: () => abort.abort() });
  const batch = {
    verb: "add",
    cidrs: cidrs("192.0.2.1/32"),
    text: TEXT,
    instead: [],
    late: [],
  } as const;
  await failure(
    target.apply(batch, revision, abort.signal),
    "unavailable",
    /ModifyManagedPrefixList/,
  );
  assert(backend.calls.describe <= 4, `${backend.calls.describe} looks`);
});

test("a bug in the client is not dressed up as a failure of the world", async () => {
  const bug = new TypeError("undefined is not a function");
  const fail = () => Promise.reject(bug);
  const names = { name: `aws/prefix-list/${LIST}`, object: "x", limit: null };
  const client = { describe: fail, entries: fail, modify: fail };
  const target = prefixListTarget(names, { region: "eu-west-1", id: LIST }, client);
  await assert.rejects(target.observe(SIGNAL), bug);
  const error = new CloudError("denied", "UnauthorizedOperation", { operation: "ec2:X" });
  const denied = { ...client, describe: () => Promise.reject(error) };
  const other = prefixListTarget(names, { region: "eu-west-1", id: LIST }, denied);
  await failure(
    other.observe(SIGNAL),
    "denied",
    /; check the credentials, and that they allow ec2:X$/,
  );
});

test("the kind aws/prefix-list has names, families and permissions by its settings", () => {
  const kind = kindNamed("aws/prefix-list");
  const settings = { region: "cn-north-1", id: "pl-0a1b" };
  assert.deepEqual(kind.identify(settings, OWNER), {
    name: "aws/prefix-list/pl-0a1b",
    object: "aws-prefix-list.cn-north-1.pl-0a1b",
  });
  assert.deepEqual(kind.traits(settings).families, ["ipv4"]);
  assert.deepEqual(kind.traits({ ...settings, family: "ipv6" }).families, ["ipv6"]);
  assert.deepEqual(kind.traits({ family: 7 }).families, ["ipv4"]);
  const list = "arn:aws-cn:ec2:cn-north-1:123456789012:prefix-list/pl-0a1b";
  const modify = [{ actions: ["ec2:ModifyManagedPrefixList"], resources: [list] }];
  assert.deepEqual(kind.permissions(settings, "123456789012"), {
    dialect: "iam",
    read: [
      { actions: ["ec2:DescribeManagedPrefixLists"], resources: ["*"] },
      { actions: ["ec2:GetManagedPrefixListEntries"], resources: [list] },
    ],
    add: modify,
    remove: modify,
  });
});

test("the settings of aws/prefix-list say what is wrong, where, and what to write instead", () => {
  const problems = (settings: unknown) => settingsProblems("aws/prefix-list", settings);
  const good = { region: "eu-west-1", id: "pl-0a1b2c3d4e5f60718" };
  assert.deepEqual(problems(good), []);
  assert.deepEqual(problems({ ...good, family: "ipv6", limit: 60, role: undefined }), []);
  assert.deepEqual(problems({ region: "x", id: "sg-0a1b", family: "IPv4" }), [
    'region: Cannot use region "x": write it like "eu-west-1"',
    'id: Cannot use id "sg-0a1b": write a list\'s id like "pl-0a1b2c3d4e5f60718"',
    'family: Cannot use family "IPv4": write ipv4 or ipv6',
  ]);
  assert.match(problems({ ...good, permission: {} }).join(), /permission/);
});
