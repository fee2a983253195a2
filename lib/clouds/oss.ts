import { createHash } from "node:crypto";
import type { World } from "../world.ts";
import { environmentKeys } from "./alibaba/environment.ts";
import { type Bucket, type BucketDialect, openBucket, provingAges } from "./bucket.ts";
import {
  type BucketAnswer,
  type BucketCall,
  type BucketSigner,
  bucketCall,
  refusalError,
  unreadable,
} from "./bucket-call.ts";
import { CloudError } from "./error.ts";
import { canonicalQuery, type SignatureScheme, signRequest, stampOf } from "./signature.ts";
import { parseXml, textOf } from "./xml.ts";

/*
 * OSS without an SDK: the vendor's own brings 60 packages for the five requests that the store
 * makes.
 */

export interface OssConnection {
  readonly bucket: string;
  readonly region: string;
  /** Instead of the region's own; null for that. */
  readonly endpoint: string | null;
  /** Where roles are assumed, instead of the region's own; null for that. */
  readonly stsEndpoint: string | null;
  /** Null for those of the environment, which is read at every call. */
  readonly credentials: OssKeys | null;
  readonly role: { readonly arn: string; readonly externalId?: string | undefined } | null;
}

export interface OssContext {
  readonly world: World;
  readonly env: Readonly<Record<string, string | undefined>>;
}

export interface OssKeys {
  readonly accessKeyId: string;
  readonly accessKeySecret: string;
  readonly securityToken: string | null;
}

/** Keys that are good for one call, and are asked for anew at the next. */
export interface OssKeySource {
  keys(signal: AbortSignal): Promise<OssKeys>;
  /** They were refused with this code: the next call may get others. */
  refused(code: string): void;
}

const SCHEME: SignatureScheme = {
  algorithm: "OSS4-HMAC-SHA256",
  secretPrefix: "aliyun_v4",
  service: "oss",
  terminator: "aliyun_v4_request",
};
/** The only value that OSS takes; the body is kept whole by `content-md5`, which is signed. */
const PAYLOAD = "UNSIGNED-PAYLOAD";
const SIGNED_HEADER = /^(x-oss-.*|content-type|content-md5)$/;
const VERSIONING = "oss:GetBucketVersioning";
const HOST_BY_NUMBER = /^(localhost|\[.*\]|\d+(\.\d+){3})$/;

const DIALECT: BucketDialect = {
  operations: {
    put: "oss:PutObject",
    get: "oss:GetObject",
    list: "oss:ListObjects",
    delete: "oss:DeleteObject",
  },
  creating: (body) => ({
    "content-md5": createHash("md5").update(body).digest("base64"),
    "x-oss-forbid-overwrite": "true",
  }),
  // PutObject in the OSS API reference.
  refusalOf: ({ status, code }) =>
    status === 409 && code === "FileAlreadyExists" ? "exists" : null,
};

/** Connects to nothing yet. */
export function openOss(connection: OssConnection, context: OssContext): Bucket {
  const { world } = context;
  const { bucket, region } = connection;
  const signer = ossSigner(keySource(connection, context), { bucket, region });
  const call = bucketCall({ baseUrl: ossUrl(connection), signer, world });
  const plain = guarded(call, world);
  if (connection.endpoint === null) return plain;
  return provingAges(plain, { operation: DIALECT.operations.put, world });
}

/** By the bucket's own name, but on a host that is a number: OSS serves nothing else. */
export function ossUrl({ bucket, region, endpoint }: OssConnection): string {
  const url = new URL(endpoint ?? `https://oss-${region}.aliyuncs.com`);
  const path = url.pathname.replace(/\/+$/, "");
  if (HOST_BY_NUMBER.test(url.hostname)) return `${url.origin}${path}/${bucket}`;
  return `${url.protocol}//${bucket}.${url.host}${path}`;
}

export function ossSigner(
  source: OssKeySource,
  { bucket, region }: Pick<OssConnection, "bucket" | "region">,
): BucketSigner {
  return {
    async sign({ method, key, query, headers }, { now, signal }) {
      const { accessKeyId, accessKeySecret, securityToken } = await source.keys(signal);
      const stamp = stampOf(now);
      const own = {
        "x-oss-content-sha256": PAYLOAD,
        "x-oss-date": stamp,
        ...(securityToken ? { "x-oss-security-token": securityToken } : {}),
      };
      const all = Object.entries({ ...headers, ...own });
      const { scope, signature } = signRequest(
        SCHEME,
        {
          method,
          // Wherever it is sent to.
          path: `/${bucket}/${key}`,
          query: canonicalQuery(query, ""),
          headers: Object.fromEntries(all.filter(([name]) => SIGNED_HEADER.test(name))),
          names: "",
          payload: PAYLOAD,
        },
        { secret: accessKeySecret, region, stamp },
      );
      const credential = `Credential=${accessKeyId}/${scope}`;
      return { ...own, authorization: `${SCHEME.algorithm} ${credential},Signature=${signature}` };
    },
    refused: (code) => source.refused(code),
  };
}

/**
 * A bucket that never had versions: in any other OSS overwrites whatever a request says (PutObject
 * in its API reference). Asked before the first write, and again after one that was given a version
 * all the same. Reading does no harm there, and goes on.
 */
function guarded(call: BucketCall, world: World): Bucket {
  let isPlain = false;
  const operation = DIALECT.operations.put;
  const watching: BucketCall = async (...request) => {
    const answer = await call(...request);
    if (request[0] !== operation || !answer.headers.has("x-oss-version-id")) return answer;
    isPlain = false;
    throw new CloudError("invalid", "Versioned", { operation });
  };
  const bucket = openBucket({ call: watching, dialect: DIALECT, world });
  return {
    ...bucket,
    async put(key, body, signal) {
      if (!isPlain) await refuseVersions(call, { world, signal });
      isPlain = true;
      return bucket.put(key, body, signal);
    },
  };
}

async function refuseVersions(
  call: BucketCall,
  options: { readonly world: World; readonly signal: AbortSignal },
): Promise<void> {
  const query = { versioning: "" };
  const answer = await call(VERSIONING, { method: "GET", query }, options.signal);
  if (answer.code !== null) {
    throw refusalError(answer, { operation: VERSIONING, now: options.world.now() });
  }
  if (!hasNoVersions(answer)) {
    throw new CloudError("invalid", "Versioned", { operation: VERSIONING });
  }
}

/** Throws for what is not understood: only a plain no is one. */
function hasNoVersions({ text }: BucketAnswer): boolean {
  const root = parseXml(text);
  if (root?.name !== "VersioningConfiguration") throw unreadable(VERSIONING);
  if (root.children.length === 0) return true;
  const status = textOf(root, "Status");
  if (status === "Enabled" || status === "Suspended") return false;
  throw unreadable(VERSIONING);
}

function keySource(connection: OssConnection, context: OssContext): OssKeySource {
  let found: Promise<OssKeySource> | null = null;
  return {
    async keys(signal) {
      if (connection.role === null) return connection.credentials ?? environmentKeys(context.env);
      // The vendor's SDK is loaded only by those who assume a role.
      found ??= import("./alibaba.ts").then(({ openKeys }) => openKeys(connection, context));
      found.catch(() => {
        found = null;
      });
      return (await found).keys(signal);
    },
    refused(code) {
      found?.then(
        (source) => source.refused(code),
        () => undefined,
      );
    },
  };
}
