import { existsSync } from "node:fs";
import { join } from "node:path";
import { type BuildOptions, build, type Plugin } from "esbuild";
import { awsSchemasPlugin } from "./aws-schemas-plugin.ts";
import { cloudsPlugin } from "./clouds-plugin.ts";
import { descriptionsPlugin } from "./descriptions-plugin.ts";
import { kubernetesPlugin } from "./kubernetes-plugin.ts";
import { popCorePlugin } from "./pop-core-plugin.ts";

/** The repository. */
export const ROOT = join(import.meta.dirname, "..");

/** What is bundled, by the name of the file it becomes in `dist`. */
export const ENTRIES: Readonly<Record<string, string>> = {
  cli: "cli/main.ts",
  forwarder: "cli/forwarder.ts",
  read: "functions/read.ts",
  resync: "functions/resync.ts",
  webhook: "functions/webhook.ts",
};

/** Names of the entries of `functions`. */
export const FUNCTIONS: readonly string[] = Object.keys(ENTRIES).filter((name) =>
  ENTRIES[name]?.startsWith("functions/"),
);

/** Names of the entries whose file is there, in ascending order. */
export function existingEntries(): readonly string[] {
  return Object.keys(ENTRIES)
    .filter((name) => existsSync(join(ROOT, ENTRIES[name] ?? "")))
    .toSorted();
}

/** What became of one entry. */
export interface Bundle {
  /** Of the finished file. */
  readonly bytes: number;
  /** Every file that went into it, relative to the repository, in ascending order. */
  readonly inputs: readonly string[];
}

const NAMESPACE = /^[a-z-]+:/;

/** How everything is bundled. */
export const BUNDLING = {
  absWorkingDir: ROOT,
  bundle: true,
  platform: "node",
  target: "node20",
  // The SDKs' ES modules: only of these can unused parts be dropped.
  mainFields: ["module", "main"],
  minify: true,
  legalComments: "none",
  logLevel: "silent",
  define: { "import.meta.dirname": "__dirname", "import.meta.filename": "__filename" },
} satisfies BuildOptions;

export interface BundleOptions {
  readonly plugins?: readonly Plugin[];
}

/**
 * Bundles one entry into `<directory>/<name>.cjs`, with everything it needs: it runs on Node 20
 * without `node_modules`. Same sources, same bytes. CommonJS, because an ESM bundle that imports
 * node:http loads all of Node's fetch at start. Rejects on any warning too.
 */
export async function bundleEntry(
  name: string,
  directory: string,
  options: BundleOptions = {},
): Promise<Bundle> {
  const entry = ENTRIES[name];
  if (entry === undefined) throw new Error(`Cannot bundle "${name}": it is not an entry`);
  return bundleFile(entry, join(directory, `${name}.cjs`), options);
}

/** {@link bundleEntry} of any file. */
export async function bundleFile(
  entry: string,
  outfile: string,
  options: BundleOptions = {},
): Promise<Bundle> {
  const inputs = new Set<string>();
  const add = (paths: readonly string[]) => {
    for (const path of paths) inputs.add(path);
  };
  const inner = { ...BUNDLING, plugins: [awsSchemasPlugin()] };
  const result = await build({
    ...BUNDLING,
    entryPoints: [entry],
    outfile,
    format: "cjs",
    metafile: true,
    plugins: [
      ...(options.plugins ?? []),
      cloudsPlugin(inner, add),
      kubernetesPlugin(),
      popCorePlugin(),
      descriptionsPlugin(),
      awsSchemasPlugin(),
    ],
  });
  if (result.warnings.length > 0) {
    const warnings = result.warnings.map(({ text, location }) => `${location?.file}: ${text}`);
    throw new Error(`Cannot bundle ${entry} without warnings: ${warnings.join("; ")}`);
  }
  // Files that the plugin made up hold what it has named already.
  add(Object.keys(result.metafile.inputs).filter((path) => !NAMESPACE.test(path)));
  const bytes = Object.values(result.metafile.outputs).reduce((sum, { bytes }) => sum + bytes, 0);
  return { bytes, inputs: [...inputs].toSorted() };
}
