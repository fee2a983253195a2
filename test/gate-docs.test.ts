import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { GATE_CONDITION } from "../forwarder/gate-patch.ts";
import { GATE_TAINT, readGate } from "../forwarder/variables.ts";
import { manifestsOf } from "./manifests.ts";

/*
 * What people paste from docs/gate.md into their node pools, and what is shipped for the gate,
 * against the code: a taint with another key would never be taken away.
 */

const ROOT = join(import.meta.dirname, "..");
const KUSTOMIZE = join(ROOT, "infra/kustomize");
const PAGE = readFileSync(join(ROOT, "docs/gate.md"), "utf8");
const EXAMPLES = [...PAGE.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)].map(
  ([, language = "", body = ""]) => ({ language, body }),
);
const TAINTS = ["taint", "taints", "startupTaints", "registerWithTaints"];

interface Member {
  readonly name: string;
  readonly value: unknown;
}

/** Every member of a value, at any depth. */
function membersOf(value: unknown): readonly Member[] {
  if (Array.isArray(value)) return value.flatMap(membersOf);
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([name, inner]) => [
    { name, value: inner },
    ...membersOf(inner),
  ]);
}

interface Taint {
  readonly key: string;
  readonly effect: string;
}

function taintsOf(value: unknown): readonly Taint[] {
  const found = membersOf(value).filter(({ name }) => TAINTS.includes(name));
  return found.flatMap(({ value: given }) => given as Taint | Taint[]);
}

test("docs/gate.md shows YAML only, and all of it can be read", () => {
  assert.ok(EXAMPLES.length >= 6, `${EXAMPLES.length} examples`);
  for (const { language, body } of EXAMPLES) {
    assert.equal(language, "yaml", body);
    assert.equal(typeof parse(body), "object", body);
  }
});

test("docs/gate.md gives node pools the taint that the gate takes away, without evicting anybody", () => {
  const examples = EXAMPLES.map(({ body }) => parse(body));
  const pools = examples.filter(({ kind }) => kind !== "NodeReadinessRule");
  const taints = pools.flatMap(taintsOf);
  assert.equal(taints.length, 4, "Karpenter, Cluster Autoscaler, EKS, ACK");
  for (const { key, effect } of taints) {
    assert.deepEqual([key, effect], [GATE_TAINT, "NoSchedule"]);
  }
});

test("docs/gate.md has a readiness rule for the condition that the gate sets", () => {
  const [rule, ...others] = EXAMPLES.map(({ body }) => parse(body)).filter(
    ({ kind }) => kind === "NodeReadinessRule",
  );
  assert.equal(others.length, 0);
  assert.deepEqual(rule.spec.conditions, [{ type: GATE_CONDITION, requiredStatus: "True" }]);
  assert.match(rule.spec.taint.key, /^readiness\.k8s\.io\//, "the controller takes no others");
  assert.equal(rule.spec.taint.effect, "NoSchedule");
});

test("docs/gate.md names folders that are shipped", () => {
  const named = [...PAGE.matchAll(/infra\/kustomize\/([a-z-]+)/g)].map(([, name = ""]) => name);
  const overlay = EXAMPLES.map(({ body }) => parse(body)).find(
    ({ kind }) => kind === "Kustomization",
  );
  const used = [...overlay.resources, ...overlay.components].map((path: string) =>
    path.replace(/^kube-allowlist\/infra\/kustomize\//, ""),
  );
  for (const name of [...named, ...used]) assert.ok(existsSync(join(KUSTOMIZE, name)), name);
  const gates = readdirSync(KUSTOMIZE).filter((name) => name.startsWith("gate"));
  assert.deepEqual([...new Set(named)].toSorted(), ["base", ...gates].toSorted());
});

for (const [folder, kind] of [
  ["gate", "taint"],
  ["gate-condition", "condition"],
] as const) {
  test(`infra/kustomize/${folder} sets a gate that the forwarder knows, and brings the policy`, () => {
    const [component] = manifestsOf(join(KUSTOMIZE, folder), ["kustomization.yaml"]);
    const { components, patches } = component as unknown as {
      readonly components: readonly string[];
      readonly patches: readonly { readonly target: object; readonly patch: string }[];
    };
    assert.deepEqual(components, ["../gate-policy"]);
    assert.equal(patches.length, 1);
    assert.deepEqual(patches[0]?.target, { kind: "Deployment", name: "forwarder" });
    const [{ value }] = parse(patches[0]?.patch ?? "");
    assert.equal(value.name, "KUBE_ALLOWLIST_GATE");
    assert.equal(readGate(value.value)?.kind, kind);
  });
}

test("infra/kustomize/gate-policy names the taint, the condition and the account of the code and the base", () => {
  const [policy, binding] = manifestsOf(join(KUSTOMIZE, "gate-policy"), ["policy.yaml"]);
  const { spec } = policy as unknown as {
    readonly spec: {
      readonly failurePolicy: string;
      readonly variables: readonly { readonly name: string; readonly expression: string }[];
      readonly matchConditions: readonly { readonly expression: string }[];
      readonly validations: readonly { readonly reason: string }[];
    };
  };
  const variable = (name: string) => spec.variables.find((one) => one.name === name)?.expression;
  assert.equal(variable("taint"), JSON.stringify(GATE_TAINT));
  assert.equal(variable("condition"), JSON.stringify(GATE_CONDITION));
  const [account] = manifestsOf(join(KUSTOMIZE, "base"), ["service-account.yaml"]);
  const { namespace, name } = account?.metadata ?? {};
  assert.deepEqual(
    spec.matchConditions.map(({ expression }) => expression),
    [`request.userInfo.username == "system:serviceaccount:${namespace}:${name}"`],
  );
  assert.equal(spec.failurePolicy, "Fail");
  // Not 422, which a gate takes for somebody else's edit and tries again at once.
  for (const { reason } of spec.validations) assert.equal(reason, "Forbidden");
  const bound = binding as unknown as { readonly spec: object };
  assert.deepEqual(bound.spec, { policyName: policy?.metadata.name, validationActions: ["Deny"] });
});
