import type { Change } from "../lib/core/snapshot.ts";
import type { ObservedNode } from "./projection.ts";

/**
 * All nodes of the cluster by uid: two objects with one uid are the same node, whatever their
 * names.
 */
export type Nodes = ReadonlyMap<string, ObservedNode>;

export const NO_NODES: Nodes = new Map();

export interface NodeEvent {
  readonly kind: "present" | "gone";
  readonly observed: ObservedNode;
}

/** A state after something was seen, and what that changed; the same map when nothing did. */
export interface Transition {
  readonly nodes: Nodes;
  /** In the order of the events; of a list: removed, changed, added, each by name. */
  readonly changes: readonly Change[];
  /** Nodes with addresses that are not sent, where that is new. */
  readonly unsent: readonly ObservedNode[];
}

/** A complete list replaces everything: who is not on it is gone. */
export function applyList(held: Nodes, listed: readonly ObservedNode[]): Transition {
  const nodes = new Map(listed.map((observed) => [observed.node.uid, observed]));
  const removed = [...held.values()].filter(({ node }) => !nodes.has(node.uid));
  const added = [...nodes.values()].filter(({ node }) => !held.has(node.uid));
  const changed = [...nodes.values()].filter((observed) => {
    const before = held.get(observed.node.uid);
    return before !== undefined && !isSameNode(before, observed);
  });
  const changes = [
    ...describe("node.removed", removed),
    ...describe("node.changed", changed),
    ...describe("node.added", added),
  ];
  const unsent = [...nodes.values()].filter((observed) => isUnsentNews(held, observed));
  if (changes.length === 0 && unsent.length === 0) return { nodes: held, changes, unsent };
  return { nodes, changes, unsent };
}

/**
 * One event of the watch. A name belongs to one node at a time, so a node seen under the name of
 * another replaces it; the end of a node that is not held changes nothing, also when its name lives
 * on.
 */
export function applyEvent(held: Nodes, { kind, observed }: NodeEvent): Transition {
  const { uid, name } = observed.node;
  const before = held.get(uid);
  if (kind === "gone") {
    if (before === undefined) return { nodes: held, changes: [], unsent: [] };
    const nodes = new Map(held);
    nodes.delete(uid);
    return { nodes, changes: describe("node.removed", [before]), unsent: [] };
  }
  const unsent = isUnsentNews(held, observed) ? [observed] : [];
  if (before !== undefined && isSameNode(before, observed) && unsent.length === 0) {
    return { nodes: held, changes: [], unsent };
  }
  const namesakes =
    before === undefined ? [...held.values()].filter(({ node }) => node.name === name) : [];
  const nodes = new Map(held);
  for (const { node } of namesakes) nodes.delete(node.uid);
  nodes.set(uid, observed);
  const kindOfChange = before === undefined ? "node.added" : "node.changed";
  const isNews = before === undefined || !isSameNode(before, observed);
  const changes = [
    ...describe("node.removed", namesakes),
    ...(isNews ? describe(kindOfChange, [observed]) : []),
  ];
  return { nodes, changes, unsent };
}

function isSameNode(a: ObservedNode, b: ObservedNode): boolean {
  // Both come from one projection, which sorts keys and addresses.
  return JSON.stringify(a.node) === JSON.stringify(b.node);
}

function isUnsentNews(held: Nodes, observed: ObservedNode): boolean {
  const before = held.get(observed.node.uid)?.unsent ?? [];
  return observed.unsent.length > 0 && observed.unsent.join() !== before.join();
}

function describe(kind: string, observed: readonly ObservedNode[]): Change[] {
  return observed
    .map(({ node }) => ({ kind, name: node.name, uid: node.uid }))
    .toSorted((a, b) => (a.name === b.name ? 0 : a.name < b.name ? -1 : 1));
}
