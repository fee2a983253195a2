import type { TestContext } from "node:test";
import type {
  ObjectFault,
  ObjectRequest,
  ObjectStorage,
} from "../../cli/embedded/object-storage.ts";
import { embeddedOss } from "../../cli/embedded/oss.ts";
import { embeddedS3 } from "../../cli/embedded/s3.ts";
import { ossStore } from "../../lib/stores/oss.ts";
import { s3Store } from "../../lib/stores/s3.ts";
import type { Store } from "../../lib/stores/store.ts";
import type { World } from "../../lib/world.ts";

/*
 * Buckets of both vendors, as tests have them: over HTTP with faults, or in this process alone.
 */

const ID = "AKIDEXAMPLE";
const SECRET = "canary-secret-key";
export const TOKEN = "canary-session-token";
const BUCKET = "acme-allowlist";

export const KEYS = {
  AWS_ACCESS_KEY_ID: ID,
  AWS_SECRET_ACCESS_KEY: SECRET,
  AWS_SESSION_TOKEN: TOKEN,
  ALIBABA_CLOUD_ACCESS_KEY_ID: ID,
  ALIBABA_CLOUD_ACCESS_KEY_SECRET: SECRET,
  ALIBABA_CLOUD_SECURITY_TOKEN: TOKEN,
};

export interface BucketSettings {
  readonly now: () => number;
  readonly fault?: (request: ObjectRequest) => ObjectFault | null;
  readonly pageKeysMax?: number;
  readonly versioning?: () => "" | "Enabled" | "Suspended";
  readonly overwrites?: boolean;
}

export interface BucketOptions {
  readonly endpoint: string;
  readonly world: World;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly prefix?: string;
  readonly bucket?: string;
  readonly region?: string;
}

/** One vendor's storage and the store over it. */
export interface Vendor {
  readonly name: "s3" | "oss";
  readonly storage: (settings: BucketSettings) => ObjectStorage;
  readonly store: (options: BucketOptions) => Store;
}

const s3: Vendor = {
  name: "s3",
  storage: (settings) =>
    embeddedS3({
      bucket: BUCKET,
      region: "eu-west-1",
      accessKeyId: ID,
      secretAccessKey: SECRET,
      sessionToken: TOKEN,
      ...settings,
    }),
  store({ endpoint, world, env = KEYS, prefix = "", bucket = BUCKET, region = "eu-west-1" }) {
    const connection = { bucket, region, endpoint, stsEndpoint: null, role: null };
    return s3Store({ bucket, prefix }, () => connection, { world, env });
  },
};

const oss: Vendor = {
  name: "oss",
  storage: (settings) =>
    embeddedOss({
      bucket: BUCKET,
      region: "cn-hangzhou",
      accessKeyId: ID,
      accessKeySecret: SECRET,
      securityToken: TOKEN,
      versioning: () => "",
      ...settings,
    }),
  store({ endpoint, world, env = KEYS, prefix = "", bucket = BUCKET, region = "cn-hangzhou" }) {
    const place = { bucket, region, endpoint, stsEndpoint: null };
    const connection = { ...place, credentials: null, role: null };
    return ossStore({ bucket, prefix }, () => connection, { world, env });
  },
};

export const vendors: readonly Vendor[] = [s3, oss];

const SILENT = () => undefined;

/** The network is real, and so is waiting; the clock is whatever the test says. */
export function bucketWorld(now: () => number): World {
  return {
    now,
    monotonic: now,
    random: () => Math.random(),
    sleep: (ms, signal) =>
      new Promise((resolve, reject) => {
        const timer = setTimeout(resolve, ms);
        signal?.addEventListener("abort", () => {
          clearTimeout(timer);
          reject(signal.reason);
        });
      }),
    fetch: globalThis.fetch,
    log: { debug: SILENT, info: SILENT, warn: SILENT, error: SILENT, audit: SILENT },
  };
}

/** A vendor's storage that listens until the test is over. */
export async function listening(
  context: TestContext,
  vendor: Vendor,
  settings: BucketSettings,
): Promise<ObjectStorage & { readonly endpoint: string }> {
  const storage = vendor.storage(settings);
  const server = await storage.listen();
  context.after(() => server.close());
  return { ...storage, endpoint: server.url };
}

const PAUSE_MS_MAX = 2_000;

/**
 * A store of which nothing is real: no network, the clock is the given one, pauses are over at
 * once, and no time runs out.
 */
export function storeInProcess(
  vendor: Vendor,
  { now }: Pick<World, "now">,
  fault: NonNullable<BucketSettings["fault"]> = () => null,
): Store {
  const storage = vendor.storage({ now, fault });
  const world: World = {
    ...bucketWorld(now),
    sleep: (ms, signal) =>
      new Promise((resolve, reject) => {
        if (ms < PAUSE_MS_MAX) setImmediate(resolve);
        signal?.addEventListener("abort", () => reject(signal.reason));
      }),
    fetch: storage.fetch,
  };
  return vendor.store({ endpoint: "http://127.0.0.1:9", world });
}
