import { selectorText } from "../lib/core/scope.ts";
import { type Node, type PodSelector, SNAPSHOT_PODS_MAX } from "../lib/core/snapshot.ts";
import { DELIVERY_BYTES_MAX } from "../lib/wire/protocol.ts";
import type { Pods } from "./pods.ts";

/*
 * Which selectors' pods a message has room for. One that takes too many must not keep the nodes,
 * and the pods of the others, from being delivered.
 */

export interface SelectedPods {
  readonly selector: PodSelector;
  readonly pods: Pods;
}

export interface Room {
  readonly nodes: readonly Node[];
  /** Selectors that had no room before. */
  readonly excess: readonly PodSelector[];
}

/** For the envelope, the scope and the changes, which people write or which are cut. */
const RESERVE_BYTES = 512 * 1024;
/** What had no room comes back with room to spare, so that it does not come and go all the time. */
const SPARE_SHARE = 0.1;

/** Those that have no room, a pod of several selectors counted once. */
export function excessPods<T extends SelectedPods>(
  listed: readonly T[],
  { nodes, excess }: Room,
): readonly T[] {
  if (listed.length === 0) return [];
  const room = DELIVERY_BYTES_MAX - RESERVE_BYTES - total(nodes);
  const taken = new Set<string>();
  let takenBytes = 0;
  return listed.filter(({ selector, pods }) => {
    const share = excess.includes(selector) ? 1 - SPARE_SHARE : 1;
    const podsMax = SNAPSHOT_PODS_MAX * share - taken.size;
    const bytesMax = room * share - takenBytes;
    const fitting = fit(pods, { taken, podsMax, bytesMax });
    if (fitting === null) return true;
    for (const uid of fitting.uids) taken.add(uid);
    takenBytes += fitting.bytes;
    return false;
  });
}

/** What a selector's pods add to those that are taken; null when that is too much. */
function fit(
  pods: Pods,
  options: {
    readonly taken: ReadonlySet<string>;
    readonly podsMax: number;
    readonly bytesMax: number;
  },
): { readonly uids: readonly string[]; readonly bytes: number } | null {
  const uids: string[] = [];
  let bytes = 0;
  for (const [uid, { pod }] of pods) {
    if (options.taken.has(uid)) {
      // Its labels of this selector, too, are sent with it.
      bytes += bytesOf(pod.labels);
    } else {
      uids.push(uid);
      bytes += bytesOf(pod);
    }
    if (uids.length > options.podsMax || bytes > options.bytesMax) return null;
  }
  return { uids, bytes };
}

function total(objects: readonly object[]): number {
  return objects.reduce((sum, object) => sum + bytesOf(object), 0);
}

// What does not change is the same object, and is not written out again to be measured.
const measured = new WeakMap<object, number>();

/** As a message has it, with the comma behind it. */
function bytesOf(object: object): number {
  const known = measured.get(object);
  if (known !== undefined) return known;
  const bytes = Buffer.byteLength(JSON.stringify(object)) + 1;
  measured.set(object, bytes);
  return bytes;
}

/** What to do about selectors that have no room. */
export function excessText(selectors: readonly PodSelector[]): string {
  const names = selectors.map(selectorText).join("; ");
  const megabytes = DELIVERY_BYTES_MAX / 2 ** 20;
  return (
    `Cannot tell of the pods of ${names}: with them there are more than ${SNAPSHOT_PODS_MAX}, or ` +
    `more than ${megabytes} MiB in a message; narrow the selector, or name fewer labels in ` +
    "KUBE_ALLOWLIST_LABELS"
  );
}
