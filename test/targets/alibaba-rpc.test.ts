import assert from "node:assert/strict";
import http from "node:http";
import { test } from "node:test";
import fc from "fast-check";
import { alibabaErrorOf } from "../../lib/clouds/alibaba/errors.ts";
import {
  ALB,
  DDS,
  ECS,
  POLARDB,
  R_KVSTORE,
  RDS,
  SLB,
  STS,
  VPC,
} from "../../lib/clouds/alibaba/products.ts";
import {
  type AlibabaConnection,
  type AlibabaContext,
  CALL_MS_MAX,
  openRpc,
  type Params,
} from "../../lib/clouds/alibaba/rpc.ts";
import { soon, until } from "../fakes/soon.ts";
import { virtualWorld } from "../virtual-world.ts";
import { ENVIRONMENT, failure, json, serve } from "./alibaba-serving.ts";

const SIGNAL = new AbortController().signal;

function open(connection: Partial<AlibabaConnection>, context: Partial<AlibabaContext> = {}) {
  const given = { endpoint: null, stsEndpoint: null, credentials: null, role: null };
  return openRpc(
    { region: "cn-hangzhou", ...given, ...connection },
    { world: virtualWorld(), env: ENVIRONMENT, ...context },
  );
}

function describe(endpoint: string, context: Partial<AlibabaContext> = {}, signal = SIGNAL) {
  const request = { product: ECS, action: "DescribeX", params: { RegionId: "cn-hangzhou" } };
  return open({ endpoint }, context).call(request, signal);
}

/** What arrives of these parameters, in the order of their names. */
async function sent(endpoint: string, params: Params, asked: readonly { form: URLSearchParams }[]) {
  await open({ endpoint }).call({ product: ECS, action: "DoX", params }, SIGNAL);
  const own = [...(asked.at(-1)?.form ?? [])].filter(
    ([name]) =>
      !/^(Action|Version|Format|Timestamp|AccessKeyId|SecurityToken|Signature)/.test(name),
  );
  return own.map(([name, value]) => `${name}=${value}`).toSorted();
}

test("call() posts a form, and puts nothing into the address", async (context) => {
  const { url, asked } = await serve(context, (_asked, response) => json(response, 200, {}));
  await describe(url);
  const [one] = asked;
  assert.deepEqual([one?.request.method, one?.request.url], ["POST", "/"]);
  assert.equal(one?.form.get("Action"), "DescribeX");
  assert.equal(one?.form.get("Version"), "2014-05-26");
  assert.equal(one?.form.get("SecurityToken"), ENVIRONMENT.ALIBABA_CLOUD_SECURITY_TOKEN);
});

test("call() signs every attempt anew, with a nonce of its own", async (context) => {
  const { url, asked } = await serve(context, (_asked, response) => json(response, 200, {}));
  for (let attempt = 0; attempt < 3; attempt += 1) await describe(url);
  const nonces = new Set(asked.map(({ form }) => form.get("SignatureNonce")));
  const signatures = new Set(asked.map(({ form }) => form.get("Signature")));
  assert.deepEqual([nonces.size, signatures.size], [3, 3]);
});

test("call() numbers lists, leaves out what is undefined and sends texts, numbers and booleans", async (context) => {
  const { url, asked } = await serve(context, (_asked, response) => json(response, 200, {}));
  const params = {
    RegionId: "cn-hangzhou",
    MaxResults: 1_000,
    DryRun: false,
    NextToken: undefined,
    SecurityGroupRuleId: ["sgr-1", "sgr-2"],
    Permissions: [
      { SourceCidrIp: "192.0.2.1/32", Description: "a b+c&d=é", Ipv6SourceCidrIp: undefined },
      { SourceCidrIp: "192.0.2.2/32", Value: ["x", "y"] },
    ],
  };
  assert.deepEqual(await sent(url, params, asked), [
    "DryRun=false",
    "MaxResults=1000",
    "Permissions.1.Description=a b+c&d=é",
    "Permissions.1.SourceCidrIp=192.0.2.1/32",
    "Permissions.2.SourceCidrIp=192.0.2.2/32",
    "Permissions.2.Value.1=x",
    "Permissions.2.Value.2=y",
    "RegionId=cn-hangzhou",
    "SecurityGroupRuleId.1=sgr-1",
    "SecurityGroupRuleId.2=sgr-2",
  ]);
});

test("call() refuses parameters that the SDK would spoil in silence, before anything is sent", async (context) => {
  const { url, asked } = await serve(context, (_asked, response) => json(response, 200, {}));
  const spoilt: readonly Record<string, unknown>[] = [
    { RegionId: null },
    { RegionId: { Id: "x" } },
    { RegionId: Number.NaN },
    { RegionId: 1.5 },
    { RegionId: 12n },
    { regionId: "cn-hangzhou" },
    { "Permissions.1.Policy": "accept" },
    { Ids: [] },
    { Ids: [undefined] },
    { Ids: [null] },
    { Ids: [["a"]] },
    { Permissions: [{}] },
    { Permissions: [{ policy: "accept" }] },
    { Permissions: [{ Policy: null }] },
    { Permissions: [{ Policy: { Name: "x" } }] },
    { Permissions: [{ Ids: [] }] },
    { Action: "DeleteX" },
    { Version: "2" },
    { Timestamp: "2026-01-01T00:00:00Z" },
    { SignatureNonce: "1" },
    { SecurityToken: "x" },
  ];
  for (const params of spoilt) {
    const request = { product: ECS, action: "DoX", params: params as Params };
    const name = Object.keys(params)[0];
    const work = open({ endpoint: url }).call(request, SIGNAL);
    await assert.rejects(work, { name: "AssertionError" }, name);
  }
  assert.equal(asked.length, 0);
});

test("call() takes no answer for a success but one whose status says so", async (context) => {
  const answers: readonly (readonly [number, string, string])[] = [
    [500, "{}", "unavailable"],
    [500, '{"Code":"OK"}', "unavailable"],
    [502, '{"RequestId":"1","Permissions":{"Permission":[]}}', "unavailable"],
    [403, '{"RequestId":"1"}', "denied"],
    [404, '{"RequestId":"1"}', "invalid"],
    [429, "{}", "throttled"],
    [302, "{}", "unavailable"],
    [200, "<html><body>canary: please log in</body></html>", "unavailable"],
    [503, "<html><body>canary: bad gateway</body></html>", "unavailable"],
    [200, "", "unavailable"],
    [200, "null", "unavailable"],
    [200, "[]", "unavailable"],
    [200, '"canary"', "unavailable"],
    [200, '{"RequestId":"1"', "unavailable"],
  ];
  for (const [status, body, kind] of answers) {
    const { url } = await serve(context, (_asked, response) =>
      response.writeHead(status, { "content-type": "text/html" }).end(body),
    );
    const error = await failure(describe(url));
    assert.equal(error.kind, kind, `${status} ${body}: ${error.message}`);
  }
});

test("call() takes the codes of a success for one", async (context) => {
  for (const code of [200, "200", "OK", "Success", "success", "", undefined]) {
    const { url } = await serve(context, (_asked, response) =>
      json(response, 200, { RequestId: "1", Code: code }),
    );
    assert.equal((await describe(url)).RequestId, "1", String(code));
  }
});

test("call() gives plain objects and numbers, however large they are", async (context) => {
  const { url } = await serve(context, (_asked, response) =>
    response.end(
      '{"Small":7,"Large":1234567890123456,"Huge":123456789012345678901234567890,' +
        '"Items":[{"Id":9007199254740993,"Text":"1234567890123456789"}],"Nothing":null,"Half":0.5}',
    ),
  );
  const answer = await describe(url);
  assert.deepEqual(answer, {
    Small: 7,
    Large: 1_234_567_890_123_456,
    Huge: "123456789012345678901234567890",
    Items: [{ Id: "9007199254740993", Text: "1234567890123456789" }],
    Nothing: null,
    Half: 0.5,
  });
  assert(Object.hasOwn(answer, "Small") && answer.toString() === "[object Object]");
  assert.equal(Object.getPrototypeOf((answer.Items as object[])[0]), Object.prototype);
});

test("a failure names operation, code, status and request, and repeats neither text nor address", async (context) => {
  const { url } = await serve(context, ({ form }, response) =>
    json(response.setHeader("retry-after", "7"), 400, {
      RequestId: "0D5C-1",
      HostId: "canary.example",
      Code: "Throttling.User",
      Message: `canary: the string to sign is ${form}`,
      Recommend: "https://canary.example",
    }),
  );
  const error = await failure(describe(url));
  assert.equal(error.message, "ecs:DescribeX ended in Throttling.User, HTTP 400, request 0D5C-1");
  assert.deepEqual([error.kind, error.retryAfterMs], ["throttled", 7_000]);
});

test("each call is one request, whatever it ends in", async (context) => {
  const answers = [
    { status: 400, body: { Code: "Throttling.User" } },
    { status: 503, body: { Code: "ServiceUnavailable" } },
    { status: 500, body: {} },
  ];
  for (const { status, body } of answers) {
    const { url, asked } = await serve(context, (_asked, response) => json(response, status, body));
    await failure(describe(url));
    assert.equal(asked.length, 1);
  }
});

test("a name that does not resolve and a port where nobody listens are unavailable", async () => {
  for (const endpoint of ["http://ecs.invalid", "http://127.0.0.1:1", "https://127.0.0.1:1"]) {
    const error = await failure(describe(endpoint));
    assert.equal(error.kind, "unavailable", endpoint);
    assert.match(error.code, /^E[A-Z_]+$/);
  }
});

test("a connection that is cut is unavailable", async (context) => {
  const { url } = await serve(context, ({ request }) => request.socket.destroy());
  assert.equal((await failure(describe(url))).kind, "unavailable");
});

test("call() keeps no connection for the next call", async (context) => {
  const { url, server } = await serve(context, (_asked, response) => json(response, 200, {}));
  let connections = 0;
  server.on("connection", () => {
    connections += 1;
  });
  await describe(url);
  await describe(url);
  assert.equal(connections, 2);
  await until(() => openConnections(server) === 0, "the end of all connections");
});

/** How many connections a server has right now. */
function openConnections(server: http.Server): number {
  let count = -1;
  // Answers at once for a server of this process.
  server.getConnections((_error, found) => {
    count = found;
  });
  return count === -1 ? (Reflect.get(server, "_connections") as number) : count;
}

/** Runs until the call has reached the server, then lets its time pass on the world's clock. */
async function outlasting(
  world: ReturnType<typeof virtualWorld>,
  options: { readonly reached: () => boolean; readonly timeoutMs: number },
  work: Promise<unknown>,
) {
  const failed = failure(work);
  await until(options.reached, "the call");
  let over = false;
  void failed.then(() => {
    over = true;
  });
  await world.advance(options.timeoutMs - 1);
  for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  assert(!over, "it ended before its time");
  await world.advance(1);
  return soon(failed, "the end of a call whose time is over");
}

const HANGS = {
  "before an answer": () => undefined,
  "in the middle of an answer": (response: http.ServerResponse) => {
    response.writeHead(200).write('{"Permissions":{"Permission":[');
  },
};

for (const [where, hang] of Object.entries(HANGS)) {
  test(`call() ends by itself when its time is over, ${where}, and leaves nothing open`, async (context) => {
    const { url, asked, server } = await serve(context, (_asked, response) => hang(response));
    const world = virtualWorld();
    const reached = () => asked.length > 0;
    const options = { reached, timeoutMs: CALL_MS_MAX };
    const error = await outlasting(world, options, describe(url, { world }));
    assert.deepEqual([error.kind, error.code], ["unavailable", "TimeoutError"]);
    await until(() => openConnections(server) === 0, "the end of the connection");
  });

  test(`call() ends as soon as its signal aborts, ${where}, and leaves nothing open`, async (context) => {
    const { url, asked, server } = await serve(context, (_asked, response) => hang(response));
    const abort = new AbortController();
    const failed = failure(describe(url, {}, abort.signal));
    await until(() => asked.length > 0, "the call");
    await new Promise((resolve) => setTimeout(resolve, 20));
    const began = performance.now();
    abort.abort();
    const error = await soon(failed, "the end of an aborted call");
    assert.deepEqual([error.kind, performance.now() - began < 500], ["unavailable", true]);
    // In the middle of an answer all that is left of the abort is a connection that was cut.
    assert.equal(error.code, where === "before an answer" ? "AbortError" : "ECONNRESET");
    await until(() => openConnections(server) === 0, "the end of the connection");
  });
}

test("call() takes as long as it is told, and no longer", async (context) => {
  const { url, asked } = await serve(context, () => undefined);
  const world = virtualWorld();
  const request = { product: RDS, action: "DoX", params: {}, timeoutMs: 1_234 };
  const work = open({ endpoint: url }, { world }).call(request, SIGNAL);
  const options = { reached: () => asked.length > 0, timeoutMs: 1_234 };
  const error = await outlasting(world, options, work);
  assert.equal(error.message, "rds:DoX ended in TimeoutError");
});

test("the SDK's own three seconds, for an answer and for a silent socket, do not end a call", async (context) => {
  const answers: (() => void)[] = [];
  const { url } = await serve(context, (_asked, response) => {
    answers.push(() => json(response, 200, { RequestId: "late" }));
  });
  const request = context.mock.method(http, "request");
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const work = describe(url);
  while (answers.length === 0) await new Promise((resolve) => setImmediate(resolve));
  context.mock.timers.tick(CALL_MS_MAX - 1);
  answers[0]?.();
  assert.equal((await work).RequestId, "late");
  // Of a socket Node keeps the time by itself.
  const [options] = request.mock.calls[0]?.arguments ?? [];
  assert(Number((options as unknown as { timeout: number }).timeout) > CALL_MS_MAX);
});

test("a call whose signal has aborted is not made", async (context) => {
  const { url, server } = await serve(context, (_asked, response) => json(response, 200, {}));
  let connections = 0;
  server.on("connection", () => {
    connections += 1;
  });
  const error = await failure(describe(url, {}, AbortSignal.abort()));
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual([error.kind, error.code, connections], ["unavailable", "AbortError", 0]);
});

test("the environment's keys are read at every call, and a token goes when it is gone", async (context) => {
  const { url, asked } = await serve(context, (_asked, response) => json(response, 200, {}));
  const env: Record<string, string | undefined> = { ...ENVIRONMENT };
  const rpc = open({ endpoint: url }, { env });
  const request = { product: ECS, action: "DoX", params: {} };
  await rpc.call(request, SIGNAL);
  env.ALIBABA_CLOUD_ACCESS_KEY_ID = "LTAI2";
  env.ALIBABA_CLOUD_SECURITY_TOKEN = "";
  await rpc.call(request, SIGNAL);
  assert.deepEqual(
    asked.map(({ form }) => [form.get("AccessKeyId"), form.get("SecurityToken")]),
    [
      [ENVIRONMENT.ALIBABA_CLOUD_ACCESS_KEY_ID, ENVIRONMENT.ALIBABA_CLOUD_SECURITY_TOKEN],
      ["LTAI2", null],
    ],
  );
});

test("without any keys nothing is sent, unsigned least of all", async (context) => {
  const { url, asked } = await serve(context, (_asked, response) => json(response, 200, {}));
  for (const env of [{}, { ALIBABA_CLOUD_ACCESS_KEY_ID: "LTAI1" }]) {
    const error = await failure(describe(url, { env }));
    assert.deepEqual([error.kind, error.code], ["unavailable", "MissingCredentials"]);
  }
  assert.equal(asked.length, 0);
});

test("a target's own keys come before the environment's", async (context) => {
  const { url, asked } = await serve(context, (_asked, response) => json(response, 200, {}));
  const credentials = { accessKeyId: "LTAIOWN", accessKeySecret: "x", securityToken: null };
  const request = { product: ECS, action: "DoX", params: {} };
  await open({ endpoint: url, credentials }).call(request, SIGNAL);
  const [one] = asked;
  assert.deepEqual(
    [one?.form.get("AccessKeyId"), one?.form.get("SecurityToken")],
    ["LTAIOWN", null],
  );
});

test("every product has the endpoint of the region", () => {
  const products = [ALB, DDS, ECS, POLARDB, R_KVSTORE, RDS, SLB, STS, VPC];
  assert.deepEqual(
    products.map((product) => product.endpoint("cn-beijing")),
    ["alb", "mongodb", "ecs", "polardb", "r-kvstore", "rds", "slb", "sts", "vpc"].map(
      (host) => `https://${host}.cn-beijing.aliyuncs.com`,
    ),
  );
});

const answered = (code: string, statusCode = 400) => ({
  name: `${code}Error`,
  code,
  data: { Code: code },
  entry: { response: { statusCode } },
});

const EXPECTED: Readonly<Record<string, readonly unknown[]>> = {
  throttled: [
    answered("Throttling"),
    answered("Throttling.User"),
    answered("Throttling.Api"),
    answered("Throttling.DeepPageSkip"),
    answered("Rejected.Throttling"),
    answered("SomethingNew", 429),
  ],
  conflict: [
    answered("InvalidParam.SecurityGroupRuleId"),
    answered("InvalidSecurityGroupRuleId.NotFound", 404),
    answered("SecurityGroupRule.NotFound", 404),
    answered("InvalidSecurityGroupRule.RuleNotExist"),
    answered("InvalidOperation.RuleDuplicate"),
    answered("InvalidInstanceIp.Duplicate"),
    answered("InvalidSecurityIPs.NotFound", 404),
    answered("AclEntryEmpty"),
    answered("ResourceNotFound.AclEntry", 404),
  ],
  busy: [
    answered("TaskConflict"),
    answered("IncorrectDBInstanceState", 403),
    answered("OperationDenied.DBInstanceStatus", 403),
    answered("OperationDenied.DBClusterStatus", 403),
    answered("IncorrectStatus.Acl", 409),
    answered("AclEntryProcessing"),
    answered("LastTokenProcessing"),
  ],
  full: [
    answered("AuthorizationLimitExceed", 403),
    answered("LimitExceed.MaxEntries"),
    answered("InvalidSecurityIPListGroup.QuotaExceeded"),
  ],
  missing: [
    answered("InvalidSecurityGroupId.NotFound", 404),
    answered("InvalidSecurityGroupId.NotFound", 400),
    answered("InvalidPrefixListId.NotFound", 404),
    answered("InvalidDBInstanceId.NotFound", 404),
  ],
  denied: [
    answered("Forbidden.RAM", 403),
    answered("Forbidden.RAM", 404),
    answered("NoPermission", 403),
    answered("SignatureDoesNotMatch"),
    answered("InvalidAccessKeyId.NotFound", 404),
    answered("InvalidOperation.ResourceManagedByCloudProduct", 403),
    answered("EntityNotExist.Role", 404),
    answered("SomethingNew", 403),
  ],
  unavailable: [
    answered("InternalError", 500),
    answered("ServiceUnavailable", 503),
    answered("SomethingNew", 502),
    answered("InvalidSecurityToken.Expired"),
    answered("InvalidTimeStamp.Expired"),
    answered("SignatureNonceUsed"),
    answered("constructor", 500),
    { name: "RequestTimeoutError" },
    { name: "SyntaxError", text: "canary" },
    Object.assign(new Error("read"), { code: "ECONNRESET" }),
    new TypeError("x"),
    "text",
    null,
    undefined,
  ],
  invalid: [
    answered("InvalidParameter"),
    answered("InvalidParameter.CidrMalformed"),
    answered("InvalidParameter.CidrDuplicated"),
    answered("InvalidParam.SourceIp"),
    answered("InvalidSecurityGroupDiscription.Malformed"),
    answered("SomethingNew"),
    answered("__proto__"),
  ],
};

test("alibabaErrorOf() gives every code the kind that says what to do", () => {
  for (const [kind, errors] of Object.entries(EXPECTED)) {
    for (const error of errors) {
      const { kind: found, code } = alibabaErrorOf(error, { operation: "ecs:X", now: 0 });
      assert.equal(found, kind, code);
    }
  }
});

test("alibabaErrorOf() is safe with whatever is thrown", () => {
  fc.assert(
    fc.property(fc.anything(), fc.anything(), (thrown, entry) => {
      for (const error of [thrown, { code: "X", entry, data: entry }]) {
        const { message, retryAfterMs } = alibabaErrorOf(error, { operation: "ecs:X", now: 0 });
        assert.match(
          message,
          /^ecs:X ended in [A-Za-z][\w.-]*(, HTTP -?[\d.e+]+)?(, request .+)?$/,
        );
        assert(retryAfterMs === null || (retryAfterMs >= 0 && retryAfterMs <= 300_000));
      }
    }),
    { numRuns: 500 },
  );
});
