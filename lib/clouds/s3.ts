import type { World } from "../world.ts";
import { type Bucket, type BucketDialect, openBucket, provingAges } from "./bucket.ts";
import { type BucketSigner, bucketCall } from "./bucket-call.ts";
import { CloudError } from "./error.ts";
import { domainOf } from "./partitions.ts";
import {
  canonicalQuery,
  type SignatureScheme,
  sha256Hex,
  signRequest,
  stampOf,
} from "./signature.ts";

/*
 * S3 without an SDK: for the store, which is asked at every delivery, while the SDKs of AWS are
 * loaded only once a target is due.
 */

export interface S3Connection {
  readonly bucket: string;
  readonly region: string;
  /** Instead of the region's own; null for that. */
  readonly endpoint: string | null;
  /** Where roles are assumed, instead of the region's own; null for that. */
  readonly stsEndpoint: string | null;
  readonly role: { readonly arn: string; readonly externalId?: string | undefined } | null;
}

export interface S3Context {
  readonly world: World;
  readonly env: Readonly<Record<string, string | undefined>>;
}

export interface AwsKeys {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

/** Keys that are good for one call, and are asked for anew at the next. */
export interface AwsKeySource {
  keys(signal: AbortSignal): Promise<AwsKeys>;
  /** They were refused with this code: the next call may get others. */
  refused(code: string): void;
}

const SCHEME: SignatureScheme = {
  algorithm: "AWS4-HMAC-SHA256",
  secretPrefix: "AWS4",
  service: "s3",
  terminator: "aws4_request",
};

const DIALECT: BucketDialect = {
  operations: {
    put: "s3:PutObject",
    get: "s3:GetObject",
    list: "s3:ListBucket",
    delete: "s3:DeleteObject",
  },
  creating: () => ({ "if-none-match": "*" }),
  // "Conditional write behavior" in the S3 user guide: 412 when the key is taken, 409 when somebody
  // else is writing to it right now, which is to be tried again.
  refusalOf({ status, code }) {
    if (status === 412) return "exists";
    const passes = code === "ConditionalRequestConflict" || code === "OperationAborted";
    return status === 409 && passes ? "again" : null;
  },
};

/** Connects to nothing yet. */
export function openS3(connection: S3Connection, context: S3Context): Bucket {
  const { world } = context;
  const source = keySource(connection, context);
  const signer = s3Signer(source, connection.region);
  const call = bucketCall({ baseUrl: s3Url(connection), signer, world });
  const bucket = openBucket({ call, dialect: DIALECT, world });
  if (connection.endpoint === null) return bucket;
  return provingAges(provingCreation(bucket), { operation: DIALECT.operations.put, world });
}

/** Where a bucket is: by its own name where a certificate covers it, else below its endpoint. */
export function s3Url({ bucket, region, endpoint }: S3Connection): string {
  if (endpoint !== null) return `${endpoint.replace(/\/+$/, "")}/${bucket}`;
  const host = `s3.${region}.${domainOf(region)}`;
  return bucket.includes(".") ? `https://${host}/${bucket}` : `https://${bucket}.${host}`;
}

export function s3Signer(source: AwsKeySource, region: string): BucketSigner {
  return {
    async sign({ method, url, query, headers, body }, { now, signal }) {
      const { accessKeyId, secretAccessKey, sessionToken } = await source.keys(signal);
      const stamp = stampOf(now);
      const payload = sha256Hex(body);
      const own = {
        "x-amz-content-sha256": payload,
        "x-amz-date": stamp,
        ...(sessionToken ? { "x-amz-security-token": sessionToken } : {}),
      };
      const signed = { ...headers, ...own, host: url.host };
      const names = Object.keys(signed).toSorted().join(";");
      const { scope, signature } = signRequest(
        SCHEME,
        {
          method,
          path: url.pathname,
          query: canonicalQuery(query, "="),
          headers: signed,
          names,
          payload,
        },
        { secret: secretAccessKey, region, stamp },
      );
      const credential = `Credential=${accessKeyId}/${scope}`;
      const parts = [credential, `SignedHeaders=${names}`, `Signature=${signature}`];
      return { ...own, authorization: `${SCHEME.algorithm} ${parts.join(", ")}` };
    },
    refused: (code) => source.refused(code),
  };
}

/**
 * The environment's own keys, read at every call, without any SDK: so functions of AWS get theirs.
 * Everything else, and a role, is for the SDK to find.
 */
function keySource(connection: S3Connection, context: S3Context): AwsKeySource {
  const { env } = context;
  let found: Promise<AwsKeySource> | null = null;
  const chain = () => {
    found ??= import("./aws.ts").then(({ openKeys }) => openKeys(connection, context));
    found.catch(() => {
      found = null;
    });
    return found;
  };
  return {
    async keys(signal) {
      const own = connection.role === null ? environmentKeys(env) : null;
      return own ?? (await chain()).keys(signal);
    },
    refused(code) {
      found?.then(
        (source) => source.refused(code),
        () => undefined,
      );
    },
  };
}

/** A named profile comes before keys, as in the vendor's own chain. */
function environmentKeys(env: S3Context["env"]): AwsKeys | null {
  const accessKeyId = env.AWS_ACCESS_KEY_ID;
  const secretAccessKey = env.AWS_SECRET_ACCESS_KEY;
  const sessionToken = env.AWS_SESSION_TOKEN;
  if (!accessKeyId || !secretAccessKey || env.AWS_PROFILE) return null;
  return { accessKeyId, secretAccessKey, ...(sessionToken ? { sessionToken } : {}) };
}

/**
 * Some that speak S3 do not know `If-None-Match` and overwrite in silence: two holders of one lease
 * would be the end of it. So the first object that is created through an own endpoint is created
 * once more, which must be refused; where it is not, nothing is written any more.
 */
function provingCreation(bucket: Bucket): Bucket {
  let proof: "missing" | "given" | "refuted" = "missing";
  return {
    ...bucket,
    async put(key, body, signal) {
      if (proof !== "refuted") {
        const answer = await bucket.put(key, body, signal);
        if (proof === "given" || answer === "exists") return answer;
        proof = (await bucket.put(key, body, signal)) === "exists" ? "given" : "refuted";
        if (proof === "given") return "created";
      }
      throw new CloudError("invalid", "Overwrites", { operation: DIALECT.operations.put });
    },
  };
}
