import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import {
  type AlibabaCall,
  AlibabaError,
  startEmbeddedAlibaba,
} from "../../cli/embedded/alibaba.ts";
import type { Acl, AclChange, AclClient, AclEntry } from "../../lib/clouds/alibaba/acl.ts";
import { openAlbAcls, openClbAcls } from "../../lib/clouds/alibaba.ts";
import { type Cidr, parseCidr } from "../../lib/core/cidr.ts";
import type { TargetErrorKind } from "../../lib/core/report.ts";
import { albAclKind } from "../../lib/targets/alibaba/alb-acl.ts";
import { clbAclKind } from "../../lib/targets/alibaba/clb-acl.ts";
import { type Batch, TargetError } from "../../lib/targets/target.ts";
import { type AclRow, type AclSettings, alibabaAcls } from "../fakes/alibaba-acls.ts";
import { noSpecs, watchSpecs } from "../fakes/alibaba-specs.ts";
import { soon, until } from "../fakes/soon.ts";
import { virtualWorld } from "../virtual-world.ts";
import { ENVIRONMENT, failure, json, serve } from "./alibaba-serving.ts";
import { kindNamed, OWNER, targetConfig } from "./making.ts";

const ID = "acl-bp1l0kk4gxce43k";
const SIGNAL = new AbortController().signal;
const MARKER = "ka1abcdefghijkl";
const TEXT = `${MARKER} acme/payments-db`;
const KINDS = ["alb", "clb"] as const;

type Row = Pick<AclEntry, "address"> & Partial<AclEntry>;

/** A client that shows these entries and keeps what it is asked to write. */
function clientOf(rows: readonly Row[], acl: Partial<Acl> = {}) {
  const added: (readonly AclChange[])[] = [];
  const removed: (readonly AclChange[])[] = [];
  const shown = { rows };
  const client: AclClient = {
    read: async () => ({
      family: null,
      denying: 0,
      ...acl,
      entries: shown.rows.map((row) => ({ text: "", state: "there", ...row })),
    }),
    add: async (_id, entries) => {
      added.push(entries);
    },
    remove: async (_id, entries) => {
      removed.push(entries);
    },
  };
  return { client, added, removed, shown };
}

function targetOf(client: AclClient, options: { readonly limit?: number } = {}) {
  const settings = { region: "cn-beijing", id: ID };
  return albAclKind.make(targetConfig("alibaba/alb-acl", settings, options), settings, client);
}

function batchOf(verb: Batch["verb"], ...cidrs: readonly string[]): Batch {
  return { verb, cidrs: cidrs.map(cidrOf), text: TEXT, instead: [], late: [] };
}

function cidrOf(text: string): Cidr {
  const cidr = parseCidr(text);
  assert(cidr !== null);
  return cidr;
}

async function refusal(work: Promise<unknown>): Promise<TargetError> {
  const error = await work.then(
    () => assert.fail("it was not refused"),
    (thrown: unknown) => thrown,
  );
  assert(error instanceof TargetError, String(error));
  assert.match(error.message, /^Cannot [a-z]+ .*alibaba\/[a-z-]+\/.+: .+; .+[^.]$/);
  return error;
}

test("observe() shows what is arriving and not what is leaving, and counts both", async () => {
  const { client } = clientOf([
    { address: "192.0.2.1", text: MARKER },
    { address: "10.1.2.3/24", text: "office", state: "arriving" },
    { address: "192.0.2.2/32", text: MARKER, state: "leaving" },
  ]);
  const { entries, capacity } = await targetOf(client, { limit: 40 }).observe(SIGNAL);
  assert.deepEqual(
    entries.map(({ cidr, text }) => `${cidr} ${text}`),
    ["10.1.2.0/24 office", `192.0.2.1/32 ${MARKER}`],
  );
  assert.deepEqual(capacity, [{ families: ["ipv4"], used: 3, limit: 40 }]);
});

test("apply() writes the marker alone, which every alphabet takes", async () => {
  const { client, added } = clientOf([]);
  await targetOf(client).apply(batchOf("add", "192.0.2.2/32", "10.0.0.0/8"), null, SIGNAL);
  assert.deepEqual(added, [
    [
      { cidr: "10.0.0.0/8", text: MARKER },
      { cidr: "192.0.2.2/32", text: MARKER },
    ],
  ]);
});

test("apply() never removes the last entry that is in effect", async () => {
  const own = { address: "192.0.2.1/32", text: MARKER };
  const cases: readonly (readonly [readonly Row[], TargetErrorKind | null])[] = [
    [[own], "invalid"],
    [[own, { address: "192.0.2.2/32", state: "leaving" }], "invalid"],
    [[own, { address: "192.0.2.2/32", text: MARKER, state: "arriving" }], "busy"],
    [[own, { address: "192.0.2.2/32", text: "office" }], null],
  ];
  for (const [rows, kind] of cases) {
    const { client, removed } = clientOf(rows);
    const target = targetOf(client);
    await target.observe(SIGNAL);
    const work = target.apply(batchOf("remove", "192.0.2.1/32"), null, SIGNAL);
    if (kind === null) await work;
    else assert.equal((await refusal(work)).kind, kind);
    assert.equal(removed.length, kind === null ? 1 : 0);
  }
});

test("apply() looks again before a removal, at what others have removed meanwhile", async () => {
  const own = { address: "192.0.2.1/32", text: MARKER };
  const { client, removed, shown } = clientOf([own, { address: "203.0.113.1/32", text: "office" }]);
  const target = targetOf(client);
  await target.observe(SIGNAL);
  shown.rows = [own];
  const work = target.apply(batchOf("remove", "192.0.2.1/32"), null, SIGNAL);
  assert.equal((await refusal(work)).kind, "invalid");
  assert.deepEqual(removed, []);
});

test("apply() removes nothing that does not stand as it was read", async () => {
  const other = { address: "203.0.113.1/32", text: "office" };
  const now: readonly (readonly [readonly Row[], TargetErrorKind])[] = [
    [[other], "conflict"],
    [[other, { address: "192.0.2.1/32", text: "by hand" }], "conflict"],
    [[other, { address: "192.0.2.1/32", text: MARKER, state: "leaving" }], "conflict"],
    [
      [other, { address: "192.0.2.1/32", text: MARKER }, { address: "192.0.2.1", text: MARKER }],
      "invalid",
    ],
  ];
  for (const [rows, kind] of now) {
    const { client, removed, shown } = clientOf([other, { address: "192.0.2.1/32", text: MARKER }]);
    const target = targetOf(client);
    await target.observe(SIGNAL);
    shown.rows = rows;
    const work = target.apply(batchOf("remove", "192.0.2.1/32"), null, SIGNAL);
    assert.equal((await refusal(work)).kind, kind);
    assert.deepEqual(removed, []);
  }
  const { client } = clientOf([other, { address: "192.0.2.1/32", text: MARKER }]);
  const unread = targetOf(client).apply(batchOf("remove", "192.0.2.1/32"), null, SIGNAL);
  assert.equal((await refusal(unread)).kind, "conflict");
});

test("observe() refuses a list that turns away whoever is on it, and one of another family", async () => {
  const denying = await refusal(targetOf(clientOf([], { denying: 2 }).client).observe(SIGNAL));
  assert.equal(denying.kind, "invalid");
  assert.match(denying.message, /2 listeners deny whoever is on it/);
  for (const family of ["ipv4", "ipv6"] as const) {
    const settings = { region: "cn-beijing", id: ID, family };
    const config = targetConfig("alibaba/clb-acl", settings);
    const right = clbAclKind.make(config, settings, clientOf([], { family }).client);
    assert.deepEqual((await right.observe(SIGNAL)).capacity[0]?.families, [family]);
    assert.deepEqual(right.traits.families, [family]);
    const other = family === "ipv4" ? "ipv6" : "ipv4";
    const wrong = clbAclKind.make(config, settings, clientOf([], { family: other }).client);
    assert.equal((await refusal(wrong.observe(SIGNAL))).kind, "invalid");
  }
});

test("observe() rejects when an address cannot be read", async () => {
  const { client } = clientOf([{ address: "192.0.2.1" }, { address: "everybody" }]);
  assert.equal((await refusal(targetOf(client).observe(SIGNAL))).kind, "unavailable");
});

/** A client against ACLs; what is asked is kept, and checked where it can be. */
async function aclOf(
  context: TestContext,
  kind: (typeof KINDS)[number],
  given: Partial<AclSettings> = {},
) {
  const acls = alibabaAcls([ID], given);
  const asked: AlibabaCall[] = [];
  const watched = watchSpecs((call, act, signal) => {
    asked.push(call);
    return act(call, signal);
  });
  const products = [acls.alb, acls.clb];
  const server = await startEmbeddedAlibaba({ products, between: watched.between });
  context.after(() => server.close());
  const world = virtualWorld();
  const client = openerOf(kind)(server.url, world);
  return { acls, asked, client, world, problems: watched.problems };
}

function openerOf(kind: (typeof KINDS)[number]) {
  return (endpoint: string, world = virtualWorld()) => {
    const connection = {
      region: "cn-beijing",
      endpoint,
      stsEndpoint: null,
      credentials: null,
      role: null,
    };
    const open = kind === "alb" ? openAlbAcls : openClbAcls;
    return open(connection, { world, env: ENVIRONMENT });
  };
}

function rowsOf(count: number): readonly AclRow[] {
  return Array.from({ length: count }, (_, index) => ({
    address: `198.18.${index >> 8}.${index & 255}/32`,
    text: MARKER,
    status: "Available",
  }));
}

test("an ACL is asked what the vendor describes", { skip: noSpecs ?? false }, async (context) => {
  for (const kind of KINDS) {
    const { client, problems } = await aclOf(context, kind, { pageEntriesMax: 1 });
    await client.add(
      ID,
      rowsOf(3).map(({ address, text }) => ({ cidr: address, text })),
      SIGNAL,
    );
    await client.read(ID, SIGNAL);
    await client.remove(ID, [{ cidr: "198.18.0.1/32", text: MARKER }], SIGNAL);
    assert.deepEqual(problems, []);
  }
});

test("an ACL of CLB is written as the text of a JSON list, one of ALB as numbered entries", async (context) => {
  const change = [
    { cidr: "10.0.0.0/8", text: MARKER },
    { cidr: "192.0.2.1/32", text: MARKER },
  ];
  const clb = await aclOf(context, "clb");
  await clb.client.add(ID, change, SIGNAL);
  assert.deepEqual(clb.asked[0]?.params, {
    RegionId: "cn-beijing",
    AclId: ID,
    AclEntrys:
      `[{"entry":"10.0.0.0/8","comment":"${MARKER}"},` +
      `{"entry":"192.0.2.1/32","comment":"${MARKER}"}]`,
  });
  const alb = await aclOf(context, "alb");
  await alb.client.add(ID, change, SIGNAL);
  await alb.client.remove(ID, change, SIGNAL);
  const [added, , removed] = alb.asked;
  assert.deepEqual(added?.params, {
    AclId: ID,
    AclEntries: change.map(({ cidr, text }) => ({ Entry: cidr, Description: text })),
  });
  assert.deepEqual(removed?.params, { AclId: ID, Entries: ["10.0.0.0/8", "192.0.2.1/32"] });
});

test("read() goes through all pages of a full list", async (context) => {
  for (const kind of KINDS) {
    const { client, acls, asked } = await aclOf(context, kind);
    const count = kind === "clb" ? 300 : 1_000;
    acls.set(ID, rowsOf(count));
    const { entries } = await client.read(ID, SIGNAL);
    assert.equal(entries.length, count);
    assert.equal(asked.length, kind === "clb" ? 6 : 10);
  }
});

test("read() takes no list that changed between its pages", async (context) => {
  for (const kind of KINDS) {
    for (const edit of [
      (rows: readonly AclRow[]) => rows.slice(1),
      (rows: readonly AclRow[]) => [{ ...rowsOf(1), address: "10.0.0.1/32" }, ...rows],
    ]) {
      const acls = alibabaAcls([ID], { pageEntriesMax: 5 });
      acls.set(ID, rowsOf(12));
      let calls = 0;
      const server = await startEmbeddedAlibaba({
        products: [acls.alb, acls.clb],
        between: (call, act, signal) => {
          calls += 1;
          if (calls === 2) acls.set(ID, edit(acls.rows(ID)) as readonly AclRow[]);
          return act(call, signal);
        },
      });
      context.after(() => server.close());
      const error = await failure(openerOf(kind)(server.url).read(ID, SIGNAL));
      assert.equal(error.kind, "unavailable");
    }
  }
});

test("read() takes no answer that is not understood whole", async (context) => {
  const clb = { AddressIPVersion: "ipv4", TotalAclEntry: 1 };
  const clbRow = { AclEntryIP: "192.0.2.1/32" };
  const albRow = { Entry: "192.0.2.1/32", Status: "Available" };
  const bodies = {
    clb: [
      {},
      { ...clb, AclEntrys: {} },
      { ...clb, AclEntrys: { AclEntry: [] } },
      { ...clb, AclEntrys: { AclEntry: [{}] } },
      { ...clb, AclEntrys: { AclEntry: [clbRow, clbRow] } },
      { ...clb, TotalAclEntry: 2, AclEntrys: { AclEntry: [clbRow, clbRow] } },
      { ...clb, TotalAclEntry: undefined, AclEntrys: { AclEntry: [clbRow] } },
      { ...clb, AddressIPVersion: undefined, AclEntrys: { AclEntry: [clbRow] } },
      { ...clb, TotalAclEntry: 0, AddressIPVersion: undefined },
    ],
    alb: [
      {},
      { AclEntries: null },
      { AclEntries: [null] },
      { AclEntries: [{ ...albRow, Status: "Dreaming" }] },
      { AclEntries: [{ ...albRow, Status: undefined }] },
      { AclEntries: [{ ...albRow, Entry: undefined }] },
      { AclEntries: [albRow], NextToken: 7 },
      { AclEntries: [albRow], NextToken: "again" },
      { AclEntries: [albRow, albRow] },
      { AclEntries: [albRow], TotalCount: 2 },
    ],
  };
  let body: unknown;
  const { url } = await serve(context, (_asked, response) => json(response, 200, body));
  for (const kind of KINDS) {
    const client = openerOf(kind)(url);
    for (const one of bodies[kind]) {
      body = one;
      const error = await failure(client.read(ID, SIGNAL));
      assert.equal(error.kind, "unavailable", JSON.stringify(one));
    }
    body = { ...clb, TotalAclEntry: 0, TotalCount: 0 };
    assert.deepEqual((await client.read(ID, SIGNAL)).entries, []);
  }
});

test("an ACL of ALB is waited for until nothing is on its way", async (context) => {
  const { client, acls, world, asked } = await aclOf(context, "alb", { looksUntilSettled: 2 });
  let isOver = false;
  const work = client.add(ID, [{ cidr: "192.0.2.1/32", text: MARKER }], SIGNAL).then(() => {
    isOver = true;
  });
  for (const looks of [1, 2]) {
    await until(() => asked.length === 1 + looks, "a look at the list");
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.equal(isOver, false);
    await world.advance(1_000);
  }
  await soon(work, "the end of the wait");
  assert.deepEqual(
    acls.rows(ID).map(({ status }) => status),
    ["Available"],
  );
});

test("an ACL of ALB that does not settle in time has taken the write all the same", async (context) => {
  const { client, world, asked } = await aclOf(context, "alb", { looksUntilSettled: 99 });
  const begun = world.now();
  const work = client.add(ID, [{ cidr: "192.0.2.1/32", text: MARKER }], SIGNAL);
  for (let looks = 1; looks <= 4; looks += 1) {
    await until(() => asked.length === 1 + looks, "a look at the list");
    await new Promise((resolve) => setTimeout(resolve, 20));
    await world.advance(1_000);
  }
  await soon(work, "the end of the wait");
  assert.equal(world.now() - begun, 4_000);
  assert.equal(asked.length, 5);
  const { entries } = await client.read(ID, SIGNAL);
  assert.deepEqual(
    entries.map(({ state }) => state),
    ["arriving"],
  );
  const again = client.add(ID, [{ cidr: "192.0.2.2/32", text: MARKER }], SIGNAL);
  assert.equal((await failure(again)).kind, "busy");
});

test("an ACL whose listeners deny is told from one whose listeners allow", async (context) => {
  const { client, acls } = await aclOf(context, "clb");
  assert.equal((await client.read(ID, SIGNAL)).denying, 0);
  acls.settings.denying = 2;
  assert.equal((await client.read(ID, SIGNAL)).denying, 2);
});

const CODES: readonly (readonly [(typeof KINDS)[number], string, TargetErrorKind])[] = [
  ["clb", "AclEntryProcessing", "busy"],
  ["clb", "AclEntryEmpty", "conflict"],
  ["clb", "InvalidParam.AclEntryExists", "conflict"],
  ["clb", "AclEntryExceedLimit", "full"],
  ["clb", "AclEntryIllegal", "invalid"],
  ["clb", "AclNotExist", "missing"],
  ["alb", "IncorrectStatus.Acl", "busy"],
  ["alb", "ResourceInConfiguring", "busy"],
  ["alb", "ResourceInConfiguring.Acl", "busy"],
  ["alb", "OperationFailed.ResourceGroupStatusCheckFail", "busy"],
  ["alb", "ResourceAlreadyExist.AclEntry", "conflict"],
  ["alb", "ResourceNotFound.AclEntry", "conflict"],
  ["alb", "ResourceNotFound.Acl", "missing"],
  ["alb", "QuotaExceeded.AclEntriesNum", "full"],
  ["alb", "IllegalParam.Entry", "invalid"],
];

test("an ACL's codes get the kind that their product means", async (context) => {
  let code = "";
  const act = () => {
    throw new AlibabaError(code, "canary");
  };
  const products = [
    { version: "2014-05-15", actions: { AddAccessControlListEntry: act } },
    { version: "2020-06-16", actions: { AddEntriesToAcl: act } },
  ];
  const server = await startEmbeddedAlibaba({ products });
  context.after(() => server.close());
  for (const [kind, one, expected] of CODES) {
    code = one;
    const client = openerOf(kind)(server.url);
    const error = await failure(client.add(ID, [{ cidr: "192.0.2.1/32", text: "x" }], SIGNAL));
    assert.deepEqual([error.kind, error.code], [expected, one]);
  }
});

test("an ACL's settings, name and permissions", () => {
  const settings = { region: "cn-beijing", id: ID };
  const account = "1234567890123456";
  for (const kind of KINDS) {
    const { schema, identify, permissions, traits } = kindNamed(`alibaba/${kind}-acl`);
    assert(schema.safeParse(settings).success);
    const wrong = schema.safeParse({ ...settings, id: "lb-1" });
    assert.match(String(wrong.error?.issues[0]?.message), /^Cannot use id "lb-1": write an ACL's/);
    assert.deepEqual(identify(settings, OWNER), {
      name: `alibaba/${kind}-acl/${ID}`,
      object: `alibaba-${kind}-acl.cn-beijing.${ID}`,
    });
    const found = permissions(settings, account);
    assert(found.dialect === "ram");
    const product = kind === "clb" ? "slb" : "alb";
    for (const { actions, resources } of [...found.read, ...found.add, ...found.remove]) {
      assert(actions.every((action) => action.startsWith(`${product}:`)));
      assert.deepEqual(resources, [`acs:${product}:cn-beijing:${account}:acl/${ID}`]);
    }
    // An empty list lets everybody in.
    assert.equal(traits(settings).whenEmpty, "open");
    assert.equal(schema.safeParse({ ...settings, family: "ipv6" }).success, kind === "clb");
  }
});
