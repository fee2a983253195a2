import { GENERATION_NUMBER_MAX } from "../lib/core/snapshot.ts";
import type { HeldLease, KubernetesLeaseOptions, Lease } from "./lease.ts";

/**
 * The same rule where nobody else can deliver: for a forwarder outside of a cluster that must not
 * write there. The counter begins at 1 with every process; a receiver that knows more says so.
 */
export function makeMemoryLease(
  options: Pick<KubernetesLeaseOptions, "world" | "emit" | "onAcquired">,
): Lease {
  const { world, emit } = options;
  let own: HeldLease | null = null;
  return {
    held: () => own,
    async raise(above) {
      if (own === null || Math.max(own.epoch, above) >= GENERATION_NUMBER_MAX) return null;
      own = { ...own, epoch: Math.max(own.epoch, above) + 1 };
      emit({ kind: "epoch-raised", at: world.now(), epoch: own.epoch });
      return own.epoch;
    },
    run(signal) {
      own = { epoch: 1, acquisition: 1 };
      emit({ kind: "lease-acquired", at: world.now(), epoch: 1 });
      options.onAcquired(own);
      return new Promise((resolve) => {
        if (signal.aborted) resolve();
        else signal.addEventListener("abort", () => resolve(), { once: true });
      });
    },
    async release() {
      own = null;
    },
  };
}
