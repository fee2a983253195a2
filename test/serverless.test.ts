import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { FUNCTION_NAMES } from "../lib/roles/needs.ts";
import { ROOT } from "../scripts/bundle.ts";
import { serverlessSettings } from "../scripts/serverless-settings.ts";
import { configOf, EXAMPLES, SOURCES } from "./roles-config.ts";
import { at, type Node, readServerless } from "./serverless.ts";

/*
 * serverless.yml and infra/aws against what a production checklist asks for. The end-to-end tests
 * look at what osls makes of them.
 */

const TARGETS = EXAMPLES.filter(({ kind }) =>
  ["aws/security-group", "linode/firewall", "feed"].includes(String(kind)),
);
const LISTS = {
  payments: { from: [SOURCES.alive], removal: { policy: "sync" }, targets: TARGETS },
};
const SETTINGS = JSON.parse(
  JSON.stringify(serverlessSettings(configOf(LISTS, { status: { tokens: ["env:STATUS"] } }), {})),
);
const ENTRIES = ["http", "url"] as const;

interface Resource {
  readonly Type: string;
  readonly Condition?: string;
  readonly DeletionPolicy?: string;
  readonly Properties: Node;
}

function stackOf(entry: string) {
  const file = readServerless({ settings: SETTINGS, params: { entry } });
  const parts = file.resources as readonly Node[];
  const merge = (key: string): Node =>
    Object.assign({}, ...parts.map((part) => part[key] ?? {})) as Node;
  return {
    file,
    functions: file.functions as Readonly<Record<string, Node>>,
    resources: merge("Resources") as Readonly<Record<string, Resource>>,
    extensions: merge("extensions"),
    parameters: merge("Parameters"),
  };
}

function resource(stack: ReturnType<typeof stackOf>, name: string): Resource {
  const found = stack.resources[name];
  assert(found !== undefined, `${name} is in the stack`);
  return found;
}

const stack = stackOf("http");

test(
  "serverless.yml gives each function a role, an archive and a time of its own, on a " +
    "current runtime",
  () => {
    const expected = { webhook: 29, resync: 60, read: 15 };
    assert.deepEqual(Object.keys(stack.functions).toSorted(), [...FUNCTION_NAMES].toSorted());
    assert.equal(at(stack.file, "provider.runtime"), "nodejs24.x");
    assert.equal(at(stack.file, "provider.architecture"), "arm64");
    for (const [name, seconds] of Object.entries(expected)) {
      const settings = stack.functions[name] ?? {};
      assert.equal(settings.timeout, seconds, name);
      assert.equal(settings.handler, `${name}.handler`);
      assert.equal(settings.name, `kube-allowlist-acme-${name}`);
      assert.deepEqual(settings.package, { artifact: `dist/package/${name}.zip` });
      const logical = `${name[0]?.toUpperCase()}${name.slice(1)}Role`;
      assert.deepEqual(settings.role, { "Fn::Sub": "$".concat(`{${logical}.Arn}`) });
      const { Properties } = resource(stack, logical);
      // By this name the functions' sessions are known to roles of other accounts.
      assert.equal(Properties.RoleName, settings.name);
    }
  },
);

test("serverless.yml gives the functions the time that their own deadlines reckon with", () => {
  for (const name of ["webhook", "resync"]) {
    const source = readFileSync(join(ROOT, `functions/${name}.ts`), "utf8");
    const ms = Number(/^const FUNCTION_MS = ([0-9_]+);$/m.exec(source)?.[1]?.replaceAll("_", ""));
    assert.equal(stack.functions[name]?.timeout, ms / 1_000, name);
  }
});

test(
  "serverless.yml gives each role the rendered policy, its logs, and nothing that writes " +
    "anywhere",
  () => {
    for (const name of FUNCTION_NAMES) {
      const logical = `${name[0]?.toUpperCase()}${name.slice(1)}`;
      const { Properties } = resource(stack, `${logical}Role`);
      const policies = Properties.Policies as readonly Node[];
      const [targets, logs, ...others] = policies.map(({ PolicyDocument }) => PolicyDocument);
      assert.equal(others.length, 0);
      assert.deepEqual(targets, SETTINGS.functions[name].policy);
      const group = { "Fn::GetAtt": [`${logical}LogGroup`, "Arn"] };
      const [own, more] = at(logs, "Statement") as readonly Node[];
      assert.deepEqual(own?.Resource, group);
      assert.deepEqual(own?.Action, ["logs:CreateLogStream", "logs:PutLogEvents"]);
      assert.equal(more === undefined, name !== "resync");
      for (const { Action, Resource } of [...statements(targets), ...statements(logs)]) {
        if (![Resource].flat().includes("*")) continue;
        for (const action of [Action].flat()) assert.match(String(action), /^ec2:Describe/);
      }
    }
  },
);

function statements(document: unknown): readonly Node[] {
  return at(document, "Statement") as readonly Node[];
}

test("serverless.yml never lets the webhook remove or delete", () => {
  const text = JSON.stringify(resource(stack, "WebhookRole"));
  assert(!/Revoke|Delete|Remove/.test(text));
  assert.match(JSON.stringify(resource(stack, "ResyncRole")), /Revoke.*s3:DeleteObject/);
});

test("serverless.yml runs the resync every minute, keeps what failed, and tries nothing twice", () => {
  const schedule = resource(stack, "ResyncSchedule").Properties;
  assert.equal(schedule.ScheduleExpression, "rate(1 minute)");
  assert.deepEqual(schedule.FlexibleTimeWindow, { Mode: "OFF" });
  const queue = { "Fn::GetAtt": ["Failures", "Arn"] };
  assert.deepEqual(at(schedule, "Target.DeadLetterConfig"), { Arn: queue });
  assert.deepEqual(at(schedule, "Target.RetryPolicy"), {
    MaximumEventAgeInSeconds: 60,
    MaximumRetryAttempts: 2,
  });
  assert.deepEqual(at(schedule, "Target.Arn"), { "Fn::GetAtt": ["ResyncLambdaFunction", "Arn"] });
  const { onError, maximumRetryAttempts, maximumEventAge } = stack.functions.resync ?? {};
  assert.deepEqual([onError, maximumRetryAttempts, maximumEventAge], [queue, 0, 60]);
  assert.equal(resource(stack, "Failures").Properties.SqsManagedSseEnabled, true);
  const [caller] = statements(resource(stack, "SchedulerRole").Properties.AssumeRolePolicyDocument);
  const known = at(caller, "Condition.StringEquals") as Node;
  assert.deepEqual(Object.keys(known), ["aws:SourceAccount", "aws:SourceArn"]);
});

test(
  "serverless.yml has an alarm for errors, throttles, silence, staleness, what is withheld " +
    "and the queue",
  () => {
    for (const entry of ENTRIES) {
      const { resources } = stackOf(entry);
      const alarms = Object.values(resources).filter(
        ({ Type }) => Type === "AWS::CloudWatch::Alarm",
      );
      const metrics = alarms.map(({ Properties }) => {
        const [dimension] = Properties.Dimensions as readonly Node[];
        const of = at(dimension, "Value.Ref") ?? at(dimension, "Value");
        const name = typeof of === "string" ? of : "";
        return `${Properties.Namespace} ${Properties.MetricName} ${name}`;
      });
      const functions = ["ReadLambdaFunction", "ResyncLambdaFunction", "WebhookLambdaFunction"];
      const unavailable =
        entry === "http"
          ? ["AWS/ApiGateway 5xx HttpApi"]
          : ["ReadLambdaFunction", "WebhookLambdaFunction"].map(
              (of) => `AWS/Lambda Url5xxCount ${of}`,
            );
      assert.deepEqual(
        metrics.toSorted(),
        [
          ...unavailable,
          ...["Duration ResyncLambdaFunction", "Duration WebhookLambdaFunction"].map(
            (of) => `AWS/Lambda ${of}`,
          ),
          ...functions.flatMap((of) => [`AWS/Lambda Errors ${of}`, `AWS/Lambda Throttles ${of}`]),
          "AWS/Lambda Invocations ResyncLambdaFunction",
          "AWS/SQS ApproximateNumberOfMessagesVisible ",
          "KubeAllowlist ClustersStale acme",
          "KubeAllowlist ListsFailed acme",
          "KubeAllowlist ListsWithheld acme",
        ].toSorted(),
      );
      for (const { Properties } of alarms) {
        const watched = ["ClustersStale", "Invocations"].includes(String(Properties.MetricName));
        const missing = watched ? "breaching" : "notBreaching";
        assert.equal(Properties.TreatMissingData, missing);
        assert.match(JSON.stringify(Properties.AlarmActions), /"Ref":"AlarmTopic"/);
        assert.match(String(Properties.AlarmName), /^kube-allowlist-acme-/);
      }
      const names = alarms.map(({ Properties }) => Properties.AlarmName);
      assert.equal(new Set(names).size, names.length);
    }
  },
);

test(
  "serverless.yml makes a bucket that nobody else reads, and in which nothing current ever " +
    "expires",
  () => {
    const { Properties, DeletionPolicy, Condition } = resource(stack, "Store");
    assert.deepEqual([DeletionPolicy, Condition], ["Retain", "MakesBucket"]);
    assert.equal(Properties.BucketName, "acme-allowlist");
    const blocked = Object.values(Properties.PublicAccessBlockConfiguration as Node);
    assert.deepEqual(blocked, [true, true, true, true]);
    const rules = at(Properties, "LifecycleConfiguration.Rules") as readonly Node[];
    for (const rule of rules) {
      const what = Object.keys(rule).filter((key) => !["Id", "Status"].includes(key));
      // Of these none touches the newest version of an object.
      const harmless = [
        "AbortIncompleteMultipartUpload",
        "ExpiredObjectDeleteMarker",
        "NoncurrentVersionExpiration",
      ];
      for (const one of what) assert(harmless.includes(one), one);
    }
    const policy = resource(stack, "StorePolicy").Properties.PolicyDocument;
    assert.deepEqual(policy, SETTINGS.bucketPolicy);
  },
);

test("serverless.yml reserves no concurrency and traces nothing unless it is asked to", () => {
  assert.equal(at(stack.parameters, "Concurrency.Default"), "0");
  assert.equal(at(stack.file, "provider.tracing"), undefined);
  for (const settings of Object.values(stack.functions)) {
    assert.equal(settings.reservedConcurrency, undefined);
  }
});

test(
  "serverless.yml opens the webhook and what can be read, by either entry, and never the " +
    "resync",
  () => {
    for (const entry of ENTRIES) {
      const { webhook, resync, read } = stackOf(entry).functions;
      assert.equal(resync?.url, undefined);
      assert.equal(resync?.events, undefined);
      assert.equal(webhook?.url, entry === "url");
      assert.equal(read?.url, entry === "url");
      const routes = [webhook, read].flatMap((one) =>
        ((one?.events ?? []) as readonly Node[]).map((event) => {
          const { method, path } = event.httpApi as Node;
          return `${method} ${path}`;
        }),
      );
      const expected = [
        "POST /v1/snapshots",
        "GET /v1/status",
        "GET /v1/lists/{file}",
        "HEAD /v1/lists/{file}",
      ];
      assert.deepEqual(routes, entry === "http" ? expected : []);
    }
  },
);

test("serverless.yml gives each function its own variables, none with a value", () => {
  const { webhook, resync, read } = stack.functions;
  assert.deepEqual(Object.keys(webhook?.environment as Node), ["ALIVE_KEY", "LINODE_TOKEN"]);
  assert.deepEqual(Object.keys(resync?.environment as Node), ["LINODE_TOKEN"]);
  assert.deepEqual(Object.keys(read?.environment as Node), ["FEED_TOKEN", "STATUS"]);
  for (const settings of Object.values(stack.functions)) {
    for (const value of Object.values(settings.environment as Node)) {
      assert.match(String(value), /^\{\{resolve:secretsmanager:kube-allowlist\/acme:SecretString:/);
    }
  }
});

test("docs/deploy-aws.md explains every waiver and every choice, and names what exists", () => {
  const page = readFileSync(join(ROOT, "docs/deploy-aws.md"), "utf8");
  const folder = ["waivers", "store", "schedule", "entry-http", "entry-url"];
  const waived = folder.flatMap((name) => {
    const text = readFileSync(join(ROOT, `infra/aws/${name}.yml`), "utf8");
    return text.match(/CKV_AWS_[0-9]+/g) ?? [];
  });
  assert.deepEqual(
    [...new Set(page.match(/CKV_AWS_[0-9]+/g))].toSorted(),
    [...new Set(waived)].toSorted(),
  );
  for (const param of Object.keys(at(stack.file, "params.default") as Node)) {
    assert(page.includes(`\`${param}`), param);
  }
  for (const [, name = ""] of page.matchAll(/\]\(([a-z-]+\.md)(?:#[a-z-]+)?\)/g)) {
    assert(existsSync(join(ROOT, "docs", name)), name);
  }
});
