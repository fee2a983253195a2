import { Ec2Error } from "../../cli/embedded/ec2-error.ts";
import type { Ec2Backend } from "../../cli/embedded/ec2-group-actions.ts";
import type { Ec2Groups, Ec2Permission, Ec2Rule } from "../../cli/embedded/ec2-groups.ts";
import { awsErrorOf } from "../../lib/clouds/aws/errors.ts";
import type { IngressRule, SecurityGroupClient } from "../../lib/clouds/aws/security-groups.ts";
import { type FaultPlan, faultPlan, firstHalf } from "./ec2-faults.ts";

export type Ec2Operation = "describe" | "authorize" | "revoke";

export interface FaultyEc2 extends Ec2Backend, FaultPlan<Ec2Operation> {}

/** EC2 on a bad day: faults come between the groups and the caller. */
export function faultyEc2(
  groups: Ec2Groups,
  options: { readonly secret?: string } = {},
): FaultyEc2 {
  const { settings } = groups;
  const { call, ...plan } = faultPlan<Ec2Operation>(["describe", "authorize", "revoke"], {
    secret: options.secret ?? "",
    lagging(writes, read) {
      const { lagWrites } = settings;
      settings.lagWrites = writes;
      try {
        return read();
      } finally {
        settings.lagWrites = lagWrites;
      }
    },
  });
  return {
    ...plan,
    describe: (input, signal) =>
      call("describe", signal, { input, whole: groups.describe, halve: (whole) => whole }),
    authorize: (input, signal) =>
      call("authorize", signal, {
        input,
        whole: groups.authorize,
        halve: (whole) => ({ ...whole, permissions: whole.permissions.map(halfOf) }),
      }),
    revoke: (input, signal) =>
      call("revoke", signal, {
        input,
        whole: groups.revoke,
        halve: (whole) => ({ ...whole, ruleIds: firstHalf(whole.ruleIds ?? []) }),
      }),
  };
}

function halfOf(permission: Ec2Permission): Ec2Permission {
  return { ...permission, ranges: firstHalf(permission.ranges) };
}

/** The narrow client over a backend, without HTTP and SDK; errors pass through the real table. */
export function fakeSecurityGroups(backend: Ec2Backend): SecurityGroupClient {
  async function calling<T>(
    operation: string,
    signal: AbortSignal,
    work: () => Promise<T>,
  ): Promise<T> {
    try {
      signal.throwIfAborted();
      return await work();
    } catch (error) {
      const thrown = error instanceof Ec2Error ? asSdkError(error) : error;
      throw awsErrorOf(thrown, { operation: `ec2:${operation}`, now: 0 });
    }
  }
  return {
    describe: (groupId, signal) =>
      calling("DescribeSecurityGroupRules", signal, async () => {
        const rules: Ec2Rule[] = [];
        let nextToken: string | null = null;
        do {
          const input = { groupIds: [groupId], maxResults: 1_000, nextToken };
          const page: Awaited<ReturnType<Ec2Backend["describe"]>> = await backend.describe(
            input,
            signal,
          );
          rules.push(...page.rules);
          nextToken = page.nextToken;
        } while (nextToken !== null);
        return rules.filter((rule) => !rule.egress).map(ingressOf);
      }),
    authorize: (groupId, change, signal) =>
      calling("AuthorizeSecurityGroupIngress", signal, async () => {
        const { protocol, fromPort, toPort, description } = change;
        const ranges = [
          ...change.ipv4.map((cidr) => ({ family: "ipv4" as const, cidr, description })),
          ...change.ipv6.map((cidr) => ({ family: "ipv6" as const, cidr, description })),
        ];
        const permissions = [{ protocol, fromPort, toPort, ranges }];
        await backend.authorize({ groupId, permissions }, signal);
      }),
    revoke: (groupId, ruleIds, signal) =>
      calling("RevokeSecurityGroupIngress", signal, async () => {
        await backend.revoke({ groupId, ruleIds }, signal);
      }),
  };
}

function ingressOf(rule: Ec2Rule): IngressRule {
  const { id, protocol, fromPort, toPort, description } = rule;
  const { kind, text } = rule.source;
  const source = kind === "ipv4" || kind === "ipv6" ? { family: kind, cidr: text } : null;
  return { id, protocol, fromPort, toPort, source, description };
}

/** As the SDK would throw it. */
function asSdkError(error: Ec2Error): object {
  if (error.status === null) return Object.assign(new Error(error.message), { code: "ECONNRESET" });
  const headers = error.retryAfterS === null ? {} : { "retry-after": String(error.retryAfterS) };
  return Object.assign(new Error(error.message), {
    name: error.code,
    $metadata: { httpStatusCode: error.status },
    $response: { headers },
  });
}
