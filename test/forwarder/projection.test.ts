import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isUnsentHost, type ObservedNode, projectNode } from "../../forwarder/projection.ts";
import { NODE_ADDRESSES_MAX, type Node, parseSnapshot } from "../../lib/core/snapshot.ts";

const META = { uid: "u", name: "a" };

function project(
  object: unknown,
  options: Partial<Parameters<typeof projectNode>[1]> = {},
): ObservedNode {
  return projectNode(object, { labels: [], mark: null, held: new Map(), ...options });
}

/** The same object, seen while this is held. */
function again(before: ObservedNode, object: unknown, options: Parameters<typeof project>[1] = {}) {
  return project(object, { ...options, held: new Map([[before.node.uid, before]]) });
}

test("projectNode() sends InternalIP and ExternalIP only, each once and canonical", () => {
  const addresses = [
    { type: "InternalIP", address: "10.0.0.9" },
    { type: "InternalIP", address: "10.0.0.1" },
    { type: "InternalIP", address: "10.0.0.9" },
    { type: "ExternalIP", address: "2001:DB8:0::1" },
    { type: "ExternalIP", address: "2001:db8::1" },
    { type: "Hostname", address: "10.0.0.77" },
    { type: "InternalDNS", address: "a.example" },
    { type: "ExternalDNS", address: "203.0.113.77" },
  ];
  const { node, unsent } = project({ metadata: META, status: { addresses } });
  assert.deepEqual(node.addresses, [
    { type: "ExternalIP", address: "2001:db8::1/128" },
    { type: "InternalIP", address: "10.0.0.1/32" },
    { type: "InternalIP", address: "10.0.0.9/32" },
  ]);
  assert.deepEqual(unsent, []);
});

test("projectNode() reports what is no IP address and keeps the rest", () => {
  const addresses = ["a.example", "010.0.0.1", "10.0.0.1/8", "fe80::1%eth0", "", "10.0.0.1"].map(
    (address) => ({ type: "InternalIP", address }),
  );
  const { node, unsent } = project({ metadata: META, status: { addresses } });
  assert.deepEqual(node.addresses, [{ type: "InternalIP", address: "10.0.0.1/32" }]);
  assert.deepEqual(unsent, ["", "010.0.0.1", "10.0.0.1/8", "a.example", "fe80::1%eth0"]);
});

test("projectNode() keeps the labels of the scope only", () => {
  const labels = { pool: "x", secret: "y", __proto__: "z" };
  const { node } = project({ metadata: { ...META, labels } }, { labels: ["pool", "zone"] });
  assert.deepEqual(node.labels, { pool: "x" });
});

test("projectNode() refuses what has no identity, rather than guessing one", () => {
  for (const object of [null, "a", {}, { metadata: { name: "a" } }, { metadata: { uid: "u" } }]) {
    assert.throws(() => project(object), RangeError);
  }
});

test("projectNode() takes whatever else it is given", () => {
  const wild = fc.record({
    metadata: fc.record({ uid: fc.constant("u"), name: fc.constant("a"), labels: fc.anything() }),
    spec: fc.anything(),
    status: fc.oneof(fc.anything(), fc.record({ addresses: fc.array(fc.anything()) })),
  });
  fc.assert(fc.property(wild, (object) => project(object, { labels: ["pool"] }).node.uid === "u"));
});

/** What nodes are made of, absurd or not. */
const text = fc.oneof(
  fc.constantFrom("10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:DB8:0::1", "::ffff:10.0.0.1", ""),
  fc.constantFrom("10.0.0.1/32", "0.0.0.0", "::", "256.1.1.1", "1e3", "node-a", "ü€𝄞"),
  fc.string(),
);
const addressEntry = fc.record({
  type: fc.constantFrom("InternalIP", "ExternalIP", "Hostname", "InternalDNS", "SomethingNew", 7),
  address: fc.oneof({ weight: 9, arbitrary: text }, fc.jsonValue()),
});
const arbitraryObject = fc.record({
  metadata: fc.record({
    uid: fc.constant("u"),
    name: fc.constantFrom("a", "b"),
    labels: fc.dictionary(fc.constantFrom("pool", "zone", "other"), fc.oneof(text, fc.jsonValue())),
  }),
  spec: fc.record({
    podCIDRs: fc.array(fc.constantFrom("10.1.0.0/24", "10.1.0.7/24", "2001:db8::/64", "none")),
    taints: fc.array(
      fc.record({ key: fc.constantFrom("example.com/a", "b"), effect: fc.string() }),
    ),
  }),
  status: fc.record({ addresses: fc.array(addressEntry, { maxLength: 8 }) }),
});
const SETTINGS = {
  labels: ["pool", "zone"],
  mark: { kind: "taint", key: "example.com/a" },
} as const;

test("projectNode() makes the same of an object, whatever was held of it before", () => {
  fc.assert(
    fc.property(arbitraryObject, arbitraryObject, (first, second) => {
      const held = project(first, SETTINGS);
      assert.deepEqual(again(held, second, SETTINGS), project(second, SETTINGS));
      assert.equal(again(held, structuredClone(first), SETTINGS), held, "the very object");
    }),
  );
});

/** So little that two of them often differ in one thing alone. */
const smallObject = fc.record({
  metadata: fc.record({
    uid: fc.constant("u"),
    name: fc.constant("a"),
    labels: fc.record({ pool: fc.constantFrom("x", "y") }),
  }),
  spec: fc.record({
    podCIDRs: fc.constantFrom(["10.1.0.0/24"], ["10.1.1.0/24"]),
    taints: fc.constantFrom([], [{ key: "example.com/a", effect: "NoSchedule" }]),
  }),
  status: fc.record({
    addresses: fc.array(
      fc.record({
        type: fc.constantFrom("InternalIP", "ExternalIP"),
        address: fc.constantFrom("10.0.0.1", "10.0.0.2", "x", "y"),
      }),
      { minLength: 1, maxLength: 2 },
    ),
  }),
});

test("projectNode() notices what differs from what was held, however little it is", () => {
  fc.assert(
    fc.property(smallObject, smallObject, (first, second) => {
      const held = project(first, SETTINGS);
      assert.deepEqual(again(held, second, SETTINGS), project(second, SETTINGS));
    }),
    { numRuns: 2_000 },
  );
});

test("projectNode() sends nothing that a receiver would refuse", () => {
  const snapshotOf = (nodes: readonly Node[]) => ({
    cluster: "test",
    clusterUid: "c",
    generation: { epoch: 1, sequence: 1 },
    time: "2026-11-20T21:00:05Z",
    observedAt: "2026-11-20T21:00:05Z",
    scope: { labels: SETTINGS.labels, pods: [] },
    changes: [],
    pods: [],
    nodes: nodes.map((node) => ({
      ...node,
      addresses: node.addresses.map(({ type, address }) => ({
        type,
        address: address.split("/")[0],
      })),
    })),
  });
  fc.assert(
    fc.property(arbitraryObject, (object) => {
      const reading = parseSnapshot(snapshotOf([project(object, SETTINGS).node]));
      assert.equal(reading.kind, "parsed", JSON.stringify(reading));
    }),
  );
});

test("projectNode() sends an IPv4-mapped address as one IPv6 address, which receivers refuse alone", () => {
  const addresses = ["::ffff:10.0.0.1", "::FFFF:0a00:0001", "10.0.0.1"].map((address) => {
    return { type: "InternalIP", address };
  });
  const { node } = project({ metadata: META, status: { addresses } });
  assert.deepEqual(
    node.addresses.map(({ address }) => address),
    ["10.0.0.1/32", "::ffff:a00:1/128"],
  );
});

test("projectNode() keeps what it cannot send short enough to be read", () => {
  const absurd = ["x".repeat(150_000), { toString: 1 }, null, 7, ["10.0.0.1"]];
  const addresses = [...absurd, ...Array.from({ length: 500 }, (_, n) => `host-${n}`)].map(
    (address) => ({ type: "ExternalIP", address }),
  );
  const { node, unsent } = project({ metadata: META, status: { addresses } });
  assert.deepEqual(node.addresses, []);
  assert.ok(unsent.length > 0 && unsent.length <= 32);
  assert.ok(unsent.every((one) => one.length <= 100));
  const many = Array.from({ length: NODE_ADDRESSES_MAX + 3 }, (_, n) => {
    return { type: "InternalIP", address: `10.0.${n >> 8}.${n & 255}` };
  });
  const crowded = project({ metadata: META, status: { addresses: many } });
  assert.equal(crowded.node.addresses.length, NODE_ADDRESSES_MAX);
  assert.equal(crowded.unsent.length, 3);
});

test("projectNode() shows an address that it does not send, however much stands there that is none", () => {
  const garbage = Array.from({ length: 100 }, (_, n) => `!bad${n}`);
  const real = Array.from({ length: NODE_ADDRESSES_MAX + 1 }, (_, n) => {
    return `10.0.${n >> 8}.${n & 255}`;
  });
  const addresses = [...garbage, ...real].map((address) => ({ type: "InternalIP", address }));
  const { node, unsent } = project({ metadata: META, status: { addresses } });
  assert.equal(node.addresses.length, NODE_ADDRESSES_MAX);
  assert.equal(unsent.filter(isUnsentHost).length, 1);
  assert.equal(unsent.filter((text) => text.startsWith("!bad")).length, 31);
});

test("projectNode() takes no name for a node that Kubernetes would not give", () => {
  for (const name of ["ü", "a\nb", "a b", "x".repeat(254)]) {
    assert.throws(() => project({ metadata: { uid: "u", name } }), RangeError);
    assert.throws(() => project({ metadata: { uid: name, name: "a" } }), RangeError);
  }
});

test("projectNode() leaves out a label value that Kubernetes would not take", () => {
  const labels = { pool: "ü€𝄞", zone: "x".repeat(64) };
  const { node } = project({ metadata: { ...META, labels } }, { labels: ["pool", "zone"] });
  assert.deepEqual(node.labels, {});
});

test("projectNode() shows the effects of the gate's taint, and of no other", () => {
  const mark = { kind: "taint", key: "example.com/gate" } as const;
  const taints = [
    { key: "example.com/gate", effect: "NoSchedule" },
    { key: "example.com/gate", effect: "NoExecute", value: "x" },
    { key: "example.com/gate2", effect: "PreferNoSchedule" },
  ];
  const marked = project({ metadata: META, spec: { taints } }, { mark });
  assert.equal(marked.mark, "NoExecute,NoSchedule");
  assert.equal(project({ metadata: META, spec: { taints: taints.slice(2) } }, { mark }).mark, null);
  assert.equal(project({ metadata: META, spec: { taints } }).mark, null, "without a gate");
});

test("projectNode() shows the gate's condition by status and reason", () => {
  const mark = { kind: "condition" } as const;
  const type = "kube-allowlist.dev/Allowlisted";
  const conditions = [
    { type: "Ready", status: "True", reason: "KubeletReady" },
    { type, status: "False", reason: "AllowlistPending" },
  ];
  const shown = (given: unknown) =>
    project({ metadata: META, status: { conditions: given } }, { mark });
  assert.equal(shown(conditions).mark, "False/AllowlistPending");
  assert.equal(shown([{ type }]).mark, "/");
  assert.equal(shown(conditions.slice(0, 1)).mark, null);
});

test("projectNode() says when a node was created, where the API server does", () => {
  const at = (creationTimestamp: unknown) =>
    project({ metadata: { ...META, creationTimestamp } }).createdAt;
  assert.equal(at("2026-11-20T21:00:05Z"), Date.parse("2026-11-20T21:00:05Z"));
  for (const odd of [undefined, null, "", "yesterday", 7]) assert.equal(at(odd), null);
});
