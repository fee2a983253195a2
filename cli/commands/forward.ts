import { resolve } from "node:path";
import { makeLogger } from "../../lib/logger.ts";
import { makeWorld } from "../../lib/world.ts";
import manifest from "../../package.json" with { type: "json" };
import { logLevelOf } from "../log-level.ts";
import { type Shell, sentenceOf, UsageError } from "../shell.ts";

/** Flags of the same names as the variables that they stand in for. */
export interface ForwardOptions {
  readonly url?: string;
  readonly cluster?: string;
  readonly tokenFile?: string;
  readonly secretFile?: string;
  readonly labels?: string;
  readonly pods?: string;
  readonly lease?: string;
  readonly heartbeat?: string;
  readonly gate?: string;
  readonly gateTimeout?: string;
  readonly listen?: string;
  readonly kubeconfig?: string;
}

const VARIABLES = {
  url: "KUBE_ALLOWLIST_URL",
  cluster: "KUBE_ALLOWLIST_CLUSTER",
  tokenFile: "KUBE_ALLOWLIST_TOKEN_FILE",
  secretFile: "KUBE_ALLOWLIST_SECRET_FILE",
  labels: "KUBE_ALLOWLIST_LABELS",
  pods: "KUBE_ALLOWLIST_PODS",
  lease: "KUBE_ALLOWLIST_LEASE",
  heartbeat: "KUBE_ALLOWLIST_HEARTBEAT",
  gate: "KUBE_ALLOWLIST_GATE",
  gateTimeout: "KUBE_ALLOWLIST_GATE_TIMEOUT",
  listen: "KUBE_ALLOWLIST_LISTEN",
} as const;

/** Follows one cluster and delivers its nodes, until the process is asked to end. */
export async function runForward(options: ForwardOptions, shell: Shell): Promise<number> {
  const [{ parseSettings }, { runForwarder }, { readKeys, readTokenFile }] = await Promise.all([
    import("../../forwarder/settings.ts"),
    import("../../forwarder/main.ts"),
    import("../../forwarder/authenticator.ts"),
  ]);
  const flags = Object.entries(VARIABLES).flatMap(([flag, name]) => {
    const value = options[flag as keyof typeof VARIABLES];
    return value === undefined ? [] : [[name, value] as const];
  });
  const reading = parseSettings({ ...shell.env, ...Object.fromEntries(flags) });
  if (reading.kind === "invalid") {
    throw new UsageError(
      "Cannot forward with these settings (KUBE_ALLOWLIST_URL is also --url, and so on)",
      reading.problems,
    );
  }
  const { kubeconfig } = options;
  if (kubeconfig === undefined && !shell.env.KUBERNETES_SERVICE_HOST) {
    throw new UsageError(
      "Cannot find an API server: this process runs in no cluster; give --kubeconfig",
    );
  }
  const world = makeWorld(
    makeLogger(logLevelOf(shell.env), { log: shell.stderr, audit: shell.stderr }),
  );
  const { signing, tokenFile } = reading.settings.credential;
  try {
    // Wrong from the beginning is a mistake to be told at once; later it may be a rotation.
    if (signing?.kind === "file") await readKeys(signing.path);
    if (tokenFile !== null) await readTokenFile(tokenFile, null);
    await runForwarder(reading.settings, {
      world,
      signal: shell.signal,
      version: manifest.version,
      kubeConfig:
        kubeconfig === undefined
          ? { kind: "in-cluster" }
          : { kind: "file", path: resolve(shell.folder, kubeconfig) },
    });
  } catch (error) {
    throw new UsageError(sentenceOf(error));
  }
  return 0;
}
