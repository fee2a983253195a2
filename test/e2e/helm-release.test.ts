import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, type TestContext, test } from "node:test";
import { parse } from "yaml";
import { GATE_TAINT } from "../../forwarder/variables.ts";
import { CHART } from "../../scripts/chart-files.ts";
import { overlay, type Values } from "../chart.ts";
import { type Manifest, podSpecOf } from "../manifests.ts";
import { KUBERNETES, skipWithout } from "./assets.ts";
import { atEnd } from "./at-end.ts";
import { freePort, killChildren, temporaryFolder } from "./child.ts";
import { eventually } from "./eventually.ts";
import { HELM, manifestsIn, runHelm, tryTemplate, valuesFile } from "./helm.ts";
import { KubeApiError, type KubeApiserver, startKubeApiserver } from "./kube-apiserver.ts";
import { type Program, startProgram } from "./program.ts";

/*
 * A release that Helm installs on a real API server. There is no kubelet, so the two programs are
 * started by hand: with the arguments, variables, files and account that the installed objects give
 * them, in folders of this test instead of a container's.
 */

const skip = skipWithout(KUBERNETES, HELM);
const WITHIN_MS = 60_000;
const RELEASE = "kube-allowlist";
const NAMESPACE = RELEASE;
const KEY_PATH = "/var/run/secrets/kube-allowlist-signature/key";
const STORE_PATH = "/var/lib/kube-allowlist";
const CONFIG_PATH = "/etc/kube-allowlist/allowlist.yaml";

const VALUES: Values = {
  cluster: "prod-eu",
  labels: ["pool"],
  heartbeat: "10s",
  gate: { enabled: true },
  receiver: {
    enabled: true,
    resync: "2s",
    config: {
      installation: "e2e",
      clusters: { "prod-eu": { bounds: ["203.0.113.0/24"] } },
      lists: {
        open: {
          from: [{ cluster: "prod-eu", nodes: { pool: "payments" }, addresses: ["ExternalIP"] }],
          removal: { policy: "sync", grace: "2s", maxRatio: 1 },
          targets: [{ kind: "feed", open: true }],
        },
      },
    },
  },
};

let kube: KubeApiserver;

before(async () => {
  if (skip) return;
  kube = await startKubeApiserver();
});
after(async () => {
  await kube?.stop();
  killChildren();
});

async function runRelease(verb: "install" | "upgrade", values: Values) {
  const said = await runHelm([
    ...[verb, RELEASE, CHART, "--namespace", NAMESPACE, "--kubeconfig", kube.kubeconfig],
    ...["--values", valuesFile(values), ...(verb === "install" ? ["--create-namespace"] : [])],
  ]);
  assert.equal(said.code, 0, said.stderr.slice(0, 3_000));
  return said.stdout;
}

async function uninstall(): Promise<void> {
  const flags = ["--namespace", NAMESPACE, "--kubeconfig", kube.kubeconfig];
  const said = await runHelm(["uninstall", RELEASE, ...flags]);
  assert.equal(said.code, 0, said.stderr);
}

const place = (path: string) => `/apis/${path.replace("*", `namespaces/${NAMESPACE}`)}`;
const core = (path: string) => `/api/v1/namespaces/${NAMESPACE}/${path}`;

interface Secret {
  readonly metadata: { readonly uid: string };
  readonly immutable?: boolean;
  readonly data: Readonly<Record<string, string>>;
}

const readSecret = () => kube.request<Secret>("GET", core("secrets/kube-allowlist-signature"));

/** A program of the release, with its own files in place of a container's. */
async function startPod(name: "forwarder" | "receiver", folder: string) {
  const deployment = await kube.request<Manifest>("GET", place(`apps/v1/*/deployments/${name}`));
  const [container] = podSpecOf(deployment).containers;
  assert.ok(container);
  const key = join(folder, "key");
  const { data } = await readSecret();
  writeFileSync(key, Buffer.from(data.key ?? "", "base64"), { mode: 0o600 });
  const mapped = (text: string) =>
    text.replace(KEY_PATH, key).replace(STORE_PATH, join(folder, "store"));
  const env = Object.fromEntries(
    (container.env ?? []).map(({ name: variable, value }) => [variable, mapped(value)]),
  );
  const args = Reflect.get(container, "args") as readonly string[];
  return { args, env, mapped };
}

async function startReceiver(t: TestContext, folder: string) {
  const { args, env, mapped } = await startPod("receiver", folder);
  const map = await kube.request<{ data: Record<string, string> }>(
    "GET",
    core("configmaps/receiver"),
  );
  const config = join(folder, "allowlist.yaml");
  writeFileSync(config, mapped(map.data["allowlist.yaml"] ?? ""));
  const port = await freePort();
  const given = new Map([
    [CONFIG_PATH, config],
    ["8787", String(port)],
    ["::", "127.0.0.1"],
  ]);
  assert.deepEqual(
    [...given.keys()].filter((one) => !args.includes(one)),
    [],
  );
  const program = await startProgram(
    args.map((one) => given.get(one) ?? one),
    { env, folder },
  );
  atEnd(t, () => program.stop());
  const url = `http://127.0.0.1:${port}`;
  const get = (path: string) => fetch(url + path, { signal: AbortSignal.timeout(5_000) });
  await program.waitFor(() => get("/healthz").then(({ ok }) => ok), WITHIN_MS);
  const entries = async () => {
    const answer = await get("/v1/lists/open.txt");
    const lines = (await answer.text()).split("\n").map((line) => line.trim());
    return answer.ok ? lines.filter((line) => /^[0-9]/.test(line)) : [];
  };
  return { program, url, entries };
}

async function startForwarder(t: TestContext, folder: string, url: string): Promise<Program> {
  const { args, env } = await startPod("forwarder", folder);
  assert.equal(env.KUBE_ALLOWLIST_URL, "http://receiver.kube-allowlist.svc/v1/snapshots");
  const kubeconfig = join(folder, "kubeconfig.json");
  // In a pod the namespace is a file beside the token.
  const token = await kube.createToken(NAMESPACE, "forwarder");
  const inner = JSON.parse(readFileSync(kube.kubeconfigFor(token), "utf8"));
  inner.contexts[0].context.namespace = NAMESPACE;
  writeFileSync(kubeconfig, JSON.stringify(inner), { mode: 0o600 });
  const changed = {
    KUBE_ALLOWLIST_URL: `${url}/v1/snapshots`,
    KUBE_ALLOWLIST_LISTEN: `127.0.0.1:${await freePort()}`,
  };
  const program = await startProgram([...args, "--kubeconfig", kubeconfig], {
    folder,
    env: { ...env, ...changed },
  });
  atEnd(t, () => program.stop());
  return program;
}

interface NodeObject {
  readonly spec: { readonly taints?: readonly { readonly key: string }[] };
}

async function joinNode(name: string, host: number): Promise<void> {
  await kube.request("POST", "/api/v1/nodes", {
    metadata: { name, labels: { pool: "payments" } },
    spec: { taints: [{ key: GATE_TAINT, effect: "NoSchedule" }] },
    status: { addresses: [{ type: "ExternalIP", address: `203.0.113.${host}` }] },
  });
}

async function isShut(name: string): Promise<boolean> {
  const { spec } = await kube.request<NodeObject>("GET", `/api/v1/nodes/${name}`);
  return (spec.taints ?? []).some(({ key }) => key === GATE_TAINT);
}

test("an installed release delivers nodes, keeps their list and opens their gates, with its own rights alone", {
  skip,
}, async (t) => {
  const notes = await runRelease("install", VALUES);
  atEnd(t, uninstall);
  assert.match(notes, /takes deliveries at http:\/\/receiver\.kube-allowlist\.svc:80/);
  assert.match(notes, /WARNING: the forwarder finds the receiver by the cluster's DNS/);
  const folder = temporaryFolder("release");
  const folders = { receiver: join(folder, "receiver"), forwarder: join(folder, "forwarder") };
  for (const path of Object.values(folders)) mkdirSync(path);
  const receiver = await startReceiver(t, folders.receiver);
  await joinNode("first", 1);
  const forwarder = await startForwarder(t, folders.forwarder, receiver.url);
  await forwarder.waitFor(
    async () => (await receiver.entries()).join() === "203.0.113.1/32",
    WITHIN_MS,
  );
  await forwarder.waitFor(async () => !(await isShut("first")), WITHIN_MS);
  await joinNode("second", 2);
  await forwarder.waitFor(async () => !(await isShut("second")), WITHIN_MS);
  assert.deepEqual(await receiver.entries(), ["203.0.113.1/32", "203.0.113.2/32"]);
  const lease = await kube.request<{ metadata: { annotations: Record<string, string> } }>(
    "GET",
    place("coordination.k8s.io/v1/*/leases/kube-allowlist"),
  );
  assert.equal(lease.metadata.annotations["kube-allowlist.dev/epoch"], "1");
  assert.equal(forwarder.output().match(/forbidden|"status":403|: 403 /i), null);
  // The role would let it, the policy does not.
  const token = await kube.createToken(NAMESPACE, "forwarder");
  const unlabel = { metadata: { labels: { pool: "x" } } };
  const refused = /403.*kube-allowlist-gate.*denied request/;
  await eventually(
    "the policy is in force",
    async () => refused.test(await patchAs(token, "/api/v1/nodes/first", unlabel)),
    { withinMs: WITHIN_MS },
  );
  assert.deepEqual(await forwarder.stop(), { code: 0, signal: null });
});

/** What a PATCH with a service account's token is answered. */
async function patchAs(token: string, path: string, body: object): Promise<string> {
  const { openKube, KubeError } = await import("../../forwarder/kube.ts");
  const { makeWorld } = await import("../../lib/world.ts");
  const quiet = { debug() {}, info() {}, warn() {}, error() {}, audit() {} };
  const source = { kind: "file", path: kube.kubeconfigFor(token) } as const;
  const account = openKube(source, { world: makeWorld(quiet), proxy: {}, warn: () => undefined });
  try {
    const request = { signal: new AbortController().signal, timeoutMs: 10_000, body };
    await account.patch("strategic", path, request);
    return "200";
  } catch (error) {
    if (error instanceof KubeError) return `${error.status} ${error.message}`;
    throw error;
  } finally {
    account.close();
  }
}

test("an upgrade keeps the signing key, and restarts the receiver when its configuration changed", {
  skip,
}, async (t) => {
  await runRelease("install", VALUES);
  atEnd(t, uninstall);
  const sumOf = async () => {
    const path = place("apps/v1/*/deployments/receiver");
    const deployment = await kube.request<Manifest>("GET", path);
    const template = Object(deployment.spec?.template?.metadata);
    return String(Reflect.get(Reflect.get(template, "annotations"), "checksum/config"));
  };
  const [key, sum] = [await readSecret(), await sumOf()];
  assert.match(
    Buffer.from(key.data.key ?? "", "base64").toString(),
    /^whsec_[A-Za-z0-9+/]{43}=\n$/,
  );
  await runRelease("upgrade", overlay(VALUES, { logLevel: "debug" }) as Values);
  assert.deepEqual([await readSecret(), await sumOf()], [key, sum]);
  const bounds = { config: { clusters: { "prod-eu": { bounds: ["203.0.113.0/25"] } } } };
  await runRelease("upgrade", overlay(VALUES, { receiver: bounds }) as Values);
  assert.deepEqual(await readSecret(), key);
  assert.notEqual(await sumOf(), sum);
});

test("a program that only renders the chart cannot change the signing key", { skip }, async (t) => {
  await runRelease("install", VALUES);
  atEnd(t, uninstall);
  const held = await readSecret();
  const { stdout } = await tryTemplate(VALUES);
  const rendered = manifestsIn(stdout).find(({ kind }) => kind === "Secret");
  assert.ok(rendered);
  const path = `${core("secrets/kube-allowlist-signature")}?fieldManager=other&force=true`;
  await assert.rejects(
    kube.request("PATCH", path, rendered, { type: "application/apply-patch+yaml" }),
    (error) => error instanceof KubeApiError && /immutable/.test(error.message),
  );
  assert.deepEqual((await readSecret()).data, held.data);
});

test("helm's notes tell a receiver elsewhere what the Deployment's token says", {
  skip,
}, async (t) => {
  const notes = await runRelease("install", {
    cluster: "prod-eu",
    url: "https://hook.acme.example/v1/snapshots",
  });
  atEnd(t, uninstall);
  const [, shown = ""] = /In its configuration:\n\n([\s\S]*?)(?:\n\n|$)/.exec(notes) ?? [];
  const auth = parse(shown).clusters["prod-eu"].auth.serviceAccount;
  const path = place("apps/v1/*/deployments/forwarder");
  const pod = podSpecOf(await kube.request<Manifest>("GET", path));
  const sources = (pod.volumes ?? []).flatMap(({ projected }) => projected?.sources ?? []);
  const audiences = sources.flatMap(
    ({ serviceAccountToken }) => serviceAccountToken?.audience ?? [],
  );
  assert.deepEqual(audiences, [auth.audience]);
  assert.equal(auth.audience, "https://hook.acme.example");
  assert.equal(auth.subject, `system:serviceaccount:${NAMESPACE}:${pod.serviceAccountName}`);
});

test("nothing of a release is left when it is uninstalled, but what the forwarder made", {
  skip,
}, async () => {
  await runRelease("install", overlay(VALUES, { pods: [{ namespace: "default" }] }) as Values);
  await uninstall();
  const selector = "labelSelector=app.kubernetes.io%2Fpart-of%3Dkube-allowlist";
  const left: string[] = [];
  for (const collection of [
    "/api/v1/secrets",
    "/api/v1/configmaps",
    "/api/v1/serviceaccounts",
    "/api/v1/services",
    "/api/v1/persistentvolumeclaims",
    "/apis/apps/v1/deployments",
    "/apis/policy/v1/poddisruptionbudgets",
    "/apis/networking.k8s.io/v1/networkpolicies",
    "/apis/rbac.authorization.k8s.io/v1/roles",
    "/apis/rbac.authorization.k8s.io/v1/rolebindings",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
    "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
  ]) {
    const { items } = await kube.request<{ items: readonly Manifest[] }>(
      "GET",
      `${collection}?${selector}`,
    );
    // Claims go when a controller, which does not run here, says that no pod has them.
    const staying = items.filter(({ metadata }) => !("deletionTimestamp" in metadata));
    left.push(...staying.map(({ metadata }) => `${collection}/${metadata.name}`));
  }
  assert.deepEqual(left, []);
});
