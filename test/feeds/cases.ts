import fc from "fast-check";
import { type Cidr, parseCidr } from "../../lib/core/cidr.ts";
import { nextFeed } from "../../lib/core/feed.ts";
import type { Feed, FeedFormat } from "../../lib/feeds/feed.ts";
import { formats } from "../../lib/feeds/formats.ts";
import { cidrs } from "../core/cases.ts";
import { START } from "../virtual-world.ts";

/** Hosts and networks of both families, some of them inside each other, in no order. */
export const MIXED: readonly Cidr[] = cidrs(
  "2001:db8::1/128",
  "203.0.113.16/32",
  "10.2.0.0/24",
  "203.0.113.7/32",
  "10.2.0.9/32",
  "2001:db8:5::/48",
);

export function feedOf(entries: readonly Cidr[], list = "payments-db"): Feed {
  return { list, ...nextFeed(null, entries, { now: START }) };
}

export function formatNamed(name: string): FeedFormat {
  const format = formats[name];
  if (format === undefined) throw new Error(`Cannot find the format ${name}`);
  return format;
}

export function render(name: string, feed: Feed): string {
  return formatNamed(name).render(feed);
}

/** Any network of either family, from /8 and /16 on. */
export const anyCidr: fc.Arbitrary<Cidr> = fc
  .oneof(
    fc.tuple(fc.ipV4(), fc.integer({ min: 8, max: 32 })),
    fc.tuple(fc.ipV6(), fc.integer({ min: 16, max: 128 })),
  )
  .map(([address, length]) => parseCidr(`${address}/${length}`))
  .filter((cidr) => cidr !== null);

/** Names as the configuration takes them. */
export const anyListName: fc.Arbitrary<string> = fc.stringMatching(
  /^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$/,
);
