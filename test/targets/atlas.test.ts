import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { type JsonAnswer, type JsonRequest, serveJson } from "../../cli/embedded/json-server.ts";
import { openAccessLists } from "../../lib/clouds/atlas.ts";
import { markerText } from "../../lib/core/marker.ts";
import type { TargetErrorKind } from "../../lib/core/report.ts";
import { type AccessRow, atlasCloud } from "../fakes/atlas.ts";
import { virtualWorld } from "../virtual-world.ts";
import { apply, observed, SIGNAL } from "./linode.ts";
import { kindNamed, makeTarget, refusal } from "./making.ts";

const PROJECT = "32b6e34b3d91647abb20e7b8";
const KIND = "atlas/access-list";
const TEXT = markerText("acme", "payments-db");
const SOON = "2026-11-27T21:00:00Z";
const ENVIRONMENT = {
  MONGODB_ATLAS_CLIENT_ID: "canary-of-the-client",
  MONGODB_ATLAS_CLIENT_SECRET: "canary-of-the-secret",
};

/** `before` may answer a request, or come in front of it. */
async function stage(
  context: TestContext,
  before: (request: JsonRequest) => JsonAnswer | undefined = () => undefined,
) {
  const clientId = ENVIRONMENT.MONGODB_ATLAS_CLIENT_ID;
  const clientSecret = ENVIRONMENT.MONGODB_ATLAS_CLIENT_SECRET;
  const cloud = atlasCloud({
    project: PROJECT,
    clientId,
    clientSecret,
    entriesMax: 200,
    pageMax: 500,
    batch: "all-or-nothing",
  });
  const requests: JsonRequest[] = [];
  const server = await serveJson((request, signal) => {
    requests.push(request);
    return before(request) ?? cloud.handle(request, signal);
  });
  context.after(() => server.close());
  const clock = virtualWorld();
  const world = { ...clock, fetch: globalThis.fetch };
  const open = (
    settings: object = {},
    env: Record<string, string> = ENVIRONMENT,
    limit?: number,
  ) => {
    const all = { project: PROJECT, endpoint: server.url, ...settings };
    return makeTarget(KIND, all, { env, limit, context: { world } });
  };
  const client = openAccessLists({ endpoint: server.url, clientId, clientSecret }, { world });
  return { cloud, requests, clock, open, client };
}

const row = (address: string, more: Partial<AccessRow> = {}): AccessRow => ({
  cidrBlock: `${address}/32`,
  ipAddress: address,
  ...more,
});

test("apply() adds in one request, and removes one entry after the other by what it is called", async (context) => {
  const { cloud, requests, open } = await stage(context);
  const target = await open();
  await apply(target, "add", ["192.0.2.2/32", "192.0.2.1/32", "10.2.0.0/16"]);
  const posts = requests.filter(({ method, path }) => method === "POST" && path[1] === "atlas");
  assert.deepEqual(
    posts.map(({ body }) => body),
    [
      [
        { cidrBlock: "10.2.0.0/16", comment: TEXT },
        { cidrBlock: "192.0.2.1/32", comment: TEXT },
        { cidrBlock: "192.0.2.2/32", comment: TEXT },
      ],
    ],
  );
  await apply(target, "remove", ["192.0.2.1/32", "10.2.0.0/16"]);
  const deleted = requests.filter(({ method }) => method === "DELETE");
  assert.deepEqual(
    deleted.map(({ path }) => path.slice(-2)),
    [
      ["accessList", "10.2.0.0/16"],
      ["accessList", "192.0.2.1/32"],
    ],
  );
  assert.deepEqual(
    cloud.rows().map(({ cidrBlock }) => cidrBlock),
    ["192.0.2.2/32"],
  );
});

test("apply() neither replaces nor removes what somebody else lists, and does no other part of the batch", async (context) => {
  const { cloud, open } = await stage(context);
  const target = await open();
  const rows = [row("192.0.2.1", { comment: "office" }), row("192.0.2.2", { comment: TEXT })];
  cloud.set(rows);
  const both = ["192.0.2.1/32", "192.0.2.2/32"];
  await refusal(
    apply(target, "add", ["192.0.2.3/32", ...both]),
    "conflict",
    /192.0.2.1\/32 is some/,
  );
  await refusal(
    apply(target, "remove", both),
    "conflict",
    /192.0.2.1\/32 is somebody else's entry/,
  );
  assert.deepEqual(cloud.rows(), rows);
});

test("an entry of ours that was given an end counts as missing, and is written again without one", async (context) => {
  const { cloud, open } = await stage(context);
  const target = await open();
  cloud.set([
    row("192.0.2.1", { comment: TEXT, deleteAfterDate: SOON }),
    row("192.0.2.2", { comment: "visitor", deleteAfterDate: SOON }),
    row("192.0.2.3", { comment: TEXT }),
  ]);
  const others = ["allow 192.0.2.2/32 visitor", `allow 192.0.2.3/32 ${TEXT}`];
  assert.deepEqual(await observed(target), others);
  await apply(target, "add", ["192.0.2.1/32"]);
  assert.deepEqual(await observed(target), [`allow 192.0.2.1/32 ${TEXT}`, ...others]);
  await refusal(apply(target, "add", ["192.0.2.2/32"]), "conflict", /somebody else's entry/);
});

test("groups of AWS are nobody's entries, and take room", async (context) => {
  const { cloud, open } = await stage(context);
  cloud.set([{ awsSecurityGroup: "sg-903004f8", comment: TEXT }, row("192.0.2.1")]);
  const target = await open({}, ENVIRONMENT, 5);
  assert.deepEqual(await observed(target), ["allow 192.0.2.1/32 null"]);
  assert.deepEqual((await target.observe(SIGNAL)).capacity, [
    { families: ["ipv4"], used: 2, limit: 5 },
  ]);
});

test("apply() takes an entry that is gone for removed", async (context) => {
  const { cloud, open } = await stage(context, ({ method }) => {
    if (method === "DELETE") cloud.set(cloud.rows().slice(1));
    return undefined;
  });
  const target = await open();
  cloud.set([row("192.0.2.1", { comment: TEXT }), row("192.0.2.2", { comment: TEXT })]);
  await apply(target, "remove", ["192.0.2.1/32", "192.0.2.9/32"]);
  assert.deepEqual(cloud.rows(), [row("192.0.2.2", { comment: TEXT })]);
});

test("tokens are shared by the targets of a world, and asked for again a minute before they end", async (context) => {
  const { cloud, clock, open } = await stage(context);
  const [one, two] = [await open(), await open()];
  await one.observe(SIGNAL);
  await two.observe(SIGNAL);
  assert.equal(cloud.tokens(), 1);
  await clock.advance(3_539_000);
  await one.observe(SIGNAL);
  assert.equal(cloud.tokens(), 1);
  await clock.advance(1_000);
  await one.observe(SIGNAL);
  assert.equal(cloud.tokens(), 2);
});

test("a token that ended early is unavailable once, and the next call gets another", async (context) => {
  const { cloud, open } = await stage(context);
  const target = await open();
  await target.observe(SIGNAL);
  cloud.endTokens();
  await refusal(target.observe(SIGNAL), "unavailable", /UNAUTHORIZED, HTTP 401; it is tried again/);
  await target.observe(SIGNAL);
  assert.equal(cloud.tokens(), 2);
});

test("a wrong secret is denied, and nothing is asked without a token", async (context) => {
  const { requests, open } = await stage(context);
  const credentials = { clientId: "env:MONGODB_ATLAS_CLIENT_ID", clientSecret: "env:OTHER" };
  const target = await open({ credentials }, { ...ENVIRONMENT, OTHER: "canary-of-another" });
  await refusal(target.observe(SIGNAL), "denied", /generate-oauth2-token ended in InvalidClient/);
  assert(requests.every(({ path }) => path.at(-1) === "token"));
  await refusal(open({}, {}), "invalid", /env:MONGODB_ATLAS_CLIENT_ID/);
});

test("a token that is not understood is unavailable, and is not used", async (context) => {
  for (const body of [{}, { access_token: "" }, { access_token: "canary" }, { access_token: 1 }]) {
    const { requests, open } = await stage(context, ({ path }) =>
      path.at(-1) === "token" ? { status: 200, body } : undefined,
    );
    await refusal((await open()).observe(SIGNAL), "unavailable", /UnreadableAnswer/);
    assert.equal(requests.length, 1);
  }
});

test("codes of Atlas get the kind that says what to do", async (context) => {
  const kinds: readonly (readonly [number, string, TargetErrorKind])[] = [
    [404, "GROUP_NOT_FOUND", "missing"],
    [403, "USER_UNAUTHORIZED", "denied"],
    [403, "IP_ADDRESS_NOT_ON_ACCESS_LIST", "denied"],
    [409, "SOMETHING_NEW", "conflict"],
    [400, "VALIDATION_ERROR", "invalid"],
    [400, "TOO_MANY_NETWORK_PERMISSION_ENTRIES", "full"],
    [400, "GROUP_ENTRIES_LIMIT_EXCEEDED", "full"],
    [400, "UNLIMITED_THINGS", "invalid"],
    [429, "RATE_LIMITED", "throttled"],
    [400, "RATE_LIMIT_EXCEEDED", "invalid"],
    [503, "LIMIT_EXCEEDED", "unavailable"],
    [500, "UNEXPECTED_ERROR", "unavailable"],
    [400, "canary of a text", "invalid"],
  ];
  for (const [status, errorCode, kind] of kinds) {
    const { open } = await stage(context, ({ method, path }) =>
      method === "GET" && path[1] === "atlas"
        ? { status, body: { error: status, errorCode, detail: "canary" } }
        : undefined,
    );
    await refusal((await open()).observe(SIGNAL), kind, /^Cannot read atlas\/access-list\//);
  }
});

test("list() gives no half of a list, and no entry without a name", async (context) => {
  const entry = { cidrBlock: "192.0.2.1/32" };
  const broken = [
    {},
    { results: [entry] },
    { results: [entry], totalCount: 2 },
    { results: null, totalCount: 0 },
    { results: [{ comment: "x" }], totalCount: 1 },
    { results: [{ cidrBlock: 1 }], totalCount: 1 },
  ];
  for (const body of broken) {
    const { client } = await stage(context, ({ method, path }) =>
      method === "GET" && path[1] === "atlas" ? { status: 200, body } : undefined,
    );
    const failed = client.list(PROJECT, SIGNAL);
    await assert.rejects(failed, { name: "CloudError", kind: "unavailable" }, JSON.stringify(body));
  }
  const { client } = await stage(context, ({ method, path }) =>
    method === "GET" && path[1] === "atlas"
      ? { status: 200, body: { results: [entry, entry], totalCount: 1 } }
      : undefined,
  );
  assert.equal((await client.list(PROJECT, SIGNAL)).length, 2);
});

test("schema takes the id of a project in the form in which it is one", () => {
  const problems = (project: unknown) =>
    kindNamed(KIND)
      .schema.safeParse({ project })
      .error?.issues.map(({ message }) => message) ?? [];
  assert.deepEqual(problems(PROJECT), []);
  assert.match(String(problems("my-project")), /^Cannot use project "my-project": write the proj/);
});
