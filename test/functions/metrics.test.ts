import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { parse } from "yaml";
import { renderLine } from "../../functions/line.ts";
import {
  embeddedMetrics,
  METRIC_NAMESPACE,
  METRICS,
  type MetricName,
} from "../../functions/metrics.ts";
import { ROOT } from "../../scripts/bundle.ts";
import { embeddedOf } from "./embedded.ts";

const NAMES = Object.keys(METRICS) as readonly MetricName[];
const ALL = new Map(NAMES.map((name, index) => [name, index] as const));
const MEASUREMENT = { at: 1_795_200_000_000, installation: "acme", cluster: "eu", values: ALL };

test("embeddedMetrics() follows the specification of the format, with every metric that there is", () => {
  const line = embeddedMetrics(MEASUREMENT);
  assert(line !== null);
  // As it is written, so that nothing of it is redacted or cut on the way.
  const { values, dimensions } = embeddedOf(JSON.parse(renderLine(line)));
  assert.deepEqual(values, Object.fromEntries(ALL));
  for (const name of NAMES) {
    const by = "by" in METRICS[name] ? { Cluster: "eu" } : {};
    assert.deepEqual(dimensions[name], { Installation: "acme", ...by }, name);
  }
});

test("embeddedMetrics() tells numbers only, and nothing where there are none", () => {
  const values = fc.dictionary(fc.constantFrom(...NAMES), fc.double());
  const clusters = fc.option(fc.constantFrom("eu", "prod-eu-1"));
  fc.assert(
    fc.property(values, clusters, (given, cluster) => {
      const known = new Map(Object.entries(given)) as Map<MetricName, number>;
      const line = embeddedMetrics({ ...MEASUREMENT, cluster, values: known });
      const expected = Object.entries(given).filter(
        ([name, value]) =>
          Number.isFinite(value) && (cluster !== null || !("by" in METRICS[name as MetricName])),
      );
      if (line === null) return assert.equal(expected.length, 0);
      // JSON knows no negative zero.
      const plain = JSON.parse(JSON.stringify(Object.fromEntries(expected)));
      assert.deepEqual(embeddedOf(JSON.parse(renderLine(line))).values, plain);
    }),
  );
});

interface Alarm {
  readonly Properties: {
    readonly MetricName: string;
    readonly Namespace: string;
    readonly Dimensions: readonly { readonly Name: string }[];
    readonly Statistic?: string;
    readonly TreatMissingData: string;
    readonly EvaluationPeriods: number;
    readonly DatapointsToAlarm: number;
  };
}

test("infra/aws/alarms.yml waits for metrics that the resync says at every run, by their dimensions", () => {
  const text = readFileSync(join(ROOT, "infra/aws/alarms.yml"), "utf8");
  const { Resources } = parse(text, { merge: true }) as { Resources: Record<string, Alarm> };
  const own = Object.values(Resources).filter(
    ({ Properties }) => !Properties.Namespace.startsWith("AWS/"),
  );
  assert.deepEqual(own.map(({ Properties }) => Properties.MetricName).toSorted(), [
    "ClustersStale",
    "ListsFailed",
    "ListsWithheld",
  ]);
  for (const { Properties } of own) {
    assert.equal(Properties.Namespace, METRIC_NAMESPACE);
    const metric = METRICS[Properties.MetricName as MetricName];
    // What is said only where it happened would never be seen to end.
    assert.equal(metric.kind, "state", Properties.MetricName);
    const dimensions = Properties.Dimensions.map(({ Name }) => Name);
    assert.deepEqual(dimensions, ["Installation", ...("by" in metric ? [metric.by] : [])]);
    assert.equal(Properties.Statistic, "Maximum");
  }
  // One of them tells that nothing is told any more.
  const missing = own.map(({ Properties }) => Properties.TreatMissingData).toSorted();
  assert.deepEqual(missing, ["breaching", "notBreaching", "notBreaching"]);
});

const PAGE = readFileSync(join(ROOT, "docs/observability.md"), "utf8");

test("docs/observability.md has a row for every metric of the functions, with unit and dimensions", () => {
  const section = PAGE.split(/^### /m).find((part) =>
    part.startsWith("Metrics of the functions\n"),
  );
  assert(section !== undefined);
  const rows = section.split("\n").filter((line) => line.startsWith("| `"));
  const shown = rows.map((row) => {
    const [name, unit, by, told, about] = row
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim());
    assert(about !== undefined && about.length > 0, row);
    return { name: name?.replaceAll("`", ""), unit, by, told };
  });
  const expected = NAMES.map((name) => {
    const metric = METRICS[name];
    const unit = metric.unit === "Count" ? "" : "ms";
    const by = "by" in metric ? `\`${metric.by}\`` : "";
    return { name, unit, by, told: metric.kind === "state" ? "always" : "" };
  });
  assert.deepEqual(shown, expected);
});

test("docs name no metric of the functions that there is none of", () => {
  for (const page of ["observability.md", "deploy-aws.md", "deploy-alibaba.md"]) {
    const text = readFileSync(join(ROOT, "docs", page), "utf8");
    const like =
      /`((?:Answer|Clusters|Deliveries|Entries|Lists|Reads|Removals|Resyncs?|Truth)[A-Z]\w+)`/g;
    for (const [, name = ""] of text.matchAll(like)) {
      assert(Object.hasOwn(METRICS, name), `${page}: ${name}`);
    }
  }
});
