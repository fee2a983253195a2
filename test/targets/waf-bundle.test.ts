import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { type BuildOptions, build } from "esbuild";
import { startEmbeddedEc2 } from "../../cli/embedded/ec2.ts";
import { ec2Groups } from "../../cli/embedded/ec2-groups.ts";
import { ec2PrefixLists } from "../../cli/embedded/ec2-prefix-lists.ts";
import type { Kind } from "../../lib/targets/kind.ts";
import { ROOT } from "../../scripts/bundle.ts";
import { cloudsPlugin } from "../../scripts/clouds-plugin.ts";
import { startFakeWaf } from "../fakes/waf.ts";
import { targetConfig, targetContext } from "./making.ts";

const directory = mkdtempSync(join(tmpdir(), "kube-allowlist-waf-"));
after(() => rmSync(directory, { recursive: true }));

const SET = `{ kind: aws/waf-ip-set, scope: cloudfront, name: nodes, usedBy: allow, exclusive: true,
  id: 0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9 }`;
const LIST = "{ kind: aws/prefix-list, region: eu-west-1, id: pl-0a1b }";
// A word that only the code of this SDK holds.
const WAF_SDK = "AWSWAF_20190729";
const EC2_SDK = "AmazonEC2";
const LEFT_OUT = /Cannot use (?:aws\/waf|aws): these functions were packaged without it/g;

const STATIC = '{ static: ["198.51.100.7/32"] }';

/** The bundle of a function, packaged for a list with these members and this target. */
function packaged(target: string, from = STATIC, name = "webhook"): string {
  const file = join(directory, "allowlist.yaml");
  const store = "{ kind: oss, bucket: acme-allowlist, region: cn-beijing }";
  const config = `{ version: 1, installation: acme, store: ${store}, clusters: {},
    lists: { web: { from: [${from}], removal: { policy: sync }, targets: [${target}] } } }`;
  writeFileSync(file, config);
  const args = [join(ROOT, "scripts/package.ts"), "--config", file, "--out", directory];
  const run = spawnSync(process.execPath, args, { cwd: directory, encoding: "utf8" });
  assert.equal(run.status, 0, run.stderr);
  return readFileSync(join(directory, `${name}/${name}.cjs`), "utf8");
}

test("npm run package carries the SDK of WAF for its targets only", () => {
  const withSet = packaged(SET);
  assert(withSet.includes(WAF_SDK) && withSet.includes(EC2_SDK));
  assert.deepEqual(withSet.match(LEFT_OUT), null);
  const without = packaged(LIST);
  assert(!without.includes(WAF_SDK) && without.includes(EC2_SDK));
  assert.match(without.match(LEFT_OUT)?.join() ?? "", /^Cannot use aws\/waf: /);
  assert(without.length < 900_000, `${without.length} bytes`);
  // Both share one core of the SDK.
  assert(withSet.length - without.length < 100_000, `${withSet.length} and ${without.length}`);
});

test("npm run package carries the SDK of EC2 for a list that asks for a subnet only", () => {
  const memory = "{ kind: memory, id: web }";
  const subnet = "{ subnets: [{ aws: subnet-0a1b, region: eu-west-1 }] }";
  assert(!packaged(memory, STATIC, "resync").includes(EC2_SDK));
  assert(packaged(memory, subnet, "resync").includes(EC2_SDK));
  // Only the resync asks.
  assert(!packaged(memory, subnet, "webhook").includes(EC2_SDK));
});

test("create() loads the SDK of WAF for its targets only", () => {
  const program = `
    import { registerHooks } from "node:module";
    const loaded = new Set();
    registerHooks({
      load(url, context, next) {
        loaded.add(url);
        return next(url, context);
      },
    });
    const { kinds } = await import("./lib/targets/registry.ts");
    const { makeWorld } = await import("./lib/world.ts");
    const context = { world: makeWorld({}), env: {} };
    const open = (kind, settings) => kinds[kind].create({ kind, settings, limit: null }, context);
    const count = () => [...loaded].filter((url) => url.includes("@aws-sdk/client-wafv2")).length;
    await open("aws/prefix-list", { region: "eu-west-1", id: "pl-1" });
    await open("aws/security-group", {
      region: "eu-west-1",
      id: "sg-1",
      permission: { protocol: "all" },
    });
    console.log(count());
    await open("aws/waf-ip-set", { scope: "cloudfront", name: "x", id: "y", usedBy: "allow" });
    console.log(Math.sign(count()));
  `;
  const output = execFileSync(process.execPath, ["--input-type=module", "--eval", program], {
    cwd: ROOT,
    encoding: "utf8",
  });
  assert.equal(output, "0\n1\n");
});

test("cloudsPlugin() gives a bundle in which EC2, WAF and a role's credentials work", async (context) => {
  const outfile = join(directory, "kinds.cjs");
  const options: BuildOptions = {
    absWorkingDir: ROOT,
    bundle: true,
    platform: "node",
    target: "node20",
    mainFields: ["module", "main"],
    minify: true,
    logLevel: "silent",
  };
  const contents = 'export { kinds } from "./lib/targets/registry.ts";';
  await build({
    ...options,
    stdin: { contents, resolveDir: ROOT, loader: "ts" },
    outfile,
    format: "cjs",
    plugins: [cloudsPlugin(options, () => undefined)],
  });
  const ec2 = await startEmbeddedEc2({
    groups: ec2Groups([]),
    prefixLists: ec2PrefixLists([{ id: "pl-1" }]),
  });
  context.after(() => ec2.close());
  const waf = await startFakeWaf({ set: { scope: "CLOUDFRONT" } });
  context.after(() => waf.close());
  const { kinds } = createRequire(import.meta.url)(outfile) as { kinds: Record<string, Kind> };
  const observe = async (kind: string, settings: Record<string, unknown>) => {
    const env = {
      AWS_ACCESS_KEY_ID: "a",
      AWS_SECRET_ACCESS_KEY: "b",
      AWS_ENDPOINT_URL_STS: ec2.url,
    };
    const target = await kinds[kind]?.create(targetConfig(kind, settings), targetContext(env));
    return target?.observe(new AbortController().signal);
  };
  const list = { region: "eu-west-1", id: "pl-1", endpoint: ec2.url };
  assert.equal((await observe("aws/prefix-list", list))?.revision, "1");
  const set = { scope: "cloudfront", name: "nodes", usedBy: "allow", endpoint: waf.url };
  const { id = "", lockToken } = waf.set() ?? {};
  assert.equal((await observe("aws/waf-ip-set", { ...set, id }))?.revision, lockToken);
  // The endpoint is no STS, and says so: which is to say that STS was asked.
  const role = "arn:aws:iam::123456789012:role/allowlist";
  await assert.rejects(observe("aws/prefix-list", { ...list, role }), {
    name: "TargetError",
    message: /sts:AssumeRole ended in InvalidAction/,
  });
});
