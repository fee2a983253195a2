import { generateKeyPairSync, randomBytes } from "node:crypto";
import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { request as httpsRequest } from "node:https";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { assetPath, KUBERNETES } from "./assets.ts";
import { type Child, freePort, startChild, temporaryFolder } from "./child.ts";
import { eventually } from "./eventually.ts";

const READY_WITHIN_MS = 90_000;
const REQUEST_MS = 10_000;

export interface NodeAddress {
  readonly type: string;
  readonly address: string;
}

export interface KubeNode {
  readonly name: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly addresses?: readonly NodeAddress[];
}

/** A real kube-apiserver with its own etcd; no controllers run, so nodes are deleted at once. */
export interface KubeApiserver {
  readonly folder: string;
  readonly url: string;
  readonly port: number;
  /** Bearer token of an administrator. */
  readonly token: string;
  readonly caFile: string;
  /** Path of the administrator's kubeconfig. */
  readonly kubeconfig: string;
  /** Path of a kubeconfig with this token, and another port where a proxy stands between. */
  kubeconfigFor(token: string, options?: { readonly port?: number }): string;
  /**
   * JSON in and out, as administrator; PATCH merges unless `type` says otherwise. Rejects from 400
   * on: {@link KubeApiError}.
   */
  request: Request;
  /** Creates a node together with its status, and returns its uid. */
  createNode(node: KubeNode): Promise<string>;
  updateNodeStatus(name: string, addresses: readonly NodeAddress[]): Promise<void>;
  deleteNode(name: string): Promise<void>;
  /** A token that the server issued for a service account of `namespace`. */
  createToken(namespace: string, account: string): Promise<string>;
  /** Kills the API server with SIGKILL and starts it again on the same port; etcd stays. */
  restart(options?: { readonly downMs?: number }): Promise<void>;
  /** A black hole: connections are accepted by the kernel and never answered. */
  pause(): void;
  resume(): void;
  /** Forgets old versions in etcd; a watch from before is told 410 after the next restart. */
  compact(): Promise<void>;
  /** Keeps a copy of all that etcd holds; both servers are down for a moment. */
  backup(): Promise<void>;
  /** Puts the copy back, as an administrator does who restores etcd, and starts both again. */
  restore(): Promise<void>;
  stop(): Promise<void>;
}

export class KubeApiError extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.name = "KubeApiError";
    this.status = status;
  }
}

/** Starts both servers and resolves when the API server is ready. */
export async function startKubeApiserver(
  options: { readonly flags?: readonly string[] } = {},
): Promise<KubeApiserver> {
  const assets = assetPath(KUBERNETES);
  const folder = temporaryFolder("kubernetes");
  const etcd = await startEtcd(join(assets, "etcd"), folder);
  const port = await freePort();
  const token = randomBytes(16).toString("hex");
  writeSecrets(folder, token);
  const start = () =>
    startChild(
      join(assets, "kube-apiserver"),
      [...apiserverFlags({ folder, port, etcdUrl: etcd.url }), ...(options.flags ?? [])],
      { env: { PATH: process.env.PATH ?? "", HOME: folder }, folder },
    );
  const server = { child: await start() };
  const request = makeRequest({ folder, port, token });
  const kube = asKubeApiserver({ folder, port, token, etcd, server, request, start });
  try {
    await ready(kube, server.child);
    return kube;
  } catch (error) {
    await kube.stop();
    throw error;
  }
}

export type Request = <T>(
  method: string,
  path: string,
  body?: unknown,
  options?: { readonly type?: string },
) => Promise<T>;

interface Parts {
  readonly folder: string;
  readonly port: number;
  readonly token: string;
  readonly etcd: Etcd;
  /** The API server of now: another one after a restart. */
  readonly server: { child: Child };
  readonly request: Request;
  readonly start: () => Promise<Child>;
}

function asKubeApiserver(parts: Parts): KubeApiserver {
  const { folder, port, token, etcd, server, request } = parts;
  const kubeconfigFor: KubeApiserver["kubeconfigFor"] = (bearer, options = {}) =>
    writeKubeconfig({ folder, port: options.port ?? port, token: bearer });
  const kube: KubeApiserver = {
    folder,
    url: `https://127.0.0.1:${port}`,
    port,
    token,
    caFile: join(folder, "apiserver.crt"),
    // Written on demand: the server makes its certificate only when it starts.
    get kubeconfig() {
      return kubeconfigFor(token);
    },
    kubeconfigFor,
    request,
    ...nodeVerbs(request),
    async createToken(namespace, account) {
      const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${account}/token`;
      const spec = { expirationSeconds: 3600 };
      const answer = await request<{ status: { token: string } }>("POST", path, { spec });
      return answer.status.token;
    },
    async restart({ downMs = 0 } = {}) {
      server.child.kill("SIGKILL");
      await server.child.exited;
      await sleep(downMs);
      server.child = await parts.start();
      await ready(kube, server.child);
    },
    pause: () => server.child.kill("SIGSTOP"),
    resume: () => server.child.kill("SIGCONT"),
    compact: () => compactEtcd(etcd.url),
    backup: () =>
      whileDown(parts, kube, () => {
        rmSync(`${etcd.folder}-backup`, { recursive: true, force: true });
        cpSync(etcd.folder, `${etcd.folder}-backup`, { recursive: true });
      }),
    restore: () =>
      whileDown(parts, kube, () => {
        rmSync(etcd.folder, { recursive: true });
        cpSync(`${etcd.folder}-backup`, etcd.folder, { recursive: true });
      }),
    async stop() {
      await server.child.stop();
      await etcd.child.stop();
    },
  };
  return kube;
}

/** Does something to etcd's files, which are whole only while it does not run. */
async function whileDown(
  { server, etcd, start }: Parts,
  kube: KubeApiserver,
  work: () => void,
): Promise<void> {
  server.child.kill("SIGKILL");
  await server.child.exited;
  await etcd.child.stop();
  work();
  etcd.child = await etcd.start();
  server.child = await start();
  await ready(kube, server.child);
}

function nodeVerbs(
  request: Request,
): Pick<KubeApiserver, "createNode" | "updateNodeStatus" | "deleteNode"> {
  return {
    async createNode({ name, labels = {}, addresses = [] }) {
      const node = {
        apiVersion: "v1",
        kind: "Node",
        metadata: { name, labels },
        status: { addresses },
      };
      const created = await request<{ metadata: { uid: string } }>("POST", "/api/v1/nodes", node);
      return created.metadata.uid;
    },
    async updateNodeStatus(name, addresses) {
      await request("PATCH", `/api/v1/nodes/${name}/status`, { status: { addresses } });
    },
    async deleteNode(name) {
      await request("DELETE", `/api/v1/nodes/${name}`);
    },
  };
}

/**
 * Ready is more than /readyz: a forwarder names its cluster by the uid of kube-system, which the
 * server makes a moment later.
 */
async function ready(kube: KubeApiserver, child: Child): Promise<void> {
  const hopeless = () =>
    child.exit() ? `kube-apiserver ended: ${child.output().slice(-3_000)}` : null;
  const probe = async () => {
    if (!existsSync(kube.caFile)) return false;
    await kube.request("GET", "/readyz");
    await kube.request("GET", "/api/v1/namespaces/kube-system");
    await kube.request("GET", "/api/v1/namespaces/default");
    return true;
  };
  await eventually("kube-apiserver is ready", probe, { withinMs: READY_WITHIN_MS, hopeless });
}

interface Etcd {
  readonly url: string;
  /** With all that it holds. */
  readonly folder: string;
  /** The process of now: another one after a restart. */
  child: Child;
  /** Starts it again on the same ports, and waits until it is healthy. */
  readonly start: () => Promise<Child>;
}

async function startEtcd(program: string, folder: string): Promise<Etcd> {
  const url = `http://127.0.0.1:${await freePort()}`;
  const peer = `http://127.0.0.1:${await freePort()}`;
  const held = join(folder, "etcd");
  const flags = [
    `--data-dir=${held}`,
    // Nothing here has to survive the machine.
    "--unsafe-no-fsync",
    "--log-level=warn",
    `--listen-client-urls=${url}`,
    `--advertise-client-urls=${url}`,
    `--listen-peer-urls=${peer}`,
    `--initial-advertise-peer-urls=${peer}`,
    `--initial-cluster=default=${peer}`,
  ];
  const start = async () => {
    const child = await startChild(program, flags, {
      env: { PATH: process.env.PATH ?? "", HOME: folder },
      folder,
    });
    try {
      const healthy = () => fetch(`${url}/health`).then((answer) => answer.ok);
      const hopeless = () => (child.exit() ? `etcd ended: ${child.output().slice(-3_000)}` : null);
      await eventually("etcd is healthy", healthy, { withinMs: READY_WITHIN_MS, hopeless });
      return child;
    } catch (error) {
      await child.stop();
      throw error;
    }
  };
  return { url, folder: held, child: await start(), start };
}

function apiserverFlags(options: {
  readonly folder: string;
  readonly port: number;
  readonly etcdUrl: string;
}): readonly string[] {
  const { folder, port } = options;
  const url = `https://127.0.0.1:${port}`;
  return [
    `--etcd-servers=${options.etcdUrl}`,
    // The server makes its own serving certificate here, which is its own authority, and keeps it
    // over restarts.
    `--cert-dir=${folder}`,
    "--bind-address=127.0.0.1",
    `--secure-port=${port}`,
    "--service-cluster-ip-range=10.0.0.0/24",
    "--authorization-mode=RBAC",
    // No controller makes the default service accounts that this plugin asks for.
    "--disable-admission-plugins=ServiceAccount",
    "--endpoint-reconciler-type=none",
    `--token-auth-file=${join(folder, "tokens.csv")}`,
    `--service-account-issuer=${url}`,
    `--service-account-jwks-uri=${url}/openid/v1/jwks`,
    `--service-account-key-file=${join(folder, "sa.pub")}`,
    `--service-account-signing-key-file=${join(folder, "sa.key")}`,
    `--api-audiences=${url}`,
  ];
}

function writeSecrets(folder: string, token: string): void {
  const pair = generateKeyPairSync("rsa", {
    modulusLength: 2048,
    publicKeyEncoding: { type: "spki", format: "pem" },
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
  });
  writeFileSync(join(folder, "sa.pub"), pair.publicKey);
  writeFileSync(join(folder, "sa.key"), pair.privateKey, { mode: 0o600 });
  const tokens = `${token},admin,admin,system:masters\n`;
  writeFileSync(join(folder, "tokens.csv"), tokens, { mode: 0o600 });
}

function writeKubeconfig(options: {
  readonly folder: string;
  readonly port: number;
  readonly token: string;
}): string {
  const { folder, port, token } = options;
  const name = "test";
  const authority = readFileSync(join(folder, "apiserver.crt")).toString("base64");
  const path = join(folder, `kubeconfig-${randomBytes(4).toString("hex")}.json`);
  const kubeconfig = {
    apiVersion: "v1",
    kind: "Config",
    "current-context": name,
    clusters: [
      {
        name,
        cluster: {
          server: `https://127.0.0.1:${port}`,
          "certificate-authority-data": authority,
        },
      },
    ],
    users: [{ name, user: { token } }],
    contexts: [{ name, context: { cluster: name, user: name } }],
  };
  writeFileSync(path, JSON.stringify(kubeconfig, null, 2), { mode: 0o600 });
  return path;
}

function makeRequest(options: {
  readonly folder: string;
  readonly port: number;
  readonly token: string;
}): Request {
  const { folder, port, token } = options;
  return async <T>(
    method: string,
    path: string,
    body?: unknown,
    options: { readonly type?: string } = {},
  ) => {
    const text = body === undefined ? "" : JSON.stringify(body);
    const usual = method === "PATCH" ? "application/merge-patch+json" : "application/json";
    const { type = usual } = options;
    const outgoing = httpsRequest({
      host: "127.0.0.1",
      port,
      path,
      method,
      ca: readFileSync(join(folder, "apiserver.crt")),
      // A connection of its own each time: none may be left from before a restart.
      agent: false,
      signal: AbortSignal.timeout(REQUEST_MS),
      headers: {
        authorization: `Bearer ${token}`,
        accept: "application/json",
        ...(text ? { "content-type": type, "content-length": Buffer.byteLength(text) } : {}),
      },
    });
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      outgoing.on("error", reject).on("response", resolve).end(text);
    });
    const received = (await answer.setEncoding("utf8").toArray()).join("");
    const status = answer.statusCode ?? 0;
    if (status >= 400) {
      const sentence = `Cannot ${method} ${path}: ${status} ${received.slice(0, 500)}`;
      throw new KubeApiError(status, sentence);
    }
    // Health checks answer with plain text.
    const json = answer.headers["content-type"]?.includes("json") ?? false;
    return (json ? JSON.parse(received) : received) as T;
  };
}

/** Through etcd's HTTP gateway, whose numbers are strings. */
async function compactEtcd(etcdUrl: string): Promise<void> {
  const call = async (path: string, body: object) => {
    const answer = await fetch(etcdUrl + path, { method: "POST", body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`Cannot call etcd's ${path}: ${await answer.text()}`);
    return (await answer.json()) as { header: { revision: string } };
  };
  const anyKey = Buffer.from("/").toString("base64");
  const { header } = await call("/v3/kv/range", { key: anyKey });
  await call("/v3/kv/compaction", { revision: header.revision, physical: true });
}
