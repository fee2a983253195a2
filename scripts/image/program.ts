import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bundleEntry, ROOT } from "../bundle.ts";
import { type BundledPackage, bundledPackages, renderNotices } from "../notices.ts";
import { watchContents } from "./contents.ts";

/** What the image starts: the command, and the forwarder alone, which needs less. */
export interface Program {
  /** By their names, as `cli.cjs`. */
  readonly bundles: ReadonlyMap<string, Uint8Array>;
  /** Every file that was read for them, in ascending order. */
  readonly inputs: readonly string[];
  readonly notices: string;
  /** That something is left of in a bundle. */
  readonly packages: readonly BundledPackage[];
}

/** Bundles the program as it is now; it is the same on all platforms. */
export async function bundleProgram(): Promise<Program> {
  const folder = mkdtempSync(join(tmpdir(), "kube-allowlist-image-"));
  try {
    const bundles = new Map<string, Uint8Array>();
    const inputs = new Set<string>();
    const contents = watchContents();
    for (const name of ["cli", "forwarder"]) {
      const bundle = await bundleEntry(name, folder, { plugins: [contents.plugin] });
      for (const input of bundle.inputs) inputs.add(input);
      bundles.set(`${name}.cjs`, readFileSync(join(folder, `${name}.cjs`)));
    }
    const left = [...bundles.keys()].flatMap((file) => contents.of(file)).toSorted();
    const all = [...inputs].toSorted();
    // A notice too many does no harm; a bill names what is there.
    const notices = renderNotices(ROOT, all);
    return { bundles, inputs: all, notices, packages: bundledPackages(ROOT, left) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
