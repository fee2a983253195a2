import { createHash, timingSafeEqual } from "node:crypto";
import middy from "@middy/core";
import { prefixLengthOf } from "../lib/core/cidr.ts";
import type { FeedContent } from "../lib/core/feed.ts";
import type { FeedFormat } from "../lib/feeds/feed.ts";
import { formats, renderFeed } from "../lib/feeds/formats.ts";
import { StoreError } from "../lib/stores/store.ts";
import { type ProblemKind, problemDocument } from "../lib/wire/protocol.ts";
import type { PublishedFeed } from "./feeds.ts";
import type { HttpRequest, HttpResponse } from "./http.ts";
import { httpEvent } from "./middleware/event.ts";
import { problems } from "./middleware/problems.ts";
import { RequestProblem } from "./problem.ts";
import type { Wiring } from "./wiring.ts";

const PATH = /^\/v1\/lists\/([^/.]+)\.([^/]+)$/;
const BEARER = /^Bearer ([\x21-\x7e]{1,512})$/i;
const BASIC = /^Basic ([A-Za-z0-9+/]{1,2048}={0,2})$/i;
/** No token is empty. */
const NOBODY = "";
const RETRY_AFTER_S = 60;
// Basic first: it is what firewalls speak, and some clients answer only the first challenge.
const CHALLENGES = 'Basic realm="kube-allowlist", charset="UTF-8", Bearer realm="kube-allowlist"';

/**
 * `GET /v1/lists/<list>.<format>`: the newest content of the list's feed. Readers keep what they
 * have when they get an error, so whatever is in doubt is one: nothing published yet, a store that
 * does not answer, a list too long for the format. An empty list is shown only where it may be.
 */
export function makeFeed(wiring: Wiring) {
  return middy({ timeoutEarlyInMillis: 0 })
    .use(problems(wiring.world.log, (path) => feedRoute(wiring, path)))
    .use(httpEvent())
    .handler((event: unknown) => showFeed(wiring, event as HttpRequest));
}

/** The answer of {@link makeFeed} to a request, for functions that answer other routes, too. */
export async function showFeed(wiring: Wiring, request: HttpRequest): Promise<HttpResponse> {
  const { method } = request;
  if (method !== "GET" && method !== "HEAD") throw wrongMethod(method);
  const [, list = "", formatName = ""] = PATH.exec(request.path) ?? [];
  if (list === "") throw notFound("Cannot find this: lists are at /v1/lists/<list>.<format>");
  const published = admitted(wiring, list, request);
  const format = formatNamed(formatName);
  const content = await readContent(wiring, published, list);
  const headers = headersOf(content);
  const read = { list, format: formatName, revision: content.serial };
  wiring.world.log.debug(read, "A feed is read");
  if (isKnown(request.headers["if-none-match"], content)) {
    return { statusCode: 304, headers, body: "" };
  }
  const rendering = renderFeed({ list, ...content }, format);
  if (rendering.kind === "too-large") {
    throw unavailable(
      `Cannot show "${list}" as ${formatName}: it would have ${rendering.limit}; fetch it in ` +
        "another format, or split the list",
    );
  }
  const { body } = rendering;
  return {
    statusCode: 200,
    headers: {
      ...headers,
      "content-type": format.contentType,
      "content-length": String(Buffer.byteLength(body)),
    },
    body: method === "HEAD" ? "" : body,
  };
}

/** For logs: what is no name of ours may be a token in a wrong place. */
export function feedRoute({ feeds }: Wiring, path: string): string {
  const [, list = "", format = ""] = PATH.exec(path) ?? [];
  const known = [feeds.has(list) ? list : "?", Object.hasOwn(formats, format) ? format : "?"];
  return `/v1/lists/${known.join(".")}`;
}

/** A list that is not there is answered like a wrong token, also in the time that it takes. */
function admitted(wiring: Wiring, list: string, request: HttpRequest): PublishedFeed {
  const published = wiring.feeds.get(list);
  const tokens = published === undefined ? [NOBODY] : tokensOf(wiring, published, list);
  if (published !== undefined && tokens === null) return published;
  const given = credentialOf(request.headers.authorization ?? "");
  // Every token is compared, so that the time taken tells nothing.
  const matches = (tokens ?? []).filter((token) => isSame(given ?? NOBODY, token));
  if (published !== undefined && given !== null && matches.length > 0) return published;
  throw refused("unauthenticated", 401, {
    title: "The reader is not known",
    detail:
      "Cannot show this list: there is none of this name, or the token is not one of its; send " +
      "one as a bearer token or as the password of basic authentication",
    headers: { "www-authenticate": CHALLENGES },
  });
}

// Not a 401, which makes some firewalls drop what they have: it is our fault and not the reader's.
function tokensOf(wiring: Wiring, published: PublishedFeed, list: string) {
  try {
    return published.tokens();
  } catch (error) {
    const message = error instanceof Error ? error.message : "unknown error";
    wiring.world.log.error({ list, error: message }, "Cannot resolve the tokens of a feed");
    throw unavailable("Cannot tell who may read this list: see the receiver's log");
  }
}

/** The token, however it was sent; the user's name of basic authentication is not looked at. */
function credentialOf(header: string): string | null {
  const bearer = BEARER.exec(header)?.[1];
  if (bearer !== undefined) return bearer;
  const basic = BASIC.exec(header)?.[1];
  if (basic === undefined) return null;
  const pair = Buffer.from(basic, "base64").toString("utf8");
  const colon = pair.indexOf(":");
  return colon < 0 ? null : pair.slice(colon + 1);
}

function isSame(a: string, b: string): boolean {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}

function formatNamed(name: string): FeedFormat {
  const format = Object.hasOwn(formats, name) ? formats[name] : undefined;
  if (format !== undefined) return format;
  const known = Object.keys(formats).join(", ");
  throw notFound(`Cannot show a list in this format: there are ${known}`);
}

async function readContent(
  wiring: Wiring,
  published: PublishedFeed,
  list: string,
): Promise<FeedContent> {
  const content = await newestOf(wiring, published, list);
  if (content === null) {
    throw unavailable(`Cannot show "${list}" yet: nothing was published; keep what you have`);
  }
  if (content.entries.length === 0 && !published.mayBeEmpty) {
    throw unavailable(
      `Cannot show "${list}": it is empty, and not configured to be shown so; keep what you have`,
    );
  }
  // Nothing of ours writes this, but whoever reads it would open everything.
  if (content.entries.some((cidr) => prefixLengthOf(cidr) === 0)) {
    const detail = `Cannot show "${list}": it holds all addresses, which no list may`;
    wiring.world.log.error({ list }, detail);
    throw unavailable(detail);
  }
  return content;
}

async function newestOf({ world }: Wiring, published: PublishedFeed, list: string) {
  try {
    return (await published.log.newest())?.body ?? null;
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    world.log.error({ list, error: error.message }, "Cannot read a feed");
    throw unavailable(`Cannot read "${list}" now: the store failed; keep what you have`);
  }
}

/** The same for every format: a revision stands for the same bytes in each of them. */
function headersOf(content: FeedContent): Readonly<Record<string, string>> {
  return {
    etag: `"${content.serial}"`,
    "last-modified": new Date(content.changedAt).toUTCString(),
    "cache-control": "no-cache",
  };
}

const ENTITY_TAG = /^(?:W\/)?"([\x21\x23-\x7e]*)"$/;

/** RFC 9110, If-None-Match: any of a list, compared weakly, or "*" for whatever there is. */
function isKnown(header: string | undefined, { serial }: FeedContent): boolean {
  if (header === undefined) return false;
  const tags = header.split(",").map((tag) => tag.trim());
  return tags.some((tag) => tag === "*" || ENTITY_TAG.exec(tag)?.[1] === String(serial));
}

function refused(
  kind: ProblemKind,
  status: number,
  given: {
    readonly title: string;
    readonly detail: string;
    readonly headers: Readonly<Record<string, string>>;
  },
): RequestProblem {
  const { title, detail, headers } = given;
  return new RequestProblem({ ...problemDocument(kind, status, { detail }), title }, headers);
}

function unavailable(detail: string): RequestProblem {
  const headers = { "retry-after": String(RETRY_AFTER_S) };
  return refused("unavailable", 503, { title: "The list cannot be shown", detail, headers });
}

function notFound(detail: string): RequestProblem {
  return new RequestProblem({ type: "about:blank", title: "Not Found", status: 404, detail });
}

function wrongMethod(method: string): RequestProblem {
  const detail = `Cannot ${method} a list: GET it`;
  const title = "Method Not Allowed";
  return new RequestProblem(
    { type: "about:blank", title, status: 405, detail },
    { allow: "GET, HEAD" },
  );
}
