import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { startEmbeddedKubernetes } from "../../cli/embedded/kubernetes.ts";
import { openKube } from "../../forwarder/kube.ts";
import { makeWorld } from "../../lib/world.ts";
import { nodeRenderer } from "../bench/cluster-objects.ts";
import { startBenchCluster } from "../bench/forwarder-cluster.ts";

/*
 * What the benchmark's API server answers is compared with what the embedded one does, which is
 * compared with a real one: else a figure would be of something else.
 */

const NODES = 5;
const TIMEOUT_MS = 30_000;
const STREAM =
  "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
const LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
const quiet = { debug() {}, info() {}, warn() {}, error() {}, audit() {} };

type Json = Readonly<Record<string, unknown>>;

interface Item {
  readonly metadata: { readonly name: string; readonly resourceVersion: string };
}

interface Subject {
  readonly kubeconfig: string;
  /** Something changes in a node. */
  beat(): Promise<void> | void;
}

async function embedded(t: TestContext, watchList: boolean): Promise<Subject> {
  const server = await startEmbeddedKubernetes({ world: makeWorld(quiet), watchList });
  t.after(() => server.close());
  const render = nodeRenderer();
  const nameOf = (index: number) => `node-${String(index).padStart(6, "0")}`;
  for (let index = 0; index < NODES; index += 1) {
    const { metadata, ...rest } = JSON.parse(render({ index, version: 1 }));
    server.store.put("nodes", nameOf(index), {
      ...rest,
      metadata: { ...metadata, name: nameOf(index) },
    });
  }
  const beat = () => {
    server.nodes.patch(nameOf(0), { status: { conditions: [] } });
  };
  return { kubeconfig: server.kubeconfig, beat };
}

async function benched(t: TestContext, watchList: boolean): Promise<Subject> {
  const cluster = await startBenchCluster({ nodes: NODES, watchList });
  t.after(() => cluster.close());
  const kubeconfig = readFileSync(cluster.kubeconfig, "utf8");
  return { kubeconfig, beat: () => cluster.command({ kind: "churn", events: 1 }) };
}

function clientOf(t: TestContext, { kubeconfig }: Subject) {
  const world = makeWorld(quiet);
  const source = { kind: "text", text: kubeconfig } as const;
  const kube = openKube(source, { world, proxy: {}, warn: () => undefined });
  const ending = new AbortController();
  t.after(() => {
    ending.abort(new Error("the test is over"));
    kube.close();
  });
  const common = { signal: ending.signal, timeoutMs: 10_000 };
  return {
    read: async (path: string) => (await kube.read(path, common)) as Json,
    write: async (method: "POST" | "PUT", path: string, body: unknown) =>
      (await kube.write(method, path, { ...common, body })) as Json,
    refusal: (work: Promise<unknown>) =>
      work.then(
        () => "none",
        (error: { readonly status?: unknown }) => error.status,
      ),
    async stream(query: string) {
      const path = `/api/v1/nodes?${query}`;
      const lines = await kube.lines(path, { ...common, onBytes: () => undefined });
      const iterator = lines[Symbol.asyncIterator]();
      return async (count: number) => {
        const events: { readonly type: string; readonly object: Item }[] = [];
        while (events.length < count) events.push(JSON.parse((await iterator.next()).value));
        return events;
      };
    },
  };
}

/** What a forwarder sees of a server, without what is each server's own: versions and uids. */
async function courseOf(t: TestContext, subject: Subject): Promise<Json> {
  const { read, write, refusal, stream } = clientOf(t, subject);
  const namespace = (await read("/api/v1/namespaces/kube-system")) as Json & Item;
  const whole = (await read("/api/v1/nodes")) as unknown as List;
  const first = (await read("/api/v1/nodes?limit=3")) as unknown as List;
  const token = encodeURIComponent(first.metadata.continue ?? "");
  const second = (await read(`/api/v1/nodes?limit=3&continue=${token}`)) as unknown as List;
  const take = await stream(STREAM);
  const initial = await take(NODES + 1);
  const resume = await stream(`watch=true&resourceVersion=${whole.metadata.resourceVersion}`);
  await subject.beat();
  const [event] = await take(1);
  const [resumed] = await resume(1);
  const lease = (metadata: object, holderIdentity = "a") => ({
    apiVersion: "coordination.k8s.io/v1",
    kind: "Lease",
    metadata: { name: "one", ...metadata },
    spec: { holderIdentity },
  });
  const missing = await refusal(read(`${LEASES}/one`));
  const created = (await write("POST", LEASES, lease({}))) as Json & Item;
  const { resourceVersion } = created.metadata;
  const twice = await refusal(write("POST", LEASES, lease({})));
  const replaced = (await write("PUT", `${LEASES}/one`, lease({ resourceVersion }, "b"))) as Json &
    Item;
  const stale = await refusal(write("PUT", `${LEASES}/one`, lease({ resourceVersion }, "c")));
  return {
    namespace: [namespace.kind, Object.keys(namespace.metadata).includes("uid")],
    whole: [whole.kind, namesOf(whole), whole.metadata.continue ?? "none"],
    pages: [namesOf(first), namesOf(second), second.metadata.continue ?? "none"],
    isOneVersion: first.metadata.resourceVersion === second.metadata.resourceVersion,
    initial: initial.map(({ type }) => type),
    end: Object.entries((initial.at(-1)?.object.metadata as Json | undefined)?.annotations ?? {}),
    event: [event?.type, event?.object.metadata.name],
    resumed: [resumed?.type, resumed?.object.metadata.name],
    isSameVersion:
      event?.object.metadata.resourceVersion === resumed?.object.metadata.resourceVersion,
    lease: [missing, twice, stale, replaced.metadata.resourceVersion !== resourceVersion],
  };
}

interface List {
  readonly kind: string;
  readonly metadata: { readonly resourceVersion: string; readonly continue?: string };
  readonly items: readonly Item[];
}

function namesOf({ items }: List): readonly string[] {
  return items.map(({ metadata }) => metadata.name);
}

test("startBenchCluster() answers as the embedded API server does", {
  timeout: TIMEOUT_MS,
}, async (t) => {
  const course = await courseOf(t, await benched(t, true));
  assert.deepEqual(course, await courseOf(t, await embedded(t, true)));
  assert.deepEqual(course.event, ["MODIFIED", "node-000000"]);
});

test("startBenchCluster() refuses lists as streams as the embedded API server does", {
  timeout: TIMEOUT_MS,
}, async (t) => {
  const refusals = [];
  for (const subject of [await benched(t, false), await embedded(t, false)]) {
    const { refusal, stream } = clientOf(t, subject);
    refusals.push(await refusal(stream(STREAM)));
  }
  assert.deepEqual(refusals, [422, 422]);
});
