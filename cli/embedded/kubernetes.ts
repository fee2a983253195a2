import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { World } from "../../lib/world.ts";
import { isEventPath, writeEvent } from "./kubernetes-events.ts";
import { type Fault, type Faults, makeFaultTable, type RequestKind } from "./kubernetes-faults.ts";
import { listPage } from "./kubernetes-list.ts";
import { type EmbeddedPods, makePods } from "./kubernetes-pods.ts";
import { readQuery, resourceAt } from "./kubernetes-query.ts";
import { failure, failureOf, notFound } from "./kubernetes-status.ts";
import { makeObjectStore, type ObjectStore } from "./kubernetes-store.ts";
import { makeWatches, sendFailure, type Watches } from "./kubernetes-watch.ts";
import { type EmbeddedNodes, makeNodes, type Written, writeObject } from "./kubernetes-write.ts";

/** One request that came in, for whoever counts them. */
export interface SeenRequest {
  readonly kind: RequestKind;
  readonly method: string;
  readonly path: string;
  readonly query: string;
  /** The world's time. */
  readonly at: number;
}

/**
 * A small HTTP server that speaks enough of the Kubernetes API for a forwarder: nodes, pods,
 * Leases, namespaces.
 */
export interface EmbeddedKubernetes {
  readonly url: string;
  /** A kubeconfig for it, with a token. */
  readonly kubeconfig: string;
  readonly nodes: EmbeddedNodes;
  readonly pods: EmbeddedPods;
  readonly faults: Faults;
  readonly store: ObjectStore;
  /** The newest requests, oldest first. */
  requests(): readonly SeenRequest[];
  /** Another token is asked for from now on; returns a kubeconfig with it. */
  rotateToken(): string;
  /** Restores an older state; connections are cut, as by the restart that goes with it. */
  restore(backup: ReturnType<ObjectStore["backup"]>): void;
  close(): Promise<void>;
}

export interface EmbeddedKubernetesOptions {
  readonly world: Pick<World, "now" | "random" | "sleep">;
  /** Whether lists may be asked for as streams, as from Kubernetes 1.34 on; default yes. */
  readonly watchList?: boolean;
  /** Revision before the first write; default 1. */
  readonly firstRevision?: bigint;
  /** 0, the default, takes a free one. */
  readonly port?: number;
}

const HOST = "127.0.0.1";
const REQUESTS_MAX = 10_000;
const BODY_BYTES_MAX = 4 * 1024 * 1024;

/** The parts of a running server, as its functions hand them around. */
interface Serving {
  readonly options: EmbeddedKubernetesOptions;
  readonly store: ObjectStore;
  readonly watches: Watches;
  readonly faults: ReturnType<typeof makeFaultTable>;
  readonly sockets: Set<Socket>;
  seen: SeenRequest[];
  token: string;
}

export async function startEmbeddedKubernetes(
  options: EmbeddedKubernetesOptions,
): Promise<EmbeddedKubernetes> {
  const { world } = options;
  const store = makeObjectStore(world, { firstRevision: options.firstRevision ?? 1n });
  for (const name of ["default", "kube-public", "kube-system"]) {
    store.put("namespaces", name, { apiVersion: "v1", kind: "Namespace", metadata: { name } });
  }
  const serving: Serving = {
    options,
    store,
    watches: makeWatches(store, { world, watchList: options.watchList ?? true }),
    faults: makeFaultTable(),
    sockets: new Set(),
    seen: [],
    token: "embedded-1",
  };
  const server = createServer((request, response) => void serve(serving, request, response));
  const listener = listen(server, { port: options.port ?? 0, sockets: serving.sockets });
  const url = `http://${HOST}:${await listener.accept()}`;
  const { add, clear } = serving.faults;
  const { close: closeWatches, write, silence, freeze, shred } = serving.watches;
  const { cut, refuse } = listener;
  const accept = async () => {
    await listener.accept();
  };
  return {
    url,
    kubeconfig: kubeconfigOf(url, serving.token),
    nodes: makeNodes(store),
    pods: makePods(store),
    store,
    faults: { add, clear, cut, closeWatches, write, silence, freeze, shred, refuse, accept },
    requests: () => serving.seen,
    rotateToken() {
      serving.token = `embedded-${Number(serving.token.split("-")[1]) + 1}`;
      return kubeconfigOf(url, serving.token);
    },
    restore(backup) {
      store.restore(backup);
      cut();
    },
    close: refuse,
  };
}

/** A server that keeps its port when it goes down and comes back. */
function listen(
  server: Server,
  options: { readonly port: number; readonly sockets: Set<Socket> },
): { accept(): Promise<number>; refuse(): Promise<void>; cut(): void } {
  const { sockets } = options;
  let port = options.port;
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    cut,
    accept: () =>
      new Promise((resolve, reject) => {
        server.once("error", reject);
        server.listen(port, HOST, () => {
          server.off("error", reject);
          const address = server.address();
          if (typeof address === "object" && address !== null) port = address.port;
          resolve(port);
        });
      }),
    refuse: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        cut();
      }),
  };
}

function kubeconfigOf(server: string, token: string): string {
  return `${JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    "current-context": "embedded",
    clusters: [{ name: "embedded", cluster: { server } }],
    users: [{ name: "embedded", user: { token } }],
    contexts: [{ name: "embedded", context: { cluster: "embedded", user: "embedded" } }],
  })}\n`;
}

async function serve(
  serving: Serving,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { pathname, searchParams } = new URL(request.url ?? "/", "http://embedded");
  const method = request.method ?? "GET";
  const kind = kindOf(method, pathname, searchParams);
  const at = serving.options.world.now();
  serving.seen.push({ kind, method, path: pathname, query: searchParams.toString(), at });
  if (serving.seen.length > REQUESTS_MAX) serving.seen = serving.seen.slice(REQUESTS_MAX / 2);
  const body = await readText(request);
  if (body === null) {
    request.socket.destroy();
    return;
  }
  if (request.headers.authorization !== `Bearer ${serving.token}`) {
    sendFailure(response, failureOf(401, null));
    return;
  }
  const whole = `${pathname}?${decodeURIComponent(searchParams.toString())}`;
  const fault = serving.faults.take(kind, whole);
  if (fault !== null && fault.kind !== "lose-reply") {
    suffer(fault, request, response);
    return;
  }
  const place = kind === "watch" || kind === "pods-watch" ? resourceAt(pathname) : null;
  if (place !== null) {
    const query = readQuery(place, searchParams);
    if ("status" in query) sendFailure(response, query);
    else serving.watches.open(query, searchParams, response);
    return;
  }
  const type = request.headers["content-type"] ?? "";
  const asked = { kind, method, pathname, query: searchParams, type, body };
  const written = answer(serving.store, asked);
  if (fault !== null) {
    request.socket.destroy();
    return;
  }
  if (written.kind === "failure") sendFailure(response, written.failure);
  else {
    response.writeHead(written.status, { "content-type": "application/json" });
    response.end(JSON.stringify(written.body));
  }
}

function kindOf(method: string, path: string, query: URLSearchParams): RequestKind {
  const resource = resourceAt(path)?.resource;
  if (resource !== undefined && method === "GET") {
    const isWatch = query.get("watch") === "true" || query.get("watch") === "1";
    const step = isWatch ? "watch" : query.has("continue") ? "page" : "list";
    return resource === "nodes" ? step : `pods-${step}`;
  }
  if (path.startsWith("/apis/coordination.k8s.io/v1/")) return "lease";
  if (isEventPath(path)) return "event";
  if (/^\/api\/v1\/namespaces\/[^/]+\/pods(\/|$)/.test(path)) return "pod";
  if (path.startsWith("/api/v1/namespaces/")) return "namespace";
  return path.startsWith("/api/v1/nodes") ? "node" : "other";
}

function answer(
  store: ObjectStore,
  request: {
    readonly kind: RequestKind;
    readonly method: string;
    readonly pathname: string;
    readonly query: URLSearchParams;
    readonly type: string;
    readonly body: string;
  },
): Written {
  const { kind, method, pathname, query, type, body } = request;
  const place = method === "GET" ? resourceAt(pathname) : null;
  if (place !== null) {
    const asked = readQuery(place, query);
    if ("status" in asked) return { kind: "failure", failure: asked };
    const page = listPage(store, asked, query);
    return page.kind === "page" ? { kind: "written", status: 200, body: page.body } : page;
  }
  if (kind === "namespace" && method === "GET") {
    const name = pathname.split("/")[4] ?? "";
    const namespace = store.read("namespaces", name);
    return namespace === null
      ? { kind: "failure", failure: notFound("namespaces", name) }
      : { kind: "written", status: 200, body: namespace };
  }
  if (kind === "event") return writeEvent(store, { method, pathname, type, body });
  if (kind === "lease" || kind === "node" || kind === "pod")
    return writeObject(store, { method, pathname, type, body });
  const message = "the server could not find the requested resource";
  return { kind: "failure", failure: failure(404, "NotFound", { message }) };
}

function suffer(
  fault: Exclude<Fault, { kind: "lose-reply" }>,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  switch (fault.kind) {
    case "status":
      sendFailure(response, failureOf(fault.status, fault.retryAfterS ?? null));
      return;
    case "stall":
      return;
    case "cut":
      request.socket.destroy();
      return;
    case "close":
      response.writeHead(200, { "content-type": "application/json" });
      response.end();
      return;
    case "error-event": {
      const object = failureOf(fault.status, null).body;
      response.writeHead(200, { "content-type": "application/json" });
      response.end(`${JSON.stringify({ type: "ERROR", object })}\n`);
      return;
    }
    case "body":
      response.writeHead(200, { "content-type": fault.contentType });
      response.end(fault.body);
      return;
    default:
      throw new Error(`Unreachable: ${JSON.stringify(fault satisfies never)}`);
  }
}

/** Null when it was cut or is too long. */
async function readText(request: IncomingMessage): Promise<string | null> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of request) {
      bytes += chunk.length;
      if (bytes > BODY_BYTES_MAX) return null;
      chunks.push(chunk);
    }
  } catch {
    return null;
  }
  return Buffer.concat(chunks).toString("utf8");
}
