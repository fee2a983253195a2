import { createPublicKey, type JsonWebKey, type KeyObject } from "node:crypto";
import * as z from "zod/mini";
import { quote } from "../core/problem.ts";
import { decodeBase64url } from "./base64url.ts";

/** What tokens may be signed with. Kubernetes signs with either, after the kind of its key. */
export type Algorithm = "RS256" | "ES256";

/** A public key of an issuer, and the one algorithm that it may verify with (RFC 8725 §3.1). */
export interface VerifyingKey {
  /** What tokens call it; null where the key set does not say. */
  readonly id: string | null;
  readonly algorithm: Algorithm;
  readonly key: KeyObject;
}

/** The keys of one issuer, at least one. */
export interface KeySet {
  /** Whose they are, as `kube-allowlist doctor jwks` writes it beside them; null elsewhere. */
  readonly issuer: string | null;
  readonly keys: readonly VerifyingKey[];
  /** A sentence for each key that cannot be used; the others can, all the same. */
  readonly refused: readonly string[];
}

/** API servers publish a few keys of some 400 bytes each. */
export const KEY_SET_BYTES_MAX = 256 * 1024;
export const KEYS_MAX = 64;
const KEY_ID_CHARACTERS_MAX = 256;
/** RFC 7518 §3.3. */
const MODULUS_BITS_MIN = 2_048;
/** Verifying takes longer with every bit, and nobody signs with more. */
const MODULUS_BITS_MAX = 8_192;
const EXPONENT_MAX = 2n ** 32n;

const SET = z.object({
  issuer: z.optional(z.unknown()),
  keys: z.array(z.unknown()).check(z.maxLength(KEYS_MAX)),
});

const COMMON = z.object({
  kid: z.optional(z.string().check(z.minLength(1), z.maxLength(KEY_ID_CHARACTERS_MAX))),
  use: z.optional(z.literal("sig")),
  key_ops: z.optional(z.array(z.string())),
  // A set that holds a private key is somebody's mistake, and the key no secret any more.
  d: z.optional(z.never()),
});
const RSA = z.extend(COMMON, {
  kty: z.literal("RSA"),
  alg: z.optional(z.literal("RS256")),
  n: z.string(),
  e: z.string(),
});
const EC = z.extend(COMMON, {
  kty: z.literal("EC"),
  alg: z.optional(z.literal("ES256")),
  crv: z.literal("P-256"),
  x: z.string(),
  y: z.string(),
});

/**
 * Reads a JSON Web Key Set (RFC 7517). Keys that cannot verify what Kubernetes signs, or are too
 * weak to (RSA below 2048 bits, other curves than P-256, symmetric ones), are left out, and said.
 * Throws a RangeError with a sentence when it is no key set or no key is left; it never quotes more
 * than a short piece of the text.
 */
export function parseKeySet(text: string): KeySet {
  // Characters are at most as many as bytes, so this refuses nothing that would be allowed.
  if (text.length > KEY_SET_BYTES_MAX) {
    throw new RangeError(`Cannot read the key set: longer than ${KEY_SET_BYTES_MAX} bytes`);
  }
  const read = SET.safeParse(parseJson(text)).data;
  if (read === undefined) {
    throw new RangeError(
      'Cannot read the key set: it is no JSON of the form {"keys": […]} with at most ' +
        `${KEYS_MAX} keys; take it from "kube-allowlist doctor jwks"`,
    );
  }
  const keys: VerifyingKey[] = [];
  const refused: string[] = [];
  for (const [index, given] of read.keys.entries()) {
    const key = readKey(given);
    if (typeof key !== "string") keys.push(key);
    else refused.push(`Cannot use key ${index + 1}${nameOf(given)}: ${key}`);
  }
  if (keys.length === 0) {
    const why = refused[0] ?? "it is empty";
    throw new RangeError(`Cannot use the key set: it holds no key that can verify tokens; ${why}`);
  }
  const issuer = typeof read.issuer === "string" ? read.issuer : null;
  return { issuer, keys, refused };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** ` ("kid")` for messages; nothing where it has none. */
function nameOf(given: unknown): string {
  const { kid } = (typeof given === "object" && given !== null ? given : {}) as { kid?: unknown };
  return typeof kid === "string" ? ` (${quote(kid)})` : "";
}

/** The key, or why it cannot be used. */
function readKey(given: unknown): VerifyingKey | string {
  const common = COMMON.safeParse(given).data;
  if (common === undefined) return reasonOf(given);
  if (common.key_ops !== undefined && !common.key_ops.includes("verify")) {
    return "it is not for verifying";
  }
  const id = common.kid ?? null;
  const rsa = RSA.safeParse(given).data;
  if (rsa !== undefined) return rsaKey(id, rsa);
  const ec = EC.safeParse(given).data;
  return ec === undefined ? reasonOf(given) : ecKey(id, ec);
}

function reasonOf(given: unknown): string {
  if (typeof given !== "object" || given === null) return "it is no object";
  if ("d" in given) return "it is a private key; publish the public one, and make a new pair";
  if ("use" in given && given.use !== undefined && given.use !== "sig") {
    return "it is not for signatures";
  }
  return "only RSA keys for RS256 and keys of P-256 for ES256 verify tokens";
}

function rsaKey(id: string | null, { n, e }: z.output<typeof RSA>): VerifyingKey | string {
  const key = importKey({ kty: "RSA", n, e }, [n, e]);
  if (key === null) return "its numbers cannot be read";
  const { modulusLength = 0, publicExponent = 0n } = key.asymmetricKeyDetails ?? {};
  if (modulusLength < MODULUS_BITS_MIN || modulusLength > MODULUS_BITS_MAX) {
    return (
      `an RSA key of ${modulusLength} bits; ${MODULUS_BITS_MIN} to ${MODULUS_BITS_MAX} ` +
      "are allowed"
    );
  }
  // With an exponent of 1 every signature is its own proof.
  if (publicExponent < 3n || publicExponent > EXPONENT_MAX || publicExponent % 2n === 0n) {
    return "its exponent is none that RSA can use";
  }
  return { id, algorithm: "RS256", key };
}

function ecKey(id: string | null, { x, y }: z.output<typeof EC>): VerifyingKey | string {
  const key = importKey({ kty: "EC", crv: "P-256", x, y }, [x, y]);
  return key === null ? "its point cannot be read" : { id, algorithm: "ES256", key };
}

/** Made of these members alone; null where they are none, or no point of the curve. */
function importKey(jwk: JsonWebKey, numbers: readonly string[]): KeyObject | null {
  if (numbers.some((number) => (decodeBase64url(number)?.length ?? 0) === 0)) return null;
  try {
    return createPublicKey({ key: jwk, format: "jwk" });
  } catch {
    return null;
  }
}
