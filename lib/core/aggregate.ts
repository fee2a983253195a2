import assert from "node:assert/strict";
import { mergeCidr } from "cidr-tools";
import {
  type Cidr,
  FAMILIES,
  type Family,
  familyOf,
  parseCidr,
  rangeOf,
  sortCidrs,
} from "./cidr.ts";

/**
 * The fewest networks that hold exactly the addresses of `cidrs`, sorted. Never a superset: a hole
 * of a single address stays a hole.
 */
export function aggregate(cidrs: readonly Cidr[]): Cidr[] {
  const merged = mergeCidr([...cidrs]).map((text) => {
    const cidr = parseCidr(text);
    assert(cidr !== null, `Cannot read the aggregate ${text}`);
    return cidr;
  });
  return sortCidrs(merged);
}

/** Addresses of any number of networks as one set: questions cost a binary search. */
export interface AddressSet {
  /** Whether every address of `cidr` is in the set, in however many pieces. */
  covers(cidr: Cidr): boolean;
  /** Whether any address of `cidr` is in the set. */
  overlaps(cidr: Cidr): boolean;
}

interface Range {
  readonly first: bigint;
  readonly last: bigint;
}

export function addressSet(cidrs: Iterable<Cidr>): AddressSet {
  const all = [...cidrs];
  const ofFamily = (family: Family) => all.filter((cidr) => familyOf(cidr) === family);
  const [ipv4, ipv6] = FAMILIES.map((family) => mergeRanges(ofFamily(family).map(rangeOf)));
  const rangesOf = (cidr: Cidr) => (familyOf(cidr) === "ipv4" ? ipv4 : ipv6) ?? [];
  return {
    covers(cidr) {
      const { first, last } = rangeOf(cidr);
      const found = firstEndingAt(rangesOf(cidr), first);
      return found !== undefined && found.first <= first && last <= found.last;
    },
    overlaps(cidr) {
      const { first, last } = rangeOf(cidr);
      const found = firstEndingAt(rangesOf(cidr), first);
      return found !== undefined && found.first <= last;
    },
  };
}

/** Ascending, and apart from each other by at least one address. */
function mergeRanges(ranges: readonly Range[]): readonly Range[] {
  const merged: Range[] = [];
  for (const range of ranges.toSorted((a, b) =>
    a.first < b.first ? -1 : a.first > b.first ? 1 : 0,
  )) {
    const before = merged.at(-1);
    if (before === undefined || range.first > before.last + 1n) merged.push(range);
    else if (range.last > before.last)
      merged[merged.length - 1] = { first: before.first, last: range.last };
  }
  return merged;
}

/** The first of the ranges that does not end before `address`. */
function firstEndingAt(ranges: readonly Range[], address: bigint): Range | undefined {
  let low = 0;
  let high = ranges.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const range = ranges[middle];
    if (range !== undefined && range.last < address) low = middle + 1;
    else high = middle;
  }
  return ranges[low];
}
