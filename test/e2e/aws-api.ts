import { DescribeSecurityGroupRulesCommand, EC2Client } from "@aws-sdk/client-ec2";
import { AssumeRoleCommand, STSClient } from "@aws-sdk/client-sts";
import type { Moto } from "./moto.ts";

const WITHIN_MS = 20_000;

export interface Keys {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

/** Services of AWS for which this repository has no SDK, asked as their HTTP APIs are. */
export interface AwsApi {
  /** One action of a service with a query API; the answer is XML. */
  query(service: string, parameters: Readonly<Record<string, string>>): Promise<string>;
  /** One action of a service with a JSON API. */
  json(service: string, target: string, body: object): Promise<unknown>;
  /** A path of a service with a REST API; the answer is JSON. */
  get(service: string, path: string): Promise<unknown>;
  /** Keys of a role's session. */
  assume(role: string): Promise<Keys>;
  /** What comes of a call to EC2 with these keys: null, or the code of its error. */
  attempt(keys: Keys, work: (client: EC2Client) => Promise<unknown>): Promise<string | null>;
  /** Whether policies are evaluated from now on. */
  enforce(isOn: boolean): Promise<void>;
}

/** Moto reads from the header which service is meant, and does not look at the signature. */
function authorizationFor(service: string, region: string): string {
  const scope = `20260101/${region}/${service}/aws4_request`;
  return `AWS4-HMAC-SHA256 Credential=test/${scope}, SignedHeaders=host, Signature=none`;
}

export function openAwsApi({ url, region }: Moto): AwsApi {
  const send = async (service: string, path: string, init: RequestInit = {}) => {
    const headers = { ...init.headers, authorization: authorizationFor(service, region) };
    const signal = AbortSignal.timeout(WITHIN_MS);
    const answer = await fetch(`${url}${path}`, { ...init, headers, signal });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`Cannot ask ${service}: ${answer.status} ${text}`);
    return text;
  };
  return {
    query: (service, parameters) =>
      send(service, "/", { method: "POST", body: new URLSearchParams(parameters) }),
    async json(service, target, body) {
      const headers = { "x-amz-target": target, "content-type": "application/x-amz-json-1.1" };
      const text = await send(service, "/", {
        method: "POST",
        headers,
        body: JSON.stringify(body),
      });
      return JSON.parse(text);
    },
    get: async (service, path) => JSON.parse(await send(service, path)),
    async assume(role) {
      const client = new STSClient({
        endpoint: url,
        region,
        credentials: { accessKeyId: "test", secretAccessKey: "test" },
      });
      const command = new AssumeRoleCommand({ RoleArn: role, RoleSessionName: "test" });
      const { Credentials } = await client.send(command);
      client.destroy();
      const { AccessKeyId, SecretAccessKey, SessionToken } = Credentials ?? {};
      if (!AccessKeyId || !SecretAccessKey || !SessionToken) throw new Error("No credentials");
      return {
        accessKeyId: AccessKeyId,
        secretAccessKey: SecretAccessKey,
        sessionToken: SessionToken,
      };
    },
    async attempt(credentials, work) {
      const client = new EC2Client({ endpoint: url, region, credentials, maxAttempts: 1 });
      try {
        await work(client);
        return null;
      } catch (error) {
        return (error as Error).name;
      } finally {
        client.destroy();
      }
    },
    async enforce(isOn) {
      const body = isOn ? "0" : "inf";
      const answer = await fetch(`${url}/moto-api/reset-auth`, { method: "POST", body });
      await answer.arrayBuffer();
    },
  };
}

/** Ids of the ingress rules of a security group. */
export async function ruleIds(client: EC2Client, groupId: string): Promise<readonly string[]> {
  const filters = [{ Name: "group-id", Values: [groupId] }];
  const answer = await client.send(new DescribeSecurityGroupRulesCommand({ Filters: filters }));
  const ingress = (answer.SecurityGroupRules ?? []).filter((rule) => !rule.IsEgress);
  return ingress.flatMap(({ SecurityGroupRuleId }) => SecurityGroupRuleId ?? []);
}
