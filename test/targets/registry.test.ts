import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import * as z from "zod/mini";
import { kinds } from "../../lib/targets/registry.ts";
import {
  kindNamed,
  makeTarget,
  OWNER,
  settingsProblems,
  targetConfig,
  targetContext,
} from "./making.ts";

const GROUP = { region: "eu-west-1", id: "sg-0a1b", permission: { protocol: "tcp", port: 5432 } };

test("kinds are named in ascending order", () => {
  assert.deepEqual(Object.keys(kinds), Object.keys(kinds).toSorted());
});

test("identify() names a slot by kind, id and permission, and its object by kind, region and id", () => {
  const nameOf = (permission: unknown) =>
    kindNamed("aws/security-group").identify({ ...GROUP, permission }, OWNER).name;
  assert.deepEqual(kindNamed("aws/security-group").identify(GROUP, OWNER), {
    name: "aws/security-group/sg-0a1b/tcp-5432",
    object: "aws-security-group.eu-west-1.sg-0a1b",
  });
  assert.equal(nameOf({ protocol: "udp", port: "53" }), "aws/security-group/sg-0a1b/udp-53");
  assert.equal(
    nameOf({ protocol: "tcp", port: "5432-5440" }),
    "aws/security-group/sg-0a1b/tcp-5432-5440",
  );
  assert.equal(nameOf({ protocol: "all" }), "aws/security-group/sg-0a1b/all");
  assert.deepEqual(kindNamed("memory").identify({ id: "demo" }, OWNER), {
    name: "memory/demo",
    object: "memory.demo",
  });
});

test("identify() gives one slot one name, however its port is written", () => {
  const names = [5432, "5432", "5432-5432"].map((port) => {
    const settings = { ...GROUP, permission: { protocol: "tcp", port } };
    assert.deepEqual(settingsProblems("aws/security-group", settings), []);
    return kindNamed("aws/security-group").identify(settings, OWNER).name;
  });
  assert.deepEqual([...new Set(names)], ["aws/security-group/sg-0a1b/tcp-5432"]);
});

test("schema takes what it should and changes nothing, so that stored settings can be parsed again", () => {
  const role = "arn:aws:iam::123456789012:role/path/allow-list";
  const taken: readonly (readonly [string, unknown])[] = [
    ["aws/security-group", GROUP],
    ["aws/security-group", { ...GROUP, permission: { protocol: "all" } }],
    [
      "aws/security-group",
      { ...GROUP, region: "us-gov-west-1", permission: { protocol: "udp", port: "0-65535" } },
    ],
    [
      "aws/security-group",
      { ...GROUP, region: "ap-southeast-7", endpoint: "https://vpce-1.example:8443/ec2" },
    ],
    ["aws/security-group", { ...GROUP, endpoint: "env:EC2_URL", role, limit: 60, exclusive: true }],
    ["aws/security-group", { ...GROUP, role: { arn: role, externalId: "acme-1" } }],
    ["aws/security-group", { ...GROUP, role: { arn: "arn:aws-cn:iam::123456789012:role/x" } }],
    ["memory", { id: "demo", limit: 3 }],
  ];
  for (const [name, settings] of taken) {
    const parsed = kindNamed(name).schema.parse(settings);
    assert.deepEqual(parsed, settings);
    assert.deepEqual(kindNamed(name).schema.parse(parsed), settings);
  }
});

test("schema says what is wrong, where, and what to write instead", () => {
  const wrong = (settings: Record<string, unknown>) =>
    settingsProblems("aws/security-group", { ...GROUP, ...settings });
  assert.deepEqual(wrong({ permission: { protocol: "tcp", port: 70_000 } }), [
    "permission.port: Cannot use port 70000: " +
      'write a number from 0 to 65535, or a range like "5432-5440"',
  ]);
  for (const port of ["5440-5432", "5432-", "http", "5432-70000", "05432", "", 1.5, -1, null]) {
    const [problem] = wrong({ permission: { protocol: "tcp", port } });
    assert.match(problem ?? "", /^permission\.port: Cannot use port /);
  }
  assert.deepEqual(wrong({ permission: { protocol: "icmp", port: 1 } }), [
    'permission.protocol: Cannot use protocol "icmp": write tcp, udp or all',
  ]);
  assert.deepEqual(wrong({ permission: { protocol: "all", port: 1 } }), [
    "permission.port: Cannot use port with protocol all: leave the port out",
  ]);
  assert.deepEqual(wrong({ permission: { protocol: "tcp" } }), [
    'permission.port: Cannot use protocol tcp without a port: add one, like 5432 or "5432-5440"',
  ]);
  assert.deepEqual(wrong({ region: "Ireland", id: "sg-XYZ", limit: 0, exclusive: "yes" }), [
    'region: Cannot use region "Ireland": write it like "eu-west-1"',
    'id: Cannot use id "sg-XYZ": write a group\'s id like "sg-0a1b2c3d4e5f60718"',
    "limit: Cannot use limit 0: expected a number from 1 to 100000",
    'exclusive: Cannot use exclusive "yes": true or false',
  ]);
  assert.deepEqual(wrong({ role: "allow-list" }), [
    'role: Cannot use role "allow-list": write it like "arn:aws:iam::123456789012:role/allowlist"',
  ]);
  assert.deepEqual(wrong({ role: 7 }), [
    "role: Cannot use role: write the ARN of an IAM role, or { arn, externalId }",
  ]);
  assert.match(wrong({ role: { arn: "x" } }).join(), /Cannot use role "x": write it like "arn:/);
  assert.match(wrong({ role: { arn: "x", external: "y" } }).join(), /role/);
  assert.match(wrong({ group: "k8s" }).join(), /group/);
  assert.deepEqual(
    settingsProblems("aws/security-group", {}).map((problem) => problem.split(":")[0]),
    ["region", "id", "permission"],
  );
  assert.deepEqual(settingsProblems("memory", { id: "Demo" }), [
    'id: Cannot use id "Demo": expected 1 to 64 of a-z, 0-9 and "-", no "-" at either end',
  ]);
});

test("schema refuses an endpoint that is no plain URL, without repeating it", () => {
  const endpoints = [
    "https://user:canary@ec2.example",
    "https://ec2.example/?token=canary",
    "https://ec2.example/#canary",
    "ftp://ec2.example/canary",
    "env:1canary",
    "canary",
    "",
  ];
  for (const endpoint of endpoints) {
    const problems = settingsProblems("aws/security-group", { ...GROUP, endpoint });
    assert.equal(problems.length, 1, endpoint);
    assert.match(problems[0] ?? "", /^endpoint: Cannot use endpoint: write /);
    assert(!problems[0]?.includes("canary"));
  }
});

test("schema can be shown to editors as JSON Schema", () => {
  for (const [name, { schema }] of Object.entries(kinds)) {
    const shown = z.toJSONSchema(schema, { io: "input" });
    assert.equal(shown.additionalProperties, false);
    const cloud = name.startsWith("aws/") ? ["endpoint", "role"] : [];
    for (const key of [...cloud, "limit", "exclusive"]) {
      assert(Object.hasOwn(shown.properties ?? {}, key), key);
    }
  }
});

test("create() refuses an endpoint that the environment does not give, naming the variable and no value", async () => {
  const cases = [
    {
      settings: { ...GROUP, endpoint: "env:EC2_URL" },
      env: {},
      says: /env:EC2_URL: the variable is not set/,
    },
    {
      settings: { ...GROUP, endpoint: "env:EC2_URL" },
      env: { EC2_URL: "https://a:canary@b" },
      says: /EC2_URL, which is no/,
    },
    {
      settings: GROUP,
      env: { AWS_ENDPOINT_URL: "canary" },
      says: /AWS_ENDPOINT_URL, which is no/,
    },
    { settings: GROUP, env: { AWS_ENDPOINT_URL_STS: "canary" }, says: /AWS_ENDPOINT_URL_STS/ },
  ];
  for (const { settings, env, says } of cases) {
    const config = targetConfig("aws/security-group", settings);
    const context = targetContext(env);
    await assert.rejects(
      kindNamed("aws/security-group").create(config, context),
      (error: Error) => {
        assert.equal(error.name, "TargetError");
        assert.match(error.message, says);
        assert(!error.message.includes("canary"));
        return true;
      },
    );
  }
});

test("create() of the kind memory gives every target of one id the same contents", async () => {
  const context = targetContext({});
  const config = targetConfig("memory", { id: "demo" });
  const [one, other] = [
    await kindNamed("memory").create(config, context),
    await kindNamed("memory").create(config, context),
  ];
  const signal = new AbortController().signal;
  const { entries } = await one.observe(signal);
  assert.deepEqual(entries, []);
  context.memory.put("demo", { cidr: "192.0.2.1/32" as never, text: "by hand", effect: "deny" });
  assert.deepEqual(await other.observe(signal), await one.observe(signal));
  assert.equal((await other.observe(signal)).entries.length, 1);
});

test("create() loads the SDK of a vendor only for a target of that vendor", () => {
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
    const { memoryTargets } = await import("./lib/targets/memory.ts");
    const { makeWorld } = await import("./lib/world.ts");
    const context = { world: makeWorld({}), env: {}, memory: memoryTargets() };
    const open = (kind, settings) => {
      const config = { kind, ...kinds[kind].identify(settings, {}), limit: null, settings };
      return kinds[kind].create(config, context);
    };
    const count = (part) => [...loaded].filter((url) => url.includes(part)).length;
    await open("memory", { id: "demo" });
    console.log(count("@aws-sdk/"));
    await open("aws/security-group", ${JSON.stringify(GROUP)});
    console.log(Math.sign(count("@aws-sdk/client-ec2")), count("@aws-sdk/client-sts"));
  `;
  const output = execFileSync(process.execPath, ["--input-type=module", "--eval", program], {
    cwd: new URL("../../", import.meta.url),
    encoding: "utf8",
  });
  assert.equal(output, "0\n1 0\n");
});

test("schema sends no token over http to another machine, where one is sent as it is", async () => {
  const refused = "Cannot use endpoint: over http the token would be sent for all to read; ";
  const env = { URL: "http://api.invalid", LINODE_TOKEN: "canary", DIGITALOCEAN_TOKEN: "canary" };
  const atlas = { MONGODB_ATLAS_CLIENT_ID: "canary", MONGODB_ATLAS_CLIENT_SECRET: "canary" };
  const cases = [
    ["linode/firewall", { id: 1, permission: { protocol: "tcp", port: 5432 } }],
    ["digitalocean/database", { id: "9cc10173-e9ea-4176-9dbc-a4cee4c4ff30" }],
    ["atlas/access-list", { project: "32b6e34b3d91647abb20e7b8" }],
  ] as const;
  for (const [kind, settings] of cases) {
    const problems = (endpoint: string) => settingsProblems(kind, { ...settings, endpoint });
    for (const endpoint of ["http://api.invalid", "http://127.0.0.1.example", "http://10.0.0.1"]) {
      const [problem = "", ...others] = problems(endpoint);
      assert(problem.startsWith(`endpoint: ${refused}`), `${kind} ${endpoint}: ${problem}`);
      assert.deepEqual(others, []);
    }
    for (const endpoint of [
      "http://127.0.0.1:1",
      "http://localhost",
      "http://[::1]:1",
      "env:URL",
    ]) {
      assert.deepEqual(problems(endpoint), [], endpoint);
    }
    assert.equal(problems("https://api.invalid").length, 0);
    const all = { env: { ...env, ...atlas } };
    await assert.rejects(makeTarget(kind, { ...settings, endpoint: "env:URL" }, all), {
      kind: "invalid",
      message: /: over http the token would be sent for all to read; /,
    });
  }
  assert.deepEqual(
    settingsProblems("aws/security-group", { ...GROUP, endpoint: "http://e.invalid" }),
    [],
  );
});
