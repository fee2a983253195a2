import assert from "node:assert/strict";
import { test } from "node:test";
import type {
  SecurityGroupChange,
  SecurityGroupClient,
  SecurityGroupRule,
} from "../../lib/clouds/alibaba/security-groups.ts";
import { CloudError } from "../../lib/clouds/error.ts";
import { type Cidr, parseCidr } from "../../lib/core/cidr.ts";
import { markerText } from "../../lib/core/marker.ts";
import { planChanges } from "../../lib/core/plan.ts";
import {
  SECURITY_GROUP_TRAITS,
  securityGroupKind,
  securityGroupTarget,
} from "../../lib/targets/alibaba/security-group.ts";
import type { Target, TargetError } from "../../lib/targets/target.ts";
import { kindNamed, OWNER } from "./making.ts";

const SIGNAL = new AbortController().signal;
const TEXT = markerText("acme", "payments-db");
const NAMES = { name: "alibaba/security-group/sg-1/x", object: "x", owner: OWNER };

type Settings = Parameters<typeof securityGroupTarget>[1];

function rule(given: Partial<SecurityGroupRule> & { readonly address?: string }) {
  const { address = "192.0.2.1", ...members } = given;
  const family = address.includes(":") ? "ipv6" : "ipv4";
  return {
    id: "sgr-x",
    policy: "accept",
    priority: 1,
    protocol: "tcp",
    ports: [5432, 5432],
    source: { family, address },
    narrowed: false,
    description: null,
    ...members,
  } as const;
}

/** A client that shows these rules and keeps what it is asked to write. */
function clientOf(rules: readonly SecurityGroupRule[]) {
  const authorized: SecurityGroupChange[] = [];
  const revoked: (readonly string[])[] = [];
  const client: SecurityGroupClient = {
    describe: async () => rules,
    authorize: async (_groupId, change) => {
      authorized.push(change);
    },
    revoke: async (_groupId, ruleIds) => {
      revoked.push(ruleIds);
    },
  };
  return { client, authorized, revoked };
}

function targetOf(
  client: SecurityGroupClient,
  given: Partial<Settings> & { readonly limit?: number } = {},
): Target {
  const { limit = null, ...settings } = given;
  const permission = { protocol: "tcp", port: 5432 } as const;
  const whole = { region: "cn-hangzhou", id: "sg-1", permission, ...settings };
  return securityGroupTarget({ ...NAMES, limit }, whole, client);
}

function cidrs(...texts: readonly string[]): readonly Cidr[] {
  return texts.map((text) => parseCidr(text) ?? assert.fail(text));
}

async function seen(
  rules: readonly SecurityGroupRule[],
  settings: Partial<Settings> = {},
): Promise<readonly string[]> {
  const { entries } = await targetOf(clientOf(rules).client, settings).observe(SIGNAL);
  return entries.map(({ cidr, text, effect }) => `${effect} ${cidr} ${text}`);
}

const change = (verb: "add" | "remove", ...texts: readonly string[]) => ({
  verb,
  cidrs: cidrs(...texts),
  text: TEXT,
  instead: [],
  late: [],
});

test("observe() shows bare addresses as networks of one, and both families", async () => {
  const rules = [
    rule({ address: "2001:DB8::0001" }),
    rule({ address: "192.0.2.7" }),
    rule({ address: "10.1.0.9/24", description: TEXT }),
  ];
  assert.deepEqual(await seen(rules), [
    `allow 10.1.0.0/24 ${TEXT}`,
    "allow 192.0.2.7/32 null",
    "allow 2001:db8::1/128 null",
  ]);
});

test("observe() rejects rather than leave out a rule whose address it cannot read", async () => {
  await assert.rejects(seen([rule({}), rule({ id: "sgr-7", address: "192.0.2.256" })]), {
    kind: "unavailable",
    message: /sgr-7/,
  });
  // Beside its slot it does not mind.
  assert.deepEqual(await seen([rule({ protocol: "udp", address: "nonsense" })]), []);
});

test("observe() tells permissions apart by protocol and both ports", async () => {
  const rules = [
    rule({ address: "192.0.2.1" }),
    rule({ address: "192.0.2.2", ports: [5432, 5440] }),
    rule({ address: "192.0.2.3", protocol: "udp" }),
    rule({ address: "192.0.2.4", protocol: "all", ports: [-1, -1] }),
    rule({ address: "192.0.2.5", ports: null }),
    rule({ address: "192.0.2.6", narrowed: true }),
    rule({ address: "192.0.2.7", protocol: "icmp", ports: [-1, -1] }),
  ];
  const of = async (permission: Settings["permission"]) => seen(rules, { permission });
  assert.deepEqual(await of({ protocol: "tcp", port: "5432" }), ["allow 192.0.2.1/32 null"]);
  assert.deepEqual(await of({ protocol: "tcp", port: "5432-5440" }), ["allow 192.0.2.2/32 null"]);
  assert.deepEqual(await of({ protocol: "udp", port: 5432 }), ["allow 192.0.2.3/32 null"]);
  assert.deepEqual(await of({ protocol: "all" }), ["allow 192.0.2.4/32 null"]);
});

test("observe() counts on rules as strong as its own or stronger, not on weaker ones", async () => {
  const rules = [1, 10, 11].map((priority) => rule({ address: `192.0.2.${priority}`, priority }));
  const allowed = ["allow 192.0.2.1/32 null", "allow 192.0.2.10/32 null"];
  assert.deepEqual(await seen(rules, { priority: 10 }), allowed);
  assert.deepEqual(await seen(rules), allowed.slice(0, 1));
});

const DROPS: readonly (readonly [string, Partial<SecurityGroupRule>, boolean])[] = [
  ["of the same permission", {}, true],
  ["of a range that holds the port", { ports: [1, 65_535] }, true],
  ["of a range that ends before the port", { ports: [1, 5_431] }, false],
  ["of a range that begins after the port", { ports: [5_433, 65_535] }, false],
  ["of all protocols", { protocol: "all", ports: [-1, -1] }, true],
  ["of another protocol", { protocol: "udp" }, false],
  ["of ICMP", { protocol: "icmp", ports: [-1, -1] }, false],
  ["of the same priority", { priority: 50 }, true],
  ["of a stronger priority", { priority: 49 }, true],
  ["of a weaker priority", { priority: 51 }, false],
  ["of ports that are kept elsewhere", { ports: null }, true],
  ["of some destinations only", { narrowed: true }, true],
  ["whose source is a group or a prefix list", { source: null }, false],
];

for (const [what, given, beats] of DROPS) {
  test(`observe() ${beats ? "shows" : "does not mind"} a rule to drop ${what}`, async () => {
    const drop = rule({ policy: "drop", priority: 50, address: "192.0.2.0/24", ...given });
    assert.deepEqual(await seen([drop], { priority: 50 }), beats ? ["deny 192.0.2.0/24 null"] : []);
  });
}

test("observe() shows every rule to drop that takes something from a permission for all protocols", async () => {
  const drop = rule({ policy: "drop", protocol: "icmp", ports: [-1, -1] });
  const all = { permission: { protocol: "all" } } as const;
  assert.deepEqual(await seen([drop], all), ["deny 192.0.2.1/32 null"]);
});

test("an address that a rule to drop beats is shadowed, and one beside it is not", async () => {
  const { client } = clientOf([
    rule({ description: TEXT }),
    rule({ address: "192.0.2.200", description: TEXT }),
    rule({ policy: "drop", address: "192.0.2.0/26", description: TEXT }),
  ]);
  const plan = planChanges({
    desired: cidrs("192.0.2.1/32", "192.0.2.200/32"),
    observation: await targetOf(client).observe(SIGNAL),
    traits: SECURITY_GROUP_TRAITS,
    owner: OWNER,
    removed: {},
    known: {},
    now: 0,
    full: false,
  });
  assert.deepEqual([plan.shadowed, plan.add, plan.unwanted], [["192.0.2.1/32"], [], []]);
});

test("observe() counts every inbound rule against the limit, whatever its source", async () => {
  const { client } = clientOf([
    rule({}),
    rule({ ports: [22, 22], address: "2001:db8::/32" }),
    rule({ source: null }),
    rule({ policy: "drop", priority: 100 }),
  ]);
  assert.deepEqual((await targetOf(client, { limit: 60 }).observe(SIGNAL)).capacity, [
    { families: ["ipv4", "ipv6"], used: 4, limit: 60 },
  ]);
});

test("apply() adds both families in one call, each address once, in ascending order", async () => {
  const { client, authorized } = clientOf([]);
  const batch = change("add", "2001:db8::2", "192.0.2.9", "192.0.2.1", "2001:db8::2");
  await targetOf(client, { priority: 7 }).apply(batch, null, SIGNAL);
  assert.deepEqual(authorized, [
    {
      protocol: "tcp",
      ports: [5432, 5432],
      priority: 7,
      ipv4: ["192.0.2.1/32", "192.0.2.9/32"],
      ipv6: ["2001:db8::2/128"],
      description: TEXT,
    },
  ]);
});

test("apply() says so when a weaker rule by hand keeps ours out, after the others were added", async () => {
  const weak = rule({ address: "192.0.2.1", priority: 50, description: "by hand" });
  const added = rule({ address: "192.0.2.2", description: TEXT });
  const { client, authorized } = clientOf([weak]);
  const shown = [[weak], [weak, added]];
  const target = targetOf({ ...client, describe: async () => shown.shift() ?? [] });
  await target.observe(SIGNAL);
  const work = target.apply(change("add", "192.0.2.1", "192.0.2.2"), null, SIGNAL);
  await assert.rejects(work, ({ kind, message }: TargetError) => {
    assert.match(message, /keeps ours out for 192\.0\.2\.1\/32; remove that rule, or give/);
    return kind === "conflict";
  });
  assert.equal(authorized[0]?.ipv4.length, 2);
});

test("apply() does not mind a weaker rule beside which ours was added, and looks only where one is", async () => {
  const weak = rule({ address: "192.0.2.1", priority: 50 });
  const { client } = clientOf([]);
  let reads = 0;
  const describe = async () => {
    reads += 1;
    return reads === 1 ? [weak] : [weak, rule({ description: TEXT })];
  };
  const target = targetOf({ ...client, describe });
  await target.observe(SIGNAL);
  await target.apply(change("add", "192.0.2.1"), null, SIGNAL);
  assert.equal(reads, 2);
  await target.apply(change("add", "192.0.2.7"), null, SIGNAL);
  assert.equal(reads, 2);
});

test("apply() opens all protocols without ports", async () => {
  const { client, authorized } = clientOf([]);
  const target = targetOf(client, { permission: { protocol: "all" } });
  await target.apply(change("add", "2001:db8::/64"), null, SIGNAL);
  assert.deepEqual([authorized[0]?.protocol, authorized[0]?.ports], ["all", [-1, -1]]);
});

test("apply() asserts that the text is one ECS takes", async () => {
  for (const text of ["", "http://x?", "näh", 'say "hi"', "x".repeat(513)]) {
    const { client, authorized } = clientOf([]);
    const batch = { ...change("add", "192.0.2.1"), text };
    await assert.rejects(targetOf(client).apply(batch, null, SIGNAL), { name: "AssertionError" });
    assert.deepEqual(authorized, []);
  }
});

test("apply() removes no rule that was not read, and none of somebody else's", async () => {
  const { client, revoked } = clientOf([
    rule({ id: "sgr-1", description: TEXT }),
    rule({ id: "sgr-2", address: "192.0.2.2", description: "by hand" }),
    rule({ id: "sgr-3", address: "192.0.2.3", description: TEXT, policy: "drop" }),
  ]);
  const target = targetOf(client);
  const remove = (...texts: readonly string[]) =>
    target.apply(change("remove", ...texts), null, SIGNAL);
  await assert.rejects(remove("192.0.2.1"), { name: "TargetError", kind: "conflict" });
  await target.observe(SIGNAL);
  for (const other of ["192.0.2.2", "192.0.2.3", "192.0.2.4"]) {
    await assert.rejects(remove("192.0.2.1", other), { kind: "conflict" });
  }
  assert.deepEqual(revoked, []);
  await remove("192.0.2.1");
  assert.deepEqual(revoked, [["sgr-1"]]);
});

test("apply() removes those with our marker of several rules for one network", async () => {
  const { client, revoked } = clientOf([
    rule({ id: "sgr-1", address: "10.1.0.9/24", description: "by hand" }),
    rule({ id: "sgr-2", address: "10.1.0.0/24", description: TEXT }),
    rule({ id: "sgr-3", address: "10.1.0.7/24", description: TEXT }),
  ]);
  const target = targetOf(client);
  assert.equal((await target.observe(SIGNAL)).entries.length, 3);
  await target.apply(change("remove", "10.1.0.0/24"), null, SIGNAL);
  assert.deepEqual(revoked, [["sgr-2", "sgr-3"]]);
});

test("apply() names no more rules than one call takes", async () => {
  const rules = Array.from({ length: 150 }, (_, index) =>
    rule({ id: `sgr-${index}`, address: `10.${index % 75}.0.${index}/16`, description: TEXT }),
  );
  const { client, revoked } = clientOf(rules);
  const target = targetOf(client);
  await target.observe(SIGNAL);
  const networks = Array.from({ length: 75 }, (_, index) => `10.${index}.0.0/16`);
  await target.apply(change("remove", ...networks), null, SIGNAL);
  assert.equal(revoked[0]?.length, 100);
});

test("a group that a cloud product manages, and one that is full, say what to do", async () => {
  const told = async (kind: TargetError["kind"], code: string) => {
    const { client } = clientOf([]);
    const error = new CloudError(kind, code, { operation: "ecs:X", status: 403 });
    const failing = { ...client, authorize: () => Promise.reject(error) };
    const thrown = await targetOf(failing)
      .apply(change("add", "192.0.2.1"), null, SIGNAL)
      .catch((caught: TargetError) => caught);
    assert(thrown instanceof Error && thrown.name === "TargetError");
    return thrown.message.split("; ")[1];
  };
  const managed = "InvalidOperation.ResourceManagedByCloudProduct";
  assert.match((await told("denied", managed)) ?? "", /belongs to a cloud product/);
  assert.match((await told("full", "AuthorizationLimitExceed")) ?? "", /higher quota/);
  assert.match((await told("denied", "Forbidden.RAM")) ?? "", /allow ecs:X/);
});

test("a bug in the client is not dressed up as a failure of the world", async () => {
  const { client } = clientOf([]);
  const bug = new TypeError("undefined is not a function");
  const broken = { ...client, describe: () => Promise.reject(bug) };
  await assert.rejects(targetOf(broken).observe(SIGNAL), bug);
});

test("a slot is named by its permission alone: lists that differ in priority would lose each other's rules", () => {
  const named = (settings: Readonly<Record<string, unknown>>) => {
    const permission = { protocol: "tcp", port: 5432 };
    const whole = { region: "cn-hangzhou", id: "sg-1", permission, ...settings };
    return kindNamed("alibaba/security-group").identify(whole, OWNER);
  };
  assert.deepEqual(named({}), {
    name: "alibaba/security-group/sg-1/tcp-5432",
    object: "alibaba-security-group.cn-hangzhou.sg-1",
  });
  assert.equal(named({ priority: 10 }).name, named({}).name);
});

test("permissions() name the one group, reading, adding and removing apart", () => {
  const permission = { protocol: "all" } as const;
  const settings = { region: "cn-hangzhou", id: "sg-1", permission };
  const resources = ["acs:ecs:cn-hangzhou:1234567890123456:securitygroup/sg-1"];
  assert.deepEqual(securityGroupKind.permissions(settings, "1234567890123456"), {
    dialect: "ram",
    read: [{ actions: ["ecs:DescribeSecurityGroupAttribute"], resources }],
    add: [{ actions: ["ecs:AuthorizeSecurityGroup"], resources }],
    remove: [{ actions: ["ecs:RevokeSecurityGroup"], resources }],
  });
});
