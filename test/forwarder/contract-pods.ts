import assert from "node:assert/strict";
import { test } from "node:test";
import type { Kube } from "../../forwarder/kube.ts";

/*
 * What the forwarder relies on when it follows the pods that a selector takes: part of the contract
 * that the embedded API server and a real one both pass.
 */

interface PodObject {
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly uid: string;
    readonly resourceVersion: string;
    readonly labels?: Readonly<Record<string, string>>;
  };
  readonly spec: object;
  readonly status: { readonly phase?: string; readonly podIPs?: readonly object[] };
}

interface PodList {
  readonly kind: string;
  readonly metadata: {
    readonly resourceVersion: string;
    readonly continue?: string;
    readonly remainingItemCount?: number;
  };
  readonly items: readonly PodObject[];
}

interface PodEvent {
  readonly type: string;
  readonly object: PodObject & { readonly kind: string };
}

const PODS = "/api/v1/namespaces/default/pods";
const request = () => ({ signal: new AbortController().signal, timeoutMs: 10_000 });
const selecting = (value: string) => `labelSelector=${encodeURIComponent(`test=${value}`)}`;

/** Pods of one test, which their label tells from those of others. */
function podding(kube: Kube, test: string) {
  return {
    async create(name: string, labels: Readonly<Record<string, string>> = { test }) {
      const metadata = { name: `${test}-${name}`, labels };
      const spec = {
        hostNetwork: false,
        automountServiceAccountToken: false,
        containers: [{ name: "main", image: "example" }],
      };
      const body = { apiVersion: "v1", kind: "Pod", metadata, spec };
      return (await kube.write("POST", PODS, { ...request(), body })) as PodObject;
    },
    async relabel(name: string, labels: Readonly<Record<string, string>>) {
      const path = `${PODS}/${test}-${name}`;
      const before = (await kube.read(path, request())) as PodObject;
      const body = { ...before, metadata: { ...before.metadata, labels } };
      return (await kube.write("PUT", path, { ...request(), body })) as PodObject;
    },
    async settle(name: string, status: object) {
      const path = `${PODS}/${test}-${name}`;
      const before = (await kube.read(path, request())) as PodObject;
      const body = { ...before, status };
      return (await kube.write("PUT", `${path}/status`, { ...request(), body })) as PodObject;
    },
    list: async (query: string) => (await kube.read(`${PODS}?${query}`, request())) as PodList,
    /** Events until there are so many, or the server ends the watch. */
    async watch(query: string, count: number) {
      const events: PodEvent[] = [];
      const path = `${PODS}?watch=true&${query}&timeoutSeconds=2`;
      const lines = await kube.lines(path, { ...request(), onBytes: () => undefined });
      for await (const line of lines) {
        events.push(JSON.parse(line));
        if (events.length === count) break;
      }
      return events;
    },
  };
}

export function podContract(kube: () => Kube): void {
  test("a list of pods holds what its labels select, of its namespace", async () => {
    const { create, list } = podding(kube(), "selected");
    await create("a");
    await create("b", { test: "other" });
    await create("c", { test: "selected", more: "x" });
    const { kind, items } = await list(selecting("selected"));
    assert.equal(kind, "PodList");
    assert.deepEqual(
      items.map(({ metadata }) => metadata.name),
      ["selected-a", "selected-c"],
    );
    assert.ok(items.every(({ metadata }) => metadata.namespace === "default"));
    const both = await list(`labelSelector=${encodeURIComponent("test=selected,more=x")}`);
    assert.deepEqual(both.items.length, 1);
    const elsewhere = await kube().read(
      `${PODS.replace("default", "kube-system")}?${selecting("selected")}`,
      request(),
    );
    assert.deepEqual((elsewhere as PodList).items, []);
    const nowhere = await kube().read(PODS.replace("default", "not-there"), request());
    assert.deepEqual((nowhere as PodList).items, [], "a namespace that is not there is empty");
  });

  test("pages of a selected list show one version, whatever is written meanwhile", async () => {
    const { create, list } = podding(kube(), "paged");
    for (const name of ["a", "b", "c"]) await create(name);
    const first = await list(`limit=2&${selecting("paged")}`);
    assert.equal(first.metadata.remainingItemCount, undefined, "what labels select is not counted");
    await create("between");
    const next = encodeURIComponent(first.metadata.continue ?? "");
    const second = await list(`limit=2&${selecting("paged")}&continue=${next}`);
    assert.deepEqual(
      [...first.items, ...second.items].map(({ metadata }) => metadata.name),
      ["paged-a", "paged-b", "paged-c"],
    );
    assert.equal(second.metadata.resourceVersion, first.metadata.resourceVersion);
  });

  test("a pod begins pending and without addresses, which its status gets at its own path", async () => {
    const { create, settle } = podding(kube(), "status");
    const created = await create("a");
    assert.deepEqual([created.status.phase, created.status.podIPs], ["Pending", undefined]);
    const podIPs = [{ ip: "10.2.0.9" }, { ip: "2001:db8::9" }];
    const settled = await settle("a", { phase: "Running", podIP: "10.2.0.9", podIPs });
    assert.deepEqual(settled.status.podIPs, podIPs);
    assert.equal(settled.metadata.uid, created.metadata.uid);
  });

  test("a watch shows a pod whose labels stop to match as deleted, and as it was", async () => {
    const { create, relabel, list, watch } = podding(kube(), "leaving");
    const { metadata } = await list(selecting("leaving"));
    const created = await create("a");
    const left = await relabel("a", { test: "gone" });
    const back = await relabel("a", { test: "leaving", back: "yes" });
    await relabel("a", { test: "leaving", back: "again" });
    const query = `${selecting("leaving")}&resourceVersion=${metadata.resourceVersion}`;
    const events = await watch(query, 4);
    assert.deepEqual(
      events.map(({ type }) => type),
      ["ADDED", "DELETED", "ADDED", "MODIFIED"],
    );
    const [, deleted, added] = events;
    assert.equal(deleted?.object.metadata.uid, created.metadata.uid);
    assert.deepEqual(deleted?.object.metadata.labels, { test: "leaving" });
    assert.equal(deleted?.object.metadata.resourceVersion, left.metadata.resourceVersion);
    assert.equal(added?.object.metadata.resourceVersion, back.metadata.resourceVersion);
  });

  test("a selected list as a stream holds what is selected, and ends with a marked bookmark", async () => {
    const { create, watch } = podding(kube(), "streamed");
    await create("a");
    await create("b", { test: "other" });
    const initial =
      "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    const [event, bookmark] = await watch(`${selecting("streamed")}&${initial}`, 2);
    assert.equal(event?.object.metadata.name, "streamed-a");
    assert.deepEqual([bookmark?.type, bookmark?.object.kind], ["BOOKMARK", "Pod"]);
    assert.ok(JSON.stringify(bookmark).includes('"k8s.io/initial-events-end":"true"'));
  });
}
