import assert from "node:assert/strict";
import {
  createHmac,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
} from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, type TestContext, test } from "node:test";
import { stringify } from "yaml";
import { MEDIA_TYPE, renderDelivery } from "../../lib/wire/protocol.ts";
import { node, snapshot } from "../core/cases.ts";
import { compact, encode, makeIssuer } from "../wire/issuer.ts";
import { KUBERNETES, skipWithout } from "./assets.ts";
import { atEnd } from "./at-end.ts";
import { freePort, killChildren, temporaryFolder } from "./child.ts";
import { eventually } from "./eventually.ts";
import { type KubeApiserver, startKubeApiserver } from "./kube-apiserver.ts";
import { runProgram, startProgram } from "./program.ts";
import { grantForwarder, NAMESPACE, type Status } from "./stage.ts";

/*
 * Tokens that a real API server issues, as the kubelet asks for them, and its own discovery
 * documents; `serve` and `forward` as processes.
 */

const AUDIENCE = "https://hook.example";
const SUBJECT = `system:serviceaccount:${NAMESPACE}:forwarder`;
const TOKEN_S = 600;
const START_MS = 30_000;
const ADMIT_MS = 60_000;
/** The receiver asks an issuer at most once a minute, a refused forwarder tries as often. */
const ROTATE_MS = 180_000;

const skip = skipWithout(KUBERNETES);
let kube: KubeApiserver;
let apiToken: string;

before(async () => {
  if (skip) return;
  kube = await startKubeApiserver();
  apiToken = await grantForwarder(kube);
  // What EKS and others do for the internet: whoever asks may read the discovery documents.
  await kube.request("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", {
    metadata: { name: "discovery" },
    roleRef: {
      apiGroup: "rbac.authorization.k8s.io",
      kind: "ClusterRole",
      name: "system:service-account-issuer-discovery",
    },
    subjects: [
      { apiGroup: "rbac.authorization.k8s.io", kind: "Group", name: "system:unauthenticated" },
    ],
  });
});
after(async () => {
  await kube?.stop();
  killChildren();
});

/** As the kubelet asks for a projected volume's. */
async function requestToken(audience: string, account = "forwarder"): Promise<string> {
  const path = `/api/v1/namespaces/${NAMESPACE}/serviceaccounts/${account}/token`;
  const spec = { audiences: [audience], expirationSeconds: TOKEN_S };
  const answer = await kube.request<{ status: { token: string } }>("POST", path, { spec });
  return answer.status.token;
}

interface Receiving {
  readonly jwks: unknown;
  /** Files beside the configuration. */
  readonly files?: Readonly<Record<string, string>>;
  readonly env?: Readonly<Record<string, string>>;
}

async function startServe(t: TestContext, { jwks, files = {}, env = {} }: Receiving) {
  const folder = temporaryFolder("token");
  const serviceAccount = { issuer: kube.url, audience: AUDIENCE, subject: SUBJECT, jwks };
  const configuration = {
    version: 1,
    installation: "e2e",
    store: { kind: "file", path: "store" },
    clusters: { eu: { auth: { serviceAccount }, bounds: ["203.0.113.0/24"] } },
    lists: {
      db: {
        from: [{ cluster: "eu", nodes: {}, addresses: ["ExternalIP"] }],
        removal: { policy: "sync", grace: "5s" },
        targets: [{ kind: "memory", id: "one" }],
      },
    },
  };
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  writeFileSync(join(folder, "allowlist.yaml"), stringify(configuration));
  const port = await freePort();
  const args = ["serve", "--port", String(port), "--resync", "1h"];
  const program = await startProgram(args, { folder, env });
  atEnd(t, () => program.stop());
  const url = `http://127.0.0.1:${port}`;
  const get = (path: string) => fetch(url + path, { signal: AbortSignal.timeout(5_000) });
  await program.waitFor(() => get("/healthz").then(({ ok }) => ok), START_MS);
  return {
    program,
    url,
    folder,
    status: async () => (await (await get("/v1/status")).json()) as Status,
    /** Snapshots that were admitted. */
    admitted: () => filesIn(join(folder, "store", "v1", "clusters")),
    async post(token: string, cluster = "eu") {
      const sent = snapshot([node("a", ["203.0.113.1"])], { cluster, receivedAt: Date.now() });
      const response = await fetch(`${url}/v1/snapshots`, {
        method: "POST",
        headers: { "content-type": MEDIA_TYPE, authorization: `Bearer ${token}` },
        body: renderDelivery(sent),
        signal: AbortSignal.timeout(20_000),
      });
      return { status: response.status, body: (await response.json()) as { detail?: string } };
    },
  };
}

function filesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ name }) => name);
  } catch {
    return [];
  }
}

/** How a process comes to trust the certificate authority of a private issuer. */
const trusting = () => ({ NODE_EXTRA_CA_CERTS: kube.caFile });

async function startForward(t: TestContext, url: string, tokenFile: string) {
  const program = await startProgram(
    [
      "forward",
      ...["--url", url, "--cluster", "eu", "--token-file", tokenFile],
      ...["--kubeconfig", kube.kubeconfigFor(apiToken), "--heartbeat", "10s"],
      ...["--lease", `${NAMESPACE}/token`],
    ],
    { folder: temporaryFolder("forward") },
  );
  atEnd(t, () => program.stop());
  return program;
}

test("forward delivers with a token of a real API server to a receiver that discovers its keys, over a rotation of both", {
  skip,
}, async (t) => {
  const serve = await startServe(t, { jwks: "discover", env: trusting() });
  const tokenFile = join(serve.folder, "token");
  writeFileSync(tokenFile, await requestToken(AUDIENCE));
  for (const [name, address] of [
    ["a", "203.0.113.1"],
    ["b", "203.0.113.2"],
  ] as const) {
    await kube.createNode({ name, addresses: [{ type: "ExternalIP", address }] });
    atEnd(t, () => kube.deleteNode(name));
  }
  const forward = await startForward(t, serve.url, tokenFile);
  const hopeless = () => (forward.exit() ? `forward ended: ${forward.output()}` : null);
  await eventually("the list holds both nodes", async () => (await ownedOf(serve)) === 2, {
    withinMs: ADMIT_MS,
    hopeless,
  });

  const before = await heardOf(serve);
  rotateKeys(kube.folder);
  await kube.restart();
  const rotated = await requestToken(AUDIENCE);
  writeFileSync(tokenFile, rotated);
  const startedAt = Date.now();
  await eventually("a delivery with the new key", async () => (await heardOf(serve)) > before + 2, {
    withinMs: ROTATE_MS,
    hopeless,
  });
  t.diagnostic(`admitted ${Date.now() - startedAt} ms after the rotation`);
  assert.equal((await serve.post(rotated)).status, 409, "the token is taken, the old epoch is not");
  const said = serve.program.output() + forward.output();
  for (const part of rotated.split(".")) assert(!said.includes(part), "no token in any log");
});

async function ownedOf(serve: { status(): Promise<Status> }) {
  return (await serve.status()).lists[0]?.owned;
}

async function heardOf(serve: { status(): Promise<Status> }): Promise<number> {
  return (await serve.status()).clusters[0]?.generation.sequence ?? 0;
}

/** A new pair signs; tokens of the old one stay valid until they expire. */
function rotateKeys(folder: string): void {
  const { publicKey, privateKey } = generateKeyPairSync("rsa", {
    modulusLength: 2_048,
    publicKeyEncoding: { type: "spki", format: "pem" },
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
  });
  const old = readFileSync(join(folder, "sa.pub"), "utf8");
  writeFileSync(join(folder, "sa.pub"), `${publicKey}${old}`);
  writeFileSync(join(folder, "sa.key"), privateKey, { mode: 0o600 });
}

/** What an attacker, a misconfiguration and a confused library may come with. */
async function badTokens(): Promise<Readonly<Record<string, string>>> {
  const good = await requestToken(AUDIENCE);
  const [head = "", body = "", tail = ""] = good.split(".");
  const header = JSON.parse(Buffer.from(head, "base64url").toString());
  const claims = JSON.parse(Buffer.from(body, "base64url").toString());
  const key: KeyObject = createPrivateKey(readFileSync(join(kube.folder, "sa.key")));
  const publicKey = createPublicKey(key);
  const hmac = (secret: string | Buffer) => {
    const signed = `${encode({ ...header, alg: "HS256" })}.${body}`;
    return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
  };
  const now = Math.floor(Date.now() / 1_000);
  await kube.request("POST", `/api/v1/namespaces/${NAMESPACE}/serviceaccounts`, {
    metadata: { name: "other" },
  });
  return {
    "another audience": await requestToken("https://other.example"),
    "the API server's own": apiToken,
    "another service account": await requestToken(AUDIENCE, "other"),
    expired: compact(header, { ...claims, exp: now - 61, iat: now - 661, nbf: now - 661 }, key),
    "not yet valid": compact(header, { ...claims, nbf: now + 120, iat: now + 120 }, key),
    "another cluster's key": makeIssuer({ id: header.kid }).token(claims),
    "an unknown kid": makeIssuer({ id: "unknown" }).token(claims),
    "another issuer": compact(header, { ...claims, iss: "https://evil.example" }, key),
    "claims exchanged": `${head}.${encode({ ...claims, exp: now + 86_400 })}.${tail}`,
    "signature cut": `${head}.${body}.${tail.slice(0, -8)}`,
    "alg none": `${encode({ ...header, alg: "none" })}.${body}.`,
    "alg none, signed": `${encode({ ...header, alg: "none" })}.${body}.${tail}`,
    "HS256 with the public key": hmac(publicKey.export({ type: "spki", format: "pem" })),
    "HS256 with its bytes": hmac(publicKey.export({ type: "spki", format: "der" })),
    "a critical extension": compact({ ...header, crit: ["exp"] }, claims, key),
    nonsense: "a.b.c",
  };
}

test("serve refuses every token but the service account's for it, and writes nothing", {
  skip,
}, async (t) => {
  const serve = await startServe(t, { jwks: "discover", env: trusting() });
  for (const [name, token] of Object.entries(await badTokens())) {
    const { status, body } = await serve.post(token);
    assert.equal(status, 401, `${name}: ${JSON.stringify(body)}`);
    t.diagnostic(`${name}: ${body.detail}`);
  }
  assert.deepEqual(serve.admitted(), [], "nothing was admitted");
  const good = await requestToken(AUDIENCE);
  assert.equal((await serve.post(good, "us")).status, 403, "a message of another cluster");
  assert.deepEqual(serve.admitted(), []);
  assert.equal((await serve.post(good)).status, 200, "and the genuine one is taken all the while");
});

test("serve answers 503 while it does not trust the issuer, and forward refuses the API server's own token", {
  skip,
}, async (t) => {
  const serve = await startServe(t, { jwks: "discover" });
  const { status } = await serve.post(await requestToken(AUDIENCE));
  assert.equal(status, 503);
  assert.deepEqual(serve.admitted(), []);
  assert.match(serve.program.output(), /name the certificate authority of the issuer/);
  const tokenFile = join(serve.folder, "token");
  writeFileSync(tokenFile, apiToken);
  const forward = await runProgram(
    [
      "forward",
      ...["--url", serve.url, "--cluster", "eu", "--token-file", tokenFile],
      ...["--kubeconfig", kube.kubeconfigFor(apiToken)],
    ],
    { folder: serve.folder },
  );
  assert.equal(forward.code, 2);
  assert.match(forward.stderr, /the API server or a cloud would take it, too/);
  assert(!forward.stderr.includes(apiToken.slice(0, 20)));
});

test("doctor jwks prints a real cluster's keys, which a receiver can pin, and pin again when they change", {
  skip,
}, async (t) => {
  const doctor = async () => {
    const printed = await runProgram(["doctor", "jwks", "--kubeconfig", kube.kubeconfig]);
    assert.equal(printed.code, 0, printed.stderr);
    return printed.stdout;
  };
  const pinned = await doctor();
  assert.equal(JSON.parse(pinned).issuer, kube.url);
  // Without trust in the API server's certificate: nobody is asked.
  const serve = await startServe(t, { jwks: "file:eu.json", files: { "eu.json": pinned } });
  assert.equal((await serve.post(await requestToken(AUDIENCE))).status, 200);
  rotateKeys(kube.folder);
  await kube.restart();
  const rotated = await requestToken(AUDIENCE);
  assert.equal((await serve.post(rotated)).status, 401, "a key that was not pinned");
  writeFileSync(join(serve.folder, "eu.json"), await doctor());
  await eventually("the new key is known", async () => (await serve.post(rotated)).status !== 401, {
    withinMs: 60_000,
    everyMs: 1_000,
  });
});
