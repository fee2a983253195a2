import assert from "node:assert/strict";
import { test } from "node:test";
import type {
  IngressChange,
  IngressRule,
  SecurityGroupClient,
} from "../../lib/clouds/aws/security-groups.ts";
import { CloudError } from "../../lib/clouds/error.ts";
import { type Cidr, parseCidr } from "../../lib/core/cidr.ts";
import {
  SECURITY_GROUP_TRAITS,
  securityGroupTarget,
} from "../../lib/targets/aws/security-group.ts";
import type { TargetError } from "../../lib/targets/target.ts";

const NAMES = {
  name: "aws/security-group/sg-0a1b/x",
  object: "aws-security-group.eu-west-1.sg-0a1b",
};
const SIGNAL = new AbortController().signal;
const TEXT = "ka1abcdefghijkl acme/payments-db";

type Permission = Parameters<typeof securityGroupTarget>[1]["permission"];

/** A client that shows these rules and keeps what it is asked to write. */
function clientOf(rules: readonly Partial<IngressRule>[]) {
  const authorized: IngressChange[] = [];
  const revoked: (readonly string[])[] = [];
  const client: SecurityGroupClient = {
    describe: async () =>
      rules.map((rule, index) => ({
        id: `sgr-${index}`,
        protocol: "tcp",
        fromPort: 5432,
        toPort: 5432,
        source: null,
        description: null,
        ...rule,
      })),
    authorize: async (_groupId, change) => {
      authorized.push(change);
    },
    revoke: async (_groupId, ruleIds) => {
      revoked.push(ruleIds);
    },
  };
  return { client, authorized, revoked };
}

function targetOf(
  client: SecurityGroupClient,
  options: { readonly permission?: Permission; readonly limit?: number } = {},
) {
  const { permission = { protocol: "tcp", port: 5432 }, limit = null } = options;
  return securityGroupTarget(
    { ...NAMES, limit },
    { region: "eu-west-1", id: "sg-0a1b", permission },
    client,
  );
}

function cidrs(...texts: readonly string[]): readonly Cidr[] {
  return texts.map((text) => parseCidr(text) ?? assert.fail(text));
}

const ipv4 = (cidr: string) => ({ source: { family: "ipv4", cidr } }) as const;

test("observe() rejects rather than leave out a rule whose address it cannot read", async () => {
  const { client } = clientOf([ipv4("192.0.2.1/32"), ipv4("192.0.2.256/32")]);
  await assert.rejects(targetOf(client).observe(SIGNAL), (error: TargetError) => {
    assert.equal(error.name, "TargetError");
    assert.equal(error.kind, "unavailable");
    assert.match(error.message, /^Cannot read aws\/security-group.*sgr-1/);
    return true;
  });
});

test("observe() does not mind the addresses of rules beside its slot", async () => {
  const { client } = clientOf([{ ...ipv4("nonsense"), toPort: 5433 }, ipv4("192.0.2.1/32")]);
  assert.equal((await targetOf(client).observe(SIGNAL)).entries.length, 1);
});

test("observe() tells permissions apart by protocol and both ports", async () => {
  const rules = [
    { ...ipv4("192.0.2.1/32") },
    { ...ipv4("192.0.2.2/32"), toPort: 5440 },
    { ...ipv4("192.0.2.3/32"), protocol: "udp" },
    { ...ipv4("192.0.2.4/32"), protocol: "-1", fromPort: -1, toPort: -1 },
    { ...ipv4("192.0.2.5/32"), fromPort: 5431 },
  ];
  const seen = async (permission: Permission) =>
    (await targetOf(clientOf(rules).client, { permission }).observe(SIGNAL)).entries.map(
      ({ cidr }) => cidr,
    );
  assert.deepEqual(await seen({ protocol: "tcp", port: "5432" }), ["192.0.2.1/32"]);
  assert.deepEqual(await seen({ protocol: "tcp", port: "5432-5440" }), ["192.0.2.2/32"]);
  assert.deepEqual(await seen({ protocol: "udp", port: 5432 }), ["192.0.2.3/32"]);
  assert.deepEqual(await seen({ protocol: "all" }), ["192.0.2.4/32"]);
});

test("observe() counts rules by family, and references for both", async () => {
  const { client } = clientOf([
    ipv4("192.0.2.1/32"),
    { ...ipv4("192.0.2.1/32"), fromPort: 22, toPort: 22 },
    { source: { family: "ipv6", cidr: "2001:db8::/32" } },
    { source: null },
  ]);
  assert.deepEqual((await targetOf(client, { limit: 60 }).observe(SIGNAL)).capacity, [
    { families: ["ipv4"], used: 3, limit: 60 },
    { families: ["ipv6"], used: 2, limit: 60 },
  ]);
});

test("apply() adds both families in one call, each address once, in ascending order", async () => {
  const { client, authorized } = clientOf([]);
  const batch = cidrs("2001:db8::2/128", "192.0.2.9/32", "192.0.2.1/32", "2001:db8::2/128");
  await targetOf(client).apply(
    { verb: "add", cidrs: batch, text: TEXT, instead: [], late: [] },
    null,
    SIGNAL,
  );
  assert.deepEqual(authorized, [
    {
      protocol: "tcp",
      fromPort: 5432,
      toPort: 5432,
      ipv4: ["192.0.2.1/32", "192.0.2.9/32"],
      ipv6: ["2001:db8::2/128"],
      description: TEXT,
    },
  ]);
});

test("apply() opens all protocols without ports", async () => {
  const { client, authorized } = clientOf([]);
  const target = targetOf(client, { permission: { protocol: "all" } });
  await target.apply(
    { verb: "add", cidrs: cidrs("192.0.2.1/32"), text: TEXT, instead: [], late: [] },
    null,
    SIGNAL,
  );
  const [change] = authorized;
  assert.deepEqual([change?.protocol, change?.fromPort, change?.toPort], ["-1", -1, -1]);
});

test("apply() takes 100 nodes at once", () => {
  assert(SECURITY_GROUP_TRAITS.batchMax >= 100);
});

test("apply() asserts that the text is one EC2 takes", async () => {
  for (const text of ["", "näh", 'say "hi"', "a|b", "x".repeat(256)]) {
    const { client, authorized } = clientOf([]);
    const batch = {
      verb: "add",
      cidrs: cidrs("192.0.2.1/32"),
      text,
      instead: [],
      late: [],
    } as const;
    await assert.rejects(targetOf(client).apply(batch, null, SIGNAL), { name: "AssertionError" });
    assert.deepEqual(authorized, []);
  }
});

test("apply() removes no rule that was not read", async () => {
  const { client, revoked } = clientOf([ipv4("192.0.2.1/32")]);
  const target = targetOf(client);
  const remove = (...texts: readonly string[]) =>
    target.apply(
      { verb: "remove", cidrs: cidrs(...texts), text: TEXT, instead: [], late: [] },
      null,
      SIGNAL,
    );
  await assert.rejects(remove("192.0.2.1/32"), { name: "TargetError", kind: "conflict" });
  await target.observe(SIGNAL);
  await assert.rejects(remove("192.0.2.1/32", "192.0.2.2/32"), { kind: "conflict" });
  assert.deepEqual(revoked, []);
  await remove("192.0.2.1/32");
  assert.deepEqual(revoked, [["sgr-0"]]);
});

test("apply() removes neither of two rules that a careless server keeps for one address", async () => {
  const { client, revoked } = clientOf([
    { ...ipv4("10.1.0.9/24"), description: "by hand" },
    { ...ipv4("10.1.0.0/24"), description: TEXT },
    { ...ipv4("10.2.0.0/24"), description: TEXT },
  ]);
  const target = targetOf(client);
  const { entries } = await target.observe(SIGNAL);
  assert.deepEqual(
    entries.map(({ cidr, text }) => [cidr, text]),
    [
      ["10.1.0.0/24", "by hand"],
      ["10.1.0.0/24", TEXT],
      ["10.2.0.0/24", TEXT],
    ],
  );
  const batch = {
    verb: "remove",
    cidrs: cidrs("10.1.0.0/24"),
    text: TEXT,
    instead: [],
    late: [],
  } as const;
  await assert.rejects(target.apply(batch, null, SIGNAL), { kind: "invalid" });
  assert.deepEqual(revoked, []);
});

test("a bug in the client is not dressed up as a failure of the world", async () => {
  const { client } = clientOf([]);
  const bug = new TypeError("undefined is not a function");
  const broken = { ...client, describe: () => Promise.reject(bug) };
  await assert.rejects(targetOf(broken).observe(SIGNAL), bug);
});

test("every failure says what it was and a way out, and nothing of an object's own members", async () => {
  const told = async (kind: TargetError["kind"], code: string) => {
    const error = new CloudError(kind, code, { operation: "sts:AssumeRole", status: 400 });
    const { client } = clientOf([]);
    const failing = { ...client, describe: () => Promise.reject(error) };
    return targetOf(failing)
      .observe(SIGNAL)
      .then(
        () => assert.fail("it did not fail"),
        (thrown: TargetError) => {
          assert.equal(thrown.kind, kind);
          assert.equal(thrown.cause, error);
          return thrown.message;
        },
      );
  };
  const start = "Cannot read aws/security-group/sg-0a1b/x: sts:AssumeRole ended in";
  assert.equal(
    await told("denied", "AccessDenied"),
    `${start} AccessDenied, HTTP 400; check the credentials, and that they allow sts:AssumeRole`,
  );
  assert.equal(
    await told("unavailable", "constructor"),
    `${start} constructor, HTTP 400; it is tried again`,
  );
  assert.match(
    await told("unavailable", "CredentialsProviderError"),
    /; set AWS_ACCESS_KEY_ID, name a profile, or run under a role/,
  );
  assert.match(
    await told("unavailable", "TimeoutError"),
    /; it is tried again, for there was no answer in time$/,
  );
  assert.match(await told("unavailable", "ExpiredToken"), /; renew the credentials, /);
  assert.match(await told("full", "RulesPerSecurityGroupLimitExceeded"), /; raise the quota /);
  for (const kind of ["throttled", "conflict", "busy", "missing", "invalid"] as const) {
    assert.match(await told(kind, "Code"), /^Cannot read .+: .+; .+[^.]$/);
  }
});
