import * as z from "zod/mini";
import { listReportShape } from "../core/report-shape.ts";
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
    const report = listReportShape.safeParse(given);
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
