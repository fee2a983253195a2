import * as z from "zod/mini";
import { isLoopback } from "../core/host.ts";

/*
 * Settings that targets have in common, whatever their kind. Secrets are never among them: only
 * references to where they are kept.
 */

const REFERENCE = /^(env:[A-Za-z_][A-Za-z0-9_]*|file:[^\s].*)$/;
const LIMIT_MAX = 100_000;

/** Where a secret is kept; its value is in no message. */
export const secretShape = z.string().check(
  z.regex(REFERENCE, {
    error:
      'Cannot use a value written in the file as a secret: write "env:NAME" or "file:PATH" ' +
      "and keep the value there",
  }),
);

export const endpointShape = z.string().check(
  z.refine((text) => isReference(text) || isEndpoint(text), {
    // The text is not repeated: people put credentials into URLs.
    error:
      "Cannot use endpoint: write an http or https URL without credentials, " +
      '"env:NAME" or "file:PATH"',
  }),
);

/** Of vendors whose requests carry a secret as it is, and not only a signature made with it. */
export const secretEndpointShape = endpointShape.check(
  z.refine((text) => isReference(text) || !isEndpoint(text) || isPrivate(text), {
    error: () => `Cannot use endpoint: ${OPEN_WAY}`,
  }),
);

/** What is wrong with an endpoint that is not {@link isPrivate}, and the way out. */
export const OPEN_WAY =
  "over http the token would be sent for all to read; write an https URL, or one of this machine";

export const limitShape = z
  .int({ error: ({ input }) => limitMessage(input) })
  .check(
    z.minimum(1, { error: ({ input }) => limitMessage(input) }),
    z.maximum(LIMIT_MAX, { error: ({ input }) => limitMessage(input) }),
  );

export const exclusiveShape = z.boolean({
  error: ({ input }) => `Cannot use exclusive ${JSON.stringify(input)}: true or false`,
});

/** Of backends whose lists hold one family each: they are told, because they are never asked. */
export const familyShape = z.enum(["ipv4", "ipv6"], {
  error: ({ input }) => `Cannot use family ${JSON.stringify(input)}: write ipv4 or ipv6`,
});

export function isReference(text: string): boolean {
  return REFERENCE.test(text);
}

/** An http or https URL with nothing in it but a place. */
export function isEndpoint(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, username, password, search, hash } = new URL(text);
  return ["http:", "https:"].includes(protocol) && `${username}${password}${search}${hash}` === "";
}

/** Whether only the endpoint itself reads what is sent there: encrypted, or on this machine. */
export function isPrivate(endpoint: string): boolean {
  const url = new URL(endpoint);
  return url.protocol === "https:" || isLoopback(url);
}

function limitMessage(input: unknown): string {
  return `Cannot use limit ${JSON.stringify(input)}: expected a number from 1 to ${LIMIT_MAX}`;
}
