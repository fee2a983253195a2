import assert from "node:assert/strict";
import { FUNCTION_NAMES } from "../lib/roles/needs.ts";
import { at, type Node, readServerless } from "./serverless.ts";

/*
 * What serverless.yml says, as the tests of the Terraform module of AWS compare it with the module:
 * one shape for both, without the words of either.
 */

export type Entry = "http" | "url";

export const ENTRIES: readonly Entry[] = ["http", "url"];

const ACCOUNT = "123456789012";
const REGION = "eu-west-1";

/** By what CloudFormation calls it. Words in capitals stand for what only AWS knows. */
const KNOWN: Readonly<Record<string, string>> = {
  "AWS::AccountId": ACCOUNT,
  "AWS::Partition": "aws",
  "AWS::Region": REGION,
  HttpApi: "HTTP_API",
  ResyncLambdaFunction: "kube-allowlist-acme-resync",
  Schedules: "kube-allowlist-acme",
  Store: "acme-allowlist",
  ReadLambdaFunction: "kube-allowlist-acme-read",
  WebhookLambdaFunction: "kube-allowlist-acme-webhook",
  "Failures.Arn": "FAILURES_ARN",
  "Failures.QueueName": "kube-allowlist-acme-failures",
  "ResyncLambdaFunction.Arn": "RESYNC_ARN",
  "SchedulerRole.Arn": "SCHEDULER_ROLE_ARN",
  "ReadLogGroup.Arn": "LOG_GROUP_ARN:*",
  "ResyncLogGroup.Arn": "LOG_GROUP_ARN:*",
  "WebhookLogGroup.Arn": "LOG_GROUP_ARN:*",
};

/** The stack of one entry, from the settings of a package; the same every time. */
export function expectedOf(settings: object, entry: Entry): Node {
  const file = readServerless({ settings, params: { entry } });
  const parts = file.resources as readonly Node[];
  const merged = (key: string): Readonly<Record<string, Node>> =>
    Object.assign({}, ...parts.map((part) => part[key] ?? {}));
  const resources = merged("Resources");
  const propertiesOf = (name: string): Node => {
    const found = resources[name]?.Properties;
    assert(found !== undefined, `${name} is in the stack`);
    return resolved(found) as Node;
  };
  return {
    functions: functionsOf(file),
    roles: Object.fromEntries(
      [...FUNCTION_NAMES, "scheduler"].map((name) => [name, roleOf(propertiesOf(logical(name)))]),
    ),
    alarms: alarmsOf(Object.values(resources)),
    schedule: propertiesOf("ResyncSchedule"),
    scheduleGroup: propertiesOf("Schedules").Name,
    failures: propertiesOf("Failures"),
    store: propertiesOf("Store"),
    storePolicy: propertiesOf("StorePolicy").PolicyDocument,
    routes: routesOf(file),
    throttling: at(merged("extensions").HttpApiStage, "Properties.DefaultRouteSettings") ?? null,
    retention: at(file, "provider.logRetentionInDays"),
  };
}

function logical(name: string): string {
  return `${name[0]?.toUpperCase()}${name.slice(1)}Role`;
}

function functionsOf(file: Node): Node {
  const { runtime, architecture, environment } = file.provider as Node;
  return Object.fromEntries(
    Object.entries(file.functions as Readonly<Record<string, Node>>).map(([key, one]) => [
      key,
      {
        name: one.name,
        description: one.description,
        handler: one.handler,
        runtime,
        architectures: [architecture],
        timeout: one.timeout,
        memory: one.memorySize,
        variables: Object.keys({
          ...(environment as Node),
          ...(one.environment as Node),
        }).toSorted(),
        logLevel: at(environment, "KUBE_ALLOWLIST_LOG_LEVEL"),
        failures: resolved(one.onError ?? null),
        retryAttempts: one.maximumRetryAttempts ?? null,
        eventAge: one.maximumEventAge ?? null,
      },
    ]),
  );
}

function roleOf(properties: Node): Node {
  const policies = (properties.Policies as readonly Node[]).map((policy) => [
    policy.PolicyName,
    policy.PolicyDocument,
  ]);
  return {
    name: properties.RoleName,
    trust: properties.AssumeRolePolicyDocument,
    policies: Object.fromEntries(policies),
  };
}

/** By name. */
function alarmsOf(resources: readonly Node[]): Node {
  const alarms = resources
    .filter(({ Type }) => Type === "AWS::CloudWatch::Alarm")
    .map(({ Properties }) => {
      const { AlarmName, AlarmActions, OKActions, Dimensions, ...rest } = resolved(
        Properties,
      ) as Node;
      assert.deepEqual(AlarmActions, OKActions);
      const dimensions = (Dimensions as readonly Node[]).map(({ Name, Value }) => [Name, Value]);
      return [AlarmName, { ...rest, Dimensions: Object.fromEntries(dimensions) }];
    });
  return Object.fromEntries(alarms);
}

function routesOf(file: Node): Node {
  const routes = Object.entries(file.functions as Readonly<Record<string, Node>>).flatMap(
    ([name, one]) =>
      ((one.events ?? []) as readonly Node[]).map(({ httpApi }) => [
        `${at(httpApi, "method")} ${at(httpApi, "path")}`,
        name,
      ]),
  );
  return Object.fromEntries(routes);
}

/** With what CloudFormation would put in. A choice is taken as it is by default. */
function resolved(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(resolved);
  if (typeof value !== "object" || value === null) return value;
  const { Ref, "Fn::GetAtt": of, "Fn::Sub": text, "Fn::If": choice, ...rest } = value as Node;
  if (typeof Ref === "string") return known(Ref);
  if (Array.isArray(of)) return known(of.join("."));
  if (typeof text === "string") {
    return text.replaceAll(/\$\{([A-Za-z:.]+)\}/g, (_, name) => known(name));
  }
  if (Array.isArray(choice)) return null;
  return Object.fromEntries(Object.entries(rest).map(([key, one]) => [key, resolved(one)]));
}

function known(name: string): string {
  const found = KNOWN[name];
  assert(found !== undefined, `${name} is known`);
  return found;
}
