import { DescribeSubnetsCommand, type EC2Client, type Subnet } from "@aws-sdk/client-ec2";
import type { World } from "../../world.ts";
import { CloudError } from "../error.ts";
import { unreadable } from "./errors.ts";
import { calling, type Session } from "./session.ts";

/** What a subnet is made of, as EC2 wrote it. */
export interface SubnetBlocks {
  /** Its IPv4 block, unless it has none, and the IPv6 blocks that are associated. Never empty. */
  readonly cidrs: readonly string[];
  /** IPv4 addresses that nobody has yet; null where there is no IPv4 block. */
  readonly free: number | null;
}

/** One attempt, within CALL_MS_MAX; rejects only with CloudError. */
export interface SubnetClient {
  /** Null when there is no such subnet, neither by id nor in this region and account. */
  describe(subnetId: string, signal: AbortSignal): Promise<SubnetBlocks | null>;
}

const DESCRIBE = "ec2:DescribeSubnets";
const NOT_FOUND = "InvalidSubnetID.NotFound";

export function subnetClient(session: Session<EC2Client>, world: World): SubnetClient {
  return {
    async describe(subnetId, signal) {
      try {
        return await calling(DESCRIBE, { session, world, signal }, async (client, inner) => {
          const command = new DescribeSubnetsCommand({ SubnetIds: [subnetId] });
          const { Subnets } = await client.send(command, { abortSignal: inner });
          const [subnet, ...others] = Subnets ?? [];
          // A subnet that is not there is an error of EC2's and never an empty answer.
          if (subnet?.SubnetId !== subnetId || others.length > 0) throw unreadable(DESCRIBE);
          return blocksOf(subnet);
        });
      } catch (error) {
        if (error instanceof CloudError && error.code === NOT_FOUND) return null;
        throw error;
      }
    },
  };
}

function blocksOf(subnet: Subnet): SubnetBlocks {
  const ipv6 = (subnet.Ipv6CidrBlockAssociationSet ?? []).flatMap((association) => {
    const state = association.Ipv6CidrBlockState?.State;
    if (state === undefined) throw unreadable(DESCRIBE);
    if (state !== "associated") return [];
    if (association.Ipv6CidrBlock === undefined) throw unreadable(DESCRIBE);
    return [association.Ipv6CidrBlock];
  });
  // Only a subnet for IPv6 alone says so, and has no IPv4 block.
  const ipv4 = subnet.Ipv6Native === true ? undefined : subnet.CidrBlock;
  if (ipv4 === undefined && subnet.Ipv6Native !== true) throw unreadable(DESCRIBE);
  const cidrs = [...(ipv4 === undefined ? [] : [ipv4]), ...ipv6];
  if (cidrs.length === 0) throw unreadable(DESCRIBE);
  return { cidrs, free: ipv4 === undefined ? null : (subnet.AvailableIpAddressCount ?? null) };
}
