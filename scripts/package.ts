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
import type { Source } from "../lib/core/list.ts";
import { bundleEntry, existingEntries, FUNCTIONS, ROOT } from "./bundle.ts";

/** What a vendor's file loads for these kinds of targets only, as an SDK of its own. */
const PARTS: Readonly<Record<string, readonly string[]>> = { "aws/waf": ["aws/waf-ip-set"] };

/** Files below `lib/clouds`, without their ending, that nothing in the configuration needs. */
function unusedClouds({ lists }: Config): readonly string[] {
  const kinds = lists.flatMap((list) => list.targets.map((target) => target.kind));
  const sources = lists.flatMap((list) => list.sources.flatMap(vendorsOf));
  const used = new Set([...kinds.map(vendorOf), ...sources]);
  const vendors = readdirSync(join(ROOT, "lib/clouds"), { withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => basename(entry.name, ".ts"));
  const parts = Object.entries(PARTS).filter(
    ([, users]) => !kinds.some((kind) => users.includes(kind)),
  );
  return [...vendors.filter((vendor) => !used.has(vendor)), ...parts.map(([part]) => part)];
}

function vendorOf(kind: string): string {
  return kind.split("/")[0] ?? kind;
}

/** Whose subnets a source asks for. */
function vendorsOf(source: Source): readonly string[] {
  return source.kind === "subnets" ? source.subnets.map(({ vendor }) => vendor) : [];
}

function leaveOut(files: readonly string[]): Plugin {
  return {
    name: "leave-out-clouds",
    setup(build) {
      for (const file of files) {
        const path = file.replace("/", String.raw`[\\/]`);
        const filter = new RegExp(String.raw`[\\/]lib[\\/]clouds[\\/]${path}\.ts$`);
        const message =
          `Cannot use ${file}: these functions were packaged without it; run "npm run ` +
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
