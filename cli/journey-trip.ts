import type { Cidr } from "../lib/core/cidr.ts";
import type { Instant } from "../lib/core/record.ts";
import type { Change } from "../lib/core/snapshot.ts";
import { type Place, type Stop, stopsAt } from "./journey-stops.ts";

/** What one node wants on lists, by a snapshot that was admitted. */
export interface Claim {
  readonly uid: string;
  readonly node: string;
  /** Also those that no target holds. */
  readonly cidrs: readonly Cidr[];
  /** Where they belong; of each target once. */
  readonly places: readonly Place[];
  /** Why one of its addresses is refused, or null. */
  readonly refused: string | null;
}

/** `present`: was there at the start. */
export type TripCause = "present" | "joined" | "changed" | "left";

/**
 * How a trip ends, or null while it is on its way. `kept`: somebody else wants the address too.
 * `overtaken`: the node left, or changed again, before it was ready.
 */
export type TripEnd = "ready" | "removed" | "kept" | "overtaken" | "nothing" | null;

/** Addresses of one node on their way onto the targets, or off them. */
export interface Trip {
  readonly id: number;
  readonly uid: string;
  readonly node: string;
  readonly cause: TripCause;
  readonly direction: "arrival" | "departure";
  /** Empty until admitted. */
  readonly cidrs: readonly Cidr[];
  /** One for each target that it concerns. Empty until admitted. */
  readonly stops: readonly Stop[];
  readonly seenAt: Instant;
  /** When the POST began that was admitted. */
  readonly deliveredAt: Instant | null;
  readonly admittedAt: Instant | null;
  /** Of an arrival: when an answer said so. */
  readonly readyAt: Instant | null;
  /** Why it gets to no target; null when it does. */
  readonly waits: string | null;
  readonly end: TripEnd;
}

/** Of a watch event that was just processed. */
export function newTrip(given: {
  readonly id: number;
  readonly change: Change;
  readonly cause: TripCause;
  readonly direction: Trip["direction"];
  readonly at: Instant;
}): Trip {
  const { id, change, cause, direction, at } = given;
  return {
    id,
    uid: change.uid,
    node: change.name,
    cause,
    direction,
    cidrs: [],
    stops: [],
    seenAt: at,
    deliveredAt: null,
    admittedAt: null,
    readyAt: null,
    waits: null,
    end: null,
  };
}

/** What is wanted where, by target. */
export type Wanted = ReadonlyMap<string, ReadonlySet<Cidr>>;

/** What all nodes of a cluster want together. */
export function wantedOf(claims: readonly Claim[]): Wanted {
  const wanted = new Map<string, Set<Cidr>>();
  for (const { target, cidrs } of claims.flatMap(({ places }) => places)) {
    const here = wanted.get(target) ?? new Set();
    for (const cidr of cidrs) here.add(cidr);
    wanted.set(target, here);
  }
  return wanted;
}

/** What one node wanted, and wants now. */
interface Turn {
  readonly before: Claim | undefined;
  readonly now: Claim | undefined;
}

/** What the second claim has at a place and the first has not. */
function placesWithout(claim: Claim | undefined, other: Claim | undefined): readonly Place[] {
  return (claim?.places ?? []).map((place) => {
    const there = other?.places.find(({ target }) => target === place.target)?.cidrs ?? [];
    return { ...place, cidrs: place.cidrs.filter((cidr) => !there.includes(cidr)) };
  });
}

/** What a node brings, now that it is admitted: all that it did not want before. */
export function resolveArrival(trip: Trip, { before, now }: Turn): Trip {
  const stops = stopsAt(placesWithout(now, before));
  const fresh = (now?.cidrs ?? []).filter((cidr) => !before?.cidrs.includes(cidr));
  const isNowhere = stops.length === 0 && fresh.length > 0;
  const waits = now?.refused ?? (isNowhere ? "no target of its family" : null);
  const cidrs = fresh.length > 0 ? fresh : cidrsOf(stops);
  const end = cidrs.length === 0 && waits === null ? "nothing" : null;
  return { ...trip, cidrs, stops, waits, end };
}

/** What a node leaves behind: all that it wanted before and does not want now. */
export function resolveDeparture(trip: Trip, { before, now }: Turn, wanted: Wanted): Trip {
  const stops = stopsAt(placesWithout(before, now));
  if (stops.length === 0) return { ...trip, end: "nothing" };
  return leaveOnly({ ...trip, stops, cidrs: cidrsOf(stops) }, wanted);
}

function cidrsOf(stops: readonly Stop[]): readonly Cidr[] {
  return [...new Set(stops.flatMap(({ cidrs }) => cidrs))];
}

/** An address that any node of the cluster wants at a place does not leave it. */
export function leaveOnly(trip: Trip, wanted: Wanted): Trip {
  const stops = trip.stops.map((stop): Stop => {
    const here = wanted.get(stop.target);
    const cidrs = stop.cidrs.filter((cidr) => !here?.has(cidr));
    if (stop.end !== null || cidrs.length === stop.cidrs.length) return stop;
    return cidrs.length > 0 ? { ...stop, cidrs } : { ...stop, waits: null, end: "kept" };
  });
  return departed(withStops(trip, stops));
}

/** What the node wants no more is another trip's matter. */
export function arriveOnly(trip: Trip, claim: Claim | undefined): Trip {
  if (trip.stops.length === 0) {
    const isMended = claim?.refused === null && claim.places.length > 0;
    return claim === undefined || isMended ? { ...trip, end: "overtaken" } : trip;
  }
  const stops = trip.stops.flatMap((stop) => {
    const place = claim?.places.find(({ target }) => target === stop.target);
    const cidrs = stop.cidrs.filter((cidr) => place?.cidrs.includes(cidr));
    if (cidrs.length === stop.cidrs.length) return [stop];
    return cidrs.length === 0 ? [] : [{ ...stop, cidrs }];
  });
  if (stops.length === 0) return { ...trip, end: "overtaken" };
  return stops.length === trip.stops.length ? withStops(trip, stops) : { ...trip, stops };
}

/** What did not change stays the same object. */
export function withStops(trip: Trip, stops: readonly Stop[]): Trip {
  return stops.every((stop, index) => stop === trip.stops[index]) ? trip : { ...trip, stops };
}

/** It is over when it is over everywhere. */
export function departed(trip: Trip): Trip {
  if (trip.admittedAt === null || trip.stops.some(({ end }) => end === null)) return trip;
  return { ...trip, end: trip.stops.some(({ end }) => end === "removed") ? "removed" : "kept" };
}

/** When the last of its targets was read back with it; null before that. */
export function readBackAt({ stops }: Trip): Instant | null {
  return latest(stops.map((stop) => stop.readBackAt));
}

/** When it takes effect on the last of the targets that nodes wait for; null before read back. */
export function effectiveAt({ stops }: Trip): Instant | null {
  return latest(stops.filter(({ gate }) => gate).map((stop) => stop.effectiveAt));
}

function latest(times: readonly (Instant | null)[]): Instant | null {
  const known = times.filter((at) => at !== null);
  return known.length < times.length || known.length === 0 ? null : Math.max(...known);
}
