import type { OssConnection, OssContext } from "../clouds/oss.ts";
import { objectStore } from "./objects.ts";
import type { Store } from "./store.ts";

/**
 * A store in a bucket of Alibaba Cloud OSS that never had versions. Reads and lists are consistent
 * at once (strong consistency, in the terms of the OSS documentation). `connect` is called by the
 * first verb, which rejects with what it throws.
 */
export function ossStore(
  { bucket, prefix }: { readonly bucket: string; readonly prefix: string },
  connect: () => OssConnection,
  context: OssContext,
): Store {
  return objectStore({
    place: `oss://${bucket}`,
    prefix,
    open: async () => {
      const connection = connect();
      const { openOss } = await import("../clouds/oss.ts");
      return openOss(connection, context);
    },
  });
}
