import assert from "node:assert/strict";
import { type SpawnSyncReturns, spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, type TestContext, test } from "node:test";
import type { TLSSocket } from "node:tls";
import { build } from "esbuild";
import { BUNDLING, bundleEntry, ROOT } from "../scripts/bundle.ts";
import { kubernetesPlugin } from "../scripts/kubernetes-plugin.ts";

/*
 * The bundle that an image starts, as a process: of the Kubernetes client it holds only what a
 * kubeconfig needs, so every kind of credentials is tried through it.
 */

const directory = mkdtempSync(join(tmpdir(), "kube-allowlist-forwarder-"));
const bundle = join(directory, "forwarder.cjs");
const WITHIN_MS = 60_000;
const FUTURE = "2099-01-01T00:00:00Z";

before(async () => {
  await bundleEntry("forwarder", directory);
  writeFileSync(join(directory, "secret"), `whsec_${Buffer.alloc(32, 1).toString("base64")}\n`);
  writeFileSync(join(directory, "token"), "from-a-file\n");
});
after(() => rmSync(directory, { recursive: true }));

const SETTINGS = {
  KUBE_ALLOWLIST_URL: "http://127.0.0.1:9/v1/snapshots",
  KUBE_ALLOWLIST_CLUSTER: "test",
  KUBE_ALLOWLIST_SECRET_FILE: join(directory, "secret"),
};

interface Ended {
  readonly code: number | null;
  readonly output: string;
}

/** Starts the bundle; `end` asks it to end, as a kubelet does. */
function startBundle(t: TestContext, args: readonly string[]) {
  const env = { ...SETTINGS, PATH: process.env.PATH ?? "" };
  const child = spawn(process.execPath, [bundle, ...args], { cwd: directory, env });
  let output = "";
  child.stderr.on("data", (text) => {
    output += text;
  });
  const ended = new Promise<Ended>((resolve) => {
    child.once("close", (code) => resolve({ code, output }));
  });
  t.after(() => child.kill("SIGKILL"));
  return {
    ended,
    end() {
      child.kill("SIGTERM");
      return ended;
    },
  };
}

/** An API server that refuses everything, and remembers who asked first. */
async function refusing(t: TestContext, make: (listener: Listener) => Server = createServer) {
  let heard = (_request: IncomingMessage) => {};
  const first = new Promise<IncomingMessage>((resolve) => {
    heard = resolve;
  });
  const server = make((request, response) => {
    heard(request);
    response.writeHead(403, { "content-type": "application/json" }).end("{}");
  });
  // A proxy is asked for a tunnel.
  server.on("connect", (request, socket) => {
    heard(request);
    socket.end("HTTP/1.1 403 Forbidden\r\n\r\n");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { address: `127.0.0.1:${(server.address() as AddressInfo).port}`, first };
}

type Listener = (request: IncomingMessage, response: ServerResponse) => void;

function kubeconfigOf(name: string, user: object, cluster: object): string {
  const path = join(directory, `${name}.json`);
  const contexts = [{ name: "c", context: { cluster: "c", user: "u" } }];
  const parts = { clusters: [{ name: "c", cluster }], users: [{ name: "u", user }], contexts };
  writeFileSync(
    path,
    JSON.stringify({ apiVersion: "v1", kind: "Config", ...parts, "current-context": "c" }),
  );
  return path;
}

/** A program that prints this, as credential plug-ins do. */
function printing(name: string, object: object): string {
  const path = join(directory, name);
  writeFileSync(path, `#!/bin/sh\ncat <<'END'\n${JSON.stringify(object)}\nEND\n`);
  chmodSync(path, 0o755);
  return path;
}

function idToken(): string {
  const part = (object: object) => Buffer.from(JSON.stringify(object)).toString("base64url");
  return `${part({ alg: "none" })}.${part({ exp: 4_000_000_000 })}.signature`;
}

const refreshed = (name: string) => ({
  "cmd-path": printing(name, { credential: { token: name, until: FUTURE } }),
  "token-key": "{.credential.token}",
  "expiry-key": "{.credential.until}",
});

const CREDENTIALS: Readonly<Record<string, () => readonly [user: object, header: string]>> = {
  token: () => [{ token: "plain" }, "Bearer plain"],
  password: () => [
    { username: "me", password: "too" },
    `Basic ${Buffer.from("me:too").toString("base64")}`,
  ],
  "token file": () => [
    { "auth-provider": { name: "tokenFile", config: { tokenFile: join(directory, "token") } } },
    "Bearer from-a-file",
  ],
  "exec plug-in": () => {
    const apiVersion = "client.authentication.k8s.io/v1";
    const status = { token: "from-a-plug-in", expirationTimestamp: FUTURE };
    const command = printing("plug-in", { apiVersion, kind: "ExecCredential", status });
    return [{ exec: { apiVersion, command, interactiveMode: "Never" } }, "Bearer from-a-plug-in"];
  },
  oidc: () => {
    const token = idToken();
    return [
      { "auth-provider": { name: "oidc", config: { "id-token": token } } },
      `Bearer ${token}`,
    ];
  },
  gcp: () => [{ "auth-provider": { name: "gcp", config: refreshed("of-gcp") } }, "Bearer of-gcp"],
  azure: () => [
    { "auth-provider": { name: "azure", config: refreshed("of-azure") } },
    "Bearer of-azure",
  ],
};

for (const [name, credentials] of Object.entries(CREDENTIALS)) {
  test(`the forwarder's bundle shows the API server the ${name} of a kubeconfig`, {
    timeout: WITHIN_MS,
  }, async (t) => {
    const { address, first } = await refusing(t);
    const [user, header] = credentials();
    const path = kubeconfigOf(name.replace(" ", "-"), user, {
      server: `http://${address}`,
    });
    const running = startBundle(t, ["--kubeconfig", path]);
    const request = await Promise.race([first, running.ended]);
    assert.ok("headers" in request, "output" in request ? request.output : "");
    assert.equal(request.headers.authorization, header);
    const { code, output } = await running.end();
    assert.equal(code, 0, output);
  });
}

test("the forwarder's bundle goes through the proxy that a kubeconfig names", {
  timeout: WITHIN_MS,
}, async (t) => {
  const proxy = await refusing(t);
  const cluster = {
    server: "https://cluster.example:6443",
    "proxy-url": `http://${proxy.address}`,
  };
  const running = startBundle(t, ["--kubeconfig", kubeconfigOf("proxy", { token: "x" }, cluster)]);
  const request = await Promise.race([proxy.first, running.ended]);
  assert.ok("headers" in request, "output" in request ? request.output : "");
  assert.equal(`${request.method} ${request.url}`, "CONNECT cluster.example:6443");
  assert.equal((await running.end()).code, 0);
});

/** A certificate of its own, or null after saying why there is none. */
function certificateOf(t: TestContext, name: string) {
  const [key, cert] = [join(directory, `${name}.key`), join(directory, `${name}.crt`)];
  const what = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  const whose = ["-subj", `/CN=${name}`, "-addext", "subjectAltName=IP:127.0.0.1"];
  const args = ["req", ...what, ...whose, "-keyout", key, "-out", cert];
  const run: SpawnSyncReturns<Buffer> = spawnSync("openssl", args);
  if (run.error !== undefined) {
    t.skip("There is no openssl to make certificates with");
    return null;
  }
  assert.equal(run.status, 0, String(run.stderr));
  return { key, cert, read: () => ({ key: readFileSync(key), cert: readFileSync(cert) }) };
}

test("the forwarder's bundle knows the API server by its CA and shows its client certificate", {
  timeout: WITHIN_MS,
}, async (t) => {
  const serving = certificateOf(t, "server");
  const own = certificateOf(t, "client");
  if (serving === null || own === null) return;
  const { address, first } = await refusing(t, (listener) =>
    createTlsServer({ ...serving.read(), requestCert: true, rejectUnauthorized: false }, listener),
  );
  const inline = Buffer.from(readFileSync(own.key)).toString("base64");
  const user = { "client-certificate": own.cert, "client-key-data": inline };
  const cluster = { server: `https://${address}`, "certificate-authority": serving.cert };
  const running = startBundle(t, ["--kubeconfig", kubeconfigOf("tls", user, cluster)]);
  const request = await Promise.race([first, running.ended]);
  assert.ok("headers" in request, "output" in request ? request.output : "");
  assert.equal((request.socket as TLSSocket).getPeerCertificate().subject.CN, "client");
  assert.equal((await running.end()).code, 0);
});

test("the forwarder's bundle lists every wrong setting and ends with 2", {
  timeout: WITHIN_MS,
}, async (t) => {
  const none = spawnSync(process.execPath, [bundle], { encoding: "utf8", env: {} });
  assert.equal(none.status, 2);
  assert.match(none.stderr, /KUBE_ALLOWLIST_CLUSTER: .*\n(.*\n)*.*KUBE_ALLOWLIST_URL: /);
  for (const args of [[], ["forward"]]) {
    const outside = await startBundle(t, args).ended;
    assert.equal(outside.code, 2);
    assert.match(outside.output, /^Cannot find an API server: .*--kubeconfig/);
  }
  const unknown = await startBundle(t, ["--dance"]).ended;
  assert.equal(unknown.code, 2);
  assert.match(unknown.output, /^Cannot take these arguments: .*--dance.*--kubeconfig FILE/);
});

test("the forwarder's bundle tells an old Node what to do, before anything else", (t) => {
  const older = (process.env.PATH ?? "")
    .split(":")
    .filter((folder) => folder !== "" && !folder.includes("node_modules"))
    .map((folder) => spawnSync(join(folder, "node"), ["--version"], { encoding: "utf8" }).stdout)
    .some((version) => Number(/^v(\d+)/.exec(version ?? "")?.[1]) < 22);
  if (!older) t.diagnostic("No Node older than 22 on the search path: tried by pretending");
  const pretending = join(directory, "pretending.cjs");
  const versions = "{ ...process.versions, node: '22.18.9' }";
  writeFileSync(
    pretending,
    `Object.defineProperty(process, "versions", { value: ${versions} });\n`,
  );
  const args = ["--require", pretending, bundle];
  const run = spawnSync(process.execPath, args, { encoding: "utf8", env: {} });
  assert.equal(run.status, 2);
  assert.match(
    run.stderr,
    /^Cannot run kube-allowlist: Node 22\.18\.9 is older than 22\.19; start/,
  );
});

test("cli/kube-allowlist.cjs starts the bundle for the command forward alone, and nothing else by it", {
  timeout: WITHIN_MS,
}, () => {
  // As in an image, where there are no sources.
  const image = join(directory, "image");
  for (const folder of ["cli", "dist"]) mkdirSync(join(image, folder), { recursive: true });
  copyFileSync(join(ROOT, "cli/kube-allowlist.cjs"), join(image, "cli/kube-allowlist.cjs"));
  writeFileSync(join(image, "dist/cli.cjs"), 'process.stdout.write("the whole program")');
  writeFileSync(join(image, "dist/forwarder.cjs"), 'process.stdout.write("the forwarder")');
  const start = (...args: readonly string[]) =>
    spawnSync(process.execPath, [join(image, "cli/kube-allowlist.cjs"), ...args], {
      encoding: "utf8",
    }).stdout;
  assert.equal(start("forward"), "the forwarder");
  assert.equal(start("forward", "--url", "https://hook.example"), "the whole program");
  assert.equal(start("serve"), "the whole program");
});

test("kubernetesPlugin() bundles what a kubeconfig needs and fails the build for anything else", async () => {
  const buildOf = async (name: string) => {
    const contents = `export { ${name} } from "@kubernetes/client-node";`;
    const stdin = { contents, resolveDir: ROOT };
    const plugins = [kubernetesPlugin()];
    const { metafile } = await build({ ...BUNDLING, stdin, plugins, write: false, metafile: true });
    return Object.keys(metafile.inputs);
  };
  const inputs = await buildOf("KubeConfig");
  assert.ok(inputs.some((path) => path.endsWith("client-node/dist/exec_auth.js")));
  const left = inputs.filter(
    (path) => /\/(gen|undici|ws)\//.test(path) && !/^refusing:/.test(path),
  );
  assert.deepEqual(left, []);
  await assert.rejects(buildOf("CoreV1Api"), /No matching export/);
});
