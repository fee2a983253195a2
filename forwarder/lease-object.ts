import type { Instant } from "../lib/core/record.ts";
import { isRecord, type JsonRecord, recordAt, textAt } from "./json.ts";
import { type Kube, KubeError } from "./kube.ts";

/*
 * The object behind a Lease (coordination.k8s.io/v1): what it says, when it is free, and reading
 * and writing it. Deciding is done in lease.ts.
 */

/** How long a Lease lasts when nobody renews it. */
export const LEASE_MS = 15_000;
/** A Lease of others may ask for longer, within reason. */
const LEASE_MS_MAX = 60_000;
const REQUEST_TIMEOUT_MS = 4_000;
export const EPOCH_ANNOTATION = "kube-allowlist.dev/epoch";
const LEASES_PATH = "/apis/coordination.k8s.io/v1/namespaces";

/** Where a Lease is, and who is asked for it. */
export interface LeasePlace {
  readonly kube: Kube;
  readonly namespace: string;
  readonly name: string;
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
  /** What its holder writes: who holds it, since when and for how long. */
  readonly record: string;
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
    record: JSON.stringify(RECORD.map((member) => spec[member] ?? null)),
  };
}

const RECORD = [
  "holderIdentity",
  "leaseDurationSeconds",
  "acquireTime",
  "renewTime",
  "leaseTransitions",
] as const;

function parseEpoch(text: string | null): number {
  return text !== null && /^\d{1,10}$/.test(text) ? Number(text) : 0;
}

/**
 * When a Lease was first seen as its holder left it, by our own clock: nobody's clock is compared
 * with ours. Whoever writes a label or an annotation does not renew it, so its version tells
 * nothing.
 */
export interface Sighting {
  readonly uid: string;
  readonly record: string;
  readonly at: Instant;
}

/** The sighting after `view` was read: a changed Lease is seen for the first time now. */
export function sight(before: Sighting | null, view: LeaseView, now: Instant): Sighting {
  const isSame = before !== null && before.uid === view.uid && before.record === view.record;
  // A clock that was set back begins anew, which errs towards waiting.
  if (isSame && before.at <= now) return before;
  return { uid: view.uid, record: view.record, at: now };
}

/**
 * In how many milliseconds a Lease may be taken if it stays as it is; 0 or less: now. It is
 * nobody's, or ours, or will not have changed for as long as it lasts.
 */
export function freeInMs(
  view: LeaseView,
  { identity, sighting, now }: { identity: string; sighting: Sighting; now: Instant },
): number {
  if (view.holder === "" || view.holder === identity) return 0;
  return sighting.at + view.durationMs - now;
}

/** Null when there is none. */
export async function readObject(place: LeasePlace): Promise<JsonRecord | null> {
  try {
    return recordOf(await place.kube.read(pathOf(place), requestOptions()));
  } catch (error) {
    if (error instanceof KubeError && error.status === 404) return null;
    throw error;
  }
}

/** A compare-and-swap. Null when the Lease is not as it was thought to be, or not there. */
export async function writeObject(
  place: LeasePlace,
  verb: "POST" | "PUT",
  body: JsonRecord,
): Promise<JsonRecord | null> {
  const path = verb === "PUT" ? pathOf(place) : leasesPath(place);
  try {
    return recordOf(await place.kube.write(verb, path, { ...requestOptions(), body }));
  } catch (error) {
    const isLost =
      error instanceof KubeError &&
      (error.status === 409 || (verb === "PUT" && error.status === 404));
    if (isLost) return null;
    throw error;
  }
}

/** The object with another epoch, and with these members of its spec; the rest as it was. */
export function withEpoch(object: JsonRecord, epoch: number, spec: JsonRecord): JsonRecord {
  const metadata = recordAt(object, "metadata");
  const annotations = { ...recordAt(metadata, "annotations"), [EPOCH_ANNOTATION]: String(epoch) };
  return {
    ...object,
    metadata: { ...metadata, annotations },
    spec: { ...recordAt(object, "spec"), ...spec },
  };
}

/** MicroTime of the API: six digits of a second. */
export function microTime(at: Instant): string {
  return new Date(at).toISOString().replace("Z", "000Z");
}

function leasesPath({ namespace }: LeasePlace): string {
  return `${LEASES_PATH}/${encodeURIComponent(namespace)}/leases`;
}

function pathOf(place: LeasePlace): string {
  return `${leasesPath(place)}/${encodeURIComponent(place.name)}`;
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
