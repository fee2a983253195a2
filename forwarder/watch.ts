import type { Instant } from "../lib/core/record.ts";
import type { Held, Observed } from "./collection.ts";
import {
  type Ended,
  isDenied,
  judgeEnd,
  NO_STREAM,
  nextStep,
  START,
  type Step,
  type StreamCourse,
} from "./course.ts";
import {
  beginListing,
  type CollectionWatchOptions,
  expectCluster,
  settle,
  takeEvent,
  takeList,
  type Waiter,
  type Watching,
} from "./intake.ts";
import { listCollection } from "./list.ts";
import { makeRest } from "./rest.ts";
import { abortError, errorText, slept } from "./signal.ts";
import {
  endOf,
  parseWatchEvent,
  StreamEnd,
  startWatchdog,
  type WatchEvent,
  watchPath,
} from "./stream.ts";

/** What a watch knows, once a first list was complete. */
export interface Knowledge {
  readonly clusterUid: string;
  /**
   * Up to when it is known to be complete: an event, progress, or a consistent list's beginning.
   */
  readonly observedAt: Instant;
  /** Another one whenever a receiver would be told otherwise. */
  readonly revision: number;
}

/** Follows one collection. */
export interface CollectionWatch<T extends Observed> {
  /** As it was last seen; empty before the first complete list. Changes as events come in. */
  held(): Held<T>;
  /** Null before the first complete list. */
  knowledge(): Knowledge | null;
  /** Whether a consistent list is complete that began after what is known was last doubted. */
  isConfirmed(): boolean;
  /** Whether the server refuses to list or to watch it, some times in a row. */
  isDenied(): boolean;
  /** What is known may be of the past: lists consistently, after `delayMs` at the earliest. */
  doubt(delayMs?: number): void;
  /**
   * Resolves once a consistent list is complete that began after the last doubt, or, where that
   * will do, once one attempt failed; rejects when the signal aborts.
   */
  settled(options: { readonly orFailure: boolean; readonly signal: AbortSignal }): Promise<void>;
  /** Lists and watches until the signal aborts, then resolves; nothing else ends it. */
  run(signal: AbortSignal): Promise<void>;
}

/** Two and a half of the periods in which an API server sends bookmarks. */
const IDLE_MS_MAX = 150_000;
/** What comes before the end of the first events may take this long together. */
const INITIAL_MS_MAX = 300_000;
/**
 * A watch without progress is not known to be current for longer. Together with the longest
 * heartbeat this lies below the shortest time after which a receiver calls a cluster stale.
 */
const UNPROVEN_MS_MAX = 270_000;
/** A stream is given this long to prove itself: a bookmark comes every minute. */
const PROOF_MS_MAX = 75_000;
const HEADERS_TIMEOUT_MS = 30_000;
const WATCH_S_MIN = 300;
const WATCH_S_MAX = 600;
const OVERTIME_MS = 30_000;
const BUG_DELAY_MS = 30_000;
const DOUBT_MS_MAX = 60_000;
/** What a Retry-After still counts once somebody waits for a list. */
const ASKED_MS_MAX = 10_000;

export function watchCollection<T extends Observed>(
  options: CollectionWatchOptions<T>,
): CollectionWatch<T> {
  const { world } = options;
  const watching: Watching<T> = {
    options,
    held: new Map(),
    progress: START,
    observedAt: 0,
    clusterUid: null,
    revision: 0,
    step: null,
    pause: null,
    begun: 0,
    listed: 0,
    doubted: 0,
    notBefore: 0,
    waiting: new Set(),
  };
  return {
    held: () => watching.held,
    knowledge() {
      const { clusterUid, revision } = watching;
      if (clusterUid === null) return null;
      return { clusterUid, revision, observedAt: observedAtOf(watching) };
    },
    isConfirmed: () => isConfirmed(watching),
    isDenied: () => isDenied(watching.progress),
    doubt(delayMs = 0) {
      watching.doubted = watching.begun;
      watching.notBefore = world.now() + delayMs;
      watching.step?.abort(new StreamEnd("refresh"));
      watching.pause?.abort();
    },
    settled: (wanted) => settled(watching, wanted),
    async run(signal) {
      while (!signal.aborted) {
        // Everything that a step may meet is judged within; what comes here is a bug, and still no
        // reason to leave the cluster unwatched.
        await turn(watching, signal).catch(async (error: unknown) => {
          reportBug(watching, error);
          await slept(world, BUG_DELAY_MS, signal);
        });
      }
    },
  };
}

function isConfirmed({ listed, doubted }: Pick<Watching<Observed>, "listed" | "doubted">): boolean {
  return listed > doubted;
}

/** A clock that was set back must not make what is known look current until it catches up. */
function observedAtOf<T extends Observed>(watching: Watching<T>): Instant {
  watching.observedAt = Math.min(watching.observedAt, watching.options.world.now());
  return watching.observedAt;
}

function settled<T extends Observed>(
  watching: Watching<T>,
  { orFailure, signal }: { readonly orFailure: boolean; readonly signal: AbortSignal },
): Promise<void> {
  if (isConfirmed(watching)) return Promise.resolve();
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(abortError(signal));
      return;
    }
    const onAbort = () => {
      watching.waiting.delete(waiter);
      reject(abortError(signal));
    };
    const waiter: Waiter = {
      after: watching.doubted,
      orFailure,
      resolve() {
        signal.removeEventListener("abort", onAbort);
        resolve();
      },
    };
    signal.addEventListener("abort", onAbort, { once: true });
    watching.waiting.add(waiter);
  });
}

/** One step and what follows from its end. */
async function turn<T extends Observed>(watching: Watching<T>, signal: AbortSignal): Promise<void> {
  const { world, collection, emit } = watching.options;
  const { rights } = collection;
  const wanted = !isConfirmed(watching);
  const delayMs = wanted ? watching.notBefore - world.now() : 0;
  // Never for longer than it was meant: the clock may have been set back.
  if (delayMs > 0 && !(await slept(world, Math.min(delayMs, DOUBT_MS_MAX), signal))) return;
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
  const now = world.now();
  emit({ kind: "watch-ended", at: now, collection: collection.name, why: end.kind });
  const verdict = judgeEnd(watching.progress, { step, end, course, now, world, rights });
  watching.progress = verdict.progress;
  if (verdict.message !== null) {
    report(watching, { ...verdict, message: verdict.message });
    // What is tried again at once has not failed yet.
    if (verdict.delayMs > 0) settle(watching, ({ orFailure }) => orFailure);
  }
  const isAsked = end.kind === "refused" && end.retryAfterMs !== null;
  if (verdict.delayMs > 0) await pause(watching, verdict.delayMs, { isAsked, signal });
}

/**
 * Waits before the next step. Who needs to know what holds now ends that once: the server may have
 * been well for minutes. `isAsked`: it asked for the wait itself, and is left alone a little
 * longer.
 */
async function pause<T extends Observed>(
  watching: Watching<T>,
  ms: number,
  { isAsked, signal }: { readonly isAsked: boolean; readonly signal: AbortSignal },
): Promise<void> {
  const { world } = watching.options;
  const until = world.now() + ms;
  const doubted = new AbortController();
  watching.pause = doubted;
  const isOver = await slept(world, ms, AbortSignal.any([signal, doubted.signal]));
  watching.pause = null;
  if (isOver || signal.aborted || !isAsked) return;
  // Not for longer than it was meant, should the clock have been set back.
  await slept(world, Math.min(ms, ASKED_MS_MAX, Math.max(0, until - world.now())), signal);
}

function report<T extends Observed>(
  { options }: Watching<T>,
  failure: { readonly message: string; readonly delayMs: number; readonly lasting: boolean },
): void {
  const { message, delayMs: retryInMs, lasting } = failure;
  const { name: collection } = options.collection;
  const at = options.world.now();
  options.emit({ kind: "watch-failed", at, collection, message, retryInMs, lasting });
}

function reportBug<T extends Observed>(watching: Watching<T>, error: unknown): void {
  const message = `The watch failed unexpectedly: ${errorText(error)}`;
  try {
    report(watching, { message, delayMs: BUG_DELAY_MS, lasting: true });
  } catch {
    // Who hears of failures may be what failed.
  }
}

interface StepEnd {
  readonly end: Ended;
  readonly course: StreamCourse;
}

async function readPages<T extends Observed>(
  watching: Watching<T>,
  step: Step,
  signal: AbortSignal,
): Promise<StepEnd> {
  const { held, options } = watching;
  const { kube, collection } = options;
  const newerThan = step.kind === "list" ? null : step.version;
  try {
    const listing = await beginListing(watching, step, signal);
    const onPage = () =>
      options.emit({ kind: "list-goes-on", at: options.world.now(), collection: collection.name });
    const list = await listCollection(kube, { collection, held, newerThan, signal, onPage });
    await takeList(watching, listing, { list, signal });
    return { end: { kind: "listed" }, course: NO_STREAM };
  } catch (error) {
    return { end: endOf(error), course: NO_STREAM };
  }
}

/** A stream that is being followed. */
interface Stream {
  readonly step: Step;
  readonly timeoutS: number;
  startedAt: Instant;
  heardAt: Instant;
  events: number;
  opened: boolean;
  /** Until its first events are complete; what they hold is not the truth before. */
  initial: boolean;
  /** Of a resumed stream: who answers is asked when it opens, and known before an event counts. */
  identified: Promise<void> | null;
}

/** One stream to its end. */
async function followStream<T extends Observed>(
  watching: Watching<T>,
  step: Step,
  { running, signal }: { readonly running: AbortController; readonly signal: AbortSignal },
): Promise<StepEnd> {
  const { kube, world, collection } = watching.options;
  const stream: Stream = {
    step,
    timeoutS: WATCH_S_MIN + Math.floor(world.random() * (WATCH_S_MAX - WATCH_S_MIN + 1)),
    startedAt: world.now(),
    heardAt: world.now(),
    events: 0,
    opened: false,
    initial: step.kind !== "resume",
    identified: null,
  };
  const deadlines = () => deadlinesOf(watching, stream);
  const dog = startWatchdog(world, running, { lookMs: IDLE_MS_MAX, deadlines });
  const onBytes = () => {
    stream.heardAt = world.now();
  };
  const ended = (end: Ended): StepEnd => {
    const { opened, initial, events, startedAt } = stream;
    return { end, course: { opened, initial, events, livedMs: world.now() - startedAt } };
  };
  try {
    const listing = await beginListing(watching, step, signal);
    const path = watchPath(collection, step, stream);
    const lines = await kube.lines(path, { signal, timeoutMs: HEADERS_TIMEOUT_MS, onBytes });
    stream.opened = true;
    if (!stream.initial) stream.identified = identify(watching, running, signal);
    const listed = new Map<string, T>();
    const rest = makeRest(world);
    for await (const line of lines) {
      const event = parseWatchEvent(line);
      stream.events += 1;
      if (!stream.initial) {
        if (stream.identified !== null) await stream.identified;
        stream.identified = null;
        await rest.after(takeEvent(watching, event), signal);
      } else if (!collect(watching, listed, event)) {
        stream.initial = false;
        await takeList(watching, listing, { list: { listed, version: event.version }, signal });
        watching.progress = { ...watching.progress, bookmarks: true, strikes: 0 };
        listed.clear();
      }
      rest.ask();
    }
    return ended({ kind: "closed" });
  } catch (error) {
    return ended(endOf(error));
  } finally {
    await dog.stop();
  }
}

/**
 * A stream says nothing of whose events it holds, and another cluster's history may reach back to
 * our version. Ends the stream by what went wrong, also when no event comes.
 */
function identify<T extends Observed>(
  watching: Watching<T>,
  running: AbortController,
  signal: AbortSignal,
): Promise<void> {
  const identified = expectCluster(watching, signal);
  identified.catch((error: unknown) => running.abort(error));
  return identified;
}

function deadlinesOf<T extends Observed>(watching: Watching<T>, stream: Stream) {
  const { world } = watching.options;
  // A clock that was set back must not put them off.
  stream.startedAt = Math.min(stream.startedAt, world.now());
  stream.heardAt = Math.min(stream.heardAt, world.now());
  const { startedAt, heardAt, initial, timeoutS } = stream;
  const never = Number.POSITIVE_INFINITY;
  const provenUntil = observedAtOf(watching) + UNPROVEN_MS_MAX;
  return [
    ["silent", watching.progress.bookmarks ? heardAt + IDLE_MS_MAX : never],
    ["overdue", startedAt + (initial ? INITIAL_MS_MAX : timeoutS * 1000 + OVERTIME_MS)],
    ["unproven", initial ? never : Math.max(provenUntil, startedAt + PROOF_MS_MAX)],
  ] as const;
}

/**
 * Takes one of the first events; false when the event is their end. Objects that go while the list
 * is being sent are part of it, too.
 */
function collect<T extends Observed>(
  { options, held }: Watching<T>,
  listed: Map<string, T>,
  event: WatchEvent,
): boolean {
  if (event.kind === "bookmark") return !event.endsInitial;
  const { uid, observed } = options.collection.see(event.object, held);
  if (event.kind === "present" && observed !== null) listed.set(uid, observed);
  else listed.delete(uid);
  return true;
}
