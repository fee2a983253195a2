import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import { type Kube, KubeError, openKube } from "../../forwarder/kube.ts";
import { makeWorld } from "../../lib/world.ts";
import { eventContract } from "./contract-events.ts";
import { patchContract } from "./contract-patch.ts";
import { podContract } from "./contract-pods.ts";

/** A running API server, embedded or real. */
export interface Subject {
  readonly kubeconfig: string;
  stop(): Promise<void>;
}

interface Item {
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    readonly resourceVersion: string;
  };
}

interface List {
  readonly kind: string;
  readonly metadata: { readonly resourceVersion: string; readonly continue?: string };
  readonly items: readonly Item[];
}

interface Event {
  readonly type: string;
  readonly object: Item & { readonly code?: number; readonly metadata: { annotations?: object } };
}

const NODES = "/api/v1/nodes";
const LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
const INITIAL =
  "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
const quiet = { debug() {}, info() {}, warn() {}, error() {}, audit() {} };
const request = () => ({ signal: new AbortController().signal, timeoutMs: 10_000 });

/** The verbs that a forwarder uses, by their bare names. */
function clientOf(kube: Kube) {
  return {
    list: async (query: string) => (await kube.read(`${NODES}?${query}`, request())) as List,
    async create(name: string) {
      const body = { apiVersion: "v1", kind: "Node", metadata: { name } };
      return (await kube.write("POST", NODES, { ...request(), body })) as Item;
    },
    /** The first `count` events, or all until the server ends the watch after a second. */
    async watch(query: string, count: number) {
      const events: Event[] = [];
      const path = `${NODES}?${query}&timeoutSeconds=1`;
      const lines = await kube.lines(path, { ...request(), onBytes: () => undefined });
      for await (const line of lines) {
        events.push(JSON.parse(line));
        if (events.length === count) break;
      }
      return events;
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

/**
 * What the forwarder relies on of an API server. The embedded one and a real one must both pass, or
 * the embedded one proves nothing.
 */
export function contract(name: string, start: () => Promise<Subject>): void {
  suite(name, () => {
    const state: { subject?: Subject; kube?: Kube } = {};
    before(async () => {
      state.subject = await start();
      const source = { kind: "text", text: state.subject.kubeconfig } as const;
      const world = makeWorld(quiet);
      state.kube = openKube(source, { world, proxy: {}, warn: () => undefined });
      const client = clientOf(state.kube);
      for (const node of ["a", "b", "c", "d", "e"]) await client.create(node);
    });
    after(async () => {
      state.kube?.close();
      await state.subject?.stop();
    });
    const kube = (): Kube => {
      assert.ok(state.kube, "the server has started");
      return state.kube;
    };
    listContract(kube);
    watchContract(kube);
    leaseContract(kube);
    objectContract(kube);
    eventContract(kube);
    patchContract(kube);
    podContract(kube);
  });
}

function listContract(kube: () => Kube): void {
  test("pages of a list show one version, whatever is written meanwhile", async () => {
    const client = clientOf(kube());
    const first = await client.list("limit=2");
    await client.create("between");
    const next = encodeURIComponent(first.metadata.continue ?? "");
    const second = await client.list(`limit=2&continue=${next}`);
    assert.equal(first.kind, "NodeList");
    assert.deepEqual(
      [...first.items, ...second.items].map(({ metadata }) => metadata.name),
      ["a", "b", "c", "d"],
    );
    assert.equal(second.metadata.resourceVersion, first.metadata.resourceVersion);
  });

  test("a list not older than a version may be paged, too", async () => {
    const client = clientOf(kube());
    const { metadata } = await client.list("");
    const version = metadata.resourceVersion;
    const list = await client.list(
      `limit=2&resourceVersion=${version}&resourceVersionMatch=NotOlderThan`,
    );
    assert.ok(BigInt(list.metadata.resourceVersion) >= BigInt(version));
    assert.ok(list.items.length >= 2);
  });

  test("a version of the future is refused as too large", async () => {
    const query = "resourceVersion=99999999999&resourceVersionMatch=NotOlderThan";
    const client = clientOf(kube());
    assert.deepEqual(await client.refusal(client.list(query)), [504, "ResourceVersionTooLarge"]);
  });

  test("a version that is no number, and a garbled continue, are bad requests", async () => {
    const client = clientOf(kube());
    for (const query of ["resourceVersion=abc", "limit=2&continue=xyz"]) {
      assert.deepEqual(await client.refusal(client.list(query)), [400, "BadRequest"]);
    }
  });

  test("a match without version, and an exact zero, are invalid", async () => {
    const client = clientOf(kube());
    for (const query of [
      "resourceVersionMatch=NotOlderThan",
      "resourceVersion=0&resourceVersionMatch=Exact",
    ]) {
      assert.deepEqual(await client.refusal(client.list(query)), [422, "Invalid"]);
    }
  });
}

function watchContract(kube: () => Kube): void {
  test("a list as a stream ends its first events with a marked bookmark", async () => {
    const client = clientOf(kube());
    const { items } = await client.list("");
    const events = await client.watch(INITIAL, items.length + 1);
    const bookmark = events.pop();
    assert.ok(events.every(({ type }) => type === "ADDED"));
    assert.equal(bookmark?.type, "BOOKMARK");
    const marked = { "k8s.io/initial-events-end": "true" };
    assert.deepEqual(bookmark?.object.metadata.annotations, marked);
  });

  test("a watch shows what came after its version, in order", async () => {
    const client = clientOf(kube());
    const { metadata } = await client.list("");
    const created = await client.create("late");
    const query = `watch=true&resourceVersion=${metadata.resourceVersion}`;
    const [event] = await client.watch(query, 1);
    assert.deepEqual([event?.type, event?.object.metadata.uid], ["ADDED", created.metadata.uid]);
    assert.equal(event?.object.metadata.resourceVersion, created.metadata.resourceVersion);
  });

  test("a watch from the future is silent, a streamed list from there an ERROR in the stream", async () => {
    const client = clientOf(kube());
    const future = "resourceVersion=99999999999";
    assert.deepEqual(await client.watch(`watch=true&${future}`, 1), []);
    const [event] = await client.watch(`${INITIAL}&${future}`, 1);
    assert.deepEqual([event?.type, event?.object.code], ["ERROR", 504]);
  });

  test("a watch that matches versions without asking for first events is invalid", async () => {
    const client = clientOf(kube());
    const query = "watch=true&resourceVersion=5&resourceVersionMatch=NotOlderThan";
    assert.deepEqual(await client.refusal(client.watch(query, 1)), [422, "Invalid"]);
  });
}

function leaseContract(kube: () => Kube): void {
  const body = (metadata: object, holderIdentity: string) => ({
    apiVersion: "coordination.k8s.io/v1",
    kind: "Lease",
    metadata,
    spec: { holderIdentity, leaseDurationSeconds: 15, renewTime: "2026-11-20T21:00:05.000000Z" },
  });
  const post = (metadata: object) =>
    kube().write("POST", LEASES, { ...request(), body: body(metadata, "a") });
  const put = (name: string, metadata: object, holder: string) =>
    kube().write("PUT", `${LEASES}/${name}`, {
      ...request(),
      body: body({ name, ...metadata }, holder),
    });

  test("a Lease is written by compare-and-swap of its version and uid", async () => {
    const { refusal } = clientOf(kube());
    const created = (await post({ name: "one", annotations: { epoch: "1" } })) as Item;
    const { uid, resourceVersion } = created.metadata;
    assert.deepEqual(await refusal(post({ name: "one" })), [409, "AlreadyExists"]);
    const updated = (await put("one", { uid, resourceVersion }, "")) as Item;
    assert.equal(updated.metadata.uid, uid);
    assert.notEqual(updated.metadata.resourceVersion, resourceVersion);
    const stale = put("one", { uid, resourceVersion }, "b");
    assert.deepEqual(await refusal(stale), [409, "Conflict"]);
    const other = put(
      "one",
      { uid: "another", resourceVersion: updated.metadata.resourceVersion },
      "b",
    );
    assert.deepEqual(await refusal(other), [409, "Conflict"]);
  });

  test("a Lease that was deleted is not made again by writing it with its uid", async () => {
    const { refusal } = clientOf(kube());
    const gone = put(
      "gone",
      { uid: "21e1b79a-b5cd-4c1b-b764-e493c7aed7c7", resourceVersion: "5" },
      "b",
    );
    assert.deepEqual(await refusal(gone), [409, "Conflict"]);
    assert.deepEqual(await refusal(kube().read(`${LEASES}/gone`, request())), [404, "NotFound"]);
  });

  test("a Lease in a namespace that is not there is not found", async () => {
    const path = LEASES.replace("default", "nowhere");
    const work = kube().write("POST", path, { ...request(), body: body({ name: "one" }, "a") });
    assert.deepEqual(await clientOf(kube()).refusal(work), [404, "NotFound"]);
  });
}

function objectContract(kube: () => Kube): void {
  test("a node's status is written at its own path, and its identity is the server's", async () => {
    const before = (await kube().read(`${NODES}/a`, request())) as Item & { status?: object };
    const addresses = [{ type: "ExternalIP", address: "203.0.113.1" }];
    const body = { ...before, status: { addresses } };
    const whole = (await kube().write("PUT", `${NODES}/a`, {
      ...request(),
      body,
    })) as typeof before;
    assert.ok(!JSON.stringify(whole.status ?? {}).includes("203.0.113.1"));
    const written = await kube().write("PUT", `${NODES}/a/status`, {
      ...request(),
      body: { ...body, metadata: { name: "a" } },
    });
    const { metadata, status } = written as Item & { status: { addresses: unknown } };
    assert.deepEqual(status.addresses, addresses);
    assert.equal(metadata.uid, before.metadata.uid);
    assert.notEqual(metadata.resourceVersion, before.metadata.resourceVersion);
  });

  test("the namespace kube-system has a uid", async () => {
    const namespace = (await kube().read("/api/v1/namespaces/kube-system", request())) as Item;
    assert.match(namespace.metadata.uid, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  });

  test("a node that is not there is not found", async () => {
    const work = kube().read(`${NODES}/nobody`, request());
    assert.deepEqual(await clientOf(kube()).refusal(work), [404, "NotFound"]);
  });
}
