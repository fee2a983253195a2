import { gzipSync } from "node:zlib";
import { MEDIA_TYPE, renderDelivery } from "../../lib/wire/protocol.ts";
import { parseSigningKey, type SigningKey, signDelivery } from "../../lib/wire/signature.ts";
import { node, snapshot } from "../core/cases.ts";
import type { Carrier, WireRequest } from "./carriers.ts";

/*
 * What every platform must make of the same requests: one table, for the functions as they are
 * written and as they are bundled.
 */

/** Who sends, and when; a new generation for each request. */
export interface Sender {
  readonly key: SigningKey;
  readonly now: number;
  readonly sequence: number;
}

export interface RequestCase {
  readonly name: string;
  request(sender: Sender): WireRequest;
  /** What becomes of the event on its way; nothing unless told. */
  readonly mangle?: (event: Record<string, unknown>) => unknown;
  /** Nothing may be written unless it is 200. */
  readonly status: number | ((carrier: Carrier) => number);
}

/** Refused as two by platforms that tell them apart; joined, the text is not the right one. */
const repeated =
  (joined: number) =>
  ({ joins }: Carrier) =>
    joins ? joined : 400;

const STRANGER = parseSigningKey(`whsec_${Buffer.alloc(32, 7).toString("base64")}`);
const INFLATED_BYTES = 64 * 1024 * 1024;

export const REQUESTS: readonly RequestCase[] = [
  { name: "a signed delivery", request: (sender) => delivery(sender), status: 200 },
  { name: "a gzipped delivery", request: (sender) => gzipped(sender), status: 200 },
  {
    name: "names of headers in odd case",
    request: (sender) => renamed(delivery(sender), (name) => name.toUpperCase()),
    status: 200,
  },
  {
    name: "a path that ends in slashes",
    request: (sender) => ({ ...delivery(sender), path: "/v1/snapshots//" }),
    status: 200,
  },
  {
    name: "headers that may be repeated, and names of what every object has",
    request: (sender) =>
      extended(delivery(sender), [
        ["x-trace", "a"],
        ["x-trace", "b"],
        ["__proto__", "c"],
        ["constructor", "d"],
      ]),
    status: 200,
  },
  {
    name: "a type with its charset",
    request: (sender) => replaced(delivery(sender), "content-type", `${MEDIA_TYPE}; charset=utf-8`),
    status: 200,
  },
  {
    name: "no type",
    request: (sender) => without(delivery(sender), "content-type"),
    status: 415,
  },
  {
    name: "another type, which is handed over as text",
    request: (sender) => replaced(delivery(sender), "content-type", "application/json"),
    status: 415,
  },
  {
    name: "another encoding",
    request: (sender) => extended(delivery(sender), [["content-encoding", "br"]]),
    status: 415,
  },
  {
    name: "a body that inflates too far",
    request: (sender) => gzipped(sender, Buffer.alloc(INFLATED_BYTES, 32)),
    status: 413,
  },
  {
    name: "a length beyond the limit",
    request: (sender) => extended(delivery(sender), [["content-length", "8388609"]]),
    status: 413,
  },
  {
    name: "a length that is no number",
    request: (sender) => extended(delivery(sender), [["content-length", "0x10"]]),
    status: 400,
  },
  {
    name: "half of a gzipped body, signed as it is",
    request: (sender) => {
      const whole = gzipped(sender).body;
      return encoded(signedRequest(sender, whole.subarray(0, whole.length / 2)));
    },
    status: 422,
  },
  {
    name: "a body that is no JSON",
    request: (sender) => signedRequest(sender, Buffer.from("{")),
    status: 422,
  },
  {
    name: "no signature",
    request: (sender) => without(delivery(sender), "webhook-signature"),
    status: 401,
  },
  {
    name: "another body than was signed",
    request: (sender) => ({ ...delivery(sender), body: bodyOf({ ...sender, sequence: 9_999 }) }),
    status: 401,
  },
  {
    name: "a key of nobody",
    request: (sender) => delivery({ ...sender, key: STRANGER }),
    status: 401,
  },
  {
    name: "two signatures in two headers",
    request: (sender) => extended(delivery(sender), [["webhook-signature", "v1,QUJD"]]),
    status: repeated(401),
  },
  {
    name: "two ids",
    request: (sender) => extended(delivery(sender), [["Webhook-Id", "eu/1/1"]]),
    status: repeated(401),
  },
  {
    name: "two times",
    request: (sender) => extended(delivery(sender), [["webhook-timestamp", "1"]]),
    status: repeated(401),
  },
  {
    name: "two types",
    request: (sender) => extended(delivery(sender), [["content-type", "text/plain"]]),
    status: repeated(415),
  },
  {
    name: "two lengths",
    request: (sender) =>
      extended(delivery(sender), [
        ["content-length", "10"],
        ["content-length", "10"],
      ]),
    status: 400,
  },
  {
    name: "another method",
    request: (sender) => ({ ...delivery(sender), method: "GET" }),
    status: 405,
  },
  {
    name: "a method that is none",
    request: (sender) => ({ ...delivery(sender), method: "GET /v1/status" }),
    status: 400,
  },
  {
    name: "a method in lower case",
    request: (s) => ({ ...delivery(s), method: "post" }),
    status: 200,
  },
];

/** Signed deliveries whose event was damaged, or was never one of a platform. */
export const DAMAGED: readonly RequestCase[] = (
  [
    [
      "base64 that is none",
      (event) => ({ ...event, isBase64Encoded: true, body: "{no base64}" }),
      400,
    ],
    ["base64 that was cut", (event) => ({ ...event, isBase64Encoded: true, body: "QUJDR" }), 400],
    ["a body that is an object", (event) => ({ ...event, body: { a: 1 } }), 400],
    ["a flag that is a word", (event) => ({ ...event, isBase64Encoded: "true" }), 400],
    ["no body", (event) => ({ ...event, body: null }), 401],
    ["no member body", ({ body, ...event }) => event, 401],
    ["no headers", (event) => ({ ...event, headers: null, multiValueHeaders: null }), 415],
    ["no member headers", ({ headers, multiValueHeaders, ...event }) => event, 415],
    ["a header that is a number", withNumbers, 415],
    ["no path", ({ path, rawPath, ...event }) => event, 400],
    ["a path that is a list", (event) => ({ ...event, path: [], rawPath: [] }), 400],
    ["no method", withoutMethod, 400],
    ["a claim to be local", (event) => ({ ...event, body: "", ...LOCAL_CLAIMS }), 401],
  ] as readonly (readonly [string, NonNullable<RequestCase["mangle"]>, number])[]
).map(([name, mangle, status]) => ({ name, mangle, status, request: delivery }));

const LOCAL_CLAIMS = { loopback: true, "Symbol(loopback)": true, LOOPBACK: true };

/** What may invoke a function without being a request. */
export const OTHER_EVENTS: readonly unknown[] = [
  null,
  {},
  [],
  "POST /v1/snapshots",
  42,
  { Records: [{ eventSource: "aws:s3" }] },
  { id: "1", version: "0", source: "acme.tests", detail: { headers: {}, path: "/" } },
];

/** Requests in shapes that are none of ours, as others than we hand them to a function. */
export const STRANGE_REQUESTS: Readonly<Record<string, object>> = {
  "VPC Lattice 1.0": {
    ...{ raw_path: "/x", method: "GET", headers: { host: "x" }, body: "" },
    ...{ query_string_parameters: {}, is_base64_encoded: false },
  },
  "VPC Lattice 2.0": {
    ...{ version: "2.0", path: "/x", method: "GET", headers: { host: ["x"] } },
    requestContext: { region: "eu-west-1" },
  },
  "a WebSocket API": {
    requestContext: { routeKey: "$default", eventType: "MESSAGE", connectionId: "c" },
    ...{ body: "hello", isBase64Encoded: false },
  },
  "a template of a REST API": { "body-json": {}, params: { header: {} }, "stage-variables": {} },
  "another template": { body: {}, headers: { authorization: "x" }, method: "POST", stage: "p" },
  "a load balancer": { requestContext: { elb: {} }, httpMethod: "GET", path: "/", headers: {} },
  "a function URL without a method": { rawPath: "/", requestContext: { http: {} } },
  ...Object.fromEntries(
    [
      ["httpMethod", "GET"],
      ["requestContext", {}],
      ["headers", {}],
      ["multiValueHeaders", {}],
      ["method", "GET"],
      ["path", "/"],
      ["rawPath", "/"],
      ["raw_path", "/"],
      ["body", ""],
      ["body-json", {}],
      ["cookies", []],
      ["params", {}],
      ["isBase64Encoded", false],
      ["queryStringParameters", {}],
      ["Headers", null],
    ].map(([name, value]) => [`${name} alone`, { [`${name}`]: value }]),
  ),
};

/** The same as bytes, and bytes that are no JSON. */
export const OTHER_BYTES: readonly Uint8Array[] = [
  ...OTHER_EVENTS.map((event) => Buffer.from(JSON.stringify(event))),
  Buffer.alloc(0),
  Buffer.from("not json"),
  Buffer.from([0xff, 0xfe, 0x00]),
];

/** A snapshot of cluster `eu` with two nodes, signed. */
export function delivery(sender: Sender): WireRequest {
  return signedRequest(sender, bodyOf(sender));
}

function bodyOf({ now, sequence }: Sender): Buffer {
  const nodes = [node("a", ["203.0.113.1"]), node("b", ["203.0.113.2"])];
  const generation = { epoch: 1, sequence };
  const times = { receivedAt: now, time: now, observedAt: now };
  return Buffer.from(renderDelivery(snapshot(nodes, { ...times, generation })));
}

function gzipped(sender: Sender, text = bodyOf(sender)): WireRequest {
  return encoded(signedRequest(sender, gzipSync(text)));
}

function encoded(request: WireRequest): WireRequest {
  return extended(request, [["content-encoding", "gzip"]]);
}

export function signedRequest({ key, now, sequence }: Sender, body: Uint8Array): WireRequest {
  const timestampS = Math.floor(now / 1_000);
  const signature = signDelivery([key], { id: `eu/1/${sequence}`, timestampS, body });
  return {
    method: "POST",
    path: "/v1/snapshots",
    headers: [["Content-Type", MEDIA_TYPE], ...Object.entries(signature)],
    body,
  };
}

function extended(request: WireRequest, headers: WireRequest["headers"]): WireRequest {
  return { ...request, headers: [...request.headers, ...headers] };
}

function without(request: WireRequest, unwanted: string): WireRequest {
  const headers = request.headers.filter(([name]) => name.toLowerCase() !== unwanted);
  return { ...request, headers };
}

function replaced(request: WireRequest, name: string, value: string): WireRequest {
  return extended(without(request, name), [[name, value]]);
}

function renamed(request: WireRequest, rename: (name: string) => string): WireRequest {
  return { ...request, headers: request.headers.map(([name, value]) => [rename(name), value]) };
}

function withNumbers(event: Record<string, unknown>) {
  const numbers = { "Content-Type": 1, "content-type": [2, null] };
  return { ...event, headers: numbers, multiValueHeaders: numbers };
}

function withoutMethod({ httpMethod, ...event }: Record<string, unknown>) {
  const context = event.requestContext as Record<string, unknown>;
  return httpMethod === undefined ? { ...event, requestContext: { ...context, http: {} } } : event;
}
