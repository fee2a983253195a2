import { basename, dirname, join, resolve } from "node:path";
import { type BuildOptions, build, type Plugin } from "esbuild";

const CLOUD_FILE = /[\\/]lib[\\/]clouds[\\/]([a-z-]+)\.ts$/;
/** Below a vendor's folder. */
const OWN_FILE = /[\\/]lib[\\/]clouds[\\/][a-z-]+[\\/]/;
const CLOUDS = /[\\/]lib[\\/]clouds[\\/]/;
/** Files of `lib/clouds` that vendors share: they are nobody's, and are always there. */
export const SHARED: readonly string[] = [
  "bucket",
  "bucket-call",
  "error",
  "partitions",
  "rest",
  "session-name",
  "signature",
  "xml",
];
// What every bundle carries in any case must not come once more with each vendor.
const CARRIED = ["zod"];
const BUNDLED = "bundled-cloud";

/**
 * Bundles each vendor's file, with its folder, on its own before it becomes part of the whole. The
 * registry imports these files dynamically, and esbuild keeps all of what is imported so, and all
 * that it imports in turn: with EC2 that is three times as much as is used. What a vendor's file
 * imports dynamically in its turn becomes a chunk of its own, shaken like the file itself; what
 * both need, as the SDK's core, is there once. `added` is told the inputs.
 */
export function cloudsPlugin(
  options: BuildOptions,
  added: (inputs: readonly string[]) => void,
): Plugin {
  return {
    name: "clouds",
    setup(outer) {
      const texts = new Map<string, { readonly contents: string; readonly resolveDir: string }>();
      const plugins = [
        ...innerPlugins(options.plugins ?? [], outer.initialOptions.plugins ?? []),
        sharedFilesOutside,
      ];
      outer.onLoad({ filter: CLOUD_FILE }, async ({ path }) => {
        const vendor = CLOUD_FILE.exec(path)?.[1] ?? "";
        if (SHARED.includes(vendor)) return undefined;
        const resolveDir = dirname(path);
        const result = await build({
          ...options,
          entryPoints: [path],
          format: "esm",
          splitting: true,
          outdir: resolveDir,
          entryNames: `${BUNDLED}-[name]`,
          chunkNames: `${BUNDLED}-${vendor}-[hash]`,
          // The whole is minified once, at the end.
          minify: false,
          metafile: true,
          write: false,
          plugins,
          external: CARRIED,
        });
        added(Object.keys(result.metafile.inputs));
        for (const { path: file, text } of result.outputFiles) {
          texts.set(basename(file), { contents: text, resolveDir });
        }
        const contents = `export * from "./${BUNDLED}-${vendor}.js";`;
        return { contents, loader: "js", resolveDir, warnings: result.warnings };
      });
      outer.onResolve({ filter: new RegExp(`^\\./${BUNDLED}-`) }, ({ path }) => {
        // By this name esbuild does not warn about the libraries' code, which it saw above already.
        return { path: `/node_modules/bundled/${basename(path)}`, namespace: BUNDLED };
      });
      outer.onLoad({ filter: /./, namespace: BUNDLED }, ({ path }) => ({
        ...texts.get(basename(path)),
        loader: "js",
      }));
    },
  };
}

/** Its own, and those of the whole: what is left out there must not come in here. */
function innerPlugins(own: readonly Plugin[], outer: readonly Plugin[]): readonly Plugin[] {
  const names = new Set(["clouds", ...own.map(({ name }) => name)]);
  return [...outer.filter(({ name }) => !names.has(name)), ...own];
}

// What other files of ours import as well stays an import, to be resolved by the whole: an error
// class must not exist twice.
const sharedFilesOutside: Plugin = {
  name: "shared-files-outside",
  setup(inner) {
    inner.onResolve({ filter: /^\.\.?\// }, ({ path, resolveDir }) => {
      if (!CLOUDS.test(join(resolveDir, "x"))) return undefined;
      const target = resolve(resolveDir, path);
      return OWN_FILE.test(target) ? undefined : { path: target, external: true };
    });
  },
};
