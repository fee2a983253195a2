import assert from "node:assert/strict";
import { type Cidr, parseCidr } from "../../lib/core/cidr.ts";
import type { Cluster, List, Policy, Removal, Source } from "../../lib/core/list.ts";
import { markerText } from "../../lib/core/marker.ts";
import type { Observation, ObservedEntry, Traits } from "../../lib/core/observation.ts";
import type { DnsName, Subnet } from "../../lib/core/outside.ts";
import type { AdmittedSnapshot, Node, Pod } from "../../lib/core/snapshot.ts";
import { MEMORY_TRAITS } from "../../lib/targets/memory.ts";
import { START } from "../virtual-world.ts";

/** Examples that the tests of the core share. */

export function cidr(text: string): Cidr {
  const parsed = parseCidr(text);
  assert(parsed !== null, `${text} is a CIDR`);
  return parsed;
}

export const cidrs = (...texts: readonly string[]): Cidr[] => texts.map(cidr);

/** `count` hosts of 203.0.113.0/24 from `first` on. */
export function hosts(count: number, first = 1): Cidr[] {
  return Array.from({ length: count }, (_, index) => cidr(`203.0.113.${first + index}`));
}

export const GRACE_MS = 300_000;

export const REMOVAL: Removal = {
  policy: "sync",
  graceMs: GRACE_MS,
  maxRatio: 0.3,
  minRemaining: 1,
  acceptAfterMs: null,
};

export function cluster(name: string, given: Partial<Cluster> = {}): Cluster {
  return {
    name,
    bounds: cidrs("203.0.113.0/24", "10.0.0.0/8", "2001:db8::/32"),
    maxEntries: 1_000,
    staleAfterMs: 900_000,
    uid: null,
    retired: false,
    widest: { ipv4: 20, ipv6: 56 },
    ...given,
  };
}

export const EXTERNAL: Extract<Source, { kind: "nodes" }> = {
  kind: "nodes",
  cluster: "eu",
  labels: {},
  addresses: ["ExternalIP"],
};

export const API: Extract<Source, { kind: "pods" }> = {
  kind: "pods",
  cluster: "eu",
  namespace: "pay",
  labels: { app: "api" },
};

/** What a forwarder looked at that was told to follow {@link API}. */
export const API_SCOPE = { labels: [], pods: [{ namespace: "pay", labels: { app: "api" } }] };

export function list(given: Partial<List> = {}): List {
  return {
    name: "db",
    sources: [EXTERNAL],
    removal: REMOVAL,
    targets: [memoryConfig("one")],
    gate: true,
    formerly: [],
    ...given,
  };
}

export function memoryConfig(id: string, limit: number | null = null) {
  const settings = { id };
  const name = `memory/${id}`;
  const owner = { installation: "acme", list: "db", formerly: [] };
  const object = `memory.${id}`;
  return { kind: "memory", name, object, owner, exclusive: false, limit, settings };
}

export function policy(lists: readonly List[], clusters: readonly Cluster[] = [cluster("eu")]) {
  const byName = Object.fromEntries(clusters.map((one) => [one.name, one]));
  return { installation: "acme", clusters: byName, lists } satisfies Policy;
}

export function node(uid: string, addresses: readonly string[], given: Partial<Node> = {}): Node {
  return {
    uid,
    name: `node-${uid}`,
    labels: {},
    addresses: addresses.map((address) => ({ type: "ExternalIP", address: cidr(address) })),
    podCidrs: [],
    ...given,
  };
}

/** Selected by {@link API}. */
export function pod(uid: string, addresses: readonly string[], given: Partial<Pod> = {}): Pod {
  return {
    uid,
    namespace: "pay",
    name: `pod-${uid}`,
    labels: { app: "api" },
    addresses: cidrs(...addresses),
    ...given,
  };
}

export function snapshot(
  nodes: readonly Node[],
  given: Partial<AdmittedSnapshot> = {},
): AdmittedSnapshot {
  const receivedAt = given.receivedAt ?? START;
  return {
    cluster: "eu",
    clusterUid: "uid-eu",
    generation: { epoch: 1, sequence: 1 },
    time: receivedAt,
    observedAt: receivedAt,
    receivedAt,
    scope: { labels: [], pods: [] },
    changes: [],
    nodes,
    pods: [],
    ...given,
  };
}

export const OURS = markerText("acme", "db");

export function entry(at: Cidr, text: string | null = OURS): ObservedEntry {
  return { cidr: at, text, effect: "allow" };
}

export function observation(
  entries: readonly ObservedEntry[],
  capacity: Observation["capacity"] = [],
): Observation {
  return { entries, revision: null, capacity };
}

export const SUBNET: Subnet = {
  kind: "subnet",
  vendor: "aws",
  region: "eu-west-1",
  id: "subnet-0a1b",
  settings: {},
};

export const NAT: DnsName = {
  kind: "name",
  name: "nat.example.com",
  families: ["ipv4", "ipv6"],
  intervalMs: 60_000,
};

export const TRAITS: Traits = MEMORY_TRAITS;
