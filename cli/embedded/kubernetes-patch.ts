import { isDeepStrictEqual } from "node:util";
import { badRequest, conflict, type Failure, failure, invalid } from "./kubernetes-status.ts";
import type { KubeDraft, KubeObject } from "./kubernetes-store.ts";

/** An object after a patch, or why there is none. */
export type Patched =
  | { readonly kind: "patched"; readonly draft: KubeDraft }
  | { readonly kind: "failure"; readonly failure: Failure };

type JsonObject = Readonly<Record<string, unknown>>;

/**
 * Applies a patch of one of three forms, told apart by the media type: operations (RFC 6902), a
 * merge (RFC 7396), or Kubernetes' strategic merge, which merges some lists by the members of one
 * name. What a patch says of identity and version must be so.
 */
export function patchObject(
  before: KubeObject,
  patch: { readonly type: string; readonly body: string; readonly title: string },
): Patched {
  const given = parse(patch.body);
  if (given === undefined) return failed(badRequest("the body is no JSON"));
  const result = applyForm(before, given, mediaTypeOf(patch.type));
  return result.kind === "failure" ? result : judgeIdentity(before, result.draft, patch.title);
}

function failed(reason: Failure): Patched {
  return { kind: "failure", failure: reason };
}

function mediaTypeOf(type: string): string {
  return (type.split(";")[0] ?? "").trim().toLowerCase();
}

function applyForm(before: KubeObject, given: unknown, type: string): Patched {
  switch (type) {
    case "application/json-patch+json": {
      if (!Array.isArray(given) || !given.every(isObject)) {
        return failed(badRequest("the body is no list of operations"));
      }
      const patched = applyOperations(before, given);
      if (patched !== null) return { kind: "patched", draft: patched as KubeDraft };
      return failed(invalid("the server rejected our request due to an error in our request"));
    }
    case "application/merge-patch+json":
    case "application/strategic-merge-patch+json": {
      if (!isObject(given)) return failed(badRequest("the body is no object"));
      const keys = type.startsWith("application/strategic") ? MERGE_KEYS : {};
      return { kind: "patched", draft: mergeInto(before, given, keys) as KubeDraft };
    }
    default:
      return failed(failure(415, "UnsupportedMediaType", { message: `${type} is no patch` }));
  }
}

function judgeIdentity(before: KubeObject, draft: KubeDraft, title: string): Patched {
  const { name, uid, resourceVersion } = draft.metadata ?? {};
  if (name !== before.metadata.name) {
    return failed(badRequest("the name of the object does not match the name on the URL"));
  }
  if (uid !== undefined && uid !== before.metadata.uid) {
    return failed(invalid("metadata.uid: field is immutable"));
  }
  if (resourceVersion !== undefined && resourceVersion !== before.metadata.resourceVersion) {
    return failed(conflict(title, before.metadata.name));
  }
  return { kind: "patched", draft };
}

/** The lists of a Node that are merged entry by entry, and by which member; others are replaced. */
const MERGE_KEYS: Readonly<Record<string, string>> = { addresses: "type", conditions: "type" };

/** RFC 7396, with lists of these names merged by a member of their entries. */
export function mergeInto(
  before: unknown,
  given: unknown,
  keys: Readonly<Record<string, string>> = {},
): unknown {
  if (!isObject(given)) return given;
  const merged: Record<string, unknown> = { ...(isObject(before) ? before : {}) };
  for (const [name, value] of Object.entries(given)) {
    const key = keys[name];
    if (value === null) delete merged[name];
    else if (key !== undefined && Array.isArray(value)) {
      merged[name] = mergeLists(merged[name], value, key);
    } else merged[name] = mergeInto(merged[name], value, keys);
  }
  return merged;
}

function mergeLists(before: unknown, given: readonly unknown[], key: string): readonly unknown[] {
  const merged: unknown[] = Array.isArray(before) ? [...before] : [];
  for (const entry of given) {
    const name = isObject(entry) ? entry[key] : undefined;
    const at = merged.findIndex((other) => isObject(other) && other[key] === name);
    if (at < 0) merged.push(entry);
    else merged[at] = mergeInto(merged[at], entry);
  }
  return merged;
}

/** All of them or, as null, none. */
function applyOperations(before: unknown, operations: readonly JsonObject[]): unknown {
  let patched: unknown = structuredClone(before);
  for (const operation of operations) {
    const { op, path, value } = operation;
    const steps = typeof path === "string" ? parsePointer(path) : null;
    if (steps === null) return null;
    if (op === "test") {
      const found = lookUp(patched, steps);
      if (found === undefined || !isDeepStrictEqual(found, value)) return null;
    } else if (op === "add" || op === "replace" || op === "remove") {
      const next = change(patched, steps, { op, value });
      if (next === undefined) return null;
      patched = next;
    } else return null;
  }
  return patched;
}

/** RFC 6901; null for what is no pointer into something. */
function parsePointer(path: string): readonly string[] | null {
  if (!path.startsWith("/")) return null;
  return path
    .slice(1)
    .split("/")
    .map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
}

function lookUp(value: unknown, steps: readonly string[]): unknown {
  const [step, ...rest] = steps;
  if (step === undefined) return value;
  if (Array.isArray(value)) return lookUp(value[indexOf(step, value.length)], rest);
  return isObject(value) && Object.hasOwn(value, step) ? lookUp(value[step], rest) : undefined;
}

/** `length` where there is no such entry. */
function indexOf(step: string, length: number): number {
  const index = /^(0|[1-9]\d*)$/.test(step) ? Number(step) : length;
  return Math.min(index, length);
}

interface Alteration {
  readonly op: "add" | "replace" | "remove";
  readonly value: unknown;
}

/** The value after a change below it; undefined where the path leads nowhere. */
function change(within: unknown, steps: readonly string[], alteration: Alteration): unknown {
  const [step = "", ...rest] = steps;
  if (Array.isArray(within)) return changeList(within, [step, ...rest], alteration);
  if (!isObject(within)) return undefined;
  if (rest.length > 0) {
    const inner = change(within[step], rest, alteration);
    return inner === undefined ? undefined : { ...within, [step]: inner };
  }
  if (alteration.op !== "remove") return { ...within, [step]: alteration.value };
  if (!Object.hasOwn(within, step)) return undefined;
  const { [step]: _gone, ...kept } = within;
  return kept;
}

function changeList(
  within: readonly unknown[],
  steps: readonly string[],
  alteration: Alteration,
): unknown {
  const [step = "", ...rest] = steps;
  const { op, value } = alteration;
  const isAtEnd = rest.length === 0 && op === "add";
  if (isAtEnd && (step === "-" || step === String(within.length))) return [...within, value];
  const at = indexOf(step, within.length);
  if (at === within.length) return undefined;
  if (rest.length > 0) {
    const inner = change(within[at], rest, alteration);
    return inner === undefined ? undefined : within.with(at, inner);
  }
  if (op === "replace") return within.with(at, value);
  return op === "add" ? within.toSpliced(at, 0, value) : within.toSpliced(at, 1);
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function parse(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}
