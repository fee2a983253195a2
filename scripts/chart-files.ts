import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod/mini";
import { ROOT } from "./bundle.ts";
import { renderConfigSchema } from "./config-schema.ts";
import { describedValues, valuesTable } from "./values-comments.ts";
import { CONFIG_MARK, valuesShape } from "./values-shape.ts";

type Json = Readonly<Record<string, unknown>>;

/** The folder of the Helm chart. */
export const CHART = join(ROOT, "infra/helm/kube-allowlist");

const BEGIN = "<!-- values: begin -->";
const END = "<!-- values: end -->";

/** What the chart adds to the receiver's configuration when it is left out. */
const COMPLETED = ["version", "store"];

/**
 * The chart's files that are made from others, by their paths in it. Helm itself is not needed for
 * them.
 */
export function renderChartFiles(): ReadonlyMap<string, string> {
  return new Map([
    ["README.md", renderReadme()],
    ["values.schema.json", renderValuesSchema()],
  ]);
}

function readChartFile(name: string): string {
  return readFileSync(join(CHART, name), "utf8");
}

function renderReadme(): string {
  const page = readChartFile("README.md");
  const [head, tail] = [page.split(BEGIN)[0] ?? "", page.split(END)[1] ?? ""];
  const table = valuesTable(describedValues(readChartFile("values.yaml")));
  return `${head}${BEGIN}\n${table}\n${END}${tail}`;
}

/**
 * The JSON Schema that Helm checks values against before it renders, as text. The descriptions are
 * those of `values.yaml`; the receiver's configuration has the schema of its own file.
 */
function renderValuesSchema(): string {
  const { $schema, ...whole } = z.toJSONSchema(valuesShape, {
    io: "input",
    // Older versions of Helm know no newer one.
    target: "draft-7",
  }) as Json;
  const config = configSchema();
  const withConfig = JSON.parse(
    JSON.stringify(whole, (_key, value) => (isConfigMark(value) ? config.optional : value)),
  ) as Json;
  for (const { path, description } of describedValues(readChartFile("values.yaml"))) {
    describe(withConfig, path.split("."), description);
  }
  const text = JSON.stringify(
    {
      $schema,
      title: "Values of kube-allowlist",
      ...withConfig,
      if: { properties: { receiver: { properties: { enabled: { const: true } } } } },
      // biome-ignore lint/suspicious/noThenProperty: the word of JSON Schema
      then: { properties: { receiver: { properties: { config: { required: config.required } } } } },
    },
    null,
    2,
  );
  return `${text}\n`;
}

function isConfigMark(value: unknown): boolean {
  const isObject = typeof value === "object" && value !== null;
  return isObject && "description" in value && value.description === CONFIG_MARK;
}

/**
 * Helm's regular expressions (RE2) repeat nothing more often, and refuse a schema that asks for it.
 */
const REPEAT_MAX = 1_000;

/** Of the receiver's configuration: nothing is required where no receiver is installed. */
function configSchema(): { readonly optional: Json; readonly required: readonly string[] } {
  // What is left out here the receiver itself still checks.
  const schema: unknown = JSON.parse(renderConfigSchema(), (name, value) =>
    name === "pattern" && repeatsMuch(value) ? undefined : value,
  );
  const { $schema, title, required, ...optional } = schema as Json;
  const all = Array.isArray(required) ? required.map(String) : [];
  return { optional, required: all.filter((name) => !COMPLETED.includes(name)) };
}

function repeatsMuch(pattern: unknown): boolean {
  const counts = [...String(pattern).matchAll(/\{([0-9]+)(?:,([0-9]*))?\}/g)];
  return counts.some(([, ...bounds]) => bounds.some((bound) => Number(bound) > REPEAT_MAX));
}

/** Writes a description into the property at a path; throws when there is none. */
function describe(schema: Json, path: readonly string[], description: string): void {
  let inner: unknown = schema;
  for (const name of path) {
    const properties: unknown = Reflect.get(Object(inner), "properties");
    inner = Reflect.get(Object(properties), name);
  }
  if (typeof inner !== "object" || inner === null) {
    throw new Error(`Cannot describe ${path.join(".")}: values-shape.ts has no such value`);
  }
  Reflect.set(inner, "description", description);
}
