import { basename } from "node:path/posix";
import { linesOf, type Rule, type Tree, type Violation } from "./rule.ts";
import { resolveImport } from "./source.ts";

/*
 * Rules about names and words, in code and in documents.
 */

const CODE = /\.(ts|cjs)$/;
const EVERYTHING = /./;

interface Word {
  readonly paths: RegExp;
  readonly pattern: RegExp;
  readonly message: string;
  /** Files that may, and why is said beside them. */
  readonly except?: RegExp;
}

function findWords(tree: Tree, words: readonly Word[]): readonly Violation[] {
  return words.flatMap(({ paths, pattern, message, except }) =>
    linesOf(tree, paths)
      .filter(({ path, text }) => pattern.test(text) && except?.test(path) !== true)
      .map(({ path, line }) => ({ path, line, message })),
  );
}

export const nameRule: Rule = {
  name: "files and folders are named in kebab-case",
  check: (tree) =>
    tree.sources
      .filter(
        ({ path }) =>
          !/^([a-z0-9]+(-[a-z0-9]+)*\/)*[a-z0-9]+(-[a-z0-9]+)*(\.test)?\.ts$/.test(path),
      )
      .map(({ path }) => ({ path, line: 1, message: "is not named in kebab-case" })),
  bad: { "lib/securityGroup.ts": "", "lib/Core/a.ts": "", "lib/a_b.ts": "", "test/a.spec.ts": "" },
  good: { "lib/targets/aws/security-group.ts": "", "test/core/plan.test.ts": "" },
};

const LEFTOVERS = ["TO".concat("DO"), "FIX".concat("ME"), "X".repeat(3)];

export const leftoverRule: Rule = {
  name: "nothing is left over",
  check: (tree) =>
    findWords(tree, [
      {
        paths: EVERYTHING,
        pattern: new RegExp(`\\b(${LEFTOVERS.join("|")})\\b`),
        message: "has a note of something left to do",
        except: /^(package-lock\.json|LICENSE)$/,
      },
    ]),
  bad: Object.fromEntries(
    LEFTOVERS.map((word) => [`lib/${word.toLowerCase()}.ts`, `// ${word}: x`]),
  ),
  good: { "lib/a.ts": "// Nothing to do here." },
};

const COLUMNS_MAX = 100;

export const columnRule: Rule = {
  name: `code has at most ${COLUMNS_MAX} columns`,
  check: (tree) =>
    linesOf(tree, CODE)
      .filter(({ text }) => text.length > COLUMNS_MAX && !isWhole(text))
      .map(({ path, line, text }) => ({ path, line, message: `has ${text.length} columns` })),
  bad: { "lib/a.ts": `// ${"word ".repeat(20)}`, "lib/b.ts": `const a = "${"word ".repeat(20)}";` },
  good: {
    "lib/a.ts": `// ${"word ".repeat(19)}`,
    "lib/b.ts": `  // https://example.com/${"a".repeat(100)}`,
  },
};

// What cannot be broken, such as an address, and the title of a test.
function isWhole(line: string): boolean {
  return line.trim().split(/\s+/).length <= 2 || /^\s*test\(["`]/.test(line);
}

const FORBIDDEN_NAMES = ["manager", "helper", "helpers", "util", "utils", "service", "info"];
const DECLARED = /\b(?:const|let|function\*?|class|interface|type|namespace)\s+([A-Za-z_$][\w$]*)/g;

// `serviceAccount` is Kubernetes' word.
function wordsIn(name: string): readonly string[] {
  const split = name.replace(/([a-z0-9])([A-Z])/g, "$1 $2").toLowerCase();
  return split.replace("service account", "").split(/[^a-z0-9]+/);
}

function isForbidden(name: string): boolean {
  return name === "data" || wordsIn(name).some((word) => FORBIDDEN_NAMES.includes(word));
}

export const wordRule: Rule = {
  name: "names say what a thing is",
  check: (tree) =>
    tree.sources.flatMap((source) => {
      const file = basename(source.path).replace(/\..*$/, "");
      const own = source.code.replace(/^import\b[^;]*;/gm, "");
      const names = [...own.matchAll(DECLARED)].flatMap(({ 1: name }) => name ?? []);
      return [...source.path.split("/").slice(0, -1), file, ...names]
        .filter(isForbidden)
        .map((name) => ({ path: source.path, line: 1, message: `is vague about "${name}"` }));
    }),
  bad: {
    "lib/cidr-utils.ts": "",
    "lib/helpers/a.ts": "",
    "lib/a.ts": "interface LeaseManager {}",
    "lib/b.ts": "const data = 1;",
    "lib/c.ts": "function nodeInfo() {}",
    "lib/d.ts": "const service = 1;",
  },
  good: {
    "lib/c.ts": 'import { type AddressInfo } from "node:net";',
    "lib/a.ts": "const serviceAccountShape = 1; log.info({}, 1); // the data",
    "lib/b.ts": "const information = 1; const dataRate = 2;",
  },
};

const VENDOR_WORD = "white".concat("list");

export const allowRule: Rule = {
  name: "it is an allow list",
  check: (tree) =>
    findWords(tree, [
      {
        paths: EVERYTHING,
        pattern: new RegExp(VENDOR_WORD, "i"),
        message: 'says it otherwise than "allow list"',
        // Vendors' own names of parameters and calls.
        except:
          /^((lib\/(clouds|targets)|docs\/targets|infra)\/alibaba|test\/.*alibaba|package-lock)/,
      },
    ]),
  bad: { "README.md": `# A\na ${VENDOR_WORD}`, "lib/core/list.ts": `const ${VENDOR_WORD} = 1;` },
  good: {
    "lib/clouds/alibaba.ts": `const action = "Modify${VENDOR_WORD}";`,
    "README.md": "# Allow list",
  },
};

// Documents of those who wrote it: a stranger cannot look anything up there.
const CITED = new RegExp(`\\b${"DES".concat("IGN")}\\b|\\breference/[a-z-]+\\.(md|json)`);

export const placeRule: Rule = {
  name: "the project speaks of itself alone",
  check: (tree) =>
    findWords(tree, [
      {
        paths: EVERYTHING,
        pattern: /(^|[\s"'`(=])(\/work|\/root|\/farm|\/home\/[a-z]+|\/Users\/[A-Za-z]+)\//,
        message: "names a folder of one machine",
      },
      {
        paths: /^package-lock\.json$/,
        pattern: /"resolved": "https?:/,
        message: "names a registry",
      },
      {
        paths: EVERYTHING,
        pattern: /https?:\/\/[^\s"'/]*(registry|artifactory|nexus|verdaccio)[^\s"'/]*/,
        message: "names a registry",
      },
      {
        paths: /\.(ts|cjs|md|ya?ml|sh)$/,
        pattern: CITED,
        message: "cites what is not in the repository",
      },
    ]),
  bad: {
    "lib/a.ts": `// see ${"/work"}/main`,
    "package-lock.json": '"resolved": "https://a.example/b.tgz"',
    ".npmrc": `registry=https://${"registry"}.example.org/`,
    "lib/b.ts": `// ${"DES"}${"IGN"} says so`,
  },
  good: {
    "lib/a.ts": "// the design of it: work/main",
    "package-lock.json": '"resolved": false',
    "lib/b.ts": 'const url = "https://hook.example";',
  },
};

export const titleRule: Rule = {
  name: "a document has one title, at its top",
  check: (tree) =>
    [...tree.files]
      .filter(([path]) => path.endsWith(".md"))
      .flatMap(([path, text]) => {
        const prose = text.replace(/^(```+|~~~+).*?^\1/gms, "");
        const titles = prose.match(/^# \S/gm)?.length ?? 0;
        if (titles === 1 && /^# \S/.test(text)) return [];
        return [{ path, line: 1, message: `has ${titles} titles, or does not begin with one` }];
      }),
  bad: { "A.md": "text", "B.md": "# A\n# B\n", "C.md": "\ntext\n# A\n" },
  good: { "A.md": "# A\n\n```sh\n# comment\n```\n\n## B\n" },
};

// What is started rather than imported.
const ROOTS = new RegExp(
  "^(" +
    "cli/main|forwarder/main|functions/(webhook|resync|read)|" +
    "scripts/(build|image|lock|package|schema|versions)|test/.*\\.test|test/bench/[a-z-]+" +
    ")\\.ts$",
);

export const deadRule: Rule = {
  name: "every file is reached from an entry or a test",
  check: (tree) => {
    const byPath = new Map(tree.sources.map((source) => [source.path, source]));
    const reached = new Set<string>();
    const visit = (path: string) => {
      const source = byPath.get(path);
      if (source === undefined || reached.has(path)) return;
      reached.add(path);
      for (const { specifier } of source.imports) visit(resolveImport(path, specifier) ?? "");
      // A file that is started as a process is named in a string.
      for (const [, name] of source.text.matchAll(/["'`/]([a-z0-9-]+\.ts)["'`]/g)) {
        for (const other of byPath.keys()) if (basename(other) === name) visit(other);
      }
    };
    for (const path of byPath.keys()) if (ROOTS.test(path)) visit(path);
    return [...byPath.keys()]
      .filter((path) => !reached.has(path))
      .map((path) => ({ path, line: 1, message: "is reached from nowhere" }));
  },
  bad: {
    "lib/core/forgotten.ts": "",
    "scripts/old.ts": 'import "./older.ts";',
    "scripts/older.ts": "",
  },
  good: {
    "test/a.test.ts": 'import { a } from "../lib/a.ts"; const child = "child.ts";',
    "lib/a.ts": 'export const b = () => import("./b.ts");',
    "lib/b.ts": "",
    "test/child.ts": "",
  },
};
