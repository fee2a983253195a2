import { type FeedContent, feedNameOf } from "../../core/feed.ts";
import type { Owner } from "../../core/marker.ts";
import type { Revision } from "../../core/observation.ts";

/** One log of the store. Its verbs reject with StoreError, also where it cannot be read. */
export interface ContentLog {
  /** Null while nothing was ever written. */
  newest(): Promise<{ readonly revision: number; readonly body: FeedContent } | null>;
  /** Writes number `after + 1`, once; `exists`: someone was faster. */
  append(after: number, body: FeedContent): Promise<{ readonly revision: number } | "exists">;
}

/** What was published last, and where. */
export interface Publication {
  /** Of the log, not what readers see: it says which write came after which. */
  readonly revision: NonNullable<Revision>;
  readonly body: FeedContent;
  readonly place: { readonly name: string; readonly number: number };
}

/** The content of a list's feed, wherever it is kept. Rejects as {@link ContentLog} does. */
export interface FeedLog {
  newest(): Promise<Publication | null>;
  /** Follows `previous`, where it was read, and nothing else. Resolves to its revision. */
  append(previous: Publication | null, body: FeedContent): Promise<string | "exists">;
}

/** Every log that may hold the feed of a list: one for each of its names. */
export function feedLogNames({ list, formerly }: Pick<Owner, "list" | "formerly">) {
  return [...new Set([list, ...formerly])];
}

/**
 * Former names are written down late, and corrected: a list may have published under any of them.
 * So the newest content of all of them counts, and is followed where it stands; no order of names
 * decides, and readers are never set back. All must be readable, since any could be the newest.
 */
export function openFeed(
  owner: Pick<Owner, "list" | "formerly">,
  open: (name: string) => ContentLog,
): FeedLog {
  const logs = feedLogNames(owner).map((name) => ({ name, log: open(name) }));
  return {
    async newest() {
      const found = await Promise.all(
        logs.map(async ({ name, log }) => {
          const newest = await log.newest();
          return newest === null ? [] : [publicationOf(name, newest)];
        }),
      );
      // Sorting is stable: of two with one serial, the first of the names is taken by everybody.
      const [newest] = found.flat().toSorted((a, b) => b.body.serial - a.body.serial);
      return newest ?? null;
    },
    async append(previous, body) {
      const { name, number } = previous?.place ?? { name: feedNameOf(owner), number: 0 };
      const written = await open(name).append(number, body);
      return written === "exists" ? written : revisionOf(name, written.revision);
    },
  };
}

function publicationOf(
  name: string,
  { revision, body }: { readonly revision: number; readonly body: FeedContent },
): Publication {
  return { revision: revisionOf(name, revision), body, place: { name, number: revision } };
}

function revisionOf(name: string, number: number): string {
  return `${name}/${number}`;
}
