import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startEmbeddedAlibaba } from "../../cli/embedded/alibaba.ts";
import { alibabaDatabases } from "../../cli/embedded/alibaba-databases.ts";
import { embeddedOss } from "../../cli/embedded/oss.ts";
import { parseSigningKey } from "../../lib/wire/signature.ts";
import { fixture } from "./carriers.ts";

/*
 * What the functions of a platform stand between: object storage and a database of Alibaba Cloud on
 * this machine, which believe only the keys that they are told of.
 */

const INSTANCE = "rm-2ze704f67h9example";
const BUCKET = "acme-allowlist";
const REGION = "cn-beijing";
export const SECRETS = {
  EU_KEY: `whsec_${Buffer.from("platform-eu-0123456789-0123456789").toString("base64")}`,
  STATUS_TOKEN: "status-token-of-the-platforms-0123456789",
};

/** Keys in the words of Function Compute's context. */
export interface Keys {
  readonly accessKeyId: string;
  readonly accessKeySecret: string;
  readonly securityToken?: string;
}

/** Those of a user, as variables hold them. */
export const ENVIRONMENT_KEYS: Keys = {
  accessKeyId: "LTAI5tExample",
  accessKeySecret: "example-secret-of-the-environment",
};

export const FIRST_KEYS = fixture("fc-context").credentials as Keys;

export async function platformStage() {
  const folder = mkdtempSync(join(tmpdir(), "kube-allowlist-platforms-"));
  const believed: { -readonly [K in keyof Keys]: Keys[K] } = { ...ENVIRONMENT_KEYS };
  const storage = embeddedOss(
    Object.assign(believed, {
      bucket: BUCKET,
      region: REGION,
      now: () => Date.now(),
      versioning: () => "" as const,
    }),
  );
  const bucket = await storage.listen();
  const known: Record<string, Omit<Keys, "accessKeyId">> = {};
  const databases = alibabaDatabases([INSTANCE]);
  const cloud = await startEmbeddedAlibaba({ products: [databases.product], keys: known });
  return {
    folder,
    signingKey: parseSigningKey(SECRETS.EU_KEY),
    /** The file that is packaged; JSON is YAML. */
    config: JSON.stringify({
      version: 1,
      installation: "acme",
      store: { kind: "oss", bucket: BUCKET, region: REGION, endpoint: bucket.url },
      status: { tokens: ["env:STATUS_TOKEN"] },
      clusters: {
        eu: { auth: { signature: { keys: ["env:EU_KEY"] } }, bounds: ["203.0.113.0/24"] },
      },
      lists: {
        db: {
          from: [{ cluster: "eu", nodes: {}, addresses: ["ExternalIP"] }],
          removal: { policy: "sync", grace: "0s", minRemaining: 0, maxRatio: 1 },
          targets: [
            { kind: "feed", open: true },
            {
              kind: "alibaba/rds",
              region: REGION,
              id: INSTANCE,
              group: "k8s",
              endpoint: cloud.url,
            },
          ],
        },
      },
    }),
    /** From now on only these are believed. */
    believe({ accessKeyId, accessKeySecret, securityToken }: Keys): void {
      delete believed.securityToken;
      const token = securityToken === undefined ? {} : { securityToken };
      Object.assign(believed, { accessKeyId, accessKeySecret, ...token });
      for (const id of Object.keys(known)) delete known[id];
      known[accessKeyId] = { accessKeySecret, ...token };
    },
    /** Every object in the store. */
    objects: () => [...storage.objects.keys()].toSorted(),
    /** What the database lets in through our group. */
    allowed: () =>
      databases
        .groups(INSTANCE)
        .find(({ name }) => name === "k8s")
        ?.addresses.toSorted() ?? [],
    async close() {
      await Promise.all([cloud.close(), bucket.close()]);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export type PlatformStage = Awaited<ReturnType<typeof platformStage>>;
