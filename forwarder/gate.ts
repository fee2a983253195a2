import type { Snapshot } from "../lib/core/snapshot.ts";
import type { Answer } from "../lib/wire/protocol.ts";
import type { World } from "../lib/world.ts";
import { type Bucket, makeBucket } from "./bucket.ts";
import { attempt } from "./gate-attempt.ts";
import { type Knowledge, learn, type Standing, standingOf } from "./gate-knowledge.ts";
import {
  ATTEMPTS,
  ATTEMPTS_MAX,
  CALM,
  dueFor,
  dueInTrouble,
  effortsOf,
  failuresOf,
  NO_TROUBLE,
  type Pace,
  paceAfter,
  paceAnew,
  RETRIES,
  RETRIES_MAX,
  type Trouble,
  troubleAfter,
} from "./gate-pace.ts";
import {
  type Opening,
  readStopwatch,
  type Sight,
  type Stopwatch,
  shutNow,
  sightNode,
  wishFor,
} from "./gate-sight.ts";
import type { Emit, NamedNode } from "./journal.ts";
import type { Kube } from "./kube.ts";
import type { Nodes } from "./nodes.ts";
import { type ObservedNode, projectNode } from "./projection.ts";
import type { GateSettings } from "./settings.ts";
import { type Bell, errorText, makeBell } from "./signal.ts";

/** What keeps pods off a node until the lists hold its addresses. */
export interface Gate {
  /** A snapshot was admitted, and this is what the receiver says of its nodes. */
  answered(sent: Snapshot, answer: Answer): void;
  /** Nodes, or the marks on them, may have changed. */
  look(): void;
  /** Opens gates until the signal aborts, then resolves when no request is on its way any more. */
  run(signal: AbortSignal): Promise<void>;
}

export interface GateOptions extends GateSettings {
  readonly kube: Kube;
  readonly world: Pick<World, "now" | "random" | "sleep">;
  readonly emit: Emit;
  /** The nodes as they were last seen. */
  readonly nodes: () => Nodes;
  /**
   * The epoch under which this process may deliver, or null while it may not: only then it opens
   * gates. What was answered under another epoch is worth nothing, because somebody else may have
   * delivered since.
   */
  readonly epoch: () => number | null;
}

/** Leadership, and nodes that nobody announces, are noticed after this long at the latest. */
const TICK_MS = 5_000;
const WAIT_MS_MIN = 1;
const BUG_RETRY_MS = 30_000;

/** One gate, as its functions hand it around. */
interface Gating {
  readonly options: GateOptions;
  readonly bell: Bell;
  knowledge: Knowledge | null;
  stopwatch: Stopwatch;
  /** No node was seen yet. */
  isFirst: boolean;
  readonly sights: Map<string, Sight>;
  readonly paces: Map<string, Pace>;
  readonly running: Map<string, Running>;
  trouble: Trouble;
  /** Full and refilled by the stopwatch. */
  readonly attempts: Bucket;
  readonly retries: Bucket;
  standings: Standings;
}

/** An attempt that is under way. */
interface Running {
  readonly ended: Promise<void>;
  /** The node failed before. */
  readonly isRetry: boolean;
}

/** How nodes stand by what is known now, for thousands that are looked at again and again. */
interface Standings {
  readonly knowledge: Knowledge | null;
  readonly epoch: number | null;
  readonly of: WeakMap<ObservedNode, Standing | "unknown">;
}

/**
 * Opens the gates of nodes that every list holds as they are, and of nodes whose time is over. It
 * never puts anything on a node that keeps pods off it but its own condition, and takes nothing
 * away but its own taint.
 */
export function makeGate(options: GateOptions): Gate {
  const gating: Gating = {
    options,
    bell: makeBell(options.world),
    knowledge: null,
    stopwatch: { elapsedMs: 0, readAt: options.world.now() },
    isFirst: true,
    sights: new Map(),
    paces: new Map(),
    running: new Map(),
    trouble: NO_TROUBLE,
    attempts: makeBucket(ATTEMPTS),
    retries: makeBucket(RETRIES),
    standings: { knowledge: null, epoch: null, of: new WeakMap() },
  };
  return {
    answered(sent, answer) {
      gating.knowledge = learn(sent, answer);
      gating.bell.ring();
    },
    look: () => gating.bell.ring(),
    async run(signal) {
      while (!signal.aborted) await safeTurn(gating, signal);
      await Promise.all([...gating.running.values()].map(({ ended }) => ended));
    },
  };
}

/** An abort ends a wait by rejecting; everything else is a bug, and no reason to stay shut. */
async function safeTurn(gating: Gating, signal: AbortSignal): Promise<void> {
  const { world, emit } = gating.options;
  try {
    const waitMs = turn(gating, signal);
    await gating.bell.wait(Math.max(WAIT_MS_MIN, waitMs), signal);
  } catch (error) {
    if (signal.aborted) return;
    const message = `The gate failed unexpectedly: ${errorText(error)}`;
    emit({ kind: "warning", at: world.now(), message });
    await world.sleep(TICK_MS, signal).catch(() => undefined);
  }
}

/** Looks at all nodes, begins what is due and may be begun, and says when to look again. */
function turn(gating: Gating, signal: AbortSignal): number {
  look(gating);
  const { elapsedMs } = gating.stopwatch;
  let nextMs = elapsedMs + TICK_MS;
  const isLeader = gating.options.epoch() !== null;
  const due: Candidate[] = [];
  for (const [uid, sight] of gating.sights) {
    const dueMs = sight.shut?.dueMs ?? Number.POSITIVE_INFINITY;
    if (dueMs > elapsedMs) nextMs = Math.min(nextMs, dueMs);
    // Who finds no room is looked at again when an attempt ends.
    if (!isLeader || gating.running.has(uid) || gating.running.size >= ATTEMPTS_MAX) continue;
    const wish = wishOf(gating, sight);
    if (wish === null) continue;
    const pace = gating.paces.get(uid) ?? CALM;
    const beginMs = Math.max(dueInTrouble(gating.trouble, failuresOf(pace)), dueFor(pace, wish));
    if (beginMs > elapsedMs) nextMs = Math.min(nextMs, beginMs);
    else due.push({ sight, pace });
  }
  return Math.min(nextMs, beginAll(gating, due, signal)) - elapsedMs;
}

/** A node that is due. */
interface Candidate {
  readonly sight: Sight;
  readonly pace: Pace;
}

/** Begins for as many as may be begun now, and says when there may be more. */
function beginAll(gating: Gating, due: readonly Candidate[], signal: AbortSignal): number {
  const { elapsedMs } = gating.stopwatch;
  let nextMs = Number.POSITIVE_INFINITY;
  const inOrder = due.toSorted((a, b) => effortsOf(a.pace) - effortsOf(b.pace));
  for (const { sight, pace } of inOrder) {
    const isRetry = failuresOf(pace) > 0;
    if (!hasRoom(gating, isRetry)) continue;
    if (isRetry && !gating.retries.take(elapsedMs)) {
      nextMs = elapsedMs + RETRIES.everyMs;
      continue;
    }
    if (!gating.attempts.take(elapsedMs)) return elapsedMs + ATTEMPTS.everyMs;
    begin(gating, { sight, isRetry, signal });
  }
  return nextMs;
}

/** Takes over what there is now; the nodes may have changed in place. */
function look(gating: Gating): void {
  const nodes = gating.options.nodes();
  countTime(gating);
  for (const uid of nodes.keys()) lookAt(gating, uid);
  gating.isFirst = gating.isFirst && nodes.size === 0;
  if (gating.sights.size === nodes.size) return;
  for (const uid of [...gating.sights.keys()]) {
    if (nodes.has(uid)) continue;
    gating.sights.delete(uid);
    gating.paces.delete(uid);
  }
}

function countTime(gating: Gating): void {
  gating.stopwatch = readStopwatch(gating.stopwatch, gating.options.world.now());
}

/** One node as it is now, or null where it is gone. */
function lookAt(gating: Gating, uid: string): Sight | null {
  const { options, sights, paces, stopwatch, isFirst } = gating;
  const observed = options.nodes().get(uid);
  if (observed === undefined) return null;
  const before = sights.get(uid) ?? null;
  if (before?.observed === observed) return before;
  const { elapsedMs, readAt: now } = stopwatch;
  const sight = sightNode(before, observed, { settings: options, elapsedMs, now, isFirst });
  sights.set(uid, sight);
  const pace = paces.get(uid);
  if (pace !== undefined) paces.set(uid, paceAnew(pace));
  // While an attempt is under way it is its own to say who let the node go.
  if (sight.shut === null && !gating.running.has(uid)) {
    tellUnsure(gating, observed.node, before?.shut ?? null);
  }
  return sight;
}

/** The answer to our patch was lost, but it was applied: that is to be told as any other. */
function tellUnsure(gating: Gating, node: NamedNode, shut: Sight["shut"]): void {
  const pace = gating.paces.get(node.uid);
  if (pace === undefined || pace.unsure === null) return;
  gating.paces.set(node.uid, { ...pace, unsure: null });
  tellOpened(gating, { node, why: pace.unsure, shut });
}

function tellOpened(
  { options, stopwatch }: Gating,
  opened: { readonly node: NamedNode; readonly why: Opening; readonly shut: Sight["shut"] },
): void {
  const { why, shut } = opened;
  const { uid, name } = opened.node;
  const afterMs = shut === null ? 0 : stopwatch.elapsedMs - shut.sinceMs;
  const at = options.world.now();
  options.emit({ kind: "gate-opened", at, node: { uid, name }, why, afterMs });
}

function hasRoom({ running, trouble }: Gating, isRetry: boolean): boolean {
  const isAway = trouble.failures > 0;
  const same = [...running.values()].filter((one) => one.isRetry === isRetry).length;
  if (running.size >= ATTEMPTS_MAX) return false;
  return same < (isAway ? 1 : isRetry ? RETRIES_MAX : ATTEMPTS_MAX);
}

function wishOf(gating: Gating, sight: Sight) {
  const { options, stopwatch } = gating;
  const { mark } = options;
  // Most nodes are open: there is nothing to be judged of them.
  if (mark.kind === "taint" && sight.shut === null) return null;
  const standing = standingNow(gating, sight.observed);
  return wishFor(sight, standing, { mark, elapsedMs: stopwatch.elapsedMs });
}

function standingNow(gating: Gating, observed: ObservedNode): Standing | "unknown" {
  const { knowledge } = gating;
  const epoch = gating.options.epoch();
  if (gating.standings.knowledge !== knowledge || gating.standings.epoch !== epoch) {
    gating.standings = { knowledge, epoch, of: new WeakMap() };
  }
  const known = gating.standings.of.get(observed);
  if (known !== undefined) return known;
  const standing = standingOf(knowledge, observed, epoch);
  gating.standings.of.set(observed, standing);
  return standing;
}

function begin(gating: Gating, { sight, isRetry, signal }: BeginOptions): void {
  const { uid } = sight.observed.node;
  const ended = work(gating, sight, signal)
    .catch((error: unknown) => {
      if (signal.aborted) return;
      const { options, paces, stopwatch } = gating;
      paces.set(uid, { ...CALM, retryMs: stopwatch.elapsedMs + BUG_RETRY_MS });
      const message = `The gate failed unexpectedly: ${errorText(error)}`;
      options.emit({ kind: "warning", at: options.world.now(), message });
    })
    .finally(() => {
      gating.running.delete(uid);
      gating.bell.ring();
    });
  gating.running.set(uid, { ended, isRetry });
}

interface BeginOptions {
  readonly sight: Sight;
  readonly isRetry: boolean;
  readonly signal: AbortSignal;
}

async function work(gating: Gating, sight: Sight, signal: AbortSignal): Promise<void> {
  const { options, paces } = gating;
  const { world, kube, emit } = options;
  const { uid, name } = sight.observed.node;
  const node = { uid, name };
  const wish = wishOf(gating, sight);
  if (wish === null) return;
  const outcome = await attempt(node, {
    kube,
    signal,
    now: world.now,
    wishFor: (object) => wishOfObject(gating, { uid, object }),
  });
  countTime(gating);
  const { elapsedMs } = gating.stopwatch;
  const pace = paces.get(uid) ?? CALM;
  paces.set(uid, paceAfter(pace, { wish, outcome }, { elapsedMs, world }));
  gating.trouble = troubleAfter(gating.trouble, outcome, elapsedMs);
  if (outcome.kind === "failed") {
    const { message, lasting } = outcome;
    emit({ kind: "gate-failed", at: world.now(), node, message, lasting });
  }
  if (outcome.kind === "written" && outcome.opened !== null) {
    tellOpened(gating, { node, why: outcome.opened, shut: sight.shut });
    beginAnew(gating, uid);
  } else if (lookAt(gating, uid)?.shut === null) tellUnsure(gating, node, sight.shut);
}

/**
 * What is wished of a node that is as in this object, at this moment: who leads, what is known and
 * what the node is may all have changed since the attempt began.
 */
function wishOfObject(
  gating: Gating,
  { uid, object }: { readonly uid: string; readonly object: unknown },
) {
  countTime(gating);
  const sight = lookAt(gating, uid);
  const { options, knowledge, stopwatch, isFirst } = gating;
  const epoch = options.epoch();
  if (epoch === null || sight === null) return null;
  const { mark } = options;
  const { elapsedMs, readAt: now } = stopwatch;
  const read = projectNode(object, { labels: knowledge?.labels ?? [], mark, held: NOTHING });
  const fresh = sightNode(sight, read, { settings: options, elapsedMs, now, isFirst });
  if (fresh.shut === null) {
    tellUnsure(gating, sight.observed.node, sight.shut);
    beginAnew(gating, uid);
  }
  const standing = standingOf(knowledge, sight.observed, epoch);
  const isSame = standingOf(knowledge, read, epoch) === standing;
  return wishFor(fresh, isSame ? standing : "unknown", { mark, elapsedMs });
}

const NOTHING: Nodes = new Map();

/** The node is open: if it is seen shut after this, it has all of its time before it. */
function beginAnew({ options, sights, stopwatch }: Gating, uid: string): void {
  const sight = sights.get(uid);
  if (sight === undefined || sight.shut === null) return;
  sights.set(uid, { ...sight, shut: shutNow(options, stopwatch.elapsedMs) });
}
