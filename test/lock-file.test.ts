import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { ROOT } from "../scripts/bundle.ts";
import { completeLock } from "../scripts/lock-file.ts";

const read = (path: string) => readFileSync(join(ROOT, path), "utf8");

test("package-lock.json is complete, or npm ci would refuse it", () => {
  assert.deepEqual(completeLock(read("package-lock.json")).added, [], 'Run "npm run lock"');
});

test("package-lock.json names no registry and pins every package", () => {
  const { packages } = JSON.parse(read("package-lock.json"));
  for (const [path, entry] of Object.entries<Record<string, unknown>>(packages)) {
    assert.equal(entry.resolved, undefined, path);
    assert.equal(typeof entry.version, "string", path);
  }
});

test("package-lock.json holds a digest of every package, but of tools for other platforms", () => {
  const { packages } = JSON.parse(read("package-lock.json"));
  for (const [path, entry] of Object.entries<Record<string, unknown>>(packages)) {
    if (path === "" || (entry.optional === true && entry.integrity === undefined)) continue;
    assert.match(String(entry.integrity), /^sha512-[A-Za-z0-9+/]+=*$/, path);
  }
});

test("package.json has exact versions, no dependencies to install, and approved scripts", () => {
  const manifest = JSON.parse(read("package.json"));
  assert.equal(
    manifest.dependencies,
    undefined,
    "What runs is bundled: install it with --save-dev",
  );
  for (const [name, version] of Object.entries<string>(manifest.devDependencies)) {
    assert.match(version, /^\d+\.\d+\.\d+$/, name);
  }
  assert.equal(manifest.scripts.prepare, undefined, "It would run at every npm ci");
  const { packages } = JSON.parse(read("package-lock.json"));
  const withScripts = Object.entries<Record<string, unknown>>(packages)
    .filter(([, entry]) => entry.hasInstallScript === true)
    .map(([path]) => path.replace("node_modules/", ""));
  assert.deepEqual(Object.keys(manifest.allowScripts).toSorted(), withScripts.toSorted());
});

const LOCK = {
  name: "x",
  packages: {
    "": { version: "1.0.0" },
    "node_modules/tool": {
      version: "2.0.0",
      integrity: "sha512-a",
      dev: true,
      license: "MIT",
      engines: { node: ">=20" },
      optionalDependencies: { "@tool/linux-x64-musl": "2.0.0", "@tool/linux-x64-gnu": "2.0.0" },
    },
    "node_modules/@tool/linux-x64-gnu": { version: "2.0.0", optional: true },
  },
};

test("completeLock() adds what is missing and leaves the rest as it is", () => {
  const { text, added } = completeLock(JSON.stringify(LOCK));
  assert.deepEqual(added, ["node_modules/@tool/linux-x64-musl"]);
  const completed = JSON.parse(text);
  assert.deepEqual(completed.packages["node_modules/@tool/linux-x64-musl"], {
    version: "2.0.0",
    cpu: ["x64"],
    dev: true,
    libc: ["musl"],
    license: "MIT",
    optional: true,
    os: ["linux"],
    engines: { node: ">=20" },
  });
  delete completed.packages["node_modules/@tool/linux-x64-musl"];
  assert.deepEqual(completed, LOCK);
  assert.deepEqual(completeLock(text), { text, added: [] });
});

test("completeLock() refuses what it cannot know", () => {
  const lockWith = (optionalDependencies: object) =>
    JSON.stringify({ packages: { "node_modules/tool": { optionalDependencies } } });
  assert.throws(() => completeLock(lockWith({ "tool-linux-x64": "^2.0.0" })), /not one version/);
  assert.throws(() => completeLock(lockWith({ "tool-native": "2.0.0" })), /tells no platform/);
});
