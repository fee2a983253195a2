import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { type TestContext, test } from "node:test";
import {
  type AlibabaCall,
  AlibabaError,
  type AlibabaKey,
  startEmbeddedAlibaba,
} from "../../cli/embedded/alibaba.ts";
import { unflatten } from "../../cli/embedded/alibaba-form.ts";
import { ECS } from "../../lib/clouds/alibaba/products.ts";
import { openRpc } from "../../lib/clouds/alibaba/rpc.ts";
import { alibabaSpecs, noSpecs } from "../fakes/alibaba-specs.ts";
import { virtualWorld } from "../virtual-world.ts";
import { failure } from "./alibaba-serving.ts";

const SIGNAL = new AbortController().signal;
const KEYS: Readonly<Record<string, AlibabaKey>> = {
  LTAI1: { accessKeySecret: "secret-1" },
  "STS.2": { accessKeySecret: "secret-2", securityToken: "token-2" },
};

/** An endpoint with one action, which answers what it was called with. */
async function start(context: TestContext, keys?: Readonly<Record<string, AlibabaKey>>) {
  const calls: AlibabaCall[] = [];
  const actions = {
    Echo: (call: AlibabaCall) => {
      calls.push(call);
      return { Params: call.params };
    },
    Refuse: () => {
      throw new AlibabaError("Some.Code", "A sentence.", { status: 409, retryAfterS: 3 });
    },
    Break: () => {
      throw new TypeError("a bug");
    },
  };
  const server = await startEmbeddedAlibaba({
    products: [{ version: ECS.version, actions }],
    ...(keys === undefined ? {} : { keys }),
  });
  context.after(() => server.close());
  return { url: server.url, calls };
}

function call(
  url: string,
  given: { readonly id?: string; readonly secret?: string; readonly token?: string } = {},
) {
  const { id = "LTAI1", secret = "secret-1", token = null } = given;
  const credentials = { accessKeyId: id, accessKeySecret: secret, securityToken: token };
  const places = { region: "cn-hangzhou", endpoint: url, stsEndpoint: null, role: null };
  const rpc = openRpc({ ...places, credentials }, { world: virtualWorld(), env: {} });
  // All that has to be escaped in a signature.
  const params = { Text: "a b+c~d*e'f(g)h!i/j%k=l&m é漢", List: ["x", "y"] };
  return rpc.call({ product: ECS, action: "Echo", params }, SIGNAL);
}

test("startEmbeddedAlibaba() believes those who sign with the right keys, and no others", async (context) => {
  const { url, calls } = await start(context, KEYS);
  await call(url);
  await call(url, { id: "STS.2", secret: "secret-2", token: "token-2" });
  assert.deepEqual(
    calls.map(({ accessKeyId }) => accessKeyId),
    ["LTAI1", "STS.2"],
  );
  assert.deepEqual(calls[0]?.params, {
    Text: "a b+c~d*e'f(g)h!i/j%k=l&m é漢",
    List: ["x", "y"],
  });
  const refused = [
    [{ secret: "other" }, "SignatureDoesNotMatch"],
    [{ id: "LTAI9" }, "InvalidAccessKeyId.NotFound"],
    [{ id: "STS.2", secret: "secret-2" }, "InvalidSecurityToken.MismatchWithAccessKey"],
    [{ id: "STS.2", secret: "secret-2", token: "t" }, "InvalidSecurityToken.MismatchWithAccessKey"],
  ] as const;
  for (const [given, code] of refused) assert.equal((await failure(call(url, given))).code, code);
  assert.equal(calls.length, 2);
});

test("startEmbeddedAlibaba() believes anybody when it knows no keys", async (context) => {
  const { url, calls } = await start(context);
  await call(url, { id: "anybody", secret: "anything", token: "any" });
  assert.equal(calls.length, 1);
});

/** A request put together by hand. */
async function post(url: string, form: Readonly<Record<string, string>>) {
  const common = {
    Version: ECS.version,
    AccessKeyId: "LTAI1",
    Timestamp: new Date().toISOString().replace(/\.\d+Z$/, "Z"),
    SignatureNonce: String(Math.random()),
    Signature: "x",
  };
  const body = new URLSearchParams({ ...common, ...form });
  const answer = await fetch(url, { method: "POST", body });
  return { status: answer.status, json: (await answer.json()) as Record<string, unknown> };
}

test("startEmbeddedAlibaba() refuses what was said before, or long ago", async (context) => {
  const { url } = await start(context);
  const code = async (form: Readonly<Record<string, string>>) =>
    (await post(url, { Action: "Echo", ...form })).json.Code;
  assert.equal(await code({ SignatureNonce: "n" }), undefined);
  assert.equal(await code({ SignatureNonce: "n" }), "SignatureNonceUsed");
  assert.equal(await code({ Timestamp: "2020-01-01T00:00:00Z" }), "InvalidTimeStamp.Expired");
  assert.equal(await code({ Timestamp: "yesterday" }), "InvalidTimeStamp.Format");
});

test("startEmbeddedAlibaba() takes a GET as it takes a POST", async (context) => {
  const { url, calls } = await start(context, KEYS);
  const params = new URLSearchParams({
    AccessKeyId: "LTAI1",
    Action: "Echo",
    SignatureNonce: "n",
    Timestamp: new Date().toISOString().replace(/\.\d+Z$/, "Z"),
    Version: ECS.version,
  });
  const text = ["GET", "%2F", encodeURIComponent(params.toString())].join("&");
  params.set("Signature", createHmac("sha1", "secret-1&").update(text).digest("base64"));
  assert.equal((await fetch(`${url}/?${params}`)).status, 200);
  assert.equal(calls.length, 1);
});

test("startEmbeddedAlibaba() answers errors with code, message and request", async (context) => {
  const { url } = await start(context);
  const refused = await post(url, { Action: "Refuse" });
  assert.equal(refused.status, 409);
  assert.deepEqual([refused.json.Code, refused.json.Message], ["Some.Code", "A sentence."]);
  assert(refused.json.RequestId && refused.json.HostId);
  const cases = [
    [{ Action: "Break" }, 500, "InternalError"],
    [{ Action: "Nothing" }, 404, "InvalidAction.NotFound"],
    [{ Action: "toString" }, 404, "InvalidAction.NotFound"],
    [{ Action: "Echo", Version: "1999-01-01" }, 400, "InvalidVersion"],
    [{ Action: "" }, 400, "MissingAction"],
    [{ Action: "Echo", "A.1": "x", "A.3": "y" }, 400, "InvalidParameter"],
  ] as const;
  for (const [form, status, code] of cases) {
    const answer = await post(url, form);
    assert.deepEqual([answer.status, answer.json.Code], [status, code]);
  }
});

test("unflatten() makes lists of what is numbered from one, and refuses what contradicts itself", () => {
  const of = (text: string) => unflatten([...new URLSearchParams(text)]);
  assert.deepEqual(of("A=x&B.1=y&B.2=z"), { A: "x", B: ["y", "z"] });
  assert.deepEqual(of("P.2.C=b&P.1.C=a&P.1.D.1=d"), { P: [{ C: "a", D: ["d"] }, { C: "b" }] });
  assert.deepEqual(
    of(Array.from({ length: 12 }, (_, index) => `L.${index + 1}=${index}`).join("&")),
    { L: Array.from({ length: 12 }, (_, index) => String(index)) },
  );
  assert.equal(Object.hasOwn(of("__proto__.x=1") ?? {}, "__proto__"), true);
  for (const text of ["A=1&A=2", "A=1&A.1=2", "A.1=1&A.1.B=2", "A.1=1&A.3=2"]) {
    assert.equal(of(text), null, text);
  }
});

test("alibabaSpecs() finds wrong names, wrong types and what is missing", {
  skip: noSpecs ?? false,
}, () => {
  const check = (action: string, params: AlibabaCall["params"]) =>
    alibabaSpecs()?.check({ version: ECS.version, action, accessKeyId: "", params });
  const list = { RegionId: "cn-hangzhou", PrefixListId: "pl-1" };
  assert.deepEqual(check("ModifyPrefixList", { ...list, AddEntry: [{ Cidr: "x" }] }), []);
  const cases = [
    ["ModifyPrefixList", { RegionId: "x" }, "ModifyPrefixList.PrefixListId is missing"],
    ["ModifyPrefixList", { ...list, Entry: "x" }, "ModifyPrefixList.Entry is unknown"],
    ["ModifyPrefixList", { ...list, AddEntry: "x" }, "ModifyPrefixList.AddEntry is no RepeatList"],
    [
      "ModifyPrefixList",
      { ...list, RemoveEntry: [{ Description: "x" }] },
      "ModifyPrefixList.RemoveEntry.1.Cidr is missing",
    ],
    ["RemoveTheWorld", {}, "2014-05-26 RemoveTheWorld is not described"],
  ] as const;
  for (const [action, params, problem] of cases) {
    assert(check(action, params)?.includes(problem), `${check(action, params)}`);
  }
  const group = { RegionId: "cn-hangzhou", SecurityGroupId: "sg-1", MaxResults: "many" };
  assert.deepEqual(check("DescribeSecurityGroupAttribute", group), [
    "DescribeSecurityGroupAttribute.MaxResults is no Integer",
  ]);
});
