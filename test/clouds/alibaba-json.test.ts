import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { test } from "node:test";
import fc from "fast-check";
import { parse, plainOf } from "../../lib/clouds/alibaba/json.ts";

// What the SDK itself reads answers with, wherever it is installed.
const sdk = createRequire(createRequire(import.meta.url).resolve("@alicloud/pop-core/lib/rpc.js"));
const jsonBigint: { parse(text: unknown): unknown } = sdk("json-bigint");

/** As both read it: without the prototypes that only one of them gives its objects. */
function readings(text: string) {
  return { ours: plainOf(parse(Buffer.from(text))), sdk: plainOf(jsonBigint.parse(text)) };
}

test("parse() reads integers of any length, and texts that look like them, as the SDK does", () => {
  const digits = "12345678901234567890";
  const text =
    `{ "Id": ${digits}, "Negative": -${digits}, "Most": 9007199254740991, ` +
    `"More": 9007199254740992, "Rows": [${digits},${digits}, 1], "Text": "${digits}", ` +
    `"Quoted": "\\"${digits}, \\\\", "Count": 7 }`;
  const { ours, sdk: theirs } = readings(text);
  assert.deepEqual(ours, theirs);
  assert.deepEqual(ours, {
    Id: digits,
    Negative: `-${digits}`,
    Most: 9007199254740991,
    More: "9007199254740992",
    Rows: [digits, digits, 1],
    Text: digits,
    Quoted: `"${digits}, \\`,
    Count: 7,
  });
});

test("parse() reads every text of JSON as the SDK does", () => {
  const key = fc.string().filter((name) => !["__proto__", "constructor"].includes(name));
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof(
      { withCrossShrink: true },
      // Beyond these the SDK has digits of its own where JSON.parse rounds.
      fc.double({ min: -(2 ** 53), max: 2 ** 53, noNaN: true }),
      fc.bigInt({ min: -(10n ** 25n), max: 10n ** 25n }),
      fc.integer(),
      fc.constantFrom(null, true, false),
      fc.string({ unit: "binary" }),
      fc.stringMatching(/^[0-9"\\ ,:]{0,40}$/),
      fc.array(tie("value"), { maxLength: 4 }),
      fc.dictionary(key, tie("value"), { maxKeys: 4, noNullPrototype: true }),
    ),
  }));
  const render = (each: unknown): string => {
    if (typeof each === "bigint") return String(each);
    if (Array.isArray(each)) return `[${each.map(render).join(", ")}]`;
    if (typeof each !== "object" || each === null) return JSON.stringify(each);
    const members = Object.entries(each);
    return `{${members.map(([name, one]) => `${JSON.stringify(name)}:${render(one)}`)}}`;
  };
  fc.assert(
    fc.property(value, (given) => {
      const { ours, sdk: theirs } = readings(render(given));
      assert.deepEqual(ours, theirs);
    }),
  );
});

test("parse() reads numbers with a fraction or an exponent as JSON does, however long they are", () => {
  const texts = [
    "0.30000000000000004",
    "-1234567890123456789.5",
    "0.1234567890123456789012345678901234567890",
    "1.2345678901234567e+30",
    "1E12345678901234567",
    "12345678901234567890e-3",
    "123456789012345678.12345678901234567",
  ];
  const double = fc.double({ noNaN: true, noDefaultInfinity: true }).map(String);
  const written = double.filter((number) => /[.e]/.test(number));
  fc.assert(
    fc.property(fc.oneof(fc.constantFrom(...texts), written), (number) => {
      const text = `{"Rate":${number},"Rates":[${number}, "${number}"]}`;
      assert.deepEqual(parse(text), JSON.parse(text));
    }),
  );
});

test("parse() reads ten megabytes of one text, whatever is in it", () => {
  for (const piece of ["a", "\\", "7.5 "]) {
    const text = piece.repeat(10_000_000 / piece.length);
    const [read, next] = parse(JSON.stringify([text, "b"])) as string[];
    assert.ok(read === text && next === "b", JSON.stringify(piece));
  }
});

test("parse() refuses what JSON does, whatever stands between numbers", () => {
  const piece = fc.constantFrom(
    "0",
    "7",
    "12345678901234567",
    ".",
    "e",
    "-",
    '"',
    "\\",
    ",",
    "[",
    "]",
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
      const text = pieces.join("");
      assert.equal(reads(parse, text), reads(JSON.parse, text), text);
    }),
    { numRuns: 5_000 },
  );
});

function reads(parser: (text: string) => unknown, text: string): boolean {
  try {
    parser(text);
    return true;
  } catch (error) {
    assert.ok(error instanceof SyntaxError);
    return false;
  }
}

test("parse() refuses what is no JSON", () => {
  for (const text of ["", "<html>", "{", `{"a": 1234567890123456789x}`, "12345678901234567 8"]) {
    assert.throws(() => parse(text), SyntaxError);
  }
});
