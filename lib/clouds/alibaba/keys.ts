import type { OssKeySource } from "../oss.ts";
import type { Credentials } from "./environment.ts";
import { type AlibabaConnection, type AlibabaContext, openSession } from "./rpc.ts";

// Error codes of OSS about the keys of a session that ended.
const ENDED = new Set(["InvalidAccessKeyId", "InvalidSecurityToken", "SecurityTokenExpired"]);

/** Keys of a role, or of the environment, for what signs by itself. */
export function alibabaKeys(connection: AlibabaConnection, context: AlibabaContext): OssKeySource {
  const session = openSession(connection, context);
  let given: Credentials | null = null;
  return {
    async keys(signal) {
      given = await session.credentials(signal);
      return given;
    },
    refused(code) {
      if (given !== null && ENDED.has(code)) session.forget(given);
    },
  };
}
