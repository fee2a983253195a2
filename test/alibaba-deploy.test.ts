import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";
import { parseYamlConfig } from "../lib/config/yaml.ts";
import { FUNCTION_NAMES } from "../lib/roles/needs.ts";
import { functionName, rolesOf } from "../lib/roles.ts";
import { alibabaPackages } from "./alibaba-packages.ts";
import { arePackages, isRendered } from "./rendered.ts";
import { renderModuleReadme } from "./terraform-docs.ts";

/*
 * What is deployed on Alibaba Cloud, against the code: s.yaml, the Terraform module and their page.
 * The end-to-end tests hand both to the programs that read them.
 */

const S_YAML = read("infra/alibaba/s.yaml");
const PAGE = read("docs/deploy-alibaba.md");
const MODULE = fileURLToPath(new URL("../infra/terraform/alibaba", import.meta.url));

function read(path: string): string {
  return readFileSync(new URL(`../${path}`, import.meta.url), "utf8");
}

interface FunctionProps {
  readonly functionName: string;
  readonly handler: string;
  readonly code: string;
  readonly role: string;
  readonly runtime: string;
  readonly timeout: number;
  readonly instanceConcurrency: number;
  readonly environmentVariables: Readonly<Record<string, string>>;
  readonly asyncInvokeConfig?: Readonly<Record<string, number>>;
  readonly logConfig: unknown;
  readonly triggers: readonly {
    readonly triggerType: string;
    readonly triggerConfig: Readonly<Record<string, unknown>>;
  }[];
}

function propsOf(name: string): FunctionProps {
  return parse(S_YAML).resources[name].props;
}

test("s.yaml runs each function with its own package, role and time", () => {
  const { vars, resources } = parse(S_YAML);
  assert.deepEqual(Object.keys(resources).toSorted(), FUNCTION_NAMES.toSorted());
  for (const name of FUNCTION_NAMES) {
    const props = propsOf(name);
    const full = functionName(vars.installation, name);
    assert.equal(props.functionName.replace(/\$\{vars\.installation\}/, vars.installation), full);
    assert.match(props.role, new RegExp(`:role/kube-allowlist-.*-${name}$`));
    assert.equal(props.handler, `${name}.handler`);
    assert.equal(props.code, `../../dist/package/${name}`);
    assert.equal(props.runtime, "nodejs20");
    assert.equal(props.instanceConcurrency, 1, "the keys of a role come with each request");
    assert.equal(props.environmentVariables.KUBE_ALLOWLIST_CONFIG, "/code/allowlist.json");
    assert.equal(props.timeout, secondsOf(name), "the time that the function counts with");
    assert.notEqual(props.logConfig, undefined);
  }
});

/** As the function itself has it. */
function secondsOf(name: string): number {
  if (name === "read") return secondsOf("webhook");
  const text = /const FUNCTION_MS = ([0-9_]+);/.exec(read(`functions/${name}.ts`))?.[1] ?? "";
  return Number(text.replaceAll("_", "")) / 1_000;
}

test("s.yaml gives a URL only to what is asked, and the methods that are answered", () => {
  const triggers = FUNCTION_NAMES.map((name) => [name, propsOf(name).triggers] as const);
  assert.deepEqual(Object.fromEntries(triggers.map(([name, [one]]) => [name, one?.triggerType])), {
    webhook: "http",
    resync: "timer",
    read: "http",
  });
  for (const [, own] of triggers) assert.equal(own.length, 1);
  const configOf = (name: string) => propsOf(name).triggers[0]?.triggerConfig;
  assert.deepEqual(configOf("webhook")?.methods, ["POST"]);
  assert.deepEqual(configOf("read")?.methods, ["GET", "HEAD"]);
  assert.equal(configOf("resync")?.cronExpression, "@every 1m");
  assert.equal(propsOf("resync").asyncInvokeConfig?.maxAsyncRetryAttempts, 0);
});

test("s.yaml holds no secret: they come from the environment of who deploys", () => {
  const own = FUNCTION_NAMES.flatMap((name) => Object.entries(propsOf(name).environmentVariables));
  for (const [name, value] of own) {
    if (!name.startsWith("KUBE_ALLOWLIST_")) assert.equal(value, `\${env('${name}')}`);
  }
  assert.deepEqual(Object.keys(propsOf("resync").environmentVariables).toSorted(), [
    "KUBE_ALLOWLIST_CONFIG",
    "KUBE_ALLOWLIST_LOG_LEVEL",
  ]);
});

test("the Terraform module's README names its inputs and outputs as they are", () => {
  isRendered(`${MODULE}/README.md`, renderModuleReadme(MODULE));
});

test("the Terraform module is tested with packages as npm run package writes them", () => {
  arePackages(MODULE, alibabaPackages());
});

test("the Terraform module's example is of this version of the configuration", () => {
  const example = parseYamlConfig(
    readFileSync(`${MODULE}/examples/complete/allowlist.yaml`, "utf8"),
  );
  assert(example.kind === "parsed", JSON.stringify(example));
  const variables = readFileSync(`${MODULE}/examples/complete/main.tf`, "utf8");
  for (const name of ["PROD_EU_WEBHOOK_SECRET", "STATUS_TOKEN"]) assert(variables.includes(name));
});

test("docs/deploy-alibaba.md shows a configuration that is one, and every function's variables", () => {
  const [example = ""] = fences("yaml");
  const reading = parseYamlConfig(example);
  assert(reading.kind === "parsed", JSON.stringify(reading));
  assert.equal(reading.config.store.kind, "oss");
  for (const name of Object.keys(propsOf("webhook").environmentVariables)) {
    assert(PAGE.includes(name), name);
  }
  for (const path of ["infra/alibaba/s.yaml", "infra/terraform/alibaba", "instanceConcurrency"]) {
    assert(PAGE.includes(path), path);
  }
});

test("docs/deploy-alibaba.md shows the policy that the webhook gets for its configuration", () => {
  const [example = ""] = fences("yaml");
  const reading = parseYamlConfig(example);
  assert(reading.kind === "parsed");
  const { webhook } = rolesOf(reading.config, { alibabaAccount: "1234567890123456" }).functions;
  const shown = fences("json").map((text) => JSON.parse(text));
  assert.deepEqual(shown[0], JSON.parse(JSON.stringify(webhook.ram)));
});

function fences(language: string): readonly string[] {
  const fence = new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, "gm");
  return [...PAGE.matchAll(fence)].map(([, body = ""]) => body);
}
