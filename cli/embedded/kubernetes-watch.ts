import type { ServerResponse } from "node:http";
import { setImmediate } from "node:timers/promises";
import type { World } from "../../lib/world.ts";
import type { Watched } from "./kubernetes-faults.ts";
import { type Query, selects, watchedWrite } from "./kubernetes-query.ts";
import { badRequest, expired, type Failure, invalid, tooLarge } from "./kubernetes-status.ts";
import type { ObjectStore, Write } from "./kubernetes-store.ts";

/** A watch as it was asked for. */
interface WatchRequest {
  readonly query: Query;
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
  /** Answers a request for a watch. */
  open(query: Query, search: URLSearchParams, response: ServerResponse): void;
  close(): void;
  write(bytes: string | Uint8Array, on?: Watched): void;
  silence(on: boolean, of?: Watched): void;
  freeze(on: boolean): void;
  shred(bytes: number): void;
}

interface Stream {
  readonly query: Query;
  readonly response: ServerResponse;
  readonly over: AbortController;
  /** Not yet written. */
  readonly pieces: Buffer[];
  isSending: boolean;
  isSilent: boolean;
}

const RESOURCES: readonly Watched[] = ["nodes", "pods"];
const TIMEOUT_S = 3_600;
const BOOKMARK_MS = 60_000;
const VERSION = /^[0-9]+$/;

/** All watches of one server, as their functions hand them around. */
interface Watching {
  readonly store: ObjectStore;
  readonly world: Pick<World, "sleep">;
  readonly streams: Set<Stream>;
  readonly silent: Set<Watched>;
  /** What the cache last heard of, while it hears of nothing. */
  frozenAt: bigint | null;
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
  const watching: Watching = {
    store,
    world,
    streams,
    silent: new Set(),
    frozenAt: null,
    pieceBytes: 0,
  };
  return {
    open(query, search, response) {
      const request = readRequest(query, search, options);
      if ("status" in request) sendFailure(response, request);
      else begin(watching, request, response);
    },
    close() {
      for (const stream of [...streams]) end(stream);
    },
    write(bytes, on = "nodes") {
      for (const stream of streams) {
        if (stream.query.resource === on) send(watching, stream, bytes);
      }
    },
    silence(on, of) {
      for (const resource of of === undefined ? RESOURCES : [of]) {
        if (!on) watching.silent.delete(resource);
        else watching.silent.add(resource);
      }
      for (const stream of streams) {
        if (watching.silent.has(stream.query.resource)) stream.isSilent = true;
      }
    },
    freeze(on) {
      watching.frozenAt = on ? store.revision() : null;
      if (!on) for (const stream of [...streams]) end(stream);
    },
    shred(bytes) {
      watching.pieceBytes = bytes;
    },
  };
}

function begin(watching: Watching, request: WatchRequest, response: ServerResponse): void {
  const { store, streams, silent } = watching;
  const { query } = request;
  const over = new AbortController();
  const isSilent = silent.has(query.resource);
  const stream: Stream = { query, response, over, pieces: [], isSending: false, isSilent };
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
    const state = store.list(query.resource, after).filter((object) => selects(query, object));
    for (const object of state) sendEvent(watching, stream, "ADDED", object);
    if (request.isList) sendEvent(watching, stream, "BOOKMARK", initialEnd(query, after));
  }
  const show = (write: Write) => {
    if (watching.frozenAt !== null && write.revision > watching.frozenAt) return;
    const shown = watchedWrite(query, write);
    if (shown !== null) sendEvent(watching, stream, shown.type, shown.object);
  };
  for (const write of store.writesAfter(query.resource, after)) show(write);
  const unsubscribe = store.subscribe((write) => {
    // A watch from a version of the future waits for it in silence.
    if (write.revision > after) show(write);
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
    const revision = watching.frozenAt ?? store.revision();
    if (revision >= after)
      sendEvent(watching, stream, "BOOKMARK", bookmarkAt(stream.query, revision));
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
  query: Query,
  search: URLSearchParams,
  { watchList }: { readonly watchList: boolean },
): WatchRequest | Failure {
  const version = search.get("resourceVersion") ?? "";
  const match = search.get("resourceVersionMatch") ?? "";
  const isList = search.get("sendInitialEvents") === "true";
  const bookmarks = search.get("allowWatchBookmarks") === "true";
  const timeoutS = Number(search.get("timeoutSeconds") ?? TIMEOUT_S);
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
  return { query, version: asked, sendsState, isList, bookmarks, timeoutMs: timeoutS * 1000 };
}

function initialEnd(query: Query, revision: bigint): object {
  return bookmarkAt(query, revision, { "k8s.io/initial-events-end": "true" });
}

function bookmarkAt(
  { kind }: Query,
  revision: bigint,
  annotations: Readonly<Record<string, string>> = {},
): object {
  const metadata = { resourceVersion: String(revision), annotations };
  return { kind, apiVersion: "v1", metadata };
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
