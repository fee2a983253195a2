import assert from "node:assert/strict";
import { advance, type Journey, type JourneyEvent, START } from "../../cli/journey.ts";
import type { Place, Stop } from "../../cli/journey-stops.ts";
import type { TargetTally } from "../../cli/journey-tally.ts";
import type { Claim, Trip } from "../../cli/journey-trip.ts";
import { labelsOf } from "../../cli/labels.ts";
import { blankReport, type ListReport } from "../../lib/core/report.ts";
import { cidrs } from "../core/cases.ts";

/** Journeys that tests share: clusters, targets and what is heard of them. */

export const GRACE_END = "2026-11-20T21:00:10.000Z";
export const CONVERGED: ListReport = {
  ...blankReport("db", "memory/one"),
  state: "converged",
  reason: null,
};

export function report(given: Partial<ListReport> = {}): ListReport {
  return { ...CONVERGED, ...given };
}

export function leaving(...entries: readonly string[]): ListReport {
  const clock = { since: "2026-11-20T21:00:00.000Z", until: GRACE_END };
  return report({
    state: "pending",
    reason: "grace",
    leaving: entries.map((cidr) => ({ cidr, ...clock })),
  });
}

export const TARGET = "memory/one";
export const LABELS = labelsOf([TARGET]);

export function place(given: Partial<Place>): Place {
  return { list: "db", target: TARGET, gate: true, settleMs: 0, cidrs: [], ...given };
}

export function claim(uid: string, ...texts: readonly string[]): Claim {
  return claimAt(uid, texts, [{}]);
}

/** The same addresses at several places. */
export function claimAt(
  uid: string,
  texts: readonly string[],
  places: readonly Partial<Place>[],
): Claim {
  const all = cidrs(...texts);
  const there = places.map((given) => place({ cidrs: all, ...given }));
  return { uid, node: `node-${uid}`, cidrs: all, places: there, refused: null };
}

export function change(kind: "added" | "changed" | "removed", uid: string) {
  return { kind: `node.${kind}`, name: `node-${uid}`, uid };
}

export function after(...events: readonly JourneyEvent[]): Journey {
  return events.reduce(advance, START);
}

/** A cluster of these nodes, read back, at time 0. */
export function settled(...claims: readonly Claim[]): readonly JourneyEvent[] {
  const changes = claims.map(({ uid }) => change("added", uid));
  return [
    { kind: "seen", at: 0, changes },
    { kind: "listed", at: 0 },
    { kind: "delivered", at: 0 },
    { kind: "admitted", at: 0, claims },
    added(0, ...claims.flatMap((one) => one.cidrs)),
    { kind: "answered", at: 0, ready: claims.map(({ uid }) => uid), lists: [CONVERGED] },
  ];
}

export function added(at: number, ...texts: readonly string[]): JourneyEvent {
  return { kind: "written", at, target: TARGET, verb: "add", cidrs: cidrs(...texts) };
}

export function removed(at: number, ...texts: readonly string[]): JourneyEvent {
  return { kind: "written", at, target: TARGET, verb: "remove", cidrs: cidrs(...texts) };
}

export function trip(journey: Journey, direction: Trip["direction"], uid: string): Trip {
  const found = journey.trips.findLast((one) => one.direction === direction && one.uid === uid);
  assert(found !== undefined, `${direction} of ${uid}`);
  return found;
}

/** How far it is at one place. */
export function stopOf({ stops }: Trip, target = TARGET): Stop {
  const found = stops.find((stop) => stop.target === target);
  assert(found !== undefined, target);
  return found;
}

export function tallyOf({ tallies }: Journey, target = TARGET): TargetTally {
  const found = tallies.targets.get(target);
  assert(found !== undefined, target);
  return found;
}
