import type { Journey, Trip, TripCause } from "./journey.ts";
import { printable } from "./shell.ts";

/** More trips than this that take the same step at once are told as one. */
const SINGLE_MAX = 4;

const WORDS: Readonly<Record<Trip["direction"], Readonly<Record<TripCause, string>>>> = {
  arrival: { present: "present", joined: "joined", changed: "new address", left: "" },
  departure: { present: "", joined: "", changed: "old address", left: "left" },
};

/**
 * What happened to trips between two states, for whoever reads line by line: one line when a trip
 * begins to wait, one at its end. Pure.
 */
export function linesBetween(before: Journey, after: Journey): readonly string[] {
  if (before.trips === after.trips) return [];
  const earlier = new Map(before.trips.map((trip) => [trip.id, trip]));
  const steps = new Map<string, { readonly trips: Trip[]; readonly text: string }>();
  for (const trip of after.trips) {
    const text = newsOf(earlier.get(trip.id) ?? null, trip);
    if (text === null) continue;
    // Trips that were seen together and take the same step at once have the same text.
    const key = [trip.direction, trip.cause, trip.end, text].join("\n");
    const step = steps.get(key) ?? { trips: [], text };
    step.trips.push(trip);
    steps.set(key, step);
  }
  return [...steps.values()].flatMap(({ trips, text }) => {
    const [first] = trips;
    if (first === undefined) return [];
    const what = eventText(first);
    return trips.length > SINGLE_MAX
      ? [`${signOf(first)} ${trips.length} nodes ${what}: ${text}`]
      : trips.map((trip) => `${nameOf(trip)} ${what}: ${text}`);
  });
}

/** What happened to the node, or to the address. */
export function eventText({ direction, cause }: Trip): string {
  return WORDS[direction][cause];
}

function newsOf(before: Trip | null, trip: Trip): string | null {
  if (trip.end !== null) return before?.end === trip.end ? null : endText(trip);
  if (trip.waits !== null) return before?.waits === trip.waits ? null : trip.waits;
  if (trip.until === null || (before !== null && before.until !== null)) return null;
  const delivered = afterText("delivered", trip, trip.deliveredAt);
  return `${delivered}, in grace until ${clockText(trip.until)}`;
}

function endText(trip: Trip): string | null {
  switch (trip.end) {
    case "read-back": {
      const { deliveredAt, writtenAt, readBackAt } = trip;
      const added = writtenAt === null ? "was on the target" : afterText("added", trip, writtenAt);
      const delivered = afterText("delivered", trip, deliveredAt);
      return `${delivered}, ${added}, ${afterText("read back", trip, readBackAt)}`;
    }
    case "removed":
      return afterText("removed", trip, trip.writtenAt);
    case "kept":
      return "the address stays, it is still wanted";
    case "nothing":
    case null:
      return null;
    default:
      throw new Error(`Unreachable: ${JSON.stringify(trip.end satisfies never)}`);
  }
}

function signOf({ direction }: Trip): string {
  return direction === "departure" ? "-" : "+";
}

function nameOf(trip: Trip): string {
  return `${signOf(trip)} ${printable(trip.node)} ${addressesText(trip)}`.trimEnd();
}

/** The first address, and how many more there are. */
export function addressesText({ cidrs }: Trip): string {
  const [first] = cidrs;
  if (first === undefined) return "";
  const host = first.replace(/\/(32|128)$/, "");
  return cidrs.length === 1 ? host : `${host} +${cidrs.length - 1}`;
}

function afterText(step: string, { seenAt }: Trip, at: number | null): string {
  return at === null ? `not ${step}` : `${step} after ${durationText(at - seenAt)}`;
}

/** `87 ms`, `12.3 s`, `10 s`, `4 min`. */
export function durationText(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 120_000 && ms % 1_000 === 0) return `${ms / 1_000} s`;
  if (ms < 120_000) return `${(ms / 1_000).toFixed(1)} s`;
  return `${Math.round(ms / 60_000)} min`;
}

/** The time of day where the reader is. */
export function clockText(at: number): string {
  return new Date(at).toTimeString().slice(0, 8);
}
