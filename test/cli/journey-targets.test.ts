import assert from "node:assert/strict";
import { test } from "node:test";
import { claimsOf } from "../../cli/claims.ts";
import { advance, type JourneyEvent, START } from "../../cli/journey.ts";
import { linesBetween } from "../../cli/journey-lines.ts";
import { renderTable } from "../../cli/journey-table.ts";
import { type Claim, readBackAt } from "../../cli/journey-trip.ts";
import { labelsOf } from "../../cli/labels.ts";
import { makePaint } from "../../cli/paint.ts";
import { renderSummary, summaryOf } from "../../cli/summary.ts";
import type { Clocks, Slot } from "../../lib/core/record.ts";
import { cidrs, list, memoryConfig, node, policy, snapshot, TRAITS } from "../core/cases.ts";
import { after, change, claimAt, leaving, report, stopOf, tallyOf, trip } from "./journeys.ts";

const GROUP = "aws/security-group/sg-1/tcp-5432";
const RDS = "alibaba/rds/rm-1/k8s";
const FIREWALL = "linode/firewall/1/tcp-5432";
const TARGETS = [GROUP, RDS, FIREWALL];
const LABELS = labelsOf(TARGETS);
const SETTLE_MS = new Map([
  [GROUP, 0],
  [RDS, 60_000],
  [FIREWALL, 5_000],
]);
const A = "203.0.113.1/32";
const B = "203.0.113.2/32";
const plain = makePaint(false);

function claimOf(uid: string, ...texts: readonly string[]): Claim {
  const places = [...SETTLE_MS].map(([target, settleMs]) => ({ target, settleMs }));
  return claimAt(uid, texts, places);
}

/** What is remembered of one target after a run. */
function recorded(at: number, target: string, given: Partial<Slot>): JourneyEvent {
  const slot: Slot = {
    list: "db",
    config: {},
    digest: "",
    desired: "",
    report: report({ target }),
    entries: {},
    unwanted: {},
    removed: {},
    sizes: [],
    failures: 0,
    notBefore: 0,
    checkedAt: at,
    judgedAt: 0,
    claimed: true,
    ...given,
  };
  return { kind: "recorded", at, slots: { [target]: slot } };
}

function holds(at: number, target: string, entries: Clocks): JourneyEvent {
  return recorded(at, target, { entries });
}

function joining(...claims: readonly Claim[]): readonly JourneyEvent[] {
  return [
    { kind: "listed", at: 0 },
    { kind: "seen", at: 0, changes: claims.map(({ uid }) => change("added", uid)) },
    { kind: "delivered", at: 10 },
    { kind: "admitted", at: 20, claims },
  ];
}

const reports = TARGETS.map((target) => report({ target }));

/** Read back everywhere, not in effect everywhere. */
const READ_BACK: readonly JourneyEvent[] = [
  ...joining(claimOf("a", A)),
  holds(45, GROUP, { [A]: 40 }),
  holds(55, FIREWALL, { [A]: 50 }),
  holds(1_105, RDS, { [A]: 1_100 }),
  { kind: "answered", at: 1_110, ready: [], lists: reports },
];

test("advance() follows a node to each target in that target's own time", () => {
  const early = trip(after(...READ_BACK.slice(0, -2)), "arrival", "a");
  assert.deepEqual([stopOf(early, GROUP).readBackAt, stopOf(early, FIREWALL).readBackAt], [40, 50]);
  assert.equal(stopOf(early, RDS).end, null);
  assert.equal(readBackAt(early), null, "not everywhere");
  const journey = after(...READ_BACK);
  const arrival = trip(journey, "arrival", "a");
  assert.equal(readBackAt(arrival), 1_100);
  assert.equal(arrival.end, null, "read back is not ready");
  const medians = TARGETS.map((target) => tallyOf(journey, target).readBack.durations);
  assert.deepEqual(medians, [[40], [1_100], [50]]);
  assert.deepEqual(journey.tallies.ready.durations, []);
});

test("advance() takes nobody's word for ready but the answer's", () => {
  const late = { kind: "answered", at: 99_000, ready: [], lists: reports } as const;
  assert.equal(trip(after(...READ_BACK, late), "arrival", "a").end, null);
  const ready = { kind: "answered", at: 61_200, ready: ["a"], lists: reports } as const;
  const journey = after(...READ_BACK, ready);
  const { end, readyAt } = trip(journey, "arrival", "a");
  assert.deepEqual([end, readyAt, journey.ready], ["ready", 61_200, 1]);
  assert.deepEqual(journey.tallies.ready.durations, [61_200]);
  assert.equal(tallyOf(journey, RDS).readBack.durations.length, 1, "counted once");
});

test("advance() believes no record that does not hold the address, or not yet", () => {
  const start = joining(claimOf("a", A));
  const older = trip(after(...start, holds(40, GROUP, { [B]: 30 })), "arrival", "a");
  assert.equal(stopOf(older, GROUP).end, null, "of a run that began before the snapshot came");
  const doubtful = trip(after(...start, holds(40, GROUP, { [A]: 60_000 })), "arrival", "a");
  assert.equal(stopOf(doubtful, GROUP).end, null, "its removal may still be on its way");
  const wide = trip(after(...start, holds(40, GROUP, { "203.0.113.0/31": 5 })), "arrival", "a");
  assert.equal(stopOf(wide, GROUP).readBackAt, 40, "one network stands for many");
});

test("advance() ends the trip of a node that leaves before it was ready", () => {
  const left: readonly JourneyEvent[] = [
    { kind: "seen", at: 2_000, changes: [change("removed", "a")] },
    { kind: "delivered", at: 2_010 },
    { kind: "admitted", at: 2_020, claims: [] },
  ];
  const journey = after(...READ_BACK, ...left);
  assert.equal(trip(journey, "arrival", "a").end, "overtaken");
  assert.equal(trip(journey, "departure", "a").stops.length, 3);
});

const GONE: readonly JourneyEvent[] = [
  ...joining(claimOf("a", A), claimOf("b", B)),
  ...TARGETS.map((target) => holds(100, target, { [A]: 100, [B]: 100 })),
  { kind: "seen", at: 1_000, changes: [change("removed", "b")] },
  { kind: "delivered", at: 1_010 },
  { kind: "admitted", at: 1_020, claims: [claimOf("a", A)] },
];

function goneFrom(target: string, at: number): readonly JourneyEvent[] {
  const grace = { ...leaving(B), target };
  return [
    recorded(at - 10_000, target, { entries: { [A]: 100 }, report: grace }),
    { kind: "written", at, target, verb: "remove", cidrs: cidrs(B) },
    holds(at + 5, target, { [A]: 100 }),
  ];
}

test("advance() ends a departure when the address is gone from every target", () => {
  const stale = holds(1_030, GROUP, { [A]: 100, [B]: 100 });
  const early = [stale, ...goneFrom(GROUP, 12_000), ...goneFrom(FIREWALL, 12_100)];
  const some = trip(after(...GONE, ...early), "departure", "b");
  assert.deepEqual(
    some.stops.map(({ end }) => end),
    ["removed", null, "removed"],
  );
  assert.equal(some.end, null);
  assert.equal(stopOf(some, RDS).writtenAt, null, "what is written elsewhere says nothing of it");
  const all = trip(after(...GONE, ...early, ...goneFrom(RDS, 22_000)), "departure", "b");
  assert.equal(all.end, "removed");
});

test("advance() leaves a trip alone that nothing new was heard of", () => {
  const journey = after(...GONE);
  const again = TARGETS.map((target) => holds(1_500, target, { [A]: 100, [B]: 100 }));
  const answer = { kind: "answered", at: 1_600, ready: [], lists: [] } as const;
  const next = [...again, answer].reduce(advance, journey);
  for (const [index, one] of next.trips.entries()) assert(one === journey.trips[index], one.node);
});

test("advance() ends the trip of an address that was refused once the node has a better one", () => {
  const refused = { ...claimAt("a", [], []), refused: "refused: out-of-bounds" };
  const events: readonly JourneyEvent[] = [
    ...joining(refused),
    { kind: "seen", at: 500, changes: [change("changed", "a")] },
    { kind: "delivered", at: 510 },
    { kind: "admitted", at: 520, claims: [claimOf("a", A)] },
  ];
  const arrivals = after(...events).trips.filter(({ direction }) => direction === "arrival");
  assert.deepEqual(
    arrivals.map(({ end }) => end),
    ["overtaken", null],
  );
});

test("advance() calls nothing removed that somebody wants again", () => {
  const [grace, written] = goneFrom(GROUP, 12_000);
  assert(grace !== undefined && written !== undefined);
  const back = holds(12_005, GROUP, { [A]: 100, [B]: 12_004 });
  const departure = trip(after(...GONE, grace, written, back), "departure", "b");
  assert.equal(stopOf(departure, GROUP).end, null);
});

test("advance() keeps an address only where somebody else wants it", () => {
  const answer = (...lists: readonly ReturnType<typeof report>[]) =>
    ({ kind: "answered", at: 1_050, ready: [], lists }) as const;
  const grace = [GROUP, FIREWALL].map((target) => ({ ...leaving(B), target }));
  const settling = report({ target: RDS, state: "pending", reason: "settling" });
  const resynced = { kind: "resynced", at: 1_040, lists: [settling] } as const;
  const early = trip(after(...GONE, resynced), "departure", "b");
  assert.equal(stopOf(early, RDS).end, null, "a resync may have judged an older truth");
  const journey = after(...GONE, answer(...grace, settling));
  const departure = trip(journey, "departure", "b");
  assert.equal(stopOf(departure, RDS).end, "kept");
  assert.equal(departure.end, null);
  const both = [...goneFrom(GROUP, 12_000), ...goneFrom(FIREWALL, 12_100)];
  assert.equal(
    trip(after(...GONE, answer(...grace, settling), ...both), "departure", "b").end,
    "removed",
  );
});

test("claimsOf() leaves out targets of another family, and says so of an address without any", () => {
  const targets = [memoryConfig("both"), memoryConfig("four")];
  const traitsOf = ({ name }: { readonly name: string }) =>
    name === "memory/four" ? { ...TRAITS, families: ["ipv4"] as const } : TRAITS;
  const nodes = [node("a", ["203.0.113.1", "2001:db8::1"])];
  const [claim] = claimsOf(snapshot(nodes), {
    policy: policy([list({ targets })]),
    traitsOf,
    now: 0,
  });
  assert.deepEqual(
    claim?.places.map((place) => place.cidrs.length),
    [2, 1],
  );
  const four = policy([list({ targets: targets.slice(1) })]);
  const [lost] = claimsOf(snapshot([node("b", ["2001:db8::2"])]), {
    policy: four,
    traitsOf,
    now: 0,
  });
  assert(lost !== undefined);
  assert.equal(trip(after(...joining(lost)), "arrival", "b").waits, "no target of its family");
});

function linesOf(events: readonly JourneyEvent[]): readonly string[] {
  let journey = START;
  return events.flatMap((event) => {
    const before = journey;
    journey = advance(journey, event);
    return linesBetween(before, journey, LABELS);
  });
}

test("linesBetween() names the targets, and tells apart what was read back and what is ready", () => {
  const ready = { kind: "answered", at: 61_200, ready: ["a"], lists: reports } as const;
  const times = "40 ms on aws, 1.1 s on alibaba, 50 ms on linode";
  assert.deepEqual(linesOf([...READ_BACK, ready]), [
    `+ node-a 203.0.113.1 joined: delivered after 10 ms, read back after ${times}; ` +
      "in effect everywhere in 60 s",
    "+ node-a 203.0.113.1 joined: ready after 61.2 s",
  ]);
  const gone = [
    ...goneFrom(GROUP, 12_000),
    ...goneFrom(FIREWALL, 12_100),
    ...goneFrom(RDS, 22_000),
  ];
  const last = linesOf([...GONE, ...gone]).at(-1);
  const removals = "11 s from aws, 21 s from alibaba, 11.1 s from linode";
  assert.equal(last, `- node-b 203.0.113.2 left: removed after ${removals}`);
});

test("linesBetween() says nothing of ready where that is the same as read back", () => {
  const at = claimAt("a", [A], [{ target: GROUP }]);
  const ready = { kind: "answered", at: 70, ready: ["a"], lists: reports } as const;
  const lines = linesOf([...joining(at), holds(45, GROUP, { [A]: 40 }), ready]);
  const steps = "delivered after 10 ms, was on the target, read back after 40 ms";
  assert.deepEqual(lines, [`+ node-a 203.0.113.1 joined: ${steps}`]);
});

test("linesBetween() says which target holds a node up", () => {
  const failed = report({ target: RDS, state: "failed", reason: "busy" });
  const events = [
    ...joining(claimOf("a", A)),
    holds(45, GROUP, { [A]: 40 }),
    recorded(60, RDS, { report: failed }),
  ];
  assert.deepEqual(linesOf(events), ["+ node-a 203.0.113.1 joined: alibaba failed: busy"]);
});

function screen(events: readonly JourneyEvent[], now: number, columns: number): readonly string[] {
  const about = { labels: LABELS, title: ["cluster eu → db"], notes: [] };
  return renderTable(after(...events), { now, columns, rows: 30, paint: plain, ...about });
}

test("renderTable() has a column for each target, and room for them in 80 columns", () => {
  for (const columns of [80, 120]) {
    const lines = screen(READ_BACK, 21_100, columns);
    const text = lines.join("\n");
    assert.match(text, /^NODE +ADDRESS +EVENT .* AWS +ALIBABA +LINODE +STATE$/m);
    assert.match(
      text,
      /^node-a +203\.0\.113\.1 +joined .* \+40 ms +\+1\.1 s +\+50 ms +ready in 40 s$/m,
    );
    assert.match(text, /^aws\/security-group\S+ +converged +0 +40 ms +40 ms$/m);
    assert.match(text, /^alibaba\/rds\S+ +converged +0 +1\.1 s +1\.1 s$/m);
    assert.equal(text.includes("DELIVERED "), columns === 120);
    for (const line of lines) assert(line.length <= columns, line);
  }
  assert.match(
    screen(READ_BACK.slice(0, -2), 60, 80).join("\n"),
    /\+40 ms +… +\+50 ms +on its way$/m,
  );
  const gone = [...GONE, ...goneFrom(GROUP, 12_000)];
  assert.match(screen(gone, 12_010, 80).join("\n"), /left +\+11 s +… +… +removed from 1 of 3$/m);
});

test("renderTable() keeps rows for nodes on a low terminal before anything else", () => {
  const about = { labels: LABELS, title: ["title"], notes: [] };
  const claims = Array.from({ length: 30 }, (_, index) =>
    claimOf(`n${index}`, `203.0.113.${index}/32`),
  );
  const journey = after(...joining(...claims));
  for (const rows of [6, 12, 24, 50]) {
    const options = { now: 0, columns: 80, rows, paint: plain, ...about };
    const shown = renderTable(journey, options).filter((line) => line.startsWith("node-"));
    assert(shown.length >= Math.min(30, rows / 3), `${shown.length} of ${rows}`);
  }
});

test("labelsOf() takes as much of names as tells them apart", () => {
  assert.deepEqual([...LABELS.values()], ["aws", "alibaba", "linode"]);
  const alike = ["aws/security-group/sg-1/tcp-1", "aws/security-group/sg-2/tcp-1"];
  assert.deepEqual([...labelsOf(alike).values()], ["sg-1", "sg-2"]);
  const mixed = ["aws/security-group/sg-1", "aws/prefix-list/pl-1", "linode/firewall/1"];
  assert.equal(new Set(labelsOf(mixed).values()).size, 3);
  const nested = ["memory/a", "memory/a/b"];
  assert.equal(new Set(labelsOf(nested).values()).size, 2);
  assert.deepEqual([...labelsOf(["memory/one"]).values()], ["memory"]);
  assert.equal(labelsOf([]).size, 0);
});

test("renderSummary() has the times of each target, and says whom readiness waits for", () => {
  const options = { lastedMs: 20_000, settleMs: SETTLE_MS, check: null };
  const summary = summaryOf(after(...READ_BACK), options);
  const text = renderSummary(summary, { labels: LABELS, paint: plain });
  assert.match(text, /^ {4}aws +40 ms +40 ms +1 +– +0 +0$/m);
  assert.match(text, /^ {4}alibaba +1\.1 s +1\.1 s +1 /m);
  assert.match(text, /seen to ready: nobody yet; alibaba takes effect 60 s after it is read back/);
  const ready = { kind: "answered", at: 61_200, ready: ["a"], lists: reports } as const;
  const later = summaryOf(after(...READ_BACK, ready), options);
  const done = renderSummary(later, { labels: LABELS, paint: plain });
  assert.match(done, /seen to ready: median 61\.2 s, worst 61\.2 s of 1/);
});
