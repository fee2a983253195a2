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
    known: {},
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

const DISJOINT = { ...TRAITS, overlap: false };

test("planChanges() replaces a broader entry of ours by its parts in one call, where they cannot stand beside it", () => {
  const observed = observation([entry(cidr("203.0.113.0/30")), entry(cidr("203.0.113.9"))]);
  const found = plan(hosts(2), observed, { traits: DISJOINT });
  assert.deepEqual([found.add, found.missing, found.unfit], [[], [], []]);
  assert.deepEqual([...found.removable], cidrs("203.0.113.0/30", "203.0.113.9"));
  assert.deepEqual([...found.replacements], [[cidr("203.0.113.0/30"), hosts(2)]]);
  assert.deepEqual([...plan(hosts(2), observed).replacements], []);
});

test("planChanges() keeps a broader entry whose parts do not fit, and says so", () => {
  const observed = observation(
    [entry(cidr("203.0.113.0/28")), entry(cidr("203.0.113.99"))],
    [{ families: ["ipv4"], used: 2, limit: 3 }],
  );
  const desired = cidrs("203.0.113.1", "203.0.113.4", "203.0.113.9", "203.0.113.99");
  const found = plan(desired, observed, { traits: DISJOINT });
  assert.deepEqual([...found.replacements], []);
  assert.deepEqual([...found.removable], []);
  assert.deepEqual(found.unfit, cidrs("203.0.113.1", "203.0.113.4", "203.0.113.9"));
  // An exact aggregate may fit where its parts do not.
  const adjacent = cidrs("203.0.113.2", "203.0.113.3", "203.0.113.9", "203.0.113.99");
  assert.deepEqual(
    [...plan(adjacent, observed, { traits: DISJOINT }).replacements.values()],
    [cidrs("203.0.113.2/31", "203.0.113.9")],
  );
  const batchMax = 3;
  const large = plan(desired, observation(observed.entries), { traits: { ...DISJOINT, batchMax } });
  assert.deepEqual([...large.removable], []);
});

test("planChanges() writes nothing inside a network that is on its way out, where both may not stand", () => {
  const wide = cidr("203.0.113.0/28");
  const removed = { [wide]: START - 1_000 };
  const observed = observation([entry(wide)]);
  const desired = [...hosts(2), cidr("203.0.113.99")];
  const found = plan(desired, observed, { traits: DISJOINT, removed });
  assert.deepEqual(found.add, cidrs("203.0.113.99"));
  assert.deepEqual(found.gone, [wide]);
  assert.deepEqual(plan(desired, observed, { removed }).add, desired);
});

test("planChanges() exchanges a network for one address, however full the object is", () => {
  const wide = [entry(cidr("203.0.113.0/28")), entry(cidr("203.0.113.99"))];
  const crowded = observation(wide, [{ families: ["ipv4"], used: 9, limit: 2 }]);
  const desired = cidrs("203.0.113.1", "203.0.113.99");
  const { replacements } = plan(desired, crowded, { traits: DISJOINT });
  assert.deepEqual([...replacements.values()], [cidrs("203.0.113.1")]);
});

test("planChanges() never makes everything of halves", () => {
  const halves = cidrs("0.0.0.0/1", "128.0.0.0/1");
  const tight = observation([], [{ families: ["ipv4"], used: 0, limit: 1 }]);
  assert.deepEqual(plan(halves, tight).add, halves.slice(0, 1));
});

test("planChanges() believes no removal of a clock that ran ahead for ever", () => {
  const [host] = hosts(1);
  assert(host !== undefined);
  const observed = observation([entry(host)]);
  const removed = { [host]: START + 3_600_000 };
  assert.deepEqual(plan([host], observed, { removed }).add, []);
});

test("planChanges() spends no room twice, neither on two networks nor on what is added before", () => {
  const wide = [entry(cidr("203.0.113.0/28")), entry(cidr("203.0.113.16/28"))];
  const inside = cidrs("203.0.113.1", "203.0.113.3", "203.0.113.17", "203.0.113.19");
  const room = (limit: number) =>
    observation(wide, [{ families: ["ipv4"], used: wide.length, limit }]);
  const replaced = (desired: readonly Cidr[], limit: number) =>
    [...plan(desired, room(limit), { traits: DISJOINT }).replacements.keys()].length;
  assert.deepEqual([replaced(inside, 4), replaced(inside, 3)], [2, 1]);
  const more = [...inside, cidr("203.0.113.99")];
  assert.deepEqual([replaced(more, 5), replaced(more, 4)], [2, 1]);
});

test("planChanges() adds an aggregate in the place of its parts, where that makes the room it needs", () => {
  const parts = hosts(4, 4);
  const pool = [{ families: ["ipv4"] as const, used: 4, limit: 4 }];
  const full = observation(
    parts.map((one) => entry(one)),
    pool,
  );
  const found = plan([...parts, cidr("203.0.113.20")], full, { traits: DISJOINT });
  assert.deepEqual(found.add, cidrs("203.0.113.4/30", "203.0.113.20"));
  assert.deepEqual(found.unfit, []);
  const first = plan([cidr("203.0.113.1"), ...parts], full, { traits: DISJOINT });
  assert.deepEqual(first.add, cidrs("203.0.113.1", "203.0.113.4/30"), "what makes room goes first");
  const crowded = observation(full.entries, [{ families: ["ipv4"], used: 20, limit: 4 }]);
  const shrinking = plan([...parts, cidr("203.0.113.20")], crowded, { traits: DISJOINT });
  assert.deepEqual(shrinking.add, cidrs("203.0.113.4/30"));
  assert.deepEqual(shrinking.unfit, cidrs("203.0.113.20"));
  // Beside its parts it would need room that is not there.
  assert.deepEqual(plan([...parts, cidr("203.0.113.20")], full).unfit, cidrs("203.0.113.20"));
});

test("planChanges() knows a container of ours by its name, and a stranger's not", () => {
  const traits = { ...TRAITS, marking: "container" } as const;
  const named = (text: string | null) =>
    plan(hosts(1), observation([entry(cidr("203.0.113.1"), text)]), { traits }).marked;
  assert.equal(named(OURS), true);
  assert.equal(named(markerText("acme", "web")), false);
  assert.equal(named("k8s_prod"), false);
  assert.equal(plan([], observation([]), { traits: { ...traits, marking: "none" } }).marked, false);
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

/** What a backend that refuses overlaps holds after a write, or null where it refuses it. */
function written(
  held: readonly Cidr[],
  change: { readonly gone?: Cidr; readonly added: readonly Cidr[] },
): readonly Cidr[] | null {
  const added = addressSet(change.added);
  const kept = held.filter((one) => one !== change.gone && !added.covers(one));
  const broad = addressSet(kept);
  return change.added.some((one) => broad.overlaps(one))
    ? null
    : sortCidrs([...kept, ...change.added]);
}

test("planChanges() brings any disjoint list to what is desired, uncovering nothing on the way", () => {
  const disjoint = fc
    .uniqueArray(anyCidr, { maxLength: 10 })
    .map((all) =>
      all.filter((one) => !all.some((other) => other !== one && addressSet([other]).covers(one))),
    );
  fc.assert(
    fc.property(disjoint, disjoint, fc.integer({ min: 1, max: 12 }), (desired, start, limit) => {
      let held: readonly Cidr[] = sortCidrs(start);
      const now = () => {
        const pool = [{ families: ["ipv4", "ipv6"] as const, used: held.length, limit }];
        const entries = held.map((one) => entry(one));
        return plan(desired, observation(entries, pool), { traits: DISJOINT });
      };
      const step = (change: Parameters<typeof written>[1]) => {
        const before = addressSet(held);
        const next = written(held, change);
        assert(next !== null, "what is planned does not overlap");
        held = next;
        const after = addressSet(held);
        for (const one of desired)
          if (before.covers(one)) assert(after.covers(one), `${one} stays`);
      };
      for (let round = 0; round < 4; round += 1) {
        const { add } = now();
        const most = Math.max(limit, held.length);
        if (add.length > 0) step({ added: add });
        assert(held.length <= most, "what is added fits");
        const found = now();
        const going = found.unwanted.filter((one) => found.removable.has(one));
        for (const gone of going) step({ gone, added: found.replacements.get(gone) ?? [] });
        assert(held.length <= most, "what is replaced fits");
      }
      const end = now();
      if (end.unfit.length > 0) return;
      const wanted = addressSet(desired);
      assert(
        held.every((one) => wanted.covers(one)) &&
          desired.every((one) => addressSet(held).covers(one)),
      );
    }),
    { numRuns: 2_000 },
  );
});
