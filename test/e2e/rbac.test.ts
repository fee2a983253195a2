import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { KubeError, openKube } from "../../forwarder/kube.ts";
import { makeWorld } from "../../lib/world.ts";
import { documentedRights, podSpecOf, type Right, sortRights } from "../manifests.ts";
import { apply, kustomizeFolder, objectsOf, remove } from "./apply.ts";
import { assetPath, KUBERNETES, skipWithout } from "./assets.ts";
import { atEnd } from "./at-end.ts";
import { killChildren } from "./child.ts";
import { eventually } from "./eventually.ts";
import { setFeedStage } from "./feed-stage.ts";
import { KubeApiError, type KubeApiserver, startKubeApiserver } from "./kube-apiserver.ts";
import { NAMESPACE, startForwarder, startServe } from "./stage.ts";

/*
 * What is shipped in infra/kustomize, applied to a real API server: it must be enough for
 * everything that the forwarder does, be what docs/forwarder.md says, and no more.
 */

const ACCOUNT = "forwarder";
const WITHIN_MS = 60_000;
const PAGE = readFileSync(join(import.meta.dirname, "../../docs/forwarder.md"), "utf8");
const quiet = { debug() {}, info() {}, warn() {}, error() {}, audit() {} };
const skip = skipWithout(KUBERNETES);
const run = promisify(execFile);

let kube: KubeApiserver;
let token: string;

before(async () => {
  if (skip) return;
  kube = await startKubeApiserver();
  await apply(kube, objectsOf(kustomizeFolder("base")));
  token = await kube.createToken(NAMESPACE, ACCOUNT);
});
after(async () => {
  await kube?.stop();
  killChildren();
});

interface Events {
  readonly items: readonly {
    readonly reason: string;
    readonly regarding: { readonly kind: string; readonly name: string };
  }[];
}

async function eventsIn(namespace: string): Promise<readonly string[]> {
  const path = `/apis/events.k8s.io/v1/namespaces/${namespace}/events`;
  const { items } = await kube.request<Events>("GET", path);
  return items.map(({ reason, regarding }) => `${reason} ${regarding.kind}/${regarding.name}`);
}

test("forward: with exactly the shipped rights it lists, watches, leads, delivers and writes Events", {
  skip,
}, async (t) => {
  const stage = setFeedStage({ name: "rights", cluster: "west" });
  const receiver = await startServe(stage);
  atEnd(t, () => receiver.program.stop());
  const join = (host: number) =>
    kube.createNode({
      name: `rights-${host}`,
      labels: { pool: "rights" },
      addresses: [{ type: "ExternalIP", address: `203.0.113.${host}` }],
    });
  await join(1);
  const forwarder = await startForwarder(stage, {
    receiver,
    cluster: "west",
    kubeconfig: kube.kubeconfigFor(token),
    lease: `${NAMESPACE}/kube-allowlist`,
  });
  atEnd(t, () => forwarder.stop());
  const holds = (...hosts: readonly number[]) =>
    forwarder.waitFor(async () => {
      const entries = await stage.entries(receiver);
      return entries?.join() === hosts.map((host) => `203.0.113.${host}/32`).join();
    }, WITHIN_MS);
  await holds(1);
  await join(2);
  await holds(1, 2);
  const { clusters } = await receiver.status();
  const system = await kube.request<{ metadata: { uid: string } }>(
    "GET",
    "/api/v1/namespaces/kube-system",
  );
  assert.equal(Reflect.get(clusters[0] ?? {}, "clusterUid"), system.metadata.uid);
  const about = async (namespace: string, expected: string) =>
    eventually(
      `there is an Event ${expected}`,
      async () => (await eventsIn(namespace)).includes(expected),
      { withinMs: WITHIN_MS },
    );
  // The nodes of the first list are no news.
  await about("default", "AddressAllowlisted Node/rights-2");
  const lease = `/apis/coordination.k8s.io/v1/namespaces/${NAMESPACE}/leases/kube-allowlist`;
  await kube.request("DELETE", lease);
  await about(NAMESPACE, "LeaseLost Lease/kube-allowlist");
  await eventually("the Lease is made again", () => kube.request("GET", lease), {
    withinMs: WITHIN_MS,
  });
  const denied = forwarder.output().match(/forbidden|"status":403|: 403 /i);
  assert.equal(denied, null, forwarder.output());
  assert.deepEqual(await forwarder.stop(), { code: 0, signal: null });
});

/** What `kubectl auth can-i --list` answers for a token, less what every account may. */
async function listRights(bearer: string, namespace: string): Promise<readonly Right[]> {
  const kubectl = join(assetPath(KUBERNETES), "kubectl");
  const args = ["auth", "can-i", "--list", "--no-headers", "--namespace", namespace];
  const { stdout } = await run(kubectl, [...args, "--kubeconfig", kube.kubeconfigFor(bearer)]);
  const rows = stdout.split("\n").filter((line) => line.trim() !== "");
  return sortRights(
    rows.flatMap((row) => {
      const [, resource = "", , names = "", verbs = ""] =
        /^(\S*)\s+\[(.*?)\]\s+\[(.*?)\]\s+\[(.*?)\]$/.exec(row) ?? [];
      assert.notEqual(verbs, "", `kubectl has another table now: ${row}`);
      if (resource === "") return [];
      return (names === "" ? ["*"] : names.split(" ")).flatMap((name) =>
        verbs.split(" ").map((verb) => ({ place: namespace, resource, name, verb })),
      );
    }),
  );
}

/** Of what a page says, what holds in one namespace. */
function holdingIn(rights: readonly Right[], namespace: string): readonly Right[] {
  const here = rights.filter(({ place }) => place === "*" || place === namespace);
  return sortRights(here.map((right) => ({ ...right, place: namespace })));
}

async function assertDocumented(folders: readonly string[], namespaces: readonly string[]) {
  const nobody = await kube.createToken(NAMESPACE, "nobody");
  const documented = folders.flatMap((folder) => documentedRights(PAGE, folder));
  for (const namespace of namespaces) {
    const everybodys = (await listRights(nobody, namespace)).map((one) => JSON.stringify(one));
    const own = (await listRights(token, namespace)).filter(
      (one) => !everybodys.includes(JSON.stringify(one)),
    );
    assert.deepEqual(own, holdingIn(documented, namespace), namespace);
  }
}

test("kubectl auth can-i --list says in each namespace what docs/forwarder.md says", {
  skip,
}, async () => {
  const accounts = `/api/v1/namespaces/${NAMESPACE}/serviceaccounts`;
  await kube.request("POST", accounts, { metadata: { name: "nobody" } });
  for (const name of ["pay", "ops"]) {
    await kube.request("POST", "/api/v1/namespaces", { metadata: { name } });
  }
  const namespaces = [NAMESPACE, "default", "kube-system", "pay", "ops"];
  await assertDocumented(["base"], namespaces);
  await apply(kube, objectsOf(kustomizeFolder("pods")));
  await assertDocumented(["base", "pods"], namespaces);
  for (const gate of ["gate", "gate-condition"]) {
    const rights = objectsOf(kustomizeFolder(gate)).filter(({ apiVersion }) =>
      apiVersion.startsWith("rbac.authorization.k8s.io/"),
    );
    await apply(kube, rights);
    await assertDocumented(["base", "pods", gate], namespaces);
    await remove(kube, rights);
  }
  await assertDocumented(["base", "pods"], namespaces);
});

test("the shipped rights reach no Secret, no pod, no node and no Lease or Event of others", {
  skip,
}, async (t) => {
  await kube.createNode({ name: "untouched" });
  const source = { kind: "file", path: kube.kubeconfigFor(token) } as const;
  const account = openKube(source, { world: makeWorld(quiet), proxy: {}, warn: () => undefined });
  atEnd(t, () => account.close());
  const request = () => ({ signal: new AbortController().signal, timeoutMs: 10_000 });
  const leases = "/apis/coordination.k8s.io/v1/namespaces";
  const events = "/apis/events.k8s.io/v1/namespaces";
  const body = { metadata: { name: "x", resourceVersion: "1" } };
  const taint = [{ op: "add", path: "/spec/taints", value: [] }];
  const tried = {
    "read Secrets": () => account.read(`/api/v1/namespaces/${NAMESPACE}/secrets`, request()),
    "read other Secrets": () => account.read("/api/v1/namespaces/kube-system/secrets", request()),
    "read ConfigMaps": () => account.read(`/api/v1/namespaces/${NAMESPACE}/configmaps`, request()),
    "read pods": () => account.read("/api/v1/namespaces/kube-system/pods", request()),
    "read namespaces": () => account.read("/api/v1/namespaces", request()),
    "read a namespace": () => account.read("/api/v1/namespaces/default", request()),
    "create a node": () => account.write("POST", "/api/v1/nodes", { ...request(), body }),
    "patch a node": () =>
      account.patch("json", "/api/v1/nodes/untouched", { ...request(), body: taint }),
    "patch a node's status": () =>
      account.patch("strategic", "/api/v1/nodes/untouched/status", { ...request(), body }),
    "list Leases": () => account.read(`${leases}/${NAMESPACE}/leases`, request()),
    "read another Lease": () => account.read(`${leases}/${NAMESPACE}/leases/x`, request()),
    "write another Lease": () =>
      account.write("PUT", `${leases}/${NAMESPACE}/leases/x`, { ...request(), body }),
    "create a Lease elsewhere": () =>
      account.write("POST", `${leases}/default/leases`, { ...request(), body }),
    "write a node's Lease": () =>
      account.write("PUT", `${leases}/kube-node-lease/leases/x`, { ...request(), body }),
    "read Events": () => account.read(`${events}/default/events`, request()),
    "write an Event elsewhere": () =>
      account.write("POST", `${events}/kube-system/events`, { ...request(), body }),
    "make itself a token": () =>
      account.write("POST", `/api/v1/namespaces/${NAMESPACE}/serviceaccounts/${ACCOUNT}/token`, {
        ...request(),
        body: { spec: {} },
      }),
  };
  for (const [what, attempt] of Object.entries(tried)) {
    const error = await attempt().then(
      () => null,
      (reason: unknown) => reason,
    );
    assert.equal(error instanceof KubeError ? error.status : error, 403, what);
  }
  await account.read("/api/v1/nodes/untouched", request());
});

test("a real API server takes the Deployment's pod into a namespace that enforces the restricted standard", {
  skip,
}, async () => {
  const deployment = objectsOf(kustomizeFolder("base")).find(({ kind }) => kind === "Deployment");
  assert.ok(deployment);
  const spec = podSpecOf(deployment);
  const namespace = await kube.request<{ metadata: { labels: Record<string, string> } }>(
    "GET",
    `/api/v1/namespaces/${NAMESPACE}`,
  );
  assert.equal(namespace.metadata.labels["pod-security.kubernetes.io/enforce"], "restricted");
  const create = (name: string, pod: object) =>
    kube.request("POST", `/api/v1/namespaces/${NAMESPACE}/pods`, { metadata: { name }, spec: pod });
  // The server makes its classes of priority a moment after it is ready.
  await eventually("the pod is taken", () => create("right", spec).then(() => true), {
    withinMs: WITHIN_MS,
  });
  for (const [name, spoilt] of Object.entries({
    host: { ...spec, hostNetwork: true },
    root: { ...spec, securityContext: { ...spec.securityContext, runAsNonRoot: false } },
    profile: { ...spec, securityContext: { runAsNonRoot: true } },
    privileges: {
      ...spec,
      containers: spec.containers.map((one) => ({ ...one, securityContext: {} })),
    },
  })) {
    await assert.rejects(
      create(name, spoilt),
      (error) => error instanceof KubeApiError && /violates PodSecurity/.test(error.message),
      name,
    );
  }
});
