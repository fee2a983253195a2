import assert from "node:assert/strict";
import type { Cluster } from "./list.ts";
import type { Instant } from "./record.ts";
import {
  type AdmittedSnapshot,
  compareGenerations,
  contentOf,
  type Generation,
  type Problem,
  type Snapshot,
} from "./snapshot.ts";

/**
 * newer: append it · repeat: it is what is held already, go on from there · stale: something newer
 * is held, or something else under the same generation · other-cluster: another cluster speaks
 * under this name · invalid: the sender's generation makes no sense.
 */
export type Admission =
  | { readonly kind: "newer" }
  | { readonly kind: "repeat" }
  | { readonly kind: "stale"; readonly held: Generation }
  | {
      readonly kind: "other-cluster";
      readonly held: Generation | null;
      readonly message: string;
    }
  | { readonly kind: "invalid"; readonly problems: readonly Problem[] };

/**
 * Most that an epoch may rise in one step. One garbled message must not use up the ten digits,
 * after which no newer snapshot of this cluster could ever be admitted.
 */
export const EPOCH_JUMP_MAX = 1_000_000;

/** What a delivered snapshot is to the newest admitted one of its cluster, or to none yet. */
export function admit(
  held: AdmittedSnapshot | null,
  snapshot: Snapshot,
  options: { readonly now: Instant; readonly cluster: Cluster },
): Admission {
  assert.equal(
    snapshot.cluster,
    options.cluster.name,
    "A snapshot is judged by its own cluster's rules",
  );
  const stranger = refuseStranger(held, snapshot, options);
  if (stranger !== null) return stranger;
  // A rebuilt cluster counts its generations from the beginning; nothing of the old one compares.
  if (held === null || held.clusterUid !== snapshot.clusterUid) return { kind: "newer" };
  const order = compareGenerations(snapshot.generation, held.generation);
  if (order < 0) return { kind: "stale", held: held.generation };
  if (order === 0) {
    const same = contentOf(snapshot) === contentOf(held);
    return same ? { kind: "repeat" } : { kind: "stale", held: held.generation };
  }
  const jump = snapshot.generation.epoch - held.generation.epoch;
  return jump > EPOCH_JUMP_MAX ? refuseJump(snapshot, held) : { kind: "newer" };
}

/**
 * When the cluster was last heard from: by the receiver's clock, less the age that the truth
 * already had when it was sent. Both times of that age are the sender's, so clock skew cancels out.
 */
export function heardAt(snapshot: AdmittedSnapshot): Instant {
  return snapshot.receivedAt - Math.max(0, snapshot.time - snapshot.observedAt);
}

/**
 * A pinned uid decides alone. Without one, a name belongs to whoever spoke last under it until it
 * has delivered nothing for `staleAfterMs`; then a rebuilt cluster takes over.
 *
 * The age of what it delivered plays no part: a forwarder that is denied one namespace's pods, or
 * whose API server is away, speaks on with an old truth, and its nodes are alive. Whether something
 * may be removed for want of news is another question, and `heardAt` answers that one.
 */
function refuseStranger(
  held: AdmittedSnapshot | null,
  snapshot: Snapshot,
  options: { readonly now: Instant; readonly cluster: Cluster },
): Admission | null {
  const { now, cluster } = options;
  const refuse = (message: string): Admission => ({
    kind: "other-cluster",
    held: held?.generation ?? null,
    message,
  });
  if (cluster.uid !== null) {
    if (snapshot.clusterUid === cluster.uid) return null;
    return refuse(
      `Cannot admit cluster ${snapshot.clusterUid} as "${cluster.name}": the ` +
        `configuration pins ${cluster.uid}; correct "uid" or give this cluster its own ` +
        "name",
    );
  }
  if (held === null || held.clusterUid === snapshot.clusterUid) return null;
  const silentMs = now - held.receivedAt;
  if (silentMs > cluster.staleAfterMs) return null;
  return refuse(
    `Cannot admit cluster ${snapshot.clusterUid} as "${cluster.name}": ` +
      `${held.clusterUid} delivered ${Math.max(0, Math.round(silentMs / 1000))} s ago; ` +
      "give one of them its own name, or stop the old one and wait",
  );
}

function refuseJump(snapshot: Snapshot, held: AdmittedSnapshot): Admission {
  const message =
    `Cannot take epoch ${snapshot.generation.epoch}: ${held.generation.epoch} is held, and ` +
    `it may rise by at most ${EPOCH_JUMP_MAX} at once`;
  return { kind: "invalid", problems: [{ path: "generation.epoch", message }] };
}
