import { createHash } from "node:crypto";
import { canonicalQuery, signRequest } from "../../lib/clouds/signature.ts";
import {
  isSkewed,
  type ObjectRequest,
  type ObjectStorage,
  type ObjectStorageOptions,
  objectStorage,
  type Refusal,
} from "./object-storage.ts";

export interface OssOptions extends ObjectStorageOptions {
  readonly region: string;
  readonly accessKeyId: string;
  readonly accessKeySecret: string;
  /** Demanded where the keys are those of a session. */
  readonly securityToken?: string;
  /** Of the bucket now; "" as long as versions were never switched on. */
  readonly versioning: () => "" | "Enabled" | "Suspended";
}

const AUTHORIZATION = /^OSS4-HMAC-SHA256 Credential=([^/]+)\/([^,]+),Signature=([0-9a-f]{64})$/;
const SCHEME = {
  algorithm: "OSS4-HMAC-SHA256",
  secretPrefix: "aliyun_v4",
  service: "oss",
  terminator: "aliyun_v4_request",
};

/** One bucket; with versions, also former ones, it overwrites whatever is asked. */
export function embeddedOss(options: OssOptions): ObjectStorage {
  const { versioning } = options;
  return objectStorage(
    {
      requestIdHeader: "x-oss-request-id",
      refuse: (request, now) => refuse(request, now, options),
      refuseOverwrite({ headers }) {
        const isForbidden = headers["x-oss-forbid-overwrite"] === "true";
        return isForbidden && versioning() === ""
          ? { status: 409, code: "FileAlreadyExists" }
          : null;
      },
      putHeaders: () => {
        const ids = { "": null, Enabled: "CAEQBRiBgIC4", Suspended: "null" };
        const id = ids[versioning()];
        return id === null ? {} : { "x-oss-version-id": id };
      },
      versioning,
    },
    options,
  );
}

function refuse(request: ObjectRequest, now: number, options: OssOptions): Refusal | null {
  const { headers, body } = request;
  const [, id, scope, signature] = AUTHORIZATION.exec(headers.authorization ?? "") ?? [];
  const stamp = headers["x-oss-date"] ?? "";
  if (signature === undefined) return { status: 403, code: "AccessDenied" };
  if (id !== options.accessKeyId) return { status: 403, code: "InvalidAccessKeyId" };
  if (headers["x-oss-security-token"] !== options.securityToken) {
    return { status: 403, code: "SecurityTokenExpired" };
  }
  if (isSkewed(stamp, now)) return { status: 403, code: "RequestTimeTooSkewed" };
  const signed = Object.entries(headers).filter(([name]) =>
    /^(x-oss-|content-(type|md5)$)/.test(name),
  );
  const expected = signRequest(
    SCHEME,
    {
      method: request.method,
      path: request.path,
      query: canonicalQuery(Object.fromEntries(request.query), ""),
      headers: Object.fromEntries(signed),
      names: "",
      payload: headers["x-oss-content-sha256"] ?? "",
    },
    { secret: options.accessKeySecret, region: options.region, stamp },
  );
  if (scope !== expected.scope || signature !== expected.signature) {
    return { status: 403, code: "SignatureDoesNotMatch" };
  }
  if (headers["x-oss-content-sha256"] !== "UNSIGNED-PAYLOAD") {
    return { status: 400, code: "InvalidArgument" };
  }
  const digest = createHash("md5").update(body).digest("base64");
  if (headers["content-md5"] !== undefined && headers["content-md5"] !== digest) {
    return { status: 400, code: "InvalidDigest" };
  }
  // Conditions of HTTP are for reading; a write with one is refused.
  return headers["if-none-match"] === undefined ? null : { status: 400, code: "NotImplemented" };
}
