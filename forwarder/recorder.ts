import type { Instant } from "../lib/core/record.ts";
import { randomId, type World } from "../lib/world.ts";
import { type Allowance, type Bucket, makeBucket } from "./bucket.ts";
import {
  type EventSeries,
  eventObject,
  type LeaseReference,
  nameOf,
  namespaceOf,
  seriesOf,
} from "./event-object.ts";
import type { ForwarderEvent } from "./journal.ts";
import { isRecord, recordAt, textAt } from "./json.ts";
import type { Kube } from "./kube.ts";
import type { Nodes } from "./nodes.ts";
import { makeNotes, NOTE_REASONS, type Note } from "./notes.ts";
import { judgeFailure, READY, type Stance } from "./recorder-stance.ts";
import { makeBell } from "./signal.ts";

/** Tells people through the Events of the cluster what they may have to know. */
export interface Recorder {
  hear(event: ForwarderEvent): void;
  /** Events that were written or counted up, and such as will never be written. */
  tally(): { readonly written: number; readonly dropped: number };
  /** Writes until the signal aborts, then what is still to be written, for a moment. */
  run(signal: AbortSignal): Promise<void>;
}

export interface RecorderOptions {
  readonly kube: Pick<Kube, "patch" | "read" | "write">;
  readonly world: Pick<World, "now" | "random" | "sleep" | "log">;
  /** The Lease, which Events about the forwarder as a whole are about. */
  readonly lease: LeaseReference;
  /** Of this process. */
  readonly identity: string;
  /** The nodes as they were last seen. */
  readonly nodes: () => Nodes;
}

const EVENTS_PATH = "/apis/events.k8s.io/v1/namespaces";
const LEASES_PATH = "/apis/coordination.k8s.io/v1/namespaces";
const REQUEST_MS_MAX = 5_000;
/** What is not taken again for so long is another occurrence, as for the client library of Go. */
const SERIES_MS = 360_000;
const UPDATE_MS = 30_000;
/** An API server forgets Events after an hour; what could not be written by then is not news. */
const AGE_MS_MAX = 3_600_000;
const OPEN_MAX = 500;
const BUCKETS_MAX = 1_000;
const FLUSH_MS_MAX = 2_000;
/**
 * About one object and for one reason; as the client library of Go, which knows no reasons here.
 */
const OBJECT: Allowance = { burst: 25, everyMs: 300_000 };
/**
 * Of one type about nodes, or about the forwarder: a thousand nodes that join at once must not
 * drown the one warning about it.
 */
const OVERALL: Allowance = { burst: 25, everyMs: 10_000 };
const UPDATES: Allowance = { burst: 25, everyMs: 1_000 };

/** A series as long as it may still be taken again. */
interface Open {
  series: EventSeries;
  /** How many of the count the API server knows; 0 before the Event is there. */
  writtenCount: number;
  writtenAt: Instant;
}

interface Recording {
  readonly options: RecorderOptions;
  readonly open: Map<string, Open>;
  readonly buckets: Map<string, Bucket>;
  stance: Stance;
  leaseUid: string | null;
  written: number;
  dropped: number;
}

/**
 * Best effort by nature: nothing waits for an Event, failures trouble nobody, and what is too much
 * is dropped and counted.
 */
export function makeRecorder(options: RecorderOptions): Recorder {
  const { world } = options;
  const recording: Recording = {
    options,
    open: new Map(),
    buckets: new Map(),
    stance: READY,
    leaseUid: null,
    written: 0,
    dropped: 0,
  };
  const notesOf = makeNotes();
  const bell = makeBell(world);
  let heard = 0;
  return {
    hear(event) {
      heard += 1;
      // Whoever deleted the Lease left another object under its name.
      if (event.kind === "lease-acquired" || event.kind === "lease-lost") recording.leaseUid = null;
      for (const note of notesOf(event)) take(recording, note);
      bell.ring();
    },
    tally: () => ({ written: recording.written, dropped: recording.dropped }),
    async run(signal) {
      const life = new AbortController();
      const over = new AbortController();
      const onEnd = () => {
        world.sleep(FLUSH_MS_MAX, over.signal).then(
          () => life.abort(new Error("the forwarder ends")),
          () => undefined,
        );
      };
      if (signal.aborted) onEnd();
      else signal.addEventListener("abort", onEnd, { once: true });
      while (!signal.aborted) {
        const before = heard;
        const waitMs = await step(recording, life.signal, { isLast: false });
        // What was heard meanwhile has rung for nobody. The wait rejects at the end only.
        if (waitMs > 0 && heard === before) await bell.wait(waitMs, signal).catch(() => undefined);
      }
      while (!life.signal.aborted && (await step(recording, life.signal, { isLast: true })) === 0);
      over.abort();
    },
  };
}

function keyOf({ reason, regarding, subject }: Note): string {
  return JSON.stringify([reason, regarding, subject]);
}

/** Counts a note up, opens a series for it, or drops it. Never throws. */
function take(recording: Recording, note: Note): void {
  const { open, options } = recording;
  const key = keyOf(note);
  const known = open.get(key);
  const now = options.world.now();
  if (known !== undefined && Math.abs(note.at - known.series.lastAt) < SERIES_MS) {
    const { series } = known;
    known.series = { ...series, count: series.count + 1, lastAt: note.at };
    return;
  }
  sweep(recording, now);
  const isFull = open.size >= OPEN_MAX && known === undefined;
  if (isFull || !mayOpen(recording, note, now)) {
    recording.dropped += 1;
    return;
  }
  const suffix = randomId(options.world).slice(0, 16);
  const series: EventSeries = {
    namespace: namespaceOf(note, options.lease),
    name: nameOf(note, options.lease, suffix),
    note,
    count: 1,
    lastAt: note.at,
  };
  open.delete(key);
  open.set(key, { series, writtenCount: 0, writtenAt: now });
}

function mayOpen({ buckets }: Recording, note: Note, now: Instant): boolean {
  const { reason, regarding } = note;
  const object = regarding.kind === "node" ? regarding.name : "";
  const overall = JSON.stringify([NOTE_REASONS[reason].type, regarding.kind]);
  const own = JSON.stringify([reason, object]);
  return bucketOf(buckets, own, OBJECT).take(now) && bucketOf(buckets, overall, OVERALL).take(now);
}

function bucketOf(buckets: Map<string, Bucket>, key: string, allowance: Allowance): Bucket {
  const bucket = buckets.get(key) ?? makeBucket(allowance);
  buckets.set(key, bucket);
  return bucket;
}

/** Forgets series that are finished, and buckets from which nothing is missing. */
function sweep({ open, buckets }: Recording, now: Instant): void {
  for (const [key, { series, writtenCount }] of open) {
    const isFinished = Math.abs(now - series.lastAt) >= SERIES_MS;
    if (isFinished && writtenCount === series.count) open.delete(key);
  }
  if (buckets.size <= BUCKETS_MAX) return;
  for (const [key, bucket] of buckets) if (bucket.isFull(now)) buckets.delete(key);
}

/** Writes what is due first; how long to wait until something is, 0 after a write. */
async function step(
  recording: Recording,
  signal: AbortSignal,
  { isLast }: { readonly isLast: boolean },
): Promise<number> {
  const { options, open, buckets, stance } = recording;
  const now = options.world.now();
  sweep(recording, now);
  const restMs = stance.notBefore - now;
  // Further away than it ever was: the clock was set back.
  if (restMs > 0 && restMs <= AGE_MS_MAX) return restMs;
  const [due] = [...open]
    .map(([key, one]) => ({ key, one, inMs: isLast ? 0 : dueInMs(one, now) }))
    .filter(({ one }) => one.writtenCount < one.series.count)
    .toSorted((a, b) => urgency(a.one) - urgency(b.one) || a.inMs - b.inMs);
  if (due === undefined) return SERIES_MS;
  if (due.inMs > 0) return due.inMs;
  const { key, one } = due;
  const isBanned = (stance.bans.get(one.series.namespace)?.until ?? 0) > now;
  if (isBanned || Math.abs(now - one.series.lastAt) > AGE_MS_MAX) {
    drop(recording, key);
    return 0;
  }
  const isUpdate = one.writtenCount > 0;
  if (isUpdate && !isLast && !bucketOf(buckets, "updates", UPDATES).take(now)) {
    return UPDATES.everyMs;
  }
  await write(recording, { key, one, isUpdate }, signal);
  return isLast && recording.stance.notBefore > options.world.now() ? Number.POSITIVE_INFINITY : 0;
}

function dueInMs({ writtenCount, writtenAt }: Open, now: Instant): number {
  if (writtenCount === 0) return 0;
  const restMs = writtenAt + UPDATE_MS - now;
  return restMs > UPDATE_MS ? 0 : Math.max(0, restMs);
}

/** New before known, warnings before the rest. */
function urgency({ series, writtenCount }: Open): number {
  const isWarning = NOTE_REASONS[series.note.reason].type === "Warning";
  return (writtenCount === 0 ? 0 : 2) + (isWarning ? 0 : 1);
}

/** What was counted and never told is dropped as well. */
function drop(recording: Recording, key: string): void {
  const one = recording.open.get(key);
  if (one === undefined) return;
  recording.open.delete(key);
  recording.dropped += one.series.count - one.writtenCount;
}

async function write(
  recording: Recording,
  { key, one, isUpdate }: { key: string; one: Open; isUpdate: boolean },
  signal: AbortSignal,
): Promise<void> {
  const { options } = recording;
  const { kube, world } = options;
  const { series } = one;
  const path = `${EVENTS_PATH}/${encodeURIComponent(series.namespace)}/events`;
  const request = { signal, timeoutMs: REQUEST_MS_MAX };
  try {
    if (isUpdate) {
      await kube.patch("strategic", `${path}/${series.name}`, {
        ...request,
        body: seriesOf(series),
      });
    } else {
      const uid = await uidOf(recording, series.note, signal);
      const { lease, identity } = options;
      const body = eventObject(series, { lease, uid, identity });
      await kube.write("POST", path, { ...request, body });
    }
    settle(recording, one, series);
  } catch (error) {
    if (signal.aborted) return;
    const { namespace } = series;
    const now = world.now();
    const judgement = judgeFailure(recording.stance, error, { isUpdate, namespace, now, world });
    recording.stance = judgement.stance;
    const { verdict, message } = judgement;
    if (message !== null) world.log.warn({ event: "event-failed", namespace }, message);
    if (verdict === "done") settle(recording, one, series);
    else if (verdict === "drop") drop(recording, key);
    else if (verdict === "anew") begin(recording, one);
    else postpone(recording, key, one);
  }
}

function settle(recording: Recording, one: Open, written: EventSeries): void {
  one.writtenCount = written.count;
  one.writtenAt = recording.options.world.now();
  recording.written += 1;
  recording.stance = { ...recording.stance, failures: 0, notBefore: 0 };
}

/** Others may have better luck: a Map keeps the order in which it was filled. */
function postpone({ open }: Recording, key: string, one: Open): void {
  if (!open.delete(key)) return;
  open.set(key, one);
}

/** The Event is gone, as all are after an hour; what was not told yet becomes another. */
function begin({ options }: Recording, one: Open): void {
  const { note, lastAt, count, ...rest } = one.series;
  const suffix = randomId(options.world).slice(0, 16);
  one.series = {
    ...rest,
    note: { ...note, at: lastAt },
    name: nameOf(note, options.lease, suffix),
    lastAt,
    count: Math.max(1, count - one.writtenCount),
  };
  one.writtenCount = 0;
}

/** Of what the note is about, since `kubectl describe` asks for Events by uid; null if unknown. */
async function uidOf(
  recording: Recording,
  { regarding }: Note,
  signal: AbortSignal,
): Promise<string | null> {
  const { options } = recording;
  if (regarding.kind === "node") {
    if (regarding.uid !== null) return regarding.uid;
    const named = [...options.nodes().values()].find(({ node }) => node.name === regarding.name);
    return named?.node.uid ?? null;
  }
  if (recording.leaseUid !== null) return recording.leaseUid;
  const { namespace, name } = options.lease;
  const path = `${LEASES_PATH}/${encodeURIComponent(namespace)}/leases/${encodeURIComponent(name)}`;
  // Without the uid the Event is still one.
  const lease = await options.kube
    .read(path, { signal, timeoutMs: REQUEST_MS_MAX })
    .catch(() => null);
  recording.leaseUid = isRecord(lease) ? textAt(recordAt(lease, "metadata"), "uid") : null;
  return recording.leaseUid;
}
