import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import * as fc from "fast-check";
import { fileStore } from "../../lib/stores/file.ts";
import { memoryStore } from "../../lib/stores/memory.ts";
import { type Store, type StoredKey, StoreError } from "../../lib/stores/store.ts";
import { testStore } from "./conformance.ts";

const world = { random: () => Math.random() };

async function makeFolder(context: TestContext): Promise<string> {
  const folder = await fs.mkdtemp(join(tmpdir(), "kube-allowlist-store-"));
  context.after(() => fs.rm(folder, { recursive: true, force: true }));
  return folder;
}

testStore({
  name: "fileStore()",
  make: async (context) => {
    const folder = join(await makeFolder(context), "made", "by", "the-first-put");
    return { open: () => fileStore(folder, world), pass: (ms) => sleep(ms) };
  },
});

test("fileStore() agrees with memoryStore() on any sequence of verbs", async (context) => {
  const key = fc.constantFrom("a/1", "a/2", "a-1", "a.1", "ab/1", "b/c/1", "b/c-1", "0");
  const prefix = fc.constantFrom("", "a", "a/", "a/1", "b/", "b/c", "z/");
  const act = fc.oneof(
    fc.tuple(key, fc.string({ unit: "binary" })).map(
      (args) =>
        (store: Store): Promise<unknown> =>
          store.put(...args),
    ),
    key.map(
      (name) =>
        (store: Store): Promise<unknown> =>
          store.get(name),
    ),
    key.map(
      (name) =>
        (store: Store): Promise<unknown> =>
          store.delete(name),
    ),
    fc.tuple(prefix, fc.nat({ max: 5 })).map(
      (args) =>
        async (store: Store): Promise<unknown> =>
          keysOf(await store.list(...args)),
    ),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(act, { maxLength: 20 }), async (acts) => {
      const file = fileStore(await makeFolder(context), world);
      const memory = memoryStore({ now: () => 0 });
      for (const step of acts) assert.deepEqual(await step(file), await step(memory));
    }),
    { numRuns: 40 },
  );
});

function keysOf(listed: readonly StoredKey[]): string[] {
  return listed.map(({ key }) => key);
}

test("fileStore() makes no folder by reading", async (context) => {
  const folder = join(await makeFolder(context), "store");
  const store = fileStore(folder, world);
  assert.equal(await store.get("v1/a"), null);
  assert.deepEqual(await store.list("v1/", 1), []);
  await store.delete("v1/a");
  await assert.rejects(fs.stat(folder), { code: "ENOENT" });
});

test("fileStore() list() tells ages by the file system's clock, not by the process's", async (context) => {
  const folder = await makeFolder(context);
  const store = fileStore(folder, world);
  await store.put("v1/a", "body");
  const hourAgo = Date.now() / 1_000 - 3_600;
  await fs.utimes(join(folder, "v1/a"), hourAgo, hourAgo);
  context.mock.timers.enable({ apis: ["Date"], now: Date.now() + 86_400_000 });
  const [listed] = await store.list("v1/", 1);
  const ageMs = listed?.ageMs ?? 0;
  assert.ok(ageMs >= 3_599_000 && ageMs < 3_660_000, `${ageMs} ms`);
});

test("fileStore() ignores leftovers, links and names that are no keys", async (context) => {
  const folder = await makeFolder(context);
  const store = fileStore(folder, world);
  await store.put("v1/log/1.json", "body");
  await fs.writeFile(join(folder, ".drafts", "leftover"), "half a bo");
  await fs.writeFile(join(folder, "v1/log/.1.json.swp"), "an editor's");
  await fs.writeFile(join(folder, "v1/log/0.JSON"), "upper case");
  await fs.writeFile(join(folder, "v1/log/0~"), "a backup");
  await fs.symlink("1.json", join(folder, "v1/log/0.json"));
  assert.deepEqual(keysOf(await store.list("", 100)), ["v1/log/1.json"]);
});

test("fileStore() put() sweeps old leftovers and spares young ones", async (context) => {
  const folder = await makeFolder(context);
  await fileStore(folder, world).put("v1/a", "body");
  assert.deepEqual(await fs.readdir(join(folder, ".drafts")), []);
  for (const [name, ageS] of [
    ["old", 3_700],
    ["young", 3_500],
  ] as const) {
    const path = join(folder, ".drafts", name);
    await fs.writeFile(path, "half a bo");
    const at = Date.now() / 1_000 - ageS;
    await fs.utimes(path, at, at);
  }
  await fileStore(folder, world).put("v1/b", "body");
  assert.deepEqual(await fs.readdir(join(folder, ".drafts")), ["young"]);
});

test("fileStore() put() draws another name when a draft's is taken", async (context) => {
  const folder = await makeFolder(context);
  const draws = () => {
    let count = 0;
    return { random: () => Math.floor(count++ / 4) / 8 };
  };
  const stores = [fileStore(folder, draws()), fileStore(folder, draws())];
  const bodies = ["0".repeat(500_000), "1".repeat(500_000)];
  await Promise.all(stores.map((store, at) => store.put(`v1/${at}`, bodies[at] ?? "")));
  for (const at of [0, 1]) assert.equal(await stores[0]?.get(`v1/${at}`), bodies[at]);
});

test("fileStore() says what is wrong with the folder, and a way out", async (context) => {
  const folder = await makeFolder(context);
  await fs.writeFile(join(folder, "file"), "in the way");
  const below = fileStore(join(folder, "file"), world);
  const message = /Cannot (create|list) ".*": not a directory; .* move it away/;
  await assert.rejects(below.put("v1/a", "body"), (error) => isStoreError(error, message));
  await assert.rejects(below.list("v1/", 1), (error) => isStoreError(error, message));
  const store = fileStore(folder, world);
  await store.put("v1/a", "body");
  await assert.rejects(store.put("v1/a/b", "body"), (error) =>
    isStoreError(error, /Cannot create ".*v1\/a\/b": not a directory/),
  );
});

const NOBODY = 65_534;

test("fileStore() reads where it may not write, and nothing seems to age", async (context) => {
  const folder = await makeFolder(context);
  const store = fileStore(folder, world);
  await store.put("v1/a", "body");
  const hourAgo = Date.now() / 1_000 - 3_600;
  await fs.utimes(join(folder, "v1/a"), hourAgo, hourAgo);
  await fs.chmod(folder, 0o755);
  const closed = [join(folder, ".drafts"), join(folder, "v1")];
  for (const path of closed) await fs.chmod(path, 0o555);
  // No permission stops root, so root becomes somebody else for a moment.
  const isRoot = process.getuid?.() === 0;
  if (isRoot) process.seteuid?.(NOBODY);
  try {
    assert.deepEqual(await store.list("v1/", 1), [{ key: "v1/a", ageMs: 0 }]);
    assert.equal(await store.get("v1/a"), "body");
    await assert.rejects(store.put("v1/b", "body"), (error) =>
      isStoreError(error, /Cannot create ".*v1\/b": permission denied; let the user/),
    );
  } finally {
    if (isRoot) process.seteuid?.(0);
    for (const path of closed) await fs.chmod(path, 0o755);
  }
});

function isStoreError(error: unknown, message: RegExp): boolean {
  assert.ok(error instanceof StoreError);
  assert.match(error.message, message);
  assert.ok(error.cause !== undefined);
  return true;
}

const KILLS = 25;
const writer = fileURLToPath(new URL("./crash-writer.ts", import.meta.url));

test("fileStore() survives kill -9 at any moment: whole bodies, no acknowledged put lost", async (context) => {
  const folder = await makeFolder(context);
  const acknowledged = new Set<string>();
  for (let kill = 0; kill < KILLS; kill += 1) {
    const child = spawn(process.execPath, [writer, folder, String(kill)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const closed = once(child, "close");
    const lines = createInterface({ input: child.stdout });
    // Counted from its first put, so that the kill falls between puts and not into the start.
    lines.once("line", () => setTimeout(() => child.kill("SIGKILL"), Math.random() * 40));
    for await (const key of lines) acknowledged.add(key);
    const [, signal] = await closed;
    assert.equal(signal, "SIGKILL");
  }
  const store = fileStore(folder, world);
  const listed = keysOf(await store.list("", 100_000));
  for (const key of listed) {
    const body: unknown = JSON.parse((await store.get(key)) ?? "");
    assert.deepEqual(body, { key, filling: key.repeat(3_000), end: true });
  }
  const found = new Set(listed);
  assert.deepEqual(
    [...acknowledged].filter((key) => !found.has(key)),
    [],
  );
  assert.ok(acknowledged.size >= KILLS, `${acknowledged.size} puts were acknowledged`);
  const leftovers = (await fs.readdir(join(folder, ".drafts"))).length;
  context.diagnostic(`${acknowledged.size} puts, ${KILLS} kills, ${leftovers} leftovers`);
});
