import type { Cidr } from "../../lib/core/cidr.ts";
import type { Node, Pod, Scope } from "../../lib/core/snapshot.ts";
import { node, pod } from "../core/cases.ts";

/*
 * A cluster with a flat network, and a forwarder that says of it what its scope lets it say.
 */

/** Of the pods that the list wants: what the forwarder looks at, and is told to send. */
export type Sight =
  /** Exactly these. */
  | "selected"
  /** All of the namespace, with the label that tells them apart. */
  | "labelled"
  /** All of the namespace, without it. */
  | "unlabelled"
  /** It may not list them, or was not told to. */
  | "blind";

/** Looked at more often than not. */
export const SIGHTS: readonly Sight[] = [
  "selected",
  "selected",
  "labelled",
  "labelled",
  "unlabelled",
  "blind",
];

const SCOPES: Readonly<Record<Sight, Scope>> = {
  selected: { labels: [], pods: [{ namespace: "pay", labels: { app: "api" } }] },
  labelled: { labels: ["app"], pods: [{ namespace: "pay", labels: {} }] },
  unlabelled: { labels: [], pods: [{ namespace: "pay", labels: {} }] },
  blind: { labels: [], pods: [] },
};

export interface FlatCluster {
  readonly nodes: Map<string, Node>;
  readonly pods: Map<string, FlatPod>;
  sight: Sight;
}

interface FlatPod {
  readonly pod: Pod;
  /** Succeeded or Failed: the object stays, with an address that others may get. */
  hasEnded: boolean;
}

/** What one delivery says, and what is known from it without the code under test. */
export interface Saying {
  readonly nodes: readonly Node[];
  readonly scope: Scope;
  readonly pods: readonly Pod[];
  /** Addresses of the pods that the list wants; null where the forwarder cannot tell. */
  readonly wanted: readonly Cidr[] | null;
}

export function flatCluster(): FlatCluster {
  return { nodes: new Map(), pods: new Map(), sight: "selected" };
}

const POD_ADDRESSES = 12;

/** Something happens to nodes or pods. `serial` makes uids that were never there. */
export function happen(
  cluster: FlatCluster,
  options: { readonly draw: (below: number) => number; readonly serial: () => number },
): void {
  const { draw, serial } = options;
  const { nodes, pods } = cluster;
  switch (draw(8)) {
    case 0:
    case 1: {
      const last = draw(20);
      // One address in eight lies outside of the bounds: it must be refused and harm no other.
      const address = draw(8) === 0 ? `198.51.100.${last}` : `203.0.113.${100 + last}`;
      // One in eight claims what a pod may have, too.
      const claimed = draw(8) === 0 ? [address, `10.2.0.${draw(POD_ADDRESSES)}`] : [address];
      nodes.set(`n${last}`, node(`n${last}`, claimed));
      return;
    }
    case 2:
      nodes.delete(`n${draw(20)}`);
      return;
    case 3:
    case 4:
    case 5: {
      const uid = `p${serial()}`;
      const address = draw(8) === 0 ? "10.3.0.1" : freeAddress(cluster, draw);
      const labels = { app: draw(4) === 0 ? "web" : "api" };
      if (address !== null)
        pods.set(uid, { pod: pod(uid, [address], { labels }), hasEnded: false });
      return;
    }
    case 6: {
      const live = [...pods.values()].filter(({ hasEnded }) => !hasEnded);
      const one = live[draw(Math.max(1, live.length))];
      if (one !== undefined) one.hasEnded = true;
      return;
    }
    default: {
      const uids = [...pods.keys()];
      pods.delete(uids[draw(Math.max(1, uids.length))] ?? "");
    }
  }
}

/** One that no living pod has; those of pods that have ended come first. */
function freeAddress({ pods }: FlatCluster, draw: (below: number) => number): string | null {
  const held = [...pods.values()].map((one) => [one.hasEnded, one.pod.addresses[0] ?? ""] as const);
  const taken = new Set(held.filter(([hasEnded]) => !hasEnded).map(([, address]) => address));
  const all = Array.from({ length: POD_ADDRESSES }, (_, last) => `10.2.0.${last}`);
  const free = all.filter((address) => !taken.has(`${address}/32` as Cidr));
  const left = new Set(held.filter(([hasEnded]) => hasEnded).map(([, address]) => address));
  const reissued = free.find((address) => left.has(`${address}/32` as Cidr));
  return reissued ?? free[draw(Math.max(1, free.length))] ?? null;
}

export function sayingOf({ nodes, pods, sight }: FlatCluster): Saying {
  const live = [...pods.values()].filter(({ hasEnded }) => !hasEnded).map((one) => one.pod);
  const wanted = live.filter(({ labels }) => labels.app === "api");
  const seen = sight === "selected" ? wanted : sight === "blind" ? [] : live;
  return {
    nodes: [...nodes.values()],
    scope: SCOPES[sight],
    pods: sight === "unlabelled" ? seen.map((one) => ({ ...one, labels: {} })) : seen,
    wanted: answers(sight) ? wanted.flatMap(({ addresses }) => addresses) : null,
  };
}

function answers(sight: Sight): boolean {
  return sight === "selected" || sight === "labelled";
}
