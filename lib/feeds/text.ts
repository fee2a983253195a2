import { createHash } from "node:crypto";
import { FEED_ENTRIES_MAX } from "../core/feed.ts";
import { type FeedFormat, fileOf, PLAIN_TEXT } from "./feed.ts";

/**
 * One network on a line, and nothing else: no comment, since not every reader skips one. The prefix
 * length is always there, as in every other format of ours and in AWS's ip-ranges.json: one form
 * for hosts and networks that all of the firewalls read, and that pg_hba.conf and the like insist
 * on.
 */
export const txt: FeedFormat = {
  contentType: PLAIN_TEXT,
  // FortiOS before 7.4.4 reads 131,072 lines or 10 MB ("External threat list resource entry
  // limits", community.fortinet.com), PAN-OS 50,000 addresses of all lists together: a target's
  // own limit is there for the smallest reader.
  entriesMax: FEED_ENTRIES_MAX,
  sets: (entries) => [entries],
  render: ({ entries }) => fileOf(entries),
};

/** The MD5 sum of `txt` in hexadecimal: how Cisco's management center tells that it has changed. */
export const txtMd5: FeedFormat = {
  contentType: PLAIN_TEXT,
  entriesMax: txt.entriesMax,
  sets: txt.sets,
  render: (feed) => fileOf([createHash("md5").update(txt.render(feed)).digest("hex")]),
};
