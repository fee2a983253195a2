import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import { CHART } from "../../scripts/chart-files.ts";
import type { Values } from "../chart.ts";
import type { Manifest } from "../manifests.ts";
import { type Asset, assetPath } from "./assets.ts";
import { temporaryFolder } from "./child.ts";
import { KubeApiError, type KubeApiserver } from "./kube-apiserver.ts";

export const HELM: Asset = {
  name: "Helm",
  variable: "KUBE_ALLOWLIST_HELM",
  executables: (path) => [path],
  wayOut: "set it to the path of the program helm, 3.18 or newer, or run .ci/run",
};

const HELM_MS = 120_000;

/** What a run of helm said. */
export interface Said {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Rendering {
  readonly release?: string;
  readonly namespace?: string;
  readonly kubeVersion?: string;
}

/** A folder of its own for everything that Helm would keep in somebody's home. */
const home = () => {
  folder ??= temporaryFolder("helm");
  return folder;
};
let folder: string | null = null;

/** Runs helm to its end, with nothing of this machine's settings. */
export function runHelm(args: readonly string[]): Promise<Said> {
  return new Promise((resolve, reject) => {
    const child = spawn(assetPath(HELM), args, {
      env: { PATH: process.env.PATH ?? "", HOME: home() },
      stdio: ["ignore", "pipe", "pipe"],
      timeout: HELM_MS,
    });
    const said = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"] as const) {
      child[name].setEncoding("utf8").on("data", (text: string) => {
        said[name] += text;
      });
    }
    child.once("error", reject);
    child.once("close", (code) => resolve({ code, ...said }));
  });
}

/**
 * Writes values into a file that `--values` can name. As JSON, because Helm reads words such as
 * `off` as YAML 1.1 has them.
 */
export function valuesFile(values: Values): string {
  const path = join(home(), `values-${randomBytes(6).toString("hex")}.yaml`);
  writeFileSync(path, JSON.stringify(values));
  return path;
}

/** What `helm template` says to some values. */
export function tryTemplate(values: Values, options: Rendering = {}): Promise<Said> {
  const { release = "kube-allowlist", namespace = "kube-allowlist" } = options;
  return runHelm([
    ...["template", release, CHART, "--namespace", namespace, "--values", valuesFile(values)],
    // A helm that was built from its sources knows of an ancient one.
    ...["--kube-version", options.kubeVersion ?? "1.36.0"],
  ]);
}

/** The objects of a release with these values; tests of Helm's own are among them. */
export async function renderChart(
  values: Values,
  options: Rendering = {},
): Promise<readonly Manifest[]> {
  const { code, stdout, stderr } = await tryTemplate(values, options);
  if (code !== 0) throw new Error(`Cannot render the chart: ${stderr.slice(0, 2_000)}`);
  return manifestsIn(stdout);
}

/** Every object of a YAML text. */
export function manifestsIn(text: string): readonly Manifest[] {
  return parseAllDocuments(text).flatMap((document) => {
    if (document.errors.length > 0) throw new Error(`Cannot read YAML: ${document.errors[0]}`);
    const object = document.toJS() as Manifest | null;
    return object === null ? [] : [object];
  });
}

interface Discovered {
  readonly resources: readonly {
    readonly name: string;
    readonly kind: string;
    readonly namespaced: boolean;
  }[];
}

/** Asks an API server whether it would take objects, and remembers what it was asked. */
export function dryRunner(kube: KubeApiserver) {
  const groups = new Map<string, Promise<Discovered>>();
  const asked = new Set<string>();
  const collectionOf = async ({ apiVersion, kind, metadata }: Manifest) => {
    const group = apiVersion.includes("/") ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
    const known = groups.get(group) ?? kube.request<Discovered>("GET", group);
    groups.set(group, known);
    const { resources } = await known;
    const found = resources.find((one) => one.kind === kind && !one.name.includes("/"));
    if (found === undefined) throw new Error(`Cannot find ${kind} in ${apiVersion}`);
    const place = found.namespaced ? `/namespaces/${metadata.namespace}` : "";
    return `${group}${place}/${found.name}`;
  };
  return {
    /** Null when it would be taken, else what is said; an object that was asked before is taken. */
    async refusalOf(object: Manifest): Promise<string | null> {
      const text = JSON.stringify(object);
      if (asked.has(text)) return null;
      const path = `${await collectionOf(object)}?dryRun=All&fieldValidation=Strict`;
      try {
        await kube.request("POST", path, object);
        asked.add(text);
        return null;
      } catch (error) {
        if (error instanceof KubeApiError) return error.message;
        throw error;
      }
    },
    asked: () => asked.size,
  };
}

/** A pod as the controller of a Deployment would make it; null for other objects. */
export function podOf({ kind, metadata, spec }: Manifest): Manifest | null {
  const template = spec?.template;
  if (kind !== "Deployment" || template === undefined) return null;
  const { name, namespace } = metadata;
  const pod = { ...template, metadata: { ...template.metadata, name, namespace } };
  return { apiVersion: "v1", kind: "Pod", ...pod } as unknown as Manifest;
}
