import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { ECS } from "../../lib/clouds/alibaba/products.ts";
import {
  type AlibabaConnection,
  type AlibabaContext,
  CALL_MS_MAX,
  openRpc,
} from "../../lib/clouds/alibaba/rpc.ts";
import type { TargetError } from "../../lib/targets/target.ts";
import { soon, until } from "../fakes/soon.ts";
import { type VirtualWorld, virtualWorld } from "../virtual-world.ts";
import { ENVIRONMENT, failure, json, serve } from "./alibaba-serving.ts";
import { kindNamed, makeTarget } from "./making.ts";

const SIGNAL = new AbortController().signal;
const ROLE = { arn: "acs:ram::1234567890123456:role/allowlist", externalId: "acme-1" };

/** STS that hands out new keys each time, and ECS beside it that keeps who called. */
async function startAccount(
  context: TestContext,
  options: { readonly world: VirtualWorld; readonly lasts?: number },
) {
  const refuse: { sts: string | null; ecs: string | null; hang: boolean } = {
    sts: null,
    ecs: null,
    hang: false,
  };
  const sts = await serve(context, (_asked, response) => {
    if (refuse.hang) return;
    if (refuse.sts !== null) {
      json(response, 403, { Code: refuse.sts, Message: "canary" });
      return;
    }
    const until = new Date(options.world.now() + (options.lasts ?? 3_600_000)).toISOString();
    json(response, 200, {
      RequestId: "1",
      AssumedRoleUser: { Arn: "acs:ram::1234567890123456:role/allowlist/kube-allowlist" },
      Credentials: {
        AccessKeyId: `STS.${sts.asked.length}`,
        AccessKeySecret: "canary-assumed",
        SecurityToken: `canary-session-${sts.asked.length}`,
        Expiration: until.replace(/\.\d+Z$/, "Z"),
      },
    });
  });
  const ecs = await serve(context, (_asked, response) =>
    refuse.ecs === null ? json(response, 200, {}) : json(response, 400, { Code: refuse.ecs }),
  );
  const call = (
    role: AlibabaConnection["role"] = ROLE,
    given: Partial<AlibabaConnection & AlibabaContext> = {},
  ) => {
    const { credentials = null, env = ENVIRONMENT } = given;
    const places = { region: "cn-hangzhou", endpoint: ecs.url, stsEndpoint: sts.url };
    const rpc = openRpc({ ...places, credentials, role }, { world: options.world, env });
    return rpc.call({ product: ECS, action: "DoX", params: {} }, SIGNAL);
  };
  const callers = () => ecs.asked.map(({ form }) => form.get("AccessKeyId"));
  return { sts, ecs, refuse, call, callers };
}

test("a role is assumed once for all targets of a World, with its external id, and again before it ends", async (context) => {
  const world = virtualWorld();
  const { sts, ecs, call, callers } = await startAccount(context, { world });
  await call();
  await call();
  await world.advance(54 * 60_000);
  await call();
  const [assumed] = sts.asked;
  const given = (name: string) => assumed?.form.get(name);
  assert.equal(sts.asked.length, 1);
  assert.deepEqual([given("Action"), given("Version")], ["AssumeRole", "2015-04-01"]);
  assert.deepEqual([given("RoleArn"), given("ExternalId")], [ROLE.arn, ROLE.externalId]);
  assert.deepEqual(
    [given("RoleSessionName"), given("DurationSeconds")],
    ["kube-allowlist", "3600"],
  );
  assert.equal(given("AccessKeyId"), ENVIRONMENT.ALIBABA_CLOUD_ACCESS_KEY_ID);
  assert.equal(given("SecurityToken"), ENVIRONMENT.ALIBABA_CLOUD_SECURITY_TOKEN);
  assert.equal(ecs.asked[0]?.form.get("SecurityToken"), "canary-session-1");
  await world.advance(60_000);
  await call();
  assert.deepEqual(callers(), ["STS.1", "STS.1", "STS.1", "STS.2"]);
  await call({ arn: `${ROLE.arn}-2` });
  assert.equal(sts.asked[2]?.form.get("ExternalId"), null);
  assert.equal(callers().at(-1), "STS.3");
});

test("a role's sessions bear the name of the function, whose platform it is of", async (context) => {
  for (const [variable, name] of [
    ["FC_FUNCTION_NAME", "kube-allowlist-acme-webhook"],
    ["AWS_LAMBDA_FUNCTION_NAME", "kube-allowlist-acme-resync"],
  ] as const) {
    const { sts, call } = await startAccount(context, { world: virtualWorld() });
    await call(ROLE, { env: { ...ENVIRONMENT, [variable]: name } });
    assert.equal(sts.asked[0]?.form.get("RoleSessionName"), name);
  }
});

test("a role's session that Alibaba Cloud ends early is believed", async (context) => {
  const world = virtualWorld();
  const { sts, call } = await startAccount(context, { world, lasts: 900_000 });
  await call();
  await world.advance(601_000);
  await call();
  assert.equal(sts.asked.length, 2);
});

test("a role is assumed anew after its session was refused, and only then", async (context) => {
  const world = virtualWorld();
  const { refuse, call, callers } = await startAccount(context, { world });
  await call();
  const ended = ["InvalidSecurityToken.Expired", "InvalidAccessKeyId.NotFound"];
  for (const code of [...ended, "Forbidden.RAM", "Throttling.User"]) {
    refuse.ecs = code;
    await failure(call());
    refuse.ecs = null;
    await call();
  }
  const numbers = callers().map((id) => Number(id?.replace("STS.", "")));
  assert.deepEqual(numbers, [1, 1, 2, 2, 3, 3, 3, 3, 3]);
});

test("a role is assumed anew once the keys that assumed it were changed", async (context) => {
  const world = virtualWorld();
  const { sts, call, callers } = await startAccount(context, { world });
  await call();
  await call(ROLE, { env: { ...ENVIRONMENT, ALIBABA_CLOUD_ACCESS_KEY_ID: "LTAI2" } });
  const credentials = { accessKeyId: "LTAI3", accessKeySecret: "x", securityToken: null };
  await call(ROLE, { credentials });
  assert.deepEqual(
    sts.asked.map(({ form }) => form.get("AccessKeyId")),
    [ENVIRONMENT.ALIBABA_CLOUD_ACCESS_KEY_ID, "LTAI2", "LTAI3"],
  );
  assert.deepEqual(callers(), ["STS.1", "STS.2", "STS.3"]);
});

test("a role that may not be assumed is denied, and says by which operation", async (context) => {
  const world = virtualWorld();
  const { refuse, call, callers } = await startAccount(context, { world });
  for (const code of ["NoPermission", "EntityNotExist.Role"]) {
    refuse.sts = code;
    const error = await failure(call());
    assert.deepEqual([error.kind, error.code, error.operation], ["denied", code, "sts:AssumeRole"]);
  }
  refuse.sts = "Throttling.User";
  assert.equal((await failure(call())).kind, "throttled");
  assert.deepEqual(callers(), []);
});

test("an answer of STS without all of the keys is no session", async (context) => {
  const whole = {
    AccessKeyId: "STS.1",
    AccessKeySecret: "x",
    SecurityToken: "y",
    Expiration: "2099-01-01T00:00:00Z",
  };
  for (const name of Object.keys(whole)) {
    const { url } = await serve(context, (_asked, response) =>
      json(response, 200, { Credentials: { ...whole, [name]: "" } }),
    );
    const connection = { region: "cn-hangzhou", endpoint: url, stsEndpoint: url, role: ROLE };
    const rpc = openRpc(
      { ...connection, credentials: null },
      { world: virtualWorld(), env: ENVIRONMENT },
    );
    const error = await failure(rpc.call({ product: ECS, action: "DoX", params: {} }, SIGNAL));
    assert.deepEqual([error.kind, error.operation], ["unavailable", "sts:AssumeRole"], name);
  }
});

test("assuming a role is part of the call's time", async (context) => {
  const world = virtualWorld();
  const { sts, ecs, refuse, call } = await startAccount(context, { world });
  refuse.hang = true;
  const failed = failure(call());
  await until(() => sts.asked.length > 0, "the call");
  await world.advance(CALL_MS_MAX);
  const error = await soon(failed, "the end of a call whose time is over");
  assert.deepEqual([error.kind, error.code, ecs.asked.length], ["unavailable", "TimeoutError", 0]);
});

/** The sentences that settings of a security group are refused with. */
function refusals(settings: Readonly<Record<string, unknown>>): readonly string[] {
  const permission = { protocol: "tcp", port: 5432 };
  const whole = { region: "cn-hangzhou", id: "sg-1", permission, ...settings };
  const { error } = kindNamed("alibaba/security-group").schema.safeParse(whole);
  return error?.issues.map(({ message }) => message) ?? [];
}

test("settings that cannot be right are refused with a sentence", () => {
  const key = { accessKeyId: "env:A", accessKeySecret: "file:/b" };
  const fine = [
    { role: ROLE.arn },
    { role: ROLE },
    { credentials: key },
    { priority: 1 },
    { priority: 100 },
    { region: "cn-shanghai-finance-1" },
  ];
  for (const settings of fine) assert.deepEqual(refusals(settings), [], JSON.stringify(settings));
  const wrong: readonly (readonly [Readonly<Record<string, unknown>>, RegExp])[] = [
    [{ region: "Hangzhou" }, /^Cannot use region "Hangzhou": write it like "cn-hangzhou"$/],
    [{ id: "pl-1" }, /^Cannot use id "pl-1"/],
    [{ priority: 0 }, /^Cannot use priority 0: write 1, the strongest, to 100$/],
    [{ priority: 1.5 }, /^Cannot use priority 1.5/],
    [{ permission: { protocol: "tcp", port: 0 } }, /^Cannot use port 0: .* begin at 1$/],
    [{ role: "arn:aws:iam::123456789012:role/x" }, /^Cannot use role/],
    [{ role: "acs:ram::123:role/x" }, /^Cannot use role/],
    [{ role: { arn: ROLE.arn, externalId: "x" } }, /^Cannot use (externalId|role)/],
    [{ credentials: { ...key, accessKeySecret: "written-here" } }, /^Cannot use a value written/],
    [{ credentials: "env:A" }, /^Cannot use credentials: write \{ accessKeyId, accessKeySecret \}/],
    [{ endpoint: "http://user:canary@x" }, /^Cannot use endpoint: (?!.*canary)/],
  ];
  for (const [settings, pattern] of wrong) {
    const messages = refusals(settings);
    assert.equal(messages.length, 1, `${JSON.stringify(settings)}: ${messages}`);
    assert.match(messages[0] ?? "", pattern);
  }
});

test("a target takes its keys, and the place where roles are assumed, from where its settings say", async (context) => {
  const { sts, ecs } = await startAccount(context, { world: virtualWorld() });
  const settings = {
    region: "cn-hangzhou",
    id: "sg-1",
    permission: { protocol: "tcp", port: 5432 },
    endpoint: ecs.url,
    role: ROLE.arn,
    credentials: { accessKeyId: "env:OWN_ID", accessKeySecret: "env:OWN_SECRET" },
  };
  const env = {
    OWN_ID: "LTAIOWN",
    OWN_SECRET: "canary-own",
    ALIBABA_CLOUD_STS_ENDPOINT: sts.url,
  };
  const target = await makeTarget("alibaba/security-group", settings, { env });
  await assert.rejects(target.observe(SIGNAL), { kind: "unavailable" });
  assert.equal(sts.asked[0]?.form.get("AccessKeyId"), "LTAIOWN");
  assert.equal(ecs.asked[0]?.form.get("AccessKeyId"), "STS.1");
  const without = { env: { ...env, OWN_SECRET: "" } };
  await assert.rejects(
    makeTarget("alibaba/security-group", settings, without),
    ({ kind, message }: TargetError) => kind === "invalid" && message.includes("OWN_SECRET"),
  );
  const wrong = { env: { ...env, ALIBABA_CLOUD_STS_ENDPOINT: "http://user:canary@x" } };
  await assert.rejects(
    makeTarget("alibaba/security-group", settings, wrong),
    ({ kind, message }: TargetError) => kind === "invalid" && !message.includes("canary"),
  );
});

test("the place where roles are assumed may be a host alone, as Alibaba Cloud's own tools write it", async () => {
  const settings = { region: "cn-hangzhou", id: "pl-1", role: ROLE.arn };
  const env = { ...ENVIRONMENT, ALIBABA_CLOUD_STS_ENDPOINT: "sts.invalid" };
  const target = await makeTarget("alibaba/prefix-list", settings, { env });
  await assert.rejects(target.observe(SIGNAL), {
    kind: "unavailable",
    message: /sts:AssumeRole/,
  });
});

test("a target without any keys says which to set", async () => {
  const settings = { region: "cn-hangzhou", id: "pl-1" };
  const target = await makeTarget("alibaba/prefix-list", settings, { env: {} });
  await assert.rejects(
    target.observe(SIGNAL),
    ({ kind, message }: TargetError) =>
      kind === "unavailable" && message.includes("ALIBABA_CLOUD_ACCESS_KEY_ID"),
  );
});
