import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { run } from "./shell.ts";

const CONFIG = `
version: 1
installation: acme
store: { kind: s3, bucket: acme-allowlist, region: eu-west-1 }
clusters:
  eu:
    auth: { signature: { keys: ["env:EU_KEY"] } }
    bounds: ["203.0.113.0/24"]
lists:
  web:
    from: [{ cluster: eu, nodes: {}, addresses: [ExternalIP] }]
    removal: { policy: sync }
    targets:
      - kind: aws/security-group
        region: eu-west-1
        id: sg-1
        permission: { protocol: all }
      - kind: aws/security-group
        region: eu-west-1
        id: sg-2
        permission: { protocol: all }
        role: { arn: "arn:aws:iam::210987654321:role/allowlist", externalId: word-1 }
      - { kind: linode/firewall, id: 1, permission: { protocol: all } }
      - { kind: alibaba/rds, region: cn-beijing, id: rm-2ze1, group: k8s }
`;

const folder = mkdtempSync(join(tmpdir(), "kube-allowlist-iam-"));
after(() => rmSync(folder, { recursive: true }));
writeFileSync(join(folder, "allowlist.yaml"), CONFIG);

const iam = (...args: readonly string[]) => run(["iam", ...args], { folder });

test("iam prints a heading and a policy for each function, role, token and the bucket", async () => {
  const { code, stdout, stderr } = await iam("--account", "123456789012");
  assert.equal(code, 0, stderr);
  assert.match(stderr, /^Cannot give the functions a role at Alibaba Cloud, .*\n$/);
  assert.deepEqual(stdout.match(/^# .*$/gm), [
    "# kube-allowlist-acme-webhook (AWS IAM)",
    "# kube-allowlist-acme-webhook (Alibaba Cloud RAM)",
    "# kube-allowlist-acme-resync (AWS IAM)",
    "# kube-allowlist-acme-resync (Alibaba Cloud RAM)",
    "# kube-allowlist-acme-read (AWS IAM)",
    "# arn:aws:iam::210987654321:role/allowlist, assumed by webhook and resync",
    "# arn:aws:iam::210987654321:role/allowlist trusts",
    "# linode, env:LINODE_TOKEN",
    "# The bucket's own policy",
  ]);
  assert.match(stdout, /arn:aws:ec2:eu-west-1:123456789012:security-group\/sg-1"\]/);
  for (const body of stdout.split(/^# .*$/m).filter((text) => text.trim().startsWith("{"))) {
    assert.doesNotThrow(() => JSON.parse(body));
  }
});

test("iam --json prints all of it as one document, --platform one vendor's", async () => {
  const { stdout } = await iam("--json", "--platform", "alibaba");
  const { functions, assumed, tokens, bucketPolicy } = JSON.parse(stdout);
  assert.equal(functions.webhook.iam, null);
  assert.equal(functions.webhook.ram.Version, "1");
  assert.deepEqual([assumed, bucketPolicy, tokens.length], [[], null, 1]);
  const aws = JSON.parse((await iam("--json", "--platform", "aws")).stdout);
  assert.equal(aws.functions.resync.ram, null);
  assert.equal(aws.assumed.length, 1);
});

test("iam says for which accounts it printed a placeholder, and for no other", async () => {
  const noted = async (...args: readonly string[]) =>
    (await iam(...args)).stderr.match(/^Cannot name the account at [A-Za-z ]+: .*$/gm) ?? [];
  const [aws = "", ...more] = await noted();
  assert.match(
    aws,
    /at AWS: ACCOUNT_ID stands for its number; say it with --account and 12 digits/,
  );
  assert.deepEqual(more, []);
  assert.deepEqual(await noted("--account", "1234567890123456"), [aws]);
  assert.deepEqual(await noted("--account", "123456789012"), []);
  assert.deepEqual(await noted("--platform", "alibaba"), []);
});

test("iam takes the numbers of either vendor's accounts and other partitions, and no others", async () => {
  assert.match(
    (await iam("--account", "1234567890123456")).stdout,
    /acs:rds:cn-beijing:1234567890123456:/,
  );
  const china = await iam("--partition", "aws-cn");
  assert.match(
    china.stderr,
    /Cannot assume .*: the functions' credentials are of partition aws-cn/,
  );
  for (const wrong of [
    ["--account", "12345"],
    ["--account", "123456789012", "--platform", "alibaba"],
    ["--partition", "moon"],
    ["--platform", "moon"],
  ]) {
    const { code, stdout } = await iam(...wrong);
    assert.deepEqual([code, stdout], [2, ""], wrong.join(" "));
  }
});
