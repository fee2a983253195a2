import { existsSync } from "node:fs";
import type { IncomingMessage, OutgoingHttpHeaders } from "node:http";
import type { RequestOptions } from "node:https";
import { KubeConfig } from "@kubernetes/client-node";
import { type World, withTimeout } from "../lib/world.ts";
import { connectionText } from "./connection-error.ts";
import {
  type Connections,
  openConnections,
  parseRetryAfter,
  readBody,
  sendRequest,
} from "./http.ts";
import { isRecord, textAt } from "./json.ts";
import { type ProxyVariables, proxyOf } from "./proxy.ts";
import { abortable, errorText } from "./signal.ts";

/** Where the address of the API server and the credentials for it come from. */
export type KubeSource =
  | { readonly kind: "in-cluster" }
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "text"; readonly text: string };

/**
 * What the API server did not do. `status` is the HTTP status, or the code of a Status object
 * inside
 * a stream; null when there was no answer. The message never holds a credential.
 */
export class KubeError extends Error {
  override readonly name = "KubeError";
  readonly status: number | null;
  /**
   * `reason` of the Status object (`Expired`, `Conflict`, `AlreadyExists` …), or of its first cause
   * where that says more.
   */
  readonly reason: string | null;
  readonly retryAfterMs: number | null;

  constructor(
    message: string,
    options: {
      readonly status?: number | null;
      readonly reason?: string | null;
      readonly retryAfterMs?: number | null;
      readonly cause?: unknown;
    } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.status = options.status ?? null;
    this.reason = options.reason ?? null;
    this.retryAfterMs = options.retryAfterMs ?? null;
  }
}

/** One API server. Every method rejects with KubeError, or with the signal's reason. */
export interface Kube {
  /** Scheme, host and port; holds no credential. */
  readonly server: string;
  /** Namespace of this process, or of the kubeconfig's context; `default` where neither tells. */
  readonly namespace: string;
  /** GET, as JSON. */
  read(path: string, options: KubeRead): Promise<unknown>;
  /** POST or PUT of JSON, answered by JSON. */
  write(method: "POST" | "PUT", path: string, options: KubeWrite): Promise<unknown>;
  /** PATCH of this form, answered by JSON. */
  patch(form: PatchForm, path: string, options: KubeWrite): Promise<unknown>;
  /**
   * GET of a stream; resolves once its headers are there. Gives whole lines only: what stands
   * behind
   * the last line break when the stream ends was cut, and is an error. `onBytes` hears of every
   * chunk.
   */
  lines(path: string, options: KubeStream): Promise<AsyncIterable<string>>;
  close(): void;
}

/** RFC 6902 operations, or a strategic merge, which merges lists by their keys. */
export type PatchForm = "json" | "strategic";

const PATCH_TYPES: Readonly<Record<PatchForm, string>> = {
  json: "application/json-patch+json",
  strategic: "application/strategic-merge-patch+json",
};

export interface KubeRequest {
  readonly signal: AbortSignal;
  /** For the whole request. */
  readonly timeoutMs: number;
}

export interface KubeRead extends KubeRequest {
  /** A type of JSON that must be asked for by its name; `application/json` unless given. */
  readonly accept?: string;
}

export interface KubeWrite extends KubeRequest {
  readonly body: unknown;
}

export interface KubeStream {
  readonly signal: AbortSignal;
  /** Until the headers are there. */
  readonly timeoutMs: number;
  readonly onBytes: () => void;
}

/** Lists without pages may be long: 10,000 nodes of 16 KiB. */
const BODY_BYTES_MAX = 256 * 1024 * 1024;
const ERROR_BODY_BYTES_MAX = 64 * 1024;
/** etcd holds objects of up to 1.5 MiB; as JSON they may be longer. */
const LINE_BYTES_MAX = 16 * 1024 * 1024;
const LINE_BREAK = 0x0a;
const REASON_CHARACTERS_MAX = 300;

/** A server as its functions hand it around. */
interface Connected {
  readonly source: KubeSource;
  readonly world: Pick<World, "now" | "sleep">;
  readonly server: URL;
  readonly connections: Connections;
  /** Loaded again when its credentials are no longer taken. */
  config: KubeConfig;
}

/**
 * Opens nothing yet; throws when the source names no cluster. A kubeconfig with `http://` is taken,
 * and said to be unsafe through `warn`.
 */
export function openKube(
  source: KubeSource,
  options: {
    readonly world: Pick<World, "now" | "sleep">;
    readonly proxy: ProxyVariables;
    readonly warn: (message: string) => void;
  },
): Kube {
  const { world } = options;
  const config = loadKubeConfig(source);
  const server = serverOf(config);
  if (server.protocol === "http:") {
    options.warn(`The API server ${server.origin} is spoken to without encryption`);
  }
  const environment = proxyOf(options.proxy);
  // A proxy that cannot be used is said now, not at the first request.
  ownProxyOf(config);
  const connections = openConnections((url) => ownProxyOf(connected.config) ?? environment(url));
  const connected: Connected = { source, world, server, connections, config };
  return {
    server: server.origin,
    namespace: namespaceOf(config),
    read(path, { accept, ...request }) {
      const headers = accept === undefined ? {} : { accept };
      return exchange(connected, path, { ...request, method: "GET", body: null, headers });
    },
    write(method, path, { body, ...request }) {
      return exchange(connected, path, { ...request, method, ...jsonOf(body, "application/json") });
    },
    patch(form, path, { body, ...request }) {
      const content = jsonOf(body, PATCH_TYPES[form]);
      return exchange(connected, path, { ...request, method: "PATCH", ...content });
    },
    lines: (path, request) => openLines(connected, path, request),
    close: () => connections.close(),
  };
}

function jsonOf(body: unknown, type: string) {
  return { body: Buffer.from(JSON.stringify(body)), headers: { "content-type": type } };
}

async function openLines(
  connected: Connected,
  path: string,
  { signal, timeoutMs, onBytes }: KubeStream,
): Promise<AsyncIterable<string>> {
  const { world } = connected;
  const name = nameOf("GET", path);
  const reason = () => new KubeError(`Cannot ${name}: no headers within ${timeoutMs} ms`);
  // The signal made for the headers goes on following the caller's, and so ends the stream too.
  const opened = await withTimeout(world, timeoutMs, { signal, reason }, async (inner) => {
    const request = { method: "GET", body: null, headers: {}, signal: inner } as const;
    const response = await open(connected, path, request);
    await expectJson(response, { name, signal: inner, now: world.now() });
    return { response, inner };
  });
  return linesOf(opened.response, { name, signal: opened.inner, onBytes });
}

async function exchange(
  connected: Connected,
  path: string,
  request: OpenRequest & { readonly timeoutMs: number },
): Promise<unknown> {
  const { world } = connected;
  const { timeoutMs } = request;
  const name = nameOf(request.method, path);
  const reason = () => new KubeError(`Cannot ${name}: no answer within ${timeoutMs} ms`);
  return withTimeout(world, timeoutMs, { signal: request.signal, reason }, async (signal) => {
    const response = await open(connected, path, { ...request, signal });
    await expectJson(response, { name, signal, now: world.now() });
    const body = await readBody(response, BODY_BYTES_MAX, { signal }).catch((error: unknown) => {
      throw failureOf(error, { name, signal });
    });
    return parseBody(body.toString("utf8"), name);
  });
}

/** A response with its headers; of any status but a first 401. */
async function open(
  connected: Connected,
  path: string,
  request: OpenRequest,
): Promise<IncomingMessage> {
  const response = await send(connected, path, request);
  if (response.statusCode !== 401) return response;
  // Tokens, client certificates and answers of credential plug-ins are cached by the loaded
  // configuration; what the server does not take is read again, once.
  response.resume();
  connected.config = loadKubeConfig(connected.source);
  return send(connected, path, request);
}

async function send(
  { config, world, server, connections }: Connected,
  path: string,
  request: OpenRequest,
): Promise<IncomingMessage> {
  const { method, signal } = request;
  const url = new URL(server.href.replace(/\/$/, "") + path);
  try {
    const tls = await abortable(requestOptions(config, world), signal);
    const agent = tls.agent ?? connections.agentFor(url);
    const headers = { ...tls.headers, accept: "application/json", ...request.headers };
    return await sendRequest(url, { ...tls, agent, method, headers, signal }, request.body);
  } catch (error) {
    throw failureOf(error, { name: nameOf(method, path), signal });
  }
}

/** For messages; without the query, which may be long. */
function nameOf(method: string, path: string): string {
  return `${method} ${path.split("?")[0]}`;
}

interface OpenRequest {
  readonly method: "GET" | "PATCH" | "POST" | "PUT";
  readonly body: Uint8Array | null;
  readonly headers: OutgoingHttpHeaders;
  readonly signal: AbortSignal;
}

function loadFile(config: KubeConfig, path: string): void {
  if (!existsSync(path)) {
    throw new Error(`Cannot read the kubeconfig ${path}: it does not exist; name an existing file`);
  }
  quietly(path, () => config.loadFromFile(path));
}

/** The parser quotes the lines around a mistake, which is where tokens and keys stand. */
function quietly(name: string, load: () => void): void {
  try {
    load();
  } catch (error) {
    const mark = error instanceof Error && "mark" in error ? (error.mark as YamlMark) : null;
    const where = mark === null ? "" : ` at line ${mark.line + 1}, column ${mark.column + 1}`;
    throw new Error(
      `Cannot read the kubeconfig ${name}: it is no kubeconfig${where}; mend the file`,
    );
  }
}

interface YamlMark {
  readonly line: number;
  readonly column: number;
}

function loadKubeConfig(source: KubeSource): KubeConfig {
  const config = new KubeConfig();
  switch (source.kind) {
    case "in-cluster":
      config.loadFromCluster();
      break;
    case "file":
      loadFile(config, source.path);
      break;
    case "text":
      quietly("of this process", () => config.loadFromString(source.text));
      break;
    default:
      throw new Error(`Unreachable: ${JSON.stringify(source satisfies never)}`);
  }
  // The library refuses plain HTTP unless certificates are not to be checked either; there are
  // none.
  config.clusters = config.clusters.map((cluster) =>
    cluster.server.startsWith("http:") ? { ...cluster, skipTLSVerify: true } : cluster,
  );
  return config;
}

function serverOf(config: KubeConfig): URL {
  const server = config.getCurrentCluster()?.server;
  if (server === undefined) {
    throw new Error(
      "Cannot use the kubeconfig: it names no current context with a cluster; set current-context",
    );
  }
  if (!URL.canParse(server)) {
    throw new Error("Cannot use the kubeconfig: the cluster's server is not a URL");
  }
  return new URL(server);
}

/**
 * The kubeconfig's own proxy, which stands above those of the environment; null for none, and for
 * SOCKS, which the library speaks.
 */
function ownProxyOf(config: KubeConfig): string | null {
  const proxy = config.getCurrentCluster()?.proxyUrl ?? "";
  if (proxy === "" || proxy.startsWith("socks")) return null;
  // Never quoted: it may hold a password.
  if (URL.canParse(proxy) && /^https?:$/.test(new URL(proxy).protocol)) return proxy;
  throw new Error("Cannot use the kubeconfig: its proxy-url is no http, https or socks URL");
}

function namespaceOf(config: KubeConfig): string {
  const namespace = config.getContextObject(config.getCurrentContext())?.namespace?.trim();
  return namespace === undefined || namespace === "" ? "default" : namespace;
}

/**
 * TLS material and credentials of one request. Only the agent of a SOCKS proxy is taken over: the
 * library's others neither keep connections nor obey signals while they connect.
 */
type Credentials = RequestOptions & { readonly headers: OutgoingHttpHeaders };

/** By then a plug-in is taken to hang, and the next request starts another one. */
const PLUGIN_MS_MAX = 60_000;
// A credential plug-in is a process: while one is asked, nobody starts another.
const asked = new WeakMap<KubeConfig, Promise<Credentials>>();

function requestOptions(config: KubeConfig, world: Pick<World, "sleep">): Promise<Credentials> {
  const reason = () =>
    new Error(`the credential plug-in gave no answer within ${PLUGIN_MS_MAX / 1000} s`);
  const ask = () =>
    withTimeout(world, PLUGIN_MS_MAX, { reason }, (signal) =>
      abortable(askCredentials(config), signal),
    ).finally(() => asked.delete(config));
  const asking = asked.get(config) ?? ask();
  asked.set(config, asking);
  return asking;
}

async function askCredentials(config: KubeConfig): Promise<Credentials> {
  const options: RequestOptions = { headers: {} };
  try {
    await config.applyToHTTPSOptions(options);
  } catch (error) {
    // What a credential plug-in printed instead of JSON may be the credential.
    if (!(error instanceof SyntaxError)) throw error;
    throw new Error("the credential plug-in's answer is no ExecCredential");
  }
  const { agent, headers, ...rest } = options;
  const trimmed = Object.entries({ ...(headers as OutgoingHttpHeaders) }).map(
    // A token file often ends with a line break, which no header may hold.
    ([name, value]) => [name, typeof value === "string" ? value.trim() : value] as const,
  );
  const isProxied = config.getCurrentCluster()?.proxyUrl?.startsWith("socks") === true;
  return {
    ...rest,
    headers: Object.fromEntries(trimmed),
    ...(isProxied && agent !== undefined ? { agent } : {}),
  };
}

/** Errors of sockets and TLS as KubeError; an abort keeps the reason of its signal. */
function failureOf(
  error: unknown,
  { name, signal }: { readonly name: string; readonly signal: AbortSignal },
): unknown {
  if (signal.aborted || error instanceof KubeError) return error;
  const text = connectionText(error, { trust: TRUST });
  return new KubeError(`Cannot ${name}: ${text}`, { cause: error });
}

const TRUST = "name its authority as certificate-authority of the kubeconfig";

/**
 * Rejects what is not a JSON answer of success, with the server's own words where it gives some.
 */
async function expectJson(
  response: IncomingMessage,
  options: { readonly name: string; readonly signal: AbortSignal; readonly now: number },
): Promise<void> {
  const { name, signal } = options;
  const status = response.statusCode ?? 0;
  const type = response.headers["content-type"] ?? "";
  // The API server's keys are application/jwk-set+json.
  const isJson = /^application\/([a-z0-9.-]+\+)?json\s*(;|$)/i.test(type);
  if (status >= 200 && status < 300) {
    if (isJson) return;
    response.destroy();
    throw new KubeError(
      `Cannot ${name}: answered ${status} as ${JSON.stringify(type)}, not as JSON`,
    );
  }
  const retryAfterMs = parseRetryAfter(response.headers["retry-after"], options.now);
  const body = await readBody(response, ERROR_BODY_BYTES_MAX, { signal }).catch(() => null);
  if (signal.aborted) throw signal.reason;
  const given = isJson && body !== null ? safeJson(body.toString("utf8")) : null;
  throw statusError(name, given, { status, retryAfterMs });
}

/** A Status object (of an answer, or of an ERROR event) as an error. */
export function statusError(
  name: string,
  status: unknown,
  known: { readonly status: number | null; readonly retryAfterMs: number | null },
): KubeError {
  const object = isRecord(status) ? status : {};
  const details = isRecord(object.details) ? object.details : {};
  const [cause] = Array.isArray(details.causes) ? details.causes : [];
  const causeReason = isRecord(cause) ? textAt(cause, "reason") : null;
  const reason = causeReason === "ResourceVersionTooLarge" ? causeReason : textAt(object, "reason");
  const seconds = details.retryAfterSeconds;
  const code = known.status ?? (typeof object.code === "number" ? object.code : null);
  const words = (textAt(object, "message") ?? "").slice(0, REASON_CHARACTERS_MAX);
  return new KubeError(`Cannot ${name}: ${[code, words].filter(Boolean).join(" ")}`, {
    status: code,
    reason,
    retryAfterMs:
      known.retryAfterMs ??
      (typeof seconds === "number" ? parseRetryAfter(String(Math.round(seconds)), 0) : null),
  });
}

function safeJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** The parser's own message quotes the body, so it is dropped. */
function parseBody(text: string, name: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new KubeError(`Cannot ${name}: the answer is garbled`);
  }
}

/**
 * Cuts at bytes, decodes whole lines: a character may be spread over chunks, a line break is never
 * part of one. Bytes that are no UTF-8 are an error rather than another text.
 */
async function* linesOf(
  response: IncomingMessage,
  options: {
    readonly name: string;
    readonly signal: AbortSignal;
    readonly onBytes: () => void;
  },
): AsyncGenerator<string, void, void> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const { name, signal } = options;
  let pending: Buffer[] = [];
  let pendingBytes = 0;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      options.onBytes();
      let from = 0;
      for (;;) {
        const at = chunk.indexOf(LINE_BREAK, from);
        const part = chunk.subarray(from, at < 0 ? chunk.length : at);
        pending.push(part);
        pendingBytes += part.length;
        if (pendingBytes > LINE_BYTES_MAX) {
          throw new KubeError(`Cannot ${name}: a line is longer than ${LINE_BYTES_MAX} bytes`);
        }
        if (at < 0) break;
        const line = pending.length === 1 ? part : Buffer.concat(pending);
        pending = [];
        pendingBytes = 0;
        from = at + 1;
        if (line.length > 0) yield decoder.decode(line);
      }
    }
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    if (error instanceof KubeError) throw error;
    throw new KubeError(`Cannot ${name}: the stream broke: ${errorText(error)}`, { cause: error });
  }
  if (pendingBytes > 0) throw new KubeError(`Cannot ${name}: the stream ended within a line`);
}
