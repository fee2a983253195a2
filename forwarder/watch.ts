import type { Instant } from "../lib/core/record.ts";
import type { Change, Node } from "../lib/core/snapshot.ts";
import type { World } from "../lib/world.ts";
import {
  drawRelist,
  type Ended,
  judgeEnd,
  NO_STREAM,
  nextStep,
  type Progress,
  START,
  type Step,
  type StreamCourse,
} from "./course.ts";
import type { Emit } from "./journal.ts";
import type { Kube } from "./kube.ts";
import { listNodes, type NodeList, readClusterUid } from "./list.ts";
import { applyEvent, applyList, NO_NODES, type Nodes, type Transition } from "./nodes.ts";
import { type ObservedNode, projectNode } from "./projection.ts";
import { abortError, errorText, slept } from "./signal.ts";
import {
  endOf,
  parseWatchEvent,
  StaleError,
  StreamEnd,
  startWatchdog,
  type WatchEvent,
  watchPath,
} from "./stream.ts";
import { compareVersions, laterVersion } from "./version.ts";

/** What is known of the nodes. Exists only after a first complete list. */
export interface Truth {
  readonly clusterUid: string;
  /** In ascending order of uid. */
  readonly nodes: readonly Node[];
  /**
   * Up to when this is known to be complete: the last event or bookmark, or the beginning of a
   * consistent list.
   */
  readonly observedAt: Instant;
}

export interface NodeWatch {
  /** Null before the first complete list. */
  truth(): Truth | null;
  /**
   * Resolves once a consistent list that began after this call is complete; rejects when the signal
   * aborts.
   */
  refresh(signal: AbortSignal): Promise<void>;
  /** Lists and watches until the signal aborts, then resolves; nothing else ends it. */
  run(signal: AbortSignal): Promise<void>;
}

export interface NodeWatchOptions {
  readonly kube: Kube;
  readonly world: Pick<World, "now" | "random" | "sleep">;
  /** Keys of the labels that are kept. */
  readonly labels: readonly string[];
  readonly emit: Emit;
  /**
   * Hears of changes before they are part of the truth; when it throws, they are seen again later.
   * The nodes of the first list are no changes.
   */
  readonly onChanges: (changes: readonly Change[]) => void;
  /**
   * A consistent list was older than what had been seen: the cluster was restored from a backup.
   */
  readonly onRestored: () => void;
}

/** Two and a half of the periods in which an API server sends bookmarks. */
const IDLE_MS_MAX = 150_000;
/** What comes before the end of the first events may take this long together. */
const INITIAL_MS_MAX = 300_000;
const HEADERS_TIMEOUT_MS = 30_000;
const WATCH_S_MIN = 300;
const WATCH_S_MAX = 600;
const OVERTIME_MS = 30_000;
const BUG_DELAY_MS = 30_000;

/** One watch, as its functions hand it around. */
interface Watching {
  readonly options: NodeWatchOptions;
  progress: Progress;
  nodes: Nodes;
  observedAt: Instant;
  /** Null before the first complete list. */
  clusterUid: string | null;
  /** Ends what is running, or null between two steps. */
  step: AbortController | null;
  /** Consistent lists that were begun. */
  begun: number;
  readonly waiting: Set<{ readonly after: number; readonly resolve: () => void }>;
}

/** A list in the making: where it stands among the consistent ones, and when it was asked for. */
interface Listing {
  readonly step: Step;
  readonly number: number;
  readonly begunAt: Instant;
}

/** Follows all nodes of one cluster. */
export function watchNodes(options: NodeWatchOptions): NodeWatch {
  const watching: Watching = {
    options,
    progress: START,
    nodes: NO_NODES,
    observedAt: 0,
    clusterUid: null,
    step: null,
    begun: 0,
    waiting: new Set(),
  };
  return {
    truth: () => truthOf(watching),
    refresh: (signal) => refresh(watching, signal),
    async run(signal) {
      while (!signal.aborted) {
        // Everything that a step may meet is judged within; what comes here is a bug, and still no
        // reason to leave the cluster unwatched.
        await turn(watching, signal).catch(async (error: unknown) => {
          const message = `The watch failed unexpectedly: ${errorText(error)}`;
          report(watching, { message, delayMs: BUG_DELAY_MS, lasting: true });
          await slept(options.world, BUG_DELAY_MS, signal);
        });
      }
    },
  };
}

function truthOf({ clusterUid, nodes, observedAt }: Watching): Truth | null {
  if (clusterUid === null) return null;
  const sorted = [...nodes.values()]
    .map(({ node }) => node)
    .sort((a, b) => (a.uid < b.uid ? -1 : a.uid > b.uid ? 1 : 0));
  return { clusterUid, nodes: sorted, observedAt };
}

function refresh(watching: Watching, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(abortError(signal));
      return;
    }
    const onAbort = () => {
      watching.waiting.delete(waiter);
      reject(abortError(signal));
    };
    const waiter = {
      after: watching.begun,
      resolve() {
        signal.removeEventListener("abort", onAbort);
        resolve();
      },
    };
    signal.addEventListener("abort", onAbort, { once: true });
    watching.waiting.add(waiter);
    watching.step?.abort(new StreamEnd("refresh"));
  });
}

/** One step and what follows from its end. */
async function turn(watching: Watching, signal: AbortSignal): Promise<void> {
  const { world } = watching.options;
  const wanted = watching.waiting.size > 0;
  const step = nextStep(watching.progress, { now: world.now(), wanted });
  const running = new AbortController();
  watching.step = running;
  const both = AbortSignal.any([signal, running.signal]);
  const { end, course } =
    step.kind === "resume" || step.streams
      ? await followStream(watching, step, { running, signal: both })
      : await readPages(watching, step, both);
  watching.step = null;
  if (signal.aborted) return;
  const verdict = judgeEnd(watching.progress, { step, end, course, now: world.now(), world });
  watching.progress = verdict.progress;
  const { message, delayMs, lasting } = verdict;
  if (message !== null) report(watching, { message, delayMs, lasting });
  if (delayMs > 0) await slept(world, delayMs, signal);
}

function report(
  { options }: Watching,
  failure: { readonly message: string; readonly delayMs: number; readonly lasting: boolean },
): void {
  const { message, delayMs: retryInMs, lasting } = failure;
  options.emit({ kind: "watch-failed", at: options.world.now(), message, retryInMs, lasting });
}

interface StepEnd {
  readonly end: Ended;
  readonly course: StreamCourse;
}

async function readPages(watching: Watching, step: Step, signal: AbortSignal): Promise<StepEnd> {
  const listing = beginListing(watching, step);
  const { kube, labels } = watching.options;
  const newerThan = step.kind === "list" ? null : step.version;
  try {
    await takeList(watching, listing, {
      list: await listNodes(kube, { labels, newerThan, signal }),
      signal,
    });
    return { end: { kind: "listed" }, course: NO_STREAM };
  } catch (error) {
    return { end: endOf(error), course: NO_STREAM };
  }
}

/**
 * One stream to its end. Until its first events are complete they are collected, and are not the
 * truth.
 */
async function followStream(
  watching: Watching,
  step: Step,
  { running, signal }: { readonly running: AbortController; readonly signal: AbortSignal },
): Promise<StepEnd> {
  const { kube, world, labels } = watching.options;
  const listing = beginListing(watching, step);
  const timeoutS = WATCH_S_MIN + Math.floor(world.random() * (WATCH_S_MAX - WATCH_S_MIN + 1));
  let startedAt = world.now();
  let heardAt = startedAt;
  let events = 0;
  let opened = false;
  const initial = new Map<string, ObservedNode>();
  let isInitial = step.kind !== "resume";
  const dog = startWatchdog(world, running, {
    lookMs: IDLE_MS_MAX,
    deadlines() {
      // A clock that was set back must not put them off.
      startedAt = Math.min(startedAt, world.now());
      heardAt = Math.min(heardAt, world.now());
      return {
        silent: watching.progress.bookmarks ? heardAt + IDLE_MS_MAX : Number.POSITIVE_INFINITY,
        overdue: startedAt + (isInitial ? INITIAL_MS_MAX : timeoutS * 1000 + OVERTIME_MS),
      };
    },
  });
  const onBytes = () => {
    heardAt = world.now();
  };
  const ended = (end: Ended): StepEnd => {
    const livedMs = world.now() - startedAt;
    return { end, course: { opened, initial: isInitial, livedMs, events } };
  };
  try {
    const path = watchPath(step, timeoutS);
    const lines = await kube.lines(path, { signal, timeoutMs: HEADERS_TIMEOUT_MS, onBytes });
    opened = true;
    for await (const line of lines) {
      const event = parseWatchEvent(line);
      events += 1;
      if (!isInitial) {
        takeEvent(watching, event);
      } else if (!collect(initial, event, { labels })) {
        isInitial = false;
        const list = { listed: [...initial.values()], version: event.version };
        await takeList(watching, listing, { list, signal });
        watching.progress = { ...watching.progress, bookmarks: true, strikes: 0 };
        initial.clear();
      }
    }
    return ended({ kind: "closed" });
  } catch (error) {
    return ended(endOf(error));
  } finally {
    await dog.stop();
  }
}

/**
 * Takes one of the first events; false when the event is their end. Nodes that go while the list is
 * being sent are part of it, too.
 */
function collect(
  initial: Map<string, ObservedNode>,
  event: WatchEvent,
  { labels }: { readonly labels: readonly string[] },
): boolean {
  if (event.kind === "bookmark") return !event.endsInitial;
  const observed = projectNode(event.object, labels);
  if (event.kind === "present") initial.set(observed.node.uid, observed);
  else initial.delete(observed.node.uid);
  return true;
}

function beginListing(watching: Watching, step: Step): Listing {
  if (step.kind === "list") watching.begun += 1;
  return { step, number: watching.begun, begunAt: watching.options.world.now() };
}

/**
 * Replaces the truth by a complete list, or throws and leaves it as it is. A list without
 * resourceVersion is always believed; another one only if it is not older than what was seen.
 */
async function takeList(
  watching: Watching,
  { step, number, begunAt }: Listing,
  { list, signal }: { readonly list: NodeList; readonly signal: AbortSignal },
): Promise<void> {
  const { options, progress } = watching;
  const { listed, version } = list;
  const { version: seen } = progress;
  const order = seen === null ? null : compareVersions(version, seen);
  const isConsistent = step.kind === "list";
  if (!isConsistent && (order === null || order < 0)) {
    throw new StaleError(`Cannot believe a list at ${version}: ${seen} was seen before`);
  }
  const clusterUid = await readClusterUid(options.kube, signal);
  if (!isConsistent && clusterUid !== watching.clusterUid) {
    // Another cluster answers under the same URL: what it calls newer says nothing about ours.
    throw new StaleError("Cannot believe a list of another cluster than the one that was seen");
  }
  const transition = applyList(watching.nodes, listed);
  announce(watching, transition);
  if (seen !== null && order !== null && order < 0) {
    options.emit({ kind: "restored", at: options.world.now(), from: seen, to: version });
    options.onRestored();
  }
  watching.nodes = transition.nodes;
  watching.clusterUid = clusterUid;
  watching.progress = { ...progress, version, next: "resume" };
  options.emit({ kind: "listed", at: options.world.now(), nodes: transition.nodes.size });
  if (!isConsistent) return;
  // Only a consistent list tells what holds now; a merely not older one may come from a frozen
  // cache.
  watching.observedAt = begunAt;
  watching.progress = { ...watching.progress, relistAt: drawRelist(begunAt, options.world) };
  for (const waiter of watching.waiting) {
    if (number <= waiter.after) continue;
    watching.waiting.delete(waiter);
    waiter.resolve();
  }
}

/**
 * One event after the truth is complete. Hearers first, state next, version last: what fails is
 * seen again.
 */
function takeEvent(watching: Watching, event: WatchEvent): void {
  const { options, progress } = watching;
  const seen = progress.version ?? event.version;
  const order = compareVersions(event.version, seen);
  if (order !== null && order < 0) {
    throw new StaleError(`Cannot believe an event at ${event.version}: ${seen} was seen before`);
  }
  if (event.kind !== "bookmark") {
    const observed = projectNode(event.object, options.labels);
    const transition = applyEvent(watching.nodes, { kind: event.kind, observed });
    announce(watching, transition);
    watching.nodes = transition.nodes;
  }
  watching.progress = {
    ...progress,
    version: laterVersion(seen, event.version),
    bookmarks: progress.bookmarks || event.kind === "bookmark",
  };
  watching.observedAt = options.world.now();
}

/** Nothing is known before it was announced, so that an exception of a hearer loses no change. */
function announce({ options, clusterUid }: Watching, { changes, unsent }: Transition): void {
  const at = options.world.now();
  for (const { node, unsent: addresses } of unsent) {
    options.emit({ kind: "unsent", at, node: node.name, addresses });
  }
  if (changes.length === 0) return;
  options.emit({ kind: "seen", at, changes });
  options.onChanges(clusterUid === null ? [] : changes);
}
