import assert from "node:assert/strict";
import {
  type AlibabaCall,
  type EmbeddedAlibaba,
  recordItems,
  startEmbeddedAlibaba,
  textItems,
} from "../../cli/embedded/alibaba.ts";
import { ECS_VERSION, type EcsGroups, ecsGroups } from "../../cli/embedded/alibaba-ecs.ts";
import { type EcsPrefixLists, ecsPrefixLists } from "../../cli/embedded/alibaba-prefix-lists.ts";
import { parseCidr } from "../../lib/core/cidr.ts";
import { type FaultyAlibaba, faultyAlibaba, firstHalf } from "../fakes/alibaba.ts";
import { watchSpecs } from "../fakes/alibaba-specs.ts";
import { makeTarget } from "../targets/making.ts";
import { FOREIGN, RACER } from "./play.ts";
import type { Stage, StageOptions } from "./target.ts";

const GROUP = "sg-bp1gxw6bznjjvhu3grp1";
const LIST = "pl-x1j1k5ykzqlixdcylst1";
const QUOTED = "canary-in-the-answer";

/** A session's keys: the embedded endpoint believes no others. */
export const ENVIRONMENT = {
  ALIBABA_CLOUD_ACCESS_KEY_ID: "STS.CANARY",
  ALIBABA_CLOUD_ACCESS_KEY_SECRET: "canary-of-the-access-key-secret",
  ALIBABA_CLOUD_SECURITY_TOKEN: "canary-of-the-security-token",
};
export const KEYS = {
  [ENVIRONMENT.ALIBABA_CLOUD_ACCESS_KEY_ID]: {
    accessKeySecret: ENVIRONMENT.ALIBABA_CLOUD_ACCESS_KEY_SECRET,
    securityToken: ENVIRONMENT.ALIBABA_CLOUD_SECURITY_TOKEN,
  },
};
export const SECRETS = [...Object.values(ENVIRONMENT), QUOTED];

/** The target as the product makes it, its SDK included, against the embedded endpoint. */
export async function securityGroupStage(options: StageOptions): Promise<Stage> {
  const groups = ecsGroups(options.missing ? [] : [GROUP], {
    rulesMax: options.quota ?? 200,
    pageRulesMax: options.page ?? 1_000,
    batch: options.batch === "partial" ? "up-to-the-refused" : "all-or-nothing",
  });
  const put = (address: string, description: string | null) =>
    groups.set(GROUP, [...groups.rules(GROUP), ruleBy(address, description)]);
  const faulty = faultyAlibaba({
    verbOf: ({ action }) => GROUP_VERBS[action] ?? null,
    halve: halveRules,
    stale: (read) => lagging(groups.settings, read),
    race: () => put(RACER, FOREIGN),
    busy: { code: "OperationConflict", status: 409 },
    secret: QUOTED,
  });
  const { server, problems } = await start(faulty, groups.actions);
  const settings = {
    region: "cn-hangzhou",
    id: GROUP,
    permission: { protocol: "tcp", port: 5432 },
    endpoint: server.url,
  };
  const made = { env: ENVIRONMENT, limit: options.limit };
  const target = await makeTarget("alibaba/security-group", settings, made);
  return {
    target,
    secrets: SECRETS,
    // What is empty was never set.
    shown: (text) => text || null,
    lines: () => groups.rules(GROUP).map((rule) => JSON.stringify(rule)),
    put,
    drop: (cidr) =>
      groups.set(
        GROUP,
        groups.rules(GROUP).filter(({ source }) => parseCidr(source.text) !== cidr),
      ),
    surround: () => surroundGroup(groups),
    inject: faulty.inject,
    calls: faulty.calls,
    close: () => close(server, problems),
  };
}

const GROUP_VERBS: Readonly<Record<string, "read" | "add" | "remove">> = {
  DescribeSecurityGroupAttribute: "read",
  AuthorizeSecurityGroup: "add",
  RevokeSecurityGroup: "remove",
};

/** As people write: ECS may keep addresses as they were given. */
function ruleBy(address: string, description: string | null) {
  const kind = address.includes(":") ? ("ipv6" as const) : ("ipv4" as const);
  return { ...SLOT, source: { kind, text: address }, description };
}

const SLOT = {
  egress: false,
  policy: "Accept",
  priority: 1,
  protocol: "TCP",
  portRange: "5432/5432",
} as const;

function surroundGroup(groups: EcsGroups): void {
  const source = { kind: "ipv4", text: "192.0.2.1" } as const;
  const description = "by hand";
  const rule = { ...SLOT, source, description };
  groups.set(GROUP, [
    ...groups.rules(GROUP),
    { ...rule, portRange: "5433/5433" },
    { ...rule, portRange: "5432/5433" },
    { ...rule, portRange: "1/65535" },
    { ...rule, protocol: "UDP" },
    { ...rule, protocol: "ALL", portRange: "-1/-1" },
    { ...rule, priority: 2, portRange: "5432/5433" },
    { ...rule, policy: "Drop", priority: 2 },
    { ...rule, policy: "Drop", portRange: "22/22" },
    { ...rule, policy: "Drop", protocol: "ICMP", portRange: "-1/-1" },
    { ...rule, egress: true },
    { ...rule, source: { kind: "prefix-list", text: "pl-0a1b" } },
    { ...rule, source: { kind: "group", text: "sg-0ff1ce" } },
    { ...rule, portRange: "22/22", source: { kind: "ipv6", text: "::/0" } },
  ]);
}

function halveRules(call: AlibabaCall): AlibabaCall {
  const { params } = call;
  const half =
    call.action === "RevokeSecurityGroup"
      ? { SecurityGroupRuleId: firstHalf(textItems(params, "SecurityGroupRuleId")) }
      : { Permissions: firstHalf(recordItems(params, "Permissions")) };
  return { ...call, params: { ...params, ...half } };
}

/** The target as the product makes it, its SDK included, against the embedded endpoint. */
export async function prefixListStage(options: StageOptions): Promise<Stage> {
  const lists = ecsPrefixLists(options.missing ? [] : [LIST], {
    entriesMax: Math.min(options.quota ?? 200, 200),
    batch: options.batch === "partial" ? "up-to-the-refused" : "all-or-nothing",
  });
  const put = (address: string, description: string | null) => {
    // People's entries come through the same API, which keeps addresses in one form.
    const entry = { cidr: parseCidr(address) ?? address, description };
    lists.set(LIST, [...lists.entries(LIST), entry]);
  };
  const faulty = faultyAlibaba({
    verbOf: ({ action, params }) => {
      if (action === "DescribePrefixListAttributes") return "read";
      return recordItems(params, "RemoveEntry").length > 0 ? "remove" : "add";
    },
    halve: halveEntries,
    stale: (read) => lagging(lists.settings, read),
    race: () => put(RACER, FOREIGN),
    busy: { code: "TaskConflict", status: 400 },
    secret: QUOTED,
  });
  const { server, problems } = await start(faulty, lists.actions);
  const settings = { region: "cn-hangzhou", id: LIST, endpoint: server.url };
  const made = { env: ENVIRONMENT, limit: options.limit };
  const target = await makeTarget("alibaba/prefix-list", settings, made);
  return {
    target,
    secrets: SECRETS,
    shown: (text) => text || null,
    lines: () => lists.entries(LIST).map((entry) => JSON.stringify(entry)),
    put,
    drop: (cidr) => dropEntry(lists, cidr),
    surround: () => undefined,
    inject: faulty.inject,
    calls: faulty.calls,
    readsBefore: { add: 1, remove: 1 },
    close: () => close(server, problems),
  };
}

function dropEntry(lists: EcsPrefixLists, gone: string): void {
  lists.set(
    LIST,
    lists.entries(LIST).filter(({ cidr }) => cidr !== gone),
  );
}

function halveEntries(call: AlibabaCall): AlibabaCall {
  const { params } = call;
  const name = recordItems(params, "RemoveEntry").length > 0 ? "RemoveEntry" : "AddEntry";
  return { ...call, params: { ...params, [name]: firstHalf(recordItems(params, name)) } };
}

async function start(faulty: FaultyAlibaba, actions: EcsGroups["actions"]) {
  const { between, problems } = watchSpecs(faulty.between);
  const products = [{ version: ECS_VERSION, actions }];
  const server = await startEmbeddedAlibaba({ products, between, keys: KEYS });
  return { server, problems };
}

async function close(server: EmbeddedAlibaba, problems: readonly string[]): Promise<void> {
  await server.close();
  assert.deepEqual(problems, []);
}

function lagging<T>(settings: { lagWrites: number }, read: () => T): T {
  settings.lagWrites = 1;
  try {
    return read();
  } finally {
    settings.lagWrites = 0;
  }
}
