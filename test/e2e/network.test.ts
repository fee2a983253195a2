import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { type createServer, request as requestPlainly } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from "node:net";
import { basename, join } from "node:path";
import { after, type TestContext, test } from "node:test";
import { startEmbeddedKubernetes } from "../../cli/embedded/kubernetes.ts";
import { openConnections, readBody, sendRequest } from "../../forwarder/http.ts";
import { openKube } from "../../forwarder/kube.ts";
import { parseDelivery } from "../../lib/wire/protocol.ts";
import { makeWorld } from "../../lib/world.ts";
import { atEnd } from "./at-end.ts";
import { type Certificates, makeCertificates, skipWithoutOpenssl } from "./certificates.ts";
import { killChildren, temporaryFolder } from "./child.ts";
import { startConnectProxy } from "./connect-proxy.ts";
import { type Program, startProgram } from "./program.ts";

/*
 * The forwarder as a process in the networks that companies have: authorities of their own, proxies
 * with and without passwords, and API servers behind them.
 */

const WITHIN_MS = 30_000;
const LIMIT_MS = 120_000;
const HOOK = "hook.example";
const quiet = { debug() {}, info() {}, warn() {}, error() {}, audit() {} };
const skip = skipWithoutOpenssl();
if (skip) process.stderr.write(`\nSKIPPED: ${skip}\n\n`);

after(() => killChildren());

/** A receiver that takes everything, over TLS with this certificate. */
async function startHook(t: TestContext, { certificate, key }: Certificates) {
  const admitted: string[] = [];
  const server = createSecureServer(
    { cert: readFileSync(certificate), key: readFileSync(key) },
    (request, response) => {
      void request.toArray().then((chunks) => {
        const reading = parseDelivery(Buffer.concat(chunks).toString("utf8"));
        if (reading.kind === "invalid") {
          response.writeHead(422).end();
          return;
        }
        const { generation, nodes } = reading.snapshot;
        // In the order of their uids, which are random.
        const names = nodes.map(({ name }) => name);
        admitted.push(names.toSorted().join());
        const answer = { generation, readyNodes: [], unlisted: [], again: null, lists: [] };
        response.writeHead(200, { "content-type": "application/json" });
        response.end(JSON.stringify(answer));
      });
    },
  );
  const port = await listening(t, server);
  return { port, admitted: () => admitted };
}

async function listening(
  t: TestContext,
  server: ReturnType<typeof createServer> | ReturnType<typeof createSecureServer>,
): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  atEnd(t, () => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

async function startCluster(t: TestContext) {
  const cluster = await startEmbeddedKubernetes({ world: makeWorld(quiet) });
  atEnd(t, () => cluster.close());
  cluster.nodes.put("a", { addresses: [{ type: "ExternalIP", address: "203.0.113.1" }] });
  return cluster;
}

/** `forward` of an embedded cluster. */
async function forward(
  t: TestContext,
  options: {
    readonly url: string;
    readonly kubeconfig: string;
    readonly env?: Readonly<Record<string, string>>;
  },
): Promise<Program> {
  const folder = temporaryFolder("forwarder");
  writeFileSync(join(folder, "key"), `whsec_${Buffer.alloc(32, 7).toString("base64")}\n`);
  writeFileSync(join(folder, "kubeconfig"), options.kubeconfig);
  const program = await startProgram(
    [
      "forward",
      ...["--url", options.url, "--cluster", "west", "--secret-file", "key"],
      ...["--kubeconfig", "kubeconfig", "--heartbeat", "10s"],
      // One of its own each time: what is killed gives nothing back.
      ...["--lease", basename(folder).toLowerCase()],
    ],
    { folder, env: options.env ?? {} },
  );
  atEnd(t, () => kill(program));
  return program;
}

/** At once: in good order it would try for a while to deliver what is still unanswered. */
async function kill(program: Program): Promise<void> {
  program.kill("SIGKILL");
  await program.exited;
}

test("forward: a receiver with a private authority is delivered to with NODE_EXTRA_CA_CERTS, and without it told what to do", {
  skip,
  timeout: LIMIT_MS,
}, async (t) => {
  const certificates = makeCertificates(["DNS:localhost"]);
  const hook = await startHook(t, certificates);
  const { kubeconfig } = await startCluster(t);
  const url = `https://localhost:${hook.port}/v1/snapshots`;
  const distrusting = await forward(t, { url, kubeconfig });
  await distrusting.waitFor(
    /certificate.*give the PEM file of its authority as NODE_EXTRA_CA_CERTS/,
    WITHIN_MS,
  );
  assert.deepEqual(hook.admitted(), []);
  assert.equal(distrusting.exit(), null, "it goes on trying");
  await kill(distrusting);
  const env = { NODE_EXTRA_CA_CERTS: certificates.authority };
  const trusting = await forward(t, { url, kubeconfig, env });
  await trusting.waitFor(() => hook.admitted().includes("a"), WITHIN_MS);
});

test("forward: a certificate for another name is refused, and said so", {
  skip,
  timeout: LIMIT_MS,
}, async (t) => {
  const certificates = makeCertificates(["DNS:other.example"]);
  const hook = await startHook(t, certificates);
  const { kubeconfig } = await startCluster(t);
  const program = await forward(t, {
    url: `https://localhost:${hook.port}/v1/snapshots`,
    kubeconfig,
    env: { NODE_EXTRA_CA_CERTS: certificates.authority },
  });
  await program.waitFor(/altnames.*use a name that its certificate is for/, WITHIN_MS);
  assert.deepEqual(hook.admitted(), []);
});

for (const variable of ["HTTPS_PROXY", "https_proxy"]) {
  test(`forward: deliveries go through the tunnel of ${variable}, with its password, which is never shown`, {
    skip,
    timeout: LIMIT_MS,
  }, async (t) => {
    const certificates = makeCertificates([`DNS:${HOOK}`]);
    const hook = await startHook(t, certificates);
    const proxy = await startConnectProxy({
      routes: { [`${HOOK}:443`]: hook.port },
      credential: "canary-user:canary@word",
    });
    atEnd(t, () => proxy.stop());
    const cluster = await startCluster(t);
    const value = proxy.url.replace("//", "//canary-user:canary%40word@");
    const program = await forward(t, {
      url: `https://${HOOK}/v1/snapshots`,
      kubeconfig: cluster.kubeconfig,
      env: {
        NODE_EXTRA_CA_CERTS: certificates.authority,
        KUBE_ALLOWLIST_LOG_LEVEL: "debug",
        [variable]: value,
      },
    });
    await program.waitFor(() => hook.admitted().includes("a"), WITHIN_MS);
    cluster.nodes.put("b", { addresses: [] });
    await program.waitFor(() => hook.admitted().includes("a,b"), WITHIN_MS);
    assert.deepEqual(proxy.asked(), [`${HOOK}:443`], "one tunnel for all, and none for this host");
    await kill(program);
    assert.doesNotMatch(program.output(), /canary/);
  });
}

test("forward: a proxy that wants a password, and one that does not reach the receiver, are said with a way out", {
  skip,
  timeout: LIMIT_MS,
}, async (t) => {
  const certificates = makeCertificates([`DNS:${HOOK}`]);
  const hook = await startHook(t, certificates);
  const routes = { [`${HOOK}:443`]: hook.port };
  const { kubeconfig } = await startCluster(t);
  for (const [credential, place, sentence] of [
    ["right:password", HOOK, /407.*give the proxy's user and password/],
    ["wrong:canary", "elsewhere.example", /502.*NO_PROXY/],
  ] as const) {
    const proxy = await startConnectProxy({ routes, credential });
    atEnd(t, () => proxy.stop());
    const program = await forward(t, {
      url: `https://${place}/v1/snapshots`,
      kubeconfig,
      env: { HTTPS_PROXY: proxy.url.replace("//", "//wrong:canary@") },
    });
    await program.waitFor(sentence, WITHIN_MS);
    assert.equal(program.exit(), null, "it goes on trying");
    await kill(program);
    assert.doesNotMatch(program.output(), /canary/);
  }
  assert.deepEqual(hook.admitted(), []);
});

test("forward: NO_PROXY keeps a name from the proxy, and its resolution is then ours", {
  skip,
  timeout: LIMIT_MS,
}, async (t) => {
  const proxy = await startConnectProxy({ routes: {} });
  atEnd(t, () => proxy.stop());
  const { kubeconfig } = await startCluster(t);
  const program = await forward(t, {
    url: "https://hook.invalid/v1/snapshots",
    kubeconfig,
    env: { HTTPS_PROXY: proxy.url, NO_PROXY: "10.0.0.0/8,invalid" },
  });
  await program.waitFor(/hook\.invalid.*check the name/, WITHIN_MS);
  assert.deepEqual(proxy.asked(), []);
});

/** The embedded API server behind TLS, under a name that only the proxy knows. */
async function startSecureApi(t: TestContext, certificates: Certificates) {
  const cluster = await startCluster(t);
  const server = createSecureServer(
    { cert: readFileSync(certificates.certificate), key: readFileSync(certificates.key) },
    (request, response) => {
      const { method, url, headers } = request;
      const onward = requestPlainly(new URL(url ?? "", cluster.url), { method, headers });
      onward.on("response", (answer) => {
        response.writeHead(answer.statusCode ?? 500, answer.headers);
        answer.on("error", () => response.destroy());
        answer.pipe(response);
        // The headers of a quiet watch are an answer, too.
        response.flushHeaders();
      });
      onward.on("error", () => response.destroy());
      response.on("close", () => onward.destroy());
      request.pipe(onward);
    },
  );
  const port = await listening(t, server);
  return { port, kubeconfig: JSON.parse(cluster.kubeconfig) };
}

test("forward: an API server with a private authority is followed through the environment's proxy and through the kubeconfig's own", {
  skip,
  timeout: LIMIT_MS,
}, async (t) => {
  const certificates = makeCertificates([`DNS:${HOOK}`, "DNS:api.example", "DNS:localhost"]);
  const hook = await startHook(t, certificates);
  const api = await startSecureApi(t, certificates);
  const routes = { [`${HOOK}:443`]: hook.port, "api.example:6443": api.port };
  const { kubeconfig } = api;
  const cluster = {
    server: "https://api.example:6443",
    "certificate-authority": certificates.authority,
  };
  const withCluster = (more: object) =>
    JSON.stringify({
      ...kubeconfig,
      clusters: [{ name: "embedded", cluster: { ...cluster, ...more } }],
    });
  const environment = await startConnectProxy({ routes });
  const own = await startConnectProxy({ routes, credential: "user:canary" });
  atEnd(t, () => Promise.all([environment.stop(), own.stop()]));
  const env = { NODE_EXTRA_CA_CERTS: certificates.authority, HTTPS_PROXY: environment.url };
  const url = `https://${HOOK}/v1/snapshots`;
  const first = await forward(t, { url, kubeconfig: withCluster({}), env });
  await first.waitFor(() => hook.admitted().length > 0, WITHIN_MS);
  assert.ok(environment.asked().includes("api.example:6443"));
  await kill(first);

  const asked = environment.asked().length;
  const delivered = hook.admitted().length;
  const proxyUrl = own.url.replace("//", "//user:canary@");
  const second = await forward(t, {
    url,
    kubeconfig: withCluster({ "proxy-url": proxyUrl }),
    env,
  });
  await second.waitFor(() => hook.admitted().length > delivered, WITHIN_MS);
  assert.deepEqual(new Set(own.asked()), new Set(["api.example:6443"]));
  assert.deepEqual(new Set(environment.asked().slice(asked)), new Set([`${HOOK}:443`]));
  await kill(second);
  assert.doesNotMatch(second.output(), /canary/);
});

test("forward: a failing TLS handshake with the API server never ends it, and is said with a way out", {
  skip,
  timeout: LIMIT_MS,
}, async (t) => {
  const certificates = makeCertificates(["DNS:localhost"]);
  const api = await startSecureApi(t, certificates);
  const hook = await startHook(t, certificates);
  // First there is an authority that is not known, then no TLS at all, then all is well.
  let tls = false;
  const front = createTcpServer((near) => {
    near.on("error", () => undefined);
    if (!tls) {
      near.end("HTTP/1.1 400 Bad Request\r\n\r\n");
      return;
    }
    const far: Socket = connect(api.port, "127.0.0.1");
    far.on("error", () => near.destroy());
    near.pipe(far).pipe(near);
  });
  await new Promise<void>((resolve) => front.listen(0, "127.0.0.1", resolve));
  atEnd(t, () => front.close());
  const server = `https://localhost:${(front.address() as AddressInfo).port}`;
  const kubeconfigWith = (cluster: object) =>
    JSON.stringify({ ...api.kubeconfig, clusters: [{ name: "embedded", cluster }] });
  const env = { NODE_EXTRA_CA_CERTS: certificates.authority };
  const url = `https://localhost:${hook.port}/v1/snapshots`;
  const authority = { "certificate-authority": certificates.authority };
  const program = await forward(t, {
    url,
    kubeconfig: kubeconfigWith({ server, ...authority }),
    env,
  });
  await program.waitFor(/GET \/api\/v1\/.*wrong version number.*no TLS is spoken there/, WITHIN_MS);
  tls = true;
  await program.waitFor(() => hook.admitted().includes("a"), 2 * WITHIN_MS);
  await kill(program);

  const stranger = { "certificate-authority": makeCertificates(["DNS:x"]).authority };
  const lost = await forward(t, {
    url,
    kubeconfig: kubeconfigWith({ server, ...stranger }),
    env,
  });
  await lost.waitFor(/certificate.*name its authority as certificate-authority/, WITHIN_MS);
  assert.equal(lost.exit(), null);
});

test("sendRequest() uses a tunnel again after the signal of the request that opened it has aborted", {
  skip,
  timeout: LIMIT_MS,
}, async (t) => {
  const certificates = makeCertificates([`DNS:${HOOK}`]);
  const ca = readFileSync(certificates.authority);
  const server = createSecureServer(
    { cert: readFileSync(certificates.certificate), key: readFileSync(certificates.key) },
    (_request, response) => response.end("{}"),
  );
  const port = await listening(t, server);
  const proxy = await startConnectProxy({ routes: { [`${HOOK}:443`]: port } });
  atEnd(t, () => proxy.stop());
  const connections = openConnections(() => proxy.url);
  atEnd(t, () => connections.close());
  const url = new URL(`https://${HOOK}/`);
  for (let n = 0; n < 3; n += 1) {
    const ending = new AbortController();
    const { signal } = ending;
    const options = { method: "GET", agent: connections.agentFor(url), ca, signal };
    const answer = await sendRequest(url, options, null);
    assert.equal((await readBody(answer, 100, { signal })).toString(), "{}");
    // The socket goes back to its pool a turn later.
    await new Promise((resolve) => setImmediate(resolve));
    ending.abort();
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.deepEqual(proxy.asked(), [`${HOOK}:443`]);
});

for (const [name, scheme] of [
  ["HTTP", "http"],
  ["SOCKS", "socks5"],
] as const) {
  test(`openKube() gives a request up in time behind a kubeconfig's ${name} proxy that never answers`, {
    timeout: 20_000,
  }, async (t) => {
    const sockets: Socket[] = [];
    const silent = createTcpServer((socket) => sockets.push(socket.on("error", () => undefined)));
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    atEnd(t, () => {
      for (const socket of sockets) socket.destroy();
      silent.close();
    });
    const { port } = silent.address() as AddressInfo;
    // An address, since names are resolved on this side of SOCKS.
    const cluster = { server: "https://192.0.2.1", "proxy-url": `${scheme}://127.0.0.1:${port}` };
    const text = JSON.stringify({
      "current-context": "a",
      clusters: [{ name: "a", cluster }],
      users: [{ name: "a", user: {} }],
      contexts: [{ name: "a", context: { cluster: "a", user: "a" } }],
    });
    const kube = openKube(
      { kind: "text", text },
      { world: makeWorld(quiet), proxy: {}, warn() {} },
    );
    atEnd(t, () => kube.close());
    const { signal } = new AbortController();
    await assert.rejects(kube.read("/api", { signal, timeoutMs: 200 }), /no answer within 200 ms/);
  });
}
