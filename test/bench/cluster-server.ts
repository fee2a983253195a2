import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { nodeRenderer, podRenderer, type Render } from "./cluster-objects.ts";

/*
 * An API server in a process of its own, so that what it costs is not counted: as much as a
 * forwarder and an informer ask for, made to be fast. test/forwarder/bench-server.test.ts holds it
 * against the embedded one. Its parent tells it what to do by messages.
 */

/** Argument of the process, as JSON. */
export interface ClusterOptions {
  readonly nodes: number;
  readonly pods: readonly PodsOption[];
  /** Whether lists may be asked for as streams. */
  readonly watchList: boolean;
  /** Paths of files in PEM. */
  readonly tls: { readonly key: string; readonly cert: string } | null;
}

export interface PodsOption {
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly count: number;
}

export type Command =
  /** Heartbeats of nodes in turn, evenly. */
  | { readonly kind: "heartbeats"; readonly perSecond: number; readonly seconds: number }
  /** Heartbeats as fast as watches take them. */
  | { readonly kind: "churn"; readonly events: number }
  /** New nodes, evenly over the time. */
  | { readonly kind: "join"; readonly nodes: number; readonly overMs: number };

/** Times are of the monotonic clock that all processes of a machine share, in nanoseconds. */
export type Report =
  | { readonly kind: "listening"; readonly port: number }
  | { readonly kind: "request"; readonly at: bigint; readonly method: string; readonly url: string }
  | { readonly kind: "joined"; readonly at: bigint; readonly index: number }
  | { readonly kind: "done" };

const BOOKMARK_MS = 60_000;
const CHANGES_MAX = 10_000;
const HEARTBEAT_TURN_MS = 10;

interface Watcher {
  readonly response: ServerResponse;
  /** Everything that was written so far. */
  written: Promise<void>;
}

interface Collection {
  readonly kind: string;
  readonly render: Render;
  readonly watchers: Set<Watcher>;
  /** Of each object, by its index. */
  readonly versions: number[];
  /** What came last, for watches that resume. */
  readonly changes: { readonly type: string; readonly index: number; readonly version: number }[];
}

interface Cluster {
  readonly options: ClusterOptions;
  /** By path and selector. */
  readonly collections: ReadonlyMap<string, Collection>;
  readonly nodes: Collection;
  /** Leases and whatever else is written, by path. */
  readonly written: Map<string, Stored>;
  version: number;
}

interface Stored {
  readonly metadata: { readonly resourceVersion: string; readonly uid: string };
}

function makeCluster(options: ClusterOptions): Cluster {
  let version = 1_000;
  const collectionOf = (kind: string, render: Render, count: number): Collection => ({
    kind,
    render,
    watchers: new Set(),
    versions: Array.from({ length: count }, () => ++version),
    changes: [],
  });
  const nodes = collectionOf("Node", nodeRenderer(), options.nodes);
  let first = 1_000_000;
  const pods = options.pods.map(({ namespace, labels, count }) => {
    const render = podRenderer(namespace, labels, first);
    first += count;
    const selector = Object.entries(labels).map(([key, value]) => `${key}=${value}`);
    const key = `/api/v1/namespaces/${namespace}/pods?${selector.toSorted().join(",")}`;
    return [key, collectionOf("Pod", render, count)] as const;
  });
  const collections = new Map([["/api/v1/nodes?", nodes] as const, ...pods]);
  return { options, collections, nodes, written: new Map(), version };
}

async function serve(
  cluster: Cluster,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const url = request.url ?? "/";
  tell({ kind: "request", at: process.hrtime.bigint(), method: request.method ?? "", url });
  const { pathname, searchParams } = new URL(url, "http://cluster");
  const collection = cluster.collections.get(
    `${pathname}?${searchParams.get("labelSelector") ?? ""}`,
  );
  if (collection === undefined) {
    const body = Buffer.concat(await request.toArray()).toString("utf8");
    const [status, answer] = exchange(cluster, { method: request.method, pathname, body });
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify(answer));
  } else if (searchParams.get("watch") === "true") {
    await watch(cluster, { collection, query: searchParams, response });
  } else {
    await list(cluster, { collection, query: searchParams, response });
  }
}

/** What is there once, as Leases: read, made and replaced. */
function exchange(
  cluster: Cluster,
  request: {
    readonly method: string | undefined;
    readonly pathname: string;
    readonly body: string;
  },
): readonly [number, unknown] {
  const { written } = cluster;
  const { method, pathname, body } = request;
  if (pathname === "/api/v1/namespaces/kube-system") {
    const uid = "21e1b79a-b5cd-4c1b-b764-e493c7aed7c7";
    const metadata = { name: "kube-system", uid, resourceVersion: "1" };
    return [200, { kind: "Namespace", apiVersion: "v1", metadata }];
  }
  if (method === "GET") return found(written.get(pathname));
  const given = JSON.parse(body);
  const path = method === "POST" ? `${pathname}/${given.metadata?.name}` : pathname;
  const before = written.get(path);
  if (method === "POST" && before !== undefined) return [409, status(409, "AlreadyExists")];
  if (method !== "POST" && before === undefined) return found(before);
  const isStale = given.metadata?.resourceVersion !== before?.metadata.resourceVersion;
  if (method === "PUT" && isStale) return [409, status(409, "Conflict")];
  cluster.version += 1;
  const uid = before?.metadata.uid ?? crypto.randomUUID();
  const metadata = { ...given.metadata, uid, resourceVersion: String(cluster.version) };
  const object = { ...given, metadata };
  written.set(path, object);
  return [method === "POST" ? 201 : 200, object];
}

function found(object: unknown): readonly [number, unknown] {
  return object === undefined ? [404, status(404, "NotFound")] : [200, object];
}

function status(code: number, reason: string): object {
  const words = { status: "Failure", message: reason, reason, code };
  return { kind: "Status", apiVersion: "v1", metadata: {}, ...words };
}

interface Asked {
  readonly collection: Collection;
  readonly query: URLSearchParams;
  readonly response: ServerResponse;
}

async function list(cluster: Cluster, { collection, query, response }: Asked): Promise<void> {
  const { versions, render, kind } = collection;
  const limit = Number(query.get("limit") ?? "0") || versions.length;
  const [version = String(cluster.version), from = "0"] = query.get("continue")?.split("+") ?? [];
  const first = Number(from);
  const last = Math.min(versions.length, first + limit);
  const next = last < versions.length ? { continue: `${version}+${last}` } : {};
  const metadata = JSON.stringify({ resourceVersion: version, ...next });
  response.writeHead(200, { "content-type": "application/json" });
  response.write(`{"kind":"${kind}List","apiVersion":"v1","metadata":${metadata},"items":[`);
  for (let index = first; index < last; index += 1) {
    const text = render({ index, version: versions[index] ?? 0 });
    await send(response, index === first ? text : `,${text}`);
  }
  response.end("]}\n");
}

/** Resolves when there is room for more, or nobody reads any longer. */
function send(response: ServerResponse, text: string): Promise<void> | undefined {
  if (response.destroyed || response.write(text)) return undefined;
  return new Promise((resolve) => {
    const end = () => {
      response.off("drain", end);
      response.off("close", end);
      resolve();
    };
    response.on("drain", end);
    response.on("close", end);
  });
}

async function watch(cluster: Cluster, asked: Asked): Promise<void> {
  const { collection, query, response } = asked;
  const isList = query.get("sendInitialEvents") === "true";
  if (isList && !cluster.options.watchList) {
    response.writeHead(422, { "content-type": "application/json" });
    response.end(JSON.stringify(status(422, "Invalid")));
    return;
  }
  response.writeHead(200, { "content-type": "application/json" });
  response.flushHeaders();
  const watcher: Watcher = { response, written: Promise.resolve() };
  collection.watchers.add(watcher);
  const write = (text: string) => {
    watcher.written = watcher.written.then(() => send(response, text));
  };
  const after = Number(query.get("resourceVersion") ?? "0");
  if (isList || after === 0) {
    for (const [index, version] of collection.versions.entries()) {
      write(eventOf("ADDED", collection.render({ index, version })));
      // Rendered as they are sent, or all of them would be held.
      await watcher.written;
    }
    if (isList) write(bookmarkOf(cluster, collection, { "k8s.io/initial-events-end": "true" }));
  } else {
    for (const { type, index, version } of collection.changes) {
      if (version > after) write(eventOf(type, collection.render({ index, version })));
    }
  }
  const bookmarks = setInterval(
    () => write(bookmarkOf(cluster, collection, undefined)),
    BOOKMARK_MS,
  );
  const timeoutMs = Number(query.get("timeoutSeconds") ?? "3600") * 1_000;
  const end = setTimeout(() => response.end(), timeoutMs);
  response.once("close", () => {
    clearInterval(bookmarks);
    clearTimeout(end);
    collection.watchers.delete(watcher);
  });
}

function eventOf(type: string, object: string): string {
  return `{"type":"${type}","object":${object}}\n`;
}

function bookmarkOf(
  cluster: Cluster,
  { kind }: Collection,
  annotations: Readonly<Record<string, string>> | undefined,
): string {
  const metadata = { resourceVersion: String(cluster.version), annotations };
  return eventOf("BOOKMARK", JSON.stringify({ kind, apiVersion: "v1", metadata }));
}

/** Resolves when every watch has taken it. */
function change(cluster: Cluster, type: string, index: number): Promise<unknown> {
  const { nodes } = cluster;
  cluster.version += 1;
  const { version } = cluster;
  nodes.versions[index] = version;
  nodes.changes.push({ type, index, version });
  if (nodes.changes.length > CHANGES_MAX) nodes.changes.splice(0, CHANGES_MAX / 2);
  const text = eventOf(type, nodes.render({ index, version }));
  return Promise.all(
    [...nodes.watchers].map((watcher) => {
      watcher.written = watcher.written.then(() => send(watcher.response, text));
      return watcher.written;
    }),
  );
}

async function obey(cluster: Cluster, command: Command): Promise<void> {
  const { nodes } = cluster;
  switch (command.kind) {
    case "heartbeats": {
      const { perSecond, seconds } = command;
      await paced(perSecond * seconds, seconds * 1_000, (nth) => {
        void change(cluster, "MODIFIED", nth % nodes.versions.length);
      });
      return;
    }
    case "churn":
      for (let nth = 0; nth < command.events; nth += 1) {
        await change(cluster, "MODIFIED", nth % nodes.versions.length);
      }
      return;
    case "join":
      await paced(command.nodes, command.overMs, () => {
        const index = nodes.versions.length;
        tell({ kind: "joined", at: process.hrtime.bigint(), index });
        void change(cluster, "ADDED", index);
      });
      return;
    default:
      throw new Error(`Unreachable: ${JSON.stringify(command satisfies never)}`);
  }
}

/** So many calls, evenly over the time; those of a few milliseconds together. */
async function paced(count: number, ms: number, call: (nth: number) => void): Promise<void> {
  const startedAt = performance.now();
  for (let done = 0; done < count; ) {
    const isDue = Math.ceil(((performance.now() - startedAt) / ms) * count);
    for (; done < Math.min(count, isDue); done += 1) call(done);
    if (done < count) await sleep(HEARTBEAT_TURN_MS);
  }
}

function tell(report: Report): void {
  process.send?.(report);
}

const options: ClusterOptions = JSON.parse(process.argv[2] ?? "{}");
const cluster = makeCluster(options);
const listener = (request: IncomingMessage, response: ServerResponse) =>
  void serve(cluster, request, response);
const { tls } = options;
const server =
  tls === null
    ? createServer(listener)
    : createTlsServer({ key: readFileSync(tls.key), cert: readFileSync(tls.cert) }, listener);
server.listen(0, "127.0.0.1", () =>
  tell({ kind: "listening", port: (server.address() as AddressInfo).port }),
);
process.on("message", (command: Command) => {
  void obey(cluster, command).then(() => tell({ kind: "done" }));
});
process.on("disconnect", () => process.exit());
