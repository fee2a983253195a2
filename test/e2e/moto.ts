import {
  AuthorizeSecurityGroupIngressCommand,
  CreateSecurityGroupCommand,
  CreateVpcCommand,
  DescribeSecurityGroupRulesCommand,
  EC2Client,
  RevokeSecurityGroupIngressCommand,
} from "@aws-sdk/client-ec2";
import { assetPath, MOTO } from "./assets.ts";
import { freePort, startChild, temporaryFolder } from "./child.ts";
import { eventually } from "./eventually.ts";

const READY_WITHIN_MS = 60_000;
const READ_WITHIN_MS = 10_000;
const REGION = "eu-west-1";

/** A third-party EC2 over HTTP. It differs from AWS: assert only what it does right. */
export interface Moto {
  readonly url: string;
  readonly port: number;
  readonly region: string;
  /** What an SDK needs, and what keeps it from looking for credentials elsewhere. */
  readonly env: Readonly<Record<string, string>>;
  readonly ec2: Ec2;
  /** Forgets every resource. */
  reset(): Promise<void>;
  stop(): Promise<void>;
}

/** An ingress rule as the API answers it; `cidr` as written. */
export interface Rule {
  readonly cidr: string;
  readonly protocol: string;
  readonly port: number;
  readonly description: string;
}

/** What tests and people do with a security group by hand. */
export interface Ec2 {
  createSecurityGroup(name: string): Promise<string>;
  authorize(groupId: string, rule: Rule): Promise<void>;
  revoke(groupId: string, rule: Rule): Promise<void>;
  /** All ingress rules, sorted by CIDR and port. */
  rules(groupId: string): Promise<readonly Rule[]>;
}

/** By CIDR as text, then by port. */
export function compareRules(a: Rule, b: Rule): number {
  return a.cidr < b.cidr ? -1 : a.cidr > b.cidr ? 1 : a.port - b.port;
}

export async function startMoto(): Promise<Moto> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const child = await startChild(assetPath(MOTO), ["-H", "127.0.0.1", "-p", String(port)], {
    env: { PATH: process.env.PATH ?? "" },
    folder: temporaryFolder("moto"),
  });
  const call = async (path: string, method: string) => {
    const answer = await fetch(`${url}${path}`, { method, signal: AbortSignal.timeout(5_000) });
    await answer.arrayBuffer();
    if (!answer.ok) throw new Error(`Cannot ask moto_server for ${path}: ${answer.status}`);
  };
  try {
    await eventually(
      "moto_server answers",
      () => call("/moto-api/config", "GET").then(() => true),
      {
        withinMs: READY_WITHIN_MS,
        hopeless: () => (child.exit() ? `it ended: ${child.output().slice(-2_000)}` : null),
      },
    );
  } catch (error) {
    await child.stop();
    throw error;
  }
  const client = new EC2Client({
    endpoint: url,
    region: REGION,
    credentials: { accessKeyId: "test", secretAccessKey: "test" },
  });
  return {
    url,
    port,
    region: REGION,
    env: environment(url),
    ec2: asEc2(client),
    reset: () => call("/moto-api/reset", "POST"),
    async stop() {
      client.destroy();
      await child.stop();
    },
  };
}

function environment(url: string): Readonly<Record<string, string>> {
  return {
    AWS_ENDPOINT_URL: url,
    AWS_REGION: REGION,
    AWS_ACCESS_KEY_ID: "test",
    AWS_SECRET_ACCESS_KEY: "test",
    AWS_EC2_METADATA_DISABLED: "true",
    AWS_CONFIG_FILE: "/dev/null",
    AWS_SHARED_CREDENTIALS_FILE: "/dev/null",
  };
}

function asEc2(client: EC2Client): Ec2 {
  return {
    async createSecurityGroup(name) {
      const { Vpc } = await client.send(new CreateVpcCommand({ CidrBlock: "10.0.0.0/16" }));
      const { GroupId } = await client.send(
        new CreateSecurityGroupCommand({ GroupName: name, Description: name, VpcId: Vpc?.VpcId }),
      );
      if (!GroupId) throw new Error("Cannot create a security group: the answer has no id");
      return GroupId;
    },
    async authorize(groupId, rule) {
      const permission = permissionOf(rule);
      await client.send(
        new AuthorizeSecurityGroupIngressCommand({ GroupId: groupId, IpPermissions: [permission] }),
      );
    },
    async revoke(groupId, rule) {
      const permission = permissionOf(rule);
      await client.send(
        new RevokeSecurityGroupIngressCommand({ GroupId: groupId, IpPermissions: [permission] }),
      );
    },
    async rules(groupId) {
      const command = new DescribeSecurityGroupRulesCommand({
        Filters: [{ Name: "group-id", Values: [groupId] }],
      });
      // moto answers 500 where a read meets somebody's write; such an answer says nothing.
      const answer = await eventually("the rules are read", () => client.send(command), {
        withinMs: READ_WITHIN_MS,
      });
      const ingress = (answer.SecurityGroupRules ?? []).filter((rule) => !rule.IsEgress);
      const rules = ingress.map((rule) => ({
        cidr: rule.CidrIpv4 ?? rule.CidrIpv6 ?? "",
        protocol: rule.IpProtocol ?? "",
        port: rule.FromPort ?? 0,
        description: rule.Description ?? "",
      }));
      return rules.toSorted(compareRules);
    },
  };
}

function permissionOf(rule: Rule) {
  const { cidr, description } = rule;
  return {
    IpProtocol: rule.protocol,
    FromPort: rule.port,
    ToPort: rule.port,
    ...(cidr.includes(":")
      ? { Ipv6Ranges: [{ CidrIpv6: cidr, Description: description }] }
      : { IpRanges: [{ CidrIp: cidr, Description: description }] }),
  };
}
