import type { Cidr } from "../core/cidr.ts";
import type { FeedContent } from "../core/feed.ts";

/** A feed as somebody asked for it. */
export interface Feed extends FeedContent {
  /** The name it was asked for by; names on devices are derived from it. */
  readonly list: string;
}

/**
 * One way to write a feed. Pure: the same feed gives the same bytes, ASCII, with LF and a newline
 * at the end.
 */
export interface FeedFormat {
  readonly contentType: string;
  /** Most entries of one set, with the reason or source of the number beside it. */
  readonly entriesMax: number;
  /** The sets that are written, each of which must keep the limit. */
  sets(entries: readonly Cidr[]): readonly (readonly Cidr[])[];
  render(feed: Feed): string;
}

export const PLAIN_TEXT = "text/plain; charset=utf-8";

/** Lines as a file. No line, no byte. */
export function fileOf(lines: readonly string[]): string {
  return lines.map((line) => `${line}\n`).join("");
}
