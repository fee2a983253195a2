import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { startEmbeddedAlibaba } from "../../cli/embedded/alibaba.ts";
import { ECS_VERSION, ecsGroups } from "../../cli/embedded/alibaba-ecs.ts";
import { ecsPrefixLists } from "../../cli/embedded/alibaba-prefix-lists.ts";
import { PREFIX_LIST_CALL_MS_MAX } from "../../lib/clouds/alibaba/prefix-lists.ts";
import { SECURITY_GROUP_CALL_MS_MAX } from "../../lib/clouds/alibaba/security-groups.ts";
import { openPrefixLists, openSecurityGroups, openVSwitches } from "../../lib/clouds/alibaba.ts";
import { parseCidr } from "../../lib/core/cidr.ts";
import { prefixListKind } from "../../lib/targets/alibaba/prefix-list.ts";
import { SECURITY_GROUP_TRAITS } from "../../lib/targets/alibaba/security-group.ts";
import { noSpecs, watchSpecs } from "../fakes/alibaba-specs.ts";
import { virtualWorld } from "../virtual-world.ts";
import { ENVIRONMENT, failure, json, serve } from "./alibaba-serving.ts";
import { makeTarget } from "./making.ts";

const SIGNAL = new AbortController().signal;
const GROUP = "sg-1";
const LIST = "pl-1";
const VSWITCH = "vsw-1";

function places(endpoint: string) {
  return {
    region: "cn-hangzhou",
    endpoint,
    stsEndpoint: null,
    credentials: null,
    role: null,
  };
}

const context = () => ({ world: virtualWorld(), env: ENVIRONMENT });
const groupsAt = (url: string) => openSecurityGroups(places(url), context());
const listsAt = (url: string) => openPrefixLists(places(url), context());
const vSwitchesAt = (url: string) => openVSwitches(places(url), context());

/** A server that gives this answer to everything. */
async function answering(given: TestContext, body: unknown): Promise<string> {
  const { url } = await serve(given, (_asked, response) => json(response, 200, body));
  return url;
}

const RULE: Readonly<Record<string, unknown>> = {
  SecurityGroupRuleId: "sgr-1",
  Direction: "ingress",
  Policy: "Accept",
  Priority: "1",
  IpProtocol: "TCP",
  PortRange: "5432/5432",
  SourceCidrIp: "192.0.2.1",
};

function groupOf(...rules: readonly unknown[]) {
  return { SecurityGroupId: GROUP, Permissions: { Permission: rules }, NextToken: "" };
}

test("describe() reads a rule as ECS writes it, what is empty as what is not set", async (given) => {
  const full = {
    ...RULE,
    Priority: 100,
    Policy: "drop",
    Ipv6SourceCidrIp: "",
    SourceGroupId: "",
    SourcePrefixListId: "",
    SourcePortRange: "",
    DestCidrIp: "",
    PortRangeListId: "",
    Description: "by hand",
  };
  const url = await answering(
    given,
    groupOf(
      RULE,
      full,
      { ...RULE, SourceCidrIp: "", Ipv6SourceCidrIp: "2001:db8::/32" },
      { ...RULE, SourceCidrIp: "", SourceGroupId: "sg-2", DestCidrIp: "10.0.0.1" },
      { ...RULE, SourceCidrIp: "", SourcePrefixListId: "pl-2", PortRange: "-1/-1" },
      { ...RULE, PortRange: "", PortRangeListId: "prl-1", SourcePortRange: "80/80" },
      { ...RULE, Direction: "egress", SourceCidrIp: "" },
    ),
  );
  const rules = await groupsAt(url).describe(GROUP, SIGNAL);
  assert.deepEqual(rules[0], {
    id: "sgr-1",
    policy: "accept",
    priority: 1,
    protocol: "tcp",
    ports: [5432, 5432],
    source: { family: "ipv4", address: "192.0.2.1" },
    narrowed: false,
    description: null,
  });
  assert.deepEqual(
    rules.map(({ policy, priority, ports, source, narrowed, description }) =>
      [policy, priority, ports, source?.address ?? null, narrowed, description].join(" "),
    ),
    [
      "accept 1 5432,5432 192.0.2.1 false ",
      "drop 100 5432,5432 192.0.2.1 false by hand",
      "accept 1 5432,5432 2001:db8::/32 false ",
      "accept 1 5432,5432  true ",
      "accept 1 -1,-1  false ",
      "accept 1  192.0.2.1 true ",
    ],
  );
});

test("describe() rejects an answer of which it does not understand every rule", async (given) => {
  for (const name of Object.keys(RULE)) {
    const { [name]: _left, ...part } = RULE;
    for (const row of [part, { ...part, [name]: "" }, { ...part, [name]: { strange: true } }]) {
      const url = await answering(given, groupOf(RULE, row));
      const error = await failure(groupsAt(url).describe(GROUP, SIGNAL));
      assert.deepEqual([error.kind, error.code], ["unavailable", "UnreadableAnswer"], name);
    }
  }
  const strange = [
    { Direction: "sideways" },
    { Policy: "maybe" },
    { Priority: "0" },
    { Priority: 101 },
    { PortRange: "5432" },
    { PortRange: "a/b" },
  ];
  for (const row of strange) {
    const url = await answering(given, groupOf({ ...RULE, ...row }));
    const error = await failure(groupsAt(url).describe(GROUP, SIGNAL));
    assert.equal(error.kind, "unavailable", JSON.stringify(row));
  }
});

test("describe() takes nothing for an empty group but an answer that says so", async (given) => {
  const answers = [
    {},
    { SecurityGroupId: GROUP },
    { SecurityGroupId: GROUP, Permissions: {} },
    { SecurityGroupId: GROUP, Permissions: { Permission: {} } },
    { SecurityGroupId: GROUP, Permissions: "" },
    { SecurityGroupId: "sg-2", Permissions: { Permission: [] } },
    { Permissions: { Permission: [] } },
    { SecurityGroupId: GROUP, Permissions: { Permission: [null] } },
  ];
  for (const answer of answers) {
    const url = await answering(given, answer);
    const error = await failure(groupsAt(url).describe(GROUP, SIGNAL));
    assert.equal(error.kind, "unavailable", JSON.stringify(answer));
  }
  const url = await answering(given, groupOf());
  assert.deepEqual(await groupsAt(url).describe(GROUP, SIGNAL), []);
});

test("describe() gives up on an answer whose pages have no end", async (given) => {
  const endless = { ...groupOf(RULE), NextToken: "again" };
  const { url, asked } = await serve(given, (_asked, response) => json(response, 200, endless));
  const error = await failure(groupsAt(url).describe(GROUP, SIGNAL));
  assert.deepEqual([error.code, asked.length], ["UnreadableAnswer", 50]);
});

test("describe() takes no longer for many pages than for one", async (given) => {
  const world = virtualWorld();
  const { url, asked } = await serve(given, (_asked, response) => {
    const more = { ...groupOf(RULE), NextToken: "again" };
    void world.advance(SECURITY_GROUP_CALL_MS_MAX / 2).then(() => json(response, 200, more));
  });
  const client = openSecurityGroups(places(url), { world, env: ENVIRONMENT });
  const error = await failure(client.describe(GROUP, SIGNAL));
  assert.deepEqual([error.code, asked.length], ["TimeoutError", 2]);
});

test("what a target's calls may take together is within what its traits promise", () => {
  const security = SECURITY_GROUP_TRAITS.callMs;
  const list = prefixListKind.traits({ region: "cn-hangzhou", id: LIST }).callMs;
  assert.deepEqual([2 * SECURITY_GROUP_CALL_MS_MAX, 2 * PREFIX_LIST_CALL_MS_MAX], [security, list]);
});

test("a weaker rule by hand for a listed address is found where ECS takes it for ours", async (given) => {
  const groups = ecsGroups([GROUP]);
  const products = [{ version: ECS_VERSION, actions: groups.actions }];
  const server = await startEmbeddedAlibaba({ products });
  given.after(() => server.close());
  const source = { kind: "ipv4", text: "192.0.2.1" } as const;
  const slot = { egress: false, protocol: "TCP", portRange: "5432/5432" } as const;
  const weaker = { ...slot, policy: "Accept", priority: 9, source, description: null } as const;
  groups.set(GROUP, [weaker]);
  const permission = { protocol: "tcp", port: 5432 };
  const settings = { region: "cn-hangzhou", id: GROUP, permission, endpoint: server.url };
  const target = await makeTarget("alibaba/security-group", settings, { env: ENVIRONMENT });
  const cidrs = ["192.0.2.1", "192.0.2.2"].map((text) => parseCidr(text) ?? assert.fail(text));
  const batch = {
    verb: "add",
    cidrs,
    text: "ka1abcdefghijkl acme/x",
    instead: [],
    late: [],
  } as const;
  assert.deepEqual((await target.observe(SIGNAL)).entries, []);
  await assert.rejects(target.apply(batch, null, SIGNAL), { kind: "conflict" });
  const [one, ...others] = (await target.observe(SIGNAL)).entries;
  assert.deepEqual([one?.cidr, others.length], ["192.0.2.2/32", 0]);
});

test("requests for groups, lists and vSwitches are as the vendor describes them", {
  skip: noSpecs ?? false,
}, async (given) => {
  const groups = ecsGroups([GROUP]);
  const lists = ecsPrefixLists([LIST]);
  const { between, problems } = watchSpecs((call, act, signal) => act(call, signal));
  const vpc = {
    version: "2016-04-28",
    actions: { DescribeVSwitches: () => ({ VSwitches: { VSwitch: [] } }) },
  };
  const ecs = { version: ECS_VERSION, actions: { ...groups.actions, ...lists.actions } };
  const server = await startEmbeddedAlibaba({ products: [ecs, vpc], between });
  given.after(() => server.close());
  const client = groupsAt(server.url);
  const change = { protocol: "tcp", ports: [5432, 5440], priority: 7, description: "x" } as const;
  const sources = { ipv4: ["192.0.2.1/32"], ipv6: ["2001:db8::/64"] };
  await client.authorize(GROUP, { ...change, ...sources }, SIGNAL);
  const [rule] = await client.describe(GROUP, SIGNAL);
  await client.revoke(GROUP, [rule?.id ?? ""], SIGNAL);
  const entries = [{ address: "192.0.2.1/32", description: "xy" }];
  await listsAt(server.url).add(LIST, entries, SIGNAL);
  await listsAt(server.url).remove(LIST, ["192.0.2.1/32"], SIGNAL);
  await listsAt(server.url).describe(LIST, SIGNAL);
  await vSwitchesAt(server.url).describe(VSWITCH, SIGNAL);
  assert.deepEqual(problems, []);
});

test("authorize() sends one permission for each source, with the families in fields of their own", async (given) => {
  const { url, asked } = await serve(given, (_asked, response) => json(response, 200, {}));
  const change = { protocol: "udp", ports: [53, 53], priority: 7, description: "text" } as const;
  const sources = { ipv4: ["192.0.2.1/32"], ipv6: ["2001:db8::/64"] };
  await groupsAt(url).authorize(GROUP, { ...change, ...sources }, SIGNAL);
  const own = [...(asked[0]?.form ?? [])].filter(([name]) => name.startsWith("Permissions"));
  const common = {
    Policy: "accept",
    Priority: "7",
    IpProtocol: "UDP",
    PortRange: "53/53",
    NicType: "intranet",
    Description: "text",
  };
  const named = (index: number, members: Readonly<Record<string, string>>) =>
    Object.entries(members).map(([name, value]) => `Permissions.${index}.${name}=${value}`);
  assert.deepEqual(
    own.map(([name, value]) => `${name}=${value}`).toSorted(),
    [
      ...named(1, { ...common, SourceCidrIp: "192.0.2.1/32" }),
      ...named(2, { ...common, Ipv6SourceCidrIp: "2001:db8::/64" }),
    ].toSorted(),
  );
});

const LISTED = {
  PrefixListId: LIST,
  AddressFamily: "IPv6",
  MaxEntries: 20,
  Entries: { Entry: [{ Cidr: "2001:db8::/64", Description: "" }] },
};

test("describe() reads a prefix list whole, or not at all", async (given) => {
  assert.deepEqual(await listsAt(await answering(given, LISTED)).describe(LIST, SIGNAL), {
    family: "ipv6",
    entriesMax: 20,
    entries: [{ address: "2001:db8::/64", description: null }],
  });
  const broken = [
    ...Object.keys(LISTED).map((name) => ({ ...LISTED, [name]: undefined })),
    { ...LISTED, PrefixListId: "pl-2" },
    { ...LISTED, AddressFamily: "toString" },
    { ...LISTED, MaxEntries: "many" },
    { ...LISTED, MaxEntries: 0 },
    { ...LISTED, Entries: {} },
    { ...LISTED, Entries: { Entry: [{ Description: "x" }] } },
    { ...LISTED, Entries: { Entry: ["2001:db8::/64"] } },
  ];
  for (const answer of broken) {
    const error = await failure(listsAt(await answering(given, answer)).describe(LIST, SIGNAL));
    assert.deepEqual([error.kind, error.code], ["unavailable", "UnreadableAnswer"]);
  }
});

test("describe() gives the networks of a vSwitch and how many addresses are free", async (given) => {
  const row = { VSwitchId: VSWITCH, CidrBlock: "10.1.0.0/20", AvailableIpAddressCount: 4_000 };
  const of = async (...rows: readonly unknown[]) =>
    vSwitchesAt(await answering(given, { VSwitches: { VSwitch: rows } })).describe(VSWITCH, SIGNAL);
  assert.deepEqual(await of({ ...row, Ipv6CidrBlock: "" }), {
    cidrs: ["10.1.0.0/20"],
    free: 4_000,
  });
  assert.deepEqual(await of({ ...row, Ipv6CidrBlock: "2001:db8::/64" }), {
    cidrs: ["10.1.0.0/20", "2001:db8::/64"],
    free: 4_000,
  });
  assert.equal((await of({ ...row, AvailableIpAddressCount: -1 }))?.free, null);
});

test("describe() of a vSwitch tells one that is not there from one that cannot be read", async (given) => {
  const at = async (body: unknown) =>
    vSwitchesAt(await answering(given, body)).describe(VSWITCH, SIGNAL);
  assert.equal(await at({ VSwitches: { VSwitch: [] } }), null);
  const { url } = await serve(given, (_asked, response) =>
    json(response, 404, { Code: "InvalidVSwitchId.NotFound" }),
  );
  assert.equal(await vSwitchesAt(url).describe(VSWITCH, SIGNAL), null);
  const unread = [
    {},
    { VSwitches: {} },
    { VSwitches: { VSwitch: [{ VSwitchId: "vsw-2", CidrBlock: "10.0.0.0/8" }] } },
    { VSwitches: { VSwitch: [{ VSwitchId: VSWITCH }] } },
    { VSwitches: { VSwitch: [{ VSwitchId: VSWITCH, CidrBlock: "" }] } },
  ];
  for (const body of unread) {
    const error = await failure(at(body));
    assert.deepEqual([error.kind, error.operation], ["unavailable", "vpc:DescribeVSwitches"]);
  }
});
