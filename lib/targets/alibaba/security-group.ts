import assert from "node:assert/strict";
import * as z from "zod/mini";
import type {
  SecurityGroupClient,
  SecurityGroupRule,
} from "../../clouds/alibaba/security-groups.ts";
import { byFamily, type Cidr, FAMILIES, parseCidr, sortCidrs } from "../../core/cidr.ts";
import type { TargetConfig } from "../../core/list.ts";
import { ownership } from "../../core/marker.ts";
import type { ObservedEntry, Traits } from "../../core/observation.ts";
import { entriesText, type WaysOut } from "../errors.ts";
import type { TargetKind } from "../kind.ts";
import { permissionName, permissionShape, portsOf } from "../permission.ts";
import { type Batch, type Target, TargetError } from "../target.ts";
import { arnOf, regionShape } from "./common.ts";
import { targetErrorOf } from "./errors.ts";

export const SECURITY_GROUP_TRAITS: Traits = {
  families: FAMILIES,
  ranges: true,
  overlap: true,
  marking: "entry",
  write: "entry",
  whenEmpty: "closed",
  // Permissions.N and SecurityGroupRuleId.N in the ECS API reference.
  batchMax: 100,
  settleMs: 0,
  // A write, and a read after it where somebody's rule may be in the way.
  callMs: 8_000,
};

const GROUP_ID = /^sg-[a-z0-9]{1,64}$/;
const PRIORITY_DEFAULT = 1;
// Permissions.N.Description takes 1 to 512 characters. Which ones it does not say: these are sure.
const DESCRIPTION = /^[a-zA-Z0-9][a-zA-Z0-9 /_.-]{0,511}$/;

const securityGroupShape = z.strictObject({
  region: regionShape,
  id: z.string().check(
    z.regex(GROUP_ID, {
      error: ({ input }) =>
        `Cannot use id ${JSON.stringify(input)}: write a group's id like "sg-bp1gxw6bznjjvhu31abc"`,
    }),
  ),
  permission: permissionShape,
  priority: z.optional(
    z
      .int({ error: priorityMessage })
      .check(z.minimum(1, { error: priorityMessage }), z.maximum(100, { error: priorityMessage })),
  ),
});

type Settings = z.output<typeof securityGroupShape>;

const WAYS_OUT: WaysOut = {
  codes: {
    AuthorizationLimitExceed:
      "remove rules by hand, ask for a higher quota of rules per security group, or list fewer",
    "InvalidOperation.ResourceManagedByCloudProduct":
      "the group belongs to a cloud product, which alone may change it; name a group of your own",
  },
};

/** What tells the rules of one slot from the others of the group. */
interface Slot {
  readonly protocol: "tcp" | "udp" | "all";
  readonly ports: readonly [number, number];
  readonly priority: number;
}

function slotOf({ permission, priority = PRIORITY_DEFAULT }: Settings): Slot {
  return { protocol: permission.protocol, ports: portsOf(permission) ?? [-1, -1], priority };
}

/** `alibaba/security-group`, without its SDK. */
export const securityGroupKind: TargetKind<Settings, SecurityGroupClient> = {
  shape: securityGroupShape,
  check: ({ permission }) =>
    portsOf(permission)?.[0] === 0
      ? "Cannot use port 0: the ports of a security group of Alibaba Cloud begin at 1"
      : null,
  traits: () => SECURITY_GROUP_TRAITS,
  // The priority is not part of it: of two lists that differ in it alone, the weaker would take the
  // stronger one's rules for somebody's that keep, and lose them with that one's nodes.
  parts: ({ region, id, permission }) => ({
    object: [region, id],
    slot: permissionName(permission),
  }),
  permissions: ({ region, id }, account) => {
    const resources = [arnOf("ecs", { region, account, resource: `securitygroup/${id}` })];
    return {
      dialect: "ram",
      read: [{ actions: ["ecs:DescribeSecurityGroupAttribute"], resources }],
      add: [{ actions: ["ecs:AuthorizeSecurityGroup"], resources }],
      remove: [{ actions: ["ecs:RevokeSecurityGroup"], resources }],
    };
  },
  make: securityGroupTarget,
};

/**
 * The inbound rules of one permission and priority of one ECS security group. Rules whose source is
 * a group or a prefix list are nobody's entries here; they only count against the limit.
 */
export function securityGroupTarget(
  config: Pick<TargetConfig, "name" | "object" | "owner" | "limit">,
  settings: Settings,
  client: SecurityGroupClient,
): Target {
  const { id } = settings;
  const slot = slotOf(settings);
  const whose = ownership(config.owner);
  const isOwn = (rule: SecurityGroupRule) => whose(rule.description) === "owned";
  let ruleIds: ReadonlyMap<Cidr, readonly string[]> = new Map();
  let weaker: ReadonlySet<Cidr> = new Set();
  const read = async (doing: string, signal: AbortSignal) => {
    const rules = await client.describe(id, signal).catch((thrown) => {
      throw targetErrorOf(thrown, doing, WAYS_OUT);
    });
    return { rules, rows: rowsOf(rules, slot, doing) };
  };
  return {
    name: config.name,
    object: config.object,
    traits: SECURITY_GROUP_TRAITS,
    async observe(signal) {
      const { rules, rows } = await read(`read ${config.name}`, signal);
      ruleIds = ownIds(rows, isOwn);
      weaker = weakerThan(rules, slot);
      const used = rules.length;
      return {
        entries: entriesOf(rows),
        revision: null,
        capacity: config.limit === null ? [] : [{ families: FAMILIES, used, limit: config.limit }],
      };
    },
    async apply(batch, _revision, signal) {
      const { batchMax } = SECURITY_GROUP_TRAITS;
      assert(batch.cidrs.length > 0 && batch.cidrs.length <= batchMax, "batch of the wrong size");
      const doing = `${batch.verb} ${entriesText(batch.cidrs.length)} on ${config.name}`;
      const call =
        batch.verb === "add"
          ? client.authorize(id, changeOf(batch, slot), signal)
          : client.revoke(id, namedRules(batch, ruleIds, doing), signal);
      await call.catch((thrown) => {
        throw targetErrorOf(thrown, doing, WAYS_OUT);
      });
      const doubted = batch.cidrs.filter((cidr) => batch.verb === "add" && weaker.has(cidr));
      if (doubted.length > 0) refuseUnless((await read(doing, signal)).rows, doubted, doing);
      return null;
    },
  };
}

/**
 * Networks of rules that differ from ours in a weaker priority alone. Whether such a rule keeps
 * ours out is not said: a rule that is there already is no error, and the priority is not named
 * among what tells rules apart.
 */
function weakerThan(rules: readonly SecurityGroupRule[], slot: Slot): ReadonlySet<Cidr> {
  const alike = rules.filter(
    (rule) => rule.priority > slot.priority && rule.policy === "accept" && isAlike(rule, slot),
  );
  return new Set(alike.flatMap(({ source }) => (source && parseCidr(source.address)) ?? []));
}

/** What was just added and is not there will not come by itself: somebody has to be told. */
function refuseUnless(rows: readonly Row[], added: readonly Cidr[], doing: string): void {
  const present = new Set(rows.filter(({ effect }) => effect === "allow").map(({ cidr }) => cidr));
  const kept = sortCidrs(added).filter((cidr) => !present.has(cidr));
  if (kept.length === 0) return;
  throw new TargetError(
    // A read may be late: it is read again before anybody is asked to do something.
    "conflict",
    `Cannot ${doing}: a rule of a weaker priority keeps ours out for ${kept.join(", ")}; remove ` +
      "that rule, or give the target its priority",
  );
}

interface Row {
  readonly cidr: Cidr;
  readonly effect: ObservedEntry["effect"];
  readonly rule: SecurityGroupRule;
}

/** The slot's own rules, and the rules to drop that beat them. */
function rowsOf(rules: readonly SecurityGroupRule[], slot: Slot, doing: string): readonly Row[] {
  return rules.flatMap((rule) => {
    const effect = effectOn(rule, slot);
    // What members a group or a prefix list has is not known here.
    if (effect === null || rule.source === null) return [];
    const cidr = parseCidr(rule.source.address);
    if (cidr !== null) return [{ cidr, effect, rule }];
    throw new TargetError(
      "unavailable",
      `Cannot ${doing}: the address of rule ${rule.id} cannot be read; it is tried again`,
    );
  });
}

function effectOn(rule: SecurityGroupRule, slot: Slot): ObservedEntry["effect"] | null {
  if (rule.policy === "drop") return isStronger(rule, slot) ? "deny" : null;
  // What is as strong as ours, or stronger, lets in whatever ours does. What is weaker may be
  // beaten where ours is not.
  return rule.priority <= slot.priority && isAlike(rule, slot) ? "allow" : null;
}

function isAlike({ protocol, ports, narrowed }: SecurityGroupRule, slot: Slot): boolean {
  if (narrowed || protocol !== slot.protocol) return false;
  if (protocol === "all") return true;
  return ports?.[0] === slot.ports[0] && ports[1] === slot.ports[1];
}

/**
 * Whether a rule to drop beats ours for some of what ours lets in: of two priorities the smaller
 * number wins, of two equal ones drop. A list of ports kept elsewhere may hold any.
 */
function isStronger({ protocol, ports, priority }: SecurityGroupRule, slot: Slot): boolean {
  if (priority > slot.priority) return false;
  if (protocol === "all" || slot.protocol === "all") return true;
  if (protocol !== slot.protocol) return false;
  return ports === null || (ports[0] <= slot.ports[1] && slot.ports[0] <= ports[1]);
}

function entriesOf(rows: readonly Row[]): readonly ObservedEntry[] {
  return sortCidrs(rows.map(({ cidr }) => cidr)).flatMap((wanted) =>
    rows
      .filter(({ cidr }) => cidr === wanted)
      .map(({ cidr, effect, rule }) => ({ cidr, text: rule.description, effect })),
  );
}

/**
 * Several rules for one CIDR are possible: of other priorities, and because it is not said that ECS
 * writes addresses one way. Those with our marker are ours to remove, the others are not.
 */
function ownIds(
  rows: readonly Row[],
  isOwn: (rule: SecurityGroupRule) => boolean,
): ReadonlyMap<Cidr, readonly string[]> {
  const ids = new Map<Cidr, string[]>();
  for (const { cidr, effect, rule } of rows) {
    if (effect === "allow" && isOwn(rule)) ids.set(cidr, [...(ids.get(cidr) ?? []), rule.id]);
  }
  return ids;
}

function changeOf(batch: Batch, slot: Slot) {
  assert(DESCRIPTION.test(batch.text), "text that ECS takes as a description");
  return { ...slot, ...byFamily(batch.cidrs), description: batch.text };
}

/**
 * Rules go by the ids that were read, not by their addresses: ECS does not look at the description
 * of a rule that it is asked to revoke, and between the read and the call somebody may have put a
 * rule of their own in the place of ours.
 */
function namedRules(
  batch: Batch,
  ruleIds: ReadonlyMap<Cidr, readonly string[]>,
  doing: string,
): readonly string[] {
  const named = sortCidrs(batch.cidrs).flatMap((cidr) => {
    const ids = ruleIds.get(cidr);
    if (ids !== undefined) return ids;
    throw new TargetError(
      "conflict",
      `Cannot ${doing}: no rule of this list for ${cidr} was read; read again`,
    );
  });
  // Of networks with several rules one call may not take them all; the next read shows the rest.
  return named.slice(0, SECURITY_GROUP_TRAITS.batchMax);
}

function priorityMessage({ input }: { readonly input?: unknown }): string {
  return `Cannot use priority ${JSON.stringify(input)}: write 1, the strongest, to 100`;
}
