import { CloudError } from "../error.ts";

/** One pair of keys; with a token where they are a session's. */
export interface Credentials {
  readonly accessKeyId: string;
  readonly accessKeySecret: string;
  readonly securityToken: string | null;
}

/**
 * Read anew for every call: where a platform hands out sessions it replaces them in place, and a
 * session's keys without its token are refused.
 */
export function environmentKeys(env: Readonly<Record<string, string | undefined>>): Credentials {
  const accessKeyId = env.ALIBABA_CLOUD_ACCESS_KEY_ID;
  const accessKeySecret = env.ALIBABA_CLOUD_ACCESS_KEY_SECRET;
  if (!accessKeyId || !accessKeySecret) {
    throw new CloudError("unavailable", "MissingCredentials", { operation: "signing" });
  }
  const securityToken = env.ALIBABA_CLOUD_SECURITY_TOKEN || null;
  return { accessKeyId, accessKeySecret, securityToken };
}
