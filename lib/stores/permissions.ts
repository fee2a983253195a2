import { partitionOf } from "../clouds/partitions.ts";
import { arnOf } from "../targets/alibaba/common.ts";
import type { Grant } from "../targets/kind.ts";
import type { OssSettings, S3Settings } from "./settings.ts";

/** Whose permissions: the function that takes snapshots, the one that removes, those that show. */
export type StoreRole = "webhook" | "resync" | "read";

/** Exactly what one of the functions needs of the store; nothing for one that needs no vendor. */
export interface StorePermissions {
  readonly dialect: "iam" | "ram" | "none";
  readonly grants: readonly Grant[];
}

/**
 * The webhook creates and never overwrites or deletes; only the resync deletes, when it trims.
 * `region` stands in where the settings have none.
 */
export function storePermissions(
  settings: S3Settings | OssSettings | { readonly kind: "memory" | "file" },
  role: StoreRole,
  { region = "" }: { readonly region?: string } = {},
): StorePermissions {
  switch (settings.kind) {
    case "s3":
      return { dialect: "iam", grants: s3Grants(settings, role, region) };
    case "oss":
      return { dialect: "ram", grants: ossGrants(settings, role) };
    default:
      return { dialect: "none", grants: [] };
  }
}

function s3Grants(settings: S3Settings, role: StoreRole, region: string): readonly Grant[] {
  const { bucket, objects, keys } = s3Names(settings, region);
  const resources = [objects];
  const create: Grant = {
    actions: ["s3:PutObject"],
    resources,
    condition: { Null: { "s3:if-none-match": "false" } },
  };
  return [
    {
      actions: ["s3:ListBucket"],
      resources: [bucket],
      condition: { StringLike: { "s3:prefix": keys } },
    },
    { actions: ["s3:GetObject"], resources },
    ...(role === "read" ? [] : [create]),
    ...(role === "resync" ? [{ actions: ["s3:DeleteObject"], resources }] : []),
  ];
}

function s3Names({ bucket, prefix = "", region }: S3Settings, fallback: string) {
  const arn = `arn:${partitionOf(region ?? fallback)}:s3:::${bucket}`;
  const keys = `${prefix}v1/*`;
  return { bucket: arn, objects: `${arn}/${keys}`, keys };
}

function ossGrants({ bucket, prefix = "" }: OssSettings, role: StoreRole): readonly Grant[] {
  // Names of buckets are unique whatever region and account, and policies of OSS leave both open.
  const arn = (resource: string) => arnOf("oss", { region: "*", account: "*", resource });
  const keys = `${prefix}v1/*`;
  const resources = [arn(`${bucket}/${keys}`)];
  const writes: readonly Grant[] = [
    { actions: ["oss:GetBucketVersioning"], resources: [arn(bucket)] },
    { actions: ["oss:PutObject"], resources },
  ];
  return [
    {
      actions: ["oss:ListObjects"],
      resources: [arn(bucket)],
      condition: { StringLike: { "oss:Prefix": keys } },
    },
    { actions: ["oss:GetObject"], resources },
    ...(role === "read" ? [] : writes),
    ...(role === "resync" ? [{ actions: ["oss:DeleteObject"], resources }] : []),
  ];
}

/**
 * The policy of a bucket that holds a store: whoever writes, and whatever else they may, nothing is
 * overwritten, only the role `resyncRoleArn` deletes, and nobody comes over http. (Condition keys:
 * "Enforce conditional writes on Amazon S3 buckets" in the S3 user guide.) Copies into the prefix
 * and uploads in parts carry no such header when they begin, and are refused with the rest.
 */
export function s3BucketPolicy(
  settings: S3Settings,
  { resyncRoleArn, region = "" }: { readonly resyncRoleArn: string; readonly region?: string },
) {
  const { bucket, objects } = s3Names(settings, region);
  const deny = { Effect: "Deny", Principal: "*" };
  return {
    Version: "2012-10-17",
    Statement: [
      {
        Sid: "NothingIsOverwritten",
        ...deny,
        Action: "s3:PutObject",
        Resource: objects,
        Condition: { Null: { "s3:if-none-match": "true" } },
      },
      {
        Sid: "OnlyTheResyncDeletes",
        ...deny,
        Action: ["s3:DeleteObject", "s3:DeleteObjectVersion"],
        Resource: objects,
        Condition: { ArnNotEquals: { "aws:PrincipalArn": resyncRoleArn } },
      },
      {
        Sid: "OnlyEncrypted",
        ...deny,
        Action: "s3:*",
        Resource: [bucket, objects],
        Condition: { Bool: { "aws:SecureTransport": "false" } },
      },
    ],
  };
}
