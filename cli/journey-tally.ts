import type { ListReport } from "../lib/core/report.ts";
import type { JourneyEvent } from "./journey.ts";
import type { Trip } from "./journey-trip.ts";

/** How long trips took, in milliseconds. */
export interface Tally {
  /** Of the newest {@link DURATIONS_MAX} arrivals after the start. */
  readonly durations: readonly number[];
  /** Of the slowest node that was there at the start; null before the first. */
  readonly startedMs: number | null;
}

export interface TargetTally {
  /** Entries. */
  readonly added: number;
  readonly removed: number;
  /** From seen to read back. */
  readonly readBack: Tally;
  /** The newest that was heard; null before the first. */
  readonly report: ListReport | null;
}

/** What there is to count, by target and over all of them. */
export interface Tallies {
  readonly targets: ReadonlyMap<string, TargetTally>;
  /** From seen to ready. */
  readonly ready: Tally;
}

const DURATIONS_MAX = 10_000;
const NO_TALLY: Tally = { durations: [], startedMs: null };
export const NO_TARGET_TALLY: TargetTally = {
  added: 0,
  removed: 0,
  readBack: NO_TALLY,
  report: null,
};
export const NO_TALLIES: Tallies = { targets: new Map(), ready: NO_TALLY };

interface Arrived {
  /** Null for all of them: ready. */
  readonly target: string | null;
  readonly tookMs: number;
  readonly isPresent: boolean;
}

/** Counts what arrived between two states of the same trips. */
export function tallyTrips(
  tallies: Tallies,
  before: readonly Trip[],
  after: readonly Trip[],
): Tallies {
  const arrived = after.flatMap((trip, index) => arrivedBetween(before[index], trip));
  if (arrived.length === 0) return tallies;
  const targets = new Map(tallies.targets);
  for (const target of new Set(arrived.flatMap((one) => one.target ?? []))) {
    const tally = targets.get(target) ?? NO_TARGET_TALLY;
    const there = arrived.filter((one) => one.target === target);
    targets.set(target, { ...tally, readBack: counted(tally.readBack, there) });
  }
  const ready = arrived.filter((one) => one.target === null);
  return { targets, ready: counted(tallies.ready, ready) };
}

function arrivedBetween(before: Trip | undefined, after: Trip): readonly Arrived[] {
  if (before === after || after.direction === "departure") return [];
  const isPresent = after.cause === "present";
  const arrived: Arrived[] = after.stops.flatMap(({ target, readBackAt }) => {
    const known = before?.stops.find((stop) => stop.target === target)?.readBackAt ?? null;
    if (readBackAt === null || known !== null) return [];
    return [{ target, tookMs: readBackAt - after.seenAt, isPresent }];
  });
  if (after.readyAt === null || (before?.readyAt ?? null) !== null) return arrived;
  return [...arrived, { target: null, tookMs: after.readyAt - after.seenAt, isPresent }];
}

function counted({ durations, startedMs }: Tally, arrived: readonly Arrived[]): Tally {
  const later = arrived.filter(({ isPresent }) => !isPresent).map(({ tookMs }) => tookMs);
  const first = arrived.filter(({ isPresent }) => isPresent).map(({ tookMs }) => tookMs);
  return {
    durations: [...durations, ...later].slice(-DURATIONS_MAX),
    startedMs: first.length === 0 ? startedMs : Math.max(startedMs ?? 0, ...first),
  };
}

export function tallyWrite(
  tallies: Tallies,
  { target, verb, cidrs }: Extract<JourneyEvent, { kind: "written" }>,
): Tallies {
  const tally = tallies.targets.get(target) ?? NO_TARGET_TALLY;
  const next =
    verb === "add"
      ? { ...tally, added: tally.added + cidrs.length }
      : { ...tally, removed: tally.removed + cidrs.length };
  return { ...tallies, targets: new Map(tallies.targets).set(target, next) };
}

export function withReports(tallies: Tallies, reports: readonly ListReport[]): Tallies {
  const targets = new Map(tallies.targets);
  for (const report of reports) {
    const tally = targets.get(report.target) ?? NO_TARGET_TALLY;
    targets.set(report.target, { ...tally, report });
  }
  return { ...tallies, targets };
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
