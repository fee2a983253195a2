import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { ROOT } from "../../scripts/bundle.ts";
import { assetPath, CHECKOV, skipWithout, TERRAFORM_CHECK } from "./assets.ts";
import { temporaryFolder } from "./child.ts";
import { type Change, changedModule } from "./terraform.ts";

/*
 * The Terraform module of AWS through fmt, validate and its tests, which compare it with what
 * serverless.yml says, and through checkov. All of it is offline, with names and types of the
 * provider only.
 */

const MODULE = join(ROOT, "infra/terraform/aws");
const SCHEMA = `hashicorp/aws=${join(ROOT, "test/fixtures/terraform/aws.schema.json")}`;
const EXAMPLES = ["complete", "minimal"];
const TEST_FILES = ["module", "refusals", "serverless"];
const PROGRAM_MS = 300_000;
const TIMEOUT_MS = PROGRAM_MS + 10_000;
// checkov repeats every resource for each of its checks.
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;

function run(program: string, args: readonly string[]) {
  const limits = {
    timeout: PROGRAM_MS,
    killSignal: "SIGKILL",
    maxBuffer: OUTPUT_BYTES_MAX,
  } as const;
  return spawnSync(program, args, { encoding: "utf8", ...limits });
}

function check(module: string) {
  return run(assetPath(TERRAFORM_CHECK), [module, SCHEMA]);
}

test("the Terraform module is formatted, valid, and the same as serverless.yml", {
  skip: skipWithout(TERRAFORM_CHECK),
  timeout: TIMEOUT_MS,
}, () => {
  const checked = check(MODULE);
  assert.equal(checked.status, 0, checked.stdout + checked.stderr);
  assert.match(checked.stdout, /Success! \d+ passed, 0 failed\./);
  for (const file of TEST_FILES) {
    assert(checked.stdout.includes(`tests/${file}.tftest.hcl... pass`), file);
  }
});

/** Each takes a promise away, by the name of the run that must notice. */
const BROKEN: Readonly<Record<string, Change>> = {
  each_function_has_a_url: ["entry.tf", "_via_function_url = true", "_via_function_url = false"],
  roles_of_other_accounts_are_described: ["outputs.tf", "jsonencode(each.trust)", '"{}"'],
  an_archive_that_is_not_the_packaged_one: ["main.tf", "length(local.changed) == 0", "true"],
  a_package_for_another_account: [
    "main.tf",
    "length(local.strangers) == 0",
    "length(local.strangers) >= 0",
  ],
  a_package_for_another_account_with_its_store_in_a_third: [
    "main.tf",
    "setsubtract(local.trusted, values(local.own_arns))",
    "toset([])",
  ],
  a_configuration_that_nobody_vouches_for: [
    "main.tf",
    '["iam.json", "webhook/allowlist.json"]',
    '["iam.json"]',
  ],
  a_secret_with_nothing_in_a_member: [
    "main.tf",
    "try(length(tostring(local.values[name])) > 0, false)",
    'lookup(local.values, name, "") != ""',
  ],
  the_schedule_is_that_of_serverless_yml: ["schedule.tf", "rate(1 minute)", "rate(5 minutes)"],
  the_bucket_is_that_of_serverless_yml: [
    "store.tf",
    "expired_object_delete_marker = true",
    "days = 30",
  ],
  the_alarms_of_urls_are_those_of_serverless_yml: ["alarms.tf", "periods = 15", "periods = 10"],
};

for (const [name, change] of Object.entries(BROKEN)) {
  test(`the Terraform module's run ${name} notices what it is for`, {
    skip: skipWithout(TERRAFORM_CHECK),
    timeout: TIMEOUT_MS,
  }, () => {
    const { status, stdout, stderr } = check(changedModule(MODULE, name, change));
    assert.notEqual(status, 0);
    assert(stdout.includes(`run "${name}"... fail`), stdout + stderr);
  });
}

test("the Terraform module's examples are valid", {
  skip: skipWithout(TERRAFORM_CHECK),
  timeout: TIMEOUT_MS,
}, () => {
  // Side by side, as the check copies a module with its neighbours.
  const folder = temporaryFolder("terraform");
  cpSync(MODULE, join(folder, "aws"), { recursive: true });
  for (const example of EXAMPLES) {
    const copy = join(folder, example);
    cpSync(join(MODULE, "examples", example), copy, { recursive: true });
    const text = readFileSync(join(copy, "main.tf"), "utf8");
    assert(text.includes('source = "../.."'));
    writeFileSync(join(copy, "main.tf"), text.replace('source = "../.."', 'source = "../aws"'));
    const checked = check(copy);
    assert.equal(checked.status, 0, checked.stdout + checked.stderr);
  }
});

/** Ids of the checks that fail in the module's own files, and how many passed. */
function checkov(rewrite: (text: string) => string) {
  const folder = join(temporaryFolder("terraform"), "checkov");
  mkdirSync(folder);
  for (const file of readdirSync(MODULE).filter((one) => one.endsWith(".tf"))) {
    writeFileSync(join(folder, file), rewrite(readFileSync(join(MODULE, file), "utf8")));
  }
  const quiet = ["--skip-download", "--soft-fail", "--compact", "--output", "json"];
  const what = ["--framework", "terraform", "--directory", folder];
  const { stdout, stderr } = run(assetPath(CHECKOV), [...quiet, ...what]);
  const { summary, results } = JSON.parse(stdout || `{"error":${JSON.stringify(stderr)}}`);
  assert.equal(summary?.parsing_errors, 0, stderr);
  const failed: readonly { readonly check_id: string }[] = results.failed_checks;
  return {
    failed: [...new Set(failed.map((one) => one.check_id))].toSorted(),
    passed: Number(summary.passed),
  };
}

test("checkov finds nothing in the Terraform module that is not waived, and every waiver is " +
  "needed", {
  skip: skipWithout(CHECKOV),
  timeout: TIMEOUT_MS,
}, () => {
  const waived = new Set<string>();
  const { failed, passed } = checkov((text) => {
    for (const [, id = ""] of text.matchAll(/#checkov:skip=([A-Z0-9_]+):/g)) waived.add(id);
    return text;
  });
  assert.deepEqual(failed, []);
  assert(passed > 80, `${passed} checks passed`);
  const bare = checkov((text) => text.replaceAll(/^ *#checkov:skip=.*\n/gm, ""));
  assert.deepEqual(bare.failed, [...waived].toSorted());
});
