import { type Collection, type Held, type Observed, queryOf } from "./collection.ts";
import { isRecord, recordAt, textAt } from "./json.ts";
import { type Kube, KubeError } from "./kube.ts";
import { versionOf } from "./projection.ts";

/**
 * A page is parsed whole, and what was parsed is only cleared away now and then: four times as many
 * objects cost 40 MB more at 5,000 nodes, and are not sooner complete.
 */
const PAGE_OBJECTS_MAX = 50;
const PAGE_TIMEOUT_MS = 60_000;
const PAGES_MAX = 5_000;
/** Lists in pages that expire, before one in one piece. */
const PAGED_ATTEMPTS = 2;

export interface List<T extends Observed> {
  readonly listed: Held<T>;
  readonly version: string;
}

export interface ListOptions<T extends Observed> {
  readonly collection: Collection<T>;
  readonly held: Held<T>;
  /** Null asks for the state as it is now, a version for one that is not older. */
  readonly newerThan: string | null;
  readonly signal: AbortSignal;
  /** A page was read that is not the last: a long list goes on. */
  readonly onPage: () => void;
}

/** A whole collection, page by page, or a rejection: a part of a list is never given out. */
export async function listCollection<T extends Observed>(
  kube: Kube,
  options: ListOptions<T>,
): Promise<List<T>> {
  for (let attempts = 0; attempts < PAGED_ATTEMPTS; attempts += 1) {
    try {
      return await listAll(kube, { ...options, limit: PAGE_OBJECTS_MAX });
    } catch (error) {
      // Listing took longer than the server keeps old versions, or these were just cleared away.
      if (!(error instanceof LaterPageExpired)) throw error;
    }
  }
  // In one piece it cannot expire, but takes many times the memory.
  return listAll(kube, { ...options, limit: null });
}

class LaterPageExpired extends Error {
  override readonly name = "LaterPageExpired";
}

async function listAll<T extends Observed>(
  kube: Kube,
  options: ListOptions<T> & { readonly limit: number | null },
): Promise<List<T>> {
  const { collection, held, newerThan, limit } = options;
  const listed = new Map<string, T>();
  const query = queryOf(collection);
  if (limit !== null) query.set("limit", String(limit));
  if (newerThan !== null) {
    query.set("resourceVersion", newerThan);
    query.set("resourceVersionMatch", "NotOlderThan");
  }
  let version: string | null = null;
  for (let pages = 0; pages < PAGES_MAX; pages += 1) {
    const page = await readPage(kube, query, options).catch((error: unknown) => {
      const isExpired = error instanceof KubeError && error.status === 410;
      throw isExpired && pages > 0 ? new LaterPageExpired(error.message) : error;
    });
    for (const item of page.items) {
      const { uid, observed } = collection.see(item, held);
      if (observed !== null) listed.set(uid, observed);
    }
    // All pages show one version; should they not, resuming from the first loses nothing.
    version ??= page.version;
    if (page.next === null) return { listed, version };
    options.onPage();
    query.delete("resourceVersion");
    query.delete("resourceVersionMatch");
    query.set("continue", page.next);
  }
  throw new KubeError(`Cannot list the ${collection.name}: more than ${PAGES_MAX} pages`);
}

async function readPage(
  kube: Kube,
  query: URLSearchParams,
  options: Pick<ListOptions<Observed>, "signal"> & {
    readonly collection: Pick<Collection<Observed>, "name" | "path" | "listKind">;
  },
): Promise<{
  readonly items: readonly unknown[];
  readonly version: string;
  readonly next: string | null;
}> {
  const { name, path, listKind } = options.collection;
  const { signal } = options;
  const list = await kube.read(`${path}?${query}`, { signal, timeoutMs: PAGE_TIMEOUT_MS });
  if (!isRecord(list) || list.kind !== listKind || !Array.isArray(list.items)) {
    throw new KubeError(`Cannot list the ${name}: the answer is no ${listKind}`);
  }
  const next = textAt(recordAt(list, "metadata"), "continue");
  return { items: list.items, version: versionOf(list), next };
}

const IDENTITY_PATH = "/api/v1/namespaces/kube-system";
const IDENTITY_TIMEOUT_MS = 30_000;

/** What makes a cluster this cluster: the uid of its namespace kube-system. */
export async function readClusterUid(kube: Kube, signal: AbortSignal): Promise<string> {
  const namespace = await kube.read(IDENTITY_PATH, { signal, timeoutMs: IDENTITY_TIMEOUT_MS });
  const uid = textAt(recordAt(namespace, "metadata"), "uid");
  if (uid === null) throw new KubeError("Cannot read the namespace kube-system: it has no uid");
  return uid;
}
