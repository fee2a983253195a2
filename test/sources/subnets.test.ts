import assert from "node:assert/strict";
import test from "node:test";
import { CloudError } from "../../lib/clouds/error.ts";
import { readSubnet, type SubnetAnswer } from "../../lib/sources/subnets.ts";
import { SUBNET } from "../core/cases.ts";

const never = new AbortController().signal;
const VSWITCH = { ...SUBNET, vendor: "alibaba", region: "cn-beijing", id: "vsw-1" } as const;

const outcomeOf = (answer: SubnetAnswer | null | Error, subnet: typeof SUBNET = SUBNET) => {
  const describe = async () => {
    if (answer instanceof Error) throw answer;
    return answer;
  };
  return readSubnet(subnet, { describe }, never);
};

test("readSubnet() takes both families and the free addresses", async () => {
  const cidrs = ["10.0.0.0/24", "2001:db8:0:0::/64"];
  assert.deepEqual(await outcomeOf({ cidrs, free: 251 }), {
    kind: "read",
    cidrs: ["10.0.0.0/24", "2001:db8::/64"],
    free: 251,
  });
});

test("readSubnet() takes a subnet that vanished for unread, never for an empty one", async () => {
  for (const answer of [null, { cidrs: [], free: 0 }]) {
    const outcome = await outcomeOf(answer, VSWITCH);
    assert.equal(outcome.kind, "failed");
    assert.deepEqual(outcome.cidrs, []);
  }
  const outcome = await outcomeOf(null, VSWITCH);
  assert(outcome.kind === "failed");
  assert.match(
    outcome.message,
    /^Cannot read alibaba\/vswitch\/vsw-1: .* in cn-beijing; .*"from"$/,
  );
});

test("readSubnet() understands an answer whole or not at all", async () => {
  const outcome = await outcomeOf({ cidrs: ["10.0.0.0/24", "fd00::/zz"], free: 1 });
  assert(outcome.kind === "failed");
  assert.deepEqual(outcome.cidrs, []);
});

test("readSubnet() names the permission that is missing, and says twice the same in the same words", async () => {
  const denied = (requestId: string) =>
    new CloudError("denied", "UnauthorizedOperation", {
      operation: "ec2:DescribeSubnets",
      status: 403,
      requestId,
    });
  const outcome = await outcomeOf(denied("r-1"));
  assert(outcome.kind === "failed");
  assert.equal(
    outcome.message,
    "Cannot read aws/subnet/subnet-0a1b: ec2:DescribeSubnets ended in UnauthorizedOperation; " +
      "check the credentials, and that they allow ec2:DescribeSubnets",
  );
  assert.deepEqual(await outcomeOf(denied("r-2")), outcome);
});

test("readSubnet() says what to set where there are no credentials, and what a timeout is", async () => {
  const messageOf = async (code: string) => {
    const outcome = await outcomeOf(new CloudError("unavailable", code, { operation: "signing" }));
    return outcome.kind === "failed" ? outcome.message : "";
  };
  assert.match(await messageOf("CredentialsProviderError"), /; set AWS_ACCESS_KEY_ID, /);
  assert.match(await messageOf("MissingCredentials"), /; set ALIBABA_CLOUD_ACCESS_KEY_ID and /);
  assert.match(await messageOf("TimeoutError"), /; it is tried again, for there was no answer/);
  assert.match(await messageOf("constructor"), /ended in constructor; it is tried again$/);
});

test("readSubnet() goes on with a fault of ours", async () => {
  await assert.rejects(outcomeOf(new TypeError("a bug")), TypeError);
});
