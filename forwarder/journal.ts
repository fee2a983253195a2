import type { Instant } from "../lib/core/record.ts";
import type { Change, Generation } from "../lib/core/snapshot.ts";
import type { Answer } from "../lib/wire/protocol.ts";
import type { Logger } from "../lib/world.ts";

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
    }
  /** A complete list of the nodes was taken over. */
  | { readonly kind: "listed"; readonly at: Instant; readonly nodes: number }
  /** Nodes came, went or changed. */
  | { readonly kind: "seen"; readonly at: Instant; readonly changes: readonly Change[] }
  /** Entries of a node's addresses that are not sent. */
  | {
      readonly kind: "unsent";
      readonly at: Instant;
      readonly node: string;
      readonly addresses: readonly string[];
    }
  | {
      readonly kind: "watch-failed";
      readonly at: Instant;
      readonly message: string;
      readonly retryInMs: number;
      /** People are needed. */
      readonly lasting: boolean;
    }
  /** The version of the cluster's state went back: it was restored from a backup. */
  | { readonly kind: "restored"; readonly at: Instant; readonly from: string; readonly to: string }
  | { readonly kind: "lease-acquired"; readonly at: Instant; readonly epoch: number }
  | { readonly kind: "lease-lost"; readonly at: Instant; readonly message: string }
  | { readonly kind: "lease-failed"; readonly at: Instant; readonly message: string }
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
      readonly retryInMs: number;
      readonly lasting: boolean;
    }
  | { readonly kind: "warning"; readonly at: Instant; readonly message: string };

export type Emit = (event: ForwarderEvent) => void;

/** One log line for one event; never throws. */
export function logEvent(log: Logger, event: ForwarderEvent): void {
  const { kind } = event;
  switch (kind) {
    case "started": {
      const { cluster, server, receiver } = event;
      log.info({ event: kind, cluster, server, receiver }, "Forwarding");
      return;
    }
    case "listed":
      log.info({ event: kind, nodes: event.nodes }, "Listed the nodes");
      return;
    case "seen":
      log.info(
        { event: kind, changes: event.changes.slice(0, CHANGES_LOGGED_MAX) },
        "Nodes changed",
      );
      return;
    case "unsent": {
      const { node, addresses } = event;
      log.warn(
        { event: kind, node, addresses },
        "Addresses are not sent: no IP addresses, or too many",
      );
      return;
    }
    case "restored":
      log.error(
        { event: kind, from: event.from, to: event.to },
        "The cluster's state went back in time: it was restored; a new epoch begins",
      );
      return;
    case "lease-acquired":
    case "lease-released":
    case "epoch-raised":
      log.info({ event: kind, epoch: event.epoch }, LEASE_SENTENCES[kind]);
      return;
    case "lease-lost":
    case "lease-failed":
    case "warning":
      log.warn({ event: kind }, event.message);
      return;
    case "delivered":
      log.debug({ event: kind, ...event.generation, nodes: event.nodes }, "Delivering");
      return;
    case "answered": {
      const { generation, tookMs, answer } = event;
      const fields = { event: kind, ...generation, tookMs, again: answer.again };
      // Heartbeats are no news; that it works at all, and what came of a change, are.
      const isNews = event.changes.length > 0 || generation.sequence === 1;
      if (isNews) log.info(fields, "Admitted");
      else log.debug(fields, "Admitted");
      for (const { list, target, state, reason, message } of answer.lists) {
        if (reason !== "out-of-scope") continue;
        log.warn({ event: kind, list, target, state, reason }, message);
      }
      return;
    }
    case "watch-failed":
    case "undelivered": {
      const fields = { event: kind, retryInMs: event.retryInMs };
      if (event.lasting) log.error(fields, event.message);
      else log.warn(fields, event.message);
      return;
    }
    default:
      throw new Error(`Unreachable: ${JSON.stringify(kind satisfies never)}`);
  }
}

const CHANGES_LOGGED_MAX = 20;

const LEASE_SENTENCES = {
  "lease-acquired": "Acquired the Lease",
  "lease-released": "Released the Lease",
  "epoch-raised": "Raised the epoch",
} as const;
