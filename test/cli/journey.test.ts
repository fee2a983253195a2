import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { claimsOf } from "../../cli/claims.ts";
import {
  advance,
  type Claim,
  type Journey,
  type JourneyEvent,
  medianOf,
  START,
  type Trip,
} from "../../cli/journey.ts";
import { linesBetween } from "../../cli/journey-lines.ts";
import { renderTable } from "../../cli/journey-table.ts";
import { makePaint } from "../../cli/paint.ts";
import { blankReport, type ListReport } from "../../lib/core/report.ts";
import { cidrs, list, node, policy, snapshot } from "../core/cases.ts";

const GRACE_END = "2026-11-20T21:00:10.000Z";
const CONVERGED: ListReport = {
  ...blankReport("db", "memory/one"),
  state: "converged",
  reason: null,
};

function report(given: Partial<ListReport> = {}): ListReport {
  return { ...CONVERGED, ...given };
}

function leaving(...entries: readonly string[]): ListReport {
  const clock = { since: "2026-11-20T21:00:00.000Z", until: GRACE_END };
  return report({
    state: "pending",
    reason: "grace",
    leaving: entries.map((cidr) => ({ cidr, ...clock })),
  });
}

function claim(uid: string, ...texts: readonly string[]): Claim {
  return { uid, node: `node-${uid}`, cidrs: cidrs(...texts), ungated: [], refused: null };
}

function change(kind: "added" | "changed" | "removed", uid: string) {
  return { kind: `node.${kind}`, name: `node-${uid}`, uid };
}

function after(...events: readonly JourneyEvent[]): Journey {
  return events.reduce(advance, START);
}

/** A cluster of these nodes, read back, at time 0. */
function settled(...claims: readonly Claim[]): readonly JourneyEvent[] {
  const changes = claims.map(({ uid }) => change("added", uid));
  return [
    { kind: "seen", at: 0, changes },
    { kind: "listed", at: 0 },
    { kind: "delivered", at: 0 },
    { kind: "admitted", at: 0, claims },
    { kind: "written", at: 0, verb: "add", cidrs: claims.flatMap((one) => one.cidrs) },
    { kind: "answered", at: 0, ready: claims.map(({ uid }) => uid), lists: [CONVERGED] },
  ];
}

function trip(journey: Journey, direction: Trip["direction"], uid: string): Trip {
  const found = journey.trips.findLast((one) => one.direction === direction && one.uid === uid);
  assert(found !== undefined, `${direction} of ${uid}`);
  return found;
}

test("advance() takes the time of each step of a node that joins, and counts it from seen", () => {
  const claims = [claim("a", "203.0.113.1/32"), claim("b", "203.0.113.2/32")];
  const joining: readonly JourneyEvent[] = [
    ...settled(claim("a", "203.0.113.1/32")),
    { kind: "seen", at: 1_000, changes: [change("added", "b")] },
    { kind: "delivered", at: 1_050 },
    { kind: "admitted", at: 1_060, claims },
    { kind: "written", at: 1_080, verb: "add", cidrs: cidrs("203.0.113.2/32") },
  ];
  const written = trip(after(...joining), "arrival", "b");
  assert.equal(written.end, null, "sent is not there yet");
  assert.equal(written.readBackAt, null);
  const journey = after(...joining, {
    kind: "answered",
    at: 1_100,
    ready: ["a", "b"],
    lists: [CONVERGED],
  });
  const { seenAt, deliveredAt, writtenAt, readBackAt, end, cause } = trip(journey, "arrival", "b");
  assert.deepEqual([seenAt, deliveredAt, writtenAt, readBackAt], [1_000, 1_050, 1_080, 1_100]);
  assert.equal(end, "read-back");
  assert.equal(cause, "joined");
  assert.deepEqual(journey.durations, [100]);
  assert.deepEqual(journey.nodes, { present: 1, joined: 1, changed: 0, left: 0 });
  assert.deepEqual(journey.rules, { added: 2, removed: 0 });
});

test("advance() believes neither a write of other addresses nor an answer that does not name the node", () => {
  const journey = after(
    { kind: "listed", at: 0 },
    { kind: "seen", at: 0, changes: [change("added", "a")] },
    { kind: "delivered", at: 50 },
    { kind: "admitted", at: 60, claims: [claim("a", "203.0.113.1/32")] },
    { kind: "written", at: 80, verb: "add", cidrs: cidrs("203.0.113.2/32") },
    {
      kind: "answered",
      at: 90,
      ready: [],
      lists: [report({ state: "failed", reason: "throttled", add: ["203.0.113.1/32"] })],
    },
  );
  const { writtenAt, readBackAt, end, waits } = trip(journey, "arrival", "a");
  assert.deepEqual([writtenAt, readBackAt, end, waits], [null, null, null, "failed: throttled"]);
  assert.deepEqual(journey.durations, []);
});

test("advance() counts the POST that was admitted, not those that failed before it", () => {
  const journey = after(
    { kind: "listed", at: 0 },
    { kind: "seen", at: 0, changes: [change("added", "a")] },
    { kind: "delivered", at: 50 },
    { kind: "delivered", at: 900 },
    { kind: "admitted", at: 910, claims: [claim("a", "203.0.113.1/32")] },
    { kind: "delivered", at: 2_000 },
  );
  assert.equal(trip(journey, "arrival", "a").deliveredAt, 900);
});

test("advance() leaves what was seen during a POST to the next one", () => {
  const a = claim("a", "203.0.113.1/32");
  const b = claim("b", "203.0.113.2/32");
  const during = after(
    { kind: "listed", at: 0 },
    { kind: "seen", at: 0, changes: [change("added", "a")] },
    { kind: "delivered", at: 50 },
    { kind: "seen", at: 55, changes: [change("added", "b")] },
    { kind: "admitted", at: 60, claims: [a] },
    { kind: "answered", at: 70, ready: ["a"], lists: [CONVERGED] },
  );
  assert.equal(trip(during, "arrival", "a").end, "read-back");
  assert.equal(trip(during, "arrival", "b").admittedAt, null);
  const later = [
    { kind: "delivered", at: 120 },
    { kind: "admitted", at: 130, claims: [a, b] },
    { kind: "answered", at: 140, ready: ["a", "b"], lists: [CONVERGED] },
  ] as const;
  const journey = later.reduce(advance, during);
  assert.equal(trip(journey, "arrival", "b").deliveredAt, 120);
  assert.deepEqual(journey.durations, [70, 85]);
});

test("advance() follows a node that leaves through its grace until the reports know nothing of it", () => {
  const events: readonly JourneyEvent[] = [
    ...settled(claim("a", "203.0.113.1/32"), claim("b", "203.0.113.2/32")),
    { kind: "seen", at: 1_000, changes: [change("removed", "b")] },
    { kind: "delivered", at: 1_050 },
    { kind: "admitted", at: 1_060, claims: [claim("a", "203.0.113.1/32")] },
    { kind: "answered", at: 1_070, ready: ["a"], lists: [leaving("203.0.113.2/32")] },
  ];
  const grace = trip(after(...events), "departure", "b");
  assert.equal(grace.end, null);
  assert.equal(grace.until, Date.parse(GRACE_END));
  const removing: readonly JourneyEvent[] = [
    ...events,
    { kind: "written", at: 12_000, verb: "remove", cidrs: cidrs("203.0.113.2/32") },
  ];
  assert.equal(trip(after(...removing), "departure", "b").end, null, "not looked at yet");
  const late = { kind: "resynced", at: 12_010, lists: [leaving("203.0.113.2/32")] } as const;
  assert.equal(trip(after(...removing, late), "departure", "b").end, null, "a read that lags");
  const journey = after(...removing, { kind: "resynced", at: 12_010, lists: [CONVERGED] });
  const gone = trip(journey, "departure", "b");
  assert.deepEqual([gone.end, gone.writtenAt], ["removed", 12_000]);
  assert.equal(journey.rules.removed, 1);
});

test("advance() makes of a changed address one that comes and one that goes", () => {
  const journey = after(
    ...settled(claim("a", "203.0.113.1/32", "203.0.113.9/32")),
    { kind: "seen", at: 1_000, changes: [change("changed", "a")] },
    { kind: "delivered", at: 1_050 },
    { kind: "admitted", at: 1_060, claims: [claim("a", "203.0.113.9/32", "203.0.113.5/32")] },
  );
  assert.deepEqual(trip(journey, "arrival", "a").cidrs, ["203.0.113.5/32"]);
  assert.deepEqual(trip(journey, "departure", "a").cidrs, ["203.0.113.1/32"]);
});

test("advance() shows nothing of a change that concerns no list", () => {
  const claims = [claim("a", "203.0.113.1/32")];
  const journey = after(
    ...settled(...claims),
    { kind: "seen", at: 1_000, changes: [change("changed", "a"), change("added", "unlisted")] },
    { kind: "delivered", at: 1_050 },
    { kind: "admitted", at: 1_060, claims },
  );
  const ends = journey.trips.filter(({ seenAt }) => seenAt === 1_000).map(({ end }) => end);
  assert.deepEqual(ends, ["nothing", "nothing", "nothing"]);
});

test("advance() lets no address go that another node wants, or wants again", () => {
  const moved = after(
    ...settled(claim("a", "203.0.113.1/32")),
    { kind: "seen", at: 1_000, changes: [change("removed", "a"), change("added", "b")] },
    { kind: "delivered", at: 1_050 },
    { kind: "admitted", at: 1_060, claims: [claim("b", "203.0.113.1/32")] },
  );
  assert.equal(trip(moved, "departure", "a").end, "kept");
  const back = after(
    ...settled(claim("a", "203.0.113.1/32")),
    { kind: "seen", at: 1_000, changes: [change("removed", "a")] },
    { kind: "delivered", at: 1_050 },
    { kind: "admitted", at: 1_060, claims: [] },
    { kind: "answered", at: 1_070, ready: [], lists: [leaving("203.0.113.1/32")] },
    { kind: "seen", at: 2_000, changes: [change("added", "c")] },
    { kind: "delivered", at: 2_050 },
    { kind: "admitted", at: 2_060, claims: [claim("c", "203.0.113.1/32")] },
  );
  assert.equal(trip(back, "departure", "a").end, "kept");
});

test("advance() says so when an address stays because others want it, and when a guard withholds it", () => {
  const gone: readonly JourneyEvent[] = [
    ...settled(claim("a", "203.0.113.1/32")),
    { kind: "seen", at: 1_000, changes: [change("removed", "a")] },
    { kind: "delivered", at: 1_050 },
    { kind: "admitted", at: 1_060, claims: [] },
  ];
  const kept = after(...gone, { kind: "answered", at: 1_070, ready: [], lists: [CONVERGED] });
  assert.equal(trip(kept, "departure", "a").end, "kept");
  const unread = report({ state: "failed", reason: "unavailable" });
  const unknown = after(...gone, { kind: "answered", at: 1_070, ready: [], lists: [unread] });
  assert.equal(trip(unknown, "departure", "a").end, null, "an old report proves nothing");
  const withheld = report({ state: "withheld", reason: "ratio", remove: ["203.0.113.0/31"] });
  const guarded = after(...gone, { kind: "resynced", at: 9_000, lists: [withheld] });
  assert.equal(
    trip(guarded, "departure", "a").waits,
    "withheld: ratio",
    "also within an aggregate",
  );
});

test("advance() asks the reports of lists without a gate, for which being ready says nothing", () => {
  const ungated = { ...claim("a", "203.0.113.1/32"), ungated: ["db"] };
  const joining: readonly JourneyEvent[] = [
    { kind: "listed", at: 0 },
    { kind: "seen", at: 0, changes: [change("added", "a")] },
    { kind: "delivered", at: 50 },
    { kind: "admitted", at: 60, claims: [ungated] },
  ];
  const answers = [
    [report({ state: "pending", reason: "settling", add: ["203.0.113.1/32"] }), null],
    [report({ state: "failed", reason: "unavailable" }), null],
    [report({ state: "pending", reason: "grace" }), "read-back"],
    [CONVERGED, "read-back"],
  ] as const;
  for (const [one, end] of answers) {
    const journey = after(...joining, { kind: "answered", at: 70, ready: ["a"], lists: [one] });
    assert.equal(trip(journey, "arrival", "a").end, end, `${one.state} ${one.reason}`);
  }
});

test("advance() keeps what is on its way and forgets old ends", () => {
  let journey = after({ kind: "listed", at: 0 });
  for (let index = 0; index < 300; index += 1) {
    const uid = `n${index}`;
    const events = [
      { kind: "seen", at: index, changes: [change("added", uid)] },
      { kind: "delivered", at: index },
      { kind: "admitted", at: index, claims: [claim(uid, "203.0.113.1/32")] },
      { kind: "answered", at: index, ready: index === 0 ? [] : [uid], lists: [CONVERGED] },
    ] as const;
    journey = events.reduce<Journey>(advance, journey);
  }
  assert.equal(journey.trips.length, 201);
  assert.equal(journey.trips[0]?.uid, "n0", "it still waits");
  assert.equal(journey.durations.length, 299);
});

test("medianOf() is the middle, or the mean of both middles", () => {
  assert.equal(medianOf([]), null);
  assert.equal(medianOf([7]), 7);
  assert.equal(medianOf([100, 9, 20]), 20);
  assert.equal(medianOf([100, 9, 20, 30]), 25);
});

test("claimsOf() is what a cluster's nodes want, with what is refused of it", () => {
  const lists = [
    list({ name: "db" }),
    list({ name: "open", gate: false }),
    list({ name: "static", sources: [{ kind: "static", cidrs: cidrs("198.51.100.7/32") }] }),
  ];
  const nodes = [node("a", ["203.0.113.1"]), node("b", ["192.0.2.1"]), node("c", [])];
  const claims = claimsOf(snapshot(nodes), policy(lists), 0);
  const [first, second, ...others] = claims;
  assert.deepEqual(others, []);
  assert.deepEqual(first?.cidrs, ["203.0.113.1/32"]);
  assert.deepEqual(first?.ungated, ["open"]);
  assert.equal(first?.refused, null);
  assert.deepEqual(second?.cidrs, []);
  assert.equal(second?.refused, "refused: out-of-bounds");
});

const DEPARTED: readonly JourneyEvent[] = [
  ...settled(claim("a", "203.0.113.1/32"), claim("b", "203.0.113.2/32", "2001:db8::2/128")),
  { kind: "seen", at: 1_000, changes: [change("removed", "b"), change("added", "c")] },
  { kind: "delivered", at: 1_050 },
  {
    kind: "admitted",
    at: 1_060,
    claims: [claim("a", "203.0.113.1/32"), claim("c", "203.0.113.3/32")],
  },
  { kind: "written", at: 1_080, verb: "add", cidrs: cidrs("203.0.113.3/32") },
  {
    kind: "answered",
    at: 1_095,
    ready: ["a", "c"],
    lists: [leaving("203.0.113.2/32", "2001:db8::2/128")],
  },
  {
    kind: "written",
    at: 12_000,
    verb: "remove",
    cidrs: cidrs("203.0.113.2/32", "2001:db8::2/128"),
  },
  { kind: "resynced", at: 12_010, lists: [CONVERGED] },
];

function linesOf(events: readonly JourneyEvent[]): readonly string[] {
  let journey = START;
  return events.flatMap((event) => {
    const before = journey;
    journey = advance(journey, event);
    return linesBetween(before, journey);
  });
}

test("linesBetween() tells each trip once when it begins to wait and once at its end", () => {
  const lines = linesOf(DEPARTED).map((line) => line.replace(/\d\d:\d\d:\d\d/, "CLOCK"));
  assert.deepEqual(lines, [
    "+ node-a 203.0.113.1 present: delivered after 0 ms, added after 0 ms, read back after 0 ms",
    "+ node-b 203.0.113.2 +1 present: delivered after 0 ms, added after 0 ms, read back after 0 ms",
    "- node-b 203.0.113.2 +1 left: delivered after 50 ms, in grace until CLOCK",
    "+ node-c 203.0.113.3 joined: delivered after 50 ms, added after 80 ms, read back after 95 ms",
    "- node-b 203.0.113.2 +1 left: removed after 11 s",
  ]);
});

test("linesBetween() tells many that go the same way at once in one line", () => {
  const claims = Array.from({ length: 100 }, (_, index) =>
    claim(`n${index}`, `203.0.113.${index + 1}/32`),
  );
  assert.deepEqual(linesOf(settled(...claims)), [
    "+ 100 nodes present: delivered after 0 ms, added after 0 ms, read back after 0 ms",
  ]);
});

const plain = makePaint(false);

test("renderTable() shows where each node is, with a legend and the counts", () => {
  const render = (events: readonly JourneyEvent[], now: number) =>
    renderTable(after(...events), {
      now,
      columns: 120,
      rows: 40,
      paint: plain,
      title: ["cluster eu → db"],
      notes: ["a note"],
    });
  const grace = render(DEPARTED.slice(0, -2), Date.parse(GRACE_END) - 2_500).join("\n");
  assert.match(grace, /^cluster eu → db\n/);
  assert.match(grace, /READ BACK: the answer says that it is there/);
  assert.match(grace, /node-b +203\.0\.113\.2 \+1 +left +\S+ +\+50 ms +– +in grace for 3 s\n/);
  assert.match(grace, /node-c +203\.0\.113\.3 +joined +\S+ +\+50 ms +\+80 ms +\+95 ms\n/);
  assert.match(grace, /2 nodes listed · at the start 2, joined 1, changed 0, left 1/);
  assert.match(grace, /\na note$/);
  assert.match(render(DEPARTED, 13_000).join("\n"), /node-b .* removed \+11 s/);
});

test("renderTable() fits any terminal", () => {
  const claims = Array.from({ length: 60 }, (_, index) =>
    claim(`n${index}-${"x".repeat(40)}`, `203.0.113.${index + 1}/32`),
  );
  const journey = after(...settled(...claims));
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 200 }),
      fc.integer({ min: 1, max: 60 }),
      (columns, rows) => {
        const title = ["t".repeat(300), "second"];
        const options = { now: 0, columns, rows, paint: plain, title, notes: ["n".repeat(300)] };
        const lines = renderTable(journey, options);
        for (const line of lines) assert(line.length <= columns, `${line.length} of ${columns}`);
        assert(lines.length <= Math.max(1, rows - 1), `${lines.length} of ${rows}`);
      },
    ),
    { numRuns: 200 },
  );
});

test("renderTable() lets no name drive the terminal", () => {
  const evil = { ...claim("a", "203.0.113.1/32"), node: "a" };
  const journey = after(...settled(evil));
  const trips = journey.trips.map((one) => ({ ...one, node: "a\u001b[2Jb\nc" }));
  const options = { now: 0, columns: 100, rows: 30, paint: plain, title: [], notes: [] };
  const text = renderTable({ ...journey, trips }, options).join("|");
  assert(!text.includes("\u001b") && !text.includes("\n"), JSON.stringify(text));
});

test("renderTable() has colours only where they are wanted", () => {
  const options = { now: 0, columns: 100, rows: 30, title: ["t"], notes: [] };
  const journey = after(...DEPARTED);
  const coloured = renderTable(journey, { ...options, paint: makePaint(true) }).join("\n");
  assert(coloured.includes("\u001b[32m"));
  // biome-ignore lint/suspicious/noControlCharactersInRegex: it is what a terminal is sent
  const bare = coloured.replaceAll(/\u001b\[\d+m/g, "");
  const uncoloured = renderTable(journey, { ...options, paint: plain }).join("\n");
  assert.equal(bare.replaceAll(/ +$/gm, ""), uncoloured.replaceAll(/ +$/gm, ""));
});
