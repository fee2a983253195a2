import * as z from "zod/mini";
import type { HttpRequest } from "./http.ts";

/** A request as a platform hands it over. */
export type ReceivedRequest = Omit<HttpRequest, "loopback">;

/**
 * What an event is. `refused` is an HTTP request that could be understood in two ways, `other` is
 * everything else that may invoke a function: schedules, tests by hand, other triggers.
 */
export type EventReading =
  | { readonly kind: "http"; readonly request: ReceivedRequest }
  | { readonly kind: "refused"; readonly detail: string }
  | { readonly kind: "other" };

/** Other values are dropped: no platform sends them. */
const HEADERS = z.nullish(z.record(z.string(), z.unknown()));
const MESSAGE = {
  headers: HEADERS,
  body: z.nullish(z.string()),
  isBase64Encoded: z.nullish(z.boolean()),
};

/**
 * Payload 2.0 of an HTTP API or a function URL ("Create AWS Lambda proxy integrations for HTTP
 * APIs"), version v1 of Function Compute ("Use an HTTP trigger to invoke a function"), and what
 * `serve` and `dev` make of a local request. A header that was sent several times is joined by
 * commas.
 */
const GATEWAY = z.object({
  ...MESSAGE,
  rawPath: z.string(),
  requestContext: z.object({
    stage: z.nullish(z.string()),
    http: z.object({ method: z.string().check(z.minLength(1)), sourceIp: z.nullish(z.string()) }),
  }),
});

/**
 * Payload 1.0 of an HTTP API, and a REST API ("Input format of a Lambda function for proxy
 * integration"). `headers` holds the last value of each only, `multiValueHeaders` all.
 */
const PROXY = z.object({
  ...MESSAGE,
  multiValueHeaders: HEADERS,
  path: z.string(),
  httpMethod: z.string().check(z.minLength(1)),
  requestContext: z.nullish(
    z.object({
      stage: z.nullish(z.string()),
      identity: z.nullish(z.object({ sourceIp: z.nullish(z.string()) })),
    }),
  ),
});

/**
 * Any one of these gives a request away, whatever else of it is missing: an event of VPC Lattice, a
 * load balancer or a WebSocket API, or what a template of a REST API makes of one ("Method request
 * passthrough"). No schedule has them. In lower case, without "_" and "-".
 */
const HTTP_NAMES = new Set([
  "body",
  "bodyjson",
  "cookies",
  "headers",
  "httpmethod",
  "isbase64encoded",
  "method",
  "multivalueheaders",
  "params",
  "path",
  "querystringparameters",
  "rawpath",
  "requestcontext",
]);

function isHttpLike(event: unknown): boolean {
  if (typeof event !== "object" || event === null) return false;
  return Object.keys(event).some((name) =>
    HTTP_NAMES.has(name.toLowerCase().replaceAll(/[_-]/g, "")),
  );
}

/** What is read of either shape, before anything of it is believed. */
interface RawRequest {
  readonly method: string;
  readonly path: string;
  readonly stage: string | null | undefined;
  readonly headers: readonly (readonly [string, readonly string[]])[];
  readonly body: string;
  readonly isBase64Encoded: boolean;
  readonly remote: string | null | undefined;
}

/** Reads the event of any platform; Function Compute's are the bytes of a JSON text. */
export function readPlatformEvent(event: unknown): EventReading {
  const plain = event instanceof Uint8Array ? parseJson(event) : event;
  const raw = rawOf(plain);
  if (raw !== null) return requestOf(raw);
  if (!isHttpLike(plain)) return { kind: "other" };
  return refused("Cannot read this request: its event has no path, or another shape than ours");
}

function rawOf(event: unknown): RawRequest | null {
  const gateway = GATEWAY.safeParse(event).data;
  if (gateway !== undefined) {
    const { requestContext, rawPath, headers } = gateway;
    const { method, sourceIp } = requestContext.http;
    const { stage } = requestContext;
    return { ...messageOf(gateway, headers), method, path: rawPath, stage, remote: sourceIp };
  }
  const proxy = PROXY.safeParse(event).data;
  if (proxy === undefined) return null;
  const { requestContext, path, httpMethod, headers, multiValueHeaders } = proxy;
  const all = Object.keys(multiValueHeaders ?? {}).length > 0 ? multiValueHeaders : headers;
  const remote = requestContext?.identity?.sourceIp;
  return {
    ...messageOf(proxy, all),
    method: httpMethod,
    path,
    stage: requestContext?.stage,
    remote,
  };
}

type Headers = z.infer<typeof HEADERS>;

function messageOf(
  { body, isBase64Encoded }: Pick<z.infer<typeof GATEWAY>, "body" | "isBase64Encoded">,
  headers: Headers,
): Pick<RawRequest, "headers" | "body" | "isBase64Encoded"> {
  return {
    headers: valuesByName(headers ?? {}),
    body: body ?? "",
    isBase64Encoded: isBase64Encoded === true,
  };
}

/** Names in lower case; what differs in case only is one header that was sent several times. */
function valuesByName(headers: NonNullable<Headers>): RawRequest["headers"] {
  const values = new Map<string, readonly string[]>();
  for (const [name, given] of Object.entries(headers)) {
    const key = name.toLowerCase();
    const texts = [given].flat().filter((value) => typeof value === "string");
    if (texts.length > 0) values.set(key, [...(values.get(key) ?? []), ...texts]);
  }
  return [...values];
}

function requestOf(raw: RawRequest): EventReading {
  const repeated = raw.headers.find(([name, { length }]) => length > 1 && SINGLE.has(name));
  if (repeated !== undefined) {
    return refused(`Cannot read a request with several headers "${repeated[0]}": send one`);
  }
  const headers = Object.fromEntries(
    raw.headers.map(([name, values]) => [name, values.join(", ")]),
  );
  if (!LENGTH.test(headers["content-length"] ?? "0")) {
    return refused('Cannot read the header "content-length": it is no number of bytes');
  }
  const method = raw.method.toUpperCase();
  if (!METHOD.test(method)) return refused("Cannot read this request: its method is none of HTTP");
  const body = raw.isBase64Encoded ? decode(raw.body) : Buffer.from(raw.body);
  if (body === null) {
    return refused("Cannot read the body: the event says that it is base64, which it is not");
  }
  const request = {
    method,
    path: routePath(raw.path, raw.stage),
    headers,
    body,
    remote: raw.remote ?? null,
  };
  return { kind: "http", request };
}

/**
 * A gateway before us may have looked at another of several values than we would. Where a platform
 * has joined them by commas already there is nothing to choose: they are one text, which is what
 * was signed, or is refused like any other wrong one.
 */
const SINGLE = new Set([
  "authorization",
  "content-encoding",
  "content-length",
  "content-type",
  "webhook-id",
  "webhook-signature",
  "webhook-timestamp",
]);
const LENGTH = /^[0-9]{1,15}$/;
// It is said in sentences, and must not hold whatever a stranger likes to write into our log.
const METHOD = /^[A-Z]{1,16}$/;

/**
 * Null for what is not base64 as a whole: Node's decoder skips what it does not know, and a part of
 * a body must not be taken for all of it.
 */
function decode(text: string): Buffer | null {
  const bytes = Buffer.from(text, "base64");
  const padding = /={0,2}$/.exec(text.slice(-2))?.[0].length ?? 0;
  return bytes.length === (text.length / 4) * 3 - padding ? bytes : null;
}

const ROUTES = "/v1/";
const DEFAULT_STAGE = "$default";

/**
 * The path as our routes are written: without the name of a stage before it, and without slashes
 * at its end. A stage may be called like the first part of a route.
 */
function routePath(path: string, stage: string | null | undefined): string {
  const prefix = `/${stage}`;
  const isStaged = stage && stage !== DEFAULT_STAGE && path.startsWith(`${prefix}${ROUTES}`);
  const own = isStaged ? path.slice(prefix.length) : path;
  let end = own.length;
  while (end > 1 && own[end - 1] === "/") end -= 1;
  return own.slice(0, end);
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString());
  } catch {
    return undefined;
  }
}

function refused(detail: string): EventReading {
  return { kind: "refused", detail };
}
