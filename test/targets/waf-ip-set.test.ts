import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { type Cidr, parseCidr } from "../../lib/core/cidr.ts";
import { ipSetKind } from "../../lib/targets/aws/waf-ip-set.ts";
import { TargetError } from "../../lib/targets/target.ts";
import { startFakeWaf, type WafSet } from "../fakes/waf.ts";
import { kindNamed, makeTarget, OWNER } from "./making.ts";

const ID = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";
const SETTINGS = { region: "eu-west-1", name: "nodes", id: ID, usedBy: "allow" } as const;
const SIGNAL = new AbortController().signal;
const ENV = { AWS_ACCESS_KEY_ID: "a", AWS_SECRET_ACCESS_KEY: "b" };

async function start(
  context: TestContext,
  given: {
    readonly set?: Partial<WafSet>;
    readonly addressesMax?: number;
    readonly target?: Readonly<Record<string, unknown>>;
    readonly limit?: number;
  } = {},
) {
  const { addressesMax = 10_000 } = given;
  const waf = await startFakeWaf({ set: given.set ?? {}, addressesMax });
  context.after(() => waf.close());
  const settings = { ...SETTINGS, endpoint: waf.url, ...given.target };
  const target = await makeTarget("aws/waf-ip-set", settings, { env: ENV, limit: given.limit });
  const apply = (verb: "add" | "remove", revision: string | null, texts: readonly string[]) =>
    target.apply(
      { verb, cidrs: cidrs(...texts), text: "ka1", instead: [], late: [] },
      revision,
      SIGNAL,
    );
  return {
    waf,
    target,
    observe: () => target.observe(SIGNAL),
    add: (revision: string | null, ...texts: readonly string[]) => apply("add", revision, texts),
    remove: (revision: string | null, ...texts: readonly string[]) =>
      apply("remove", revision, texts),
    addresses: () => waf.set()?.addresses,
  };
}

function cidrs(...texts: readonly string[]): readonly Cidr[] {
  return texts.map((text) => parseCidr(text) ?? assert.fail(text));
}

async function failure(work: Promise<unknown>, kind: TargetError["kind"], says: RegExp) {
  const error = await work.then(
    () => assert.fail("it did not fail"),
    (thrown: unknown) => thrown,
  );
  assert(error instanceof TargetError, String(error));
  assert.equal(error.kind, kind, error.message);
  assert.match(error.message, says);
  assert(error.message.includes(`aws/waf-ip-set/${ID}`));
}

test("apply() keeps the set's description, and leaves out the one that it has not", async (context) => {
  for (const description of ["made by terraform, do not touch", null]) {
    const { waf, observe, add } = await start(context, { set: { description } });
    const { revision } = await observe();
    await add(revision, "192.0.2.1/32");
    assert.equal(waf.set()?.description, description);
    const body = waf.requests.at(-1)?.body as Record<string, unknown>;
    assert.deepEqual(Object.keys(body).toSorted(), [
      "Addresses",
      ...(description === null ? [] : ["Description"]),
      "Id",
      "LockToken",
      "Name",
      "Scope",
    ]);
  }
});

test("observe() shows long IPv6 in one form, and apply() leaves it as WAF wrote it", async (context) => {
  const long = "2001:0db8:0000:0000:0000:0000:0000:00A1/128";
  const given = {
    set: { version: "IPV6", addresses: [long] },
    target: { family: "ipv6" },
  } as const;
  const { target, observe, add, remove, addresses } = await start(context, given);
  assert.deepEqual(target.traits.families, ["ipv6"]);
  const { entries, revision } = await observe();
  assert.deepEqual(entries, [{ cidr: "2001:db8::a1/128", text: null, effect: "allow" }]);
  const next = await add(revision, "2001:db8::2/128", "2001:db8::a1/128");
  assert.deepEqual(addresses(), [long, "2001:db8::2/128"]);
  await remove(next, "2001:db8::a1/128");
  assert.deepEqual(addresses(), ["2001:db8::2/128"]);
});

test("apply() writes what the read of this very token showed, else reads again", async (context) => {
  const { waf, observe, add, addresses } = await start(context);
  const { revision } = await observe();
  const next = await add(revision, "192.0.2.1/32");
  assert.equal(waf.calls.get, 1);
  // What WAF made of the first write is read before the second.
  const later = await add(next, "192.0.2.2/32");
  assert.equal(waf.calls.get, 2);
  waf.write({ addresses: ["203.0.113.7/32"] });
  await failure(
    add(later, "192.0.2.3/32"),
    "conflict",
    /: somebody else wrote meanwhile; read again$/,
  );
  assert.deepEqual(addresses(), ["203.0.113.7/32"]);
  await add(null, "192.0.2.3/32");
  assert.deepEqual(addresses(), ["203.0.113.7/32", "192.0.2.3/32"]);
});

test("apply() believes WAF that somebody else was faster", async (context) => {
  const { waf, observe, add, addresses } = await start(context);
  const { revision } = await observe();
  waf.write({ addresses: ["203.0.113.7/32"] });
  await failure(add(revision, "192.0.2.1/32"), "conflict", /ended in WAFOptimisticLockException/);
  assert.deepEqual(addresses(), ["203.0.113.7/32"]);
});

test("apply() empties a set that lets in, and never one that keeps out", async (context) => {
  const set = { addresses: ["192.0.2.1/32", "192.0.2.2/32"] };
  const open = await start(context, { set });
  await open.remove((await open.observe()).revision, ...set.addresses);
  assert.deepEqual(open.addresses(), []);
  const shut = await start(context, { set, target: { usedBy: "block" } });
  const { revision } = await shut.observe();
  const says =
    /: nothing would remain, and a rule that blocks the set would let in everybody; add a/;
  await failure(shut.remove(revision, ...set.addresses), "invalid", says);
  assert.deepEqual(shut.addresses(), set.addresses);
  assert.equal(shut.waf.calls.update, 0);
  await shut.remove(revision, "192.0.2.1/32");
  assert.deepEqual(shut.addresses(), ["192.0.2.2/32"]);
});

test("observe() refuses a set of the other family, and one with an address that it cannot read", async (context) => {
  const { waf, observe, add } = await start(context, { set: { version: "IPV6" } });
  await failure(observe(), "invalid", /: it holds ipv6 only; write family: ipv6$/);
  await failure(add(null, "192.0.2.1/32"), "invalid", /: it holds ipv6 only/);
  waf.write({ version: "IPV4", addresses: ["192.0.2.1/32", ""] });
  await failure(observe(), "unavailable", /: an address of the set cannot be read; /);
  await failure(add(null, "192.0.2.2/32"), "unavailable", /^Cannot add 1 entry on /);
  assert.equal(waf.calls.update, 0);
});

test("observe() knows that WAF takes 10,000 addresses, or fewer by the configured limit", async (context) => {
  const set = { addresses: ["192.0.2.1/32", "192.0.2.0/24"] };
  for (const [limit, most] of [
    [undefined, 10_000],
    [500, 500],
    [20_000, 10_000],
  ] as const) {
    const { observe } = await start(context, { set, ...(limit === undefined ? {} : { limit }) });
    assert.deepEqual((await observe()).capacity, [{ families: ["ipv4"], used: 2, limit: most }]);
  }
  const { observe, add } = await start(context, { set, addressesMax: 3 });
  const says = /WAFLimitsExceededException.*; a set holds 10,000 addresses at most; list fewer/;
  await failure(
    add((await observe()).revision, "198.51.100.1/32", "198.51.100.2/32"),
    "full",
    says,
  );
});

test("a set that is not there says what to check", async (context) => {
  const { observe } = await start(context, { target: { name: "other" } });
  await failure(
    observe(),
    "missing",
    /WAFNonexistentItemException.*; check the set's region or scope/,
  );
});

test("sets of CloudFront are called in us-east-1, others in their region", async (context) => {
  const target = { region: undefined, scope: "cloudfront" };
  const { waf, observe, add } = await start(context, { set: { scope: "CLOUDFRONT" }, target });
  await add((await observe()).revision, "192.0.2.1/32");
  assert.deepEqual(
    waf.requests.map(({ region, body }) => [region, (body as { Scope: string }).Scope]),
    [
      ["us-east-1", "CLOUDFRONT"],
      ["us-east-1", "CLOUDFRONT"],
    ],
  );
  const regional = await start(context);
  await regional.observe();
  assert.equal(regional.waf.requests[0]?.region, "eu-west-1");
});

test("the kind aws/waf-ip-set has names, traits and permissions by its settings", () => {
  const kind = kindNamed("aws/waf-ip-set");
  assert.deepEqual(kind.identify(SETTINGS, OWNER), {
    name: `aws/waf-ip-set/${ID}`,
    object: `aws-waf-ip-set.eu-west-1.${ID}`,
  });
  const { region: _region, ...rest } = SETTINGS;
  const cloudfront = { ...rest, scope: "cloudfront" };
  assert.equal(kind.identify(cloudfront, OWNER).object, `aws-waf-ip-set.cloudfront.${ID}`);
  assert.equal(kind.traits(SETTINGS).whenEmpty, "closed");
  assert.equal(kind.traits({ ...SETTINGS, usedBy: "block" }).whenEmpty, "open");
  // Of settings that are not parsed the worst is assumed.
  assert.deepEqual([kind.traits({}).whenEmpty, kind.traits({}).marking], ["open", "none"]);
  const permissions = (settings: Readonly<Record<string, unknown>>) => {
    const found = kind.permissions(settings, "123456789012");
    assert(found.dialect === "iam");
    assert.deepEqual(found.add, found.remove);
    assert.deepEqual(found.read[0]?.actions, ["wafv2:GetIPSet"]);
    assert.deepEqual(found.add[0]?.actions, ["wafv2:UpdateIPSet"]);
    assert.deepEqual(found.read[0]?.resources, found.add[0]?.resources);
    return found.read[0]?.resources;
  };
  assert.deepEqual(permissions(SETTINGS), [
    `arn:aws:wafv2:eu-west-1:123456789012:regional/ipset/nodes/${ID}`,
  ]);
  assert.deepEqual(permissions(cloudfront), [
    `arn:aws:wafv2:us-east-1:123456789012:global/ipset/nodes/${ID}`,
  ]);
});

test("the settings of aws/waf-ip-set say what is wrong, and what to write instead", () => {
  const problems = (settings: unknown) =>
    (kindNamed("aws/waf-ip-set").schema.safeParse(settings).error?.issues ?? []).map(
      ({ path, message }) => `${path.join(".")}: ${message}`,
    );
  const { region: _region, ...rest } = SETTINGS;
  assert.deepEqual(problems({ ...SETTINGS, exclusive: true, family: "ipv6", limit: 9 }), []);
  assert.deepEqual(problems({ ...rest, scope: "cloudfront" }), []);
  assert.deepEqual(problems({ ...SETTINGS, region: "us-east-1", scope: "cloudfront" }), []);
  assert.deepEqual(problems({ ...SETTINGS, scope: "cloudfront" }), [
    ': Cannot use region "eu-west-1" with scope cloudfront: leave the region out',
  ]);
  assert.deepEqual(problems(rest), [
    ": Cannot find the set without a region: add it, or scope: cloudfront",
  ]);
  assert.deepEqual(problems({ ...SETTINGS, name: "a b", id: "nodes", scope: "GLOBAL" }), [
    'scope: Cannot use scope "GLOBAL": write regional or cloudfront',
    'name: Cannot use name "a b": expected the set\'s name, 1 to 128 of A-Z, a-z, 0-9, _ and -',
    'id: Cannot use id "nodes": write the set\'s id like "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"',
  ]);
  const { usedBy: _usedBy, ...unsaid } = SETTINGS;
  const [problem, ...others] = problems(unsaid);
  assert.deepEqual(others, []);
  assert.match(
    problem ?? "",
    /^usedBy: Cannot use usedBy undefined: write allow where a rule lets in/,
  );
});

test("WAF's one update a second is enough for a burst of a thousand nodes", () => {
  assert(ipSetKind.traits({ ...SETTINGS }).batchMax >= 1_000);
});
