import { type AddressSet, addressSet, aggregate } from "./aggregate.ts";
import { type Cidr, familyOf, parseCidr, prefixLengthOf, sortCidrs } from "./cidr.ts";
import { type Owner, ownership } from "./marker.ts";
import type { Capacity, Observation, ObservedEntry, Traits } from "./observation.ts";
import type { Clocks, Instant } from "./record.ts";

/** How long a removal of ours outweighs a read that still shows the entry. */
export const REMOVED_MEMORY_MS = 60_000;

export interface PlanQuestion {
  /** What the target should hold: bounds checked, families cut, sorted. */
  readonly desired: readonly Cidr[];
  readonly observation: Observation;
  readonly traits: Traits;
  readonly owner: Owner;
  /** What we removed, and when. */
  readonly removed: Clocks;
  /** Since when desired entries were read back: where room is short, who was there comes first. */
  readonly known: Clocks;
  readonly now: Instant;
  /** The backend has refused for want of room in this run. */
  readonly full: boolean;
}

/**
 * The difference between what is desired and what was read, with every entry's owner decided here
 * and nowhere else.
 *
 * | on the target             | within the desired addresses   | else                         |
 * |---------------------------|--------------------------------|------------------------------|
 * | ours                      | stays, whatever its shape      | unwanted: its grace begins   |
 * | somebody's, identical     | borrowed: counts as covered    | foreign: untouched           |
 * | somebody's, wider         | foreign: ours is added beside  | foreign: untouched           |
 * | of another list of ours   | as somebody's                  | orphaned: counted, untouched |
 */
export interface Plan {
  readonly owned: readonly Cidr[];
  /** Desired and present identically as somebody else's entry. */
  readonly borrowed: readonly Cidr[];
  readonly foreign: number;
  readonly orphaned: number;
  /** To add now, sorted; fits into the room that is known. */
  readonly add: readonly Cidr[];
  /** Desired and not covered, for want of room. */
  readonly unfit: readonly Cidr[];
  /** Desired addresses that nothing which was read covers. */
  readonly missing: readonly Cidr[];
  /** Ours and reaching beyond the desired addresses. */
  readonly unwanted: readonly Cidr[];
  /** Those of `unwanted` whose removal uncovers no desired address, replacements counted in. */
  readonly removable: ReadonlySet<string>;
  /**
   * Where entries may not overlap: the desired entries inside an unwanted one that nothing else
   * covers, by that entry. They can only be written by the call that removes it.
   */
  readonly replacements: ReadonlyMap<Cidr, readonly Cidr[]>;
  /** Those of `unwanted` that cover a desired address: others take their place first. */
  readonly spanning: ReadonlySet<string>;
  /** Whether all that counts as ours bears our marker, beside it or as its container's name. */
  readonly marked: boolean;
  /** Desired addresses that a foreign deny entry beats. */
  readonly shadowed: readonly Cidr[];
  /**
   * Removed by us a moment ago, still shown by the read, and not desired: neither here nor surely
   * gone.
   */
  readonly late: readonly Cidr[];
  /** Removed by us a moment ago and not desired, whether the read shows them or not. */
  readonly gone: readonly Cidr[];
  /** Everything that allows, whoever's. */
  readonly total: number;
  /** Desired entries that what was read covers, in whatever shape. */
  readonly covered: readonly Cidr[];
  /**
   * How many desired entries are covered or will be by what is added: what there is no room for
   * does not count.
   */
  readonly size: number;
  /**
   * Everything of the observation that allows a desired address: owned of any shape, and borrowed.
   */
  readonly coverage: AddressSet;
}

/**
 * Pure. Never plans to add outside `desired`, never to remove what is not ours or is still needed.
 */
export function planChanges(question: PlanQuestion): Plan {
  const { desired, observation, traits } = question;
  const wanted = addressSet(desired);
  const present = observation.entries.filter((entry) => !isLateRead(entry, question));
  const late = observation.entries.filter((entry) => isLateRead(entry, question));
  const lateCidrs = sortCidrs(late.map((entry) => entry.cidr)).filter(
    (cidr) => !wanted.covers(cidr),
  );
  const split = splitByOwner(present, traits, question.owner);
  const denied = addressSet(split.denied);
  const owned = sortCidrs(split.owned);
  const good = owned.filter((cidr) => wanted.covers(cidr));
  const unwanted = owned.filter((cidr) => !wanted.covers(cidr));
  const foreign = new Set<string>(split.others);
  const ours = new Set<string>(owned);
  const borrowed = desired.filter((cidr) => foreign.has(cidr) && !ours.has(cidr));
  const kept = addressSet([...good, ...borrowed]);
  const uncovered = desired.filter((cidr) => !kept.covers(cidr));
  const coverage = addressSet([...owned, ...borrowed]);
  const { add, unfit } = fit(uncovered, { question, good, unwanted, late: lateCidrs, kept });
  const reached = addressSet([...owned, ...borrowed, ...add]);
  const narrowing = replacementsOf(unwanted, { question, added: add.length });
  return {
    owned,
    borrowed,
    foreign: split.foreign,
    orphaned: split.orphaned,
    add,
    unfit: sortCidrs([...unfit, ...narrowing.unfit]),
    missing: uncovered.filter((cidr) => !coverage.covers(cidr)),
    unwanted,
    removable: removableOf(unwanted, { desired, kept, replacements: narrowing.replacements }),
    replacements: narrowing.replacements,
    spanning: new Set(unwanted.filter((cidr) => wanted.overlaps(cidr))),
    marked: split.marked,
    shadowed: desired.filter((cidr) => denied.overlaps(cidr)),
    late: lateCidrs,
    gone: goneOf(question).filter((cidr) => !wanted.covers(cidr)),
    total: split.owned.length + split.others.length,
    covered: desired.filter((cidr) => coverage.covers(cidr)),
    size: desired.filter((cidr) => reached.covers(cidr)).length,
    coverage,
  };
}

/**
 * Whether this is an entry that we removed a moment ago: the read may lag, or the removal may still
 * be on its way. Counting it as absent makes a desired one be added again, which is harmless.
 */
function isLateRead(entry: ObservedEntry, { removed, now }: PlanQuestion): boolean {
  return isRecent(removed[entry.cidr], now);
}

// A time from a clock that ran ahead must not count for ever.
function isRecent(removedAt: Instant | undefined, now: Instant): boolean {
  return removedAt !== undefined && Math.abs(now - removedAt) < REMOVED_MEMORY_MS;
}

function goneOf({ removed, now }: PlanQuestion): readonly Cidr[] {
  const recent = Object.entries(removed).filter(([, at]) => isRecent(at, now));
  return sortCidrs(recent.flatMap(([text]) => parseCidr(text) ?? []));
}

/** What of an observation is ours. */
export function ownedOf(observation: Observation, traits: Traits, owner: Owner): readonly Cidr[] {
  return splitByOwner(observation.entries, traits, owner).owned;
}

interface Split {
  readonly owned: readonly Cidr[];
  /** Allow entries that are not ours, orphaned ones included. */
  readonly others: readonly Cidr[];
  readonly denied: readonly Cidr[];
  readonly foreign: number;
  readonly orphaned: number;
  readonly marked: boolean;
}

function splitByOwner(entries: readonly ObservedEntry[], traits: Traits, owner: Owner): Split {
  const byText = ownership(owner);
  const owned: Cidr[] = [];
  const others: Cidr[] = [];
  const denied: Cidr[] = [];
  let orphaned = 0;
  let marked = traits.marking !== "none";
  for (const { cidr, text, effect } of entries) {
    // In a container of ours, or on a target declared exclusive, every allow entry is ours.
    const whose = traits.marking === "entry" ? byText(text) : "owned";
    if (effect === "deny") denied.push(cidr);
    else if (whose === "owned") owned.push(cidr);
    else others.push(cidr);
    if (effect === "allow" && whose === "orphaned") orphaned += 1;
    if (effect === "allow" && whose === "owned") marked &&= byText(text) === "owned";
  }
  const foreign = others.length + denied.length - orphaned;
  return { owned, others, denied, foreign, orphaned, marked };
}

interface Fitting {
  readonly add: readonly Cidr[];
  readonly unfit: readonly Cidr[];
}

/**
 * What can be added of what is not covered. Exact aggregation only when single entries do not fit,
 * then whatever fits in sorted order.
 */
function fit(
  uncovered: readonly Cidr[],
  found: {
    readonly question: PlanQuestion;
    readonly good: readonly Cidr[];
    readonly unwanted: readonly Cidr[];
    /** Removed a moment ago and still shown: what is inside them cannot be written beside them. */
    readonly late: readonly Cidr[];
    readonly kept: AddressSet;
  },
): Fitting {
  const { question, good, kept } = found;
  const { desired, observation, traits, full } = question;
  // Where entries may not overlap, a piece of a broader entry of ours cannot be written beside it.
  const blocked = addressSet(traits.overlap ? [] : [...found.unwanted, ...found.late]);
  const free = (cidrs: readonly Cidr[]) => cidrs.filter((cidr) => !blocked.overlaps(cidr));
  const addable = longestFirst(free(uncovered), question.known);
  const { capacity } = observation;
  // What stands inside an entry goes with its addition, where both may not stand.
  const parts = traits.overlap ? [] : good;
  const single = intoRoom(priced(addable, parts), capacity);
  if ((single.unfit.length === 0 && !full) || !traits.ranges) return single;
  const whole = aggregate(desired);
  // Whatever a configuration says: everything is never an entry.
  if (whole.some((cidr) => prefixLengthOf(cidr) === 0)) return single;
  const merged = priced(free(whole), parts).filter(
    ({ cidr, costs }) => !kept.covers(cidr) || costs < 0,
  );
  const sum = merged.reduce((total, { costs }) => total + costs, 0);
  return sum < addable.length ? intoRoom(merged, capacity) : single;
}

/**
 * Those that were read back before, the longest first, then the others in their order. A read that
 * is late must not give the place of one that is there to one that is new.
 */
function longestFirst(cidrs: readonly Cidr[], known: Clocks): readonly Cidr[] {
  const since = (cidr: Cidr) => known[cidr] ?? Number.MAX_SAFE_INTEGER;
  return cidrs.toSorted((a, b) => since(a) - since(b));
}

interface Priced {
  readonly cidr: Cidr;
  /** Entries more than before, once it is there. */
  readonly costs: number;
}

function priced(cidrs: readonly Cidr[], parts: readonly Cidr[]): readonly Priced[] {
  return cidrs.map((cidr) => {
    if (parts.length === 0) return { cidr, costs: 1 };
    const inside = addressSet([cidr]);
    return { cidr, costs: 1 - parts.filter((one) => inside.covers(one)).length };
  });
}

/** As many as there is room for: first those that make room, then the others in their order. */
function intoRoom(entries: readonly Priced[], capacity: readonly Capacity[]): Fitting {
  const rooms = capacity.map((pool) => ({
    families: pool.families,
    left: pool.limit - pool.used,
  }));
  const add: Cidr[] = [];
  const unfit: Cidr[] = [];
  for (const { cidr, costs } of entries.toSorted((a, b) => a.costs - b.costs)) {
    const room = rooms.find((pool) => pool.families.includes(familyOf(cidr)));
    // An object that is fuller than its limit takes what makes it smaller.
    if (room !== undefined && costs > 0 && room.left < costs) {
      unfit.push(cidr);
      continue;
    }
    if (room !== undefined) room.left -= costs;
    add.push(cidr);
  }
  return { add: sortCidrs(add), unfit: sortCidrs(unfit) };
}

/**
 * What has to be written by the call that removes an entry, where entries may not overlap. What
 * there is no room for keeps its broad entry, and is said not to fit.
 */
function replacementsOf(
  unwanted: readonly Cidr[],
  found: {
    readonly question: PlanQuestion;
    /** Entries that are added before. */
    readonly added: number;
  },
): { readonly replacements: ReadonlyMap<Cidr, readonly Cidr[]>; readonly unfit: readonly Cidr[] } {
  const { desired, observation, traits } = found.question;
  const replacements = new Map<Cidr, readonly Cidr[]>();
  const unfit: Cidr[] = [];
  if (traits.overlap) return { replacements, unfit };
  const left = Math.min(...observation.capacity.map(({ limit, used }) => limit - used));
  // An object that is fuller than its limit takes what makes it no fuller.
  let room = Math.max(0, left - found.added);
  for (const cidr of unwanted) {
    const inside = addressSet([cidr]);
    // Nothing else covers them: it would overlap.
    const open = desired.filter((one) => inside.covers(one));
    if (open.length === 0) continue;
    const merged = open.length - 1 > room ? aggregate(open) : open;
    if (merged.length - 1 > room || merged.length >= traits.batchMax) {
      unfit.push(...open);
      continue;
    }
    room -= merged.length - 1;
    replacements.set(cidr, merged);
  }
  return { replacements, unfit };
}

/**
 * An entry may go only when every desired address inside it was read back elsewhere, or is written
 * by the very call that removes it.
 */
function removableOf(
  unwanted: readonly Cidr[],
  found: {
    readonly desired: readonly Cidr[];
    readonly kept: AddressSet;
    readonly replacements: Plan["replacements"];
  },
): ReadonlySet<string> {
  const { desired, kept, replacements } = found;
  const wanted = addressSet(desired);
  return new Set(
    unwanted.filter((cidr) => {
      if (!wanted.overlaps(cidr) || replacements.has(cidr)) return true;
      const inside = addressSet([cidr]);
      return desired.filter((one) => inside.overlaps(one)).every((one) => kept.covers(one));
    }),
  );
}
