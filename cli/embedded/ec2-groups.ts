import { type Cidr, type Family, familyOf, parseCidr } from "../../lib/core/cidr.ts";
import { Ec2Error, invalid, pageFrom } from "./ec2-error.ts";

/** One rule as EC2 shows it. */
export interface Ec2Rule {
  readonly id: string;
  readonly groupId: string;
  readonly egress: boolean;
  readonly protocol: string;
  readonly fromPort: number;
  readonly toPort: number;
  readonly source: { readonly kind: Family | "prefix-list" | "group"; readonly text: string };
  readonly description: string | null;
}

/** One element of `IpPermissions`, its CIDR sources only. */
export interface Ec2Permission {
  readonly protocol: string;
  readonly fromPort: number | null;
  readonly toPort: number | null;
  readonly ranges: readonly Ec2Range[];
}

export interface Ec2Range {
  readonly family: Family;
  readonly cidr: string;
  readonly description: string | null;
}

/** What differs between accounts, groups and moments. Read at every call: it may be changed. */
export interface Ec2Settings {
  /** Quota of each direction and family. */
  rulesMax: number;
  /** Most rules that one call may name. */
  callRulesMax: number;
  /** Most rules that one answer shows, whatever was asked for. */
  pageRulesMax: number;
  /**
   * What a batch leaves behind when one of its rules is refused. AWS does not say which it is for
   * AuthorizeSecurityGroupIngress, so callers must bear both.
   */
  batch: "all-or-nothing" | "up-to-the-refused";
  /** In a default VPC, revoking a permission that does not exist is no error. */
  defaultVpc: boolean;
  /** How many of the newest writes a read does not show yet: EC2 is eventually consistent. */
  lagWrites: number;
}

export interface Ec2Page {
  readonly rules: readonly Ec2Rule[];
  readonly nextToken: string | null;
}

/** The three operations on security groups that the embedded endpoint speaks; throw Ec2Error. */
export interface Ec2Groups {
  readonly settings: Ec2Settings;
  describe(input: {
    readonly groupIds: readonly string[];
    readonly maxResults: number | null;
    readonly nextToken: string | null;
  }): Ec2Page;
  authorize(input: {
    readonly groupId: string;
    readonly permissions: readonly Ec2Permission[];
  }): readonly Ec2Rule[];
  revoke(input: {
    readonly groupId: string;
    readonly permissions?: readonly Ec2Permission[];
    readonly ruleIds?: readonly string[];
  }): { readonly revoked: readonly Ec2Rule[]; readonly unknown: readonly Ec2Permission[] };
  /** Everything there now, of one group, both directions, in the order of creation. */
  rules(groupId: string): readonly Ec2Rule[];
  /** Somebody else's hand: replaces all rules of a group, unchecked; a rule without id gets one. */
  set(groupId: string, rules: readonly (Omit<Ec2Rule, "id" | "groupId"> & { id?: string })[]): void;
}

const DEFAULTS: Ec2Settings = {
  rulesMax: 60,
  callRulesMax: 1_000,
  pageRulesMax: 1_000,
  batch: "all-or-nothing",
  defaultVpc: false,
  lagWrites: 0,
};
const VERSIONS_KEPT_MAX = 16;
const PORT_MAX = 65_535;
// IpRange.Description in the EC2 API reference.
const DESCRIPTION = /^[a-zA-Z0-9. _\-:/()#,@[\]+=&;{}!$*]{0,255}$/;

/**
 * EC2 security groups in memory, strict where EC2 is: addresses are kept in one form, the same rule
 * cannot stand twice whatever its description, families have quotas of their own.
 */
export function ec2Groups(
  groupIds: readonly string[],
  settings: Partial<Ec2Settings> = {},
): Ec2Groups {
  const current: Ec2Settings = { ...DEFAULTS, ...settings };
  // Newest first; what a lagging read shows is an older one.
  const versions = new Map<string, readonly (readonly Ec2Rule[])[]>(
    groupIds.map((groupId) => [groupId, [[]]]),
  );
  let rulesMade = 0;
  const nextId = () => {
    rulesMade += 1;
    return `sgr-${rulesMade.toString(16).padStart(17, "0")}`;
  };
  const read = (groupId: string, lag = 0): readonly Ec2Rule[] => {
    const known = versions.get(groupId) ?? [[]];
    return known[Math.min(lag, known.length - 1)] ?? [];
  };
  const write = (groupId: string, rules: readonly Ec2Rule[]) => {
    const known = versions.get(groupId) ?? [];
    versions.set(groupId, [rules, ...known].slice(0, VERSIONS_KEPT_MAX));
  };
  const existing = (groupId: string) => {
    if (versions.has(groupId)) return read(groupId);
    throw new Ec2Error("InvalidGroup.NotFound", `The security group '${groupId}' does not exist`);
  };
  return {
    settings: current,
    rules: (groupId) => read(groupId),
    set(groupId, rules) {
      write(
        groupId,
        rules.map((rule) => ({ ...rule, groupId, id: rule.id ?? nextId() })),
      );
    },
    describe({ groupIds: asked, maxResults, nextToken }) {
      // A filter that matches nothing is no error, not even for a group that does not exist.
      const rules = asked.flatMap((groupId) => read(groupId, current.lagWrites));
      return pageOf(rules, { maxResults, nextToken, pageRulesMax: current.pageRulesMax });
    },
    authorize({ groupId, permissions }) {
      const before = existing(groupId);
      const asked = permissions.flatMap((permission) => rulesOf(permission, groupId));
      refuseBatch(asked, current.callRulesMax);
      const { added, refusal } = addUpTo(before, asked, { rulesMax: current.rulesMax, nextId });
      const kept = refusal === null || current.batch === "up-to-the-refused" ? added : [];
      if (kept.length > 0) write(groupId, [...before, ...kept]);
      if (refusal !== null) throw refusal;
      return kept;
    },
    revoke({ groupId, permissions = [], ruleIds = [] }) {
      const before = existing(groupId);
      const found =
        ruleIds.length > 0 ? byIds(before, ruleIds) : byPermissions(before, permissions);
      if (found.unknown.length > 0 && !current.defaultVpc) throw notFound();
      const gone = new Set(found.rules.map((rule) => rule.id));
      if (gone.size > 0)
        write(
          groupId,
          before.filter((rule) => !gone.has(rule.id)),
        );
      return { revoked: found.rules, unknown: found.unknown };
    },
  };
}

function pageOf(
  rules: readonly Ec2Rule[],
  options: {
    readonly maxResults: number | null;
    readonly nextToken: string | null;
    readonly pageRulesMax: number;
  },
): Ec2Page {
  const { maxResults, nextToken, pageRulesMax } = options;
  if (maxResults !== null && !(maxResults >= 5 && maxResults <= 1_000)) {
    throw invalid(
      `Value ( ${maxResults} ) for parameter maxResults is invalid. Expecting 5 to 1000.`,
    );
  }
  const { items, next } = pageFrom(
    rules,
    nextToken,
    Math.min(maxResults ?? pageRulesMax, pageRulesMax),
  );
  return { rules: items, nextToken: next };
}

/** The rules that a permission asks for, in EC2's own form; ids come later. */
function rulesOf(permission: Ec2Permission, groupId: string): readonly Omit<Ec2Rule, "id">[] {
  const ports = portsOf(permission);
  return permission.ranges.map((range) => {
    const cidr = canonicalOf(range);
    if (range.description !== null && !DESCRIPTION.test(range.description)) {
      throw invalid(
        "Invalid rule description. Valid descriptions are strings less than 256 characters.",
      );
    }
    return {
      groupId,
      egress: false,
      protocol: permission.protocol,
      ...ports,
      source: { kind: range.family, text: cidr },
      description: range.description,
    };
  });
}

function canonicalOf({ family, cidr: text }: Ec2Range): Cidr {
  // A bare address is no CIDR block.
  const cidr = text.includes("/") ? parseCidr(text) : null;
  if (cidr !== null && familyOf(cidr) === family) return cidr;
  throw invalid(`CIDR block ${text} is malformed`);
}

function portsOf({ protocol, fromPort, toPort }: Ec2Permission) {
  if (protocol !== "tcp" && protocol !== "udp") {
    if (protocol === "-1") return { fromPort: -1, toPort: -1 };
    throw invalid(`Invalid value '${protocol}' for IP protocol.`);
  }
  if (fromPort === null || toPort === null) {
    throw new Ec2Error(
      "MissingParameter",
      "The request must contain the parameters from_port and to_port.",
    );
  }
  const inside = 0 <= fromPort && fromPort <= toPort && toPort <= PORT_MAX;
  if (!inside) throw invalid(`Invalid port range ${fromPort} to ${toPort}.`);
  return { fromPort, toPort };
}

function refuseBatch(asked: readonly Omit<Ec2Rule, "id">[], callRulesMax: number): void {
  if (asked.length === 0) {
    throw new Ec2Error("MissingParameter", "The request must contain the parameter ipPermissions.");
  }
  if (asked.length > callRulesMax) {
    throw invalid(`The request names ${asked.length} rules; at most ${callRulesMax} are allowed.`);
  }
  if (new Set(asked.map(identityOf)).size < asked.length) {
    throw invalid("The same permission must not appear multiple times");
  }
}

/** Adds one after the other until one is refused. */
function addUpTo(
  before: readonly Ec2Rule[],
  asked: readonly Omit<Ec2Rule, "id">[],
  options: { readonly rulesMax: number; readonly nextId: () => string },
): { readonly added: readonly Ec2Rule[]; readonly refusal: Ec2Error | null } {
  const present = new Set(before.map(identityOf));
  const added: Ec2Rule[] = [];
  for (const rule of asked) {
    if (present.has(identityOf(rule))) {
      const message = `the specified rule "peer: ${rule.source.text}" already exists`;
      return { added, refusal: new Ec2Error("InvalidPermission.Duplicate", message) };
    }
    if (countOf([...before, ...added], rule.source.kind) >= options.rulesMax) {
      const message = "The maximum number of rules per security group has been reached.";
      return { added, refusal: new Ec2Error("RulesPerSecurityGroupLimitExceeded", message) };
    }
    added.push({ ...rule, id: options.nextId() });
  }
  return { added, refusal: null };
}

/** Inbound rules that count for a family; a reference to a group or prefix list does for both. */
function countOf(rules: readonly Ec2Rule[], family: Ec2Rule["source"]["kind"]): number {
  const counts = new Set([family, "group", "prefix-list"]);
  return rules.filter((rule) => !rule.egress && counts.has(rule.source.kind)).length;
}

/** What makes two rules the same: the description is no part of it. */
function identityOf(rule: Omit<Ec2Rule, "id">): string {
  const { egress, protocol, fromPort, toPort, source } = rule;
  return JSON.stringify([egress, protocol, fromPort, toPort, source.kind, source.text]);
}

interface Found {
  readonly rules: readonly Ec2Rule[];
  readonly unknown: readonly Ec2Permission[];
}

function byIds(before: readonly Ec2Rule[], ruleIds: readonly string[]): Found {
  const inbound = new Map(before.filter((rule) => !rule.egress).map((rule) => [rule.id, rule]));
  const rules = ruleIds.map((id) => {
    const rule = inbound.get(id);
    if (rule !== undefined) return rule;
    const message = `The security group rule ID '${id}' does not exist`;
    throw new Ec2Error("InvalidSecurityGroupRuleId.NotFound", message);
  });
  return { rules, unknown: [] };
}

function byPermissions(before: readonly Ec2Rule[], permissions: readonly Ec2Permission[]): Found {
  const present = new Map(before.map((rule) => [identityOf(rule), rule]));
  const rules: Ec2Rule[] = [];
  const unknown: Ec2Permission[] = [];
  for (const permission of permissions) {
    for (const range of permission.ranges) {
      const single = { ...permission, ranges: [range] };
      const [wanted] = rulesOf(single, "");
      const rule = wanted === undefined ? undefined : present.get(identityOf(wanted));
      if (rule === undefined) unknown.push(single);
      else rules.push(rule);
    }
  }
  return { rules, unknown };
}

function notFound(): Ec2Error {
  const message = "The specified rule does not exist in this security group.";
  return new Ec2Error("InvalidPermission.NotFound", message);
}
