import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import type { Plugin } from "esbuild";

const CLIENT = /[\\/]@aws-sdk[\\/](client-[a-z0-9-]+)[\\/]/;
const SCHEMA_FILE =
  /[\\/]@aws-sdk[\\/]client-[a-z0-9-]+[\\/]dist-es[\\/]schemas[\\/]schemas_[0-9]+\.js$/;
const CONSTANT = /^(?:export )?const (_[A-Za-z0-9_$]*) = ("(?:[^"\\]|\\.)*");$/gm;
const COMPUTED_KEY = /\[(_[A-Za-z0-9_$]*)\](?=\s*:)/g;

/**
 * The source of an AWS client's schemas with literal keys in the place of computed ones whose name
 * is a constant of the same file, and how many there were. Same meaning: but a literal key can be
 * seen to have no side effect, so that esbuild drops the shapes that nobody uses
 * (aws/aws-sdk-js-v3#7607).
 */
export function literalKeys(source: string): { readonly text: string; readonly replaced: number } {
  const constants = new Map<string, string>();
  for (const [, name, literal] of source.matchAll(CONSTANT)) {
    if (name === undefined || literal === undefined) continue;
    // A literal "__proto__" would set the prototype, which a computed one does not.
    assert(literal !== '"__proto__"', `Cannot write ${name} as a literal key: it is "__proto__"`);
    constants.set(name, literal);
  }
  let replaced = 0;
  const text = source.replace(COMPUTED_KEY, (whole, name: string) => {
    const literal = constants.get(name);
    if (literal === undefined) return whole;
    replaced += 1;
    return literal;
  });
  return { text, replaced };
}

/**
 * Shrinks bundles that hold an AWS client. Fails the build when there is a client and nothing was
 * rewritten: then the SDK's files have moved or changed, and the bundle would be more than twice as
 * big. Needs `mainFields: ["module", "main"]` and `metafile: true`.
 */
export function awsSchemasPlugin(): Plugin {
  return {
    name: "aws-schemas",
    setup(build) {
      let replaced = 0;
      build.onStart(() => {
        replaced = 0;
      });
      build.onLoad({ filter: SCHEMA_FILE }, async ({ path }) => {
        const rewritten = literalKeys(await readFile(path, "utf8"));
        replaced += rewritten.replaced;
        return { contents: rewritten.text, loader: "js" };
      });
      build.onEnd(({ metafile }) => {
        const paths = Object.keys(metafile?.inputs ?? {});
        const clients = [...new Set(paths.flatMap((path) => CLIENT.exec(`/${path}`)?.[1] ?? []))];
        if (clients.length === 0 || replaced > 0) return;
        const text =
          `Cannot shrink ${clients.join(", ")}: no computed key was rewritten; look for ` +
          "the SDK's schema files";
        return { errors: [{ text }] };
      });
    },
  };
}
