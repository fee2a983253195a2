import type { Dirent } from "node:fs";
import {
  type FileHandle,
  link,
  mkdir,
  open,
  readdir,
  readFile,
  stat,
  unlink,
} from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { randomId, type World } from "../world.ts";
import { checkKey, checkPrefix, isSegment } from "./key.ts";
import { type Store, type StoredKey, StoreError } from "./store.ts";

// No segment of a key begins with a dot, so nothing in here can be taken for an object.
const DRAFTS = ".drafts";
/**
 * A put takes seconds; whoever needs an hour finds its draft gone and fails, which does no harm.
 */
const LEFTOVER_MS_MAX = 3_600_000;
const PUTS_PER_SWEEP = 1_000;
const DRAWS_MAX = 10;

/**
 * A store in a folder, which is made by the first put. Safe for any number of processes of one
 * machine, and under kill -9; needs a file system with hard links.
 *
 * A key is a file, so no key may continue another behind a slash. Ages are by the file system's own
 * clock; where this process may not write, every age is 0, which lets nothing expire.
 */
export function fileStore(folder: string, world: Pick<World, "random">): Store {
  const root = resolve(folder);
  const drafts = join(root, DRAFTS);
  const durable = new Set<string>();
  let puts = 0;

  return {
    async put(key, body) {
      checkKey(key);
      const path = join(root, key);
      return explained("create", path, async () => {
        await makeFolder(dirname(path), { root, durable });
        await makeFolder(drafts, { root, durable });
        const draft = await writeDraft(drafts, body, { world });
        try {
          if (!(await linkOnce(draft.path, path))) return "exists";
          await syncFolder(dirname(path));
          return "created";
        } finally {
          await unlink(draft.path).catch(ignore);
          if (puts % PUTS_PER_SWEEP === 0) await sweep(drafts, draft.writtenAt);
          puts += 1;
        }
      });
    },

    async get(key) {
      checkKey(key);
      const path = join(root, key);
      return explained("read", path, () =>
        readFile(path, "utf8").catch(absent(null, ["ENOENT", "ENOTDIR", "EISDIR"])),
      );
    },

    async list(prefix, limit) {
      checkPrefix(prefix);
      return explained("list", join(root, prefix), async () => {
        const found: StoredKey[] = [];
        if (limit <= 0) return found;
        let now: number | null | undefined;
        for await (const key of walk(root, prefix)) {
          // Read before the file is: the difference is never more than the true age.
          if (now === undefined) now = await readClock(drafts, world);
          const file = await stat(join(root, key)).catch(absent(null, ["ENOENT", "ENOTDIR"]));
          if (file === null) continue;
          const ageMs = now === null ? 0 : Math.max(0, Math.floor(now - file.mtimeMs));
          if (found.push({ key, ageMs }) >= limit) break;
        }
        return found;
      });
    },

    async delete(key) {
      checkKey(key);
      const path = join(root, key);
      await explained("delete", path, () =>
        unlink(path).catch(absent(undefined, ["ENOENT", "ENOTDIR", "EISDIR"])),
      );
    },
  };
}

/**
 * The keys below `prefix` in ascending order. Only the folders that the prefix does not rule out
 * are read.
 */
async function* walk(root: string, prefix: string): AsyncGenerator<string> {
  const base = prefix.slice(0, prefix.lastIndexOf("/") + 1);
  const start = prefix.slice(base.length);
  const entries = await readFolder(root, base);
  const names = entries
    .filter((entry) => entry.name.startsWith(start) && isSegment(entry.name))
    .filter((entry) => entry.isFile() || entry.isDirectory())
    // With its slash, so that a folder stands where its keys do: "a-b" < "a/b" < "a0".
    .map((entry) => (entry.isDirectory() ? `${entry.name}/` : entry.name));
  // Names are ASCII, so the order of code units is byte order.
  for (const name of names.toSorted()) {
    if (name.endsWith("/")) yield* walk(root, base + name);
    else yield base + name;
  }
}

async function readFolder(root: string, base: string): Promise<readonly Dirent[]> {
  try {
    return await readdir(join(root, base), { withFileTypes: true });
  } catch (error) {
    if (codeOf(error) === "ENOENT") return [];
    // A key where a folder was looked for is an answer; a file in place of the whole store is not.
    if (codeOf(error) === "ENOTDIR" && (await stat(root)).isDirectory()) return [];
    throw error;
  }
}

/** Made and known to survive a power cut, up to the folder above the root. */
async function makeFolder(
  folder: string,
  options: { readonly root: string; readonly durable: Set<string> },
): Promise<void> {
  const { root, durable } = options;
  const made = await mkdir(folder, { recursive: true });
  if (made === undefined && durable.has(folder)) return;
  const topLength = Math.min(root.length, made?.length ?? root.length);
  for (let at = folder; at.length >= topLength && at !== dirname(at); at = dirname(at)) {
    await syncFolder(dirname(at));
  }
  durable.add(folder);
}

/**
 * Not every system can sync a folder (Windows, some network mounts): there it is as durable as the
 * system makes it.
 */
async function syncFolder(folder: string): Promise<void> {
  try {
    const handle = await open(folder, "r");
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (!["EINVAL", "ENOTSUP", "EPERM", "EACCES", "EISDIR"].includes(codeOf(error))) throw error;
  }
}

/** The whole body on the disk, under a name that nobody reads. */
async function writeDraft(
  drafts: string,
  body: string,
  options: { readonly world: Pick<World, "random"> },
): Promise<{ readonly path: string; readonly writtenAt: number }> {
  const { path, handle } = await openDraft(drafts, options.world);
  try {
    await handle.writeFile(body, "utf8");
    await handle.sync();
    return { path, writtenAt: (await handle.stat()).mtimeMs };
  } catch (error) {
    await unlink(path).catch(ignore);
    throw error;
  } finally {
    await handle.close();
  }
}

/**
 * A new empty file under a random name. Another process may have drawn the same name, so draw
 * again.
 */
async function openDraft(
  drafts: string,
  world: Pick<World, "random">,
): Promise<{ readonly path: string; readonly handle: FileHandle }> {
  for (let tries = 1; ; tries += 1) {
    const path = join(drafts, randomId(world));
    try {
      return { path, handle: await open(path, "wx") };
    } catch (error) {
      if (codeOf(error) !== "EEXIST" || tries === DRAWS_MAX) throw error;
    }
  }
}

/**
 * False when the name is taken. A link either names the whole file or does not exist, and replaces
 * nothing.
 */
async function linkOnce(draft: string, path: string): Promise<boolean> {
  try {
    await link(draft, path);
    return true;
  } catch (error) {
    if (codeOf(error) === "EEXIST") return false;
    if (!["EPERM", "ENOTSUP", "ENOSYS", "EXDEV", "EMLINK"].includes(codeOf(error))) throw error;
    throw new StoreError(
      `Cannot create "${path}": no hard links here (${codeOf(error)}); ` +
        "keep the store on one local disk",
      { cause: error },
    );
  }
}

/**
 * What the file system's clock says: the stamp of a file made now, so that a clock of this process
 * that is wrong, or a file server's that is, makes no lease look older than it is. Null where this
 * process may only read, or the disk is full: reading goes on.
 */
async function readClock(drafts: string, world: Pick<World, "random">): Promise<number | null> {
  try {
    await mkdir(drafts, { recursive: true });
    const { path, handle } = await openDraft(drafts, world);
    try {
      return (await handle.stat()).mtimeMs;
    } finally {
      await handle.close();
      await unlink(path).catch(ignore);
    }
  } catch (error) {
    if (["EACCES", "EPERM", "EROFS", "ENOSPC", "EDQUOT"].includes(codeOf(error))) return null;
    throw error;
  }
}

/** Deletes what killed processes left behind. Never fails a put: the next one tries again. */
async function sweep(drafts: string, now: number): Promise<void> {
  const names: string[] = await readdir(drafts).catch(() => []);
  for (const name of names) {
    const path = join(drafts, name);
    const draft = await stat(path).catch(() => null);
    if (draft !== null && now - draft.mtimeMs > LEFTOVER_MS_MAX) await unlink(path).catch(ignore);
  }
}

const WAYS_OUT: Readonly<Record<string, string>> = {
  EACCES: "permission denied; let the user of this process read and write the store's folder",
  EPERM: "permission denied; let the user of this process read and write the store's folder",
  EROFS: "the file system is read-only; choose a folder that can be written",
  ENOSPC: "the disk is full; free some space",
  EDQUOT: "the disk quota is used up; free some space",
  ENOTDIR: "not a directory; a file stands where the store needs a folder, move it away",
  EEXIST: "not a directory; a file stands where the store needs a folder, move it away",
  EISDIR: "a directory; the store needs a file there, move it away",
  ENAMETOOLONG: "the path is too long; choose a folder nearer to the root",
  EMFILE: "too many open files; raise the limit of this process",
};

async function explained<T>(verb: string, path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof StoreError) throw error;
    const code = codeOf(error);
    const way = WAYS_OUT[code] ?? `${code}; look at the disk and its mount`;
    throw new StoreError(`Cannot ${verb} "${path}": ${way}`, { cause: error });
  }
}

/** For `catch`: these codes mean that there is nothing, which is an answer. */
function absent<T>(answer: T, codes: readonly string[]): (error: unknown) => T {
  return (error) => {
    if (codes.includes(codeOf(error))) return answer;
    throw error;
  };
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error && typeof error.code === "string"
    ? error.code
    : String(error);
}

function ignore(): void {}
