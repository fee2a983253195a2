import { type Cidr, isHost, parseAddress, parseCidr, sortCidrs } from "../lib/core/cidr.ts";
import type { Instant } from "../lib/core/record.ts";
import {
  NODE_ADDRESSES_MAX,
  NODE_POD_CIDRS_MAX,
  type Node,
  type NodeAddress,
} from "../lib/core/snapshot.ts";
import { GATE_CONDITION } from "./gate-patch.ts";
import { conditionMark } from "./gate-sight.ts";
import { isRecord, type JsonRecord, recordAt, textAt } from "./json.ts";
import type { GateMark } from "./variables.ts";

/** What is kept of a Node object: a few hundred bytes of its 10 to 30 KiB. */
export interface ObservedNode {
  readonly node: Node;
  /**
   * Texts of InternalIP and ExternalIP entries that are not sent: too many, or no IP addresses. The
   * first of them shows whether there are addresses among them ({@link isUnsentHost}).
   */
  readonly unsent: readonly string[];
  /**
   * What the gate has put on the node: with a taint its effects, ascending and joined by commas;
   * with a condition its status and reason, as "False/AllowlistPending". Null without any, and
   * where there is no gate. Never part of what is sent.
   */
  readonly mark: string | null;
  /** By the API server's clock; null where it does not say. */
  readonly createdAt: Instant | null;
}

/**
 * Addresses of these types are sent; Hostname, InternalDNS, ExternalDNS never. In the order of a
 * snapshot.
 */
const ADDRESS_TYPES: readonly NodeAddress["type"][] = ["ExternalIP", "InternalIP"];

// A receiver refuses what exceeds these, and Kubernetes admits no such objects.
const UID = /^[\x21-\x7e]{1,128}$/;
const NAME = /^[\x21-\x7e]{1,253}$/;
const LABEL_VALUE = /^[\x21-\x7e]{0,63}$/;
const UNSENT_CHARACTERS_MAX = 100;
const UNSENT_MAX = 32;

/**
 * A Node object of the API as ours, with the labels of the scope only. Conditions, images, taints
 * and readiness leave no trace but the gate's own mark, so a heartbeat of the kubelet changes
 * nothing and NotReady removes nothing. What `held` has of it is given back as it is where nothing
 * differs. Throws a RangeError for what is no Node object: it has no name or no uid.
 */
export function projectNode(
  object: unknown,
  options: {
    readonly labels: readonly string[];
    readonly mark: GateMark | null;
    readonly held: ReadonlyMap<string, ObservedNode>;
  },
): ObservedNode {
  const { uid, name, metadata } = readIdentity(object, "a node");
  const before = options.held.get(uid);
  const status = recordAt(object, "status");
  const spec = recordAt(object, "spec");
  const { addresses, unsent } = projectAddresses(status.addresses, before?.node.addresses ?? []);
  const node: Node = {
    uid,
    name,
    labels: projectLabels(recordAt(metadata, "labels"), options.labels),
    addresses,
    podCidrs: projectPodCidrs(spec, before?.node.podCidrs ?? []),
  };
  const mark = projectMark(options.mark, spec, status);
  if (before === undefined) {
    return { node, unsent, mark, createdAt: createdAtOf(metadata) };
  }
  const isSame = isSameNode(before.node, node);
  if (isSame && before.mark === mark && isSameList(before.unsent, unsent)) return before;
  return { node: isSame ? before.node : node, unsent, mark, createdAt: before.createdAt };
}

/** Whether a receiver is told the same of both. Both come from one projection. */
export function isSameNode(a: Node, b: Node): boolean {
  return (
    a.uid === b.uid &&
    a.name === b.name &&
    isSameLabels(a.labels, b.labels) &&
    isSameList(a.podCidrs, b.podCidrs) &&
    a.addresses.length === b.addresses.length &&
    a.addresses.every(({ type, address }, at) => {
      const other = b.addresses[at];
      return other?.type === type && other.address === address;
    })
  );
}

export function isSameLabels(
  a: Readonly<Record<string, string>>,
  b: Readonly<Record<string, string>>,
): boolean {
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => a[key] === b[key]);
}

export function isSameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((text, at) => text === b[at]);
}

/** Throws a RangeError for an object that nobody can be sure of. */
export function readIdentity(
  object: unknown,
  what: string,
): { readonly uid: string; readonly name: string; readonly metadata: JsonRecord } {
  const metadata = recordAt(object, "metadata");
  const uid = textAt(metadata, "uid");
  const name = textAt(metadata, "name");
  if (uid === null || name === null) {
    throw new RangeError(`Cannot read ${what}: it has no metadata.uid or no metadata.name`);
  }
  if (!UID.test(uid) || !NAME.test(name)) {
    throw new RangeError(`Cannot read ${what}: Kubernetes gives no such uid or name`);
  }
  return { uid, name, metadata };
}

/**
 * `metadata.resourceVersion`, which every object and list of the API carries; throws a RangeError
 * without.
 */
export function versionOf(object: unknown): string {
  const version = textAt(recordAt(object, "metadata"), "resourceVersion");
  if (version === null) {
    throw new RangeError("Cannot read an object: it has no metadata.resourceVersion");
  }
  return version;
}

/** `keys` ascending and unique. A value that no label can have is as good as none. */
export function projectLabels(
  given: JsonRecord,
  keys: readonly string[],
): Readonly<Record<string, string>> {
  const pairs = keys.flatMap((key) => {
    const value = Object.hasOwn(given, key) ? given[key] : undefined;
    return typeof value === "string" && LABEL_VALUE.test(value) ? [[key, value] as const] : [];
  });
  return Object.fromEntries(pairs);
}

/** Texts as hosts, each once and in order, and what is no host. */
export interface Hosts {
  readonly hosts: readonly Cidr[];
  readonly unsent: readonly string[];
}

/** `known` are hosts in order; given back as they are when the texts say the same. */
export function projectHosts(texts: readonly unknown[], known: readonly Cidr[]): Hosts {
  const hosts = new Set<Cidr>();
  const unsent: string[] = [];
  for (const text of texts) {
    const host = typeof text === "string" ? hostOf(text, known) : null;
    if (host === null) unsent.push(legible(text));
    else hosts.add(host);
  }
  const isKnown = hosts.size === known.length && known.every((host) => hosts.has(host));
  return { hosts: isKnown ? known : sortCidrs(hosts), unsent };
}

/** Nearly every text was seen before and is canonical: no need to parse it again. */
function hostOf(text: string, known: readonly Cidr[]): Cidr | null {
  const same = known.find((host) => host.startsWith(text) && host[text.length] === "/");
  return same ?? parseAddress(text);
}

/**
 * Each once, and so many and so long that people may read them. Addresses before what is none, each
 * in order: however much of the latter there is, it pushes no address out of sight.
 */
export function sortUnsent(texts: readonly string[]): readonly string[] {
  if (texts.length === 0) return texts;
  const sorted = [...new Set(texts)].toSorted();
  const hosts = sorted.filter(isUnsentHost);
  return [...hosts, ...sorted.filter((text) => !isUnsentHost(text))].slice(0, UNSENT_MAX);
}

/** Whether what is not sent is an address that there was no room for, rather than none at all. */
export function isUnsentHost(text: string): boolean {
  const cidr = parseCidr(text);
  return cidr !== null && isHost(cidr);
}

/** A copy: a piece of a long text would keep the whole of it in memory. */
function legible(given: unknown): string {
  const text = typeof given === "string" ? given : (JSON.stringify(given) ?? "nothing");
  return Buffer.from(text.slice(0, UNSENT_CHARACTERS_MAX)).toString();
}

/** Several addresses of one type are legal; each is sent once, in canonical form. */
function projectAddresses(
  given: unknown,
  known: readonly NodeAddress[],
): { readonly addresses: readonly NodeAddress[]; readonly unsent: readonly string[] } {
  const entries = Array.isArray(given) ? given.filter(isRecord) : [];
  const unsent: string[] = [];
  const addresses = ADDRESS_TYPES.flatMap((type) => {
    const texts = entries.filter((entry) => entry.type === type).map(({ address }) => address);
    const before = known.filter((host) => host.type === type).map(({ address }) => address);
    const projected = projectHosts(texts, before);
    unsent.push(...projected.unsent);
    return projected.hosts.map((address): NodeAddress => ({ type, address }));
  });
  for (const { address } of addresses.slice(NODE_ADDRESSES_MAX)) unsent.push(address);
  return { addresses: addresses.slice(0, NODE_ADDRESSES_MAX), unsent: sortUnsent(unsent) };
}

function projectPodCidrs(spec: JsonRecord, known: readonly Cidr[]): readonly Cidr[] {
  const given = Array.isArray(spec.podCIDRs) ? spec.podCIDRs : [spec.podCIDR];
  if (isSameList(given, known)) return known;
  const cidrs = given.flatMap((text) => {
    const cidr = typeof text === "string" ? parseCidr(text) : null;
    return cidr === null ? [] : [cidr];
  });
  return sortCidrs(cidrs).slice(0, NODE_POD_CIDRS_MAX);
}

function projectMark(mark: GateMark | null, spec: JsonRecord, status: JsonRecord): string | null {
  if (mark === null) return null;
  switch (mark.kind) {
    case "taint": {
      const effects = recordsOf(spec.taints)
        .filter(({ key }) => key === mark.key)
        .map((taint) => textAt(taint, "effect") ?? "");
      return effects.length === 0 ? null : effects.toSorted().join();
    }
    case "condition": {
      const found = recordsOf(status.conditions).find(({ type }) => type === GATE_CONDITION);
      if (found === undefined) return null;
      return conditionMark(textAt(found, "status") ?? "", textAt(found, "reason") ?? "");
    }
    default:
      throw new Error(`Unreachable: ${JSON.stringify(mark satisfies never)}`);
  }
}

function recordsOf(given: unknown): readonly JsonRecord[] {
  return Array.isArray(given) ? given.filter(isRecord) : [];
}

function createdAtOf(metadata: JsonRecord): Instant | null {
  const at = Date.parse(textAt(metadata, "creationTimestamp") ?? "");
  return Number.isNaN(at) ? null : at;
}
