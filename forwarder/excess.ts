import { SNAPSHOT_NODES_MAX, SNAPSHOT_PODS_MAX, type Snapshot } from "../lib/core/snapshot.ts";
import { DELIVERY_BYTES_MAX } from "../lib/wire/protocol.ts";

/**
 * Why a truth cannot be one message, with a way out; null when it can. Every receiver refuses what
 * is longer, and a part of the truth is not the truth: what was cut off would be taken for gone.
 */
export function excessOf({ nodes, pods }: Pick<Snapshot, "nodes" | "pods">): string | null {
  if (nodes.length > SNAPSHOT_NODES_MAX) {
    const wayOut =
      "list what they reach the outside through instead, as subnets or the addresses of " +
      "a NAT gateway";
    return (
      `Cannot deliver ${nodes.length} nodes: a message holds ${SNAPSHOT_NODES_MAX} at the most; ` +
      wayOut
    );
  }
  if (pods.length > SNAPSHOT_PODS_MAX) {
    return (
      `Cannot deliver ${pods.length} pods: a message holds ${SNAPSHOT_PODS_MAX} at the most; ` +
      "narrow the selectors in KUBE_ALLOWLIST_PODS"
    );
  }
  return null;
}

/** The same of a message's text, by its length in UTF-8. */
export function excessOfBytes(bytes: number): string | null {
  if (bytes <= DELIVERY_BYTES_MAX) return null;
  return (
    `Cannot deliver a message of ${bytes} bytes: ${DELIVERY_BYTES_MAX} are allowed; name fewer ` +
    "labels in KUBE_ALLOWLIST_LABELS, or narrow KUBE_ALLOWLIST_PODS"
  );
}
