import type { Bucket } from "../clouds/bucket.ts";
import { checkKey, checkPrefix, isSegment } from "./key.ts";
import { type Store, StoreError } from "./store.ts";

/** What a bucket's failure looks like from here: the fields of a CloudError. */
interface Failure {
  readonly kind: string;
  readonly code: string;
  readonly operation: string;
  readonly message: string;
}

export interface ObjectStoreOptions {
  /** For people: `s3://bucket`. */
  readonly place: string;
  /** In front of every key: "" or what ends in a slash. */
  readonly prefix: string;
  /** Called by the first verb, and again by the next one after it failed. */
  readonly open: () => Promise<Bucket>;
}

const NEVER = new AbortController().signal;

/** A store in a bucket: what the bucket's requests mean, and sentences for their failures. */
export function objectStore({ place, prefix, open }: ObjectStoreOptions): Store {
  let opened: Promise<Bucket> | null = null;
  const bucket = () => {
    opened ??= open();
    opened.catch(() => {
      opened = null;
    });
    return opened;
  };
  const tell = <T>(what: string, work: (bucket: Bucket) => Promise<T>): Promise<T> =>
    told(place, what, async () => work(await bucket()));
  return {
    async put(key, body, signal = NEVER) {
      checkKey(key);
      return tell(`create "${key}"`, (bucket) => bucket.put(prefix + key, body, signal));
    },

    async get(key, signal = NEVER) {
      checkKey(key);
      return tell(`read "${key}"`, (bucket) => bucket.get(prefix + key, signal));
    },

    async list(start, limit, signal = NEVER) {
      checkPrefix(start);
      if (limit <= 0) return [];
      // What else lies in a bucket, a console's folders among it, is not ours to stumble over.
      const isKey = (key: string) => key.slice(prefix.length).split("/").every(isSegment);
      const found = await tell(`list "${start}"`, (bucket) =>
        bucket.list(prefix + start, { limit, isKey, signal }),
      );
      return found.map(({ key, ageMs }) => ({ key: key.slice(prefix.length), ageMs }));
    },

    async delete(key, signal = NEVER) {
      checkKey(key);
      await tell(`delete "${key}"`, (bucket) => bucket.delete(prefix + key, signal));
    },
  };
}

async function told<T>(place: string, what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof StoreError) throw error;
    if (!isFailure(error)) throw error;
    // Refused as a whole, so that it cannot have been done.
    const isFinal = ["denied", "missing", "invalid"].includes(error.kind);
    const message = `Cannot ${what} in ${place}: ${error.message}; ${wayOut(error)}`;
    throw new StoreError(message, { cause: error, isFinal });
  }
}

function isFailure(error: unknown): error is Failure {
  return error instanceof Error && error.name === "CloudError" && "kind" in error;
}

const WAYS_OUT: Readonly<Record<string, string>> = {
  MissingCredentials: "set the vendor's own variables, or store.credentials",
  NoSuchBucket: "create the bucket, or correct store.bucket",
  Overwrites:
    "this endpoint overwrites what exists, which two writers would not survive; use a store that " +
    "knows If-None-Match",
  WrongAges:
    "this endpoint makes objects older than they are, so that a lease would end while it is " +
    "held; set the clock of the proxy before it, or name the storage itself in store.endpoint",
  Unlisted: "this endpoint does not list what it has just taken",
  PermanentRedirect: "the bucket is in another region; correct store.region",
  AuthorizationHeaderMalformed: "the bucket is in another region; correct store.region",
  SecondLevelDomainForbidden: "write the endpoint of the region, without the bucket",
  Versioned:
    "OSS overwrites objects in a bucket that has versions, or had them until they were " +
    "suspended; use a new bucket without",
};

function wayOut({ kind, code, operation }: Failure): string {
  const known = Object.hasOwn(WAYS_OUT, code) ? WAYS_OUT[code] : undefined;
  if (known !== undefined) return known;
  switch (kind) {
    case "denied":
      return `grant ${operation} there to whom these keys belong`;
    case "missing":
      return "look whether the bucket is there";
    case "throttled":
      return "it is asked too often, and is asked again";
    case "invalid":
      return "look at the bucket's settings and at store.endpoint";
    default:
      return "it is asked again";
  }
}
