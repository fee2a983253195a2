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
import { parseConfig } from "../lib/config.ts";
import { awsSchemasPlugin, literalKeys } from "../scripts/aws-schemas-plugin.ts";
import {
  BUNDLING,
  type Bundle,
  bundleEntry,
  ENTRIES,
  existingEntries,
  FUNCTIONS,
  ROOT,
} from "../scripts/bundle.ts";
import { descriptionsPlugin, withoutDescriptions } from "../scripts/descriptions-plugin.ts";
import { renderNotices } from "../scripts/notices.ts";
import { leaveOutUnused } from "../scripts/unused-parts.ts";
import { CLOUD_VENDORS, type CloudVendor, vendorConfig } from "./vendor-config.ts";

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

/** Most bytes of the webhook as it is packaged for all kinds of targets of one cloud. */
const PACKAGED_BYTES_MAX: Readonly<Record<CloudVendor, number>> = {
  alibaba: 250_000,
  aws: 900_000,
};

/** What answers events needs no logger of streams, no arithmetic, and only what zod/mini is. */
const NOT_IN_FUNCTIONS = [
  "yaml",
  "commander",
  "@kubernetes/client-node",
  "pino",
  "json-bigint",
  "bignumber.js",
  "debug",
  "zod/v4/classic",
];

/** Packages that a bundle must not hold. */
const FORBIDDEN: Readonly<Record<string, readonly string[]>> = {
  cli: ["undici", "json-bigint", "bignumber.js", "zod/v4/classic"],
  forwarder: [
    "yaml",
    "commander",
    "undici",
    "@aws-sdk/client-ec2",
    "@alicloud/pop-core",
    "@middy/core",
    "zod/v4/classic",
  ],
  read: NOT_IN_FUNCTIONS,
  resync: NOT_IN_FUNCTIONS,
  webhook: NOT_IN_FUNCTIONS,
};

/** Every source, and the targets of one cloud. */
const FILE = {
  version: 1,
  installation: "acme",
  store: { kind: "oss", bucket: "acme-allowlist", region: "cn-beijing", prefix: "a/" },
  status: { tokens: ["env:STATUS"] },
  clusters: {
    eu: {
      auth: { signature: { keys: ["env:KEY"] } },
      bounds: ["203.0.113.0/24"],
      staleAfter: "15m",
      widest: { ipv4: 20 },
    },
  },
  lists: {
    web: {
      from: [
        { cluster: "eu", nodes: { pool: "a" }, addresses: ["ExternalIP"] },
        { cluster: "eu", pods: { namespace: "web", labels: { app: "x" } } },
        { static: ["198.51.100.7/32"] },
        { dns: [{ name: "nat.example.com", ttlMin: "1m", family: "ipv4" }] },
        { subnets: [{ aws: "subnet-0a1b", region: "eu-west-1" }], widest: { ipv4: 20 } },
      ],
      removal: { policy: "sync", grace: "5m", acceptAfter: "1h" },
      formerly: ["www"],
      targets: [
        {
          kind: "alibaba/security-group",
          region: "cn-beijing",
          id: "sg-1",
          permission: { protocol: "all" },
        },
      ],
    },
  },
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

for (const vendor of CLOUD_VENDORS) {
  const most = PACKAGED_BYTES_MAX[vendor];
  test(`the webhook packaged for every kind of ${vendor} has at most ${most} bytes`, async (context) => {
    const folder = join(directory, vendor);
    mkdirSync(folder);
    const config = vendorConfig(vendor);
    assert(config.lists.length >= 3);
    for (const name of FUNCTIONS) {
      const plugins = [leaveOutUnused(config, name as "webhook")];
      const { bytes } = await bundleEntry(name, folder, { plugins });
      context.diagnostic(`${name}: ${bytes} bytes`);
      assert(bytes <= most, `${name}: ${bytes} bytes; at most ${most}`);
    }
  });
}

test("bundles hold no description of a setting, and what their configuration parser takes and says is the same", async () => {
  const entry = join(directory, "config.mjs");
  const contents = 'export { parseConfig } from "./lib/config.ts";';
  const stdin = { contents, resolveDir: ROOT, loader: "ts" } as const;
  const plugins = [descriptionsPlugin()];
  const options = { stdin, outfile: entry, format: "esm", plugins } as const;
  await build({ ...BUNDLING, ...options, minify: false });
  const text = readFileSync(entry, "utf8");
  const shapes = readFileSync(join(ROOT, "lib/config/shape.ts"), "utf8");
  const descriptions = [...shapes.matchAll(/describe\(\s*"([^"\\]+)"/g)].map(
    ([, said = ""]) => said,
  );
  assert(descriptions.length > 20);
  assert.deepEqual(
    descriptions.filter((said) => text.includes(said)),
    [],
  );
  const bundled: { readonly parseConfig: typeof parseConfig } = await import(entry);
  for (const file of brokenFiles()) {
    const reading = bundled.parseConfig(file);
    assert.deepEqual(reading, parseConfig(file));
    // What zod/mini says where nobody wrote a sentence.
    assert(!JSON.stringify(reading).includes("Invalid input"), JSON.stringify(reading));
  }
});

/** A whole file, and it again with something missing or of another type in every place. */
function brokenFiles(): readonly unknown[] {
  const whole = JSON.parse(JSON.stringify(FILE));
  const broken = placesOf(FILE).flatMap((path) =>
    [undefined, 7, "x", [], {}].map((value) => {
      const file = JSON.parse(JSON.stringify(FILE));
      const last = path.at(-1) ?? "";
      const parent = path.slice(0, -1).reduce((at, key) => at[key], file);
      parent[last] = value;
      return file;
    }),
  );
  return [whole, ...broken];
}

function placesOf(value: unknown): readonly (readonly string[])[] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, one]) => [
    [key],
    ...placesOf(one).map((rest) => [key, ...rest]),
  ]);
}

test("withoutDescriptions() takes descriptions out of shapes, and nothing else", () => {
  const source = [
    String.raw`const a = z.string().check(z.minLength(1), z.describe("It\'s \"so\", (a) + b"));`,
    "const b = z.optional(a).check(z.describe('x' + \n \"y\",\n));",
    "const c = z.string().check(z.describe(text));",
  ];
  assert.equal(
    withoutDescriptions(source.join("\n")),
    [
      "const a = z.string().check(z.minLength(1), );",
      "const b = z.optional(a);",
      "const c = z.string().check(z.describe(text));",
    ].join("\n"),
  );
});

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
