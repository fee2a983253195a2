import type { Instant } from "../lib/core/record.ts";
import type { ListReport } from "../lib/core/report.ts";
import { compareGenerations, type Node, type Snapshot } from "../lib/core/snapshot.ts";
import type { Answer } from "../lib/wire/protocol.ts";
import type { World } from "../lib/world.ts";
import type { Emit, ForwarderEvent } from "./journal.ts";
import type { Nodes } from "./nodes.ts";
import type { ObservedNode } from "./projection.ts";
import { slept } from "./signal.ts";

/** How many nodes are how far. A node is in one of them. */
export interface ReadinessCounts {
  /** On every gating list that selects it, as read back. */
  readonly ready: number;
  /** Without addresses, not answered for yet, or not on all of its lists. */
  readonly pending: number;
  /** On no list. */
  readonly unlisted: number;
}

/** Follows each node from its first sight until it is ready, and says when that takes long. */
export interface Readiness {
  hear(event: ForwarderEvent): void;
  /** A snapshot was admitted, and this is what the receiver says of its nodes. */
  answered(sent: Snapshot, answer: Answer): void;
  /** Null while another process delivers: only the one that gets answers can know. */
  counts(): ReadinessCounts | null;
  /** Looks after nodes that wait until the signal aborts, then resolves. */
  run(signal: AbortSignal): Promise<void>;
}

export interface ReadinessOptions {
  readonly world: Pick<World, "now" | "sleep">;
  readonly emit: Emit;
  /** The nodes as they were last seen. */
  readonly nodes: () => Nodes;
  /** Whether this process is the one that delivers. */
  readonly isLeader: () => boolean;
}

/** How long a node may wait before people hear of it: most clouds give an address well within. */
const PENDING_TOLD_MS = 300_000;
const LOOK_MS = 10_000;
/** When more nodes become overdue together, one cause holds them, and one sentence is enough. */
const TOLD_AT_ONCE_MAX = 20;
const LISTS_SHOWN_MAX = 3;

/** What the receiver last said of a node, and of which state of it. */
interface Verdict {
  readonly sent: Node;
  readonly kind: "ready" | "pending" | "unlisted";
}

interface Wait {
  readonly since: Instant;
  readonly isTold: boolean;
}

/** Both maps hold nodes that exist, and no others. */
interface Following {
  readonly options: ReadinessOptions;
  verdicts: ReadonlyMap<string, Verdict>;
  readonly waits: Map<string, Wait>;
  /** The newest one since the Lease was acquired; null before. */
  answer: Heard | null;
}

interface Heard {
  /** Ours, as the receiver calls it. */
  readonly cluster: string;
  readonly lists: readonly ListReport[];
}

export function followReadiness(options: ReadinessOptions): Readiness {
  const following: Following = { options, verdicts: new Map(), waits: new Map(), answer: null };
  return {
    hear(event) {
      if (event.kind === "seen") hearSeen(following, event);
      // Another process may have delivered meanwhile: what was heard before says nothing any more.
      if (event.kind === "lease-acquired" || event.kind === "lease-lost") {
        following.answer = null;
        following.verdicts = new Map();
        following.waits.clear();
      }
    },
    answered: (sent, answer) => takeAnswer(following, sent, answer),
    counts: () => countsOf(following),
    async run(signal) {
      do look(following);
      while (await slept(options.world, LOOK_MS, signal));
    },
  };
}

/** A node that is new or has changed waits from now on, however late the next look is. */
function hearSeen(
  { waits }: Following,
  { at, changes }: Extract<ForwarderEvent, { kind: "seen" }>,
): void {
  for (const { kind, uid } of changes) {
    if (kind !== "node.added" && kind !== "node.changed") continue;
    if (!waits.has(uid)) waits.set(uid, { since: at, isTold: false });
  }
}

function takeAnswer(following: Following, sent: Snapshot, answer: Answer): void {
  // Of a later generation, which is another process's: its nodes may have other addresses.
  if (compareGenerations(answer.generation, sent.generation) !== 0) return;
  const { emit, world, nodes } = following.options;
  const ready = new Set(answer.readyNodes);
  const unlisted = new Set(answer.unlisted);
  const isFirst = following.answer === null;
  following.verdicts = new Map(
    sent.nodes.map((node) => {
      const kind = ready.has(node.uid) ? "ready" : unlisted.has(node.uid) ? "unlisted" : "pending";
      return [node.uid, { sent: node, kind }];
    }),
  );
  following.answer = { cluster: sent.cluster, lists: answer.lists };
  const now = world.now();
  forget(following);
  for (const [uid, observed] of nodes()) {
    const kind = kindOf(following, observed);
    const wait = following.waits.get(uid);
    if (kind === "pending") {
      if (wait === undefined) following.waits.set(uid, { since: now, isTold: false });
      continue;
    }
    following.waits.delete(uid);
    // Who is ready in the first answer may have been so for months.
    if (isFirst || wait === undefined || kind !== "ready") continue;
    const { name } = observed.node;
    const tookMs = Math.max(0, now - wait.since);
    emit({ kind: "node-ready", at: now, node: { uid, name }, tookMs });
  }
}

/** What is true of a node as it is now: an answer about other addresses counts for nothing. */
function kindOf({ verdicts }: Following, { node }: ObservedNode): Verdict["kind"] {
  const verdict = verdicts.get(node.uid);
  if (verdict === undefined) return "pending";
  return isSame(verdict.sent, node) ? verdict.kind : "pending";
}

function isSame(sent: Node, held: Node): boolean {
  // Mostly the same object; both come from one projection, which sorts keys and addresses.
  return sent === held || JSON.stringify(sent) === JSON.stringify(held);
}

function forget({ options, waits }: Following): void {
  const nodes = options.nodes();
  for (const uid of waits.keys()) {
    if (!nodes.has(uid)) waits.delete(uid);
  }
}

function countsOf(following: Following): ReadinessCounts | null {
  if (!following.options.isLeader()) return null;
  const counts = { ready: 0, pending: 0, unlisted: 0 };
  for (const observed of following.options.nodes().values()) {
    counts[kindOf(following, observed)] += 1;
  }
  return counts;
}

/** Tells of nodes that have waited too long, once for each wait. */
function look(following: Following): void {
  const { options, waits, answer } = following;
  const { world, emit, isLeader } = options;
  const now = world.now();
  forget(following);
  for (const [uid, { since, isTold }] of waits) {
    // A clock that was set back must not keep anybody waiting for hours.
    if (since > now) waits.set(uid, { since: now, isTold });
  }
  // Without an answer it is the receiver that is waited for, which is said elsewhere.
  if (answer === null || !isLeader()) return;
  const overdue = [...options.nodes()].flatMap(([uid, observed]) => {
    const wait = waits.get(uid);
    const isDue = wait !== undefined && !wait.isTold && now - wait.since >= PENDING_TOLD_MS;
    return isDue && kindOf(following, observed) === "pending" ? [{ observed, wait }] : [];
  });
  for (const [index, { observed, wait }] of overdue.entries()) {
    const { uid, name } = observed.node;
    waits.set(uid, { ...wait, isTold: true });
    if (index >= TOLD_AT_ONCE_MAX) continue;
    const message = `Node is not allowed yet: ${causeOf(following, observed, answer)}`;
    const forMs = now - wait.since;
    emit({ kind: "node-pending", at: now, node: { uid, name }, forMs, message });
  }
  const untold = overdue.length - TOLD_AT_ONCE_MAX;
  if (untold <= 0) return;
  const message = `${untold} more nodes are not allowed yet, for as long as those just named`;
  emit({ kind: "warning", at: now, message });
}

/** What a pending node waits for, for people. */
function causeOf({ verdicts }: Following, { node }: ObservedNode, answer: Heard): string {
  if (node.addresses.length === 0) {
    return "it has no address of the types InternalIP or ExternalIP yet";
  }
  const verdict = verdicts.get(node.uid);
  if (verdict === undefined) return "no delivery was admitted since it came";
  if (!isSame(verdict.sent, node)) return "no delivery was admitted since it changed";
  return refusalOf(node, answer) ?? blockersOf(answer.lists);
}

/** A refused address keeps its node from being ready, whatever the state of the list is. */
function refusalOf(node: Node, { cluster, lists }: Heard): string | null {
  for (const { list, refused } of lists) {
    // A node of another cluster on the list may have the same name.
    const found = refused.find((one) => one.node === node.name && one.cluster === cluster);
    if (found !== undefined) return `${list} refuses ${found.address}: ${found.reason}`;
  }
  return null;
}

const WORST_FIRST = ["failed", "withheld", "pending", "converged"];

function blockersOf(lists: readonly ListReport[]): string {
  const blockers = lists
    .filter(isBlocking)
    .toSorted((a, b) => WORST_FIRST.indexOf(a.state) - WORST_FIRST.indexOf(b.state))
    .map(({ list, target, reason }) => `${list} at ${target}: ${reason}`);
  if (blockers.length === 0) {
    return "it is not on every list that selects it; ask the receiver's status";
  }
  const more = blockers.length - LISTS_SHOWN_MAX;
  const shown = blockers.slice(0, LISTS_SHOWN_MAX).join(", ");
  return `not yet on every list (${shown}${more > 0 ? `, and ${more} more` : ""})`;
}

/** Whether additions may be missing there; removals that wait hold no node back. */
function isBlocking({ state, reason, add }: ListReport): boolean {
  if (state === "failed" || add.length > 0) return true;
  return (
    reason === "batch" ||
    reason === "settling" ||
    reason === "contended" ||
    reason === "out-of-scope"
  );
}
