import { gzipSync } from "node:zlib";
import type { Instant } from "../lib/core/record.ts";
import {
  type Change,
  type Generation,
  type Scope,
  SNAPSHOT_CHANGES_MAX,
  type Snapshot,
} from "../lib/core/snapshot.ts";
import { deliveryId, GZIP_FROM_BYTES, MEDIA_TYPE, renderDelivery } from "../lib/wire/protocol.ts";
import { type World, withTimeout } from "../lib/world.ts";
import type { Authenticator } from "./authenticator.ts";
import { backoffMs } from "./backoff.ts";
import type { Emit } from "./journal.ts";
import { judgeOutcome, type Outcome, PACE, type Pace, type Reply, readReply } from "./outcome.ts";
import { type Bell, errorText, makeBell } from "./signal.ts";
import type { Truth } from "./watch.ts";

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
  readonly scope: Scope;
  readonly heartbeatMs: number;
  readonly world: Pick<World, "now" | "random" | "sleep">;
  readonly emit: Emit;
  readonly post: Post;
  readonly authenticate: Authenticator;
  /** The truth to deliver and the epoch to do it under, or null while none may be. */
  readonly permit: () => { readonly epoch: number; readonly truth: Truth } | null;
  /** Raises the epoch above what the receiver holds; null when that could not be done. */
  readonly raise: (above: number) => Promise<number | null>;
}

/** A burst of events becomes one delivery: after this long without another, */
const QUIET_MS = 10;
/** and after this long at the latest. */
const BURST_MS_MAX = 500;
const ANSWER_TIMEOUT_MS = 35_000;
/**
 * Longer than any heartbeat, backoff or Retry-After: what is due later is due by a clock of the
 * past.
 */
const WAIT_MS_MAX = 750_000;
/** How often a permit is asked for that nobody announces, as when it lapsed and came back. */
const PERMIT_POLL_MS = 1_000;

/** What waits to be delivered, and how it went so far. */
interface Delivering {
  readonly options: DeliveryOptions;
  readonly bell: Bell;
  pace: Pace;
  /** Since when, and last when, the truth changed without being answered; null when it did not. */
  burst: { readonly since: Instant; readonly last: Instant } | null;
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
    changes: [],
    version: 0,
    generation: { epoch: 0, sequence: 0 },
  };
  return {
    changed(changes) {
      const now = options.world.now();
      delivering.version += 1;
      delivering.burst = { since: delivering.burst?.since ?? now, last: now };
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
      while (!last.aborted && delivering.burst !== null && options.permit() !== null) {
        delivering.burst = { since: 0, last: 0 };
        await safeTurn(delivering, last, last);
      }
    },
  };
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
 * When the next attempt is due: a burst that has settled, or the time to repeat; never in the
 * backoff.
 */
export function dueAt(
  pace: Pick<Pace, "notBefore" | "repeatAt">,
  burst: { readonly since: Instant; readonly last: Instant } | null,
): Instant {
  const settledAt =
    burst === null
      ? pace.repeatAt
      : Math.min(burst.since + BURST_MS_MAX, burst.last + QUIET_MS, pace.repeatAt);
  return Math.max(pace.notBefore, settledAt);
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
  const { version, changes } = delivering;
  const snapshot = nextSnapshot(delivering, permit);
  const { generation } = snapshot;
  const startedAt = world.now();
  options.emit({
    kind: "delivered",
    at: startedAt,
    generation,
    nodes: snapshot.nodes.length,
    changes: snapshot.changes,
  });
  const outcome = await attempt(snapshot, options, last);
  const now = world.now();
  if (outcome.kind === "answered") {
    const { answer } = outcome;
    const tookMs = now - startedAt;
    delivering.changes = delivering.changes.filter((change) => !changes.includes(change));
    if (delivering.version === version) delivering.burst = null;
    options.emit({ kind: "answered", at: now, generation, changes, answer, tookMs });
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
    const retryInMs = Math.max(0, judgement.pace.notBefore - now);
    emit({ kind: "undelivered", at: now, message, retryInMs, lasting });
  }
  if (judgement.raiseAbove === null) return;
  const epoch = await options.raise(judgement.raiseAbove);
  if (epoch !== null) return;
  // Not ours to raise any more, or the API server is away: no reason to hurry.
  const failures = delivering.pace.failures + 1;
  const delayMs = backoffMs(failures, { firstMs: 1_000, lastMs: 60_000 }, world);
  delivering.pace = { ...delivering.pace, failures, notBefore: world.now() + delayMs };
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
    scope: options.scope,
    changes: delivering.changes,
    nodes: truth.nodes,
    pods: [],
  };
}

async function attempt(
  snapshot: Snapshot,
  options: DeliveryOptions,
  signal: AbortSignal,
): Promise<Outcome> {
  const { world } = options;
  const reason = () => new Error(`no answer within ${ANSWER_TIMEOUT_MS / 1000} s`);
  try {
    const text = Buffer.from(renderDelivery(snapshot));
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
