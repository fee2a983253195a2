import { heardAt } from "./admission.ts";
import {
  addressText,
  type Cidr,
  familyOf,
  forbiddenReason,
  isGlobalHost,
  isWithin,
  prefixLengthOf,
} from "./cidr.ts";
import type { Cluster, Labels, List, Policy, Source } from "./list.ts";
import { clustersOf } from "./list.ts";
import type { Instant } from "./record.ts";
import type { Refusal, RefusalReason } from "./report.ts";
import type { AdmittedSnapshot, Node, Pod, Scope } from "./snapshot.ts";

/** An address that a source gives to a list, with where it came from. */
export interface Member {
  readonly cidr: Cidr;
  /** Null for static members. */
  readonly cluster: string | null;
  /** Name of the node or pod. */
  readonly node: string | null;
  readonly uid: string | null;
}

/**
 * What is known of one cluster of a list. Everything but `heard` and `retired` makes removals wait.
 */
export type Voice =
  | { readonly kind: "heard"; readonly cluster: string; readonly receivedAt: Instant }
  | { readonly kind: "retired"; readonly cluster: string }
  | { readonly kind: "not-heard"; readonly cluster: string }
  | { readonly kind: "stale"; readonly cluster: string; readonly heardAt: Instant }
  | { readonly kind: "out-of-scope"; readonly cluster: string; readonly setting: string };

/** Who is on a list, by what the newest admitted snapshots say. */
export interface Membership {
  /** Within bounds; may name one CIDR several times. */
  readonly members: readonly Member[];
  readonly refused: readonly Refusal[];
  /** The members that were refused, for whoever asks about one node. */
  readonly refusedMembers: readonly Member[];
  /** One for each cluster of the list, in ascending order. */
  readonly voices: readonly Voice[];
}

/** Newest admitted snapshots by cluster; null where none was ever admitted. */
export type Snapshots = Readonly<Record<string, AdmittedSnapshot | null>>;

/**
 * The members of a list. A missing or stale cluster contributes what it last said, never an empty
 * list of its own accord; its voice tells that removals must wait.
 */
export function membersOf(
  list: List,
  snapshots: Snapshots,
  options: { readonly policy: Policy; readonly now: Instant },
): Membership {
  const members: Member[] = [];
  const refused: Refusal[] = [];
  const refusedMembers: Member[] = [];
  for (const source of list.sources) {
    for (const candidate of candidatesOf(source, snapshots, options.policy)) {
      const cluster =
        candidate.cluster === null ? null : clusterOf(options.policy, candidate.cluster);
      const reason = cluster === null ? null : refusalOf(candidate.cidr, cluster);
      if (reason === null) members.push(candidate);
      else {
        refused.push(refusal(candidate, reason));
        refusedMembers.push(candidate);
      }
    }
  }
  const voices = clustersOf(list).map((cluster) =>
    voiceOf(list, clusterOf(options.policy, cluster), { snapshots, now: options.now }),
  );
  return { members, refused, refusedMembers, voices };
}

/** The refusal of one member. */
export function refusal(member: Member, reason: RefusalReason): Refusal {
  return { address: addressText(member.cidr), cluster: member.cluster, node: member.node, reason };
}

/** Whether a node is selected by any source of a list, with or without an address. */
export function selectsNode(list: List, cluster: string, node: Node): boolean {
  return list.sources.some(
    (source) =>
      source.kind === "nodes" && source.cluster === cluster && matches(source.labels, node.labels),
  );
}

function clusterOf(policy: Policy, name: string): Cluster {
  const cluster = policy.clusters[name];
  if (cluster === undefined) throw new Error(`Cannot find cluster "${name}" in the configuration`);
  return cluster;
}

function candidatesOf(source: Source, snapshots: Snapshots, policy: Policy): readonly Member[] {
  if (source.kind === "static") {
    return source.cidrs.map((cidr) => ({ cidr, cluster: null, node: null, uid: null }));
  }
  const snapshot = snapshots[source.cluster] ?? null;
  if (snapshot === null || clusterOf(policy, source.cluster).retired) return [];
  switch (source.kind) {
    case "nodes":
      return snapshot.nodes
        .filter((node) => matches(source.labels, node.labels))
        .flatMap((node) =>
          nodeCidrs(node, source).map((cidr) => ({
            cidr,
            cluster: source.cluster,
            node: node.name,
            uid: node.uid,
          })),
        );
    case "pods":
      return snapshot.pods
        .filter((pod) => pod.namespace === source.namespace && matches(source.labels, pod.labels))
        .flatMap((pod: Pod) =>
          pod.addresses.map((cidr) => ({
            cidr,
            cluster: source.cluster,
            node: `${pod.namespace}/${pod.name}`,
            uid: pod.uid,
          })),
        );
    default:
      throw new Error(`Unreachable: ${JSON.stringify(source satisfies never)}`);
  }
}

function nodeCidrs(node: Node, source: Extract<Source, { kind: "nodes" }>): readonly Cidr[] {
  const kinds = new Set<string>(source.addresses);
  const hosts = node.addresses.filter((address) => kinds.has(address.type));
  return [...hosts.map((host) => host.address), ...(kinds.has("podCidrs") ? node.podCidrs : [])];
}

function matches(selector: Labels, labels: Labels): boolean {
  return Object.entries(selector).every(
    ([key, value]) => Object.hasOwn(labels, key) && labels[key] === value,
  );
}

function refusalOf(cidr: Cidr, cluster: Cluster): RefusalReason | null {
  if (forbiddenReason(cidr) !== null) return "forbidden";
  if (prefixLengthOf(cidr) < cluster.widest[familyOf(cidr)]) return "too-wide";
  const within = cluster.bounds === "public" ? isGlobalHost(cidr) : isWithin(cidr, cluster.bounds);
  return within ? null : "out-of-bounds";
}

function voiceOf(
  list: List,
  cluster: Cluster,
  options: { readonly snapshots: Snapshots; readonly now: Instant },
): Voice {
  const name = cluster.name;
  if (cluster.retired) return { kind: "retired", cluster: name };
  const snapshot = options.snapshots[name] ?? null;
  if (snapshot === null) return { kind: "not-heard", cluster: name };
  const heard = heardAt(snapshot);
  if (options.now - heard > cluster.staleAfterMs) {
    return { kind: "stale", cluster: name, heardAt: heard };
  }
  const setting = missingSetting(list, name, snapshot.scope);
  if (setting !== null) return { kind: "out-of-scope", cluster: name, setting };
  return { kind: "heard", cluster: name, receivedAt: snapshot.receivedAt };
}

/**
 * The forwarder's setting that keeps a list from being answered for, or null when the scope
 * suffices.
 */
function missingSetting(list: List, cluster: string, scope: Scope): string | null {
  for (const source of list.sources) {
    if (source.kind === "static" || source.cluster !== cluster) continue;
    if (source.kind === "nodes") {
      const key = Object.keys(source.labels).find((label) => !scope.labels.includes(label));
      if (key !== undefined) return `KUBE_ALLOWLIST_LABELS must name "${key}"`;
      continue;
    }
    const looked = scope.pods.some(
      (selector) =>
        selector.namespace === source.namespace && matches(selector.labels, source.labels),
    );
    if (!looked) return `KUBE_ALLOWLIST_PODS must select the pods of "${source.namespace}"`;
  }
  return null;
}
