import { dirname } from "node:path";
import { type BuildOptions, build, type Plugin } from "esbuild";

const CLOUD_FILE = /[\\/]lib[\\/]clouds[\\/][a-z-]+\.ts$/;

/**
 * Bundles each vendor's file on its own before it becomes part of the whole. The registry imports
 * these files dynamically, and esbuild keeps all of what is imported so, and all that it imports in
 * turn: with EC2 that is three times as much as is used. `added` is told the inputs.
 */
export function cloudsPlugin(
  options: BuildOptions,
  added: (inputs: readonly string[]) => void,
): Plugin {
  return {
    name: "clouds",
    setup(outer) {
      outer.onLoad({ filter: CLOUD_FILE }, async ({ path }) => {
        const result = await build({
          ...options,
          entryPoints: [path],
          format: "esm",
          // The whole is minified once, at the end.
          minify: false,
          metafile: true,
          write: false,
          plugins: [...(options.plugins ?? []), ownFilesOutside],
        });
        added(Object.keys(result.metafile.inputs));
        const contents = result.outputFiles[0]?.text ?? "";
        return { contents, loader: "js", resolveDir: dirname(path), warnings: result.warnings };
      });
    },
  };
}

// Our own files stay imports, to be resolved by the whole: an error class must not exist twice.
const ownFilesOutside: Plugin = {
  name: "own-files-outside",
  setup(build) {
    build.onResolve({ filter: /^\.\.?\// }, ({ path, importer }) =>
      CLOUD_FILE.test(importer) ? { path, external: true } : undefined,
    );
  },
};
