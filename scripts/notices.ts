import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod/mini";

const PACKAGE = /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/;
const LICENSE_FILE = /^(licen[cs]e|copying|notice)(\.|-|$)/i;

const manifestShape = z.object({
  name: z.string(),
  version: z.string(),
  license: z.optional(z.string()),
});

/** A package that was bundled. */
export interface BundledPackage {
  readonly name: string;
  readonly version: string;
  /** As its package.json says it. */
  readonly license: string | undefined;
  /** Where it is, absolute. */
  readonly folder: string;
}

/** The packages that `inputs` below `root` belong to, by name and version. */
export function bundledPackages(
  root: string,
  inputs: readonly string[],
): readonly BundledPackage[] {
  const folders = [...new Set(inputs.flatMap((path) => PACKAGE.exec(path)?.[0] ?? []))];
  const packages = folders.map((folder): [string, BundledPackage] => {
    const place = join(root, folder);
    const { name, version, license } = manifestShape.parse(JSON.parse(readManifest(place)));
    return [`${name} ${version}`, { name, version, license, folder: place }];
  });
  // One that is installed in two places is there once.
  const known = new Map(packages.toSorted(([a], [b]) => (a < b ? -1 : 1)));
  return [...known.values()];
}

/**
 * The licences of all that was bundled (`inputs` below `root`), which must travel with it: one
 * section a package, by name and version.
 */
export function renderNotices(root: string, inputs: readonly string[]): string {
  const sections = bundledPackages(root, inputs).map((bundled) => renderSection(bundled));
  const head = "kube-allowlist contains the packages below, each under its own licence.\n";
  return [head, ...new Set(sections.toSorted())].join(`\n${"-".repeat(80)}\n\n`);
}

function renderSection({ name, version, license, folder }: BundledPackage): string {
  const texts = readdirSync(folder)
    .filter((file) => LICENSE_FILE.test(file))
    .toSorted()
    .map((file) => readFileSync(join(folder, file), "utf8").trim());
  const title = `${name} ${version} (${license ?? "licence in its files"})`;
  return [title, ...texts].join("\n\n").concat("\n");
}

function readManifest(folder: string): string {
  const path = join(folder, "package.json");
  if (!existsSync(path)) throw new Error(`Cannot name the licence of ${folder}: no package.json`);
  return readFileSync(path, "utf8");
}
