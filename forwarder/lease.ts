import type { Instant } from "../lib/core/record.ts";
import { GENERATION_NUMBER_MAX } from "../lib/core/snapshot.ts";
import type { World } from "../lib/world.ts";
import { spread } from "./backoff.ts";
import type { Emit } from "./journal.ts";
import { type JsonRecord, recordAt } from "./json.ts";
import { KubeError } from "./kube.ts";
import {
  EPOCH_ANNOTATION,
  freeInMs,
  LEASE_MS,
  type LeasePlace,
  type LeaseView,
  microTime,
  readLease,
  readObject,
  type Sighting,
  sight,
  withEpoch,
  writeObject,
} from "./lease-object.ts";
import { errorText, slept } from "./signal.ts";
import { compareVersions } from "./version.ts";

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

/** How often it is renewed. */
const RENEW_MS = 5_000;
/** How often somebody else's is looked at: with a Lease's 15 s less than 20 s until a successor. */
const FOLLOW_MS = 2_000;
/** After a failure, */
const RETRY_MS = 1_000;
/** and after one that only people can mend. */
const RETRY_LASTING_MS = 5_000;
const WAIT_MS_MIN = 50;
/** Those that were started together must not ask together for ever. */
const WAIT_SPREAD = 0.1;
const DELIVER_MS_MAX = 10_000;

export interface KubernetesLeaseOptions extends LeasePlace {
  readonly world: Pick<World, "now" | "random" | "sleep">;
  /** Of this process and no other: two with one identity would both hold the Lease. */
  readonly identity: string;
  readonly emit: Emit;
  /** The Lease was acquired; may be called again after it was lost. */
  readonly onAcquired: (held: HeldLease) => void;
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
  /** The other holder that was last told of. */
  told: string;
  acquisitions: number;
  /**
   * The highest epoch this process ever held or saw, so that a deleted Lease does not lead back to
   * old ones.
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
    told: "",
    acquisitions: 0,
    epochMax: 0,
    queue: Promise.resolve(),
  };
  const { world } = options;
  return {
    held: () => heldOf(holding.own, world.now()),
    raise: (above) => inTurn(holding, () => raise(holding, above)),
    release: () => inTurn(holding, () => release(holding)),
    async run(signal) {
      while (!signal.aborted) {
        const waitMs = await inTurn(holding, () => step(holding)).catch((error: unknown) => {
          const { isLasting } = report(holding, error);
          return spread(isLasting ? RETRY_LASTING_MS : RETRY_MS, WAIT_SPREAD, world);
        });
        await slept(world, waitMs, signal);
      }
    },
  };
}

/** One look or one renewal; how long to wait until the next. */
async function step(holding: Holding): Promise<number> {
  const { world } = holding.options;
  const begunAt = world.now();
  if (holding.own === null) {
    const freeMs = await acquire(holding);
    if (holding.own === null) {
      const followMs = spread(FOLLOW_MS, WAIT_SPREAD, world);
      return Math.max(WAIT_MS_MIN, Math.min(followMs, freeMs));
    }
  } else {
    await renew(holding);
    if (holding.own === null) return WAIT_MS_MIN;
  }
  // Counted from the beginning, but a clock that was set meanwhile puts nothing off.
  const renewMs = spread(RENEW_MS, WAIT_SPREAD, world);
  const tookMs = Math.min(renewMs, Math.max(0, world.now() - begunAt));
  return Math.max(WAIT_MS_MIN, renewMs - tookMs);
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

/** Says what went wrong; `isLasting`: people are needed. */
function report({ options }: Holding, error: unknown): { readonly isLasting: boolean } {
  const wayOut = wayOutOf(error);
  const message = wayOut === null ? errorText(error) : `${errorText(error)}; ${wayOut}`;
  const isLasting = wayOut !== null;
  options.emit({ kind: "lease-failed", at: options.world.now(), message, lasting: isLasting });
  return { isLasting };
}

/** Null for what may heal by itself. */
function wayOutOf(error: unknown): string | null {
  if (error instanceof RangeError) return `correct the annotation ${EPOCH_ANNOTATION} of the Lease`;
  if (!(error instanceof KubeError)) return null;
  if (error.status === 403) return "grant get, create and update on the Lease to this account";
  // A Lease that is not there is created; what is missing then is its namespace.
  return error.status === 404 ? "create the namespace, or name another Lease" : null;
}

/**
 * Reads and, when it is free, takes the Lease with the next epoch. Returns in how many milliseconds
 * it may be free if nothing happens to it.
 */
async function acquire(holding: Holding): Promise<number> {
  const { world, identity, namespace, name } = holding.options;
  const object = await readObject(holding.options);
  if (object === null) {
    const blank = { apiVersion: "coordination.k8s.io/v1", kind: "Lease" };
    const epoch = holding.epochMax + 1;
    const created = { ...blank, metadata: { name, namespace } };
    await take(holding, { object: created, epoch, transitions: 0, verb: "POST" });
    return FOLLOW_MS;
  }
  const view = readLease(object);
  const now = world.now();
  holding.sighting = sight(holding.sighting, view, now);
  const freeMs = freeInMs(view, { identity, sighting: holding.sighting, now });
  if (freeMs > 0) {
    follow(holding, view);
    return freeMs;
  }
  const epoch = Math.max(view.epoch, holding.epochMax) + 1;
  if (epoch > GENERATION_NUMBER_MAX) {
    throw new RangeError(`Cannot raise the epoch above ${view.epoch}: there is none`);
  }
  const before = recordAt(object, "spec").leaseTransitions;
  const transitions =
    (typeof before === "number" ? before : 0) + (view.holder === identity ? 0 : 1);
  await take(holding, { object, epoch, transitions, verb: "PUT" });
  return FOLLOW_MS;
}

/** Somebody else holds it: whoever wonders why nothing is delivered is told, once. */
function follow(holding: Holding, { holder, epoch }: LeaseView): void {
  const { world, emit, namespace, name } = holding.options;
  // The highest one there is leads nowhere, and whoever corrects it must be believed.
  if (epoch < GENERATION_NUMBER_MAX) holding.epochMax = Math.max(holding.epochMax, epoch);
  if (holder === holding.told) return;
  holding.told = holder;
  const lease = `${namespace}/${name}`;
  emit({ kind: "lease-waiting", at: world.now(), lease, holder, epoch });
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
  const written = await writeObject(options, verb, body);
  // Somebody was faster.
  if (written === null) return;
  holding.told = "";
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
    report(holding, error);
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
    report(holding, error);
  }
}

/** What we hold, with its present version; null when it turns out to be lost. */
async function settled(holding: Holding): Promise<Own | null> {
  const { own, options } = holding;
  if (own === null || !own.isUnsure) return own;
  const object = await readObject(options);
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
  const order = compareVersions(view.version, readLease(own.object).version);
  if (order !== null && order < 0) {
    // Whoever acquires it anew lists everything, and so learns what else went back.
    lose(holding, "it went back in time, as when a cluster is restored from a backup");
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
  const written = await writeObject(holding.options, "PUT", { ...own.object, spec });
  if (written !== null && readLease(written).uid === own.uid) return written;
  lose(holding, written === null ? "somebody else wrote it" : "it is another object now");
  return null;
}

function lose(holding: Holding, why: string): void {
  const { world, emit } = holding.options;
  holding.own = null;
  emit({ kind: "lease-lost", at: world.now(), message: `Lost the Lease: ${why}` });
}
