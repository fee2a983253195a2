import * as z from "zod/mini";
import type { ListReport, Reason, RefusalReason } from "../core/report.ts";
import type { Answer, ProblemDocument } from "./protocol.ts";

/*
 * What came back for a delivery, as the sender reads it. The receiver goes without.
 */

/** Bounds of `Answer.again`, in seconds. */
const AGAIN_MIN_S = 1;
const AGAIN_MAX_S = 300;

const GENERATION = z.object({
  epoch: z.int().check(z.minimum(0)),
  sequence: z.int().check(z.minimum(0)),
});

const REASONS: Readonly<Record<Reason, true>> = {
  "add-only": true,
  grace: true,
  batch: true,
  settling: true,
  contended: true,
  "not-heard": true,
  stale: true,
  "out-of-scope": true,
  ratio: true,
  shrink: true,
  "min-remaining": true,
  "would-open": true,
  "first-sync": true,
  throttled: true,
  conflict: true,
  busy: true,
  unavailable: true,
  denied: true,
  missing: true,
  full: true,
  invalid: true,
  shadowed: true,
};

const REFUSAL_REASONS: Readonly<Record<RefusalReason, true>> = {
  "out-of-bounds": true,
  forbidden: true,
  "too-wide": true,
  "max-entries": true,
};

function memberOf<Word extends string>(words: Readonly<Record<Word, true>>) {
  return z.custom<Word>((value) => typeof value === "string" && Object.hasOwn(words, value));
}

const COUNT = z.int().check(z.minimum(0));

const LIST_REPORT: z.ZodMiniType<ListReport> = z.object({
  list: z.string(),
  target: z.string(),
  state: z.enum(["converged", "pending", "withheld", "failed"]),
  reason: z.nullable(memberOf(REASONS)),
  message: z.string(),
  desired: COUNT,
  owned: COUNT,
  borrowed: COUNT,
  foreign: COUNT,
  orphaned: COUNT,
  add: z.array(z.string()),
  remove: z.array(z.string()),
  leaving: z.array(z.object({ cidr: z.string(), since: z.string(), until: z.string() })),
  refused: z.array(
    z.object({
      address: z.string(),
      cluster: z.nullable(z.string()),
      node: z.nullable(z.string()),
      reason: memberOf(REFUSAL_REASONS),
    }),
  ),
  capacity: z.nullable(z.object({ used: z.number(), limit: z.number() })),
  checkedAt: z.string(),
});

const ANSWER = z.object({
  generation: GENERATION,
  readyNodes: z.array(z.string()),
  unlisted: z.array(z.string()),
  again: z.nullable(
    z.pipe(
      z.number(),
      z.transform((seconds) => Math.min(AGAIN_MAX_S, Math.max(AGAIN_MIN_S, Math.ceil(seconds)))),
    ),
  ),
  lists: z.array(z.unknown()),
});

/**
 * Reads the body of a 200; null when it is not an answer. Tolerant of a newer receiver: more
 * members are ignored, and so is a list report that this version does not understand, because an
 * answer that is refused would be asked for again and again.
 */
export function parseAnswer(value: unknown): Answer | null {
  const answer = ANSWER.safeParse(value);
  if (!answer.success) return null;
  const lists = answer.data.lists.flatMap((given) => {
    const report = LIST_REPORT.safeParse(given);
    return report.success ? [report.data] : [];
  });
  return { ...answer.data, lists };
}

const PROBLEM_DOCUMENT = z.object({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  detail: z.string(),
  problems: z.exactOptional(z.array(z.object({ path: z.string(), message: z.string() }))),
  held: z.exactOptional(z.nullable(GENERATION)),
  time: z.exactOptional(z.string()),
});

/**
 * Reads the body of a refusal; null when it is none of ours, but a proxy's or a platform's page.
 */
export function parseProblemDocument(value: unknown): ProblemDocument | null {
  const document = PROBLEM_DOCUMENT.safeParse(value);
  return document.success ? document.data : null;
}
