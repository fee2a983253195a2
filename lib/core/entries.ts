import { addressSet } from "./aggregate.ts";
import { type Cidr, familyOf, isHost, sortCidrs } from "./cidr.ts";
import type { Policy } from "./list.ts";
import { type Member, refusal } from "./members.ts";
import type { Traits } from "./observation.ts";
import type { Refusal } from "./report.ts";

/** What a list wants on one target. */
export interface DesiredEntries {
  /** Sorted, each once, within bounds, of families the target holds. */
  readonly cidrs: readonly Cidr[];
  readonly refused: readonly Refusal[];
  /** Members of a family that the target does not hold; skipped without harm. */
  readonly skipped: number;
}

/**
 * The union of a list's members, cut to what a target can hold. Where a cluster gives more than its
 * `maxEntries`, those already on the target stay first, then sorted order decides: a flood of new
 * addresses may not push out the old.
 */
export function desiredEntries(
  members: readonly Member[],
  present: ReadonlySet<string>,
  options: { readonly policy: Policy; readonly traits: Traits },
): DesiredEntries {
  const { policy, traits } = options;
  const held = members.filter((member) => traits.families.includes(familyOf(member.cidr)));
  const fitting = traits.ranges ? held : held.filter((member) => isHost(member.cidr));
  const tooWide = traits.ranges ? [] : held.filter((member) => !isHost(member.cidr));
  const excess = excessOf(fitting, present, policy);
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
  present: ReadonlySet<string>,
  policy: Policy,
): ReadonlySet<string> {
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
    const sorted = sortCidrs(cidrs);
    const ranked = [
      ...sorted.filter((cidr) => present.has(cidr)),
      ...sorted.filter((cidr) => !present.has(cidr)),
    ];
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

// Only a single broader network makes an entry superfluous; several that together make it up do not.
function isEqualUnion(cidr: Cidr, broader: readonly Cidr[]): boolean {
  return !broader.some((range) => addressSet([range]).covers(cidr));
}
