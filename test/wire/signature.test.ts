import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { format, inspect } from "node:util";
import fc from "fast-check";
import { Webhook } from "standardwebhooks";
import {
  type ClusterKeys,
  isSameKey,
  parseSigningKey,
  type SigningKey,
  signDelivery,
  TIMESTAMP_TOLERANCE_S,
  type Verification,
  verifyDelivery,
} from "../../lib/wire/signature.ts";

const NOW = Date.UTC(2026, 10, 20, 21, 0, 5);
const NOW_S = NOW / 1000;
const BODY = Buffer.from('{"specversion":"1.0"}');

function keyText(byte: number, length = 32): string {
  return `whsec_${Buffer.alloc(length, byte).toString("base64")}`;
}

const ONE = parseSigningKey(keyText(1));
const TWO = parseSigningKey(keyText(2));
const THREE = parseSigningKey(keyText(3));

function signed(keys: readonly SigningKey[] = [ONE], timestampS = NOW_S) {
  return { ...signDelivery(keys, { id: "prod-eu/7/1042", timestampS, body: BODY }) };
}

function verify(
  headers: Readonly<Record<string, string | undefined>>,
  options: { readonly body?: Uint8Array; readonly clusters?: readonly ClusterKeys[] } = {},
): Verification {
  const clusters = options.clusters ?? [{ cluster: "prod-eu", keys: [ONE] }];
  return verifyDelivery(clusters, { headers, body: options.body ?? BODY }, { now: NOW });
}

function reasonOf(verification: Verification): string {
  assert.equal(verification.kind, "refused");
  return verification.reason;
}

const VERIFIED = { kind: "verified", cluster: "prod-eu" };
const UNKNOWN = "Cannot verify the signature: no known key made it";

// Keys.

test("parseSigningKey() takes whsec_ keys of 24 to 64 bytes, with blanks around them", () => {
  for (const length of [24, 32, 64]) {
    assert.equal(
      isSameKey(parseSigningKey(keyText(1, length)), parseSigningKey(keyText(1, length))),
      true,
    );
  }
  assert.equal(isSameKey(parseSigningKey(` ${keyText(1)}\r\n`), ONE), true);
});

const GOOD = keyText(1).slice("whsec_".length);

for (const text of [
  "",
  "whsec_",
  GOOD,
  `WHSEC_${GOOD}`,
  `whsec-${GOOD}`,
  keyText(1, 23),
  keyText(1, 65),
  `whsec_${GOOD.slice(0, -1)}`,
  `whsec_${GOOD}=`,
  `whsec_${GOOD.slice(0, 10)} ${GOOD.slice(10)}`,
  `whsec_${GOOD.slice(0, 10)}\n${GOOD.slice(10)}`,
  `whsec_${GOOD.slice(0, -2)}F=`,
  `whsec_${Buffer.alloc(32, 255).toString("base64url")}`,
  `whsec_${"!".repeat(44)}`,
  `whsk_${GOOD}`,
  `whpk_${GOOD}`,
]) {
  test(`parseSigningKey() refuses ${JSON.stringify(text)} without quoting it`, () => {
    assert.throws(
      () => parseSigningKey(text),
      (error) => {
        assert(error instanceof RangeError);
        assert.match(error.message, /^Cannot (read|use) /);
        const secret = text.replace(/^wh[a-z]+[_-]/i, "").slice(0, 8);
        if (secret.length === 8) assert(!inspect(error).includes(secret));
        return true;
      },
    );
  });
}

test("parseSigningKey() says of asymmetric keys that they are not supported yet", () => {
  for (const prefix of ["whpk_", "whsk_"]) {
    assert.throws(() => parseSigningKey(`${prefix}${GOOD}`), { message: /not supported yet/ });
  }
});

test("parseSigningKey() gives a key that shows its bytes to nobody", () => {
  const bytes = randomBytes(32);
  const key = parseSigningKey(`whsec_${bytes.toString("base64")}`);
  const held = { nested: [key] };
  const shown = [
    JSON.stringify(held),
    inspect(held, { depth: 9, showHidden: true, getters: true }),
    format("%o %j %s", key, key, key),
    `${key}`,
    String(Object.entries(key)),
    Reflect.ownKeys(key).map(String).join(),
  ].join("\n");
  const forms = [
    bytes.toString("base64"),
    bytes.toString("base64url"),
    bytes.toString("hex"),
    bytes.toString("latin1"),
    [...bytes].join(","),
    inspect(bytes).slice(8, 20),
  ];
  for (const form of forms) assert(!shown.includes(form), shown);
  assert.equal(JSON.stringify(held), '{"nested":["[signing key]"]}');
});

test("isSameKey() compares bytes, and takes no key but its own", () => {
  assert.equal(isSameKey(ONE, parseSigningKey(keyText(1))), true);
  assert.equal(isSameKey(ONE, TWO), false);
  assert.equal(isSameKey(ONE, parseSigningKey(keyText(1, 33))), false);
  const forged = { toJSON: () => "", toString: () => "" };
  assert.throws(() => isSameKey(ONE, forged), TypeError);
  assert.throws(() => signed([forged]), TypeError);
});

// Against the reference implementation of Standard Webhooks.

const someKey = fc.uint8Array({ minLength: 24, maxLength: 64 });
const someId = fc.stringMatching(/^[a-zA-Z0-9/_-]{1,40}$/);
const someBody = fc.string({ unit: "grapheme", maxLength: 60 });

/** The reference reads the clock itself, so its tests run on the machine's. */
const REAL_NOW = Date.now();

test("signDelivery() signs as the reference implementation does", () => {
  fc.assert(
    fc.property(someKey, someId, someBody, (bytes, id, text) => {
      const secret = `whsec_${Buffer.from(bytes).toString("base64")}`;
      const timestampS = Math.floor(REAL_NOW / 1000);
      const headers = signDelivery([parseSigningKey(secret)], {
        id,
        timestampS,
        body: Buffer.from(text),
      });
      const reference = new Webhook(secret);
      assert.equal(
        headers["webhook-signature"],
        reference.sign(id, new Date(timestampS * 1000), text),
      );
      reference.verify(text, { ...headers }, { jsonParse: false });
    }),
    { numRuns: 300 },
  );
});

test("verifyDelivery() takes what the reference implementation signed", () => {
  fc.assert(
    fc.property(someKey, someId, someBody, (bytes, id, text) => {
      const secret = `whsec_${Buffer.from(bytes).toString("base64")}`;
      const headers = {
        "webhook-id": id,
        "webhook-timestamp": String(NOW_S),
        "webhook-signature": new Webhook(secret).sign(id, new Date(NOW), text),
      };
      const clusters = [{ cluster: "prod-eu", keys: [parseSigningKey(secret)] }];
      assert.deepEqual(verify(headers, { clusters, body: Buffer.from(text) }), VERIFIED);
    }),
    { numRuns: 300 },
  );
});

test("verifyDelivery() takes no tampered delivery, as the reference implementation", () => {
  const names = ["webhook-id", "webhook-timestamp", "webhook-signature", "body"] as const;
  const timestampS = Math.floor(REAL_NOW / 1000);
  const text = BODY.toString();
  const reference = new Webhook(keyText(1));
  const tampering = fc.record({
    name: fc.constantFrom(...names),
    at: fc.nat(60),
    cut: fc.nat(2),
    put: fc.string({ unit: fc.constantFrom(..."0aZ=,. /1"), maxLength: 2 }),
  });
  fc.assert(
    fc.property(tampering, ({ name, at, cut, put }) => {
      const good: Record<(typeof names)[number], string> = {
        ...signed([ONE], timestampS),
        body: text,
      };
      const value = good[name];
      const bad = { ...good, [name]: value.slice(0, at) + put + value.slice(at + cut) };
      const { body, ...headers } = bad;
      const verification = verifyDelivery(
        [{ cluster: "prod-eu", keys: [ONE] }],
        { headers, body: Buffer.from(body) },
        { now: REAL_NOW },
      );
      // We refuse more (blanks at odd places), never less.
      if (verification.kind === "verified") reference.verify(body, headers, { jsonParse: false });
      if (bad[name] !== value && name !== "webhook-signature") {
        assert.equal(verification.kind, "refused");
      }
    }),
    { numRuns: 2000 },
  );
});

// Several keys, several clusters.

test("verifyDelivery() takes any known key among several on either side", () => {
  const clusters = [{ cluster: "prod-eu", keys: [TWO, ONE] }];
  for (const keys of [[ONE], [TWO], [ONE, TWO], [THREE, ONE], [TWO, THREE]]) {
    assert.deepEqual(verify(signed(keys), { clusters }), VERIFIED);
  }
  assert.equal(reasonOf(verify(signed([THREE]), { clusters })), UNKNOWN);
});

test("verifyDelivery() names the cluster by the key that matched", () => {
  const clusters = [
    { cluster: "prod-eu", keys: [ONE] },
    { cluster: "prod-us", keys: [TWO] },
    { cluster: "empty", keys: [] },
  ];
  assert.deepEqual(verify(signed([ONE]), { clusters }), { kind: "verified", cluster: "prod-eu" });
  assert.deepEqual(verify(signed([TWO]), { clusters }), { kind: "verified", cluster: "prod-us" });
  assert.equal(reasonOf(verify(signed([THREE]), { clusters })), UNKNOWN);
  assert.equal(reasonOf(verify(signed(), { clusters: [] })), UNKNOWN);
});

test("verifyDelivery() refuses a delivery that two clusters' keys signed", () => {
  const clusters = [
    { cluster: "prod-eu", keys: [ONE] },
    { cluster: "prod-us", keys: [TWO] },
  ];
  const twice = [
    { cluster: "prod-eu", keys: [ONE] },
    { cluster: "prod-us", keys: [ONE] },
  ];
  for (const verification of [
    verify(signed([ONE, TWO]), { clusters }),
    verify(signed([ONE]), { clusters: twice }),
  ]) {
    assert.match(reasonOf(verification), /^Cannot tell which cluster speaks/);
  }
});

test("verifyDelivery() takes one key that is given twice for one cluster", () => {
  const clusters = [{ cluster: "prod-eu", keys: [ONE, ONE] }];
  assert.deepEqual(verify(signed([ONE, ONE]), { clusters }), VERIFIED);
});

test("verifyDelivery() judges the bytes, not the text they make", () => {
  const body = Buffer.from([0x1f, 0x8b, 0xff, 0xfe, 0x00]);
  const headers = { ...signDelivery([ONE], { id: "a", timestampS: NOW_S, body }) };
  assert.deepEqual(verify(headers, { body }), VERIFIED);
  assert.deepEqual(verify(headers, { body: new Uint8Array(body) }), VERIFIED);
  const other = Buffer.from([0x1f, 0x8b, 0xfe, 0xff, 0x00]);
  assert.equal(body.toString(), other.toString());
  assert.equal(reasonOf(verify(headers, { body: other })), UNKNOWN);
});

// Time.

test("verifyDelivery() takes timestamps of 300 seconds before and after, and none beyond", () => {
  for (const offset of [0, 1, TIMESTAMP_TOLERANCE_S, -TIMESTAMP_TOLERANCE_S]) {
    assert.deepEqual(verify(signed([ONE], NOW_S + offset)), VERIFIED, String(offset));
  }
  assert.match(
    reasonOf(verify(signed([ONE], NOW_S - TIMESTAMP_TOLERANCE_S - 1))),
    /301 s old, at most 300 s allowed/,
  );
  assert.match(
    reasonOf(verify(signed([ONE], NOW_S + TIMESTAMP_TOLERANCE_S + 1))),
    /301 s in the future, at most 300 s allowed/,
  );
  assert.equal(verify(signed([ONE], 0)).kind, "refused");
});

test("verifyDelivery() counts in whole seconds", () => {
  const headers = signed([ONE], NOW_S - TIMESTAMP_TOLERANCE_S);
  const clusters = [{ cluster: "prod-eu", keys: [ONE] }];
  const at = (now: number) => verifyDelivery(clusters, { headers, body: BODY }, { now }).kind;
  assert.equal(at(NOW + 999), "verified");
  assert.equal(at(NOW + 1000), "refused");
});

// Headers.

test("verifyDelivery() reads header names in any case", () => {
  const headers = Object.fromEntries(
    Object.entries(signed()).map(([name, value]) => [name.toUpperCase(), value]),
  );
  assert.deepEqual(verify(headers), VERIFIED);
});

const HEADERS = ["webhook-id", "webhook-timestamp", "webhook-signature"] as const;

for (const name of HEADERS) {
  test(`verifyDelivery() refuses a delivery without ${name}`, () => {
    const missing = new RegExp(`^Cannot find the header "${name}"`);
    assert.match(reasonOf(verify({ ...signed(), [name]: undefined })), missing);
    const { [name]: _, ...others } = signed();
    assert.match(reasonOf(verify(others)), missing);
  });

  test(`verifyDelivery() refuses ${name} when it is there twice, in whatever way`, () => {
    const headers = signed();
    const twice = new RegExp(`^Cannot read the header "${name}"`);
    assert.match(reasonOf(verify({ ...headers, [name.toUpperCase()]: headers[name] })), twice);
    assert.match(
      reasonOf(verify({ ...headers, [name]: `${headers[name]}, ${headers[name]}` })),
      twice,
    );
    const list = [headers[name], headers[name]] as unknown as string;
    assert.match(reasonOf(verify({ ...headers, [name]: list })), twice);
  });
}

const good = signed()["webhook-signature"];

for (const [name, values] of Object.entries({
  "webhook-id": ["", "a b", "a.b", "ä", "a\n", "a\u0000", "a".repeat(257)],
  "webhook-timestamp": [
    "",
    "now",
    `${NOW_S}.0`,
    `${NOW_S} `,
    ` ${NOW_S}`,
    `+${NOW_S}`,
    `0${NOW_S}`,
    `${NOW_S}e0`,
    `0x${NOW_S.toString(16)}`,
    "-1",
    "9".repeat(400),
    "٣",
  ],
  "webhook-signature": [
    "",
    " ",
    "v1",
    "v1,",
    good.slice(3),
    ` ${good}`,
    `${good} `,
    `${good}  ${good}`,
    `${good},${good}`,
    good.replace("v1", "V1"),
    good.replace("v1,", "v1, "),
    good.replace("v1,", "v1="),
    `${good}\n`,
    `v1,${"A".repeat(5000)}`,
    Array(17).fill(good).join(" "),
  ],
})) {
  for (const value of values) {
    test(`verifyDelivery() refuses the ${name} ${JSON.stringify(value.slice(0, 60))}`, () => {
      const headers = { ...signed(), [name]: value };
      assert.match(reasonOf(verify(headers)), new RegExp(`^Cannot read the header "${name}"`));
    });
  }
}

test("verifyDelivery() ignores signatures of other versions and never matches them", () => {
  const asymmetric = `v1a,${Buffer.alloc(64, 7).toString("base64")}`;
  const headers = signed();
  const both = `${asymmetric} ${headers["webhook-signature"]}`;
  assert.deepEqual(verify({ ...headers, "webhook-signature": both }), VERIFIED);
  assert.equal(reasonOf(verify({ ...headers, "webhook-signature": asymmetric })), UNKNOWN);
  const renamed = headers["webhook-signature"].replace("v1,", "v2,");
  assert.equal(reasonOf(verify({ ...headers, "webhook-signature": renamed })), UNKNOWN);
});

test("verifyDelivery() takes a signature in one spelling only", () => {
  const headers = signed();
  const value = headers["webhook-signature"];
  const spellings = [
    value.replace(/=+$/, ""),
    `${value}=`,
    value.replaceAll("+", "-").replaceAll("/", "_"),
    value.slice(0, -5),
    // The last character before the padding holds two bits that mean nothing.
    value.replace(/.=$/, (end) => `${String.fromCharCode(end.charCodeAt(0) + 1)}=`),
  ].filter((spelling) => spelling !== value);
  for (const spelling of spellings) {
    assert.equal(verify({ ...headers, "webhook-signature": spelling }).kind, "refused", spelling);
  }
});

test("verifyDelivery() cannot be made to cut the signed text in another place", () => {
  const body = Buffer.from(`${NOW_S}.{}`);
  const headers = signDelivery([ONE], { id: "a", timestampS: NOW_S, body });
  const cut = { ...headers, "webhook-id": `a.${NOW_S}` };
  assert.deepEqual(verify({ ...headers }, { body }), VERIFIED);
  assert.equal(verify(cut, { body: Buffer.from("{}") }).kind, "refused");
});

test("verifyDelivery() never shows a key, a signature or the body in its reason", () => {
  const canary = Buffer.from("canary-canary-canary-canary-1234");
  const secret = parseSigningKey(`whsec_${canary.toString("base64")}`);
  const headers = signed([secret]);
  const clusters = [{ cluster: "prod-eu", keys: [secret] }];
  const body = Buffer.from("canary body");
  const reasons = [
    verify(headers, { clusters, body }),
    verify({ ...headers, "webhook-signature": `${headers["webhook-signature"]}!` }, { clusters }),
    verify({ ...headers, "webhook-timestamp": "1" }, { clusters }),
    verify({ ...headers, "webhook-id": "canary canary" }, { clusters }),
    verify({ ...headers, "webhook-signature": undefined }, { clusters }),
  ].map(reasonOf);
  const signature = headers["webhook-signature"].slice(3, 11);
  for (const reason of reasons) {
    assert(!reason.includes("canary") && !reason.includes(canary.toString("base64").slice(0, 8)));
    assert(!reason.includes(signature), reason);
  }
});

test("verifyDelivery() of a delivery changed in any single bit is refused", () => {
  const headers = signed();
  for (let bit = 0; bit < BODY.length * 8; bit++) {
    const body = Buffer.from(BODY);
    body[bit >> 3] = (body[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    assert.equal(reasonOf(verify(headers, { body })), UNKNOWN);
  }
});

test("signDelivery() refuses to sign what could not be verified", () => {
  const sign = (id: string, timestampS: number, keys: readonly SigningKey[] = [ONE]) =>
    signDelivery(keys, { id, timestampS, body: BODY });
  assert.throws(() => sign("a", NOW_S, []), RangeError);
  for (const id of ["", "a.b", "a b", "a\n", "ä"]) assert.throws(() => sign(id, NOW_S), RangeError);
  for (const seconds of [NOW_S + 0.5, -1, Number.NaN, Number.POSITIVE_INFINITY, 1e21]) {
    assert.throws(() => sign("a", seconds), RangeError);
  }
});
