import type { Instant } from "../lib/core/record.ts";
import { selectorText } from "../lib/core/scope.ts";
import type { Change, Node, Pod, PodSelector } from "../lib/core/snapshot.ts";
import type { World } from "../lib/world.ts";
import type { Emit } from "./journal.ts";
import type { Kube } from "./kube.ts";
import { type Nodes, nodesCollection } from "./nodes.ts";
import { mergePods, type ObservedPod, podsCollection } from "./pods.ts";
import type { ObservedNode } from "./projection.ts";
import { excessPods, excessText } from "./selection.ts";
import { slept } from "./signal.ts";
import type { Truth } from "./truth.ts";
import { expectRoomForLabels, type GateMark } from "./variables.ts";
import { type CollectionWatch, type Knowledge, watchCollection } from "./watch.ts";

/** Follows the nodes of one cluster, and the pods of every selector, as one truth. */
export interface ClusterWatch {
  /** Null before the first complete list of the nodes, and while it is unclear whose they are. */
  truth(): Truth | null;
  /** The nodes as they were last seen; none before the first complete list. */
  nodes(): Nodes;
  /**
   * Resolves once the nodes were listed consistently, and the pods of each selector were, too, or
   * could not be: what is not listed by then is left out of the truth's scope until it is. Begins
   * now; rejects when the signal aborts.
   */
  confirm(signal: AbortSignal): Promise<void>;
  /** Lists and watches until the signal aborts, then resolves; nothing else ends it. */
  run(signal: AbortSignal): Promise<void>;
}

export interface ClusterWatchOptions {
  readonly kube: Kube;
  readonly world: Pick<World, "now" | "random" | "sleep">;
  /** Keys of the labels that are kept, ascending. */
  readonly labels: readonly string[];
  /** Ascending, each once; with the labels no more than a pod may have. */
  readonly pods: readonly PodSelector[];
  /** What a gate puts on nodes; null without. */
  readonly mark: GateMark | null;
  readonly emit: Emit;
  /**
   * Hears of changes before they are part of the truth; when it throws, they are seen again later.
   * The objects of a first list are no changes. Also hears, without changes, when the scope or the
   * truth itself comes or goes.
   */
  readonly onChanges: (changes: readonly Change[]) => void;
  /** The cluster was restored from a backup: told once for all that was seen to be older. */
  readonly onRestored: () => void;
  /** A gate has something new to judge in the nodes. Must not throw. */
  readonly onMarks: () => void;
}

/** Nodes are not kept waiting for pods longer than this. */
const PODS_WAIT_MS_MAX = 5_000;
/** Two servers behind one URL that are not of one cluster would otherwise keep us listing. */
const DOUBT_AGAIN_MS = 60_000;
const DOUBT_DELAY_MS = 10_000;
/** How often pods are looked for that may no longer be told of. */
const LOOK_MS = 30_000;
/**
 * Pods that nothing proves to be current for so much longer than the nodes are about to hold back
 * what the nodes have to say. A watch in order is proven by a list when it is 270 s old.
 */
const LAG_MS_MAX = 270_000;
/**
 * So many looks in a row: after an outage of the whole server, a watch comes back after a pause of
 * up to a minute. Together this is well below the 12 min after which a receiver calls all stale.
 */
const LAG_LOOKS = 4;

/** What all watches have in common. */
type AnyWatch = Omit<CollectionWatch<ObservedNode>, "held">;

interface PodWatch {
  readonly selector: PodSelector;
  readonly watch: CollectionWatch<ObservedPod>;
  /** Looks in a row at which they lagged behind the nodes. */
  lags: number;
}

/** Pods that may be told of, and selectors whose pods a message has no room for. */
interface Selection {
  readonly key: string;
  readonly selected: readonly PodWatch[];
  readonly excess: readonly PodWatch[];
}

/** All watches of one cluster, as their functions hand them around. */
interface Watched {
  readonly options: ClusterWatchOptions;
  readonly nodes: CollectionWatch<ObservedNode>;
  readonly pods: readonly PodWatch[];
  /** What another watch has seen speaks against what these know; until they list, they are mute. */
  readonly suspects: Set<AnyWatch>;
  readonly suspectedAt: Map<AnyWatch, Instant>;
  /** What is in the scope, as it was last told. */
  told: string;
  /** Selectors that had no room, as it was last said. */
  excess: string;
  /** What truths are made of, while it holds. */
  selection: Selection | null;
  sorted: { readonly revision: number; readonly nodes: readonly Node[] } | null;
  merged: { readonly key: string; readonly pods: readonly Pod[] } | null;
}

export function watchCluster(options: ClusterWatchOptions): ClusterWatch {
  const { kube, world, emit, labels, onChanges, onMarks } = options;
  expectRoomForLabels(options.pods, labels);
  const common = { kube, world, emit };
  const nodes = watchCollection<ObservedNode>({
    ...common,
    collection: nodesCollection({ labels, mark: options.mark }),
    onChanges,
    onMarks,
    onRestored: () => noticeRestored(watched, nodes),
    onListed: () => noticeListed(watched, nodes),
  });
  const pods = options.pods.map((selector): PodWatch => {
    const watch: CollectionWatch<ObservedPod> = watchCollection<ObservedPod>({
      ...common,
      collection: podsCollection(selector, { labels }),
      onChanges,
      onMarks: () => undefined,
      onRestored: () => noticeRestored(watched, watch),
      onListed: () => noticeListed(watched, watch),
    });
    return { selector, watch, lags: 0 };
  });
  const watched: Watched = {
    options,
    nodes,
    pods,
    suspects: new Set(),
    suspectedAt: new Map(),
    told: "",
    excess: "",
    selection: null,
    sorted: null,
    merged: null,
  };
  return {
    truth: () => truthOf(watched),
    nodes: nodes.held,
    confirm: (signal) => confirm(watched, signal),
    async run(signal) {
      await Promise.all(
        [nodes, ...pods.map(({ watch }) => watch)]
          .map((watch) => watch.run(signal))
          .concat(look(watched, signal)),
      );
    },
  };
}

function truthOf(watched: Watched): Truth | null {
  const known = knownNodes(watched);
  if (known === null) return null;
  const { selected } = selectedPods(watched);
  const observedAt = selected.map(({ watch }) => watch.knowledge()?.observedAt ?? known.observedAt);
  return {
    clusterUid: known.clusterUid,
    scope: {
      labels: watched.options.labels,
      pods: selected.map(({ selector }) => selector),
    },
    nodes: sortedNodes(watched, known.revision),
    pods: mergedPods(watched, selected),
    observedAt: Math.min(known.observedAt, ...observedAt),
  };
}

/** Null before they were listed, and while it is unclear whose they are. */
function knownNodes({ nodes, suspects }: Watched): Knowledge | null {
  return suspects.has(nodes) ? null : nodes.knowledge();
}

/**
 * Pods that may be told of: listed since they were last doubted, of the cluster of the nodes, and
 * no more than a message has room for.
 */
function selectedPods(watched: Watched): Selection {
  const { nodes, pods } = watched;
  const known = nodes.knowledge();
  const listed = pods.filter(
    ({ watch }) => watch.isConfirmed() && watch.knowledge()?.clusterUid === known?.clusterUid,
  );
  const key = [known?.revision, keyOf(listed)].join();
  if (watched.selection?.key === key) return watched.selection;
  const excess = excessPods(
    listed.map((pod) => ({ pod, selector: pod.selector, pods: pod.watch.held() })),
    {
      nodes: known === null ? [] : sortedNodes(watched, known.revision),
      excess: (watched.selection?.excess ?? []).map(({ selector }) => selector),
    },
  ).map(({ pod }) => pod);
  const selected = listed.filter((pod) => !excess.includes(pod));
  watched.selection = { key, selected, excess };
  return watched.selection;
}

function keyOf(pods: readonly PodWatch[]): string {
  return JSON.stringify(
    pods.map(({ selector, watch }) => [selectorText(selector), watch.knowledge()?.revision]),
  );
}

function sortedNodes(watched: Watched, revision: number): readonly Node[] {
  if (watched.sorted?.revision === revision) return watched.sorted.nodes;
  const nodes = [...watched.nodes.held().values()]
    .map(({ node }) => node)
    .sort((a, b) => (a.uid < b.uid ? -1 : a.uid > b.uid ? 1 : 0));
  watched.sorted = { revision, nodes };
  return nodes;
}

function mergedPods(watched: Watched, selected: readonly PodWatch[]): readonly Pod[] {
  const key = keyOf(selected);
  if (watched.merged?.key === key) return watched.merged.pods;
  const pods = mergePods(selected.map(({ watch }) => watch.held()));
  watched.merged = { key, pods };
  return pods;
}

async function confirm({ options, nodes, pods }: Watched, signal: AbortSignal): Promise<void> {
  for (const watch of [nodes, ...pods.map((pod) => pod.watch)]) watch.doubt();
  const over = new AbortController();
  const waiting = AbortSignal.any([signal, over.signal]);
  const podsSettled = Promise.allSettled(
    pods.map(({ watch }) => watch.settled({ orFailure: true, signal: waiting })),
  );
  try {
    await nodes.settled({ orFailure: false, signal });
    await Promise.race([podsSettled, slept(options.world, PODS_WAIT_MS_MAX, waiting)]);
  } finally {
    over.abort();
    await podsSettled;
  }
}

/** What one watch has listed is newer than what the others know: it decides whose cluster it is. */
function noticeListed(watched: Watched, watch: AnyWatch): void {
  if (watch.isConfirmed()) watched.suspects.delete(watch);
  const clusterUid = watch.knowledge()?.clusterUid;
  for (const other of others(watched, watch)) {
    const known = other.knowledge();
    if (known !== null && known.clusterUid !== clusterUid) suspect(watched, other);
  }
  sayExcess(watched);
  tellScope(watched);
}

/** All of etcd goes back at once, so that what one has noticed the others are about to. */
function noticeRestored(watched: Watched, watch: AnyWatch): void {
  if (watched.suspects.has(watch)) return;
  watched.options.onRestored();
  for (const other of others(watched, watch)) suspect(watched, other);
}

function others({ nodes, pods }: Watched, watch: AnyWatch): readonly AnyWatch[] {
  return [nodes, ...pods.map((pod) => pod.watch)].filter((other) => other !== watch);
}

function suspect({ options, suspects, suspectedAt }: Watched, watch: AnyWatch): void {
  if (suspects.has(watch)) return;
  const now = options.world.now();
  const elapsedMs = now - (suspectedAt.get(watch) ?? Number.NEGATIVE_INFINITY);
  suspects.add(watch);
  suspectedAt.set(watch, now);
  watch.doubt(elapsedMs >= 0 && elapsedMs < DOUBT_AGAIN_MS ? DOUBT_DELAY_MS : 0);
}

/** A scope that differs is worth a delivery, also when nothing else has changed. */
function tellScope(watched: Watched): void {
  const clusterUid = knownNodes(watched)?.clusterUid ?? null;
  const { selected } = selectedPods(watched);
  const told = JSON.stringify([clusterUid, ...selected.map(({ selector }) => selector)]);
  if (told === watched.told) return;
  watched.options.onChanges([]);
  watched.told = told;
}

function sayExcess(watched: Watched): void {
  const { emit, world } = watched.options;
  const selectors = selectedPods(watched).excess.map(({ selector }) => selector);
  const excess = selectors.map(selectorText).join("; ");
  if (excess === watched.excess) return;
  watched.excess = excess;
  if (excess !== "") emit({ kind: "warning", at: world.now(), message: excessText(selectors) });
}

/** Looks until the signal aborts, whoever throws. */
async function look(watched: Watched, signal: AbortSignal): Promise<void> {
  const { world } = watched.options;
  while (watched.pods.length > 0 && (await slept(world, LOOK_MS, signal))) {
    for (const pod of watched.pods) {
      // Until they are listed again, they are not in the scope.
      if (mustLeave(watched, pod)) pod.watch.doubt();
    }
    try {
      sayExcess(watched);
      tellScope(watched);
    } catch {
      // It is told at the next look, and in whatever is delivered meanwhile.
    }
  }
}

/**
 * Pods that are refused, or that nothing proves for minutes although the nodes are current: the
 * truth is no younger than its oldest part, and they would make everything stale.
 */
function mustLeave({ nodes }: Watched, pod: PodWatch): boolean {
  const { watch } = pod;
  const known = watch.knowledge();
  const observedAt = nodes.knowledge()?.observedAt ?? 0;
  const isLate = known !== null && observedAt - known.observedAt > LAG_MS_MAX;
  pod.lags = isLate ? pod.lags + 1 : 0;
  return watch.isConfirmed() && (pod.lags >= LAG_LOOKS || watch.isDenied());
}
