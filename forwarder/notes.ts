import type { Instant } from "../lib/core/record.ts";
import type { ListReport, Reason } from "../lib/core/report.ts";
import type { ForwarderEvent } from "./journal.ts";
import { textOfMs } from "./log-line.ts";

/** What an Event is about: the forwarder as a whole, as which its Lease stands, or one node. */
export type Regarding =
  | { readonly kind: "lease" }
  /** Without a uid it is the node of that name now. */
  | { readonly kind: "node"; readonly name: string; readonly uid: string | null };

/** One thing that people may have to know; not yet an object of the API. */
export interface Note {
  readonly at: Instant;
  readonly reason: NoteReason;
  readonly regarding: Regarding;
  /** Two notes of one reason and object are the same thing again only when this is equal, too. */
  readonly subject: string;
  readonly text: string;
}

/**
 * Every reason an Event of ours may have, with its type, what was tried or done (`action`) and what
 * it is about. Reasons are a contract: people alert on them.
 */
export const NOTE_REASONS = {
  AddressAllowlisted: { type: "Normal", action: "Allowlist", about: "Node" },
  AddressNotSent: { type: "Warning", action: "Observe", about: "Node or Lease" },
  AllowlistFailed: { type: "Warning", action: "Allowlist", about: "Lease" },
  AllowlistPending: { type: "Warning", action: "Allowlist", about: "Node" },
  AllowlistQuotaExceeded: { type: "Warning", action: "Allowlist", about: "Lease" },
  AllowlistRecovered: { type: "Normal", action: "Allowlist", about: "Lease" },
  ClusterRestored: { type: "Warning", action: "Observe", about: "Lease" },
  ClusterUnheard: { type: "Warning", action: "Allowlist", about: "Lease" },
  DeliveryFailing: { type: "Warning", action: "Deliver", about: "Lease" },
  DeliveryRecovered: { type: "Normal", action: "Deliver", about: "Lease" },
  DeliveryRefused: { type: "Warning", action: "Deliver", about: "Lease" },
  EpochContested: { type: "Warning", action: "Deliver", about: "Lease" },
  EpochRaised: { type: "Warning", action: "Deliver", about: "Lease" },
  GateFailed: { type: "Warning", action: "OpenGate", about: "Node" },
  GateOpened: { type: "Normal", action: "OpenGate", about: "Node" },
  GateTimedOut: { type: "Warning", action: "OpenGate", about: "Node" },
  LeaseFailing: { type: "Warning", action: "Lead", about: "Lease" },
  LeaseLost: { type: "Warning", action: "Lead", about: "Lease" },
  OtherCluster: { type: "Warning", action: "Deliver", about: "Lease" },
  RemovalGuardTripped: { type: "Warning", action: "Allowlist", about: "Lease" },
  ScopeTooNarrow: { type: "Warning", action: "Allowlist", about: "Lease" },
  WatchCurrent: { type: "Normal", action: "Observe", about: "Lease" },
  WatchFailing: { type: "Warning", action: "Observe", about: "Lease" },
  WatchStale: { type: "Warning", action: "Observe", about: "Lease" },
} as const satisfies Readonly<Record<string, NoteKind>>;

interface NoteKind {
  readonly type: "Normal" | "Warning";
  readonly action: string;
  readonly about: "Lease" | "Node" | "Node or Lease";
}

export type NoteReason = keyof typeof NOTE_REASONS;

/** What fails heals by itself within a few minutes, or people should know. */
const FAILING_MS = 300_000;
/** Nobody delivers meanwhile, so this is told sooner: two forwarders may have found no Lease. */
const LEASE_FAILING_MS = 60_000;
const SHOWN_MAX = 5;

type Kind = ForwarderEvent["kind"];
type Draft = Omit<Note, "at">;
type Writers = {
  readonly [K in Kind]?: (event: Extract<ForwarderEvent, { kind: K }>) => Draft | null;
};

/**
 * Decides which events become Events of the cluster, and words them so that they explain themselves
 * and name a way out. Remembers only since when something fails, and what the receiver held.
 */
export function makeNotes(): (event: ForwarderEvent) => readonly Note[] {
  const all: readonly Writers[] = [
    nodeWriters(),
    deliveryWriters(),
    watchWriters(),
    leaseWriters(),
    { "list-changed": ({ report }) => noteOfList(report) },
  ];
  return (event) =>
    all.flatMap((writers) => {
      const write = writers[event.kind] as ((event: ForwarderEvent) => Draft | null) | undefined;
      const draft = write?.(event) ?? null;
      return draft === null ? [] : [{ at: event.at, ...draft }];
    });
}

function aboutLease(reason: NoteReason, text: string, subject = ""): Draft {
  return { reason, regarding: { kind: "lease" }, subject, text };
}

function aboutNode(
  reason: NoteReason,
  node: { readonly name: string; readonly uid: string | null },
  text: string,
): Draft {
  const { name, uid } = node;
  return { reason, regarding: { kind: "node", name, uid }, subject: "", text };
}

function nodeWriters(): Writers {
  return {
    "node-ready": ({ node, tookMs }) =>
      aboutNode(
        "AddressAllowlisted",
        node,
        `The node's addresses are on every gating list that selects it, ${textOfMs(tookMs)} ` +
          "after they were first seen",
      ),
    "node-pending": ({ node, forMs, message }) =>
      aboutNode("AllowlistPending", node, `${message} (for ${textOfMs(forMs)})`),
    "gate-opened": ({ node, why, afterMs }) =>
      why === "timeout"
        ? aboutNode(
            "GateTimedOut",
            node,
            `The node takes pods although its addresses are not on every list: its gate was shut ` +
              `for ${textOfMs(afterMs)}, which is its limit. Pods on it may be refused ` +
              "by what is outside; look at its Events AllowlistPending and at the receiver's " +
              "status",
          )
        : aboutNode("GateOpened", node, openedText(why, afterMs)),
    "gate-failed": ({ node, message, lasting }) =>
      lasting ? aboutNode("GateFailed", node, message) : null,
    unsent({ node, addresses }) {
      const shown = addresses.slice(0, SHOWN_MAX).map((one) => JSON.stringify(one));
      const more = addresses.length - shown.length;
      const list = `${shown.join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
      const text =
        `Not sent: ${list}, which are no IP addresses, or more than a message holds; ` +
        "correct what writes them (the cloud controller or the kubelet's --node-ip)";
      // An Event about a pod would have to stand in the pod's namespace, where we have no right.
      return node.includes("/")
        ? aboutLease("AddressNotSent", `Pod ${node}: ${text}`, node)
        : aboutNode("AddressNotSent", { name: node, uid: null }, text);
    },
  };
}

function openedText(why: "ready" | "unlisted", afterMs: number): string {
  const reason = why === "ready" ? "" : ": it is on no list, and may take what pods it is given";
  return `The node takes pods now, after ${textOfMs(afterMs)}${reason}`;
}

function deliveryWriters(): Writers {
  let streak: Streak | null = null;
  let isTold = false;
  let behind: string | null = null;
  const told = (draft: Draft): Draft => {
    isTold = true;
    return draft;
  };
  return {
    undelivered({ at, why, message, lasting }) {
      // Through losses of the Lease, too: where it comes and goes, nothing else would ever be told.
      streak = streakAt(streak, at, DELIVERY_GAP_MS);
      switch (why) {
        case "stale":
          behind = message;
          return lasting ? told(aboutLease("EpochContested", message)) : null;
        case "other-cluster":
          return told(aboutLease("OtherCluster", `${message}. ${OTHER_CLUSTER}`));
        case "refused":
        case "unauthenticated":
          return lasting ? told(aboutLease("DeliveryRefused", `${message}. ${REFUSED}`)) : null;
        case "unclear":
          if (at - streak.since < FAILING_MS) return null;
          return told(aboutLease("DeliveryFailing", `${message}. ${FAILING}`));
        default:
          throw new Error(`Unreachable: ${JSON.stringify(why satisfies never)}`);
      }
    },
    "epoch-raised"({ epoch }) {
      // Raised for a restored cluster, which has a note of its own.
      if (behind === null) return null;
      const text = `${behind}. The epoch is ${epoch} now. ${RAISED}`;
      behind = null;
      return aboutLease("EpochRaised", text);
    },
    answered() {
      const wasTold = isTold;
      streak = null;
      isTold = false;
      behind = null;
      if (!wasTold) return null;
      return aboutLease("DeliveryRecovered", "Deliveries are admitted again");
    },
  };
}

/** Failures of which each came soon after the one before. */
interface Streak {
  readonly since: Instant;
  readonly until: Instant;
}

function streakAt(before: Streak | null, at: Instant, gapMs: number): Streak {
  const goesOn = before !== null && Math.abs(at - before.until) < gapMs;
  return { since: goesOn ? Math.min(before.since, at) : at, until: at };
}

/**
 * Longer than any pause between two attempts. Whoever failed before that, and has followed another
 * process since, knows nothing of how it went.
 */
const DELIVERY_GAP_MS = 900_000;

const OTHER_CLUSTER =
  "Two clusters speak under one name, and the receiver keeps to the other one: give this cluster " +
  "a name and a credential of its own in the receiver's configuration. If it replaces the other, " +
  "stop the forwarder there: this one is taken once the other was silent for staleAfter";
const REFUSED =
  "Nothing changes outside until this is mended; it is tried again by itself, at least once a " +
  "minute";
const FAILING =
  "Nothing changes outside meanwhile, and nothing is lost: the newest state is delivered as soon " +
  "as the receiver answers; look whether it runs and can be reached from here";
const RAISED =
  "The receiver knew a later state than this Lease: the Lease was deleted, the chart reinstalled " +
  "or the cluster restored. Nothing is left to do, unless this comes again: then another " +
  "forwarder delivers under this cluster's name, and must be found and stopped";

function watchWriters(): Writers {
  return {
    "watch-failed": ({ collection, message, lasting }) =>
      lasting
        ? aboutLease("WatchFailing", `${message}. ${failingOf(collection)}`, collection)
        : null,
    "watch-stale": ({ ageMs }) =>
      aboutLease("WatchStale", `Nothing was heard of the cluster for ${textOfMs(ageMs)}. ${STALE}`),
    "watch-current": ({ afterMs }) =>
      aboutLease("WatchCurrent", `The cluster is heard again, after ${textOfMs(afterMs)}`),
    restored: ({ collection, from, to }) =>
      aboutLease(
        "ClusterRestored",
        `The version of the ${collection} went back from ${from} to ${to}: the cluster's ` +
          "state was restored from a backup. Deliveries go on in a new epoch with what the " +
          "cluster says now. Compare its nodes with the machines that run: one that the backup " +
          "does not know is taken off the lists after their grace, unless it registers again",
      ),
  };
}

function failingOf(collection: string): string {
  return collection === "nodes"
    ? "What is known is still delivered and grows old; after staleAfter the receiver removes " +
        "nothing more"
    : "These pods are left out of what is delivered until they are listed again; meanwhile " +
        "nothing is removed from the lists that need them (out-of-scope), and all else goes on";
}

const STALE =
  "What is known is still delivered, nothing is removed after staleAfter, and new nodes are " +
  "missing: look at the API server, at the network to it and at the forwarder's log";

function leaseWriters(): Writers {
  let streak: Streak | null = null;
  return {
    "lease-failed"({ at, message, lasting }) {
      // Success is not told; but as long as it fails, it fails every few seconds.
      streak = streakAt(streak, at, LEASE_GAP_MS);
      if (!lasting && at - streak.since < LEASE_FAILING_MS) return null;
      return aboutLease("LeaseFailing", `${message}. ${LEASE_FAILING}`);
    },
    "lease-lost": ({ message }) => aboutLease("LeaseLost", `${message}. ${LEASE_LOST}`),
  };
}

const LEASE_GAP_MS = 30_000;
const LEASE_FAILING = "Without the Lease nothing is delivered; it is tried again every few seconds";
const LEASE_LOST =
  "Whoever holds it now delivers, in a higher epoch; a Lease that was deleted is made again by " +
  "itself. Nothing is left to do, unless this comes again and again: then look for what else " +
  "writes or deletes it";

/** What a list's change of state is called; null for what needs no Event. */
function noteOfList({ list, target, state, reason, message }: ListReport): Draft {
  const subject = JSON.stringify([list, target]);
  const text = `${list} at ${target}: ${message}`;
  if (state !== "failed" && state !== "withheld") {
    return aboutLease("AllowlistRecovered", `${list} at ${target} is ${state} again`, subject);
  }
  return aboutLease(reasonOfList(reason), text, subject);
}

function reasonOfList(reason: Reason | null): NoteReason {
  switch (reason) {
    case "full":
      return "AllowlistQuotaExceeded";
    case "ratio":
    case "shrink":
    case "min-remaining":
    case "would-open":
    case "first-sync":
      return "RemovalGuardTripped";
    case "not-heard":
    case "stale":
      return "ClusterUnheard";
    case "out-of-scope":
      return "ScopeTooNarrow";
    default:
      return "AllowlistFailed";
  }
}
