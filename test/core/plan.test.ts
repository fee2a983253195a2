import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { addressSet } from "../../lib/core/aggregate.ts";
import { type Cidr, sortCidrs } from "../../lib/core/cidr.ts";
import { markerText } from "../../lib/core/marker.ts";
import type { Observation } from "../../lib/core/observation.ts";
import { type PlanQuestion, planChanges } from "../../lib/core/plan.ts";
import { START } from "../virtual-world.ts";
import { cidr, cidrs, entry, hosts, OURS, observation, TRAITS } from "./cases.ts";

const OWNER = { installation: "acme", list: "db", formerly: [] };

function plan(desired: readonly Cidr[], observed: Observation, given: Partial<PlanQuestion> = {}) {
  return planChanges({
    desired: sortCidrs(desired),
    observation: observed,
    traits: TRAITS,
    owner: OWNER,
    removed: {},
    now: START,
    full: false,
    ...given,
  });
}

test("planChanges() adds what is missing and names what is ours and not desired", () => {
  const found = plan(
    hosts(3),
    observation([entry(cidr("203.0.113.3")), entry(cidr("203.0.113.9"))]),
  );
  assert.deepEqual(found.add, hosts(2));
  assert.deepEqual(found.unwanted, cidrs("203.0.113.9"));
  assert.deepEqual(found.missing, hosts(2));
});

test("planChanges() never plans anything for foreign, orphaned or deny entries", () => {
  const others = [
    entry(cidr("192.0.2.1"), null),
    entry(cidr("192.0.2.2"), "by hand"),
    entry(cidr("192.0.2.3"), markerText("acme", "web")),
    entry(cidr("192.0.2.4"), markerText("other", "db")),
    { ...entry(cidr("192.0.2.5")), effect: "deny" } as const,
    entry(cidr("0.0.0.0/0"), null),
  ];
  const found = plan([], observation(others));
  assert.deepEqual([found.add, found.unwanted, found.owned], [[], [], []]);
  assert.equal(found.orphaned, 1);
  assert.equal(found.foreign, 5);
});

test("planChanges() borrows an identical foreign entry, and adds ours beside a wider one", () => {
  const observed = observation([
    entry(cidr("203.0.113.1"), "by hand"),
    entry(cidr("203.0.113.0/24"), "by hand"),
  ]);
  const found = plan(hosts(2), observed);
  assert.deepEqual(found.borrowed, hosts(1));
  assert.deepEqual(found.add, cidrs("203.0.113.2"));
});

test("planChanges() writes nothing when our entries cover exactly what is desired, whatever their shape", () => {
  const observed = observation([entry(cidr("203.0.113.0/30"))]);
  const found = plan(cidrs("203.0.113.0", "203.0.113.1", "203.0.113.2", "203.0.113.3"), observed);
  assert.deepEqual([found.add, found.unwanted, found.missing], [[], [], []]);
});

test("planChanges() narrows a network of ours by adding the parts first", () => {
  const observed = observation([entry(cidr("203.0.113.0/30"))]);
  const desired = cidrs("203.0.113.0", "203.0.113.1", "203.0.113.2");
  const first = plan(desired, observed);
  assert.deepEqual(first.add, desired);
  assert.deepEqual(first.missing, [], "the network still covers them");
  assert.deepEqual([...first.removable], [], "and may not go before they were read back");
  const second = plan(
    desired,
    observation([...observed.entries, ...desired.map((one) => entry(one))]),
  );
  assert.deepEqual([...second.removable], ["203.0.113.0/30"]);
});

test("planChanges() keeps a broader entry of ours where its parts cannot stand beside it", () => {
  const observed = observation([entry(cidr("203.0.113.0/30"))]);
  const found = plan(hosts(2), observed, { traits: { ...TRAITS, overlap: false } });
  assert.deepEqual(found.add, []);
  assert.deepEqual([...found.removable], []);
  assert.deepEqual(found.missing, []);
});

test("planChanges() counts an entry as absent for a minute after its removal, so that it is added again", () => {
  const observed = observation(hosts(1).map((host) => entry(host)));
  const removed = { "203.0.113.1/32": START - 59_999 };
  assert.deepEqual(plan(hosts(1), observed, { removed }).add, hosts(1));
  assert.deepEqual(plan(hosts(1), observed, { removed, now: START + 1 }).add, []);
  const late = plan([], observed, { removed });
  assert.deepEqual([late.unwanted, late.late], [[], hosts(1)]);
});

test("planChanges() aggregates exactly, and only when capacity demands it", () => {
  const room = (limit: number) => [{ families: ["ipv4", "ipv6"] as const, used: 0, limit }];
  const desired = cidrs("203.0.113.0", "203.0.113.1", "203.0.113.2", "203.0.113.3", "203.0.113.9");
  assert.deepEqual(plan(desired, observation([], room(5))).add, desired);
  const tight = plan(desired, observation([], room(4)));
  assert.deepEqual(tight.add, cidrs("203.0.113.0/30", "203.0.113.9"));
  assert.deepEqual(tight.unfit, []);
});

test("planChanges() adds what fits in a stable order, and removes nothing to make room", () => {
  const capacity = [{ families: ["ipv4", "ipv6"] as const, used: 2, limit: 3 }];
  const observed = observation(
    [entry(cidr("203.0.113.99")), entry(cidr("192.0.2.1"), null)],
    capacity,
  );
  const desired = cidrs("203.0.113.1", "203.0.113.3", "203.0.113.5");
  const found = plan(desired, observed);
  assert.deepEqual(found.add, cidrs("203.0.113.1"));
  assert.deepEqual(found.unfit, cidrs("203.0.113.3", "203.0.113.5"));
});

test("planChanges() counts families apart where the backend does", () => {
  const capacity = [
    { families: ["ipv4"] as const, used: 60, limit: 60 },
    { families: ["ipv6"] as const, used: 0, limit: 60 },
  ];
  const found = plan(cidrs("203.0.113.1", "2001:db8::1"), observation([], capacity));
  assert.deepEqual(found.add, cidrs("2001:db8::1"));
  assert.deepEqual(found.unfit, cidrs("203.0.113.1"));
});

test("planChanges() sees a foreign deny entry that beats ours", () => {
  const deny = { cidr: cidr("203.0.113.0/24"), text: null, effect: "deny" } as const;
  const found = plan(hosts(1), observation([...hosts(1).map((host) => entry(host)), deny]));
  assert.deepEqual(found.shadowed, hosts(1));
});

test("planChanges() takes every allow entry of a container or an exclusive target as ours", () => {
  const observed = observation([entry(cidr("192.0.2.1"), "k8s_prod")]);
  for (const marking of ["container", "none"] as const) {
    assert.deepEqual(
      plan([], observed, { traits: { ...TRAITS, marking } }).unwanted,
      cidrs("192.0.2.1"),
    );
  }
});

const SPACE = Array.from({ length: 16 }, (_, index) => `10.0.0.${index}`);
const anyCidr = fc.oneof(
  fc.constantFrom(...SPACE.map((text) => cidr(text))),
  fc.constantFrom(...cidrs("10.0.0.0/31", "10.0.0.4/30", "10.0.0.8/29")),
);
const anyEntry = fc.record({
  cidr: anyCidr,
  text: fc.constantFrom(OURS, "by hand", null, markerText("acme", "web")),
  effect: fc.constantFrom("allow" as const, "allow" as const, "deny" as const),
});

test("planChanges() covers what is desired once applied, adds nothing else, and lets nothing needed go", () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(anyCidr, { maxLength: 10 }),
      fc.uniqueArray(anyEntry, { maxLength: 10, selector: (one) => `${one.cidr} ${one.effect}` }),
      fc.option(fc.integer({ min: 0, max: 12 }), { nil: null }),
      (desired, entries, limit) => {
        const capacity =
          limit === null
            ? []
            : [{ families: ["ipv4", "ipv6"] as const, used: entries.length, limit }];
        const found = plan(desired, observation(entries, capacity));
        const wanted = addressSet(desired);
        for (const added of found.add) assert(wanted.covers(added), `${added} is desired`);
        const allow = entries.filter((one) => one.effect === "allow");
        const ours = new Set<string>(
          allow.filter((one) => one.text === OURS).map((one) => one.cidr),
        );
        for (const gone of found.unwanted) assert(ours.has(gone), `${gone} is ours`);
        const left = allow.filter((one) => !(one.text === OURS && found.removable.has(one.cidr)));
        const before = addressSet(allow.map((one) => one.cidr));
        const after = addressSet(left.map((one) => one.cidr));
        const identical = new Set(allow.map((one) => one.cidr));
        for (const one of desired) {
          const was =
            identical.has(one) || addressSet([...ours].map((text) => cidr(text))).covers(one);
          if (was) assert(before.covers(one) && after.covers(one), `${one} stays covered`);
        }
        if (found.unfit.length === 0) {
          const reached = addressSet([...left.map((one) => one.cidr), ...found.add]);
          for (const one of desired) assert(reached.covers(one), `${one} is reached`);
        }
        if (limit !== null) {
          assert(found.add.length <= Math.max(0, limit - entries.length), "what is added fits");
        }
      },
    ),
    { numRuns: 2_000 },
  );
});
