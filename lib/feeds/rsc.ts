import { addressText, type Cidr, FAMILIES, type Family, familyOf } from "../core/cidr.ts";
import { type Feed, type FeedFormat, fileOf, PLAIN_TEXT } from "./feed.ts";
import { addressListName } from "./names.ts";

// RouterOS looks through the whole list for each entry that is there already, so the time grows
// with the square.
const ENTRIES_MAX = 5_000;

/**
 * A script for RouterOS's `/import`. It has no transactions, so: every entry is added, or marked
 * with this revision where it is there already, and only the last lines remove what is not marked.
 * The script stops at the first line that fails; then nothing was removed. No line needs another
 * one's variables, which some versions forget.
 */
export const rsc: FeedFormat = {
  contentType: PLAIN_TEXT,
  entriesMax: ENTRIES_MAX,
  sets: (entries) => [entries],
  render: (feed) =>
    fileOf([
      ...feed.entries.map((cidr) => addition(feed, cidr)),
      ...FAMILIES.map((family) => removal(feed, family)),
    ]),
};

const MENUS: Readonly<Record<Family, string>> = {
  ipv4: "/ip firewall address-list",
  ipv6: "/ipv6 firewall address-list",
};

function addition(feed: Feed, cidr: Cidr): string {
  const menu = MENUS[familyOf(cidr)];
  const name = addressListName(feed.list);
  const address = routerText(cidr);
  const found = `[${menu} find where list="${name}" and address="${address}"]`;
  return (
    `:do { ${menu} add list="${name}" address="${address}" comment="${markOf(feed)}" } ` +
    `on-error={ :if ([:len ${found}] = 0) do={ :error "Cannot add ${address} to ${name}" }; ` +
    `${menu} set ${found} comment="${markOf(feed)}" }`
  );
}

function removal(feed: Feed, family: Family): string {
  const menu = MENUS[family];
  const name = addressListName(feed.list);
  return `${menu} remove [${menu} find where list="${name}" and comment!="${markOf(feed)}"]`;
}

function markOf({ serial }: Feed): string {
  return `kube-allowlist ${serial}`;
}

/** As RouterOS shows it, so that it can be found: hosts of IPv4 without /32, of IPv6 with /128. */
function routerText(cidr: Cidr): string {
  return familyOf(cidr) === "ipv4" ? addressText(cidr) : cidr;
}
