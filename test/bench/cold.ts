/*
 * npm run bench:cold: what a cold start costs. For each bundle its size, and the time and memory
 * that a fresh process needs to load it. Printed, not asserted: test/bundles.test.ts keeps the
 * sizes.
 */

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { bundleEntry, existingEntries } from "../../scripts/bundle.ts";

const RUNS = 15;

// What a platform does at a cold start, measured from inside: the start of Node itself is not ours.
const PROBE = `
const start = process.hrtime.bigint();
require(process.argv[1]);
const ms = Number(process.hrtime.bigint() - start) / 1e6;
process.stdout.write(JSON.stringify({ ms, rss: process.memoryUsage.rss() / 1e6 }));
process.exit(0);
`;

function load(file: string): { readonly ms: number; readonly rss: number } {
  const run = spawnSync(process.execPath, ["-e", PROBE, file], { encoding: "utf8" });
  if (run.status !== 0) throw new Error(`Cannot load ${file}: ${run.stderr}`);
  return JSON.parse(run.stdout);
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

const directory = mkdtempSync(join(tmpdir(), "kube-allowlist-cold-"));
process.stdout.write(`Node ${process.versions.node}, median of ${RUNS} fresh processes\n`);
try {
  // The command runs what it is told as soon as it is loaded, and the forwarder likewise.
  for (const name of existingEntries().filter((each) => !["cli", "forwarder"].includes(each))) {
    const { bytes } = await bundleEntry(name, directory);
    const file = join(directory, `${name}.cjs`);
    const gzipped = gzipSync(readFileSync(file)).length;
    const runs = Array.from({ length: RUNS }, () => load(file));
    const ms = median(runs.map((run) => run.ms)).toFixed(1);
    const rss = median(runs.map((run) => run.rss)).toFixed(0);
    process.stdout.write(
      `${name.padEnd(10)} ${bytes.toLocaleString("en").padStart(10)} bytes  ` +
        `${gzipped.toLocaleString("en").padStart(9)} gzipped  ${ms.padStart(6)} ms  ` +
        `${rss.padStart(4)} MB\n`,
    );
  }
} finally {
  rmSync(directory, { recursive: true });
}
