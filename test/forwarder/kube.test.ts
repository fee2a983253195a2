import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { KubeError, openKube } from "../../forwarder/kube.ts";
import { manualWorld } from "./clock.ts";
import { startCluster } from "./stage.ts";

const NAMESPACE = "/api/v1/namespaces/kube-system";
const request = { signal: new AbortController().signal, timeoutMs: 5_000 };

function open(source: Parameters<typeof openKube>[0], warn: (message: string) => void = () => {}) {
  return openKube(source, { world: manualWorld(), proxy: {}, warn });
}

function temporaryFile(t: TestContext, text: string): string {
  const folder = mkdtempSync(join(tmpdir(), "kube-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "kubeconfig");
  writeFileSync(path, text);
  return path;
}

test("openKube() takes a kubeconfig with http:// and warns", async (t) => {
  const server = await startCluster(t, { world: manualWorld() });
  const warnings: string[] = [];
  const kube = open({ kind: "text", text: server.kubeconfig }, (message) => warnings.push(message));
  t.after(() => kube.close());
  await kube.read(NAMESPACE, request);
  assert.match(warnings.join(), /without encryption/);
});

test("openKube() reads the kubeconfig again when its token is no longer taken", async (t) => {
  const server = await startCluster(t, { world: manualWorld() });
  const path = temporaryFile(t, server.kubeconfig);
  const kube = open({ kind: "file", path });
  t.after(() => kube.close());
  await kube.read(NAMESPACE, request);
  writeFileSync(path, server.rotateToken());
  await kube.read(NAMESPACE, request);
});

test("openKube() trims a token that ends with a line break", async (t) => {
  const server = await startCluster(t, { world: manualWorld() });
  const config = JSON.parse(server.kubeconfig);
  config.users[0].user.token += "\n";
  const kube = open({ kind: "text", text: JSON.stringify(config) });
  t.after(() => kube.close());
  await kube.read(NAMESPACE, request);
});

test("openKube() says what a kubeconfig lacks", () => {
  const text = JSON.stringify({ apiVersion: "v1", kind: "Config", clusters: [], users: [] });
  assert.throws(() => open({ kind: "text", text }), /no current context/);
});

test("read() follows no redirect, so the token goes nowhere else", async (t) => {
  const seen: (string | undefined)[] = [];
  const thief = createServer((incoming, response) => {
    seen.push(incoming.headers.authorization);
    response.end("{}");
  });
  const lure = createServer((_incoming, response) => {
    const { port } = thief.address() as AddressInfo;
    response.writeHead(302, { location: `http://127.0.0.1:${port}/` }).end();
  });
  for (const server of [thief, lure]) {
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    t.after(() => server.close());
  }
  const cluster = { server: `http://127.0.0.1:${(lure.address() as AddressInfo).port}` };
  const text = JSON.stringify({
    "current-context": "a",
    clusters: [{ name: "a", cluster }],
    users: [{ name: "a", user: { token: "canary" } }],
    contexts: [{ name: "a", context: { cluster: "a", user: "a" } }],
  });
  const kube = open({ kind: "text", text });
  t.after(() => kube.close());
  await assert.rejects(kube.read(NAMESPACE, request), (error) => {
    assert.ok(error instanceof KubeError);
    assert.equal(error.status, 302);
    assert.doesNotMatch(error.message, /canary/);
    return true;
  });
  assert.deepEqual(seen, []);
});

test("write() rejects with the reason of a Status", async (t) => {
  const server = await startCluster(t, { world: manualWorld() });
  const kube = open({ kind: "text", text: server.kubeconfig });
  t.after(() => kube.close());
  const lease = { apiVersion: "coordination.k8s.io/v1", kind: "Lease", metadata: { name: "a" } };
  const path = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
  await kube.write("POST", path, { ...request, body: lease });
  await assert.rejects(kube.write("POST", path, { ...request, body: lease }), {
    status: 409,
    reason: "AlreadyExists",
  });
});

test("openKube() shows no line of a kubeconfig that it cannot read", (t) => {
  const text = "users:\n  - name: a\n    user:\n      token: SECRET-TOKEN\n     bad: [\n";
  const path = temporaryFile(t, text);
  for (const source of [{ kind: "file", path } as const, { kind: "text", text } as const]) {
    assert.throws(
      () => open(source),
      (error: Error) => /line \d+, column \d+/.test(error.message) && !/SECRET/.test(error.message),
    );
  }
  assert.throws(() => open({ kind: "file", path: "/nowhere/kubeconfig" }), /does not exist/);
});

test("read() asks a slow credential plug-in once, however often it is tried again meanwhile", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "kube-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const plugin = join(folder, "plugin");
  const tally = join(folder, "tally");
  writeFileSync(plugin, `#!/bin/sh\necho asked >> ${tally}\nsleep 1\necho SECRET\n`, {
    mode: 0o755,
  });
  const exec = {
    apiVersion: "client.authentication.k8s.io/v1",
    command: plugin,
    interactiveMode: "Never",
  };
  const text = JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    "current-context": "a",
    clusters: [{ name: "a", cluster: { server: "http://127.0.0.1:1" } }],
    users: [{ name: "a", user: { exec } }],
    contexts: [{ name: "a", context: { cluster: "a", user: "a" } }],
  });
  const kube = open({ kind: "text", text });
  t.after(() => kube.close());
  const impatient = Array.from({ length: 3 }, () =>
    kube.read(NAMESPACE, { signal: AbortSignal.timeout(50), timeoutMs: 5_000 }).catch(() => null),
  );
  await Promise.all(impatient);
  const patient = await kube.read(NAMESPACE, request).catch((error: Error) => error.message);
  assert.match(String(patient), /no ExecCredential/);
  assert.doesNotMatch(String(patient), /SECRET/);
  assert.equal(readFileSync(tally, "utf8"), "asked\n");
});

test("read() forgets a credential plug-in that hangs, and asks another one", async (t) => {
  const world = manualWorld();
  const server = await startCluster(t, { world });
  const folder = mkdtempSync(join(tmpdir(), "kube-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const plugin = join(folder, "plugin");
  const answer = JSON.stringify({
    apiVersion: "client.authentication.k8s.io/v1",
    kind: "ExecCredential",
    status: { token: "embedded-1" },
  });
  const tally = join(folder, "tally");
  const script = `#!/bin/sh
[ -e ${tally} ] && echo '${answer}' && exit
echo asked > ${tally}
exec sleep 3
`;
  writeFileSync(plugin, script, { mode: 0o755 });
  const exec = {
    apiVersion: "client.authentication.k8s.io/v1",
    command: plugin,
    interactiveMode: "Never",
  };
  const text = JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    "current-context": "a",
    clusters: [{ name: "a", cluster: { server: server.url } }],
    users: [{ name: "a", user: { exec } }],
    contexts: [{ name: "a", context: { cluster: "a", user: "a" } }],
  });
  const kube = openKube({ kind: "text", text }, { world, proxy: {}, warn: () => undefined });
  t.after(() => kube.close());
  const patient = { ...request, timeoutMs: 120_000 };
  const first = kube.read(NAMESPACE, patient).catch((error: Error) => error.message);
  while (!existsSync(tally)) await world.advance(10);
  await world.advance(61_000);
  assert.match(String(await first), /credential plug-in gave no answer within 60 s/);
  const second = await kube.read(NAMESPACE, patient);
  assert.equal((second as { kind: string }).kind, "Namespace");
});
