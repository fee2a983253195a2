import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { ROOT } from "../scripts/bundle.ts";

/*
 * Command lines of everything that `npm run` starts from scripts/: a mistake is one sentence and
 * exit code 2, and nothing is written.
 */

const SCRIPTS = ["build", "image", "lock", "manifests", "package", "schema", "versions"];
const TIMEOUT_MS = 60_000;

const folder = mkdtempSync(join(tmpdir(), "kube-allowlist-arguments-"));
after(() => rmSync(folder, { recursive: true }));

function run(script: string, ...args: readonly string[]) {
  const options = { cwd: folder, encoding: "utf8", timeout: TIMEOUT_MS } as const;
  return spawnSync(process.execPath, [join(ROOT, `scripts/${script}.ts`), ...args], options);
}

function refused(script: string, ...args: readonly string[]): string {
  const { status, stdout, stderr } = run(script, ...args);
  assert.deepEqual([status, stdout], [2, ""], `${script} ${args.join(" ")}: ${stderr}`);
  assert.match(stderr, /^Cannot [^\n]+\n$/);
  assert.deepEqual(readdirSync(folder), []);
  return stderr;
}

for (const script of SCRIPTS) {
  test(
    `npm run ${script} refuses a mistaken command line with one sentence, and tells its ` +
      "options",
    () => {
      for (const args of [["--confg", "x"], ["v0.1.0"]]) {
        const said = refused(script, ...args);
        assert(said.endsWith(`; "npm run ${script} -- --help" tells what it takes\n`), said);
        assert(said.includes(args[0] ?? ""), said);
      }
      const { status, stdout, stderr } = run(script, "--help");
      assert.deepEqual([status, stderr], [0, ""]);
      assert(stdout.startsWith(`npm run ${script}`) && !stdout.includes("\n\n"), stdout);
      assert.deepEqual(readdirSync(folder), []);
    },
  );
}

test(
  "npm run package names the configuration that it cannot read, and refuses a wrong " +
    "account at once",
  () => {
    const missing = join(folder, "nope.yaml");
    const says = `Cannot read the configuration ${missing}: ENOENT; write it, or name another one`;
    assert.equal(refused("package", "--config", missing), `${says} with --config\n`);
    assert.match(refused("package"), /Cannot read the configuration .*\/allowlist\.yaml: ENOENT; /);
    // With a good configuration: nothing of it may be written first.
    const config = join(ROOT, "infra/terraform/aws/examples/minimal/allowlist.yaml");
    const good = ["--config", config, "--out", join(folder, "out")];
    assert.match(refused("package", ...good, "--account", "12"), /--account: 12 digits for/);
    assert.match(refused("package", "--config"), /'--config <value>' argument missing/);
    // An unset variable would else name the current folder.
    assert.match(refused("package", "--out", ""), /--out is empty/);
  },
);

test("npm run image refuses what it would be no good to begin with", () => {
  assert.match(refused("image", "--platform", "linux/6502"), /write linux\/amd64 or linux\/arm64/);
  for (const out of [ROOT, dirname(ROOT), `${ROOT}/`]) {
    assert.match(refused("image", "--fetch", "--out", out), /this repository is in it/);
  }
});
