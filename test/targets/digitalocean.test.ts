import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { type JsonAnswer, type JsonRequest, serveJson } from "../../cli/embedded/json-server.ts";
import { markerOf, markerText } from "../../lib/core/marker.ts";
import { digitalOceanCloud, type TrustedSourceRow } from "../fakes/digitalocean.ts";
import { virtualWorld } from "../virtual-world.ts";
import { apply, cidrs, observed, SIGNAL } from "./linode.ts";
import { makeTarget, refusal, settingsProblems } from "./making.ts";

const ID = "9cc10173-e9ea-4176-9dbc-a4cee4c4ff30";
const TOKEN = "canary-of-the-token";
const TEXT = markerText("acme", "payments-db");
const KIND = "digitalocean/database";
const ADDRESS = { type: "ip_addr", value: "203.0.113.7", description: "office" };

/** `before` may answer a request, or come in front of it. */
async function stage(
  context: TestContext,
  before: (request: JsonRequest) => JsonAnswer | undefined = () => undefined,
) {
  const cloud = digitalOceanCloud([ID], TOKEN);
  const requests: JsonRequest[] = [];
  const server = await serveJson((request, signal) => {
    requests.push(request);
    return before(request) ?? cloud.handle(request, signal);
  });
  context.after(() => server.close());
  const world = { ...virtualWorld(), fetch: globalThis.fetch };
  const open = (settings: object = {}, env = { DIGITALOCEAN_TOKEN: TOKEN }) =>
    makeTarget(KIND, { id: ID, endpoint: server.url, ...settings }, { env, context: { world } });
  return { cloud, requests, open };
}

test(
  "apply() gives every other source back to the byte, its id and members that nobody knows " +
    "included",
  async (context) => {
    const others: readonly TrustedSourceRow[] = [
      { value: "backend", type: "tag", later: { a: [1, null] }, uuid: "x", description: null },
      { uuid: "y", type: "ip_addr", value: "2001:DB8::1", created_at: "2026-01-01T00:00:00Z" },
    ];
    let sent: { readonly rules: readonly object[] } = { rules: [] };
    const { open } = await stage(context, ({ method, body }) => {
      if (method === "GET") {
        return { status: 200, body: { rules: sent.rules.length > 0 ? sent.rules : others } };
      }
      sent = body as typeof sent;
      return { status: 204 };
    });
    const target = await open();
    await apply(target, "add", ["192.0.2.1/32", "10.2.0.0/16"]);
    assert.equal(JSON.stringify(sent.rules.slice(0, 2)), JSON.stringify(others));
    // A host as people write it.
    assert.deepEqual(sent.rules.slice(2), [
      { type: "ip_addr", value: "10.2.0.0/16", description: TEXT },
      { type: "ip_addr", value: "192.0.2.1", description: TEXT },
    ]);
    assert.deepEqual(await observed(target), [
      `allow 10.2.0.0/16 ${TEXT}`,
      `allow 192.0.2.1/32 ${TEXT}`,
      "allow 2001:db8::1/128 null",
    ]);
  },
);

test(
  "apply() does not write back what was removed a moment ago, and leaves the same of " + "others",
  async (context) => {
    const { cloud, open } = await stage(context);
    const target = await open();
    await apply(target, "add", ["10.0.0.0/24", "192.0.2.1/32"]);
    const theirs = { type: "ip_addr", value: "10.0.0.0/24", description: "by hand" };
    cloud.set(ID, [...cloud.sources(ID), theirs]);
    const [added, late] = [cidrs("192.0.2.2/32"), cidrs("10.0.0.0/24")];
    await target.apply({ verb: "add", cidrs: added, text: TEXT, instead: [], late }, null, SIGNAL);
    assert.deepEqual(await observed(target), [
      "allow 10.0.0.0/24 by hand",
      `allow 192.0.2.1/32 ${TEXT}`,
      `allow 192.0.2.2/32 ${TEXT}`,
    ]);
  },
);

test("apply() keeps the ids of the sources that stay", async (context) => {
  const { cloud, open } = await stage(context);
  const target = await open();
  await apply(target, "add", ["192.0.2.1/32", "192.0.2.2/32"]);
  const [, second] = cloud.sources(ID);
  await apply(target, "remove", ["192.0.2.1/32"]);
  assert.deepEqual(cloud.sources(ID), [second]);
});

test("apply() writes the marker alone where the names are long", async (context) => {
  const { cloud, open } = await stage(context);
  const [installation, list] = ["i".repeat(32), "l".repeat(32)];
  const target = await open();
  const text = markerText(installation, list);
  const batch = { verb: "add", cidrs: cidrs("192.0.2.1/32"), text, instead: [], late: [] } as const;
  await target.apply(batch, null, SIGNAL);
  assert(cloud.sources(ID).every((row) => row.description === markerOf(installation, list)));
});

test("apply() adds nothing beside the same address of somebody else, and removes only ours", async (context) => {
  const { cloud, open } = await stage(context);
  const target = await open();
  cloud.set(ID, [ADDRESS]);
  const before = cloud.sources(ID);
  await refusal(apply(target, "add", ["203.0.113.7/32"]), "conflict", /; read again$/);
  await apply(target, "remove", ["203.0.113.7/32"]);
  assert.deepEqual(cloud.sources(ID), before);
});

test(
  "observe() counts every source against a hundred, or the limit, and apply() says full " +
    "before it writes",
  async (context) => {
    const { cloud, open } = await stage(context);
    const target = await open();
    const tags = Array.from({ length: 99 }, (_, index) => ({ type: "tag", value: `t${index}` }));
    cloud.set(ID, tags);
    assert.deepEqual((await target.observe(SIGNAL)).capacity, [
      { families: ["ipv4"], used: 99, limit: 100 },
    ]);
    const two = ["192.0.2.1/32", "192.0.2.2/32"];
    await refusal(
      apply(target, "add", two),
      "full",
      /101 trusted sources would stand where 100 fit/,
    );
    assert.equal(cloud.sources(ID).length, 99);
    await apply(target, "add", ["192.0.2.1/32"]);
    assert.equal(cloud.sources(ID).length, 100);
  },
);

test("apply() never takes the last source, whoever else has one", async (context) => {
  const { cloud, open } = await stage(context);
  const target = await open();
  await apply(target, "add", ["192.0.2.1/32"]);
  await refusal(apply(target, "remove", ["192.0.2.1/32"]), "invalid", /everybody would be let in/);
  assert.equal(cloud.sources(ID).length, 1);
  cloud.set(ID, [...cloud.sources(ID), { type: "tag", value: "backend" }]);
  await apply(target, "remove", ["192.0.2.1/32"]);
  assert.deepEqual(
    cloud.sources(ID).map(({ type }) => type),
    ["tag"],
  );
});

test("apply() reads after the write, and says so when somebody else wrote meanwhile", async (context) => {
  let isRaced = false;
  const { cloud, requests, open } = await stage(context, ({ method }) => {
    if (method === "GET" && isRaced && requests.at(-2)?.method === "PUT") cloud.set(ID, [ADDRESS]);
    return undefined;
  });
  const target = await open();
  isRaced = true;
  await refusal(
    apply(target, "add", ["192.0.2.1/32"]),
    "conflict",
    /so somebody else writes it, too/,
  );
  isRaced = false;
  await apply(target, "add", ["192.0.2.1/32"]);
  assert.deepEqual(await observed(target), [
    `allow 192.0.2.1/32 ${TEXT}`,
    "allow 203.0.113.7/32 office",
  ]);
});

test("what is not understood whole is unavailable, and is not written", async (context) => {
  const broken = [
    {},
    { rules: null },
    { rules: [{ type: "ip_addr" }] },
    { rules: [{ value: "192.0.2.1" }] },
    { rules: [{ type: "ip_addr", value: 1 }] },
    { rules: ["192.0.2.1"] },
    { rules: [{ type: "ip_addr", value: "somewhere" }] },
  ];
  for (const body of broken) {
    const { requests, open } = await stage(context, ({ method }) =>
      method === "GET" ? { status: 200, body } : undefined,
    );
    const target = await open();
    await refusal(target.observe(SIGNAL), "unavailable", /^Cannot read digitalocean\/database\//);
    await refusal(apply(target, "add", ["192.0.2.1/32"]), "unavailable", /^Cannot add 1 entry on /);
    assert(!requests.some(({ method }) => method === "PUT"), JSON.stringify(body));
  }
});

test("the token comes from either variable, or from where the settings say", async (context) => {
  const { open } = await stage(context);
  const other = { DIGITALOCEAN_ACCESS_TOKEN: TOKEN, OTHER: "canary-of-another" } as never;
  assert.deepEqual(await observed(await open({}, other)), []);
  const wrong = await open({ token: "env:OTHER" }, other);
  await refusal(wrong.observe(SIGNAL), "denied", /HTTP 401; check the credentials/);
  await refusal(open({}, {} as never), "invalid", /env:DIGITALOCEAN_TOKEN/);
});

test("schema takes the id of a cluster in the form in which it is one", () => {
  const problems = (id: unknown) => settingsProblems(KIND, { id });
  assert.deepEqual(problems(ID), []);
  assert.match(String(problems(ID.toUpperCase())), /^id: Cannot use id "9CC.*write the cluster's/);
  assert.match(String(problems(4711)), /^id: Cannot use 4711: expected text/);
});
