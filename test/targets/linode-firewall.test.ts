import assert from "node:assert/strict";
import { test } from "node:test";
import type { LinodeRule } from "../../cli/embedded/linode.ts";
import {
  accept,
  apply,
  cidrs,
  FIREWALL,
  firewallOf,
  type LinodeStage,
  linodeStage,
  MARKER,
  observed,
  TEXT,
} from "./linode.ts";
import { kindNamed, refusal } from "./making.ts";

const OPEN = { inbound_policy: "ACCEPT", outbound_policy: "ACCEPT" } as const;
const CLOSED = { inbound_policy: "DROP", outbound_policy: "DROP" } as const;

function set(
  { cloud }: LinodeStage,
  inbound: readonly LinodeRule[],
  outbound: readonly LinodeRule[] = [],
): void {
  cloud.setRules(FIREWALL, { ...CLOSED, inbound, outbound });
}

function inbound({ cloud }: LinodeStage): readonly LinodeRule[] {
  return cloud.rules(FIREWALL)?.inbound ?? [];
}

function addressesOf(rule: LinodeRule | undefined): readonly string[] {
  return Object.values((rule?.addresses ?? {}) as Record<string, readonly string[]>).flat();
}

function hosts(count: number): readonly string[] {
  return Array.from({ length: count }, (_, index) => `198.18.${index >> 8}.${index & 255}/32`);
}

test("apply() writes sorted addresses in rules of 255, each with the marker in label and description", async (context) => {
  const stage = await linodeStage(context);
  const addresses = [...hosts(300), "2001:db8::1/128", "2001:db8::2/128"];
  await apply(await firewallOf(stage), "add", addresses.toReversed());
  const rules = inbound(stage);
  assert.deepEqual(
    rules.map((rule) => addressesOf(rule).length),
    [255, 47],
  );
  assert.deepEqual(rules.flatMap(addressesOf), addresses);
  for (const [index, rule] of rules.entries()) {
    assert.deepEqual(
      { ...rule, addresses: null },
      {
        action: "ACCEPT",
        protocol: "TCP",
        ports: "5432",
        addresses: null,
        label: `${MARKER}-${index}`,
        description: TEXT,
      },
    );
  }
  // A list of a family without addresses would be refused.
  assert.deepEqual(Object.keys(rules[0]?.addresses ?? {}), ["ipv4"]);
  assert.deepEqual(Object.keys(rules[1]?.addresses ?? {}), ["ipv4", "ipv6"]);
});

test("apply() sends both directions and both policies in one request, and nothing that is read-only", async (context) => {
  const stage = await linodeStage(context);
  const outbound = [accept({ label: "out" })];
  set(stage, [accept()], outbound);
  await apply(await firewallOf(stage), "add", ["192.0.2.1/32"]);
  const { body } = stage.requests.find(({ method }) => method === "PUT") ?? {};
  assert.deepEqual(Object.keys(body as object).toSorted(), [
    "inbound",
    "inbound_policy",
    "outbound",
    "outbound_policy",
  ]);
  const { version: _version, inbound: rules, ...rest } = stage.cloud.rules(FIREWALL) ?? {};
  assert.equal(rules?.length, 2);
  assert.deepEqual(rest, { ...CLOSED, outbound });
});

test("apply() gives every other rule back to the byte, with members that nobody here knows", async (context) => {
  const others = [
    { ruleset: 9, added: { later: [1, "two", null] } },
    { zone: "x", description: null, ...accept(), ports: "22, 80-90" },
    accept({ addresses: { ipv6: ["2001:DB8::1/128"], ipv4: ["pl:system:a:b"] } }),
  ];
  const outbound = [{ ruleset: 10 }, accept({ protocol: "IPENCAP", ports: null })];
  let sent: unknown;
  const stage = await linodeStage(context, ({ method, body }) => {
    if (method === "GET") return { ...CLOSED, inbound: others, outbound, version: 5 };
    sent = body;
    return { ...(body as object), version: 6 };
  });
  await apply(await firewallOf(stage), "add", ["192.0.2.1/32"]);
  const { inbound: rules, outbound: back } = sent as { inbound: unknown[]; outbound: unknown[] };
  assert.equal(JSON.stringify(rules.slice(0, -1)), JSON.stringify(others));
  assert.equal(JSON.stringify(back), JSON.stringify(outbound));
});

test("apply() puts our rules at the end, and later where the first of them stands", async (context) => {
  const stage = await linodeStage(context);
  const target = await firewallOf(stage);
  const labels = () => inbound(stage).map(({ label }) => label);
  set(stage, [accept({ label: "one" }), accept({ label: "two" })]);
  await apply(target, "add", ["192.0.2.1/32"]);
  assert.deepEqual(labels(), ["one", "two", `${MARKER}-0`]);
  const [one = {}, two = {}, ours = {}] = inbound(stage);
  const more = { ...ours, addresses: { ipv4: ["192.0.2.9/32"] } };
  set(stage, [one, ours, two, more]);
  await apply(target, "add", ["192.0.2.2/32"]);
  assert.deepEqual(labels(), ["one", `${MARKER}-0`, "two"]);
  // What people put between ours stays between them, whatever they mean by it.
  const between = accept({
    action: "DROP",
    label: "between",
    addresses: { ipv4: ["192.0.2.2/32"] },
  });
  const [first = {}, mine = {}] = inbound(stage);
  set(stage, [first, mine, between, { ...mine, addresses: { ipv4: ["192.0.2.8/32"] } }]);
  await apply(target, "add", hosts(300));
  assert.deepEqual(labels(), ["one", `${MARKER}-0`, "between", `${MARKER}-1`]);
  set(stage, [one, ours, two]);
  await apply(target, "add", ["192.0.2.2/32", "192.0.2.9/32"]);
  assert.deepEqual(addressesOf(inbound(stage)[1]), [
    "192.0.2.1/32",
    "192.0.2.2/32",
    "192.0.2.9/32",
  ]);
});

test("apply() leaves no rule without addresses", async (context) => {
  const stage = await linodeStage(context);
  const target = await firewallOf(stage);
  set(stage, [accept()]);
  await apply(target, "add", hosts(256));
  assert.equal(inbound(stage).length, 3);
  await apply(target, "remove", hosts(1));
  assert.equal(inbound(stage).length, 2);
  await apply(target, "remove", hosts(256).slice(1));
  assert.deepEqual(inbound(stage), [accept()]);
});

test("apply() writes nothing when nothing would change", async (context) => {
  const stage = await linodeStage(context);
  const target = await firewallOf(stage);
  const revision = await apply(target, "add", ["192.0.2.1/32"]);
  const version = stage.cloud.rules(FIREWALL)?.version;
  assert.equal(await apply(target, "add", ["192.0.2.1/32"], revision), revision);
  assert.equal(await apply(target, "remove", ["192.0.2.9/32"], revision), revision);
  assert.equal(stage.cloud.rules(FIREWALL)?.version, version);
});

test("apply() says full with numbers before it writes, and counts the rules of both directions", async (context) => {
  const stage = await linodeStage(context);
  const target = await firewallOf(stage);
  const others = (count: number) => Array.from({ length: count }, () => accept({ ports: "22" }));
  set(stage, others(13), others(11));
  await apply(target, "add", hosts(255));
  const before = stage.cloud.rules(FIREWALL);
  await refusal(
    apply(target, "add", ["192.0.2.1/32"]),
    "full",
    /24 rules of others, both directions .* 2 that .* 255 addresses a rule and 25 rules/,
  );
  assert.deepEqual(stage.cloud.rules(FIREWALL), before);
  assert.deepEqual((await target.observe(new AbortController().signal)).capacity, [
    { families: ["ipv4", "ipv6"], used: 255, limit: 255 },
  ]);
});

test("observe() knows the room: whole rules that others leave, or the limit where that is less", async (context) => {
  const stage = await linodeStage(context);
  const capacityOf = async (limit?: number) => {
    const target = await firewallOf(stage, 5432, limit);
    const { capacity } = await target.observe(new AbortController().signal);
    return capacity.map(({ used, limit: most }) => [used, most]);
  };
  assert.deepEqual(await capacityOf(), [[0, 25 * 255]]);
  set(stage, [accept(), accept({ ports: "22" })], [{ ruleset: 9 }]);
  await apply(await firewallOf(stage), "add", hosts(300));
  assert.deepEqual(await capacityOf(), [[300, 22 * 255]]);
  assert.deepEqual(await capacityOf(400), [[302, 400]]);
  assert.deepEqual(await capacityOf(100_000), [[300, 22 * 255]]);
});

test("observe() finds its slot by protocol and ports, however those are written, and takes no rule that opens more", async (context) => {
  const stage = await linodeStage(context);
  const rows: readonly (readonly [string, LinodeRule])[] = [
    ["192.0.2.1/32", { ports: "5432" }],
    ["192.0.2.2/32", { ports: " 5432 " }],
    ["192.0.2.3/32", { ports: "5432-5440" }],
    ["192.0.2.4/32", { ports: "5432, 5433" }],
    ["192.0.2.5/32", { ports: null }],
    ["192.0.2.6/32", { ports: "" }],
    ["192.0.2.7/32", { protocol: "UDP" }],
    ["192.0.2.8/32", { protocol: "ALL", ports: null }],
    ["192.0.2.9/32", { protocol: "ICMP", ports: null }],
  ];
  set(
    stage,
    rows.map(([address, change]) => accept({ ...change, addresses: { ipv4: [address] } })),
  );
  const seen = async (permission: object) => {
    const target = await stage.target("linode/firewall", { id: FIREWALL, permission });
    return (await observed(target)).map((line) => line.split(" ")[1]);
  };
  assert.deepEqual(await seen({ protocol: "tcp", port: 5432 }), ["192.0.2.1/32", "192.0.2.2/32"]);
  assert.deepEqual(await seen({ protocol: "tcp", port: "5432-5440" }), ["192.0.2.3/32"]);
  assert.deepEqual(await seen({ protocol: "udp", port: "5432-5432" }), ["192.0.2.7/32"]);
  assert.deepEqual(await seen({ protocol: "all" }), ["192.0.2.8/32"]);
});

test("apply() opens all protocols without ports", async (context) => {
  const stage = await linodeStage(context);
  const settings = { id: FIREWALL, permission: { protocol: "all" } };
  const target = await stage.target("linode/firewall", settings);
  await apply(target, "add", ["192.0.2.1/32"]);
  assert.equal(inbound(stage)[0]?.protocol, "ALL");
  assert(!("ports" in (inbound(stage)[0] ?? {})));
  assert.deepEqual(await observed(target), [`allow 192.0.2.1/32 ${TEXT}`]);
});

test("two slots of one firewall do not disturb each other", async (context) => {
  const stage = await linodeStage(context);
  const [one, two] = [await firewallOf(stage, 5432), await firewallOf(stage, "6432-6440")];
  await apply(one, "add", ["192.0.2.1/32", "192.0.2.2/32"]);
  await apply(two, "add", ["192.0.2.1/32", "192.0.2.3/32"]);
  await apply(one, "remove", ["192.0.2.1/32"]);
  assert.deepEqual(await observed(one), [`allow 192.0.2.2/32 ${TEXT}`]);
  assert.deepEqual(await observed(two), [
    `allow 192.0.2.1/32 ${TEXT}`,
    `allow 192.0.2.3/32 ${TEXT}`,
  ]);
  await apply(one, "remove", ["192.0.2.2/32"]);
  assert.equal(inbound(stage).length, 1);
});

test("observe() shows what a rule before ours drops, and any that drops while we have none", async (context) => {
  const stage = await linodeStage(context);
  const target = await firewallOf(stage);
  const drop = (change: LinodeRule) =>
    accept({ action: "DROP", addresses: { ipv4: ["198.51.100.0/24"] }, ...change });
  const denied = async () => (await observed(target)).filter((line) => line.startsWith("deny"));
  const theirs = "deny 198.51.100.0/24 by-hand";
  for (const [change, isSeen] of [
    [{}, true],
    [{ ports: "5000-6000" }, true],
    [{ ports: "22, 5432" }, true],
    [{ ports: null }, true],
    [{ protocol: "ALL", ports: null }, true],
    [{ ports: "22, 6000-7000" }, false],
    [{ protocol: "UDP" }, false],
    [{ protocol: "ICMP", ports: null }, false],
  ] as const) {
    set(stage, [drop(change)]);
    assert.deepEqual(await denied(), isSeen ? [theirs] : [], JSON.stringify(change));
  }
  set(stage, [drop({})]);
  await apply(target, "add", ["192.0.2.1/32"]);
  assert.deepEqual(await denied(), [theirs]);
  const [first = {}, ours = {}] = inbound(stage);
  set(stage, [ours, first]);
  assert.deepEqual(await denied(), []);
  set(stage, [ours, first, { ...ours, addresses: { ipv4: ["192.0.2.9/32"] } }]);
  assert.deepEqual(await denied(), [theirs]);
});

test("apply() does not write back what was removed a moment ago, though a read still shows it", async (context) => {
  const stage = await linodeStage(context);
  const target = await firewallOf(stage);
  await apply(target, "add", ["10.0.0.0/24", "192.0.2.1/32"]);
  const [added, late] = [cidrs("192.0.2.2/32"), cidrs("10.0.0.0/24")];
  await target.apply(
    { verb: "add", cidrs: added, text: TEXT, instead: [], late },
    null,
    new AbortController().signal,
  );
  assert.deepEqual(addressesOf(inbound(stage)[0]), ["192.0.2.1/32", "192.0.2.2/32"]);
});

test("observe() does not take somebody's rule behind one that drops the same for one that lets in", async (context) => {
  const stage = await linodeStage(context);
  const target = await firewallOf(stage);
  await apply(target, "add", ["192.0.2.1/32"]);
  const [ours = {}] = inbound(stage);
  const drop = accept({ action: "DROP", label: "drop", addresses: { ipv4: ["198.51.100.0/24"] } });
  const theirs = accept({ addresses: { ipv4: ["198.51.100.5/32", "203.0.113.5/32"] } });
  set(stage, [ours, drop, theirs]);
  assert.deepEqual(await observed(target), [
    `allow 192.0.2.1/32 ${TEXT}`,
    "allow 203.0.113.5/32 by-hand",
  ]);
});

test("observe() shows the label where a rule has no description", async (context) => {
  const stage = await linodeStage(context);
  set(stage, [accept({ label: `${MARKER}-0` }), accept({ description: "office" })]);
  assert.deepEqual(await observed(await firewallOf(stage)), [
    `allow 203.0.113.7/32 ${MARKER}-0`,
    "allow 203.0.113.7/32 office",
  ]);
});

test("a rule that somebody took over by another description is no longer ours to write", async (context) => {
  const stage = await linodeStage(context);
  const target = await firewallOf(stage);
  await apply(target, "add", ["192.0.2.1/32"]);
  const [ours = {}] = inbound(stage);
  const taken = { ...ours, description: `taken over from ${TEXT}` };
  set(stage, [taken]);
  await apply(target, "add", ["192.0.2.2/32"]);
  assert.deepEqual(inbound(stage)[0], taken);
  assert.equal(inbound(stage).length, 2);
});

test("prefix lists are nobody's entries, and a rule of ours that holds one is not written anew", async (context) => {
  const stage = await linodeStage(context);
  const target = await firewallOf(stage);
  const addresses = { ipv4: ["pl:system:a:b", "203.0.113.7/32"], ipv6: ["pl::vpcs:<current>"] };
  set(stage, [accept({ addresses })]);
  assert.deepEqual(await observed(target), ["allow 203.0.113.7/32 by-hand"]);
  const ours = accept({ addresses, label: `${MARKER}-0`, description: TEXT });
  set(stage, [ours]);
  assert.deepEqual(await observed(target), [`allow 203.0.113.7/32 ${TEXT}`]);
  await refusal(
    apply(target, "add", ["192.0.2.1/32"]),
    "invalid",
    /holds something else than addr/,
  );
  assert.deepEqual(inbound(stage), [ours]);
});

test("observe() rejects rather than leave out an address that it cannot read", async (context) => {
  const stage = await linodeStage(context);
  for (const addresses of [{ ipv4: ["192.0.2.256/32"] }, { ipv4: ["somewhere"] }, null]) {
    set(stage, [accept({ addresses })]);
    const target = await firewallOf(stage);
    await refusal(target.observe(new AbortController().signal), "invalid", /rule "by-hand"/);
  }
  set(stage, [accept({ addresses: null, ports: "22" })]);
  assert.deepEqual(await observed(await firewallOf(stage)), []);
});

test("apply() writes nothing when the rules are no longer those that were read", async (context) => {
  const stage = await linodeStage(context);
  const target = await firewallOf(stage);
  const { revision } = await target.observe(new AbortController().signal);
  set(stage, [accept()]);
  const before = stage.cloud.rules(FIREWALL);
  await refusal(
    apply(target, "add", ["192.0.2.1/32"], revision),
    "conflict",
    /at version 2.*1 was seen/,
  );
  assert.deepEqual(stage.cloud.rules(FIREWALL), before);
});

test("a firewall of which a Linode is moved is busy, and can be read", async (context) => {
  const stage = await linodeStage(context);
  const target = await firewallOf(stage);
  stage.cloud.setBusy(FIREWALL, true);
  await refusal(
    apply(target, "add", ["192.0.2.1/32"]),
    "busy",
    /; it is tried again when Linode is/,
  );
  assert.deepEqual(await observed(target), []);
  stage.cloud.setBusy(FIREWALL, false);
  await apply(target, "add", ["192.0.2.1/32"]);
  assert.equal(inbound(stage).length, 1);
});

test("apply() writes nothing by a read that is older than what it wrote itself", async (context) => {
  const stage = await linodeStage(context);
  const target = await firewallOf(stage);
  const old = stage.cloud.rules(FIREWALL);
  await apply(target, "add", ["192.0.2.1/32"]);
  if (old !== null) stage.cloud.setRules(FIREWALL, old, old.version);
  await refusal(apply(target, "add", ["192.0.2.2/32"], "1"), "conflict", /version 2 was seen/);
});

test("apply() writes nothing by a read that is older than one that was seen", async (context) => {
  const stage = await linodeStage(context);
  const old = stage.cloud.rules(FIREWALL);
  assert(old !== null);
  // Another process has written, and this one has seen it.
  await apply(await firewallOf(stage), "add", ["192.0.2.1/32"]);
  const target = await firewallOf(stage);
  await observed(target);
  stage.cloud.setRules(FIREWALL, old, old.version);
  await refusal(apply(target, "add", ["192.0.2.2/32"]), "conflict", /version 2 was seen/);
});

test("apply() says so when somebody else's change may have been overwritten", async (context) => {
  const races = { at: 0 };
  const stage = await linodeStage(context, ({ method }, cloud) => {
    if (method !== "PUT" || races.at === 0) return;
    races.at -= 1;
    cloud.setRules(FIREWALL, { ...CLOSED, inbound: [accept()], outbound: [] });
  });
  const target = await firewallOf(stage);
  races.at = 1;
  await refusal(
    apply(target, "add", ["192.0.2.1/32"]),
    "conflict",
    /went from version 1 to 3 during the write, so that somebody's change may have been over/,
  );
  await apply(target, "add", ["192.0.2.2/32"]);
  assert.deepEqual(addressesOf(inbound(stage)[0]), ["192.0.2.1/32", "192.0.2.2/32"]);
});

test("apply() believes no answer that shows other rules than were sent, and minds no other form of the same", async (context) => {
  const sent = { addresses: {}, label: `${MARKER}-0`, description: TEXT };
  const answers: readonly (readonly [object, boolean])[] = [
    [{ ipv4: ["192.0.2.1/32"], ipv6: ["2001:DB8::1/128"] }, true],
    [{ ipv4: ["192.0.2.1"], ipv6: ["2001:db8:0::1/128"] }, true],
    [{ ipv4: ["192.0.2.1/32"] }, false],
    [{ ipv4: ["192.0.2.1/32", "192.0.2.9/32"], ipv6: ["2001:db8::1/128"] }, false],
  ];
  for (const [addresses, isSame] of answers) {
    const stage = await linodeStage(context, ({ method }) => {
      if (method === "GET") return;
      const rule = accept({ ...sent, addresses, ports: "5432 " });
      return { ...CLOSED, outbound_policy: "ACCEPT", inbound: [rule], outbound: [], version: 2 };
    });
    const done = apply(await firewallOf(stage), "add", ["192.0.2.1/32", "2001:db8::1/128"]);
    if (isSame) assert.equal(await done, "2");
    else await refusal(done, "conflict", /may have been overwritten/);
  }
});

test("a firewall whose answer is not understood whole is unavailable, and is not written", async (context) => {
  const whole = { ...CLOSED, inbound: [accept()], outbound: [], version: 1 };
  const broken = [
    {},
    [],
    { ...whole, version: undefined },
    { ...whole, version: "1" },
    { ...whole, inbound: undefined },
    { ...whole, outbound: null },
    { ...whole, inbound_policy: undefined },
    { ...whole, outbound_policy: "LATER" },
    { ...whole, inbound: ["rule"] },
    { ...whole, inbound: [accept({ action: "LATER" })] },
    { ...whole, outbound: [accept({ protocol: null })] },
    { ...whole, inbound: [accept({ addresses: ["192.0.2.1/32"] })] },
    { page: 1, pages: 1, results: 0, data: [] },
  ];
  for (const body of broken) {
    const stage = await linodeStage(context, ({ method }) => (method === "GET" ? body : undefined));
    const target = await firewallOf(stage);
    const unreadable = /get-firewall-rules ended in UnreadableAnswer; it is tried again/;
    await refusal(target.observe(new AbortController().signal), "unavailable", unreadable);
    await refusal(apply(target, "add", ["192.0.2.1/32"]), "unavailable", unreadable);
    assert(!stage.requests.some(({ method }) => method === "PUT"), JSON.stringify(body));
  }
});

test("an inbound policy that lets everybody in is said once, and hinders nothing", async (context) => {
  const stage = await linodeStage(context);
  stage.cloud.setRules(FIREWALL, { ...OPEN, inbound: [], outbound: [] });
  const target = await firewallOf(stage);
  await apply(target, "add", ["192.0.2.1/32"]);
  await target.observe(new AbortController().signal);
  assert.equal(inbound(stage).length, 1);
  assert.equal(stage.cloud.rules(FIREWALL)?.inbound_policy, "ACCEPT");
  assert.deepEqual(
    stage.world.lines.map(({ level, fields }) => [level, fields]),
    [["warn", { firewall: FIREWALL }]],
  );
  assert.match(stage.world.lines[0]?.message ?? "", /lets everybody in .*; set it to DROP/);
});

test("schema refuses what Linode has not, in words that say what to write", () => {
  const problems = (settings: object) =>
    kindNamed("linode/firewall")
      .schema.safeParse(settings)
      .error?.issues.map(({ path, message }) => `${path.join(".")}: ${message}`) ?? [];
  const permission = { protocol: "tcp", port: 5432 };
  assert.deepEqual(problems({ id: FIREWALL, permission, token: "env:OTHER", limit: 5 }), []);
  assert.match(String(problems({ id: 0, permission })), /^id: Cannot use id 0: write the number/);
  assert.match(String(problems({ id: "4711", permission })), /^id: Cannot use id "4711"/);
  const zero = { protocol: "tcp", port: 0 };
  assert.match(
    String(problems({ id: 1, permission: zero })),
    /^permission.port: Cannot use port 0/,
  );
  assert.match(String(problems({ id: 1, permission, token: "abc" })), /^token: Cannot use a value/);
});
