import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { ROOT } from "../scripts/bundle.ts";

/*
 * The launcher as it is installed: beside bundles, without sources. The bundle only says what home
 * it finds.
 */

const folder = mkdtempSync(join(tmpdir(), "kube-allowlist-launcher-"));
const launcher = join(folder, "cli/kube-allowlist.cjs");
/** A number that no system gives a name. */
const NAMELESS = 54_321;
const isRoot = process.getuid?.() === 0;

before(() => {
  mkdirSync(join(folder, "cli"));
  mkdirSync(join(folder, "dist"));
  cpSync(join(ROOT, "cli/kube-allowlist.cjs"), launcher);
  const told = 'process.stdout.write(require("node:os").homedir());';
  writeFileSync(join(folder, "dist/cli.cjs"), told);
  const none =
    'require("node:os").homedir = () => { if (process.env.HOME) return process.env.HOME;';
  writeFileSync(join(folder, "none.cjs"), `${none} throw new Error("ENOENT"); };`);
  chmodSync(folder, 0o755);
});
after(() => rmSync(folder, { recursive: true }));

test("kube-allowlist has a home where the system knows none", () => {
  const args = ["--require", join(folder, "none.cjs"), launcher];
  const { stdout, stderr } = spawnSync(process.execPath, args, { env: {}, encoding: "utf8" });
  assert.deepEqual([stdout, stderr], ["/", ""]);
});

test("kube-allowlist leaves the home alone that it is given", () => {
  const env = { HOME: folder };
  const { stdout } = spawnSync(process.execPath, [launcher], { env, encoding: "utf8" });
  assert.equal(stdout, folder);
});

const skip = isRoot ? false : "only root can be somebody without a name";
test("kube-allowlist has a home where its user has no name", { skip }, (t) => {
  const as = { env: {}, encoding: "utf8", uid: NAMELESS, gid: NAMELESS, cwd: "/" } as const;
  const { stdout, stderr, error } = spawnSync(process.execPath, [launcher], as);
  if ((error as NodeJS.ErrnoException | undefined)?.code === "EACCES") {
    t.skip("Node lies where nobody but root may go");
    return;
  }
  assert.deepEqual([stdout, stderr, error], ["/", "", undefined]);
});
