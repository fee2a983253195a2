import type * as z from "zod/mini";
import type { Problem } from "./snapshot.ts";

/** Most problems that are listed at once; what comes after them is not looked at. */
export const PROBLEMS_MAX = 100;

const QUOTED_CHARACTERS_MAX = 60;
const PLAIN_MEMBER = /^[A-Za-z_][A-Za-z0-9_]*$/;

/**
 * `nodes[3].labels["example.com/pool"]`: where in a document, readable and never longer than its
 * parts allow.
 */
export function pathText(path: readonly PropertyKey[]): string {
  let text = "";
  for (const part of path) {
    if (typeof part === "number") text += `[${part}]`;
    else if (PLAIN_MEMBER.test(String(part)) && String(part).length <= QUOTED_CHARACTERS_MAX) {
      text += text === "" ? String(part) : `.${String(part)}`;
    } else text += `[${quote(String(part))}]`;
  }
  return text;
}

/**
 * A value in a message: on one line, in visible ASCII, and cut, since a stranger may have written
 * it.
 */
export function quote(text: string): string {
  const shown = JSON.stringify(text.slice(0, QUOTED_CHARACTERS_MAX)).replace(
    /[^\x20-\x7e]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return text.length > QUOTED_CHARACTERS_MAX ? `${shown}…` : shown;
}

export type Reading<T> =
  | { readonly kind: "parsed"; readonly value: T }
  | { readonly kind: "invalid"; readonly problems: readonly Problem[] };

/**
 * What `schema` makes of `value`, or every problem with its path below `at`, in the schema's order.
 */
export function readWith<T>(
  schema: z.ZodMiniType<T>,
  value: unknown,
  options?: { readonly at?: readonly PropertyKey[] },
): Reading<T> {
  const result = schema.safeParse(value, { error: explain });
  if (result.success) return { kind: "parsed", value: result.data };
  const at = options?.at ?? [];
  const problems = result.error.issues.map((issue) => ({
    path: pathText([...at, ...issue.path]),
    message: issue.message,
  }));
  return { kind: "invalid", problems };
}

/** What `schema` makes of `stored`; throws a RangeError with every problem and its path. */
export function readStored<T>(schema: z.ZodMiniType<T>, stored: unknown): T {
  const reading = readWith(schema, stored);
  if (reading.kind === "parsed") return reading.value;
  throw new RangeError(
    reading.problems.map(({ path, message }) => `${path}: ${message}`).join("; "),
  );
}

export function problemsOf(reading: Reading<unknown>): readonly Problem[] {
  return reading.kind === "invalid" ? reading.problems : [];
}

/** The first {@link PROBLEMS_MAX}, and a last line that says so where there were more. */
export function capProblems(problems: readonly Problem[]): readonly Problem[] {
  if (problems.length <= PROBLEMS_MAX) return problems;
  const last = {
    path: "",
    message: `Cannot list every problem: there are more than ${PROBLEMS_MAX}; correct these first`,
  };
  return [...problems.slice(0, PROBLEMS_MAX), last];
}

const EXPECTED: Readonly<Record<string, string>> = {
  array: "an array",
  boolean: "a boolean",
  int: "an integer",
  number: "a number",
  object: "an object",
  record: "an object",
  string: "a string",
};

function explain(issue: z.core.$ZodRawIssue): string | undefined {
  switch (issue.code) {
    case "invalid_type":
      return (
        `Cannot read ${kindOf(issue.input)}: must be ` +
        `${EXPECTED[issue.expected] ?? issue.expected}`
      );
    case "invalid_value":
      return (
        `Cannot take ${valueText(issue.input)}: must be ` +
        `${issue.values.map(valueText).join(" or ")}`
      );
    case "too_big":
      return `Cannot take ${sizeText(issue.input)}: at most ${issue.maximum} allowed`;
    case "too_small":
      return `Cannot take ${sizeText(issue.input)}: at least ${issue.minimum} needed`;
    case "invalid_key":
      return issue.issues[0]?.message;
    default:
      // Asked only about what carries no message of its own; zod/mini has none either.
      return `Cannot take ${valueText(issue.input)}`;
  }
}

function kindOf(value: unknown): string {
  if (value === undefined) return "what is missing";
  if (value === null) return "null";
  if (Array.isArray(value)) return "an array";
  if (typeof value === "object") return "an object";
  if (typeof value === "number" && !Number.isSafeInteger(value)) return `the number ${value}`;
  return `a ${typeof value}`;
}

function valueText(value: unknown): string {
  return typeof value === "string" ? quote(value) : kindOf(value);
}

function sizeText(value: unknown): string {
  if (typeof value === "string") return `${value.length} characters`;
  return Array.isArray(value) ? `${value.length} elements` : String(value);
}
