import type { Collection, Held } from "./collection.ts";
import { isSameNode, type ObservedNode, projectNode } from "./projection.ts";
import type { GateMark } from "./variables.ts";

/**
 * All nodes of the cluster by uid, as they were last seen; what it holds changes as events come in.
 */
export type Nodes = Held<ObservedNode>;

/** Every node, with the labels of the scope and what the gate has put on it. */
export function nodesCollection(options: {
  readonly labels: readonly string[];
  readonly mark: GateMark | null;
}): Collection<ObservedNode> {
  return {
    name: "nodes",
    noun: "node",
    path: "/api/v1/nodes",
    labelSelector: "",
    listKind: "NodeList",
    rights: "get, list and watch on nodes",
    see(object, held) {
      const observed = projectNode(object, { ...options, held });
      return { uid: observed.node.uid, observed };
    },
    uidOf: ({ node }) => node.uid,
    nameOf: ({ node }) => node.name,
    isNamesake: (a, b) => a.node.name === b.node.name,
    isSame: (a, b) => isSameNode(a.node, b.node),
    isMarkedAlike: (a, b) => a.mark === b.mark,
  };
}
