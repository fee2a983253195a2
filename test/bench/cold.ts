/*
 * npm run bench:cold: what a cold start costs. Each function, packaged for every kind of target of
 * one cloud: its size, and the time and memory that a fresh process needs to load it. Beside it the
 * same files, not bundled, with their types already stripped; and a module with nothing in it. The
 * SDK is loaded with the first target: "with SDK" counts that, too. All take turns, so that a
 * machine that gets slower meanwhile is not taken for a difference. Printed, not asserted:
 * test/bundles.test.ts keeps the sizes.
 */

import { spawnSync } from "node:child_process";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { transform } from "esbuild";
import { bundleFile, ENTRIES, FUNCTIONS, ROOT } from "../../scripts/bundle.ts";
import { leaveOutUnused } from "../../scripts/unused-parts.ts";
import { CLOUD_VENDORS, type CloudVendor, vendorConfig } from "../vendor-config.ts";

const RUNS = 15;

// What a platform does at a cold start, measured from inside: the start of Node itself is not ours.
const PROBE = `
const start = process.hrtime.bigint();
const tell = () => {
  const ms = Number(process.hrtime.bigint() - start) / 1e6;
  process.stdout.write(JSON.stringify({ ms, rss: process.memoryUsage.rss() / 1e6 }));
  process.exit(0);
};
const [file] = process.argv.slice(1);
if (file.endsWith(".cjs")) {
  const { sdk } = require(file);
  if (sdk === undefined) tell();
  else sdk().then(tell);
} else {
  import(file).then(({ sdk }) => sdk?.()).then(tell);
}
`;

interface Load {
  readonly ms: number;
  readonly rss: number;
}

interface Subject {
  readonly title: string;
  readonly file: string;
  /** The same, not bundled. */
  readonly control: string | null;
  readonly loads: Load[];
  readonly controlLoads: Load[];
}

function load(file: string): Load {
  const run = spawnSync(process.execPath, ["-e", PROBE, file], { encoding: "utf8" });
  if (run.status !== 0) throw new Error(`Cannot load ${file}: ${run.stderr}`);
  return JSON.parse(run.stdout);
}

const directory = mkdtempSync(join(tmpdir(), "kube-allowlist-cold-"));

/** Where the sources stand as JavaScript, beside the packages that they need. */
const plain = join(directory, "plain");

async function strip(): Promise<void> {
  const found = ["functions", "lib"].flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" }).map((path) =>
      join(folder, path),
    ),
  );
  for (const path of found.filter((each) => each.endsWith(".ts"))) {
    const source = readFileSync(join(ROOT, path), "utf8");
    const { code } = await transform(source, { loader: "ts", target: "node24" });
    const file = asScript(join(plain, path));
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, code.replaceAll(/(from |import\()"(\.[^"]+)\.ts"/g, '$1"$2.js"'));
  }
}

function asScript(path: string): string {
  return path.replace(/\.ts$/, ".js");
}

async function packaged(name: string, vendor: CloudVendor, withSdk: boolean): Promise<Subject> {
  const title = `${vendor} ${name}${withSdk ? " with SDK" : ""}`;
  const entry = ENTRIES[name] ?? "";
  const source = withSdk ? join(directory, `${vendor}-sdk.ts`) : entry;
  if (withSdk) writeFileSync(source, sdkEntry(ROOT, entry, vendor));
  const outfile = join(directory, `${title.replaceAll(" ", "-")}.cjs`);
  const plugins = [leaveOutUnused(vendorConfig(vendor), name as "webhook")];
  await bundleFile(source, outfile, { plugins });
  const control = join(plain, withSdk ? `${vendor}-sdk.js` : asScript(entry));
  if (withSdk) writeFileSync(control, sdkEntry(plain, entry, vendor).replaceAll(".ts", ".js"));
  return { title, file: outfile, control, loads: [], controlLoads: [] };
}

function sdkEntry(root: string, entry: string, vendor: CloudVendor): string {
  const handler = JSON.stringify(join(root, entry));
  const cloud = JSON.stringify(join(root, `lib/clouds/${vendor}.ts`));
  return `export { handler } from ${handler}; export const sdk = () => import(${cloud});`;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

const HEAD = ["bytes", "gzipped", "ms", "least", "MB", "| plain ms", "MB", "ratio"];

function row({ title, file, loads, controlLoads }: Subject): readonly string[] {
  const times = loads.map(({ ms }) => ms);
  const ms = median(times);
  const plainMs = median(controlLoads.map(({ ms }) => ms));
  const hasControl = controlLoads.length > 0;
  return [
    title,
    statSync(file).size.toLocaleString("en"),
    gzipSync(readFileSync(file)).length.toLocaleString("en"),
    ms.toFixed(1),
    Math.min(...times).toFixed(1),
    median(loads.map(({ rss }) => rss)).toFixed(0),
    hasControl ? plainMs.toFixed(1) : "",
    hasControl ? median(controlLoads.map(({ rss }) => rss)).toFixed(0) : "",
    hasControl ? (ms / plainMs).toFixed(2) : "",
  ];
}

async function subjects(): Promise<readonly Subject[]> {
  mkdirSync(plain);
  await strip();
  writeFileSync(join(plain, "package.json"), '{ "type": "module" }');
  symlinkSync(join(ROOT, "node_modules"), join(plain, "node_modules"));
  const nothing = join(directory, "nothing.cjs");
  writeFileSync(nothing, "");
  const found: Subject[] = [
    { title: "nothing", file: nothing, control: null, loads: [], controlLoads: [] },
  ];
  for (const vendor of CLOUD_VENDORS) {
    for (const name of FUNCTIONS) found.push(await packaged(name, vendor, false));
    found.push(await packaged("webhook", vendor, true));
  }
  return found;
}

try {
  const measured = await subjects();
  for (let run = -1; run < RUNS; run += 1) {
    for (const { file, control, loads, controlLoads } of measured) {
      const taken = load(file);
      const beside = control === null ? null : load(control);
      // The first time everything comes from the disk.
      if (run < 0) continue;
      loads.push(taken);
      if (beside !== null) controlLoads.push(beside);
    }
  }
  process.stdout.write(`Node ${process.versions.node}, median of ${RUNS} fresh processes\n`);
  for (const [title = "", ...columns] of [["", ...HEAD], ...measured.map(row)]) {
    const cells = columns.map((text) => text.padStart(10)).join("");
    process.stdout.write(`${title.padEnd(26)}${cells}\n`.replace(/ +\n/, "\n"));
  }
} finally {
  rmSync(directory, { recursive: true });
}
