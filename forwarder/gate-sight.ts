import type { Instant } from "../lib/core/record.ts";
import type { Standing } from "./gate-knowledge.ts";
import type { ObservedNode } from "./projection.ts";
import type { GateSettings } from "./settings.ts";
import type { GateMark } from "./variables.ts";

/**
 * Time as a gate counts it. It only ever goes on, and by a step at most, so that a clock that was
 * set back postpones nothing and one that was set forward opens nothing: only time that this
 * process lived through counts.
 */
export interface Stopwatch {
  readonly elapsedMs: number;
  readonly readAt: Instant;
}

/** Twice as long as two looks at it are apart, for a busy process. */
const STEP_MS_MAX = 10_000;

export function readStopwatch(before: Stopwatch, now: Instant): Stopwatch {
  const stepMs = Math.min(STEP_MS_MAX, Math.max(0, now - before.readAt));
  return { elapsedMs: before.elapsedMs + stepMs, readAt: now };
}

/** A node as it was last seen, and since when it has been shut. */
export interface Sight {
  readonly observed: ObservedNode;
  /** Null while the node is open. */
  readonly shut: Shut | null;
}

/** In milliseconds of the stopwatch. */
export interface Shut {
  readonly sinceMs: number;
  /** When its time is over; `Infinity` for never. */
  readonly dueMs: number;
}

/** A process that has just started gives nodes that waited for long at least so much. */
const GRACE_MS = 60_000;

/**
 * What is known of a node after it was seen. The time of a node counts from when this process first
 * saw it shut, so that it goes on when another process takes over the Lease. Of nodes that were
 * there before this process it counts from their creation, so that a process that is started again
 * and again does not keep them shut for ever; a node that was seen open begins anew.
 */
export function sightNode(
  before: Sight | null,
  observed: ObservedNode,
  context: {
    readonly settings: GateSettings;
    readonly elapsedMs: number;
    readonly now: Instant;
    /** The first nodes that this process sees. */
    readonly isFirst: boolean;
  },
): Sight {
  const { settings, elapsedMs, now } = context;
  if (isOpen(settings.mark, observed.mark)) return { observed, shut: null };
  if (before !== null && before.shut !== null) return { observed, shut: before.shut };
  const shut = shutNow(settings, elapsedMs);
  if (before !== null || !context.isFirst || observed.createdAt === null) return { observed, shut };
  const ageMs = Math.max(0, now - observed.createdAt);
  const dueMs = Math.max(Math.min(shut.dueMs, elapsedMs + GRACE_MS), shut.dueMs - ageMs);
  return { observed, shut: { ...shut, dueMs } };
}

/** A node that is shut from now on has all of its time before it. */
export function shutNow({ timeoutMs }: GateSettings, elapsedMs: number): Shut {
  return { sinceMs: elapsedMs, dueMs: elapsedMs + (timeoutMs ?? Number.POSITIVE_INFINITY) };
}

function isOpen(mark: GateMark, given: string | null): boolean {
  return mark.kind === "taint" ? given === null : (given?.startsWith("True/") ?? false);
}

/** What a gate wants a node to have on it. */
export type Wish =
  | { readonly kind: "no-taint"; readonly key: string; readonly why: Opening }
  | { readonly kind: "condition"; readonly status: ConditionStatus; readonly reason: GateReason };

/**
 * Why a node is let go. Only a condition is set on nodes that nobody meant to hold back, so only
 * there it is as it should be that one on no list has waited until its time was over.
 */
export type Opening = "ready" | "timeout" | "unlisted";

export type ConditionStatus = "True" | "False" | "Unknown";
export type GateReason = "Allowlisted" | "GateTimeout" | "AllowlistPending" | "Unlisted";

/** The mark that a Node's condition leaves, as {@link ObservedNode} has it. */
export function conditionMark(status: string, reason: string): string {
  return `${status}/${reason}`;
}

/**
 * What is to be written on a node that stands so, or null when nothing is. Only a node that is
 * ready, or whose time is over, is let go.
 */
export function wishFor(
  { observed, shut }: Sight,
  standing: Standing | "unknown",
  { mark, elapsedMs }: { readonly mark: GateMark; readonly elapsedMs: number },
): Wish | null {
  const isOver = shut !== null && elapsedMs >= shut.dueMs;
  if (mark.kind === "taint") {
    if (shut === null) return null;
    if (standing === "ready") return { kind: "no-taint", key: mark.key, why: "ready" };
    return isOver ? { kind: "no-taint", key: mark.key, why: "timeout" } : null;
  }
  const wanted = conditionFor(standing, { mark: observed.mark, isOver });
  if (wanted === null || observed.mark === conditionMark(wanted.status, wanted.reason)) return null;
  return { kind: "condition", ...wanted };
}

function conditionFor(
  standing: Standing | "unknown",
  { mark, isOver }: { readonly mark: string | null; readonly isOver: boolean },
): Omit<Extract<Wish, { kind: "condition" }>, "kind"> | null {
  // A node that was let go stays so until it is ready: its time is not to begin again and again.
  const wasLetGo = mark === conditionMark("True", "GateTimeout");
  switch (standing) {
    case "ready":
      return { status: "True", reason: "Allowlisted" };
    case "unlisted": {
      const isLetGo = isOver || wasLetGo || mark === conditionMark("True", "Unlisted");
      return { status: isLetGo ? "True" : "Unknown", reason: "Unlisted" };
    }
    case "waiting":
    case "unknown":
      if (isOver || wasLetGo) return { status: "True", reason: "GateTimeout" };
      return standing === "unknown" ? null : { status: "False", reason: "AllowlistPending" };
    default:
      throw new Error(`Unreachable: ${JSON.stringify(standing satisfies never)}`);
  }
}

/** Why a wish lets a node go; null when it does not. */
export function openingOf(wish: Wish): Opening | null {
  if (wish.kind === "no-taint") return wish.why;
  if (wish.status !== "True") return null;
  if (wish.reason === "Unlisted") return "unlisted";
  return wish.reason === "Allowlisted" ? "ready" : "timeout";
}
