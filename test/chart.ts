import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { parse } from "yaml";
import { CHART } from "../scripts/chart-files.ts";

/*
 * The chart's values and their schema, for tests with and without Helm.
 */

/** Values of the chart, or some of them. */
export interface Values {
  readonly [name: string]: unknown;
}

/** Everything that is wrong with values, as `path: message`, sorted. */
export type ValuesCheck = (values: Values) => readonly string[];

interface Validate {
  (value: unknown): boolean;
  readonly errors?:
    | readonly {
        readonly instancePath: string;
        readonly message?: string;
        readonly params: object;
      }[]
    | null;
}

type AjvClass = new (options: object) => { compile(schema: object): Validate };

/** What is in the repository by way of another package, and judges by JSON Schema's draft 7. */
const { Ajv } = createRequire(createRequire(import.meta.url).resolve("openapi-backend"))("ajv") as {
  readonly Ajv: AjvClass;
};

export const VALUES = parse(readFileSync(join(CHART, "values.yaml"), "utf8")) as Values;
export const VALUES_SCHEMA = JSON.parse(
  readFileSync(join(CHART, "values.schema.json"), "utf8"),
) as object;

const validate = new Ajv({ strict: false, allErrors: true, logger: false }).compile(VALUES_SCHEMA);

/** Judges values that are laid over the chart's own, as Helm does it. */
export const checkValues: ValuesCheck = (values) => {
  if (validate(overlay(VALUES, values))) return [];
  return (validate.errors ?? [])
    .map(({ instancePath, message, params }) => {
      const extra = Reflect.get(params, "additionalProperty");
      return `${instancePath}: ${message}${extra === undefined ? "" : ` (${extra})`}`;
    })
    .toSorted();
};

/** Maps are merged, everything else is replaced; null takes a default away. */
export function overlay(below: unknown, above: unknown): unknown {
  if (!isMap(below) || !isMap(above)) return above;
  const merged = new Map(Object.entries(below));
  for (const [name, value] of Object.entries(above)) {
    if (value === null) merged.delete(name);
    else merged.set(name, merged.has(name) ? overlay(merged.get(name), value) : value);
  }
  return Object.fromEntries(merged);
}

export function isMap(value: unknown): value is Values {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The sets of values that the chart brings for its tests, by their names. */
export function valueSets(): ReadonlyMap<string, Values> {
  const folder = join(CHART, "ci");
  const names = readdirSync(folder).toSorted();
  return new Map(
    names.map((name) => [name, parse(readFileSync(join(folder, name), "utf8")) as Values]),
  );
}

/** Every template of the chart as text, by its path in `templates`. */
export function templates(): ReadonlyMap<string, string> {
  const folder = join(CHART, "templates");
  const names = readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => /\.(tpl|txt|yaml)$/.test(name))
    .toSorted();
  return new Map(names.map((name) => [name, readFileSync(join(folder, name), "utf8")]));
}

/** Values that a page shows: its YAML that begins like them. */
export function valuesIn(page: string): readonly Values[] {
  const fences = [...page.matchAll(/^```yaml\n([\s\S]*?)^```$/gm)].map(([, text = ""]) => text);
  const first = new RegExp(`^(${Object.keys(VALUES).join("|")}):`, "m");
  return fences
    .filter((text) => first.test(text) && !/^(apiVersion|version):/m.test(text))
    .map((text) => parse(text) as Values);
}
