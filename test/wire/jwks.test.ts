import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { KEY_SET_BYTES_MAX, KEYS_MAX, parseKeySet } from "../../lib/wire/jwks.ts";
import { makeIssuer } from "./issuer.ts";

const RSA = makeIssuer({ id: "rsa" });
const EC = makeIssuer({ kind: "EC", id: "ec" });
const [RSA_KEY = {}] = RSA.keys;
const [EC_KEY = {}] = EC.keys;

const setOf = (...keys: readonly unknown[]) => JSON.stringify({ keys });

/** The reason why a key is left out of a set that another key keeps alive. */
function reasonFor(key: unknown): string {
  const { keys, refused } = parseKeySet(setOf(EC_KEY, key));
  assert.equal(keys.length, 1, "only the good one");
  assert.equal(refused.length, 1);
  assert.throws(() => parseKeySet(setOf(key)), RangeError);
  return refused[0] ?? "";
}

test("parseKeySet() reads keys of both kinds, each with the one algorithm that it may verify with", () => {
  const { keys, refused, issuer } = parseKeySet(setOf(RSA_KEY, EC_KEY));
  assert.deepEqual(
    keys.map(({ id, algorithm, key }) => [id, algorithm, key.type, key.asymmetricKeyType]),
    [
      ["rsa", "RS256", "public", "rsa"],
      ["ec", "ES256", "public", "ec"],
    ],
  );
  assert.deepEqual(refused, []);
  assert.equal(issuer, null);
});

test("parseKeySet() reads the issuer beside the keys, and keys that say nothing but their numbers", () => {
  const { kid: _, use: __, alg: ___, ...bare } = RSA_KEY as Record<string, unknown>;
  const text = JSON.stringify({ issuer: "https://i.example", keys: [bare], more: 1 });
  const { keys, issuer } = parseKeySet(text);
  assert.equal(issuer, "https://i.example");
  assert.deepEqual([keys[0]?.id, keys[0]?.algorithm], [null, "RS256"]);
});

test("parseKeySet() keeps several keys of one name", () => {
  const other = { ...makeIssuer({ id: "rsa" }).keys[0] };
  assert.equal(parseKeySet(setOf(RSA_KEY, other)).keys.length, 2);
});

test("parseKeySet() leaves out weak keys, other curves and keys for other things, and says why", () => {
  const weak = makeIssuer({ bits: 1_024, id: "weak" }).keys[0];
  assert.match(reasonFor(weak), /^Cannot use key 2 \("weak"\): an RSA key of 1024 bits/);
  const p384 = makeIssuer({ kind: "EC", curve: "P-384" }).keys[0];
  const secp256k1 = makeIssuer({ kind: "EC", curve: "secp256k1" }).keys[0];
  for (const key of [p384, secp256k1]) assert.match(reasonFor(key), /only RSA keys .* P-256/);
  assert.match(reasonFor({ kty: "oct", k: "c2VjcmV0c2VjcmV0", kid: "a" }), /only RSA keys/);
  assert.match(reasonFor({ ...RSA_KEY, use: "enc" }), /not for signatures/);
  assert.match(reasonFor({ ...RSA_KEY, key_ops: ["encrypt"] }), /not for verifying/);
  for (const alg of ["PS256", "RS512", "HS256", "none", "ES256"]) {
    assert.match(reasonFor({ ...RSA_KEY, alg }), /only RSA keys/);
  }
  assert.match(reasonFor({ ...EC_KEY, alg: "RS256" }), /only RSA keys/);
  assert.match(reasonFor({ ...RSA_KEY, e: "AQ" }), /exponent/);
  for (const e of ["Ag", "BA", "AQAA", "AQAAAAE"]) {
    assert.match(reasonFor({ ...RSA_KEY, e }), /its exponent is none/, e);
  }
  const long = (bits: number) => {
    const n = Buffer.alloc(bits / 8, 0xff).toString("base64url");
    return { kty: "RSA", kid: "long", n, e: "AQAB" };
  };
  assert.equal(parseKeySet(setOf(long(8_192))).keys.length, 1);
  for (const bits of [8_200, 16_384]) {
    const sentence = `an RSA key of ${bits} bits; 2048 to 8192 are allowed`;
    assert.equal(reasonFor(long(bits)), `Cannot use key 2 ("long"): ${sentence}`);
  }
  for (const key of [null, 1, "a", [], {}]) assert.match(reasonFor(key), /^Cannot use key 2: /);
});

test("parseKeySet() takes no private key, and never shows one", () => {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2_048 });
  const jwk = privateKey.export({ format: "jwk" });
  const reason = reasonFor(jwk);
  assert.match(reason, /private key; publish the public one/);
  for (const part of [jwk.d, jwk.p, jwk.q]) assert(!reason.includes(part ?? "?"));
});

test("parseKeySet() reads numbers strictly: no padding, no blanks, whole coordinates on the curve", () => {
  const { x = "", y = "" } = EC_KEY as { x?: string; y?: string };
  assert.match(reasonFor({ ...EC_KEY, kid: "b", x: `${x}=` }), /point/);
  assert.match(reasonFor({ ...EC_KEY, kid: "b", x: x.slice(0, 20) }), /point/);
  assert.match(reasonFor({ ...EC_KEY, kid: "b", x: y, y: x }), /point/);
  const { n = "" } = RSA_KEY as { n?: string };
  assert.match(reasonFor({ ...RSA_KEY, n: ` ${n}` }), /numbers/);
  assert.match(reasonFor({ ...RSA_KEY, n: "" }), /numbers/);
  assert.match(reasonFor({ ...RSA_KEY, n: "AA" }), /bits|numbers/);
});

test("parseKeySet() refuses what is no key set, too long, too many or empty", () => {
  const many = Array.from({ length: KEYS_MAX + 1 }, () => RSA_KEY);
  const long = JSON.stringify({ keys: [RSA_KEY], pad: "x".repeat(KEY_SET_BYTES_MAX) });
  const texts = ["", "{", "[]", "null", '{"keys":{}}', '{"keys":[]}', setOf(...many), long];
  const deep = `{"keys":${"[".repeat(100_000)}`;
  for (const text of [...texts, deep, `${deep}${"]".repeat(100_000)}}`]) {
    assert.throws(() => parseKeySet(text), RangeError, text.slice(0, 40));
  }
});

test("parseKeySet() shows of strangers' names a short piece in visible ASCII", () => {
  const kid = `\u001b[31m${"a".repeat(200)}`;
  const reason = reasonFor({ kty: "oct", kid });
  assert(reason.length < 250, reason);
  assert.match(reason, /^[\x20-\x7e…]*$/);
});

test("parseKeySet() gives keys or a RangeError, whatever bytes it is given", () => {
  const mutated = fc
    .tuple(
      fc.nat(1_000),
      fc.string({ unit: "binary", maxLength: 4 }),
      fc.constantFrom(RSA.keySet, EC.keySet),
    )
    .map(([at, piece, text]) => text.slice(0, at % text.length) + piece + text.slice(at + 1));
  const member = fc.oneof(fc.jsonValue(), fc.constantFrom("RSA", "EC", "sig", "AQAB", "P-256"));
  const key = fc.dictionary(
    fc.constantFrom("kty", "kid", "use", "alg", "n", "e", "crv", "x", "y", "d", "__proto__"),
    member,
  );
  const sets = fc.array(key, { maxLength: 4 }).map((keys) => JSON.stringify({ keys }));
  const texts = fc.oneof(mutated, sets, fc.json(), fc.string({ unit: "binary" }));
  fc.assert(
    fc.property(texts, (text) => {
      try {
        assert(parseKeySet(text).keys.length > 0);
      } catch (error) {
        assert(error instanceof RangeError, String(error));
        assert(error.message.length < 400, error.message);
      }
    }),
    { numRuns: 2_000 },
  );
});
