import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { parse } from "yaml";
import { VARIABLES } from "../forwarder/settings.ts";
import {
  readCluster,
  readGate,
  readLabels,
  readLease,
  readPods,
  readUrl,
} from "../forwarder/variables.ts";
import manifest from "../package.json" with { type: "json" };
import { ROOT } from "../scripts/bundle.ts";
import { CHART, renderChartFiles } from "../scripts/chart-files.ts";
import { describedValues, memberAt, valuesTable } from "../scripts/values-comments.ts";
import {
  checkValues,
  isMap,
  templates,
  VALUES,
  VALUES_SCHEMA,
  type Values,
  valueSets,
  valuesIn,
} from "./chart.ts";

/*
 * The Helm chart as far as it can be judged without Helm; test/e2e/helm.test.ts has the rest.
 */

const FILE = readFileSync(join(CHART, "values.yaml"), "utf8");
const DESCRIBED = describedValues(FILE);
const TEMPLATES = templates();

for (const [name, text] of renderChartFiles()) {
  test(`renderChartFiles() gives the chart's ${name} as it is committed`, () => {
    const committed = readFileSync(join(CHART, name), "utf8");
    assert.ok(committed === text, `${name} is out of date: run "npm run manifests"`);
  });
}

test("describedValues() takes comments over lines, nested values, and leaves others out", () => {
  const text = [
    "# Not this.",
    "# -- one",
    "# two",
    "a: 1",
    "b:",
    "  # -- inner",
    "  c:",
    "    d: [x]",
    "e: 2",
  ].join("\n");
  assert.deepEqual(describedValues(text), [
    { path: "a", value: 1, description: "one two" },
    { path: "b.c", value: { d: ["x"] }, description: "inner" },
  ]);
  assert.match(
    valuesTable([{ path: "a", value: "x|y", description: "b | c" }]),
    /\| `a` \| `"x\\\|y"` \| b \\\| c \|$/,
  );
});

/** Paths of everything that is no map with members. */
function leavesOf(value: unknown, path: readonly string[] = []): readonly string[] {
  if (!isMap(value) || Object.keys(value).length === 0) return [path.join(".")];
  return Object.entries(value).flatMap(([name, inner]) => leavesOf(inner, [...path, name]));
}

test("every value of the chart is described, and belongs to a map or is described as a whole", () => {
  const paths = DESCRIBED.map(({ path }) => path);
  const undescribed = leavesOf(VALUES).filter(
    (leaf) => !paths.some((path) => leaf === path || leaf.startsWith(`${path}.`)),
  );
  assert.deepEqual(undescribed, []);
  assert.ok(DESCRIBED.every(({ description }) => /^[A-Z`]/.test(description)));
});

test("values.schema.json knows the values of values.yaml, and only Helm's own names besides", () => {
  const known = (schema: unknown, path: readonly string[]): readonly string[] => {
    const properties = memberAt(schema, ["properties"]);
    if (!isMap(properties) || Object.keys(properties).length === 0) return [path.join(".")];
    return Object.entries(properties).flatMap(([name, inner]) =>
      // The receiver's configuration is described elsewhere.
      path.join(".") === "receiver" && name === "config"
        ? ["receiver.config"]
        : known(inner, [...path, name]),
    );
  };
  const wholes = DESCRIBED.map(({ path }) => path);
  const within = (path: string) => wholes.some((whole) => path.startsWith(`${whole}.`));
  const names = known(VALUES_SCHEMA, []).filter((path) => !within(path));
  const given = leavesOf(VALUES).filter((path) => !within(path));
  assert.deepEqual(names.toSorted(), [...given, "enabled", "global"].toSorted());
});

test("no map of the schema lets an unknown name pass, but those of Kubernetes' own objects", () => {
  const open: string[] = [];
  const visit = (schema: unknown, path: string) => {
    if (!isMap(schema)) return;
    const { properties, additionalProperties } = schema;
    if (isMap(properties)) {
      if (additionalProperties !== false) open.push(path);
      for (const [name, inner] of Object.entries(properties)) visit(inner, `${path}.${name}`);
    }
  };
  visit(VALUES_SCHEMA, "");
  const isKubernetes = (path: string) =>
    /(affinity|resources|global|dnsConfig|requests|limits|valueFrom)$/.test(path);
  assert.deepEqual(
    open.filter((path) => !isKubernetes(path)),
    [],
  );
});

test("the chart's own values and its sets for tests are accepted by its schema", () => {
  assert.deepEqual(checkValues({}), []);
  for (const [name, values] of valueSets()) assert.deepEqual(checkValues(values), [], name);
  for (const page of ["infra/helm/kube-allowlist/README.md", "docs/deploy-kubernetes.md"]) {
    const shown = valuesIn(readFileSync(join(ROOT, page), "utf8"));
    assert.ok(shown.length >= 2, page);
    for (const values of shown) assert.deepEqual(checkValues(values), [], JSON.stringify(values));
  }
});

const WHOLE = valueSets().get("whole-values.yaml") ?? {};

// Each of them is one mistake; the path is where it is reported.
const WRONG: readonly (readonly [what: string, values: Values, path: RegExp])[] = [
  ["an unknown name", { clsuter: "prod" }, /\(clsuter\)/],
  ["an unknown name of the gate", { gate: { tmeout: "5m" } }, /^\/gate: .*\(tmeout\)/],
  ["a secret", { auth: { signature: { secret: "whsec_x" } } }, /\(secret\)/],
  ["a password in a proxy", { forwarder: { proxy: { httpsProxy: "http://u:p@h:1" } } }, /Proxy/],
  ["a password in the URL", { url: "https://u:p@h/v1/snapshots" }, /^\/url/],
  ["a URL of another scheme", { url: "ftp://hook.example" }, /^\/url/],
  ["a cluster's name in capitals", { cluster: "Prod" }, /^\/cluster/],
  ["a label with a value", { labels: ["pool=payments"] }, /^\/labels\/0/],
  ["labels as text", { labels: "pool" }, /^\/labels/],
  ["pods without a namespace", { pods: [{ labels: { app: "api" } }] }, /^\/pods\/0/],
  ["a number as a label", { pods: [{ namespace: "pay", labels: { app: 1 } }] }, /labels\/app/],
  ["a heartbeat without a unit", { heartbeat: "300" }, /^\/heartbeat/],
  ["a heartbeat as a number", { heartbeat: 300 }, /^\/heartbeat/],
  ["a gate that is a word", { gate: { enabled: "taint" } }, /^\/gate\/enabled/],
  ["a key without a domain", { gate: { key: "starting" } }, /^\/gate\/key/],
  ["a timeout in days", { gate: { timeout: "1d" } }, /^\/gate\/timeout/],
  ["an unknown way to prove", { auth: { method: "oidc" } }, /^\/auth\/method/],
  ["a token of five minutes", { auth: { token: { expirationSeconds: 300 } } }, /expirationSeconds/],
  ["a level that is none", { logLevel: "trace" }, /^\/logLevel/],
  ["a digest that is none", { image: { digest: "latest" } }, /^\/image\/digest/],
  ["a secret for pulling, by name", { imagePullSecrets: ["host"] }, /^\/imagePullSecrets\/0/],
  ["no replica", { forwarder: { replicas: 0 } }, /^\/forwarder\/replicas/],
  ["a port that needs privileges", { forwarder: { port: 80 } }, /^\/forwarder\/port/],
  ["a name that is no name", { forwarder: { name: "For_warder" } }, /^\/forwarder\/name/],
  [
    "a typing error in a list",
    { receiver: { config: { lists: { "payments-db": { removal: { polcy: "sync" } } } } } },
    /payments-db\/removal: .*\(polcy\)/,
  ],
  [
    "a target that is none",
    { receiver: { config: { lists: { "payments-db": { targets: [{ kind: "aws/none" }] } } } } },
    /targets\/0/,
  ],
  [
    "a secret in the configuration",
    {
      receiver: {
        config: { clusters: { "prod-eu": { auth: { signature: { keys: ["whsec_x"] } } } } },
      },
    },
    /signature\/keys\/0/,
  ],
];

for (const [what, values, path] of WRONG) {
  test(`values.schema.json refuses ${what}`, () => {
    const merged = {
      ...values,
      receiver: { ...Object(WHOLE.receiver), ...Object(values.receiver) },
    };
    const given = "receiver" in values ? merged : values;
    const said = checkValues(given);
    assert.ok(
      said.some((sentence) => path.test(sentence)),
      said.join("\n"),
    );
  });
}

test("values.schema.json asks for the receiver's configuration where it is enabled", () => {
  assert.match(checkValues({ receiver: { enabled: true } }).join(), /config: .*'installation'/);
});

/** Whether a reader of the forwarder takes a text. */
function takes(read: (text: string) => unknown, text: string): boolean {
  try {
    read(text);
    return true;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return false;
  }
}

// Blanks, commas and semicolons separate in variables, and cannot be part of one value there.
const pieces = fc.constantFrom("a", "B", "0", "-", "_", ".", "/", "=", ":", "http://", "https://");
const words = fc.array(pieces, { minLength: 1, maxLength: 8 }).map((parts) => parts.join(""));
// Around every limit that a name of Kubernetes or of ours has.
const lengths = [1, 31, 32, 33, 62, 63, 64, 65, 252, 253, 254, 255];
const long = fc.constantFrom(...lengths).map((length) => "a".repeat(length));

for (const [name, read, valuesOf] of [
  ["cluster", readCluster, (text: string) => ({ cluster: text })],
  ["labels", readLabels, (text: string) => ({ labels: [text] })],
  ["forwarder.lease", readLease, (text: string) => ({ forwarder: { lease: text } })],
  ["pods", readPods, (text: string) => ({ pods: [{ namespace: text }] })],
  [
    "pods' labels",
    (text: string) => readPods(`pay/app=${text}`),
    (text: string) => ({ pods: [{ namespace: "pay", labels: { app: text } }] }),
  ],
  [
    "pods' keys",
    (text: string) => readPods(`pay/${text}=a`),
    (text: string) => ({ pods: [{ namespace: "pay", labels: { [text]: "a" } }] }),
  ],
  ["gate.key", readGate, (text: string) => ({ gate: { key: text } })],
] as const) {
  test(`values.schema.json takes for ${name} what the forwarder takes`, () => {
    fc.assert(
      fc.property(fc.oneof(words, long), (text) => {
        // What a variable splits is no single value; "=" has a meaning in pairs, "/" in names.
        fc.pre(!(name.startsWith("pods") && /[=/]/.test(text) && name !== "pods' keys"));
        fc.pre(!(name === "pods' keys" && text.includes("=")));
        fc.pre(!(name === "forwarder.lease" && text.includes("/")));
        assert.equal(checkValues(valuesOf(text)).length === 0, takes(read, text), text);
      }),
      { numRuns: 400 },
    );
  });
}

test("values.schema.json takes no URL that the forwarder would not", () => {
  fc.assert(
    fc.property(words, (text) => {
      if (checkValues({ url: text }).length > 0 || !URL.canParse(text)) return;
      // Plain HTTP is the template's business.
      assert.ok(takes(readUrl, text.replace(/^http:/, "https:")), text);
    }),
    { numRuns: 1_000 },
  );
});

test("values.schema.json has no pattern that Helm's regular expressions (RE2) cannot read", () => {
  const patterns = [...JSON.stringify(VALUES_SCHEMA).matchAll(/"pattern":("(?:[^"\\]|\\.)*")/g)];
  assert.ok(patterns.length > 50);
  for (const [, text = '""'] of patterns) {
    const pattern: string = JSON.parse(text);
    assert.doesNotMatch(pattern, /\(\?[=!<]|\\[1-9]/, pattern);
    for (const [, count] of pattern.matchAll(/[{,]([0-9]+)\}/g)) {
      assert.ok(Number(count) <= 1_000, pattern);
    }
  }
});

test("the chart's templates use values that exist, and every value is used", () => {
  const used = new Set<string>();
  for (const [name, text] of TEMPLATES) {
    for (const [, path = ""] of text.matchAll(/\.Values\.([A-Za-z.]*[A-Za-z])/g)) {
      assert.notEqual(memberAt(VALUES, path.split(".")), undefined, `${name}: ${path}`);
      used.add(path);
    }
  }
  const all = [...TEMPLATES.values()].join("\n");
  for (const { path } of DESCRIBED) {
    const leaf = path.split(".").at(-1) ?? "";
    assert.match(all, new RegExp(`\\.${leaf}\\b`), path);
  }
  assert.ok(used.size > 60);
});

test("the chart's Deployment sets each setting of the forwarder that it can know", () => {
  const deployment = TEMPLATES.get("forwarder/deployment.yaml") ?? "";
  const set = [...deployment.matchAll(/- name: (KUBE_ALLOWLIST_[A-Z_]+)/g)].map(([, name]) => name);
  assert.deepEqual(set.toSorted(), [...VARIABLES, "KUBE_ALLOWLIST_LOG_LEVEL"].toSorted());
});

test("no value of the chart is a secret: secrets are named, never given", () => {
  const suspicious = DESCRIBED.filter(({ path }) => /secret|password|token$|key$/i.test(path));
  assert.deepEqual(
    suspicious.map(({ path }) => path),
    [
      "imagePullSecrets",
      "auth.signature.existingSecret",
      "auth.signature.key",
      "gate.key",
      "caBundle.key",
      "forwarder.proxy.existingSecret",
      "receiver.existingSecrets",
    ],
  );
});

test("Chart.yaml has the package's version, in every place", () => {
  const chart = parse(readFileSync(join(CHART, "Chart.yaml"), "utf8"));
  assert.equal(chart.version, manifest.version);
  assert.equal(chart.appVersion, manifest.version);
  const [image] = parse(chart.annotations["artifacthub.io/images"]);
  assert.equal(image.image, `${memberAt(VALUES, ["image", "repository"])}:${manifest.version}`);
  assert.equal(chart.annotations["artifacthub.io/license"], manifest.license);
  for (const { kind } of parse(chart.annotations["artifacthub.io/changes"])) {
    assert.ok(["added", "changed", "deprecated", "removed", "fixed", "security"].includes(kind));
  }
});
