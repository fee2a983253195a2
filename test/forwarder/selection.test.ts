import assert from "node:assert/strict";
import { test } from "node:test";
import type { ObservedPod, Pods } from "../../forwarder/pods.ts";
import { excessPods, excessText } from "../../forwarder/selection.ts";
import type { Cidr } from "../../lib/core/cidr.ts";
import type { PodSelector } from "../../lib/core/snapshot.ts";

const A = { namespace: "a", labels: {} };
const B = { namespace: "b", labels: {} };

function podsOf(from: number, to: number, nameCharacters = 8): Pods {
  const pods = new Map<string, ObservedPod>();
  for (let n = from; n < to; n += 1) {
    const uid = `u${n}`;
    const name = uid.padEnd(nameCharacters, "x");
    const address = `10.${n >> 16}.${(n >> 8) & 255}.${n & 255}/32` as Cidr;
    const pod = { uid, namespace: "n", name, labels: {}, addresses: [address] };
    pods.set(uid, { pod, unsent: [], version: "1" });
  }
  return pods;
}

function excess(a: Pods, b: Pods, before: readonly PodSelector[] = [], nodeBytes = 0) {
  const listed = [
    { selector: A, pods: a },
    { selector: B, pods: b },
  ];
  const name = "x".repeat(nodeBytes);
  const node = { uid: "n", name, labels: {}, addresses: [], podCidrs: [] };
  const found = excessPods(listed, { nodes: nodeBytes === 0 ? [] : [node], excess: before });
  return found.map(({ selector }) => selector);
}

test("excessPods() counts a pod of two selectors once", () => {
  assert.deepEqual(excess(podsOf(0, 26_000), podsOf(0, 26_000)), []);
  assert.deepEqual(excess(podsOf(0, 26_000), podsOf(26_000, 52_001)), [B]);
});

test("excessPods() leaves out what makes a message longer than it may be, and keeps the rest", () => {
  // 20,000 times 500 bytes are 10 MB.
  assert.deepEqual(excess(podsOf(0, 20_000, 450), podsOf(20_000, 20_100, 450)), [A]);
  assert.deepEqual(excess(podsOf(0, 100, 450), podsOf(100, 20_000, 450)), [B]);
  assert.deepEqual(excess(podsOf(0, 7_000, 450), podsOf(7_000, 14_000, 450)), []);
});

test("excessPods() has no room for pods where the nodes need it", () => {
  assert.deepEqual(excess(podsOf(0, 7_000, 450), podsOf(7_000, 14_000, 450), [], 4_000_000), [B]);
});

test("excessPods() takes back what had no room only once there is room to spare", () => {
  const almost = podsOf(0, 48_000, 2);
  assert.deepEqual(excess(podsOf(0, 1, 2), almost), []);
  assert.deepEqual(excess(podsOf(0, 1, 2), almost, [B]), [B]);
  assert.deepEqual(excess(podsOf(0, 1, 2), podsOf(0, 44_000, 2), [B]), []);
});

test("excessText() names the selectors and the way out", () => {
  const text = excessText([A, { namespace: "b", labels: { app: "api" } }]);
  assert.match(text, /^Cannot tell of the pods of a; b\/app=api: .*narrow the selector/);
});
