import { compareGenerations, type Node, type Snapshot } from "../lib/core/snapshot.ts";
import type { Answer } from "../lib/wire/protocol.ts";
import { isSameNode, isUnsentHost, type ObservedNode } from "./projection.ts";

/** What a receiver says of one node; waiting is on a list, but not covered by all of them. */
export type Standing = "ready" | "waiting" | "unlisted";

/** What the receiver last said of the nodes, and what it had been told of them. */
export interface Knowledge {
  /** Under which it was told: since another one began, somebody else may have told it more. */
  readonly epoch: number;
  /** Keys of the labels that the nodes were sent with. */
  readonly labels: readonly string[];
  readonly nodes: ReadonlyMap<string, { readonly sent: Node; readonly standing: Standing }>;
}

/**
 * What an answer to a sent snapshot teaches: nothing, unless it was computed from that snapshot. An
 * earlier generation did not hold it yet; a later one is somebody else's, and may have held other
 * addresses of the same node. A node that is said to be both ready and on no list is taken for the
 * latter.
 */
export function learn(sent: Snapshot, answer: Answer): Knowledge | null {
  if (compareGenerations(answer.generation, sent.generation) !== 0) return null;
  const ready = new Set(answer.readyNodes);
  const unlisted = new Set(answer.unlisted);
  const standingOfUid = (uid: string): Standing =>
    unlisted.has(uid) ? "unlisted" : ready.has(uid) ? "ready" : "waiting";
  return {
    epoch: sent.generation.epoch,
    labels: sent.scope.labels,
    nodes: new Map(
      sent.nodes.map((node) => [node.uid, { sent: node, standing: standingOfUid(node.uid) }]),
    ),
  };
}

/**
 * How a node stands as it is now. Unknown where the receiver was told something else of it: an
 * address that came since has not been read back from anywhere.
 */
export function standingOf(
  knowledge: Knowledge | null,
  observed: ObservedNode,
  epoch: number | null,
): Standing | "unknown" {
  if (knowledge === null || knowledge.epoch !== epoch) return "unknown";
  const known = knowledge.nodes.get(observed.node.uid);
  if (known === undefined || !isSameNode(known.sent, observed.node)) return "unknown";
  // What there was no room for in the message is covered by nobody.
  const isWhole = !observed.unsent.some(isUnsentHost);
  return known.standing === "ready" && !isWhole ? "waiting" : known.standing;
}
