import type { Cidr } from "../core/cidr.ts";
import type { Observation, Revision, Traits } from "../core/observation.ts";
import type { TargetErrorKind } from "../core/report.ts";

/**
 * Entries of one verb. `text` is the marker text to write beside each added entry. Where a backend
 * refuses overlaps, an added entry takes the place of the own ones inside it, in the same call.
 */
export interface Batch {
  readonly verb: "add" | "remove";
  readonly cidrs: readonly Cidr[];
  readonly text: string;
  /**
   * Desired entries inside those that are removed, to be written in the very same call. Never empty
   * where the backend refuses overlaps and something desired would be uncovered; empty elsewhere.
   */
  readonly instead: readonly Cidr[];
  /**
   * Undesired entries of ours that were removed a moment ago. A read may still show them: a target
   * that writes whole lists must leave them out, or it would write back what was removed.
   */
  readonly late: readonly Cidr[];
}

/**
 * One place outside that holds a list. Two verbs and data: everything that decides lives in
 * `core/plan.ts`.
 *
 * A target must read completely or throw; must write exactly the batch it is given; may not retry,
 * sleep for a retry, look at ownership or touch what the batch does not name.
 */
export interface Target {
  /** `<kind>/<id>`, + `/<group>` for databases, + `/<protocol>-<port>` with a permission. */
  readonly name: string;
  /** What the lease is for: kind, region and id of the thing that is written. */
  readonly object: string;
  readonly traits: Traits;
  /**
   * Everything there, at one revision, complete, or it rejects with a TargetError. Must honour the
   * signal.
   */
  observe(signal: AbortSignal): Promise<Observation>;
  /**
   * Idempotent. Rejects only with TargetError; after any rejection the outcome is unknown and the
   * caller observes again. Never more than `traits.batchMax` entries, those of `instead` included.
   * Must honour the signal. A backend that only replaces whole lists is read right before the write
   * and looked at right after; what somebody else wrote in between is a `conflict`.
   */
  apply(batch: Batch, revision: Revision, signal: AbortSignal): Promise<Revision>;
}

/**
 * The only error a target rejects with. The message says what could not be done and a way out,
 * never a secret.
 */
export class TargetError extends Error {
  override readonly name = "TargetError";
  readonly kind: TargetErrorKind;
  /** What the backend asked for, in milliseconds, where it did. */
  readonly retryAfterMs: number | null;

  constructor(
    kind: TargetErrorKind,
    message: string,
    options?: { readonly cause?: unknown; readonly retryAfterMs?: number | null },
  ) {
    super(message, options?.cause === undefined ? undefined : { cause: options.cause });
    this.kind = kind;
    this.retryAfterMs = options?.retryAfterMs ?? null;
  }
}
