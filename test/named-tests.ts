import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/*
 * Pages that name, below each `### Heading`, the tests that protect what it says. A test that is
 * renamed or removed must not leave its statement unprotected in silence.
 */

const ROOT = join(import.meta.dirname, "..");

export interface NamedTest {
  readonly file: string;
  readonly name: string;
}

export interface Section {
  readonly heading: string;
  readonly text: string;
  readonly tests: readonly NamedTest[];
}

/** `### Heading`, then, among other things, a list of `- file: test name`. */
export function sectionsOf(page: string): readonly Section[] {
  return page
    .split(/^### /m)
    .slice(1)
    .map((section) => {
      const [heading = ""] = section.split("\n", 1);
      // What follows the next part's heading is not of this section.
      const [text = ""] = section.slice(heading.length).split(/^## /m);
      const tests = [...text.matchAll(/^- `(test\/[^`]+)`: (.+)$/gm)].map(
        ([, file = "", name = ""]) => ({ file, name }),
      );
      return { heading, text, tests };
    });
}

/** What a section names that there is not, as sentences. */
export function missingTests(sections: readonly Section[]): readonly string[] {
  const known = new Map<string, ReadonlySet<string>>();
  const files = new Set(
    readdirSync(join(ROOT, "test"), { recursive: true, encoding: "utf8" }).map(
      (path) => `test/${path}`,
    ),
  );
  return sections.flatMap(({ heading, tests }) =>
    tests.flatMap(({ file, name }) => {
      if (!files.has(file)) return [`${heading}: there is no ${file}`];
      const names = known.get(file) ?? namesOf(file);
      known.set(file, names);
      return names.has(name) ? [] : [`${heading}: ${file} has no test "${name}"`];
    }),
  );
}

/** A page of the repository. */
export function readPage(path: string): string {
  return readFileSync(join(ROOT, path), "utf8");
}

/**
 * Names of the tests of a file, or of the cases that tests are made of; what a template fills in is
 * written as "…".
 */
function namesOf(file: string): ReadonlySet<string> {
  const text = readFileSync(join(ROOT, file), "utf8");
  const names = text.matchAll(file.endsWith(".test.ts") ? TEST : CASE);
  return new Set(
    [...names].map(([, , name = ""]) =>
      name.replaceAll(/\$\{[^}]*\}/g, "…").replaceAll(/\\(["`])/g, "$1"),
    ),
  );
}

const TEST = /\b(?:test|it)\(\s*(["`])((?:\\.|(?!\1)[^\\])*)\1/g;
/** `name: "…",` of a table, or the first of a row: `["…", …`. */
const CASE = /(?:\bname: |\[\s*)(["`])((?:\\.|(?!\1)[^\\])*)\1,/g;
