import { readdirSync } from "node:fs";
import { basename, join } from "node:path";
import type { Plugin } from "esbuild";
import type { Config } from "../lib/config.ts";
import type { Source } from "../lib/core/list.ts";
import type { FunctionName } from "../lib/roles/needs.ts";
import { ROOT } from "./bundle.ts";
import { SHARED } from "./clouds-plugin.ts";

/** What a vendor's file loads for these kinds of targets only, as an SDK of its own. */
const PARTS: Readonly<Record<string, readonly string[]>> = { "aws/waf": ["aws/waf-ip-set"] };

/** A store's own file, and that of the vendor who is asked for keys where there are none. */
const VENDORS_BY_STORE: Readonly<Record<string, readonly string[]>> = {
  s3: ["s3", "aws"],
  oss: ["oss", "alibaba"],
};

/** Leaves out of a function's bundle the clouds that it never reaches with this configuration. */
export function leaveOutUnused(config: Config, name: FunctionName): Plugin {
  return leaveOut(unusedClouds(config, name));
}

/** Files below `lib/clouds`, without their ending, that the function does not need. */
function unusedClouds({ lists, store }: Config, name: FunctionName): readonly string[] {
  // Who only reads the store makes no target.
  const reached = name === "read" ? [] : lists;
  const kinds = reached.flatMap((list) => list.targets.map((target) => target.kind));
  const sources = reached.flatMap((list) => list.sources.flatMap(vendorsOf));
  const stores = VENDORS_BY_STORE[store.kind] ?? [];
  const used = new Set([...SHARED, ...kinds.map(vendorOf), ...sources, ...stores]);
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
