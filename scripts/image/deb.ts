import { spawnSync } from "node:child_process";
import { unpackTar } from "modern-tar";
import type { Tree, TreeEntry } from "./layer.ts";

const ARCHIVE_BYTES_MAX = 512 * 1024 * 1024;

/** Files and links of a package of Debian whose paths `isWanted`; folders follow from them. */
export async function unpackDeb(path: string, isWanted: (name: string) => boolean): Promise<Tree> {
  const entries = await unpackTar(dpkgDeb(["--fsys-tarfile", path]), { strict: true });
  const tree = new Map<string, TreeEntry>();
  for (const { header, data: content } of entries) {
    const name = header.name.replace(/^\.?\//, "").replace(/\/$/, "");
    if (!isWanted(name)) continue;
    if (header.type === "symlink") {
      tree.set(name, { kind: "link", target: header.linkname ?? "" });
    } else if (header.type === "file" || header.type === undefined) {
      const isExecutable = ((header.mode ?? 0) & 0o100) !== 0;
      tree.set(name, { kind: "file", content: content ?? new Uint8Array(), isExecutable });
    } else if (header.type !== "directory") {
      throw new Error(`Cannot take ${name} from ${path}: it is a ${header.type}`);
    }
  }
  return tree;
}

/** One field of a package's description, as `Version`. */
export function debField(path: string, name: string): string {
  return dpkgDeb(["--field", path, name]).toString("utf8").trim();
}

/** All of a package's description, as it would stand in a list of what is installed. */
export function debControl(path: string): string {
  return dpkgDeb(["--field", path]).toString("utf8");
}

function dpkgDeb(args: readonly string[]): Buffer {
  const run = spawnSync("dpkg-deb", args, { maxBuffer: ARCHIVE_BYTES_MAX });
  if (run.error) {
    throw new Error("Cannot run dpkg-deb: it unpacks Debian's packages; install dpkg", {
      cause: run.error,
    });
  }
  if (run.status !== 0) throw new Error(`dpkg-deb said: ${run.stderr.toString("utf8").trim()}`);
  return run.stdout;
}
