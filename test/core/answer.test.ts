import assert from "node:assert/strict";
import test from "node:test";
import { againAfter, readinessOf } from "../../lib/core/answer.ts";
import type { List } from "../../lib/core/list.ts";
import type { Slot } from "../../lib/core/record.ts";
import { blankReport, type Reason, stateOf } from "../../lib/core/report.ts";
import type { Node, Pod } from "../../lib/core/snapshot.ts";
import { START } from "../virtual-world.ts";
import {
  API,
  API_SCOPE,
  cluster,
  EXTERNAL,
  GRACE_MS,
  list,
  node,
  pod,
  policy,
  snapshot,
  TRAITS,
} from "./cases.ts";

function slot(given: Partial<Slot> & { reason?: Reason | null } = {}): Slot {
  const { reason = null, ...rest } = given;
  return {
    list: "db",
    config: {},
    digest: "",
    desired: "",
    report: { ...blankReport("db", "memory/one"), state: stateOf(reason), reason },
    entries: {},
    unwanted: {},
    removed: {},
    sizes: [],
    failures: 0,
    notBefore: 0,
    checkedAt: START,
    judgedAt: START,
    claimed: true,
    ...rest,
  };
}

const readBack = (...texts: string[]) =>
  slot({ entries: Object.fromEntries(texts.map((t) => [t, START])) });

function ready(
  nodes: readonly Node[],
  lists: readonly { list: List; slots: (Slot | null)[]; traits?: Partial<typeof TRAITS> }[],
  now = START,
  pods: readonly Pod[] = [],
) {
  const eu = snapshot(nodes, { scope: { ...API_SCOPE, labels: ["pool"] }, pods });
  const remembered = new Map(
    lists.map((one) => [
      one.list.name,
      one.slots.map((found) => ({
        slot: found === null ? null : { ...found, list: one.list.name },
        traits: { ...TRAITS, ...one.traits },
      })),
    ]),
  );
  return readinessOf(eu, remembered, {
    policy: policy(
      lists.map((one) => one.list),
      [cluster("eu"), cluster("us")],
    ),
    snapshots: { eu },
    now,
  });
}

test("readinessOf() waits until every gating list covers every address of a node", () => {
  const nodes = [node("a", ["203.0.113.1", "203.0.113.2"])];
  const half = { list: list(), slots: [readBack("203.0.113.1/32")] };
  assert.deepEqual(ready(nodes, [half]).ready, []);
  const whole = { list: list(), slots: [readBack("203.0.113.1/32", "203.0.113.2/32")] };
  assert.deepEqual(ready(nodes, [whole]).ready, ["a"]);
  const other = { list: list({ name: "web" }), slots: [null] };
  assert.deepEqual(ready(nodes, [whole, other]).ready, []);
  const optional = { list: list({ name: "web", gate: false }), slots: [null] };
  assert.deepEqual(ready(nodes, [whole, optional]).ready, ["a"]);
});

test("readinessOf() waits for every target of a list", () => {
  const nodes = [node("a", ["203.0.113.1"])];
  const two = { list: list(), slots: [readBack("203.0.113.1/32"), readBack()] };
  assert.deepEqual(ready(nodes, [two]).ready, []);
});

test("readinessOf() does not wait for a family that a target cannot hold, but for one address at least", () => {
  const traits = { families: ["ipv4"] as const };
  const dual = [node("a", ["203.0.113.1", "2001:db8::1"])];
  const covered = { list: list(), slots: [readBack("203.0.113.1/32")], traits };
  assert.deepEqual(ready(dual, [covered]).ready, ["a"]);
  assert.deepEqual(ready([node("a", ["2001:db8::1"])], [covered]).ready, []);
  assert.deepEqual(ready([node("a", [])], [covered]).ready, []);
});

test("readinessOf() holds back a node with a refused address", () => {
  const covered = { list: list(), slots: [readBack("203.0.113.1/32")] };
  assert.deepEqual(ready([node("a", ["203.0.113.1", "198.51.100.1"])], [covered]).ready, []);
});

test("readinessOf() waits until what was read back has settled", () => {
  const one = { list: list(), slots: [readBack("203.0.113.1/32")], traits: { settleMs: 60_000 } };
  const nodes = [node("a", ["203.0.113.1"])];
  assert.deepEqual(ready(nodes, [one], START + 59_999).ready, []);
  assert.deepEqual(ready(nodes, [one], START + 60_000).ready, ["a"]);
});

test("readinessOf() counts a network of ours as covering its addresses", () => {
  const one = { list: list(), slots: [readBack("203.0.113.0/30")] };
  assert.deepEqual(ready([node("a", ["203.0.113.1"])], [one]).ready, ["a"]);
});

test("readinessOf() names nodes that no list selects", () => {
  const pool = list({ sources: [{ ...EXTERNAL, labels: { pool: "payments" } }] });
  const found = ready([node("a", ["203.0.113.1"])], [{ list: pool, slots: [readBack()] }]);
  assert.deepEqual(found, { ready: [], unlisted: ["a"] });
});

test("readinessOf() makes a node wait for a gating list whose labels nobody sent, unless others contradict", () => {
  const labels = { pool: "payments" };
  const nodes = [
    node("a", ["203.0.113.1"], { labels }),
    node("b", ["203.0.113.2"]),
    node("c", ["203.0.113.3"], { labels: { pool: "web", team: "pay" } }),
    node("d", ["203.0.113.4"], { labels: { team: "web" } }),
  ];
  const all = { list: list(), slots: [readBack("203.0.113.0/29")] };
  const asking = (asked: Readonly<Record<string, string>>, given: Partial<List> = {}) => {
    const sources = [{ ...EXTERNAL, labels: asked }];
    return { list: list({ name: "team-db", sources, ...given }), slots: [readBack()] };
  };
  // Node c is known to be selected, and is not on the list; of node d it is known that it is not.
  assert.deepEqual(ready(nodes, [all, asking({ team: "pay" })]), { ready: ["d"], unlisted: [] });
  assert.deepEqual(ready(nodes, [asking({ team: "pay" })]), { ready: [], unlisted: ["d"] });
  const both = asking({ pool: "payments", team: "pay" });
  assert.deepEqual(ready(nodes, [all, both]).ready, ["b", "c", "d"], "only a may be of both");
  assert.deepEqual(ready(nodes, [both]), { ready: [], unlisted: ["b", "c", "d"] });
  const optional = asking({ team: "pay" }, { gate: false });
  assert.deepEqual(ready(nodes, [all, optional]).ready, ["a", "b", "c", "d"]);
  const us = { ...EXTERNAL, cluster: "us", labels: { team: "pay" } };
  const elsewhere = { ...all, list: list({ name: "of-both", sources: [EXTERNAL, us] }) };
  assert.deepEqual(ready(nodes, [all, elsewhere]).ready, ["a", "b", "c", "d"]);
  const pods = asking({}, { sources: [{ ...API, labels: { team: "pay" } }] });
  assert.deepEqual(ready(nodes, [all, pods]).ready, ["a", "b", "c", "d"], "pods never gate");
  // Another of its sources has the node, which is read back; what this one adds nobody knows.
  const either = asking({}, { sources: [EXTERNAL, { ...EXTERNAL, labels: { team: "pay" } }] });
  const found = ready(nodes, [{ ...either, slots: [readBack("203.0.113.0/29")] }]);
  assert.deepEqual(found, { ready: ["c", "d"], unlisted: [] });
});

test("readinessOf() counts no pod: a list of pods makes no node wait and none listed", () => {
  const everyPod = { ...API, labels: {} };
  const pods = { list: list({ name: "pods", sources: [API, everyPod] }), slots: [null] };
  const nodes = [node("a", ["203.0.113.1"]), node("b", ["203.0.113.2"])];
  const theirs = [pod("p", ["10.2.0.9"])];
  assert.deepEqual(ready(nodes, [pods], START, theirs), { ready: [], unlisted: ["a", "b"] });
  const covered = { list: list(), slots: [readBack("203.0.113.1/32")] };
  assert.deepEqual(ready(nodes, [covered, pods], START, theirs), { ready: ["a"], unlisted: [] });
});

test("readinessOf() looks at the nodes of a list that has pods, too, and at their addresses only", () => {
  const mixed = list({ sources: [EXTERNAL, API] });
  const nodes = [node("a", ["203.0.113.1"]), node("b", []), node("c", ["203.0.113.3"])];
  // Neither a refused pod nor one that is not there yet holds a node back; and what a pod has makes
  // no node ready, were it of the same uid.
  const theirs = [pod("p", ["192.168.0.9"]), pod("a", ["10.2.0.9"]), pod("b", ["10.2.0.10"])];
  const slots = [readBack("203.0.113.1/32", "10.2.0.10/32")];
  const found = ready(nodes, [{ list: mixed, slots }], START, theirs);
  assert.deepEqual(found, { ready: ["a"], unlisted: [] });
});

function again(given: Parameters<typeof slot>[0], settleMs = 0, now = START) {
  const found = slot(given);
  const target = {
    list: list(),
    traits: { ...TRAITS, settleMs },
    slot: found,
    report: found.report,
  };
  return againAfter([target], { receivedAt: START, now });
}

test("againAfter() asks for nothing where only time, a person or another cluster helps", () => {
  for (const reason of [
    null,
    "add-only",
    "ratio",
    "stale",
    "full",
    "denied",
    "shadowed",
  ] as const) {
    assert.equal(again({ reason }), null, String(reason));
  }
});

test("againAfter() asks at once for the next batch, and later for a lease", () => {
  assert.equal(again({ reason: "batch" }), 1);
  assert.equal(again({ reason: "contended" }), 5);
});

test("againAfter() waits for what settles and for what asked for time, up to five failures", () => {
  assert.equal(again({ reason: "settling", entries: { a: START - 20_000 } }, 60_000), 40);
  assert.equal(again({ reason: "throttled", failures: 5, notBefore: START + 8_000 }), 8);
  assert.equal(again({ reason: "throttled", failures: 6, notBefore: START + 8_000 }), null);
});

test("againAfter() asks just after a grace that ends later than this snapshot came", () => {
  const since = START - GRACE_MS;
  assert.equal(again({ reason: "grace", unwanted: { a: since + 10_000 } }), 11);
  assert.equal(again({ reason: "grace", unwanted: { a: since } }), null, "it was over already");
  assert.equal(again({ reason: "grace", unwanted: { a: since + 2_000 } }, 0, START + 3_000), 1);
});

test("againAfter() asks for what is missing although a withheld removal stands before it", () => {
  const found = slot({ reason: "ratio" });
  const report = { ...found.report, add: ["203.0.113.9/32"] };
  const target = { list: list(), traits: TRAITS, slot: { ...found, report }, report };
  assert.equal(againAfter([target], { receivedAt: START, now: START }), 1);
});

test("againAfter() asks for nothing while a list may not begin", () => {
  for (const reason of ["not-heard", "out-of-scope"] as const) {
    const found = slot({ reason });
    const report = { ...found.report, add: ["203.0.113.9/32"] };
    const target = { list: list(), traits: TRAITS, slot: { ...found, report }, report };
    const at = { receivedAt: START, now: START };
    assert.equal(againAfter([target], at), null);
    const begun = { ...report, owned: 1 };
    assert.equal(againAfter([{ ...target, report: begun }], at), 1);
  }
});

test("againAfter() stays within one second and five minutes", () => {
  assert.equal(again({ reason: "grace", unwanted: { a: START + 86_400_000 } }), 300);
  assert.equal(again({ reason: "throttled", failures: 1, notBefore: START }), 1);
});
