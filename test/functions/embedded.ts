import assert from "node:assert/strict";
import { METRIC_NAMESPACE, METRICS, type MetricName } from "../../functions/metrics.ts";

/*
 * CloudWatch's embedded metric format, by its specification: what does not follow it becomes no
 * metric, and nobody is told.
 */

const DIMENSIONS_MAX = 30;
const METRICS_MAX = 100;
const EVENT_BYTES_MAX = 1024 * 1024;

export interface Embedded {
  /** Each metric with its value. */
  readonly values: Readonly<Record<string, number>>;
  /** Each metric with the dimensions that it has, and their values. */
  readonly dimensions: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

/** What CloudWatch would make of a line; asserts that it would. */
export function embeddedOf(line: Readonly<Record<string, unknown>>): Embedded {
  assert(Buffer.byteLength(JSON.stringify(line)) <= EVENT_BYTES_MAX);
  const { _aws: meta } = line as { readonly _aws: Readonly<Record<string, unknown>> };
  assert.deepEqual(Object.keys(meta).toSorted(), ["CloudWatchMetrics", "Timestamp"]);
  assert(Number.isSafeInteger(meta.Timestamp) && Number(meta.Timestamp) > 0);
  const values: Record<string, number> = {};
  const dimensions: Record<string, Record<string, string>> = {};
  assert(Array.isArray(meta.CloudWatchMetrics) && meta.CloudWatchMetrics.length > 0);
  for (const directive of meta.CloudWatchMetrics) {
    assert.deepEqual(Object.keys(directive).toSorted(), ["Dimensions", "Metrics", "Namespace"]);
    assert.equal(directive.Namespace, METRIC_NAMESPACE);
    assert.match(directive.Namespace, /^[A-Za-z0-9.\-_/#:]{1,1024}$/);
    assert.equal(directive.Dimensions.length, 1, "one set: each makes series of its own");
    const [names] = directive.Dimensions as readonly (readonly string[])[];
    assert(names !== undefined && names.length >= 1 && names.length <= DIMENSIONS_MAX);
    const pairs = names.map((name) => {
      const value = line[name];
      assert(typeof value === "string" && /^[\x21-\x39\x3b-\x7e][\x20-\x7e]{0,1023}$/.test(value));
      return [name, value] as const;
    });
    assert(directive.Metrics.length >= 1 && directive.Metrics.length <= METRICS_MAX);
    for (const { Name: name, Unit: unit, ...rest } of directive.Metrics) {
      assert.deepEqual(rest, {});
      assert(Object.hasOwn(METRICS, name), `${name} is known`);
      assert.equal(unit, METRICS[name as MetricName].unit);
      const value = line[name];
      assert(
        typeof value === "number" && Number.isFinite(value),
        `${name} is a number at the root`,
      );
      assert(!Object.hasOwn(values, name), `${name} is told once`);
      values[name] = value;
      dimensions[name] = Object.fromEntries(pairs);
    }
  }
  return { values, dimensions };
}
