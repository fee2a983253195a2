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

/** Each of the three is a program of its own, which the product neither needs nor brings. */
export const OSLS: Asset = {
  name: "osls",
  variable: "KUBE_ALLOWLIST_OSLS",
  executables: (path) => [path],
  wayOut:
    "set it to the path of the program osls, which `npm install --prefix FOLDER osls@4.3.1` " +
    "brings in FOLDER/node_modules/.bin, or run .ci/run",
};

export const CFN_LINT: Asset = {
  name: "cfn-lint",
  variable: "KUBE_ALLOWLIST_CFN_LINT",
  executables: (path) => [path],
  wayOut: "set it to the path of the program, which `pip install cfn-lint` brings, or run .ci/run",
};

export const CHECKOV: Asset = {
  name: "checkov",
  variable: "KUBE_ALLOWLIST_CHECKOV",
  executables: (path) => [path],
  wayOut: "set it to the path of the program, which `pip install checkov` brings, or run .ci/run",
};

/** Both run a check of their own program; `.ci/run` names those that it brings. */
export const S_YAML_CHECK: Asset = {
  name: "a check of Serverless Devs files",
  variable: "KUBE_ALLOWLIST_S_YAML_CHECK",
  executables: (path) => [path],
  wayOut: "set it to a program that exits 0 for a sound s.yaml, its only argument, or run .ci/run",
};

export const TERRAFORM_CHECK: Asset = {
  name: "a check of Terraform modules",
  variable: "KUBE_ALLOWLIST_TERRAFORM_CHECK",
  executables: (path) => [path],
  wayOut:
    "set it to a program that runs fmt, validate and test in a module, its first argument, with " +
    "schemas for its providers (SOURCE=FILE), or run .ci/run",
};

/** What an image is made of, which only a network can bring. */
export const IMAGE_PIECES: Asset = {
  name: "a build of the image",
  variable: "KUBE_ALLOWLIST_IMAGE_PIECES",
  executables: (folder) => [folder],
  wayOut:
    "set it to the folder that `npm run image -- --fetch --pieces FOLDER` filled, on Debian 12 " +
    "or in a container of it, or run .ci/run",
};

export const CRANE: Asset = {
  name: "crane",
  variable: "KUBE_ALLOWLIST_CRANE",
  executables: (path) => [path],
  wayOut:
    "set it to the path of the program, which " +
    "`go install github.com/google/go-containerregistry/cmd/crane@v0.22.1` brings, or run .ci/run",
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
