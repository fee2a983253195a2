import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { mergePods, type ObservedPod, type Pods, podsCollection } from "../../forwarder/pods.ts";

const API = podsCollection({ namespace: "pay", labels: { app: "api" } }, { labels: ["team"] });

interface Given {
  readonly uid?: string;
  readonly name?: string;
  readonly version?: string;
  readonly labels?: object;
  readonly deletionTimestamp?: string;
  readonly spec?: object;
  readonly status?: object;
}

const RUNNING = { phase: "Running", podIP: "10.2.0.9", podIPs: [{ ip: "10.2.0.9" }] };

function objectOf({ uid = "u", name = "api-0", version = "5", ...given }: Given = {}) {
  const { labels = { app: "api" }, spec = {}, status = RUNNING, ...rest } = given;
  return {
    metadata: { uid, name, namespace: "pay", resourceVersion: version, labels, ...rest },
    spec,
    status,
  };
}

function see(given: Given, { collection = API, held = new Map<string, ObservedPod>() } = {}) {
  return collection.see(objectOf(given), held).observed;
}

function addressesOf(observed: ObservedPod | null) {
  return observed?.pod.addresses.map((address) => address.split("/")[0]) ?? null;
}

test("projectPod() counts a pod that may run, and no finished one, though it keeps its address", () => {
  for (const phase of ["Pending", "Running"]) {
    assert.deepEqual(addressesOf(see({ status: { ...RUNNING, phase } })), ["10.2.0.9"]);
  }
  for (const phase of ["Succeeded", "Failed", "Unknown", "", undefined, 7]) {
    assert.equal(see({ status: { ...RUNNING, phase } }), null, String(phase));
  }
});

test("projectPod() counts a pod that is being deleted until it is gone or finished", () => {
  const deletionTimestamp = "2026-11-20T21:00:05Z";
  assert.deepEqual(addressesOf(see({ deletionTimestamp })), ["10.2.0.9"]);
  assert.equal(see({ deletionTimestamp, status: { ...RUNNING, phase: "Failed" } }), null);
});

test("projectPod() lets a pod pass that speaks with its node's address", () => {
  assert.equal(see({ spec: { hostNetwork: true } }), null);
  assert.notEqual(see({ spec: { hostNetwork: false } }), null);
});

test("projectPod() takes podIPs, each once and canonical, and podIP only where there are none", () => {
  const podIPs = [{ ip: "2001:DB8:0::9" }, { ip: "10.2.0.9" }, { ip: "2001:db8::9" }];
  const both = see({ status: { phase: "Running", podIP: "10.2.0.1", podIPs } });
  assert.deepEqual(addressesOf(both), ["10.2.0.9", "2001:db8::9"]);
  const old = see({ status: { phase: "Running", podIP: "10.2.0.1" } });
  assert.deepEqual(addressesOf(old), ["10.2.0.1"]);
});

test("projectPod() holds no pod without address", () => {
  for (const status of [{ podIPs: [] }, { podIP: "" }, {}, { podIP: "", podIPs: [] }]) {
    assert.equal(see({ status: { phase: "Pending", ...status } }), null);
  }
});

test("projectPod() tells of addresses that are none", () => {
  const podIPs = [{ ip: "10.2.0.9" }, { ip: "pod.example" }, null];
  const observed = see({ status: { phase: "Running", podIPs } });
  assert.deepEqual(addressesOf(observed), ["10.2.0.9"]);
  assert.deepEqual(observed?.unsent, ["null", "pod.example"]);
});

test("projectPod() keeps the labels of the scope and of its selector", () => {
  const labels = { app: "api", team: "x", secret: "y" };
  assert.deepEqual(see({ labels })?.pod.labels, { app: "api", team: "x" });
});

test("projectPod() refuses what has no identity, rather than guessing one", () => {
  const { metadata, ...rest } = objectOf();
  for (const wrong of [
    { uid: "" },
    { name: undefined },
    { namespace: undefined },
    { namespace: "ü" },
  ]) {
    const object = { ...rest, metadata: { ...metadata, ...wrong } };
    assert.throws(() => API.see(object, new Map()), RangeError);
  }
});

test("projectPod() gives back what is held where nothing differs, and takes whatever it is given", () => {
  const wild = fc.record({
    labels: fc.object(),
    spec: fc.object(),
    status: fc.record({
      phase: fc.constantFrom("Running", "Pending", "Failed"),
      podIP: fc.jsonValue(),
      podIPs: fc.array(
        fc.oneof(
          fc.record({ ip: fc.constantFrom("10.2.0.1", "10.2.0.2", "::1", "x") }),
          fc.jsonValue(),
        ),
      ),
    }),
  });
  fc.assert(
    fc.property(wild, wild, (first, second) => {
      const held = new Map<string, ObservedPod>();
      const before = see(first);
      if (before !== null) held.set("u", before);
      assert.equal(see({ ...structuredClone(first), version: "6" }, { held }), before);
      const after = see(second, { held });
      const fresh = see(second);
      assert.deepEqual(after?.pod, fresh?.pod);
      assert.deepEqual(after?.unsent, fresh?.unsent);
    }),
  );
});

test("podsCollection() names a pod with its namespace where a change has room for it", () => {
  const named = (name: string) => {
    const observed = see({ name });
    assert.ok(observed);
    return API.nameOf(observed);
  };
  assert.equal(named("api-0"), "pay/api-0");
  const long = "x".repeat(253);
  assert.equal(named(long), long);
});

const WEB = podsCollection({ namespace: "pay", labels: { tier: "web" } }, { labels: ["team"] });

function pods(...observed: (ObservedPod | null)[]): Pods {
  return new Map(observed.flatMap((one) => (one === null ? [] : [[one.pod.uid, one] as const])));
}

test("mergePods() has a pod of several selectors once, with the labels of all of them", () => {
  const labels = { app: "api", tier: "web", team: "x" };
  const merged = mergePods([
    pods(see({ uid: "b", labels }), see({ uid: "c", name: "api-1" })),
    pods(see({ uid: "b", labels }, { collection: WEB }), see({ uid: "a" }, { collection: WEB })),
  ]);
  assert.deepEqual(
    merged.map(({ uid, labels: given }) => [uid, given]),
    [
      ["a", {}],
      ["b", { app: "api", team: "x", tier: "web" }],
      ["c", { app: "api" }],
    ],
  );
});

test("mergePods() believes the newer of two, and keeps every address", () => {
  const labels = { app: "api", tier: "web" };
  const older = { version: "99", labels: { ...labels, team: "old" } };
  const newer = {
    version: "100",
    labels: { ...labels, team: "new" },
    status: { phase: "Running", podIP: "10.2.0.10" },
  };
  const one = [pods(see(older)), pods(see(newer, { collection: WEB }))];
  const other = [pods(see(newer)), pods(see(older, { collection: WEB }))];
  for (const selected of [one, other, one.toReversed()]) {
    const [pod] = mergePods(selected);
    assert.equal(pod?.labels.team, "new");
    assert.deepEqual(pod?.addresses, ["10.2.0.9/32", "10.2.0.10/32"]);
  }
});

test("podsCollection() and mergePods() drop no label that the scope names", () => {
  const keys = Array.from({ length: 62 }, (_, n) => `k${String(n).padStart(2, "0")}`);
  const own = { y: "b", z: "c" };
  const labels = { ...Object.fromEntries(keys.map((key) => [key, "v"])), ...own };
  const selected = Object.entries(own).map(([key, value]) => {
    const selector = { namespace: "pay", labels: { [key]: value } };
    return pods(see({ labels }, { collection: podsCollection(selector, { labels: keys }) }));
  });
  for (const some of [selected, selected.toReversed()]) {
    assert.deepEqual(mergePods(some)[0]?.labels, labels);
  }
});
