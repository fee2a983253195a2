import * as z from "zod/mini";

const REGION = /^[a-z]{2,4}(-[a-z]{2,10}){1,2}-[1-9][0-9]?$/;

export const regionShape = z.string().check(
  z.regex(REGION, {
    error: ({ input }) => `Cannot use region ${JSON.stringify(input)}: write it like "eu-west-1"`,
  }),
);

/** The partition that a region's ARNs begin with: its own for China, GovCloud and the like. */
export function partitionOf(region: string): string {
  const own = PARTITIONS.find(([prefix]) => region.startsWith(prefix));
  return own?.[1] ?? "aws";
}

// Regions and partitions of the SDK's endpoint rules.
const PARTITIONS: readonly (readonly [string, string])[] = [
  ["cn-", "aws-cn"],
  ["us-gov-", "aws-us-gov"],
  ["us-iso-", "aws-iso"],
  ["us-isob-", "aws-iso-b"],
  ["eu-isoe-", "aws-iso-e"],
  ["us-isof-", "aws-iso-f"],
  ["eusc-", "aws-eusc"],
];
