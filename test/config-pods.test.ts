import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { parse } from "yaml";
import * as z from "zod";
import { readPods } from "../forwarder/variables.ts";
import { parseConfig } from "../lib/config.ts";
import { listDigest } from "../lib/core/due.ts";
import { scopeOf, selectorText } from "../lib/core/scope.ts";

const MEMORY = { kind: "memory", id: "one" };
const RDS = { kind: "alibaba/rds", region: "cn-beijing", id: "rm-1" };
const CLUSTER = { auth: { signature: { keys: ["env:EU"] } }, bounds: ["10.0.0.0/8"] };
const API = { cluster: "eu", pods: { namespace: "pay", labels: { app: "api" } } };

interface Given {
  readonly targets?: readonly unknown[];
  readonly cluster?: Readonly<Record<string, unknown>>;
}

function fileOf(from: readonly unknown[], given: Given = {}) {
  const targets = given.targets ?? [MEMORY];
  return {
    version: 1,
    installation: "acme",
    store: { kind: "memory" },
    clusters: { eu: { ...CLUSTER, ...given.cluster } },
    lists: { db: { from, removal: { policy: "sync" }, targets } },
  };
}

function configOf(from: readonly unknown[], given?: Given) {
  const reading = parseConfig(fileOf(from, given));
  assert(reading.kind === "parsed", JSON.stringify(reading));
  return reading.config;
}

function problemsOf(from: readonly unknown[], given?: Given): readonly string[] {
  const reading = parseConfig(fileOf(from, given));
  assert(reading.kind === "invalid", "it was parsed");
  return reading.problems.map(({ path, message }) => `${path}: ${message}`);
}

test("parseConfig() reads pods, alone and beside nodes, with their labels in one order", () => {
  const pods = (labels: object) => ({ ...API, pods: { namespace: "pay", labels } });
  const nodes = { cluster: "eu", nodes: {}, addresses: ["InternalIP"] };
  const [one] = configOf([nodes, pods({ tier: "web", app: "api" }), pods({})]).lists;
  assert.deepEqual(one?.sources, [
    { kind: "nodes", cluster: "eu", labels: {}, addresses: ["InternalIP"] },
    { kind: "pods", cluster: "eu", namespace: "pay", labels: { app: "api", tier: "web" } },
    { kind: "pods", cluster: "eu", namespace: "pay", labels: {} },
  ]);
  assert.match(JSON.stringify(one?.sources), /{"app":"api","tier":"web"}/);
  const digest = (labels: object) => {
    const config = configOf([pods(labels)]);
    const [first] = config.lists;
    assert(first);
    return listDigest(first, config);
  };
  assert.equal(digest({ tier: "web", app: "api" }), digest({ app: "api", tier: "web" }));
  assert.notEqual(digest({ app: "api" }), digest({}), "another selector restarts the clocks");
});

test("parseConfig() has a sentence for every mistake with pods", () => {
  const one = (given: object) => problemsOf([{ ...API, ...given }]);
  const pods = (given: object) => one({ pods: { ...API.pods, ...given } });
  const at = "lists.db.from[0]";
  assert.deepEqual(one({ nodes: {} }), [
    `${at}: Cannot take nodes and pods from one item: an item is of one kind of source; write an ` +
      "item for each",
  ]);
  assert.deepEqual(one({ addresses: ["InternalIP"] }), [
    `${at}.addresses: Cannot use key "addresses": it is unknown; known here: cluster, pods`,
  ]);
  assert.deepEqual(pods({ label: {} }), [
    `${at}.pods.label: Cannot use key "label": it is unknown; did you mean "labels"?`,
  ]);
  assert.deepEqual(one({ pods: "pay/app=api" }), [
    `${at}.pods: Cannot use "pay/app=api": it is text alone; write it like ` +
      "{ namespace: pay, labels: { app: api } }",
  ]);
  assert.deepEqual(one({ cluster: "ue" }), [
    `${at}.cluster: Cannot find cluster "ue": known are eu; did you mean "eu"?`,
  ]);
  assert.match(
    one({ cluster: undefined }).join(),
    /from\[0\]\.cluster: Cannot leave out "cluster"/,
  );
  assert.match(pods({ namespace: undefined }).join(), /pods\.namespace: Cannot leave out/);
  assert.match(pods({ labels: undefined }).join(), /pods\.labels: Cannot leave out "labels"/);
  assert.match(pods({ namespace: "Pay" }).join(), /no namespace of Kubernetes is like it$/);
  assert.match(pods({ namespace: "*" }).join(), /no namespace of Kubernetes is like it$/);
  assert.match(pods({ labels: { app: true } }).join(), /expected text \(put quotes around it\)$/);
  assert.match(pods({ labels: { "a b": "c" } }).join(), /no label of Kubernetes is like it$/);
  assert.match(pods({ labels: { app: "a b" } }).join(), /no label of Kubernetes has it$/);
});

test("parseConfig() refuses pods with bounds [public] where only private addresses could come", () => {
  const open = { bounds: ["public"], maxEntries: 10 };
  const rds = { ...RDS, group: "pods" };
  assert.deepEqual(problemsOf([API], { cluster: open, targets: [rds] }), [
    'lists.db.targets[0]: Cannot keep list "db" on alibaba/rds/rm-1/pods: it holds IPv4 only, ' +
      'and the list can only ever have IPv6 (bounds [public] of "eu" take no pod with a private ' +
      "address); take the target out, or give the list's sources addresses of that family",
  ]);
  // Pods of EKS with IPv6 have addresses that the whole internet can route to.
  configOf([API], { cluster: open });
  configOf([API], { targets: [RDS] });
  const v6 = problemsOf([API], { cluster: { bounds: ["2001:db8::/32"] }, targets: [RDS] });
  assert.match(v6.join(), /can only ever have IPv6; take the target out/);
});

test("parseConfig() refuses more selectors and labels of one cluster than a message holds", () => {
  const namespaces = (count: number) =>
    Array.from({ length: count }, (_, index) => ({
      cluster: "eu",
      pods: { namespace: `n${index}`, labels: {} },
    }));
  const lists = (sources: readonly unknown[]) => {
    const file = fileOf([API]);
    const halves = [sources.slice(0, 100), sources.slice(100, 200), sources.slice(200)];
    const many = halves.flatMap((from, index) =>
      from.length === 0
        ? []
        : [
            [
              `l${index}`,
              { ...file.lists.db, from, targets: [{ kind: "memory", id: `${index}` }] },
            ],
          ],
    );
    return parseConfig({ ...file, lists: Object.fromEntries(many) });
  };
  assert.equal(lists(namespaces(256)).kind, "parsed");
  const tooMany = lists(namespaces(257));
  assert.deepEqual(tooMany.kind === "invalid" && tooMany.problems, [
    {
      path: "clusters.eu",
      message:
        'Cannot ask the forwarder of "eu" for 257 selectors of pods: at most 256 fit into a ' +
        "message; select the pods by fewer",
    },
  ]);
  const labelled = (count: number) =>
    Array.from({ length: count }, (_, index) =>
      index % 2 === 0
        ? { cluster: "eu", pods: { namespace: "pay", labels: { [`l${index}`]: "" } } }
        : { cluster: "eu", nodes: { [`l${index}`]: "" }, addresses: ["InternalIP"] },
    );
  assert.equal(lists(labelled(64)).kind, "parsed");
  assert.match(JSON.stringify(lists(labelled(65))), /for 65 labels: at most 64 fit/);
});

test(
  "selectorText() writes every selector of a configuration so that a forwarder reads the " + "same",
  () => {
    const labels = [{}, { app: "api" }, { app: "", "k8s.io/name": "A.b_c-1" }, { 5432: "0" }];
    const from = labels.map((each) => ({
      cluster: "eu",
      pods: { namespace: "a-1", labels: each },
    }));
    const { pods } = scopeOf(configOf(from).lists, "eu");
    assert.equal(pods.length, labels.length);
    assert.deepEqual(readPods(pods.map(selectorText).join("; ")), pods);
  },
);

test("schema/allowlist.schema.json takes and refuses pods as the parser does", () => {
  const text = readFileSync(join(import.meta.dirname, "../schema/allowlist.schema.json"), "utf8");
  const schema = z.fromJSONSchema(JSON.parse(text));
  for (const [source, isGood] of [
    [API, true],
    [{ ...API, pods: { namespace: "pay", labels: {} } }, true],
    [{ ...API, pods: { namespace: "pay" } }, false],
    [{ ...API, pods: { labels: {} } }, false],
    [{ ...API, addresses: ["InternalIP"] }, false],
    [{ ...API, nodes: {} }, false],
  ] as const) {
    const file = fileOf([source]);
    assert.equal(parseConfig(file).kind === "parsed", isGood, JSON.stringify(source));
    assert.equal(schema.safeParse(file).success, isGood, JSON.stringify(source));
  }
});

test("docs/sources.md shows pods as the parser takes them", () => {
  const page = readFileSync(join(import.meta.dirname, "../docs/sources.md"), "utf8");
  const fences = [...page.matchAll(/^```yaml\n(.*?)^```$/gms)].map(([, text]) => text ?? "");
  const withPods = fences.filter((text) => /^lists:/m.test(text) && text.includes("pods:"));
  assert(withPods.length > 0, "the page shows no pods");
  for (const text of withPods) {
    const reading = parseConfig({ ...fileOf([API]), ...parse(text) });
    assert.equal(reading.kind, "parsed", JSON.stringify(reading));
  }
});
