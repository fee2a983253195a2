import type { Family } from "../../lib/core/cidr.ts";
import { Ec2Error } from "./ec2-error.ts";
import type { Ec2Groups, Ec2Permission, Ec2Rule } from "./ec2-groups.ts";
import {
  type Awaitable,
  type Ec2Actions,
  element,
  numbered,
  numberedItems,
  numberOf,
  OWNER,
} from "./ec2-wire.ts";

/** What answers the calls: the groups themselves, or something between them and the wire. */
export interface Ec2Backend {
  describe(
    input: Parameters<Ec2Groups["describe"]>[0],
    signal: AbortSignal,
  ): Awaitable<ReturnType<Ec2Groups["describe"]>>;
  authorize(
    input: Parameters<Ec2Groups["authorize"]>[0],
    signal: AbortSignal,
  ): Awaitable<ReturnType<Ec2Groups["authorize"]>>;
  revoke(
    input: Parameters<Ec2Groups["revoke"]>[0],
    signal: AbortSignal,
  ): Awaitable<ReturnType<Ec2Groups["revoke"]>>;
}

/** The three operations on security groups. */
export function groupActions(groups: Ec2Backend): Ec2Actions {
  return {
    async DescribeSecurityGroupRules(form, signal) {
      const maxResults = form.get("MaxResults");
      const page = await groups.describe(
        {
          groupIds: groupFilter(form),
          maxResults: maxResults === null ? null : Number(maxResults),
          nextToken: form.get("NextToken"),
        },
        signal,
      );
      const token = page.nextToken === null ? "" : element("nextToken", page.nextToken);
      return ruleSet("securityGroupRuleSet", page.rules) + token;
    },
    async AuthorizeSecurityGroupIngress(form, signal) {
      const permissions = permissionsOf(form);
      const added = await groups.authorize({ groupId: groupOf(form), permissions }, signal);
      return element("return", "true") + ruleSet("securityGroupRuleSet", added);
    },
    async RevokeSecurityGroupIngress(form, signal) {
      const { revoked, unknown } = await groups.revoke(
        {
          groupId: groupOf(form),
          permissions: permissionsOf(form),
          ruleIds: numbered(form, "SecurityGroupRuleId"),
        },
        signal,
      );
      const done = element("return", "true") + unknownSet(unknown);
      return done + ruleSet("revokedSecurityGroupRuleSet", revoked);
    },
  };
}

function groupOf(form: URLSearchParams): string {
  const groupId = form.get("GroupId");
  if (groupId) return groupId;
  throw new Ec2Error("MissingParameter", "The request must contain the parameter groupId.");
}

/** Without a filter EC2 shows the rules of all groups; nothing here asks for that. */
function groupFilter(form: URLSearchParams): readonly string[] {
  const name = form.get("Filter.1.Name");
  if (name === "group-id" && form.get("Filter.2.Name") === null) {
    return numbered(form, "Filter.1.Value");
  }
  throw new Ec2Error("InvalidParameterValue", "The one filter that is known here is group-id.");
}

function permissionsOf(form: URLSearchParams): readonly Ec2Permission[] {
  return numberedItems("IpPermissions", (prefix) => {
    const protocol = form.get(`${prefix}.IpProtocol`);
    if (protocol === null) return null;
    return {
      protocol,
      fromPort: numberOf(form.get(`${prefix}.FromPort`)),
      toPort: numberOf(form.get(`${prefix}.ToPort`)),
      ranges: [
        ...rangesOf(form, `${prefix}.IpRanges`, { family: "ipv4", member: "CidrIp" }),
        ...rangesOf(form, `${prefix}.Ipv6Ranges`, { family: "ipv6", member: "CidrIpv6" }),
      ],
    };
  });
}

function rangesOf(
  form: URLSearchParams,
  prefix: string,
  { family, member }: { readonly family: Family; readonly member: string },
): Ec2Permission["ranges"] {
  return numberedItems(prefix, (item) => {
    const cidr = form.get(`${item}.${member}`);
    return cidr === null ? null : { family, cidr, description: form.get(`${item}.Description`) };
  });
}

function ruleSet(name: string, rules: readonly Ec2Rule[]): string {
  return `<${name}>${rules.map((rule) => `<item>${ruleXml(rule)}</item>`).join("")}</${name}>`;
}

function ruleXml(rule: Ec2Rule): string {
  const { kind, text } = rule.source;
  const source = {
    ipv4: () => element("cidrIpv4", text),
    ipv6: () => element("cidrIpv6", text),
    "prefix-list": () => element("prefixListId", text),
    group: () => `<referencedGroupInfo>${element("groupId", text)}</referencedGroupInfo>`,
  }[kind]();
  return [
    element("securityGroupRuleId", rule.id),
    element("groupId", rule.groupId),
    element("groupOwnerId", OWNER),
    element("isEgress", String(rule.egress)),
    element("ipProtocol", rule.protocol),
    element("fromPort", String(rule.fromPort)),
    element("toPort", String(rule.toPort)),
    source,
    rule.description === null ? "" : element("description", rule.description),
    "<tagSet/>",
  ].join("");
}

function unknownSet(unknown: readonly Ec2Permission[]): string {
  const items = unknown.map(({ protocol, ranges }) => {
    const members = (family: Family, member: string) =>
      ranges
        .filter((range) => range.family === family)
        .map(({ cidr }) => `<item>${element(member, cidr)}</item>`)
        .join("");
    const ipv4 = `<ipRanges>${members("ipv4", "cidrIp")}</ipRanges>`;
    const ipv6 = `<ipv6Ranges>${members("ipv6", "cidrIpv6")}</ipv6Ranges>`;
    return `<item>${element("ipProtocol", protocol)}${ipv4}${ipv6}</item>`;
  });
  return `<unknownIpPermissionSet>${items.join("")}</unknownIpPermissionSet>`;
}
