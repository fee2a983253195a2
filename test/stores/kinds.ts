import { memoryStore } from "../../lib/stores/memory.ts";
import type { Store } from "../../lib/stores/store.ts";
import type { World } from "../../lib/world.ts";
import { storeInProcess, vendors } from "./buckets.ts";

/** A kind of store, all of which every promise of the log and the lease must hold over. */
export interface StoreKind {
  readonly name: string;
  /** Empty, on this clock. */
  readonly make: (world: Pick<World, "now">) => Store;
  /** By how much less than the true age it may tell. */
  readonly slackMs: number;
}

export const storeKinds: readonly StoreKind[] = [
  { name: "memory", make: memoryStore, slackMs: 0 },
  ...vendors.map((vendor) => ({
    name: vendor.name,
    make: (world: Pick<World, "now">) => storeInProcess(vendor, world),
    slackMs: 2_000,
  })),
];
