import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import {
  type AlibabaBetween,
  type AlibabaCall,
  AlibabaError,
  startEmbeddedAlibaba,
} from "../../cli/embedded/alibaba.ts";
import { alibabaDatabases } from "../../cli/embedded/alibaba-databases.ts";
import type { DatabaseEngine } from "../../lib/clouds/alibaba/databases.ts";
import { openDatabases } from "../../lib/clouds/alibaba.ts";
import type { TargetErrorKind } from "../../lib/core/report.ts";
import { DATABASE_NAMES } from "../fakes/alibaba-databases.ts";
import { noSpecs, watchSpecs } from "../fakes/alibaba-specs.ts";
import { soon, until } from "../fakes/soon.ts";
import { virtualWorld } from "../virtual-world.ts";
import { ENVIRONMENT, failure, json, serve } from "./alibaba-serving.ts";

const ID = "i-0";
const ENGINES = ["mongodb", "polardb", "rds", "redis"] as const;
const SIGNAL = new AbortController().signal;
const CONTENT = { group: "k8s", network: null, addresses: ["192.0.2.1", "10.2.0.0/16"] } as const;

function clientOf(engine: DatabaseEngine, endpoint: string, world = virtualWorld()) {
  const connection = {
    region: "cn-beijing",
    endpoint,
    stsEndpoint: null,
    credentials: null,
    role: null,
  };
  return openDatabases(engine)(connection, { world, env: ENVIRONMENT });
}

/** A client against instances of the engine; what is asked is kept, and checked where it can be. */
async function instanceOf(
  context: TestContext,
  engine: DatabaseEngine,
  options: { readonly busyLooks?: number; readonly between?: AlibabaBetween } = {},
) {
  const { between = (call, act, signal) => act(call, signal), ...settings } = options;
  const names = DATABASE_NAMES[engine];
  const databases = alibabaDatabases([ID], names, settings);
  const asked: AlibabaCall[] = [];
  const watched = watchSpecs(
    (call, act, signal) => {
      asked.push(call);
      return between(call, act, signal);
    },
    [names.state],
  );
  const products = [databases.product];
  const server = await startEmbeddedAlibaba({ products, between: watched.between });
  context.after(() => server.close());
  const world = virtualWorld();
  const client = clientOf(engine, server.url, world);
  return { client, databases, world, asked, names, problems: watched.problems };
}

test("groups() and cover() ask what the vendor describes", {
  skip: noSpecs ?? false,
}, async (context) => {
  for (const engine of ENGINES) {
    const { client, problems, asked } = await instanceOf(context, engine);
    await client.groups(ID, SIGNAL);
    await client.cover(ID, CONTENT, SIGNAL);
    assert.deepEqual(problems, []);
    assert.equal(asked.length, 3);
  }
});

test("cover() writes addresses with commas and without blanks, whole, to the group it names", async (context) => {
  for (const engine of ENGINES) {
    const { client, asked, names } = await instanceOf(context, engine);
    await client.cover(ID, CONTENT, SIGNAL);
    assert.deepEqual(asked[0]?.params, {
      [names.instance]: ID,
      [names.group]: "k8s",
      SecurityIps: "192.0.2.1,10.2.0.0/16",
      ModifyMode: "Cover",
    });
    assert.deepEqual(
      asked.map(({ action }) => action),
      [names.write, names.state],
    );
    assert.deepEqual(
      await client.groups(ID, SIGNAL),
      [
        { name: "default", attribute: "", network: null, addresses: ["127.0.0.1"] },
        { name: "k8s", attribute: "", ...CONTENT, group: undefined },
      ].map(({ group: _group, ...one }: Record<string, unknown>) => one),
    );
  }
});

test("cover() says which kind of network a list of RDS is for", async (context) => {
  const { client, databases, asked } = await instanceOf(context, "rds");
  await client.cover(ID, { ...CONTENT, network: "vpc" }, SIGNAL);
  assert.equal(asked[0]?.params.WhitelistNetworkType, "VPC");
  assert.equal(databases.groups(ID)[1]?.network, "VPC");
  assert.equal((await client.groups(ID, SIGNAL))[1]?.network, "vpc");
});

test("cover() waits until the instance takes writes again", async (context) => {
  for (const engine of ENGINES) {
    const { client, databases, world, asked } = await instanceOf(context, engine, { busyLooks: 2 });
    let isOver = false;
    const work = client.cover(ID, CONTENT, SIGNAL).then(() => {
      isOver = true;
    });
    for (const looks of [1, 2]) {
      await until(() => asked.length === 1 + looks, "a look at the state");
      // The answer is on its way.
      await new Promise((resolve) => setTimeout(resolve, 20));
      assert.equal(isOver, false);
      await world.advance(1_000);
    }
    await soon(work, "the end of the wait");
    assert.equal(databases.groups(ID).length, 2);
  }
});

test("cover() ends in time where the instance stays busy, because the write was taken", async (context) => {
  const { client, databases, world, asked } = await instanceOf(context, "rds", { busyLooks: 99 });
  const begun = world.now();
  const work = client.cover(ID, CONTENT, SIGNAL);
  for (let looks = 1; looks <= 4; looks += 1) {
    await until(() => asked.length === 1 + looks, "a look at the state");
    await new Promise((resolve) => setTimeout(resolve, 20));
    await world.advance(1_000);
  }
  await soon(work, "the end of the wait");
  assert.equal(world.now() - begun, 4_000);
  assert.equal(asked.length, 5);
  assert.equal(databases.groups(ID).length, 2);
});

test("cover() was carried out, although the state cannot be read", async (context) => {
  const answers = [
    () => ({}),
    () => {
      throw new AlibabaError("Forbidden.RAM", "no", { status: 403 });
    },
    () => {
      throw new AlibabaError("Throttling.User", "no");
    },
  ];
  for (const answer of answers) {
    const { client, databases } = await instanceOf(context, "rds", {
      between: (call, act, signal) =>
        call.action === "DescribeDBInstanceAttribute" ? answer() : act(call, signal),
    });
    await soon(client.cover(ID, CONTENT, SIGNAL), "the write");
    assert.equal(databases.groups(ID).length, 2);
  }
});

test("cover() ends as soon as its signal aborts, also while it waits", async (context) => {
  const { client, asked } = await instanceOf(context, "rds", { busyLooks: 99 });
  const abort = new AbortController();
  const work = client.cover(ID, CONTENT, abort.signal);
  work.catch(() => undefined);
  await until(() => asked.length === 2, "a look at the state");
  await new Promise((resolve) => setTimeout(resolve, 20));
  abort.abort();
  const error = await failure(soon(work, "the end of an aborted wait"));
  assert.equal(error.kind, "unavailable");
});

test("groups() takes no answer that is not understood whole", async (context) => {
  const row = { DBInstanceIPArrayName: "default", SecurityIPList: "127.0.0.1" };
  const rows = (...all: readonly unknown[]) => ({ Items: { DBInstanceIPArray: all } });
  const bodies = [
    {},
    { Items: null },
    { Items: {} },
    { Items: { DBInstanceIPArray: {} } },
    rows(),
    rows(null),
    rows("default"),
    rows({ ...row, SecurityIPList: undefined }),
    rows({ ...row, SecurityIPList: null }),
    rows({ ...row, SecurityIPList: ["127.0.0.1"] }),
    rows({ ...row, DBInstanceIPArrayName: 7 }),
    rows({ ...row, DBInstanceIPArrayAttribute: 7 }),
    rows({ ...row, WhitelistNetworkType: "Mars" }),
    rows(row, row),
    rows(row, { ...row, WhitelistNetworkType: "MIX" }),
  ];
  let body: unknown;
  const { url } = await serve(context, (_asked, response) => json(response, 200, body));
  const client = clientOf("rds", url);
  for (const one of bodies) {
    body = one;
    const error = await failure(client.groups(ID, SIGNAL));
    assert.equal(error.kind, "unavailable", JSON.stringify(one));
    assert.equal(error.operation, "rds:DescribeDBInstanceIPArrayList");
  }
  body = rows(
    { ...row, SecurityIPList: " 192.0.2.1 , 10.0.0.0/8,," },
    { ...row, DBInstanceIPArrayName: "x", SecurityIPList: "" },
  );
  const groups = await client.groups(ID, SIGNAL);
  assert.deepEqual(
    groups.map(({ addresses }) => addresses.join(" ")),
    ["192.0.2.1 10.0.0.0/8", ""],
  );
});

const CODES: readonly (readonly [DatabaseEngine, string, TargetErrorKind])[] = [
  ["rds", "IncorrectDBInstanceState", "busy"],
  ["rds", "IncorrectDBInstanceLockMode", "busy"],
  ["rds", "InvalidSecurityIPListLength.Malformed", "invalid"],
  ["mongodb", "InvalidSecurityIPListLength.Malformed", "invalid"],
  ["rds", "InvalidInstanceIp.Duplicate", "conflict"],
  ["mongodb", "InvalidInstanceIp.Duplicate", "full"],
  ["mongodb", "InvalidSecurityIPs.NotFound", "conflict"],
  ["rds", "InvalidSecurityIPListGroup.QuotaExceeded", "full"],
  ["redis", "InvalidSecurityIPList.QuotaExceeded", "full"],
  ["redis", "Forbbiden.MinorVersion", "invalid"],
  ["polardb", "OperationDenied.DBClusterStatus", "busy"],
  ["polardb", "InvalidDBClusterId.NotFound", "missing"],
  ["rds", "ExternalFailure", "unavailable"],
];

test("cover() gives a code the kind that its product means", async (context) => {
  for (const [engine, code, kind] of CODES) {
    const { client } = await instanceOf(context, engine, {
      between: () => {
        throw new AlibabaError(code, "canary", { status: 400, retryAfterS: 3 });
      },
    });
    const error = await failure(client.cover(ID, CONTENT, SIGNAL));
    assert.deepEqual([error.kind, error.code], [kind, code]);
    assert.equal(error.retryAfterMs, 3_000);
    assert.match(error.message, /^[a-z]+:Modify\w+ ended in .+, HTTP 400, request EMBEDDED-\d+$/);
  }
});
