import { type Query, selects } from "./kubernetes-query.ts";
import { badRequest, expired, type Failure, invalid, tooLarge } from "./kubernetes-status.ts";
import type { KubeObject, ObjectStore } from "./kubernetes-store.ts";

/** A page of objects, or why there is none. */
export type Page =
  | { readonly kind: "page"; readonly body: object }
  | { readonly kind: "failure"; readonly failure: Failure };

const VERSION = /^[0-9]+$/;

/**
 * The list semantics of the API server: no resourceVersion = what holds now; 0 and NotOlderThan = a
 * state at least as new; Exact, or a limit with a bare version, = that very state, if it is still
 * known. All pages of a list show one state.
 */
export function listPage(store: ObjectStore, query: Query, search: URLSearchParams): Page {
  const token = search.get("continue") ?? "";
  const version = search.get("resourceVersion") ?? "";
  const match = search.get("resourceVersionMatch") ?? "";
  const limit = Number(search.get("limit") ?? "0");
  const refused = refuseQuery({ token, version, match });
  if (refused !== null) return { kind: "failure", failure: refused };
  if (token !== "") return continuedPage(store, query, { token, limit });
  const asked = version === "" ? 0n : BigInt(version);
  if (asked > store.revision()) {
    return { kind: "failure", failure: tooLarge(version, String(store.revision())) };
  }
  const isExact = match === "Exact" || (match === "" && asked > 0n && limit > 0);
  const revision = isExact ? asked : store.revision();
  return pageAt(store, query, { revision, after: "", limit });
}

function refuseQuery(query: {
  readonly token: string;
  readonly version: string;
  readonly match: string;
}): Failure | null {
  const { token, version, match } = query;
  if (version !== "" && !VERSION.test(version)) {
    return badRequest(`invalid resource version: ${JSON.stringify(version)}`);
  }
  if (match !== "" && match !== "NotOlderThan" && match !== "Exact") {
    return invalid("resourceVersionMatch: Unsupported value: supported are Exact, NotOlderThan");
  }
  if (match !== "" && version === "") {
    return invalid("resourceVersionMatch is forbidden unless resourceVersion is provided");
  }
  if (match === "Exact" && version === "0") {
    return invalid('resourceVersionMatch "exact" is forbidden for resourceVersion "0"');
  }
  if (token !== "" && match !== "") {
    return invalid("resourceVersionMatch is forbidden when continue is provided");
  }
  if (token !== "" && version !== "" && version !== "0") {
    return badRequest("specifying resource version is not allowed when using continue");
  }
  return null;
}

function continuedPage(
  store: ObjectStore,
  query: Query,
  { token, limit }: { readonly token: string; readonly limit: number },
): Page {
  const place = parseToken(token);
  if (place === null) {
    return { kind: "failure", failure: badRequest("continue key is not valid") };
  }
  return pageAt(store, query, { ...place, limit });
}

function pageAt(
  store: ObjectStore,
  query: Query,
  place: { readonly revision: bigint; readonly after: string; readonly limit: number },
): Page {
  const { revision, after, limit } = place;
  if (revision < store.compacted()) {
    const message = "The provided continue parameter or version is too old: list without it";
    return { kind: "failure", failure: expired(message) };
  }
  const rest = store
    .list(query.resource, revision)
    .filter((object) => placeOf(object) > after && selects(query, object));
  const items = limit > 0 ? rest.slice(0, limit) : rest;
  const remaining = rest.length - items.length;
  const last = items.at(-1);
  const more =
    remaining > 0 && last !== undefined
      ? { continue: makeToken(revision, placeOf(last)), ...countOf(query, remaining) }
      : {};
  const metadata = { resourceVersion: String(revision), ...more };
  return {
    kind: "page",
    body: {
      kind: `${query.kind}List`,
      apiVersion: "v1",
      metadata,
      items: items.map(withoutKind),
    },
  };
}

/** In the order of keys, across namespaces. */
function placeOf({ metadata }: KubeObject): string {
  return metadata.namespace === undefined
    ? metadata.name
    : `${metadata.namespace}/${metadata.name}`;
}

/** Not counted where labels select. */
function countOf({ labels }: Query, remaining: number): object {
  return labels.length === 0 ? { remainingItemCount: remaining } : {};
}

/** Items of a list do not repeat what they are. */
function withoutKind({ kind: _kind, apiVersion: _version, ...rest }: KubeObject): object {
  return rest;
}

function makeToken(revision: bigint, after: string): string {
  return Buffer.from(JSON.stringify([String(revision), after])).toString("base64url");
}

function parseToken(token: string): { readonly revision: bigint; readonly after: string } | null {
  try {
    const [revision, after] = JSON.parse(Buffer.from(token, "base64url").toString("utf8"));
    return VERSION.test(revision) ? { revision: BigInt(revision), after: String(after) } : null;
  } catch {
    return null;
  }
}
