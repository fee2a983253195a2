import { FAMILIES, type Family, familyOf } from "../core/cidr.ts";
import { type Feed, type FeedFormat, fileOf, PLAIN_TEXT } from "./feed.ts";
import { ipsetName, ipsetNextName } from "./names.ts";

// The default `maxelem` (ipset(8)), written out all the same: it is part of what makes a set.
const ENTRIES_MAX = 65_536;

/**
 * A file for `ipset restore`. Each line is a command of its own, so both sets are filled under
 * other names first; the last lines put them in the place of those in use. What stops before
 * changes nothing that is in use, and what it left behind is flushed by the next one.
 */
export const ipset: FeedFormat = {
  contentType: PLAIN_TEXT,
  entriesMax: ENTRIES_MAX,
  sets: (entries) => FAMILIES.map((family) => entries.filter((cidr) => familyOf(cidr) === family)),
  render: (feed) =>
    fileOf([
      ...FAMILIES.flatMap((family) => filling(feed, family)),
      ...FAMILIES.map(
        (family) => `swap ${ipsetNextName(feed.list, family)} ${ipsetName(feed.list, family)}`,
      ),
      ...FAMILIES.map((family) => `destroy ${ipsetNextName(feed.list, family)}`),
    ]),
};

function filling({ list, entries }: Feed, family: Family): readonly string[] {
  const next = ipsetNextName(list, family);
  const type = `hash:net family ${family === "ipv4" ? "inet" : "inet6"} maxelem ${ENTRIES_MAX}`;
  return [
    `create ${ipsetName(list, family)} ${type} -exist`,
    `create ${next} ${type} -exist`,
    `flush ${next}`,
    ...entries.filter((cidr) => familyOf(cidr) === family).map((cidr) => `add ${next} ${cidr}`),
  ];
}
