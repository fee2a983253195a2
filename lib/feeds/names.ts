import { createHash } from "node:crypto";
import type { Family } from "../core/cidr.ts";

/*
 * Names that people write into the rules of their hosts and devices. They are derived from the
 * list's name alone and never change for it.
 */

/**
 * Longest part of a list's name in a name that the kernel limits: a set of ipset has at most 31
 * characters (IPSET_MAXNAMELEN), a chain of iptables 28 (XT_EXTENSION_MAXNAMELEN), and both have a
 * prefix and a suffix of ours.
 */
const SHORT_CHARACTERS_MAX = 25;
const DIGEST_CHARACTERS = 7;

/**
 * The list's name, or its first 17 characters, "-" and 7 of its SHA-256 in hexadecimal where it is
 * longer than 25.
 */
function shortName(list: string): string {
  if (list.length <= SHORT_CHARACTERS_MAX) return list;
  const digest = createHash("sha256").update(list).digest("hex").slice(0, DIGEST_CHARACTERS);
  return `${list.slice(0, SHORT_CHARACTERS_MAX - DIGEST_CHARACTERS - 1)}-${digest}`;
}

/** The table that all sets of nftables are in, as `nft` wants it. */
export const NFT_TABLE = "inet kube_allowlist";

/**
 * `payments_db_v4` for the list payments-db: letters, digits and "_" only, the first of them no
 * digit.
 */
export function nftSetName(list: string, family: Family): string {
  const letters = list.replaceAll("-", "_");
  return `${/^[0-9]/.test(letters) ? "_" : ""}${letters}_${versionOf(family)}`;
}

/** `ka-payments-db-v4`. */
export function ipsetName(list: string, family: Family): string {
  return `ka-${shortName(list)}-${versionOf(family)}`;
}

/** What a set is filled under before it takes the place of the one in use: `ka-payments-db-n4`. */
export function ipsetNextName(list: string, family: Family): string {
  return `ka-${shortName(list)}-${versionOf(family).replace("v", "n")}`;
}

/** `KA-PAYMENTS-DB`, in either of iptables and ip6tables. */
export function chainName(list: string): string {
  return `KA-${shortName(list).toUpperCase()}`;
}

/** `ka-payments-db`, for both families. */
export function addressListName(list: string): string {
  return `ka-${list}`;
}

function versionOf(family: Family): "v4" | "v6" {
  return family === "ipv4" ? "v4" : "v6";
}
