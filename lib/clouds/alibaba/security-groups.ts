import type { Family } from "../../core/cidr.ts";
import { withTimeout } from "../../world.ts";
import { CloudError } from "../error.ts";
import { fieldsOf, UNREADABLE } from "./errors.ts";
import { ECS } from "./products.ts";
import { type AlibabaConnection, type AlibabaContext, openRpc, type Rpc } from "./rpc.ts";

/** One inbound rule of a security group, as ECS wrote it, words in lower case. */
export interface SecurityGroupRule {
  readonly id: string;
  readonly policy: "accept" | "drop";
  /** 1 is the strongest, 100 the weakest; of two that are equal, drop wins. */
  readonly priority: number;
  /** `tcp`, `udp`, `all` or another. */
  readonly protocol: string;
  /**
   * First and last port, -1 where the protocol has none; null for a list of ports kept elsewhere.
   */
  readonly ports: readonly [number, number] | null;
  /** Null where the source is another group or a prefix list. */
  readonly source: { readonly family: Family; readonly address: string } | null;
  /** Whether it holds only for some source ports or some destinations. */
  readonly narrowed: boolean;
  readonly description: string | null;
}

/** New rules that accept; they differ in their source alone. */
export interface SecurityGroupChange {
  readonly protocol: "tcp" | "udp" | "all";
  /** -1 and -1 for the protocol `all`. */
  readonly ports: readonly [number, number];
  readonly priority: number;
  readonly ipv4: readonly string[];
  readonly ipv6: readonly string[];
  readonly description: string;
}

/**
 * The three calls that a security group needs. Each makes one attempt, honours its signal, takes at
 * most {@link SECURITY_GROUP_CALL_MS_MAX} and rejects only with CloudError.
 */
export interface SecurityGroupClient {
  /** Every inbound rule of the group, over all pages. */
  describe(groupId: string, signal: AbortSignal): Promise<readonly SecurityGroupRule[]>;
  /** Adds what is not there; what is there already, with whatever description, stays as it is. */
  authorize(groupId: string, change: SecurityGroupChange, signal: AbortSignal): Promise<void>;
  /** Removes all of them, or none and rejects when one is not there. */
  revoke(groupId: string, ruleIds: readonly string[], signal: AbortSignal): Promise<void>;
}

/** A change may be looked at right after it: both fit into what a target may take. */
export const SECURITY_GROUP_CALL_MS_MAX = 4_000;
// DescribeSecurityGroupAttribute takes 10 to 1,000, and the rules of all groups of one network
// interface together are at most as many: one page is the rule.
const PAGE_RULES_MAX = 1_000;
const PAGES_MAX = 50;
const DESCRIBE = "ecs:DescribeSecurityGroupAttribute";

/** Connects to nothing yet. */
export function securityGroupClient(
  connection: AlibabaConnection,
  context: AlibabaContext,
): SecurityGroupClient {
  const rpc = openRpc(connection, context);
  const timeoutMs = SECURITY_GROUP_CALL_MS_MAX;
  const group = (groupId: string) => ({ RegionId: connection.region, SecurityGroupId: groupId });
  return {
    describe(groupId, signal) {
      const reason = () => new CloudError("unavailable", "TimeoutError", { operation: DESCRIBE });
      // The pages share the time of one call.
      return withTimeout(context.world, timeoutMs, { signal, reason }, (inner) =>
        describeRules(rpc, group(groupId), inner),
      );
    },
    async authorize(groupId, change, signal) {
      const params = { ...group(groupId), Permissions: permissionsOf(change) };
      await rpc.call({ product: ECS, action: "AuthorizeSecurityGroup", params, timeoutMs }, signal);
    },
    async revoke(groupId, ruleIds, signal) {
      const params = { ...group(groupId), SecurityGroupRuleId: ruleIds };
      await rpc.call({ product: ECS, action: "RevokeSecurityGroup", params, timeoutMs }, signal);
    },
  };
}

async function describeRules(
  rpc: Rpc,
  group: { readonly RegionId: string; readonly SecurityGroupId: string },
  signal: AbortSignal,
): Promise<readonly SecurityGroupRule[]> {
  const rules: SecurityGroupRule[] = [];
  let token: string | undefined;
  for (let page = 0; page < PAGES_MAX; page += 1) {
    const params = {
      ...group,
      Direction: "ingress",
      NicType: "intranet",
      MaxResults: PAGE_RULES_MAX,
      NextToken: token,
    };
    const answer = await rpc.call(
      { product: ECS, action: "DescribeSecurityGroupAttribute", params },
      signal,
    );
    const rows = fieldsOf(answer.Permissions).Permission;
    if (answer.SecurityGroupId !== group.SecurityGroupId || !Array.isArray(rows)) {
      throw unreadable();
    }
    for (const row of rows) {
      const fields = fieldsOf(row);
      const direction = textOf(fields.Direction)?.toLowerCase();
      if (direction === "egress") continue;
      // A row that does not say which way it is may be one of these rules.
      if (direction !== "ingress") throw unreadable();
      rules.push(ruleOf(fields));
    }
    token = textOf(answer.NextToken) ?? undefined;
    if (token === undefined) return rules;
  }
  throw unreadable();
}

type Row = Readonly<Record<string, unknown>>;

function ruleOf(row: Row): SecurityGroupRule {
  const id = textOf(row.SecurityGroupRuleId);
  const policy = textOf(row.Policy)?.toLowerCase();
  const protocol = textOf(row.IpProtocol)?.toLowerCase();
  const priority = priorityOf(row.Priority);
  const known = policy === "accept" || policy === "drop";
  if (id === null || protocol === undefined || priority === null || !known) throw unreadable();
  return {
    id,
    policy,
    priority,
    protocol,
    ports: portsOf(row),
    source: sourceOf(row),
    narrowed: [row.SourcePortRange, row.DestCidrIp, row.Ipv6DestCidrIp].some(
      (text) => textOf(text) !== null,
    ),
    description: textOf(row.Description),
  };
}

/** What is not set is left out or empty. */
function textOf(value: unknown): string | null {
  return typeof value === "string" && value !== "" ? value : null;
}

/** A number, or its digits: both were seen. */
function priorityOf(value: unknown): number | null {
  const priority = typeof value === "string" && /^\d{1,3}$/.test(value) ? Number(value) : value;
  const known = typeof priority === "number" && Number.isInteger(priority);
  return known && priority >= 1 && priority <= 100 ? priority : null;
}

function portsOf(row: Row): SecurityGroupRule["ports"] {
  if (textOf(row.PortRangeListId) !== null) return null;
  const [, first, last] = /^(-1|\d{1,5})\/(-1|\d{1,5})$/.exec(textOf(row.PortRange) ?? "") ?? [];
  if (first === undefined || last === undefined) throw unreadable();
  return [Number(first), Number(last)];
}

function sourceOf(row: Row): SecurityGroupRule["source"] {
  const ipv4 = textOf(row.SourceCidrIp);
  if (ipv4 !== null) return { family: "ipv4", address: ipv4 };
  const ipv6 = textOf(row.Ipv6SourceCidrIp);
  if (ipv6 !== null) return { family: "ipv6", address: ipv6 };
  const reference = textOf(row.SourceGroupId) ?? textOf(row.SourcePrefixListId);
  if (reference === null) throw unreadable();
  return null;
}

/** A read that is not understood whole is no read. */
function unreadable(): CloudError {
  return new CloudError("unavailable", UNREADABLE, { operation: DESCRIBE });
}

function permissionsOf(change: SecurityGroupChange) {
  const rule = {
    Policy: "accept",
    Priority: String(change.priority),
    IpProtocol: change.protocol.toUpperCase(),
    PortRange: change.ports.join("/"),
    NicType: "intranet",
    Description: change.description,
  };
  return [
    ...change.ipv4.map((address) => ({ ...rule, SourceCidrIp: address })),
    ...change.ipv6.map((address) => ({ ...rule, Ipv6SourceCidrIp: address })),
  ];
}
