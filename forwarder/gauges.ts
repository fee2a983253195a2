import { Counter, Gauge, type Registry } from "prom-client";
import type { Instant } from "../lib/core/record.ts";
import type { ListReport } from "../lib/core/report.ts";
import { PREFIX } from "./counters.ts";
import type { ForwarderEvent } from "./journal.ts";
import type { HeldLease } from "./lease.ts";
import type { ReadinessCounts } from "./readiness.ts";
import type { Truth } from "./truth.ts";

/** What gauges are taken from, at the moment of a scrape. */
export interface Sources {
  readonly now: () => Instant;
  readonly truth: () => Truth | null;
  readonly held: () => HeldLease | null;
  /** Null while another process delivers. */
  readonly counts: () => ReadinessCounts | null;
  /** Events of the cluster: written, and not for want of room, rights or time. Null for none. */
  readonly events: () => { readonly written: number; readonly dropped: number } | null;
  readonly process: () => ProcessFigures;
  readonly version: string;
}

export interface ProcessFigures {
  readonly residentBytes: number;
  readonly cpuSeconds: number;
  /** Unix time. */
  readonly startedAtSeconds: number;
}

/** A configuration of more targets than this is shown in part rather than in a flood of series. */
const TARGETS_MAX = 1_000;

/**
 * Everything that is a state and not a count. A gauge that has nothing to say has no series, rather
 * than a zero that would look like a good one; so only the process that delivers shows targets.
 */
export function makeGauges(registry: Registry, sources: Sources): (event: ForwarderEvent) => void {
  const hearing = hearAnswers(sources.now());
  deliveryGauges(registry, sources, hearing);
  targetGauges(registry, hearing);
  clusterGauges(registry, sources);
  eventCounters(registry, sources);
  processGauges(registry, sources);
  return hearing.hear;
}

interface Hearing {
  hear(event: ForwarderEvent): void;
  /** When a snapshot of this process was last acknowledged, or its start; null for a follower. */
  freshAt(): Instant | null;
  /** Of the newest answer; none for a follower. */
  reports(): readonly ListReport[];
}

/**
 * An acquisition acknowledges nothing: where the Lease is lost and taken again every few minutes,
 * an age that began anew with it would never say that the receiver is dead.
 */
function hearAnswers(startedAt: Instant): Hearing {
  let freshAt = startedAt;
  let isHeld = false;
  let reports: readonly ListReport[] = [];
  return {
    hear(event) {
      switch (event.kind) {
        case "answered":
          freshAt = event.at;
          reports = event.answer.lists;
          return;
        case "lease-acquired":
          isHeld = true;
          return;
        case "lease-lost":
        case "lease-released":
          isHeld = false;
          reports = [];
          return;
        default:
          return;
      }
    },
    freshAt: () => (isHeld ? freshAt : null),
    reports: () => reports,
  };
}

/** A gauge without labels that has no series while `value` is null. */
function gauge(
  registry: Registry,
  { name, help }: { readonly name: string; readonly help: string },
  value: () => number | null,
): void {
  new Gauge({
    name,
    help,
    registers: [registry],
    collect() {
      const current = value();
      if (current === null) this.remove();
      else this.set(current);
    },
  });
}

function deliveryGauges(registry: Registry, sources: Sources, hearing: Hearing): void {
  const { now, truth, held } = sources;
  const add = (name: string, help: string, value: () => number | null) =>
    gauge(registry, { name: PREFIX + name, help }, value);
  const ageOf = (at: Instant | null | undefined) =>
    at === null || at === undefined ? null : Math.max(0, now() - at) / 1_000;
  add(
    "acknowledged_age_seconds",
    "Since a snapshot of this process was last acknowledged, or since its start.",
    () => ageOf(hearing.freshAt()),
  );
  add("observation_age_seconds", "Since what is known was last shown to hold.", () =>
    ageOf(truth()?.observedAt),
  );
  add("leader", "1 for the process that delivers.", () => (held() === null ? 0 : 1));
  add("epoch", "The epoch of the Lease that is held.", () => held()?.epoch ?? null);
}

function targetGauges(registry: Registry, { reports }: Hearing): void {
  new Gauge({
    name: `${PREFIX}target_state`,
    help: "1 for the state that a list on a target is in, with its reason.",
    labelNames: ["list", "target", "state", "reason"],
    registers: [registry],
    collect() {
      this.reset();
      for (const { list, target, state, reason } of reports().slice(0, TARGETS_MAX)) {
        this.set({ list, target, state, reason: reason ?? "" }, 1);
      }
    },
  });
  new Gauge({
    name: `${PREFIX}refused_addresses`,
    help: "Addresses that the receiver refuses to write, by list and reason.",
    labelNames: ["list", "reason"],
    registers: [registry],
    collect() {
      this.reset();
      for (const { list, reason, count } of refusalsOf(reports()))
        this.set({ list, reason }, count);
    },
  });
}

/** Every target of a list reports the same refusals, which are the list's. */
function refusalsOf(reports: readonly ListReport[]) {
  const found = new Map<string, { list: string; reason: string; members: Set<string> }>();
  for (const { list, refused } of reports.slice(0, TARGETS_MAX)) {
    for (const { address, cluster, node, reason } of refused) {
      const key = JSON.stringify([list, reason]);
      const one = found.get(key) ?? { list, reason, members: new Set() };
      found.set(key, one);
      one.members.add(JSON.stringify([address, cluster, node]));
    }
  }
  return [...found.values()].map(({ list, reason, members }) => ({
    list,
    reason,
    count: members.size,
  }));
}

function clusterGauges(registry: Registry, { truth, counts }: Sources): void {
  const held = (name: string, help: string, value: (truth: Truth) => number) =>
    gauge(registry, { name: PREFIX + name, help }, () => {
      const known = truth();
      return known === null ? null : value(known);
    });
  held("nodes", "Nodes that are known.", ({ nodes }) => nodes.length);
  held("pods", "Pods that are known.", ({ pods }) => pods.length);
  new Gauge({
    name: `${PREFIX}nodes_by_readiness`,
    help: "Nodes by how far they are; shown by the process that delivers.",
    labelNames: ["readiness"],
    registers: [registry],
    collect() {
      this.reset();
      for (const [readiness, count] of Object.entries(counts() ?? {})) {
        this.set({ readiness }, count);
      }
    },
  });
}

function eventCounters(registry: Registry, { events }: Sources): void {
  const add = (name: string, help: string, value: () => number | null) =>
    new Counter({
      name: PREFIX + name,
      help,
      registers: [registry],
      collect() {
        this.reset();
        this.inc(value() ?? 0);
      },
    });
  add("events_written_total", "Events of the cluster that were written or counted up.", () => {
    return events()?.written ?? null;
  });
  add(
    "events_dropped_total",
    "Events of the cluster that were not written: too many, not allowed, or in vain.",
    () => events()?.dropped ?? null,
  );
}

// By these names every dashboard knows them. The library's own collection would read the event
// loop a hundred times a second, which costs more than all that the forwarder does when it is idle.
function processGauges(registry: Registry, { process, version }: Sources): void {
  const bytes = { name: "process_resident_memory_bytes", help: "Resident memory." };
  gauge(registry, bytes, () => process().residentBytes);
  const start = { name: "process_start_time_seconds", help: "Start of the process, in Unix time." };
  gauge(registry, start, () => process().startedAtSeconds);
  new Counter({
    name: "process_cpu_seconds_total",
    help: "Processor time, of user and system.",
    registers: [registry],
    collect() {
      this.reset();
      this.inc(process().cpuSeconds);
    },
  });
  new Gauge({
    name: `${PREFIX}build_info`,
    help: "1, labelled with the version.",
    labelNames: ["version"],
    registers: [registry],
  }).set({ version }, 1);
}
