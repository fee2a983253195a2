import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { parse, stringify } from "yaml";
import { startEmbeddedEc2 } from "../../cli/embedded/ec2.ts";
import { ec2Groups } from "../../cli/embedded/ec2-groups.ts";
import { markerText } from "../../lib/core/marker.ts";
import type { Node } from "../../lib/core/snapshot.ts";
import { parseSigningKey } from "../../lib/wire/signature.ts";
import { node } from "../core/cases.ts";
import { deliveryOf } from "./delivery.ts";
import { type Run, run, soon, start } from "./shell.ts";

/** Made up for these tests; none of them may ever be printed. */
const CANARIES = {
  EU_KEY: `whsec_${Buffer.from("canary-key-0123456789-0123456789").toString("base64")}`,
  STATUS_TOKEN: "canary-status-token",
  AWS_ACCESS_KEY_ID: "CANARYACCESSKEYID000",
  AWS_SECRET_ACCESS_KEY: "canary-secret-access-key-0123456789",
  AWS_SESSION_TOKEN: "canary-session-token",
};
const GROUP = "sg-0a1b2c3d";
const KINDS = ["ExternalIP"];
const LIST = "db";
const OURS = markerText("acme", LIST);

interface Given {
  readonly grace?: string;
  readonly store?: object;
  readonly policy?: string;
}

/** A configuration with a real security group behind HTTP, on a file store. */
async function stage(t: TestContext, given: Given = {}) {
  const folder = mkdtempSync(join(tmpdir(), "kube-allowlist-cli-"));
  const groups = ec2Groups([GROUP]);
  const ec2 = await startEmbeddedEc2({ groups });
  t.after(async () => {
    await ec2.close();
    rmSync(folder, { recursive: true });
  });
  const { grace = "5m", store = { kind: "file", path: "store" }, policy = "sync" } = given;
  const file = {
    version: 1,
    installation: "acme",
    store,
    status: { tokens: ["env:STATUS_TOKEN"] },
    clusters: {
      eu: { auth: { signature: { keys: ["env:EU_KEY"] } }, bounds: ["203.0.113.0/24"] },
    },
    lists: {
      [LIST]: {
        from: [{ cluster: "eu", nodes: {}, addresses: ["ExternalIP"] }],
        removal: { policy, ...(policy === "sync" ? { grace } : {}) },
        targets: [
          {
            kind: "aws/security-group",
            region: "eu-west-1",
            id: GROUP,
            permission: { protocol: "tcp", port: 5432 },
            endpoint: ec2.url,
          },
        ],
      },
    },
  };
  writeFileSync(join(folder, "allowlist.yaml"), stringify(file));
  const env = CANARIES;
  const command = (...args: readonly string[]) => run(args, { env, folder });
  return {
    folder,
    groups,
    command,
    start: (...args: readonly string[]) => start(t, args, { env, folder }),
    own: () =>
      groups
        .rules(GROUP)
        .filter(({ description }) => description === OURS)
        .map(({ source }) => source.text)
        .toSorted(),
    put(...cidrs: readonly string[]) {
      const rules = groups.rules(GROUP);
      groups.set(GROUP, [...rules, ...cidrs.map(ruleOf)]);
    },
    drop(cidr: string) {
      groups.set(
        GROUP,
        groups.rules(GROUP).filter(({ source }) => source.text !== cidr),
      );
    },
  };
}

function ruleOf(text: string) {
  const ports = { protocol: "tcp", fromPort: 5432, toPort: 5432 };
  return { egress: false, ...ports, source: { kind: "ipv4", text }, description: OURS } as const;
}

/** Serves until these snapshots were delivered, one after the other, then ends as on SIGTERM. */
async function deliver(
  set: Awaited<ReturnType<typeof stage>>,
  ...snapshots: readonly (readonly Node[])[]
): Promise<void> {
  const serving = set.start("serve", "--port", "0");
  const url = await urlOf(serving);
  for (const [index, nodes] of snapshots.entries()) {
    const generation = { epoch: Math.floor(Date.now() / 1_000), sequence: index + 1 };
    const { body, headers } = deliveryOf({ nodes, generation }, keyOf());
    const response = await fetch(`${url}/v1/snapshots`, { method: "POST", body, headers });
    assert.equal(response.status, 200, await response.text());
  }
  serving.interrupt();
  assert.equal(await serving.ended, 0);
  assertNoCanary(serving.output());
}

const keyOf = () => parseSigningKey(CANARIES.EU_KEY);

async function urlOf(serving: Run): Promise<string> {
  return soon(`it serves:\n${serving.output()}`, () => {
    return /"url":"(http:[^"]+)"/.exec(serving.stderr())?.[1];
  });
}

function assertNoCanary(text: string): void {
  assert(!/canary/i.test(text), text);
  for (const value of Object.values(CANARIES)) assert(!text.includes(value), text);
  assert(!text.includes(Buffer.from(CANARIES.EU_KEY.slice(6), "base64").toString()), text);
}

function nodes(count: number): readonly Node[] {
  return Array.from({ length: count }, (_, index) => node(`n${index}`, [`203.0.113.${index + 1}`]));
}

const hosts = (count: number) =>
  Array.from({ length: count }, (_, index) => `203.0.113.${index + 1}/32`);

test("plan tells what a resync would change, for people and for programs, and changes nothing", async (t) => {
  const set = await stage(t);
  await deliver(set, nodes(3));
  assert.deepEqual(set.own(), hosts(3));
  set.drop("203.0.113.2/32");
  const human = await set.command("plan");
  assert.equal(human.code, 0);
  assert.match(human.stdout, /^installation acme at /);
  assert.match(human.stdout, /cluster eu: 3 nodes, heard \d+ s ago, generation \d+\/1\n/);
  assert.match(human.stdout, /db on aws\/security-group\/sg-0a1b2c3d\/tcp-5432: pending, batch\n/);
  assert.match(human.stdout, / {2}\+ 203\.0\.113\.2\/32 +would be added\n/);
  assert.match(human.stdout, /3 desired · 2 owned · 0 borrowed · 0 foreign · 0 orphaned/);
  assert.match(human.stdout, /1 to add, 0 to remove, 0 in grace\n$/);
  const json = JSON.parse((await set.command("plan", "--json")).stdout);
  assert.deepEqual(Object.keys(json).toSorted(), [
    "at",
    "clusters",
    "installation",
    "lists",
    "plan",
    "sources",
    "unread",
    "version",
    "waiting",
  ]);
  assert.deepEqual(json.lists[0].add, ["203.0.113.2/32"]);
  assert.equal(json.plan, null);
  assert.equal((await set.command("plan", "--check")).code, 1);
  assert.deepEqual(set.own(), ["203.0.113.1/32", "203.0.113.3/32"], "nothing was written");
  set.put("203.0.113.2/32");
  assert.equal((await set.command("plan", "--check")).code, 0);
});

test("plan counts no addition that a resync would not make, and says what it waits for", async (t) => {
  const set = await stage(t);
  const text = readFileSync(join(set.folder, "allowlist.yaml"), "utf8");
  const file = parse(text);
  file.lists = {
    feed: {
      from: [{ static: ["198.51.100.7/32"] }, { cluster: "eu", nodes: {}, addresses: KINDS }],
      removal: { policy: "sync" },
      targets: [{ kind: "feed", open: true }],
    },
  };
  writeFileSync(join(set.folder, "feed.yaml"), stringify(file));
  const human = await set.command("plan", "--config", "feed.yaml", "--check");
  assert.equal(human.code, 0, human.stdout);
  assert.match(
    human.stdout,
    /feed on feed\/acme-feed: withheld, not-heard\n|withheld, not-heard\n/,
  );
  assert.match(
    human.stdout,
    /Cannot begin "feed" with a part of it: cluster "eu" was never heard; /,
  );
  assert.match(human.stdout, / {2}\+ 198\.51\.100\.7\/32 +withheld: not-heard\n/);
  assert.match(human.stdout, /\n0 to add, 1 addition withheld, 0 to remove, 0 in grace\n$/);
  file.clusters.eu = { ...file.clusters.eu, retired: true };
  writeFileSync(join(set.folder, "feed.yaml"), stringify(file));
  const alone = await set.command("plan", "--config", "feed.yaml", "--check");
  assert.equal(alone.code, 1);
  assert.match(alone.stdout, /cluster eu: retired/);
  assert.match(alone.stdout, /\n1 to add, 0 to remove, 0 in grace\n$/);
});

test("plan and sync say once what a source answered", async (t) => {
  const set = await stage(t);
  const file = parse(readFileSync(join(set.folder, "allowlist.yaml"), "utf8"));
  const subnet = { aws: "subnet-0a1b", region: "eu-west-1", endpoint: "env:NOT_SET" };
  file.lists[LIST].from = [{ static: ["203.0.113.1"] }, { subnets: [subnet] }];
  writeFileSync(join(set.folder, "subnet.yaml"), stringify(file));
  for (const name of ["plan", "sync"]) {
    const { stdout, stderr } = await set.command(name, "--config", "subnet.yaml");
    assert.match(
      stdout,
      /source aws\/subnet\/subnet-0a1b: never read\. Cannot read .* env:NOT_SET/,
    );
    assert.doesNotMatch(stderr, /NOT_SET/, name);
  }
});

test("verify ends with 1 for missing and unexpected entries, and with 0 otherwise", async (t) => {
  const set = await stage(t);
  await deliver(set, nodes(4), nodes(3));
  const inGrace = await set.command("verify");
  assert.equal(inGrace.code, 0, inGrace.stdout);
  assert.match(inGrace.stdout, /as it should be; 3 desired, 1 in grace\n$/);
  set.drop("203.0.113.1/32");
  const missing = await set.command("verify");
  assert.equal(missing.code, 1);
  assert.match(missing.stdout, /drift\n {2}\+ 203\.0\.113\.1\/32 {2}missing\n$/);
  set.put("203.0.113.1/32", "203.0.113.77/32");
  const unexpected = await set.command("verify", "--json");
  assert.equal(unexpected.code, 1);
  const { drift, lists } = JSON.parse(unexpected.stdout);
  assert.deepEqual(drift, [
    {
      list: LIST,
      target: `aws/security-group/${GROUP}/tcp-5432`,
      missing: [],
      unexpected: ["203.0.113.77/32"],
      failure: null,
    },
  ]);
  assert.equal(lists.length, 1);
  assert.equal((await set.command("verify")).code, 1, "verifying starts no clock");
});

test("verify expects the surplus of a list that only adds", async (t) => {
  const set = await stage(t, { policy: "add-only" });
  await deliver(set, nodes(3), nodes(2));
  assert.deepEqual(set.own(), hosts(3));
  assert.equal((await set.command("verify")).code, 0);
});

test("sync repairs, and ends with 0 when all is converged or pending", async (t) => {
  const set = await stage(t);
  await deliver(set, nodes(3));
  set.drop("203.0.113.2/32");
  set.put("203.0.113.9/32");
  const synced = await set.command("sync");
  assert.equal(synced.code, 0, synced.stderr);
  assert.deepEqual(set.own(), [...hosts(3), "203.0.113.9/32"], "what is unwanted has its grace");
  const audits = synced.stderr.trim().split("\n");
  assert.equal(audits.length, 1);
  const audit = JSON.parse(audits[0] ?? "");
  assert.equal(audit.audit, true);
  assert.deepEqual(
    [audit.action, audit.entries, audit.result],
    ["add", ["203.0.113.2/32"], "done"],
  );
  assert.match(synced.stdout, /db on .*: pending, grace\n/);
  assert.match(synced.stdout, / {2}~ 203\.0\.113\.9\/32 +leaves after 20/);
  assert.equal((await set.command("verify")).code, 0);
  const json = JSON.parse((await set.command("sync", "--json")).stdout);
  assert.deepEqual(json.lists[0].leaving[0].cidr, "203.0.113.9/32");
  assert.equal(json.clusters[0].nodes, 3);
});

test("sync --accept-removals carries out the plan that was shown, and no other", async (t) => {
  const set = await stage(t, { grace: "0s" });
  await deliver(set, nodes(5), nodes(5), []);
  assert.equal(set.own().length, 5, "the guard holds the door");
  const withheld = await set.command("sync");
  assert.equal(withheld.code, 1);
  assert.match(withheld.stdout, /withheld, ratio/);
  const plan = JSON.parse((await set.command("plan", "--json")).stdout).plan;
  assert.match(plan, /^[a-z0-9]{12}$/);
  const shown = await set.command("plan", "--config", "allowlist.yaml");
  assert.match(shown.stdout, new RegExp(`\\nplan ${plan}\\n`));
  assert.match(
    shown.stdout,
    new RegExp(`kube-allowlist sync --config allowlist.yaml --accept-removals ${plan}\\n$`),
  );
  for (const id of [`${plan}0`, "", "000000000000"]) {
    const refused = await set.command("sync", "--accept-removals", id);
    assert.equal(refused.code, 1, id);
    assert.match(refused.stderr, new RegExp(`^Cannot accept .*it is ${plan} now; look at "plan"`));
  }
  // Somebody else's mistake after the plan was shown: it names other removals now.
  set.put("203.0.113.50/32");
  assert.equal((await set.command("sync", "--accept-removals", plan)).code, 1);
  set.drop("203.0.113.50/32");
  assert.equal(set.own().length, 5);
  const accepted = await set.command("sync", "--accept-removals", plan);
  assert.equal(accepted.code, 0, accepted.stdout);
  assert.deepEqual(set.own(), []);
  const again = await set.command("sync", "--accept-removals", plan);
  assert.equal(again.code, 1);
  assert.match(again.stderr, /nothing would be removed now/);
});

test("an option's value that is another option or empty is bad usage, not a value", async (t) => {
  const set = await stage(t);
  assert.equal((await set.command("sync", "--accept-removals", "--json")).code, 2);
  const everywhere = await set.command("serve", "--host", "");
  assert.equal(everywhere.code, 2);
  assert.match(everywhere.stderr, /empty/);
});

test("status tells what the store knows without a call to any target", async (t) => {
  const set = await stage(t);
  const unheard = await set.command("status");
  assert.equal(unheard.code, 0);
  assert.match(unheard.stdout, /cluster eu: never heard/);
  assert.match(unheard.stdout, /"db" was not looked at yet; run sync, or serve/);
  assert.match(unheard.stdout, / · never looked at\n/);
  await deliver(set, nodes(2));
  set.groups.describe = () => {
    throw new Error("status called a target");
  };
  const known = await set.command("status");
  assert.equal(known.code, 0);
  assert.match(known.stdout, /db on .*: converged\n {2}"db" holds what is desired\n/);
  const json = JSON.parse((await set.command("status", "--json")).stdout);
  assert.deepEqual(json.lists[0].desired, 2);
  assert.equal("plan" in json, false);
  const failed = await set.command("plan");
  assert.equal(failed.code, 0);
  assert.match(failed.stdout, /: failed, unavailable\n/);
  assert.match(failed.stdout, /2 desired · .* · read at 20/, "both are known without the target");
  assert.match(failed.stdout, /0 in grace, 1 target could not be read\n$/);
  assert.equal((await set.command("plan", "--check")).code, 1, "what cannot be read may differ");
  const unverified = await set.command("verify");
  assert.equal(unverified.code, 1);
  assert.match(unverified.stdout, /: not verified: Cannot read aws\/security-group/);
  assert.doesNotMatch(unverified.stdout, /drift/);
  assert.equal((await set.command("sync")).code, 1);
});

test("plan, sync, verify and status cannot work from a memory store, and say so", async (t) => {
  const set = await stage(t, { store: { kind: "memory" } });
  for (const name of ["plan", "sync", "verify", "status"]) {
    const refused = await set.command(name);
    assert.equal(refused.code, 2, name);
    assert.match(refused.stderr, /^Cannot .* from a memory store: .*kind: file/, name);
    assert.equal(refused.stdout, "");
  }
});

test("the commands need no key, leave nothing behind and print no secret", async (t) => {
  const set = await stage(t);
  await deliver(set, nodes(1));
  const before = readdirSync(join(set.folder, "store"), { recursive: true }).length;
  const { EU_KEY: _, STATUS_TOKEN: __, ...env } = CANARIES;
  for (const args of [["plan"], ["plan", "--json"], ["verify"], ["status"], ["status", "--json"]]) {
    const { code, stdout, stderr } = await run(args, { env, folder: set.folder });
    assert.equal(code, 0, `${args}: ${stderr}`);
    assertNoCanary(stdout + stderr);
  }
  assert.equal(readdirSync(join(set.folder, "store"), { recursive: true }).length, before);
  const synced = await run(["sync"], { env, folder: set.folder });
  assertNoCanary(synced.stdout + synced.stderr);
  const stored = readdirSync(join(set.folder, "store"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), "utf8"));
  assert(stored.length > 0);
  for (const text of stored) assertNoCanary(text);
});

test("a configuration that cannot be used ends with 2 and every problem with its path", async (t) => {
  const set = await stage(t);
  const file = join(set.folder, "bad.yaml");
  writeFileSync(
    file,
    [
      "version: 2",
      "installation: Acme!",
      "store: { kind: clay }",
      "clusters:",
      "  eu: { bounds: [0.0.0.0/0] }",
      "lists:",
      "  db:",
      "    from: []",
      "    removal: {}",
      "    targets: [{ kind: memory, id: one, surprise: 1 }]",
    ].join("\n"),
  );
  for (const name of ["serve", "plan", "sync", "verify", "status", "dev"]) {
    const { code, stdout, stderr } = await set.command(name, "--config", "bad.yaml");
    assert.equal(code, 2, name);
    assert.equal(stdout, "", name);
    for (const path of [
      "version",
      "installation",
      "store.kind",
      "clusters.eu.auth",
      "clusters.eu.bounds[0]",
      "lists.db.from",
      "lists.db.removal.policy",
      "lists.db.targets[0].surprise",
    ]) {
      assert(stderr.includes(`\n  ${path}: `), `${name}: ${path} in\n${stderr}`);
    }
    assert.match(stderr, /^Cannot use the configuration bad\.yaml: \d+ problems\n/);
    assert(!/\n\s+at /.test(stderr), "no stack");
  }
  const missing = await set.command("plan", "--config", "none.yaml");
  assert.equal(missing.code, 2);
  assert.match(missing.stderr, /^Cannot read the configuration none\.yaml: ENOENT; .*--config\n$/);
  assert(!existsSync(join(set.folder, "store")));
});

test("serve resolves every secret at its start and names those that are missing", async (t) => {
  const set = await stage(t);
  const { code, stderr } = await run(["serve", "--port", "0"], { env: {}, folder: set.folder });
  assert.equal(code, 2);
  assert.match(stderr, /clusters\.eu\.auth\.signature\.keys: Cannot resolve env:EU_KEY/);
  assert.match(stderr, /status\.tokens\[0\]: Cannot resolve env:STATUS_TOKEN/);
  const env = { ...CANARIES, EU_KEY: "canary without a prefix" };
  const garbled = await run(["serve", "--port", "0"], { env, folder: set.folder });
  assert.equal(garbled.code, 2);
  assertNoCanary(garbled.stdout + garbled.stderr);
});

test("serve ends with 2 where the port is in use", async (t) => {
  const set = await stage(t);
  const first = set.start("serve", "--port", "0");
  const { port } = new URL(await urlOf(first));
  const second = await set.command("serve", "--port", port);
  assert.equal(second.code, 2);
  assert.match(second.stderr, /Cannot listen on 127\.0\.0\.1:\d+: the port is in use; .*--port/);
  const third = await run(["dev", "--port", port], { env: {}, folder: set.folder });
  assert.equal(third.code, 2);
  assert.match(third.stderr, /the port is in use/);
  first.interrupt();
  assert.equal(await first.ended, 0);
});

test("serve finishes the call it is in when it is asked to end, and lets go of the target", async (t) => {
  const set = await stage(t);
  const serving = set.start("serve", "--port", "0");
  const url = await urlOf(serving);
  const { authorize } = set.groups;
  const reads: string[] = [];
  let answerIsOut = () => {};
  const gate = new Promise<void>((resolve) => {
    answerIsOut = resolve;
  });
  set.groups.describe = new Proxy(set.groups.describe, {
    apply(describe, self, args) {
      reads.push("describe");
      return Reflect.apply(describe, self, args);
    },
  });
  set.groups.authorize = ((input: Parameters<typeof authorize>[0]) => {
    const result = authorize(input);
    serving.interrupt();
    reads.length = 0;
    return gate.then(() => result);
  }) as unknown as typeof authorize;
  const { body, headers } = deliveryOf({ nodes: nodes(2) }, keyOf());
  const answering = fetch(`${url}/v1/snapshots`, { method: "POST", body, headers });
  await soon("it ends", () => /"Ending"/.test(serving.stderr()));
  answerIsOut();
  const response = await answering;
  assert.equal(response.status, 200);
  const { lists, readyNodes } = (await response.json()) as {
    readonly lists: readonly { readonly state: string }[];
    readonly readyNodes: readonly string[];
  };
  assert.deepEqual([lists[0]?.state, readyNodes], ["pending", []], "nothing unread is promised");
  assert.equal(await serving.ended, 0);
  assert.deepEqual(reads, [], "no call was begun after the end was asked for");
  assert.deepEqual(set.own(), hosts(2));
  const folder = join(set.folder, "store", "v1", "targets");
  const [object = ""] = readdirSync(folder);
  const [newest = ""] = readdirSync(join(folder, object)).toSorted();
  const { state } = JSON.parse(readFileSync(join(folder, object, newest), "utf8"));
  assert.equal(state, "done", "the next process need not wait");
});

test("serve puts audit lines on stdout and everything else on stderr, as JSON", async (t) => {
  const set = await stage(t);
  const serving = set.start("serve", "--port", "0");
  const url = await urlOf(serving);
  const { body, headers } = deliveryOf({ nodes: nodes(2) }, keyOf());
  const response = await fetch(`${url}/v1/snapshots`, { method: "POST", body, headers });
  await response.text();
  serving.interrupt();
  await serving.ended;
  const parse = (text: string) =>
    text
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
  const audits = parse(serving.stdout());
  assert.deepEqual(
    audits.map(({ audit, action, entries, cluster }) => [audit, action, entries, cluster]),
    [[true, "add", hosts(2), "eu"]],
  );
  assert(parse(serving.stderr()).every(({ audit }) => audit === undefined));
});

test("dev follows no cluster without a configuration, and asks which one where there are several", async (t) => {
  const set = await stage(t);
  const lonely = await set.command("dev", "--kubeconfig", "kubeconfig");
  assert.equal(lonely.code, 2);
  assert.match(lonely.stderr, /^Cannot follow a cluster without a configuration/);
  const text = readFileSync(join(set.folder, "allowlist.yaml"), "utf8");
  const us = "  us: { auth: { signature: { keys: [env:US_KEY] } }, bounds: [198.51.100.0/24] }\n";
  writeFileSync(join(set.folder, "two.yaml"), text.replace("clusters:\n", `clusters:\n${us}`));
  const dev = (...args: readonly string[]) =>
    set.command("dev", "--port", "0", "--config", "two.yaml", ...args);
  const unsaid = await dev("--kubeconfig", "kubeconfig");
  assert.equal(unsaid.code, 2);
  assert.match(unsaid.stderr, /say it with --cluster; there are eu, us\n/);
  const unknown = await dev("--kubeconfig", "kubeconfig", "--cluster", "cn");
  assert.equal(unknown.code, 2);
  assert.match(unknown.stderr, /Cannot follow cluster "cn"/);
  const retired = text.replace("clusters:\n  eu:\n", "clusters:\n  eu:\n    retired: true\n");
  writeFileSync(join(set.folder, "retired.yaml"), retired);
  for (const [args, said] of [
    [[], /this configuration: its clusters are retired \(eu\); write one/],
    [["--cluster", "eu"], /^Cannot follow cluster "eu": it is retired; /],
  ] as const) {
    const given = ["--port", "0", "--config", "retired.yaml", "--kubeconfig", "kubeconfig"];
    const refused = await set.command("dev", ...given, ...args);
    assert.equal(refused.code, 2);
    assert.match(refused.stderr, said);
  }
  const nowhere = await dev("--cluster", "eu");
  assert.equal(nowhere.code, 2);
  assert.match(nowhere.stderr, /--kubeconfig/);
  const unreadable = await dev("--kubeconfig", "none", "--cluster", "eu");
  assert.equal(unreadable.code, 2);
  assert.match(unreadable.stderr, /does not exist/);
  assert.equal(unreadable.stdout, "");
  assert(!existsSync(join(set.folder, "store")), "nothing had begun");
  assert(!/\n\s+at /.test(unreadable.stderr), "no stack");
});

test("forward says everything that is missing, each with the variable that would give it", async () => {
  const { code, stderr } = await run(["forward", "--heartbeat", "1s"]);
  assert.equal(code, 2);
  for (const name of ["URL", "CLUSTER", "SECRET_FILE", "HEARTBEAT"]) {
    assert(stderr.includes(`\n  KUBE_ALLOWLIST_${name}: `), stderr);
  }
  const flags = ["--url", "https://hook.example", "--cluster", "eu", "--secret-file", "key"];
  const outside = await run(["forward", ...flags]);
  assert.equal(outside.code, 2);
  assert.match(outside.stderr, /^Cannot find an API server: .*--kubeconfig\n$/);
  const env = { KUBE_ALLOWLIST_CLUSTER: "Not a name!" };
  const folder = mkdtempSync(join(tmpdir(), "kube-allowlist-cli-"));
  const forwardWith = async (key: string) => {
    const file = join(folder, "key");
    writeFileSync(file, key);
    const given = [...flags.slice(0, -1), file, "--kubeconfig", "/none"];
    return run(["forward", ...given], { env });
  };
  const unreadable = await forwardWith(CANARIES.EU_KEY);
  assert.equal(unreadable.code, 2, "a flag outweighs its variable");
  assert.match(unreadable.stderr, /\/none: it does not exist/);
  const malformed = await forwardWith("hello");
  assert.equal(malformed.code, 2);
  assert.match(malformed.stderr, /^Cannot read the signing keys in .*key: /);
  assert.doesNotMatch(malformed.stderr, /hello/);
  rmSync(folder, { recursive: true });
});

test("the program ends with 2 for what it does not know, and helps with examples", async () => {
  const wrong = [
    ["dance"],
    ["plan", "--dance"],
    ["plan", "extra"],
    ["sync", "--accept-removals"],
    ["serve", "--port", "70000"],
    ["serve", "--port", "http"],
    ["serve", "--resync", "0s"],
    ["serve", "--resync", "often"],
    ["dev", "--seconds", "0"],
    ["dev", "--seconds", "-1"],
    [],
  ];
  for (const args of wrong) {
    const { code, stdout, stderr } = await run(args);
    assert.equal(code, 2, `${args}`);
    assert.equal(stdout, "", `${args}`);
    assert.notEqual(stderr, "", `${args}`);
  }
  for (const name of ["dev", "serve", "forward", "plan", "sync", "verify", "status"]) {
    const { code, stdout } = await run([name, "--help"]);
    assert.equal(code, 0);
    assert.match(stdout, new RegExp(`^Usage: kube-allowlist ${name} `));
    assert.match(stdout, new RegExp(`\nExamples:\n {2}kube-allowlist ${name}\\b`));
  }
  const version = await run(["--version"]);
  assert.deepEqual([version.code, /^\d+\.\d+\.\d+\n$/.test(version.stdout)], [0, true]);
  assert.equal((await run(["--help"])).code, 0);
});
