import { type Cidr, type Family, familyOf, parseCidr } from "../../lib/core/cidr.ts";
import {
  type AlibabaAction,
  AlibabaError,
  recordItems,
  requiredParam,
  textItems,
  textParam,
} from "./alibaba.ts";
import type { AlibabaParams } from "./alibaba-form.ts";

/** One rule as ECS keeps it. */
export interface EcsRule {
  readonly id: string;
  readonly egress: boolean;
  readonly policy: "Accept" | "Drop";
  readonly priority: number;
  /** In upper case. */
  readonly protocol: string;
  readonly portRange: string;
  readonly source: { readonly kind: Family | "prefix-list" | "group"; readonly text: string };
  readonly description: string | null;
}

/** What differs between groups and moments. Read at every call: it may be changed. */
export interface EcsGroupSettings {
  /** Quota of a group, both directions and families together. */
  rulesMax: number;
  /** Most rules that one answer shows, whatever was asked for. */
  pageRulesMax: number;
  /**
   * What a batch leaves behind when one of its rules is refused. It is not said which it is, so
   * callers must bear both.
   */
  batch: "all-or-nothing" | "up-to-the-refused";
  /** How many of the newest writes a read does not show yet. */
  lagWrites: number;
  /** Made by a cloud product, which alone may change it. */
  managed: boolean;
}

export interface EcsGroups {
  readonly settings: EcsGroupSettings;
  /** Of the version 2014-05-26. */
  readonly actions: Readonly<Record<string, AlibabaAction>>;
  /** Everything there now, of one group, both directions, in the order of creation. */
  rules(groupId: string): readonly EcsRule[];
  /** Somebody else's hand: replaces all rules of a group, unchecked; a rule without id gets one. */
  set(groupId: string, rules: readonly (Omit<EcsRule, "id"> & { id?: string })[]): void;
}

export const ECS_VERSION = "2014-05-26";

const DEFAULTS: EcsGroupSettings = {
  rulesMax: 200,
  pageRulesMax: 1_000,
  batch: "all-or-nothing",
  lagWrites: 0,
  managed: false,
};
const VERSIONS_KEPT_MAX = 16;
const CALL_RULES_MAX = 100;
const PORTS = /^([1-9]\d{0,4})\/([1-9]\d{0,4})$/;
const PORT_MAX = 65_535;

/**
 * ECS security groups in memory, strict where ECS is: a rule that is there already is no error and
 * adds nothing, whatever its description and priority; ids are not answered; one unknown id fails
 * the whole removal.
 */
export function ecsGroups(
  groupIds: readonly string[],
  settings: Partial<EcsGroupSettings> = {},
): EcsGroups {
  const current: EcsGroupSettings = { ...DEFAULTS, ...settings };
  // Newest first; what a lagging read shows is an older one.
  const versions = new Map<string, readonly (readonly EcsRule[])[]>(
    groupIds.map((groupId) => [groupId, [[]]]),
  );
  let rulesMade = 0;
  const nextId = () => {
    rulesMade += 1;
    return `sgr-${rulesMade.toString(36).padStart(17, "0")}`;
  };
  const existing = (params: AlibabaParams, lag = 0) => {
    requiredParam(params, "RegionId");
    const groupId = requiredParam(params, "SecurityGroupId");
    const known = versions.get(groupId);
    if (known === undefined) throw groupNotFound();
    return { groupId, rules: known[Math.min(lag, known.length - 1)] ?? [] };
  };
  const write = (groupId: string, rules: readonly EcsRule[]) => {
    const known = versions.get(groupId) ?? [];
    versions.set(groupId, [rules, ...known].slice(0, VERSIONS_KEPT_MAX));
  };
  const writable = (params: AlibabaParams) => {
    const found = existing(params);
    if (current.managed) throw managedElsewhere();
    return found;
  };
  return {
    settings: current,
    rules: (groupId) => versions.get(groupId)?.[0] ?? [],
    set(groupId, rules) {
      write(
        groupId,
        rules.map((rule) => ({ ...rule, id: rule.id ?? nextId() })),
      );
    },
    actions: {
      DescribeSecurityGroupAttribute: ({ params }) => {
        const { groupId, rules } = existing(params, current.lagWrites);
        const direction = textParam(params, "Direction") ?? "all";
        const shown = rules.filter(
          ({ egress }) => direction === "all" || egress === (direction === "egress"),
        );
        return { SecurityGroupId: groupId, ...pageOf(shown, params, current.pageRulesMax) };
      },
      AuthorizeSecurityGroup: ({ params }) => {
        const { groupId, rules } = writable(params);
        const asked = askedRules(params);
        const { added, refusal } = addUpTo(rules, asked, { rulesMax: current.rulesMax, nextId });
        const kept = refusal === null || current.batch === "up-to-the-refused" ? added : [];
        if (kept.length > 0) write(groupId, [...rules, ...kept]);
        if (refusal !== null) throw refusal;
        return {};
      },
      RevokeSecurityGroup: ({ params }) => {
        const { groupId, rules } = writable(params);
        const gone = goneIds(rules, params);
        const left = rules.filter(({ id }) => !gone.has(id));
        write(groupId, left);
        return {};
      },
    },
  };
}

function groupNotFound(): AlibabaError {
  const message = "The specified SecurityGroupId does not exist.";
  return new AlibabaError("InvalidSecurityGroupId.NotFound", message, { status: 404 });
}

function managedElsewhere(): AlibabaError {
  const message = "The security group is managed by a cloud product.";
  const code = "InvalidOperation.ResourceManagedByCloudProduct";
  return new AlibabaError(code, message, { status: 403 });
}

function pageOf(rules: readonly EcsRule[], params: AlibabaParams, pageRulesMax: number) {
  const asked = Number(textParam(params, "MaxResults") ?? "500");
  if (!(asked >= 10 && asked <= 1_000)) throw invalid("MaxResults");
  const token = textParam(params, "NextToken") ?? "";
  const first = token === "" ? 0 : Number(/^page-(\d{1,9})$/.exec(token)?.[1] ?? "x");
  if (Number.isNaN(first)) throw invalid("NextToken");
  const next = first + Math.min(asked, pageRulesMax);
  return {
    Permissions: { Permission: rules.slice(first, next).map(shownRule) },
    NextToken: next < rules.length ? `page-${next}` : "",
  };
}

/** Every member is there; what is not set is empty. */
function shownRule(rule: EcsRule) {
  const { kind, text } = rule.source;
  const source = {
    SourceCidrIp: kind === "ipv4" ? text : "",
    Ipv6SourceCidrIp: kind === "ipv6" ? text : "",
    SourceGroupId: kind === "group" ? text : "",
    SourcePrefixListId: kind === "prefix-list" ? text : "",
  };
  return {
    SecurityGroupRuleId: rule.id,
    Direction: rule.egress ? "egress" : "ingress",
    Policy: rule.policy,
    Priority: rule.priority,
    IpProtocol: rule.protocol,
    PortRange: rule.portRange,
    SourcePortRange: "",
    DestCidrIp: "",
    Ipv6DestCidrIp: "",
    NicType: "intranet",
    ...source,
    Description: rule.description ?? "",
  };
}

function askedRules(params: AlibabaParams): readonly Omit<EcsRule, "id">[] {
  const items = recordItems(params, "Permissions");
  if (items.length === 0) throw new AlibabaError("MissingParameter", "Permissions is mandatory.");
  if (items.length > CALL_RULES_MAX) throw invalid("Permissions");
  const rules = items.map(askedRule);
  if (new Set(rules.map(identityOf)).size < rules.length) {
    const message = "There are duplicate permissions in the specified parameter Permissions.";
    throw new AlibabaError("InvalidParam.DuplicatePermissions", message);
  }
  return rules;
}

function askedRule(item: AlibabaParams): Omit<EcsRule, "id"> {
  const protocol = requiredParam(item, "IpProtocol").toUpperCase();
  const portRange = requiredParam(item, "PortRange");
  const priority = Number(textParam(item, "Priority") ?? "1");
  if (!(Number.isInteger(priority) && priority >= 1 && priority <= 100)) throw invalid("Priority");
  const policy = (textParam(item, "Policy") ?? "accept").toLowerCase();
  if (policy !== "accept" && policy !== "drop") throw invalid("Policy");
  checkPorts(protocol, portRange);
  const description = textParam(item, "Description") ?? null;
  if (description !== null && (description.length < 1 || description.length > 512)) {
    const message = "The specified security group rule description is not valid.";
    throw new AlibabaError("InvalidSecurityGroupDiscription.Malformed", message);
  }
  return {
    egress: false,
    policy: policy === "drop" ? "Drop" : "Accept",
    priority,
    protocol,
    portRange,
    source: askedSource(item),
    description,
  };
}

function checkPorts(protocol: string, portRange: string): void {
  const [, first, last] = PORTS.exec(portRange) ?? [];
  const numbered = Number(first) <= Number(last) && Number(last) <= PORT_MAX;
  const known = protocol === "TCP" || protocol === "UDP" ? numbered : portRange === "-1/-1";
  if (!known || !["TCP", "UDP", "ALL"].includes(protocol)) {
    const message = "The specified IpProtocol does not exist or IpProtocol and PortRange differ.";
    throw new AlibabaError("OperationDenied", message);
  }
}

function askedSource(item: AlibabaParams): EcsRule["source"] {
  const ipv4 = textParam(item, "SourceCidrIp");
  const ipv6 = textParam(item, "Ipv6SourceCidrIp");
  if (ipv4 !== undefined && ipv6 !== undefined) {
    throw new AlibabaError("InvalidParam.SourceIp", "Both families are given.");
  }
  if (ipv4 !== undefined) return { kind: "ipv4", text: canonicalOf(ipv4, "ipv4") };
  if (ipv6 !== undefined) return { kind: "ipv6", text: canonicalOf(ipv6, "ipv6") };
  throw new AlibabaError("MissingParameter.Source", "A source must be specified.");
}

/** Single addresses are shown without their length: callers must bear both. */
function canonicalOf(text: string, family: Family): string {
  const cidr: Cidr | null = parseCidr(text);
  if (cidr === null || familyOf(cidr) !== family) {
    throw new AlibabaError("InvalidSourceCidrIp.Malformed", "The address is not valid.");
  }
  return cidr.replace(family === "ipv4" ? /\/32$/ : /\/128$/, "");
}

/** What makes two rules the same, as the documentation of AuthorizeSecurityGroup says it. */
function identityOf(rule: Omit<EcsRule, "id">): string {
  const { egress, policy, protocol, portRange, source } = rule;
  return JSON.stringify([egress, policy, protocol, portRange, source.kind, source.text]);
}

/** Adds one after the other until one is refused. */
function addUpTo(
  before: readonly EcsRule[],
  asked: readonly Omit<EcsRule, "id">[],
  options: { readonly rulesMax: number; readonly nextId: () => string },
): { readonly added: readonly EcsRule[]; readonly refusal: AlibabaError | null } {
  const present = new Set(before.map(identityOf));
  const added: EcsRule[] = [];
  for (const rule of asked) {
    if (present.has(identityOf(rule))) continue;
    if (before.length + added.length >= options.rulesMax) {
      const message = "The limit of authorization records in the security group reaches.";
      const refusal = new AlibabaError("AuthorizationLimitExceed", message, { status: 403 });
      return { added, refusal };
    }
    added.push({ ...rule, id: options.nextId() });
  }
  return { added, refusal: null };
}

function goneIds(rules: readonly EcsRule[], params: AlibabaParams): ReadonlySet<string> {
  const ids = textItems(params, "SecurityGroupRuleId");
  if (ids.length === 0) throw new AlibabaError("MissingParameter", "No rule is named.");
  if (ids.length > CALL_RULES_MAX) throw invalid("SecurityGroupRuleId");
  if (new Set(ids).size < ids.length) {
    const message = "The specified parameter SecurityGroupRuleId is repeated.";
    throw new AlibabaError("InvalidParam.SecurityGroupRuleIdRepeated", message);
  }
  const inbound = new Set(rules.filter(({ egress }) => !egress).map(({ id }) => id));
  if (ids.some((id) => !inbound.has(id))) {
    const message = "The specified parameter SecurityGroupRuleId is not valid.";
    throw new AlibabaError("InvalidParam.SecurityGroupRuleId", message);
  }
  return new Set(ids);
}

function invalid(name: string): AlibabaError {
  return new AlibabaError("InvalidParameter", `The specified parameter ${name} is not valid.`);
}
