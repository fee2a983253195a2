import { constants, verify } from "node:crypto";
import * as z from "zod/mini";
import type { Instant } from "../core/record.ts";
import { decodeBase64url } from "./base64url.ts";
import type { Algorithm, VerifyingKey } from "./jwks.ts";

/*
 * Tokens of service accounts, as the API server's TokenRequest and projected volumes give them:
 * JSON Web Tokens (RFC 7519) in the compact form of RFC 7515, verified without asking anybody.
 * What RFC 8725 warns of is refused: algorithms that the token chooses, `none`, keys in the header,
 * extensions that nobody here understands.
 */

/** Tokens of Kubernetes have one to two thousand. */
const TOKEN_CHARACTERS_MAX = 8_192;
const KEY_ID_CHARACTERS_MAX = 256;
const AUDIENCES_MAX = 50;
const CLAIM_CHARACTERS_MAX = 1_024;
const TOKEN_SKEW_MS = 60_000;
/** The end of the year 9999: a later time is no time. */
const TIME_S_MAX = 253_402_300_799;

/** Of `jwk`, `jku`, `x5u` and the like nothing is read: a token must not bring its own keys. */
const HEADER = z.object({
  alg: z.enum(["RS256", "ES256"]),
  typ: z.optional(z.string().check(z.regex(/^jwt$/i))),
  kid: z.optional(z.string().check(z.minLength(1), z.maxLength(KEY_ID_CHARACTERS_MAX))),
  crit: z.optional(z.never()),
});

const TEXT = z.string().check(z.minLength(1), z.maxLength(CLAIM_CHARACTERS_MAX));
/** NumericDate of RFC 7519: seconds, possibly with a fraction. */
const TIME = z.number().check(z.minimum(0), z.maximum(TIME_S_MAX));

const CLAIMS = z.object({
  iss: TEXT,
  sub: TEXT,
  aud: z.union([TEXT, z.array(TEXT).check(z.minLength(1), z.maxLength(AUDIENCES_MAX))]),
  exp: TIME,
  nbf: z.optional(TIME),
  iat: z.optional(TIME),
});

/** What a token says of itself. Nobody has verified it: choose keys by it, and believe nothing. */
export interface Token {
  readonly algorithm: Algorithm;
  readonly keyId: string | null;
  readonly issuer: string;
  readonly subject: string;
  readonly audiences: readonly string[];
  readonly expiresAt: Instant;
  /** The later of `nbf` and `iat`. */
  readonly validFrom: Instant | null;
  /** What was signed, and the signature. */
  readonly signed: string;
  readonly signature: Uint8Array;
}

interface Refusal {
  readonly kind: "refused";
  /** A sentence for the answer's `detail`; holds no part of the token. */
  readonly reason: string;
}

export type TokenReading = { readonly kind: "read"; readonly token: Token } | Refusal;

function refuse(reason: string): Refusal {
  return { kind: "refused", reason };
}

/** Takes a token apart; never throws. */
export function readToken(text: string): TokenReading {
  if (text.length > TOKEN_CHARACTERS_MAX) {
    return refuse(`Cannot read the token: longer than ${TOKEN_CHARACTERS_MAX} characters`);
  }
  const parts = text.split(".");
  const bytes = parts.map(decodeBase64url);
  const [head, body, signature] = bytes;
  if (parts.length !== 3 || !head || !body || !signature || signature.length === 0) {
    return refuse("Cannot read the token: it is no signed JSON Web Token in compact form");
  }
  const header = HEADER.safeParse(parseJson(head)).data;
  if (header === undefined) {
    return refuse(
      "Cannot read the token's header: expected RS256 or ES256, and no extension that is critical",
    );
  }
  const claims = CLAIMS.safeParse(parseJson(body)).data;
  if (claims === undefined) {
    return refuse("Cannot read the token's claims: expected iss, sub, aud and exp of a cluster");
  }
  const { iss, sub, aud, exp, nbf, iat } = claims;
  const starts = [nbf, iat].flatMap((time) => (time === undefined ? [] : [time * 1_000]));
  return {
    kind: "read",
    token: {
      algorithm: header.alg,
      keyId: header.kid ?? null,
      issuer: iss,
      subject: sub,
      audiences: typeof aud === "string" ? [aud] : aud,
      expiresAt: exp * 1_000,
      validFrom: starts.length === 0 ? null : Math.max(...starts),
      signed: text.slice(0, text.lastIndexOf(".")),
      signature,
    },
  };
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    // With its byte order mark, which JSON has none of; what is no UTF-8 throws.
    return JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch {
    return undefined;
  }
}

/** Whose tokens speak for a cluster; all three to the letter, a slash at the end included. */
export interface TokenRule {
  readonly cluster: string;
  readonly issuer: string;
  readonly audience: string;
  /** `system:serviceaccount:<namespace>:<name>`. */
  readonly subject: string;
}

/** A rule, and the keys of its issuer. */
export interface RuleKeys {
  readonly rule: TokenRule;
  readonly keys: readonly VerifyingKey[];
}

export type TokenVerification =
  | { readonly kind: "verified"; readonly cluster: string }
  /** None of the keys is the one that the token names: the issuer may have a new one. */
  | { readonly kind: "unknown-key"; readonly reason: string }
  | Refusal;

/**
 * Finds the one cluster whose rule a token fulfils, in this order: a key of its issuer signed it,
 * it is for our audience, from our service account, and of now. Why it is refused is told in detail
 * only to who holds a token that the issuer signed.
 */
export function verifyToken(
  token: Token,
  rules: readonly RuleKeys[],
  options: { readonly now: Instant },
): TokenVerification {
  const ofIssuer = rules.filter(({ rule }) => rule.issuer === token.issuer);
  if (ofIssuer.length === 0) {
    return refuse("Cannot take this token: no cluster is configured with its issuer");
  }
  const fitting = ofIssuer.map((one) => ({ ...one, keys: one.keys.filter(fits(token)) }));
  if (fitting.every(({ keys }) => keys.length === 0)) {
    return { kind: "unknown-key", reason: UNKNOWN_KEY };
  }
  const signed = fitting.filter(({ keys }) => keys.some((key) => isSignedBy(token, key)));
  if (signed.length === 0) {
    // Of several keys without a name any may be new, as well.
    if (fitting.every(({ keys }) => keys.every(({ id }) => id === null || token.keyId === null))) {
      return { kind: "unknown-key", reason: UNKNOWN_KEY };
    }
    return refuse("Cannot verify the token: its signature is not of its issuer's key");
  }
  return judge(token, { rules: signed.map(({ rule }) => rule), now: options.now });
}

const UNKNOWN_KEY = "Cannot verify the token: none of its issuer's known keys signed it";

/**
 * By the type that the key has, whatever the header says besides; and by name, where both have one.
 */
function fits({ algorithm, keyId }: Token): (key: VerifyingKey) => boolean {
  return (key) =>
    key.algorithm === algorithm && (key.id === null || keyId === null || key.id === keyId);
}

function isSignedBy({ signed, signature }: Token, { algorithm, key }: VerifyingKey): boolean {
  const bytes = Buffer.from(signed, "ascii");
  switch (algorithm) {
    case "RS256":
      return verify("sha256", bytes, { key, padding: constants.RSA_PKCS1_PADDING }, signature);
    case "ES256":
      // JOSE has the two numbers side by side (RFC 7518 §3.4), OpenSSL's own form is DER.
      return verify("sha256", bytes, { key, dsaEncoding: "ieee-p1363" }, signature);
    default:
      throw new Error(`Unreachable: ${JSON.stringify(algorithm satisfies never)}`);
  }
}

function judge(
  token: Token,
  context: { readonly rules: readonly TokenRule[]; readonly now: Instant },
): TokenVerification {
  const { now } = context;
  const forUs = context.rules.filter(({ audience }) => token.audiences.includes(audience));
  if (forUs.length === 0) {
    return refuse(
      "Cannot take this token: it is for another audience; set the audience of the projected " +
        "volume to the receiver's",
    );
  }
  const fromOurs = forUs.filter(({ subject }) => subject === token.subject);
  const [rule, ...others] = fromOurs;
  if (rule === undefined) {
    return refuse("Cannot take this token: it is of another service account than the configured");
  }
  if (others.length > 0) {
    return refuse("Cannot tell which cluster speaks: the token is for the audiences of several");
  }
  if (now >= token.expiresAt + TOKEN_SKEW_MS) {
    return refuse(
      `Cannot take this token: it expired ${secondsText(now - token.expiresAt)} ago; read the ` +
        "file of the projected volume again, or set the clock",
    );
  }
  if (token.validFrom !== null && now < token.validFrom - TOKEN_SKEW_MS) {
    return refuse(
      `Cannot take this token: it begins in ${secondsText(token.validFrom - now)}; set the clock`,
    );
  }
  return { kind: "verified", cluster: rule.cluster };
}

function secondsText(ms: number): string {
  return `${Math.floor(ms / 1_000)} s`;
}
