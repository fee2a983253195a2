import { addressSet } from "./aggregate.ts";
import type { Cidr } from "./cidr.ts";
import { digestOf } from "./digest.ts";
import { desiredEntries } from "./entries.ts";
import { clustersOf, type List, type Policy, type Source } from "./list.ts";
import type { Membership } from "./members.ts";
import type { Traits } from "./observation.ts";
import { outsideKey } from "./outside.ts";
import { REMOVED_MEMORY_MS } from "./plan.ts";
import type { Clocks, Instant, Slot } from "./record.ts";
import type { ListReport, TargetErrorKind } from "./report.ts";
import { isMissingMembers, isUnsaid, type Voice } from "./voice.ts";

/** A resync reads every target at least this often, whatever its record says. */
const CHECK_INTERVAL_MS = 300_000;
const BACKOFF_FIRST_MS = 1_000;
const BACKOFF_MAX_MS = 60_000;
/** For what only a person mends. */
const BACKOFF_LASTING_MS = 300_000;

/**
 * Digest of all that decides who is on a list. Grace, guard and credentials are not part of it: to
 * change them must not restart the clocks.
 */
export function listDigest(list: List, policy: Policy): string {
  const clusters = clustersOf(list).map((name) => {
    const cluster = policy.clusters[name];
    return {
      name,
      bounds: cluster?.bounds,
      maxEntries: cluster?.maxEntries,
      uid: cluster?.uid,
      widest: cluster?.widest,
    };
  });
  return digestOf({ from: list.sources.map(identityOf), formerly: list.formerly, clusters });
}

/** What of a source decides who is on a list: not how a cloud is reached, nor how often. */
function identityOf(source: Source): unknown {
  switch (source.kind) {
    case "subnets":
      return { ...source, subnets: source.subnets.map(outsideKey) };
    case "dns":
      return { ...source, names: source.names.map(outsideKey) };
    default:
      return source;
  }
}

/**
 * Hash of the addresses that a list wants now, whatever order and however often its sources name
 * them.
 */
export function desiredDigest(membership: Membership): string {
  const cidrs = [...new Set(membership.members.map((member) => member.cidr))].toSorted();
  // What is refused or not looked at changes no entry, but what has to be said of the list.
  const unlooked = membership.voices.filter((voice) => voice.kind === "out-of-scope");
  const unread = membership.voices.flatMap((voice) =>
    "source" in voice && isMissingMembers(voice) ? [{ source: voice.source }] : [],
  );
  // What begins whole may begin once the last of them was heard, even of nobody.
  const silent = membership.voices.filter(
    (voice) => "cluster" in voice && voice.kind === "not-heard",
  );
  return digestOf({ cidrs, refused: membership.refused, unlooked, unread, silent });
}

/**
 * Whether a list that may only begin whole waits for somebody. What is missing waits with it, so no
 * look and no delivery brings it about before that one was heard, which changes the digest.
 */
export function waitsToBegin({ reason, owned }: Pick<ListReport, "reason" | "owned">): boolean {
  // Elsewhere nothing is withheld where nothing is ours, or only what nobody knows is missing.
  return owned === 0 && (reason === "not-heard" || reason === "out-of-scope");
}

export interface DueQuestion {
  readonly list: List;
  readonly digest: string;
  readonly desired: string;
  readonly voices: readonly Voice[];
  readonly now: Instant;
  /** How long an entry that was read back takes to come into effect. */
  readonly settleMs: number;
  /**
   * Whether this run may remove (resync). A webhook only adds and has no business with departures.
   */
  readonly removes: boolean;
}

/**
 * Whether a slot needs a look at its target. Decided from the store alone, so that a heartbeat
 * costs no call, and a crash between admitting and syncing loses nothing.
 */
export function isDue(slot: Slot | null, question: DueQuestion): boolean {
  if (slot === null || slot.digest !== question.digest) return true;
  if (slot.list !== question.list.name) return true;
  if (question.removes && answers(slot) && departureIsDue(slot, question)) return true;
  if (isPostponed(slot, question.now)) return false;
  if (slot.desired !== question.desired) return true;
  const { state, reason } = slot.report;
  if (state === "failed") return true;
  if (state === "pending" && reason !== "grace") return true;
  // A worse state may stand before them: what is missing, and what could not be trusted until now.
  const isMissing = slot.report.add.length > 0 && !waitsToBegin(slot.report);
  if (isMissing || doubtIsOver(slot, question.now)) return true;
  if (isSettling(slot, question)) return true;
  if (!question.removes) return false;
  if (Math.abs(question.now - slot.checkedAt) >= CHECK_INTERVAL_MS) return true;
  return departureIsDue(slot, question);
}

/**
 * The clocks of a slot that go on, by what is known without a look at its target. What is wanted
 * again loses its clock also while the target is left alone or does not answer: or it would go
 * without any grace when it leaves once more before somebody looked.
 */
export function runningClocks(
  { unwanted, entries }: Pick<Slot, "unwanted" | "entries">,
  known: {
    readonly membership: Membership;
    readonly policy: Policy;
    readonly traits: Traits;
  },
): Clocks {
  const { membership, policy, traits } = known;
  const clocks = Object.entries(unwanted);
  if (clocks.length === 0) return unwanted;
  if (membership.voices.some(isUnsaid)) return {};
  const owned = addressSet(Object.keys({ ...entries, ...unwanted }) as Cidr[]);
  const options = { policy, traits, wantedSince: entries, owned };
  const wanted = addressSet(desiredEntries(membership.members, options).cidrs);
  return Object.fromEntries(clocks.filter(([cidr]) => !wanted.covers(cidr as Cidr)));
}

// A time further away than any backoff was written by a clock that ran ahead.
function isPostponed(slot: Slot, now: Instant): boolean {
  return now < slot.notBefore && slot.notBefore - now <= BACKOFF_LASTING_MS;
}

// An entry that counts from a later time than the last look is looked at again then.
function doubtIsOver(slot: Slot, now: Instant): boolean {
  return Object.values(slot.entries).some((since) => since > slot.checkedAt && now >= since);
}

// Until an entry is in effect it is looked after, whatever worse state stands before that.
function isSettling(slot: Slot, { now, settleMs }: DueQuestion): boolean {
  return Object.values(slot.entries).some((since) => now - since < settleMs && since <= now);
}

// What fails for want of room must not wait with its departures, which make room.
function answers(slot: Slot): boolean {
  const { reason } = slot.report;
  return reason === "full" || reason === "shadowed" || reason === "invalid";
}

function departureIsDue(slot: Slot, question: DueQuestion): boolean {
  return Object.entries(slot.unwanted).some(([cidr, since]) => {
    const removedAt = slot.removed[cidr];
    // A removal whose outcome is unknown is looked at again once it can no longer be on its way.
    if (removedAt !== undefined) return question.now - removedAt >= REMOVED_MEMORY_MS;
    const at = departureAt(question, since);
    // What others take the place of waits until these are in effect.
    const moments = [at, Math.max(at, since + question.settleMs)];
    return moments.some((moment) => moment <= question.now && moment >= slot.judgedAt);
  });
}

/**
 * The earliest moment at which an entry may go, or Infinity while a cluster has not spoken, or an
 * outside source not been read, since its grace ended.
 */
export function departureAt(
  question: Pick<DueQuestion, "list" | "voices">,
  since: Instant,
): Instant {
  const { graceMs } = question.list.removal;
  if (graceMs === 0) return since;
  let at = since + graceMs;
  for (const voice of question.voices) {
    if (voice.kind === "retired") continue;
    if (voice.kind !== "heard" || voice.receivedAt < since + graceMs)
      return Number.POSITIVE_INFINITY;
    at = Math.max(at, voice.receivedAt);
  }
  return at;
}

/** How long a target that failed is left alone. */
export function backoffMs(
  kind: TargetErrorKind | "shadowed",
  failures: number,
  retryAfterMs: number | null,
): number {
  const lasting = kind === "denied" || kind === "missing" || kind === "full" || kind === "invalid";
  const growing = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** Math.min(failures - 1, 10));
  const own = lasting ? BACKOFF_LASTING_MS : growing;
  return Math.max(own, Math.min(retryAfterMs ?? 0, BACKOFF_LASTING_MS));
}
