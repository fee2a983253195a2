import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { commitUpdate, judgeEvent, judgeList, type Update } from "../../forwarder/held.ts";
import { type Nodes, nodesCollection } from "../../forwarder/nodes.ts";
import type { ObservedNode } from "../../forwarder/projection.ts";

const NODES = nodesCollection({ labels: [], mark: { kind: "taint", key: "example.com/gate" } });

interface Seen {
  readonly uid: string;
  readonly name: string;
  readonly address: string;
  readonly taint?: string;
}

function objectOf({ uid, name, address, taint }: Seen) {
  const addresses = [{ type: "InternalIP", address }];
  const taints = taint === undefined ? [] : [{ key: "example.com/gate", effect: taint }];
  return { metadata: { uid, name }, spec: { taints }, status: { addresses } };
}

/** What is held, with the two ways in which it changes. */
function hold() {
  const held = new Map<string, ObservedNode>();
  const taken = (update: Update<ObservedNode> | null) => {
    if (update !== null) commitUpdate(NODES, held, update);
    return update;
  };
  return {
    held,
    list(listed: readonly Seen[]): Update<ObservedNode> {
      const sights = listed.map((seen) => NODES.see(objectOf(seen), held));
      const nodes = new Map(
        sights.flatMap(({ uid, observed }) =>
          observed === null ? [] : [[uid, observed] as const],
        ),
      );
      const update = judgeList(NODES, held, nodes);
      taken(update);
      return update;
    },
    event(kind: "present" | "gone", seen: Seen) {
      return taken(judgeEvent(NODES, held, { ...NODES.see(objectOf(seen), held), kind }));
    },
  };
}

function kinds(update: Update<ObservedNode> | null) {
  return update?.changes.map(({ kind, uid }) => `${kind} ${uid}`) ?? null;
}

function text(held: Nodes): readonly string[] {
  return [...held.values()].map(({ node }) => JSON.stringify(node)).toSorted();
}

const arbitraryNode = fc
  .tuple(fc.integer({ min: 0, max: 5 }), fc.integer({ min: 1, max: 3 }))
  .map(([id, host]): Seen => ({ uid: `u${id}`, name: `n${id}`, address: `10.0.0.${host}` }));

test("judgeList() changes, told one by one, lead to the same nodes", () => {
  const lists = fc.array(fc.uniqueArray(arbitraryNode, { selector: ({ uid }) => uid }));
  fc.assert(
    fc.property(lists, (sequence) => {
      const whole = hold();
      const pieces = hold();
      for (const listed of sequence) {
        const byUid = new Map(listed.map((seen) => [seen.uid, seen]));
        for (const { kind, uid, name } of whole.list(listed).changes) {
          const seen = byUid.get(uid) ?? { uid, name, address: "10.0.0.9" };
          pieces.event(kind === "node.removed" ? "gone" : "present", seen);
        }
        assert.deepEqual([...whole.held.keys()].toSorted(), [...byUid.keys()].toSorted());
        assert.deepEqual(text(pieces.held), text(whole.held));
      }
    }),
  );
});

test("judgeList() of the same nodes changes nothing, and keeps the very objects", () => {
  const { list, held } = hold();
  const nodes = [1, 2].map((n) => ({ uid: `u${n}`, name: `n${n}`, address: `10.0.0.${n}` }));
  list(nodes);
  const before = new Map(held);
  const update = list(nodes.toReversed());
  assert.deepEqual(update, { gone: [], kept: [], changes: [], unsent: [], marks: false });
  assert.ok([...before].every(([uid, observed]) => held.get(uid) === observed));
});

test("judgeEvent() lets the end of a node pass that is not held, though its name is", () => {
  const { list, event, held } = hold();
  list([{ uid: "new", name: "a", address: "10.0.0.2" }]);
  assert.equal(event("gone", { uid: "old", name: "a", address: "10.0.0.1" }), null);
  assert.deepEqual([...held.keys()], ["new"]);
});

test("judgeEvent() replaces the holder of a name", () => {
  const { list, event, held } = hold();
  list([{ uid: "old", name: "a", address: "10.0.0.1" }]);
  const update = event("present", { uid: "new", name: "a", address: "10.0.0.2" });
  assert.deepEqual([...held.keys()], ["new"]);
  assert.deepEqual(kinds(update), ["node.removed old", "node.added new"]);
});

test("judgeEvent() of an unchanged node changes nothing", () => {
  const { list, event } = hold();
  const node = { uid: "u", name: "a", address: "10.0.0.1" };
  list([node]);
  assert.equal(event("present", node), null);
});

test("judgeEvent() of a mark alone is news for a gate, and no change", () => {
  const { list, event, held } = hold();
  const node = { uid: "u", name: "a", address: "10.0.0.1" };
  list([{ ...node, taint: "NoSchedule" }]);
  const sent = held.get("u")?.node;
  const update = event("present", node);
  assert.deepEqual([update?.changes, update?.marks], [[], true]);
  assert.equal(held.get("u")?.mark, null);
  assert.equal(held.get("u")?.node, sent, "what is sent is the very same");
});
