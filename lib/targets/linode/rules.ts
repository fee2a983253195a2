import type { FirewallMatch, FirewallRule, FirewallRules } from "../../clouds/linode.ts";
import { type Cidr, FAMILIES, familyOf, parseCidr } from "../../core/cidr.ts";
import { digestOf } from "../../core/digest.ts";
import { markerWithin } from "../../core/marker.ts";
import { type Permission, portsOf } from "../permission.ts";
import { TargetError } from "../target.ts";

/*
 * How rules of a Linode Cloud Firewall are read and written: ports in one form, what a rule
 * matches, what a list of rules means.
 */

// Limits of the operation put-firewall-rules: addresses of both families together, characters.
export const RULE_ADDRESSES_MAX = 255;
const DESCRIPTION_CHARACTERS_MAX = 100;

// Names of prefix lists stand among the addresses: `pl:<scope>:<list>:<key>` (get-prefixlists).
const PREFIX_LIST = "pl:";

/** Protocol and ports as Linode writes them; no ports where the protocol is all. */
export interface Slot {
  readonly protocol: "TCP" | "UDP" | "ALL";
  readonly ports: string | null;
}

const PROTOCOLS = { tcp: "TCP", udp: "UDP", all: "ALL" } as const;

/** The slot that a permission names: a range of one port is that port. */
export function slotOf(permission: Permission): Slot {
  const ports = portsOf(permission);
  const text = ports === null ? null : [...new Set(ports)].join("-");
  return { protocol: PROTOCOLS[permission.protocol], ports: text };
}

/** Rules for these addresses, as many in each as it takes. None for none: no rule may be empty. */
export function ownRules(
  cidrs: readonly Cidr[],
  { slot, text }: { readonly slot: Slot; readonly text: string },
): readonly FirewallRule[] {
  const description = markerWithin(text, DESCRIPTION_CHARACTERS_MAX);
  const marker = markerWithin(text, 0);
  return Array.from({ length: rulesFor(cidrs.length) }, (_, index) => {
    const first = index * RULE_ADDRESSES_MAX;
    const addresses = cidrs.slice(first, first + RULE_ADDRESSES_MAX);
    const byFamily = FAMILIES.map(
      (family) => [family, addresses.filter((cidr) => familyOf(cidr) === family)] as const,
    );
    const label = `${marker}-${index}`;
    const protocol = slot.protocol;
    const raw = {
      action: "ACCEPT",
      protocol,
      ...(slot.ports === null ? {} : { ports: slot.ports }),
      addresses: Object.fromEntries(byFamily.filter(([, some]) => some.length > 0)),
      label,
      description,
    };
    const match = { action: "ACCEPT", protocol, ports: slot.ports, addresses, label, description };
    return { raw, match: { ...match, action: "ACCEPT" } };
  });
}

function rulesFor(addresses: number): number {
  return Math.ceil(addresses / RULE_ADDRESSES_MAX);
}

/** What stands beside the addresses of a rule, and says whose they are. */
export function textOf({ description, label }: FirewallMatch): string | null {
  return description ?? label;
}

/** How many addresses stand in these rules, prefix lists included: Linode counts them alike. */
export function addressesIn(rules: readonly FirewallRule[]): number {
  return rules.reduce((sum, { match }) => sum + (match?.addresses?.length ?? 0), 0);
}

/**
 * Equal for rules that say the same, whatever form Linode gives to addresses, ports and what is
 * left out.
 */
export function meaningOf({
  inbound,
  outbound,
  inboundPolicy,
  outboundPolicy,
}: FirewallRules): string {
  const rules = [inbound, outbound].map((direction) =>
    direction.map(({ raw, match }) => {
      if (match === null) return { ruleset: raw.ruleset };
      const addresses = match.addresses?.map((text) => parseCidr(text) ?? text).toSorted();
      return { ...match, ports: portsText(match.ports), addresses };
    }),
  );
  return digestOf([rules, inboundPolicy, outboundPolicy]);
}

/**
 * The addresses of a rule. Prefix lists among them are nobody's entries: what they hold is kept
 * elsewhere, and changes without the firewall.
 */
export function listedCidrs(match: FirewallMatch, doing: string): readonly Cidr[] {
  const texts = match.addresses?.filter((text) => !text.startsWith(PREFIX_LIST)) ?? null;
  return readable(texts, match, doing);
}

/**
 * As {@link listedCidrs}, of a rule that is about to be written anew: it must be addresses only.
 */
export function ownCidrs(match: FirewallMatch, doing: string): readonly Cidr[] {
  return readable(match.addresses, match, doing);
}

function readable(
  texts: readonly string[] | null,
  match: FirewallMatch,
  doing: string,
): readonly Cidr[] {
  const cidrs = texts?.map((text) => parseCidr(text)) ?? [null];
  if (cidrs.every((cidr) => cidr !== null)) return cidrs;
  const rule =
    match.label === null ? "a rule without label" : `rule ${JSON.stringify(match.label)}`;
  throw new TargetError(
    "invalid",
    `Cannot ${doing}: ${rule} holds something else than addresses and networks; move that to a ` +
      "rule of its own, or write it like 192.0.2.1/32",
  );
}

/** Exactly this protocol and these ports: a rule that opens more is somebody's own matter. */
export function isOfSlot(match: FirewallMatch, slot: Slot): boolean {
  return match.protocol === slot.protocol && portsText(match.ports) === slot.ports;
}

/** Whether some traffic matches both. */
export function overlaps(match: FirewallMatch, slot: Slot): boolean {
  if (match.protocol === "ALL" || slot.protocol === "ALL") return true;
  if (match.protocol !== slot.protocol) return false;
  const [wanted] = rangesOf(slot.ports);
  const others = rangesOf(match.ports);
  if (wanted === undefined || others.length === 0) return true;
  // What is no number counts as overlapping, because this asks what may beat our rules.
  return others.some(([first, last]) => !(first > wanted[1] || wanted[0] > last));
}

/** `22, 80-90` in one form, or null for all ports. */
function portsText(ports: string | null): string | null {
  const ranges = rangesOf(ports).map((range) => [...new Set(range)].join("-"));
  return ranges.length === 0 ? null : ranges.join(",");
}

/** First and last ports; empty for all ports. */
function rangesOf(ports: string | null): readonly (readonly [number, number])[] {
  return (ports ?? "")
    .split(",")
    .map((piece) => piece.trim())
    .filter((piece) => piece !== "")
    .map((piece) => {
      const [first, last = first] = piece.split("-").map(Number);
      return [first ?? Number.NaN, last ?? Number.NaN] as const;
    });
}
