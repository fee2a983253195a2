import type { Instant } from "../lib/core/record.ts";
import type { World } from "../lib/world.ts";
import { type Backoff, backoffMs } from "./backoff.ts";
import { KubeError } from "./kube.ts";
import { errorText } from "./signal.ts";

/** How writing Events went so far. */
export interface Stance {
  /** Failures in a row. */
  readonly failures: number;
  /** Nothing is written before. */
  readonly notBefore: Instant;
  /** Namespaces that take none of ours, until when, and when people were told. */
  readonly bans: ReadonlyMap<string, { readonly until: Instant; readonly toldAt: Instant }>;
  /** When people were last told of an Event that is refused as it is. */
  readonly toldAt: Instant | null;
}

export const READY: Stance = { failures: 0, notBefore: 0, bans: new Map(), toldAt: null };

const BACKOFF: Backoff = { firstMs: 1_000, lastMs: 60_000 };
const BAN_MS = 600_000;
/** Events are a comfort: whoever does not grant them does not want to read of it all day. */
const TELL_MS = 6 * 3_600_000;

export interface FailureJudgement {
  readonly stance: Stance;
  /** `anew`: the Event is gone, and another may take its place. */
  readonly verdict: "again" | "anew" | "done" | "drop";
  /** For the log; null when it was said before, or heals by itself. */
  readonly message: string | null;
}

/** What follows from an Event that was not written. */
export function judgeFailure(
  before: Stance,
  error: unknown,
  context: {
    readonly isUpdate: boolean;
    readonly namespace: string;
    readonly now: Instant;
    readonly world: Pick<World, "random">;
  },
): FailureJudgement {
  const { isUpdate, namespace, now, world } = context;
  const status = error instanceof KubeError ? error.status : null;
  if (status === 404 && isUpdate) return { stance: before, verdict: "anew", message: null };
  // Names are drawn, so this one is ours: only the answer to writing it was lost.
  if (status === 409 && !isUpdate) return { stance: before, verdict: "done", message: null };
  if (status === 403 || status === 404) {
    const { toldAt } = before.bans.get(namespace) ?? { toldAt: null };
    const isTold = toldAt !== null && Math.abs(now - toldAt) < TELL_MS;
    const ban = { until: now + BAN_MS, toldAt: isTold ? toldAt : now };
    const bans = new Map(before.bans).set(namespace, ban);
    const right = "create and patch on events of events.k8s.io";
    const wayOut = `grant ${right} in "${namespace}", or ignore this`;
    const message = isTold ? null : `Cannot write Events: ${errorText(error)}; ${wayOut}`;
    return { stance: { ...before, bans }, verdict: "drop", message };
  }
  const isRefused = status !== null && status >= 400 && status < 500;
  if (isRefused && status !== 401 && status !== 408 && status !== 429) {
    const isTold = before.toldAt !== null && Math.abs(now - before.toldAt) < TELL_MS;
    const stance = isTold ? before : { ...before, toldAt: now };
    const message = isTold ? null : `Cannot write an Event: ${errorText(error)}`;
    return { stance, verdict: "drop", message };
  }
  const failures = before.failures + 1;
  const retryAfterMs = error instanceof KubeError ? (error.retryAfterMs ?? 0) : 0;
  const delayMs = Math.max(backoffMs(failures, BACKOFF, world), retryAfterMs);
  const stance = { ...before, failures, notBefore: now + delayMs };
  return { stance, verdict: "again", message: null };
}
