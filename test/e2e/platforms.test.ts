import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { ROOT } from "../../scripts/bundle.ts";
import type { PlatformStage } from "../functions/platform-stage.ts";
import { platformSuite } from "../functions/platform-suite.ts";
import { temporaryFolder } from "./child.ts";

/*
 * The packaged functions with every platform's events, on each line of Node that a platform runs:
 * 20 on Function Compute, 22 and 24 on Lambda. The others than this repository's come from the
 * package registry.
 */

const NODES = ["20.20.2", "22.23.3"];
const FETCH_MS_MAX = 120_000;

/** The path of this release of Node, or why there is none. */
function fetchNode(version: string): { readonly path: string } | { readonly reason: string } {
  const script = process.env.npm_execpath;
  const [file, first] = script === undefined ? ["npm", []] : [process.execPath, [script]];
  const call = `node -p "process.version + ' ' + process.execPath"`;
  const args = [...first, "exec", "--yes", `--package=node@${version}`, "-c", call];
  const run = spawnSync(file, args, {
    cwd: temporaryFolder("node"),
    encoding: "utf8",
    timeout: FETCH_MS_MAX,
  });
  const [found, path] = run.stdout?.trim().split(" ") ?? [];
  if (found === `v${version}` && path !== undefined) return { path };
  return { reason: `Cannot fetch Node ${version} from the registry: ${run.stderr?.slice(-500)}` };
}

/** As `npm run package` does it. */
function packageFunctions({ folder, config }: PlatformStage): void {
  const file = join(folder, "allowlist.yaml");
  writeFileSync(file, config);
  mkdirSync(outOf(folder), { recursive: true });
  const script = join(ROOT, "scripts/package.ts");
  const args = [script, "--config", file, "--out", outOf(folder)];
  const run = spawnSync(process.execPath, args, { cwd: folder, encoding: "utf8" });
  assert.equal(run.status, 0, run.stderr);
}

const outOf = (folder: string) => join(folder, "package");

function bundledSuite(version: string, node: string): void {
  platformSuite({
    title: `the packaged functions on Node ${version}`,
    node,
    prepare: packageFunctions,
    fileOf: ({ folder }, name) => join(outOf(folder), name, `${name}.cjs`),
    configOf: ({ folder }, name) => join(outOf(folder), name, "allowlist.json"),
  });
}

bundledSuite(process.versions.node, process.execPath);
for (const version of NODES) {
  const found = fetchNode(version);
  if ("path" in found) bundledSuite(version, found.path);
  else test(`the packaged functions on Node ${version}`, { skip: found.reason }, () => undefined);
}
