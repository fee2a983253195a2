import type { Instant } from "../lib/core/record.ts";
import type { ListReport } from "../lib/core/report.ts";
import type { Change, Generation } from "../lib/core/snapshot.ts";
import type { Answer } from "../lib/wire/protocol.ts";
import type { Ended } from "./course.ts";

/**
 * Everything that a forwarder has to say, in one place: to its log, and to whoever watches it work.
 */
export type ForwarderEvent =
  /** Addresses without user, password and query. */
  | {
      readonly kind: "started";
      readonly at: Instant;
      readonly cluster: string;
      readonly server: string;
      readonly receiver: string;
      /** Where probes and metrics are served, as host:port; null where they are not. */
      readonly listening: string | null;
    }
  /**
   * A complete list of a collection was taken over: "nodes", or "pods" and a selector as in
   * "pods of pay/app=api".
   */
  | {
      readonly kind: "listed";
      readonly at: Instant;
      readonly collection: string;
      readonly count: number;
    }
  /** A page of a list was read, and there are more: the watch is alive. */
  | { readonly kind: "list-goes-on"; readonly at: Instant; readonly collection: string }
  /** Nodes or pods came, went or changed. */
  | { readonly kind: "seen"; readonly at: Instant; readonly changes: readonly Change[] }
  /** Entries of the addresses of a node, or of a pod as namespace/name, that are not sent. */
  | {
      readonly kind: "unsent";
      readonly at: Instant;
      readonly node: string;
      readonly addresses: readonly string[];
    }
  /** A stream or a list came to its end, in good order or not: the watch is alive and goes on. */
  | {
      readonly kind: "watch-ended";
      readonly at: Instant;
      readonly collection: string;
      readonly why: Ended["kind"];
    }
  | {
      readonly kind: "watch-failed";
      readonly at: Instant;
      readonly collection: string;
      readonly message: string;
      readonly retryInMs: number;
      /** People are needed. */
      readonly lasting: boolean;
    }
  /** For minutes nothing has shown that what is known still holds; told again while it lasts. */
  | { readonly kind: "watch-stale"; readonly at: Instant; readonly ageMs: number }
  /** What is known is current again, after it was said to be stale for so long. */
  | { readonly kind: "watch-current"; readonly at: Instant; readonly afterMs: number }
  /** The version of the cluster's state went back: it was restored from a backup. */
  | {
      readonly kind: "restored";
      readonly at: Instant;
      readonly collection: string;
      readonly from: string;
      readonly to: string;
    }
  | { readonly kind: "lease-acquired"; readonly at: Instant; readonly epoch: number }
  | { readonly kind: "lease-lost"; readonly at: Instant; readonly message: string }
  /** Somebody else holds the Lease, and delivers; told once for each of them. */
  | {
      readonly kind: "lease-waiting";
      readonly at: Instant;
      /** The Lease as namespace/name. */
      readonly lease: string;
      readonly holder: string;
      readonly epoch: number;
    }
  /** `lasting`: people are needed. */
  | {
      readonly kind: "lease-failed";
      readonly at: Instant;
      readonly message: string;
      readonly lasting: boolean;
    }
  | { readonly kind: "lease-released"; readonly at: Instant; readonly epoch: number }
  | { readonly kind: "epoch-raised"; readonly at: Instant; readonly epoch: number }
  /** An attempt is on its way, with these changes since the last one that was answered. */
  | {
      readonly kind: "delivered";
      readonly at: Instant;
      readonly generation: Generation;
      readonly nodes: number;
      readonly changes: readonly Change[];
    }
  /** The snapshot was admitted. */
  | {
      readonly kind: "answered";
      readonly at: Instant;
      readonly generation: Generation;
      readonly changes: readonly Change[];
      readonly answer: Answer;
      readonly tookMs: number;
    }
  /** `lasting`: it will not heal by trying again; people are needed. */
  | {
      readonly kind: "undelivered";
      readonly at: Instant;
      readonly message: string;
      readonly why: UndeliveredReason;
      readonly retryInMs: number;
      readonly lasting: boolean;
    }
  /** A list on a target began to be withheld or failed, for another reason, or no longer is. */
  | { readonly kind: "list-changed"; readonly at: Instant; readonly report: ListReport }
  /**
   * A node is on every gating list that selects it, as read back; it was not when last heard of.
   */
  | {
      readonly kind: "node-ready";
      readonly at: Instant;
      readonly node: NamedNode;
      /** Since it was first seen without being ready. */
      readonly tookMs: number;
    }
  /** A node has not been ready for minutes; told once for each wait. */
  | {
      readonly kind: "node-pending";
      readonly at: Instant;
      readonly node: NamedNode;
      readonly forMs: number;
      /** For people: what it waits for. */
      readonly message: string;
    }
  /**
   * A node may take pods now: it is ready, or the gate's time was over. `unlisted`: the latter, and
   * it is on no list; it was not ours that kept pods off it.
   */
  | {
      readonly kind: "gate-opened";
      readonly at: Instant;
      readonly node: NamedNode;
      readonly why: "ready" | "timeout" | "unlisted";
      /** Since the node was first seen shut. */
      readonly afterMs: number;
    }
  /** The gate of a node could not be moved; `lasting`: people are needed. */
  | {
      readonly kind: "gate-failed";
      readonly at: Instant;
      readonly node: NamedNode;
      readonly message: string;
      readonly lasting: boolean;
    }
  | { readonly kind: "warning"; readonly at: Instant; readonly message: string };

/** A node as people and Events name it. */
export interface NamedNode {
  readonly uid: string;
  readonly name: string;
}

/**
 * What the receiver's refusal was about; `unclear` is no answer, or none that can be understood.
 */
export type UndeliveredReason =
  | "stale"
  | "other-cluster"
  | "unauthenticated"
  | "refused"
  | "unclear";

export type Emit = (event: ForwarderEvent) => void;
