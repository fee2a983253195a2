import { type Admission, admit } from "./core/admission.ts";
import type { Cluster } from "./core/list.ts";
import type { AdmittedSnapshot, Snapshot } from "./core/snapshot.ts";
import type { Log } from "./stores/log.ts";
import { StoreError } from "./stores/store.ts";
import type { World } from "./world.ts";

/** Appends lost to somebody faster before the store counts as unavailable. */
const APPENDS_MAX = 5;

export type Admitted =
  | { readonly kind: "newer" | "repeat"; readonly snapshot: AdmittedSnapshot }
  | Exclude<Admission, { readonly kind: "newer" | "repeat" }>;

/**
 * Decides whether a snapshot is the newest truth of its cluster and, if so, makes it durable. What
 * comes back is what is stored. Rejects with StoreError when nothing was admitted.
 */
export async function admitSnapshot(
  log: Log<AdmittedSnapshot>,
  snapshot: Snapshot,
  options: { readonly cluster: Cluster; readonly world: World },
): Promise<Admitted> {
  const { cluster, world } = options;
  for (let attempt = 0; attempt < APPENDS_MAX; attempt += 1) {
    const held = await log.newest();
    const now = world.now();
    const admission = admit(held?.body ?? null, snapshot, { now, cluster });
    if (admission.kind === "repeat" && held !== null)
      return { kind: "repeat", snapshot: held.body };
    if (admission.kind !== "newer" && admission.kind !== "repeat") return admission;
    const admitted = { ...snapshot, receivedAt: now };
    const entry = await log.append(held?.revision ?? 0, admitted);
    if (entry !== "exists") return { kind: "newer", snapshot: admitted };
  }
  throw new StoreError(
    `Cannot admit a snapshot of "${cluster.name}": ${APPENDS_MAX} other writers were ` +
      "faster; it is delivered again",
  );
}
