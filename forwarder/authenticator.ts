import { readFile } from "node:fs/promises";
import { opensMore } from "../lib/core/issuer.ts";
import type { Instant } from "../lib/core/record.ts";
import { parseSigningKey, type SigningKey, signDelivery } from "../lib/wire/signature.ts";
import { readToken } from "../lib/wire/token.ts";
import { errorText } from "./signal.ts";

/**
 * Proves whose delivery this is: headers for these bytes. Rejects when it cannot; never logs a
 * secret.
 */
export type Authenticator = (
  body: Uint8Array,
  delivery: { readonly id: string; readonly time: Instant },
) => Promise<Readonly<Record<string, string>>>;

/** All of them: a receiver may demand several proofs of one delivery. */
export function proveAll(authenticators: readonly Authenticator[]): Authenticator {
  return async (body, delivery) => {
    const proofs = authenticators.map((authenticate) => authenticate(body, delivery));
    return Object.assign({}, ...(await Promise.all(proofs)));
  };
}

/** Signs with these keys. */
export function signWith(keys: readonly SigningKey[]): Authenticator {
  return async (body, { id, time }) => ({
    ...signDelivery(keys, { id, timestampS: Math.floor(time / 1000), body }),
  });
}

/**
 * Signs with the keys of a file, one a line, all of them, so that a receiver may know the old or
 * the new one. The file is read for every delivery, because mounted secrets change in place; while
 * it cannot be read, the last keys that could are used, and `warn` says so.
 */
export function signWithFile(path: string, warn: (message: string) => void): Authenticator {
  let known: { readonly text: string; readonly keys: readonly SigningKey[] } | null = null;
  return async (body, delivery) => {
    try {
      const text = await readFile(path, "utf8");
      if (known === null || text !== known.text) known = { text, keys: parseKeys(text) };
    } catch (error) {
      // Neither parser nor file system quotes the contents.
      const message = `Cannot read the signing keys: ${errorText(error)}`;
      if (known === null) throw new Error(message);
      warn(`${message}; going on with the last ones`);
    }
    return signWith(known.keys)(body, delivery);
  };
}

/** The keys of a file as they stand now; rejects with a sentence that shows none of them. */
export async function readKeys(path: string): Promise<readonly SigningKey[]> {
  try {
    return parseKeys(await readFile(path, "utf8"));
  } catch (error) {
    throw new Error(`Cannot read the signing keys in ${path}: ${errorText(error)}`);
  }
}

function parseKeys(text: string): readonly SigningKey[] {
  const lines = text.split(/\s+/).filter((line) => line !== "");
  if (lines.length === 0)
    throw new RangeError("the file holds no key; write one whsec_ key a line");
  return lines.map(parseSigningKey);
}

/** A service account's token that may be sent to a receiver. */
interface BearerToken {
  readonly text: string;
  readonly expiresAt: Instant;
}

export interface TokenOptions {
  /** URL of the API server, whose own tokens must never leave the cluster; null where unknown. */
  readonly server: string | null;
  readonly warn: (message: string) => void;
}

/**
 * Sends the token of a file, which the kubelet exchanges in place before it expires: the file is
 * read for every delivery. While it cannot be used, the last token that could is sent until it
 * expires, and `warn` says so. What the API server or a cloud account would take is never sent.
 */
export function sendTokenOf(path: string, { server, warn }: TokenOptions): Authenticator {
  let known: BearerToken | null = null;
  return async (_body, { time }) => {
    try {
      known = await readTokenFile(path, server);
    } catch (error) {
      const message = errorText(error);
      if (known === null) throw error;
      if (known.expiresAt <= time) throw new Error(`${message}; the last one has expired`);
      warn(`${message}; going on with the last one`);
    }
    return { authorization: `Bearer ${known.text}` };
  };
}

// Where every pod has the token of the API server, also behind the links that it is kept by.
const OWN_TOKEN = /\/secrets\/kubernetes\.io\/serviceaccount\/(\.\.[^/]+\/)?token$/;
const ASK =
  "ask for one with an audience of its own: a projected volume with serviceAccountToken: " +
  "{ audience, path }, the audience as in the receiver's configuration";

/** The token of a file as it stands now; rejects with a sentence that shows no part of it. */
export async function readTokenFile(path: string, server: string | null): Promise<BearerToken> {
  const refuse = (why: string) => new Error(`Cannot send the token in ${path}: ${why}`);
  if (OWN_TOKEN.test(path)) throw refuse(`it is the one for the API server; ${ASK}`);
  const text = await readFile(path, "utf8").then(
    (read) => read.trim(),
    (error: unknown) => {
      throw refuse(errorText(error));
    },
  );
  if (text === "") throw refuse("the file is empty");
  const reading = readToken(text);
  if (reading.kind === "refused") throw refuse(`${reading.reason}; ${ASK}`);
  const { issuer, audiences, expiresAt } = reading.token;
  // One of several is enough: whoever receives it could show it there.
  if (audiences.some((audience) => opensMore(audience, { issuer, server }))) {
    throw refuse(`the API server or a cloud would take it, too; ${ASK}`);
  }
  return { text, expiresAt };
}
