import type { Instant } from "../lib/core/record.ts";
import { GENERATION_NUMBER_MAX } from "../lib/core/snapshot.ts";
import type { World } from "../lib/world.ts";
import type { Emit } from "./journal.ts";
import { isRecord, type JsonRecord, recordAt, textAt } from "./json.ts";
import { type Kube, KubeError } from "./kube.ts";
import { errorText, slept } from "./signal.ts";

/** The right to deliver, and the epoch it is exercised under. */
export interface HeldLease {
  readonly epoch: number;
  /**
   * Counts acquisitions by this process: another number means that somebody else may have delivered
   * between.
   */
  readonly acquisition: number;
}

export interface Lease {
  /**
   * Null while it is not held, and once it was not renewed for 10 s: then no delivery may begin.
   */
  held(): HeldLease | null;
  /** Raises the epoch to above the held one and `above`; null when that could not be done. */
  raise(above: number): Promise<number | null>;
  /** Acquires and renews until the signal aborts, then resolves without releasing. */
  run(signal: AbortSignal): Promise<void>;
  /**
   * Gives the Lease up, so that another may have it at once; the epoch stays in it. Never rejects.
   */
  release(): Promise<void>;
}

const LEASE_MS = 15_000;
/** A Lease of others may ask for longer, within reason. */
const LEASE_MS_MAX = 60_000;
const RENEW_MS = 5_000;
const RETRY_MS = 1_000;
const DELIVER_MS_MAX = 10_000;
const REQUEST_TIMEOUT_MS = 4_000;
const EPOCH_ANNOTATION = "kube-allowlist.dev/epoch";
const LEASES_PATH = "/apis/coordination.k8s.io/v1/namespaces";

export interface KubernetesLeaseOptions {
  readonly kube: Kube;
  readonly world: Pick<World, "now" | "random" | "sleep">;
  readonly namespace: string;
  readonly name: string;
  /** Of this process and no other: two with one identity would both hold the Lease. */
  readonly identity: string;
  readonly emit: Emit;
  /** The Lease was acquired; may be called again after it was lost. */
  readonly onAcquired: (held: HeldLease) => void;
}

/** What a Lease object says. */
export interface LeaseView {
  readonly uid: string;
  readonly version: string;
  /** Empty when nobody holds it. */
  readonly holder: string;
  /** 0 when missing or garbled. */
  readonly epoch: number;
  readonly durationMs: number;
}

/** Throws a KubeError for what is no Lease. */
export function readLease(object: unknown): LeaseView {
  const lease = isRecord(object) ? object : {};
  const metadata = recordAt(lease, "metadata");
  const spec = recordAt(lease, "spec");
  const uid = textAt(metadata, "uid");
  const version = textAt(metadata, "resourceVersion");
  if (uid === null || version === null) {
    throw new KubeError("Cannot read the Lease: it has no uid or no resourceVersion");
  }
  const seconds = spec.leaseDurationSeconds;
  const durationMs = typeof seconds === "number" ? seconds * 1000 : LEASE_MS;
  return {
    uid,
    version,
    holder: textAt(spec, "holderIdentity") ?? "",
    epoch: parseEpoch(textAt(recordAt(metadata, "annotations"), EPOCH_ANNOTATION)),
    durationMs: Math.min(LEASE_MS_MAX, Math.max(LEASE_MS, durationMs)),
  };
}

function parseEpoch(text: string | null): number {
  return text !== null && /^\d{1,10}$/.test(text) ? Number(text) : 0;
}

/** When a Lease was first seen as it is, by our own clock: nobody's clock is compared with ours. */
export interface Sighting {
  readonly uid: string;
  readonly version: string;
  readonly at: Instant;
}

/** The sighting after `view` was read: a changed Lease is seen for the first time now. */
export function sight(before: Sighting | null, view: LeaseView, now: Instant): Sighting {
  const isSame = before !== null && before.uid === view.uid && before.version === view.version;
  // A clock that was set back begins anew, which errs towards waiting.
  if (isSame && before.at <= now) return before;
  return { uid: view.uid, version: view.version, at: now };
}

/** Whether a Lease may be taken: nobody's, ours, or not changed for as long as it lasts. */
export function isFree(
  view: LeaseView,
  { identity, sighting, now }: { identity: string; sighting: Sighting; now: Instant },
): boolean {
  if (view.holder === "" || view.holder === identity) return true;
  return now - sighting.at >= view.durationMs;
}

/** The Lease as we hold it. */
interface Own {
  /** As last read or written; everything in it that is not ours is written back as it was. */
  readonly object: JsonRecord;
  readonly uid: string;
  readonly epoch: number;
  readonly acquisition: number;
  /** Before the last successful write was sent. */
  readonly renewedAt: Instant;
  /** A write was not answered: the version must be read before the next one. */
  readonly isUnsure: boolean;
}

interface Holding {
  readonly options: KubernetesLeaseOptions;
  own: Own | null;
  sighting: Sighting | null;
  acquisitions: number;
  /**
   * The highest epoch this process ever held, so that a deleted Lease does not lead back to old
   * ones.
   */
  epochMax: number;
  /** The end of the last queued write: our own writes must not overtake each other. */
  queue: Promise<unknown>;
}

/** A Lease of coordination.k8s.io/v1, with the epoch in an annotation. */
export function makeKubernetesLease(options: KubernetesLeaseOptions): Lease {
  const holding: Holding = {
    options,
    own: null,
    sighting: null,
    acquisitions: 0,
    epochMax: 0,
    queue: Promise.resolve(),
  };
  const { world, emit } = options;
  return {
    held: () => heldOf(holding.own, world.now()),
    raise: (above) => inTurn(holding, () => raise(holding, above)),
    release: () => inTurn(holding, () => release(holding)),
    async run(signal) {
      while (!signal.aborted) {
        const begunAt = world.now();
        let delayMs = RENEW_MS;
        try {
          await inTurn(holding, () => (holding.own === null ? acquire(holding) : renew(holding)));
        } catch (error) {
          delayMs = RETRY_MS;
          emit({ kind: "lease-failed", at: world.now(), message: failureText(error) });
        }
        await slept(world, Math.max(RETRY_MS, begunAt + delayMs - world.now()), signal);
      }
    },
  };
}

function heldOf(own: Own | null, now: Instant): HeldLease | null {
  if (own === null) return null;
  const ageMs = now - own.renewedAt;
  // A clock that was set back says nothing about how long ago that was.
  if (ageMs < 0 || ageMs >= DELIVER_MS_MAX) return null;
  return { epoch: own.epoch, acquisition: own.acquisition };
}

function inTurn<T>(holding: Holding, work: () => Promise<T>): Promise<T> {
  const result = holding.queue.then(work, work);
  holding.queue = result.catch(() => undefined);
  return result;
}

function failureText(error: unknown): string {
  const text = errorText(error);
  const isDenied = error instanceof KubeError && error.status === 403;
  return isDenied ? `${text}; grant get, create and update on the Lease to this account` : text;
}

function leasePath({ namespace, name }: KubernetesLeaseOptions): string {
  return `${LEASES_PATH}/${encodeURIComponent(namespace)}/leases/${encodeURIComponent(name)}`;
}

/** Reads and, when it is free, takes the Lease with the next epoch. */
async function acquire(holding: Holding): Promise<void> {
  const { world, identity, namespace, name } = holding.options;
  const object = await readObject(holding);
  if (object === null) {
    const blank = { apiVersion: "coordination.k8s.io/v1", kind: "Lease" };
    const epoch = holding.epochMax + 1;
    const created = { ...blank, metadata: { name, namespace } };
    await take(holding, { object: created, epoch, transitions: 0, verb: "POST" });
    return;
  }
  const view = readLease(object);
  const now = world.now();
  holding.sighting = sight(holding.sighting, view, now);
  if (!isFree(view, { identity, sighting: holding.sighting, now })) return;
  const epoch = Math.max(view.epoch, holding.epochMax) + 1;
  if (epoch > GENERATION_NUMBER_MAX) {
    const wayOut = `correct the annotation ${EPOCH_ANNOTATION} of the Lease`;
    throw new Error(`Cannot raise the epoch above ${view.epoch}: there is none; ${wayOut}`);
  }
  const before = recordAt(object, "spec").leaseTransitions;
  const transitions =
    (typeof before === "number" ? before : 0) + (view.holder === identity ? 0 : 1);
  await take(holding, { object, epoch, transitions, verb: "PUT" });
}

async function take(
  holding: Holding,
  taking: {
    readonly object: JsonRecord;
    readonly epoch: number;
    readonly transitions: number;
    readonly verb: "POST" | "PUT";
  },
): Promise<void> {
  const { options } = holding;
  const { epoch, verb } = taking;
  const begunAt = options.world.now();
  const time = microTime(begunAt);
  const body = withEpoch(taking.object, epoch, {
    holderIdentity: options.identity,
    leaseDurationSeconds: LEASE_MS / 1000,
    acquireTime: time,
    renewTime: time,
    leaseTransitions: taking.transitions,
  });
  const written = await write(holding, verb, body);
  // Somebody was faster.
  if (written === null) return;
  holding.acquisitions += 1;
  holding.epochMax = Math.max(holding.epochMax, epoch);
  holding.own = {
    object: written,
    uid: readLease(written).uid,
    epoch,
    acquisition: holding.acquisitions,
    renewedAt: begunAt,
    isUnsure: false,
  };
  options.emit({ kind: "lease-acquired", at: options.world.now(), epoch });
  options.onAcquired({ epoch, acquisition: holding.acquisitions });
}

async function renew(holding: Holding): Promise<void> {
  const { world } = holding.options;
  const own = await settled(holding);
  if (own === null) return;
  const begunAt = world.now();
  const written = await update(holding, own, { renewTime: microTime(begunAt) });
  if (written === null) return;
  holding.own = { ...own, object: written, renewedAt: begunAt, isUnsure: false };
}

async function raise(holding: Holding, above: number): Promise<number | null> {
  const { world, emit } = holding.options;
  try {
    const own = await settled(holding);
    if (own === null) return null;
    const epoch = Math.max(own.epoch, above) + 1;
    if (epoch > GENERATION_NUMBER_MAX) {
      const wayOut = "remove what the receiver stores of this cluster";
      const message = `Cannot raise the epoch above ${above}: there is none; ${wayOut}`;
      emit({ kind: "warning", at: world.now(), message });
      return null;
    }
    const begunAt = world.now();
    const changes = { renewTime: microTime(begunAt) };
    const raised = { ...own, epoch, object: withEpoch(own.object, epoch, {}) };
    const written = await update(holding, raised, changes);
    if (written === null) return null;
    holding.epochMax = Math.max(holding.epochMax, epoch);
    holding.own = { ...raised, object: written, renewedAt: begunAt, isUnsure: false };
    emit({ kind: "epoch-raised", at: world.now(), epoch });
    return epoch;
  } catch (error) {
    emit({ kind: "lease-failed", at: world.now(), message: failureText(error) });
    return null;
  }
}

async function release(holding: Holding): Promise<void> {
  const { world, emit } = holding.options;
  try {
    const own = await settled(holding);
    if (own === null) return;
    const time = microTime(world.now());
    const written = await update(holding, own, { holderIdentity: "", renewTime: time });
    holding.own = null;
    if (written !== null) emit({ kind: "lease-released", at: world.now(), epoch: own.epoch });
  } catch (error) {
    holding.own = null;
    emit({ kind: "lease-failed", at: world.now(), message: failureText(error) });
  }
}

/** What we hold, with its present version; null when it turns out to be lost. */
async function settled(holding: Holding): Promise<Own | null> {
  const { own, options } = holding;
  if (own === null || !own.isUnsure) return own;
  const object = await readObject(holding);
  const view = object === null ? null : readLease(object);
  const isOurs =
    view !== null &&
    view.uid === own.uid &&
    view.holder === options.identity &&
    view.epoch === own.epoch;
  if (object === null || !isOurs) {
    lose(holding, "it was changed by somebody else");
    return null;
  }
  const known = { ...own, object, isUnsure: false };
  holding.own = known;
  return known;
}

/** One compare-and-swap of a Lease that is held; null, and no longer held, when it was lost. */
async function update(holding: Holding, own: Own, changes: JsonRecord): Promise<JsonRecord | null> {
  if (holding.own !== null) holding.own = { ...holding.own, isUnsure: true };
  const spec = { ...recordAt(own.object, "spec"), ...changes };
  const written = await write(holding, "PUT", { ...own.object, spec });
  if (written !== null && readLease(written).uid === own.uid) return written;
  lose(holding, written === null ? "somebody else wrote it" : "it is another object now");
  return null;
}

function lose(holding: Holding, why: string): void {
  const { world, emit } = holding.options;
  holding.own = null;
  emit({ kind: "lease-lost", at: world.now(), message: `Lost the Lease: ${why}` });
}

/** Null when the Lease is not as it was thought to be, or not there. */
async function write(
  holding: Holding,
  verb: "POST" | "PUT",
  body: JsonRecord,
): Promise<JsonRecord | null> {
  const { kube, namespace } = holding.options;
  const path =
    verb === "PUT"
      ? leasePath(holding.options)
      : `${LEASES_PATH}/${encodeURIComponent(namespace)}/leases`;
  try {
    return recordOf(await kube.write(verb, path, { ...requestOptions(), body }));
  } catch (error) {
    const isLost =
      error instanceof KubeError &&
      (error.status === 409 || (verb === "PUT" && error.status === 404));
    if (isLost) return null;
    throw error;
  }
}

async function readObject(holding: Holding): Promise<JsonRecord | null> {
  const { kube } = holding.options;
  try {
    return recordOf(await kube.read(leasePath(holding.options), requestOptions()));
  } catch (error) {
    if (error instanceof KubeError && error.status === 404) return null;
    throw error;
  }
}

/**
 * Requests about the Lease end by themselves; a shutdown waits for them rather than leaving one in
 * doubt.
 */
function requestOptions(): { readonly signal: AbortSignal; readonly timeoutMs: number } {
  return { signal: new AbortController().signal, timeoutMs: REQUEST_TIMEOUT_MS };
}

function recordOf(object: unknown): JsonRecord {
  if (isRecord(object)) return object;
  throw new KubeError("Cannot read the Lease: the answer is no object");
}

function withEpoch(object: JsonRecord, epoch: number, spec: JsonRecord): JsonRecord {
  const metadata = recordAt(object, "metadata");
  const annotations = { ...recordAt(metadata, "annotations"), [EPOCH_ANNOTATION]: String(epoch) };
  return {
    ...object,
    metadata: { ...metadata, annotations },
    spec: { ...recordAt(object, "spec"), ...spec },
  };
}

/** MicroTime of the API: six digits of a second. */
function microTime(at: Instant): string {
  return new Date(at).toISOString().replace("Z", "000Z");
}

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
