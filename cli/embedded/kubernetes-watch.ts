import type { ServerResponse } from "node:http";
import { setImmediate } from "node:timers/promises";
import type { World } from "../../lib/world.ts";
import { badRequest, expired, type Failure, invalid, tooLarge } from "./kubernetes-status.ts";
import type { ObjectStore } from "./kubernetes-store.ts";

/** A watch as it was asked for. */
interface WatchRequest {
  /** 0 for whatever holds now. */
  readonly version: bigint;
  /** What holds now is sent first, */
  readonly sendsState: boolean;
  /** and ended by a bookmark. */
  readonly isList: boolean;
  readonly bookmarks: boolean;
  readonly timeoutMs: number;
}

/** Open watches, and what can go wrong with them. */
export interface Watches {
  /** Answers a request for a watch of the nodes. */
  open(query: URLSearchParams, response: ServerResponse): void;
  close(): void;
  write(bytes: string | Uint8Array): void;
  silence(on: boolean): void;
  shred(bytes: number): void;
}

interface Stream {
  readonly response: ServerResponse;
  readonly over: AbortController;
  /** Not yet written. */
  readonly pieces: Buffer[];
  isSending: boolean;
  isSilent: boolean;
}

const TIMEOUT_S = 3_600;
const BOOKMARK_MS = 60_000;
const VERSION = /^[0-9]+$/;

/** All watches of one server, as their functions hand them around. */
interface Watching {
  readonly store: ObjectStore;
  readonly world: Pick<World, "sleep">;
  readonly streams: Set<Stream>;
  isSilent: boolean;
  /** Length of the pieces that streams are sent in; 0 for whole ones. */
  pieceBytes: number;
}

export function makeWatches(
  store: ObjectStore,
  options: {
    readonly world: Pick<World, "sleep">;
    /** Whether lists may be asked for as streams, as from Kubernetes 1.34 on. */
    readonly watchList: boolean;
  },
): Watches {
  const { world } = options;
  const streams = new Set<Stream>();
  const watching: Watching = { store, world, streams, isSilent: false, pieceBytes: 0 };
  return {
    open(query, response) {
      const request = readRequest(query, options);
      if ("status" in request) sendFailure(response, request);
      else begin(watching, request, response);
    },
    close() {
      for (const stream of [...streams]) end(stream);
    },
    write(bytes) {
      for (const stream of streams) send(watching, stream, bytes);
    },
    silence(on) {
      watching.isSilent = on;
      if (on) for (const stream of streams) stream.isSilent = true;
    },
    shred(bytes) {
      watching.pieceBytes = bytes;
    },
  };
}

function begin(watching: Watching, request: WatchRequest, response: ServerResponse): void {
  const { store, streams, isSilent } = watching;
  const over = new AbortController();
  const stream: Stream = { response, over, pieces: [], isSending: false, isSilent };
  response.writeHead(200, { "content-type": "application/json" });
  response.flushHeaders();
  const refused = refuse(store, request);
  if (refused !== null) {
    sendEvent(watching, stream, "ERROR", refused.body);
    end(stream);
    return;
  }
  streams.add(stream);
  const after = request.sendsState ? store.revision() : request.version;
  if (request.sendsState) {
    for (const object of store.list("nodes", after)) sendEvent(watching, stream, "ADDED", object);
    if (request.isList) sendEvent(watching, stream, "BOOKMARK", initialEnd(after));
  }
  for (const { type, object } of store.writesAfter("nodes", after)) {
    sendEvent(watching, stream, type, object);
  }
  const unsubscribe = store.subscribe(({ resource, revision, type, object }) => {
    // A watch from a version of the future waits for it in silence.
    if (resource === "nodes" && revision > after) sendEvent(watching, stream, type, object);
  });
  response.once("close", () => {
    unsubscribe();
    streams.delete(stream);
    stream.over.abort();
  });
  void endInTime(watching, stream, request.timeoutMs);
  if (request.bookmarks) void sendBookmarks(watching, stream, after);
}

/** What the server finds out only when the stream is open. */
function refuse(store: ObjectStore, { version, isList, sendsState }: WatchRequest): Failure | null {
  if (isList && version > store.revision()) {
    return tooLarge(String(version), String(store.revision()));
  }
  if (sendsState || version >= store.compacted()) return null;
  return expired(`too old resource version: ${version} (${store.compacted()})`);
}

function send(watching: Watching, stream: Stream, bytes: string | Uint8Array): void {
  if (stream.isSilent || stream.response.writableEnded) return;
  const buffer = Buffer.from(bytes);
  const step = watching.pieceBytes > 0 ? watching.pieceBytes : buffer.length;
  for (let at = 0; at < buffer.length; at += step) {
    stream.pieces.push(buffer.subarray(at, at + step));
  }
  if (stream.pieces.length === 1) stream.response.write(stream.pieces.pop());
  else void sendPieces(stream);
}

/** One piece a turn of the loop, since pieces that are written together arrive together. */
async function sendPieces(stream: Stream): Promise<void> {
  if (stream.isSending) return;
  stream.isSending = true;
  for (let piece = stream.pieces.shift(); piece; piece = stream.pieces.shift()) {
    stream.response.write(piece);
    await setImmediate();
  }
  stream.isSending = false;
}

function sendEvent(watching: Watching, stream: Stream, type: string, object: object): void {
  send(watching, stream, `${JSON.stringify({ type, object })}\n`);
}

async function endInTime({ world }: Watching, stream: Stream, timeoutMs: number): Promise<void> {
  if (await slept(world, timeoutMs, stream.over.signal)) end(stream);
}

async function sendBookmarks(watching: Watching, stream: Stream, after: bigint): Promise<void> {
  const { store, world } = watching;
  while (await slept(world, BOOKMARK_MS, stream.over.signal)) {
    const revision = store.revision();
    if (revision >= after) sendEvent(watching, stream, "BOOKMARK", bookmarkAt(revision, {}));
  }
}

function end(stream: Stream): void {
  if (!stream.isSilent) stream.response.end();
}

export function sendFailure(response: ServerResponse, failure: Failure): void {
  const { status, retryAfterS, body } = failure;
  response.writeHead(status, {
    "content-type": "application/json",
    ...(retryAfterS === null ? {} : { "retry-after": String(retryAfterS) }),
  });
  response.end(JSON.stringify(body));
}

function readRequest(
  query: URLSearchParams,
  { watchList }: { readonly watchList: boolean },
): WatchRequest | Failure {
  const version = query.get("resourceVersion") ?? "";
  const match = query.get("resourceVersionMatch") ?? "";
  const isList = query.get("sendInitialEvents") === "true";
  const bookmarks = query.get("allowWatchBookmarks") === "true";
  const timeoutS = Number(query.get("timeoutSeconds") ?? TIMEOUT_S);
  if (version !== "" && !VERSION.test(version)) {
    return badRequest(`invalid resource version: ${JSON.stringify(version)}`);
  }
  if (isList && !watchList) {
    return invalid("sendInitialEvents: Forbidden: not supported by this server");
  }
  if (isList && match !== "NotOlderThan") {
    return invalid("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
  }
  if (!isList && match !== "") {
    return invalid("resourceVersionMatch is forbidden for watch unless sendInitialEvents is");
  }
  const asked = version === "" ? 0n : BigInt(version);
  const sendsState = isList || asked === 0n;
  return { version: asked, sendsState, isList, bookmarks, timeoutMs: timeoutS * 1000 };
}

function initialEnd(revision: bigint): object {
  return bookmarkAt(revision, { "k8s.io/initial-events-end": "true" });
}

function bookmarkAt(revision: bigint, annotations: Readonly<Record<string, string>>): object {
  const metadata = { resourceVersion: String(revision), annotations };
  return { kind: "Node", apiVersion: "v1", metadata };
}

async function slept(
  world: Pick<World, "sleep">,
  ms: number,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    await world.sleep(ms, signal);
    return true;
  } catch {
    return false;
  }
}
