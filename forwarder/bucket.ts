import type { Instant } from "../lib/core/record.ts";

/** How much may be said: so many at once, and then one more after each pause. */
export interface Allowance {
  readonly burst: number;
  readonly everyMs: number;
}

/** Tokens of an allowance: none at the burst's end, one more with each pause. */
export interface Bucket {
  /** Takes a token; false when there is none. */
  take(now: Instant): boolean;
  /** Whether it is as full as it can be, so that nothing is lost with it. */
  isFull(now: Instant): boolean;
}

export function makeBucket({ burst, everyMs }: Allowance): Bucket {
  let tokens = burst;
  let filledAt: Instant | null = null;
  const fill = (now: Instant) => {
    // A clock that was set back gives nothing and takes nothing.
    const elapsedMs = Math.max(0, now - (filledAt ?? now));
    tokens = Math.min(burst, tokens + elapsedMs / everyMs);
    filledAt = now;
  };
  return {
    take(now) {
      fill(now);
      if (tokens < 1) return false;
      tokens -= 1;
      return true;
    },
    isFull(now) {
      fill(now);
      return tokens >= burst;
    },
  };
}
