import { addressSet } from "../lib/core/aggregate.ts";
import type { Cidr } from "../lib/core/cidr.ts";
import type { Instant, Slots } from "../lib/core/record.ts";
import type { ListReport } from "../lib/core/report.ts";
import type { Change } from "../lib/core/snapshot.ts";
import {
  hearArrival,
  hearDeparture,
  recordArrival,
  recordDeparture,
  rememberedOf,
} from "./journey-stops.ts";
import { NO_TALLIES, type Tallies, tallyTrips, tallyWrite, withReports } from "./journey-tally.ts";
import {
  arriveOnly,
  type Claim,
  departed,
  leaveOnly,
  newTrip,
  resolveArrival,
  resolveDeparture,
  type Trip,
  type TripCause,
  wantedOf,
  withStops,
} from "./journey-trip.ts";

/**
 * Everything that happens to nodes between the cluster and the targets, in the order in which it is
 * heard.
 */
export type JourneyEvent =
  /** Watch events were processed. */
  | { readonly kind: "seen"; readonly at: Instant; readonly changes: readonly Change[] }
  /** The first complete list was taken over. */
  | { readonly kind: "listed"; readonly at: Instant }
  /** A POST begins. */
  | { readonly kind: "delivered"; readonly at: Instant }
  /** Its snapshot became the newest truth; `claims` are all that this cluster wants now. */
  | { readonly kind: "admitted"; readonly at: Instant; readonly claims: readonly Claim[] }
  /** A write call on a target was done. */
  | {
      readonly kind: "written";
      readonly at: Instant;
      readonly target: string;
      readonly verb: "add" | "remove";
      readonly cidrs: readonly Cidr[];
    }
  /** A run is done with a target, and this is remembered of it. */
  | { readonly kind: "recorded"; readonly at: Instant; readonly slots: Slots }
  /** The answer came: uids of nodes whose addresses count on every gating list. */
  | {
      readonly kind: "answered";
      readonly at: Instant;
      readonly ready: readonly string[];
      readonly lists: readonly ListReport[];
    }
  | { readonly kind: "resynced"; readonly at: Instant; readonly lists: readonly ListReport[] };

export interface Journey {
  /** In the order in which they were seen; finished ones only as far as {@link FINISHED_MAX}. */
  readonly trips: readonly Trip[];
  readonly claims: ReadonlyMap<string, Claim>;
  readonly hasListed: boolean;
  readonly nextId: number;
  readonly nodes: Readonly<Record<TripCause, number>>;
  /** How many of the nodes that are claimed now were ready by the last answer. */
  readonly ready: number;
  readonly tallies: Tallies;
}

export const START: Journey = {
  trips: [],
  claims: new Map(),
  hasListed: false,
  nextId: 1,
  nodes: { present: 0, joined: 0, changed: 0, left: 0 },
  ready: 0,
  tallies: NO_TALLIES,
};

const FINISHED_MAX = 200;

/** The journey after an event. Pure. */
export function advance(journey: Journey, event: JourneyEvent): Journey {
  switch (event.kind) {
    case "seen":
      return event.changes.reduce((state, change) => see(state, change, event.at), journey);
    case "listed":
      return { ...journey, hasListed: true };
    case "delivered":
      return eachOpen(journey, (trip) =>
        trip.admittedAt === null ? { ...trip, deliveredAt: event.at } : trip,
      );
    case "admitted":
      return admit(journey, event.claims, event.at);
    case "written":
      return write(journey, event);
    case "recorded":
      return record(journey, event.slots, event.at);
    case "answered":
      return answer(journey, event);
    case "resynced":
      return resync(journey, event.lists);
    default:
      throw new Error(`Unreachable: ${JSON.stringify(event satisfies never)}`);
  }
}

function eachOpen(journey: Journey, change: (trip: Trip) => Trip): Journey {
  const trips = journey.trips.map((trip) => (trip.end === null ? change(trip) : trip));
  const tallies = tallyTrips(journey.tallies, journey.trips, trips);
  const finished = trips.filter((trip) => trip.end !== null).length;
  let surplus = finished - FINISHED_MAX;
  if (surplus <= 0) return { ...journey, trips, tallies };
  const kept = trips.filter((trip) => {
    if (trip.end === null || surplus <= 0) return true;
    surplus -= 1;
    return false;
  });
  return { ...journey, trips: kept, tallies };
}

/** Whether any node brought or left one of these addresses, as far as trips are remembered. */
export function concernsNodes({ trips, claims }: Journey, cidrs: readonly Cidr[]): boolean {
  const ofNodes = [...trips, ...claims.values()].flatMap((one) => one.cidrs);
  const written = addressSet(cidrs);
  return ofNodes.some((cidr) => written.overlaps(cidr));
}

function see(journey: Journey, change: Change, at: Instant): Journey {
  // Pods have no trips: nobody waits for them, and there may be very many.
  if (!change.kind.startsWith("node.")) return journey;
  const cause = causeOf(change, journey.hasListed);
  const directions = {
    present: ["arrival"],
    joined: ["arrival"],
    changed: ["arrival", "departure"],
    left: ["departure"],
  } as const;
  const nodes = { ...journey.nodes, [cause]: journey.nodes[cause] + 1 };
  let { nextId } = journey;
  const trips = [...journey.trips];
  for (const direction of directions[cause]) {
    // What no POST has taken along yet goes with the same one, so it is one trip.
    const isWaiting = trips.some(
      (trip) => trip.uid === change.uid && trip.direction === direction && isUnsent(trip),
    );
    if (isWaiting) continue;
    trips.push(newTrip({ id: nextId, change, cause, direction, at }));
    nextId += 1;
  }
  return { ...journey, trips, nodes, nextId };
}

function causeOf({ kind }: Change, hasListed: boolean): TripCause {
  if (kind === "node.removed") return "left";
  if (kind === "node.changed") return "changed";
  return hasListed ? "joined" : "present";
}

function isUnsent(trip: Trip): boolean {
  return trip.end === null && trip.deliveredAt === null;
}

/** Only now is it known which addresses a node brings or leaves behind, and where. */
function admit(journey: Journey, given: readonly Claim[], at: Instant): Journey {
  const claims = new Map(given.map((claim) => [claim.uid, claim]));
  const wanted = wantedOf(given);
  const resolved = new Set<string>();
  const next = eachOpen(journey, (trip) => {
    if (trip.admittedAt === null) {
      if (trip.deliveredAt === null) return trip;
      const key = `${trip.direction} ${trip.uid}`;
      // Changes of one node that piled up behind failing POSTs are one trip in the end.
      if (resolved.has(key)) return { ...trip, end: "nothing" };
      resolved.add(key);
      const claim = { before: journey.claims.get(trip.uid), now: claims.get(trip.uid) };
      const admitted = { ...trip, admittedAt: at };
      return trip.direction === "arrival"
        ? resolveArrival(admitted, claim)
        : resolveDeparture(admitted, claim, wanted);
    }
    if (trip.direction === "departure") return leaveOnly(trip, wanted);
    return arriveOnly(trip, claims.get(trip.uid));
  });
  return { ...next, claims };
}

function write(journey: Journey, event: Extract<JourneyEvent, { kind: "written" }>): Journey {
  const { verb, cidrs, at, target } = event;
  const entries = addressSet(cidrs);
  const direction = verb === "add" ? "arrival" : "departure";
  const next = eachOpen(journey, (trip) => {
    if (trip.direction !== direction) return trip;
    const stops = trip.stops.map((stop) => {
      const isMeant =
        stop.target === target &&
        stop.end === null &&
        stop.cidrs.some((cidr) => entries.covers(cidr));
      return isMeant ? { ...stop, writtenAt: at } : stop;
    });
    return withStops(trip, stops);
  });
  return { ...next, tallies: tallyWrite(next.tallies, event) };
}

function record(journey: Journey, slots: Slots, at: Instant): Journey {
  const reports = Object.values(slots).map((slot) => slot.report);
  const memory = new Map(Object.entries(slots).map(([name, slot]) => [name, rememberedOf(slot)]));
  const next = eachOpen(journey, (trip) => {
    const { admittedAt, direction } = trip;
    if (admittedAt === null) return trip;
    const stops = trip.stops.map((stop) => {
      const remembered = memory.get(stop.target);
      if (remembered === undefined || remembered.slot.list !== stop.list) return stop;
      return direction === "arrival"
        ? recordArrival(stop, remembered, { admittedAt, at })
        : recordDeparture(stop, remembered);
    });
    return direction === "arrival" ? withStops(trip, stops) : departed(withStops(trip, stops));
  });
  return { ...next, tallies: withReports(next.tallies, reports) };
}

function answer(journey: Journey, event: Extract<JourneyEvent, { kind: "answered" }>): Journey {
  const { at, lists } = event;
  const ready = new Set(event.ready);
  const reports = new Map(lists.map((report) => [report.target, report]));
  const next = eachOpen(journey, (trip) => {
    if (trip.admittedAt === null) return trip;
    if (trip.direction === "departure") {
      const stops = trip.stops.map((stop) =>
        hearDeparture(stop, reports.get(stop.target), { isFinal: true }),
      );
      return departed(withStops(trip, stops));
    }
    const isReady = ready.has(trip.uid);
    const stops = trip.stops.map((stop) =>
      hearArrival(stop, reports.get(stop.target), { isReady, at }),
    );
    const isThere = isReady && stops.every(({ end }) => end !== null);
    return isThere
      ? { ...trip, stops, waits: null, readyAt: at, end: "ready" }
      : withStops(trip, stops);
  });
  const uids = [...journey.claims.keys()];
  const count = uids.filter((uid) => ready.has(uid)).length;
  return { ...next, ready: count, tallies: withReports(next.tallies, lists) };
}

function resync(journey: Journey, lists: readonly ListReport[]): Journey {
  const reports = new Map(lists.map((report) => [report.target, report]));
  const next = eachOpen(journey, (trip) => {
    if (trip.admittedAt === null || trip.direction === "arrival") return trip;
    const stops = trip.stops.map((stop) =>
      hearDeparture(stop, reports.get(stop.target), { isFinal: false }),
    );
    return departed(withStops(trip, stops));
  });
  return { ...next, tallies: withReports(next.tallies, lists) };
}
