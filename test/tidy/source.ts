import { stripTypeScriptTypes } from "node:module";
import { dirname, join } from "node:path/posix";

/** One import of a file. */
export interface Import {
  readonly specifier: string;
  /** `type` imports are gone at run time; `dynamic` ones load only when they are reached. */
  readonly how: "static" | "dynamic" | "type";
  /** What stands between the keyword and `from`: the imported names. */
  readonly names: string;
  readonly line: number;
}

/** A TypeScript file as the rules look at it. Positions are the same in all three texts. */
export interface Source {
  readonly path: string;
  readonly text: string;
  /** Comments, and the contents of strings, are blanks; types are still there. */
  readonly code: string;
  /** The same without types: what runs. */
  readonly script: string;
  readonly imports: readonly Import[];
}

export function parseSource(path: string, text: string): Source {
  const code = blank(text);
  return { path, text, code, script: blank(stripTypes(text)), imports: findImports(text, code) };
}

function stripTypes(text: string): string {
  try {
    return stripTypeScriptTypes(text, { mode: "strip" });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    // A file that does not parse is the type checker's to report.
    return `// ${reason}`;
  }
}

/** The line of a position, counted from 1. */
export function lineAt(text: string, position: number): number {
  return text.slice(0, position).split("\n").length;
}

/** The repository path that a relative specifier of this file means; null for packages. */
export function resolveImport(from: string, specifier: string): string | null {
  return specifier.startsWith(".") ? join(dirname(from), specifier) : null;
}

function findImports(text: string, code: string): readonly Import[] {
  const imports: Import[] = [];
  for (const match of code.matchAll(/^(?:import|export)\b(?!\s*\()([^;]*?)\bfrom\s*"( *)"/gms)) {
    const names = (match[1] ?? "").trim();
    const end = match.index + match[0].length - 1;
    const specifier = text.slice(end - (match[2] ?? "").length, end);
    const how = /^type\b/.test(names) ? "type" : "static";
    imports.push({ specifier, how, names, line: lineAt(text, match.index) });
  }
  for (const match of code.matchAll(/^import\s*"( *)"/gm)) {
    const end = match.index + match[0].length - 1;
    const specifier = text.slice(end - (match[1] ?? "").length, end);
    imports.push({ specifier, how: "static", names: "", line: lineAt(text, match.index) });
  }
  for (const match of code.matchAll(/\bimport\(\s*"( *)"/g)) {
    const end = match.index + match[0].length - 1;
    const specifier = text.slice(end - (match[1] ?? "").length, end);
    const how = isTypePosition(code, match.index) ? "type" : "dynamic";
    imports.push({ specifier, how, names: "", line: lineAt(text, match.index) });
  }
  return imports;
}

// `typeof import("./x.ts")` and `: import("./x.ts").X` are types.
function isTypePosition(code: string, index: number): boolean {
  return /(typeof|[:<|&])\s*$/.test(code.slice(0, index));
}

const REGEX_MAY_FOLLOW =
  /(^|[(,=:[!&|?{};+\-*%<>~^]|\b(return|typeof|case|of|in|do|else|void|yield|await))$/;

/**
 * The text with comments, regular expressions and the contents of strings replaced by blanks, so
 * that words can be looked for in what is code. Newlines and quotes stay.
 */
export function blank(text: string): string {
  const out: string[] = [];
  const templates: number[] = [];
  let depth = 0;
  let at = 0;
  const skipTo = (end: number) => {
    out.push(text.slice(at, end).replace(/[^\n]/g, " "));
    at = end;
  };
  const string = (end: number) => {
    out.push(text.charAt(at));
    at += 1;
    skipTo(Math.max(at, end - 1));
    out.push(text.charAt(at));
    at += 1;
  };
  while (at < text.length) {
    const char = text.charAt(at);
    const two = text.slice(at, at + 2);
    if (two === "//") skipTo(endOf(text, /$/gm, at));
    else if (two === "/*") skipTo(endOf(text, /\*\//g, at + 2));
    else if (char === '"') string(endOf(text, /[^"\\\n]*(?:\\.[^"\\\n]*)*"/gsy, at + 1));
    else if (char === "'") string(endOf(text, /[^'\\\n]*(?:\\.[^'\\\n]*)*'/gsy, at + 1));
    else if (char === "/" && REGEX_MAY_FOLLOW.test(lastCode(out)) && isRegex(text, at)) {
      skipTo(endOf(text, REGEX_BODY, at + 1));
    } else if (char === "`" || (char === "}" && templates.at(-1) === depth)) {
      if (char === "}") templates.pop();
      const end = endOf(text, /[^`\\$]*(?:(?:\\.|\$(?!\{))[^`\\$]*)*(?:`|\$\{)/gsy, at + 1);
      if (text.charAt(end - 1) === "{") templates.push(depth);
      string(end);
    } else {
      if (char === "{") depth += 1;
      if (char === "}") depth -= 1;
      out.push(char);
      at += 1;
    }
  }
  return out.join("");
}

const REGEX_BODY = /(?:[^\\/[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/[a-z]*/gy;

function isRegex(text: string, at: number): boolean {
  REGEX_BODY.lastIndex = at + 1;
  return REGEX_BODY.test(text);
}

function lastCode(out: readonly string[]): string {
  return out.slice(-200).join("").trimEnd();
}

function endOf(text: string, pattern: RegExp, from: number): number {
  pattern.lastIndex = from;
  const match = pattern.exec(text);
  return match === null ? text.length : match.index + match[0].length;
}
