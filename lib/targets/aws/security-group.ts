import assert from "node:assert/strict";
import * as z from "zod/mini";
import type {
  IngressPermission,
  IngressRule,
  SecurityGroupClient,
} from "../../clouds/aws/security-groups.ts";
import { partitionOf } from "../../clouds/partitions.ts";
import { byFamily, type Cidr, FAMILIES, parseCidr, sortCidrs } from "../../core/cidr.ts";
import type { TargetConfig } from "../../core/list.ts";
import type { Capacity, ObservedEntry, Traits } from "../../core/observation.ts";
import { entriesText } from "../errors.ts";
import type { TargetKind } from "../kind.ts";
import { type Permission, permissionName, permissionShape, portsOf } from "../permission.ts";
import { type Batch, type Target, TargetError } from "../target.ts";
import { regionShape } from "./common.ts";
import { targetErrorOf } from "./errors.ts";

export const SECURITY_GROUP_TRAITS: Traits = {
  families: FAMILIES,
  ranges: true,
  overlap: true,
  marking: "entry",
  write: "entry",
  whenEmpty: "closed",
  // Above the default quota of 60 for each family, and far below the 1,000 that one call may name.
  batchMax: 100,
  settleMs: 0,
  callMs: 5_000,
};

const GROUP_ID = /^sg-[0-9a-f]{1,17}$/;
// IpRange.Description in the EC2 API reference.
const DESCRIPTION = /^[a-zA-Z0-9. _\-:/()#,@[\]+=&;{}!$*]{1,255}$/;
const PROTOCOL_ALL = "-1";

const securityGroupShape = z.strictObject({
  region: regionShape,
  id: z.string().check(
    z.regex(GROUP_ID, {
      error: ({ input }) =>
        `Cannot use id ${JSON.stringify(input)}: write a group's id like "sg-0a1b2c3d4e5f60718"`,
    }),
  ),
  permission: permissionShape,
});

/** As EC2 writes it: -1 for all protocols, and for their ports. */
function ingressPermission(permission: Permission): IngressPermission {
  const ports = portsOf(permission);
  if (ports === null) return { protocol: PROTOCOL_ALL, fromPort: -1, toPort: -1 };
  return { protocol: permission.protocol, fromPort: ports[0], toPort: ports[1] };
}

type Settings = z.output<typeof securityGroupShape>;

/** `aws/security-group`, without its SDK. */
export const securityGroupKind: TargetKind<Settings, SecurityGroupClient> = {
  shape: securityGroupShape,
  traits: () => SECURITY_GROUP_TRAITS,
  parts: ({ region, id, permission }) => ({
    object: [region, id],
    slot: permissionName(permission),
  }),
  permissions: ({ region, id }, account) => {
    const group = `arn:${partitionOf(region)}:ec2:${region}:${account}:security-group/${id}`;
    return {
      dialect: "iam",
      // EC2 knows no resources for what only describes.
      read: [{ actions: ["ec2:DescribeSecurityGroupRules"], resources: ["*"] }],
      add: [{ actions: ["ec2:AuthorizeSecurityGroupIngress"], resources: [group] }],
      remove: [{ actions: ["ec2:RevokeSecurityGroupIngress"], resources: [group] }],
    };
  },
  make: securityGroupTarget,
};

/**
 * The inbound rules of one permission of one EC2 security group. Rules whose source is a group or a
 * prefix list are nobody's entries here; they only count against the limit.
 */
export function securityGroupTarget(
  config: Pick<TargetConfig, "name" | "object" | "limit">,
  settings: Settings,
  client: SecurityGroupClient,
): Target {
  const { id } = settings;
  const permission = ingressPermission(settings.permission);
  let ruleIds: ReadonlyMap<Cidr, readonly string[]> = new Map();
  return {
    name: config.name,
    object: config.object,
    traits: SECURITY_GROUP_TRAITS,
    async observe(signal) {
      const doing = `read ${config.name}`;
      const rules = await client.describe(id, signal).catch((thrown) => {
        throw targetErrorOf(thrown, doing);
      });
      const found = entriesByCidr(rules, permission, doing);
      ruleIds = new Map([...found].map(([cidr, rows]) => [cidr, rows.map((row) => row.id)]));
      const entries = sortCidrs(found.keys()).flatMap((cidr) => found.get(cidr) ?? []);
      return {
        entries: entries.map(({ entry }) => entry),
        revision: null,
        capacity: config.limit === null ? [] : capacityOf(rules, config.limit),
      };
    },
    async apply(batch, _revision, signal) {
      const { batchMax } = SECURITY_GROUP_TRAITS;
      assert(batch.cidrs.length > 0 && batch.cidrs.length <= batchMax, "batch of the wrong size");
      const doing = `${batch.verb} ${entriesText(batch.cidrs.length)} on ${config.name}`;
      const call =
        batch.verb === "add"
          ? client.authorize(id, changeOf(batch, permission), signal)
          : client.revoke(id, namedRules(batch, ruleIds, doing), signal);
      await call.catch((thrown) => {
        throw targetErrorOf(thrown, doing);
      });
      return null;
    },
  };
}

interface Row {
  readonly id: string;
  readonly entry: ObservedEntry;
}

/** Several rows for one CIDR are possible only where a server does not write addresses one way. */
function entriesByCidr(
  rules: readonly IngressRule[],
  permission: IngressPermission,
  doing: string,
): Map<Cidr, Row[]> {
  const found = new Map<Cidr, Row[]>();
  for (const rule of rules) {
    if (rule.source === null || !isOfPermission(rule, permission)) continue;
    const cidr = parseCidr(rule.source.cidr);
    if (cidr === null) {
      throw new TargetError(
        "unavailable",
        `Cannot ${doing}: the address of rule ${rule.id} cannot be read; it is tried again`,
      );
    }
    const row: Row = { id: rule.id, entry: { cidr, text: rule.description, effect: "allow" } };
    found.set(cidr, [...(found.get(cidr) ?? []), row]);
  }
  return found;
}

function isOfPermission(rule: IngressRule, permission: IngressPermission): boolean {
  if (rule.protocol !== permission.protocol) return false;
  if (permission.protocol === PROTOCOL_ALL) return true;
  return rule.fromPort === permission.fromPort && rule.toPort === permission.toPort;
}

/**
 * Each family has a quota of its own. A reference to a group counts as one rule of both; one to a
 * prefix list weighs more, and does not say how much: what then does not fit, the error tells.
 */
function capacityOf(rules: readonly IngressRule[], limit: number): readonly Capacity[] {
  return FAMILIES.map((family) => {
    const counted = rules.filter(({ source }) => source === null || source.family === family);
    return { families: [family], used: counted.length, limit };
  });
}

function changeOf(batch: Batch, permission: IngressPermission) {
  assert(DESCRIPTION.test(batch.text), "text that EC2 takes as a description");
  return { ...permission, ...byFamily(batch.cidrs), description: batch.text };
}

/**
 * Rules go by the ids that were read, not by their addresses: EC2 does not look at the description
 * of a rule that it is asked to revoke, and between the read and the call somebody may have put a
 * rule of their own in the place of ours.
 */
function namedRules(
  batch: Batch,
  ruleIds: ReadonlyMap<Cidr, readonly string[]>,
  doing: string,
): readonly string[] {
  return sortCidrs(batch.cidrs).map((cidr) => {
    const [ruleId, ...others] = ruleIds.get(cidr) ?? [];
    if (ruleId === undefined) {
      throw new TargetError(
        "conflict",
        `Cannot ${doing}: no rule for ${cidr} was read; read again`,
      );
    }
    if (others.length === 0) return ruleId;
    throw new TargetError(
      "invalid",
      `Cannot ${doing}: ${cidr} stands in several rules; remove all but one by hand`,
    );
  });
}
