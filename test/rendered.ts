import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { ROOT } from "../scripts/bundle.ts";
import type { Files } from "./terraform-packages.ts";

/*
 * Files that stand in the repository as they are rendered. KUBE_ALLOWLIST_WRITE_FIXTURES=1 writes
 * them.
 */

const IS_WRITTEN = process.env.KUBE_ALLOWLIST_WRITE_FIXTURES === "1";

/** Holds a file to what it is rendered from. */
export function isRendered(path: string, content: string | Uint8Array): void {
  const expected = Buffer.from(content);
  if (IS_WRITTEN) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, expected);
  }
  assert(readFileSync(path).equals(expected), `${relative(ROOT, path)} is as it is rendered`);
}

/** Holds a Terraform module's packages to what they are rendered from; its tests use each. */
export function arePackages(module: string, packages: Readonly<Record<string, Files>>): void {
  const tests = join(module, "tests");
  const entries = readdirSync(tests, { withFileTypes: true });
  const hcl = entries
    .filter(({ name }) => name.endsWith(".tftest.hcl"))
    .map(({ name }) => readFileSync(join(tests, name), "utf8"))
    .join("");
  for (const [folder, files] of Object.entries(packages)) {
    for (const [file, content] of Object.entries(files)) {
      isRendered(join(tests, folder, file), content);
    }
    const present = readdirSync(join(tests, folder), { recursive: true, withFileTypes: true })
      .filter((one) => one.isFile())
      .map((one) => relative(join(tests, folder), join(one.parentPath, one.name)));
    assert.deepEqual(present.toSorted(), Object.keys(files).toSorted(), folder);
    assert(hcl.includes(`"tests/${folder}"`), `tests/${folder} is used`);
  }
  const folders = readdirSync(tests, { withFileTypes: true }).filter((one) => one.isDirectory());
  assert.deepEqual(folders.map(({ name }) => name).toSorted(), Object.keys(packages).toSorted());
}
