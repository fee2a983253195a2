import assert from "node:assert/strict";
import { test } from "node:test";
import { type Kube, KubeError, type PatchForm } from "../../forwarder/kube.ts";

interface PatchedNode {
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    readonly resourceVersion: string;
    readonly labels?: Readonly<Record<string, string>>;
  };
  readonly spec: { readonly taints?: readonly Taint[] };
  readonly status: {
    readonly conditions?: readonly Condition[];
    readonly addresses?: readonly object[];
  };
}

interface Taint {
  readonly key: string;
  readonly effect: string;
}

interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason?: string;
  readonly lastTransitionTime?: string | null;
}

const NODES = "/api/v1/nodes";
const OURS: Taint = { key: "example.com/gate", effect: "NoSchedule" };
const OTHER: Taint = { key: "example.com/other", effect: "NoExecute" };
const ADDRESSES = [{ type: "InternalIP", address: "10.0.0.1" }];
const SINCE = "2026-11-20T21:00:05Z";
const request = () => ({ signal: new AbortController().signal, timeoutMs: 10_000 });

/** Nodes that are patched, each by its own name. */
function patching(kube: Kube) {
  const pathOf = (name: string, part = "") => `${NODES}/${name}${part}`;
  return {
    async create(name: string, taints: readonly Taint[] = [OTHER, OURS]) {
      const metadata = { name, labels: { "example.com/pool": "x" } };
      const conditions = [{ type: "Ready", status: "True", reason: "KubeletReady" }];
      const status = { addresses: ADDRESSES, conditions };
      const body = { apiVersion: "v1", kind: "Node", metadata, spec: { taints }, status };
      return (await kube.write("POST", NODES, { ...request(), body })) as PatchedNode;
    },
    read: async (name: string) => (await kube.read(pathOf(name), request())) as PatchedNode,
    async patch(form: PatchForm, name: string, body: unknown, part = "") {
      const path = pathOf(name, part);
      return (await kube.patch(form, path, { ...request(), body })) as PatchedNode;
    },
    async refusal(work: Promise<unknown>) {
      const error = await work.then(
        () => null,
        (reason: unknown) => reason,
      );
      assert.ok(error instanceof KubeError, "it should have been refused");
      return [error.status, error.reason];
    },
  };
}

/** Without those that the API server puts on new nodes by itself. */
function keysOf({ spec }: PatchedNode): readonly string[] {
  const keys = (spec.taints ?? []).map(({ key }) => key);
  return keys.filter((key) => !key.startsWith("node.kubernetes.io/"));
}

function indexOfOurs({ spec }: PatchedNode): number {
  return (spec.taints ?? []).findIndex(({ key }) => key === OURS.key);
}

/** What a gate relies on of PATCH; embedded and real servers must both pass. */
export function patchContract(kube: () => Kube): void {
  operationsContract(kube);
  pointerContract(kube);
  mergeContract(kube);
}

function operationsContract(kube: () => Kube): void {
  test("operations are done when their tests hold, at the place they name", async () => {
    const { create, patch } = patching(kube());
    const node = await create("tested");
    const at = indexOfOurs(node);
    const patched = await patch("json", "tested", [
      { op: "test", path: "/metadata/uid", value: node.metadata.uid },
      { op: "test", path: "/metadata/labels", value: node.metadata.labels },
      { op: "test", path: "/status/addresses", value: ADDRESSES },
      { op: "test", path: `/spec/taints/${at}/key`, value: OURS.key },
      { op: "test", path: `/spec/taints/${at}/effect`, value: OURS.effect },
      { op: "remove", path: `/spec/taints/${at}` },
    ]);
    assert.deepEqual(keysOf(patched), [OTHER.key]);
    assert.notEqual(patched.metadata.resourceVersion, node.metadata.resourceVersion);
  });

  test("a test that fails is 422, and nothing of its patch is done", async () => {
    const { create, patch, read, refusal } = patching(kube());
    const node = await create("untested");
    const remove = { op: "remove", path: "/spec/taints/0" };
    for (const test of [
      { op: "test", path: "/metadata/uid", value: "another" },
      { op: "test", path: "/spec/taints/0/key", value: "another" },
      { op: "test", path: "/spec/taints/9/key", value: OURS.key },
      { op: "test", path: "/status/addresses", value: [] },
      { op: "test", path: "/nowhere/at/all", value: "x" },
    ]) {
      const work = patch("json", "untested", [remove, test]);
      assert.deepEqual(await refusal(work), [422, "Invalid"], JSON.stringify(test));
    }
    const after = await read("untested");
    assert.equal(after.metadata.resourceVersion, node.metadata.resourceVersion);
  });

  test("what is not there cannot be removed, and what is no operation is refused", async () => {
    const { create, patch, refusal } = patching(kube());
    await create("refused");
    for (const operation of [
      { op: "remove", path: "/spec/taints/9" },
      { op: "remove", path: "/metadata/annotations/none" },
      { op: "frobnicate", path: "/spec" },
    ]) {
      const work = patch("json", "refused", [operation]);
      assert.deepEqual(await refusal(work), [422, "Invalid"], JSON.stringify(operation));
    }
    const none = patch("json", "refused", { op: "remove" });
    assert.deepEqual(await refusal(none), [400, "BadRequest"]);
    assert.deepEqual(await refusal(patch("json", "nobody", [])), [404, "NotFound"]);
  });
}

function pointerContract(kube: () => Kube): void {
  test("operations follow each other, and a place is counted when it is their turn", async () => {
    const { create, patch } = patching(kube());
    await create("ordered", [OURS, OTHER, { ...OURS, effect: "NoExecute" }]);
    const patched = await patch("json", "ordered", [
      { op: "test", path: "/spec/taints/2/key", value: OURS.key },
      { op: "remove", path: "/spec/taints/2" },
      { op: "remove", path: "/spec/taints/0" },
      {
        op: "add",
        path: "/spec/taints/0",
        value: { key: "example.com/first", effect: "NoExecute" },
      },
      {
        op: "add",
        path: "/spec/taints/-",
        value: { key: "example.com/last", effect: "NoExecute" },
      },
      { op: "replace", path: "/metadata/labels/example.com~1pool", value: "y" },
    ]);
    assert.deepEqual(keysOf(patched), ["example.com/first", OTHER.key, "example.com/last"]);
    assert.deepEqual(patched.metadata.labels, { "example.com/pool": "y" });
  });

  test("a patch may not change name and uid, and a version of the past is a conflict", async () => {
    const { create, patch, refusal } = patching(kube());
    await create("fixed");
    const replace = (path: string) =>
      refusal(patch("json", "fixed", [{ op: "replace", path, value: "1" }]));
    assert.deepEqual(await replace("/metadata/uid"), [422, "Invalid"]);
    assert.deepEqual(await replace("/metadata/name"), [400, "BadRequest"]);
    assert.deepEqual(await replace("/metadata/resourceVersion"), [409, "Conflict"]);
  });

  test("a patch at one path leaves the other's part alone", async () => {
    const { create, patch, read } = patching(kube());
    const node = await create("parted");
    await patch("json", "parted", [
      { op: "replace", path: "/status/addresses/0/address", value: "10.9.9.9" },
    ]);
    await patch("json", "parted", [{ op: "remove", path: "/spec/taints" }], "/status");
    const after = await read("parted");
    assert.deepEqual(after.status.addresses, ADDRESSES);
    assert.deepEqual(after.spec.taints, node.spec.taints);
  });
}

function mergeContract(kube: () => Kube): void {
  const TYPE = "example.com/Allowed";
  const own = ({ status }: PatchedNode) =>
    status.conditions?.find(({ type }) => type === TYPE) ?? null;

  test("a strategic merge changes the condition of its type, and members that it names", async () => {
    const { create, patch } = patching(kube());
    await create("merged");
    const set = (condition: object) =>
      patch("strategic", "merged", { status: { conditions: [condition] } }, "/status");
    await set({ type: TYPE, status: "False", reason: "Why", lastTransitionTime: SINCE });
    const patched = await set({ type: TYPE, status: "False", reason: "Because" });
    const { status, reason, lastTransitionTime } = own(patched) ?? {};
    assert.deepEqual([status, reason, lastTransitionTime], ["False", "Because", SINCE]);
    const types = patched.status.conditions?.map(({ type }) => type).toSorted();
    assert.deepEqual(types, ["Ready", TYPE]);
    assert.deepEqual(patched.status.addresses, ADDRESSES);
  });

  test("a strategic merge of another uid or an old version changes nothing", async () => {
    const { create, patch, read, refusal } = patching(kube());
    const { metadata } = await create("guarded");
    const set = (given: object) => {
      const conditions = [{ type: TYPE, status: "True" }];
      return patch("strategic", "guarded", { metadata: given, status: { conditions } }, "/status");
    };
    const uid = "21e1b79a-b5cd-4c1b-b764-e493c7aed7c7";
    assert.deepEqual(await refusal(set({ uid })), [422, "Invalid"]);
    await patch("json", "guarded", [{ op: "add", path: "/metadata/labels/new", value: "" }]);
    assert.deepEqual(await refusal(set(metadata)), [409, "Conflict"]);
    assert.equal(own(await read("guarded")), null);
  });

  test("a strategic merge replaces taints, and null removes", async () => {
    const { create, patch } = patching(kube());
    await create("replaced");
    const key = "example.com/only";
    const patched = await patch("strategic", "replaced", {
      metadata: { labels: { "example.com/pool": null } },
      spec: { taints: [{ key, effect: "NoExecute" }] },
    });
    assert.deepEqual(keysOf(patched), [key]);
    assert.deepEqual(patched.metadata.labels ?? {}, {});
  });
}
