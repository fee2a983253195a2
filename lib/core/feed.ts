import * as z from "zod/mini";
import { type Cidr, parseCidr, sortCidrs } from "./cidr.ts";
import type { Owner } from "./marker.ts";
import { quote, readStored } from "./problem.ts";
import type { Instant } from "./record.ts";
import { parseTime } from "./snapshot.ts";

/** Most entries that one object of a feed holds: some 4 MB of text at most. */
export const FEED_ENTRIES_MAX = 100_000;

/** What a feed holds from one change of it until the next. */
export interface FeedContent {
  /**
   * The revision that readers see. Never falls and never stands for other entries, also after the
   * store was lost; {@link nextFeed} makes it.
   */
  readonly serial: number;
  /** ISO 8601. */
  readonly changedAt: string;
  /** Sorted, each once. */
  readonly entries: readonly Cidr[];
}

/**
 * What a list's feed is called, and where it begins. The first of its former names decides, so that
 * a renamed list keeps its feed, as it keeps its container elsewhere.
 */
export function feedNameOf({ list, formerly }: Pick<Owner, "list" | "formerly">): string {
  return formerly[0] ?? list;
}

/**
 * The next content. The number of an entry in the log cannot be what readers see: it counts from 1
 * again when the store was lost, and it must stay contiguous, since creating "the next number" is
 * the log's compare-and-swap and two writers with numbers of their own would both succeed. So the
 * serial is a member of the content: one more than before, or the time, whichever is later.
 */
export function nextFeed(
  previous: FeedContent | null,
  entries: Iterable<Cidr>,
  options: { readonly now: Instant },
): FeedContent {
  return {
    serial: Math.max((previous?.serial ?? 0) + 1, Math.floor(options.now / 1_000)),
    changedAt: new Date(options.now).toISOString(),
    entries: sortCidrs(entries),
  };
}

const STORED = z.object({
  serial: z.int().check(z.minimum(1)),
  changedAt: z.string().check(
    z.refine((text) => parseTime(text) !== null, {
      error: ({ input }) => `Cannot read ${quote(String(input))} as a time`,
    }),
  ),
  entries: z.array(z.string()).check(z.maxLength(FEED_ENTRIES_MAX)),
});

/** The `parse` of a feed's log. Throws RangeError with what is wrong: never fewer entries. */
export function parseFeed(stored: unknown): FeedContent {
  const { serial, changedAt, entries } = readStored(STORED, stored);
  const cidrs = entries.map((text, index) => {
    const cidr = parseCidr(text);
    if (cidr === null) throw new RangeError(`entries[${index}]: not a network`);
    return cidr;
  });
  return { serial, changedAt, entries: sortCidrs(cidrs) };
}
