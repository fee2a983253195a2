import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { ROOT } from "../scripts/bundle.ts";

/*
 * serverless.yml with everything it includes, as far as its own files say: a few lines of what osls
 * does, so that every test run looks at it. The end-to-end tests have osls do it.
 */

export type Node = Readonly<Record<string, unknown>>;

/** The file with its variables replaced; `settings` stand for dist/package/serverless.json. */
export function readServerless(options: {
  readonly settings: object;
  readonly params?: Readonly<Record<string, string>>;
}): Node {
  const file = load("serverless.yml");
  const defaults = at(file, "params.default") as Readonly<Record<string, string>>;
  const params = { ...defaults, ...options.params };
  const lookUp = (source: string): unknown => {
    const [, path, member] = /^file\(([^)]+)\)(?::(.*))?$/.exec(source) ?? [];
    if (path !== undefined) {
      // A program of osls, which adds nothing to the stack.
      if (path.endsWith(".cjs")) return {};
      const content = path.endsWith("serverless.json") ? options.settings : load(path);
      return member === undefined ? content : at(content, member);
    }
    const [kind, rest = ""] = split(source);
    if (kind === "self") return resolveDeep(follow(rest));
    if (kind === "param") return params[rest];
    return undefined;
  };
  // An expression has no other one in it once the innermost were replaced.
  const resolveText = (text: string): unknown => {
    const [whole, expression = ""] = /\$\{((?:file|self|param|opt)[^${}]*)\}/.exec(text) ?? [];
    if (whole === undefined) return text;
    const sources = expression.split(/,\s*/);
    const found = sources.map(lookUp).find((one) => one !== undefined && one !== null);
    if (found === undefined) throw new Error(`Cannot resolve ${whole}`);
    if (whole === text) return resolveDeep(found);
    return resolveText(text.replace(whole, () => String(found)));
  };
  // What is on the way to a member may be an expression itself.
  const follow = (path: string): unknown =>
    path.split(".").reduce<unknown>((node, key) => {
      const next = typeof node === "string" ? resolveText(node) : node;
      return at(next, key);
    }, file);
  const resolveDeep = (value: unknown): unknown => {
    if (typeof value === "string") return resolveText(value);
    if (Array.isArray(value)) return value.map(resolveDeep);
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, resolveDeep(one)]));
  };
  return resolveDeep(file) as Node;
}

function load(path: string): object {
  return parse(readFileSync(join(ROOT, path), "utf8"), { merge: true });
}

function split(source: string): readonly string[] {
  const colon = source.indexOf(":");
  return [source.slice(0, colon), source.slice(colon + 1)];
}

/** A member by its path, or undefined. */
export function at(value: unknown, path: string): unknown {
  return path.split(".").reduce<unknown>((node, key) => (node as Node | undefined)?.[key], value);
}
