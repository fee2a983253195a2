import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { type Labels, matchesLabels, type Source } from "../../lib/core/list.ts";
import { membersOf } from "../../lib/core/members.ts";
import { missingSettings, scopeOf, selectorText } from "../../lib/core/scope.ts";
import type { Pod, PodSelector, Scope } from "../../lib/core/snapshot.ts";
import { START } from "../virtual-world.ts";
import { API, EXTERNAL, list, pod, policy, snapshot } from "./cases.ts";

const wanting = (...sources: readonly Source[]) => list({ sources });
const looked = (pods: readonly PodSelector[], labels: readonly string[] = []): Scope => {
  return { labels, pods };
};
const pay = (labels: Labels): PodSelector => ({ namespace: "pay", labels });

test("missingSettings() is content with a selector of the list's labels, or with fewer whose labels are sent", () => {
  const api = wanting(API);
  for (const scope of [
    looked([pay({ app: "api" })]),
    looked([pay({}), pay({ app: "api" })]),
    looked([pay({})], ["app"]),
    looked([{ namespace: "web", labels: {} }, pay({ app: "api" })]),
  ]) {
    assert.equal(missingSettings(api, "eu", scope), null, JSON.stringify(scope));
  }
  assert.equal(missingSettings(wanting({ ...API, labels: {} }), "eu", looked([pay({})])), null);
  assert.equal(missingSettings(api, "us", looked([])), null, "it is asked nothing");
});

test("missingSettings() names the labels that a broad selector does not bring along", () => {
  const named = 'KUBE_ALLOWLIST_LABELS must name "app"';
  assert.equal(missingSettings(wanting(API), "eu", looked([pay({})])), named);
  assert.equal(missingSettings(wanting(API), "eu", looked([pay({})], ["tier"])), named);
  const both = { ...API, labels: { app: "api", tier: "web", zone: "b" } };
  const scope = looked([pay({}), pay({ tier: "web" }), pay({ tier: "db" })]);
  assert.equal(
    missingSettings(wanting(both), "eu", scope),
    'KUBE_ALLOWLIST_LABELS must name "app", "zone"',
  );
});

test("missingSettings() names the selectors that nothing looked at, and what the forwarder must be allowed", () => {
  const text =
    'KUBE_ALLOWLIST_PODS must select "pay/app=api", and its role let it list and watch pods in ' +
    '"pay"';
  for (const scope of [
    looked([]),
    looked([], ["app"]),
    looked([pay({ app: "web" })]),
    looked([pay({ app: "api", tier: "web" })]),
    looked([{ namespace: "web", labels: { app: "api" } }]),
  ]) {
    assert.equal(missingSettings(wanting(API), "eu", scope), text, JSON.stringify(scope));
  }
});

test("missingSettings() names all that is missing at once, ascending", () => {
  const subject = wanting(
    { ...API, namespace: "web", labels: {} },
    { ...EXTERNAL, labels: { zone: "b", pool: "db" } },
    API,
    API,
    { ...API, namespace: "ops", labels: { tier: "x" } },
  );
  assert.equal(
    missingSettings(subject, "eu", looked([{ namespace: "ops", labels: {} }])),
    'KUBE_ALLOWLIST_LABELS must name "pool", "tier", "zone", and KUBE_ALLOWLIST_PODS must select ' +
      '"pay/app=api", "web", and its role let it list and watch pods in "pay", "web"',
  );
});

test("missingSettings() looks at labels as own keys, never at what every object inherits", () => {
  const odd = wanting({ ...API, labels: { constructor: "x" } });
  const text = 'KUBE_ALLOWLIST_LABELS must name "constructor"';
  assert.equal(missingSettings(odd, "eu", looked([pay({})])), text);
});

test("scopeOf() asks a cluster for all that lists select there, each once, ascending", () => {
  const lists = [
    wanting(API, { ...EXTERNAL, labels: { zone: "b" } }, { ...API, cluster: "us", namespace: "x" }),
    wanting({ ...API, labels: {} }, API, { ...EXTERNAL, labels: { pool: "db" } }),
    wanting({ kind: "static", cidrs: [] }),
  ];
  assert.deepEqual(scopeOf(lists, "eu"), {
    labels: ["pool", "zone"],
    pods: [pay({}), pay({ app: "api" })],
  });
  const there = { namespace: "x", labels: { app: "api" } };
  assert.deepEqual(scopeOf(lists, "us"), { labels: [], pods: [there] });
});

const NAMESPACES = ["ops", "pay"] as const;
const someLabels = fc.dictionary(fc.constantFrom("app", "tier", "zone"), fc.constantFrom("", "x"), {
  maxKeys: 3,
});
const someSelector = fc.record({ namespace: fc.constantFrom(...NAMESPACES), labels: someLabels });
const someScope = fc.record({
  labels: fc.subarray(["app", "tier", "zone"]),
  pods: fc.array(someSelector, { maxLength: 4 }),
});
const somePods = fc
  .array(someSelector, { maxLength: 8 })
  .map((all) => all.map((given, index) => pod(`p${index}`, [`10.2.0.${index}`], given)));

/** What a forwarder sends that looks where its scope says: of a pod only what that allows. */
function sentBy(scope: Scope, pods: readonly Pod[]): readonly Pod[] {
  return pods.flatMap((one) => {
    const by = scope.pods.filter(
      ({ namespace, labels }) => namespace === one.namespace && matchesLabels(labels, one.labels),
    );
    if (by.length === 0) return [];
    const keys = [...scope.labels, ...by.flatMap(({ labels }) => Object.keys(labels))];
    const pairs = Object.entries(one.labels).filter(([key]) => keys.includes(key));
    return [{ ...one, labels: Object.fromEntries(pairs) }];
  });
}

function heardOf(selectors: readonly PodSelector[], scope: Scope, pods: readonly Pod[]) {
  const sources = selectors.map((selector) => ({ ...API, ...selector }));
  const subject = list({ sources });
  const eu = snapshot([], { scope, pods: sentBy(scope, pods) });
  return membersOf(subject, { eu }, { policy: policy([subject]), readings: {}, now: START });
}

function matching(selectors: readonly PodSelector[], pods: readonly Pod[]): readonly string[] {
  const wanted = pods.filter((one) =>
    selectors.some(
      ({ namespace, labels }) => namespace === one.namespace && matchesLabels(labels, one.labels),
    ),
  );
  return wanted.map(({ namespace, name }) => `${namespace}/${name}`);
}

test("membersOf() has exactly the pods that a list selects, or says that the forwarder did not look, whatever the scope", () => {
  const some = fc.array(someSelector, { minLength: 1, maxLength: 3 });
  let [exact, unlooked] = [0, 0];
  fc.assert(
    fc.property(some, someScope, somePods, (selectors, scope, pods) => {
      const { members, voices } = heardOf(selectors, scope, pods);
      const names = [...new Set(members.map(({ node }) => node ?? ""))].toSorted();
      const wanted = matching(selectors, pods).toSorted();
      for (const name of names) assert(wanted.includes(name), "never one that is not selected");
      if (voices[0]?.kind === "out-of-scope") unlooked += 1;
      else assert.deepEqual(names, wanted);
      if (voices[0]?.kind === "heard" && wanted.length > 0) exact += 1;
    }),
    { numRuns: 2_000 },
  );
  assert(exact > 50 && unlooked > 50, `both happen: ${exact} and ${unlooked}`);
});

test("scopeOf() is a scope in which every list is answered for", () => {
  const some = fc.array(someSelector, { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(some, somePods, (selectors, pods) => {
      const sources = selectors.map((selector) => ({ ...API, ...selector }));
      const scope = scopeOf([list({ sources })], "eu");
      const { members, voices } = heardOf(selectors, scope, pods);
      assert.equal(voices[0]?.kind, "heard");
      const names = [...new Set(members.map(({ node }) => node ?? ""))].toSorted();
      assert.deepEqual(names, matching(selectors, pods).toSorted());
    }),
  );
});

test("selectorText() tells selectors apart, whatever the order of their labels", () => {
  assert.equal(selectorText(pay({})), "pay");
  assert.equal(selectorText(pay({ tier: "web", app: "api" })), "pay/app=api,tier=web");
  assert.equal(selectorText(pay({ app: "" })), "pay/app=");
});
