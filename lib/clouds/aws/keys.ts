import { STSClient } from "@aws-sdk/client-sts";
import type { AwsKeySource } from "../s3.ts";
import { awsErrorOf, SESSION_ENDED } from "./errors.ts";
import { type AwsConnection, type AwsContext, sessionsOf, untilAborted } from "./session.ts";

// The client whose role is assumed anyway is also the smallest that brings the default chain.
const session = sessionsOf((settings) => new STSClient(settings));

const ENDED = new Set([...SESSION_ENDED, "InvalidAccessKeyId", "InvalidToken"]);

/** Keys of the SDK's default chain, or of a role, for what signs by itself. */
export function awsKeys(connection: AwsConnection, context: AwsContext): AwsKeySource {
  const shared = session(connection, context);
  return {
    async keys(signal) {
      try {
        const client = await shared.client(signal);
        const given = await untilAborted(client.config.credentials(), signal);
        const { accessKeyId, secretAccessKey, sessionToken } = given;
        return { accessKeyId, secretAccessKey, ...(sessionToken ? { sessionToken } : {}) };
      } catch (thrown) {
        throw awsErrorOf(thrown, { operation: "signing", now: context.world.now() });
      }
    },
    refused(code) {
      if (ENDED.has(code)) shared.forget();
    },
  };
}
