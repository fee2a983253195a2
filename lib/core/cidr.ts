import { containsCidr, normalizeCidr, overlapCidr, parseCidr as parseNetwork } from "cidr-tools";
import * as z from "zod/mini";

declare const canonical: unique symbol;

/**
 * A network in canonical text: lower case, RFC 5952, host bits zero, prefix length always written
 * (`203.0.113.16/32`, `2001:db8::/64`). Made only by the functions of this file.
 */
export type Cidr = string & { readonly [canonical]: true };

export type Family = "ipv4" | "ipv6";

export const FAMILIES: readonly Family[] = ["ipv4", "ipv6"];

const HOST_LENGTH: Readonly<Record<Family, number>> = { ipv4: 32, ipv6: 128 };

// cidr-tools does the arithmetic but believes any text ("256.1.1.1" becomes 0.1.1.1), so nothing
// reaches it that these patterns have not let through: no octal, no blanks, no zones, no short
// forms.
const ADDRESS = { ipv4: z.ipv4(), ipv6: z.ipv6() } as const;
const PREFIX_LENGTH = /^(0|[1-9][0-9]{0,2})$/;
const ADDRESS_TEXT_MAX = 45;

/**
 * The single host that `text` names, or null when it is not the text of an IP address. May be
 * forbidden: ask {@link forbiddenReason}.
 */
export function parseAddress(text: string): Cidr | null {
  const family = addressFamily(text);
  if (family === null) return null;
  return normalizeCidr(`${text}/${HOST_LENGTH[family]}`, { compress: true, hexify: true }) as Cidr;
}

/**
 * The network that `text` names, with host bits set to zero; a bare address is a single host. Null
 * when it is neither. May be anything up to /0, since people write such rules and we must read
 * them: what we may write is decided by {@link forbiddenReason} and the bounds.
 */
export function parseCidr(text: string): Cidr | null {
  const slash = text.indexOf("/");
  if (slash < 0) return parseAddress(text);
  const address = text.slice(0, slash);
  const length = text.slice(slash + 1);
  const family = addressFamily(address);
  if (family === null || !PREFIX_LENGTH.test(length)) return null;
  if (Number(length) > HOST_LENGTH[family]) return null;
  return normalizeCidr(`${address}/${length}`, { compress: true, hexify: true }) as Cidr;
}

function addressFamily(text: string): Family | null {
  if (text.length > ADDRESS_TEXT_MAX) return null;
  if (ADDRESS.ipv4.safeParse(text).success) return "ipv4";
  return ADDRESS.ipv6.safeParse(text).success ? "ipv6" : null;
}

export function familyOf(cidr: Cidr): Family {
  return cidr.includes(":") ? "ipv6" : "ipv4";
}

export function prefixLengthOf(cidr: Cidr): number {
  return Number(cidr.slice(cidr.indexOf("/") + 1));
}

export function isHost(cidr: Cidr): boolean {
  return prefixLengthOf(cidr) === HOST_LENGTH[familyOf(cidr)];
}

/**
 * `203.0.113.16` for a host, the CIDR itself otherwise: the form in which nodes and people write
 * it.
 */
export function addressText(cidr: Cidr): string {
  return isHost(cidr) ? cidr.slice(0, cidr.indexOf("/")) : cidr;
}

/** First and last address as numbers, for ordering and set arithmetic within one family. */
export function rangeOf(cidr: Cidr): { readonly first: bigint; readonly last: bigint } {
  const { start, end } = parseNetwork(cidr);
  return { first: start, last: end };
}

/** Each network once: IPv4 before IPv6, by first address, the broader first. */
export function sortCidrs(cidrs: Iterable<Cidr>): Cidr[] {
  const keyed = [...new Set(cidrs)].map((cidr) => ({
    cidr,
    family: familyOf(cidr),
    first: rangeOf(cidr).first,
    length: prefixLengthOf(cidr),
  }));
  keyed.sort((a, b) => {
    if (a.family !== b.family) return a.family < b.family ? -1 : 1;
    if (a.first !== b.first) return a.first < b.first ? -1 : 1;
    return a.length - b.length;
  });
  return keyed.map((key) => key.cidr);
}

/** Whether every address of `inner` lies in one of `outer`. */
export function isWithin(inner: Cidr, outer: readonly Cidr[]): boolean {
  const family = familyOf(inner);
  return outer.some((cidr) => familyOf(cidr) === family && containsCidr(cidr, inner));
}

export type ForbiddenReason =
  | "everything"
  | "unspecified"
  | "loopback"
  | "link-local"
  | "multicast"
  | "broadcast"
  | "v4-mapped";

// IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890).
const FORBIDDEN: readonly (readonly [ForbiddenReason, readonly string[]])[] = [
  ["unspecified", ["0.0.0.0/8", "::/128"]],
  ["loopback", ["127.0.0.0/8", "::1/128"]],
  ["link-local", ["169.254.0.0/16", "fe80::/10"]],
  ["multicast", ["224.0.0.0/4", "ff00::/8"]],
  ["broadcast", ["255.255.255.255/32"]],
  ["v4-mapped", ["::ffff:0:0/96"]],
];

/**
 * Why a cluster may never put this on a list, whatever its bounds; null when it may. Networks that
 * merely touch such a range count.
 */
export function forbiddenReason(cidr: Cidr): ForbiddenReason | null {
  if (prefixLengthOf(cidr) === 0) return "everything";
  const found = FORBIDDEN.find(([, ranges]) => overlapCidr(cidr, [...ranges]));
  return found?.[0] ?? null;
}

const NOT_GLOBAL = [
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "169.254.0.0/16",
  "172.16.0.0/12",
  "192.0.0.0/24",
  "192.0.2.0/24",
  "192.88.99.0/24",
  "192.168.0.0/16",
  "198.18.0.0/15",
  "198.51.100.0/24",
  "203.0.113.0/24",
  "224.0.0.0/3",
  "2001::/23",
  "2001:db8::/32",
  "2002::/16",
  "3fff::/20",
] as const;
const GLOBAL_IPV6 = "2000::/3";

/**
 * Whether this is a single host that the whole internet can route to (RFC 6890 "globally
 * reachable").
 */
export function isGlobalHost(cidr: Cidr): boolean {
  if (!isHost(cidr)) return false;
  if (familyOf(cidr) === "ipv6" && !containsCidr(GLOBAL_IPV6, cidr)) return false;
  return !overlapCidr(cidr, [...NOT_GLOBAL]);
}

/** Sorted, each once, by family: for backends that keep the families in fields of their own. */
export function byFamily(cidrs: Iterable<Cidr>): Readonly<Record<Family, readonly Cidr[]>> {
  const sorted = sortCidrs(cidrs);
  const of = (family: Family) => sorted.filter((cidr) => familyOf(cidr) === family);
  return { ipv4: of("ipv4"), ipv6: of("ipv6") };
}
