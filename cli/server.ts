import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, isIP } from "node:net";
import { finished } from "node:stream/promises";
import {
  DELIVERY_BYTES_MAX,
  PROBLEM_MEDIA_TYPE,
  type ProblemDocument,
  problemDocument,
} from "../lib/wire/protocol.ts";
import type { World } from "../lib/world.ts";
import { sentenceOf } from "./shell.ts";

/** What a function is, wherever it runs: the platform's event and context in, its response out. */
export type FunctionHandler = (event: unknown, context: unknown) => Promise<unknown>;

/** The functions on a local HTTP server. */
export interface LocalServer {
  /** Scheme, host and port, without a slash at the end. */
  readonly url: string;
  /**
   * Takes no more requests and resolves when those it took are answered, after 30 s at the latest
   * or when the last function has returned. Nothing of it is running then.
   */
  close(): Promise<void>;
}

export interface LocalServerOptions {
  readonly functions: Readonly<Record<"feed" | "status" | "webhook", FunctionHandler>>;
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly world: Pick<World, "now" | "sleep" | "log">;
  /** The key under which an event says that only this machine can have sent it. */
  readonly loopbackKey: symbol;
}

/** The functions keep 3 s of it for their answer. */
const REQUEST_MS = 28_000;
const CLOSE_MS_MAX = 30_000;
const HEADERS_MS_MAX = 10_000;
const BODY_MS_MAX = 30_000;
const KEEP_ALIVE_MS = 75_000;
const TIMEOUT_CHECK_MS = 1_000;
const CONNECTIONS_MAX = 512;
/** Of all bodies that are being read or worked on. */
const BODIES_BYTES_MAX = 16 * DELIVERY_BYTES_MAX;
const HEADERS_BYTES_MAX = 16_384;
/**
 * How long what is still coming of a refused body is read and dropped, so that the refusal is
 * heard.
 */
const LINGER_MS = 1_000;
const RETRY_AFTER_S = 5;
/** Longest that an answer may take to be read; who reads more slowly would hold its place. */
const SEND_MS_MAX = 30_000;
/** Feeds that are shown at once; each may hold 6 MB. Deliveries must find places beside them. */
const FEEDS_MAX = 32;

/** Rejects when it cannot listen there, with the `code` of the system's error. */
export async function startServer(options: LocalServerOptions): Promise<LocalServer> {
  const serving: Serving = {
    options,
    isLoopback: false,
    isClosing: false,
    bytes: 0,
    inFlight: new Set(),
    feeds: new Set(),
  };
  const server = createServer(
    {
      headersTimeout: HEADERS_MS_MAX,
      requestTimeout: BODY_MS_MAX,
      keepAliveTimeout: KEEP_ALIVE_MS,
      connectionsCheckingInterval: TIMEOUT_CHECK_MS,
      maxHeaderSize: HEADERS_BYTES_MAX,
    },
    (request, response) => {
      const answering = answer(serving, request, response).finally(() =>
        serving.inFlight.delete(answering),
      );
      serving.inFlight.add(answering);
    },
  );
  server.maxConnections = CONNECTIONS_MAX;
  await listen(server, options);
  const { address, port } = server.address() as AddressInfo;
  serving.isLoopback = isLoopbackAddress(address);
  return {
    url: `http://${isIP(options.host) === 6 ? `[${options.host}]` : options.host}:${port}`,
    close: () => closeServer(server, serving),
  };
}

interface Serving {
  readonly options: LocalServerOptions;
  isLoopback: boolean;
  isClosing: boolean;
  bytes: number;
  readonly inFlight: Set<Promise<void>>;
  /** Requests whose feed is being made or read. */
  readonly feeds: Set<IncomingMessage>;
}

function listen(server: Server, { port, host }: LocalServerOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      resolve();
    });
  });
}

async function closeServer(server: Server, serving: Serving): Promise<void> {
  serving.isClosing = true;
  const closed = new Promise<void>((resolve) => {
    server.close(() => resolve());
  });
  server.closeIdleConnections();
  const done = new AbortController();
  const alarm = serving.options.world.sleep(CLOSE_MS_MAX, done.signal).then(
    () => server.closeAllConnections(),
    () => undefined,
  );
  // A function is never cut short: it counts its own time, and so does every call that it makes.
  while (serving.inFlight.size > 0) await Promise.all(serving.inFlight);
  // What is left has asked for nothing yet, or not to the end.
  server.closeAllConnections();
  await closed;
  done.abort();
  await alarm;
}

/** Never rejects. */
async function answer(
  serving: Serving,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  try {
    const reply = await replyTo(serving, request);
    await send(serving, { request, response, reply });
  } catch (error) {
    const { log } = serving.options.world;
    // Whoever hangs up is no news, and must not be able to fill the log.
    const fields = { error: sentenceOf(error) };
    if (request.socket.destroyed) log.debug(fields, "The sender of a request has gone");
    else log.error(fields, "Cannot answer a request");
    request.socket.destroy();
  } finally {
    serving.feeds.delete(request);
  }
}

interface Reply {
  readonly statusCode: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

async function replyTo(serving: Serving, request: IncomingMessage): Promise<Reply> {
  const { functions } = serving.options;
  const method = request.method ?? "GET";
  const path = pathOf(request);
  if (path.startsWith("/v1/lists/")) {
    if (method !== "GET" && method !== "HEAD") return wrongMethod(method, "GET, HEAD");
    return invoke(serving, request, functions.feed);
  }
  switch (path) {
    case "/v1/snapshots":
      if (method !== "POST") return wrongMethod(method, "POST");
      return invoke(serving, request, functions.webhook);
    case "/v1/status":
      if (method !== "GET") return wrongMethod(method, "GET");
      return invoke(serving, request, functions.status);
    case "/healthz":
      if (method !== "GET" && method !== "HEAD") return wrongMethod(method, "GET, HEAD");
      return serving.isClosing ? ending() : plain(200, "ok\n");
    default:
      return problemReply({
        type: "about:blank",
        title: "Not Found",
        status: 404,
        detail:
          "Cannot find this route: there are /v1/snapshots, /v1/lists/<list>.<format>, " +
          "/v1/status and /healthz",
      });
  }
}

async function invoke(
  serving: Serving,
  request: IncomingMessage,
  handler: FunctionHandler,
): Promise<Reply> {
  const { world } = serving.options;
  const body = await readBody(serving, request);
  if ("statusCode" in body) return body;
  try {
    // Whoever is still reading when the end begins has admitted nothing: the sender tries again
    // elsewhere.
    if (serving.isClosing) return ending();
    if (handler === serving.options.functions.feed) {
      if (serving.feeds.size >= FEEDS_MAX) return crowded();
      serving.feeds.add(request);
    }
    const startedAt = world.now();
    const context = {
      getRemainingTimeInMillis: () => REQUEST_MS - (world.now() - startedAt),
    };
    return (await handler(eventOf(serving, request, body.bytes), context)) as Reply;
  } finally {
    serving.bytes -= body.bytes.byteLength;
  }
}

/** The bytes as they were on the wire, which are what was signed; or the refusal to read them. */
async function readBody(
  serving: Serving,
  request: IncomingMessage,
): Promise<{ readonly bytes: Buffer } | Reply> {
  const declared = Number(request.headers["content-length"] ?? 0);
  if (declared > DELIVERY_BYTES_MAX) return tooLarge();
  const chunks: Buffer[] = [];
  let read = 0;
  let isWhole = false;
  try {
    for await (const chunk of request.iterator({ destroyOnReturn: false })) {
      read += chunk.byteLength;
      serving.bytes += chunk.byteLength;
      if (read > DELIVERY_BYTES_MAX) return tooLarge();
      if (serving.bytes > BODIES_BYTES_MAX) return busy();
      chunks.push(chunk);
    }
    isWhole = true;
    return { bytes: Buffer.concat(chunks) };
  } finally {
    if (!isWhole) serving.bytes -= read;
  }
}

/** Payload 2.0 of an HTTP API or a function URL. */
function eventOf(serving: Serving, request: IncomingMessage, body: Buffer): object {
  const { world, loopbackKey } = serving.options;
  const url = request.url ?? "/";
  const query = url.indexOf("?");
  const path = pathOf(request);
  return {
    version: "2.0",
    routeKey: "$default",
    rawPath: path,
    rawQueryString: query < 0 ? "" : url.slice(query + 1),
    headers: headersOf(request),
    body: body.toString("base64"),
    isBase64Encoded: true,
    requestContext: {
      http: {
        method: request.method ?? "GET",
        path,
        protocol: `HTTP/${request.httpVersion}`,
        sourceIp: request.socket.remoteAddress ?? "",
        userAgent: request.headers["user-agent"] ?? "",
      },
      timeEpoch: world.now(),
    },
    ...(serving.isLoopback && isLocal(request) ? { [loopbackKey]: true } : {}),
  };
}

const LOCAL_HOST = /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?$/i;
const PROXY_HEADERS = ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip"];

/**
 * On a loopback address anybody may be behind a request that a proxy of this machine passes on, or
 * that a browser makes for a page whose name was pointed here.
 */
function isLocal({ headers }: IncomingMessage): boolean {
  const isPassedOn = PROXY_HEADERS.some((name) => headers[name] !== undefined);
  return !isPassedOn && LOCAL_HOST.test(headers.host ?? "");
}

function isLoopbackAddress(address: string): boolean {
  return address === "::1" || /^(::ffff:)?127\./.test(address);
}

function pathOf({ url = "/" }: IncomingMessage): string {
  const end = url.search(/[?#]/);
  return end < 0 ? url : url.slice(0, end);
}

/** Names are in lower case; a header that was sent several times is one, joined by commas. */
function headersOf({ headers }: IncomingMessage): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, Array.isArray(value) ? value.join(", ") : value]],
    ),
  );
}

async function send(
  serving: Serving,
  sending: {
    readonly request: IncomingMessage;
    readonly response: ServerResponse;
    readonly reply: Reply;
  },
): Promise<void> {
  const { request, response, reply } = sending;
  // What was not read to its end cannot be followed by another request on the same connection.
  const isCut = !request.complete;
  response.writeHead(reply.statusCode, {
    ...reply.headers,
    ...lengthOf(request, reply),
    ...(isCut || serving.isClosing ? { connection: "close" } : {}),
  });
  response.write(reply.body);
  if (isCut) await linger(serving, request);
  response.end();
  await untilRead(serving, response);
}

/** Rejects, and hangs up, when the answer is not read in time. */
async function untilRead(serving: Serving, response: ServerResponse): Promise<void> {
  const read = new AbortController();
  const alarm = serving.options.world.sleep(SEND_MS_MAX, read.signal).then(
    () => response.destroy(),
    () => undefined,
  );
  try {
    await finished(response);
  } finally {
    read.abort();
    await alarm;
  }
}

/** A 304 has no length, and a HEAD that of what a GET would bring. */
function lengthOf(request: IncomingMessage, reply: Reply): Readonly<Record<string, string>> {
  if (reply.statusCode === 304) return {};
  const told = request.method === "HEAD" ? reply.headers["content-length"] : undefined;
  return { "content-length": told ?? String(Buffer.byteLength(reply.body)) };
}

/**
 * A connection that is closed while bytes come in is reset, and the sender may never read the
 * answer.
 */
async function linger(serving: Serving, request: IncomingMessage): Promise<void> {
  request.resume();
  const over = new AbortController();
  const rest = finished(request, { writable: false }).catch(() => undefined);
  const alarm = serving.options.world.sleep(LINGER_MS, over.signal).catch(() => undefined);
  await Promise.race([rest, alarm]);
  over.abort();
}

function plain(statusCode: number, body: string): Reply {
  return {
    statusCode,
    headers: { "content-type": "text/plain; charset=utf-8", "cache-control": "no-store" },
    body,
  };
}

function problemReply(document: ProblemDocument, headers: Reply["headers"] = {}): Reply {
  return {
    statusCode: document.status,
    headers: { "content-type": PROBLEM_MEDIA_TYPE, "cache-control": "no-store", ...headers },
    body: `${JSON.stringify(document)}\n`,
  };
}

function wrongMethod(method: string, allowed: string): Reply {
  const detail = `Cannot ${method} here: allowed is ${allowed}`;
  const type = "about:blank";
  return problemReply(
    { type, title: "Method Not Allowed", status: 405, detail },
    { allow: allowed },
  );
}

function tooLarge(): Reply {
  const detail =
    `Cannot take this body: more than ${DELIVERY_BYTES_MAX} bytes; ` +
    "narrow the forwarder's scope";
  return problemReply(problemDocument("too-large", 413, { detail }));
}

function busy(): Reply {
  return unavailable("Cannot take this body now: too many others are being read; deliver again");
}

function crowded(): Reply {
  return unavailable("Cannot show this list now: too many others are reading; keep what you have");
}

function ending(): Reply {
  return unavailable("Cannot take requests any more: this process is ending; deliver again");
}

function unavailable(detail: string): Reply {
  const document = problemDocument("unavailable", 503, { detail });
  return problemReply(document, { "retry-after": String(RETRY_AFTER_S) });
}
