import { startEmbeddedEc2 } from "../../cli/embedded/ec2.ts";
import { type Ec2Groups, ec2Groups } from "../../cli/embedded/ec2-groups.ts";
import type { SecurityGroupClient } from "../../lib/clouds/aws/security-groups.ts";
import { type Cidr, parseCidr } from "../../lib/core/cidr.ts";
import { securityGroupTarget } from "../../lib/targets/aws/security-group.ts";
import type { Target } from "../../lib/targets/target.ts";
import { type Ec2Operation, type FaultyEc2, fakeSecurityGroups, faultyEc2 } from "../fakes/ec2.ts";
import { makeTarget } from "../targets/making.ts";
import { ENVIRONMENT, FAULTS, QUOTED, SECRETS } from "./ec2-stage-faults.ts";
import { FOREIGN, RACER } from "./play.ts";
import type { Stage, StageOptions, Verb } from "./target.ts";

const GROUP = "sg-0a1b2c3d4e5f60718";
const SETTINGS = {
  region: "eu-west-1",
  id: GROUP,
  permission: { protocol: "tcp", port: 5432 },
} as const;
const OPERATIONS: Readonly<Record<Verb, Ec2Operation>> = {
  read: "describe",
  add: "authorize",
  remove: "revoke",
};
/** The target over the fake client, within this process. */
export function stageOverFake(options: StageOptions): Promise<Stage> {
  const { groups, backend } = backendOf(options);
  const target = targetOver(fakeSecurityGroups(backend), options);
  return Promise.resolve(stageOf(target, { groups, backend, close: () => Promise.resolve() }));
}

/** The target as the product makes it, its SDK included, against the embedded endpoint. */
export async function stageOverHttp(options: StageOptions): Promise<Stage> {
  const { groups, backend } = backendOf(options);
  const server = await startEmbeddedEc2({ groups: backend });
  const settings = { ...SETTINGS, endpoint: server.url };
  const made = { env: ENVIRONMENT, limit: options.limit };
  const target = await makeTarget("aws/security-group", settings, made);
  return stageOf(target, { groups, backend, close: server.close });
}

function backendOf(options: StageOptions) {
  const groups = ec2Groups(options.missing ? [] : [GROUP], {
    rulesMax: options.quota ?? 60,
    callRulesMax: 100,
    pageRulesMax: options.page ?? 1_000,
    batch: options.batch === "partial" ? "up-to-the-refused" : "all-or-nothing",
  });
  return { groups, backend: faultyEc2(groups, { secret: QUOTED }) };
}

function targetOver(client: SecurityGroupClient, options: StageOptions): Target {
  const names = {
    name: `aws/security-group/${GROUP}/tcp-5432`,
    object: `aws-security-group.eu-west-1.${GROUP}`,
  };
  return securityGroupTarget({ ...names, limit: options.limit ?? null }, SETTINGS, client);
}

function stageOf(
  target: Target,
  options: {
    readonly groups: Ec2Groups;
    readonly backend: FaultyEc2;
    readonly close: () => Promise<void>;
  },
): Stage {
  const { groups, backend, close } = options;
  const slot = { egress: false, protocol: "tcp", fromPort: 5432, toPort: 5432 };
  const append = (...rules: Parameters<Ec2Groups["set"]>[1]) =>
    groups.set(GROUP, [...groups.rules(GROUP), ...rules]);
  function put(address: string, description: string | null) {
    const kind = address.includes(":") ? "ipv6" : "ipv4";
    // People's rules come through the same API, which keeps addresses in one form.
    append({ ...slot, source: { kind, text: parseCidr(address) ?? address }, description });
  }
  return {
    target,
    secrets: SECRETS,
    shown: (text) => text,
    lines: () => groups.rules(GROUP).map((rule) => JSON.stringify(rule)),
    put,
    drop(cidr: Cidr) {
      groups.set(
        GROUP,
        groups.rules(GROUP).filter(({ source }) => source.text !== cidr),
      );
    },
    surround() {
      const source = { kind: "ipv4", text: "192.0.2.1/32" } as const;
      const description = "by hand";
      append(
        { ...slot, fromPort: 5433, toPort: 5433, source, description },
        { ...slot, fromPort: 5432, toPort: 5433, source, description },
        { ...slot, fromPort: 0, toPort: 65_535, source, description },
        { ...slot, protocol: "udp", source, description },
        { ...slot, protocol: "-1", fromPort: -1, toPort: -1, source, description },
        { ...slot, egress: true, source, description },
        { ...slot, source: { kind: "prefix-list", text: "pl-0a1b" }, description },
        { ...slot, source: { kind: "group", text: "sg-0ff1ce" }, description },
        { ...slot, fromPort: 22, toPort: 22, source: { kind: "ipv6", text: "::/0" }, description },
      );
    },
    inject(verb, fault) {
      const by = () => put(RACER, FOREIGN);
      const kind = fault === "raced" ? ({ kind: "preceded", by } as const) : FAULTS[fault];
      backend.inject(OPERATIONS[verb], kind);
    },
    calls: (verb) => backend.calls[OPERATIONS[verb]],
    close,
  };
}
