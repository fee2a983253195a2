import type { Feed, FeedFormat } from "./feed.ts";
import { ipset } from "./ipset.ts";
import { ip6tables, iptables } from "./iptables.ts";
import { json } from "./json.ts";
import { nft } from "./nft.ts";
import { rsc } from "./rsc.ts";
import { txt, txtMd5 } from "./text.ts";

/** By what stands behind the list's name in a URL, in ascending order. */
export const formats: Readonly<Record<string, FeedFormat>> = {
  ip6tables,
  ipset,
  iptables,
  json,
  nft,
  rsc,
  txt,
  "txt.md5": txtMd5,
};

/**
 * The largest body of an answer, as it stands in the JSON that a function hands to its platform:
 * AWS Lambda takes 6 MB of it ("Lambda quotas"), headers included.
 */
export const FEED_BYTES_MAX = 6_000_000;

export type Rendering =
  | { readonly kind: "rendered"; readonly body: string }
  /** Too much for this format: never cut. `limit` is in words. */
  | { readonly kind: "too-large"; readonly limit: string };

/** The whole feed in one format, or why it does not fit there. */
export function renderFeed(feed: Feed, format: FeedFormat): Rendering {
  const most = Math.max(...format.sets(feed.entries).map((set) => set.length));
  if (most > format.entriesMax) {
    return { kind: "too-large", limit: `${most} entries, while ${format.entriesMax} are allowed` };
  }
  const body = format.render(feed);
  const bytes = Buffer.byteLength(JSON.stringify(body));
  if (bytes > FEED_BYTES_MAX) {
    return { kind: "too-large", limit: `${bytes} bytes, while ${FEED_BYTES_MAX} are allowed` };
  }
  return { kind: "rendered", body };
}
