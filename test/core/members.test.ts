import assert from "node:assert/strict";
import test from "node:test";
import type { List } from "../../lib/core/list.ts";
import { membersOf, selectsNode } from "../../lib/core/members.ts";
import type { AdmittedSnapshot } from "../../lib/core/snapshot.ts";
import { START } from "../virtual-world.ts";
import { cidr, cidrs, cluster, EXTERNAL, list, node, policy, snapshot } from "./cases.ts";

function membership(
  snapshots: Record<string, AdmittedSnapshot | null>,
  options: { list?: List; clusters?: ReturnType<typeof cluster>[]; now?: number } = {},
) {
  const subject = options.list ?? list();
  const clusters = options.clusters ?? [cluster("eu")];
  return membersOf(subject, snapshots, {
    policy: policy([subject], clusters),
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

test("membersOf() looks at pods only where the forwarder did", () => {
  const source = { kind: "pods", cluster: "eu", namespace: "pay", labels: { app: "api" } } as const;
  const api = {
    uid: "p",
    namespace: "pay",
    name: "api-0",
    labels: { app: "api" },
    addresses: cidrs("10.2.0.9"),
  };
  const wanting = list({ sources: [source] });
  const looked = (labels: Record<string, string>) =>
    membership(
      {
        eu: snapshot([], {
          pods: [api],
          scope: { labels: [], pods: [{ namespace: "pay", labels }] },
        }),
      },
      { list: wanting },
    );
  assert.equal(looked({ app: "api" }).voices[0]?.kind, "heard");
  assert.equal(looked({}).voices[0]?.kind, "heard");
  assert.equal(looked({ app: "api", tier: "x" }).voices[0]?.kind, "out-of-scope");
  assert.equal(looked({}).members[0]?.node, "pay/api-0");
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
