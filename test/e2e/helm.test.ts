import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { parse, stringify } from "yaml";
import { parseSettings } from "../../forwarder/settings.ts";
import { parseYamlConfig } from "../../lib/config/yaml.ts";
import { ROOT } from "../../scripts/bundle.ts";
import { CHART } from "../../scripts/chart-files.ts";
import { RENDERED, renderKustomizeFiles } from "../../scripts/kustomize-files.ts";
import { type Values, valueSets, valuesIn } from "../chart.ts";
import {
  documentedRights,
  type Manifest,
  podSpecOf,
  restrictedViolations,
  rightsOf,
  sortRights,
} from "../manifests.ts";
import { kustomizeFolder } from "./apply.ts";
import { assetPath, KUBERNETES, skipWithout } from "./assets.ts";
import { killChildren, temporaryFolder } from "./child.ts";
import { eventually } from "./eventually.ts";
import { dryRunner, HELM, manifestsIn, podOf, renderChart, runHelm, valuesFile } from "./helm.ts";
import { LEAST, product, RARELY, WHOLE, withReceiver } from "./helm-sets.ts";
import { type KubeApiserver, startKubeApiserver } from "./kube-apiserver.ts";

/*
 * The chart as Helm renders it, judged by a real API server. What needs no Helm is in
 * test/helm-values.test.ts, the journey of an installed release in helm-release.test.ts.
 */

const skip = skipWithout(KUBERNETES, HELM);
const WITHIN_MS = 60_000;
const NAMESPACE = "kube-allowlist";
const run = promisify(execFile);

let kube: KubeApiserver;

before(async () => {
  if (skip) return;
  kube = await startKubeApiserver();
  const enforce = { "pod-security.kubernetes.io/enforce": "restricted" };
  for (const [name, labels] of [
    [NAMESPACE, enforce],
    ["elsewhere", enforce],
    ["pay", {}],
    ["ops", {}],
  ] as const) {
    await kube.request("POST", "/api/v1/namespaces", { metadata: { name, labels } });
  }
  await defineMonitors();
  // The server makes its classes of priority a moment after it is ready.
  const classes = "/apis/scheduling.k8s.io/v1/priorityclasses/system-cluster-critical";
  await eventually("there are priorities", () => kube.request("GET", classes), {
    withinMs: WITHIN_MS,
  });
});
after(async () => {
  await kube?.stop();
  killChildren();
});

/** As much of the Prometheus Operator's own definition as a strict server needs. */
async function defineMonitors(): Promise<void> {
  const strings = { type: "object", additionalProperties: { type: "string" } };
  const endpoint = {
    type: "object",
    properties: Object.fromEntries(
      ["port", "path", "interval"].map((name) => [name, { type: "string" }]),
    ),
  };
  const properties = {
    selector: { type: "object", properties: { matchLabels: strings } },
    endpoints: { type: "array", items: endpoint },
  };
  await kube.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", {
    metadata: { name: "servicemonitors.monitoring.coreos.com" },
    spec: {
      group: "monitoring.coreos.com",
      scope: "Namespaced",
      names: { kind: "ServiceMonitor", plural: "servicemonitors", singular: "servicemonitor" },
      versions: [
        {
          name: "v1",
          served: true,
          storage: true,
          schema: {
            openAPIV3Schema: {
              type: "object",
              properties: { spec: { type: "object", required: ["endpoints"], properties } },
            },
          },
        },
      ],
    },
  });
  await eventually(
    "ServiceMonitors are known",
    () => kube.request("GET", "/apis/monitoring.coreos.com/v1/servicemonitors"),
    { withinMs: WITHIN_MS },
  );
}

/** Everything that is wrong with a rendered release: what the API server refuses, and our rules. */
async function problemsOf(
  objects: readonly Manifest[],
  { refusalOf }: ReturnType<typeof dryRunner>,
): Promise<readonly string[]> {
  const problems: string[] = [];
  const places = objects.map(({ kind, metadata }) =>
    [kind, metadata.namespace, metadata.name].join(),
  );
  if (new Set(places).size < places.length) problems.push("two objects of one name");
  for (const object of objects) {
    for (const asked of [object, podOf(object)]) {
      const refusal = asked === null ? null : await refusalOf(asked);
      if (refusal !== null) problems.push(refusal);
    }
    if (object.kind === "Deployment") {
      const pod = podSpecOf(object);
      problems.push(...restrictedViolations(pod), ...settingProblems(object));
      if (pod.automountServiceAccountToken !== false) problems.push("tokens are not in sight");
      if (pod.containers.some((one) => !one.securityContext?.readOnlyRootFilesystem)) {
        problems.push("its files can be written");
      }
    }
    if (object.kind === "ConfigMap") problems.push(...configProblems(object));
  }
  return problems;
}

/** What the forwarder itself would say to the settings of its Deployment. */
function settingProblems(deployment: Manifest): readonly string[] {
  const [container] = podSpecOf(deployment).containers;
  if (container?.name !== "forwarder") return [];
  const reading = parseSettings(envOf(deployment));
  return reading.kind === "parsed"
    ? []
    : reading.problems.map(({ path, message }) => path + message);
}

function envOf(deployment: Manifest): Readonly<Record<string, string>> {
  const [container] = podSpecOf(deployment).containers;
  return Object.fromEntries((container?.env ?? []).map(({ name, value }) => [name, value]));
}

/** What the receiver itself would say to its configuration. */
function configProblems(object: Manifest): readonly string[] {
  const text = String(Reflect.get(Object(Reflect.get(object, "data")), "allowlist.yaml"));
  const reading = parseYamlConfig(text);
  return reading.kind === "parsed"
    ? []
    : reading.problems.map(({ path, message }) => path + message);
}

for (const [name, values] of [...valueSets(), ["the values of no receiver", LEAST] as const]) {
  test(`helm lint --strict finds nothing with ${name}`, { skip }, async () => {
    const said = await runHelm(["lint", "--strict", CHART, "--values", valuesFile(values)]);
    assert.equal(said.code, 0, said.stdout + said.stderr);
    assert.doesNotMatch(said.stdout, /\[(WARNING|ERROR)\]/);
  });
}

test("a real API server takes every combination of values, and the pods under the restricted standard", {
  skip,
}, async (t) => {
  const runner = dryRunner(kube);
  const combinations = product();
  assert.equal(combinations.length, 72);
  for (const [name, values] of combinations) {
    assert.deepEqual(await problemsOf(await renderChart(values), runner), [], name);
  }
  t.diagnostic(`${combinations.length} combinations, ${runner.asked()} different objects`);
});

for (const [name, values] of [...Object.entries(RARELY), ...valueSets()]) {
  test(`a real API server takes ${name}`, { skip }, async () => {
    const runner = dryRunner(kube);
    assert.deepEqual(await problemsOf(await renderChart(values), runner), []);
    const elsewhere = await renderChart(values, { release: "second", namespace: "elsewhere" });
    assert.deepEqual(await problemsOf(elsewhere, runner), []);
  });
}

test("a real API server takes what the pages show", { skip }, async () => {
  const runner = dryRunner(kube);
  for (const page of ["infra/helm/kube-allowlist/README.md", "docs/deploy-kubernetes.md"]) {
    for (const values of valuesIn(readFileSync(join(ROOT, page), "utf8"))) {
      if (values.cluster === undefined) continue;
      assert.deepEqual(await problemsOf(await renderChart(values), runner), [], page);
    }
  }
});

test("problemsOf() sees a pod that is not restricted, an unknown member and settings that are none", {
  skip,
}, async () => {
  const spoil = async (change: (text: string) => string) => {
    const rendered = change(JSON.stringify(await renderChart(WHOLE)));
    return (await problemsOf(JSON.parse(rendered), dryRunner(kube))).join("\n");
  };
  assert.match(await spoil((text) => text.replaceAll('"ALL"', '"CHOWN"')), /violates PodSecurity/);
  assert.match(await spoil((text) => text.replace('"replicas"', '"replcas"')), /replcas/);
  assert.match(await spoil((text) => text.replace("http://receiver", "ftp://receiver")), /ftp/);
  assert.match(await spoil((text) => text.replace("installation", "instalation")), /instalation/);
});

test("the receiver's configuration arrives as it was written, whatever a text looks like", {
  skip,
}, async () => {
  // What some version of YAML takes for something else than a text, and a number that is large.
  const texts = ["yes", "no", "on", "off", "y", "1e3", "0o17", "0x1f", "017", "1_000", "12.30"];
  const more = [
    "null",
    "true",
    "2026-11-21",
    "e1",
    "-",
    "",
    "1.",
    "2.50",
    "0b1",
    "9007199254740993",
  ];
  const nodes = Object.fromEntries([...texts, ...more].map((text, index) => [`k${index}`, text]));
  const permission = { protocol: "tcp", port: "5432-5440" };
  const list = {
    from: [
      { cluster: "prod-eu", nodes, addresses: ["ExternalIP"] },
      { static: ["2001:db8::1/128"] },
    ],
    removal: { policy: "sync", maxRatio: 0.3, grace: "5m" },
    targets: [{ kind: "linode/firewall", id: 123_456_789_012, permission }],
    formerly: ["b", "a"],
  };
  const { config } = Object(WHOLE.receiver);
  const objects = await renderChart(withReceiver({ config: { lists: { "payments-db": list } } }));
  const found = objects.find(({ kind }) => kind === "ConfigMap");
  const arrived = parse(Reflect.get(Object(Reflect.get(Object(found), "data")), "allowlist.yaml"));
  const file = "file:/var/run/secrets/kube-allowlist-signature/key";
  const own = { ...config.clusters["prod-eu"], auth: { signature: { keys: [file] } } };
  const store = { kind: "file", path: "/var/lib/kube-allowlist" };
  const clusters = { "prod-eu": own };
  const lists = { "payments-db": list };
  assert.deepEqual(arrived, { ...config, version: 1, store, clusters, lists });
});

const PAGE = readFileSync(join(ROOT, "docs/forwarder.md"), "utf8");

test("names and the audience arrive as they were written, whatever they look like", {
  skip,
}, async () => {
  const texts = ["null", "~", "*a", "123", "true", "0x1f", "1e3", "on", "2001-01-01", "a:b"];
  for (const audience of texts) {
    const objects = await renderChart({ ...LEAST, auth: { token: { audience } } });
    assert.ok(JSON.stringify(objects).includes(`"audience":${JSON.stringify(audience)}`), audience);
  }
  const odd = RARELY["names that look like numbers and nothing"] ?? {};
  const rendered = await renderChart(odd, { release: "5", namespace: "6" });
  assert.ok(rendered.length > 10);
  const strangers: string[] = [];
  const look = (value: unknown, path: string) => {
    const isName = /(^|\.)(name|namespace|serviceAccountName|secretName|audience)$/.test(path);
    const isLabel = /\.(labels|matchLabels|selector)\.[^.]*(\.io\/[a-z-]+)$/.test(path);
    if ((isName || isLabel) && typeof value !== "string") strangers.push(path);
    if (typeof value !== "object" || value === null) return;
    for (const [key, inner] of Object.entries(value)) look(inner, `${path}.${key}`);
  };
  for (const object of rendered) look(object, object.kind);
  assert.deepEqual(strangers, []);
});

test("the rendered roles are what docs/forwarder.md says, with each of the gates and with pods", {
  skip,
}, async () => {
  const pods = { pods: [{ namespace: "pay", labels: { app: "api" } }] };
  for (const [folders, values] of [
    [["base"], {}],
    [["base", "pods"], pods],
    [["base", "gate"], { gate: { enabled: true } }],
    [["base", "pods", "gate-condition"], { ...pods, gate: { enabled: true, mode: "condition" } }],
  ] as const) {
    const documented = sortRights(folders.flatMap((folder) => documentedRights(PAGE, folder)));
    for (const given of [
      { ...LEAST, ...values },
      { ...WHOLE, ...values },
    ]) {
      const objects = await renderChart(given);
      assert.deepEqual(rightsOf(objects), documented, folders.join());
      const account = { kind: "ServiceAccount", name: "forwarder", namespace: NAMESPACE };
      for (const { kind, subjects } of objects) {
        if (kind.endsWith("RoleBinding")) assert.deepEqual(subjects, [account]);
      }
    }
  }
});

test("releases in several namespaces, and two in one, share no object", { skip }, async () => {
  const values = { ...WHOLE, gate: { enabled: true } };
  const placesOf = async (options: { release: string; namespace: string }) =>
    (await renderChart(values, options)).map(({ kind, metadata }) =>
      [kind, metadata.namespace ?? "", metadata.name].join("/"),
    );
  const all = [
    ...(await placesOf({ release: "kube-allowlist", namespace: "kube-allowlist" })),
    ...(await placesOf({ release: "second", namespace: "kube-allowlist" })),
    ...(await placesOf({ release: "third", namespace: "elsewhere" })),
  ];
  assert.equal(new Set(all).size, all.length);
  assert.ok(all.includes("Deployment/kube-allowlist/forwarder"));
  assert.ok(all.includes("Deployment/kube-allowlist/second-kube-allowlist-forwarder"));
});

test("the forwarder asks the cluster's DNS only for a receiver that nothing else can find", {
  skip,
}, async () => {
  const dnsOf = async (values: Values) => {
    const objects = await renderChart(values);
    const deployment = objects.find(
      ({ kind, metadata }) => kind === "Deployment" && metadata.name === "forwarder",
    );
    assert.ok(deployment);
    const pod = podSpecOf(deployment);
    return [pod.dnsPolicy, Reflect.get(pod, "hostAliases") ?? null];
  };
  assert.deepEqual(await dnsOf(LEAST), ["Default", null]);
  assert.deepEqual(await dnsOf({ ...LEAST, url: "http://hook.ops.svc:8080" }), [
    "ClusterFirst",
    null,
  ]);
  assert.deepEqual(await dnsOf(WHOLE), ["ClusterFirst", null]);
  assert.deepEqual(
    await dnsOf({ ...WHOLE, url: "https://hook.example", auth: { method: "signature" } }),
    ["Default", null],
  );
  assert.deepEqual(await dnsOf(withReceiver({ service: { clusterIP: "10.0.0.50" } })), [
    "Default",
    [{ ip: "10.0.0.50", hostnames: ["receiver.kube-allowlist.svc"] }],
  ]);
});

test("forwarder and receiver tolerate the taint of the gate, whatever its key", {
  skip,
}, async () => {
  for (const [gate, key] of [
    [{}, "startup-taint.cluster-autoscaler.kubernetes.io/kube-allowlist"],
    [{ enabled: true, key: "acme.example/new" }, "acme.example/new"],
    [{ enabled: true, mode: "condition" }, "readiness.k8s.io/kube-allowlist"],
    [{ enabled: true, mode: "condition", key: "readiness.k8s.io/x" }, "readiness.k8s.io/x"],
  ] as const) {
    const objects = await renderChart({ ...WHOLE, gate });
    const deployments = objects.filter(({ kind }) => kind === "Deployment");
    assert.equal(deployments.length, 2);
    for (const deployment of deployments) {
      const { tolerations = [] } = podSpecOf(deployment);
      assert.ok(
        tolerations.some((one) => one.key === key && one.operator === "Exists"),
        key,
      );
    }
  }
});

test("infra/kustomize holds what the chart renders", { skip }, () => {
  const files = renderKustomizeFiles(assetPath(HELM));
  assert.deepEqual([...files.keys()], RENDERED);
  for (const [name, text] of files) {
    const committed = readFileSync(kustomizeFolder(name), "utf8");
    assert.ok(committed === text, `${name} is out of date: run "npm run manifests"`);
  }
});

test("kubectl kustomize renders the base with each of the components, and a real API server takes it", {
  skip,
}, async () => {
  const kubectl = join(assetPath(KUBERNETES), "kubectl");
  for (const components of [[], ["pods"], ["gate"], ["gate-condition"], ["pods", "gate"]]) {
    const folder = temporaryFolder("kustomize");
    const from = (name: string) => name && kustomizeFolder(name);
    writeFileSync(
      join(folder, "kustomization.yaml"),
      stringify({
        apiVersion: "kustomize.config.k8s.io/v1beta1",
        kind: "Kustomization",
        resources: [relativeTo(folder, from("base"))],
        components: components.map((name) => relativeTo(folder, from(name))),
      }),
    );
    const { stdout } = await run(kubectl, ["kustomize", folder]);
    const objects = manifestsIn(stdout).filter(({ kind }) => kind !== "Namespace");
    assert.deepEqual(await problemsOf(objects, dryRunner(kube)), [], components.join());
    const deployment = objects.find(({ kind }) => kind === "Deployment");
    assert.ok(deployment);
    const gate = components.find((name) => name.startsWith("gate"));
    const expected = gate === undefined ? undefined : gate === "gate" ? "taint" : "condition";
    assert.equal(envOf(deployment).KUBE_ALLOWLIST_GATE, expected);
  }
});

function relativeTo(folder: string, path: string): string {
  const up = folder
    .split("/")
    .filter(Boolean)
    .map(() => "..");
  return join(...up, path);
}
