import assert from "node:assert/strict";
import { test } from "node:test";
import { parseSettings } from "../../forwarder/settings.ts";
import { describeUrl, parseWebhookUrl } from "../../forwarder/webhook.ts";

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
    KUBE_ALLOWLIST_TOKEN_FILE: "/token",
    KUBE_ALLOWLIST_PODS: "pay/app=api",
    KUBE_ALLOWLIST_GATE: "condition",
    KUBE_ALLOWLIST_GATE_TIMEOUT: "5m",
  });
  assert.ok(reading.kind === "invalid");
  assert.deepEqual(
    reading.problems.map(({ path }) => path.slice("KUBE_ALLOWLIST_".length)),
    [
      "CLUSTER",
      "GATE",
      "GATE_TIMEOUT",
      "HEARTBEAT",
      "LABELS",
      "LEASE",
      "PODS",
      "SECRET_FILE",
    ].concat(["TOKEN_FILE", "URL"]),
  );
  assert.doesNotMatch(JSON.stringify(reading.problems), /canary/);
  const later = reading.problems.find(({ path }) => path.endsWith("_PODS"));
  assert.match(later?.message ?? "", /not supported yet/);
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
