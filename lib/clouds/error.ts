import type { TargetErrorKind } from "../core/report.ts";

/**
 * What a vendor or the way there answered. Holds the vendor's error code, never its text: that may
 * quote headers, signatures, addresses with tokens in them, and whatever an error holds ends up in
 * a log some day.
 */
export class CloudError extends Error {
  override readonly name = "CloudError";
  readonly kind: TargetErrorKind;
  readonly code: string;
  /** As the vendor's permissions write it, `ec2:DescribeSecurityGroupRules`, or a route. */
  readonly operation: string;
  /** What the vendor asked for, in milliseconds, where it did. */
  readonly retryAfterMs: number | null;

  constructor(
    kind: TargetErrorKind,
    code: string,
    options: {
      readonly operation: string;
      readonly status?: number | null;
      readonly requestId?: string | null;
      readonly retryAfterMs?: number | null;
    },
  ) {
    const status = options.status ? [`HTTP ${options.status}`] : [];
    const request = options.requestId ? [`request ${options.requestId}`] : [];
    super([`${options.operation} ended in ${code}`, ...status, ...request].join(", "));
    this.kind = kind;
    this.code = code;
    this.operation = options.operation;
    this.retryAfterMs = options.retryAfterMs ?? null;
  }
}

const RETRY_AFTER_MS_MAX = 300_000;

/** Milliseconds of a `Retry-After` header, seconds or a date; null when it is neither. */
export function retryAfterOf(header: unknown, now: number): number | null {
  if (typeof header !== "string") return null;
  const ms = /^\d{1,9}$/.test(header) ? Number(header) * 1_000 : Date.parse(header) - now;
  return Number.isNaN(ms) ? null : Math.min(Math.max(ms, 0), RETRY_AFTER_MS_MAX);
}

/** Of a failure for which the vendor gave no code: what its HTTP status alone says. */
export function kindOfStatus(status: number | null): TargetErrorKind {
  if (status === 429) return "throttled";
  if (status === 401 || status === 403) return "denied";
  // No status: the network, or an answer that could not be read. 408 and 425 ask for another try.
  if (status === null || status < 400 || status >= 500 || status === 408 || status === 425) {
    return "unavailable";
  }
  return "invalid";
}
