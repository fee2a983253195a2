import assert from "node:assert/strict";
import type * as z from "zod/mini";
import type { TargetErrorKind } from "../core/report.ts";
import { textWithin, type World, withTimeout } from "../world.ts";
import { CloudError, kindOfStatus, retryAfterOf } from "./error.ts";

/*
 * JSON over HTTP, for vendors whose API is nothing else. One attempt a call: who calls decides
 * whether another one makes sense.
 */

/** What every request carries to prove whose it is. */
export interface Credentials {
  /** May ask for a token first, with this signal. Rejects only with CloudError. */
  headers(signal: AbortSignal): Promise<Readonly<Record<string, string>>>;
  /** They were refused with 401: the next call gets others, where there are any. */
  forget(): void;
}

export interface RestRequest {
  readonly method: "GET" | "POST" | "PUT" | "DELETE";
  /** Parts of the path below the base URL, not encoded. */
  readonly path: readonly string[];
  readonly query?: Readonly<Record<string, string | number>>;
  /** Becomes JSON; `URLSearchParams` become a form. */
  readonly body?: unknown;
  /** What the vendor's documentation calls it. */
  readonly operation: string;
}

export interface Failure {
  readonly kind: TargetErrorKind;
  /** A word of ours, or a code of the vendor that was checked to be one; never a vendor's text. */
  readonly code: string;
}

export interface RestOptions {
  /** With everything that stands before the path, such as a version. */
  readonly baseUrl: string;
  readonly credentials: Credentials;
  readonly world: World;
  /** Upper bound of one call. */
  readonly callMs: number;
  /** Of bodies sent and asked for, where it is not plain JSON. */
  readonly mediaType?: string;
  /**
   * What the vendor's JSON says about an answer that is no success; null leaves it to the status.
   */
  failureOf(answer: { readonly status: number; readonly body: unknown }): Failure | null;
}

export interface Rest {
  /**
   * The JSON that was answered, or undefined for an answer that says it has no content. Makes one
   * attempt, follows no redirect, honours the signal and rejects only with CloudError. What is not
   * JSON from beginning to end is `unavailable`, whatever the status: a proxy or a login page says
   * nothing about the object.
   */
  call(request: RestRequest, signal: AbortSignal): Promise<unknown>;
}

// The code of an answer that was not understood whole: it is no answer.
const UNREADABLE = "UnreadableAnswer";

const JSON_TYPE = "application/json";
const ANSWER_BYTES_MAX = 4_194_304;
const CODE = /^[A-Za-z][A-Za-z0-9_.-]{0,63}$/;
const REQUEST_ID = /^[0-9A-Za-z-]{1,64}$/;
const IS_JSON = /^application\/(?:[a-z0-9.+-]+\+)?json\s*(?:;|$)/i;
// Seconds since the epoch at which requests are taken again, where there is no `Retry-After`.
const RESET_HEADERS = ["x-ratelimit-reset", "ratelimit-reset"];
const EPOCH_SECONDS = /^\d{1,12}$/;

/** Connects to nothing yet. */
export function openRest(options: RestOptions): Rest {
  return {
    call(request, signal) {
      const { operation } = request;
      const reason = () => new CloudError("unavailable", "TimeoutError", { operation });
      return withTimeout(options.world, options.callMs, { signal, reason }, async (inner) => {
        const answer = await attempt(options, request, inner);
        if (answer.status >= 200 && answer.status < 300) return contentOf(answer, operation);
        if (answer.status === 401) options.credentials.forget();
        throw errorOf(answer, { ...options, operation });
      });
    },
  };
}

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  /** Undefined where it cannot be read. */
  readonly body: unknown;
}

async function attempt(
  options: RestOptions,
  request: RestRequest,
  signal: AbortSignal,
): Promise<Answer> {
  const { operation, method } = request;
  const url = urlOf(options.baseUrl, request);
  const content = bodyOf(request, options.mediaType ?? JSON_TYPE);
  try {
    signal.throwIfAborted();
    const headers = {
      accept: options.mediaType ?? JSON_TYPE,
      // No connection is kept: a function's instance is frozen between its runs, and a connection
      // that died meanwhile would fail a write whose one attempt must not be wasted.
      connection: "close",
      ...content.headers,
      ...(await options.credentials.headers(signal)),
    };
    const init = { method, headers, body: content.text, redirect: "error", signal } as const;
    const response = await options.world.fetch(url, init);
    const text = await textWithin(response, ANSWER_BYTES_MAX);
    return { status: response.status, headers: response.headers, body: jsonOf(response, text) };
  } catch (thrown) {
    if (thrown instanceof CloudError) throw thrown;
    // Every abort looks alike; ours knows that the time was over.
    if (signal.reason instanceof CloudError) throw signal.reason;
    const code = signal.aborted ? "AbortError" : networkCodeOf(thrown);
    throw new CloudError("unavailable", code, { operation });
  }
}

function urlOf(baseUrl: string, { path, query = {} }: RestRequest): URL {
  const url = new URL(baseUrl);
  const parts = path.map((part) => {
    // No encoding makes these a part: a URL leaves them out, and the next shorter path is another.
    assert(!["", ".", ".."].includes(part), "a part of a path");
    return encodeURIComponent(part);
  });
  url.pathname = [url.pathname.replace(/\/$/, ""), ...parts].join("/");
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, String(value));
  return url;
}

function bodyOf(
  { body }: RestRequest,
  mediaType: string,
): { readonly text: string | null; readonly headers: Readonly<Record<string, string>> } {
  if (body === undefined) return { text: null, headers: {} };
  if (body instanceof URLSearchParams) {
    return {
      text: body.toString(),
      headers: { "content-type": "application/x-www-form-urlencoded" },
    };
  }
  return { text: JSON.stringify(body), headers: { "content-type": mediaType } };
}

function jsonOf(response: Response, text: string | null): unknown {
  if (text === null || !IS_JSON.test(response.headers.get("content-type") ?? "")) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

// Of fetch's errors only Node's code is kept: their texts quote URLs and headers.
function networkCodeOf(thrown: unknown): string {
  const cause = thrown instanceof Error ? thrown.cause : undefined;
  const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
  return typeof code === "string" && CODE.test(code) ? code : "NetworkError";
}

function contentOf({ status, body, headers }: Answer, operation: string): unknown {
  if (body !== undefined || status === 204) return body;
  const requestId = requestIdOf(headers);
  throw new CloudError("unavailable", UNREADABLE, { operation, status, requestId });
}

function errorOf(
  { status, body, headers }: Answer,
  options: RestOptions & { readonly operation: string },
): CloudError {
  const known = body === undefined ? null : options.failureOf({ status, body });
  const { kind, code } = known ?? { kind: kindOf(status, body), code: "HttpError" };
  return new CloudError(kind, code, {
    operation: options.operation,
    status,
    requestId: requestIdOf(headers),
    retryAfterMs: waitOf(status, headers, options.world.now()),
  });
}

/** A refusal that is not the vendor's JSON came from something in between, except of these. */
function kindOf(status: number, body: unknown): TargetErrorKind {
  const isVendors = body !== undefined || [401, 403, 429].includes(status);
  return isVendors ? kindOfStatus(status) : "unavailable";
}

function waitOf(status: number, headers: Headers, now: number): number | null {
  const asked = retryAfterOf(headers.get("retry-after"), now);
  if (asked !== null || status !== 429) return asked;
  const reset = RESET_HEADERS.map((name) => headers.get(name)).find((text) => text !== null);
  if (reset === undefined || reset === null || !EPOCH_SECONDS.test(reset)) return null;
  return retryAfterOf(new Date(Number(reset) * 1_000).toUTCString(), now);
}

function requestIdOf(headers: Headers): string | null {
  const requestId = headers.get("x-request-id");
  return requestId !== null && REQUEST_ID.test(requestId) ? requestId : null;
}

/** The answer in its shape, or `unavailable`: what is not understood whole is no answer. */
export function readAs<T extends z.ZodMiniType>(
  shape: T,
  answer: unknown,
  operation: string,
): z.output<T> {
  const { data } = shape.safeParse(answer);
  if (data !== undefined) return data;
  throw new CloudError("unavailable", UNREADABLE, { operation });
}

/** One page of a list, as its vendor counts. */
export interface Page<T> {
  readonly items: readonly T[];
  /** Of all pages together. */
  readonly total: number;
  readonly isLast: boolean;
}

/**
 * All pages, the first being 1. Rejects with `unavailable` when they changed meanwhile or are fewer
 * than they say: half a list is no list.
 */
export async function readPages<T>(
  read: (page: number) => Promise<Page<T>>,
  options: { readonly operation: string; readonly pagesMax: number },
): Promise<readonly T[]> {
  const { operation, pagesMax } = options;
  const items: T[] = [];
  let announced: number | null = null;
  for (let number = 1; number <= pagesMax; number += 1) {
    const page = await read(number);
    announced ??= page.total;
    if (page.total !== announced) break;
    items.push(...page.items);
    if (page.isLast && items.length >= announced) return items;
    if (page.isLast) break;
  }
  throw new CloudError("unavailable", "PagesChanged", { operation });
}
