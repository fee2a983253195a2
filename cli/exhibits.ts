import { type Cidr, parseCidr } from "../lib/core/cidr.ts";
import { containerOf, type Owner, ownership } from "../lib/core/marker.ts";
import { startEmbeddedAlibaba } from "./embedded/alibaba.ts";
import {
  type AlibabaDatabases,
  alibabaDatabases,
  type DatabaseGroup,
} from "./embedded/alibaba-databases.ts";
import { startEmbeddedEc2 } from "./embedded/ec2.ts";
import { type Ec2Groups, ec2Groups } from "./embedded/ec2-groups.ts";
import {
  type LinodeCloud,
  type LinodeRule,
  type LinodeRules,
  linodeCloud,
  startEmbeddedLinode,
} from "./embedded/linode.ts";

/** A place outside, in this process: the product reaches it over HTTP, and we look into it. */
export interface Exhibit {
  /** What sentences call it. */
  readonly name: string;
  /** As an item of `targets` in a configuration. */
  readonly target: Readonly<Record<string, unknown>>;
  /** Its `endpoint`. */
  readonly url: string;
  /** Credentials of nobody: the endpoint believes them, and the user's own must not go there. */
  readonly env: Readonly<Record<string, string>>;
  /** Addresses that it holds for our list, by its own content. */
  own(): readonly Cidr[];
  /** Everything else that it holds, byte for byte. */
  others(): string;
  /** What that is, before "untouched". */
  readonly foreign: string;
  close(): Promise<void>;
}

/** The three of them, and what the hands of others change in a test. */
export interface Exhibits {
  readonly all: readonly Exhibit[];
  readonly groups: Ec2Groups;
  readonly databases: AlibabaDatabases;
  readonly linode: LinodeCloud;
}

export const SECURITY_GROUP = "sg-0a1b2c3d4e5f60718";
export const RDS_INSTANCE = "rm-2ze1k4x8n0d5w7q3c";
export const FIREWALL = 4711;
const PORT = 5432;
/** Somebody's own, for which we are never responsible (TEST-NET-2, RFC 5737). */
const OFFICE = "198.51.100.7";

/** Three kinds of targets with manners of their own, each with something in it that is not ours. */
export async function openExhibits(owner: Owner): Promise<Exhibits> {
  const groups = ec2Groups([SECURITY_GROUP]);
  const databases = alibabaDatabases([RDS_INSTANCE]);
  const linode = linodeCloud({ firewalls: [FIREWALL] });
  const all = await Promise.all([
    securityGroup(groups, owner),
    rdsInstance(databases, owner),
    firewall(linode, owner),
  ]);
  return { all, groups, databases, linode };
}

async function securityGroup(groups: Ec2Groups, owner: Owner): Promise<Exhibit> {
  const ports = { protocol: "tcp", fromPort: PORT, toPort: PORT };
  const source = { kind: "ipv4", text: `${OFFICE}/32` } as const;
  groups.set(SECURITY_GROUP, [{ egress: false, ...ports, source, description: "office, by hand" }]);
  const { url, close } = await startEmbeddedEc2({ groups });
  const isOurs = isOwned(owner);
  const rules = () => groups.rules(SECURITY_GROUP);
  return {
    name: `security group ${SECURITY_GROUP}`,
    target: {
      kind: "aws/security-group",
      region: "eu-west-1",
      id: SECURITY_GROUP,
      permission: { protocol: "tcp", port: PORT },
      endpoint: url,
    },
    url,
    env: { AWS_ACCESS_KEY_ID: "embedded", AWS_SECRET_ACCESS_KEY: "embedded" },
    own: () => cidrsIn(rules().flatMap((one) => (isOurs(one.description) ? one.source.text : []))),
    others: () => JSON.stringify(rules().filter((one) => !isOurs(one.description))),
    foreign: "a hand-made rule",
    close,
  };
}

function isOwned(owner: Owner): (text: string | null) => boolean {
  const whose = ownership(owner);
  return (text) => whose(text) === "owned";
}

/** Entries that cannot be read are nobody's addresses. */
function cidrsIn(texts: readonly string[]): readonly Cidr[] {
  return texts.flatMap((text) => parseCidr(text) ?? []);
}

async function rdsInstance(databases: AlibabaDatabases, owner: Owner): Promise<Exhibit> {
  const network = "MIX";
  const groupsOfOthers: readonly DatabaseGroup[] = [
    { name: "default", attribute: "", network, addresses: ["127.0.0.1"] },
    { name: "hdm_security_ips", attribute: "hidden", network, addresses: ["192.0.2.64/26"] },
    { name: "office", attribute: "", network, addresses: [OFFICE] },
  ];
  databases.set(RDS_INSTANCE, groupsOfOthers);
  // As the real one, it is at work for a moment after each write, and takes no other.
  databases.settings.busyLooks = 1;
  const { url, close } = await startEmbeddedAlibaba({ products: [databases.product] });
  const own = containerOf(owner);
  const groups = () => databases.groups(RDS_INSTANCE);
  return {
    name: `RDS instance ${RDS_INSTANCE}`,
    target: { kind: "alibaba/rds", region: "cn-beijing", id: RDS_INSTANCE, endpoint: url },
    url,
    env: { ALIBABA_CLOUD_ACCESS_KEY_ID: "embedded", ALIBABA_CLOUD_ACCESS_KEY_SECRET: "embedded" },
    own: () => cidrsIn(groups().flatMap(({ name, addresses }) => (name === own ? addresses : []))),
    others: () => JSON.stringify(groups().filter(({ name }) => name !== own)),
    foreign: "3 groups of others",
    close,
  };
}

async function firewall(linode: LinodeCloud, owner: Owner): Promise<Exhibit> {
  const accept = { action: "ACCEPT", protocol: "TCP" };
  linode.setRules(FIREWALL, {
    inbound: [
      { ...accept, ports: "22", addresses: { ipv4: [`${OFFICE}/32`] }, label: "office-ssh" },
      { ...accept, ports: "80, 443", addresses: { ipv4: ["0.0.0.0/0"] }, label: "web" },
    ],
    outbound: [
      {
        ...{ action: "DROP", protocol: "TCP", ports: "25", label: "no-mail" },
        addresses: { ipv4: ["0.0.0.0/0"], ipv6: ["::/0"] },
      },
    ],
    inbound_policy: "DROP",
    outbound_policy: "ACCEPT",
  });
  const { url, close } = await startEmbeddedLinode({ handle: linode.handle });
  const isOwn = isOwned(owner);
  const isOurs = ({ description }: LinodeRule) =>
    typeof description === "string" && isOwn(description);
  const inbound = () => linode.rules(FIREWALL)?.inbound ?? [];
  return {
    name: `Linode firewall ${FIREWALL}`,
    target: {
      kind: "linode/firewall",
      id: FIREWALL,
      permission: { protocol: "tcp", port: PORT },
      endpoint: url,
    },
    url,
    env: { LINODE_TOKEN: "embedded" },
    own: () => cidrsIn(inbound().filter(isOurs).flatMap(ipv4Of)),
    others: () => othersText(linode.rules(FIREWALL), isOurs),
    foreign: "3 rules of others",
    close,
  };
}

function ipv4Of({ addresses }: LinodeRule): readonly string[] {
  const { ipv4 = [] } = (addresses ?? {}) as { readonly ipv4?: readonly string[] };
  return ipv4;
}

/** All but our rules and the number of the version. */
function othersText(rules: LinodeRules | null, isOurs: (rule: LinodeRule) => boolean): string {
  if (rules === null) return "nothing";
  const { inbound, outbound, inbound_policy, outbound_policy } = rules;
  const others = inbound.filter((rule) => !isOurs(rule));
  return JSON.stringify({ inbound: others, outbound, inbound_policy, outbound_policy });
}
