import { sortCidrs } from "../lib/core/cidr.ts";
import { selectorText } from "../lib/core/scope.ts";
import { POD_ADDRESSES_MAX, type Pod, type PodSelector } from "../lib/core/snapshot.ts";
import type { Collection, Held, Sight } from "./collection.ts";
import { isRecord, type JsonRecord, recordAt, textAt } from "./json.ts";
import {
  isSameLabels,
  isSameList,
  projectHosts,
  projectLabels,
  readIdentity,
  sortUnsent,
  versionOf,
} from "./projection.ts";
import { compareVersions } from "./version.ts";

/** What is kept of a Pod object that counts. */
export interface ObservedPod {
  readonly pod: Pod;
  /** Texts of addresses that are not sent: no IP addresses, or too many. */
  readonly unsent: readonly string[];
  /** The version of the object when it last became as it is here. */
  readonly version: string;
}

/** The pods of one selector by uid. */
export type Pods = Held<ObservedPod>;

const NAME_CHARACTERS_MAX = 253;
const NAMESPACE = /^[\x21-\x7e]{1,63}$/;
const LIVE_PHASES: readonly unknown[] = ["Pending", "Running"];

/**
 * The pods that one selector takes, with all labels of the scope and of the selector: whoever sets
 * them makes sure that a message has room for them.
 */
export function podsCollection(
  selector: PodSelector,
  options: { readonly labels: readonly string[] },
): Collection<ObservedPod> {
  const { namespace, labels } = selector;
  const keys = [...new Set([...Object.keys(labels), ...options.labels])].toSorted();
  const pairs = Object.entries(labels).map(([key, value]) => `${key}=${value}`);
  return {
    name: `pods of ${selectorText(selector)}`,
    noun: "pod",
    path: `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods`,
    labelSelector: pairs.toSorted().join(),
    listKind: "PodList",
    rights: `list and watch on pods in the namespace ${namespace}`,
    see: (object, held) => projectPod(object, { labels: keys, held }),
    uidOf: ({ pod }) => pod.uid,
    nameOf: ({ pod }) => podName(pod),
    isNamesake: (a, b) => a.pod.name === b.pod.name && a.pod.namespace === b.pod.namespace,
    isSame: (a, b) => isSamePod(a.pod, b.pod),
    isMarkedAlike: () => true,
  };
}

/**
 * A Pod object of the API as ours, or as nothing: only a pod that may run (phase Pending or
 * Running) counts, that has addresses, and of its own: not those of its node (`hostNetwork`).
 * Finished pods keep `status.podIP` while the address is given to others (kubernetes#109414); one
 * that is being deleted may still speak, and counts until it is gone.
 */
function projectPod(
  object: unknown,
  options: { readonly labels: readonly string[]; readonly held: Pods },
): Sight<ObservedPod> {
  const { uid, name, metadata } = readIdentity(object, "a pod");
  const namespace = textAt(metadata, "namespace") ?? "";
  if (!NAMESPACE.test(namespace)) throw new RangeError("Cannot read a pod: it has no namespace");
  const spec = recordAt(object, "spec");
  const status = recordAt(object, "status");
  const counts = LIVE_PHASES.includes(status.phase) && spec.hostNetwork !== true;
  if (!counts) return { uid, observed: null };
  const before = options.held.get(uid);
  const known = before?.pod.addresses ?? [];
  const { hosts, unsent } = projectHosts(textsOf(status), known);
  const pod: Pod = {
    uid,
    namespace,
    name,
    labels: projectLabels(recordAt(metadata, "labels"), options.labels),
    addresses: hosts === known ? known : hosts.slice(0, POD_ADDRESSES_MAX),
  };
  const all = sortUnsent([...unsent, ...hosts.slice(POD_ADDRESSES_MAX)]);
  // Nothing to tell, and nothing to say.
  if (hosts.length === 0 && all.length === 0) return { uid, observed: null };
  if (before !== undefined && isSamePod(before.pod, pod) && isSameList(before.unsent, all)) {
    return { uid, observed: before };
  }
  return { uid, observed: { pod, unsent: all, version: versionOf(object) } };
}

/** `podIPs` holds one address of each family, `podIP` is the first of them. */
function textsOf(status: JsonRecord): readonly unknown[] {
  const { podIPs, podIP } = status;
  if (Array.isArray(podIPs) && podIPs.length > 0) {
    return podIPs.map((entry) => (isRecord(entry) ? entry.ip : entry));
  }
  return podIP === undefined || podIP === "" ? [] : [podIP];
}

function isSamePod(a: Pod, b: Pod): boolean {
  return (
    a.uid === b.uid &&
    a.name === b.name &&
    a.namespace === b.namespace &&
    isSameLabels(a.labels, b.labels) &&
    isSameList(a.addresses, b.addresses)
  );
}

/** "namespace/name" where a change has room for it, the name alone otherwise. */
function podName({ namespace, name }: Pod): string {
  const whole = `${namespace}/${name}`;
  return whole.length <= NAME_CHARACTERS_MAX ? whole : name;
}

/**
 * The pods of all selectors, each once and in ascending order of uid, with the labels of all that
 * selected it. Where one selector's watch knows a pod's newer state than another's, what it knows
 * wins; an address that any of them knows is there.
 */
export function mergePods(selected: readonly Pods[]): readonly Pod[] {
  const merged = new Map<string, ObservedPod>();
  for (const pods of selected) {
    for (const [uid, observed] of pods) {
      const other = merged.get(uid);
      merged.set(uid, other === undefined ? observed : mergeTwo(other, observed));
    }
  }
  return [...merged.values()]
    .map(({ pod }) => pod)
    .sort((a, b) => (a.uid < b.uid ? -1 : a.uid > b.uid ? 1 : 0));
}

function mergeTwo(a: ObservedPod, b: ObservedPod): ObservedPod {
  const order = compareVersions(a.version, b.version) ?? 0;
  const [older, newer] = order > 0 ? [b, a] : [a, b];
  const labels = Object.entries({ ...older.pod.labels, ...newer.pod.labels });
  const addresses = sortCidrs([...older.pod.addresses, ...newer.pod.addresses]);
  return {
    ...newer,
    pod: {
      ...newer.pod,
      labels: Object.fromEntries(labels.toSorted(([one], [two]) => (one < two ? -1 : 1))),
      addresses: addresses.slice(0, POD_ADDRESSES_MAX),
    },
  };
}
