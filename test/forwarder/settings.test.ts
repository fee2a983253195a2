import assert from "node:assert/strict";
import { test } from "node:test";
import { parseSettings } from "../../forwarder/settings.ts";
import { readListen, readPods } from "../../forwarder/variables.ts";
import { describeUrl, parseWebhookUrl } from "../../forwarder/webhook.ts";
import { selectorText } from "../../lib/core/scope.ts";

const GOOD = {
  KUBE_ALLOWLIST_URL: "https://hook.example/v1/snapshots",
  KUBE_ALLOWLIST_CLUSTER: "prod-eu",
  KUBE_ALLOWLIST_SECRET_FILE: "/secrets/key",
};

test("parseSettings() fills in what is not said", () => {
  const reading = parseSettings(GOOD);
  assert.ok(reading.kind === "parsed");
  const { url, labels, lease, heartbeatMs } = reading.settings;
  assert.equal(url.href, GOOD.KUBE_ALLOWLIST_URL);
  assert.deepEqual(labels, []);
  assert.deepEqual(lease, { kind: "kubernetes", namespace: null, name: "kube-allowlist" });
  assert.equal(heartbeatMs, 300_000);
});

test("parseSettings() reads labels, Lease and heartbeat", () => {
  const reading = parseSettings({
    ...GOOD,
    KUBE_ALLOWLIST_LABELS: "zone, topology.kubernetes.io/zone,pool,pool",
    KUBE_ALLOWLIST_LEASE: "ops/eu",
    KUBE_ALLOWLIST_HEARTBEAT: "90s",
    HTTPS_PROXY: "http://proxy:3128",
  });
  assert.ok(reading.kind === "parsed");
  const { labels, lease, heartbeatMs, proxy } = reading.settings;
  assert.deepEqual(labels, ["pool", "topology.kubernetes.io/zone", "zone"]);
  assert.deepEqual(lease, { kind: "kubernetes", namespace: "ops", name: "eu" });
  assert.equal(heartbeatMs, 90_000);
  assert.deepEqual(proxy, { HTTPS_PROXY: "http://proxy:3128" });
});

test("parseSettings() names every problem at once", () => {
  const reading = parseSettings({
    KUBE_ALLOWLIST_URL: "http://user:canary@hook.example/?sig=canary",
    KUBE_ALLOWLIST_CLUSTER: "Prod EU",
    KUBE_ALLOWLIST_LABELS: "pool=x",
    KUBE_ALLOWLIST_LEASE: "a/b/c",
    KUBE_ALLOWLIST_HEARTBEAT: "1h",
    KUBE_ALLOWLIST_PODS: "Pay/app=api",
    KUBE_ALLOWLIST_GATE: "NoSchedule",
    KUBE_ALLOWLIST_GATE_TIMEOUT: "5s",
    KUBE_ALLOWLIST_LISTEN: "here",
  });
  assert.ok(reading.kind === "invalid");
  const names = ["CLUSTER", "GATE", "GATE_TIMEOUT", "HEARTBEAT", "LABELS", "LEASE", "LISTEN"];
  assert.deepEqual(
    reading.problems.map(({ path }) => path.slice("KUBE_ALLOWLIST_".length)),
    [...names, "PODS", "SECRET_FILE", "URL"],
  );
  assert.doesNotMatch(JSON.stringify(reading.problems), /canary/);
  assert.ok(reading.problems.every(({ message }) => /^Cannot [^:]+: .+/.test(message)));
});

test("parseSettings() takes a key, a token, or both, and not neither", () => {
  const credentialOf = (env: Readonly<Record<string, string>>) => {
    const { KUBE_ALLOWLIST_SECRET_FILE: _, ...rest } = GOOD;
    const reading = parseSettings({ ...rest, ...env });
    return reading.kind === "parsed" ? reading.settings.credential : null;
  };
  const signing = { kind: "file", path: "/key" };
  assert.deepEqual(credentialOf({ KUBE_ALLOWLIST_SECRET_FILE: "/key" }), {
    signing,
    tokenFile: null,
  });
  const token = { KUBE_ALLOWLIST_TOKEN_FILE: "/token" };
  assert.deepEqual(credentialOf(token), { signing: null, tokenFile: "/token" });
  const both = { ...token, KUBE_ALLOWLIST_SECRET_FILE: "/key" };
  assert.deepEqual(credentialOf(both), { signing, tokenFile: "/token" });
  assert.equal(credentialOf({ KUBE_ALLOWLIST_TOKEN_FILE: " " }), null);
});

test("readPods() reads selectors in ascending order, each once", () => {
  assert.deepEqual(readPods(""), []);
  assert.deepEqual(readPods("pay/tier=web,app=api; ops ;pay/app=api,tier=web;ops/"), [
    { namespace: "ops", labels: {} },
    { namespace: "pay", labels: { app: "api", tier: "web" } },
  ]);
  assert.deepEqual(readPods("a/k="), [{ namespace: "a", labels: { k: "" } }]);
});

test("readPods() refuses what no namespace or label is like", () => {
  const bad = ["Pay", "a/b", "a/b=c=d", "a/=c", "a/b=-", "/b=c", "a/b=1,b=2", "a/b!=c", "a/b c=d"];
  for (const text of bad) assert.throws(() => readPods(text), /write NAMESPACE\/KEY=VALUE/, text);
  const many = Array.from({ length: 257 }, (_, index) => `n${index}`).join(";");
  assert.throws(() => readPods(many), /at most 256/);
});

test("selectorText() writes what readPods() reads", () => {
  for (const text of ["ops", "pay/app=api", "pay/app=api,example.com/tier="]) {
    assert.deepEqual(readPods(text).map(selectorText), [text]);
  }
});

test("parseSettings() reads the gate and how long it may stay shut", () => {
  const gateOf = (gate: string, timeout = "") => {
    const env = { KUBE_ALLOWLIST_GATE: gate, KUBE_ALLOWLIST_GATE_TIMEOUT: timeout };
    const reading = parseSettings({ ...GOOD, ...env });
    return reading.kind === "parsed" ? reading.settings.gate : reading.problems[0]?.path;
  };
  assert.equal(gateOf(""), null);
  assert.equal(gateOf("off"), null);
  assert.deepEqual(gateOf("taint"), {
    mark: {
      kind: "taint",
      key: "startup-taint.cluster-autoscaler.kubernetes.io/kube-allowlist",
    },
    timeoutMs: 600_000,
  });
  const key = "readiness.k8s.io/allowlisted";
  assert.deepEqual(gateOf(key, "5m"), { mark: { kind: "taint", key }, timeoutMs: 300_000 });
  assert.deepEqual(gateOf("condition", "never"), { mark: { kind: "condition" }, timeoutMs: null });
  assert.equal(gateOf("taints"), "KUBE_ALLOWLIST_GATE");
  assert.equal(gateOf("a/b/c"), "KUBE_ALLOWLIST_GATE");
  assert.equal(gateOf("taint", "30s"), "KUBE_ALLOWLIST_GATE_TIMEOUT");
  assert.equal(gateOf("taint", "0s"), "KUBE_ALLOWLIST_GATE_TIMEOUT");
  assert.equal(gateOf("", "5m"), "KUBE_ALLOWLIST_GATE_TIMEOUT");
});

test("readListen() reads a port with or without its interface", () => {
  assert.equal(readListen(""), null);
  assert.equal(readListen("off"), null);
  assert.deepEqual(readListen("8080"), { host: "::", port: 8080 });
  assert.deepEqual(readListen(":8080"), { host: "::", port: 8080 });
  assert.deepEqual(readListen("127.0.0.1:0"), { host: "127.0.0.1", port: 0 });
  assert.deepEqual(readListen("[::1]:65535"), { host: "::1", port: 65_535 });
  for (const text of ["65536", "::1:80", "http://a:80", "a:b", "-1", "80 "]) {
    assert.throws(() => readListen(text), RangeError, text);
  }
});

test("parseWebhookUrl() takes plain HTTP on this host and inside the cluster only", () => {
  for (const good of ["http://127.0.0.1:8787", "http://[::1]/x", "http://hook.ns.svc:80/v1"]) {
    assert.ok(parseWebhookUrl(good));
  }
  for (const bad of [
    "http://hook.example",
    "http://10.0.0.1",
    "http://a.svc.example",
    "ftp://a",
    "hook.example",
    "",
  ]) {
    assert.throws(() => parseWebhookUrl(bad), RangeError);
  }
  assert.equal(parseWebhookUrl("https://hook.example").pathname, "/v1/snapshots");
});

test("describeUrl() shows neither user nor query", () => {
  const url = parseWebhookUrl("https://user:canary@hook.example/x?code=canary");
  assert.equal(describeUrl(url), "https://hook.example/x");
});

test("parseSettings() refuses a proxy that is none, and never shows what stands in it", () => {
  for (const proxy of ["http://user:HUNTER2@proxy:99999", "socks5://HUNTER2@proxy", "HUNTER2"]) {
    const reading = parseSettings({ ...GOOD, HTTPS_PROXY: proxy });
    assert.ok(reading.kind === "invalid", proxy);
    assert.deepEqual(
      reading.problems.map(({ path }) => path),
      ["HTTPS_PROXY"],
    );
    assert.doesNotMatch(JSON.stringify(reading.problems), /HUNTER2/);
  }
  assert.equal(parseSettings({ ...GOOD, NO_PROXY: "anything", HTTPS_PROXY: "" }).kind, "parsed");
});

test("parseSettings() refuses more labels of one pod than a message holds, wherever they are named", () => {
  const keys = (count: number, prefix: string) =>
    Array.from({ length: count }, (_, n) => `${prefix}${n}`);
  const pairs = (count: number, prefix: string) =>
    keys(count, prefix)
      .map((key) => `${key}=v`)
      .join();
  const problemOf = (labels: number, pods: string) => {
    const reading = parseSettings({
      ...GOOD,
      KUBE_ALLOWLIST_LABELS: keys(labels, "k").join(),
      KUBE_ALLOWLIST_PODS: pods,
    });
    return reading.kind === "parsed" ? null : reading.problems;
  };
  assert.equal(problemOf(62, "pay/a=1; pay/b=2"), null);
  assert.equal(problemOf(63, "pay/a=1; ops/b=2"), null, "of different pods");
  assert.equal(problemOf(64, "pay/k0=1; pay"), null, "named twice");
  for (const [labels, pods] of [
    [64, "pay/a=1"],
    [63, "pay/a=1; pay/b=2"],
    [0, `pay/${pairs(40, "a")}; pay/${pairs(25, "b")}`],
    [0, `pay/${pairs(65, "a")}`],
  ] as const) {
    const [problem, ...others] = problemOf(labels, pods) ?? [];
    assert.equal(problem?.path, "KUBE_ALLOWLIST_PODS");
    assert.match(problem.message, /65 in "pay".*at most 64 allowed/);
    assert.equal(others.length, 0);
  }
});
