import type { Roles } from "../roles.ts";

/*
 * The number of an account that nobody named.
 */

/** Stands for it, in ARNs of either cloud. */
export const ACCOUNT_UNKNOWN = "ACCOUNT_ID";

const CLOUDS = [
  {
    arn: new RegExp(`"arn:[^"]*:${ACCOUNT_UNKNOWN}:`),
    cloud: "AWS",
    digits: 12,
    way: "serverless.yml and infra/terraform/aws put it into what they make, and you into the rest",
  },
  {
    arn: new RegExp(`"acs:[^"]*:${ACCOUNT_UNKNOWN}:`),
    cloud: "Alibaba Cloud",
    digits: 16,
    way: "nothing puts it in later",
  },
] as const;

/**
 * Sentences for whoever is shown these: what stands in them for numbers that nobody named. They are
 * no part of the roles, since a number may come later.
 */
export function accountNotes(roles: Omit<Roles, "notes">): readonly string[] {
  const text = JSON.stringify(roles);
  return CLOUDS.filter(({ arn }) => arn.test(text)).map(
    ({ cloud, digits, way }) =>
      `Cannot name the account at ${cloud}: ${ACCOUNT_UNKNOWN} stands for its number; say it ` +
      `with --account and ${digits} digits (${way})`,
  );
}
