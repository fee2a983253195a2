import assert from "node:assert/strict";
import test from "node:test";
import { renderStatus } from "../../cli/report-text.ts";
import { blankReport } from "../../lib/core/report.ts";
import type { SourceStatus, Status } from "../../lib/survey.ts";

const SUBNET: SourceStatus = {
  source: "aws/subnet/subnet-0a1b",
  cidrs: ["10.0.0.0/24", "2001:db8::/64"],
  free: 1,
  readAt: "2026-11-20T20:58:05.000Z",
  fresh: true,
  message: null,
};

/** The lines of a status with only this, without its colours and its head. */
function linesOf(given: Partial<Status>, waiting: readonly string[] = []): readonly string[] {
  const status: Status = {
    version: 1,
    installation: "acme",
    at: "2026-11-20T21:00:05.000Z",
    clusters: [],
    sources: [],
    lists: [],
    ...given,
  };
  const options = {
    paint: (_tone: string, text: string) => text,
    wording: { add: "would be added", remove: "would be removed", waiting },
  };
  return renderStatus(status, options).split("\n").slice(1);
}

const lineOf = (source: SourceStatus) => linesOf({ sources: [source] })[0] ?? "";

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

test("renderStatus() does not call a cluster dead that is retired", () => {
  const nothing = { clusterUid: null, generation: null, nodes: 0, pods: 0, heardAt: null };
  const retired = { cluster: "eu", ...nothing, fresh: true, retired: true };
  const expected = "  cluster eu: retired, it counts as heard without nodes";
  assert.equal(linesOf({ clusters: [retired] })[0], expected);
  const silent = { ...retired, fresh: false, retired: false };
  assert.match(linesOf({ clusters: [silent] })[0] ?? "", /never heard; look at the forwarder/);
});

test("renderStatus() counts a cluster's pods where its forwarder looks at any", () => {
  const heard = { generation: { epoch: 7, sequence: 1 }, heardAt: SUBNET.readAt };
  const eu = { cluster: "eu", clusterUid: "u", nodes: 3, ...heard, fresh: true, retired: false };
  const line = (pods: number) => linesOf({ clusters: [{ ...eu, pods }] })[0];
  assert.equal(line(0), "  cluster eu: 3 nodes, heard 2 min ago, generation 7/1");
  assert.equal(line(12), "  cluster eu: 3 nodes, 12 pods, heard 2 min ago, generation 7/1");
});

test("renderStatus() calls additions withheld that wait for somebody", () => {
  const state = { state: "withheld", reason: "not-heard" } as const;
  const report = { ...blankReport("db", "feed/db"), ...state, add: ["203.0.113.1/32"] };
  const shown = (waiting: readonly string[]) => linesOf({ lists: [report] }, waiting).join("\n");
  assert.match(shown(["feed/db"]), / {2}\+ 203\.0\.113\.1\/32 +withheld: not-heard\n/);
  assert.match(shown([]), / {2}\+ 203\.0\.113\.1\/32 +would be added\n/);
});
