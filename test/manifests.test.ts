import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { parseSettings, VARIABLES } from "../forwarder/settings.ts";
import { GATE_TAINT } from "../forwarder/variables.ts";
import {
  documentedRights,
  type Manifest,
  manifestsOf,
  podSpecOf,
  restrictedViolations,
  rightsOf,
} from "./manifests.ts";

const KUSTOMIZE = join(import.meta.dirname, "../infra/kustomize");
const FOLDERS = readdirSync(KUSTOMIZE).toSorted();
const BASE = manifestsOf(join(KUSTOMIZE, "base"));
const ACCOUNT = { kind: "ServiceAccount", name: "forwarder", namespace: "kube-allowlist" };
const CLUSTER_KINDS = ["Namespace", "ClusterRole", "ClusterRoleBinding"];

function only(kind: string): Manifest {
  const found = BASE.filter((manifest) => manifest.kind === kind);
  assert.equal(found.length, 1, `${found.length} of ${kind}`);
  return found[0] as Manifest;
}

const deployment = only("Deployment");
const pod = podSpecOf(deployment);
const [container] = pod.containers;
assert.ok(container);

for (const folder of FOLDERS) {
  test(`infra/kustomize/${folder} lists each of its files once, and only files that exist`, () => {
    const path = join(KUSTOMIZE, folder);
    const [kustomization] = manifestsOf(path, ["kustomization.yaml"]);
    const listed = [
      ...(kustomization?.resources ?? []),
      ...(kustomization?.patches ?? []).flatMap((patch) => patch.path ?? []),
    ];
    assert.deepEqual(new Set(listed).size, listed.length);
    for (const name of listed) assert.ok(existsSync(join(path, name)), name);
    const files = readdirSync(path).filter((name) => name !== "kustomization.yaml");
    assert.deepEqual(
      files.filter((name) => name.endsWith(".yaml") && !listed.includes(name)),
      [],
    );
  });

  test(`infra/kustomize/${folder} has objects with kind, name and, where they need one, a namespace`, () => {
    const objects = manifestsOf(join(KUSTOMIZE, folder)).filter(
      ({ kind }) => kind !== "Kustomization" && kind !== "Component",
    );
    for (const { apiVersion, kind, metadata } of objects) {
      assert.match(apiVersion, /^([a-z0-9.]+\/)?v1$/, `${kind} is of a stable version`);
      assert.match(metadata.name, /^[a-z0-9.-]+$/);
      const isGlobal = CLUSTER_KINDS.includes(kind) || kind.startsWith("ValidatingAdmission");
      assert.equal(metadata.namespace === undefined, isGlobal, `${kind} ${metadata.name}`);
    }
  });
}

test("the Deployment's pod meets every rule of the restricted Pod Security Standard", () => {
  assert.deepEqual(restrictedViolations(pod), []);
  assert.equal(container.securityContext?.readOnlyRootFilesystem, true);
});

for (const [name, spoil] of [
  ["hostNetwork", { hostNetwork: true }],
  ["a hostPath", { volumes: [{ name: "a", hostPath: { path: "/" } }] }],
  ["root", { securityContext: { ...pod.securityContext, runAsUser: 0 } }],
  ["no seccomp profile", { securityContext: { runAsNonRoot: true } }],
  ["no runAsNonRoot", { securityContext: { seccompProfile: { type: "RuntimeDefault" } } }],
  ["sysctls", { securityContext: { ...pod.securityContext, sysctls: [{ name: "a" }] } }],
  ["a container without a security context", { containers: [{ name: "a" }] }],
  ["a host port", { containers: [{ ...container, ports: [{ hostPort: 80 }] }] }],
] as const) {
  test(`restrictedViolations() sees ${name}`, () => {
    assert.notDeepEqual(restrictedViolations({ ...pod, ...spoil }), []);
  });
}

test("in a brand-new cluster where every node is gated the forwarder is scheduled and finds its receiver without the cluster's DNS", () => {
  const tolerates = (key: string, effect: string) =>
    pod.tolerations?.some(
      (one) =>
        one.key === key &&
        one.operator === "Exists" &&
        (one.effect === undefined || one.effect === effect) &&
        one.tolerationSeconds === undefined,
    );
  for (const effect of ["NoSchedule", "NoExecute"]) assert.ok(tolerates(GATE_TAINT, effect));
  for (const key of [
    "node.cloudprovider.kubernetes.io/uninitialized",
    "node.kubernetes.io/not-ready",
  ]) {
    assert.ok(tolerates(key, "NoSchedule"), key);
  }
  assert.equal(pod.dnsPolicy, "Default");
  assert.equal(pod.priorityClassName, "system-cluster-critical");
  assert.ok(pod.nodeSelector === undefined && pod.affinity === undefined);
  for (const { whenUnsatisfiable } of pod.topologySpreadConstraints ?? []) {
    assert.equal(whenUnsatisfiable, "ScheduleAnyway");
  }
});

test("the pod shows each of its tokens: one for the API server, one for the receiver", () => {
  assert.equal(pod.automountServiceAccountToken, false);
  assert.equal(only("ServiceAccount").automountServiceAccountToken, false);
  assert.equal(pod.serviceAccountName, ACCOUNT.name);
  const mounts = Object.fromEntries(
    (container.volumeMounts ?? []).map(({ name, mountPath }) => [mountPath, name]),
  );
  const sourcesAt = (path: string) => {
    const volume = pod.volumes?.find(({ name }) => name === mounts[path]);
    return volume?.projected?.sources ?? [];
  };
  const api = sourcesAt("/var/run/secrets/kubernetes.io/serviceaccount");
  const files = api.flatMap(({ serviceAccountToken: token, configMap, downwardAPI }) => [
    ...(token ? [token.path] : []),
    ...(configMap?.items ?? []).map(({ path }) => path),
    ...(downwardAPI?.items ?? []).map(({ path }) => path),
  ]);
  assert.deepEqual(files.toSorted(), ["ca.crt", "namespace", "token"]);
  assert.ok(api.every(({ serviceAccountToken: token }) => token?.audience === undefined));
  const receiver = sourcesAt("/var/run/secrets/kube-allowlist");
  assert.equal(receiver.length, 1);
  assert.equal(receiver[0]?.serviceAccountToken?.audience, "https://hook.example");
  assert.equal(receiver[0]?.serviceAccountToken?.expirationSeconds, 600);
  const env = Object.fromEntries((container.env ?? []).map(({ name, value }) => [name, value]));
  const token = receiver[0]?.serviceAccountToken?.path;
  assert.equal(env.KUBE_ALLOWLIST_TOKEN_FILE, `/var/run/secrets/kube-allowlist/${token}`);
});

test("the Deployment's settings are some that the forwarder takes", () => {
  const env = Object.fromEntries((container.env ?? []).map(({ name, value }) => [name, value]));
  const reading = parseSettings(env);
  assert.equal(reading.kind, "parsed", JSON.stringify(reading));
  const port = reading.kind === "parsed" ? reading.settings.listen?.port : null;
  assert.equal(container.ports?.find(({ name }) => name === "probes")?.containerPort, port);
  for (const probe of ["startupProbe", "livenessProbe", "readinessProbe"] as const) {
    const path = probe === "readinessProbe" ? "/readyz" : "/healthz";
    assert.deepEqual(container[probe]?.httpGet, { path, port: "probes" });
  }
});

test("two replicas can be rolled, drained and lost one at a time", () => {
  assert.equal(deployment.spec?.replicas, 2);
  assert.deepEqual(deployment.spec?.strategy?.rollingUpdate, { maxSurge: 1, maxUnavailable: 0 });
  assert.equal(only("PodDisruptionBudget").spec?.maxUnavailable, 1);
  const labels = deployment.spec?.template?.metadata?.labels ?? {};
  for (const selector of [
    deployment.spec?.selector?.matchLabels,
    only("PodDisruptionBudget").spec?.selector?.matchLabels,
    only("NetworkPolicy").spec?.podSelector?.matchLabels,
  ]) {
    assert.ok(selector !== undefined && Object.keys(selector).length === 2);
    for (const [key, value] of Object.entries(selector)) assert.equal(labels[key], value);
  }
});

test("the default roles write Leases and Events only, and no role is bound to anybody else", () => {
  const writing = rightsOf(BASE).filter(({ verb }) => !["get", "list", "watch"].includes(verb));
  assert.deepEqual(
    writing.map(({ place, resource, name, verb }) => [place, resource, name, verb].join(" ")),
    [
      "default events.events.k8s.io * create",
      "default events.events.k8s.io * patch",
      "kube-allowlist events.events.k8s.io * create",
      "kube-allowlist events.events.k8s.io * patch",
      "kube-allowlist leases.coordination.k8s.io * create",
      "kube-allowlist leases.coordination.k8s.io kube-allowlist update",
    ],
  );
  for (const folder of FOLDERS) {
    for (const { kind, subjects } of manifestsOf(join(KUSTOMIZE, folder))) {
      if (kind.endsWith("RoleBinding")) assert.deepEqual(subjects, [ACCOUNT], folder);
    }
  }
});

const PAGE = readFileSync(join(import.meta.dirname, "../docs/forwarder.md"), "utf8");

test("docs/forwarder.md has each setting of the forwarder once", () => {
  const documented = [...PAGE.matchAll(/^\| `(KUBE_ALLOWLIST_[A-Z_]+)` \|/gm)].map(
    ([, name]) => name,
  );
  assert.deepEqual(documented.toSorted(), VARIABLES.toSorted());
});

for (const folder of FOLDERS) {
  test(`docs/forwarder.md says what infra/kustomize/${folder} allows, and nothing else`, () => {
    assert.deepEqual(
      documentedRights(PAGE, folder),
      rightsOf(manifestsOf(join(KUSTOMIZE, folder))),
    );
  });
}

test("docs/forwarder.md shows an overlay that changes the Deployment of the base", () => {
  const [, shown = ""] = /```yaml\n# kustomization\.yaml\n(.*?)```/s.exec(PAGE) ?? [];
  const { patches } = parse(shown) as { readonly patches: readonly { readonly patch: string }[] };
  const patch = parse(patches[0]?.patch ?? "") as Manifest;
  assert.deepEqual(
    [patch.kind, patch.metadata.name, patch.metadata.namespace],
    [deployment.kind, deployment.metadata.name, deployment.metadata.namespace],
  );
  const patched = podSpecOf(patch);
  assert.deepEqual(
    patched.containers.map(({ name }) => name),
    [container.name],
  );
  const env = Object.fromEntries(
    [...(container.env ?? []), ...(patched.containers[0]?.env ?? [])].map(({ name, value }) => [
      name,
      value,
    ]),
  );
  assert.equal(parseSettings(env).kind, "parsed");
  const names = pod.volumes?.map(({ name }) => name) ?? [];
  assert.ok(patched.volumes?.every(({ name }) => names.includes(name)));
});
