import { type AddressSet, addressSet } from "../lib/core/aggregate.ts";
import type { Cidr } from "../lib/core/cidr.ts";
import type { Instant, Slot } from "../lib/core/record.ts";
import type { ListReport } from "../lib/core/report.ts";

/** One target of one list, and the addresses of one node that belong there. */
export interface Place {
  readonly list: string;
  readonly target: string;
  /** Whether nodes wait for the list: being ready says nothing of those without a gate. */
  readonly gate: boolean;
  /** How long after it was read back an entry takes effect there. */
  readonly settleMs: number;
  /** Of the families that the target holds; at least one. */
  readonly cidrs: readonly Cidr[];
}

/** How far a trip is at one of its places. */
export interface Stop extends Place {
  /** The last write that concerns it. Null for what was there already. */
  readonly writtenAt: Instant | null;
  /** Of an arrival: when a read of the target first showed all of its addresses. */
  readonly readBackAt: Instant | null;
  /** Of an arrival: when the entry that was read back takes effect. */
  readonly effectiveAt: Instant | null;
  /** Of a departure: when its grace ends. */
  readonly until: Instant | null;
  /** Why it is not further, in the words of a report; null when all is well. */
  readonly waits: string | null;
  /** `kept`: somebody else wants the address there, too. */
  readonly end: "read-back" | "removed" | "kept" | null;
}

/** At the beginning of the way; of no addresses there is no stop. */
export function stopsAt(places: readonly Place[]): readonly Stop[] {
  const nothing = { writtenAt: null, readBackAt: null, effectiveAt: null, until: null };
  return places
    .filter(({ cidrs }) => cidrs.length > 0)
    .map((place) => ({ ...place, ...nothing, waits: null, end: null }));
}

/** What the product remembers of a target: the same that makes a node ready. */
export interface Remembered {
  readonly slot: Slot;
  /** All that it holds of what is wanted there. */
  readonly entries: AddressSet;
}

/** Made once for all trips that ask. */
export function rememberedOf(slot: Slot): Remembered {
  return { slot, entries: addressSet(Object.keys(slot.entries) as Cidr[]) };
}

/** An arrival by what is remembered. */
export function recordArrival(
  stop: Stop,
  remembered: Remembered,
  options: { readonly admittedAt: Instant; readonly at: Instant },
): Stop {
  if (stop.end !== null) return stop;
  const since = coveredSince(stop.cidrs, remembered);
  // Of an entry that may still be taken away, the clock stands in the future.
  if (since === null || since > options.at) {
    return waiting(stop, troubleOf(stop, remembered.slot.report));
  }
  return {
    ...stop,
    waits: null,
    end: "read-back",
    readBackAt: Math.max(since, options.admittedAt),
    effectiveAt: since + stop.settleMs,
  };
}

/** Null when not all of them are there. */
function coveredSince(cidrs: readonly Cidr[], { slot, entries }: Remembered): Instant | null {
  if (!cidrs.every((cidr) => entries.covers(cidr))) return null;
  // One network may stand for many addresses; when they came into it, nobody wrote down.
  return Math.max(...cidrs.map((cidr) => slot.entries[cidr] ?? slot.checkedAt));
}

/** An arrival by an answer. A target that nobody had to look at is told by nothing else. */
export function hearArrival(
  stop: Stop,
  report: ListReport | undefined,
  options: { readonly isReady: boolean; readonly at: Instant },
): Stop {
  const { isReady, at } = options;
  if (stop.end !== null) return stop;
  const isThere = stop.gate ? isReady : report !== undefined && shows(report, stop.cidrs);
  if (isThere) return { ...stop, waits: null, end: "read-back", readBackAt: at, effectiveAt: at };
  return report === undefined ? stop : waiting(stop, troubleOf(stop, report) ?? stop.waits);
}

/** What did not change stays the same object. */
function waiting(stop: Stop, waits: string | null): Stop {
  return stop.waits === waits ? stop : { ...stop, waits };
}

function shows(report: ListReport, cidrs: readonly Cidr[]): boolean {
  return isSettled(report) && !cidrs.some((cidr) => report.add.includes(cidr));
}

/** Whether a report tells what a target held a moment ago. */
function isSettled({ state, reason }: ListReport): boolean {
  if (state === "converged" || state === "withheld") return true;
  return reason === "grace" || reason === "settling";
}

function troubleOf({ cidrs }: Stop, report: ListReport): string | null {
  const { state, reason, message, add } = report;
  const isBehind =
    state === "failed" || reason === "contended" || cidrs.some((cidr) => add.includes(cidr));
  return isBehind ? `${state}: ${reason ?? message}` : null;
}

/** A departure by what is remembered. */
export function recordDeparture(stop: Stop, { slot, entries }: Remembered): Stop {
  // Somebody wants it there, or it was judged by an older truth: the next answer tells.
  if (stop.cidrs.some((cidr) => entries.covers(cidr))) return stop;
  return hearDeparture(stop, slot.report, { isFinal: false });
}

/**
 * How a report sees addresses that the node does not want there any more. Only an answer is final:
 * a run that began before the snapshot came says nothing of what leaves with it.
 */
export function hearDeparture(
  stop: Stop,
  report: ListReport | undefined,
  options: { readonly isFinal: boolean },
): Stop {
  if (stop.end !== null || report === undefined) return stop;
  const { leaving, remove, state } = report;
  if (!touches(stop, [...leaving.map(({ cidr }) => cidr), ...remove])) {
    if (!isSettled(report)) return stop;
    if (stop.writtenAt !== null) return { ...stop, waits: null, end: "removed" };
    // Another cluster wants it, it is static, or the list only adds.
    return options.isFinal ? { ...stop, waits: null, end: "kept" } : stop;
  }
  const ends = leaving
    .filter(({ cidr }) => touches(stop, [cidr]))
    .map(({ until }) => Date.parse(until));
  const until = ends.length === 0 ? stop.until : Math.max(...ends);
  const waits = state === "withheld" ? `withheld: ${report.reason}` : null;
  return stop.until === until ? waiting(stop, waits) : { ...stop, until, waits };
}

/** Entries may be broader than the addresses of a node. */
function touches({ cidrs }: Stop, entries: readonly string[]): boolean {
  if (entries.length === 0) return false;
  const set = addressSet(entries as readonly Cidr[]);
  return cidrs.some((cidr) => set.overlaps(cidr));
}
