import assert from "node:assert/strict";
import test from "node:test";
import type { List } from "../../lib/core/list.ts";
import { membersOf, selectsNode } from "../../lib/core/members.ts";
import { outsideKey } from "../../lib/core/outside.ts";
import type { Readings, SourceReading } from "../../lib/core/reading.ts";
import type { AdmittedSnapshot } from "../../lib/core/snapshot.ts";
import { START } from "../virtual-world.ts";
import {
  API,
  API_SCOPE,
  cidr,
  cidrs,
  cluster,
  EXTERNAL,
  list,
  NAT,
  node,
  pod,
  policy,
  SUBNET,
  snapshot,
} from "./cases.ts";

function membership(
  snapshots: Record<string, AdmittedSnapshot | null>,
  options: {
    list?: List;
    clusters?: ReturnType<typeof cluster>[];
    readings?: Readings;
    now?: number;
  } = {},
) {
  const subject = options.list ?? list();
  const clusters = options.clusters ?? [cluster("eu")];
  return membersOf(subject, snapshots, {
    policy: policy([subject], clusters),
    readings: options.readings ?? {},
    now: options.now ?? START,
  });
}

const POOL = { ...EXTERNAL, labels: { pool: "payments" } };

test("membersOf() takes the selected kinds of addresses of the selected nodes, with their provenance", () => {
  const eu = snapshot(
    [
      node("a", ["203.0.113.1"], { labels: { pool: "payments" } }),
      node("b", ["203.0.113.2"], { labels: { pool: "web" } }),
      node("c", [], {
        labels: { pool: "payments" },
        addresses: [
          { type: "InternalIP", address: cidr("10.0.0.3") },
          { type: "ExternalIP", address: cidr("203.0.113.3") },
        ],
      }),
    ],
    { scope: { labels: ["pool"], pods: [] } },
  );
  const { members, refused } = membership({ eu }, { list: list({ sources: [POOL] }) });
  assert.deepEqual(
    members.map((member) => [member.cidr, member.cluster, member.node]),
    [
      ["203.0.113.1/32", "eu", "node-a"],
      ["203.0.113.3/32", "eu", "node-c"],
    ],
  );
  assert.deepEqual(refused, []);
});

test("membersOf() refuses address by address what is outside the bounds, forbidden or too wide", () => {
  const eu = snapshot([
    node("a", ["203.0.113.1", "198.51.100.9", "127.0.0.1", "::ffff:203.0.113.7"]),
    node("b", [], { podCidrs: cidrs("10.1.0.0/16", "10.2.0.0/24") }),
  ]);
  const source = { ...EXTERNAL, addresses: ["ExternalIP", "podCidrs"] } as const;
  const found = membership({ eu }, { list: list({ sources: [source] }) });
  assert.deepEqual(
    found.members.map((member) => member.cidr),
    ["203.0.113.1/32", "10.2.0.0/24"],
  );
  assert.deepEqual(
    found.refused.map((refusal) => [refusal.address, refusal.reason, refusal.node]),
    [
      ["198.51.100.9", "out-of-bounds", "node-a"],
      ["127.0.0.1", "forbidden", "node-a"],
      ["::ffff:cb00:7107", "forbidden", "node-a"],
      ["10.1.0.0/16", "too-wide", "node-b"],
    ],
  );
});

test("membersOf() never lets everything through, whatever the bounds say", () => {
  const eu = snapshot([node("a", [], { podCidrs: [cidr("0.0.0.0/0"), cidr("::/0")] })]);
  const wide = cluster("eu", {
    bounds: [cidr("0.0.0.0/0"), cidr("::/0")],
    widest: { ipv4: 0, ipv6: 0 },
  });
  const source = { ...EXTERNAL, addresses: ["podCidrs"] } as const;
  const found = membership({ eu }, { list: list({ sources: [source] }), clusters: [wide] });
  assert.deepEqual(found.members, []);
  assert.deepEqual(
    found.refused.map((refusal) => refusal.reason),
    ["forbidden", "forbidden"],
  );
});

test("membersOf() takes with bounds [public] single globally routable hosts only", () => {
  const eu = snapshot([node("a", ["8.8.8.8", "10.0.0.1", "203.0.113.1", "2606:4700::1111"])]);
  const found = membership({ eu }, { clusters: [cluster("eu", { bounds: "public" })] });
  assert.deepEqual(
    found.members.map((member) => member.cidr),
    ["8.8.8.8/32", "2606:4700::1111/128"],
  );
});

test("membersOf() hears a cluster at its receipt less the age that its own clock admits", () => {
  const eu = snapshot([], { time: START, observedAt: START - 800_000 });
  assert.equal(membership({ eu }, { now: START + 100_000 }).voices[0]?.kind, "heard");
  assert.equal(membership({ eu }, { now: START + 100_001 }).voices[0]?.kind, "stale");
});

test("membersOf() keeps what a stale cluster last said", () => {
  const eu = snapshot([node("a", ["203.0.113.1"])]);
  const found = membership({ eu }, { now: START + 86_400_000 });
  assert.equal(found.voices[0]?.kind, "stale");
  assert.equal(found.members.length, 1);
});

test("membersOf() says of a cluster that never spoke that it was not heard, not that it is empty", () => {
  assert.deepEqual(membership({ eu: null }).voices, [{ kind: "not-heard", cluster: "eu" }]);
});

test("membersOf() names the forwarder's setting when a list needs a label outside the scope", () => {
  const eu = snapshot([node("a", ["203.0.113.1"])], { scope: { labels: ["zone"], pods: [] } });
  const [voice] = membership({ eu }, { list: list({ sources: [POOL] }) }).voices;
  assert.deepEqual(voice, {
    kind: "out-of-scope",
    cluster: "eu",
    setting: 'KUBE_ALLOWLIST_LABELS must name "pool"',
  });
});

test("membersOf() takes the addresses of the selected pods, named with their namespace", () => {
  const eu = snapshot([node("a", ["203.0.113.1"])], {
    scope: API_SCOPE,
    pods: [
      pod("p", ["10.2.0.9", "2001:db8::9"]),
      pod("q", ["10.2.0.10"], { labels: { app: "web" } }),
      pod("r", ["10.2.0.11"], { namespace: "web" }),
      pod("s", []),
      pod("t", ["192.168.0.9"]),
    ],
  });
  const found = membership({ eu }, { list: list({ sources: [API] }) });
  assert.deepEqual(
    found.members.map((member) => [member.cidr, member.cluster, member.node]),
    [
      ["10.2.0.9/32", "eu", "pay/pod-p"],
      ["2001:db8::9/128", "eu", "pay/pod-p"],
    ],
  );
  assert.deepEqual(found.refused, [
    { address: "192.168.0.9", cluster: "eu", node: "pay/pod-t", reason: "out-of-bounds" },
  ]);
  assert.equal(found.voices[0]?.kind, "heard");
});

test("membersOf() says that a cluster was not looked at, however old its truth is", () => {
  const eu = snapshot([], { pods: [] });
  const options = { list: list({ sources: [API] }), now: START + 86_400_000 };
  assert.equal(membership({ eu }, options).voices[0]?.kind, "out-of-scope");
  const seen = snapshot([], { scope: API_SCOPE });
  assert.equal(membership({ eu: seen }, options).voices[0]?.kind, "stale");
});

test("membersOf() counts a retired cluster as heard with no nodes", () => {
  const eu = snapshot([node("a", ["203.0.113.1"])]);
  const found = membership({ eu }, { clusters: [cluster("eu", { retired: true })] });
  assert.deepEqual(found.members, []);
  assert.deepEqual(found.voices, [{ kind: "retired", cluster: "eu" }]);
});

test("membersOf() unites clusters and static members", () => {
  const both = list({
    sources: [
      EXTERNAL,
      { ...EXTERNAL, cluster: "us" },
      { kind: "static", cidrs: cidrs("192.0.2.0/28") },
    ],
  });
  const found = membership(
    {
      eu: snapshot([node("a", ["203.0.113.1"])]),
      us: snapshot([node("b", ["203.0.113.1"])], { cluster: "us" }),
    },
    { list: both, clusters: [cluster("eu"), cluster("us")] },
  );
  assert.deepEqual(
    found.members.map((member) => [member.cidr, member.cluster]),
    [
      ["203.0.113.1/32", "eu"],
      ["203.0.113.1/32", "us"],
      ["192.0.2.0/28", null],
    ],
  );
});

test("selectsNode() looks at labels as own keys, never at what every object inherits", () => {
  const odd = list({ sources: [{ ...EXTERNAL, labels: { constructor: "x" } }] });
  assert.equal(selectsNode(odd, "eu", node("a", [])), false);
  assert.equal(selectsNode(list(), "eu", node("a", [])), true);
  assert.equal(selectsNode(list(), "us", node("a", [])), false);
});

const SUBNETS = { kind: "subnets", subnets: [SUBNET], widest: { ipv4: 20, ipv6: 56 } } as const;
const NAMES = { kind: "dns", names: [NAT], bounds: "public" } as const;

function reading(texts: readonly string[], given: Partial<SourceReading> = {}): SourceReading {
  const answers = cidrs(...texts).map((one) => ({ cidr: one, since: START, seenAt: START }));
  return { readAt: START, answers, free: null, trouble: null, ...given };
}

/** Of a list whose only source is the one that said this. */
function outside(
  source: typeof SUBNETS | typeof NAMES | List["sources"][number],
  said: SourceReading | null,
  now = START,
) {
  const key = source.kind === "subnets" ? outsideKey(SUBNET) : outsideKey(NAT);
  const options = { list: list({ sources: [source] }), readings: { [key]: said }, now };
  return membership({}, options);
}

test("membersOf() takes the networks of a subnet, IPv6 included, under the name of the subnet", () => {
  const { members, refused, voices } = outside(SUBNETS, reading(["10.0.0.0/24", "2001:db8::/64"]));
  assert.deepEqual(members, [
    { cidr: "10.0.0.0/24", cluster: null, node: "aws/subnet/subnet-0a1b", uid: null },
    { cidr: "2001:db8::/64", cluster: null, node: "aws/subnet/subnet-0a1b", uid: null },
  ]);
  assert.deepEqual(refused, []);
  assert.deepEqual(voices, [
    { kind: "heard", source: "aws/subnet/subnet-0a1b", receivedAt: START },
  ]);
});

test("membersOf() refuses of a subnet what is too wide, everything, or no network of hosts", () => {
  const wide = ["10.0.0.0/19", "0.0.0.0/0", "::/0", "2001:db8::/55", "169.254.0.0/24"];
  const found = outside(SUBNETS, reading([...wide, "10.1.0.0/20"]));
  assert.deepEqual(
    found.members.map((member) => member.cidr),
    ["10.1.0.0/20"],
  );
  assert.deepEqual(
    found.refused.map(({ address, reason, node: from, cluster: of }) => [
      address,
      reason,
      from,
      of,
    ]),
    [
      ["10.0.0.0/19", "too-wide", "aws/subnet/subnet-0a1b", null],
      ["0.0.0.0/0", "forbidden", "aws/subnet/subnet-0a1b", null],
      ["::/0", "forbidden", "aws/subnet/subnet-0a1b", null],
      ["2001:db8::/55", "too-wide", "aws/subnet/subnet-0a1b", null],
      ["169.254.0.0/24", "forbidden", "aws/subnet/subnet-0a1b", null],
    ],
  );
});

test("membersOf() takes of a name single public hosts only, unless bounds say otherwise", () => {
  const answers = ["8.8.8.8", "10.0.0.7", "127.0.0.1", "169.254.169.254", "2606:4700::1111"];
  const found = outside(NAMES, reading(answers));
  assert.deepEqual(
    found.members.map((member) => member.cidr),
    ["8.8.8.8/32", "2606:4700::1111/128"],
  );
  assert.deepEqual(
    found.refused.map((refusal) => [refusal.address, refusal.reason, refusal.node]),
    [
      ["10.0.0.7", "out-of-bounds", "dns/nat.example.com"],
      ["127.0.0.1", "forbidden", "dns/nat.example.com"],
      ["169.254.169.254", "forbidden", "dns/nat.example.com"],
    ],
  );
  const inside = outside({ ...NAMES, bounds: cidrs("10.0.0.0/8") }, reading(answers));
  assert.deepEqual(
    inside.members.map((member) => member.cidr),
    ["10.0.0.7/32"],
  );
  const wide = outside({ ...NAMES, bounds: cidrs("10.0.0.0/8") }, reading(["10.0.0.0/24"]));
  assert.deepEqual(
    wide.refused.map((refusal) => refusal.reason),
    ["too-wide"],
  );
});

test("membersOf() takes a hundred addresses of a name, and a flood pushes none of them out", () => {
  const flood = Array.from({ length: 900 }, (_, index) => `9.0.${index >> 8}.${index & 255}`);
  const said = reading([]);
  const answers = [
    ...cidrs(...flood).map((one) => ({ cidr: one, since: START + 1, seenAt: START + 1 })),
    ...cidrs("200.0.0.1", "200.0.0.2").map((one) => ({ cidr: one, since: START, seenAt: START })),
  ];
  const { members, refused } = outside(NAMES, { ...said, answers });
  assert.equal(members.length, 100);
  assert.deepEqual(
    members.slice(-2).map((member) => member.cidr),
    ["200.0.0.1/32", "200.0.0.2/32"],
  );
  assert.equal(refused.length, 802);
  assert.equal(refused[0]?.reason, "max-entries");
  const inner = outside({ ...NAMES, bounds: cidrs("200.0.0.0/24") }, { ...said, answers });
  assert.equal(inner.members.length, 2, "what is out of bounds takes nobody's place");
});

test("membersOf() keeps what an outside source last said, and tells that it waits for it", () => {
  const trouble = { at: START + 60_000, message: "Cannot read it: vanished" };
  const said = reading(["10.0.0.0/24"], { trouble });
  const broken = outside(SUBNETS, said, START + 60_000);
  assert.equal(broken.members.length, 1);
  const source = "aws/subnet/subnet-0a1b";
  const { message } = trouble;
  const voice = { kind: "not-heard", source, heardAt: START, message, lasting: false };
  assert.deepEqual(broken.voices, [voice]);
  const later = outside(SUBNETS, said, START + 900_001);
  assert.deepEqual(later.voices, [{ ...voice, lasting: true }]);
  assert.equal(later.members.length, 1);
  const unasked = outside(SUBNETS, reading(["10.0.0.0/24"]), START + 900_001);
  assert.deepEqual(unasked.voices, [{ kind: "stale", source, heardAt: START }]);
  assert.equal(unasked.members.length, 1);
  const ahead = outside(SUBNETS, reading(["10.0.0.0/24"], { readAt: START + 900_001 }));
  assert.equal(ahead.voices[0]?.kind, "stale", "a clock that ran ahead speaks for nobody");
});

test("membersOf() counts an outside source as not heard where the list may hold nothing that it gives", () => {
  const refused = (of: typeof SUBNETS | List["sources"][number], ...texts: readonly string[]) =>
    outside(of, reading(texts)).voices[0];
  assert.deepEqual(refused(NAMES, "0.0.0.0", "10.0.0.5", "127.0.0.1", "10.0.0.6"), {
    kind: "not-heard",
    source: "dns/nat.example.com",
    heardAt: START,
    message:
      'Cannot take any of its addresses for "db": 0.0.0.0 (forbidden), 10.0.0.5 (out-of-bounds), ' +
      '127.0.0.1 (forbidden), …; see who answers there, or correct "bounds"',
    lasting: true,
    refused: true,
  });
  assert.equal(refused(NAMES, "10.0.0.5", "8.8.8.8")?.kind, "heard");
  const wide = refused(SUBNETS, "10.0.0.0/19");
  assert.equal(wide?.kind, "not-heard");
  assert.match(JSON.stringify(wide), /10\.0\.0\.0\/19 \(too-wide\).*correct \\"widest/);
  assert.equal(refused(SUBNETS, "10.0.0.0/19", "10.1.0.0/20")?.kind, "heard");
  const inside = { ...NAMES, bounds: cidrs("10.0.0.0/8") };
  const both = list({ sources: [NAMES, inside] });
  const readings = { [outsideKey(NAT)]: reading(["10.0.0.5"]) };
  const found = membership({}, { list: both, readings });
  assert.equal(found.voices[0]?.kind, "heard", "the list has it from another item");
});

test("membersOf() says of an outside source that was never read that it was not heard, not that it is empty", () => {
  for (const said of [null, reading([], { readAt: null, trouble: null })]) {
    assert.deepEqual(outside(NAMES, said).voices, [
      {
        kind: "not-heard",
        source: "dns/nat.example.com",
        heardAt: null,
        message: null,
        lasting: true,
      },
    ]);
  }
});
