import { accessSync, constants } from "node:fs";
import { join } from "node:path";

/** A third-party program that the end-to-end tests meet and that this repository does not bring. */
export interface Asset {
  readonly name: string;
  /** The environment variable that says where it is. */
  readonly variable: string;
  /** Executables that must be there, given the variable's value. */
  readonly executables: (value: string) => readonly string[];
  readonly wayOut: string;
}

export const KUBERNETES: Asset = {
  name: "a real Kubernetes API server",
  variable: "KUBEBUILDER_ASSETS",
  executables: (folder) => [join(folder, "etcd"), join(folder, "kube-apiserver")],
  wayOut:
    "set it to a folder that holds the programs etcd and kube-apiserver, 1.34 or newer, as " +
    "setup-envtest downloads them or as .ci/run builds them",
};

export const MOTO: Asset = {
  name: "a third-party implementation of EC2",
  variable: "KUBE_ALLOWLIST_MOTO",
  executables: (path) => [path],
  wayOut:
    "set it to the path of the program moto_server, which " +
    "`pip install 'moto[server]==5.2.5'` brings, or run .ci/run",
};

/** The value of the asset's variable, or a sentence that says what is missing and a way out. */
export function findAsset(
  asset: Asset,
  env: NodeJS.ProcessEnv = process.env,
): { readonly kind: "found"; readonly value: string } | { kind: "missing"; reason: string } {
  const value = env[asset.variable];
  if (!value) return missing(asset, `${asset.variable} is not set`);
  const absent = asset.executables(value).filter((path) => !executable(path));
  if (absent.length === 0) return { kind: "found", value };
  return missing(asset, `${asset.variable} leads to no program ${absent.join(", ")}`);
}

/**
 * What `skip` of a test takes: false where all assets are there, else the reason. The reason is
 * also written to stderr once per process, because a skipped test is easily overlooked.
 */
export function skipWithout(...assets: readonly Asset[]): string | false {
  const reasons = assets.flatMap((asset) => {
    const found = findAsset(asset);
    return found.kind === "missing" ? [found.reason] : [];
  });
  for (const reason of reasons) {
    if (!said.has(reason)) process.stderr.write(`\nSKIPPED: ${reason}\n\n`);
    said.add(reason);
  }
  return reasons.length > 0 && reasons.join("; ");
}

/** Must be called only where {@link skipWithout} let the test run. */
export function assetPath(asset: Asset): string {
  const found = findAsset(asset);
  if (found.kind === "missing") throw new Error(found.reason);
  return found.value;
}

const said = new Set<string>();

function missing(asset: Asset, because: string): { kind: "missing"; reason: string } {
  return {
    kind: "missing",
    reason: `Cannot start ${asset.name}: ${because}; ${asset.wayOut}`,
  };
}

function executable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
