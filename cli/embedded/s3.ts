import { canonicalQuery, sha256Hex, signRequest } from "../../lib/clouds/signature.ts";
import {
  isSkewed,
  type ObjectRequest,
  type ObjectStorage,
  type ObjectStorageOptions,
  objectStorage,
  type Refusal,
} from "./object-storage.ts";

export interface S3Options extends ObjectStorageOptions {
  readonly region: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Demanded where the keys are those of a session. */
  readonly sessionToken?: string;
  /** Overwrites whatever is asked, as some do that speak S3. */
  readonly overwrites?: boolean;
}

const AUTHORIZATION = new RegExp(
  "^AWS4-HMAC-SHA256 Credential=([^/]+)/([^,]+), " +
    "SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})$",
);
const SCHEME = {
  algorithm: "AWS4-HMAC-SHA256",
  secretPrefix: "AWS4",
  service: "s3",
  terminator: "aws4_request",
};
/** Headers that need not be signed; fetch adds those about caches to what has a condition. */
const UNSIGNED = new Set([
  "accept",
  "accept-encoding",
  "accept-language",
  "authorization",
  "cache-control",
  "connection",
  "content-length",
  "pragma",
  "sec-fetch-mode",
  "user-agent",
]);

/** One general purpose bucket. */
export function embeddedS3(options: S3Options): ObjectStorage {
  return objectStorage(
    {
      requestIdHeader: "x-amz-request-id",
      refuse: (request, now) => refuse(request, now, options),
      refuseOverwrite({ headers }) {
        if (options.overwrites || headers["if-none-match"] === undefined) return null;
        return { status: 412, code: "PreconditionFailed" };
      },
    },
    options,
  );
}

function refuse(request: ObjectRequest, now: number, options: S3Options): Refusal | null {
  const { headers, body, verb } = request;
  const [, id, scope = "", names = "", signature] =
    AUTHORIZATION.exec(headers.authorization ?? "") ?? [];
  const stamp = headers["x-amz-date"] ?? "";
  const payload = headers["x-amz-content-sha256"] ?? "";
  if (signature === undefined) return { status: 403, code: "AccessDenied" };
  if (id !== options.accessKeyId) return { status: 403, code: "InvalidAccessKeyId" };
  if (headers["x-amz-security-token"] !== options.sessionToken) {
    return { status: 400, code: "InvalidToken" };
  }
  if (isSkewed(stamp, now)) return { status: 403, code: "RequestTimeTooSkewed" };
  const signed = names.split(";");
  const isBare = Object.keys(headers).some((name) => !UNSIGNED.has(name) && !signed.includes(name));
  const expected = signRequest(
    SCHEME,
    {
      method: request.method,
      path: request.path,
      query: canonicalQuery(Object.fromEntries(request.query), "="),
      headers: Object.fromEntries(signed.map((name) => [name, headers[name] ?? ""])),
      names,
      payload,
    },
    { secret: options.secretAccessKey, region: options.region, stamp },
  );
  if (scope.split("/")[1] !== options.region) {
    return { status: 400, code: "AuthorizationHeaderMalformed" };
  }
  if (isBare || scope !== expected.scope || signature !== expected.signature) {
    return { status: 403, code: "SignatureDoesNotMatch" };
  }
  if (payload !== sha256Hex(body)) return { status: 400, code: "XAmzContentSHA256Mismatch" };
  const condition = headers["if-none-match"];
  const isStrange = condition !== undefined && (verb !== "put" || condition !== "*");
  return isStrange ? { status: 501, code: "NotImplemented" } : null;
}
