import { isDeepStrictEqual } from "node:util";
import { patchObject } from "./kubernetes-patch.ts";
import {
  alreadyExists,
  badRequest,
  type Failure,
  failure,
  invalid,
  notFound,
} from "./kubernetes-status.ts";
import type { KubeDraft, KubeObject, ObjectStore } from "./kubernetes-store.ts";
import type { WriteRequest, Written } from "./kubernetes-write.ts";

/*
 * Events of events.k8s.io/v1, as strictly as an API server validates them (ValidateEventCreate and
 * ValidateEventUpdate of pkg/apis/core/validation/events.go in kubernetes/kubernetes).
 */

const PATH = /^\/apis\/events\.k8s\.io\/v1\/namespaces\/([^/]+)\/events(?:\/([^/]+))?$/;
const TITLE = "events.events.k8s.io";
const WORD_CHARACTERS_MAX = 128;
const NOTE_BYTES_MAX = 1_024;
const MICRO_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/;
const QUALIFIED_NAME =
  /^([a-z0-9]([a-z0-9.-]*[a-z0-9])?\/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$/;
const OBJECT_NAME = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;
/** Members of the older form, which a writer of this one must leave alone. */
const DEPRECATED = [
  "deprecatedSource",
  "deprecatedFirstTimestamp",
  "deprecatedLastTimestamp",
  "deprecatedCount",
];
/** Once written, these stay as they are. */
const IMMUTABLE = [
  "eventTime",
  "reportingController",
  "reportingInstance",
  "action",
  "reason",
  "regarding",
  "related",
  "note",
  "type",
];

export function isEventPath(path: string): boolean {
  return PATH.test(path);
}

/** Reads, creates or patches one Event. */
export function writeEvent(store: ObjectStore, request: WriteRequest): Written {
  const [, namespace = "", name = null] = PATH.exec(request.pathname) ?? [];
  if (store.read("namespaces", namespace) === null)
    return failed(notFound("namespaces", namespace));
  if (name === null) {
    return request.method === "POST"
      ? create(store, namespace, request.body)
      : failed(failure(405, "MethodNotAllowed", { message: `${request.method} is not supported` }));
  }
  const before = store.read("events", `${namespace}/${name}`);
  if (before === null) return failed(notFound(TITLE, name));
  switch (request.method) {
    case "GET":
      return { kind: "written", status: 200, body: before };
    case "PATCH": {
      const { type, body } = request;
      const patched = patchObject(before, { type, body, title: TITLE });
      if (patched.kind === "failure") return patched;
      return update(store, before, patched.draft);
    }
    default:
      return failed(failure(405, "MethodNotAllowed", { message: "not supported" }));
  }
}

function failed(reason: Failure): Written {
  return { kind: "failure", failure: reason };
}

function create(store: ObjectStore, namespace: string, body: string): Written {
  const draft = parse(body);
  if (draft === null) return failed(badRequest("the body is no object of the API"));
  const { name, namespace: given } = draft.metadata;
  if (given !== undefined && given !== namespace) {
    return failed(badRequest("the namespace of the object does not match the one on the URL"));
  }
  const metadata = { ...draft.metadata, namespace };
  const problem = problemOf({ ...draft, metadata });
  if (problem !== null) return failed(invalid(problem));
  const key = `${namespace}/${name}`;
  if (store.read("events", key) !== null) return failed(alreadyExists(TITLE, name));
  const event = store.put("events", key, { ...draft, metadata });
  return { kind: "written", status: 201, body: event };
}

function update(store: ObjectStore, before: KubeObject, draft: KubeDraft): Written {
  const problem = problemOf(draft);
  if (problem !== null) return failed(invalid(problem));
  const changed = IMMUTABLE.find((member) => !isDeepStrictEqual(before[member], draft[member]));
  if (changed !== undefined) return failed(invalid(`${changed}: field is immutable`));
  const { namespace, name } = before.metadata;
  const event = store.put("events", `${namespace}/${name}`, draft);
  return { kind: "written", status: 200, body: event };
}

/** The first thing that is wrong, or null. */
function problemOf(event: KubeDraft): string | null {
  const { metadata, regarding, note, type, series } = event;
  if (!OBJECT_NAME.test(metadata.name ?? "")) return "metadata.name: must be a DNS subdomain";
  if (!isMicroTime(event.eventTime)) return "eventTime: Required value";
  const controller = event.reportingController;
  if (typeof controller !== "string" || !QUALIFIED_NAME.test(controller)) {
    return "reportingController: must be a qualified name";
  }
  const word = ["reportingInstance", "action", "reason"].find((member) => !isWord(event[member]));
  if (word !== undefined) return `${word}: must have 1 to ${WORD_CHARACTERS_MAX} characters`;
  if (type !== "Normal" && type !== "Warning") return "type: has invalid value";
  if (Buffer.byteLength(String(note ?? "")) > NOTE_BYTES_MAX) return "note: is too long";
  const old = DEPRECATED.find((member) => event[member] !== undefined);
  if (old !== undefined) return `${old}: must be unset`;
  if (series !== undefined && !isSeries(series)) return "series: needs a count of 2 and a time";
  return namespaceProblemOf(regarding, metadata.namespace);
}

/** Events about what is in no namespace are in `default` or `kube-system`; others anywhere. */
function namespaceProblemOf(regarding: unknown, namespace: unknown): string | null {
  const about = isObject(regarding) ? regarding.namespace : undefined;
  const isNamed = typeof about === "string" && about !== "";
  const isFit = isNamed || namespace === "default" || namespace === "kube-system";
  return isFit ? null : "regarding.namespace: does not match event.namespace";
}

function isWord(value: unknown): boolean {
  return typeof value === "string" && value.length > 0 && value.length <= WORD_CHARACTERS_MAX;
}

function isMicroTime(value: unknown): boolean {
  return typeof value === "string" && MICRO_TIME.test(value);
}

function isSeries(value: unknown): boolean {
  return isObject(value) && Number(value.count) >= 2 && isMicroTime(value.lastObservedTime);
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function parse(body: string): KubeDraft | null {
  try {
    const draft: unknown = JSON.parse(body);
    if (!isObject(draft) || !isObject(draft.metadata)) return null;
    return draft as unknown as KubeDraft;
  } catch {
    return null;
  }
}
