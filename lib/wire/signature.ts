import { createHmac, timingSafeEqual } from "node:crypto";
import type { Instant } from "../core/record.ts";

/**
 * A symmetric key of Standard Webhooks. Its bytes are within reach of this file only: printed,
 * logged or serialised it is the words `[signing key]`.
 */
export interface SigningKey {
  toJSON(): string;
  toString(): string;
}

/** Keys are 24 to 64 bytes (Standard Webhooks 1.0.0). */
const KEY_BYTES_MIN = 24;
const KEY_BYTES_MAX = 64;
const KEY_PREFIX = "whsec_";
const ASYMMETRIC_PREFIXES = ["whsk_", "whpk_"] as const;

const HIDDEN = "[signing key]";
const INSPECT = Symbol.for("nodejs.util.inspect.custom");

const bytesByKey = new WeakMap<SigningKey, Buffer>();

/**
 * Reads `whsec_<base64>`, with blanks around it as files have them; throws a RangeError that never
 * quotes the text.
 */
export function parseSigningKey(text: string): SigningKey {
  const key = text.trim();
  if (ASYMMETRIC_PREFIXES.some((prefix) => key.startsWith(prefix))) {
    throw new RangeError(
      "Cannot use an asymmetric key (whsk_, whpk_): not supported yet; use a whsec_ key",
    );
  }
  if (!key.startsWith(KEY_PREFIX)) {
    throw new RangeError(
      'Cannot read the signing key: it does not begin with "whsec_"; make one of ' +
        '"whsec_" and the output of "openssl rand -base64 32"',
    );
  }
  const base64 = key.slice(KEY_PREFIX.length);
  const bytes = Buffer.from(base64, "base64");
  // Buffer skips what is no base64, and would take half a key for a whole one.
  if (bytes.toString("base64") !== base64) {
    throw new RangeError(
      'Cannot read the signing key: what follows "whsec_" is not base64; copy all of it, ' +
        'with the "=" at its end',
    );
  }
  if (bytes.length < KEY_BYTES_MIN || bytes.length > KEY_BYTES_MAX) {
    throw new RangeError(
      `Cannot use a signing key of ${bytes.length} bytes: ${KEY_BYTES_MIN} to ` +
        `${KEY_BYTES_MAX} are needed; make one of "whsec_" and the output of "openssl rand ` +
        `-base64 32"`,
    );
  }
  const opaque = Object.freeze({
    toJSON: () => HIDDEN,
    toString: () => HIDDEN,
    [INSPECT]: () => HIDDEN,
  });
  bytesByKey.set(opaque, bytes);
  return opaque;
}

/** Whether two keys hold the same bytes: one key under two clusters could not name either. */
export function isSameKey(a: SigningKey, b: SigningKey): boolean {
  return equalBytes(bytesOf(a), bytesOf(b));
}

function bytesOf(key: SigningKey): Buffer {
  const bytes = bytesByKey.get(key);
  if (bytes === undefined) throw new TypeError("A SigningKey comes from parseSigningKey() only");
  return bytes;
}

export interface SignatureHeaders {
  readonly "webhook-id": string;
  readonly "webhook-timestamp": string;
  readonly "webhook-signature": string;
}

// The signed text is `id.timestamp.body`. A dot within the id would let the same text be cut in
// another place, as another message with a genuine signature.
const ID = /^[\x21-\x2d\x2f-\x7e]{1,256}$/;
const TIMESTAMP = /^(0|[1-9][0-9]{0,11})$/;
/** Versions may follow; a token of an unknown one is well-formed and never matches. */
const SIGNATURE = /^v[0-9]{1,3}[a-z]{0,3},[A-Za-z0-9+/]{1,128}={0,2}$/;
const SIGNATURE_HEADERS = ["webhook-id", "webhook-timestamp", "webhook-signature"] as const;
const V1 = "v1,";
const SIGNATURES_MAX = 16;
const HEADER_CHARACTERS_MAX = 4096;

export const TIMESTAMP_TOLERANCE_S = 300;

/**
 * Signs the bytes on the wire with every key, so that a receiver may know the old or the new one.
 */
export function signDelivery(
  keys: readonly SigningKey[],
  delivery: { readonly id: string; readonly timestampS: number; readonly body: Uint8Array },
): SignatureHeaders {
  const { id, body } = delivery;
  const timestamp = String(delivery.timestampS);
  if (keys.length === 0) throw new RangeError("Cannot sign a delivery: no key is given");
  if (!ID.test(id) || !TIMESTAMP.test(timestamp)) {
    throw new RangeError(
      `Cannot sign delivery ${JSON.stringify(id)} of ${timestamp}: the id must be ` +
        "visible ASCII without dots, the time whole seconds",
    );
  }
  const signatures = keys.map((key) => `${V1}${signatureOf(key, { id, timestamp, body })}`);
  return {
    "webhook-id": id,
    "webhook-timestamp": timestamp,
    "webhook-signature": signatures.join(" "),
  };
}

function signatureOf(
  key: SigningKey,
  message: { readonly id: string; readonly timestamp: string; readonly body: Uint8Array },
): string {
  return createHmac("sha256", bytesOf(key))
    .update(`${message.id}.${message.timestamp}.`)
    .update(message.body)
    .digest("base64");
}

/**
 * `reason` is a sentence for the answer's `detail`; it never holds a key, a signature or the body.
 */
export type Verification =
  | { readonly kind: "verified"; readonly cluster: string }
  | { readonly kind: "refused"; readonly reason: string };

export interface ClusterKeys {
  readonly cluster: string;
  readonly keys: readonly SigningKey[];
}

/**
 * Finds the cluster whose key signed the body, never an identity that the message claims. Names of
 * headers may be in any case; `body` is the bytes as they came, before anything is inflated.
 */
export function verifyDelivery(
  clusters: readonly ClusterKeys[],
  delivery: {
    readonly headers: Readonly<Record<string, string | undefined>>;
    readonly body: Uint8Array;
  },
  options: { readonly now: Instant },
): Verification {
  const read = readHeaders(delivery.headers);
  if (read.kind === "refused") return read;
  const { id, timestamp, signatures } = read;
  const ageS = Math.floor(options.now / 1000) - Number(timestamp);
  if (Math.abs(ageS) > TIMESTAMP_TOLERANCE_S) return refuseAge(ageS);
  const names = matchingClusters(clusters, {
    message: { id, timestamp, body: delivery.body },
    signatures,
  });
  const [cluster] = names;
  if (cluster === undefined) return refuse("Cannot verify the signature: no known key made it");
  if (names.size > 1) return refuse("Cannot tell which cluster speaks: several have the same key");
  return { kind: "verified", cluster };
}

type Refusal = Extract<Verification, { readonly kind: "refused" }>;

function refuse(reason: string): Refusal {
  return { kind: "refused", reason };
}

function refuseAge(ageS: number): Refusal {
  const age = ageS > 0 ? `${ageS} s old` : `${-ageS} s in the future`;
  return refuse(
    `Cannot accept "webhook-timestamp": ${age}, at most ${TIMESTAMP_TOLERANCE_S} s ` +
      "allowed; set the sender's clock",
  );
}

interface SignedHeaders {
  readonly kind: "read";
  readonly id: string;
  readonly timestamp: string;
  /** The `v1` signatures, in base64. */
  readonly signatures: readonly string[];
}

function readHeaders(
  headers: Readonly<Record<string, string | undefined>>,
): SignedHeaders | Refusal {
  const values = { "webhook-id": "", "webhook-timestamp": "", "webhook-signature": "" };
  for (const name of SIGNATURE_HEADERS) {
    const found = Object.entries(headers).filter(
      ([key, value]) => key.toLowerCase() === name && value !== undefined,
    );
    const value = found[0]?.[1];
    if (value === undefined) return refuse(`Cannot find the header "${name}": sign the delivery`);
    // Two spellings of one header would let two readers of it disagree.
    if (found.length > 1) return refuse(`Cannot read the header "${name}": it is there twice`);
    if (!isWellFormed(name, value)) {
      return refuse(`Cannot read the header "${name}": it is not as Standard Webhooks has it`);
    }
    values[name] = value;
  }
  const signatures = values["webhook-signature"]
    .split(" ")
    .flatMap((token) => (token.startsWith(V1) ? [token.slice(V1.length)] : []));
  return {
    kind: "read",
    id: values["webhook-id"],
    timestamp: values["webhook-timestamp"],
    signatures,
  };
}

function isWellFormed(name: keyof SignatureHeaders, value: unknown): boolean {
  if (typeof value !== "string" || value.length > HEADER_CHARACTERS_MAX) return false;
  switch (name) {
    case "webhook-id":
      return ID.test(value);
    case "webhook-timestamp":
      return TIMESTAMP.test(value);
    case "webhook-signature": {
      const tokens = value.split(" ");
      return tokens.length <= SIGNATURES_MAX && tokens.every((token) => SIGNATURE.test(token));
    }
    default:
      throw new Error(`Unreachable: ${JSON.stringify(name satisfies never)}`);
  }
}

/**
 * Every key meets every signature, match or not: the time taken tells nothing about which key it
 * was.
 */
function matchingClusters(
  clusters: readonly ClusterKeys[],
  delivery: {
    readonly message: {
      readonly id: string;
      readonly timestamp: string;
      readonly body: Uint8Array;
    };
    readonly signatures: readonly string[];
  },
): ReadonlySet<string> {
  const given = delivery.signatures.map((signature) => Buffer.from(signature));
  const names = new Set<string>();
  for (const { cluster, keys } of clusters) {
    let matches = 0;
    for (const key of keys) {
      const expected = Buffer.from(signatureOf(key, delivery.message));
      for (const signature of given) matches += Number(equalBytes(signature, expected));
    }
    if (matches > 0) names.add(cluster);
  }
  return names;
}

/** Lengths are no secret; contents are compared in constant time. */
function equalBytes(a: Buffer, b: Buffer): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}
