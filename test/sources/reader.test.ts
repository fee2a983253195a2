import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import test, { type TestContext } from "node:test";
import type { Subnet } from "../../lib/core/outside.ts";
import { NameError } from "../../lib/sources/names.ts";
import { sourceReader } from "../../lib/sources/reader.ts";
import { NAT, SUBNET } from "../core/cases.ts";
import { virtualWorld } from "../virtual-world.ts";

const CANARY = "canary-secret-0123456789";
const ENV = {
  AWS_ACCESS_KEY_ID: "AKIAIOSFODNN7EXAMPLE",
  AWS_SECRET_ACCESS_KEY: CANARY,
  ALIBABA_CLOUD_ACCESS_KEY_ID: "LTAI5tExample",
  ALIBABA_CLOUD_ACCESS_KEY_SECRET: CANARY,
};
const never = new AbortController().signal;

/** A cloud that gives one answer to everything, and keeps what it was asked. */
async function cloud(t: TestContext, answer: { status?: number; type: string; body: string }) {
  const asked: URLSearchParams[] = [];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const { searchParams } = new URL(request.url ?? "/", "http://cloud");
    const form = new URLSearchParams(Buffer.concat(chunks).toString());
    asked.push(new URLSearchParams([...searchParams, ...form]));
    response.writeHead(answer.status ?? 200, { "content-type": answer.type });
    response.end(answer.body);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, asked };
}

function reader(secrets: Readonly<Record<string, string>> = {}) {
  const names = { resolve: () => Promise.reject(new NameError("ENOTFOUND")) };
  const secret = (reference: string) => {
    const value = secrets[reference];
    if (value === undefined) throw new Error(`Cannot resolve ${reference}: it is not set`);
    return value;
  };
  return sourceReader({ world: virtualWorld(), env: ENV, secret }, names);
}

const subnetXml = `<DescribeSubnetsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
  <subnetSet><item><subnetId>subnet-0a1b</subnetId><cidrBlock>10.0.0.0/24</cidrBlock>
  <availableIpAddressCount>251</availableIpAddressCount>
  <ipv6CidrBlockAssociationSet><item><ipv6CidrBlock>2001:db8::/64</ipv6CidrBlock>
  <ipv6CidrBlockState><state>associated</state></ipv6CidrBlockState></item>
  </ipv6CidrBlockAssociationSet></item></subnetSet></DescribeSubnetsResponse>`;

test("sourceReader() reads a subnet of AWS through its own client", async (t) => {
  const aws = await cloud(t, { type: "text/xml", body: subnetXml });
  const subnet: Subnet = { ...SUBNET, settings: { endpoint: aws.url } };
  assert.deepEqual(await reader()(subnet, never), {
    kind: "read",
    cidrs: ["10.0.0.0/24", "2001:db8::/64"],
    free: 251,
  });
  assert.equal(aws.asked[0]?.get("Action"), "DescribeSubnets");
  assert.equal(aws.asked[0]?.get("SubnetId.1"), "subnet-0a1b");
});

test("sourceReader() reads a vSwitch of Alibaba Cloud through its own client", async (t) => {
  const row = { VSwitchId: "vsw-1", CidrBlock: "10.1.0.0/24", AvailableIpAddressCount: 252 };
  const body = JSON.stringify({ RequestId: "r", VSwitches: { VSwitch: [row] }, TotalCount: 1 });
  const alibaba = await cloud(t, { type: "application/json", body });
  const subnet: Subnet = {
    kind: "subnet",
    vendor: "alibaba",
    region: "cn-beijing",
    id: "vsw-1",
    settings: { endpoint: "env:VPC" },
  };
  assert.deepEqual(await reader({ "env:VPC": alibaba.url })(subnet, never), {
    kind: "read",
    cidrs: ["10.1.0.0/24"],
    free: 252,
  });
  assert.equal(alibaba.asked[0]?.get("Action"), "DescribeVSwitches");
  assert.equal(alibaba.asked[0]?.get("VSwitchId"), "vsw-1");
});

test("sourceReader() tells what a cloud refused, and no secret", async (t) => {
  const body =
    "<Response><Errors><Error><Code>UnauthorizedOperation</Code>" +
    `<Message>You may not, with ${CANARY}</Message></Error></Errors></Response>`;
  const aws = await cloud(t, { status: 403, type: "text/xml", body });
  const outcome = await reader()({ ...SUBNET, settings: { endpoint: aws.url } }, never);
  assert(outcome.kind === "failed");
  assert.equal(
    outcome.message,
    "Cannot read aws/subnet/subnet-0a1b: ec2:DescribeSubnets ended in UnauthorizedOperation; " +
      "check the credentials, and that they allow ec2:DescribeSubnets",
  );
});

test("sourceReader() tells what is missing to reach a cloud", async () => {
  const outcome = await reader()({ ...SUBNET, settings: { endpoint: "env:NOWHERE" } }, never);
  assert(outcome.kind === "failed");
  assert.match(outcome.message, /^Cannot read aws\/subnet\/subnet-0a1b: it cannot be reached\./);
  assert.match(outcome.message, /Cannot resolve env:NOWHERE: it is not set$/);
});

test("sourceReader() asks the name servers it was given", async () => {
  const outcome = await reader()(NAT, never);
  assert(outcome.kind === "failed");
  assert.match(outcome.message, /there is no such name/);
});
