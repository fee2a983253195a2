import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { LINE_BYTES_MAX, renderLine } from "../../functions/line.ts";
import { lineLogger } from "../../functions/line-log.ts";
import { LOG_LEVELS, type LogLevel } from "../../lib/log-line.ts";
import { makeLogger } from "../../lib/logger.ts";
import { RULES_MAX } from "../../lib/targets/linode/room.ts";
import { RULE_ADDRESSES_MAX } from "../../lib/targets/linode/rules.ts";
import type { LogFields } from "../../lib/world.ts";

/*
 * The functions' own writer of lines: it must stand whatever it is given, keep secrets in, and be
 * no weaker than the library that all other processes log with.
 */

const CANARY = "canary-0123456789";
const SECRET_NAMES = [
  ...["authorization", "headers", "key", "keys", "secret", "token", "signature"],
  ...["Authorization", "cookie", "Set-Cookie", "password", "accessKeySecret", "securityToken"],
  ...[
    "pwd",
    "passphrase",
    "jwt",
    "sig",
    "webhook-signature",
    "x-amz-security-token",
    "apiKey",
    "private_key",
    "clientCredentials",
  ],
];

const anything = fc.anything({
  withBigInt: true,
  withBoxedValues: true,
  withDate: true,
  withMap: true,
  withNullPrototype: true,
  withObjectString: true,
  withSet: true,
  withSparseArray: true,
  withTypedArray: true,
});

/** Ways to lie deep in something: each takes what is inside and gives what is around it. */
const WRAPS: readonly ((inner: unknown) => unknown)[] = [
  (inner) => ({ inner }),
  (inner) => [1, inner],
  (inner) => Object.assign(Object.create(null), { inner }),
  (inner) => new Error("outer", { cause: inner }),
  (inner) => ({ list: [{ inner }], circle: CIRCLE }),
];

const CIRCLE: { self?: unknown } = {};
CIRCLE.self = CIRCLE;

function wrapped(value: unknown, how: readonly number[]): LogFields {
  const inner = how.reduce((inside, index) => WRAPS[index]?.(inside), value);
  return { inner };
}

function assertLine(text: string): Readonly<Record<string, unknown>> {
  assert(Buffer.byteLength(text) <= LINE_BYTES_MAX, `${Buffer.byteLength(text)} bytes`);
  assert(!text.includes("\n") && !text.includes("\r"));
  return JSON.parse(text);
}

test("renderLine() makes one short line of JSON of whatever it is given", {
  timeout: 60_000,
}, () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), anything), (fields) => {
      assertLine(renderLine(fields));
    }),
    { numRuns: 2_000 },
  );
});

test("renderLine() keeps what JSON can say as it is", () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 5, noUnicodeString: true }), (value) => {
      const names = JSON.stringify(value);
      // What is called like a secret has its own test; so has what has its form.
      fc.pre(!/key|token|secret|sign|auth|cookie|cred|pass|headers|jwt|pwd|sig|[=@]/i.test(names));
      assert.deepEqual(assertLine(renderLine({ value })), JSON.parse(JSON.stringify({ value })));
    }),
  );
});

test("renderLine() survives circles, depth, getters and proxies that throw, and big numbers", () => {
  let deep: unknown = 1;
  for (let index = 0; index < 10_000; index += 1) deep = { deep };
  const trap = new Proxy(
    {},
    {
      ownKeys() {
        throw new Error("no");
      },
    },
  );
  const getter = {
    before: 1,
    get broken() {
      throw new Error("no");
    },
  };
  const shown = assertLine(
    renderLine({
      circle: CIRCLE,
      deep,
      trap,
      getter,
      big: 2n ** 70n,
      wrong: [Number.NaN, Number.NEGATIVE_INFINITY, new Date(Number.NaN), undefined, Symbol("a")],
      bytes: Buffer.from("abc"),
      twice: [CIRCLE, CIRCLE],
      when: new Date(0),
      toJSON() {
        throw new Error("no");
      },
    }),
  );
  assert.deepEqual(shown.circle, { self: "[circular]" });
  assert.match(JSON.stringify(shown.deep), /too deep/);
  assert.equal(shown.trap, "[unreadable]");
  assert.deepEqual(shown.getter, { before: 1, broken: "[unreadable]" });
  assert.equal(shown.big, "1180591620717411303424");
  assert.deepEqual(shown.wrong, ["NaN", "-Infinity", "[no date]", null, null]);
  assert.equal(shown.bytes, "[3 bytes]");
  assert.equal(shown.when, "1970-01-01T00:00:00.000Z");
  assert.deepEqual(shown.twice, [{ self: "[circular]" }, { self: "[circular]" }]);
});

test("renderLine() leaves out what is too much, says so, and stays a line of JSON", () => {
  const many = Array.from({ length: 100_000 }, (_, index) => `203.0.113.${index}/32`);
  const huge = "\u0000é".repeat(1_000_000);
  const cases: readonly LogFields[] = [
    { delivery: "eu/1/1", entries: many },
    { huge },
    { texts: Array.from({ length: 100 }, () => huge) },
    Object.fromEntries(many.map((cidr) => [`${cidr}${huge.slice(0, 2_000)}`, cidr])),
    Object.fromEntries(many.map((cidr) => [cidr, undefined])),
    { empty: many.map(() => ({})) },
    { empty: many.map(() => []) },
    { empty: many.map(() => ({ a: [{}] })) },
    { inner: many.map(() => ({ token: CANARY })) },
  ];
  for (const [index, fields] of cases.entries()) {
    const text = renderLine(fields);
    assertLine(text);
    // The fifth has nothing that JSON could say.
    if (index !== 4) assert.match(text, /more[\])]|"cut":true/, `case ${index}`);
  }
  const first = assertLine(renderLine({ delivery: "eu/1/1", entries: many }));
  assert.equal(first.delivery, "eu/1/1");
  assert.match(String((first.entries as string[]).at(-1)), /^\[\d+ more\]$/);
});

test("renderLine() holds a whole batch of any kind of target but a feed", () => {
  // Linode's firewalls take most at once.
  const most = RULES_MAX * RULE_ADDRESSES_MAX;
  const entries = Array.from({ length: most }, (_, index) => `2001:db8:ffff:${index}::/64`);
  assert.deepEqual(assertLine(renderLine({ entries })).entries, entries);
});

test("renderLine() redacts what is called like a secret, however deep it lies", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...SECRET_NAMES),
      fc.array(fc.nat({ max: WRAPS.length - 1 }), { maxLength: 3 }),
      fc.constantFrom<unknown>(CANARY, [CANARY], { a: CANARY }, new Error(CANARY)),
      (name, how, value) => {
        const text = renderLine(wrapped({ [name]: value, beside: "seen" }, how));
        assertLine(text);
        assert(!text.includes(CANARY), text);
        assert(text.includes("[redacted]") && text.includes("seen"), text);
      },
    ),
  );
});

test("renderLine() redacts what looks like a secret in any text", () => {
  const token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJlLWNhbmFyeQ";
  const cases = [
    `whsec_${Buffer.from(CANARY).toString("base64")}`,
    token,
    token.slice(0, 30),
    `Authorization: Bearer ${CANARY}`,
    `https://bucket.example/key?X-Amz-Signature=${CANARY}&x=1`,
    `https://bucket.example/key?security-token=${CANARY}`,
    `https://me:${CANARY}@bucket.example/key`,
    `v1,${"QUJD".repeat(10)}QUI=`,
  ];
  for (const secret of cases) {
    for (const value of [secret, `Cannot call ${secret}: no`, { a: [secret] }, new Error(secret)]) {
      const text = renderLine({ value });
      assert.match(text, /\[redacted\]/);
      assert(!text.includes(CANARY) && !text.includes(secret), text);
    }
  }
  const harmless = 'Cannot find a token: send it as "Authorization: Bearer …"';
  assert.equal(assertLine(renderLine({ harmless })).harmless, harmless);
});

test("renderLine() tells an error by its message and cause, without its stack and members", () => {
  const error = Object.assign(new Error("outer", { cause: new TypeError("inner") }), {
    code: "E1",
    request: { body: CANARY },
  });
  assert.deepEqual(assertLine(renderLine({ error })).error, {
    name: "Error",
    code: "E1",
    message: "outer",
    cause: { name: "TypeError", message: "inner" },
  });
});

function written(level: LogLevel) {
  const lines: string[] = [];
  const write = (line: string) => void lines.push(line);
  return { lines, log: lineLogger(level, { write, now: () => 0 }) };
}

test("lineLogger() redacts all that the other processes' log redacts", () => {
  const names = fc.constantFrom(...SECRET_NAMES, "list", "target", "error");
  const value = fc.oneof(fc.constant(CANARY), fc.dictionary(names, fc.constant(CANARY)));
  fc.assert(
    fc.property(fc.dictionary(names, value), (fields) => {
      const reference: string[] = [];
      const sink = { write: (text: string) => void reference.push(text) };
      makeLogger("debug", { log: sink, audit: sink }).warn(fields, "A sentence");
      const { lines, log } = written("debug");
      log.warn(fields, "A sentence");
      const count = (texts: readonly string[]) => texts.join("").split(CANARY).length - 1;
      assert(count(lines) <= count(reference), `${lines} ${reference}`);
    }),
  );
});

test("lineLogger() begins a line with level, message and timestamp, whatever the fields are called", () => {
  const { lines, log } = written("info");
  log.warn({ level: "x", message: "y", timestamp: 0, list: "db" }, "A sentence");
  assert.equal(
    lines.join(""),
    '{"level":"WARN","message":"A sentence","timestamp":"1970-01-01T00:00:00.000Z","list":"db"}\n',
  );
});

test("lineLogger() writes what its level asks for, and audit lines at every level", () => {
  for (const [index, level] of LOG_LEVELS.entries()) {
    const { lines, log } = written(level);
    for (const name of LOG_LEVELS) log[name]({}, name);
    log.audit({ result: "done" });
    log.audit({ result: "denied" });
    const shown = lines.map((line) => JSON.parse(line));
    assert.deepEqual(
      shown.map(({ message }) => message),
      [...LOG_LEVELS.slice(index), "Changed a target", "Tried to change a target"],
    );
    for (const line of shown.slice(-2)) assert.deepEqual([line.audit, line.level], [true, "INFO"]);
  }
});

test("lineLogger() never throws, though nothing can be written or read", () => {
  const fail = () => {
    throw new Error("no");
  };
  const broken = lineLogger("debug", { write: fail, now: () => 0 });
  broken.error({}, "A sentence");
  broken.audit({});
  const { log } = written("debug");
  log.error(Object.defineProperty({}, "broken", { enumerable: true, get: fail }), "A sentence");
});
