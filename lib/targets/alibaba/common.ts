import * as z from "zod/mini";

const REGION = /^[a-z]{2}(-[a-z0-9]{1,16}){1,4}$/;

export const regionShape = z.string().check(
  z.regex(REGION, {
    error: ({ input }) => `Cannot use region ${JSON.stringify(input)}: write it like "cn-hangzhou"`,
  }),
);

/** The name of something in RAM policies; `type` and `id` as `securitygroup/sg-…`. */
export function arnOf(
  product: string,
  options: { readonly region: string; readonly account: string; readonly resource: string },
): string {
  return `acs:${product}:${options.region}:${options.account}:${options.resource}`;
}
