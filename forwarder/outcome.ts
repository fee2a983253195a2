import type { Instant } from "../lib/core/record.ts";
import type { Generation } from "../lib/core/snapshot.ts";
import { type Answer, type ProblemDocument, problemKindOf } from "../lib/wire/protocol.ts";
import { parseAnswer, parseProblemDocument } from "../lib/wire/reply.ts";
import type { World } from "../lib/world.ts";
import { type Backoff, backoffMs, spread } from "./backoff.ts";
import { parseRetryAfter } from "./http.ts";

/** What the receiver said, as far as it came through. */
export interface Reply {
  readonly status: number;
  readonly retryAfter: string | undefined;
  readonly body: string;
}

/** What became of one attempt. */
export type Outcome =
  | { readonly kind: "answered"; readonly answer: Answer }
  /** The receiver holds something newer: our epoch is behind. */
  | { readonly kind: "stale"; readonly held: Generation }
  /** Not who it should be: read the credential again. */
  | { readonly kind: "unauthenticated"; readonly message: string }
  /** Trying again as it is cannot help soon. */
  | { readonly kind: "refused"; readonly message: string; readonly isOtherCluster: boolean }
  /** No answer, or none that can be understood: the receiver may or may not have admitted it. */
  | {
      readonly kind: "unclear";
      readonly message: string;
      readonly retryAfterMs: number | null;
    };

/** Reads a reply; never throws. */
export function readReply(reply: Reply, now: Instant): Outcome {
  const body = parseBody(reply.body);
  if (reply.status === 200) {
    const answer = parseAnswer(body);
    if (answer !== null) return { kind: "answered", answer };
    const message = "Cannot read the answer of the receiver: status 200 without one; check the URL";
    return { kind: "unclear", message, retryAfterMs: null };
  }
  const problem = parseProblemDocument(body);
  const kind = problem === null ? null : problemKindOf(problem);
  const message = `Cannot deliver: ${refusalText(reply.status, problem)}`;
  if (reply.status === 409 && kind === "stale" && problem?.held) {
    return { kind: "stale", held: problem.held };
  }
  if (reply.status === 401) {
    return { kind: "unauthenticated", message: message + skewText(problem, now) };
  }
  if (isLasting(reply.status, kind)) {
    return { kind: "refused", message, isOtherCluster: kind === "other-cluster" };
  }
  return { kind: "unclear", message, retryAfterMs: parseRetryAfter(reply.retryAfter, now) };
}

function parseBody(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** The same message again gets the same refusal; only people, or another truth, change that. */
function isLasting(status: number, kind: ReturnType<typeof problemKindOf>): boolean {
  if (status === 409) return kind === "other-cluster";
  return status === 403 || status === 413 || status === 415 || status === 422;
}

const PROBLEMS_SHOWN_MAX = 3;
const DETAIL_CHARACTERS_MAX = 500;

/** The receiver's words are shown, the page of a proxy is not. */
function refusalText(status: number, problem: ProblemDocument | null): string {
  if (status >= 300 && status < 400) {
    return `${status}, and redirects are not followed; give the URL that it leads to`;
  }
  if (problem === null) return `the receiver answered ${status}`;
  const shown = (problem.problems ?? [])
    .slice(0, PROBLEMS_SHOWN_MAX)
    .map(({ path, message }) => `; ${path}: ${message}`);
  const text = `${status} ${problem.title}: ${problem.detail}${shown.join("")}`;
  return text.replaceAll(/[\s\p{Cc}]+/gu, " ").slice(0, DETAIL_CHARACTERS_MAX);
}

const SKEW_MS_MAX = 60_000;

/** A signature is good for five minutes, so a wrong clock looks like a wrong key. */
function skewText(problem: ProblemDocument | null, now: Instant): string {
  const skewMs = problem?.time === undefined ? Number.NaN : Date.parse(problem.time) - now;
  if (Number.isNaN(skewMs) || Math.abs(skewMs) < SKEW_MS_MAX) return "; check the key or the token";
  const seconds = Math.round(Math.abs(skewMs) / 1000);
  const order = skewMs > 0 ? "behind" : "ahead of";
  return `; our clock is ${seconds} s ${order} the receiver's: set it right`;
}

/** Where delivering stands; what an attempt leaves to the next one. */
export interface Pace {
  /** Failures in a row. */
  readonly failures: number;
  /** Nothing is sent before, whatever happens. */
  readonly notBefore: Instant;
  /** The truth is repeated then, if nothing changes earlier. */
  readonly repeatAt: Instant;
  /** When the epoch was raised, of the last ten minutes. */
  readonly raisedAt: readonly Instant[];
  /** Whether the credential was read again since it last worked. */
  readonly hasReread: boolean;
}

export const PACE: Pace = {
  failures: 0,
  notBefore: 0,
  repeatAt: 0,
  raisedAt: [],
  hasReread: false,
};

const BACKOFF: Backoff = { firstMs: 500, lastMs: 60_000 };
/** Enough for the backoff to be at its cap. */
const FAILURES_AT_CAP = 8;
const HEARTBEAT_SPREAD = 0.2;
const RAISES_MAX = 3;
const RAISES_MS = 600_000;

export interface Judgement {
  readonly pace: Pace;
  /** Raise the epoch above this, then try again; `countRaise` is told of success. */
  readonly raiseAbove: number | null;
  /** For the log; null when all is well. */
  readonly message: string | null;
  readonly lasting: boolean;
}

/** What follows from an attempt. */
export function judgeOutcome(
  before: Pace,
  outcome: Outcome,
  context: {
    readonly now: Instant;
    readonly world: Pick<World, "random">;
    readonly heartbeatMs: number;
  },
): Judgement {
  const { now, world } = context;
  const failed = (message: string, options: { waitMs?: number; atCap?: boolean }): Judgement => {
    const failures = Math.max(before.failures + 1, options.atCap ? FAILURES_AT_CAP : 0);
    const delayMs = Math.max(backoffMs(failures, BACKOFF, world), options.waitMs ?? 0);
    return {
      pace: { ...before, failures, notBefore: now + delayMs },
      raiseAbove: null,
      message,
      lasting: options.atCap ?? false,
    };
  };
  switch (outcome.kind) {
    case "answered": {
      const { again } = outcome.answer;
      const heartbeatMs = spread(context.heartbeatMs, HEARTBEAT_SPREAD, world);
      const repeatMs = again === null ? heartbeatMs : Math.min(again * 1000, heartbeatMs);
      const pace = { ...before, failures: 0, notBefore: 0, repeatAt: now + repeatMs };
      return {
        pace: { ...pace, hasReread: false },
        raiseAbove: null,
        message: null,
        lasting: false,
      };
    }
    case "stale":
      return judgeStale(before, outcome, { ...context, failed });
    case "unauthenticated": {
      // The key may just have been changed: read again, and at once, but only the first time.
      const judgement = failed(outcome.message, { atCap: false });
      const notBefore = before.hasReread ? judgement.pace.notBefore : now;
      const pace = { ...judgement.pace, notBefore, hasReread: true };
      return { ...judgement, pace, lasting: before.hasReread };
    }
    case "refused":
      return failed(outcome.message, { atCap: true });
    case "unclear":
      return failed(outcome.message, { waitMs: outcome.retryAfterMs ?? 0 });
    default:
      throw new Error(`Unreachable: ${JSON.stringify(outcome satisfies never)}`);
  }
}

/**
 * The epoch was raised. One that could not be, as while the API server is away, overtook nobody and
 * must not count.
 */
export function countRaise(pace: Pace, now: Instant): Pace {
  return { ...pace, raisedAt: [...pace.raisedAt, now] };
}

/**
 * A reinstalled forwarder begins at epoch 1 and overtakes what the receiver holds in one step. Two
 * that overtake each other again and again would never end: three times in ten minutes is enough.
 */
function judgeStale(
  before: Pace,
  { held }: Extract<Outcome, { kind: "stale" }>,
  context: {
    readonly now: Instant;
    readonly failed: (message: string, options: { waitMs?: number; atCap?: boolean }) => Judgement;
  },
): Judgement {
  const { now, failed } = context;
  const raisedAt = before.raisedAt.filter((at) => Math.abs(now - at) < RAISES_MS);
  const holding = `the receiver holds generation ${held.epoch}/${held.sequence}`;
  if (raisedAt.length >= RAISES_MAX) {
    const tried = `overtaking it ${RAISES_MAX} times did not help`;
    const wayOut = "find the other forwarder that speaks under this name";
    const message = `Cannot deliver: ${holding}, and ${tried}; ${wayOut}`;
    const judgement = failed(message, { waitMs: RAISES_MS, atCap: true });
    return { ...judgement, pace: { ...judgement.pace, raisedAt } };
  }
  return {
    pace: { ...before, notBefore: now, raisedAt },
    raiseAbove: held.epoch,
    message: `Behind: ${holding}; raising the epoch`,
    lasting: false,
  };
}
