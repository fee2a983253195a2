import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { ROOT } from "../../scripts/bundle.ts";
import { assetPath, S_YAML_CHECK, skipWithout, TERRAFORM_CHECK } from "./assets.ts";
import { temporaryFolder } from "./child.ts";
import { type Change, changedModule } from "./terraform.ts";

/*
 * What is deployed on Alibaba Cloud, in front of the programs that read it: the file of Serverless
 * Devs against its component's schema, the Terraform module through fmt, validate and its tests.
 */

const S_YAML = join(ROOT, "infra/alibaba/s.yaml");
const MODULE = join(ROOT, "infra/terraform/alibaba");
const SCHEMA = `aliyun/alicloud=${join(ROOT, "test/fixtures/terraform/alicloud.schema.json")}`;
const PROGRAM_MS = 300_000;
const TIMEOUT_MS = PROGRAM_MS + 10_000;

function run(program: string, args: readonly string[]) {
  return spawnSync(program, args, { encoding: "utf8", timeout: PROGRAM_MS, killSignal: "SIGKILL" });
}

test("s.yaml is sound, and the check finds what is misspelt", {
  skip: skipWithout(S_YAML_CHECK),
  timeout: TIMEOUT_MS,
}, () => {
  const check = assetPath(S_YAML_CHECK);
  const sound = run(check, [S_YAML]);
  assert.equal(sound.status, 0, sound.stderr);
  const wrong = join(temporaryFolder("s-yaml"), "s.yaml");
  writeFileSync(wrong, readFileSync(S_YAML, "utf8").replace("instanceConcurrency", "concurrency"));
  assert.equal(run(check, [wrong]).status, 1);
});

test("the Terraform module is formatted, valid, and passes its tests", {
  skip: skipWithout(TERRAFORM_CHECK),
  timeout: TIMEOUT_MS,
}, () => {
  const checked = run(assetPath(TERRAFORM_CHECK), [MODULE, SCHEMA]);
  assert.equal(checked.status, 0, checked.stdout + checked.stderr);
  assert.match(checked.stdout, /Success! \d+ passed, 0 failed\./);
});

/** Each takes a promise away, by the name of the run that must notice. */
const BROKEN: Readonly<Record<string, Change>> = {
  an_archive_that_is_not_the_packaged_one: ["main.tf", "length(local.changed) == 0", "true"],
  a_configuration_that_nobody_vouches_for: ["main.tf", ', "webhook/allowlist.json"]', "]"],
  a_secret_with_nothing_in_it: [
    "main.tf",
    "try(length(var.environment[each.key][name]) > 0, false)",
    "can(var.environment[each.key][name])",
  ],
  a_right_to_write_on_everything_of_a_product: ["main.tf", "|acs:.*:\\\\*", ""],
};

for (const [name, change] of Object.entries(BROKEN)) {
  test(`the Terraform module's run ${name} notices what it is for`, {
    skip: skipWithout(TERRAFORM_CHECK),
    timeout: TIMEOUT_MS,
  }, () => {
    const module = changedModule(MODULE, name, change);
    const { status, stdout, stderr } = run(assetPath(TERRAFORM_CHECK), [module, SCHEMA]);
    assert.notEqual(status, 0);
    assert(stdout.includes(`run "${name}"... fail`), stdout + stderr);
  });
}

test("the Terraform module's example is valid", {
  skip: skipWithout(TERRAFORM_CHECK),
  timeout: TIMEOUT_MS,
}, () => {
  // Side by side, as the check copies a module with its neighbours.
  const folder = temporaryFolder("terraform");
  cpSync(MODULE, join(folder, "alibaba"), { recursive: true });
  cpSync(join(MODULE, "examples/complete"), join(folder, "example"), { recursive: true });
  const main = join(folder, "example/main.tf");
  const text = readFileSync(main, "utf8");
  assert(text.includes('source = "../.."'));
  writeFileSync(main, text.replace('source = "../.."', 'source = "../alibaba"'));
  const checked = run(assetPath(TERRAFORM_CHECK), [join(folder, "example"), SCHEMA]);
  assert.equal(checked.status, 0, checked.stdout + checked.stderr);
});
