import assert from "node:assert/strict";

/** One sample of Prometheus' text format. */
export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/;
const LABEL = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)/;
const SUFFIXES: Readonly<Record<string, readonly string[]>> = {
  histogram: ["_bucket", "_sum", "_count"],
};

/**
 * Reads the text format as a scraper does (prometheus.io, "Exposition formats", version 0.0.4), and
 * fails where a scraper would: every metric has one HELP and one TYPE before its samples, its
 * samples stand together, names and labels are well formed, no series is there twice, and what a
 * histogram counts adds up.
 */
export function parseExposition(text: string): readonly Sample[] {
  assert.ok(text.endsWith("\n"), "it ends with a line break");
  const samples: Sample[] = [];
  const types = new Map<string, string>();
  const helped = new Set<string>();
  const series = new Set<string>();
  let current = "";
  for (const line of text.split("\n")) {
    if (line === "") continue;
    const [, keyword = "", name = "", rest = ""] = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line) ?? [];
    if (keyword === "HELP") {
      assert.ok(NAME.test(name) && !helped.has(name), line);
      helped.add(name);
      current = name;
    } else if (keyword === "TYPE") {
      assert.ok(name === current && /^(counter|gauge|histogram)$/.test(rest), line);
      types.set(name, rest);
    } else {
      const sample = parseSample(line);
      const suffixes = SUFFIXES[types.get(current) ?? ""] ?? [""];
      assert.ok(
        suffixes.some((suffix) => sample.name === current + suffix),
        `${line} stands below ${current}`,
      );
      const key = JSON.stringify([sample.name, Object.entries(sample.labels).toSorted()]);
      assert.ok(!series.has(key), `${line} is there twice`);
      series.add(key);
      samples.push(sample);
    }
  }
  for (const [name, type] of types) {
    if (type === "counter") assert.match(name, /_total$/);
    if (type === "histogram") judgeHistogram(name, samples);
  }
  return samples;
}

function parseSample(line: string): Sample {
  const [, name = "", inner = "", number = ""] = SAMPLE.exec(line) ?? [];
  const value = number === "+Inf" ? Number.POSITIVE_INFINITY : Number(number);
  assert.ok(name !== "" && !Number.isNaN(value), `no sample: ${line}`);
  const labels: Record<string, string> = {};
  let rest = inner;
  while (rest !== "") {
    const [whole, label = "", text = ""] = LABEL.exec(rest) ?? [];
    assert.ok(whole !== undefined && !Object.hasOwn(labels, label), `no labels: ${line}`);
    labels[label] = text.replaceAll(/\\(["\\n])/g, (_, one) => (one === "n" ? "\n" : one));
    rest = rest.slice(whole.length);
  }
  return { name, labels, value };
}

function judgeHistogram(name: string, samples: readonly Sample[]): void {
  const buckets = samples.filter((sample) => sample.name === `${name}_bucket`);
  const counts = buckets.map(({ value }) => value);
  assert.deepEqual(
    counts,
    counts.toSorted((a, b) => a - b),
    `${name} is cumulative`,
  );
  assert.equal(buckets.at(-1)?.labels.le, "+Inf");
  const count = samples.find((sample) => sample.name === `${name}_count`);
  assert.equal(count?.value, counts.at(-1));
}
