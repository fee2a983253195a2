import { targetErrorOf as errorOf, type WaysOut } from "../errors.ts";

const RENEW = "renew the credentials, unless they are a role's; it is tried again";

const WAYS_OUT: WaysOut = {
  codes: {
    CredentialsProviderError: "set AWS_ACCESS_KEY_ID or give a role; it is tried again",
    ExpiredToken: RENEW,
    ExpiredTokenException: RENEW,
    RulesPerSecurityGroupLimitExceeded:
      'raise the quota "inbound rules per security group" (L-0EA8095F), or list fewer',
  },
};

/** {@link errorOf} with the ways out that AWS has. */
export function targetErrorOf(thrown: unknown, doing: string): unknown {
  return errorOf(thrown, doing, WAYS_OUT);
}
