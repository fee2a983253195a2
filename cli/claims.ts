import { type Cidr, familyOf } from "../lib/core/cidr.ts";
import { clustersOf, type List, type Policy, type TargetConfig } from "../lib/core/list.ts";
import { membersOf } from "../lib/core/members.ts";
import type { Traits } from "../lib/core/observation.ts";
import type { Instant } from "../lib/core/record.ts";
import type { AdmittedSnapshot } from "../lib/core/snapshot.ts";
import type { Place } from "./journey-stops.ts";
import type { Claim } from "./journey-trip.ts";

export interface ClaimsOptions {
  readonly policy: Policy;
  readonly traitsOf: (target: TargetConfig) => Traits;
  readonly now: Instant;
}

/** One node, by list. */
interface Wish {
  readonly lists: Map<List, Set<Cidr>>;
  refused: string | null;
}

/**
 * What the nodes of a snapshot want on the targets of a policy; nodes that want nothing are left
 * out.
 */
export function claimsOf(snapshot: AdmittedSnapshot, options: ClaimsOptions): readonly Claim[] {
  const { policy, now } = options;
  const { cluster } = snapshot;
  const wishes = new Map<string, Wish>();
  const at = (uid: string) => {
    const wish = wishes.get(uid) ?? { lists: new Map(), refused: null };
    wishes.set(uid, wish);
    return wish;
  };
  for (const list of policy.lists.filter((one) => clustersOf(one).includes(cluster))) {
    // Nobody asks here for members that are not of this cluster.
    const asked = { policy, readings: {}, now };
    const membership = membersOf(list, { [cluster]: snapshot }, asked);
    for (const { uid, cidr, cluster: from } of membership.members) {
      if (uid === null || from !== cluster) continue;
      const { lists } = at(uid);
      lists.set(list, (lists.get(list) ?? new Set()).add(cidr));
    }
    const reasons = new Map(membership.refused.map(({ node, reason }) => [node, reason]));
    for (const { uid, node } of membership.refusedMembers) {
      if (uid !== null) at(uid).refused = `refused: ${reasons.get(node) ?? "forbidden"}`;
    }
  }
  return snapshot.nodes.flatMap(({ uid, name }) => {
    const wish = wishes.get(uid);
    if (wish === undefined) return [];
    const cidrs = new Set([...wish.lists.values()].flatMap((some) => [...some]));
    const places = [...wish.lists].flatMap(([list, some]) => placesOf(list, [...some], options));
    return [{ uid, node: name, cidrs: [...cidrs], places, refused: wish.refused }];
  });
}

/** A target of another family than an address skips it. */
function placesOf(
  list: List,
  cidrs: readonly Cidr[],
  { traitsOf }: ClaimsOptions,
): readonly Place[] {
  return list.targets.flatMap((target) => {
    const { families, settleMs } = traitsOf(target);
    const held = cidrs.filter((cidr) => families.includes(familyOf(cidr)));
    if (held.length === 0) return [];
    return [{ list: list.name, target: target.name, gate: list.gate, settleMs, cidrs: held }];
  });
}
