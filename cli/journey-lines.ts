import type { Journey } from "./journey.ts";
import type { Stop } from "./journey-stops.ts";
import { effectiveAt, readBackAt, type Trip, type TripCause } from "./journey-trip.ts";
import type { Labels } from "./labels.ts";
import { printable } from "./shell.ts";

/** More trips than this that take the same step at once are told as one. */
const SINGLE_MAX = 4;

const WORDS: Readonly<Record<Trip["direction"], Readonly<Record<TripCause, string>>>> = {
  arrival: { present: "present", joined: "joined", changed: "new address", left: "" },
  departure: { present: "", joined: "", changed: "old address", left: "left" },
};

/**
 * What happened to trips between two states, for whoever reads line by line: one line when a trip
 * begins to wait, one when it arrived, and one more where that takes effect only later. Pure.
 */
export function linesBetween(before: Journey, after: Journey, labels: Labels): readonly string[] {
  if (before.trips === after.trips) return [];
  const earlier = new Map(before.trips.map((trip) => [trip.id, trip]));
  const steps = new Map<string, { readonly trips: Trip[]; readonly text: string }>();
  for (const trip of after.trips) {
    const text = newsOf(earlier.get(trip.id) ?? null, trip, labels);
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

/** Null when there is nothing to tell. */
function newsOf(before: Trip | null, trip: Trip, labels: Labels): string | null {
  const waits = waitsText(trip, labels);
  if (trip.end === null && waits !== null) {
    return before !== null && waitsText(before, labels) === waits ? null : waits;
  }
  return trip.direction === "arrival"
    ? arrivalNews(before, trip, labels)
    : departureNews(before, trip, labels);
}

function arrivalNews(before: Trip | null, trip: Trip, labels: Labels): string | null {
  const isThere = readBackAt(trip) !== null;
  const wasThere = before !== null && readBackAt(before) !== null;
  if (isThere && !wasThere) return arrivalText(trip, labels);
  const isReady = trip.end === "ready" && before?.end !== "ready";
  return isReady && takesEffectLater(trip) ? afterText("ready", trip, trip.readyAt) : null;
}

function takesEffectLater(trip: Trip): boolean {
  return (effectiveAt(trip) ?? 0) > (readBackAt(trip) ?? 0);
}

function arrivalText(trip: Trip, labels: Labels): string {
  const delivered = afterText("delivered", trip, trip.deliveredAt);
  const [only, ...others] = trip.stops;
  const settling = settlingText(trip);
  if (only !== undefined && others.length === 0) {
    const { writtenAt } = only;
    const added = writtenAt === null ? "was on the target" : afterText("added", trip, writtenAt);
    return `${delivered}, ${added}, ${afterText("read back", trip, only.readBackAt)}${settling}`;
  }
  const times = eachText(trip, labels, { join: "on", timeOf: (stop) => stop.readBackAt });
  return `${delivered}, read back after ${times}${settling}`;
}

/** How much longer the slowest of the targets takes, by what its vendor says. */
function settlingText({ stops }: Trip): string {
  const laterMs = stops.map(({ effectiveAt: at, readBackAt: from }) => (at ?? 0) - (from ?? 0));
  const most = Math.max(0, ...laterMs);
  if (most === 0) return "";
  return `; in effect${stops.length === 1 ? "" : " everywhere"} in ${durationText(most)}`;
}

function departureNews(before: Trip | null, trip: Trip, labels: Labels): string | null {
  if (trip.end === "removed") {
    return before?.end === "removed" ? null : removedText(trip, labels);
  }
  if (trip.end === "kept") {
    return before?.end === "kept" ? null : "the address stays, it is still wanted";
  }
  const until = graceEnd(trip);
  if (trip.end !== null || until === null) return null;
  if (before !== null && graceEnd(before) !== null) return null;
  const delivered = afterText("delivered", trip, trip.deliveredAt);
  return `${delivered}, in grace until ${clockText(until)}`;
}

function removedText(trip: Trip, labels: Labels): string {
  const gone = { ...trip, stops: trip.stops.filter(({ end }) => end === "removed") };
  const timeOf = (stop: Stop) => stop.writtenAt;
  const [only, ...others] = gone.stops;
  return only !== undefined && others.length === 0
    ? afterText("removed", trip, only.writtenAt)
    : `removed after ${eachText(gone, labels, { join: "from", timeOf })}`;
}

/** `51 ms on aws, 1.1 s on alibaba`. */
function eachText(
  { stops, seenAt }: Trip,
  labels: Labels,
  options: { readonly join: string; readonly timeOf: (stop: Stop) => number | null },
): string {
  const { join, timeOf } = options;
  return stops
    .map((stop) => {
      const time = durationText((timeOf(stop) ?? seenAt) - seenAt);
      return `${time} ${join} ${labels.get(stop.target) ?? stop.target}`;
    })
    .join(", ");
}

/** Why a trip is not further, and where; null when all is well. */
export function waitsText(trip: Trip, labels: Labels): string | null {
  if (trip.waits !== null) return trip.waits;
  const open = trip.stops.filter(({ end, waits }) => end === null && waits !== null);
  const [worst] = open.toSorted((a, b) => Number(isFailed(b)) - Number(isFailed(a)));
  if (worst === undefined) return null;
  const where = trip.stops.length === 1 ? "" : `${labels.get(worst.target) ?? worst.target} `;
  return `${where}${worst.waits}`;
}

function isFailed({ waits }: Stop): boolean {
  return waits?.startsWith("failed") ?? false;
}

/** When the grace of an address that leaves is over on the last of its targets, or null. */
export function graceEnd({ stops }: Trip): number | null {
  const ends = stops.flatMap(({ end, until }) => (end === null && until !== null ? [until] : []));
  return ends.length === 0 ? null : Math.max(...ends);
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

/** `87 ms`, `12.3 s`, `10 s`, `4 min`: seven characters at most. */
export function durationText(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 120_000 && ms % 1_000 === 0) return `${ms / 1_000} s`;
  if (ms < 99_950) return `${(ms / 1_000).toFixed(1)} s`;
  if (ms < 120_000) return `${Math.round(ms / 1_000)} s`;
  return `${Math.round(ms / 60_000)} min`;
}

/** The time of day where the reader is. */
export function clockText(at: number): string {
  return new Date(at).toTimeString().slice(0, 8);
}
