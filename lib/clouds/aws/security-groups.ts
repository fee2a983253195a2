import {
  AuthorizeSecurityGroupIngressCommand,
  DescribeSecurityGroupRulesCommand,
  type EC2Client,
  RevokeSecurityGroupIngressCommand,
  type SecurityGroupRule,
} from "@aws-sdk/client-ec2";
import type { Family } from "../../core/cidr.ts";
import type { World } from "../../world.ts";
import { unreadable } from "./errors.ts";
import { calling, type Session } from "./session.ts";

/** One inbound rule of a security group, as EC2 wrote it. */
export interface IngressRule {
  readonly id: string;
  /** `tcp`, `udp`, `-1` for all, or another protocol's name or number. */
  readonly protocol: string;
  /** -1 where the protocol has no ports. */
  readonly fromPort: number;
  readonly toPort: number;
  /** Null where the source is another group or a prefix list. */
  readonly source: { readonly family: Family; readonly cidr: string } | null;
  readonly description: string | null;
}

export interface IngressPermission {
  readonly protocol: string;
  readonly fromPort: number;
  readonly toPort: number;
}

export interface IngressChange extends IngressPermission {
  readonly ipv4: readonly string[];
  readonly ipv6: readonly string[];
  readonly description: string;
}

/**
 * The three calls that a security group needs. Each makes one attempt, honours its signal, takes at
 * most CALL_MS_MAX and rejects only with CloudError.
 */
export interface SecurityGroupClient {
  /**
   * Every inbound rule of the group, over all pages. A group that does not exist may read as one
   * without rules.
   */
  describe(groupId: string, signal: AbortSignal): Promise<readonly IngressRule[]>;
  authorize(groupId: string, change: IngressChange, signal: AbortSignal): Promise<void>;
  revoke(groupId: string, ruleIds: readonly string[], signal: AbortSignal): Promise<void>;
}

// EC2 takes 5 to 1,000. Quotas multiply to 1,000 rules per network interface: one page is the rule.
const PAGE_RULES_MAX = 1_000;
const PAGES_MAX = 50;
const DESCRIBE = "ec2:DescribeSecurityGroupRules";

export function securityGroupClient(
  session: Session<EC2Client>,
  world: World,
): SecurityGroupClient {
  return {
    describe: (groupId, signal) =>
      calling(DESCRIBE, { session, world, signal }, (client, inner) =>
        describeRules(client, groupId, inner),
      ),
    authorize: (groupId, change, signal) =>
      calling("ec2:AuthorizeSecurityGroupIngress", { session, world, signal }, (client, inner) =>
        client.send(authorizeCommand(groupId, change), { abortSignal: inner }),
      ).then(() => undefined),
    revoke: (groupId, ruleIds, signal) =>
      calling("ec2:RevokeSecurityGroupIngress", { session, world, signal }, (client, inner) =>
        client.send(
          new RevokeSecurityGroupIngressCommand({
            GroupId: groupId,
            SecurityGroupRuleIds: [...ruleIds],
          }),
          { abortSignal: inner },
        ),
      ).then(() => undefined),
  };
}

async function describeRules(
  client: EC2Client,
  groupId: string,
  signal: AbortSignal,
): Promise<readonly IngressRule[]> {
  const rules: IngressRule[] = [];
  let token: string | undefined;
  for (let page = 0; page < PAGES_MAX; page += 1) {
    const answer = await client.send(
      new DescribeSecurityGroupRulesCommand({
        Filters: [{ Name: "group-id", Values: [groupId] }],
        MaxResults: PAGE_RULES_MAX,
        NextToken: token,
      }),
      { abortSignal: signal },
    );
    // Of any page with status 200, a proxy's greeting included, the SDK makes an answer without the
    // member; of a group without rules it makes an empty array.
    if (answer.SecurityGroupRules === undefined) throw unreadable(DESCRIBE);
    for (const row of answer.SecurityGroupRules) {
      if (row.GroupId === groupId && row.IsEgress === false) rules.push(ruleOf(row));
      // A row that does not say whose and which way it is may be one of these rules.
      else if (row.GroupId === undefined || row.IsEgress === undefined) throw unreadable(DESCRIBE);
    }
    token = answer.NextToken || undefined;
    if (token === undefined) return rules;
  }
  throw unreadable(DESCRIBE);
}

function ruleOf(row: SecurityGroupRule): IngressRule {
  if (row.SecurityGroupRuleId === undefined || row.IpProtocol === undefined) {
    throw unreadable(DESCRIBE);
  }
  return {
    id: row.SecurityGroupRuleId,
    protocol: row.IpProtocol,
    fromPort: row.FromPort ?? -1,
    toPort: row.ToPort ?? -1,
    source: sourceOf(row),
    description: row.Description ?? null,
  };
}

function sourceOf(row: SecurityGroupRule): IngressRule["source"] {
  if (row.CidrIpv4 !== undefined) return { family: "ipv4", cidr: row.CidrIpv4 };
  if (row.CidrIpv6 !== undefined) return { family: "ipv6", cidr: row.CidrIpv6 };
  if (row.PrefixListId === undefined && row.ReferencedGroupInfo === undefined) {
    throw unreadable(DESCRIBE);
  }
  return null;
}

function authorizeCommand(groupId: string, change: IngressChange) {
  const Description = change.description;
  return new AuthorizeSecurityGroupIngressCommand({
    GroupId: groupId,
    IpPermissions: [
      {
        IpProtocol: change.protocol,
        FromPort: change.fromPort,
        ToPort: change.toPort,
        IpRanges: change.ipv4.map((CidrIp) => ({ CidrIp, Description })),
        Ipv6Ranges: change.ipv6.map((CidrIpv6) => ({ CidrIpv6, Description })),
      },
    ],
  });
}
