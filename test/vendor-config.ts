import type { Config } from "../lib/config.ts";
import { configOf, EXAMPLES, S3, SOURCES } from "./roles-config.ts";

/*
 * What an installation at one cloud is packaged for, at its largest: its store, and one list for
 * each kind of target that the cloud has. For tests and measurements of bundles.
 */

const STORES = {
  alibaba: { kind: "oss", bucket: "acme-allowlist", region: "cn-beijing" },
  aws: S3,
} as const;

export type CloudVendor = keyof typeof STORES;

export const CLOUD_VENDORS: readonly CloudVendor[] = ["alibaba", "aws"];

export function vendorConfig(vendor: CloudVendor): Config {
  const targets = EXAMPLES.filter(({ kind }) => String(kind).startsWith(`${vendor}/`));
  const lists = targets.map((target, index) => [
    `list-${index}`,
    { from: [SOURCES.alive], removal: { policy: "sync" }, targets: [target] },
  ]);
  return configOf(Object.fromEntries(lists), { store: STORES[vendor] });
}
