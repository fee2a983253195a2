import { type ChildProcess, execFileSync, fork } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { temporaryFolder } from "../e2e/child.ts";
import type { ClusterOptions, Command, Report } from "./cluster-server.ts";

/** A cluster in another process, and what came to it. */
export interface BenchCluster {
  /** Path of a kubeconfig. */
  readonly kubeconfig: string;
  readonly requests: readonly Extract<Report, { kind: "request" }>[];
  /** When the API server began to send the node of an index, in nanoseconds. */
  readonly joined: ReadonlyMap<number, bigint>;
  /** Resolves when it was carried out. */
  command(command: Command): Promise<void>;
  close(): Promise<void>;
}

const SERVER = join(import.meta.dirname, "cluster-server.ts");

export async function startBenchCluster(
  options: Partial<Omit<ClusterOptions, "tls">> & {
    readonly nodes: number;
    readonly tls?: boolean;
  },
): Promise<BenchCluster> {
  const folder = temporaryFolder("bench");
  const tls = options.tls ? makeCertificate(folder) : null;
  const given: ClusterOptions = { pods: [], watchList: true, ...options, tls };
  const child = fork(SERVER, [JSON.stringify(given)], { serialization: "advanced" });
  const requests: Extract<Report, { kind: "request" }>[] = [];
  const joined = new Map<number, bigint>();
  child.on("message", (report: Report) => {
    if (report.kind === "request") requests.push(report);
    if (report.kind === "joined") joined.set(report.index, report.at);
  });
  const listening = await reported(child, "listening");
  const server = `${tls === null ? "http" : "https"}://127.0.0.1:${listening.port}`;
  const kubeconfig = join(folder, "kubeconfig");
  writeFileSync(kubeconfig, kubeconfigOf(server, tls?.cert ?? null));
  return {
    kubeconfig,
    requests,
    joined,
    async command(command) {
      child.send(command);
      await reported(child, "done");
    },
    async close() {
      child.disconnect();
      await once(child, "exit");
    },
  };
}

function reported<K extends Report["kind"]>(child: ChildProcess, kind: K) {
  return new Promise<Extract<Report, { kind: K }>>((resolve, reject) => {
    const onExit = () => reject(new Error(`Cannot wait for "${kind}": the API server ended`));
    const onMessage = (report: Report) => {
      if (report.kind !== kind) return;
      child.off("message", onMessage);
      child.off("exit", onExit);
      resolve(report as Extract<Report, { kind: K }>);
    };
    child.on("message", onMessage);
    child.once("exit", onExit);
  });
}

/** Throws where there is no openssl. */
function makeCertificate(folder: string): { readonly key: string; readonly cert: string } {
  const key = join(folder, "key.pem");
  const cert = join(folder, "cert.pem");
  const what = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  const name = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"];
  execFileSync("openssl", ["req", ...what, ...name, "-keyout", key, "-out", cert], {
    stdio: "ignore",
  });
  return { key, cert };
}

/** Without TLS the client library insists on being told that certificates do not matter. */
function kubeconfigOf(server: string, ca: string | null): string {
  const trust =
    ca === null ? { "insecure-skip-tls-verify": true } : { "certificate-authority": ca };
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    "current-context": "bench",
    clusters: [{ name: "bench", cluster: { server, ...trust } }],
    users: [{ name: "bench", user: { token: "bench" } }],
    contexts: [{ name: "bench", context: { cluster: "bench", user: "bench" } }],
  });
}
