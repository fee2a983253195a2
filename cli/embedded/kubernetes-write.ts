import { mergeInto, patchObject } from "./kubernetes-patch.ts";
import {
  alreadyExists,
  badRequest,
  conflict,
  type Failure,
  failure,
  invalid,
  notFound,
} from "./kubernetes-status.ts";
import type { KubeDraft, KubeObject, ObjectStore, Resource } from "./kubernetes-store.ts";

/** What became of a request about one object. */
export type Written =
  | { readonly kind: "written"; readonly status: number; readonly body: object }
  | { readonly kind: "failure"; readonly failure: Failure };

/** Where a path leads: an object, its status, or the place where objects are made. */
interface Place {
  readonly resource: Resource;
  /** As in messages of the API server. */
  readonly title: string;
  readonly namespace: string | null;
  readonly name: string | null;
  readonly part: "whole" | "status";
}

const NODE_PATH = /^\/api\/v1\/nodes(?:\/([^/]+))?(\/status)?$/;
const POD_PATH = /^\/api\/v1\/namespaces\/([^/]+)\/pods(?:\/([^/]+))?(\/status)?$/;
const LEASE_PATH = /^\/apis\/coordination\.k8s\.io\/v1\/namespaces\/([^/]+)\/leases(?:\/([^/]+))?$/;

/** A request about one object, or about the collection that gets another. */
export interface WriteRequest {
  readonly method: string;
  readonly pathname: string;
  /** Media type of the body, which says what form a patch has. */
  readonly type: string;
  readonly body: string;
}

/** Reads, creates, replaces, patches or deletes one Node, Pod or Lease. */
export function writeObject(store: ObjectStore, request: WriteRequest): Written {
  const place = placeOf(request.pathname);
  if (place === null) return failed(failure(404, "NotFound", { message: "no such resource" }));
  if (place.namespace !== null && store.read("namespaces", place.namespace) === null) {
    return failed(notFound("namespaces", place.namespace));
  }
  const { method } = request;
  if (method === "GET" || method === "DELETE") return readOrRemove(store, place, method);
  if (method === "PATCH") return patch(store, place, request);
  const draft = parseDraft(request.body, place);
  if (draft === null) return failed(badRequest("the body is no object of the API"));
  switch (method) {
    case "POST":
      return create(store, place, draft);
    case "PUT":
      return replace(store, place, draft);
    default:
      return failed(failure(405, "MethodNotAllowed", { message: `${method} is not supported` }));
  }
}

function failed(failure: Failure): Written {
  return { kind: "failure", failure };
}

function placeOf(path: string): Place | null {
  const node = NODE_PATH.exec(path);
  if (node !== null) {
    const part = node[2] === undefined ? "whole" : "status";
    return { resource: "nodes", title: "nodes", namespace: null, name: node[1] ?? null, part };
  }
  const pod = POD_PATH.exec(path);
  if (pod !== null) {
    const [, namespace = "", name = null, status] = pod;
    const part = status === undefined ? "whole" : "status";
    return { resource: "pods", title: "pods", namespace, name, part };
  }
  const lease = LEASE_PATH.exec(path);
  if (lease === null) return null;
  const title = "leases.coordination.k8s.io";
  const [, namespace = "", name = null] = lease;
  return { resource: "leases", title, namespace, name, part: "whole" };
}

function keyOf({ namespace }: Place, name: string): string {
  return namespace === null ? name : `${namespace}/${name}`;
}

function readOrRemove(store: ObjectStore, place: Place, method: "GET" | "DELETE"): Written {
  const { resource, title, name } = place;
  if (name === null) return failed(failure(405, "MethodNotAllowed", { message: "not supported" }));
  const key = keyOf(place, name);
  const object = store.read(resource, key);
  if (object === null) return failed(notFound(title, name));
  if (method === "GET") return { kind: "written", status: 200, body: object };
  store.remove(resource, key);
  const status = { kind: "Status", apiVersion: "v1", metadata: {}, status: "Success" };
  return { kind: "written", status: 200, body: status };
}

function create(store: ObjectStore, place: Place, draft: KubeDraft): Written {
  const { name } = draft.metadata;
  const key = keyOf(place, name);
  if (store.read(place.resource, key) !== null) return failed(alreadyExists(place.title, name));
  // A pod begins without addresses, whatever is given.
  const whole = place.resource === "pods" ? { ...draft, status: { phase: "Pending" } } : draft;
  return { kind: "written", status: 201, body: store.put(place.resource, key, whole) };
}

/**
 * Compare-and-swap: uid and resourceVersion, where they are given, must be those of the object. A
 * Lease must give its version; one that is not there is created, if no uid says that it should be.
 */
function replace(store: ObjectStore, place: Place, draft: KubeDraft): Written {
  const { resource, title } = place;
  const name = place.name ?? "";
  if (name !== draft.metadata.name) {
    return failed(badRequest("the name of the object does not match the name on the URL"));
  }
  const key = keyOf(place, name);
  const before = store.read(resource, key);
  const { uid, resourceVersion: version } = draft.metadata;
  if (before === null) {
    if (typeof uid === "string") return failed(conflict(title, name));
    if (resource !== "leases") return failed(notFound(title, name));
    return { kind: "written", status: 201, body: store.put(resource, key, draft) };
  }
  if (typeof uid === "string" && uid !== before.metadata.uid) return failed(conflict(title, name));
  if (resource === "leases" && typeof version !== "string") {
    return failed(invalid("metadata.resourceVersion: must be specified for an update"));
  }
  if (typeof version === "string" && version !== before.metadata.resourceVersion) {
    return failed(conflict(title, name));
  }
  const whole = hasStatus(resource) ? partOf(before, draft, place.part) : draft;
  return { kind: "written", status: 200, body: store.put(resource, key, whole) };
}

function hasStatus(resource: Resource): boolean {
  return resource === "nodes" || resource === "pods";
}

/** The status is written at its own path only, and nothing else is there. */
function partOf(before: KubeObject, draft: KubeDraft, part: Place["part"]): KubeDraft {
  if (part === "status") return { ...before, status: draft.status };
  const { status: _status, ...rest } = draft;
  return "status" in before ? { ...rest, status: before.status } : rest;
}

function patch(
  store: ObjectStore,
  place: Place,
  { type, body }: { readonly type: string; readonly body: string },
): Written {
  const { resource, title } = place;
  const name = place.name ?? "";
  const before = store.read(resource, keyOf(place, name));
  if (before === null) return failed(notFound(title, name));
  const patched = patchObject(before, { type, body, title });
  if (patched.kind === "failure") return patched;
  const { draft } = patched;
  // Labels and annotations may be patched at both paths.
  const { metadata } = draft;
  const whole = hasStatus(resource) ? { ...partOf(before, draft, place.part), metadata } : draft;
  return { kind: "written", status: 200, body: store.put(resource, keyOf(place, name), whole) };
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function parseDraft(body: string, { namespace }: Place): KubeDraft | null {
  try {
    const draft: unknown = JSON.parse(body);
    if (!isObject(draft)) return null;
    const given = isObject(draft.metadata) ? draft.metadata : {};
    const metadata = namespace === null ? given : { ...given, namespace };
    return { ...draft, metadata } as unknown as KubeDraft;
  } catch {
    return null;
  }
}

/** A node as one thinks of it. */
export interface NodeDraft {
  readonly addresses: readonly { readonly type: string; readonly address: string }[];
  readonly labels?: Readonly<Record<string, string>>;
  readonly podCidrs?: readonly string[];
}

/** Nodes at one's fingertips, in the same process. */
export interface EmbeddedNodes {
  /** Creates a node, or changes the one of that name; returns its uid. */
  put(name: string, draft: NodeDraft): string;
  /** Merges into the object (RFC 7396): for conditions, images, taints, anything. */
  patch(name: string, patch: object): void;
  remove(name: string): void;
  /** Ascending. */
  names(): readonly string[];
}

export function makeNodes(store: ObjectStore): EmbeddedNodes {
  return {
    put(name, { addresses, labels, podCidrs }) {
      const draft: KubeDraft = {
        apiVersion: "v1",
        kind: "Node",
        metadata: { name, labels: labels ?? {} },
        spec: podCidrs === undefined ? {} : { podCIDR: podCidrs[0], podCIDRs: podCidrs },
        status: { addresses },
      };
      return store.put("nodes", name, draft).metadata.uid;
    },
    patch(name, patch) {
      const before = store.read("nodes", name);
      if (before === null) throw new Error(`Cannot patch the node ${name}: there is none`);
      store.put("nodes", name, mergeInto(before, patch) as KubeDraft);
    },
    remove(name) {
      store.remove("nodes", name);
    },
    names: () => store.list("nodes", store.revision()).map(({ metadata }) => metadata.name),
  };
}
