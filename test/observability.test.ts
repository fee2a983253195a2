import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { parse } from "yaml";
import { makeMetrics } from "../forwarder/metrics.ts";
import { NOTE_REASONS } from "../forwarder/notes.ts";

/*
 * docs/observability.md against the code: people alert on these names, so the page must hold all of
 * them and no other.
 */

const PAGE = readFileSync(new URL("../docs/observability.md", import.meta.url), "utf8");

const metrics = makeMetrics({
  now: () => 0,
  truth: () => null,
  held: () => null,
  counts: () => null,
  events: () => null,
  process: () => ({ residentBytes: 1, cpuSeconds: 1, startedAtSeconds: 1 }),
  version: "0",
}).descriptions();

/** Cells of the tables' rows below a heading. */
function rowsOf(heading: string): readonly (readonly string[])[] {
  const section = PAGE.split(/^## /m).find((text) => text.startsWith(`${heading}\n`));
  assert.ok(section !== undefined, `no section ${heading}`);
  return section
    .split("\n")
    .filter((line) => line.startsWith("| `"))
    .map((line) =>
      line
        .split("|")
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
}

function namesIn(cell: string | undefined): readonly string[] {
  return [...(cell ?? "").matchAll(/`([^`]+)`/g)].map(([, name = ""]) => name);
}

test("docs/observability.md has a row for every metric, with its type and labels", () => {
  const shown = rowsOf("Metrics").map(([name, type, labels]) => ({
    name: namesIn(name)[0],
    type,
    labels: namesIn(labels),
  }));
  assert.deepEqual(shown, metrics);
});

test("docs/observability.md has a row for every reason of an Event, with type and object", () => {
  const shown = rowsOf("Events").map(([reason, type, about]) => [
    namesIn(reason)[0],
    { type, about },
  ]);
  const expected = Object.entries(NOTE_REASONS).map(([reason, { type, about }]) => [
    reason,
    { type, about },
  ]);
  assert.deepEqual(shown, expected);
  for (const row of rowsOf("Events")) assert.ok(row.length === 5 && !row.includes(""), row[0]);
});

test("docs/observability.md alerts on metrics and labels that there are", () => {
  const [, text = ""] = /^```yaml\n([\s\S]*?)^```$/m.exec(PAGE) ?? [];
  const { groups } = parse(text) as {
    groups: { rules: { alert: string; expr: string; annotations: { summary: string } }[] }[];
  };
  const rules = groups.flatMap((group) => group.rules);
  assert.ok(rules.length >= 8);
  for (const { alert, expr, annotations } of rules) {
    const names = expr.match(/\b(kube_allowlist|process)_[a-z_]+/g) ?? [];
    assert.ok(names.length > 0, alert);
    for (const name of names) {
      const metric = metrics.find((one) => one.name === name);
      assert.ok(metric !== undefined, `${alert}: ${name}`);
      const labels = [
        ...[...expr.matchAll(/([a-z]+)="/g)].map(([, label]) => label),
        ...[...annotations.summary.matchAll(/\$labels\.([a-z]+)/g)].map(([, label]) => label),
      ];
      for (const label of labels)
        assert.ok(metric.labels.includes(label ?? ""), `${alert}: ${label}`);
    }
  }
});
