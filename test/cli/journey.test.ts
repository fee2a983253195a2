import assert from "node:assert/strict";
import { test } from "node:test";
import { claimsOf } from "../../cli/claims.ts";
import { advance, concernsNodes, type Journey, type JourneyEvent } from "../../cli/journey.ts";
import { medianOf } from "../../cli/journey-tally.ts";
import { cidrs, list, memoryConfig, node, policy, snapshot, TRAITS } from "../core/cases.ts";
import {
  added,
  after,
  CONVERGED,
  change,
  claim,
  claimAt,
  GRACE_END,
  leaving,
  removed,
  report,
  settled,
  stopOf,
  tallyOf,
  trip,
} from "./journeys.ts";

test("advance() takes the time of each step of a node that joins, and counts it from seen", () => {
  const claims = [claim("a", "203.0.113.1/32"), claim("b", "203.0.113.2/32")];
  const joining: readonly JourneyEvent[] = [
    ...settled(claim("a", "203.0.113.1/32")),
    { kind: "seen", at: 1_000, changes: [change("added", "b")] },
    { kind: "delivered", at: 1_050 },
    { kind: "admitted", at: 1_060, claims },
    added(1_080, "203.0.113.2/32"),
  ];
  const written = trip(after(...joining), "arrival", "b");
  assert.equal(written.end, null, "sent is not there yet");
  assert.equal(stopOf(written).readBackAt, null);
  const journey = after(...joining, {
    kind: "answered",
    at: 1_100,
    ready: ["a", "b"],
    lists: [CONVERGED],
  });
  const arrival = trip(journey, "arrival", "b");
  const { seenAt, deliveredAt, readyAt, end, cause } = arrival;
  const { writtenAt, readBackAt } = stopOf(arrival);
  const times = [seenAt, deliveredAt, writtenAt, readBackAt, readyAt];
  assert.deepEqual(times, [1_000, 1_050, 1_080, 1_100, 1_100]);
  assert.equal(end, "ready");
  assert.equal(cause, "joined");
  assert.deepEqual(journey.nodes, { present: 1, joined: 1, changed: 0, left: 0 });
  const tally = tallyOf(journey);
  assert.deepEqual([tally.added, tally.removed], [2, 0]);
  assert.deepEqual(tally.readBack, { durations: [100], startedMs: 0 });
  assert.deepEqual(journey.tallies.ready, { durations: [100], startedMs: 0 });
});

test("advance() makes no trip of a pod, and knows which writes no node is about", () => {
  const pod = { kind: "pod.added", name: "pay/api-0", uid: "p" };
  const journey = after(
    ...settled(claim("a", "203.0.113.1/32")),
    { kind: "seen", at: 1_000, changes: [pod, { ...pod, kind: "pod.removed" }] },
    added(1_080, "10.2.0.1/32"),
  );
  assert.deepEqual(
    journey.trips.map(({ uid }) => uid),
    ["a"],
  );
  assert.deepEqual(journey.nodes, { present: 1, joined: 0, changed: 0, left: 0 });
  assert.equal(tallyOf(journey).added, 2);
  assert.equal(concernsNodes(journey, cidrs("10.2.0.1")), false);
  assert.equal(concernsNodes(journey, cidrs("10.2.0.1", "203.0.113.1")), true);
  assert.equal(concernsNodes(journey, cidrs("203.0.113.0/24")), true);
});

test("advance() believes neither a write of other addresses nor an answer that does not name the node", () => {
  const journey = after(
    { kind: "listed", at: 0 },
    { kind: "seen", at: 0, changes: [change("added", "a")] },
    { kind: "delivered", at: 50 },
    { kind: "admitted", at: 60, claims: [claim("a", "203.0.113.1/32")] },
    added(80, "203.0.113.2/32"),
    {
      kind: "answered",
      at: 90,
      ready: [],
      lists: [report({ state: "failed", reason: "throttled", add: ["203.0.113.1/32"] })],
    },
  );
  const { writtenAt, readBackAt, end, waits } = stopOf(trip(journey, "arrival", "a"));
  assert.deepEqual([writtenAt, readBackAt, end, waits], [null, null, null, "failed: throttled"]);
  assert.deepEqual(tallyOf(journey).readBack.durations, []);
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
  assert.equal(trip(during, "arrival", "a").end, "ready");
  assert.equal(trip(during, "arrival", "b").admittedAt, null);
  const later = [
    { kind: "delivered", at: 120 },
    { kind: "admitted", at: 130, claims: [a, b] },
    { kind: "answered", at: 140, ready: ["a", "b"], lists: [CONVERGED] },
  ] as const;
  const journey = later.reduce(advance, during);
  assert.equal(trip(journey, "arrival", "b").deliveredAt, 120);
  assert.deepEqual(tallyOf(journey).readBack.durations, [70, 85]);
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
  assert.equal(stopOf(grace).until, Date.parse(GRACE_END));
  const removing: readonly JourneyEvent[] = [...events, removed(12_000, "203.0.113.2/32")];
  assert.equal(trip(after(...removing), "departure", "b").end, null, "not looked at yet");
  const late = { kind: "resynced", at: 12_010, lists: [leaving("203.0.113.2/32")] } as const;
  assert.equal(trip(after(...removing, late), "departure", "b").end, null, "a read that lags");
  const journey = after(...removing, { kind: "resynced", at: 12_010, lists: [CONVERGED] });
  const gone = trip(journey, "departure", "b");
  assert.deepEqual([gone.end, stopOf(gone).writtenAt], ["removed", 12_000]);
  assert.equal(tallyOf(journey).removed, 1);
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
    stopOf(trip(guarded, "departure", "a")).waits,
    "withheld: ratio",
    "also within an aggregate",
  );
});

test("advance() asks the reports of lists without a gate, for which being ready says nothing", () => {
  const ungated = claimAt("a", ["203.0.113.1/32"], [{ gate: false }]);
  const joining: readonly JourneyEvent[] = [
    { kind: "listed", at: 0 },
    { kind: "seen", at: 0, changes: [change("added", "a")] },
    { kind: "delivered", at: 50 },
    { kind: "admitted", at: 60, claims: [ungated] },
  ];
  const answers = [
    [report({ state: "pending", reason: "settling", add: ["203.0.113.1/32"] }), null],
    [report({ state: "failed", reason: "unavailable" }), null],
    [report({ state: "pending", reason: "grace" }), "ready"],
    [CONVERGED, "ready"],
  ] as const;
  for (const [one, end] of answers) {
    const journey = after(...joining, { kind: "answered", at: 70, ready: ["a"], lists: [one] });
    assert.equal(trip(journey, "arrival", "a").end, end, `${one.state} ${one.reason}`);
  }
});

test("advance() keeps what is on its way and forgets old ends", () => {
  let journey = after({ kind: "listed", at: 0 });
  const slow = claim("n0", "203.0.113.2/32");
  for (let index = 0; index < 300; index += 1) {
    const uid = `n${index}`;
    const events = [
      { kind: "seen", at: index, changes: [change("added", uid)] },
      { kind: "delivered", at: index },
      { kind: "admitted", at: index, claims: [claim(uid, "203.0.113.1/32"), slow] },
      { kind: "answered", at: index, ready: index === 0 ? [] : [uid], lists: [CONVERGED] },
    ] as const;
    journey = events.reduce<Journey>(advance, journey);
  }
  assert.equal(journey.trips.length, 201);
  assert.equal(journey.trips[0]?.uid, "n0", "it still waits");
  assert.equal(tallyOf(journey).readBack.durations.length, 299);
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
    list({ name: "open", gate: false, targets: [memoryConfig("two")] }),
    list({ name: "static", sources: [{ kind: "static", cidrs: cidrs("198.51.100.7/32") }] }),
  ];
  const nodes = [node("a", ["203.0.113.1"]), node("b", ["192.0.2.1"]), node("c", [])];
  const traitsOf = () => ({ ...TRAITS, settleMs: 5_000 });
  const claims = claimsOf(snapshot(nodes), { policy: policy(lists), traitsOf, now: 0 });
  const [first, second, ...others] = claims;
  assert.deepEqual(others, []);
  assert.deepEqual(first?.cidrs, ["203.0.113.1/32"]);
  const places = first?.places.map(({ list: name, target, gate }) => [name, target, gate]);
  assert.deepEqual(places, [
    ["db", "memory/one", true],
    ["open", "memory/two", false],
  ]);
  assert.equal(first?.places[0]?.settleMs, 5_000);
  assert.equal(first?.refused, null);
  assert.deepEqual(second?.cidrs, []);
  assert.equal(second?.refused, "refused: out-of-bounds");
});
