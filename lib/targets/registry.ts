import { alibabaKinds } from "./alibaba/kinds.ts";
import { atlasKinds } from "./atlas/kinds.ts";
import { awsKinds } from "./aws/kinds.ts";
import { digitaloceanKinds } from "./digitalocean/kinds.ts";
import { feedKinds } from "./feed/kinds.ts";
import type { Kind } from "./kind.ts";
import { linodeKinds } from "./linode/kinds.ts";
import { memoryKinds } from "./memory/kinds.ts";

/**
 * Every kind that `targets` of a list may name, in ascending order. A function that names no target
 * of a vendor never loads its SDK, and is packaged without its file of kinds.
 */
export const kinds: Readonly<Record<string, Kind>> = {
  ...alibabaKinds,
  ...atlasKinds,
  ...awsKinds,
  ...digitaloceanKinds,
  ...feedKinds,
  ...linodeKinds,
  ...memoryKinds,
};
