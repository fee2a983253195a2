import {
  addressText,
  type Cidr,
  familyOf,
  forbiddenReason,
  isGlobalHost,
  isWithin,
  prefixLengthOf,
} from "./cidr.ts";
import {
  type Bounds,
  clusterOf,
  type List,
  matchesLabels,
  type Policy,
  type Source,
  type Widest,
} from "./list.ts";
import { type OutsideSource, outsideKey, outsideName } from "./outside.ts";
import type { Answer, Readings } from "./reading.ts";
import type { Instant } from "./record.ts";
import type { Refusal, RefusalReason } from "./report.ts";
import type { AdmittedSnapshot, Node } from "./snapshot.ts";
import { type Voice, voicesOf } from "./voice.ts";

/** An address that a source gives to a list, with where it came from. */
export interface Member {
  readonly cidr: Cidr;
  /** Null for static members and those of outside sources. */
  readonly cluster: string | null;
  /** Name of the node, of the pod with its namespace before a slash, or of the outside source. */
  readonly node: string | null;
  /** Of a node; null for everybody else, so that no other member ever makes a node ready. */
  readonly uid: string | null;
}

/** Who is on a list, by what the newest admitted snapshots say. */
export interface Membership {
  /** Within bounds; may name one CIDR several times. */
  readonly members: readonly Member[];
  readonly refused: readonly Refusal[];
  /** The members that were refused, for whoever asks about one node. */
  readonly refusedMembers: readonly Member[];
  /** One for each cluster of the list, in ascending order, then for each outside source. */
  readonly voices: readonly Voice[];
}

/** Newest admitted snapshots by cluster; null where none was ever admitted. */
export type Snapshots = Readonly<Record<string, AdmittedSnapshot | null>>;

/** Most addresses of one name on one list: those that it has given for longest stay. */
const NAME_ADDRESSES_MAX = 100;

export interface MembersOptions {
  readonly policy: Policy;
  /** Of the outside sources; an absent one was never read. */
  readonly readings: Readings;
  readonly now: Instant;
}

/**
 * The members of a list. A missing or stale cluster or outside source contributes what it last
 * said, never an empty list of its own accord; its voice tells that removals must wait.
 */
export function membersOf(list: List, snapshots: Snapshots, options: MembersOptions): Membership {
  const members: Member[] = [];
  const refused: Refusal[] = [];
  const refusedMembers: Member[] = [];
  const useful = new Set<string>();
  const useless = new Map<string, Refusal[]>();
  for (const source of list.sources) {
    for (const { member, reason, key } of candidatesOf(source, snapshots, options)) {
      if (reason === null) {
        members.push(member);
        if (key !== undefined) useful.add(key);
        continue;
      }
      const one = refusal(member, reason);
      refused.push(one);
      refusedMembers.push(member);
      if (key !== undefined) useless.set(key, [...(useless.get(key) ?? []), one]);
    }
  }
  for (const key of useful) useless.delete(key);
  const voices = voicesOf(list, snapshots, { ...options, refused: useless });
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
      source.kind === "nodes" &&
      source.cluster === cluster &&
      matchesLabels(source.labels, node.labels),
  );
}

/** A member, unless there is a reason why it may not be one. */
interface Candidate {
  readonly member: Member;
  readonly reason: RefusalReason | null;
  /** Of the outside source that gave it. */
  readonly key?: string;
}

function candidatesOf(
  source: Source,
  snapshots: Snapshots,
  options: MembersOptions,
): readonly Candidate[] {
  switch (source.kind) {
    case "static":
      return source.cidrs.map((cidr) => {
        return { member: { cidr, cluster: null, node: null, uid: null }, reason: null };
      });
    case "nodes":
    case "pods": {
      const cluster = clusterOf(options.policy, source.cluster);
      const snapshot = snapshots[source.cluster] ?? null;
      if (snapshot === null || cluster.retired) return [];
      return clusterMembers(source, snapshot).map((member) => {
        return { member, reason: refusalOf(member.cidr, cluster) };
      });
    }
    case "subnets":
      return source.subnets.flatMap((subnet) =>
        answersOf(subnet, options).map(({ cidr }) => {
          const reason = refusalOf(cidr, { bounds: null, widest: source.widest });
          return { member: outsideMember(subnet, cidr), reason, key: outsideKey(subnet) };
        }),
      );
    case "dns":
      return source.names.flatMap((name) =>
        nameCandidates(answersOf(name, options), source.bounds).map(({ cidr, reason }) => {
          return { member: outsideMember(name, cidr), reason, key: outsideKey(name) };
        }),
      );
    default:
      throw new Error(`Unreachable: ${JSON.stringify(source satisfies never)}`);
  }
}

function clusterMembers(
  source: Extract<Source, { kind: "nodes" | "pods" }>,
  snapshot: AdmittedSnapshot,
): readonly Member[] {
  const { cluster } = source;
  if (source.kind === "nodes") {
    return snapshot.nodes
      .filter((node) => matchesLabels(source.labels, node.labels))
      .flatMap((node) =>
        nodeCidrs(node, source).map((cidr) => ({ cidr, cluster, node: node.name, uid: node.uid })),
      );
  }
  return snapshot.pods
    .filter((pod) => pod.namespace === source.namespace && matchesLabels(source.labels, pod.labels))
    .flatMap((pod) => {
      const node = `${pod.namespace}/${pod.name}`;
      return pod.addresses.map((cidr) => ({ cidr, cluster, node, uid: null }));
    });
}

function outsideMember(source: OutsideSource, cidr: Cidr): Member {
  return { cidr, cluster: null, node: outsideName(source), uid: null };
}

function answersOf(source: OutsideSource, { readings }: MembersOptions): readonly Answer[] {
  return readings[outsideKey(source)]?.answers ?? [];
}

/**
 * Whoever answers for a name is not the operator. So a name gives single hosts within its bounds,
 * and so many: a flood of new addresses may not push out one that stands.
 */
function nameCandidates(answers: readonly Answer[], bounds: Bounds) {
  const judged = answers.map(({ cidr, since }) => {
    return { cidr, since, reason: refusalOf(cidr, { bounds, widest: HOSTS }) };
  });
  const allowed = judged.filter(({ reason }) => reason === null);
  const excess = allowed.toSorted((a, b) => a.since - b.since).slice(NAME_ADDRESSES_MAX);
  const over = new Set(excess.map(({ cidr }) => cidr));
  return judged.map(({ cidr, reason }) => {
    const full: RefusalReason = "max-entries";
    return { cidr, reason: over.has(cidr) ? full : reason };
  });
}

const HOSTS: Widest = { ipv4: 32, ipv6: 128 };

function nodeCidrs(node: Node, source: Extract<Source, { kind: "nodes" }>): readonly Cidr[] {
  const kinds = new Set<string>(source.addresses);
  const hosts = node.addresses.filter((address) => kinds.has(address.type));
  return [...hosts.map((host) => host.address), ...(kinds.has("podCidrs") ? node.podCidrs : [])];
}

/** `bounds: null` is for what the operator's own cloud says. */
function refusalOf(
  cidr: Cidr,
  rules: { readonly bounds: Bounds | null; readonly widest: Widest },
): RefusalReason | null {
  const { bounds, widest } = rules;
  if (forbiddenReason(cidr) !== null) return "forbidden";
  if (prefixLengthOf(cidr) < widest[familyOf(cidr)]) return "too-wide";
  if (bounds === null) return null;
  const within = bounds === "public" ? isGlobalHost(cidr) : isWithin(cidr, bounds);
  return within ? null : "out-of-bounds";
}
