import { targetErrorOf as errorOf, type WaysOut } from "../errors.ts";

const RENEW = "renew the credentials, unless they are a role's; it is tried again";

const WAYS_OUT: WaysOut = {
  codes: {
    CredentialsProviderError:
      "set AWS_ACCESS_KEY_ID, name a profile, or run under a role; it is tried again",
    ExpiredToken: RENEW,
    ExpiredTokenException: RENEW,
    PrefixListMaxEntriesExceeded:
      "raise its MaxEntries yourself, or list fewer: every security group rule and route table " +
      "that refers to the list then weighs MaxEntries, whatever is in it, against the quota " +
      '"inbound rules per security group" (L-0EA8095F, 60 by default) or of routes (50 a table)',
    RulesPerSecurityGroupLimitExceeded:
      'raise the quota "inbound rules per security group" (L-0EA8095F), or list fewer',
    WAFLimitsExceededException: "a set holds 10,000 addresses at most; list fewer, or use two sets",
    WAFNonexistentItemException:
      "check the set's region or scope, name and id; a new one is there after some minutes",
  },
};

/** {@link errorOf} with the ways out that AWS has. */
export function targetErrorOf(thrown: unknown, doing: string): unknown {
  return errorOf(thrown, doing, WAYS_OUT);
}

/** What a call resolves with; what it rejects with becomes a sentence about `doing`. */
export function told<T>(call: Promise<T>, doing: string): Promise<T> {
  return call.catch((thrown) => {
    throw targetErrorOf(thrown, doing);
  });
}
