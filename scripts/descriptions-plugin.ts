import { readFile } from "node:fs/promises";
import type { Plugin } from "esbuild";

const STRING = String.raw`(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')`;
const DESCRIPTION = new RegExp(
  String.raw`z\.describe\(\s*${STRING}(?:\s*\+\s*${STRING})*,?\s*\),?`,
  "g",
);
const EMPTY_CHECK = /\s*\.check\(\s*\)/g;
const SHAPES = /[\\/]lib[\\/](config|sources|stores|targets)[\\/][a-z/\\-]+\.ts$/;

/** The source of shapes without what they say of themselves to editors; they parse the same. */
export function withoutDescriptions(source: string): string {
  return source.replace(DESCRIPTION, "").replace(EMPTY_CHECK, "");
}

/**
 * Leaves the descriptions of settings out of bundles: only `npm run schema` reads them. A call of
 * another form than this knows stays, and does no harm.
 */
export function descriptionsPlugin(): Plugin {
  return {
    name: "descriptions",
    setup(build) {
      build.onLoad({ filter: SHAPES }, async ({ path }) => {
        const source = await readFile(path, "utf8");
        const contents = withoutDescriptions(source);
        return contents === source ? undefined : { contents, loader: "ts" };
      });
    },
  };
}
