import { resolve } from "node:path";
import type { Config } from "../lib/config.ts";
import { fileStore } from "../lib/stores/file.ts";
import { memoryStore } from "../lib/stores/memory.ts";
import { ossStore } from "../lib/stores/oss.ts";
import { s3Store } from "../lib/stores/s3.ts";
import { OPEN_ENDPOINT, type OssSettings, type S3Settings } from "../lib/stores/settings.ts";
import { type Store, StoreError } from "../lib/stores/store.ts";
import {
  alibabaConnection,
  awsConnection,
  type ConnectionContext,
} from "../lib/targets/connection.ts";
import { isPrivate } from "../lib/targets/settings.ts";

// As sentences name it: "Cannot open the store: …".
const NAME = { name: "the store" };

/** The configured store. Reaches for nothing yet, and reads no variable. */
export function openStore(
  store: Config["store"],
  options: ConnectionContext & { readonly folder: string },
): Store {
  const { world, folder } = options;
  switch (store.kind) {
    case "memory":
      return memoryStore(world);
    case "file":
      return fileStore(resolve(folder, store.path), world);
    case "s3":
      return s3Store(prefixed(store), () => s3Connection(store, options), options);
    case "oss":
      return ossStore(prefixed(store), () => ossConnection(store, options), options);
    default:
      throw new Error(`Unreachable: ${JSON.stringify(store satisfies never)}`);
  }
}

function prefixed({ bucket, prefix = "" }: S3Settings | OssSettings) {
  return { bucket, prefix };
}

function s3Connection(settings: S3Settings, context: ConnectionContext) {
  const { env } = context;
  const region = settings.region ?? (env.AWS_REGION || env.AWS_DEFAULT_REGION);
  if (!region) {
    const message = "Cannot open the store: no region; set store.region or AWS_REGION";
    throw new StoreError(message, { isFinal: true });
  }
  const connect = () => awsConnection("S3")({ ...settings, region }, NAME, context);
  return { ...secured(connect), bucket: settings.bucket };
}

function ossConnection(settings: OssSettings, context: ConnectionContext) {
  const connect = () => alibabaConnection(settings, NAME, context);
  return { ...secured(connect), bucket: settings.bucket };
}

/** What a variable or a file says about an endpoint is known only now. */
function secured<T extends { readonly endpoint: string | null }>(connect: () => T): T {
  try {
    const connection = connect();
    if (connection.endpoint === null || isPrivate(connection.endpoint)) return connection;
  } catch (error) {
    const message = error instanceof Error ? error.message : "Cannot open the store";
    throw new StoreError(message, { cause: error, isFinal: true });
  }
  throw new StoreError(`Cannot open the store: ${OPEN_ENDPOINT}`, { isFinal: true });
}
