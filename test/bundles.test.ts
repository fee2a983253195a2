import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { after, type TestContext, test } from "node:test";
import { type BuildOptions, build } from "esbuild";
import { awsSchemasPlugin, literalKeys } from "../scripts/aws-schemas-plugin.ts";
import {
  type Bundle,
  bundleEntry,
  ENTRIES,
  existingEntries,
  FUNCTIONS,
  ROOT,
} from "../scripts/bundle.ts";
import { renderNotices } from "../scripts/notices.ts";

/**
 * Most bytes of a bundle. A function of more starts noticeably later; the usual reason is an SDK
 * that is no longer shaken.
 */
const BYTES_MAX: Readonly<Record<string, number>> = {
  cli: 1_700_000,
  forwarder: 700_000,
  read: 900_000,
  resync: 900_000,
  webhook: 900_000,
};

/** Packages that a bundle must not hold. */
const FORBIDDEN: Readonly<Record<string, readonly string[]>> = {
  cli: ["undici"],
  forwarder: [
    "yaml",
    "commander",
    "undici",
    "@aws-sdk/client-ec2",
    "@alicloud/pop-core",
    "@middy/core",
  ],
  read: ["yaml", "commander", "@kubernetes/client-node"],
  resync: ["yaml", "commander", "@kubernetes/client-node"],
  webhook: ["yaml", "commander", "@kubernetes/client-node"],
};

const directory = mkdtempSync(join(tmpdir(), "kube-allowlist-bundles-"));
after(() => rmSync(directory, { recursive: true }));

const bundles = new Map<string, Promise<Bundle>>();

/** The bundle in `directory`, made once, or null after skipping the test loudly. */
async function bundleOf(name: string, context: TestContext): Promise<Bundle | null> {
  if (!existingEntries().includes(name)) {
    context.skip(`${ENTRIES[name]} does not exist`);
    return null;
  }
  const bundle = bundles.get(name) ?? bundleEntry(name, directory);
  bundles.set(name, bundle);
  return bundle;
}

for (const name of Object.keys(ENTRIES)) {
  test(`bundleEntry() keeps ${name} within its budget and free of what it must not hold`, async (context) => {
    const bundle = await bundleOf(name, context);
    if (bundle === null) return;
    const most = BYTES_MAX[name] ?? 0;
    assert(bundle.bytes <= most, `${name}: ${bundle.bytes} bytes; at most ${most}`);
    for (const forbidden of FORBIDDEN[name] ?? []) {
      const found: string | undefined = bundle.inputs.find((path) =>
        path.includes(`node_modules/${forbidden}/`),
      );
      assert.equal(found, undefined, `${name} holds ${found}`);
    }
  });
}

test("bundleEntry() gives the same bytes twice", async (context) => {
  const again = join(directory, "again");
  mkdirSync(again);
  for (const name of ["forwarder", "webhook"]) {
    if ((await bundleOf(name, context)) === null) return;
    await bundleEntry(name, again);
    const file = `${name}.cjs`;
    assert(readFileSync(join(directory, file)).equals(readFileSync(join(again, file))), name);
  }
});

/** Every `node` on the search path, outside of the repository, that is older than 22. */
function olderNodes(): readonly string[] {
  const folders = [...new Set((process.env.PATH ?? "").split(delimiter))];
  return folders
    .filter((folder) => !folder.includes("node_modules"))
    .map((folder) => join(folder, "node"))
    .filter((path) => existsSync(path))
    .filter((path) => {
      const version = execFileSync(path, ["--version"], { encoding: "utf8" });
      return Number(/^v(\d+)/.exec(version)?.[1]) < 22;
    });
}

test("the functions' bundles load without node_modules, also on an older Node", async (context) => {
  const older = olderNodes();
  if (older.length === 0) context.diagnostic("No Node older than 22 on the search path: not tried");
  for (const node of [process.execPath, ...older]) {
    for (const name of FUNCTIONS) {
      if ((await bundleOf(name, context)) === null) return;
      const script = `process.stdout.write(typeof require("./${name}.cjs").handler)`;
      const run = spawnSync(node, ["-e", script], { cwd: directory, encoding: "utf8", env: {} });
      assert.equal(run.stdout, "function", `${node} ${name}: ${run.stderr}`);
      assert.equal(run.stderr, "", `${node} ${name}`);
    }
  }
});

/** Runs npm with this Node; the npm that runs the tests, where one does. */
function npm(args: readonly string[], cwd: string): string {
  const script = process.env.npm_execpath;
  const [file, first] = script === undefined ? ["npm", []] : [process.execPath, [script]];
  const run = spawnSync(file, [...first, ...args], { cwd, encoding: "utf8" });
  assert.equal(run.status, 0, `npm ${args.join(" ")}: ${run.stderr}`);
  return run.stdout;
}

test("npm pack gives a command that installs without a network and runs", async (context) => {
  const bundle = await bundleOf("cli", context);
  if (bundle === null) return;
  // As `prepack` does: what is in the command is named with its licence.
  const notices = renderNotices(ROOT, bundle.inputs);
  for (const carried of ["@alicloud/pop-core", "@aws-sdk/client-ec2", "@aws-sdk/client-wafv2"]) {
    assert(notices.includes(`\n${carried} `), carried);
  }
  const source = join(directory, "source");
  const manifest = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
  for (const path of ["package.json", "LICENSE", ...manifest.files]) {
    if (existsSync(join(ROOT, path))) cpSync(join(ROOT, path), join(source, path));
  }
  cpSync(join(directory, "cli.cjs"), join(source, "dist/cli.cjs"));
  // The bundle is already there: `prepack` would build it a second time.
  npm(["pack", "--ignore-scripts", "--silent"], source);
  const user = join(directory, "user");
  mkdirSync(user);
  npm(["init", "--yes", "--silent"], user);
  const archive = join(source, `${manifest.name}-${manifest.version}.tgz`);
  npm(["install", "--offline", "--no-audit", "--no-fund", archive], user);
  assert.deepEqual(readdirSync(join(user, "node_modules")).toSorted(), [
    ".bin",
    ".package-lock.json",
    "kube-allowlist",
  ]);
  const command = join(user, "node_modules/kube-allowlist/cli/kube-allowlist.cjs");
  const help = spawnSync(process.execPath, [command, "--help"], { cwd: user, encoding: "utf8" });
  assert.equal(help.status, 0, help.stderr);
  assert.match(help.stdout, /kube-allowlist/);
  const unknown = spawnSync(process.execPath, [command, "dance"], { cwd: user, encoding: "utf8" });
  assert.equal(unknown.status, 2, unknown.stderr);
});

test("cli/kube-allowlist.cjs tells an old Node what to do", (context) => {
  const [older] = olderNodes();
  if (older === undefined) {
    context.skip("No Node older than 22 on the search path");
    return;
  }
  const run = spawnSync(older, [join(ROOT, "cli/kube-allowlist.cjs")], { encoding: "utf8" });
  assert.equal(run.status, 2);
  assert.match(run.stderr, /^Cannot run kube-allowlist: Node .*npm rebuild node/);
});

const SCHEMAS = join(ROOT, "node_modules/@aws-sdk/client-ec2/dist-es/schemas/schemas_0.js");

test("literalKeys() rewrites every computed key whose name is a constant, and nothing else", () => {
  const source = [
    'const _a = "xmlName";',
    'export const _b = "quo\\"te";',
    "const _c = compute();",
    "const x = [0, [_a], { [_a]: 1, [_b]: [_a], [_c]: 2, [other]: 3 }];",
  ];
  const { text, replaced } = literalKeys(source.join("\n"));
  assert.equal(replaced, 2);
  assert.equal(
    text.split("\n").at(-1),
    'const x = [0, [_a], { "xmlName": 1, "quo\\"te": [_a], [_c]: 2, [other]: 3 }];',
  );
  assert.throws(() => literalKeys('const _p = "__proto__";'), /__proto__/);
});

test("literalKeys() leaves no computed key of a constant in the SDK's file, and the same exports", async () => {
  const source = readFileSync(SCHEMAS, "utf8");
  const { text, replaced } = literalKeys(source);
  assert(replaced > 1_000, `${replaced} keys replaced`);
  assert.equal(literalKeys(text).replaced, 0);
  const [before, after] = await Promise.all([loadSchemas(source), loadSchemas(text)]);
  assert(Object.keys(before).length > 1_000);
  assert.deepEqual(Object.keys(after), Object.keys(before));
  for (const [name, value] of Object.entries(before)) {
    assert.equal(fingerprint(after[name]), fingerprint(value), name);
  }
});

async function loadSchemas(contents: string): Promise<Readonly<Record<string, unknown>>> {
  const folder = mkdtempSync(join(directory, "schemas-"));
  const stdin = { contents, resolveDir: join(SCHEMAS, ".."), loader: "js" } as const;
  const outfile = join(folder, "schemas.mjs");
  await build({
    stdin,
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    logLevel: "silent",
  });
  return import(outfile);
}

// Functions by their source; a shape that refers to itself stops at the second visit.
function fingerprint(value: unknown): string {
  const seen = new Map<object, number>();
  return JSON.stringify(value, (_key, part: unknown) => {
    if (typeof part === "function") return String(part);
    if (typeof part !== "object" || part === null) return part;
    const visit = seen.get(part);
    if (visit !== undefined) return `#${visit}`;
    seen.set(part, seen.size);
    return part;
  });
}

test("awsSchemasPlugin() fails the build when it finds a client and nothing to rewrite", async () => {
  const contents = 'import { EC2Client } from "@aws-sdk/client-ec2"; new EC2Client({});';
  const options: BuildOptions = {
    stdin: { contents, resolveDir: ROOT },
    bundle: true,
    platform: "node",
    metafile: true,
    write: false,
    logLevel: "silent",
    plugins: [awsSchemasPlugin()],
  };
  // Without mainFields esbuild takes the SDK's CommonJS, which has other files.
  await assert.rejects(build(options), /Cannot shrink client-ec2: no computed key was rewritten/);
  await build({ ...options, mainFields: ["module", "main"] });
});
