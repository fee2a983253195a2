import type { Instant } from "../lib/core/record.ts";
import type { Change } from "../lib/core/snapshot.ts";
import type { World } from "../lib/world.ts";
import type { Collection, Observed } from "./collection.ts";
import { drawRelist, type Progress, type Step } from "./course.ts";
import { commitUpdate, judgeEvent, judgeList, type Update } from "./held.ts";
import type { Emit } from "./journal.ts";
import type { Kube } from "./kube.ts";
import { type List, readClusterUid } from "./list.ts";
import { StaleError, type WatchEvent } from "./stream.ts";
import { compareVersions, laterVersion } from "./version.ts";

export interface CollectionWatchOptions<T extends Observed> {
  readonly kube: Kube;
  readonly world: Pick<World, "now" | "random" | "sleep">;
  readonly collection: Collection<T>;
  readonly emit: Emit;
  /**
   * Hears of changes before they are part of the truth; when it throws, they are seen again later.
   * The objects of the first list are no changes.
   */
  readonly onChanges: (changes: readonly Change[]) => void;
  /**
   * A consistent list, about to be taken over, is older than what had been seen: the cluster was
   * restored from a backup.
   */
  readonly onRestored: () => void;
  /** A consistent list was taken over. */
  readonly onListed: () => void;
  /** A gate has something new to judge in what is held. Must not throw. */
  readonly onMarks: () => void;
}

/** One watch, as its functions hand it around. */
export interface Watching<T extends Observed> {
  readonly options: CollectionWatchOptions<T>;
  readonly held: Map<string, T>;
  progress: Progress;
  observedAt: Instant;
  /** Null before the first complete list. */
  clusterUid: string | null;
  /** Counts changes of what a receiver is told. */
  revision: number;
  /** Ends what is running, or null between two steps. */
  step: AbortController | null;
  /** Ends the pause between two steps, or null. */
  pause: AbortController | null;
  /** Consistent lists that were begun, */
  begun: number;
  /** the last of them that was complete, */
  listed: number;
  /** and the last that does not suffice: another one is wanted until one after it is complete. */
  doubted: number;
  /** A wanted list waits until then. */
  notBefore: Instant;
  readonly waiting: Set<Waiter>;
}

/** Somebody who waits for a consistent list, or for the first failure. */
export interface Waiter {
  readonly after: number;
  readonly orFailure: boolean;
  readonly resolve: () => void;
}

/** A list in the making: where it stands among the consistent ones, and when it was asked for. */
export interface Listing {
  readonly step: Step;
  readonly number: number;
  readonly begunAt: Instant;
  /** Of whoever answered before the list was asked for. */
  readonly clusterUid: string | null;
}

/**
 * A list says nothing of whose objects it holds. So the cluster is asked who it is before and after
 * it: another one may have taken its place under the same URL meanwhile.
 */
export async function beginListing<T extends Observed>(
  watching: Watching<T>,
  step: Step,
  signal: AbortSignal,
): Promise<Listing> {
  const { kube, world } = watching.options;
  if (step.kind !== "list") {
    const { clusterUid, listed: number } = watching;
    return { step, number, begunAt: world.now(), clusterUid };
  }
  watching.begun += 1;
  const number = watching.begun;
  const clusterUid = await readClusterUid(kube, signal);
  return { step, number, begunAt: world.now(), clusterUid };
}

/** Throws when another cluster answers than the one whose objects are held. */
export async function expectCluster<T extends Observed>(
  { options, clusterUid }: Watching<T>,
  signal: AbortSignal,
): Promise<void> {
  if ((await readClusterUid(options.kube, signal)) === clusterUid) return;
  throw new StaleError("Cannot believe a watch: another cluster answers than was listed");
}

/**
 * Replaces what is held by a complete list, or throws and leaves it as it is. A list without
 * resourceVersion is always believed; another one only if it is not older than what was seen.
 */
export async function takeList<T extends Observed>(
  watching: Watching<T>,
  { step, number, begunAt, clusterUid: uidBefore }: Listing,
  { list, signal }: { readonly list: List<T>; readonly signal: AbortSignal },
): Promise<void> {
  const { options, progress } = watching;
  const { collection, emit, world } = options;
  const { listed, version } = list;
  const { version: seen } = progress;
  const order = seen === null ? null : compareVersions(version, seen);
  const isConsistent = step.kind === "list";
  if (!isConsistent && (order === null || order < 0)) {
    throw new StaleError(`Cannot believe a list at ${version}: ${seen} was seen before`);
  }
  const clusterUid = await readClusterUid(options.kube, signal);
  if (clusterUid !== uidBefore) {
    // Another cluster answers under the same URL: whose objects these are is not known.
    throw new StaleError("Cannot believe a list: another cluster answers than before it");
  }
  const update = judgeList(collection, watching.held, listed);
  announce(watching, update);
  const { name } = collection;
  if (seen !== null && order !== null && order < 0) {
    emit({ kind: "restored", at: world.now(), collection: name, from: seen, to: version });
    options.onRestored();
  }
  commit(watching, update);
  watching.clusterUid = clusterUid;
  watching.progress = { ...progress, version, next: "resume" };
  emit({ kind: "listed", at: world.now(), collection: name, count: watching.held.size });
  if (!isConsistent) return;
  // Only a consistent list tells what holds now; a merely not older one may come from a frozen
  // cache.
  watching.observedAt = begunAt;
  watching.progress = { ...watching.progress, relistAt: drawRelist(begunAt, world) };
  watching.listed = number;
  options.onListed();
  settle(watching, ({ after }) => number > after);
}

/** Lets those go on who waited for this. */
export function settle<T extends Observed>(
  { waiting }: Watching<T>,
  suffices: (waiter: Waiter) => boolean,
): void {
  for (const waiter of [...waiting].filter(suffices)) {
    waiting.delete(waiter);
    waiter.resolve();
  }
}

/**
 * One event after the first list is complete; whether it changed anything. Hearers first, state
 * next, version last: what fails is seen again.
 */
export function takeEvent<T extends Observed>(watching: Watching<T>, event: WatchEvent): boolean {
  const { options, progress, held } = watching;
  const { collection } = options;
  const seen = progress.version ?? event.version;
  const order = compareVersions(event.version, seen);
  if (order !== null && order < 0) {
    throw new StaleError(`Cannot believe an event at ${event.version}: ${seen} was seen before`);
  }
  let isNews = false;
  if (event.kind !== "bookmark") {
    const sight = collection.see(event.object, held);
    const update = judgeEvent(collection, held, { ...sight, kind: event.kind });
    if (update !== null) {
      isNews = true;
      announce(watching, update);
      commit(watching, update);
    }
  }
  watching.progress = {
    ...progress,
    version: laterVersion(seen, event.version),
    bookmarks: progress.bookmarks || event.kind === "bookmark",
  };
  // A bookmark that stays where it was proves that the connection lives, and no more: the server
  // sends it from its cache also when that has lost etcd (kubernetes#97294).
  if (event.kind !== "bookmark" || order !== 0) watching.observedAt = options.world.now();
  return isNews;
}

/** Nothing is known before it was announced, so that an exception of a hearer loses no change. */
function announce<T extends Observed>(
  { options, clusterUid }: Watching<T>,
  { changes, unsent }: Update<T>,
): void {
  const { collection, emit } = options;
  const at = options.world.now();
  for (const observed of unsent) {
    const node = collection.nameOf(observed);
    emit({ kind: "unsent", at, node, addresses: observed.unsent });
  }
  if (changes.length === 0) return;
  emit({ kind: "seen", at, changes });
  options.onChanges(clusterUid === null ? [] : changes);
}

function commit<T extends Observed>(watching: Watching<T>, update: Update<T>): void {
  const { options, held } = watching;
  commitUpdate(options.collection, held, update);
  if (update.changes.length > 0) watching.revision += 1;
  if (update.marks) options.onMarks();
}
