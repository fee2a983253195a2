import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { type AlibabaParams, unflatten } from "./alibaba-form.ts";
import { listen } from "./listening.ts";

/** One call, signature and nonce checked. */
export interface AlibabaCall {
  readonly version: string;
  readonly action: string;
  readonly accessKeyId: string;
  /** Without what every call carries; numbered parameters as lists. */
  readonly params: AlibabaParams;
}

export type AlibabaAnswer = Readonly<Record<string, unknown>>;

/** Answers with the members besides `RequestId`, or throws {@link AlibabaError}. */
export type AlibabaAction = (
  call: AlibabaCall,
  signal: AbortSignal,
) => AlibabaAnswer | Promise<AlibabaAnswer>;

/** The actions of one product, told apart from the others by its version. */
export interface AlibabaProduct {
  readonly version: string;
  readonly actions: Readonly<Record<string, AlibabaAction>>;
}

/**
 * Stands between the wire and the products: may refuse, wait, change the call or lose an answer.
 */
export type AlibabaBetween = (
  call: AlibabaCall,
  act: AlibabaAction,
  signal: AbortSignal,
) => AlibabaAnswer | Promise<AlibabaAnswer>;

export interface AlibabaKey {
  readonly accessKeySecret: string;
  /** Of a session: must come with every call. */
  readonly securityToken?: string;
}

export interface EmbeddedAlibaba {
  /** An endpoint for any client of the RPC style, whatever the product. */
  readonly url: string;
  /** Cuts what is open and resolves when nothing of it is left. */
  close(): Promise<void>;
}

/**
 * An answer that is no success. Without a status the connection is cut and nothing is answered.
 */
export class AlibabaError extends Error {
  override readonly name = "AlibabaError";
  readonly code: string;
  readonly status: number | null;
  readonly retryAfterS: number | null;

  constructor(
    code: string,
    message: string,
    options?: { readonly status?: number | null; readonly retryAfterS?: number | null },
  ) {
    super(message);
    this.code = code;
    this.status = options?.status === undefined ? 400 : options.status;
    this.retryAfterS = options?.retryAfterS ?? null;
  }
}

interface Gate {
  readonly keys: Readonly<Record<string, AlibabaKey>> | null;
  /** Until when each nonce counts as used. */
  readonly nonces: Map<string, number>;
}

interface Wire {
  readonly products: ReadonlyMap<string, AlibabaProduct>;
  readonly between: AlibabaBetween;
  readonly gate: Gate;
}

const BODY_BYTES_MAX = 4_194_304;
const CLOCK_SKEW_MS_MAX = 900_000;
const NONCES_MAX = 100_000;
// What every call carries, besides its own parameters.
const COMMON = new Set([
  "Action",
  "Version",
  "Format",
  "Timestamp",
  "AccessKeyId",
  "SecurityToken",
  "Signature",
  "SignatureMethod",
  "SignatureVersion",
  "SignatureNonce",
]);

/**
 * As much of Alibaba Cloud's RPC style as clients need, over HTTP on this machine: signed form in,
 * JSON out. For demonstrations and tests. With `keys` it believes only those; without, any.
 */
export async function startEmbeddedAlibaba(options: {
  readonly products: readonly AlibabaProduct[];
  readonly between?: AlibabaBetween;
  readonly keys?: Readonly<Record<string, AlibabaKey>>;
  readonly host?: string;
  readonly port?: number;
}): Promise<EmbeddedAlibaba> {
  const wire: Wire = {
    products: new Map(options.products.map((product) => [product.version, product])),
    between: options.between ?? ((call, act, signal) => act(call, signal)),
    gate: { keys: options.keys ?? null, nonces: new Map() },
  };
  let requests = 0;
  const server = createServer((request, response) => {
    requests += 1;
    const requestId = `EMBEDDED-${requests}`;
    answer(request, response, { wire, requestId }).catch(() => request.socket.destroy());
  });
  return listen(server, options);
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  options: { readonly wire: Wire; readonly requestId: string },
): Promise<void> {
  const { wire, requestId } = options;
  const gone = new AbortController();
  response.once("close", () => gone.abort());
  try {
    const call = callOf(await readForm(request), request.method ?? "", wire.gate);
    const action = actionOf(call, wire.products);
    const members = await wire.between(call, action, gone.signal);
    respond(response, 200, { RequestId: requestId, ...members });
  } catch (error) {
    const refusal = error instanceof AlibabaError ? error : internal();
    if (refusal.status === null) {
      request.socket.destroy();
      return;
    }
    const { retryAfterS } = refusal;
    if (retryAfterS !== null) response.setHeader("retry-after", String(retryAfterS));
    respond(response, refusal.status, {
      RequestId: requestId,
      HostId: request.headers.host ?? "",
      Code: refusal.code,
      Message: refusal.message,
    });
  }
}

function respond(response: ServerResponse, status: number, body: AlibabaAnswer): void {
  response
    .writeHead(status, { "content-type": "application/json;charset=utf-8" })
    .end(JSON.stringify(body));
}

function internal(): AlibabaError {
  return new AlibabaError("InternalError", "The request processing has failed.", { status: 500 });
}

/** Of a POST the body, of a GET what the address asks for. */
async function readForm(request: IncomingMessage): Promise<URLSearchParams> {
  if (request.method === "GET") {
    return new URL(request.url ?? "/", "http://127.0.0.1").searchParams;
  }
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes > BODY_BYTES_MAX) {
      throw new AlibabaError("RequestEntityTooLarge", "The request is too large.", { status: 413 });
    }
    chunks.push(chunk);
  }
  return new URLSearchParams(Buffer.concat(chunks).toString("utf8"));
}

function callOf(form: URLSearchParams, method: string, gate: Gate): AlibabaCall {
  const common = (name: string) => {
    const value = form.get(name);
    if (value) return value;
    throw new AlibabaError(`Missing${name}`, `${name} is mandatory for this action.`);
  };
  const accessKeyId = common("AccessKeyId");
  const given = { nonce: common("SignatureNonce"), timestamp: common("Timestamp") };
  checkSignature(form, method, { accessKeyId, signature: common("Signature"), gate });
  checkFresh(given, gate.nonces);
  const own = [...form].filter(([name]) => !COMMON.has(name));
  const params = unflatten(own);
  if (params === null) {
    throw new AlibabaError(
      "InvalidParameter",
      "The names of the parameters contradict themselves.",
    );
  }
  return { version: common("Version"), action: common("Action"), accessKeyId, params };
}

function checkSignature(
  form: URLSearchParams,
  method: string,
  options: { readonly accessKeyId: string; readonly signature: string; readonly gate: Gate },
): void {
  const { accessKeyId, signature, gate } = options;
  if (gate.keys === null) return;
  const key = Object.hasOwn(gate.keys, accessKeyId) ? gate.keys[accessKeyId] : undefined;
  if (key === undefined) {
    const message = "Specified access key is not found.";
    throw new AlibabaError("InvalidAccessKeyId.NotFound", message, { status: 404 });
  }
  if ((form.get("SecurityToken") ?? undefined) !== key.securityToken) {
    const message = "Specified SecurityToken mismatch with the AccessKey.";
    throw new AlibabaError("InvalidSecurityToken.MismatchWithAccessKey", message);
  }
  const expected = Buffer.from(signatureOf(form, method, key.accessKeySecret));
  const given = Buffer.from(signature);
  if (expected.length === given.length && timingSafeEqual(expected, given)) return;
  // As the real one does, and it is a reason to keep messages to oneself.
  const message =
    "Specified signature is not matched with our calculation. server string to sign " +
    `is:${stringToSign(form, method)}`;
  throw new AlibabaError("SignatureDoesNotMatch", message);
}

function signatureOf(form: URLSearchParams, method: string, secret: string): string {
  return createHmac("sha1", `${secret}&`).update(stringToSign(form, method)).digest("base64");
}

/** Every parameter but the signature itself, sorted by name. */
function stringToSign(form: URLSearchParams, method: string): string {
  const pairs = [...form]
    .filter(([name]) => name !== "Signature")
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${encode(name)}=${encode(value)}`);
  return [method, encode("/"), encode(pairs.join("&"))].join("&");
}

/** RFC 3986: everything but letters, digits and -_.~ */
function encode(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

function checkFresh(
  given: { readonly nonce: string; readonly timestamp: string },
  nonces: Map<string, number>,
): void {
  const now = Date.now();
  const at = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(given.timestamp)
    ? Date.parse(given.timestamp)
    : Number.NaN;
  if (Number.isNaN(at)) {
    throw new AlibabaError(
      "InvalidTimeStamp.Format",
      "Specified time stamp is not well formatted.",
    );
  }
  if (Math.abs(now - at) > CLOCK_SKEW_MS_MAX) {
    throw new AlibabaError("InvalidTimeStamp.Expired", "Specified time stamp is expired.");
  }
  if ((nonces.get(given.nonce) ?? 0) > now) {
    throw new AlibabaError("SignatureNonceUsed", "Specified signature nonce was used already.");
  }
  if (nonces.size >= NONCES_MAX) nonces.clear();
  nonces.set(given.nonce, now + CLOCK_SKEW_MS_MAX);
}

function actionOf(
  { version, action }: AlibabaCall,
  products: ReadonlyMap<string, AlibabaProduct>,
): AlibabaAction {
  const product = products.get(version);
  if (product === undefined) {
    throw new AlibabaError("InvalidVersion", "Specified parameter Version is not valid.");
  }
  const found = Object.hasOwn(product.actions, action) ? product.actions[action] : undefined;
  if (found !== undefined) return found;
  const message = "Specified api is not found, please check your url and method.";
  throw new AlibabaError("InvalidAction.NotFound", message, { status: 404 });
}

/** The text of a parameter; undefined when it was not sent. */
export function textParam(params: AlibabaParams, name: string): string | undefined {
  const value = Object.hasOwn(params, name) ? params[name] : undefined;
  if (value === undefined || typeof value === "string") return value;
  throw new AlibabaError("InvalidParameter", `The specified parameter ${name} is not valid.`);
}

/** As {@link textParam}, refused when it is missing or empty. */
export function requiredParam(params: AlibabaParams, name: string): string {
  const value = textParam(params, name);
  if (value) return value;
  const message =
    `The input parameter ${name} that is mandatory for processing this request is not ` +
    "supplied.";
  throw new AlibabaError("MissingParameter", message);
}

/** The items of a numbered parameter that are texts; empty when it was not sent. */
export function textItems(params: AlibabaParams, name: string): readonly string[] {
  return itemsOf(params, name).map((item) => {
    if (typeof item === "string") return item;
    throw new AlibabaError("InvalidParameter", `The specified parameter ${name} is not valid.`);
  });
}

/** The items of a numbered parameter that have members; empty when it was not sent. */
export function recordItems(params: AlibabaParams, name: string): readonly AlibabaParams[] {
  return itemsOf(params, name).map((item) => {
    if (typeof item === "object" && !Array.isArray(item)) return item as AlibabaParams;
    throw new AlibabaError("InvalidParameter", `The specified parameter ${name} is not valid.`);
  });
}

function itemsOf(params: AlibabaParams, name: string) {
  const value = Object.hasOwn(params, name) ? params[name] : undefined;
  if (value === undefined) return [];
  if (Array.isArray(value)) return value;
  throw new AlibabaError("InvalidParameter", `The specified parameter ${name} is not valid.`);
}
