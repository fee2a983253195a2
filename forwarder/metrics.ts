import { Registry } from "prom-client";
import { makeCounters } from "./counters.ts";
import { makeGauges, type Sources } from "./gauges.ts";
import type { ForwarderEvent } from "./journal.ts";

/** What a forwarder counts, in the text format of Prometheus. */
export interface Metrics {
  hear(event: ForwarderEvent): void;
  readonly contentType: string;
  render(): Promise<string>;
  /** Of all metrics, ascending: for whoever compares them with a description. */
  descriptions(): readonly MetricDescription[];
}

export interface MetricDescription {
  readonly name: string;
  readonly type: string;
  /** Ascending; without what a kind of metric adds by itself. */
  readonly labels: readonly string[];
}

/** In a registry of their own: nothing is global, and two forwarders may live in one process. */
export function makeMetrics(sources: Sources): Metrics {
  const registry = new Registry();
  const hearCounters = makeCounters(registry);
  const hearGauges = makeGauges(registry, sources);
  return {
    hear(event) {
      hearCounters(event);
      hearGauges(event);
    },
    contentType: registry.contentType,
    render: () => registry.metrics(),
    descriptions: () => registry.getMetricsAsArray().map(describe).toSorted(byName),
  };
}

function describe(metric: object): MetricDescription {
  const { name, type, labelNames } = metric as {
    readonly name: string;
    readonly type?: string;
    readonly labelNames?: readonly string[];
  };
  return { name, type: String(type), labels: [...(labelNames ?? [])].toSorted() };
}

function byName(a: MetricDescription, b: MetricDescription): number {
  return a.name < b.name ? -1 : 1;
}
