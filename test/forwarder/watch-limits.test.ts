import assert from "node:assert/strict";
import { test } from "node:test";
import type { ForwarderEvent } from "../../forwarder/journal.ts";
import { KubeError } from "../../forwarder/kube.ts";
import { makeVigil } from "../../forwarder/vigil.ts";
import { external, watchStage } from "./stage.ts";

const LIMIT = { timeout: 30_000 };
const MINUTE_MS = 60_000;

test(
  "watchCluster() asks whose events they are before the first of a resumed stream counts",
  LIMIT,
  async (t) => {
    const stage = await watchStage(t, {
      prepare: ({ nodes }) => void nodes.put("a", external("203.0.113.1")),
    });
    await stage.synced();
    await stage.world.advance(MINUTE_MS + 1_000);
    const before = stage.watch.truth()?.clusterUid;
    const { store, faults, nodes } = stage.server;
    await faults.refuse();
    // Another cluster under the URL, whose history reaches back to our version.
    store.remove("namespaces", "kube-system");
    const metadata = { name: "kube-system" };
    store.put("namespaces", "kube-system", { apiVersion: "v1", kind: "Namespace", metadata });
    nodes.put("z", external("198.51.100.1"));
    await faults.accept();
    const isOther = () => {
      const truth = stage.watch.truth();
      const isMixed = truth?.clusterUid === before && stage.addresses().includes("198.51.100.1");
      assert.equal(isMixed, false, "events of one cluster under the name of another");
      return truth !== null && truth.clusterUid !== before;
    };
    for (let second = 0; second < 90 && !isOther(); second += 1) await stage.world.advance(1_000);
    assert.equal(isOther(), true);
  },
);

test("watchCluster() asks whose stream it is though no event comes", LIMIT, async (t) => {
  const stage = await watchStage(t);
  await stage.synced();
  const before = stage.watch.truth()?.clusterUid;
  const { store, faults } = stage.server;
  await faults.refuse();
  store.remove("namespaces", "kube-system");
  const metadata = { name: "kube-system" };
  store.put("namespaces", "kube-system", { apiVersion: "v1", kind: "Namespace", metadata });
  await faults.accept();
  const isOther = () => stage.watch.truth()?.clusterUid !== before;
  await stage.world.until("the other cluster", isOther, { withinMs: 20_000 });
});

test(
  "watchCluster() asks who answers once for each resumed stream, not for its events",
  LIMIT,
  async (t) => {
    const stage = await watchStage(t);
    await stage.synced();
    await stage.world.advance(11_000);
    stage.server.faults.closeWatches();
    await stage.world.advance(5_000);
    const before = stage.count("namespace");
    for (let n = 0; n < 20; n += 1) {
      stage.server.nodes.put(`n${n}`, external(`203.0.113.${n}`));
      await stage.world.advance(1_000);
    }
    assert.equal(stage.addresses().length, 20);
    assert.equal(stage.count("namespace"), before);
  },
);

for (const [name, fault, withinMs] of [
  ["an error", { kind: "status", status: 500 }, 1_000],
  ["a Retry-After", { kind: "status", status: 429, retryAfterS: 280 }, 11_000],
] as const) {
  test(`confirm() does not wait for the end of a pause after ${name}`, LIMIT, async (t) => {
    const stage = await watchStage(t);
    await stage.synced();
    await stage.world.advance(1_000);
    stage.server.faults.add("watch", fault);
    stage.server.faults.closeWatches();
    const retryMs = () =>
      stage.events.findLast((event) => event.kind === "watch-failed")?.retryInMs ?? 0;
    // Just after an attempt that has a long pause behind it.
    await stage.world.until("a long pause", () => retryMs() > 30_000, {
      withinMs: 10 * MINUTE_MS,
    });
    stage.server.faults.clear();
    const since = stage.world.now();
    let confirmedAt: number | null = null;
    void stage.watch.confirm(stage.signal).then(
      () => {
        confirmedAt = stage.world.now();
      },
      () => undefined,
    );
    if (fault.status === 429) {
      await stage.world.advance(9_000);
      assert.equal(confirmedAt, null, "the server asked to be left alone");
    }
    await stage.world.until("a confirmation", () => confirmedAt !== null, { withinMs });
    assert.ok(stage.world.now() - since <= withinMs);
  });
}

test("makeVigil() takes a list for alive that takes long, page by page", LIMIT, async (t) => {
  let pages = 0;
  let hear: (event: ForwarderEvent) => void = () => undefined;
  const troubles: string[] = [];
  const stage = await watchStage(t, {
    onEvent: (event) => hear(event),
    wrap: (kube, world) => ({
      ...kube,
      async read(path, request) {
        if (!path.startsWith("/api/v1/nodes")) return kube.read(path, request);
        await world.sleep(50_000, request.signal);
        pages += 1;
        const rest = pages < 24 ? { continue: "t" } : {};
        return { kind: "NodeList", metadata: { resourceVersion: "9", ...rest }, items: [] };
      },
      lines: () => Promise.reject(new KubeError("no", { status: 422 })),
    }),
  });
  const vigil = makeVigil({ world: stage.world, truth: stage.watch.truth });
  hear = vigil.hear;
  const running = vigil.run(stage.signal);
  while (stage.watch.truth() === null && pages <= 24) {
    await stage.world.advance(MINUTE_MS);
    const trouble = vigil.trouble();
    if (trouble !== null) troubles.push(trouble);
  }
  assert.deepEqual(troubles, []);
  assert.equal(pages >= 24, true);
  t.after(() => running);
});
