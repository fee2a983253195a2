import { isRecord, recordAt, textAt } from "./json.ts";
import { type Kube, KubeError } from "./kube.ts";
import { type ObservedNode, projectNode, versionOf } from "./projection.ts";
import { NODES_PATH } from "./stream.ts";

/** Small enough to be parsed at once, large enough that 5,000 nodes are twenty requests. */
const PAGE_NODES_MAX = 250;
const PAGE_TIMEOUT_MS = 60_000;
const PAGES_MAX = 1_000;

export interface NodeList {
  readonly listed: readonly ObservedNode[];
  readonly version: string;
}

/**
 * All nodes, page by page, or a rejection: a part of a list is never given out. `newerThan` asks
 * for
 * a state not older than that version, null for the state as it is now.
 */
export async function listNodes(
  kube: Kube,
  options: {
    readonly labels: readonly string[];
    readonly newerThan: string | null;
    readonly signal: AbortSignal;
  },
): Promise<NodeList> {
  try {
    return await listAll(kube, { ...options, limit: PAGE_NODES_MAX });
  } catch (error) {
    // Listing took longer than the server keeps old versions: once more, in one piece.
    if (error instanceof LaterPageExpired) return listAll(kube, { ...options, limit: null });
    throw error;
  }
}

class LaterPageExpired extends Error {
  override readonly name = "LaterPageExpired";
}

async function listAll(
  kube: Kube,
  options: {
    readonly labels: readonly string[];
    readonly newerThan: string | null;
    readonly limit: number | null;
    readonly signal: AbortSignal;
  },
): Promise<NodeList> {
  const { labels, signal, newerThan, limit } = options;
  const listed: ObservedNode[] = [];
  const query = new URLSearchParams();
  if (limit !== null) query.set("limit", String(limit));
  if (newerThan !== null) {
    query.set("resourceVersion", newerThan);
    query.set("resourceVersionMatch", "NotOlderThan");
  }
  let version: string | null = null;
  for (let pages = 0; pages < PAGES_MAX; pages += 1) {
    const page = await readPage(kube, `${NODES_PATH}?${query}`, { signal }).catch((error) => {
      const isExpired = error instanceof KubeError && error.status === 410;
      throw isExpired && pages > 0 ? new LaterPageExpired(error.message) : error;
    });
    for (const item of page.items) listed.push(projectNode(item, labels));
    // All pages show one version; should they not, resuming from the first loses nothing.
    version ??= page.version;
    if (page.next === null) return { listed, version };
    query.delete("resourceVersion");
    query.delete("resourceVersionMatch");
    query.set("continue", page.next);
  }
  throw new KubeError(`Cannot list the nodes: more than ${PAGES_MAX} pages`);
}

async function readPage(
  kube: Kube,
  path: string,
  { signal }: { readonly signal: AbortSignal },
): Promise<{
  readonly items: readonly unknown[];
  readonly version: string;
  readonly next: string | null;
}> {
  const list = await kube.read(path, { signal, timeoutMs: PAGE_TIMEOUT_MS });
  if (!isRecord(list) || list.kind !== "NodeList" || !Array.isArray(list.items)) {
    throw new KubeError("Cannot list the nodes: the answer is no NodeList");
  }
  const next = textAt(recordAt(list, "metadata"), "continue");
  return { items: list.items, version: versionOf(list), next };
}

const IDENTITY_PATH = "/api/v1/namespaces/kube-system";
const IDENTITY_TIMEOUT_MS = 30_000;

/** What makes a cluster this cluster: the uid of its namespace kube-system. */
export async function readClusterUid(kube: Kube, signal: AbortSignal): Promise<string> {
  const namespace = await kube.read(IDENTITY_PATH, { signal, timeoutMs: IDENTITY_TIMEOUT_MS });
  const uid = isRecord(namespace) ? textAt(recordAt(namespace, "metadata"), "uid") : null;
  if (uid === null) throw new KubeError("Cannot read the namespace kube-system: it has no uid");
  return uid;
}
