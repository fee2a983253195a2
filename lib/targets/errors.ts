import type { CloudError } from "../clouds/error.ts";
import type { TargetErrorKind } from "../core/report.ts";
import { TargetError } from "./target.ts";

/** A way out for the codes of a vendor, or for a kind of failure, where the common one misleads. */
export interface WaysOut {
  readonly codes?: Readonly<Record<string, string>>;
  readonly kinds?: Partial<Readonly<Record<TargetErrorKind, string>>>;
}

/** What people can do about it, or what happens by itself. */
const WAY_OUT: Readonly<Record<TargetErrorKind, (error: CloudError) => string>> = {
  throttled: () => "it is tried again later",
  conflict: () => "somebody else wrote meanwhile; it is read again",
  busy: () => "it is tried again later",
  unavailable: () => "it is tried again",
  denied: ({ operation }) => `check the credentials, and that they allow ${operation}`,
  missing: () => "check the target's region, id and account",
  full: () => "raise the quota, or list fewer",
  invalid: () => "check the target's settings",
};

/**
 * The sentence that a person reads about a failed call. Whatever is not a CloudError is a bug of
 * ours and goes on as it is.
 */
export function targetErrorOf(thrown: unknown, doing: string, waysOut: WaysOut = {}): unknown {
  if (!isCloudError(thrown)) return thrown;
  const { codes = {}, kinds = {} } = waysOut;
  const special = Object.hasOwn(codes, thrown.code) ? codes[thrown.code] : kinds[thrown.kind];
  const wayOut = (special ?? WAY_OUT[thrown.kind](thrown)) + lateText(thrown);
  return new TargetError(thrown.kind, `Cannot ${doing}: ${thrown.message}; ${wayOut}`, {
    cause: thrown,
    retryAfterMs: thrown.retryAfterMs,
  });
}

/** Nothing else says what the word of the code means: that there was no answer at all. */
function lateText({ code }: CloudError): string {
  return code === "TimeoutError" ? ", for there was no answer in time" : "";
}

// By name: a bundle carries this class once with every vendor's file, and so may hold several.
function isCloudError(thrown: unknown): thrown is CloudError {
  return thrown instanceof Error && thrown.name === "CloudError";
}

/** `1 entry`, `2 entries`: for the sentences of targets. */
export function entriesText(count: number): string {
  return count === 1 ? "1 entry" : `${count} entries`;
}
