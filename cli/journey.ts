import { addressSet } from "../lib/core/aggregate.ts";
import type { Cidr } from "../lib/core/cidr.ts";
import type { Instant } from "../lib/core/record.ts";
import type { ListReport } from "../lib/core/report.ts";
import type { Change } from "../lib/core/snapshot.ts";

/** What one node wants on lists, by a snapshot that was admitted. */
export interface Claim {
  readonly uid: string;
  readonly node: string;
  readonly cidrs: readonly Cidr[];
  /** Lists without a gate: being ready says nothing of them. */
  readonly ungated: readonly string[];
  /** Why one of its addresses is refused, or null. */
  readonly refused: string | null;
}

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
      readonly verb: "add" | "remove";
      readonly cidrs: readonly Cidr[];
    }
  /** The answer came: uids of nodes whose addresses were read back on every gating list. */
  | {
      readonly kind: "answered";
      readonly at: Instant;
      readonly ready: readonly string[];
      readonly lists: readonly ListReport[];
    }
  | { readonly kind: "resynced"; readonly at: Instant; readonly lists: readonly ListReport[] };

/** `present`: was there at the start. */
export type TripCause = "present" | "joined" | "changed" | "left";

/** How a trip ends, or null while it is on its way. `kept`: somebody else wants the address too. */
export type TripEnd = "read-back" | "removed" | "kept" | "nothing" | null;

/** Addresses of one node on their way onto the targets, or off them. */
export interface Trip {
  readonly id: number;
  readonly uid: string;
  readonly node: string;
  readonly cause: TripCause;
  readonly direction: "arrival" | "departure";
  /** Empty until admitted. */
  readonly cidrs: readonly Cidr[];
  readonly ungated: readonly string[];
  readonly seenAt: Instant;
  /** When the POST began that was admitted. */
  readonly deliveredAt: Instant | null;
  readonly admittedAt: Instant | null;
  /** The last write that concerns it. Null for what was there already. */
  readonly writtenAt: Instant | null;
  readonly readBackAt: Instant | null;
  /** Of a departure: when its grace ends. */
  readonly until: Instant | null;
  /** Why it is not further, in the words of a report; null when all is well. */
  readonly waits: string | null;
  readonly end: TripEnd;
}

export interface Journey {
  /** In the order in which they were seen; finished ones only as far as {@link FINISHED_MAX}. */
  readonly trips: readonly Trip[];
  readonly claims: ReadonlyMap<string, Claim>;
  readonly hasListed: boolean;
  readonly nextId: number;
  readonly nodes: Readonly<Record<TripCause, number>>;
  readonly rules: { readonly added: number; readonly removed: number };
  /**
   * From seen to read back, in milliseconds, of the newest {@link DURATIONS_MAX} arrivals after the
   * start.
   */
  readonly durations: readonly number[];
  /** The same of the slowest node that was there at the start; null before the first. */
  readonly startedMs: number | null;
}

export const START: Journey = {
  trips: [],
  claims: new Map(),
  hasListed: false,
  nextId: 1,
  nodes: { present: 0, joined: 0, changed: 0, left: 0 },
  rules: { added: 0, removed: 0 },
  durations: [],
  startedMs: null,
};

const FINISHED_MAX = 200;
const DURATIONS_MAX = 10_000;

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
    case "answered":
      return answer(journey, event);
    case "resynced":
      return eachOpen(journey, (trip) =>
        trip.direction === "departure" ? depart(trip, event.lists) : trip,
      );
    default:
      throw new Error(`Unreachable: ${JSON.stringify(event satisfies never)}`);
  }
}

function eachOpen(journey: Journey, change: (trip: Trip) => Trip): Journey {
  const trips = journey.trips.map((trip) => (trip.end === null ? change(trip) : trip));
  const finished = trips.filter((trip) => trip.end !== null).length;
  let surplus = finished - FINISHED_MAX;
  if (surplus <= 0) return { ...journey, trips };
  const kept = trips.filter((trip) => {
    if (trip.end === null || surplus <= 0) return true;
    surplus -= 1;
    return false;
  });
  return { ...journey, trips: kept };
}

function see(journey: Journey, change: Change, at: Instant): Journey {
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

function newTrip(given: {
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
    ungated: [],
    seenAt: at,
    deliveredAt: null,
    admittedAt: null,
    writtenAt: null,
    readBackAt: null,
    until: null,
    waits: null,
    end: null,
  };
}

/** Only now is it known which addresses a node brings or leaves behind. */
function admit(journey: Journey, given: readonly Claim[], at: Instant): Journey {
  const claims = new Map(given.map((claim) => [claim.uid, claim]));
  const wanted = new Set(given.flatMap((claim) => claim.cidrs));
  const resolved = new Set<string>();
  const next = eachOpen(journey, (trip) => {
    if (trip.admittedAt === null && trip.deliveredAt !== null) {
      const key = `${trip.direction} ${trip.uid}`;
      // Changes of one node that piled up behind failing POSTs are one trip in the end.
      if (resolved.has(key)) return { ...trip, end: "nothing" };
      resolved.add(key);
      return resolveTrip({ ...trip, admittedAt: at }, { before: journey.claims, claims, wanted });
    }
    const isBack = trip.direction === "departure" && trip.cidrs.some((cidr) => wanted.has(cidr));
    return isBack ? leaveOnly(trip, wanted) : trip;
  });
  return { ...next, claims };
}

function resolveTrip(
  trip: Trip,
  found: {
    readonly before: ReadonlyMap<string, Claim>;
    readonly claims: ReadonlyMap<string, Claim>;
    readonly wanted: ReadonlySet<Cidr>;
  },
): Trip {
  const before = found.before.get(trip.uid)?.cidrs ?? [];
  const claim = found.claims.get(trip.uid);
  const now = claim?.cidrs ?? [];
  if (trip.direction === "departure") {
    const lost = before.filter((cidr) => !now.includes(cidr));
    return leaveOnly({ ...trip, cidrs: lost }, found.wanted);
  }
  const cidrs = now.filter((cidr) => !before.includes(cidr));
  const waits = claim?.refused ?? null;
  const end = cidrs.length === 0 && waits === null ? "nothing" : null;
  return { ...trip, cidrs, ungated: claim?.ungated ?? [], waits, end };
}

/** An address that any node of the cluster wants does not leave. */
function leaveOnly(trip: Trip, wanted: ReadonlySet<Cidr>): Trip {
  const cidrs = trip.cidrs.filter((cidr) => !wanted.has(cidr));
  if (cidrs.length > 0) return { ...trip, cidrs };
  return { ...trip, end: trip.cidrs.length === 0 ? "nothing" : "kept" };
}

function write(journey: Journey, event: Extract<JourneyEvent, { kind: "written" }>): Journey {
  const { verb, cidrs, at } = event;
  const entries = addressSet(cidrs);
  const { added, removed } = journey.rules;
  const rules =
    verb === "add"
      ? { added: added + cidrs.length, removed }
      : { added, removed: removed + cidrs.length };
  const direction = verb === "add" ? "arrival" : "departure";
  const next = eachOpen(journey, (trip) => {
    const isMeant =
      trip.direction === direction &&
      trip.admittedAt !== null &&
      trip.cidrs.some((cidr) => entries.covers(cidr));
    return isMeant ? { ...trip, writtenAt: at } : trip;
  });
  return { ...next, rules };
}

function answer(journey: Journey, event: Extract<JourneyEvent, { kind: "answered" }>): Journey {
  const ready = new Set(event.ready);
  const arrived: number[] = [];
  let { startedMs } = journey;
  const next = eachOpen(journey, (trip) => {
    if (trip.admittedAt === null) return trip;
    if (trip.direction === "departure") return depart(trip, event.lists);
    const isThere = ready.has(trip.uid) && isOnUngated(trip, event.lists);
    if (!isThere) return { ...trip, waits: reasonToWait(trip, event.lists) ?? trip.waits };
    const tookMs = event.at - trip.seenAt;
    if (trip.cause === "present") startedMs = Math.max(startedMs ?? 0, tookMs);
    else arrived.push(tookMs);
    return { ...trip, readBackAt: event.at, waits: null, end: "read-back" };
  });
  const durations = [...journey.durations, ...arrived].slice(-DURATIONS_MAX);
  return { ...next, durations, startedMs };
}

/** Nobody waits for lists without a gate, so they are asked for the addresses themselves. */
function isOnUngated(trip: Trip, lists: readonly ListReport[]): boolean {
  return lists
    .filter((report) => trip.ungated.includes(report.list))
    .every((report) => isSettled(report) && !trip.cidrs.some((cidr) => report.add.includes(cidr)));
}

/** Whether a report tells what a target held a moment ago. */
function isSettled({ state, reason }: ListReport): boolean {
  return state === "converged" || state === "withheld" || reason === "grace";
}

function reasonToWait(trip: Trip, lists: readonly ListReport[]): string | null {
  const behind = lists.filter(
    (report) =>
      report.state === "failed" ||
      report.reason === "contended" ||
      trip.cidrs.some((cidr) => report.add.includes(cidr)),
  );
  const [worst] = behind.toSorted(
    (a, b) => Number(b.state === "failed") - Number(a.state === "failed"),
  );
  return worst === undefined ? null : `${worst.state}: ${worst.reason ?? worst.message}`;
}

/** How the reports see addresses that nobody in the cluster wants any more. */
function depart(trip: Trip, lists: readonly ListReport[]): Trip {
  if (trip.admittedAt === null) return trip;
  const concerned = lists.filter(({ leaving, remove }) =>
    touches(trip, [...leaving.map(({ cidr }) => cidr), ...remove]),
  );
  if (concerned.length === 0) {
    if (trip.writtenAt !== null) return { ...trip, waits: null, end: "removed" };
    // Another cluster wants it, it is static, or the list only adds.
    return lists.length > 0 && lists.every(isSettled) ? { ...trip, end: "kept" } : trip;
  }
  const ends = concerned.flatMap(({ leaving }) =>
    leaving.filter(({ cidr }) => touches(trip, [cidr])).map(({ until }) => Date.parse(until)),
  );
  const withheld = concerned.find(({ state }) => state === "withheld");
  return {
    ...trip,
    until: ends.length === 0 ? trip.until : Math.max(...ends),
    waits: withheld === undefined ? null : `withheld: ${withheld.reason}`,
  };
}

/** Entries may be broader than the addresses of a node. */
function touches(trip: Trip, entries: readonly string[]): boolean {
  const set = addressSet(entries as readonly Cidr[]);
  return trip.cidrs.some((cidr) => set.overlaps(cidr));
}

/** The middle of the numbers, or null of none. */
export function medianOf(numbers: readonly number[]): number | null {
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle];
  const lower = sorted[middle - 1];
  if (upper === undefined) return null;
  return sorted.length % 2 === 1 || lower === undefined ? upper : (lower + upper) / 2;
}
