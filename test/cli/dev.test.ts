import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { stringify } from "yaml";
import { startEmbeddedEc2 } from "../../cli/embedded/ec2.ts";
import { ec2Groups } from "../../cli/embedded/ec2-groups.ts";
import { startEmbeddedKubernetes } from "../../cli/embedded/kubernetes.ts";
import { parseSigningKey } from "../../lib/wire/signature.ts";
import { makeWorld } from "../../lib/world.ts";
import { node } from "../core/cases.ts";
import { runProgram } from "../e2e/program.ts";
import { deliveryOf } from "./delivery.ts";
import { soon, start } from "./shell.ts";

const CANARIES = {
  AWS_ACCESS_KEY_ID: "CANARYACCESSKEYID000",
  AWS_SECRET_ACCESS_KEY: "canary-secret-access-key",
  AWS_SESSION_TOKEN: "canary-session-token",
  AWS_ENDPOINT_URL: "http://127.0.0.1:9/canary",
  ALIBABA_CLOUD_ACCESS_KEY_ID: "CANARYALIBABAKEYID00",
  ALIBABA_CLOUD_ACCESS_KEY_SECRET: "canary-alibaba-secret",
  ALIBABA_CLOUD_SECURITY_TOKEN: "canary-alibaba-token",
  LINODE_TOKEN: "canary-linode-token",
  KUBECONFIG: "/canary/kubeconfig",
};

test("dev --seconds shows nodes on their way to three targets and ends with a summary", async () => {
  const args = ["dev", "--seconds", "5", "--port", "0"];
  const { code, stdout, stderr } = await runProgram(args, { env: CANARIES });
  assert.equal(code, 0, stdout + stderr);
  assert.equal(stderr, "");
  const clock = "\\d\\d:\\d\\d:\\d\\d";
  const time = "[\\d.]+ m?s";
  const names = "aws/security-group/\\S+, alibaba/rds/\\S+, linode/firewall/\\S+;";
  const steps =
    `delivered after ${time}, ` +
    `read back after ${time} on aws, ${time} on alibaba, ${time} on linode; ` +
    "in effect everywhere in 60 s";
  assert.match(stdout, new RegExp(`^${clock} cluster demo → payments-db on ${names}`));
  for (const place of ["security group sg-\\S+", "RDS instance rm-\\S+", "Linode firewall 4711"]) {
    assert.match(
      stdout,
      new RegExp(`\n${clock} ${place} is at http://127\\.0\\.0\\.1:\\d+(/v4)?\n`),
    );
  }
  assert.match(stdout, new RegExp(`\n${clock} \\+ 11 nodes present: ${steps}\n`));
  assert.match(
    stdout,
    new RegExp(`\n${clock} - node-01 203\\.0\\.113\\.10 left: .*in grace until ${clock}\n`),
  );
  assert.match(stdout, new RegExp(`\n${clock} \\+ node-12 203\\.0\\.113\\.21 joined: ${steps}\n`));
  assert.match(stdout, /\n\nAfter 5 s\n {2}11 nodes at the start, 1 joined, 1 left, 0 changed\n/);
  for (const label of ["aws", "alibaba", "linode"]) {
    const row = ` {4}${label} +${time} +${time} +1 +${time} +12 +0`;
    assert.match(stdout, new RegExp(`\n${row}\n`));
  }
  assert.match(
    stdout,
    /seen to ready: nobody yet; alibaba takes effect 60 s after it is read back\n/,
  );
  const held = "11 nodes, 1 address in grace";
  assert.match(
    stdout,
    new RegExp(`\n +security group \\S+: ${held}, a hand-made rule untouched\n`),
  );
  assert.match(
    stdout,
    new RegExp(`\n +RDS instance \\S+: ${held}, 3 groups of others untouched\n`),
  );
  assert.match(
    stdout,
    new RegExp(`\n +Linode firewall 4711: ${held}, 3 rules of others untouched\n`),
  );
  assert(!stdout.includes("\u001b"), "no terminal, no escape sequences");
  assert(!/canary/i.test(stdout));
});

test("dev --json tells each step of a trip as a line of JSON, and ends with Ctrl-C", async (t) => {
  const running = start(t, ["dev", "--port", "0", "--json"]);
  const told = () =>
    running
      .stdout()
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line));
  const inGrace = ({ until }: { readonly until: number | null }) => until !== null;
  const isInGrace = () =>
    told().some(({ cause, stops }) => cause === "left" && stops.every(inGrace) && stops.length > 0);
  await soon("a node leaves", isInGrace);
  running.interrupt();
  assert.equal(await running.ended, 0, running.output());
  const lines = told();
  assert.equal(lines[0].kind, "started");
  const left = lines.findLast(({ cause }) => cause === "left");
  for (const { until } of left.stops) assert(until - left.seenAt >= 10_000, "it has just begun");
  const newest = new Map(lines.filter(({ kind }) => kind === "trip").map((one) => [one.id, one]));
  const present = [...newest.values()].filter(({ cause }) => cause === "present");
  assert.equal(present.length, 11);
  for (const { seenAt, deliveredAt, stops } of present) {
    assert.equal(stops.length, 3);
    for (const { writtenAt, readBackAt, effectiveAt, settleMs } of stops) {
      assert(seenAt <= deliveredAt && deliveredAt <= writtenAt && writtenAt <= readBackAt);
      assert.equal(effectiveAt, readBackAt + settleMs);
    }
  }
  const summary = lines.at(-1);
  assert.equal(summary.kind, "summary");
  assert.equal(summary.check.isGood, true, JSON.stringify(summary.check));
  for (const { added, removed } of summary.targets) assert.deepEqual([added, removed], [11, 0]);
});

test("dev draws a table on a terminal and gives the cursor back", async (t) => {
  const terminal = { columns: 90, rows: 30 };
  const running = start(t, ["dev", "--port", "0"], { terminal, env: { NO_COLOR: "1" } });
  await soon("a node was read back", () =>
    /node-01 .*present +(\+[\d.]+ m?s +){4}ready in \d+ s/.test(running.stdout()),
  );
  running.interrupt();
  assert.equal(await running.ended, 0);
  const text = running.stdout();
  assert(text.startsWith("\u001b[?25l"));
  assert.equal(text.split("\u001b[?25h").length, 2);
  assert(text.indexOf("\u001b[?25h") < text.indexOf("After "), "the summary stands below it");
  assert(!text.includes("\u001b[32m"), "NO_COLOR");
  // biome-ignore lint/suspicious/noControlCharactersInRegex: it is what a terminal is sent
  const frames = text.slice(0, text.indexOf("After ")).replaceAll(/\u001b\[[\d;?]*[A-Za-z]/g, "\r");
  for (const line of frames.split(/[\r\n]/)) assert(line.length <= 90, line);
});

/** The user's own: a cluster and a cloud outside of the process under test. */
async function ownStage(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), "kube-allowlist-dev-"));
  const groups = ec2Groups(["sg-1"]);
  const ec2 = await startEmbeddedEc2({ groups });
  const quiet = () => undefined;
  const log = { debug: quiet, info: quiet, warn: quiet, error: quiet, audit: quiet };
  const kubernetes = await startEmbeddedKubernetes({ world: makeWorld(log) });
  t.after(async () => {
    await Promise.all([ec2.close(), kubernetes.close()]);
    rmSync(folder, { recursive: true });
  });
  const cluster = (key: string) => ({
    auth: { signature: { keys: [key] } },
    bounds: ["203.0.113.0/24"],
  });
  const file = {
    version: 1,
    installation: "acme",
    store: { kind: "file", path: "store" },
    clusters: { eu: cluster("env:EU_KEY"), us: cluster("env:US_KEY") },
    lists: {
      db: {
        from: [{ cluster: "eu", nodes: { pool: "db" }, addresses: ["ExternalIP"] }],
        removal: { policy: "sync", grace: "1s" },
        targets: [
          {
            kind: "aws/security-group",
            region: "eu-west-1",
            id: "sg-1",
            permission: { protocol: "tcp", port: 5432 },
            endpoint: ec2.url,
          },
        ],
      },
    },
  };
  writeFileSync(join(folder, "allowlist.yaml"), stringify(file));
  writeFileSync(join(folder, "kubeconfig"), kubernetes.kubeconfig);
  return { folder, groups, kubernetes };
}

test("dev --config --kubeconfig follows a user's cluster with a key of its own", async (t) => {
  const { folder, groups, kubernetes } = await ownStage(t);
  const put = (name: string, address: string, pool = "db") =>
    kubernetes.nodes.put(name, {
      addresses: [{ type: "ExternalIP", address }],
      labels: { pool, secret: "canary-label" },
    });
  for (const host of [1, 2, 3, 4]) put(`node-${host}`, `203.0.113.${host}`);
  put("elsewhere", "203.0.113.9", "other");
  put("outside", "192.0.2.1");
  const args = ["dev", "--config", "allowlist.yaml", "--kubeconfig", "kubeconfig"];
  const running = start(t, [...args, "--cluster", "eu", "--port", "0", "--resync", "1s"], {
    folder,
    env: { ...CANARIES, AWS_ENDPOINT_URL: "" },
  });
  const own = () => groups.rules("sg-1").map(({ source }) => source.text);
  await soon("four rules are there", () => own().length === 4);
  kubernetes.nodes.remove("node-4");
  await soon("the rule goes after its grace", () => own().length === 3);
  await soon("it is said", () => running.stdout().includes("node-4 203.0.113.4 left: removed"));
  running.interrupt();
  assert.equal(await running.ended, 0, running.output());
  assert.deepEqual(own().toSorted(), ["203.0.113.1/32", "203.0.113.2/32", "203.0.113.3/32"]);
  const text = running.stdout();
  assert.match(text, /cluster eu → db on aws\/security-group\/sg-1\/tcp-5432; grace 1 s/);
  assert.match(text, /Deliveries of us are refused here: Cannot resolve env:US_KEY/);
  assert(!text.includes("Deliveries of eu"), "its own key is made here");
  assert.match(text, /\+ outside present: refused: out-of-bounds\n/);
  assert.match(text, /6 nodes at the start, 0 joined, 1 left, 0 changed\n/);
  assert.match(text, / {2}4 entries added, 1 removed\n/);
  const audits = running
    .stderr()
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  assert.deepEqual(
    audits.map(({ audit, action, result }) => [audit, action, result]),
    [
      [true, "add", "done"],
      [true, "remove", "done"],
    ],
  );
  assert(!/canary/i.test(running.output()));
});

test("dev --config without a kubeconfig is a receiver that needs the configured keys", async (t) => {
  const { folder } = await ownStage(t);
  const args = ["dev", "--config", "allowlist.yaml", "--port", "0"];
  const keyless = start(t, args, { folder });
  assert.equal(await keyless.ended, 2);
  assert.match(keyless.stderr(), /clusters\.eu\.auth\.signature\.keys: Cannot resolve env:EU_KEY/);
  assert.match(keyless.stderr(), /clusters\.us\.auth\.signature\.keys: Cannot resolve env:US_KEY/);
  const keys = [1, 2].map((byte) => `whsec_${Buffer.alloc(32, byte).toString("base64")}`);
  const [EU_KEY = "", US_KEY = ""] = keys;
  const running = start(t, args, { folder, env: { ...CANARIES, EU_KEY, US_KEY } });
  const url = await soon("it serves", () => /receiver (http:[^;]+);/.exec(running.stdout())?.[1]);
  const labelled = node("a", ["203.0.113.1"], { labels: { pool: "db" } });
  const sent = { nodes: [labelled], scope: { labels: ["pool"], pods: [] } };
  const { body, headers } = deliveryOf(sent, parseSigningKey(EU_KEY));
  const response = await fetch(`${url}/v1/snapshots`, { method: "POST", body, headers });
  assert.equal(response.status, 200, await response.text());
  await soon("it is said", () =>
    running.stdout().includes("add 1 on aws/security-group/sg-1/tcp-5432 for db: done"),
  );
  running.interrupt();
  assert.equal(await running.ended, 0);
  for (const key of keys) assert(!running.output().includes(key));
});

test("dev --config ends with 1 where a target is failed at its end, and says why", async (t) => {
  const [good, bad] = [await ownStage(t), await ownStage(t)];
  const keys = [1, 2].map((byte) => `whsec_${Buffer.alloc(32, byte).toString("base64")}`);
  const [EU_KEY = "", US_KEY = ""] = keys;
  const env = { ...CANARIES, EU_KEY, US_KEY };
  const args = ["dev", "--config", "allowlist.yaml", "--port", "0", "--seconds", "1"];
  const well = start(t, args, { folder: good.folder, env });
  assert.equal(await well.ended, 0, well.output());
  bad.groups.describe = () => {
    throw new Error("canary");
  };
  const failing = start(t, args, { folder: bad.folder, env });
  assert.equal(await failing.ended, 1, failing.output());
  assert.match(failing.stderr(), /^Cannot read aws\/security-group\/sg-1\/tcp-5432: .*\n$/);
});
