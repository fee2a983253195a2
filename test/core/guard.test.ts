import assert from "node:assert/strict";
import test from "node:test";
import { type GuardQuestion, guardPlan } from "../../lib/core/guard.ts";
import { START } from "../virtual-world.ts";
import { hosts, REMOVAL, TRAITS } from "./cases.ts";

function guard(owned: number, going: number, given: Partial<GuardQuestion> = {}) {
  const answer = guardPlan({
    list: "payments-db",
    mayGo: hosts(going),
    owned,
    covered: owned - going,
    unwantedNow: going,
    total: owned,
    replaced: () => 0,
    peak: owned - going,
    removal: REMOVAL,
    traits: TRAITS,
    claimed: true,
    unwanted: Object.fromEntries(hosts(going).map((host) => [host, START - 300_000])),
    now: START,
    accepted: null,
    ...given,
  });
  return answer.kind === "allowed" ? answer.go.length : answer.reason;
}

test("guardPlan() lets one or two of three go, and withholds three of three", () => {
  assert.equal(guard(3, 1, { peak: 3 }), 1);
  assert.equal(guard(3, 2, { peak: 3 }), 2);
  assert.equal(guard(3, 3, { peak: 3 }), "ratio");
});

test("guardPlan() keeps the last entry of a list", () => {
  assert.equal(guard(1, 1, { peak: 1 }), "min-remaining");
});

test("guardPlan() withholds the loss of all ten until somebody accepts it", () => {
  assert.equal(guard(10, 10, { peak: 10 }), "ratio");
  assert.equal(guard(10, 10, { peak: 10, accepted: new Set(hosts(10)) }), 10);
});

test("guardPlan() withholds the exchange of ten for ten others in one step", () => {
  assert.equal(guard(20, 10, { peak: 10 }), "ratio");
  assert.equal(guard(20, 10, { peak: 10, accepted: new Set(hosts(10)) }), 10);
});

test("guardPlan() catches creeping: sixty may become forty-two, then not thirty within the hour", () => {
  assert.equal(guard(60, 18, { peak: 60 }), 18);
  assert.equal(guard(42, 12, { peak: 60 }), "shrink");
  assert.equal(guard(42, 12, { peak: 42 }), 12);
});

test("guardPlan() counts what a network of ours stands for, not the network as one", () => {
  const given = { covered: 1, unwantedNow: 1, peak: 64 };
  assert.equal(guard(2, 1, given), "shrink");
  assert.equal(guard(2, 1, { ...given, covered: 60 }), 1);
});

test("guardPlan() honours minRemaining, maxRatio zero still lets two go", () => {
  assert.equal(guard(10, 2, { removal: { ...REMOVAL, minRemaining: 9 } }), "min-remaining");
  assert.equal(guard(10, 2, { removal: { ...REMOVAL, maxRatio: 0 }, peak: 10 }), 2);
  assert.equal(guard(10, 3, { removal: { ...REMOVAL, maxRatio: 0 }, peak: 10 }), "ratio");
});

test("guardPlan() lets nobody open a target or send it a list that it refuses", () => {
  for (const whenEmpty of ["open", "rejected"] as const) {
    const traits = { ...TRAITS, whenEmpty };
    const accepted = new Set(hosts(2));
    assert.equal(guard(2, 2, { traits, accepted }), "would-open");
    assert.equal(guard(2, 2, { traits, accepted, total: 3 }), 2);
    const removal = { ...REMOVAL, acceptAfterMs: 60_000 };
    assert.equal(guard(2, 2, { traits, removal, peak: 2 }), "would-open");
  }
});

test("guardPlan() removes nothing from a container that nobody has claimed, unless accepted", () => {
  const traits = { ...TRAITS, marking: "container" } as const;
  assert.equal(guard(10, 2, { traits, claimed: false }), "first-sync");
  assert.equal(guard(10, 2, { traits, claimed: true }), 2);
  assert.equal(guard(10, 2, { traits, claimed: false, accepted: new Set(hosts(2)) }), 2);
  assert.equal(guard(10, 2, { claimed: false }), 2, "marked entries need no claim");
});

test("guardPlan() carries out exactly what was accepted and refuses any other", () => {
  assert.equal(guard(10, 5, { accepted: new Set(hosts(3)) }), 3);
  assert.equal(guard(10, 5, { accepted: new Set() }), 0);
});

test("guardPlan() lets through what was confirmed for acceptAfter, and only that", () => {
  const removal = { ...REMOVAL, acceptAfterMs: 600_000 };
  const unwanted = Object.fromEntries(
    hosts(8).map((host, index) => [host, START - (index < 3 ? 600_000 : 599_999)]),
  );
  assert.equal(guard(10, 8, { removal, unwanted, peak: 10 }), 3);
});

test("guardPlan() says how many of how many, why, and the way out", () => {
  const answer = guardPlan({
    list: "payments-db",
    mayGo: hosts(41),
    owned: 60,
    covered: 19,
    unwantedNow: 41,
    total: 60,
    replaced: () => 0,
    peak: 60,
    removal: REMOVAL,
    traits: TRAITS,
    claimed: true,
    unwanted: {},
    now: START,
    accepted: null,
  });
  assert.equal(
    answer.kind === "withheld" && answer.message,
    'Cannot remove 41 of 60 entries from "payments-db": guard allows 30 %; look at ' +
      '"plan", then run "sync --accept-removals <plan id>"',
  );
});

test("guardPlan() counts what a removal writes in its place as remaining", () => {
  const rejected = { ...TRAITS, whenEmpty: "rejected" } as const;
  assert.equal(guard(1, 1, { covered: 4, peak: 4 }), "min-remaining");
  assert.equal(guard(1, 1, { covered: 4, peak: 4, traits: rejected, replaced: () => 4 }), 1);
  const accepted = new Set<string>(hosts(1));
  assert.equal(guard(1, 1, { traits: rejected, accepted }), "would-open");
});
