import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { parseKeySet } from "../../lib/wire/jwks.ts";
import { makeIssuer } from "../wire/issuer.ts";
import { run } from "./shell.ts";

const DISCOVERY = "/.well-known/openid-configuration";
const ISSUER = "https://kubernetes.default.svc.cluster.local";
const KEYS = makeIssuer();
const OTHER = makeIssuer({ kind: "EC", id: "key-2" });
const WEAK = makeIssuer({ bits: 1_024, id: "weak" });

/** An API server that answers with these texts, and a kubeconfig for it. */
async function stage(t: TestContext, answers: Readonly<Record<string, readonly [string, string]>>) {
  const folder = mkdtempSync(join(tmpdir(), "kube-allowlist-doctor-"));
  const server = createServer((request, response) => {
    const [type, body] = answers[request.url ?? ""] ?? [];
    if (type === undefined || request.headers.authorization !== "Bearer canary-token") {
      response.writeHead(403, { "content-type": "application/json" }).end("{}");
    } else if (type.endsWith("json") && !request.headers.accept?.includes(type)) {
      // As a real one does.
      response.writeHead(406).end(`Available representations: ${type}`);
    } else response.writeHead(200, { "content-type": type }).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
    rmSync(folder, { recursive: true });
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const kubeconfig = {
    apiVersion: "v1",
    kind: "Config",
    "current-context": "a",
    clusters: [{ name: "a", cluster: { server: url } }],
    users: [{ name: "a", user: { token: "canary-token" } }],
    contexts: [{ name: "a", context: { cluster: "a", user: "a" } }],
  };
  writeFileSync(join(folder, "kube.json"), JSON.stringify(kubeconfig));
  return {
    url,
    doctor: (...args: readonly string[]) => run(["doctor", "jwks", ...args], { folder }),
  };
}

const discovery = (issuer: string) =>
  ["application/json", JSON.stringify({ issuer, jwks_uri: `${issuer}/openid/v1/jwks` })] as const;
const keySet = (...keys: readonly unknown[]) =>
  ["application/jwk-set+json", JSON.stringify({ keys })] as const;

test("doctor jwks prints a cluster's issuer and keys, which can be pinned as they stand", async (t) => {
  const { doctor } = await stage(t, {
    [DISCOVERY]: discovery(ISSUER),
    "/openid/v1/jwks": keySet(...KEYS.keys, ...OTHER.keys),
  });
  const { code, stdout, stderr } = await doctor("--kubeconfig", "kube.json");
  assert.equal(code, 0, stderr);
  const set = parseKeySet(stdout);
  assert.equal(set.issuer, ISSUER);
  assert.deepEqual(
    set.keys.map(({ id, algorithm }) => [id, algorithm]),
    [
      ["key-1", "RS256"],
      ["key-2", "ES256"],
    ],
  );
  assert.match(stderr, /2 keys of https:\/\/kubernetes.default.svc.cluster.local/);
  assert.match(stderr, /cannot be asked over the internet; pin the keys/);
  assert(!(stdout + stderr).includes("canary"));
});

test("doctor jwks leaves out keys that no receiver would use, and says why", async (t) => {
  const { doctor } = await stage(t, {
    [DISCOVERY]: discovery("https://oidc.example/id/1"),
    "/openid/v1/jwks": keySet(...WEAK.keys, ...KEYS.keys),
  });
  const { code, stdout, stderr } = await doctor("--kubeconfig", "kube.json");
  assert.equal(code, 0);
  assert.equal(parseKeySet(stdout).keys.length, 1);
  assert.match(stderr, /an RSA key of 1024 bits/);
  assert.match(stderr, /Or jwks: discover/);
  const none = await stage(t, {
    [DISCOVERY]: discovery(ISSUER),
    "/openid/v1/jwks": keySet(...WEAK.keys),
  });
  const failed = await none.doctor("--kubeconfig", "kube.json");
  assert.deepEqual([failed.code, failed.stdout], [1, ""]);
});

test("doctor jwks says what an API server did not tell, and prints nothing then", async (t) => {
  for (const [answers, sentence] of [
    [{}, /Cannot GET \/.well-known\/openid-configuration: 403/],
    [{ [DISCOVERY]: ["application/json", "null"], "/openid/v1/jwks": keySet() }, /no issuer/],
    [{ [DISCOVERY]: discovery(ISSUER), "/openid/v1/jwks": ["text/html", "<"] }, /not as JSON/],
    [
      { [DISCOVERY]: discovery(ISSUER), "/openid/v1/jwks": ["application/jwk-set+json", "[]"] },
      /key set/,
    ],
  ] as const) {
    const { doctor } = await stage(t, answers);
    const { code, stdout, stderr } = await doctor("--kubeconfig", "kube.json");
    assert.deepEqual([code, stdout], [1, ""]);
    assert.match(stderr, sentence);
  }
});

test("doctor jwks names the server that it asked in vain, and what to check", async (t) => {
  const { doctor, url } = await stage(t, {});
  const { stderr } = await doctor("--kubeconfig", "kube.json");
  assert(stderr.includes(`; ${url} was asked: check that the kubeconfig names`), stderr);
  // Nobody listens there, and nothing is to be found here.
  for (const issuer of ["http://127.0.0.1:1", url]) {
    const failed = await run(["doctor", "jwks", "--issuer", issuer]);
    assert.equal(failed.code, 1);
    assert(failed.stderr.includes(`; ${issuer}${DISCOVERY} was asked: check`), failed.stderr);
  }
});

test("doctor jwks asks an issuer as a receiver would", async (t) => {
  const answers: Record<string, readonly [string, string]> = { "/keys": keySet(...KEYS.keys) };
  const issuer = createServer((request, response) => {
    const [type, body] = answers[request.url ?? ""] ?? [];
    response.writeHead(type === undefined ? 404 : 200).end(body);
  });
  await new Promise<void>((resolve) => issuer.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    issuer.closeAllConnections();
    issuer.close();
  });
  const url = `http://127.0.0.1:${(issuer.address() as AddressInfo).port}`;
  const missing = await run(["doctor", "jwks", "--issuer", url]);
  assert.deepEqual([missing.code, missing.stdout], [1, ""]);
  assert.match(missing.stderr, /Cannot fetch the discovery document: HTTP 404/);
  const document = { issuer: url, jwks_uri: `${url}/keys` };
  answers[DISCOVERY] = ["", JSON.stringify({ ...document, jwks_uri: `${url}/none?secret` })];
  const second = await run(["doctor", "jwks", "--issuer", url]);
  assert(second.stderr.includes(`key set: HTTP 404; ${url}/none was asked`), second.stderr);
  answers[DISCOVERY] = ["application/json", JSON.stringify(document)];
  const { code, stdout } = await run(["doctor", "jwks", "--issuer", url]);
  assert.equal(code, 0);
  const set = parseKeySet(stdout);
  assert.deepEqual([set.issuer, set.keys[0]?.id], [url, "key-1"]);
});

test("doctor jwks refuses a command line that does not say whose keys, with exit code 2", async (t) => {
  const { doctor } = await stage(t, {});
  for (const args of [
    [],
    ["--kubeconfig", "kube.json", "--issuer", "https://a.example"],
    ["--issuer", "http://a.example"],
    ["--issuer", "kubernetes/serviceaccount"],
    ["--kubeconfig", "none.json"],
    ["--nothing"],
  ]) {
    const { code, stdout } = await doctor(...args);
    assert.deepEqual([code, stdout], [2, ""], args.join(" "));
  }
});
