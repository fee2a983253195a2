import { spawnSync } from "node:child_process";
import { CHART } from "./chart-files.ts";

/*
 * What infra/kustomize has in common with the chart is rendered from it, so that both are one
 * source. Only files that Kustomize alone reads, and the namespace, are written by hand.
 */

/** The oldest that has all kinds of objects; a helm without a release knows of an ancient one. */
const KUBE_VERSION = "1.30.0";

interface Part {
  /** In infra/kustomize. */
  readonly path: string;
  /** In the chart's templates. */
  readonly template: string;
  readonly values: Readonly<Record<string, string>>;
}

/** Of what Helm has to say about a chart that it cannot take. */
const SAID_CHARACTERS_MAX = 2_000;
const RELEASE = "kube-allowlist";
const BASE = { cluster: "prod-eu", url: "https://hook.example/v1/snapshots" };
const TAINT = { "gate.enabled": "true" };
const CONDITION = { ...TAINT, "gate.mode": "condition" };
const PODS = { "pods[0].namespace": "pay" };

const PARTS: readonly Part[] = [
  ...["deployment", "disruption-budget", "network-policy", "rbac", "service-account"].map(
    (name) => ({
      path: `base/${name}.yaml`,
      template: `forwarder/${name}.yaml`,
      values: {},
    }),
  ),
  { path: "pods/rbac.yaml", template: "forwarder/pods-rbac.yaml", values: PODS },
  { path: "gate/rbac.yaml", template: "gate/rbac.yaml", values: TAINT },
  { path: "gate-condition/rbac.yaml", template: "gate/rbac.yaml", values: CONDITION },
  { path: "gate-policy/policy.yaml", template: "gate/policy.yaml", values: TAINT },
];

/** Paths in infra/kustomize of what is rendered. */
export const RENDERED: readonly string[] = PARTS.map(({ path }) => path);

/** The files that are rendered, by their paths in infra/kustomize. `helm` is the program's path. */
export function renderKustomizeFiles(helm: string): ReadonlyMap<string, string> {
  return new Map(PARTS.map((part) => [part.path, render(helm, part)]));
}

function render(helm: string, { template, values }: Part): string {
  const sets = Object.entries({ ...BASE, ...values }).flatMap(([name, value]) => [
    "--set",
    `${name}=${value}`,
  ]);
  const args = [
    ...["template", RELEASE, CHART, "--namespace", RELEASE, "--kube-version", KUBE_VERSION],
    ...["--show-only", `templates/${template}`, ...sets],
  ];
  const { status, stdout, stderr } = spawnSync(helm, args, { encoding: "utf8" });
  if (status === 0) return withoutHelm(stdout);
  throw new Error(`Cannot render ${template}: ${(stderr ?? "").slice(0, SAID_CHARACTERS_MAX)}`);
}

/** What only Helm has a use for; Kustomize would select by the release's name otherwise. */
const OF_HELM =
  /^(# Source: .*|\s*(helm\.sh\/chart|app\.kubernetes\.io\/(managed-by|instance)): .*)$/;

const HEAD = "# Made from infra/helm/kube-allowlist by npm run manifests: change it there.\n";

function withoutHelm(text: string): string {
  const lines = text.split("\n").filter((line) => !OF_HELM.test(line));
  const documents = lines.join("\n").split(/^(?:---\n)+/m);
  const own = documents.filter((document) => document.trim() !== "");
  return `${HEAD}${own.join("---\n").trimEnd()}\n`;
}
