import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { parseYamlConfig } from "../lib/config/yaml.ts";
import { referencesOf } from "../lib/roles/references.ts";
import { ROOT } from "../scripts/bundle.ts";
import { serverlessSettings } from "../scripts/serverless-settings.ts";
import { arePackages, isRendered } from "./rendered.ts";
import type { Node } from "./serverless.ts";
import { renderModuleReadme } from "./terraform-docs.ts";
import { ENTRIES, expectedOf } from "./terraform-expected.ts";
import { packagedConfig, terraformPackages } from "./terraform-packages.ts";

/*
 * The Terraform module of AWS against serverless.yml and the code: what can be seen without a
 * program that evaluates it. Its own tests, which the end-to-end tests run, compare the rest with
 * tests/serverless.json. KUBE_ALLOWLIST_WRITE_FIXTURES=1 writes what is rendered here.
 */

const MODULE = join(ROOT, "infra/terraform/aws");
const TESTS = join(MODULE, "tests");
const PAGE = join(ROOT, "docs/deploy-aws.md");
const EXAMPLES = ["complete", "minimal"];

const settings = serverlessSettings(packagedConfig().config, {}) ?? {};
const stacks = Object.fromEntries(
  ENTRIES.map((entry) => [entry, expectedOf(settings, entry)]),
) as Readonly<Record<(typeof ENTRIES)[number], Node>>;

function read(file: string): string {
  return readFileSync(join(MODULE, file), "utf8");
}

/** Objects on a line of their own, as `alarms` and `functions` are written, by name. */
function objectsIn(file: string): ReadonlyMap<string, Node> {
  const lines = read(file).matchAll(/^ +([a-z-]+) += (\{ .* \})$/gm);
  return new Map(
    [...lines].flatMap(([, name = "", text = ""]) => {
      const json = text.replaceAll(/([{,] )([a-z_]+) = /g, '$1"$2": ');
      try {
        return [[name, JSON.parse(json)] as const];
      } catch {
        return [];
      }
    }),
  );
}

test("the Terraform module's alarms have the names, metrics and bounds of serverless.yml", () => {
  const alarms = objectsIn("alarms.tf");
  const expected = Object.assign({}, ...ENTRIES.map((entry) => stacks[entry].alarms));
  const names = [...alarms.keys()].map((name) => `kube-allowlist-acme-${name}`);
  assert.deepEqual(names.toSorted(), Object.keys(expected).toSorted());
  for (const [name, own] of alarms) {
    const { Dimensions, ...theirs } = expected[`kube-allowlist-acme-${name}`];
    const statistic =
      own.percentile === undefined
        ? { Statistic: own.statistic ?? "Sum" }
        : { ExtendedStatistic: own.percentile };
    const datapoints = own.datapoints === undefined ? {} : { DatapointsToAlarm: own.datapoints };
    const said = {
      AlarmDescription: own.about,
      Namespace: own.namespace ?? "AWS/Lambda",
      MetricName: own.metric,
      ...statistic,
      ...datapoints,
      Period: own.period_s ?? 60,
      EvaluationPeriods: own.periods,
      Threshold: own.threshold ?? 0,
      ComparisonOperator: own.comparison ?? "GreaterThanThreshold",
      TreatMissingData: own.missing ?? "notBreaching",
    };
    assert.deepEqual(said, theirs, name);
    if (own.function === undefined) continue;
    assert.deepEqual(Dimensions, { FunctionName: `kube-allowlist-acme-${own.function}` });
  }
});

test("the Terraform module's functions have the time and the memory of serverless.yml", () => {
  const functions = [...objectsIn("main.tf")].filter(([, own]) => "timeout_s" in own);
  const expected = stacks.http.functions as Readonly<Record<string, Node>>;
  assert.deepEqual(functions.map(([name]) => name).toSorted(), Object.keys(expected).toSorted());
  for (const [name, own] of functions) {
    const { description, timeout, memory } = expected[name] ?? {};
    assert.deepEqual(own, { description, timeout_s: timeout, memory_mb: memory }, name);
  }
  const [one] = Object.values(expected);
  assert(read("main.tf").includes(`= "${one?.runtime}"`));
  assert(read("variables.tf").includes(`default     = ${stacks.http.retention}\n`));
});

test("the Terraform module is compared with serverless.yml as it is now", () => {
  isRendered(join(TESTS, "serverless.json"), `${JSON.stringify(stacks, null, 2)}\n`);
});

test("the Terraform module is tested with packages as npm run package writes them", () => {
  arePackages(MODULE, terraformPackages());
});

test("the Terraform module's README names its inputs and outputs as they are", () => {
  isRendered(join(MODULE, "README.md"), renderModuleReadme(MODULE));
});

/** What is said of each variable, by name. */
function variables(): readonly (readonly [string, string])[] {
  const blocks = read("variables.tf")
    .split(/^variable /m)
    .slice(1);
  return blocks.map((block) => [/^"([a-z_]+)"/.exec(block)?.[1] ?? "", block]);
}

test("the Terraform module is tested to refuse a wrong value of every variable that has one", () => {
  const refusals = read("tests/refusals.tftest.hcl");
  for (const [name, block] of variables()) {
    assert.match(block, /^ {2}description = "[^"]/m, name);
    assert.match(block, /^ {2}type +=/m, name);
    if (!block.includes("validation {")) continue;
    assert(refusals.includes(`expect_failures = [var.${name}]`), name);
  }
  // Everything else that has one is a choice of two, or words for people.
  const unchecked = variables().filter(([, block]) => !block.includes("validation {"));
  assert.deepEqual(
    unchecked.map(([name]) => name),
    ["create_bucket"],
  );
});

test("the Terraform module keeps secrets out of what is shown, and the bucket where it is", () => {
  const [, environment = ""] = variables().find(([name]) => name === "environment") ?? [];
  assert.match(environment, /^ {2}sensitive +=? true$/m);
  assert(!/(local\.(values|secret)|var\.environment)\b/.test(read("outputs.tf")));
  const [, bucket = ""] = read("store.tf").split('resource "aws_s3_bucket" "store" {');
  assert.match(bucket.split("\n}\n")[0] ?? "", /^ {4}prevent_destroy = true$/m);
});

test("the Terraform module's README explains every waiver, and waives nothing else", () => {
  const files = readdirSync(MODULE).filter((file) => file.endsWith(".tf"));
  const waived = files.flatMap((file) => [...read(file).matchAll(/#checkov:skip=([A-Z0-9_]+):./g)]);
  const explained = read("README.md").match(/CKV2?_AWS_[0-9]+/g) ?? [];
  assert.deepEqual(
    [...new Set(explained)].toSorted(),
    [...new Set(waived.map(([, id]) => id))].toSorted(),
  );
});

test("the Terraform module's examples are of this version of the configuration", () => {
  for (const example of EXAMPLES) {
    const folder = `examples/${example}`;
    const reading = parseYamlConfig(read(`${folder}/allowlist.yaml`));
    assert(reading.kind === "parsed", JSON.stringify(reading));
    const references = Object.values(referencesOf(reading.config, "aws")).flat();
    const main = read(`${folder}/main.tf`);
    assert(main.includes(`--config infra/terraform/aws/${folder}/allowlist.yaml`));
    assert.equal(references.length > 0, /^ +(secret|environment) +=/m.test(main), example);
  }
});

test("docs/deploy-aws.md shows the way with Terraform, and says that nobody went it", () => {
  const page = readFileSync(PAGE, "utf8");
  const [, section = ""] = page.split("## With Terraform\n");
  assert(section.includes("../infra/terraform/aws/README.md"));
  assert.match(section.split("\n## ")[0] ?? "", /never applied/);
  for (const name of ["package_folder", "secret", "entry", "create_bucket", "alarm_topic_arn"]) {
    assert(section.includes(`\`${name}\``) || section.includes(`${name} `), name);
  }
});
