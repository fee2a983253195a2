import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { applyEvent, applyList, NO_NODES, type Nodes } from "../../forwarder/nodes.ts";
import { type ObservedNode, projectNode } from "../../forwarder/projection.ts";
import { compareVersions, laterVersion } from "../../forwarder/version.ts";

function observe(uid: string, name: string, address: string): ObservedNode {
  const status = { addresses: [{ type: "InternalIP", address }] };
  return projectNode({ metadata: { uid, name }, status }, []);
}

function kinds(changes: readonly { readonly kind: string; readonly uid: string }[]) {
  return changes.map(({ kind, uid }) => `${kind} ${uid}`);
}

const arbitraryNode = fc
  .tuple(fc.integer({ min: 0, max: 5 }), fc.integer({ min: 1, max: 3 }))
  .map(([id, host]) => observe(`u${id}`, `n${id}`, `10.0.0.${host}`));

test("applyList() changes, told one by one, lead to the same nodes", () => {
  const lists = fc.array(fc.uniqueArray(arbitraryNode, { selector: ({ node }) => node.uid }));
  fc.assert(
    fc.property(lists, (sequence) => {
      let whole: Nodes = NO_NODES;
      let pieces: Nodes = NO_NODES;
      for (const listed of sequence) {
        const transition = applyList(whole, listed);
        whole = transition.nodes;
        for (const { kind, uid } of transition.changes) {
          const observed = whole.get(uid) ?? pieces.get(uid);
          assert.ok(observed);
          const event = kind === "node.removed" ? "gone" : "present";
          pieces = applyEvent(pieces, { kind: event, observed }).nodes;
        }
        const uids = listed.map(({ node }) => node.uid).toSorted();
        assert.deepEqual([...whole.keys()].toSorted(), uids);
        const text = (nodes: Nodes) => [...nodes.values()].map(({ node }) => JSON.stringify(node));
        assert.deepEqual(text(pieces).toSorted(), text(whole).toSorted());
      }
    }),
  );
});

test("applyList() of the same nodes changes nothing", () => {
  const first = applyList(NO_NODES, [
    observe("u1", "a", "10.0.0.1"),
    observe("u2", "b", "10.0.0.2"),
  ]);
  const second = applyList(first.nodes, [...first.nodes.values()].toReversed());
  assert.deepEqual(second.changes, []);
  assert.equal(second.nodes, first.nodes);
});

test("applyEvent() lets the end of a node pass that is not held, though its name is", () => {
  const { nodes } = applyList(NO_NODES, [observe("new", "a", "10.0.0.2")]);
  const late = applyEvent(nodes, { kind: "gone", observed: observe("old", "a", "10.0.0.1") });
  assert.equal(late.nodes, nodes);
  assert.deepEqual(late.changes, []);
});

test("applyEvent() replaces the holder of a name", () => {
  const { nodes } = applyList(NO_NODES, [observe("old", "a", "10.0.0.1")]);
  const next = applyEvent(nodes, { kind: "present", observed: observe("new", "a", "10.0.0.2") });
  assert.deepEqual([...next.nodes.keys()], ["new"]);
  assert.deepEqual(kinds(next.changes), ["node.removed old", "node.added new"]);
});

test("applyEvent() of an unchanged node changes nothing", () => {
  const { nodes } = applyList(NO_NODES, [observe("u", "a", "10.0.0.1")]);
  const same = applyEvent(nodes, { kind: "present", observed: observe("u", "a", "10.0.0.1") });
  assert.equal(same.nodes, nodes);
});

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
  const { node, unsent } = projectNode(
    { metadata: { uid: "u", name: "a" }, status: { addresses } },
    [],
  );
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
  const { node, unsent } = projectNode(
    { metadata: { uid: "u", name: "a" }, status: { addresses } },
    [],
  );
  assert.deepEqual(node.addresses, [{ type: "InternalIP", address: "10.0.0.1/32" }]);
  assert.deepEqual(unsent, ["", "010.0.0.1", "10.0.0.1/8", "a.example", "fe80::1%eth0"]);
});

test("projectNode() keeps the labels of the scope only", () => {
  const labels = { pool: "x", secret: "y", __proto__: "z" };
  const { node } = projectNode({ metadata: { uid: "u", name: "a", labels } }, ["zone", "pool"]);
  assert.deepEqual(node.labels, { pool: "x" });
});

test("projectNode() refuses what has no identity, rather than guessing one", () => {
  for (const object of [null, "a", {}, { metadata: { name: "a" } }, { metadata: { uid: "u" } }]) {
    assert.throws(() => projectNode(object, []), RangeError);
  }
});

test("projectNode() takes whatever else it is given", () => {
  const wild = fc.record({
    metadata: fc.record({ uid: fc.constant("u"), name: fc.constant("a"), labels: fc.anything() }),
    spec: fc.anything(),
    status: fc.oneof(fc.anything(), fc.record({ addresses: fc.array(fc.anything()) })),
  });
  fc.assert(fc.property(wild, (object) => projectNode(object, ["pool"]).node.uid === "u"));
});

test("compareVersions() orders decimal integers of any length", () => {
  const version = fc.bigInt({ min: 1n, max: 2n ** 128n });
  fc.assert(
    fc.property(version, version, (a, b) => {
      const order = compareVersions(String(a), String(b));
      assert.equal(Math.sign(order ?? Number.NaN), a < b ? -1 : a > b ? 1 : 0);
    }),
  );
});

test("compareVersions() compares nothing else", () => {
  for (const odd of ["", "0", "007", "1.5", "abc", "-1", "1e3"]) {
    assert.equal(compareVersions(odd, "5"), null);
    assert.equal(compareVersions(odd, odd), 0);
  }
  assert.equal(laterVersion("9", "10"), "10");
  assert.equal(laterVersion("10", "9"), "10");
  assert.equal(laterVersion("abc", "9"), "9");
});
