import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join as joinPath } from "node:path";
import { after, before, type TestContext, test } from "node:test";
import { promisify } from "node:util";
import { makeGate } from "../../forwarder/gate.ts";
import { GATE_CONDITION } from "../../forwarder/gate-patch.ts";
import type { ForwarderEvent } from "../../forwarder/journal.ts";
import { type Kube, KubeError, openKube, type PatchForm } from "../../forwarder/kube.ts";
import { type ObservedNode, projectNode } from "../../forwarder/projection.ts";
import { GATE_TAINT, type GateMark } from "../../forwarder/variables.ts";
import type { Snapshot } from "../../lib/core/snapshot.ts";
import { makeWorld } from "../../lib/world.ts";
import { answerTo } from "../forwarder/gate-stage.ts";
import { apply, kustomizeFolder, objectsOf } from "./apply.ts";
import { assetPath, KUBERNETES, skipWithout } from "./assets.ts";
import { atEnd } from "./at-end.ts";
import { killChildren } from "./child.ts";
import { eventually } from "./eventually.ts";
import { setFeedStage } from "./feed-stage.ts";
import { type KubeApiserver, startKubeApiserver } from "./kube-apiserver.ts";
import { grantForwarder, startForwarder, startServe } from "./stage.ts";

/*
 * The gate on a real API server, with the account, the roles and the admission policy that are
 * shipped.
 */

const skip = skipWithout(KUBERNETES);
const WITHIN_MS = 60_000;
const NODES = "/api/v1/nodes";
const OURS = { key: GATE_TAINT, effect: "NoSchedule" };
const OURS_TOO = { key: GATE_TAINT, effect: "NoExecute", value: "starting" };
const OTHER = { key: "example.com/other", effect: "NoExecute" };
const ADDRESSES = [{ type: "ExternalIP", address: "203.0.113.1" }];
const TAINT: GateMark = { kind: "taint", key: GATE_TAINT };
const quiet = { debug() {}, info() {}, warn() {}, error() {}, audit() {} };
const world = makeWorld(quiet);
const request = () => ({ signal: new AbortController().signal, timeoutMs: 10_000 });

let server: KubeApiserver;
let token: string;
let account: Kube;
let administrator: Kube;

before(async () => {
  if (skip) return;
  server = await startKubeApiserver();
  token = await grantForwarder(server);
  const open = (path: string) =>
    openKube({ kind: "file", path }, { world, proxy: {}, warn: () => undefined });
  account = open(server.kubeconfigFor(token));
  administrator = open(server.kubeconfig);
  await apply(server, objectsOf(kustomizeFolder("gate-policy")));
  await apply(server, objectsOf(kustomizeFolder("gate")));
  // Both gates at once, so that what is refused is refused by the policy.
  const second = objectsOf(kustomizeFolder("gate-condition")).map((object) => {
    const { roleRef } = object;
    const name = `${object.metadata.name}-condition`;
    const ref = roleRef === undefined ? {} : { roleRef: { ...roleRef, name } };
    return { ...object, ...ref, metadata: { ...object.metadata, name } };
  });
  await apply(server, second);
  await policyHolds();
});
after(async () => {
  account?.close();
  administrator?.close();
  await server?.stop();
  killChildren();
});

interface NodeObject {
  readonly metadata: { readonly name: string; readonly uid: string };
  readonly spec: { readonly taints?: readonly { readonly key: string }[] };
  readonly status: {
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
    readonly addresses?: readonly object[];
  };
}

async function join(
  name: string,
  taints: readonly object[] = [OTHER, OURS],
  range: object = { podCIDR: "10.1.0.0/24", podCIDRs: ["10.1.0.0/24"] },
): Promise<NodeObject> {
  const body = {
    apiVersion: "v1",
    kind: "Node",
    metadata: { name, labels: { pool: "gate" }, annotations: { "example.com/kept": "yes" } },
    spec: { taints, ...range, providerID: "x://1" },
    status: { addresses: ADDRESSES, conditions: [{ type: "Ready", status: "True" }] },
  };
  return (await administrator.write("POST", NODES, { ...request(), body })) as NodeObject;
}

const read = async (name: string) =>
  (await administrator.read(`${NODES}/${name}`, request())) as NodeObject;

async function taintsOf(name: string): Promise<readonly string[]> {
  const { spec } = await read(name);
  // The API server puts one of its own on new nodes.
  const keys = (spec.taints ?? []).map(({ key }) => key);
  return keys.filter((key) => !key.startsWith("node.kubernetes.io/"));
}

async function refusalOf(work: Promise<unknown>): Promise<KubeError | null> {
  return work.then(
    () => null,
    (error: unknown) => {
      assert.ok(error instanceof KubeError, String(error));
      return error;
    },
  );
}

/** What kubectl's verbs beyond the forwarder's own are answered, with the account's token. */
async function statusOf(verb: "delete", name: string): Promise<string> {
  const kubectl = joinPath(assetPath(KUBERNETES), "kubectl");
  const args = [verb, "node", name, "--wait=false", "--kubeconfig", server.kubeconfigFor(token)];
  return promisify(execFile)(kubectl, args).then(
    () => "",
    (error: unknown) => String(error),
  );
}

/** The API server takes a moment to take a new policy to heart. */
async function policyHolds(): Promise<void> {
  await join("probe");
  let probes = 0;
  const probe = () => {
    probes += 1;
    const body = [{ op: "add", path: "/metadata/labels/probe", value: `${probes}` }];
    return refusalOf(account.patch("json", `${NODES}/probe`, { ...request(), body }));
  };
  await eventually("the policy is in force", async () => (await probe())?.status === 403, {
    withinMs: WITHIN_MS,
  });
}

/** A gate with the account's rights, and a watch that is made by hand. */
function startGate(t: TestContext, given: Partial<Kube> = {}, mark: GateMark = TAINT) {
  const view = new Map<string, ObservedNode>();
  const events: ForwarderEvent[] = [];
  const gate = makeGate({
    mark,
    timeoutMs: 600_000,
    kube: { ...account, ...given },
    world,
    emit: (event) => events.push(event),
    nodes: () => view,
    epoch: () => 1,
  });
  const end = new AbortController();
  const running = gate.run(end.signal);
  atEnd(t, async () => {
    end.abort(new Error("the end"));
    await running;
  });
  let sequence = 0;
  /** Shows these nodes, and answers that they are ready. */
  const ready = async (...names: readonly string[]) => {
    for (const name of names) {
      const observed = projectNode(await read(name), { labels: ["pool"], mark, held: view });
      view.set(observed.node.uid, observed);
    }
    sequence += 1;
    const sent: Snapshot = {
      cluster: "test",
      clusterUid: "c",
      generation: { epoch: 1, sequence },
      time: world.now(),
      observedAt: world.now(),
      scope: { labels: ["pool"], pods: [] },
      changes: [],
      nodes: [...view.values()].map(({ node }) => node),
      pods: [],
    };
    gate.answered(sent, answerTo(sent, [...view.keys()]));
  };
  const count = (kind: ForwarderEvent["kind"]) =>
    events.filter((event) => event.kind === kind).length;
  return { ready, events, count };
}

test("a gate takes its taints off a real node, and nothing else", { skip }, async (t) => {
  const before = await join("plain", [OURS, OTHER, OURS_TOO]);
  const { ready, count } = startGate(t);
  await ready("plain");
  await eventually("it is open", () => count("gate-opened") === 1, { withinMs: WITHIN_MS });
  assert.deepEqual(await taintsOf("plain"), [OTHER.key]);
  const { metadata, spec, status } = (await read("plain")) as NodeObject & {
    metadata: Record<string, unknown>;
  };
  const { taints: _taints, ...rest } = spec;
  const { taints: _before, ...restBefore } = before.spec;
  assert.deepEqual([rest, status, metadata.uid], [restBefore, before.status, before.metadata.uid]);
});

test("what others write to a real node while its gate is opened survives", { skip }, async (t) => {
  await join("busy", [OTHER, OURS]);
  let refused = 0;
  let edits = 0;
  const write = (taints: readonly object[]) =>
    server.request("PATCH", `${NODES}/busy`, { spec: { taints } });
  // Somebody else edits the taints between each of the first reads and its patch.
  const others = [
    [{ key: "example.com/first", effect: "NoSchedule" }, OTHER, OURS],
    [{ key: "example.com/second", effect: "NoSchedule" }, OURS],
    [OURS, { key: "example.com/third", effect: "NoSchedule" }],
  ];
  const { ready, count } = startGate(t, {
    async patch(form: PatchForm, path, body) {
      const taints = others.shift();
      if (taints !== undefined) await write(taints);
      edits += 1;
      try {
        return await account.patch(form, path, body);
      } catch (error) {
        refused += 1;
        throw error;
      }
    },
  });
  await ready("busy");
  await eventually("it is open", () => count("gate-opened") === 1, { withinMs: WITHIN_MS });
  assert.ok(refused >= 2 && edits > refused, `${refused} of ${edits} met another's edit`);
  assert.deepEqual(await taintsOf("busy"), ["example.com/third"]);
});

test("another node under the name of a ready one is left alone", { skip }, async (t) => {
  await join("reborn");
  const { ready, events } = startGate(t, {
    async patch(form: PatchForm, path, body) {
      await server.deleteNode("reborn");
      await join("reborn");
      return account.patch(form, path, body);
    },
  });
  await ready("reborn");
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  assert.deepEqual(await taintsOf("reborn"), [OTHER.key, OURS.key]);
  assert.deepEqual(events, []);
});

test("a gate sets its condition on a real node, and no other", { skip }, async (t) => {
  const before = await join("conditioned");
  const { ready, count } = startGate(t, {}, { kind: "condition" });
  await ready("conditioned");
  await eventually("it is set", () => count("gate-opened") === 1, { withinMs: WITHIN_MS });
  const after = await read("conditioned");
  const conditions = after.status.conditions ?? [];
  const own = conditions.find(({ type }) => type === GATE_CONDITION);
  assert.equal(own?.status, "True");
  const others = conditions.filter(({ type }) => type !== GATE_CONDITION);
  assert.deepEqual({ ...after.status, conditions: others }, before.status);
  assert.deepEqual(after.spec, before.spec);
});

const POOL_FIELD = { "f:labels": { "f:pool": {} } };
const ADDRESS_FIELD = { "f:addresses": {} };

function ownCondition(more: object): object {
  return { status: { conditions: [{ type: GATE_CONDITION, status: "True", ...more }] } };
}

/** Says that another owns these fields: what he does not apply the next time is taken away. */
function owners(operation: "Apply" | "Update", fieldsV1: object): readonly object[] {
  const owner = { manager: "kubectl", operation, apiVersion: "v1", fieldsType: "FieldsV1" };
  return [{ op: "add", path: "/metadata/managedFields/-", value: { ...owner, fieldsV1 } }];
}

/** What the account tries with the right to patch nodes, or their status. */
const FORBIDDEN: Readonly<Record<string, readonly [part: "" | "/status", body: unknown]>> = {
  "add a label": ["", { metadata: { labels: { new: "1" } } }],
  "change a label": ["", { metadata: { labels: { pool: "other" } } }],
  "remove a label": ["", { metadata: { labels: { pool: null } } }],
  "change an annotation": ["", { metadata: { annotations: { "example.com/kept": "no" } } }],
  "add a finalizer": ["", { metadata: { finalizers: ["example.com/stay"] } }],
  "add an owner": [
    "",
    { metadata: { ownerReferences: [{ apiVersion: "v1", kind: "Node", name: "a", uid: "b" }] } },
  ],
  "cordon it": ["", { spec: { unschedulable: true } }],
  "remove another's taint": ["", [{ op: "remove", path: "/spec/taints/0" }]],
  "remove every taint": ["", [{ op: "remove", path: "/spec/taints" }]],
  "add its own taint a second time": ["", [{ op: "add", path: "/spec/taints/-", value: OURS_TOO }]],
  "add another taint": ["", [{ op: "add", path: "/spec/taints/0", value: { ...OTHER, key: "k" } }]],
  "change another's taint": ["", [{ op: "replace", path: "/spec/taints/0/value", value: "x" }]],
  "change its own taint": ["", [{ op: "add", path: "/spec/taints/1/value", value: "x" }]],
  "reorder taints": [
    "",
    [
      { op: "remove", path: "/spec/taints/0" },
      { op: "add", path: "/spec/taints/2", value: OTHER },
    ],
  ],
  "forge an address": [
    "/status",
    [{ op: "replace", path: "/status/addresses/0/address", value: "203.0.113.66" }],
  ],
  "add an address": [
    "/status",
    [
      {
        op: "add",
        path: "/status/addresses/-",
        value: { type: "InternalIP", address: "10.6.6.6" },
      },
    ],
  ],
  "set another condition": [
    "/status",
    { status: { conditions: [{ type: "Ready", status: "False" }] } },
  ],
  "add another condition": [
    "/status",
    { status: { conditions: [{ type: "example.com/New", status: "True" }] } },
  ],
  "remove another condition": ["/status", [{ op: "remove", path: "/status/conditions/0" }]],
  "change capacity": ["/status", { status: { capacity: { cpu: "1000" } } }],
  "add a label by the status": ["/status", { metadata: { labels: { new: "1" } } }],
  "write a long message": ["/status", ownCondition({ message: "y".repeat(1_025) })],
  "write a long reason": ["/status", ownCondition({ reason: "y".repeat(65) })],
  "write another status": ["/status", ownCondition({ status: "y".repeat(1_000) })],
  "set its condition twice": [
    "/status",
    [0, 1].map(() => ({
      op: "add",
      path: "/status/conditions/-",
      value: { type: GATE_CONDITION, status: "True" },
    })),
  ],
  "apply in another's name": ["", owners("Apply", { "f:metadata": POOL_FIELD })],
  "update in another's name": ["", owners("Update", { "f:metadata": POOL_FIELD })],
  "apply all taints in another's name": ["", owners("Apply", { "f:spec": { "f:taints": {} } })],
  "update addresses in another's name": ["", owners("Update", { "f:status": ADDRESS_FIELD })],
};

test("the policy refuses the gate's account everything else", { skip }, async () => {
  await join("guarded");
  const before = JSON.stringify(await read("guarded"));
  for (const [what, [part, body]] of Object.entries(FORBIDDEN)) {
    const form = Array.isArray(body) ? "json" : "strategic";
    const path = `${NODES}/guarded${part}`;
    const refusal = await refusalOf(account.patch(form, path, { ...request(), body }));
    assert.equal(refusal?.status, 403, `${what}: ${refusal?.message ?? "was allowed"}`);
    assert.match(refusal?.message ?? "", /kube-allowlist-gate.*denied request: The gate/, what);
  }
  assert.equal(JSON.stringify(await read("guarded")), before);
  // Not for want of rights, or for being no patches at all.
  for (const [what, [part, body]] of Object.entries(FORBIDDEN)) {
    const form = Array.isArray(body) ? "json" : "strategic";
    const name = `free-${Object.keys(FORBIDDEN).indexOf(what)}`;
    await join(name);
    await administrator.patch(form, `${NODES}/${name}${part}`, { ...request(), body });
  }
});

test("the policy lets the gate's account take its taint and set its condition, once or again", {
  skip,
}, async () => {
  await join("granted", [OURS, OTHER, OURS_TOO]);
  const path = `${NODES}/granted`;
  const set = (status: string) =>
    account.patch("strategic", `${path}/status`, {
      ...request(),
      body: { status: { conditions: [{ type: GATE_CONDITION, status, reason: "Test" }] } },
    });
  for (const status of ["False", "True", "Unknown"]) await set(status);
  for (const at of [2, 0]) {
    await account.patch("json", path, {
      ...request(),
      body: [{ op: "remove", path: `/spec/taints/${at}` }],
    });
  }
  assert.deepEqual(await taintsOf("granted"), [OTHER.key]);
});

/** Applies a node's fields as another owner of them. */
function applyAs(manager: string, path: string, fields: object): Promise<unknown> {
  const name = path.split("/")[4] ?? "";
  const body = { apiVersion: "v1", kind: "Node", ...fields };
  const query = `?fieldManager=${manager}&force=true`;
  return server.request(
    "PATCH",
    `${path}${query}`,
    { metadata: { name }, ...body },
    { type: "application/apply-patch+yaml" },
  );
}

test("the policy lets the gate work on nodes whose taints and conditions others apply", {
  skip,
}, async (t) => {
  const names = ["applied-alone", "applied-both", "applied-part"];
  for (const name of names) await join(name);
  const path = (name: string) => `${NODES}/${name}`;
  const taints = { spec: { taints: [OTHER, OURS] } };
  await applyAs("alone", path("applied-alone"), taints);
  await applyAs("both", path("applied-both"), {
    ...taints,
    metadata: { name: "applied-both", labels: { "example.com/zone": "a" } },
  });
  await applyAs("part", path("applied-part"), {
    spec: { taints: [OURS], providerID: "x://1" },
  });
  for (const name of names) {
    const conditions = [{ type: "example.com/Applied", status: "False" }];
    await applyAs("conditions", `${path(name)}/status`, { status: { conditions } });
    // Many writers: the API server then puts the oldest of their entries together.
    for (let n = 0; n < 12; n += 1) {
      const body = { metadata: { annotations: { [`example.com/w${n}`]: "1" } } };
      const written = `${path(name)}?fieldManager=writer-${n}`;
      await administrator.patch("strategic", written, { ...request(), body });
    }
  }
  // Entries are put together by their age, in whole seconds.
  await new Promise((resolve) => setTimeout(resolve, 1_100));
  for (const name of names) {
    for (const status of ["False", "True"]) {
      await account.patch("strategic", `${path(name)}/status`, {
        ...request(),
        body: ownCondition({ status }),
      });
    }
  }
  const { ready, count, events } = startGate(t);
  await ready(...names);
  await eventually("they are open", () => count("gate-opened") === names.length, {
    withinMs: WITHIN_MS,
  });
  assert.deepEqual(await Promise.all(names.map(taintsOf)), [[OTHER.key], [OTHER.key], []]);
  assert.equal(events.length, names.length);
});

test("the policy keeps the gate's account from removing a label by another's hand", {
  skip,
}, async () => {
  await join("deputy");
  const path = `${NODES}/deputy`;
  const labels = { "example.com/owned": "1" };
  const applyAgain = () => applyAs("deputy", path, { metadata: { name: "deputy", labels } });
  await applyAgain();
  const { managedFields } = (await read("deputy")).metadata as NodeObject["metadata"] & {
    readonly managedFields: readonly { readonly operation: string }[];
  };
  const at = managedFields.findIndex(({ operation }) => operation === "Apply");
  const place = `/metadata/managedFields/${at}/fieldsV1/f:metadata/f:labels`;
  const body = [{ op: "add", path: `${place}/f:pool`, value: {} }];
  const refusal = await refusalOf(account.patch("json", path, { ...request(), body }));
  assert.match(refusal?.message ?? "was allowed", /denied request: The gate makes nobody/);
  await applyAgain();
  const { metadata } = (await read("deputy")) as { metadata: { labels?: object } };
  assert.deepEqual(metadata.labels, { pool: "gate", ...labels });
});

interface Owner {
  readonly manager: string;
  readonly operation: string;
  readonly apiVersion: string;
  readonly fieldsV1: Readonly<Record<string, Readonly<Record<string, object>>>>;
}

async function ownersOf(name: string): Promise<readonly Owner[]> {
  const { metadata } = (await read(name)) as { metadata: { managedFields?: readonly Owner[] } };
  return metadata.managedFields ?? [];
}

const APPLIED = "example.com/Applied";

test("the policy keeps the gate's account from taking fields from their owners", {
  skip,
}, async () => {
  const path = `${NODES}/owned`;
  await join("owned");
  await applyAs("deputy", path, {
    metadata: { name: "owned", labels: { "example.com/quarantine": "1", "example.com/b": "1" } },
  });
  const conditions = [{ type: APPLIED, status: "False" }];
  await applyAs("watcher", `${path}/status`, { status: { conditions } });
  const annotated = { ...request(), body: { metadata: { annotations: { "example.com/w": "1" } } } };
  await administrator.patch("strategic", `${path}?fieldManager=writer`, annotated);
  const before = await ownersOf("owned");
  const at = (manager: string) => {
    const index = before.findIndex((owner) => owner.manager === manager);
    assert.ok(index >= 0, manager);
    return `/metadata/managedFields/${index}`;
  };
  const owned = "fieldsV1/f:metadata/f:labels/f:example.com~1quarantine";
  const applied = `fieldsV1/f:status/f:conditions/k:{"type":"${APPLIED.replace("/", "~1")}"}`;
  const ancient = (fieldsV1: object, more: object = {}) => ({
    op: "add",
    path: "/metadata/managedFields/-",
    value: {
      ...{ manager: "ancient-changes", operation: "Update", apiVersion: "v1" },
      ...{ fieldsType: "FieldsV1", time: "2020-01-01T00:00:00Z", fieldsV1, ...more },
    },
  });
  const writers = before.find(({ manager }) => manager === "writer")?.fieldsV1 ?? {};
  const gone = { op: "remove", path: at("writer") };
  const attempts: Readonly<Record<string, readonly object[]>> = {
    "another's applied entry": [{ op: "remove", path: at("deputy") }],
    "another's update": [gone],
    "all owners": [{ op: "replace", path: "/metadata/managedFields", value: [{}] }],
    "one applied field": [{ op: "remove", path: `${at("deputy")}/${owned}` }],
    "another's applied condition": [{ op: "remove", path: `${at("watcher")}/${applied}` }],
    "the version of another's entry": [
      { op: "replace", path: `${at("deputy")}/apiVersion`, value: "example.com/v9" },
    ],
    "the name of another's entry": [
      { op: "replace", path: `${at("deputy")}/manager`, value: "kubectl" },
    ],
    "the operation of another's entry": [
      { op: "replace", path: `${at("deputy")}/operation`, value: "Update" },
    ],
    "an old update that nobody made": [ancient({ "f:metadata": POOL_FIELD })],
    "an old update of the spec": [ancient({ "f:spec": { "f:unschedulable": {} } })],
    "more than an update had": [
      gone,
      ancient({ "f:metadata": { ...writers["f:metadata"], ...POOL_FIELD } }),
    ],
    "less than an update had": [gone, ancient({ "f:metadata": { "f:annotations": { ".": {} } } })],
    "an old update of the status": [gone, ancient(writers, { subresource: "status" })],
  };
  for (const [what, body] of Object.entries(attempts)) {
    const refusal = await refusalOf(account.patch("json", path, { ...request(), body }));
    assert.match(refusal?.message ?? "was allowed", /denied request: The gate/, what);
    assert.deepEqual(await ownersOf("owned"), before, what);
  }
});

test("the policy has room for the owners of a large node, whose old updates are put together", {
  skip,
}, async () => {
  const path = `${NODES}/large`;
  await join("large", [OTHER, OURS]);
  const conditions = Array.from({ length: 30 }, (_, n) => ({
    ...{ type: `example.com/Condition${n}`, status: "False", reason: "Test", message: "m" },
    ...{ lastHeartbeatTime: "2026-01-01T00:00:00Z", lastTransitionTime: "2026-01-01T00:00:00Z" },
  }));
  await server.request("PATCH", `${path}/status?fieldManager=kubelet`, { status: { conditions } });
  const many = (prefix: string) =>
    Object.fromEntries(Array.from({ length: 40 }, (_, n) => [`example.com/${prefix}-${n}`, "1"]));
  await applyAs("deputy", path, { metadata: { name: "large", labels: many("applied") } });
  for (let n = 0; n < 12; n += 1) {
    const metadata = { annotations: many(`a${n}`), labels: many(`l${n}`) };
    await administrator.patch("strategic", `${path}?fieldManager=writer-${n}`, {
      ...request(),
      body: { metadata },
    });
  }
  // Entries are put together by their age, in whole seconds.
  await new Promise((resolve) => setTimeout(resolve, 1_100));
  const gathered = async () =>
    JSON.stringify((await ownersOf("large")).find(({ manager }) => manager === "ancient-changes"));
  const before = await gathered();
  await account.patch("strategic", `${path}/status`, {
    ...request(),
    body: ownCondition({ reason: "Test" }),
  });
  assert.notEqual(await gathered(), before, "the account's own write put some together");
  const body = [
    { op: "test", path: "/spec/taints/1/key", value: OURS.key },
    { op: "test", path: "/spec/taints/1/effect", value: OURS.effect },
    { op: "remove", path: "/spec/taints/1" },
  ];
  await account.patch("json", path, { ...request(), body });
  assert.deepEqual(await taintsOf("large"), [OTHER.key]);
});

test("a gate tells the refusal of another's policy from an edit of the node", {
  skip,
}, async (t) => {
  const name = "no-gates-here";
  const rule = { apiGroups: [""], apiVersions: ["v1"], operations: ["UPDATE"] };
  const metadata = { name };
  const apiVersion = "admissionregistration.k8s.io/v1";
  const validation = { expression: 'object.metadata.name != "held"', message: "Held on purpose" };
  await apply(server, [
    {
      ...{ apiVersion, kind: "ValidatingAdmissionPolicy", metadata },
      spec: {
        matchConstraints: { resourceRules: [{ ...rule, resources: ["nodes"] }] },
        validations: [validation],
      },
    },
    {
      ...{ apiVersion, kind: "ValidatingAdmissionPolicyBinding", metadata },
      spec: { policyName: name, validationActions: ["Deny"] },
    },
  ] as unknown as Parameters<typeof apply>[1]);
  await join("held");
  const probe = { ...request(), body: { metadata: { annotations: { "example.com/probe": "1" } } } };
  const isHeld = async () =>
    (await refusalOf(administrator.patch("strategic", `${NODES}/held`, probe)))?.status === 422;
  await eventually("the policy is in force", isHeld, { withinMs: WITHIN_MS });
  let patches = 0;
  const { ready, events } = startGate(t, {
    patch(form: PatchForm, path, body) {
      patches += 1;
      return account.patch(form, path, body);
    },
  });
  await ready("held");
  await eventually("it is said", () => events.length > 0, { withinMs: WITHIN_MS });
  const [failed] = events;
  assert.ok(failed?.kind === "gate-failed" && failed.lasting);
  assert.match(failed.message, /422 .*'no-gates-here'.*Held on purpose/);
  assert.equal(patches, 1);
});

test("a gate is not overtaken by a pod CIDR that a real node is given meanwhile", {
  skip,
}, async (t) => {
  await join("ranged", [OTHER, OURS], {});
  let patches = 0;
  const { ready, events } = startGate(t, {
    async patch(form: PatchForm, path, body) {
      patches += 1;
      const spec = { podCIDR: "10.7.0.0/24", podCIDRs: ["10.7.0.0/24"] };
      if (patches === 1) await server.request("PATCH", `${NODES}/ranged`, { spec });
      return account.patch(form, path, body);
    },
  });
  await ready("ranged");
  await eventually("it was tried", () => patches > 0, { withinMs: WITHIN_MS });
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  assert.deepEqual(await taintsOf("ranged"), [OTHER.key, OURS.key]);
  assert.equal(patches, 1);
  await ready("ranged");
  await eventually("it is open", () => events.length > 0, { withinMs: WITHIN_MS });
  assert.deepEqual(await taintsOf("ranged"), [OTHER.key]);
});

test("the policy refuses the gate's account to make or delete nodes, even with the right to", {
  skip,
}, async () => {
  const [binding] = objectsOf(kustomizeFolder("gate")).filter(({ roleRef }) => roleRef);
  assert.ok(binding?.roleRef);
  const metadata = { name: "too-much" };
  const rules = [{ apiGroups: [""], resources: ["nodes"], verbs: ["create", "delete"] }];
  const { apiVersion } = binding;
  await apply(server, [
    { apiVersion, kind: "ClusterRole", metadata, rules },
    { ...binding, metadata, roleRef: { ...binding.roleRef, ...metadata } },
  ]);
  await join("kept");
  const body = { apiVersion: "v1", kind: "Node", metadata: { name: "made" } };
  const create = () => refusalOf(account.write("POST", NODES, { ...request(), body }));
  const isRefused = async () => /The gate neither creates/.test((await create())?.message ?? "");
  await eventually("it is refused by the policy", isRefused, { withinMs: WITHIN_MS });
  assert.match(await statusOf("delete", "kept"), /denied request: The gate neither creates/);
  await read("kept");
});

test("the policy says nothing of other accounts", { skip }, async () => {
  await join("others");
  const body = { metadata: { labels: { new: "1" } }, spec: { unschedulable: true } };
  await administrator.patch("strategic", `${NODES}/others`, { ...request(), body });
});

test("forward: every gate of a brand-new cluster opens once a real receiver has read its list back", {
  skip,
}, async (t) => {
  const stage = setFeedStage({ name: "gated", cluster: "west" });
  const receiver = await startServe(stage);
  atEnd(t, () => receiver.program.stop());
  const names = Array.from({ length: 8 }, (_, n) => `gated-${n}`);
  const create = (name: string, host: number) =>
    server.request("POST", NODES, {
      metadata: { name, labels: { pool: "gated" } },
      spec: { taints: [OTHER, OURS] },
      status: { addresses: [{ type: "ExternalIP", address: `203.0.113.${host}` }] },
    });
  for (const [n, name] of names.entries()) await create(name, 100 + n);
  const forwarder = await startForwarder(stage, {
    receiver,
    cluster: "west",
    kubeconfig: server.kubeconfigFor(token),
    env: { KUBE_ALLOWLIST_GATE: "taint" },
  });
  atEnd(t, () => forwarder.stop());
  const isOpen = async (name: string) => (await taintsOf(name)).join() === OTHER.key;
  const areOpen = async () => (await Promise.all(names.map(isOpen))).every(Boolean);
  await forwarder.waitFor(areOpen, WITHIN_MS);
  const entries = await stage.entries(receiver);
  assert.equal(entries?.length, names.length);
  await create("gated-late", 150);
  await forwarder.waitFor(() => isOpen("gated-late"), WITHIN_MS);
  assert.ok((await stage.entries(receiver))?.includes("203.0.113.150/32"));
  assert.doesNotMatch(forwarder.output(), /gate-failed|forbidden/i);
});
