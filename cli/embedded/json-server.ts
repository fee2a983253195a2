import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { type Listening, listen } from "./listening.ts";

/*
 * HTTP on this machine for embedded clouds whose API is JSON: what they answer is theirs.
 */

export interface JsonRequest {
  readonly method: string;
  /** Parts of the path, decoded. */
  readonly path: readonly string[];
  readonly query: URLSearchParams;
  readonly authorization: string | null;
  /** Parsed JSON; the fields of a form; undefined where nothing was sent. */
  readonly body: unknown;
}

export interface JsonAnswer {
  readonly status: number;
  /** Nothing is sent where it is undefined. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Null cuts the connection without an answer. The signal aborts when the caller has gone. */
export type JsonHandler = (
  request: JsonRequest,
  signal: AbortSignal,
) => JsonAnswer | null | Promise<JsonAnswer | null>;

const BODY_BYTES_MAX = 4_194_304;

/** Listens on this machine; port 0 is any that is free. */
export async function serveJson(
  handle: JsonHandler,
  options: { readonly host?: string | undefined; readonly port?: number | undefined } = {},
): Promise<Listening> {
  const server = createServer((request, response) => {
    answer(request, response, handle).catch(() => request.socket.destroy());
  });
  return listen(server, options);
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  handle: JsonHandler,
): Promise<void> {
  const gone = new AbortController();
  response.once("close", () => gone.abort());
  const url = new URL(request.url ?? "/", "http://localhost");
  const body = bodyOf(request, await readBody(request, BODY_BYTES_MAX));
  const answered = await handle(
    {
      method: request.method ?? "GET",
      path: url.pathname.split("/").slice(1).map(decodeURIComponent),
      query: url.searchParams,
      authorization: request.headers.authorization ?? null,
      body,
    },
    gone.signal,
  );
  if (answered === null) {
    request.socket.destroy();
    return;
  }
  const headers = { ...answered.headers };
  if (answered.body === undefined) {
    response.writeHead(answered.status, headers).end();
    return;
  }
  const type = { "content-type": "application/json" };
  response.writeHead(answered.status, { ...type, ...headers }).end(JSON.stringify(answered.body));
}

function bodyOf(request: IncomingMessage, text: string): unknown {
  if (text === "") return undefined;
  const isForm = request.headers["content-type"] === "application/x-www-form-urlencoded";
  return isForm ? Object.fromEntries(new URLSearchParams(text)) : JSON.parse(text);
}

/** The text of a request; rejects when it is longer. */
export async function readBody(request: IncomingMessage, bytesMax: number): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes > bytesMax) throw new Error("Cannot read a request: it is too large");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
