import assert from "node:assert/strict";
import * as z from "zod";
import type { IngressPermission, IngressRule, SecurityGroupClient } from "../../clouds/aws.ts";
import { type Cidr, FAMILIES, familyOf, parseCidr, sortCidrs } from "../../core/cidr.ts";
import type { TargetConfig } from "../../core/list.ts";
import type { Capacity, ObservedEntry, Traits } from "../../core/observation.ts";
import { type Batch, type Target, TargetError } from "../target.ts";
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

const PORT_MAX = 65_535;
const PORTS = /^(0|[1-9][0-9]{0,4})(?:-(0|[1-9][0-9]{0,4}))?$/;
const REGION = /^[a-z]{2,4}(-[a-z]{2,10}){1,2}-[1-9][0-9]?$/;
const GROUP_ID = /^sg-[0-9a-f]{1,17}$/;
// IpRange.Description in the EC2 API reference.
const DESCRIPTION = /^[a-zA-Z0-9. _\-:/()#,@[\]+=&;{}!$*]{1,255}$/;
const PROTOCOL_ALL = "-1";

const permissionShape = z
  .strictObject({
    protocol: z.enum(["tcp", "udp", "all"], {
      error: ({ input }) => `Cannot use protocol ${JSON.stringify(input)}: write tcp, udp or all`,
    }),
    port: z
      .union(
        [
          z
            .int({ error: portMessage })
            .min(0, { error: portMessage })
            .max(PORT_MAX, { error: portMessage }),
          z.string().refine(isPorts, { error: portMessage }),
        ],
        { error: portMessage },
      )
      .optional(),
  })
  .superRefine(({ protocol, port }, context) => {
    const message =
      protocol === "all"
        ? "Cannot use port with protocol all: leave the port out"
        : `Cannot use protocol ${protocol} without a port: add one, like 5432 or "5432-5440"`;
    if ((protocol === "all") !== (port === undefined)) {
      context.addIssue({ code: "custom", path: ["port"], message });
    }
  });

export const securityGroupShape = z.strictObject({
  region: z.string().regex(REGION, {
    error: ({ input }) => `Cannot use region ${JSON.stringify(input)}: write it like "eu-west-1"`,
  }),
  id: z.string().regex(GROUP_ID, {
    error: ({ input }) =>
      `Cannot use id ${JSON.stringify(input)}: write a group's id like "sg-0a1b2c3d4e5f60718"`,
  }),
  permission: permissionShape,
});

type Permission = z.output<typeof permissionShape>;

function portMessage({ input }: { readonly input?: unknown }): string {
  const range = `a number from 0 to ${PORT_MAX}, or a range like "5432-5440"`;
  return `Cannot use port ${JSON.stringify(input)}: write ${range}`;
}

function isPorts(text: string): boolean {
  const [, first, last = first] = PORTS.exec(text) ?? [];
  return first !== undefined && Number(first) <= Number(last) && Number(last) <= PORT_MAX;
}

/** The last part of a target's name: `tcp-5432`, `tcp-5432-5440`, `all`. */
export function permissionName(permission: Permission): string {
  if (permission.protocol === "all") return "all";
  const { fromPort, toPort } = ingressPermission(permission);
  return [permission.protocol, ...new Set([fromPort, toPort])].join("-");
}

/** As EC2 writes it: -1 for all protocols, and for their ports. */
function ingressPermission({ protocol, port }: Permission): IngressPermission {
  if (protocol === "all") return { protocol: PROTOCOL_ALL, fromPort: -1, toPort: -1 };
  const [, first, last = first] = PORTS.exec(String(port)) ?? [];
  return { protocol, fromPort: Number(first), toPort: Number(last) };
}

/**
 * The inbound rules of one permission of one EC2 security group. Rules whose source is a group or a
 * prefix list are nobody's entries here; they only count against the limit.
 */
export function securityGroupTarget(
  config: Pick<TargetConfig, "name" | "object" | "limit">,
  settings: z.output<typeof securityGroupShape>,
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

function entriesText(count: number): string {
  return count === 1 ? "1 entry" : `${count} entries`;
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
  const cidrs = sortCidrs(batch.cidrs);
  return {
    ...permission,
    ipv4: cidrs.filter((cidr) => familyOf(cidr) === "ipv4"),
    ipv6: cidrs.filter((cidr) => familyOf(cidr) === "ipv6"),
    description: batch.text,
  };
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
