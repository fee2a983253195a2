import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { readBody } from "./json-server.ts";
import { type Listening, listen } from "./listening.ts";

/*
 * Object storage over HTTP in memory, as S3 and OSS have it in common: one bucket in the path of
 * its requests, strict about everything that is sent, on a clock of its own, and with the faults
 * that a network and a vendor have.
 */

export interface ObjectRequest {
  readonly verb: "put" | "get" | "list" | "delete" | "versioning";
  readonly method: string;
  /** As it was sent, the bucket included. */
  readonly path: string;
  readonly bucket: string;
  readonly key: string;
  readonly query: URLSearchParams;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export interface Refusal {
  readonly status: number;
  readonly code: string;
}

/**
 * What happens to one request: `cut` closes the connection, `hang` never answers, `refuse` answers
 * an error, `garble` an answer that is not XML, `shorten` half of it. What is `done` was carried
 * out before.
 */
export type ObjectFault =
  | { readonly kind: "cut" | "hang"; readonly done: boolean }
  | ({ readonly kind: "refuse"; readonly done: boolean } & Refusal)
  | { readonly kind: "garble" | "shorten" | "undated" };

export interface ObjectDialect {
  /** Who asks, and whether it is well-formed; null for a request that is fine. */
  refuse(request: ObjectRequest, now: number): Refusal | null;
  /** Of a write whose key is taken; null lets it overwrite. */
  refuseOverwrite(request: ObjectRequest): Refusal | null;
  readonly requestIdHeader: string;
  /** Besides, in answer to a write. */
  putHeaders?(): Readonly<Record<string, string>>;
  versioning?(): string;
}

export interface ObjectStorageOptions {
  readonly bucket: string;
  readonly now: () => number;
  /** Most keys of one page, however many are asked for. */
  readonly pageKeysMax?: number;
  readonly fault?: (request: ObjectRequest) => ObjectFault | null;
}

export interface StoredObject {
  readonly body: string;
  readonly modifiedAt: number;
}

export interface ObjectStorage {
  /** By key; tests may put anything there. */
  readonly objects: Map<string, StoredObject>;
  /** Every request that was answered or not, as `put v1/a`. */
  readonly requests: string[];
  listen(): Promise<Listening>;
  /** Answers without a network, for tests whose time is not real; knows `cut` and `refuse`. */
  readonly fetch: typeof globalThis.fetch;
}

const BODY_BYTES_MAX = 67_108_864;
const PAGE_KEYS_MAX = 1_000;
const LIST_PARAMETERS = ["list-type", "max-keys", "prefix", "continuation-token"];

interface Answer {
  readonly status: number;
  readonly body?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

interface Place extends ObjectStorageOptions {
  readonly dialect: ObjectDialect;
  readonly objects: Map<string, StoredObject>;
  readonly requests: string[];
}

/** Answers requests; listens on this machine, on any port that is free, as soon as it is asked. */
export function objectStorage(
  dialect: ObjectDialect,
  options: ObjectStorageOptions,
): ObjectStorage {
  const objects = new Map<string, StoredObject>();
  const requests: string[] = [];
  const place = { ...options, dialect, objects, requests };
  return {
    objects,
    requests,
    async listen() {
      const server = createServer((incoming, response) => {
        serve(place, incoming, response).catch(() => incoming.socket.destroy());
      });
      return listen(server, {});
    },
    async fetch(input, init) {
      const request = new Request(input, init);
      const headers = { ...Object.fromEntries(request.headers), host: new URL(request.url).host };
      const asked = requestOf(
        { method: request.method, url: request.url, headers },
        await request.text(),
      );
      requests.push(`${asked.verb} ${asked.key}`.trim());
      const fault = place.fault?.(asked) ?? null;
      const isDone = fault === null || !("done" in fault) || fault.done;
      const answer = isDone ? answerTo(place, asked) : { status: 500 };
      if (fault?.kind === "cut") throw new TypeError("fetch failed");
      const { status, body, headers: own } = fault?.kind === "refuse" ? refusal(fault) : answer;
      const date = new Date(place.now()).toUTCString();
      return new Response(body ?? null, { status, headers: { ...own, date } });
    },
  };
}

async function serve(
  place: Place,
  incoming: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const request = requestOf(incoming, await readBody(incoming, BODY_BYTES_MAX));
  place.requests.push(`${request.verb} ${request.key}`.trim());
  const fault = place.fault?.(request) ?? null;
  const isDone = fault === null || !("done" in fault) || fault.done;
  const answer = isDone ? answerTo(place, request) : { status: 500 };
  if (fault?.kind === "cut") {
    incoming.socket.destroy();
    return;
  }
  if (fault?.kind === "hang") return;
  const given = fault?.kind === "refuse" ? refusal(fault) : answer;
  const body = fault?.kind === "garble" ? "<html><p>Welcome" : (given.body ?? "");
  response.sendDate = false;
  if (fault?.kind !== "undated") response.setHeader("date", new Date(place.now()).toUTCString());
  response.setHeader(place.dialect.requestIdHeader, "5F0E12AB34CD56EF");
  response.setHeader("content-length", Buffer.byteLength(body));
  response.writeHead(given.status, given.headers);
  if (fault?.kind !== "shorten") {
    response.end(body);
    return;
  }
  response.write(body.slice(0, Math.max(1, body.length / 2)), () => incoming.socket.destroy());
}

function requestOf(
  incoming: Pick<IncomingMessage, "method" | "url"> & { readonly headers: object },
  body: string,
): ObjectRequest {
  const { method = "GET" } = incoming;
  const url = new URL(incoming.url ?? "/", "http://localhost");
  const [, bucket = "", ...parts] = url.pathname.split("/").map(decodeURIComponent);
  const key = parts.join("/");
  const headers = Object.fromEntries(
    Object.entries(incoming.headers).map(([name, value]) => [name, String(value)]),
  );
  const query = url.searchParams;
  const read = key !== "" ? "get" : query.has("versioning") ? "versioning" : "list";
  const verb = method === "PUT" ? "put" : method === "DELETE" ? "delete" : read;
  return { verb, method, path: url.pathname, bucket, key, query, headers, body };
}

function answerTo(place: Place, request: ObjectRequest): Answer {
  const { dialect, objects, now } = place;
  const { verb, key, body } = request;
  const refused = dialect.refuse(request, now());
  if (refused !== null) return refusal(refused);
  if (request.bucket !== place.bucket) return refusal({ status: 404, code: "NoSuchBucket" });
  switch (verb) {
    case "put": {
      const taken = objects.has(key) ? dialect.refuseOverwrite(request) : null;
      if (taken !== null) return refusal(taken);
      objects.set(key, { body, modifiedAt: now() });
      // Of an object that is encrypted with a key of one's own it says nothing.
      const etag = '"0123456789abcdef0123456789abcdef"';
      return { status: 200, headers: { etag, ...dialect.putHeaders?.() } };
    }
    case "get": {
      const object = objects.get(key);
      if (object === undefined) return refusal({ status: 404, code: "NoSuchKey" });
      return { status: 200, body: object.body, headers: { "content-type": "application/json" } };
    }
    case "delete":
      objects.delete(key);
      return { status: 204 };
    case "versioning": {
      const status = dialect.versioning?.();
      if (status === undefined) return refusal({ status: 501, code: "NotImplemented" });
      return xml("VersioningConfiguration", status === "" ? "" : `<Status>${status}</Status>`);
    }
    default:
      return listed(place, request);
  }
}

function listed({ objects, pageKeysMax = PAGE_KEYS_MAX }: Place, request: ObjectRequest): Answer {
  const { query } = request;
  const maxKeys = Number(query.get("max-keys"));
  const isKnown = [...query.keys()].every((name) => LIST_PARAMETERS.includes(name));
  const isRange = Number.isInteger(maxKeys) && maxKeys >= 1 && maxKeys <= PAGE_KEYS_MAX;
  if (!isKnown || !isRange || query.get("list-type") !== "2") {
    return refusal({ status: 400, code: "InvalidArgument" });
  }
  const prefix = query.get("prefix") ?? "";
  const after = Buffer.from(query.get("continuation-token") ?? "", "base64").toString("utf8");
  const keys = [...objects.keys()]
    .filter((key) => key.startsWith(prefix))
    .toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    .filter((key) => Buffer.compare(Buffer.from(key), Buffer.from(after)) > 0);
  const page = keys.slice(0, Math.min(maxKeys, pageKeysMax));
  const isTruncated = page.length < keys.length;
  const token = Buffer.from(page.at(-1) ?? "").toString("base64");
  const next = isTruncated ? `<NextContinuationToken>${token}</NextContinuationToken>` : "";
  const head = `<Prefix>${escaped(prefix)}</Prefix><KeyCount>${page.length}</KeyCount>`;
  const rows = page.map((key) => row(key, objects.get(key)?.modifiedAt ?? 0)).join("");
  return xml("ListBucketResult", `${head}<IsTruncated>${isTruncated}</IsTruncated>${next}${rows}`);
}

function row(key: string, modifiedAt: number): string {
  // Both vendors tell whole seconds.
  const modified = new Date(modifiedAt).toISOString().replace(/\.\d{3}/, ".000");
  const tag = "<ETag>&quot;0123456789abcdef0123456789abcdef&quot;</ETag>";
  const owner = "<Owner><ID>1</ID></Owner>";
  return (
    `<Contents>\n  <Key>${escaped(key)}</Key><LastModified>${modified}</LastModified>${tag}` +
    `<Size>1</Size>${owner}<StorageClass>STANDARD</StorageClass>\n</Contents>`
  );
}

function refusal({ status, code }: Refusal): Answer {
  const message = `<Message>Not &lt;${code}&gt; &amp; more</Message><RequestId>1</RequestId>`;
  return { ...xml("Error", `<Code>${code}</Code>${message}`), status };
}

function xml(name: string, content: string): Answer {
  const body =
    `<?xml version="1.0" encoding="UTF-8"?>\n` +
    `<${name} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${content}</${name}>`;
  return { status: 200, body, headers: { "content-type": "application/xml" } };
}

function escaped(text: string): string {
  return text.replaceAll(/[&<>"'\p{Cc}]/gu, (letter) => `&#x${letter.charCodeAt(0).toString(16)};`);
}

/** Both refuse what was signed a quarter of an hour ago, or will be. */
export function isSkewed(stamp: string, now: number): boolean {
  const parts = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(stamp)?.slice(1) ?? [];
  const [year = "", month = "", day = "", hour = "", minute = "", second = ""] = parts;
  const at = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
  return !(Math.abs(at - now) <= 900_000);
}
