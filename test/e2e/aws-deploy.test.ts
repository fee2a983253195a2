import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, test } from "node:test";
import {
  AuthorizeSecurityGroupIngressCommand,
  RevokeSecurityGroupIngressCommand,
} from "@aws-sdk/client-ec2";
import { FUNCTION_NAMES, type FunctionName } from "../../lib/roles/needs.ts";
import { ROOT } from "../../scripts/bundle.ts";
import { assetPath, CFN_LINT, CHECKOV, MOTO, OSLS, skipWithout } from "./assets.ts";
import { atEnd } from "./at-end.ts";
import { type AwsApi, openAwsApi, ruleIds } from "./aws-api.ts";
import { temporaryFolder } from "./child.ts";
import { startMoto } from "./moto.ts";

/*
 * serverless.yml as osls understands it: rendered without a network and with an empty environment,
 * checked by AWS's linter and by checkov, and deployed to a third-party AWS.
 */

const TEMPLATE = "cloudformation-template-update-stack.json";
const ENTRIES = ["http", "url"] as const;
const TIMEOUT_MS = 240_000;
const PROGRAM_MS = 120_000;
const ACCOUNT = "123456789012";
const RULE = { IpProtocol: "tcp", FromPort: 5432, ToPort: 5432 };

const skip = skipWithout(OSLS);
const folder = temporaryFolder("aws-deploy");

type Node = Readonly<Record<string, unknown>>;
interface Resource {
  readonly Type: string;
  readonly Properties: Node;
}

const CONFIG = (group: string) => `
version: 1
installation: acme
store: { kind: s3, bucket: acme-allowlist, region: eu-west-1 }
clusters:
  eu:
    auth: { signature: { keys: ["env:EU_KEY"] } }
    bounds: ["203.0.113.0/24"]
lists:
  payments:
    from: [{ cluster: eu, nodes: {}, addresses: [ExternalIP] }]
    removal: { policy: sync }
    targets:
      - kind: aws/security-group
        region: eu-west-1
        id: ${group}
        permission: { protocol: tcp, port: 5432 }
`;

/** Runs a program to its end, with exactly this environment. It is killed when it hangs. */
function finish(
  command: readonly [string, ...string[]],
  options: { readonly cwd: string; readonly env?: Readonly<Record<string, string>> },
) {
  const [program, ...args] = command;
  const env = { PATH: process.env.PATH ?? "", HOME: folder, ...options.env };
  const given = { cwd: options.cwd, env, encoding: "utf8", timeout: PROGRAM_MS } as const;
  const run = spawnSync(program, args, { ...given, killSignal: "SIGKILL" });
  return { status: run.status, output: `${run.stdout}${run.stderr}`, stdout: run.stdout };
}

/** What a clone holds after `npm run package`. */
function packaged(name: string, group: string): string {
  const clone = join(folder, name);
  cpSync(join(ROOT, "serverless.yml"), join(clone, "serverless.yml"));
  cpSync(join(ROOT, "infra/aws"), join(clone, "infra/aws"), { recursive: true });
  writeFileSync(join(clone, "allowlist.yaml"), CONFIG(group));
  const script = join(ROOT, "scripts/package.ts");
  const args = ["--config", "allowlist.yaml", "--out", "dist/package"];
  const run = finish([process.execPath, script, ...args], { cwd: clone });
  assert.equal(run.status, 0, run.output);
  return clone;
}

function osls(
  clone: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): void {
  const run = finish([process.execPath, assetPath(OSLS), ...args], { cwd: clone, env });
  assert.equal(run.status, 0, run.output);
}

const templates = new Map<string, string>();

before(() => {
  if (skip) return;
  const clone = packaged("rendered", "sg-0a1b2c3d4e5f60718");
  for (const entry of ENTRIES) {
    osls(clone, ["package", "--package", entry, "--param", `entry=${entry}`]);
    templates.set(entry, join(clone, entry, TEMPLATE));
  }
});

function templateOf(entry: string): string {
  return templates.get(entry) ?? "";
}

function resourcesOf(entry: string): Readonly<Record<string, Resource>> {
  return JSON.parse(readFileSync(templateOf(entry), "utf8")).Resources;
}

function ofType(entry: string, type: string): readonly Resource[] {
  return Object.values(resourcesOf(entry)).filter(({ Type }) => Type === type);
}

test("osls refuses choices that nobody can have meant, with the sentences of choices.cjs", {
  skip,
  timeout: TIMEOUT_MS,
}, () => {
  const clone = packaged("refused", "sg-0a1b2c3d4e5f60718");
  const choices = ["logLevel=verbose", "concurency=20"].flatMap((one) => ["--param", one]);
  const run = render(clone, [...choices, "--region", "us-east-1"]);
  assert.match(run.output, /Cannot deploy to us-east-1: the package is for eu-west-1/);
  assert.match(run.output, /Cannot use concurency: .*\nCannot use logLevel=verbose: write debug/);
  rmSync(join(clone, "dist"), { recursive: true });
  assert.match(
    render(clone, []).output,
    /Cannot deploy: dist\/package is empty; run "npm run pack/,
  );
});

function render(clone: string, args: readonly string[]) {
  const run = finish([process.execPath, assetPath(OSLS), "package", ...args], { cwd: clone });
  assert.equal(run.status, 1, run.output);
  return run;
}

for (const entry of ENTRIES) {
  test(`osls renders the ${entry} variant offline: three functions, each with its role, its ` +
    "log and its time", {
    skip,
  }, () => {
    const functions = ofType(entry, "AWS::Lambda::Function").map(({ Properties }) => Properties);
    assert.deepEqual(
      functions.map(({ FunctionName: name, Timeout, Runtime, Architectures, Handler }) =>
        [name, Timeout, Runtime, Architectures, Handler].flat().join(" "),
      ),
      [
        "kube-allowlist-acme-webhook 29 nodejs24.x arm64 webhook.handler",
        "kube-allowlist-acme-resync 60 nodejs24.x arm64 resync.handler",
        "kube-allowlist-acme-read 15 nodejs24.x arm64 read.handler",
      ],
    );
    const roles = functions.map(({ Role }) => JSON.stringify(Role));
    assert.equal(new Set(roles).size, FUNCTION_NAMES.length);
    // One role more: the scheduler's.
    assert.equal(ofType(entry, "AWS::IAM::Role").length, FUNCTION_NAMES.length + 1);
    for (const { Properties } of ofType(entry, "AWS::Logs::LogGroup")) {
      assert.equal(Properties.RetentionInDays, 30);
    }
    assert.equal(ofType(entry, "AWS::Lambda::Version").length, 0);
    const [invoking] = ofType(entry, "AWS::Lambda::EventInvokeConfig");
    assert.equal(invoking?.Properties.MaximumRetryAttempts, 0);
    const text = readFileSync(templateOf(entry), "utf8");
    assert(!text.includes("canary"));
  });

  test(`cfn-lint finds nothing in the ${entry} variant`, {
    skip: skip || skipWithout(CFN_LINT),
    timeout: TIMEOUT_MS,
  }, () => {
    const run = finish([assetPath(CFN_LINT), templateOf(entry)], { cwd: folder });
    assert.equal(run.status, 0, run.output);
  });

  test(`checkov finds nothing in the ${entry} variant that is not waived beside its resource`, {
    skip: skip || skipWithout(CHECKOV),
    timeout: TIMEOUT_MS,
  }, () => {
    const quiet = ["--skip-download", "--soft-fail", "--compact", "--output", "json"];
    const what = ["--framework", "cloudformation", "--file", templateOf(entry)];
    const run = finish([assetPath(CHECKOV), ...quiet, ...what], { cwd: folder });
    const { summary, results } = JSON.parse(run.stdout);
    const failed = results.failed_checks.map((one: Node) => `${one.check_id} ${one.resource}`);
    assert.deepEqual(failed, []);
    assert(summary.passed > 50, `${summary.passed} checks passed`);
    assert.equal(summary.parsing_errors, 0);
  });
}

test("osls gives each function URL both permissions that calling it needs", { skip }, () => {
  const permissions = ofType("url", "AWS::Lambda::Permission").map(({ Properties }) => {
    const { "Fn::GetAtt": [of] = [] } = Properties.FunctionName as { "Fn::GetAtt"?: string[] };
    return `${of} ${Properties.Action} ${Properties.InvokedViaFunctionUrl ?? ""}`.trim();
  });
  const both = ["lambda:InvokeFunction true", "lambda:InvokeFunctionUrl"];
  assert.deepEqual(
    permissions.toSorted(),
    ["ReadLambdaFunction", "WebhookLambdaFunction"].flatMap((of) => both.map((p) => `${of} ${p}`)),
  );
  assert.equal(ofType("http", "AWS::Lambda::Url").length, 0);
});

test("osls limits and logs what comes through the HTTP API, which gives the webhook all its time", {
  skip,
}, () => {
  const [stage] = ofType("http", "AWS::ApiGatewayV2::Stage");
  assert(stage?.Properties.AccessLogSettings !== undefined);
  assert(stage.Properties.DefaultRouteSettings !== undefined);
  for (const { Properties } of ofType("http", "AWS::ApiGatewayV2::Integration")) {
    assert.equal(Properties.PayloadFormatVersion, "2.0");
    assert(Number(Properties.TimeoutInMillis) > 29_000);
  }
});

/**
 * Keys of a function's role. What CloudFormation gave to the role is written once more as the IAM
 * API takes it, since moto cannot evaluate it otherwise; and for any resource where EC2 is asked,
 * since moto names none then: what is tried are actions.
 */
async function sessionOf(api: AwsApi, name: FunctionName) {
  const role = `kube-allowlist-acme-${name}`;
  const version = { Version: "2010-05-08", RoleName: role };
  for (const policyName of ["targets", "logs"]) {
    const named = { ...version, PolicyName: policyName };
    const xml = await api.query("iam", { Action: "GetRolePolicy", ...named });
    const text = /<PolicyDocument>([\s\S]*)<\/PolicyDocument>/.exec(xml)?.[1] ?? "";
    const policy = JSON.parse(text.replaceAll("'", '"'));
    const statements = policy.Statement.map((one: { readonly Action: string | string[] }) =>
      [one.Action].flat().every((action) => action.startsWith("ec2:"))
        ? { ...one, Resource: "*" }
        : one,
    );
    const PolicyDocument = JSON.stringify({ ...policy, Statement: statements });
    await api.query("iam", { Action: "PutRolePolicy", ...named, PolicyDocument });
  }
  return api.assume(`arn:aws:iam::${ACCOUNT}:role/${role}`);
}

test("osls deploys the function URL variant to moto; its webhook can add and not remove, its " +
  "resync both", {
  skip: skip || skipWithout(MOTO),
  timeout: TIMEOUT_MS,
}, async (t) => {
  const moto = await startMoto();
  atEnd(t, () => moto.stop());
  const api = openAwsApi(moto);
  const group = await moto.ec2.createSecurityGroup("payments");
  const clone = packaged("deployed", group);
  const secret = { Name: "kube-allowlist/acme", SecretString: '{"EU_KEY":"canary"}' };
  await api.json("secretsmanager", "secretsmanager.CreateSecret", secret);
  osls(clone, ["deploy", "--param", "entry=url"], moto.env);

  const { Functions } = (await api.get("lambda", "/2015-03-31/functions")) as {
    readonly Functions: readonly Node[];
  };
  const sums = readFileSync(join(clone, "dist/package/SHA256SUMS"), "utf8");
  for (const name of FUNCTION_NAMES) {
    const found = Functions.find((one) => one.FunctionName === `kube-allowlist-acme-${name}`);
    assert.equal(found?.Role, `arn:aws:iam::${ACCOUNT}:role/kube-allowlist-acme-${name}`);
    assert.equal(found.Runtime, "nodejs24.x");
    // What runs is what was packaged.
    const sum = new RegExp(`^([0-9a-f]+) {2}${name}\\.zip$`, "m").exec(sums)?.[1] ?? "";
    assert.equal(found.CodeSha256, Buffer.from(sum, "hex").toString("base64"));
  }
  const logs = (await api.json("logs", "Logs_20140328.DescribeLogGroups", {})) as {
    readonly logGroups: readonly Node[];
  };
  assert.deepEqual(
    logs.logGroups.map(({ retentionInDays }) => retentionInDays),
    [30, 30, 30],
  );

  const keys = {
    webhook: await sessionOf(api, "webhook"),
    resync: await sessionOf(api, "resync"),
    read: await sessionOf(api, "read"),
  };
  await api.enforce(true);
  const add = (name: FunctionName, cidr: string) =>
    api.attempt(keys[name], (client) =>
      client.send(
        new AuthorizeSecurityGroupIngressCommand({
          GroupId: group,
          IpPermissions: [{ ...RULE, IpRanges: [{ CidrIp: cidr }] }],
        }),
      ),
    );
  const removeAll = (name: FunctionName) =>
    api.attempt(keys[name], async (client) => {
      const ids = await ruleIds(client, group);
      await client.send(
        new RevokeSecurityGroupIngressCommand({ GroupId: group, SecurityGroupRuleIds: [...ids] }),
      );
    });
  assert.equal(await add("webhook", "203.0.113.16/32"), null);
  assert.equal(await add("resync", "203.0.113.17/32"), null);
  assert.equal(await add("read", "203.0.113.18/32"), "AccessDenied");
  assert.equal(await removeAll("webhook"), "AccessDenied");
  assert.equal(await removeAll("resync"), null);
  await api.enforce(false);

  osls(clone, ["remove", "--param", "entry=url"], moto.env);
});
