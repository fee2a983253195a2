import assert from "node:assert/strict";
import test from "node:test";
import { renderStatus } from "../../cli/report-text.ts";
import type { SourceStatus } from "../../lib/survey.ts";

const SUBNET: SourceStatus = {
  source: "aws/subnet/subnet-0a1b",
  cidrs: ["10.0.0.0/24", "2001:db8::/64"],
  free: 1,
  readAt: "2026-11-20T20:58:05.000Z",
  fresh: true,
  message: null,
};

/** The line of one source, without its colours. */
function lineOf(source: SourceStatus): string {
  const status = {
    version: 1,
    installation: "acme",
    at: "2026-11-20T21:00:05.000Z",
    clusters: [],
    sources: [source],
    lists: [],
  } as const;
  const options = {
    paint: (_tone: string, text: string) => text,
    wording: { add: "", remove: "" },
  };
  return renderStatus(status, options).split("\n")[1] ?? "";
}

test("renderStatus() tells of a source what it gives, how much is free, and since when", () => {
  assert.equal(
    lineOf(SUBNET),
    "  source aws/subnet/subnet-0a1b: 10.0.0.0/24, 2001:db8::/64, 1 address free, read 2 min ago",
  );
  const name = { ...SUBNET, source: "dns/nat.example.com", free: null };
  const cidrs = Array.from({ length: 7 }, (_, index) => `8.8.8.${index}/32`);
  assert.equal(
    lineOf({ ...name, cidrs }),
    "  source dns/nat.example.com: 7 networks, read 2 min ago",
  );
});

test("renderStatus() tells why a source is not read, and prints no control characters", () => {
  const message = "Cannot read it: denied\u001b[2J";
  const stale = lineOf({ ...SUBNET, fresh: false, message });
  assert.match(stale, /1 address free, read 2 min ago, stale\. Cannot read it: denied/);
  assert(!stale.includes("\u001b"));
  const never = { ...SUBNET, cidrs: [], free: null, readAt: null, fresh: false };
  assert.equal(lineOf(never), "  source aws/subnet/subnet-0a1b: never read; a resync asks it");
  assert.match(lineOf({ ...never, message }), /: never read\. Cannot read it: denied/);
});
