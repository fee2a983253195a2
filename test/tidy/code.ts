import type { Rule, Tree, Violation } from "./rule.ts";
import { lineAt, type Source } from "./source.ts";

/*
 * Rules about code: what may be called where, how long a function may be, what may be exported.
 */

interface Ban {
  /** Looked for in code without comments, strings and types. */
  readonly pattern: RegExp;
  readonly message: string;
}

const TIME_AND_CHANCE: readonly Ban[] = [
  { pattern: /\bDate\.now\b/g, message: "reads the clock: use world.now()" },
  { pattern: /\bnew Date\(\s*\)/g, message: "reads the clock: use world.now()" },
  { pattern: /(?<!new )(?<![.\w])Date\(/g, message: "reads the clock: use world.now()" },
  { pattern: /\bperformance\b/g, message: "reads the clock: use world.now()" },
  { pattern: /(?<!\.)\bset(Timeout|Interval|Immediate)\b/g, message: "waits: use world.sleep()" },
  { pattern: /\bAbortSignal\.timeout\b/g, message: "waits: use withTimeout()" },
  { pattern: /\bMath\.random\b/g, message: "draws: use world.random()" },
  {
    pattern: /\b(randomUUID|randomBytes|randomInt|getRandomValues)\b/g,
    message: "draws: use world.random()",
  },
  {
    pattern: /(?<![.\w])fetch\(|\bglobalThis\.fetch\b/g,
    message: "opens the network: use world.fetch()",
  },
  { pattern: /(?<!\.)\bprocess\./g, message: "looks at the process: take it as an argument" },
  { pattern: /(?<!\.)\bconsole\./g, message: "writes to the console: use world.log" },
];

// The logger belongs to the real world: only entries make one.
const OUTSIDE_WORLD =
  /^(lib\/(?!(world|logger)\.ts$)|functions\/(?!wiring\.ts$)|forwarder\/(?!main\.ts$)).*\.ts$/;

export const worldRule: Rule = {
  name: "time, chance, waiting and the network come from the world",
  check: (tree) => findBanned(tree, OUTSIDE_WORLD, TIME_AND_CHANCE),
  bad: {
    "lib/core/a.ts": "const now = Date.now();",
    "lib/core/b.ts": "const now = new Date();",
    "lib/core/c.ts": "const now = Date();",
    "lib/sync.ts": "await new Promise((resolve) => setTimeout(resolve, 5));",
    "lib/stores/log.ts": "const id = Math.random();",
    "lib/stores/file.ts": "const id = crypto.randomUUID();",
    "lib/targets/memory.ts": "const signal = AbortSignal.timeout(5);",
    "lib/clouds/linode.ts": 'const answer = await fetch("https://api");',
    "lib/config.ts": "const home = process.env.HOME;",
    "functions/webhook.ts": "const start = performance.now();",
    "forwarder/watch.ts": "setInterval(() => 1, 5);",
    "lib/wire/token.ts": "console.log(1);",
  },
  good: {
    "lib/world.ts": "export const now = () => Date.now();",
    "lib/core/a.ts": 'const at = new Date(5); // Date.now()\nconst text = "setTimeout(";',
    "lib/sync.ts": "const answer = await world.fetch(url); const now = world.now();",
    "functions/wiring.ts": "const env = process.env;",
    "forwarder/main.ts": "process.exitCode = 1;",
    "cli/dev.ts": "const now = Date.now();",
    "lib/stores/file.ts": "type Timer = ReturnType<typeof setTimeout>;",
  },
};

// The compiler's `lib` setting refuses most of what Node 20 lacks; these come from Node's own
// types.
const NEWER_THAN_NODE_20: readonly Ban[] = [
  {
    pattern: /\bURL\.parse\b|\bprocess\.getBuiltinModule\b|\bRegExp\.escape\b/g,
    message: "needs a newer Node than 20, on which functions run too",
  },
];

export const oldNodeRule: Rule = {
  name: "functions run on Node 20",
  check: (tree) => findBanned(tree, /^(lib|functions)\//, NEWER_THAN_NODE_20),
  bad: { "lib/targets/registry.ts": 'const url = URL.parse("https://a");' },
  good: { "lib/core/cidr.ts": 'const url = URL.canParse("https://a");' },
};

function findBanned(tree: Tree, paths: RegExp, bans: readonly Ban[]): readonly Violation[] {
  return tree.sources
    .filter((source) => paths.test(source.path))
    .flatMap((source) => bans.flatMap((ban) => findMatches(source, ban)));
}

function findMatches(source: Source, { pattern, message }: Ban): readonly Violation[] {
  return [...source.script.matchAll(pattern)].map((match) => ({
    path: source.path,
    line: lineAt(source.script, match.index),
    message,
  }));
}

const FUNCTION_LINES_MAX = 70;

// A suite is a list of tests; each of them is a function of its own.
const SUITE = /\b(test|describe)\(/;

export const lengthRule: Rule = {
  name: `functions have at most ${FUNCTION_LINES_MAX} lines`,
  check: (tree) =>
    tree.sources.flatMap((source) =>
      functionsOf(source.script)
        .filter(({ first, last }) => last - first + 1 > FUNCTION_LINES_MAX)
        .filter(({ body }) => !(source.path.startsWith("test/") && SUITE.test(body)))
        .map(({ first, last }) => ({
          path: source.path,
          line: first,
          message: `has a function of ${last - first + 1} lines`,
        })),
    ),
  bad: {
    "lib/a.ts": `export function a(): Promise<{ a: 1 }> {\n${"  b();\n".repeat(69)}}`,
    "lib/b.ts": `const b = async (x: number) => {\n${"  b();\n".repeat(69)}};`,
    "lib/c.ts": `const c = { d() {\n${"  b();\n".repeat(69)}} };`,
    "lib/d.ts": `function d(\n${"  a,\n".repeat(69)}) {}`,
  },
  good: {
    "lib/a.ts": `function a() {\n${"  b();\n".repeat(68)}}`,
    "lib/b.ts": `const b = {\n${"  b,\n".repeat(200)}};`,
    "lib/c.ts": `if (a) {\n${"  b();\n".repeat(200)}}`,
    "test/suite.ts": `function d() {\n${"  test(1);\n".repeat(200)}}`,
  },
};

const BLOCK_WORDS = ["if", "for", "while", "switch", "catch", "with", "await"];

interface Span {
  readonly first: number;
  readonly last: number;
  readonly body: string;
}

/** First and last line of every function with a body in braces. */
function functionsOf(script: string): readonly Span[] {
  const open: (number | null)[] = [];
  const spans: Span[] = [];
  for (const { index, 0: brace } of script.matchAll(/[{}]/g)) {
    if (brace === "{") {
      open.push(functionStart(script.slice(0, index).trimEnd()));
      continue;
    }
    const start = open.pop() ?? null;
    if (start === null) continue;
    const body = script.slice(start, index);
    spans.push({ first: lineAt(script, start), last: lineAt(script, index), body });
  }
  return spans;
}

// Where the parameters of the function begin whose body follows `before`; null when it is none.
function functionStart(before: string): number | null {
  const arrow = before.endsWith("=>");
  const head = arrow ? before.slice(0, -2).trimEnd() : before;
  if (!head.endsWith(")")) return arrow ? head.search(/\S+$/) : null;
  let depth = 0;
  for (let at = head.length - 1; at >= 0; at -= 1) {
    if (head[at] === ")") depth += 1;
    if (head[at] === "(") depth -= 1;
    if (depth > 0) continue;
    const word = /(\w+)\s*$/.exec(head.slice(0, at))?.[1];
    return !arrow && word !== undefined && BLOCK_WORDS.includes(word) ? null : at;
  }
  return null;
}

const SHAPES: readonly (readonly [RegExp, string])[] = [
  [/^export default\b/gm, "exports a default: name it"],
  [/^export\s+(type\s+)?(\*|\{[^}]*\})\s*(as \w+ )?from\b/gm, "passes on another file's exports"],
  [/^(export )?(abstract )?class (?!\w+ extends \w*Error\b)/gm, "has a class that is no error"],
  [
    /^import\s+(type\s+)?(?!\*|type \*)[^;]*?\bfrom "zod(\/mini)?"/gm,
    'imports zod otherwise than as "* as z"',
  ],
];

export const exportRule: Rule = {
  name: "no default exports, no barrels, no classes but errors, zod as a namespace",
  check: (tree) =>
    tree.sources.flatMap((source) =>
      SHAPES.flatMap(([pattern, message]) =>
        // Strings are needed here, so the text itself is asked; code begins where no comment does.
        [...source.text.matchAll(pattern)]
          .filter((match) => source.code.startsWith(match[0].slice(0, 6), match.index))
          .map((match) => ({
            path: source.path,
            line: lineAt(source.text, match.index),
            message,
          })),
      ),
    ),
  bad: {
    "lib/a.ts": "export default function a() {}",
    "lib/b.ts": 'export * from "./a.ts";',
    "lib/c.ts": 'export { a,\n  b } from "./a.ts";',
    "lib/d.ts": "export class Plan {}",
    "lib/e.ts": 'import { z } from "zod/mini";',
    "lib/f.ts": 'import z from "zod/mini";',
  },
  good: {
    "lib/a.ts": "export class StoreError extends Error {}",
    "lib/b.ts": 'import type * as z from "zod/mini";\nimport * as y from "zod/mini";',
    "lib/c.ts": "/*\nexport default 1\n*/\nexport const a = 1;",
  },
};
