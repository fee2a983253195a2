import type { S3Connection, S3Context } from "../clouds/s3.ts";
import { objectStore } from "./objects.ts";
import type { Store } from "./store.ts";

/**
 * A store in a bucket of S3, or of what speaks its language and knows `If-None-Match`. Reads and
 * lists are consistent at once (Amazon S3 data consistency model). `connect` is called by the first
 * verb, which rejects with what it throws.
 */
export function s3Store(
  { bucket, prefix }: { readonly bucket: string; readonly prefix: string },
  connect: () => S3Connection,
  context: S3Context,
): Store {
  return objectStore({
    place: `s3://${bucket}`,
    prefix,
    open: async () => {
      const connection = connect();
      const { openS3 } = await import("../clouds/s3.ts");
      return openS3(connection, context);
    },
  });
}
