import type { FirewallRule, FirewallRules } from "../../clouds/linode.ts";
import { FAMILIES } from "../../core/cidr.ts";
import type { Capacity } from "../../core/observation.ts";
import { TargetError } from "../target.ts";
import { addressesIn, RULE_ADDRESSES_MAX } from "./rules.ts";

/*
 * How much a Linode Cloud Firewall takes.
 */

// Limit of the operation put-firewall-rules, of both directions together.
export const RULES_MAX = 25;

/** Before the write, so that nothing is taken away to make room. */
export function refuseFull(
  sent: FirewallRules,
  options: {
    readonly rules: readonly FirewallRule[];
    readonly limit: number | null;
    readonly doing: string;
  },
): void {
  const { rules, limit, doing } = options;
  const total = sent.inbound.length + sent.outbound.length;
  if (total > RULES_MAX) {
    throw new TargetError(
      "full",
      `Cannot ${doing}: ${total - rules.length} rules of others, both directions together, leave ` +
        `no room for the ${rules.length} that these addresses need, at ${RULE_ADDRESSES_MAX} ` +
        `addresses a rule and ${RULES_MAX} rules a firewall; remove rules, or list fewer`,
    );
  }
  const addresses = inboundAddresses(sent);
  if (limit !== null && addresses > limit) {
    throw new TargetError(
      "full",
      `Cannot ${doing}: ${addresses} addresses would stand where its limit is ${limit}; ` +
        "raise the " +
        "limit, or list fewer",
    );
  }
}

/**
 * Room in addresses of ours: whole rules that others leave us, or what a configured limit leaves,
 * whichever is less.
 */
export function capacityOf(
  state: FirewallRules,
  ours: readonly FirewallRule[],
  limit: number | null,
): Capacity {
  const families = FAMILIES;
  const others = state.inbound.length + state.outbound.length - ours.length;
  const backend = {
    families,
    used: addressesIn(ours),
    limit: Math.max(0, RULES_MAX - others) * RULE_ADDRESSES_MAX,
  };
  if (limit === null) return backend;
  const configured = { families, used: inboundAddresses(state), limit };
  return configured.limit - configured.used < backend.limit - backend.used ? configured : backend;
}

/** Of ours and of others, of all slots. */
function inboundAddresses({ inbound }: FirewallRules): number {
  return addressesIn(inbound);
}
