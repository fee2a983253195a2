import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { type TestContext, test } from "node:test";
import {
  AuthorizeSecurityGroupIngressCommand,
  DescribeSecurityGroupRulesCommand,
  EC2Client,
  type IpPermission,
  RevokeSecurityGroupIngressCommand,
} from "@aws-sdk/client-ec2";
import { startEmbeddedEc2 } from "../../cli/embedded/ec2.ts";
import { type Ec2Settings, ec2Groups } from "../../cli/embedded/ec2-groups.ts";
import { soon } from "../fakes/soon.ts";

const GROUP = "sg-0a1b";

/** The embedded endpoint and what AWS's own client makes of it. */
async function start(context: TestContext, settings: Partial<Ec2Settings> = {}) {
  const server = await startEmbeddedEc2({ groups: ec2Groups([GROUP], settings) });
  context.after(() => server.close());
  const ec2 = new EC2Client({
    region: "eu-west-1",
    endpoint: server.url,
    maxAttempts: 1,
    credentials: { accessKeyId: "a", secretAccessKey: "b" },
  });
  context.after(() => ec2.destroy());
  const ranges = (cidrs: readonly string[], Description = "by hand"): IpPermission => ({
    IpProtocol: "tcp",
    FromPort: 5432,
    ToPort: 5432,
    IpRanges: cidrs
      .filter((cidr) => !cidr.includes(":"))
      .map((CidrIp) => ({ CidrIp, Description })),
    Ipv6Ranges: cidrs
      .filter((cidr) => cidr.includes(":"))
      .map((CidrIpv6) => ({ CidrIpv6, Description })),
  });
  return {
    ...server,
    ec2,
    authorize: (cidrs: readonly string[], description?: string) =>
      ec2.send(
        new AuthorizeSecurityGroupIngressCommand({
          GroupId: GROUP,
          IpPermissions: [ranges(cidrs, description)],
        }),
      ),
    authorizePermissions: (...IpPermissions: IpPermission[]) =>
      ec2.send(new AuthorizeSecurityGroupIngressCommand({ GroupId: GROUP, IpPermissions })),
    revoke: (cidrs: readonly string[]) =>
      ec2.send(
        new RevokeSecurityGroupIngressCommand({
          GroupId: GROUP,
          IpPermissions: [ranges(cidrs, "")],
        }),
      ),
    revokeIds: (SecurityGroupRuleIds: string[]) =>
      ec2.send(new RevokeSecurityGroupIngressCommand({ GroupId: GROUP, SecurityGroupRuleIds })),
    describe: (input: { MaxResults?: number; NextToken?: string } = {}) =>
      ec2.send(
        new DescribeSecurityGroupRulesCommand({
          Filters: [{ Name: "group-id", Values: [GROUP] }],
          ...input,
        }),
      ),
    cidrs: () => server.groups.rules(GROUP).map(({ source }) => source.text),
  };
}

test("the embedded EC2 keeps and shows addresses in one form", async (context) => {
  const { authorize, describe } = await start(context);
  const { SecurityGroupRules: added = [], Return } = await authorize(
    ["100.68.0.18/18", "2001:DB8:0::1/128"],
    "a & b [c]",
  );
  assert.equal(Return, true);
  const { SecurityGroupRules: shown = [] } = await describe();
  assert.deepEqual(shown, added);
  assert.deepEqual(
    shown.map((rule) => [
      rule.CidrIpv4 ?? rule.CidrIpv6,
      rule.IpProtocol,
      rule.FromPort,
      rule.ToPort,
    ]),
    [
      ["100.68.0.0/18", "tcp", 5432, 5432],
      ["2001:db8::1/128", "tcp", 5432, 5432],
    ],
  );
  assert.deepEqual(
    shown.map((rule) => [rule.Description, rule.IsEgress, rule.GroupId]),
    [
      ["a & b [c]", false, GROUP],
      ["a & b [c]", false, GROUP],
    ],
  );
  await assert.rejects(authorize(["100.68.7.7/18"], "other"), {
    name: "InvalidPermission.Duplicate",
  });
  await assert.rejects(authorize(["2001:db8::0001/128"]), { name: "InvalidPermission.Duplicate" });
});

test("the embedded EC2 shows a text of any characters that somebody wrote past it", async (context) => {
  const { groups, describe } = await start(context);
  const source = { kind: "ipv4", text: "192.0.2.1/32" } as const;
  const description = `<b>"&amp;'é`;
  groups.set(GROUP, [
    { egress: false, protocol: "tcp", fromPort: 1, toPort: 2, source, description },
  ]);
  assert.equal((await describe()).SecurityGroupRules?.[0]?.Description, description);
});

test("the embedded EC2 refuses what EC2 refuses, and keeps nothing of it", async (context) => {
  const { authorize, authorizePermissions, cidrs } = await start(context);
  const refused = (work: Promise<unknown>, name: string) => assert.rejects(work, { name });
  await refused(authorize(["192.0.2.1"]), "InvalidParameterValue");
  await refused(authorize(["192.0.2.300/32"]), "InvalidParameterValue");
  await refused(authorize(["192.0.2.1/32", "192.0.2.1/32"]), "InvalidParameterValue");
  await refused(authorize(["10.0.0.1/8", "10.0.0.2/8"]), "InvalidParameterValue");
  await refused(authorize(["192.0.2.1/32"], 'say "hi"'), "InvalidParameterValue");
  await refused(authorize(["192.0.2.1/32"], "x".repeat(256)), "InvalidParameterValue");
  await refused(authorize([]), "MissingParameter");
  const range = { IpRanges: [{ CidrIp: "192.0.2.1/32" }] };
  await refused(authorizePermissions({ IpProtocol: "tcp", ...range }), "MissingParameter");
  await refused(
    authorizePermissions({ IpProtocol: "tcp", FromPort: 2, ToPort: 1, ...range }),
    "InvalidParameterValue",
  );
  await refused(authorizePermissions({ IpProtocol: "gre", ...range }), "InvalidParameterValue");
  assert.deepEqual(cidrs(), []);
});

test("the embedded EC2 leaves of a refused batch nothing, or what came before, as it is set", async (context) => {
  for (const batch of ["all-or-nothing", "up-to-the-refused"] as const) {
    const { authorize, cidrs } = await start(context, { batch });
    await authorize(["192.0.2.2/32"]);
    await assert.rejects(authorize(["192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32"]), {
      name: "InvalidPermission.Duplicate",
    });
    const kept = batch === "all-or-nothing" ? [] : ["192.0.2.1/32"];
    assert.deepEqual(cidrs(), ["192.0.2.2/32", ...kept]);
  }
});

test("the embedded EC2 counts each family of inbound rules apart, and references for both", async (context) => {
  const { authorize, groups, cidrs } = await start(context, { rulesMax: 3 });
  const slot = { protocol: "tcp", fromPort: 22, toPort: 22, description: null };
  groups.set(GROUP, [
    { ...slot, egress: false, source: { kind: "prefix-list", text: "pl-1" } },
    { ...slot, egress: true, source: { kind: "ipv4", text: "0.0.0.0/0" } },
  ]);
  await authorize(["192.0.2.1/32", "192.0.2.2/32", "2001:db8::1/128", "2001:db8::2/128"]);
  const full = { name: "RulesPerSecurityGroupLimitExceeded" };
  await assert.rejects(authorize(["192.0.2.3/32"]), full);
  await assert.rejects(authorize(["2001:db8::3/128"]), full);
  assert.equal(cidrs().length, 6);
});

test("the embedded EC2 has a quota of 60 unless it is told otherwise", async (context) => {
  const { authorize } = await start(context);
  const hosts = (count: number) =>
    Array.from({ length: count }, (_, index) => `192.0.2.${index}/32`);
  await authorize(hosts(60));
  await assert.rejects(authorize(["198.51.100.1/32"]), {
    name: "RulesPerSecurityGroupLimitExceeded",
  });
});

test("the embedded EC2 revokes by id all or nothing", async (context) => {
  const { authorize, revokeIds, cidrs } = await start(context);
  const { SecurityGroupRules: rules = [] } = await authorize(["192.0.2.1/32", "192.0.2.2/32"]);
  const ids = rules.map((rule) => rule.SecurityGroupRuleId ?? "");
  await assert.rejects(revokeIds([...ids, "sgr-0"]), {
    name: "InvalidSecurityGroupRuleId.NotFound",
  });
  assert.equal(cidrs().length, 2);
  const { RevokedSecurityGroupRules: revoked = [] } = await revokeIds(ids.slice(0, 1));
  assert.deepEqual(
    revoked.map((rule) => rule.SecurityGroupRuleId),
    ids.slice(0, 1),
  );
  assert.deepEqual(cidrs(), ["192.0.2.2/32"]);
});

test("the embedded EC2 revokes by permission whatever the description, and in a default VPC what is there of it", async (context) => {
  const other = await start(context);
  await other.authorize(["192.0.2.1/32", "192.0.2.2/32"], "a text");
  await assert.rejects(other.revoke(["192.0.2.1/32", "192.0.2.9/32"]), {
    name: "InvalidPermission.NotFound",
  });
  assert.equal(other.cidrs().length, 2);
  await other.revoke(["192.0.2.1/32"]);
  assert.deepEqual(other.cidrs(), ["192.0.2.2/32"]);

  const byDefault = await start(context, { defaultVpc: true });
  await byDefault.authorize(["192.0.2.1/32", "2001:db8::1/128"]);
  const { UnknownIpPermissions: unknown = [] } = await byDefault.revoke([
    "192.0.2.1/32",
    "2001:db8::9/128",
  ]);
  assert.deepEqual(
    unknown.map((permission) => permission.Ipv6Ranges?.[0]?.CidrIpv6),
    ["2001:db8::9/128"],
  );
  assert.deepEqual(byDefault.cidrs(), ["2001:db8::1/128"]);
});

test("the embedded EC2 pages, by what is asked and by what it is set to", async (context) => {
  const { authorize, describe, groups } = await start(context, { pageRulesMax: 8 });
  await authorize(Array.from({ length: 20 }, (_, index) => `192.0.2.${index}/32`));
  const pages: number[] = [];
  let NextToken: string | undefined;
  do {
    const page = await describe({ MaxResults: 1_000, ...(NextToken ? { NextToken } : {}) });
    pages.push(page.SecurityGroupRules?.length ?? 0);
    NextToken = page.NextToken;
  } while (NextToken);
  assert.deepEqual(pages, [8, 8, 4]);
  groups.settings.pageRulesMax = 1_000;
  assert.equal((await describe({ MaxResults: 5 })).SecurityGroupRules?.length, 5);
  for (const MaxResults of [4, 1_001]) {
    await assert.rejects(describe({ MaxResults }), { name: "InvalidParameterValue" });
  }
  await assert.rejects(describe({ NextToken: "page-x" }), { name: "InvalidParameterValue" });
});

test("the embedded EC2 shows reads that lag in both directions, while writes see what is", async (context) => {
  const { authorize, revoke, describe, groups } = await start(context);
  const shown = async () => (await describe()).SecurityGroupRules?.map((rule) => rule.CidrIpv4);
  await authorize(["192.0.2.1/32"]);
  groups.settings.lagWrites = 1;
  assert.deepEqual(await shown(), []);
  await assert.rejects(authorize(["192.0.2.1/32"]), { name: "InvalidPermission.Duplicate" });
  await revoke(["192.0.2.1/32"]);
  assert.deepEqual(await shown(), ["192.0.2.1/32"]);
  groups.settings.lagWrites = 0;
  assert.deepEqual(await shown(), []);
});

test("the embedded EC2 knows no other group: reads are empty, writes are refused", async (context) => {
  const { ec2 } = await start(context);
  const GroupId = "sg-0ff";
  const Filters = [{ Name: "group-id", Values: [GroupId] }];
  const { SecurityGroupRules } = await ec2.send(new DescribeSecurityGroupRulesCommand({ Filters }));
  assert.deepEqual(SecurityGroupRules, []);
  const IpPermissions = [{ IpProtocol: "-1", IpRanges: [{ CidrIp: "192.0.2.1/32" }] }];
  const input = { GroupId, IpPermissions };
  const missing = { name: "InvalidGroup.NotFound" };
  await assert.rejects(ec2.send(new AuthorizeSecurityGroupIngressCommand(input)), missing);
  await assert.rejects(ec2.send(new RevokeSecurityGroupIngressCommand(input)), missing);
});

test("the embedded EC2 answers what it does not know, and what is too long, with an error", async (context) => {
  const { url } = await start(context);
  const post = async (body: string) => {
    const answer = await fetch(url, { method: "POST", body });
    return { status: answer.status, text: await answer.text() };
  };
  const unknown = await post("Action=Delete<b>Everything");
  assert.equal(unknown.status, 400);
  assert.match(
    unknown.text,
    /<Code>InvalidAction<\/Code><Message>The action Delete&lt;b&gt;Everything /,
  );
  assert.equal((await post("")).status, 400);
  assert.equal((await post("x".repeat(1_048_577))).status, 413);
});

test("close() ends connections that are open and takes no more", async (context) => {
  const server = await startEmbeddedEc2({ groups: ec2Groups([GROUP]) });
  const { port } = new URL(server.url);
  const socket = connect(Number(port), "127.0.0.1");
  socket.on("error", () => undefined);
  await once(socket, "connect");
  context.after(() => socket.destroy());
  await soon(Promise.all([once(socket, "close"), server.close()]), "the end of the connection");
  await assert.rejects(fetch(server.url));
});
