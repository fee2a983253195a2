import { onwardClock, type World } from "../world.ts";
import {
  type BucketAnswer,
  type BucketCall,
  dateOf,
  refusalError,
  unreadable,
} from "./bucket-call.ts";
import { CloudError } from "./error.ts";
import { childrenOf, parseXml, textOf, type XmlElement } from "./xml.ts";

/*
 * Objects of one bucket, as S3 and OSS have them in common: the same four requests, the same XML.
 */

export interface ListedObject {
  readonly key: string;
  /** By the storage's own clock, at most the true age. */
  readonly ageMs: number;
}

export interface ListOptions {
  readonly limit: number;
  /** What else lies in the bucket is passed over. */
  readonly isKey: (key: string) => boolean;
  readonly signal: AbortSignal;
}

/**
 * Rejects only with CloudError, as a {@link BucketCall} does: whether a write or a deletion that
 * was not answered took place is not known. Nothing is tried again but what was refused undone.
 */
export interface Bucket {
  /** Creates and never overwrites. */
  put(key: string, body: string, signal: AbortSignal): Promise<"created" | "exists">;
  /** Null where a bucket that is there has no such object. */
  get(key: string, signal: AbortSignal): Promise<string | null>;
  /** The first objects with this prefix in ascending byte order. */
  list(prefix: string, options: ListOptions): Promise<readonly ListedObject[]>;
  delete(key: string, signal: AbortSignal): Promise<void>;
}

/** What one vendor does in its own way. */
export interface BucketDialect {
  /** Its operations, as its permissions write them. */
  readonly operations: Readonly<Record<"put" | "get" | "list" | "delete", string>>;
  /** Headers that make a write one that only creates. */
  creating(body: string): Readonly<Record<string, string>>;
  /** What a refused write means: the key is taken, ask again at once, or null for a failure. */
  refusalOf(answer: BucketAnswer): "exists" | "again" | null;
}

export interface BucketOptions {
  readonly call: BucketCall;
  readonly dialect: BucketDialect;
  readonly world: World;
}

const PUTS_MAX = 5;
const PAUSE_MS_MIN = 50;
// Both vendors' most keys of one answer.
const PAGE_KEYS_MAX = 1_000;
const PAGES_MAX = 1_000;
// Asked for besides, since what a console calls a folder is an object, which stands first.
const PAGE_KEYS_SPARE = 1;
// Both vendors tell whole seconds, so that a difference may be too long by less than one.
const CLOCK_STEP_MS = 1_000;
/** Holders of a lease count on less than the five seconds that others wait longer. */
const AGE_ERROR_MS_MAX = 2_000;
const REFUTED_MS = 60_000;
const DATE = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?Z$/;

/** Connects to nothing yet. */
export function openBucket({ call, dialect, world }: BucketOptions): Bucket {
  const { operations } = dialect;
  const failure = (answer: BucketAnswer, operation: string) =>
    refusalError(answer, { operation, now: world.now() });
  const read = async (key: string, signal: AbortSignal) => {
    const answer = await call(operations.get, { method: "GET", key }, signal);
    if (answer.status === 200) return answer.text;
    if (isNoSuchKey(answer)) return null;
    if (answer.code === null) throw unreadable(operations.get);
    throw failure(answer, operations.get);
  };
  return {
    get: read,

    async put(key, body, signal) {
      const operation = operations.put;
      const headers = { "content-type": "application/json", ...dialect.creating(body) };
      for (let puts = 1; ; puts += 1) {
        const answer = await call(operation, { method: "PUT", key, headers, body }, signal);
        if (answer.code === null) {
          if (isAcknowledged(answer)) return "created";
          // Somebody answered that all was well, who need not have been the storage.
          if ((await read(key, signal)) === body) return "created";
          throw unreadable(operation);
        }
        const refusal = dialect.refusalOf(answer);
        if (refusal === "exists") return "exists";
        if (refusal === null || puts === PUTS_MAX) throw failure(answer, operation);
        const pauseMs = PAUSE_MS_MIN * 2 ** puts * (0.5 + world.random());
        await world.sleep(pauseMs, signal).catch((reason) => {
          if (reason instanceof CloudError) throw reason;
          throw new CloudError("unavailable", "AbortError", { operation });
        });
      }
    },

    async list(prefix, { limit, isKey, signal }) {
      const operation = operations.list;
      const found: ListedObject[] = [];
      let last = "";
      let token: string | null = null;
      for (let pages = 1; found.length < limit; pages += 1) {
        const query = pageQuery(prefix, { left: limit - found.length, token });
        const answer = await call(operation, { method: "GET", query }, signal);
        if (answer.code !== null) throw failure(answer, operation);
        const page: Page | null = readPage(answer, { prefix, last });
        if (page === null || pages > PAGES_MAX) throw unreadable(operation);
        found.push(...page.objects.filter((object) => isKey(object.key)));
        last = page.objects.at(-1)?.key ?? last;
        token = page.next;
        if (token === null) break;
      }
      return found.slice(0, limit);
    },

    async delete(key, signal) {
      const answer = await call(operations.delete, { method: "DELETE", key }, signal);
      if (answer.code !== null && !isNoSuchKey(answer)) throw failure(answer, operations.delete);
    },
  };
}

/**
 * Ages of objects are the difference of two times, of which a proxy may give the one. Where its
 * clock is ahead, a lease would seem to be over while it is held. So the first object that is
 * created through an own endpoint is listed, too, and must be no older than it can be; where it is,
 * nothing is written for a minute, after which clocks may have been set right.
 */
export function provingAges(
  bucket: Bucket,
  options: { readonly operation: string; readonly world: Pick<World, "now" | "monotonic"> },
): Bucket {
  const { operation } = options;
  const clock = onwardClock(options.world);
  let isProven = false;
  let refutedAt = Number.NEGATIVE_INFINITY;
  return {
    ...bucket,
    async put(key, body, signal) {
      if (isProven) return bucket.put(key, body, signal);
      const begunAt = clock();
      if (begunAt - refutedAt >= REFUTED_MS) {
        if ((await bucket.put(key, body, signal)) === "exists") return "exists";
        const isKey = (listed: string) => listed === key;
        const [found] = await bucket.list(key, { limit: 1, isKey, signal });
        if (found === undefined) throw new CloudError("unavailable", "Unlisted", { operation });
        isProven = found.ageMs <= clock() - begunAt + AGE_ERROR_MS_MAX;
        if (isProven) return "created";
        refutedAt = begunAt;
      }
      throw new CloudError("invalid", "WrongAges", { operation });
    },
  };
}

/** What both vendors answer to a write. A page of somebody in between is none. */
function isAcknowledged({ status, headers, text }: BucketAnswer): boolean {
  return status === 200 && headers.has("etag") && text.trim() === "";
}

// Of a bucket that is gone nothing can be said, least of all that an object is not there.
function isNoSuchKey({ status, code }: BucketAnswer): boolean {
  return status === 404 && code === "NoSuchKey";
}

/** ListObjectsV2 in both API references. */
function pageQuery(
  prefix: string,
  { left, token }: { readonly left: number; readonly token: string | null },
): Readonly<Record<string, string>> {
  return {
    "list-type": "2",
    "max-keys": String(Math.min(left + PAGE_KEYS_SPARE, PAGE_KEYS_MAX)),
    ...(prefix === "" ? {} : { prefix }),
    ...(token === null ? {} : { "continuation-token": token }),
  };
}

interface Page {
  readonly objects: readonly ListedObject[];
  /** What asks for the next page; null for the last. */
  readonly next: string | null;
}

/**
 * Null when any of it is not as it must be. Both vendors list in the order of bytes, which the log
 * depends on; directory buckets of S3 and some imitations do not.
 */
function readPage(
  answer: BucketAnswer,
  { prefix, last }: { readonly prefix: string; readonly last: string },
): Page | null {
  const root = parseXml(answer.text);
  const now = dateOf(answer);
  if (root?.name !== "ListBucketResult" || now === null) return null;
  const objects = childrenOf(root, "Contents").map((entry) => readObject(entry, now));
  const isTruncated = textOf(root, "IsTruncated");
  const next = textOf(root, "NextContinuationToken");
  if (isTruncated !== "false" && (isTruncated !== "true" || !next)) return null;
  let before = Buffer.from(last);
  const whole: ListedObject[] = [];
  for (const object of objects) {
    if (object === null || !object.key.startsWith(prefix)) return null;
    const bytes = Buffer.from(object.key);
    if (Buffer.compare(before, bytes) >= 0) return null;
    before = bytes;
    whole.push(object);
  }
  return { objects: whole, next: isTruncated === "true" ? next : null };
}

function readObject(entry: XmlElement, now: number): ListedObject | null {
  const key = textOf(entry, "Key");
  const text = textOf(entry, "LastModified") ?? "";
  const modified = DATE.test(text) ? Date.parse(text) : Number.NaN;
  if (!key || Number.isNaN(modified)) return null;
  return { key, ageMs: Math.max(0, Math.floor(now - modified - CLOCK_STEP_MS)) };
}
