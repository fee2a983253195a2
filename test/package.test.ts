import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { inflateRawSync } from "node:zlib";
import { parseJsonConfig } from "../lib/config.ts";
import { ROOT } from "../scripts/bundle.ts";
import { SHARED } from "../scripts/clouds-plugin.ts";
import { packageConfig } from "../scripts/packaged-config.ts";
import { serverlessNotes, serverlessSettings } from "../scripts/serverless-settings.ts";
import { zip } from "../scripts/zip.ts";
import { configOf, S3, SOURCES } from "./roles-config.ts";
import { makeIssuer } from "./wire/issuer.ts";

const TIMEOUT_MS = 60_000;
const FUNCTIONS = ["webhook", "resync", "read"] as const;

const directory = mkdtempSync(join(tmpdir(), "kube-allowlist-package-"));
after(() => rmSync(directory, { recursive: true }));

const GROUP =
  "{ kind: aws/security-group, region: eu-west-1, id: sg-1, permission: { protocol: all } }";
const CONFIG = `
version: 1
installation: acme
store: { kind: s3, bucket: acme-allowlist, region: eu-west-1 }
clusters:
  eu:
    auth: { signature: { keys: ["env:EU_KEY"] } }
    bounds: ["203.0.113.0/24"]
status: { tokens: ["env:STATUS_TOKEN"] }
lists:
  web:
    from: [{ cluster: eu, nodes: {}, addresses: [ExternalIP] }]
    removal: { policy: sync }
    targets: [TARGET]
`;

/** Runs `npm run package` without npm, with secrets in its environment that must get nowhere. */
function packageFunctions(config: string, out: string, account = "123456789012") {
  const file = join(directory, "allowlist.yaml");
  writeFileSync(file, config);
  const program = [join(ROOT, "scripts/package.ts"), "--config", file, "--out", out];
  const args = [...program, ...(account === "" ? [] : ["--account", account])];
  const env = { ...process.env, EU_KEY: "canary-key", STATUS_TOKEN: "canary-token" };
  const run = spawnSync(process.execPath, args, {
    cwd: directory,
    encoding: "utf8",
    env,
    timeout: TIMEOUT_MS,
  });
  return { ...run, out };
}

function read(out: string, file: string): string {
  return readFileSync(join(out, file), "utf8");
}

/** Files in an archive, by name, as a reader of ZIP finds them. */
function unzip(archive: Buffer): Readonly<Record<string, Buffer>> {
  const end = archive.length - 22;
  assert.equal(archive.readUInt32LE(end), 0x06054b50);
  const files: Record<string, Buffer> = {};
  let at = archive.readUInt32LE(end + 16);
  for (let count = archive.readUInt16LE(end + 10); count > 0; count -= 1) {
    assert.equal(archive.readUInt32LE(at), 0x02014b50);
    const length = archive.readUInt16LE(at + 28);
    const name = archive.toString("utf8", at + 46, at + 46 + length);
    assert.equal((archive.readUInt32LE(at + 38) >>> 16) & 0o777, 0o644);
    const local = archive.readUInt32LE(at + 42);
    const begin = local + 30 + archive.readUInt16LE(local + 26) + archive.readUInt16LE(local + 28);
    const packed = archive.subarray(begin, begin + archive.readUInt32LE(at + 20));
    files[name] = inflateRawSync(packed);
    at += 46 + length + archive.readUInt16LE(at + 30) + archive.readUInt16LE(at + 32);
  }
  return files;
}

const first = packageFunctions(CONFIG.replace("TARGET", GROUP), join(directory, "first"));

test("npm run package gives the same bytes twice, and their checksums", () => {
  assert.equal(first.status, 0, first.stderr);
  const again = packageFunctions(CONFIG.replace("TARGET", GROUP), join(directory, "again"));
  assert.equal(again.status, 0, again.stderr);
  // Whoever deploys the folders, or reads the configuration there, is told of all of them.
  const inFolders = FUNCTIONS.flatMap((name) => [`${name}/${name}.cjs`, `${name}/allowlist.json`]);
  const described = ["iam.json", "serverless.json", "variables.json"];
  const files = [...FUNCTIONS.map((name) => `${name}.zip`), ...inFolders, ...described];
  const sums = files.toSorted().map((file) => {
    const bytes = readFileSync(join(first.out, file));
    assert(bytes.equals(readFileSync(join(again.out, file))), file);
    return `${createHash("sha256").update(bytes).digest("hex")}  ${file}\n`;
  });
  assert.equal(read(first.out, "SHA256SUMS"), sums.join(""));
});

test(
  "npm run package puts a function's bundle and the configuration into its archive, and no " +
    "folder of this machine",
  () => {
    for (const name of FUNCTIONS) {
      const files = unzip(readFileSync(join(first.out, `${name}.zip`)));
      assert.deepEqual(Object.keys(files), ["allowlist.json", `${name}.cjs`]);
      const bundle = files[`${name}.cjs`] ?? Buffer.alloc(0);
      assert(bundle.equals(readFileSync(join(first.out, name, `${name}.cjs`))));
      assert(!bundle.includes(ROOT) && !bundle.includes(directory));
      const reading = parseJsonConfig(String(files["allowlist.json"]));
      assert.equal(reading.kind, "parsed");
    }
  },
);

test("npm run package never takes a secret along, and says which variables each function needs", () => {
  const written = ["iam.json", "serverless.json", "webhook/allowlist.json"];
  for (const file of written) assert(!read(first.out, file).includes("canary"), file);
  assert(!first.stdout.includes("canary"));
  assert.match(read(first.out, "webhook/allowlist.json"), /"env:EU_KEY"/);
  assert.match(
    first.stdout,
    /^webhook needs EU_KEY\nresync needs no secret\nread needs STATUS_TO/m,
  );
  assert.equal(first.stderr, "");
  assert.deepEqual(JSON.parse(read(first.out, "variables.json")), {
    webhook: ["EU_KEY"],
    resync: [],
    read: ["STATUS_TOKEN"],
  });
});

test("npm run package says what neither of the ways to deploy can do", () => {
  const role = "arn:aws:iam::210987654321:role/allowlist";
  const there = `{ kind: s3, bucket: acme, region: eu-west-1, role: "${role}" }`;
  const config = CONFIG.replace("TARGET", GROUP).replace(/\{ kind: s3.*\}/, there);
  const run = packageFunctions(config, join(directory, "elsewhere"));
  assert.equal(run.status, 0, run.stderr);
  assert.match(run.stderr, /^Cannot make the bucket acme .*bucket=existing\n$/);
});

test(
  "npm run package says where it wrote a placeholder, unless the account's number was " + "named",
  () => {
    const text = CONFIG.replace("TARGET", GROUP);
    const out = join(directory, "account");
    for (const account of ["", "1234567890123456"]) {
      const { status, stderr } = packageFunctions(text, out, account);
      assert.equal(status, 0, stderr);
      assert.match(
        stderr,
        /^Cannot name the account at AWS: ACCOUNT_ID .* --account and 12 digits .*\n$/,
      );
      assert.match(read(out, "iam.json"), /:ACCOUNT_ID:/);
      // What the sentence promises.
      assert(!read(out, "serverless.json").includes("ACCOUNT_ID"));
    }
    assert(!read(first.out, "iam.json").includes("ACCOUNT_ID"));
  },
);

test(
  "npm run package and iam say of a region that it may be misspelt, and refuse nothing for " + "it",
  () => {
    const text = CONFIG.replace("TARGET", GROUP.replace("eu-west-1", "eu-wst-1"));
    const { status, stderr } = packageFunctions(text, join(directory, "typo"));
    assert.equal(status, 0, stderr);
    assert.match(
      stderr,
      /^Cannot tell where aws\/security-group\S* is: .* no region eu-wst-1; [^\n]*\n$/,
    );
    const file = join(directory, "allowlist.yaml");
    const args = ["iam", "--config", file, "--account", "123456789012"];
    const iam = spawnSync(process.execPath, [join(ROOT, "cli/kube-allowlist.cjs"), ...args], {
      encoding: "utf8",
      timeout: TIMEOUT_MS,
    });
    assert.deepEqual([iam.status, iam.stderr], [0, stderr]);
  },
);

/** By cloud, what stands in its own files only. */
const WORDS = {
  alibaba: '"RevokeSecurityGroup"',
  aws: "AmazonEC2",
  linode: '"networking"',
  oss: "OSS4-HMAC",
  s3: "s3:PutObject",
} as const;

test("npm run package gives bundles of only the clouds that each function reaches", () => {
  // A resync may be told to ask either cloud for a subnet; nothing else leads to what is not named.
  const left = (out: string) =>
    [...read(out, "resync/resync.cjs").matchAll(/Cannot use ([a-z0-9/-]+): these functions/g)].map(
      ([, one = ""]) => one,
    );
  const firewall = "{ kind: linode/firewall, id: 1, permission: { protocol: all } }";
  const oss = "{ kind: oss, bucket: acme, region: cn-beijing }";
  const memory = CONFIG.replace("TARGET", "{ kind: memory, id: web }");
  for (const [config, used, unused, targets] of [
    [CONFIG.replace("TARGET", firewall), ["aws", "s3"], ["alibaba", "oss"], ["linode"]],
    [memory.replace(/\{ kind: s3.*\}/, oss), ["alibaba", "oss"], ["aws", "s3"], []],
  ] as const) {
    const { out, status, stderr } = packageFunctions(config, join(directory, "clouds"));
    assert.equal(status, 0, stderr);
    // What all vendors share is never left out: an error would then be another error.
    const names = left(out);
    for (const name of unused) assert(names.includes(name), `no ${name}`);
    for (const name of [...used, ...SHARED]) assert(!names.includes(name), name);
    const webhook = read(out, "webhook/webhook.cjs");
    const found = Object.entries(WORDS).filter(([, word]) => webhook.includes(word));
    assert.deepEqual(
      found.map(([name]) => name),
      [...used, ...targets].toSorted(),
    );
    // Who only reads what is stored reaches no target.
    assert(!read(out, "read/read.cjs").includes(WORDS.linode));
  }
});

test("npm run package keeps the cloud whose subnets are on a list, wherever the store is", () => {
  const subnets = "{ subnets: [{ aws: subnet-0a1b2c3d, region: eu-west-1 }] }";
  const config = CONFIG.replace(
    /\{ kind: s3.*\}/,
    "{ kind: oss, bucket: acme, region: cn-beijing }",
  )
    .replace("from: [", `from: [${subnets}, `)
    .replace("TARGET", "{ kind: memory, id: web }");
  const { out, status, stderr } = packageFunctions(config, join(directory, "subnets"));
  assert.equal(status, 0, stderr);
  const resync = read(out, "resync/resync.cjs");
  assert(resync.includes(WORDS.aws) && resync.includes(WORDS.oss));
  // The webhook asks no source.
  assert(!read(out, "webhook/webhook.cjs").includes(WORDS.aws));
});

test("a packaged function refuses what it was packaged without, with a sentence", () => {
  const run = packageFunctions(CONFIG.replace("TARGET", GROUP), join(directory, "without"));
  assert.equal(run.status, 0, run.stderr);
  const config = JSON.parse(read(run.out, "webhook/allowlist.json"));
  const program = `
    const { handler } = require("./webhook.cjs");
    handler({}, {}).then((answer) => console.log(JSON.stringify(answer)));
  `;
  const said = (changed: object) => {
    const path = join(directory, "changed.json");
    writeFileSync(path, JSON.stringify({ ...config, ...changed }));
    const { stdout } = spawnSync(process.execPath, ["--eval", program], {
      cwd: join(run.out, "webhook"),
      encoding: "utf8",
      env: { KUBE_ALLOWLIST_CONFIG: path },
      timeout: TIMEOUT_MS,
    });
    const [line = "{}", answer = "{}"] = stdout.split("\n");
    assert.equal(JSON.parse(answer).statusCode, 503);
    assert.doesNotMatch(answer, /packaged without/);
    return JSON.parse(line).error;
  };
  const targets = [{ kind: "linode/firewall", id: 1, permission: { protocol: "all" } }];
  const way =
    'these functions were packaged without it; run "npm run package" with the new configuration';
  assert.equal(
    said({ lists: { web: { ...config.lists.web, targets } } }),
    `lists.web.targets[0]: Cannot use a target of kind "linode/firewall": ${way}`,
  );
  assert.equal(
    said({ store: { kind: "file", path: "x" } }),
    `Cannot use a store of kind "file": ${way}`,
  );
});

test("npm run package refuses a wrong configuration with every problem", () => {
  const run = packageFunctions(CONFIG.replace("TARGET", "{ kind: x }, { kind: y }"), directory);
  assert.equal(run.status, 2);
  assert.match(run.stderr, /targets\[0\]\.kind: Cannot .*\n.*targets\[1\]\.kind: Cannot /);
});

const nothing = {
  readFile: (path: string): string => {
    throw new Error(`no file ${path}`);
  },
};

test("packageConfig() refuses stores that functions cannot keep anything in", () => {
  const config = CONFIG.replace("TARGET", GROUP);
  for (const store of ["{ kind: memory }", "{ kind: file, path: x }"]) {
    const packaged = packageConfig(config.replace(/\{ kind: s3.*\}/, store), nothing);
    assert(packaged.kind === "invalid");
    assert.match(packaged.problems[0]?.message ?? "", /Cannot package functions with a store of/);
  }
});

test(
  "packageConfig() refuses secrets in files beside the configuration, and names where they " +
    "stand",
  () => {
    const config = CONFIG.replace("TARGET", GROUP).replace("env:EU_KEY", "file:eu.key");
    const packaged = packageConfig(config, { readFile: () => "whsec_canary" });
    assert(packaged.kind === "invalid");
    assert.deepEqual(
      packaged.problems.map(({ path }) => path),
      ["clusters.eu.auth.signature.keys[0]"],
    );
    assert(!JSON.stringify(packaged).includes("canary"));
    const mounted = packageConfig(config.replace("file:eu.key", "file:/mnt/eu.key"), nothing);
    assert.equal(mounted.kind, "packaged");
  },
);

test(
  "packageConfig() puts pinned public keys in, and leaves out what else stands in their " + "file",
  () => {
    const { publicKey, privateKey } = makeIssuerKeys();
    const account =
      '{ serviceAccount: { issuer: "https://a.example", audience: b, subject: ' +
      '"system:serviceaccount:c:d", jwks: "file:eu.jwks.json" } }';
    const config = CONFIG.replace("TARGET", GROUP).replace(/\{ signature.*\} \}/, account);
    const set = { issuer: "https://a.example", keys: [publicKey, privateKey], secret: "canary" };
    const packaged = packageConfig(config, { readFile: () => JSON.stringify(set) });
    assert(packaged.kind === "packaged", JSON.stringify(packaged));
    const { jwks } = JSON.parse(packaged.json).clusters.eu.auth.serviceAccount;
    assert.deepEqual(jwks, { issuer: "https://a.example", keys: [publicKey] });
    // Functions with another issuer's keys would answer 503 for ever.
    const others = JSON.stringify({ ...set, issuer: "https://a.example/" });
    const inside = config.replace('"file:eu.jwks.json"', others);
    for (const text of [config, inside]) {
      const refused = packageConfig(text, { readFile: () => others });
      assert(refused.kind === "invalid");
      assert.equal(refused.problems.length, 1, JSON.stringify(refused.problems));
      assert.match(
        refused.problems[0]?.message ?? "",
        /the issuer in it is not the configured one/,
      );
    }
    const missing = packageConfig(config, nothing);
    assert(missing.kind === "invalid");
    assert.deepEqual(
      missing.problems.map(({ message }) => message.split(";")[0]),
      ["Cannot read file:eu.jwks.json: unreadable"],
    );
    const broken = packageConfig(config, { readFile: () => "{}" });
    assert(broken.kind === "invalid");
    assert.equal(broken.problems[0]?.path, "clusters.eu.auth.serviceAccount.jwks");
  },
);

test(
  "packageConfig() leaves out of a set in the configuration what is not public, and takes " +
    "no set without a key",
  () => {
    const { publicKey, privateKey } = makeIssuerKeys();
    const primes = { ...publicKey, kid: "primes", p: "canary", q: "canary", note: "canary" };
    const packaging = (set: object) => {
      const account =
        '{ serviceAccount: { issuer: "https://a.example", audience: b, subject: ' +
        `"system:serviceaccount:c:d", jwks: ${JSON.stringify(set)} } }`;
      const config = CONFIG.replace("TARGET", GROUP).replace(/\{ signature.*\} \}/, account);
      return packageConfig(config, { readFile: () => assert.fail("no file is named") });
    };
    const given = packaging({ keys: [privateKey, publicKey, primes], secret: "canary" });
    assert(given.kind === "packaged", JSON.stringify(given));
    assert(!given.json.includes("canary"), given.json);
    const { jwks } = JSON.parse(given.json).clusters.eu.auth.serviceAccount;
    assert.deepEqual(jwks, { keys: [publicKey, { ...publicKey, kid: "primes" }] });
    const alone = packaging({ keys: [privateKey] });
    assert(alone.kind === "invalid");
    assert.equal(alone.problems[0]?.path, "clusters.eu.auth.serviceAccount.jwks");
    assert(!JSON.stringify(alone).includes("canary"));
  },
);

function makeIssuerKeys() {
  const [publicKey] = makeIssuer().keys;
  return { publicKey, privateKey: { ...publicKey, kid: "private", d: "canary" } };
}

test("zip() gives the same bytes for the same files in any order, and they can be read back", () => {
  const files = { "b.txt": Buffer.from("b".repeat(10_000)), "a/ü.txt": Buffer.from("a") };
  const { "a/ü.txt": a, "b.txt": b } = files;
  assert(zip(files).equals(zip({ "a/ü.txt": a, "b.txt": b })));
  assert.deepEqual(unzip(zip(files)), { "a/ü.txt": a, "b.txt": b });
});

test("serverlessSettings() leaves the account and every value of a variable to CloudFormation", () => {
  const config = configOf(
    {
      web: {
        from: [SOURCES.alive],
        removal: { policy: "sync" },
        targets: [
          {
            kind: "aws/security-group",
            region: "eu-west-1",
            id: "sg-1",
            permission: { protocol: "all" },
          },
        ],
      },
    },
    { store: S3 },
  );
  const settings = JSON.parse(JSON.stringify(serverlessSettings(config, {})));
  assert.equal(settings.region, "eu-west-1");
  assert.deepEqual(settings.functions.webhook.environment, {
    ALIVE_KEY: "{{resolve:secretsmanager:kube-allowlist/acme:SecretString:ALIVE_KEY}}",
  });
  const [statement] = settings.functions.resync.policy.Statement;
  const arn = "arn:aws:ec2:eu-west-1:$".concat("{AWS::AccountId}:security-group/sg-1");
  assert.deepEqual(statement.Resource, [{ "Fn::Sub": arn }]);
  assert.deepEqual(serverlessNotes(config), []);
});
