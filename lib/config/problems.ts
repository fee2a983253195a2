import * as z from "zod/mini";
import { quote } from "../core/problem.ts";
import type { Problem } from "../core/snapshot.ts";

/** Where in the file: object keys and array positions from the root. */
export type Path = readonly (string | number)[];

/**
 * Gathers every problem of a file while its parts are parsed one by one, so that one bad part hides
 * no other.
 */
export interface Reader {
  readonly problems: readonly Problem[];
  add(at: Path, message: string): void;
  /** The parsed value, or null after adding every problem of it. */
  check<T>(shape: z.ZodMiniType<T>, value: unknown, at: Path): T | null;
}

export function createReader(): Reader {
  const problems: Problem[] = [];
  const add = (at: Path, message: string) => {
    problems.push({ path: pathText(at), message });
  };
  return {
    problems,
    add,
    check: (shape, value, at) => {
      const result = shape.safeParse(value, { reportInput: true });
      if (result.success) return result.data;
      const { issues } = result.error;
      // Text where a list is expected is also called too long for a list: once is enough.
      const meant = issues.filter((issue, index) => !repeatsPlace(issue, issues[index - 1]));
      for (const issue of meant) describeIssue(shape, issue, { at, add });
      return null;
    },
  };
}

const PLAIN_KEY = /^[A-Za-z0-9_-]+$/;

/** `lists.payments-db.from[0].nodes["example.com/pool"]`; the empty path is the file itself. */
export function pathText(path: Path): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === "number") return `${text}[${part}]`;
    if (!PLAIN_KEY.test(part)) return `${text}[${JSON.stringify(part)}]`;
    return text === "" ? part : `${text}.${part}`;
  }, "");
}

function repeatsPlace(issue: Issue, previous: Issue | undefined): boolean {
  if (previous?.code !== "invalid_type") return false;
  return pathText(previous.path.map(partOf)) === pathText(issue.path.map(partOf));
}

interface Place {
  readonly at: Path;
  add(at: Path, message: string): void;
}

type Issue = z.core.$ZodIssue;

function describeIssue(shape: z.ZodMiniType, issue: Issue, { at, add }: Place): void {
  const inner = issue.path.map(partOf);
  const place = [...at, ...inner];
  if (issue.code === "unrecognized_keys") {
    const known = keysAt(shape, inner);
    for (const key of issue.keys) add([...place, key], unknownKeyMessage(key, known));
    return;
  }
  if (issue.code === "invalid_key") {
    for (const nested of issue.issues) add(place, nested.message);
    return;
  }
  if (issue.code === "invalid_union" && !explainsItself(issue)) {
    describeUnion(shape, issue, { at, add });
    return;
  }
  const message = issueMessage(issue, place);
  const example = isMissing(issue) ? exampleAt(shape, inner) : null;
  add(place, example === null ? message : `${message}; ${example}`);
}

function isMissing({ code, input }: Issue): boolean {
  return (code === "invalid_type" || code === "invalid_value") && input === undefined;
}

const EXAMPLE = /: (write [^;]*\blike .+)$/;

/** `write it like "eu-west-1"`, as the shape at this place says of a text that it does not take. */
function exampleAt(shape: z.ZodMiniType, path: Path): string | null {
  const messages = shapesAt(shape, path).flatMap((each) => {
    const { error } = z.safeParse(each, "");
    return (error?.issues ?? []).map(({ message }) => EXAMPLE.exec(message)?.[1] ?? null);
  });
  return messages.find((message) => message !== null) ?? null;
}

function partOf(part: PropertyKey): string | number {
  return typeof part === "symbol" ? String(part) : part;
}

// Of several alternatives, people most likely meant the one of the right type, then the one that
// has the least to complain about. Where no type fits, all that would have been fine is named.
function describeUnion(
  shape: z.ZodMiniType,
  issue: z.core.$ZodIssueInvalidUnion,
  { at, add }: Place,
): void {
  const meant = issue.errors
    .filter((issues) => !issues.some(isOfOtherType))
    .toSorted((a, b) => a.length - b.length)[0];
  if (meant === undefined) {
    const place = [...at, ...issue.path.map(partOf)];
    const expected = issue.errors.flatMap((issues) =>
      issues.filter(isOfOtherType).map(expectedText),
    );
    add(place, unexpectedMessage(issue.input, [...new Set(expected)].join(" or "), place));
    return;
  }
  for (const nested of meant) {
    const path = [...issue.path, ...nested.path];
    describeIssue(shape, { ...nested, path } as Issue, { at, add });
  }
}

// A shape that sets its own message writes it like all of ours; zod's own begin with "Invalid" or
// "Too".
function explainsItself(issue: Issue): boolean {
  return issue.message.startsWith("Cannot ");
}

function isOfOtherType(issue: Issue): boolean {
  if (issue.path.length > 0) return false;
  return issue.code === "invalid_type" || issue.code === "invalid_value";
}

function expectedText(issue: Issue): string {
  if (issue.code === "invalid_type") return EXPECTED[issue.expected] ?? issue.expected;
  if (issue.code !== "invalid_value") return "another value";
  return issue.values.map((value) => JSON.stringify(value)).join(" or ");
}

function unexpectedMessage(input: unknown, expected: string, place: Path): string {
  if (input === undefined) return `${leftOutMessage(place)}: it is required`;
  return `Cannot use ${valueText(input, place)}: expected ${expected}`;
}

function leftOutMessage(place: Path): string {
  return `Cannot leave out ${JSON.stringify(place.at(-1) ?? "the file")}`;
}

function issueMessage(issue: Issue, place: Path): string {
  if (!isMissing(issue) && explainsItself(issue)) return issue.message;
  const given = `Cannot use ${valueText(issue.input, place)}`;
  switch (issue.code) {
    case "invalid_value":
      if (isMissing(issue)) return `${leftOutMessage(place)}: write ${issue.values.join(" or ")}`;
      return unexpectedMessage(issue.input, expectedText(issue), place);
    case "invalid_type":
      return unexpectedMessage(issue.input, expectedText(issue), place);
    case "too_small":
      return `${given}: expected at least ${sizeText(issue.minimum, issue.origin)}`;
    case "too_big":
      return `${given}: expected at most ${sizeText(issue.maximum, issue.origin)}`;
    case "invalid_format":
      return `${given}: it does not match ${issue.pattern ?? issue.format}`;
    default:
      return `${given}: ${issue.message}`;
  }
}

const EXPECTED: Readonly<Record<string, string>> = {
  array: "a list",
  boolean: "true or false",
  int: "a whole number",
  number: "a number",
  object: "a mapping of keys to values",
  record: "a mapping of keys to values",
  string: "text (put quotes around it)",
};

function sizeText(size: number | bigint, origin: string): string {
  const noun = origin === "array" ? "item" : origin === "string" ? "character" : "";
  if (noun === "") return String(size);
  return `${size} ${noun}${Number(size) === 1 ? "" : "s"}`;
}

/** What may be a URL with a password in it. */
const URL_LIKE = /@|:\/\//;

/** A text as a message may show it. */
export function shownText(text: string): string {
  return URL_LIKE.test(text) ? '"…"' : quote(text);
}

const SECRET_PLACE = /key|token|secret|credential|password/i;

/**
 * A value as a message may show it: short, and never from a place where people might have written a
 * secret.
 */
function valueText(value: unknown, place: Path): string {
  if (Array.isArray(value)) return value.length === 0 ? "an empty list" : "a list";
  if (typeof value === "object" && value !== null) return "a mapping";
  const secret = place.some((part) => typeof part === "string" && SECRET_PLACE.test(part));
  if (secret || String(value).includes("whsec_")) return "this value";
  return typeof value === "string" ? shownText(value) : String(value);
}

function unknownKeyMessage(key: string, known: readonly string[]): string {
  const near = nearest(key, known);
  const quoted = JSON.stringify(key);
  if (near !== null) return `Cannot use key ${quoted}: it is unknown; did you mean "${near}"?`;
  return `Cannot use key ${quoted}: it is unknown; known here: ${known.join(", ")}`;
}

/** The keys that an object at this place may have, over all alternatives; in ascending order. */
function keysAt(shape: z.ZodMiniType, path: Path): readonly string[] {
  const keys = shapesAt(shape, path).flatMap((each) => {
    const def = defOf(each);
    return def.type === "object" ? Object.keys(def.shape) : [];
  });
  return [...new Set(keys)].toSorted();
}

function shapesAt(shape: z.ZodMiniType, path: Path): readonly z.core.$ZodType[] {
  let shapes = alternatives(shape);
  for (const part of path) {
    shapes = shapes.flatMap((each) => alternatives(childOf(each, part)));
  }
  return shapes;
}

function childOf(shape: z.core.$ZodType, part: string | number): z.core.$ZodType | null {
  const def = defOf(shape);
  if (def.type === "array") return def.element;
  if (def.type === "record") return def.valueType;
  if (def.type === "object") return def.shape[part] ?? null;
  return null;
}

// What stands behind optional, default, transform and union.
function alternatives(shape: z.core.$ZodType | null): readonly z.core.$ZodType[] {
  if (shape === null) return [];
  const def = defOf(shape);
  switch (def.type) {
    case "union":
      return def.options.flatMap(alternatives);
    case "pipe":
      return alternatives(def.in);
    case "optional":
    case "nullable":
    case "default":
    case "prefault":
    case "readonly":
      return alternatives(def.innerType);
    default:
      return [shape];
  }
}

/** Which shape it is: one of zod's own, since nobody makes others. */
function defOf(shape: z.core.$ZodType): z.core.$ZodTypes["_zod"]["def"] {
  return (shape as z.core.$ZodTypes)._zod.def;
}

/** The candidate that `word` is most likely a slip of, or null when none is near. */
export function nearest(word: string, candidates: readonly string[]): string | null {
  const ranked = candidates
    .map((candidate) => ({
      candidate,
      distance: editDistance(word.toLowerCase(), candidate.toLowerCase()),
    }))
    .filter(({ candidate, distance }) => distance <= Math.max(1, Math.floor(candidate.length / 3)))
    .toSorted((a, b) => a.distance - b.distance);
  return ranked[0]?.candidate ?? null;
}

const WORD_LENGTH_MAX = 64;

// Insertions, deletions, replacements and swapped neighbours ("optimal string alignment"), row by
// row.
function editDistance(a: string, b: string): number {
  if (a.length > WORD_LENGTH_MAX || b.length > WORD_LENGTH_MAX) return Number.POSITIVE_INFINITY;
  const rows = [Array.from({ length: b.length + 1 }, (_, column) => column)];
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const cell = (up: number, left: number) =>
        (up === 0 ? row : rows[i - up])?.[j - left] ?? Number.POSITIVE_INFINITY;
      const swapped = a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      row[j] = Math.min(
        cell(1, 0) + 1,
        cell(0, 1) + 1,
        cell(1, 1) + (a[i - 1] === b[j - 1] ? 0 : 1),
        swapped ? cell(2, 2) + 1 : Number.POSITIVE_INFINITY,
      );
    }
    rows.push(row);
  }
  return rows[a.length]?.[b.length] ?? Number.POSITIVE_INFINITY;
}

/** For a name that must be one of a known set. */
export function unknownMessage(noun: string, given: unknown, known: readonly string[]): string {
  const choices = known.join(", ");
  if (given === undefined) return `Cannot leave out the ${noun}: expected one of ${choices}`;
  const near = typeof given === "string" ? nearest(given, known) : null;
  const hint = near === null ? "" : `; did you mean "${near}"?`;
  return `Cannot find ${noun} ${JSON.stringify(given)}: known are ${choices || "none"}${hint}`;
}
