/*
 * npm run package -- [--config allowlist.yaml] [--out dist/package]: one folder a function, ready
 * to be zipped, with its bundle and the configuration as JSON. Clouds that the configuration does
 * not name are left out.
 */

import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import type { Plugin } from "esbuild";
import { parse } from "yaml";
import { parseYamlConfig } from "../lib/config/yaml.ts";
import type { Config } from "../lib/config.ts";
import { bundleEntry, existingEntries, FUNCTIONS, ROOT } from "./bundle.ts";

/** The vendors in `lib/clouds` that no target of the configuration needs. */
function unusedClouds(config: Config): readonly string[] {
  const used = config.lists.flatMap((list) => list.targets.map((target) => vendorOf(target.kind)));
  return readdirSync(join(ROOT, "lib/clouds"))
    .map((file) => basename(file, ".ts"))
    .filter((vendor) => !used.includes(vendor));
}

function vendorOf(kind: string): string {
  return kind.split("/")[0] ?? kind;
}

function leaveOut(vendors: readonly string[]): Plugin {
  return {
    name: "leave-out-clouds",
    setup(build) {
      for (const vendor of vendors) {
        const filter = new RegExp(String.raw`[\\/]lib[\\/]clouds[\\/]${vendor}\.ts$`);
        const message =
          `Cannot use ${vendor}: these functions were packaged without it; run "npm run ` +
          `package" with the new configuration`;
        build.onLoad({ filter }, () => ({
          contents: `throw new Error(${JSON.stringify(message)});`,
          loader: "js",
        }));
      }
    },
  };
}

const { values } = parseArgs({
  options: {
    config: { type: "string", default: "allowlist.yaml" },
    out: { type: "string", default: join(ROOT, "dist/package") },
  },
});
const text = readFileSync(resolve(values.config), "utf8");
const reading = parseYamlConfig(text);
if (reading.kind === "invalid") {
  for (const { path, message } of reading.problems) {
    process.stderr.write(`${values.config}: ${path === "" ? "" : `${path}: `}${message}\n`);
  }
  process.exit(2);
}
const plugins = [leaveOut(unusedClouds(reading.config))];
const entries = existingEntries();
for (const name of FUNCTIONS.filter((each) => entries.includes(each))) {
  const directory = join(resolve(values.out), name);
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  await bundleEntry(name, directory, { plugins });
  writeFileSync(join(directory, "allowlist.json"), `${JSON.stringify(parse(text), null, 2)}\n`);
  process.stdout.write(`${directory}\n`);
}
