import assert from "node:assert/strict";
import { createHmac, generateKeyPairSync, sign } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { parseKeySet } from "../../lib/wire/jwks.ts";
import { type RuleKeys, readToken, verifyToken } from "../../lib/wire/token.ts";
import {
  AUDIENCE,
  CLAIMS,
  compact,
  encode,
  ISSUER,
  type Issuer,
  makeIssuer,
  NOW,
  NOW_S,
  SUBJECT,
} from "./issuer.ts";

const RSA = makeIssuer();
const EC = makeIssuer({ kind: "EC" });

function ruleOf(issuer: Issuer, given: Partial<RuleKeys["rule"]> = {}): RuleKeys {
  const { keys } = parseKeySet(issuer.keySet);
  const rule = { cluster: "eu", issuer: issuer.url, audience: AUDIENCE, subject: SUBJECT };
  return { rule: { ...rule, ...given }, keys };
}

const RULES = [ruleOf(RSA)];

/** `verified eu`, `unknown-key …` or why it was refused. */
function verdictOf(text: string, rules: readonly RuleKeys[] = RULES, now: number = NOW): string {
  const reading = readToken(text);
  if (reading.kind === "refused") return reading.reason;
  const verdict = verifyToken(reading.token, rules, { now });
  if (verdict.kind === "verified") return `verified ${verdict.cluster}`;
  return verdict.kind === "unknown-key" ? `unknown-key ${verdict.reason}` : verdict.reason;
}

const VERIFIED = "verified eu";

test("verifyToken() finds the cluster of a token of either algorithm", () => {
  assert.equal(verdictOf(RSA.token()), VERIFIED);
  assert.equal(verdictOf(EC.token(), [ruleOf(EC)]), VERIFIED);
  assert.equal(verdictOf(RSA.token({ aud: AUDIENCE })), VERIFIED, "an audience alone");
  assert.equal(verdictOf(RSA.token({ aud: ["https://other.example", AUDIENCE] })), VERIFIED);
  assert.equal(verdictOf(RSA.token({}, { typ: "JWT" })), VERIFIED);
});

test("verifyToken() refuses another issuer, audience or subject, and is exact about each", () => {
  for (const iss of [`${ISSUER}/`, ISSUER.toUpperCase(), "https://oidc.example", `${ISSUER} `]) {
    assert.match(verdictOf(RSA.token({ iss })), /no cluster is configured with its issuer/);
  }
  const audiences = [
    `${AUDIENCE}/`,
    [`${AUDIENCE}/v1`],
    ["https://hook"],
    "https://kubernetes.default.svc",
    [`${AUDIENCE},x`],
    [AUDIENCE.toUpperCase()],
  ];
  for (const aud of audiences) assert.match(verdictOf(RSA.token({ aud })), /another audience/);
  for (const sub of [`${SUBJECT}2`, "system:serviceaccount:default:forwarder", SUBJECT.slice(1)]) {
    assert.match(verdictOf(RSA.token({ sub })), /another service account/);
  }
});

test("verifyToken() counts a minute of skew at both ends, and no more", () => {
  const token = RSA.token({ nbf: NOW_S, iat: NOW_S, exp: NOW_S + 600 });
  const at = (ms: number) => verdictOf(token, RULES, NOW + ms);
  assert.match(at(-60_001), /begins in 60 s/);
  assert.equal(at(-60_000), VERIFIED);
  assert.equal(at(659_999), VERIFIED);
  assert.match(at(660_000), /expired 60 s ago/);
  assert.match(at(86_400_000), /expired 85800 s ago/);
  const later = RSA.token({ nbf: NOW_S + 61, iat: NOW_S });
  assert.match(verdictOf(later), /begins/, "nbf counts");
  assert.match(verdictOf(RSA.token({ nbf: undefined, iat: NOW_S + 61 })), /begins/, "so does iat");
  assert.equal(verdictOf(RSA.token({ nbf: undefined, iat: undefined })), VERIFIED);
});

test("readToken() refuses times that are none, and tokens that never end", () => {
  const times = [null, "1800000000", true, [], {}, -1, 1e300, 253_402_300_800, "NaN"];
  for (const name of ["exp", "nbf", "iat"]) {
    for (const time of times) {
      assert.match(verdictOf(RSA.token({ [name]: time })), /token's claims/, `${name} ${time}`);
    }
  }
  assert.match(verdictOf(RSA.token({ exp: undefined })), /token's claims/);
  // JSON has no such numbers, but JavaScript reads the first as infinity.
  for (const text of ["1e999", "-1e999", "NaN", "Infinity"]) {
    const claims = JSON.stringify(CLAIMS).replace(`"exp":${CLAIMS.exp}`, `"exp":${text}`);
    const token = compact({ alg: "RS256", kid: "key-1" }, claims, RSA.privateKey);
    assert.match(verdictOf(token), /token's claims/, text);
  }
  assert.equal(verdictOf(RSA.token({ exp: NOW_S + 0.5 })), VERIFIED, "a fraction is a time");
});

test("readToken() refuses claims of other types, too long or missing", () => {
  for (const name of ["iss", "sub", "aud"]) {
    for (const value of [undefined, null, 1, {}, "", [], [1], "x".repeat(1_025)]) {
      const token = RSA.token({ [name]: value });
      assert.match(verdictOf(token), /token's claims/, `${name} ${value}`);
    }
  }
  const audiences = Array.from({ length: 51 }, (_, index) => `a${index}`);
  assert.match(verdictOf(RSA.token({ aud: [...audiences, AUDIENCE] })), /token's claims/);
  for (const claims of ["null", "[]", '"a"', "1", "{", ""]) {
    const token = compact({ alg: "RS256", kid: "key-1" }, claims, RSA.privateKey);
    assert.match(verdictOf(token), /claims|compact/, claims);
  }
});

test("readToken() refuses algorithms that nobody may choose: none, HMAC, others of RSA and EC", () => {
  const unsigned = `${encode({ alg: "none" })}.${encode(CLAIMS)}.`;
  assert.match(verdictOf(unsigned), /no signed JSON Web Token/);
  for (const alg of ["none", "None", "HS256", "RS512", "PS256", "ES384", "EdDSA", "", null, 1]) {
    assert.match(verdictOf(RSA.token({}, { alg })), /token's header/, String(alg));
  }
  assert.match(verdictOf(RSA.token({}, { alg: undefined })), /token's header/);
});

test("verifyToken() takes no public key for the secret of an HMAC", () => {
  const { key } = parseKeySet(RSA.keySet).keys[0] ?? {};
  const der = key?.export({ type: "spki", format: "der" }) ?? "";
  for (const secret of [RSA.pem, RSA.pem.trim(), der, RSA.keySet]) {
    for (const alg of ["HS256", "RS256", "ES256"]) {
      const signed = `${encode({ alg, kid: "key-1" })}.${encode(CLAIMS)}`;
      const mac = createHmac("sha256", secret).update(signed).digest("base64url");
      assert.notEqual(verdictOf(`${signed}.${mac}`), VERIFIED);
    }
  }
});

test("verifyToken() pins the algorithm by the key's type: a header cannot turn one into the other", () => {
  const both: RuleKeys = { ...ruleOf(RSA), keys: [...ruleOf(RSA).keys, ...ruleOf(EC).keys] };
  assert.equal(verdictOf(RSA.token(), [both]), VERIFIED);
  assert.equal(verdictOf(EC.token(), [both]), VERIFIED);
  assert.notEqual(verdictOf(RSA.token({}, { alg: "ES256" }), [both]), VERIFIED);
  assert.notEqual(verdictOf(EC.token({}, { alg: "RS256" }), [both]), VERIFIED);
  assert.match(verdictOf(RSA.token({}, { alg: "ES256" })), /^unknown-key/);
});

test("verifyToken() ignores keys that the token brings along, and refuses critical extensions", () => {
  const stranger = makeIssuer();
  const brought = {
    jwk: stranger.keys[0],
    jku: "https://evil.example/keys",
    x5u: "https://evil.example/cert",
    x5c: ["MIIB"],
  };
  assert.match(verdictOf(stranger.token({}, brought)), /not of its issuer's key/);
  assert.equal(verdictOf(RSA.token({}, brought)), VERIFIED);
  for (const crit of [["exp"], ["b64"], [], null, "x"]) {
    assert.match(verdictOf(RSA.token({}, { crit })), /extension/);
  }
  for (const typ of ["dpop+jwt", "at+jwt", "", 1]) {
    assert.match(verdictOf(RSA.token({}, { typ })), /header/);
  }
});

test("verifyToken() selects by key id among several, and tries all of the type without one", () => {
  const second = makeIssuer({ id: "key-2" });
  const keys = [RSA, second, EC].flatMap(({ keySet }) => parseKeySet(keySet).keys);
  const rules = [{ ...ruleOf(RSA), keys }];
  assert.equal(verdictOf(second.token(), rules), VERIFIED);
  assert.equal(verdictOf(second.token({}, { kid: undefined }), rules), VERIFIED);
  assert.match(verdictOf(second.token({}, { kid: "key-1" }), rules), /not of its issuer's key/);
  assert.match(verdictOf(RSA.token({}, { kid: "key-9" }), rules), /^unknown-key/);
  assert.match(verdictOf(makeIssuer({ id: null }).token(), rules), /^unknown-key/);
  for (const kid of ["", 1, null, {}, "k".repeat(257)]) {
    assert.match(verdictOf(RSA.token({}, { kid }), rules), /header/);
  }
  const twins = [RSA, makeIssuer()].flatMap(({ keySet }) => parseKeySet(keySet).keys);
  assert.equal(verdictOf(RSA.token(), [{ ...ruleOf(RSA), keys: twins.toReversed() }]), VERIFIED);
  const nameless = parseKeySet(JSON.stringify({ keys: [{ ...RSA.keys[0], kid: undefined }] }));
  assert.equal(verdictOf(RSA.token(), [{ ...ruleOf(RSA), keys: nameless.keys }]), VERIFIED);
});

test("verifyToken() tells clusters of one issuer apart by audience, subject and by whose key it is", () => {
  const other = makeIssuer();
  const west = ruleOf(other, { cluster: "west", audience: "https://hook.example/west" });
  const rules = [ruleOf(RSA), west];
  assert.equal(verdictOf(RSA.token(), rules), VERIFIED);
  assert.equal(
    verdictOf(other.token({ aud: "https://hook.example/west" }), rules),
    "verified west",
  );
  // One API server cannot speak for another, whatever audience it was asked for.
  assert.match(
    verdictOf(RSA.token({ aud: "https://hook.example/west" }), rules),
    /another audience/,
  );
  const shared = ruleOf(RSA, { cluster: "west", audience: "https://hook.example/west" });
  const both = RSA.token({ aud: [AUDIENCE, "https://hook.example/west"] });
  assert.match(verdictOf(both, [ruleOf(RSA), shared]), /audiences of several/);
  assert.equal(verdictOf(both, rules), VERIFIED, "of two keys one has signed");
});

test("verifyToken() tells nobody about audience, subject and times who has no token of the issuer", () => {
  const forged = makeIssuer();
  for (const claims of [{ aud: "x" }, { sub: "x" }, { exp: 1 }, {}]) {
    assert.match(verdictOf(forged.token(claims)), /signature is not of its issuer's key$/);
  }
});

test("readToken() and verifyToken() give reasons that hold no part of the token", () => {
  const canary = "canary\u001b[31m";
  const claims = { iss: canary, sub: canary, aud: canary };
  for (const name of Object.keys(claims)) {
    const token = RSA.token({ [name]: canary }, { kid: "key-1" });
    assert(!verdictOf(token).includes("canary"));
  }
  assert(!verdictOf(RSA.token({}, { kid: canary })).includes("canary"));
  assert(!verdictOf(RSA.token({ exp: canary })).includes("canary"));
});

test("readToken() is strict about the form: three parts of base64url, in one spelling, and short", () => {
  const token = RSA.token();
  const [head = "", body = "", tail = ""] = token.split(".");
  const forms = [
    "",
    ".",
    "..",
    "...",
    head,
    `${head}.${body}`,
    `${head}.${body}.`,
    `${token}.`,
    `.${token}`,
    `${token}.${tail}`,
    `${head}=.${body}.${tail}`,
    `${head}.${body}.${tail}=`,
    `${head}.${body}.${tail}==`,
    ` ${token}`,
    `${token}\n`,
    `${head}.${body}\n.${tail}`,
    `${head}.${body}.+${tail.slice(1)}`,
    `${head}.${body}./${tail.slice(1)}`,
  ];
  for (const form of forms) assert.match(verdictOf(form), /compact form/, JSON.stringify(form));
  assert.notEqual(verdictOf(`${token}A`), VERIFIED, "a byte more");
  // The last character of 256 bytes carries four bits that mean nothing.
  const last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  const respelled = [...last].map((character) => token.slice(0, -1) + character);
  assert.equal(respelled.filter((form) => verdictOf(form) === VERIFIED).length, 1);
  const long = RSA.token({ pad: "x".repeat(8_000) });
  assert.match(verdictOf(long), /longer than 8192/);
  assert.match(verdictOf("a".repeat(10_000_000)), /longer than 8192/);
});

test("readToken() refuses bytes that are no UTF-8 and byte order marks", () => {
  const bad = (bytes: Buffer) => {
    const signed = `${encode({ alg: "RS256", kid: "key-1" })}.${bytes.toString("base64url")}`;
    const signature = sign("sha256", Buffer.from(signed), RSA.privateKey);
    return `${signed}.${signature.toString("base64url")}`;
  };
  const claims = Buffer.from(JSON.stringify(CLAIMS));
  assert.equal(verdictOf(bad(claims)), VERIFIED);
  assert.match(verdictOf(bad(Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), claims]))), /claims/);
  const cut = Buffer.from(JSON.stringify({ ...CLAIMS, jti: "?" }));
  cut[cut.indexOf("?")] = 0xff;
  assert.match(verdictOf(bad(cut)), /claims/);
});

test("verifyToken() takes ECDSA signatures in the form of JOSE alone, and of the right length", () => {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const [head = "", body = "", tail = ""] = EC.token().split(".");
  const der = sign("sha256", Buffer.from(`${head}.${body}`), EC.privateKey).toString("base64url");
  const rules = [ruleOf(EC)];
  assert.notEqual(verdictOf(`${head}.${body}.${der}`, rules), VERIFIED);
  const raw = Buffer.from(tail, "base64url");
  const forms = [
    Buffer.alloc(64),
    Buffer.alloc(0),
    raw.subarray(0, 63),
    Buffer.concat([raw, Buffer.alloc(1)]),
    Buffer.alloc(64, 0xff),
    sign("sha256", Buffer.from(`${head}.${body}`), { key: privateKey, dsaEncoding: "ieee-p1363" }),
  ];
  for (const form of forms) {
    assert.notEqual(verdictOf(`${head}.${body}.${form.toString("base64url")}`, rules), VERIFIED);
  }
});

test("verifyToken() refuses every mutation of a valid token", () => {
  for (const issuer of [RSA, EC]) {
    const rules = [ruleOf(issuer)];
    const token = issuer.token();
    assert.equal(verdictOf(token, rules), VERIFIED);
    const alphabet = fc.constantFrom(
      ..."ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \n\u00e9",
    );
    const edit = fc.record({ at: fc.nat(token.length - 1), to: alphabet, kind: fc.nat(3) });
    fc.assert(
      fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), (edits) => {
        let text = token;
        for (const { at, to, kind } of edits) {
          if (kind === 0) text = text.slice(0, at) + to + text.slice(at + 1);
          if (kind === 1) text = text.slice(0, at) + to + text.slice(at);
          if (kind === 2) text = text.slice(0, at) + text.slice(at + 1);
          if (kind === 3) text = text.slice(0, at);
        }
        if (text !== token) assert.notEqual(verdictOf(text, rules), VERIFIED, text);
      }),
      { numRuns: 3_000 },
    );
  }
});

test("verifyToken() refuses a genuine signature over any other claims or header", () => {
  const [, , tail] = RSA.token().split(".");
  fc.assert(
    fc.property(
      fc.dictionary(fc.constantFrom(...Object.keys(CLAIMS)), fc.jsonValue()),
      (claims) => {
        fc.pre(Object.keys(claims).length > 0);
        const body = encode({ ...CLAIMS, ...claims });
        fc.pre(body !== encode(CLAIMS));
        const head = encode({ alg: "RS256", kid: "key-1" });
        assert.notEqual(verdictOf(`${head}.${body}.${tail}`), VERIFIED);
      },
    ),
    { numRuns: 300 },
  );
});

test("readToken() never throws, whatever text it is given", () => {
  const part = fc.oneof(
    fc.string({ unit: "binary", maxLength: 40 }),
    fc.json().map(encode),
    fc.constant(encode({ alg: "RS256" })),
    fc.constant(encode(CLAIMS)),
  );
  const text = fc.array(part, { maxLength: 5 }).map((parts) => parts.join("."));
  fc.assert(
    fc.property(text, (given) => {
      const verdict = verdictOf(given);
      assert.notEqual(verdict, VERIFIED);
      assert(verdict.length < 200);
    }),
    { numRuns: 2_000 },
  );
});
