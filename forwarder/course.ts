import type { Instant } from "../lib/core/record.ts";
import type { World } from "../lib/world.ts";
import { type Backoff, backoffMs } from "./backoff.ts";

/**
 * What the watch does next, decided from what it did last: pure, so that every course of events can
 * be tried without a server.
 */
export type Step =
  /** Everything, as it is now: a list without resourceVersion, always believed. */
  | { readonly kind: "list"; readonly streams: boolean }
  /** Everything, not older than what was seen. */
  | { readonly kind: "list-newer"; readonly streams: boolean; readonly version: string }
  /** What came after a version. */
  | { readonly kind: "resume"; readonly version: string };

/** How a step ended. */
export type Ended =
  | { readonly kind: "listed" }
  /** The server ended the stream in good order. */
  | { readonly kind: "closed" }
  /** We ended it, because a consistent list is wanted. */
  | { readonly kind: "refresh" }
  /** No bytes for too long, or no end for too long. */
  | { readonly kind: "silent" | "overdue" }
  /** It lives, but for too long nothing showed that the server knows what holds now. */
  | { readonly kind: "unproven" }
  /** 410: the version we asked for is no longer known. */
  | { readonly kind: "expired" }
  /** The version we asked for is not known yet. */
  | { readonly kind: "too-new" }
  /** What came was older than what had been seen. */
  | { readonly kind: "unbelievable"; readonly message: string }
  /** A Status of failure, as an answer or within the stream. */
  | {
      readonly kind: "refused";
      readonly message: string;
      readonly status: number;
      readonly retryAfterMs: number | null;
    }
  /** Cut, garbled, unreachable, or an exception of ours. */
  | { readonly kind: "broken"; readonly message: string };

/** What the stream of a step did; zeros for one that had none. */
export interface StreamCourse {
  readonly opened: boolean;
  /** Whether it ended before its first events were complete. */
  readonly initial: boolean;
  readonly livedMs: number;
  readonly events: number;
}

export const NO_STREAM: StreamCourse = { opened: false, initial: false, livedMs: 0, events: 0 };

export interface Progress {
  /** The last version that is part of the truth; null before the first complete list. */
  readonly version: string | null;
  readonly next: Step["kind"];
  /** When the next consistent list is due, whatever else happens. */
  readonly relistAt: Instant;
  readonly failures: number;
  /** Refusals for want of a right in a row, whatever failed otherwise between them. */
  readonly denials: number;
  /** Silent streams in a row. */
  readonly silences: number;
  /**
   * Evidence that the server does not send lists as streams; at {@link STRIKES_MAX} they are no
   * longer asked for.
   */
  readonly strikes: number;
  /** Whether this server was ever seen to send a bookmark, so that silence means something. */
  readonly bookmarks: boolean;
}

export const START: Progress = {
  version: null,
  next: "list",
  relistAt: 0,
  failures: 0,
  denials: 0,
  silences: 0,
  strikes: 0,
  bookmarks: false,
};

const BACKOFF: Backoff = { firstMs: 800, lastMs: 60_000 };
const HEALTHY_MS = 120_000;
/**
 * A stream that ended sooner is a failure, whatever it held: it would be opened again and again.
 */
const SHORT_MS = 1_000;
const SHORT_WITHOUT_EVENTS_MS = 10_000;
/** What people must mend is tried slowly. */
const LASTING_FAILURES = 5;
/** A server that has just started forbids everything until it has read its roles. */
const DENIED_AT_FIRST = 3;
const SILENCES_MAX = 2;
const EXPIRED_AT_ONCE = 3;
const STRIKES_MAX = 3;
/**
 * With streams of at most ten minutes in between, a consistent list every 30 minutes at the most.
 */
const RELIST_MS_MIN = 900_000;
const RELIST_MS_MAX = 1_170_000;
const RELIST_AGAIN_MS = 60_000;

/** Whether it stays forbidden: not only by a server that has just started. */
export function isDenied({ denials }: Pick<Progress, "denials">): boolean {
  return denials > DENIED_AT_FIRST;
}

/** When the consistent list after this one is due. */
export function drawRelist(begunAt: Instant, world: Pick<World, "random">): Instant {
  return begunAt + RELIST_MS_MIN + Math.round(world.random() * (RELIST_MS_MAX - RELIST_MS_MIN));
}

/** `wanted`: somebody waits for a consistent list. */
export function nextStep(
  progress: Progress,
  { now, wanted }: { readonly now: Instant; readonly wanted: boolean },
): Step {
  const streams = progress.strikes < STRIKES_MAX;
  const { version, next, relistAt } = progress;
  // Further away than it ever was: the clock was set back.
  const isDue = now >= relistAt || relistAt - now > RELIST_MS_MAX;
  if (version === null || wanted || next === "list" || isDue) {
    return { kind: "list", streams };
  }
  return next === "list-newer" ? { kind: next, streams, version } : { kind: next, version };
}

export interface Verdict {
  readonly progress: Progress;
  readonly delayMs: number;
  /** For the log; null when all is well. */
  readonly message: string | null;
  /** Whether people are needed. */
  readonly lasting: boolean;
}

/** What follows from the end of a step. */
export function judgeEnd(
  before: Progress,
  context: {
    readonly step: Step;
    readonly end: Ended;
    readonly course: StreamCourse;
    readonly now: Instant;
    readonly world: Pick<World, "random">;
    /** What to grant when the server refuses. */
    readonly rights: string;
  },
): Verdict {
  const { step, end, course } = context;
  const progress = settle(before, context);
  const again = (next: Step["kind"], message: string | null, slowly = false): Verdict => {
    const failures = Math.max(progress.failures + 1, slowly ? LASTING_FAILURES : 0);
    const delayMs = backoffMs(failures, BACKOFF, context.world);
    return { progress: { ...progress, next, failures }, delayMs, message, lasting: slowly };
  };
  const atOnce = (next: Step["kind"], message: string | null = null): Verdict => ({
    progress: { ...progress, next },
    delayMs: 0,
    message,
    lasting: false,
  });
  if (before.strikes < STRIKES_MAX && progress.strikes >= STRIKES_MAX) {
    // Happens once, so there is nothing to wait for. First events without an end come here, too.
    return atOnce(progress.next, "The server does not stream lists: reading them page by page");
  }
  switch (end.kind) {
    case "listed":
      return atOnce("resume");
    case "refresh":
      return atOnce("list");
    case "unproven": {
      // Due, not wanted: should it fail, the watch goes on meanwhile.
      const due = { ...progress, next: "resume", relistAt: context.now } as const;
      return { ...atOnce("resume"), progress: due };
    }
    case "closed":
      return isShort(course) ? again("resume", "The watch ended at once") : atOnce("resume");
    case "silent":
    case "overdue":
      if (end.kind === "overdue" && course.events > 0) return atOnce("resume");
      return again(
        progress.silences >= SILENCES_MAX ? "list" : progress.next,
        "The watch was silent for too long",
      );
    case "expired":
    case "too-new": {
      const isFollowing = step.kind === "resume" || (course.opened && !course.initial);
      const next = isFollowing && end.kind === "expired" ? "list-newer" : "list";
      const message = `The version ${before.version} is ${end.kind}: listing again`;
      // Once or twice it is the server's history that went; again and again it is something else.
      return progress.failures < EXPIRED_AT_ONCE
        ? { ...again(next, message), delayMs: 0 }
        : again(next, message);
    }
    case "unbelievable":
      return again("list", end.message);
    case "refused":
      return judgeRefusal(end, { ...progress, rights: context.rights, again });
    case "broken":
      return again(progress.next, end.message);
    default:
      throw new Error(`Unreachable: ${JSON.stringify(end satisfies never)}`);
  }
}

/** What a step's end says about the server, before what it means for the next step. */
function settle(
  progress: Progress,
  context: {
    readonly step: Step;
    readonly end: Ended;
    readonly course: StreamCourse;
    readonly now: Instant;
  },
): Progress {
  const { step, end, course, now } = context;
  const isHealthy = course.livedMs >= HEALTHY_MS && course.events > 0;
  const isSilent = end.kind === "silent" || (end.kind === "overdue" && course.events === 0);
  const silences = course.events > 0 ? 0 : progress.silences;
  // A list that is merely due must not keep the watch from going on when it fails.
  const isFailedRelist = step.kind === "list" && end.kind !== "listed" && end.kind !== "refresh";
  return {
    ...progress,
    failures: isHealthy ? 0 : progress.failures,
    denials: denialsOf(progress, end, course),
    silences: isSilent ? silences + 1 : silences,
    strikes: progress.strikes + strikesOf(step, end, course),
    relistAt: isFailedRelist
      ? Math.max(progress.relistAt, now + RELIST_AGAIN_MS)
      : progress.relistAt,
  };
}

function denialsOf({ denials }: Progress, end: Ended, course: StreamCourse): number {
  if (end.kind === "listed" || (course.opened && !course.initial)) return 0;
  return end.kind === "refused" && end.status === 403 ? denials + 1 : denials;
}

/**
 * Older servers refuse a list as a stream as invalid, end it with an error, or know nothing of it
 * and never end the first events. A cut connection is weak evidence, the rest is proof.
 */
function strikesOf(step: Step, end: Ended, course: StreamCourse): number {
  if (step.kind === "resume" || !step.streams || !course.initial) return 0;
  switch (end.kind) {
    case "refused":
      if (isInvalid(end.status)) return STRIKES_MAX;
      return course.opened && end.status !== 429 ? STRIKES_MAX : 0;
    case "closed":
    case "silent":
    case "overdue":
      return STRIKES_MAX;
    case "broken":
      return course.opened ? 1 : 0;
    case "unbelievable":
    case "listed":
    case "refresh":
    case "unproven":
    case "expired":
    case "too-new":
      return 0;
    default:
      throw new Error(`Unreachable: ${JSON.stringify(end satisfies never)}`);
  }
}

function isInvalid(status: number): boolean {
  return status === 400 || status === 422;
}

function isShort({ livedMs, events }: StreamCourse): boolean {
  return livedMs < (events === 0 ? SHORT_WITHOUT_EVENTS_MS : SHORT_MS);
}

function judgeRefusal(
  end: Extract<Ended, { kind: "refused" }>,
  context: {
    readonly next: Step["kind"];
    readonly rights: string;
    /** In a row, before this one. */
    readonly failures: number;
    readonly again: (next: Step["kind"], message: string, slowly?: boolean) => Verdict;
  },
): Verdict {
  const { next, rights, again } = context;
  const { status, message } = end;
  if (isInvalid(status)) return again("list", message);
  if (status === 403) {
    const wayOut = `grant ${rights}, and get on the namespace kube-system, to this account`;
    return again(next, `${message}; ${wayOut}`, context.failures >= DENIED_AT_FIRST);
  }
  if (status === 401) return again(next, `${message}; renew the credentials`);
  const verdict = again(next, message);
  return { ...verdict, delayMs: Math.max(verdict.delayMs, end.retryAfterMs ?? 0) };
}
