import { readFileSync } from "node:fs";

/*
 * How each platform hands an HTTP request to a function. The events are those of the fixtures, made
 * by hand after the vendors' documented examples; what a request says is put into them here.
 */

/** A request as a client sends it: names as they were written, and as often. */
export interface WireRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly body: Uint8Array;
}

type Json = Record<string, unknown>;

export interface Carrier {
  readonly name: string;
  /** Whether it joins the values of a header that was sent several times. */
  readonly joins: boolean;
  /** Function Compute hands over bytes, Lambda an object. */
  readonly asBytes: boolean;
  /** The event as JSON. */
  eventOf(request: WireRequest): Json;
  /** What can be told of the run as JSON. */
  readonly context: Json;
}

/** An event or a context of the fixtures; a new copy each time. */
export function fixture(name: string): Json {
  const file = new URL(`../fixtures/events/${name}.json`, import.meta.url);
  return JSON.parse(readFileSync(file, "utf8")).event;
}

/** Every event that is no request. */
export const SCHEDULES = ["fc-timer", "scheduler"] as const;

export const CARRIERS: readonly Carrier[] = [
  lambda("lambda-rest", (event, request) => proxied(event, request, request.path)),
  lambda("lambda-http-v1", (event, request) => proxied(event, request, `/prod${request.path}`)),
  lambda("lambda-http-v2", (event, request) => gateway(event, request, request.path)),
  lambda("lambda-http-v2-stage", (event, request) =>
    gateway(event, request, `/prod${request.path}`),
  ),
  lambda("function-url", (event, request) => gateway(event, request, request.path)),
  functionCompute("fc-http", isGzip),
  // Which types count as binary is not documented.
  functionCompute("fc-http in base64", () => true),
];

function lambda(name: string, eventOf: (event: Json, request: WireRequest) => Json): Carrier {
  return {
    name,
    joins: !["lambda-rest", "lambda-http-v1"].includes(name),
    asBytes: false,
    eventOf: (request) => eventOf(fixture(name), request),
    context: fixture("lambda-context"),
  };
}

function functionCompute(name: string, isBinary: (request: WireRequest) => boolean): Carrier {
  return {
    name,
    joins: true,
    asBytes: true,
    eventOf(request) {
      const event = gateway(fixture("fc-http"), request, request.path);
      return { ...event, ...bodyOf(request, isBinary(request)) };
    },
    context: fixture("fc-context"),
  };
}

/** Payload 1.0: the last value in `headers`, all in `multiValueHeaders`. */
function proxied(event: Json, request: WireRequest, path: string): Json {
  const all = new Map<string, string[]>();
  for (const [name, value] of request.headers) all.set(name, [...(all.get(name) ?? []), value]);
  return {
    ...event,
    path,
    httpMethod: request.method,
    headers: { ...(event.headers as Json), ...Object.fromEntries(request.headers) },
    multiValueHeaders: { ...(event.multiValueHeaders as Json), ...Object.fromEntries(all) },
    ...bodyOf(request, !isText(request)),
  };
}

/** Payload 2.0 and Function Compute: values joined, and on Lambda names in lower case. */
function gateway(event: Json, request: WireRequest, path: string): Json {
  const headers: Record<string, string> = { ...(event.headers as Record<string, string>) };
  for (const [given, value] of request.headers) {
    // Of the same name in another case it is the same header.
    const known = Object.keys(headers).find((key) => key.toLowerCase() === given.toLowerCase());
    const name = event.version === "2.0" ? given.toLowerCase() : (known ?? given);
    Object.defineProperty(headers, name, {
      value: Object.hasOwn(headers, name) ? `${headers[name]},${value}` : value,
      enumerable: true,
      configurable: true,
    });
  }
  const context = event.requestContext as { readonly http: Json };
  const http = { ...context.http, method: request.method, path };
  return {
    ...event,
    rawPath: path,
    headers,
    requestContext: { ...context, http },
    ...bodyOf(request, !isText(request)),
  };
}

/** The types that API Gateway and function URLs hand over as text. */
function isText(request: WireRequest): boolean {
  const type = headerOf(request, "content-type");
  return !isGzip(request) && /^(text\/|application\/(json|javascript|xml))/i.test(type);
}

function isGzip(request: WireRequest): boolean {
  return headerOf(request, "content-encoding") !== "";
}

function headerOf({ headers }: WireRequest, wanted: string): string {
  return headers.find(([name]) => name.toLowerCase() === wanted)?.[1] ?? "";
}

function bodyOf({ body }: WireRequest, isBase64Encoded: boolean): Json {
  const text = Buffer.from(body).toString(isBase64Encoded ? "base64" : "utf8");
  return { body: text === "" ? null : text, isBase64Encoded };
}
