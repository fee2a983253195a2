import type { Instant } from "../lib/core/record.ts";
import type { LogFields, Logger } from "../lib/world.ts";
import { type Allowance, type Bucket, makeBucket } from "./bucket.ts";
import type { ForwarderEvent, NamedNode } from "./journal.ts";

type Kind = ForwarderEvent["kind"];
type EventOf<K extends Kind> = Extract<ForwarderEvent, { kind: K }>;

/** What an event is in a log: fields, which hold no secret, and one sentence. */
export interface LogLine {
  readonly level: "debug" | "info" | "warn" | "error";
  readonly fields: LogFields;
  readonly message: string;
}

/** A burst of hundreds of nodes need not be repeated in every line. */
const SHOWN_MAX = 20;
/** What is said again and again in the same words is logged this seldom. */
const REPEAT_MS = 60_000;
/** How many sentences are remembered for that. */
const REMEMBERED_MAX = 500;
/** Of each kind, whatever happens. */
const LINES: Allowance = { burst: 100, everyMs: 1_000 };

/**
 * Hears events and logs them. A world that breaks every second must not fill a disk: the same
 * sentence about the same thing is logged once a minute, then with how often it was `repeated`; a
 * kind of event that comes without end is logged once a second, with how many were `omitted`.
 */
export function makeEventLog(log: Logger): (event: ForwarderEvent) => void {
  const said = new Map<string, { readonly at: Instant; repeated: number }>();
  const flows = new Map<Kind, { readonly bucket: Bucket; omitted: number }>();
  return (event) => {
    const line = lineOf(event);
    const { kind, at } = event;
    const key = REPEATING.has(kind) ? JSON.stringify([kind, aboutOf(event), line.message]) : null;
    const before = key === null ? undefined : said.get(key);
    if (before !== undefined && at >= before.at && at - before.at < REPEAT_MS) {
      before.repeated += 1;
      return;
    }
    const flow = flows.get(kind) ?? { bucket: makeBucket(LINES), omitted: 0 };
    flows.set(kind, flow);
    if (!flow.bucket.take(at)) {
      flow.omitted += 1;
      return;
    }
    if (key !== null) remember(said, key, at);
    const { omitted } = flow;
    flow.omitted = 0;
    const repeated = before?.repeated ?? 0;
    log[line.level](
      {
        ...line.fields,
        ...(repeated > 0 ? { repeated } : {}),
        ...(omitted > 0 ? { omitted } : {}),
      },
      line.message,
    );
  };
}

/** Kinds that come back for as long as something is broken. */
const REPEATING: ReadonlySet<Kind> = new Set([
  "unsent",
  "watch-failed",
  "lease-failed",
  "undelivered",
  "gate-failed",
  "warning",
]);

function aboutOf(event: ForwarderEvent): string {
  if ("collection" in event) return event.collection;
  if (!("node" in event)) return "";
  return typeof event.node === "string" ? event.node : event.node.uid;
}

function remember(
  said: Map<string, { readonly at: Instant; repeated: number }>,
  key: string,
  at: Instant,
): void {
  said.delete(key);
  said.set(key, { at, repeated: 0 });
  if (said.size <= REMEMBERED_MAX) return;
  // A Map keeps the order in which it was filled.
  const [oldest] = said.keys();
  if (oldest !== undefined) said.delete(oldest);
}

/** The line of an event, as it is logged when nothing holds it back. */
export function lineOf(event: ForwarderEvent): LogLine {
  const writer = WRITERS[event.kind] as (event: ForwarderEvent) => Draft;
  const { level, message, ...fields } = writer(event);
  return { level, message, fields: { event: event.kind, ...fields } };
}

/** Members beside `level` and `message` are fields. */
interface Draft extends LogFields {
  readonly level: LogLine["level"];
  readonly message: string;
}

const WRITERS: { readonly [K in Kind]: (event: EventOf<K>) => Draft } = {
  started({ cluster, server, receiver, listening }) {
    return { level: "info", cluster, server, receiver, listening, message: "Forwarding" };
  },
  listed({ collection, count }) {
    return { level: "info", collection, count, message: `Listed the ${collection}` };
  },
  "list-goes-on": ({ collection }) => ({
    level: "debug",
    collection,
    message: `Listing the ${collection}`,
  }),
  seen({ changes }) {
    const shown = changes.slice(0, SHOWN_MAX);
    return { level: "info", count: changes.length, changes: shown, message: "Changed" };
  },
  unsent({ node, addresses }) {
    const message = "Addresses are not sent: no IP addresses, or too many";
    const shown = addresses.slice(0, SHOWN_MAX);
    return { level: "warn", node, count: addresses.length, addresses: shown, message };
  },
  "watch-ended": ({ collection, why }) => ({
    level: "debug",
    collection,
    why,
    message: "The watch goes on",
  }),
  "watch-failed": ({ collection, retryInMs, lasting, message }) => ({
    level: lasting ? "error" : "warn",
    collection,
    retryInMs,
    message,
  }),
  "watch-stale": ({ ageMs }) => ({
    level: "error",
    ageMs,
    message: `The watch is stale: what is known was last shown to hold ${textOfMs(ageMs)} ago`,
  }),
  "watch-current": ({ afterMs }) => ({
    level: "info",
    afterMs,
    message: "The watch is current again",
  }),
  restored: ({ collection, from, to }) => ({
    level: "error",
    collection,
    from,
    to,
    message: "The cluster's state went back in time: it was restored; a new epoch begins",
  }),
  "lease-acquired": ({ epoch }) => ({ level: "info", epoch, message: "Acquired the Lease" }),
  "lease-lost": ({ message }) => ({ level: "warn", message }),
  "lease-waiting": ({ lease, holder, epoch }) => ({
    level: "info",
    lease,
    holder,
    epoch,
    message: "Another forwarder holds the Lease and delivers",
  }),
  "lease-failed": ({ lasting, message }) => ({ level: lasting ? "error" : "warn", message }),
  "lease-released": ({ epoch }) => ({ level: "info", epoch, message: "Released the Lease" }),
  "epoch-raised": ({ epoch }) => ({ level: "info", epoch, message: "Raised the epoch" }),
  delivered: ({ generation, nodes }) => ({
    level: "debug",
    ...generation,
    nodes,
    message: "Delivering",
  }),
  answered({ generation, changes, answer, tookMs }) {
    // Heartbeats are no news; that it works at all, and what came of a change, are.
    const isNews = changes.length > 0 || generation.sequence === 1;
    const level = isNews ? "info" : "debug";
    return { level, ...generation, tookMs, again: answer.again, message: "Admitted" };
  },
  undelivered: ({ why, retryInMs, lasting, message }) => ({
    level: lasting ? "error" : "warn",
    why,
    retryInMs,
    message,
  }),
  "list-changed"({ report }) {
    const { list, target, state, reason, message } = report;
    const level = state === "failed" ? "error" : state === "withheld" ? "warn" : "info";
    return { level, list, target, state, reason, message };
  },
  "node-ready": ({ node, tookMs }) => ({
    level: "info",
    ...named(node),
    tookMs,
    message: "Node is ready",
  }),
  "node-pending": ({ node, forMs, message }) => ({ level: "warn", ...named(node), forMs, message }),
  "gate-opened"({ node, why, afterMs }) {
    const fields = { ...named(node), why, afterMs };
    if (why === "ready") return { level: "info", ...fields, message: "Opened the gate" };
    if (why === "unlisted") {
      return { level: "info", ...fields, message: "Opened the gate: the node is on no list" };
    }
    const message = "Opened the gate, although the node is not ready: its time was over";
    return { level: "error", ...fields, message };
  },
  "gate-failed": ({ node, lasting, message }) => ({
    level: lasting ? "error" : "warn",
    ...named(node),
    message,
  }),
  warning: ({ message }) => ({ level: "warn", message }),
};

function named({ name, uid }: NamedNode) {
  return { node: name, uid };
}

/** A length of time for people: `40 s`, `5 min`, `3 h`. */
export function textOfMs(ms: number): string {
  const seconds = Math.round(ms / 1_000);
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
}
