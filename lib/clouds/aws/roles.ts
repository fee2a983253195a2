import { AssumeRoleCommand, STSClient, type STSClientConfig } from "@aws-sdk/client-sts";
import type { World } from "../../world.ts";
import { CloudError } from "../error.ts";
import { awsErrorOf, unreadable } from "./errors.ts";
import { type AwsConnection, type Credentials, untilAborted } from "./session.ts";

export const ROLE_SESSION_S = 3_600;
const OPERATION = "sts:AssumeRole";

/** Credentials of a role. Loaded only where a target names one. Rejects only with CloudError. */
export async function assumeRole(
  role: NonNullable<AwsConnection["role"]>,
  options: {
    /** Of the client; whose `endpoint` is that of STS. */
    readonly settings: STSClientConfig;
    readonly world: World;
    readonly own: Credentials | null;
    /** What the sessions are called, in the trust policies and trails of whoever owns the role. */
    readonly sessionName: string;
    readonly signal: AbortSignal;
  },
): Promise<{ readonly credentials: Credentials; readonly expiresAt: number }> {
  const { settings, own, sessionName, signal } = options;
  try {
    const client = new STSClient(own ? { ...settings, credentials: own } : settings);
    await untilAborted(client.config.credentials(), signal);
    const answer = await client.send(
      new AssumeRoleCommand({
        RoleArn: role.arn,
        RoleSessionName: sessionName,
        DurationSeconds: ROLE_SESSION_S,
        ExternalId: role.externalId,
      }),
      { abortSignal: signal },
    );
    const { AccessKeyId, SecretAccessKey, SessionToken, Expiration } = answer.Credentials ?? {};
    if (!AccessKeyId || !SecretAccessKey || !SessionToken || !Expiration) {
      throw unreadable(OPERATION);
    }
    return {
      credentials: {
        accessKeyId: AccessKeyId,
        secretAccessKey: SecretAccessKey,
        sessionToken: SessionToken,
      },
      expiresAt: Expiration.getTime(),
    };
  } catch (thrown) {
    if (thrown instanceof CloudError) throw thrown;
    throw awsErrorOf(thrown, { operation: OPERATION, now: options.world.now() });
  }
}
