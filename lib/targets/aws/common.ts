import * as z from "zod/mini";

const REGION = /^[a-z]{2,4}(-[a-z]{2,10}){1,2}-[1-9][0-9]?$/;

export const regionShape = z.string().check(
  z.regex(REGION, {
    error: ({ input }) => `Cannot use region ${JSON.stringify(input)}: write it like "eu-west-1"`,
  }),
);
