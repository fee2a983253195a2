import { addressSet } from "./aggregate.ts";
import { type Cidr, familyOf } from "./cidr.ts";
import { waitsToBegin } from "./due.ts";
import type { List, Policy } from "./list.ts";
import { type Membership, membersOf, type Snapshots, selectsNode } from "./members.ts";
import type { Traits } from "./observation.ts";
import type { Instant, Slot } from "./record.ts";
import type { ListReport } from "./report.ts";
import { maySelectNode } from "./scope.ts";
import type { AdmittedSnapshot } from "./snapshot.ts";

const AGAIN_MAX_S = 300;
const AGAIN_BATCH_S = 1;
const AGAIN_CONTENDED_S = 5;
/** A target that failed more often in a row is left to the resync. */
const AGAIN_FAILURES_MAX = 5;

/** One target of a list with what the store remembers of it; null where nothing is remembered. */
export interface RememberedTarget {
  readonly traits: Traits;
  readonly slot: Slot | null;
}

export interface Readiness {
  /** Uids of nodes whose every selected address was read back on every gating list. Sorted. */
  readonly ready: readonly string[];
  /** Uids of nodes that no list selects; a gate leaves them to its timeout. Sorted. */
  readonly unlisted: readonly string[];
}

/**
 * Who may take pods, from the records and the stored snapshot alone. A node with a refused, a
 * missing or a shadowed address is not ready; an address of a family that no target of the list
 * holds does not hold it back, but at least one of its addresses must be on every gating list.
 * Where a gating list may select a node, by a label that its forwarder was not told to send, the
 * node waits: it is neither ready nor unlisted.
 */
export function readinessOf(
  snapshot: AdmittedSnapshot,
  lists: ReadonlyMap<string, readonly RememberedTarget[]>,
  options: { readonly policy: Policy; readonly snapshots: Snapshots; readonly now: Instant },
): Readiness {
  const listed = options.policy.lists.filter((list) => lists.has(list.name));
  // What no cluster gives holds no node back.
  const given = { ...options, readings: {} };
  const states = listed.map((list) => ({
    list,
    byNode: addressesByNode(snapshot.cluster, membersOf(list, options.snapshots, given)),
    targets: (lists.get(list.name) ?? []).map((target) => coverageOf(list, target, options.now)),
  }));
  const ready: string[] = [];
  const unlisted: string[] = [];
  for (const node of snapshot.nodes) {
    const on = states.filter(({ list }) => selectsNode(list, snapshot.cluster, node));
    const waiting = on.some(
      ({ list, byNode, targets }) => list.gate && !isCovered(byNode.get(node.uid), targets),
    );
    if (listed.some((list) => list.gate && maySelectNode(list, snapshot, node))) continue;
    if (on.length === 0) unlisted.push(node.uid);
    else if (!waiting) ready.push(node.uid);
  }
  return { ready: ready.toSorted(), unlisted: unlisted.toSorted() };
}

interface NodeAddresses {
  readonly cidrs: readonly Cidr[];
  readonly refused: boolean;
}

function addressesByNode(
  cluster: string,
  membership: Membership,
): ReadonlyMap<string, NodeAddresses> {
  const found = new Map<string, { cidrs: Cidr[]; refused: boolean }>();
  const at = (uid: string) => {
    const one = found.get(uid) ?? { cidrs: [], refused: false };
    found.set(uid, one);
    return one;
  };
  for (const member of membership.members) {
    if (member.cluster === cluster && member.uid !== null) at(member.uid).cidrs.push(member.cidr);
  }
  for (const { cluster: from, uid } of membership.refusedMembers) {
    if (from === cluster && uid !== null) at(uid).refused = true;
  }
  return found;
}

interface Coverage {
  readonly holds: (cidr: Cidr) => boolean;
  readonly covers: (cidr: Cidr) => boolean;
}

function coverageOf(list: List, { traits, slot }: RememberedTarget, now: Instant): Coverage {
  const usable = slot !== null && slot.list === list.name;
  const settled = usable
    ? Object.entries(slot.entries).filter(([, readBackAt]) => now >= readBackAt + traits.settleMs)
    : [];
  const covered = addressSet(settled.map(([cidr]) => cidr as Cidr));
  return {
    holds: (cidr) => traits.families.includes(familyOf(cidr)),
    covers: (cidr) => covered.covers(cidr),
  };
}

function isCovered(addresses: NodeAddresses | undefined, targets: readonly Coverage[]): boolean {
  if (addresses === undefined || addresses.refused) return false;
  let any = false;
  for (const cidr of addresses.cidrs) {
    for (const target of targets.filter((one) => one.holds(cidr))) {
      if (!target.covers(cidr)) return false;
      any = true;
    }
  }
  return any;
}

/**
 * In how many seconds the forwarder should deliver again so that what is pending goes on without
 * waiting for its heartbeat, or null. What only time, a person or another cluster mends is left to
 * the resync.
 */
export function againAfter(
  targets: readonly AgainQuestion[],
  options: { readonly receivedAt: Instant; readonly now: Instant },
): number | null {
  const { receivedAt, now } = options;
  const waits = targets.flatMap((target) => [
    ...reasonWait(target, now),
    ...Object.values(target.slot?.unwanted ?? {})
      .map((since) => since + target.list.removal.graceMs)
      .filter((end) => end > receivedAt)
      .map((end) => (end - now) / 1_000 + 1),
  ]);
  if (waits.length === 0) return null;
  return Math.min(AGAIN_MAX_S, Math.max(1, Math.ceil(Math.min(...waits))));
}

interface AgainQuestion extends RememberedTarget {
  readonly list: List;
  readonly report: ListReport;
}

function reasonWait({ report, slot, traits }: AgainQuestion, now: Instant): readonly number[] {
  switch (report.reason) {
    case "contended":
      return [AGAIN_CONTENDED_S];
    case "throttled":
    case "conflict":
    case "busy":
    case "unavailable":
      return retryWait(slot, now);
    default:
      if (report.state === "failed") return [];
  }
  if (waitsToBegin(report)) return [];
  // Whatever stands before them: a withheld removal must not slow an addition down.
  const settles = Object.values(slot?.entries ?? {})
    .map((since) => since + traits.settleMs)
    .filter((end) => end > now);
  const settling = settles.length === 0 ? [] : [(Math.max(...settles) - now) / 1_000];
  if (report.reason === "batch") return [AGAIN_BATCH_S];
  if (report.add.length === 0) return settling;
  return slot !== null && slot.failures > 0 ? retryWait(slot, now) : [AGAIN_BATCH_S];
}

function retryWait(slot: Slot | null, now: Instant): readonly number[] {
  if (slot === null || slot.failures > AGAIN_FAILURES_MAX) return [];
  return [(slot.notBefore - now) / 1_000];
}
