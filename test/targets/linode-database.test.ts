import assert from "node:assert/strict";
import { test } from "node:test";
import type { LinodeDatabase } from "../../cli/embedded/linode.ts";
import type { TargetError } from "../../lib/targets/target.ts";
import {
  apply,
  cidrs,
  DATABASE,
  type LinodeStage,
  linodeStage,
  observed,
  SIGNAL,
  TEXT,
} from "./linode.ts";
import { kindNamed, makeTarget, OWNER, refusal } from "./making.ts";

const { engine, id } = DATABASE;

function open(stage: LinodeStage, limit?: number) {
  return stage.target("linode/database", { engine, id, exclusive: true }, limit);
}

function set({ cloud }: LinodeStage, change: Partial<LinodeDatabase>): void {
  cloud.setDatabase({ ...DATABASE, ...change });
}

function allowList({ cloud }: LinodeStage): readonly string[] {
  return cloud.database(engine, id)?.allow_list ?? [];
}

function writes({ requests }: LinodeStage): number {
  return requests.filter(({ method }) => method === "PUT").length;
}

test("apply() keeps what it is not told about in the words and order in which it was written", async (context) => {
  const stage = await linodeStage(context);
  const target = await open(stage);
  set(stage, { allow_list: ["203.0.113.9", "10.2.3.4/16", "198.51.100.7/32"] });
  await apply(target, "add", ["192.0.2.2/32", "192.0.2.1/32", "203.0.113.9/32"]);
  assert.deepEqual(allowList(stage), [
    "203.0.113.9",
    "10.2.3.4/16",
    "198.51.100.7/32",
    "192.0.2.1/32",
    "192.0.2.2/32",
  ]);
  await apply(target, "remove", ["203.0.113.9/32", "192.0.2.2/32"]);
  assert.deepEqual(allowList(stage), ["10.2.3.4/16", "198.51.100.7/32", "192.0.2.1/32"]);
});

test("apply() does not write back what was removed a moment ago, though a read still shows it", async (context) => {
  const stage = await linodeStage(context);
  const target = await open(stage);
  set(stage, { allow_list: ["10.0.0.0/24", "192.0.2.1/32"] });
  const [added, late] = [cidrs("192.0.2.2/32"), cidrs("10.0.0.0/24")];
  await target.apply({ verb: "add", cidrs: added, text: TEXT, instead: [], late }, null, SIGNAL);
  assert.deepEqual(allowList(stage), ["192.0.2.1/32", "192.0.2.2/32"]);
});

test("apply() sends the allow list and nothing else of the database", async (context) => {
  const stage = await linodeStage(context);
  await apply(await open(stage), "add", ["192.0.2.1/32"]);
  const { body, path } = stage.requests.find(({ method }) => method === "PUT") ?? {};
  assert.deepEqual(body, { allow_list: ["192.0.2.1/32"] });
  assert.deepEqual(path, ["v4", "databases", engine, "instances", String(id)]);
});

test("apply() writes only to an active database, and says what it is; reading is always possible", async (context) => {
  const stage = await linodeStage(context);
  const target = await open(stage);
  for (const status of ["provisioning", "updating", "suspended", "degraded", "backing_up"]) {
    set(stage, { status, allow_list: ["203.0.113.7/32"] });
    assert.deepEqual(await observed(target), ["allow 203.0.113.7/32 null"]);
    const message = new RegExp(`: the database is ${status}; it is tried again when it is active$`);
    await refusal(apply(target, "add", ["192.0.2.1/32"]), "busy", message);
  }
  assert.equal(writes(stage), 0);
  set(stage, { status: "<b>canary</b>" });
  await refusal(apply(target, "add", ["192.0.2.1/32"]), "busy", /the database is not active;/);
});

test("a database that stops being active between the read and the write is busy", async (context) => {
  const stage = await linodeStage(context, ({ method }, cloud) => {
    if (method === "PUT") cloud.setDatabase({ ...DATABASE, status: "updating" });
  });
  await refusal(apply(await open(stage), "add", ["192.0.2.1/32"]), "busy", /Busy, HTTP 400; it is/);
});

test("apply() never sends an empty list, also when somebody emptied it meanwhile", async (context) => {
  const stage = await linodeStage(context);
  const target = await open(stage);
  set(stage, { allow_list: ["192.0.2.1/32", "192.0.2.2"] });
  const all = ["192.0.2.1/32", "192.0.2.2/32"];
  await refusal(apply(target, "remove", all), "invalid", /nothing would remain/);
  set(stage, { allow_list: ["192.0.2.1/32"] });
  await refusal(apply(target, "remove", all), "invalid", /nothing would remain/);
  set(stage, { allow_list: [] });
  await apply(target, "remove", all);
  assert.equal(writes(stage), 0);
});

test("entries of the other family are shown, and go when they may", async (context) => {
  // A database that takes IPv6.
  const stage = await linodeStage(context, ({ method, body }, cloud) => {
    if (method !== "PUT") return undefined;
    cloud.setDatabase({ ...DATABASE, ...(body as object) });
    return cloud.database(engine, id);
  });
  const target = await open(stage);
  set(stage, { allow_list: ["2001:DB8::1", "192.0.2.1/32"] });
  assert.deepEqual(target.traits.families, ["ipv4"]);
  assert.deepEqual(await observed(target), [
    "allow 192.0.2.1/32 null",
    "allow 2001:db8::1/128 null",
  ]);
  await apply(target, "add", ["192.0.2.2/32"]);
  assert.deepEqual(stage.requests.at(-1)?.body, {
    allow_list: ["2001:DB8::1", "192.0.2.1/32", "192.0.2.2/32"],
  });
  await apply(target, "remove", ["2001:db8::1/128"]);
  assert.deepEqual(allowList(stage), ["192.0.2.1/32", "192.0.2.2/32"]);
});

test("apply() writes nothing when the list is no longer the one that was read, in whatever order", async (context) => {
  const stage = await linodeStage(context);
  const target = await open(stage);
  set(stage, { allow_list: ["192.0.2.1/32", "192.0.2.2/32"] });
  const { revision } = await target.observe(SIGNAL);
  set(stage, { allow_list: ["192.0.2.2/32", "192.0.2.1/32"] });
  await apply(target, "add", ["192.0.2.3/32"], revision);
  set(stage, { allow_list: ["192.0.2.9/32"] });
  await refusal(apply(target, "add", ["192.0.2.4/32"], revision), "conflict", /; read again$/);
  assert.deepEqual(allowList(stage), ["192.0.2.9/32"]);
});

test("apply() takes a read that shows what it replaced itself for a late one, once", async (context) => {
  const stage = await linodeStage(context);
  const target = await open(stage);
  set(stage, { allow_list: ["192.0.2.1/32"] });
  await apply(target, "add", ["192.0.2.2/32"]);
  set(stage, { allow_list: ["192.0.2.1/32"] });
  await refusal(apply(target, "add", ["192.0.2.3/32"]), "conflict", /; read again$/);
  await apply(target, "add", ["192.0.2.3/32"]);
  assert.deepEqual(allowList(stage), ["192.0.2.1/32", "192.0.2.3/32"]);
});

test("apply() believes no answer that shows another list than was sent, and minds no other form of it", async (context) => {
  for (const [allow_list, isSame] of [
    [["192.0.2.1"], true],
    [["192.0.2.1/32", "203.0.113.7/32"], false],
    [[], false],
  ] as const) {
    const stage = await linodeStage(context, ({ method }) =>
      method === "PUT" ? { ...DATABASE, allow_list } : undefined,
    );
    const done = apply(await open(stage), "add", ["192.0.2.1/32"]);
    if (isSame) await done;
    else await refusal(done, "conflict", /somebody else writes it/);
  }
});

test("a database whose answer is not understood whole is unavailable, and is not written", async (context) => {
  const broken = [
    {},
    [],
    { ...DATABASE, allow_list: undefined },
    { ...DATABASE, allow_list: null },
    { ...DATABASE, allow_list: "192.0.2.1" },
    { ...DATABASE, allow_list: [1] },
    { ...DATABASE, allow_list: ["somewhere"] },
    { ...DATABASE, status: undefined },
  ];
  for (const body of broken) {
    const stage = await linodeStage(context, ({ method }) => (method === "GET" ? body : undefined));
    const target = await open(stage);
    await refusal(
      target.observe(SIGNAL),
      "unavailable",
      /^Cannot read linode\/database\/mysql-123: /,
    );
    await refusal(apply(target, "add", ["192.0.2.1/32"]), "unavailable", /^Cannot add 1 entry on /);
    assert.equal(writes(stage), 0, JSON.stringify(body));
  }
});

test("a database that Linode does not know is missing", async (context) => {
  const stage = await linodeStage(context);
  const other = await stage.target("linode/database", { engine: "postgresql", id });
  await refusal(
    other.observe(SIGNAL),
    "missing",
    /HTTP 404; check the target's id, and whose token/,
  );
});

test("a token that Linode does not know is denied, with the scope that it needs", async (context) => {
  const stage = await linodeStage(context);
  const target = await makeTarget(
    "linode/database",
    { engine, id, endpoint: stage.url },
    { env: { LINODE_TOKEN: "canary" }, context: { world: stage.world } },
  );
  await refusal(
    target.observe(SIGNAL),
    "denied",
    /HTTP 401; .* it has the scope databases:read_write$/,
  );
  assert.equal(stage.requests.length, 0);
});

test("a target without a token, or with one that no header takes, is not opened, and the value is not shown", async () => {
  const settings = { engine, id };
  await refusal(
    makeTarget("linode/database", settings, { env: {} }),
    "invalid",
    /^Cannot open linode\/database\/mysql-123: .*env:LINODE_TOKEN.*not set; set it/,
  );
  const env = { LINODE_TOKEN: "canary\ncanary" };
  await assert.rejects(makeTarget("linode/database", settings, { env }), (error: TargetError) => {
    assert.equal(error.kind, "invalid");
    assert.match(error.message, /env:LINODE_TOKEN holds blanks, line ends/);
    assert(!error.message.includes("canary"));
    return true;
  });
});

test("schema and identify() tell engines apart, and ask for nothing that is a secret", () => {
  const kind = kindNamed("linode/database");
  const problems = (settings: object) =>
    kind.schema.safeParse(settings).error?.issues.map(({ message }) => message) ?? [];
  assert.deepEqual(problems({ engine, id, exclusive: true, token: "file:/run/token" }), []);
  assert.match(String(problems({ engine: "redis", id })), /Cannot use engine "redis": write mysql/);
  assert.match(String(problems({ engine, id: 1.5 })), /Cannot use id 1.5: write the number/);
  assert.deepEqual(kind.identify({ engine: "postgresql", id }, OWNER), {
    name: "linode/database/postgresql-123",
    object: "linode-database.postgresql.123",
  });
});
