import { type Cidr, parseAddress, parseCidr, sortCidrs } from "../lib/core/cidr.ts";
import {
  NODE_ADDRESSES_MAX,
  NODE_POD_CIDRS_MAX,
  type Node,
  type NodeAddress,
} from "../lib/core/snapshot.ts";
import { isRecord, type JsonRecord, recordAt, textAt } from "./json.ts";

/** What is kept of a Node object: a few hundred bytes of its 10 to 30 KiB. */
export interface ObservedNode {
  readonly node: Node;
  /** Texts of InternalIP and ExternalIP entries that are not sent: no IP addresses, or too many. */
  readonly unsent: readonly string[];
}

/**
 * Addresses of these types are sent; Hostname, InternalDNS, ExternalDNS never. In the order of a
 * snapshot.
 */
const ADDRESS_TYPES: readonly NodeAddress["type"][] = ["ExternalIP", "InternalIP"];

/**
 * A Node object of the API as ours, with the labels of the scope only. Conditions, images, taints
 * and
 * readiness leave no trace, so a heartbeat of the kubelet changes nothing and NotReady removes
 * nothing.
 * Throws a RangeError for what is no Node object: it has no name or no uid.
 */
export function projectNode(object: unknown, labels: readonly string[]): ObservedNode {
  if (!isRecord(object)) throw new RangeError("Cannot read a node: it is no object");
  const metadata = recordAt(object, "metadata");
  const uid = textAt(metadata, "uid");
  const name = textAt(metadata, "name");
  if (uid === null || name === null) {
    throw new RangeError("Cannot read a node: it has no metadata.uid or no metadata.name");
  }
  const { addresses, unsent } = projectAddresses(recordAt(object, "status").addresses);
  const node: Node = {
    uid,
    name,
    labels: projectLabels(recordAt(metadata, "labels"), labels),
    addresses,
    podCidrs: projectPodCidrs(recordAt(object, "spec")),
  };
  return { node, unsent };
}

/**
 * `metadata.resourceVersion`, which every object and list of the API carries; throws a RangeError
 * without.
 */
export function versionOf(object: unknown): string {
  const version = isRecord(object) ? textAt(recordAt(object, "metadata"), "resourceVersion") : null;
  if (version === null) {
    throw new RangeError("Cannot read an object: it has no metadata.resourceVersion");
  }
  return version;
}

function projectLabels(
  given: JsonRecord,
  labels: readonly string[],
): Readonly<Record<string, string>> {
  const pairs = [...new Set(labels)].toSorted().flatMap((key) => {
    const value = Object.hasOwn(given, key) ? given[key] : undefined;
    return typeof value === "string" ? [[key, value] as const] : [];
  });
  return Object.fromEntries(pairs);
}

/** Several addresses of one type are legal; each is sent once, in canonical form. */
function projectAddresses(given: unknown): {
  readonly addresses: readonly NodeAddress[];
  readonly unsent: readonly string[];
} {
  const entries = Array.isArray(given) ? given.filter(isRecord) : [];
  const unsent = new Set<string>();
  const addresses = ADDRESS_TYPES.flatMap((type) => {
    const hosts: Cidr[] = [];
    for (const entry of entries) {
      if (entry.type !== type) continue;
      const host = typeof entry.address === "string" ? parseAddress(entry.address) : null;
      if (host === null) unsent.add(String(entry.address));
      else hosts.push(host);
    }
    return sortCidrs(hosts).map((address): NodeAddress => ({ type, address }));
  });
  for (const { address } of addresses.slice(NODE_ADDRESSES_MAX)) unsent.add(address);
  return { addresses: addresses.slice(0, NODE_ADDRESSES_MAX), unsent: [...unsent].toSorted() };
}

function projectPodCidrs(spec: JsonRecord): readonly Cidr[] {
  const given = Array.isArray(spec.podCIDRs) ? spec.podCIDRs : [spec.podCIDR];
  const cidrs = given.flatMap((text) => {
    const cidr = typeof text === "string" ? parseCidr(text) : null;
    return cidr === null ? [] : [cidr];
  });
  return sortCidrs(cidrs).slice(0, NODE_POD_CIDRS_MAX);
}
