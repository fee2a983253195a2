import * as z from "zod/mini";
import {
  clusterShape,
  fileShape,
  listShape,
  nameShape,
  sourceShapes,
  storeShapes,
} from "../lib/config/shape.ts";
import { kinds } from "../lib/targets/registry.ts";

type Json = Readonly<Record<string, unknown>>;

// Stands for the targets until each kind's own schema takes its place: their type is only known
// here.
const TARGET_MARK = "kube-allowlist:target";

/**
 * The JSON Schema of `allowlist.yaml`, as text, made from the very shapes that parse it. For
 * editors: it knows less than the parser.
 */
export function renderConfigSchema(): string {
  const whole = fileShape({
    name: nameShape,
    store: z.union(Object.values(storeShapes)),
    cluster: clusterShape,
    list: listShape(
      z.union(Object.values(sourceShapes)),
      z.unknown().check(z.describe(TARGET_MARK)),
    ),
  });
  const { $schema, ...rest } = jsonSchema(whole);
  const head = { $schema, title: "Configuration of kube-allowlist" };
  const targets = Object.entries(kinds).map(([name, { schema }]) => targetSchema(name, schema));
  const text = JSON.stringify(
    { ...head, ...rest },
    (_key, value) => (isTargetMark(value) ? { anyOf: targets } : value),
    2,
  );
  return `${text}\n`;
}

function isTargetMark(value: unknown): boolean {
  return (
    typeof value === "object" &&
    value !== null &&
    "description" in value &&
    value.description === TARGET_MARK
  );
}

function targetSchema(kind: string, schema: z.ZodMiniType): Json {
  const { $schema: _, properties, required, ...rest } = jsonSchema(schema);
  return {
    ...rest,
    properties: { kind: { const: kind }, ...(properties as Json) },
    required: ["kind", ...((required as string[] | undefined) ?? [])],
  };
}

// What people write, not what it becomes.
function jsonSchema(shape: z.ZodMiniType): Json {
  return z.toJSONSchema(shape, { io: "input" }) as Json;
}
