import { existsSync, readdirSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import type { Plugin } from "esbuild";
import type { Config } from "../lib/config.ts";
import type { Source } from "../lib/core/list.ts";
import { type FunctionName, vendorOf } from "../lib/roles/needs.ts";
import { leftOutMessage } from "../lib/targets/left-out.ts";
import { kinds } from "../lib/targets/registry.ts";
import { ROOT } from "./bundle.ts";
import { SHARED } from "./clouds-plugin.ts";

/*
 * What a function never reaches with its configuration, and what stands in its place: a sentence.
 */

/** What a vendor's file loads for these kinds of targets only, as an SDK of its own. */
const PARTS: Readonly<Record<string, readonly string[]>> = { "aws/waf": ["aws/waf-ip-set"] };

/** A store's own file, and that of the vendor who is asked for keys where there are none. */
const VENDORS_BY_STORE: Readonly<Record<string, readonly string[]>> = {
  s3: ["s3", "aws"],
  oss: ["oss", "alibaba"],
};

/** Stores of one machine, by what their files export. Those of vendors are among the clouds. */
const STORES = { file: "fileStore", memory: "memoryStore" } as const;

/** What the webhook leaves to the resync, asking sources and trimming logs; by what is exported. */
const LEFT_TO_RESYNC: Readonly<Record<string, string>> = {
  "functions/trim.ts": "trimmer",
  "lib/clouds/alibaba/vswitches.ts": "vSwitchClient",
  "lib/clouds/aws/subnets.ts": "subnetClient",
  "lib/refresh.ts": "refreshSources",
  "lib/sources/dns.ts": "dnsClient",
  "lib/sources/reader.ts": "sourceReader",
};

/** Source in the place of what is left out, by the path of its file in the repository. */
type Substitutes = ReadonlyMap<string, string>;

/** Leaves out of a function's bundle what it never reaches with this configuration. */
export function leaveOutUnused(config: Config, name: FunctionName): Plugin {
  const substitutes: Substitutes = new Map([
    ...unusedClouds(config, name),
    ...unusedKinds(config),
    ...unusedStores(config),
    ...(name === "webhook" ? leftToResync() : []),
  ]);
  return {
    name: "leave-out",
    setup(build) {
      for (const [file, contents] of substitutes) {
        // A file that was renamed would come along unnoticed.
        if (!existsSync(join(ROOT, file)))
          throw new Error(`Cannot leave out ${file}: no such file`);
        const path = file.replaceAll("/", String.raw`[\\/]`).replaceAll(".", String.raw`\.`);
        const filter = new RegExp(String.raw`[\\/]${path}$`);
        build.onLoad({ filter }, (found) => ({
          contents,
          loader: "js",
          resolveDir: dirname(found.path),
        }));
      }
    },
  };
}

function unusedClouds({ lists, store }: Config, name: FunctionName): Substitutes {
  // Who only reads the store makes no target, and who is called by clusters asks no source.
  const reached = name === "read" ? [] : lists;
  const asked = name === "resync" ? lists : [];
  const named = reached.flatMap((list) => list.targets.map((target) => target.kind));
  const sources = asked.flatMap((list) => list.sources.flatMap(vendorsOf));
  const stores = VENDORS_BY_STORE[store.kind] ?? [];
  const used = new Set([
    ...SHARED,
    ...named.map((kind) => vendorOf({ kind })),
    ...sources,
    ...stores,
  ]);
  const vendors = readdirSync(join(ROOT, "lib/clouds"), { withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => basename(entry.name, ".ts"));
  const parts = Object.entries(PARTS).filter(
    ([, users]) => !named.some((kind) => users.includes(kind)),
  );
  const unused = [...vendors.filter((vendor) => !used.has(vendor)), ...parts.map(([part]) => part)];
  // These are imported when they are needed, and then say so.
  return new Map(
    unused.map((cloud) => [
      `lib/clouds/${cloud}.ts`,
      `throw new Error(${JSON.stringify(leftOutMessage(cloud))});`,
    ]),
  );
}

/** Kinds of vendors that no list names: the configuration's parser says that they are missing. */
function unusedKinds({ lists }: Config): Substitutes {
  const used = new Set(lists.flatMap((list) => list.targets.map(vendorOf)));
  const unused = new Set(
    Object.keys(kinds)
      .map((kind) => vendorOf({ kind }))
      .filter((vendor) => !used.has(vendor)),
  );
  return new Map(
    [...unused].map((vendor) => {
      const names = Object.keys(kinds).filter((kind) => vendorOf({ kind }) === vendor);
      const contents =
        'import { leftOut } from "../left-out.ts";' +
        `export const ${vendor}Kinds = leftOut(${JSON.stringify(names)});`;
      return [`lib/targets/${vendor}/kinds.ts`, contents];
    }),
  );
}

function unusedStores({ store }: Config): Substitutes {
  return new Map(
    Object.entries(STORES)
      .filter(([kind]) => kind !== store.kind)
      .map(([kind, name]) => [
        `lib/stores/${kind}.ts`,
        refusing(name, leftOutMessage(`a store of kind "${kind}"`)),
      ]),
  );
}

function leftToResync(): Substitutes {
  return new Map(
    Object.entries(LEFT_TO_RESYNC).map(([file, name]) => [
      file,
      refusing(name, "Cannot do this here: only a resync does"),
    ]),
  );
}

function refusing(name: string, message: string): string {
  return `export function ${name}() { throw new Error(${JSON.stringify(message)}); }`;
}

/** Whose subnets a source asks for. */
function vendorsOf(source: Source): readonly string[] {
  return source.kind === "subnets" ? source.subnets.map(({ vendor }) => vendor) : [];
}
