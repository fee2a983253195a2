import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join, matchesGlob } from "node:path";
import { test } from "node:test";
import { exportRule, lengthRule, oldNodeRule, worldRule } from "./tidy/code.ts";
import { roomRule } from "./tidy/rooms.ts";
import { type Rule, treeOf, type Violation } from "./tidy/rule.ts";
import { blank, parseSource } from "./tidy/source.ts";
import {
  allowRule,
  columnRule,
  deadRule,
  leftoverRule,
  nameRule,
  placeRule,
  titleRule,
  wordRule,
} from "./tidy/text.ts";

const RULES: readonly Rule[] = [
  roomRule,
  worldRule,
  oldNodeRule,
  lengthRule,
  exportRule,
  nameRule,
  leftoverRule,
  columnRule,
  wordRule,
  allowRule,
  placeRule,
  titleRule,
  deadRule,
];

const ROOT = join(import.meta.dirname, "..");
const BINARY = /\.(png|jpg|ico|woff2?|tgz|gz|zip)$/;

/** Every text file that is not ignored, by its path with slashes. */
function readRepository(): ReadonlyMap<string, string> {
  const ignored = readFileSync(join(ROOT, ".gitignore"), "utf8")
    .split("\n")
    .map((line) => line.trim().replace(/\/$/, ""))
    .filter((line) => line !== "" && !line.startsWith("#"))
    .concat(".git");
  const files = new Map<string, string>();
  const visit = (folder: string) => {
    for (const entry of readdirSync(join(ROOT, folder), { withFileTypes: true })) {
      if (ignored.some((pattern) => matchesGlob(entry.name, pattern))) continue;
      const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
      if (entry.isDirectory()) visit(path);
      else if (entry.isFile() && !BINARY.test(path)) {
        files.set(path, readFileSync(join(ROOT, path), "utf8"));
      }
    }
  };
  visit("");
  return files;
}

const tree = treeOf(readRepository());

function textOf(violations: readonly Violation[]): string {
  return violations.map(({ path, line, message }) => `${path}:${line} ${message}`).join("\n");
}

for (const rule of RULES) {
  test(`tidy: ${rule.name}`, () => {
    const violations = rule.check(tree);
    assert.equal(violations.length, 0, `\n${textOf(violations)}`);
  });

  test(`tidy would notice it otherwise: ${rule.name}`, () => {
    const noticed = new Set(rule.check(treeOf(Object.entries(rule.bad))).map(({ path }) => path));
    assert.deepEqual([...noticed].toSorted(), Object.keys(rule.bad).toSorted());
    assert.equal(textOf(rule.check(treeOf(Object.entries(rule.good)))), "");
  });
}

test("readRepository() sees the sources and nothing that is ignored", () => {
  for (const path of ["lib/world.ts", "test/tidy.test.ts", "package.json", "biome.json"]) {
    assert(tree.files.has(path), path);
  }
  for (const path of tree.files.keys())
    assert(!/(^|\/)(node_modules|\.git|dist)\//.test(path), path);
});

// The texts to look at hold placeholders of templates, which the linter would take for slips.
const OPEN = "$".concat("{");

test("blank() leaves code and takes comments, strings and regular expressions", () => {
  const cases: readonly (readonly [string, string])[] = [
    ["a // b\nc", "a     \nc"],
    ["a /* b\nc */ d", "a     \n     d"],
    ['f("a\\"b", \'c\')', "f(\"    \", ' ')"],
    [`\`a${OPEN}b(\`c\`)}d\``, "`  {b(` `)} `"],
    [`\`a${OPEN} { b: 1 } }\``, "`  { { b: 1 } }`"],
    ["x = /[/\"]'/g;", "x =         ;"],
    ["x = a / b / c;", "x = a / b / c;"],
    ["return /a/;", "return    ;"],
    ["`$a \\` b`", "`       `"],
  ];
  for (const [text, expected] of cases) assert.equal(blank(text), expected);
});

test("parseSource() finds every kind of import and no other", () => {
  const text = [
    'import { a, type B } from "./a.ts";',
    'import type { C } from "./c.ts";',
    'import {\n  d,\n} from "d";',
    'import "./e.ts";',
    'const f = await import("./f.ts");',
    'const g = "import x from y";',
    '// import h from "h";',
    'type I = typeof import("./i.ts");',
  ].join("\n");
  const found = parseSource("x.ts", text).imports.map(
    ({ specifier, how }) => `${how} ${specifier}`,
  );
  assert.deepEqual(found.toSorted(), [
    "dynamic ./f.ts",
    "static ./a.ts",
    "static ./e.ts",
    "static d",
    "type ./c.ts",
    "type ./i.ts",
  ]);
});
