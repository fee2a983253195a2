import type { Cidr } from "./cidr.ts";
import type { Owner } from "./marker.ts";
import {
  type DnsName,
  intervalOf,
  type OutsideSource,
  outsideKey,
  type Subnet,
} from "./outside.ts";

/**
 * What may be written for a cluster: CIDRs that must contain every address, or single globally
 * routable hosts.
 */
export type Bounds = readonly Cidr[] | "public";

/** Longest prefix is narrowest: podCidrs and subnets broader than these lengths are refused. */
export interface Widest {
  readonly ipv4: number;
  readonly ipv6: number;
}

/** A cluster as the receiver's configuration describes it, without its credentials. */
export interface Cluster {
  readonly name: string;
  readonly bounds: Bounds;
  /** Most entries of this cluster on one list. */
  readonly maxEntries: number;
  /** After this long without being heard, removals from its lists wait. */
  readonly staleAfterMs: number;
  /** Pinned uid of the namespace kube-system, or null. */
  readonly uid: string | null;
  /** Counts as heard with no nodes; its deliveries are refused. */
  readonly retired: boolean;
  readonly widest: Widest;
}

export type AddressKind = "InternalIP" | "ExternalIP" | "podCidrs";

export type Labels = Readonly<Record<string, string>>;

/** Where the members of a list come from. */
export type Source =
  | {
      readonly kind: "nodes";
      readonly cluster: string;
      /** Every label must match; empty means all nodes. */
      readonly labels: Labels;
      readonly addresses: readonly AddressKind[];
    }
  | {
      readonly kind: "pods";
      readonly cluster: string;
      readonly namespace: string;
      readonly labels: Labels;
    }
  | { readonly kind: "static"; readonly cidrs: readonly Cidr[] }
  | { readonly kind: "subnets"; readonly subnets: readonly Subnet[]; readonly widest: Widest }
  | { readonly kind: "dns"; readonly names: readonly DnsName[]; readonly bounds: Bounds };

export interface Removal {
  readonly policy: "sync" | "add-only";
  readonly graceMs: number;
  /** Share of the owned entries that one run may remove, 0 to 1. */
  readonly maxRatio: number;
  readonly minRemaining: number;
  /** Removals that every snapshot confirmed for this long pass the guard; null = never. */
  readonly acceptAfterMs: number | null;
}

/** One target of one list: enough to decide, without its SDK, whether there is work. */
export interface TargetConfig {
  readonly kind: string;
  /** `Target.name`; unique over all lists, because a slot belongs to one list. */
  readonly name: string;
  /** `Target.object`. */
  readonly object: string;
  /** Whose entries these are: the list that the target belongs to. */
  readonly owner: Owner;
  /** The operator's word that nobody else writes here; needed where entries carry no marker. */
  readonly exclusive: boolean;
  /** Most entries that may stand on the target, or null to learn it from the backend. */
  readonly limit: number | null;
  /**
   * The kind's own settings as its schema parsed them. May hold references to secrets, never
   * secrets.
   */
  readonly settings: Readonly<Record<string, unknown>>;
}

export interface List {
  readonly name: string;
  readonly sources: readonly Source[];
  readonly removal: Removal;
  readonly targets: readonly TargetConfig[];
  /** Whether nodes wait for this list (`gate: false` opts out). */
  readonly gate: boolean;
  /** Earlier names, whose entries this list claims; the oldest first, as the file says. */
  readonly formerly: readonly string[];
}

/** The pure part of the configuration: all that planning needs. */
export interface Policy {
  readonly installation: string;
  /** By name. */
  readonly clusters: Readonly<Record<string, Cluster>>;
  /** In ascending order of name. */
  readonly lists: readonly List[];
}

/** The cluster of that name, which parsing has made sure of. */
export function clusterOf(policy: Policy, name: string): Cluster {
  const cluster = policy.clusters[name];
  if (cluster === undefined) throw new Error(`Cannot find cluster "${name}" in the configuration`);
  return cluster;
}

/** Whether every label of a selector is there with its value. */
export function matchesLabels(selector: Labels, labels: Labels): boolean {
  return Object.entries(selector).every(
    ([key, value]) => Object.hasOwn(labels, key) && labels[key] === value,
  );
}

/** The clusters a list draws from, each once, in ascending order. */
export function clustersOf(list: List): readonly string[] {
  const names = list.sources.flatMap((source) => clusterOfSource(source) ?? []);
  return [...new Set(names)].toSorted();
}

/** Null where no cluster speaks. */
function clusterOfSource(source: Source): string | null {
  return source.kind === "nodes" || source.kind === "pods" ? source.cluster : null;
}

/**
 * What is asked for members of these lists, each once, in ascending order of its key. A name that
 * several ask for is asked as often as the most impatient of them wants.
 */
export function outsidesOf(lists: readonly List[]): readonly OutsideSource[] {
  const byKey = new Map<string, OutsideSource>();
  for (const source of lists.flatMap((list) => list.sources).flatMap(outsidesIn)) {
    const key = outsideKey(source);
    const other = byKey.get(key);
    const sooner = other === undefined || intervalOf(source) < intervalOf(other);
    if (sooner) byKey.set(key, source);
  }
  const keys = [...byKey.keys()].toSorted();
  return keys.flatMap((key) => byKey.get(key) ?? []);
}

function outsidesIn(source: Source): readonly OutsideSource[] {
  if (source.kind === "subnets") return source.subnets;
  return source.kind === "dns" ? source.names : [];
}
