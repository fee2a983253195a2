import { type AddressSet, addressSet } from "./aggregate.ts";
import { type Cidr, familyOf, isHost, sortCidrs } from "./cidr.ts";
import type { Policy } from "./list.ts";
import { type Member, refusal } from "./members.ts";
import type { Traits } from "./observation.ts";
import type { Clocks } from "./record.ts";
import type { Refusal } from "./report.ts";

/** What a list wants on one target. */
export interface DesiredEntries {
  /** Sorted, each once, within bounds, of families the target holds. */
  readonly cidrs: readonly Cidr[];
  readonly refused: readonly Refusal[];
  /** Members of a family that the target does not hold; skipped without harm. */
  readonly skipped: number;
}

export interface EntriesQuestion {
  readonly policy: Policy;
  readonly traits: Traits;
  /** Since when an address was desired and read back: who was there first stays first. */
  readonly wantedSince: Clocks;
  /** What of the target is ours, in whatever shape. */
  readonly owned: AddressSet;
}

/**
 * The union of a list's members, cut to what a target can hold. Where a cluster gives more than its
 * `maxEntries`, those already on the target stay first, the oldest before all, then sorted order
 * decides: a flood of new addresses may not push out a running node.
 */
export function desiredEntries(
  members: readonly Member[],
  options: EntriesQuestion,
): DesiredEntries {
  const { traits } = options;
  const held = members.filter((member) => traits.families.includes(familyOf(member.cidr)));
  const fitting = traits.ranges ? held : held.filter((member) => isHost(member.cidr));
  const tooWide = traits.ranges ? [] : held.filter((member) => !isHost(member.cidr));
  const excess = excessOf(fitting, options);
  const cidrs = sortCidrs(
    fitting.filter((member) => !excess.has(keyOf(member))).map((member) => member.cidr),
  );
  const listed = new Set<string>(cidrs);
  return {
    cidrs: traits.overlap ? cidrs : withoutCovered(cidrs),
    refused: [
      ...tooWide.map((member) => refusal(member, "too-wide")),
      ...fitting
        // An address that another cluster or a static member brings is on the list all the same.
        .filter((member) => excess.has(keyOf(member)) && !listed.has(member.cidr))
        .map((member) => refusal(member, "max-entries")),
    ],
    skipped: members.length - held.length,
  };
}

function keyOf(member: Member): string {
  return `${member.cluster ?? ""} ${member.cidr}`;
}

/** Keys of the members beyond their cluster's `maxEntries`. */
function excessOf(
  members: readonly Member[],
  { policy, wantedSince, owned }: EntriesQuestion,
): ReadonlySet<string> {
  const since = (cidr: Cidr) =>
    wantedSince[cidr] ?? (owned.covers(cidr) ? Number.MAX_SAFE_INTEGER : Number.POSITIVE_INFINITY);
  const byCluster = new Map<string, Set<Cidr>>();
  for (const { cluster, cidr } of members) {
    if (cluster === null) continue;
    const cidrs = byCluster.get(cluster) ?? new Set();
    byCluster.set(cluster, cidrs.add(cidr));
  }
  const excess = new Set<string>();
  for (const [cluster, cidrs] of byCluster) {
    const max = policy.clusters[cluster]?.maxEntries ?? 0;
    if (cidrs.size <= max) continue;
    // Sorting is stable, so what ranks equal stays in the order of its addresses.
    const ranked = sortCidrs(cidrs)
      .map((cidr) => ({ cidr, since: since(cidr) }))
      .toSorted((a, b) => (a.since === b.since ? 0 : a.since < b.since ? -1 : 1))
      .map(({ cidr }) => cidr);
    for (const cidr of ranked.slice(max)) excess.add(`${cluster} ${cidr}`);
  }
  return excess;
}

/** Without those that a broader one of the same set contains, for backends that refuse overlaps. */
function withoutCovered(cidrs: readonly Cidr[]): readonly Cidr[] {
  const ranges = cidrs.filter((cidr) => !isHost(cidr));
  if (ranges.length === 0) return cidrs;
  return cidrs.filter((cidr) => {
    const broader = ranges.filter((range) => range !== cidr && familyOf(range) === familyOf(cidr));
    return !addressSet(broader).covers(cidr) || isEqualUnion(cidr, broader);
  });
}

// Only a single broader network makes an entry superfluous; several that together make it up do
// not.
function isEqualUnion(cidr: Cidr, broader: readonly Cidr[]): boolean {
  return !broader.some((range) => addressSet([range]).covers(cidr));
}
