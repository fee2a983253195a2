import assert from "node:assert/strict";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { LOG_LEVELS } from "../lib/log-line.ts";
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

test("serverless.yml refuses to reserve for one delivery alone, as the Terraform module does", () => {
  const pattern = new RegExp(String(at(stack.parameters, "Concurrency.AllowedPattern")));
  const taken = ["0", "2", "9", "10", "19", "20", "1000"];
  for (const one of taken) assert.match(one, pattern);
  for (const one of ["", "1", "-1", "01", "2.5", "2 ", "x"]) assert.doesNotMatch(one, pattern);
});

const DEFAULTS = at(stack.file, "params.default") as Readonly<Record<string, string>>;

/** What infra/aws/choices.cjs says of these options, beside such a package. */
async function choose(
  options: { readonly param?: readonly string[]; readonly region?: string | null },
  packaged: Readonly<Record<string, object>> = { "serverless.json": { region: "eu-west-1" } },
): Promise<string> {
  const clone = mkdtempSync(join(tmpdir(), "kube-allowlist-choices-"));
  try {
    cpSync(join(ROOT, "infra/aws/choices.cjs"), join(clone, "infra/aws/choices.cjs"));
    mkdirSync(join(clone, "dist/package"), { recursive: true });
    for (const [name, content] of Object.entries(packaged)) {
      writeFileSync(join(clone, "dist/package", name), JSON.stringify(content));
    }
    const choices = createRequire(import.meta.url)(join(clone, "infra/aws/choices.cjs"));
    const given = Object.fromEntries((options.param ?? []).map((text) => text.split("=")));
    const resolveVariable = async (name: string) => {
      const choice = name.replace(/^param:/, "");
      return given[choice] ?? DEFAULTS[choice];
    };
    // osls says null of what was not given.
    const read = { param: null, region: null, ...options };
    return await choices({ options: read, resolveVariable }).then(
      () => "",
      (said: unknown) => String(said),
    );
  } finally {
    rmSync(clone, { recursive: true });
  }
}

test(
  "infra/aws/choices.cjs takes every choice that there is, and refuses other names and " + "values",
  async () => {
    assert.equal(await choose({}), "");
    const values: Readonly<Record<string, readonly string[]>> = {
      alarmTopic: ["arn:aws:sns:eu-west-1:123456789012:a", "arn:aws-cn:sns:cn-north-1:1:a"],
      bucket: at(stack.parameters, "Bucket.AllowedValues") as readonly string[],
      concurrency: ["0", "2", "20", "1000"],
      entry: ENTRIES,
      logLevel: LOG_LEVELS,
      retention: ["90"],
    };
    assert.deepEqual(Object.keys(values), Object.keys(DEFAULTS).toSorted());
    for (const [name, taken] of Object.entries(values)) {
      for (const value of taken) assert.equal(await choose({ param: [`${name}=${value}`] }), "");
    }
    const wrong = [
      "alarmTopic=x",
      "bucket=exists",
      "concurrency=1",
      "entry=ulr",
      "logLevel=verbose",
    ];
    const said = (await choose({ param: [...wrong, "concurency=20"] })).split("\n");
    assert.match(
      said[0] ?? "",
      /^Cannot use concurency: the choices are alarmTopic, .*, retention$/,
    );
    assert.deepEqual(
      said.slice(1).map((sentence) => /^Cannot use (\S+): write /.exec(sentence)?.[1]),
      wrong,
    );
  },
);

test("infra/aws/choices.cjs refuses another region than the package's, and what is no package", async () => {
  assert.equal(await choose({ region: "eu-west-1" }), "");
  assert.match(await choose({ region: "us-east-1" }), /^Cannot deploy to us-east-1: .* eu-west-1/);
  const unsaid = { "serverless.json": {} };
  assert.equal(await choose({ region: "us-east-1" }, unsaid), "");
  assert.match(await choose({}, unsaid), /^Cannot tell where to deploy: .*--region$/);
  assert.match(
    await choose({}, {}),
    /^Cannot deploy: dist\/package is empty; run "npm run package"/,
  );
  assert.match(await choose({}, { "iam.json": {} }), /^Cannot deploy the package to AWS: /);
});

test("serverless.yml has the choices looked at, also where there is no package", () => {
  const text = readFileSync(join(ROOT, "serverless.yml"), "utf8");
  const looks = text.match(/^ {2}(?:choices|settings): .*file\(infra\/aws\/choices\.cjs\)\}$/gm);
  assert.equal(looks?.length, 2);
});

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
