import { EC2Client } from "@aws-sdk/client-ec2";
import { type PrefixListClient, prefixListClient } from "./aws/prefix-lists.ts";
import { type SecurityGroupClient, securityGroupClient } from "./aws/security-groups.ts";
import { type AwsConnection, type AwsContext, sessionsOf } from "./aws/session.ts";
import { type SubnetClient, subnetClient } from "./aws/subnets.ts";
import type { AwsKeySource } from "./s3.ts";

/*
 * The door to EC2 and what it counts as its own: whoever opens a client connects to nothing yet.
 * Sessions of one region, endpoint and role are shared within a World.
 */

const ec2Session = sessionsOf((settings) => new EC2Client(settings));

export function openSecurityGroups(
  connection: AwsConnection,
  context: AwsContext,
): SecurityGroupClient {
  return securityGroupClient(ec2Session(connection, context), context.world);
}

export function openPrefixLists(connection: AwsConnection, context: AwsContext): PrefixListClient {
  return prefixListClient(ec2Session(connection, context), context.world);
}

export function openSubnets(connection: AwsConnection, context: AwsContext): SubnetClient {
  return subnetClient(ec2Session(connection, context), context.world);
}

/** WAF has an SDK of its own, which only those load who have a target there. */
export function loadWaf() {
  return import("./aws/waf.ts");
}

/** For what signs by itself. The SDK of STS is loaded by those who have no keys of their own. */
export async function openKeys(
  connection: AwsConnection,
  context: AwsContext,
): Promise<AwsKeySource> {
  const { awsKeys } = await import("./aws/keys.ts");
  return awsKeys(connection, context);
}
