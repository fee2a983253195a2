import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod";

const PACKAGE = /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/;
const LICENSE_FILE = /^(licen[cs]e|copying|notice)(\.|-|$)/i;

const manifestShape = z.object({
  name: z.string(),
  version: z.string(),
  license: z.string().optional(),
});

/**
 * The licences of all that was bundled (`inputs` below `root`), which must travel with it: one
 * section a package, by name and version.
 */
export function renderNotices(root: string, inputs: readonly string[]): string {
  const folders = [...new Set(inputs.flatMap((path) => PACKAGE.exec(path)?.[0] ?? []))];
  const sections = folders.map((folder) => renderSection(join(root, folder)));
  const head = "kube-allowlist contains the packages below, each under its own licence.\n";
  return [head, ...new Set(sections.toSorted())].join(`\n${"-".repeat(80)}\n\n`);
}

function renderSection(folder: string): string {
  const manifest = manifestShape.parse(JSON.parse(readManifest(folder)));
  const texts = readdirSync(folder)
    .filter((file) => LICENSE_FILE.test(file))
    .toSorted()
    .map((file) => readFileSync(join(folder, file), "utf8").trim());
  const licence = manifest.license ?? "licence in its files";
  const title = `${manifest.name} ${manifest.version} (${licence})`;
  return [title, ...texts].join("\n\n").concat("\n");
}

function readManifest(folder: string): string {
  const path = join(folder, "package.json");
  if (!existsSync(path)) throw new Error(`Cannot name the licence of ${folder}: no package.json`);
  return readFileSync(path, "utf8");
}
