import { Counter, Histogram, type Registry } from "prom-client";
import type { Instant } from "../lib/core/record.ts";
import type { ForwarderEvent, UndeliveredReason } from "./journal.ts";

export const PREFIX = "kube_allowlist_forwarder_";

type Kind = ForwarderEvent["kind"];
type Hearings = { readonly [K in Kind]?: (event: Extract<ForwarderEvent, { kind: K }>) => void };

const RESULTS: readonly ("answered" | UndeliveredReason)[] = [
  "answered",
  "other-cluster",
  "refused",
  "stale",
  "unauthenticated",
  "unclear",
];
/** A receiver on a function platform may have to start first; it has 35 s at the most. */
const DELIVERY_S = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 35];
const LATENCY_S = [0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

/**
 * Counts what happens. Labels are words of ours and names of the receiver's configuration, never of
 * a node or an address, so that a cluster of any size and age has the same few series.
 */
export function makeCounters(registry: Registry): (event: ForwarderEvent) => void {
  const hearings: Hearings = {
    ...deliveryHearings(registry),
    ...watchHearings(registry),
    ...leaseHearings(registry),
    ...gateHearings(registry),
  };
  const hearLatency = makeLatency(registry);
  return (event) => {
    hearLatency(event);
    const hear = hearings[event.kind] as ((event: ForwarderEvent) => void) | undefined;
    hear?.(event);
  };
}

function deliveryHearings(registry: Registry): Hearings {
  const deliveries = new Counter({
    name: `${PREFIX}deliveries_total`,
    help: "Deliveries by what became of them.",
    labelNames: ["result"],
    registers: [registry],
  });
  for (const result of RESULTS) deliveries.inc({ result }, 0);
  const durations = new Histogram({
    name: `${PREFIX}delivery_duration_seconds`,
    help: "From sending a delivery to its answer, or to its failure.",
    buckets: DELIVERY_S,
    registers: [registry],
  });
  let begunAt: Instant | null = null;
  const end = (at: Instant, result: string) => {
    deliveries.inc({ result });
    // What was too large, or could not be signed, was never on its way.
    if (begunAt !== null) durations.observe(secondsBetween(begunAt, at));
    begunAt = null;
  };
  return {
    delivered({ at }) {
      begunAt = at;
    },
    answered: ({ at }) => end(at, "answered"),
    undelivered: ({ at, why }) => end(at, why),
  };
}

/**
 * From the first change that nobody has acknowledged yet. Changes that are seen while another
 * process delivers are its own to time.
 */
function makeLatency(registry: Registry): (event: ForwarderEvent) => void {
  const latencies = new Histogram({
    name: `${PREFIX}acknowledgement_latency_seconds`,
    help: "From the first event that was not acknowledged yet to the acknowledgement.",
    buckets: LATENCY_S,
    registers: [registry],
  });
  /** Of changes that are not in the delivery on its way, and of those that are. */
  let waiting: Instant | null = null;
  let sent: Instant | null = null;
  return (event) => {
    switch (event.kind) {
      case "lease-acquired":
      case "lease-lost":
      case "lease-released":
        waiting = null;
        sent = null;
        return;
      case "seen":
        waiting ??= event.at;
        return;
      case "delivered":
        sent ??= waiting;
        waiting = null;
        return;
      case "undelivered":
        waiting = sent ?? waiting;
        sent = null;
        return;
      case "answered":
        if (sent !== null) latencies.observe(secondsBetween(sent, event.at));
        sent = null;
        return;
      default:
        return;
    }
  };
}

function watchHearings(registry: Registry): Hearings {
  const counter = (name: string, help: string, labelNames: readonly string[]) =>
    new Counter({ name: PREFIX + name, help, labelNames: [...labelNames], registers: [registry] });
  const restarts = counter(
    "watch_restarts_total",
    "Streams and lists that came to an end, by why: closed and listed are in good order.",
    ["collection", "reason"],
  );
  const failures = counter("watch_failures_total", "Failures to list or to watch.", [
    "collection",
    "lasting",
  ]);
  const lists = counter("lists_total", "Complete lists that were taken over.", ["collection"]);
  const restores = counter(
    "cluster_restores_total",
    "Times that the cluster's state went back, as after a restore from a backup.",
    [],
  );
  const changes = counter("changes_total", "Nodes and pods that came, changed or went.", [
    "change",
  ]);
  const unsent = counter(
    "unsent_addresses_total",
    "Addresses that were met and not sent: no IP addresses, or too many.",
    [],
  );
  for (const collection of ["nodes", "pods"]) {
    lists.inc({ collection }, 0);
    for (const lasting of ["false", "true"]) failures.inc({ collection, lasting }, 0);
  }
  return {
    "watch-ended": ({ collection, why }) =>
      restarts.inc({ collection: classOf(collection), reason: why }),
    "watch-failed": ({ collection, lasting }) =>
      failures.inc({ collection: classOf(collection), lasting: String(lasting) }),
    listed: ({ collection }) => lists.inc({ collection: classOf(collection) }),
    restored: () => restores.inc(),
    seen(event) {
      for (const { kind } of event.changes) changes.inc({ change: kind });
    },
    unsent: ({ addresses }) => unsent.inc(addresses.length),
  };
}

/** There may be hundreds of selectors of pods, each a collection; the log names them. */
function classOf(collection: string): string {
  return collection === "nodes" ? "nodes" : "pods";
}

function leaseHearings(registry: Registry): Hearings {
  const changes = new Counter({
    name: `${PREFIX}lease_changes_total`,
    help: "Times that this process acquired, lost or released the Lease, or raised its epoch.",
    labelNames: ["change"],
    registers: [registry],
  });
  const failures = new Counter({
    name: `${PREFIX}lease_failures_total`,
    help: "Failures to read or write the Lease.",
    registers: [registry],
  });
  for (const change of ["acquired", "lost", "raised", "released"]) changes.inc({ change }, 0);
  return {
    "lease-acquired": () => changes.inc({ change: "acquired" }),
    "lease-lost": () => changes.inc({ change: "lost" }),
    "lease-released": () => changes.inc({ change: "released" }),
    "epoch-raised": () => changes.inc({ change: "raised" }),
    "lease-failed": () => failures.inc(),
  };
}

function gateHearings(registry: Registry): Hearings {
  const openings = new Counter({
    name: `${PREFIX}gate_openings_total`,
    help: "Gates that were opened, because their node was ready or because their time was over.",
    labelNames: ["why"],
    registers: [registry],
  });
  const failures = new Counter({
    name: `${PREFIX}gate_failures_total`,
    help: "Failures to open a gate.",
    registers: [registry],
  });
  for (const why of ["ready", "timeout", "unlisted"]) openings.inc({ why }, 0);
  return {
    "gate-opened": ({ why }) => openings.inc({ why }),
    "gate-failed": () => failures.inc(),
  };
}

/** Never negative: a histogram takes no time that runs backwards. */
function secondsBetween(from: Instant, to: Instant): number {
  return Math.max(0, to - from) / 1_000;
}
