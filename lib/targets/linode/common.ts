import * as z from "zod/mini";
import { targetErrorOf as errorOf, type WaysOut } from "../errors.ts";

/** The id of a thing, below the name that its page in the Cloud Manager shows. */
export function idShape(example: string) {
  const error = ({ input }: { readonly input?: unknown }) =>
    `Cannot use id ${JSON.stringify(input)}: write the number in the address of its page, like ` +
    example;
  return z.int({ error }).check(z.minimum(1, { error }));
}

/** {@link errorOf} with the ways out that Linode has; `scope` is what the token needs. */
export function targetErrorOf(thrown: unknown, doing: string, scope: string): unknown {
  const waysOut: WaysOut = {
    codes: { Busy: "it is tried again when Linode is done with what it is doing" },
    kinds: {
      denied: `check that the token is valid, and that it has the scope ${scope}:read_write`,
      missing: "check the target's id, and whose token it is",
    },
  };
  return errorOf(thrown, doing, waysOut);
}
