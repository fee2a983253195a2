import { type Family, familyOf } from "../core/cidr.ts";
import { type FeedFormat, fileOf, PLAIN_TEXT } from "./feed.ts";
import { chainName } from "./names.ts";

// Every packet walks the whole chain: 10,000 rules are replaced in a fifth of a second, and more
// belong into a set.
const ENTRIES_MAX = 10_000;

/**
 * A file for `iptables-restore --noflush` or `ip6tables-restore --noflush`, which replaces the
 * list's own chain in one step and leaves every other as it is. Without its last line nothing is
 * carried out.
 */
function restoreFile(family: Family): FeedFormat {
  return {
    contentType: PLAIN_TEXT,
    entriesMax: ENTRIES_MAX,
    sets: (entries) => [entries.filter((cidr) => familyOf(cidr) === family)],
    render({ list, entries }) {
      const chain = chainName(list);
      return fileOf([
        "*filter",
        `:${chain} - [0:0]`,
        ...entries
          .filter((cidr) => familyOf(cidr) === family)
          .map((cidr) => `-A ${chain} -s ${cidr} -j ACCEPT`),
        "COMMIT",
      ]);
    },
  };
}

/** The two programs take one family each, so each has a file. */
export const iptables: FeedFormat = restoreFile("ipv4");
export const ip6tables: FeedFormat = restoreFile("ipv6");
