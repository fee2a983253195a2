import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

/*
 * docs/correctness.md says of each statement which tests protect it. A test that is renamed or
 * removed must not leave its statement unprotected in silence.
 */

const ROOT = join(import.meta.dirname, "..");
const PAGE = readFileSync(join(ROOT, "docs/correctness.md"), "utf8");
const STATEMENTS = 32;

interface Statement {
  readonly number: number;
  readonly tests: readonly { readonly file: string; readonly name: string }[];
}

/** `### 7. Sentence`, then a list of `- file: test name`. */
const statements: readonly Statement[] = PAGE.split(/^### /m)
  .slice(1)
  .map((section) => {
    const number = Number(/^\d+/.exec(section)?.[0]);
    const tests = [...section.matchAll(/^- `(test\/[^`]+)`: (.+)$/gm)].map(
      ([, file = "", name = ""]) => ({ file, name }),
    );
    return { number, tests };
  });

/** Names of the tests of a file; what a template fills in is written as "…". */
function namesOf(file: string): ReadonlySet<string> {
  const text = readFileSync(join(ROOT, file), "utf8");
  const names = [...text.matchAll(/\b(?:test|it)\(\s*(["`])((?:\\.|(?!\1)[^\\])*)\1/g)];
  return new Set(
    names.map(([, , name = ""]) =>
      name.replaceAll(/\$\{[^}]*\}/g, "…").replaceAll(/\\(["`])/g, "$1"),
    ),
  );
}

test("docs/correctness.md has every statement once, in order, each with a test", () => {
  assert.deepEqual(
    statements.map(({ number }) => number),
    Array.from({ length: STATEMENTS }, (_, index) => index + 1),
  );
  const bare = statements.filter(({ tests }) => tests.length === 0);
  assert.deepEqual(
    bare.map(({ number }) => number),
    [],
  );
});

test("docs/correctness.md names tests that exist", () => {
  const known = new Map<string, ReadonlySet<string>>();
  const files = new Set(
    readdirSync(join(ROOT, "test"), { recursive: true, encoding: "utf8" }).map(
      (path) => `test/${path}`,
    ),
  );
  const missing = statements.flatMap(({ number, tests }) =>
    tests.flatMap(({ file, name }) => {
      if (!files.has(file)) return [`${number}: there is no ${file}`];
      const names = known.get(file) ?? namesOf(file);
      known.set(file, names);
      return names.has(name) ? [] : [`${number}: ${file} has no test "${name}"`];
    }),
  );
  assert.deepEqual(missing, []);
});
