import { gzipSync } from "node:zlib";
import type { Instant } from "../lib/core/record.ts";
import {
  type Change,
  type Generation,
  SNAPSHOT_CHANGES_MAX,
  type Snapshot,
} from "../lib/core/snapshot.ts";
import type { Answer } from "../lib/wire/protocol.ts";
import { deliveryId, GZIP_FROM_BYTES, MEDIA_TYPE, renderDelivery } from "../lib/wire/protocol.ts";
import { type World, withTimeout } from "../lib/world.ts";
import type { Authenticator } from "./authenticator.ts";
import { backoffMs } from "./backoff.ts";
import { excessOf, excessOfBytes } from "./excess.ts";
import type { Emit, UndeliveredReason } from "./journal.ts";
import {
  countRaise,
  judgeOutcome,
  type Outcome,
  PACE,
  type Pace,
  type Reply,
  readReply,
} from "./outcome.ts";
import { type Bell, errorText, makeBell } from "./signal.ts";
import type { Truth } from "./truth.ts";

/** Sends one signed body and resolves with whatever was answered; rejects when nothing was. */
export type Post = (
  body: Uint8Array,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
) => Promise<Reply>;

export interface Delivery {
  /** The truth has changed; `changes` say why, for people. */
  changed(changes: readonly Change[]): void;
  /** What changed so far was somebody else's to deliver. */
  forget(): void;
  /** Something that delivering waits for may have come about. */
  wake(): void;
  /**
   * Delivers until `signal` aborts; then, until `last` aborts, only what was not yet answered. At
   * most
   * one delivery is in flight.
   */
  run(signal: AbortSignal, last: AbortSignal): Promise<void>;
}

export interface DeliveryOptions {
  readonly cluster: string;
  readonly heartbeatMs: number;
  readonly world: Pick<World, "now" | "random" | "sleep">;
  readonly emit: Emit;
  readonly post: Post;
  readonly authenticate: Authenticator;
  /** The truth to deliver and the epoch to do it under, or null while none may be. */
  readonly permit: () => { readonly epoch: number; readonly truth: Truth } | null;
  /** Raises the epoch above what the receiver holds; null when that could not be done. */
  readonly raise: (above: number) => Promise<number | null>;
  /** A snapshot was admitted; the answer is of its generation or a later one. Must not throw. */
  readonly onAnswered: (sent: Snapshot, answer: Answer) => void;
}

/** A burst of events becomes one delivery: after this long without another, */
const QUIET_MS = 10;
/** and after this long at the latest. */
const BURST_MS_MAX = 500;
/**
 * Changes that come all the time are delivered no more often than this: a thousand nodes that join
 * within a second are told by a handful of deliveries, and the first of them at once.
 */
const SPACE_MS = 300;
const ANSWER_TIMEOUT_MS = 35_000;
/**
 * Longer than any heartbeat, backoff or Retry-After: what is due later is due by a clock of the
 * past.
 */
const WAIT_MS_MAX = 750_000;
/** At the end, one attempt later than this is none. */
const FLUSH_WAIT_MS_MAX = 10_000;
/** How often a permit is asked for that nobody announces, as when it lapsed and came back. */
const PERMIT_POLL_MS = 1_000;

/** Since when, and last when, the truth changed; told in its own time, and not before. */
interface Burst {
  readonly since: Instant;
  readonly last: Instant;
  readonly notBefore: Instant;
}

/** What waits to be delivered, and how it went so far. */
interface Delivering {
  readonly options: DeliveryOptions;
  readonly bell: Bell;
  pace: Pace;
  /** How the truth changed without being answered; null when it did not. */
  burst: Burst | null;
  /** When the last attempt began. */
  begunAt: Instant;
  changes: readonly Change[];
  /** Counts changes of the truth. */
  version: number;
  generation: Generation;
}

/** Delivers one truth to one receiver, for as long as it takes. */
export function makeDelivery(options: DeliveryOptions): Delivery {
  const delivering: Delivering = {
    options,
    bell: makeBell(options.world),
    pace: PACE,
    burst: null,
    begunAt: Number.NEGATIVE_INFINITY,
    changes: [],
    version: 0,
    generation: { epoch: 0, sequence: 0 },
  };
  return {
    changed(changes) {
      const now = options.world.now();
      delivering.version += 1;
      // A clock that was set back must not put it off.
      const notBefore = Math.min(now, delivering.begunAt) + SPACE_MS;
      delivering.burst = { since: delivering.burst?.since ?? now, last: now, notBefore };
      delivering.changes = [...delivering.changes, ...changes].slice(-SNAPSHOT_CHANGES_MAX);
      delivering.bell.ring();
    },
    forget() {
      delivering.changes = [];
    },
    wake: () => delivering.bell.ring(),
    async run(signal, last) {
      while (!signal.aborted) await safeTurn(delivering, signal, last);
      // What changed and was not answered is worth a few more attempts; a heartbeat is not.
      while (!last.aborted && mayFlush(delivering)) {
        delivering.burst = { since: 0, last: 0, notBefore: 0 };
        await safeTurn(delivering, last, last);
      }
    },
  };
}

/** A receiver that was to be left alone for longer is not waited for: the Lease is. */
function mayFlush({ burst, pace, options }: Delivering): boolean {
  const waitMs = pace.notBefore - options.world.now();
  return burst !== null && options.permit() !== null && waitMs <= FLUSH_WAIT_MS_MAX;
}

/**
 * An abort ends a wait by rejecting; everything else that comes here is a bug, and no reason to
 * fall silent.
 */
async function safeTurn(
  delivering: Delivering,
  signal: AbortSignal,
  last: AbortSignal,
): Promise<void> {
  try {
    await turn(delivering, signal, last);
  } catch (error) {
    if (signal.aborted) return;
    const { world } = delivering.options;
    const message = `Cannot deliver: ${errorText(error)}`;
    await conclude(delivering, { kind: "unclear", message, retryAfterMs: null }, world.now());
  }
}

/**
 * When the next attempt is due: a burst that has settled, some time after the attempt before, or
 * the time to repeat; never in the backoff.
 */
export function dueAt(pace: Pick<Pace, "notBefore" | "repeatAt">, burst: Burst | null): Instant {
  if (burst === null) return Math.max(pace.notBefore, pace.repeatAt);
  const settledAt = Math.min(burst.since + BURST_MS_MAX, burst.last + QUIET_MS, pace.repeatAt);
  return Math.max(pace.notBefore, settledAt, burst.notBefore);
}

/** One wait or one attempt. `signal` ends waits, `last` ends an attempt that is on its way. */
async function turn(delivering: Delivering, signal: AbortSignal, last: AbortSignal): Promise<void> {
  const { options, bell } = delivering;
  const { world } = options;
  const waitMs = dueAt(delivering.pace, delivering.burst) - world.now();
  if (waitMs > 0 && waitMs <= WAIT_MS_MAX) {
    await bell.wait(waitMs, signal);
    return;
  }
  const permit = options.permit();
  if (permit === null) {
    await bell.wait(PERMIT_POLL_MS, signal);
    return;
  }
  const { version, changes, burst } = delivering;
  const startedAt = world.now();
  delivering.begunAt = startedAt;
  const message = nextMessage(delivering, permit);
  if (typeof message === "string") {
    await conclude(delivering, { kind: "refused", message, isOtherCluster: false }, startedAt);
    return;
  }
  const { snapshot } = message;
  const { generation } = snapshot;
  options.emit({
    kind: "delivered",
    at: startedAt,
    generation,
    nodes: snapshot.nodes.length,
    changes: snapshot.changes,
  });
  // At the end nobody waits for the answer to a heartbeat: it has nothing new to say.
  const outcome = await attempt(message, options, burst === null ? signal : last);
  if (burst === null && signal.aborted && outcome.kind !== "answered") return;
  const now = world.now();
  if (outcome.kind === "answered") {
    const { answer } = outcome;
    const tookMs = now - startedAt;
    delivering.changes = delivering.changes.filter((change) => !changes.includes(change));
    if (delivering.version === version) delivering.burst = null;
    options.emit({ kind: "answered", at: now, generation, changes, answer, tookMs });
    options.onAnswered(snapshot, answer);
  }
  await conclude(delivering, outcome, now);
}

async function conclude(delivering: Delivering, outcome: Outcome, now: Instant): Promise<void> {
  const { options } = delivering;
  const { world, heartbeatMs, emit } = options;
  const judgement = judgeOutcome(delivering.pace, outcome, { now, world, heartbeatMs });
  delivering.pace = judgement.pace;
  if (judgement.message !== null) {
    const { message, lasting } = judgement;
    const why = whyOf(outcome);
    const retryInMs = Math.max(0, judgement.pace.notBefore - now);
    emit({ kind: "undelivered", at: now, message, why, retryInMs, lasting });
  }
  if (judgement.raiseAbove === null) return;
  const epoch = await options.raise(judgement.raiseAbove);
  if (epoch !== null) {
    delivering.pace = countRaise(delivering.pace, world.now());
    return;
  }
  // Not ours to raise any more, or the API server is away: no reason to hurry.
  const failures = delivering.pace.failures + 1;
  const delayMs = backoffMs(failures, { firstMs: 1_000, lastMs: 60_000 }, world);
  delivering.pace = { ...delivering.pace, failures, notBefore: world.now() + delayMs };
}

function whyOf(outcome: Outcome): UndeliveredReason {
  switch (outcome.kind) {
    case "refused":
      return outcome.isOtherCluster ? "other-cluster" : "refused";
    case "answered":
      return "unclear";
    default:
      return outcome.kind;
  }
}

interface Message {
  readonly snapshot: Snapshot;
  readonly text: Buffer;
}

/** What is sent next, or why it cannot be: nothing is ever cut to make it fit. */
function nextMessage(
  delivering: Delivering,
  permit: { readonly epoch: number; readonly truth: Truth },
): Message | string {
  const excess = excessOf(permit.truth);
  if (excess !== null) return excess;
  const snapshot = nextSnapshot(delivering, permit);
  const text = Buffer.from(renderDelivery(snapshot));
  return excessOfBytes(text.length) ?? { snapshot, text };
}

/** The newest truth under the next sequence of the epoch: an old body is never sent again. */
function nextSnapshot(
  delivering: Delivering,
  { epoch, truth }: { readonly epoch: number; readonly truth: Truth },
): Snapshot {
  const { options, generation: before } = delivering;
  const sequence = before.epoch === epoch ? before.sequence + 1 : 1;
  delivering.generation = { epoch, sequence };
  return {
    cluster: options.cluster,
    clusterUid: truth.clusterUid,
    generation: delivering.generation,
    time: options.world.now(),
    observedAt: truth.observedAt,
    scope: truth.scope,
    changes: delivering.changes,
    nodes: truth.nodes,
    pods: truth.pods,
  };
}

async function attempt(
  { snapshot, text }: Message,
  options: DeliveryOptions,
  signal: AbortSignal,
): Promise<Outcome> {
  const { world } = options;
  const reason = () => new Error(`no answer within ${ANSWER_TIMEOUT_MS / 1000} s`);
  try {
    const isLarge = text.length >= GZIP_FROM_BYTES;
    const body = isLarge ? gzipSync(text) : text;
    const headers = {
      "content-type": MEDIA_TYPE,
      ...(isLarge ? { "content-encoding": "gzip" } : {}),
      ...(await options.authenticate(body, { id: deliveryId(snapshot), time: snapshot.time })),
    };
    const reply = await withTimeout(world, ANSWER_TIMEOUT_MS, { signal, reason }, (inner) =>
      options.post(body, headers, inner),
    );
    return readReply(reply, world.now());
  } catch (error) {
    const message = `Cannot deliver: ${errorText(error)}`;
    return { kind: "unclear", message, retryAfterMs: null };
  }
}
