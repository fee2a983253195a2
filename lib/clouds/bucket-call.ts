import { textWithin, type World, withTimeout } from "../world.ts";
import { CloudError, kindOfStatus, retryAfterOf } from "./error.ts";
import { encode } from "./signature.ts";
import { parseXml, textOf } from "./xml.ts";

/*
 * One request to object storage: signed, sent once, and answered whole or not at all.
 */

export interface BucketRequest {
  readonly method: "GET" | "PUT" | "DELETE";
  readonly url: URL;
  /** Of the object, encoded; "" for the bucket itself. */
  readonly key: string;
  readonly query: Readonly<Record<string, string>>;
  /** What is sent whoever signs. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export interface BucketAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** The vendor's error code, or `HttpError` where it gave none; null for a success. */
  readonly code: string | null;
}

/** Whose requests these are. */
export interface BucketSigner {
  /** The headers besides, as of `now`. May ask for credentials first. Rejects with CloudError. */
  sign(
    request: BucketRequest,
    options: { readonly now: number; readonly signal: AbortSignal },
  ): Promise<Readonly<Record<string, string>>>;
  /** Told the code of every answer that is no success: credentials may have ended. */
  refused(code: string): void;
}

/**
 * Resolves to whatever was answered, refusals too. Rejects only with CloudError, at the latest
 * {@link CALL_MS_MAX} after it was called or as soon as the signal aborts; then nothing of it is
 * left running, and what it was to do may have been done.
 */
export type BucketCall = (
  operation: string,
  request: {
    readonly method: BucketRequest["method"];
    readonly key?: string;
    readonly query?: Readonly<Record<string, string>>;
    readonly headers?: Readonly<Record<string, string>>;
    readonly body?: string;
  },
  signal: AbortSignal,
) => Promise<BucketAnswer>;

export interface BucketPlace {
  /** Where the bucket's objects are, without a slash at the end. */
  readonly baseUrl: string;
  readonly signer: BucketSigner;
  readonly world: World;
}

/** Upper bound of one request, asking for credentials included. */
const CALL_MS_MAX = 5_000;

// A snapshot of 20,000 nodes and 50,000 pods is a quarter of this.
const ANSWER_BYTES_MAX = 67_108_864;
/** The code of an answer that was not understood whole: it is no answer. */
const UNREADABLE = "UnreadableAnswer";
const NO_CODE = "HttpError";
const CLOCK_REFUSAL = "RequestTimeTooSkewed";
const CODE = /^[A-Za-z][A-Za-z0-9_.-]{0,63}$/;
const REQUEST_ID = /^[0-9A-Za-z-]{1,64}$/;
const REQUEST_ID_HEADERS = ["x-amz-request-id", "x-oss-request-id"];

/** Connects to nothing yet. */
export function bucketCall({ baseUrl, signer, world }: BucketPlace): BucketCall {
  // By how much the storage's clock is ahead of ours. Both vendors refuse what seems to be signed a
  // quarter of an hour ago, or from now.
  let aheadMs = 0;
  return (operation, { method, key = "", query = {}, headers = {}, body = "" }, signal) => {
    const encoded = key.split("/").map(encode).join("/");
    const url = new URL(`${baseUrl}/${encoded}`);
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    const request = { method, url, key: encoded, query, headers, body };
    const reason = () => new CloudError("unavailable", "TimeoutError", { operation });
    return withTimeout(world, CALL_MS_MAX, { signal, reason }, async (inner) => {
      const send = async () => {
        const now = world.now() + aheadMs;
        const signed = await signer.sign(request, { now, signal: inner });
        const options = { operation, signal: inner };
        return exchange(world, { ...request, headers: { ...headers, ...signed } }, options);
      };
      let answer = await send();
      const date = answer.code === CLOCK_REFUSAL ? dateOf(answer) : null;
      if (date !== null) {
        aheadMs = date - world.now();
        // It was refused, so nothing was done: once more is still once.
        answer = await send();
      }
      if (answer.code !== null) signer.refused(answer.code);
      return answer;
    });
  };
}

async function exchange(
  world: Pick<World, "fetch">,
  { method, url, headers, body }: BucketRequest,
  { operation, signal }: { readonly operation: string; readonly signal: AbortSignal },
): Promise<BucketAnswer> {
  try {
    signal.throwIfAborted();
    const response = await world.fetch(url, {
      method,
      headers: {
        "accept-encoding": "identity",
        // No connection is kept: a function's instance is frozen between its runs, and a connection
        // that died meanwhile would leave a write's outcome unknown for nothing.
        connection: "close",
        ...headers,
      },
      body: method === "PUT" ? body : null,
      // Never followed: where a bucket is somewhere else, that is the answer, and is said.
      redirect: "manual",
      signal,
    });
    const text = await textWithin(response, ANSWER_BYTES_MAX);
    if (text === null) throw new Error("too large");
    const { status } = response;
    const isDone = status >= 200 && status < 300;
    return { status, headers: response.headers, text, code: isDone ? null : codeOf(text) };
  } catch (thrown) {
    if (thrown instanceof CloudError) throw thrown;
    // Every abort looks alike; ours knows that the time was over.
    if (signal.reason instanceof CloudError) throw signal.reason;
    const code = signal.aborted ? "AbortError" : networkCodeOf(thrown);
    throw new CloudError("unavailable", code, { operation });
  }
}

function codeOf(text: string): string {
  const root = parseXml(text);
  const code = root?.name === "Error" ? textOf(root, "Code") : null;
  return code !== null && CODE.test(code) ? code : NO_CODE;
}

// Of fetch's errors only Node's code is kept: their texts quote URLs and headers.
function networkCodeOf(thrown: unknown): string {
  const cause = thrown instanceof Error ? thrown.cause : undefined;
  const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
  return typeof code === "string" && CODE.test(code) ? code : "NetworkError";
}

/** What the storage's clock showed when it answered; null when it did not say. */
export function dateOf({ headers }: BucketAnswer): number | null {
  const date = Date.parse(headers.get("date") ?? "");
  return Number.isNaN(date) ? null : date;
}

/** What a refusal is to the rest of the product; its text may quote keys and stays out. */
export function refusalError(
  { status, headers, code }: BucketAnswer,
  options: { readonly operation: string; readonly now: number },
): CloudError {
  const isThrottled = code === "SlowDown" || status === 503;
  // A code of the vendor says more than its status; without one, somebody in between answered.
  const known = code === NO_CODE && status !== 429 ? "unavailable" : kindOfStatus(status);
  const kind = isThrottled ? "throttled" : code === "NoSuchBucket" ? "missing" : known;
  const ids = REQUEST_ID_HEADERS.map((name) => headers.get(name));
  return new CloudError(kind, code ?? NO_CODE, {
    operation: options.operation,
    status,
    requestId: ids.find((id) => id !== null && REQUEST_ID.test(id)) ?? null,
    retryAfterMs: retryAfterOf(headers.get("retry-after"), options.now),
  });
}

export function unreadable(operation: string): CloudError {
  return new CloudError("unavailable", UNREADABLE, { operation });
}
