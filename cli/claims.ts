import type { Cidr } from "../lib/core/cidr.ts";
import { clustersOf, type Policy } from "../lib/core/list.ts";
import { membersOf } from "../lib/core/members.ts";
import type { Instant } from "../lib/core/record.ts";
import type { AdmittedSnapshot } from "../lib/core/snapshot.ts";
import type { Claim } from "./journey.ts";

/**
 * What the nodes of a snapshot want on the lists of a policy; nodes that want nothing are left out.
 */
export function claimsOf(
  snapshot: AdmittedSnapshot,
  policy: Policy,
  now: Instant,
): readonly Claim[] {
  const { cluster } = snapshot;
  const claims = new Map<
    string,
    { cidrs: Set<Cidr>; ungated: Set<string>; refused: string | null }
  >();
  const at = (uid: string) => {
    const claim = claims.get(uid) ?? { cidrs: new Set(), ungated: new Set(), refused: null };
    claims.set(uid, claim);
    return claim;
  };
  for (const list of policy.lists.filter((one) => clustersOf(one).includes(cluster))) {
    const membership = membersOf(list, { [cluster]: snapshot }, { policy, now });
    for (const { uid, cidr, cluster: from } of membership.members) {
      if (uid === null || from !== cluster) continue;
      at(uid).cidrs.add(cidr);
      if (!list.gate) at(uid).ungated.add(list.name);
    }
    const reasons = new Map(membership.refused.map(({ node, reason }) => [node, reason]));
    for (const { uid, node } of membership.refusedMembers) {
      if (uid !== null) at(uid).refused = `refused: ${reasons.get(node) ?? "forbidden"}`;
    }
  }
  return snapshot.nodes.flatMap(({ uid, name }) => {
    const claim = claims.get(uid);
    if (claim === undefined) return [];
    const { cidrs, ungated, refused } = claim;
    return [{ uid, node: name, cidrs: [...cidrs], ungated: [...ungated], refused }];
  });
}
