import { badRequest, type Failure } from "./kubernetes-status.ts";
import type { KubeObject, Write } from "./kubernetes-store.ts";

/** What a list or a watch is about: a resource, and which of its objects. */
export interface Query {
  readonly resource: "nodes" | "pods";
  /** `kind` of its objects. */
  readonly kind: "Node" | "Pod";
  /** Null for all of them. */
  readonly namespace: string | null;
  /** What their labels must be. */
  readonly labels: readonly (readonly [key: string, value: string])[];
}

const PODS_PATH = /^\/api\/v1\/(?:namespaces\/([^/]+)\/)?pods$/;

/** Null for a path at which nothing is listed. */
export function resourceAt(path: string): Pick<Query, "resource" | "kind" | "namespace"> | null {
  if (path === "/api/v1/nodes") return { resource: "nodes", kind: "Node", namespace: null };
  const pods = PODS_PATH.exec(path);
  if (pods === null) return null;
  return { resource: "pods", kind: "Pod", namespace: pods[1] ?? null };
}

/** Selectors of equality only, as `app=api,tier==web`. */
export function readQuery(
  at: Pick<Query, "resource" | "kind" | "namespace">,
  search: URLSearchParams,
): Query | Failure {
  const text = search.get("labelSelector") ?? "";
  const pairs =
    text === "" ? [] : text.split(",").map((part) => /^([^=!]+)==?([^=!]*)$/.exec(part));
  if (pairs.includes(null)) return badRequest(`unable to parse requirement: ${text}`);
  return { ...at, labels: pairs.map((pair) => [pair?.[1] ?? "", pair?.[2] ?? ""] as const) };
}

/** Whether an object is asked for. */
export function selects({ namespace, labels }: Query, { metadata }: KubeObject): boolean {
  if (namespace !== null && metadata.namespace !== namespace) return false;
  const given = Object(metadata.labels) as Record<string, unknown>;
  return labels.every(([key, value]) => given[key] === value);
}

/** An event of a watch, as it is sent. */
export interface WatchedWrite {
  readonly type: Write["type"];
  readonly object: KubeObject;
}

/**
 * How a write looks to a watch that selects: an object that comes to match is added; one that stops
 * to match is deleted, shown as it was when it did, at the version of the write.
 */
export function watchedWrite(query: Query, write: Write): WatchedWrite | null {
  if (write.resource !== query.resource) return null;
  const { type, object, before } = write;
  const did = before !== null && selects(query, before);
  const does = type !== "DELETED" && selects(query, object);
  if (does) return { type: did ? "MODIFIED" : "ADDED", object };
  if (!did) return null;
  if (type === "DELETED") return { type, object };
  const { resourceVersion } = object.metadata;
  return {
    type: "DELETED",
    object: { ...before, metadata: { ...before.metadata, resourceVersion } },
  };
}
