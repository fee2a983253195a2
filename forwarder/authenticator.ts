import { readFile } from "node:fs/promises";
import type { Instant } from "../lib/core/record.ts";
import { parseSigningKey, type SigningKey, signDelivery } from "../lib/wire/signature.ts";
import { errorText } from "./signal.ts";

/**
 * Proves whose delivery this is: headers for these bytes. Rejects when it cannot; never logs a
 * secret.
 */
export type Authenticator = (
  body: Uint8Array,
  delivery: { readonly id: string; readonly time: Instant },
) => Promise<Readonly<Record<string, string>>>;

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
