import { familyOf } from "../core/cidr.ts";
import { FEED_ENTRIES_MAX } from "../core/feed.ts";
import { type FeedFormat, fileOf } from "./feed.ts";

const VERSION = 1;

/** For programs. Members may be added within one version; an entry stands on a line of its own. */
export const json: FeedFormat = {
  contentType: "application/json",
  entriesMax: FEED_ENTRIES_MAX,
  sets: (entries) => [entries],
  render({ list, serial, changedAt, entries }) {
    const members = {
      version: VERSION,
      list,
      revision: serial,
      changedAt,
      ipv4: entries.filter((cidr) => familyOf(cidr) === "ipv4"),
      ipv6: entries.filter((cidr) => familyOf(cidr) === "ipv6"),
    };
    return fileOf([JSON.stringify(members, null, 2)]);
  },
};
