import type { AwsError } from "../../clouds/aws.ts";
import type { TargetErrorKind } from "../../core/report.ts";
import { TargetError } from "../target.ts";

const UNAVAILABLE: ReadonlyMap<string, string> = new Map([
  ["CredentialsProviderError", "set AWS_ACCESS_KEY_ID or give a role; it is tried again"],
  ["ExpiredToken", "renew the credentials, unless they are a role's; it is tried again"],
  ["ExpiredTokenException", "renew the credentials, unless they are a role's; it is tried again"],
]);

/** What people can do about it, or what happens by itself. */
const WAY_OUT: Readonly<Record<TargetErrorKind, (error: AwsError) => string>> = {
  throttled: () => "it is tried again later",
  conflict: () => "somebody else wrote meanwhile; it is read again",
  busy: () => "it is tried again later",
  unavailable: ({ code }) => UNAVAILABLE.get(code) ?? "it is tried again",
  denied: ({ operation }) => `check the credentials, and that they allow ${operation}`,
  missing: () => "check the target's region, id and account",
  full: () => 'raise the quota "inbound rules per security group" (L-0EA8095F), or list fewer',
  invalid: () => "check the target's settings",
};

/**
 * The sentence that a person reads about a failed call. Whatever is not an AwsError is a bug of
 * ours and goes on as it is.
 */
export function targetErrorOf(thrown: unknown, doing: string): unknown {
  if (!isAwsError(thrown)) return thrown;
  const message = `Cannot ${doing}: ${thrown.message}; ${WAY_OUT[thrown.kind](thrown)}`;
  return new TargetError(thrown.kind, message, {
    cause: thrown,
    retryAfterMs: thrown.retryAfterMs,
  });
}

// By name: importing the class would load the SDK wherever a target is configured.
function isAwsError(thrown: unknown): thrown is AwsError {
  return thrown instanceof Error && thrown.name === "AwsError";
}
