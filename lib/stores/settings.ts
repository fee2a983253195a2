import * as z from "zod/mini";
import { regionShape as alibabaRegion } from "../targets/alibaba/common.ts";
import { regionShape as awsRegion } from "../targets/aws/common.ts";
import { alibabaSettings, awsSettings } from "../targets/connection.ts";
import { endpointShape, isEndpoint, isPrivate, isReference } from "../targets/settings.ts";
import { isSegment } from "./key.ts";

/*
 * Settings of the stores that are reached over a network.
 */

// "General purpose bucket naming rules" in the S3 user guide.
const S3_BUCKET = /^(?!xn--|sthree-|amzn-s3-demo-)[a-z0-9](?:[a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]$/;
const IPV4 = /^\d+(\.\d+){3}$/;
const DIRECTORY_BUCKET = /--x-s3$/;
/** Not buckets: aliases of access points and the like, which these names are kept for. */
const S3_ALIAS = /(-s3alias|--ol-s3|\.mrap|--table-s3)$/;
// PutBucket in the OSS API reference.
const OSS_BUCKET = /^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/;
const PREFIX_CHARACTERS_MAX = 100;

const s3BucketShape = z.string().check(
  z.refine((name) => !DIRECTORY_BUCKET.test(name), {
    error: ({ input }) =>
      `Cannot use bucket ${JSON.stringify(input)}: a directory bucket does not list its objects ` +
      "in order; use a general purpose bucket",
    abort: true,
  }),
  z.refine((name) => S3_BUCKET.test(name) && !IPV4.test(name) && !S3_ALIAS.test(name), {
    error: ({ input }) =>
      `Cannot use bucket ${JSON.stringify(input)}: write the name of a general purpose bucket`,
  }),
);

const ossBucketShape = z.string().check(
  z.regex(OSS_BUCKET, {
    error: ({ input }) =>
      `Cannot use bucket ${JSON.stringify(input)}: expected 3 to 63 of a-z, 0-9 and "-", no "-" ` +
      "at either end",
  }),
);

/** With its slash at the end; "" for none. */
const prefixShape = z
  .optional(
    z.pipe(
      z.string(),
      z.transform((text, context): string => {
        const prefix = text.replace(/\/$/, "");
        const fits = prefix.length <= PREFIX_CHARACTERS_MAX && prefix.split("/").every(isSegment);
        if (fits) return `${prefix}/`;
        const message =
          `Cannot use prefix ${JSON.stringify(text)}: expected at most ` +
          `${PREFIX_CHARACTERS_MAX} of ` +
          'a-z, 0-9, "-" and ".", in parts between single slashes';
        context.issues.push({ code: "custom", message, input: text });
        return z.NEVER;
      }),
    ),
  )
  .check(z.describe("In front of every key, where the bucket holds other things, too"));

const privateEndpointShape = z.optional(
  endpointShape.check(
    z.refine((text) => isReference(text) || !isEndpoint(text) || isPrivate(text), {
      error: () => `Cannot use endpoint: ${OPEN_ENDPOINT}`,
    }),
  ),
);

/** What is wrong with an endpoint that others can listen to. */
export const OPEN_ENDPOINT =
  "over http others could read and change what is stored; write an https URL, or one of this " +
  "machine";

export const s3Shape = z
  .strictObject({
    kind: z.literal("s3"),
    bucket: s3BucketShape,
    prefix: prefixShape,
    region: z.optional(awsRegion).check(z.describe("Default AWS_REGION")),
    endpoint: privateEndpointShape.check(z.describe("Of another storage that knows If-None-Match")),
    role: awsSettings.role,
  })
  .check(
    z.describe("A bucket of Amazon S3, or of what speaks its language and knows If-None-Match"),
  );

export const ossShape = z
  .strictObject({
    kind: z.literal("oss"),
    bucket: ossBucketShape,
    prefix: prefixShape,
    region: alibabaRegion,
    endpoint: privateEndpointShape.check(z.describe("Of the region, such as its internal one")),
    role: alibabaSettings.role,
    credentials: alibabaSettings.credentials,
  })
  .check(z.describe("A bucket of Alibaba Cloud OSS that never had versions"));

export type S3Settings = z.output<typeof s3Shape>;
export type OssSettings = z.output<typeof ossShape>;
