import { basename } from "node:path";
import type { Plugin } from "esbuild";

/** Files that a plugin made up, by what another build had put out. */
const MADE_UP = /^[a-z-]+:/;

/** What is really in bundles: others of their inputs were read, and dropped whole. */
export interface Contents {
  /** To be given to each of the builds. */
  readonly plugin: Plugin;
  /** Files of the repository that something is left of in a bundle, by its name, as `cli.cjs`. */
  of(bundle: string): readonly string[];
}

/**
 * Bundles are made of bundles: a cloud's files are bundled on their own before they become part of
 * the whole, which may then leave out some of that.
 */
export function watchContents(): Contents {
  const outputs = new Map<string, readonly string[]>();
  const plugin: Plugin = {
    name: "contents",
    setup(build) {
      build.onEnd(({ metafile }) => {
        for (const [output, { inputs }] of Object.entries(metafile?.outputs ?? {})) {
          const left = Object.entries(inputs).filter(([, { bytesInOutput }]) => bytesInOutput > 0);
          outputs.set(
            basename(output),
            left.map(([path]) => path),
          );
        }
      });
    },
  };
  const filesOf = (output: string): readonly string[] =>
    (outputs.get(output) ?? []).flatMap((path) =>
      MADE_UP.test(path) ? filesOf(basename(path)) : [path],
    );
  return { plugin, of: (bundle) => [...new Set(filesOf(bundle))].toSorted() };
}
