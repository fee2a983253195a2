import type { LogFields } from "../lib/world.ts";

/*
 * What functions say in numbers, as lines of their log in CloudWatch's embedded metric format:
 * CloudWatch makes metrics of them, every other log shows a line with these members.
 * ("Specification: Embedded metric format" of Amazon CloudWatch's guide.)
 */

export const METRIC_NAMESPACE = "KubeAllowlist";

interface Metric {
  readonly unit: "Count" | "Milliseconds";
  /** Beside `Installation`. */
  readonly by?: "Cluster";
  /**
   * A `state` is said by every run that knows it, also as 0; a `happening` only where there is any.
   */
  readonly kind: "state" | "happening";
}

/**
 * Every name is a series that CloudWatch charges for, so there are few, and none is ever made of a
 * node, a list or an address.
 */
export const METRICS = {
  AnswerTime: { unit: "Milliseconds", kind: "state" },
  ClustersHeard: { unit: "Count", kind: "state" },
  ClustersStale: { unit: "Count", kind: "state" },
  DeliveriesFailed: { unit: "Count", kind: "happening" },
  DeliveriesInvalid: { unit: "Count", kind: "happening" },
  DeliveriesNewer: { unit: "Count", kind: "happening" },
  DeliveriesOtherCluster: { unit: "Count", kind: "happening" },
  DeliveriesRefused: { unit: "Count", kind: "happening" },
  DeliveriesRepeated: { unit: "Count", kind: "happening" },
  DeliveriesStale: { unit: "Count", kind: "happening" },
  EntriesAdded: { unit: "Count", kind: "happening" },
  EntriesRemoved: { unit: "Count", kind: "happening" },
  ListsConverged: { unit: "Count", kind: "state" },
  ListsFailed: { unit: "Count", kind: "state" },
  ListsPending: { unit: "Count", kind: "state" },
  ListsWithheld: { unit: "Count", kind: "state" },
  Nodes: { unit: "Count", by: "Cluster", kind: "state" },
  ReadsFailed: { unit: "Count", kind: "happening" },
  ReadsRefused: { unit: "Count", kind: "happening" },
  RemovalsWithheld: { unit: "Count", kind: "state" },
  ResyncTime: { unit: "Milliseconds", kind: "state" },
  ResyncsFailed: { unit: "Count", kind: "happening" },
  SnapshotAge: { unit: "Milliseconds", by: "Cluster", kind: "state" },
  StoreFailures: { unit: "Count", kind: "happening" },
  TruthAge: { unit: "Milliseconds", kind: "state" },
  WritesFailed: { unit: "Count", kind: "happening" },
} as const satisfies Readonly<Record<string, Metric>>;

export type MetricName = keyof typeof METRICS;

/** What was measured of one run. */
export interface Measurement {
  /** Unix milliseconds. */
  readonly at: number;
  readonly installation: string;
  /** Whose delivery it was; null where nobody's. What is told by cluster needs one. */
  readonly cluster: string | null;
  readonly values: ReadonlyMap<MetricName, number>;
}

/** The members of a line that tell a measurement; null where there is nothing to tell. */
export function embeddedMetrics(measured: Measurement): LogFields | null {
  const { at, installation, cluster } = measured;
  const known = [...measured.values]
    .filter(([name, value]) => Number.isFinite(value) && (cluster !== null || !isByCluster(name)))
    .toSorted(([a], [b]) => (a < b ? -1 : 1));
  if (known.length === 0) return null;
  const names = known.map(([name]) => name);
  const directives = [
    directive(
      ["Installation"],
      names.filter((name) => !isByCluster(name)),
    ),
    directive(["Installation", "Cluster"], names.filter(isByCluster)),
  ];
  return {
    Installation: installation,
    ...(cluster === null ? {} : { Cluster: cluster }),
    ...Object.fromEntries(known),
    _aws: { Timestamp: at, CloudWatchMetrics: directives.flat() },
  };
}

function isByCluster(name: MetricName): boolean {
  const metric: Metric = METRICS[name];
  return metric.by === "Cluster";
}

function directive(dimensions: readonly string[], names: readonly MetricName[]) {
  if (names.length === 0) return [];
  const metrics = names.map((name) => ({ Name: name, Unit: METRICS[name].unit }));
  return [{ Namespace: METRIC_NAMESPACE, Dimensions: [dimensions], Metrics: metrics }];
}
