import { addressSet } from "./aggregate.ts";
import { type Cidr, sortCidrs } from "./cidr.ts";
import { departureAt } from "./due.ts";
import { desiredEntries } from "./entries.ts";
import { type GuardAnswer, guardPlan } from "./guard.ts";
import type { List, Policy, TargetConfig } from "./list.ts";
import type { Membership } from "./members.ts";
import type { Capacity, Observation, Traits } from "./observation.ts";
import { ownedOf, type Plan, planChanges, REMOVED_MEMORY_MS } from "./plan.ts";
import type { Clocks, Instant, Slot } from "./record.ts";
import {
  type ListReport,
  type Reason,
  type Refusal,
  stateOf,
  type WithheldReason,
} from "./report.ts";
import { missingOf, type Silence, silenceOf, unheardOf } from "./silence.ts";
import { isUnsaid } from "./voice.ts";

/** How far back guard (b) remembers. */
const SIZES_MEMORY_MS = 3_600_000;

/** Everything that a verdict on one list at one target is made from. */
export interface Case {
  readonly policy: Policy;
  readonly list: List;
  readonly target: TargetConfig;
  readonly traits: Traits;
  readonly membership: Membership;
  /** Null where there is none. Its clocks must be of this configuration of the list. */
  readonly memory: Pick<Slot, "entries" | "unwanted" | "sizes" | "claimed"> | null;
  /** What we removed of late, this run included. */
  readonly removed: Clocks;
  /** Entries that count as read back only from then on. */
  readonly doubts: Clocks;
  readonly observation: Observation;
  readonly now: Instant;
  /** The backend refused for want of room in this run. */
  readonly full: boolean;
  /** Additions were sent in this run, so what is missing now is a matter of time. */
  readonly sent: boolean;
  /** CIDRs that a person accepted by plan id, or null when the guard judges. */
  readonly accepted: ReadonlySet<string> | null;
}

export interface Verdict {
  readonly plan: Plan;
  /** Own entries that a removing run may remove now. */
  readonly go: readonly Cidr[];
  /** Next clocks of the slot. */
  readonly unwanted: Clocks;
  readonly entries: Clocks;
  readonly sizes: Slot["sizes"];
  readonly report: ListReport;
}

/** Pure; the one place where members, memory and what was read become a decision. */
export function judge(question: Case): Verdict {
  const { list, observation, memory, now, traits } = question;
  const owner = {
    installation: question.policy.installation,
    list: list.name,
    formerly: list.formerly,
  };
  const desired = desiredEntries(question.membership.members, {
    ...question,
    wantedSince: memory?.entries ?? {},
    owned: addressSet(ownedOf(observation, traits, owner)),
  });
  const { full, removed } = question;
  const planned = planChanges({
    desired: desired.cidrs,
    observation,
    traits,
    owner,
    removed,
    known: memory?.entries ?? {},
    now,
    full,
  });
  const plan = beginningOf(question, planned);
  const leaving = leavingOf(question, plan);
  // What has no clock begins its time when it is looked at again.
  const unwanted = isAnyUnsaid(question) ? {} : leaving;
  const sizes = nextSizes(memory?.sizes ?? [], plan.size, now);
  const shadowed = new Set<string>(plan.shadowed);
  const usable = plan.covered.filter((cidr) => !shadowed.has(cidr));
  const settled = { ...memory?.entries, ...arrivals(observation, usable, now) };
  const entries = { ...nextClocks(settled, usable, now), ...doubtsOf(question, usable) };
  const departures = judgeDepartures(question, { plan, unwanted, sizes });
  const refused = [...question.membership.refused, ...desired.refused];
  const report = reportOf(question, { plan, desired, leaving, entries, departures, refused });
  return { plan, go: departures.go, unwanted, entries, sizes, report };
}

/** The plan, without additions that would begin with a part what must begin whole. */
function beginningOf(question: Case, plan: Plan): Plan {
  if (partOf(question) !== null) return { ...plan, add: [], unfit: [] };
  const begins = question.traits.beginsWhole === true && question.observation.revision === null;
  // As many as there is room for are a part, too, and readers may hold others.
  return begins && plan.unfit.length > 0 ? { ...plan, add: [] } : plan;
}

/** Why what is known by now may not be written as the beginning of a list; null when it may. */
function partOf({ list, membership, observation, traits }: Case): Silence | null {
  if (traits.beginsWhole !== true || observation.revision !== null) return null;
  return unheardOf(list, membership.voices);
}

/** Keeps the clocks of what is still there, starts those that are new, forgets the rest. */
function nextClocks(clocks: Clocks | undefined, cidrs: readonly Cidr[], now: Instant): Clocks {
  return Object.fromEntries(sortCidrs(cidrs).map((cidr) => [cidr, clocks?.[cidr] ?? now]));
}

/** What the backend is still bringing into effect counts from now, at every look anew. */
function arrivals(observation: Observation, usable: readonly Cidr[], now: Instant): Clocks {
  const arriving = observation.entries.filter((entry) => entry.arriving === true);
  if (arriving.length === 0) return {};
  const onTheWay = addressSet(arriving.map(({ cidr }) => cidr));
  return Object.fromEntries(
    usable.filter((cidr) => onTheWay.overlaps(cidr)).map((cidr) => [cidr, now]),
  );
}

/** Until then, an entry that is there may still be taken away by a removal of ours. */
function doubtsOf({ doubts }: Case, covered: readonly Cidr[]): Clocks {
  const pairs = covered.map((cidr) => [cidr, doubts[cidr]] as const);
  return Object.fromEntries(pairs.filter((pair): pair is [Cidr, number] => pair[1] !== undefined));
}

// Only the largest counts, so what is neither larger nor later than another is left out.
function nextSizes(sizes: Slot["sizes"], desired: number, now: Instant): Slot["sizes"] {
  const recent = sizes.filter((size) => now - size.at <= SIZES_MEMORY_MS);
  return [...recent.filter((size) => size.desired > desired), { at: now, desired }];
}

/**
 * Since when entries are on their way out. While somebody has not said what is theirs, nobody knows
 * that an entry is unwanted: its time begins, or begins again, when all have said so. Else an
 * address that went out of sight would go at once when its place is looked at again without it.
 */
function leavingOf(question: Case, plan: Plan): Clocks {
  const { list, memory, now } = question;
  if (list.removal.policy === "add-only") return {};
  const clocks = isAnyUnsaid(question) ? {} : memory?.unwanted;
  return {
    ...nextClocks(clocks, [...plan.unwanted, ...plan.late], now),
    ...heldBack(plan, now),
  };
}

function isAnyUnsaid({ membership }: Case): boolean {
  return membership.voices.some(isUnsaid);
}

interface Departures {
  /** Grace is over and every cluster spoke after it. */
  readonly mayGo: readonly Cidr[];
  readonly go: readonly Cidr[];
  readonly withheld: { readonly reason: WithheldReason; readonly message: string } | null;
}

function judgeDepartures(
  question: Case,
  found: { readonly plan: Plan; readonly unwanted: Clocks; readonly sizes: Slot["sizes"] },
): Departures {
  const { list, membership, now } = question;
  const { plan, unwanted } = found;
  const clocked = plan.unwanted.filter((cidr) => unwanted[cidr] !== undefined);
  const over = clocked.filter((cidr) => {
    const since = unwanted[cidr] ?? now;
    return now >= Math.max(graceEnd(list, since), since + settlingOf(question, plan, cidr));
  });
  // What nobody can tell to be unwanted has no clock, and waits all the same.
  const waits = list.removal.policy === "sync" && isAnyUnsaid(question);
  const waiting = waits ? plan.unwanted.length : over.length;
  const silence = silenceOf(list, membership.voices, waiting);
  if (silence !== null && waiting > 0) return { mayGo: [], go: [], withheld: silence };
  const mayGo = over.filter(
    (cidr) =>
      plan.removable.has(cidr) &&
      now >= departureAt({ list, voices: membership.voices }, unwanted[cidr] ?? now),
  );
  const answer: GuardAnswer = guardPlan({
    list: list.name,
    mayGo,
    owned: plan.owned.length,
    covered: plan.covered.length,
    unwantedNow: plan.unwanted.length,
    total: plan.total,
    replaced: (cidr) => plan.replacements.get(cidr)?.length ?? 0,
    peak: Math.max(...found.sizes.map((size) => size.desired)),
    removal: list.removal,
    traits: question.traits,
    claimed: plan.marked || (question.memory?.claimed ?? false),
    unwanted,
    now,
    accepted: question.accepted,
  });
  return answer.kind === "withheld"
    ? { mayGo, go: [], withheld: answer }
    : { mayGo, go: answer.go, withheld: null };
}

/**
 * An entry that still covers a desired address by itself has all its time before it: the clock
 * begins when what takes its place was read back.
 */
function heldBack(plan: Plan, now: Instant): Clocks {
  const held = plan.unwanted.filter((cidr) => !plan.removable.has(cidr));
  return Object.fromEntries(held.map((cidr) => [cidr, now]));
}

/** What takes its place must be in effect before it goes, where both can stand. */
function settlingOf({ traits }: Case, plan: Plan, cidr: Cidr): number {
  return plan.spanning.has(cidr) && !plan.replacements.has(cidr) ? traits.settleMs : 0;
}

/** When the grace of an entry unwanted since then ends. */
function graceEnd(list: List, since: Instant): Instant {
  return since + list.removal.graceMs;
}

interface Found {
  readonly plan: Plan;
  readonly desired: { readonly cidrs: readonly Cidr[]; readonly skipped: number };
  readonly leaving: Clocks;
  readonly entries: Clocks;
  readonly departures: Departures;
  readonly refused: readonly Refusal[];
}

function reportOf(question: Case, found: Found): ListReport {
  const { list, target, observation, now } = question;
  const { plan, departures } = found;
  const { reason, message } = reasonOf(question, found);
  const mayGo = new Set<string>(departures.mayGo);
  return {
    list: list.name,
    target: target.name,
    state: stateOf(reason),
    reason,
    message: message + skippedNote(found.desired.skipped) + orphanedNote(plan.orphaned),
    desired: found.desired.cidrs.length,
    owned: plan.owned.length,
    borrowed: plan.borrowed.length,
    foreign: plan.foreign,
    orphaned: plan.orphaned,
    add: plan.missing,
    remove: departures.mayGo,
    leaving: Object.entries(found.leaving)
      .filter(([cidr]) => !mayGo.has(cidr))
      .map(([cidr, since]) => ({
        cidr,
        since: new Date(since).toISOString(),
        until: new Date(graceEnd(list, since)).toISOString(),
      })),
    refused: sortRefusals(found.refused),
    capacity: tightest(observation.capacity),
    checkedAt: new Date(now).toISOString(),
  };
}

/** The worst reason wins: failed, withheld, pending, converged. */
function reasonOf(
  question: Case,
  found: Found,
): { readonly reason: Reason | null; readonly message: string } {
  const { list, traits, now } = question;
  const { plan, departures } = found;
  const name = `"${list.name}"`;
  if (plan.shadowed.length > 0) {
    const message =
      `Cannot open ${plan.shadowed.length} addresses of ${name}: a foreign deny rule beats ` +
      "ours; remove that rule or lower its priority";
    return { reason: "shadowed", message };
  }
  if (plan.unfit.length > 0) return { reason: "full", message: fullMessage(question, found) };
  if (departures.withheld !== null) return departures.withheld;
  const part = partOf(question);
  if (part !== null && plan.missing.length > 0) return part;
  if (plan.add.length > 0) {
    const message = `${plan.missing.length} addresses of ${name} are not on the target yet`;
    return { reason: question.sent ? "settling" : "batch", message };
  }
  const settles = Object.values(found.entries).filter((since) => now < since + traits.settleMs);
  if (settles.length > 0) {
    return {
      reason: "settling",
      message: `${settles.length} entries of ${name} were read back and take effect shortly`,
    };
  }
  if (departures.go.length > 0) {
    const message = `${departures.go.length} entries of ${name} leave at the next resync`;
    return { reason: "grace", message };
  }
  const leaving = Object.keys(found.leaving).length;
  if (leaving > 0) {
    return { reason: "grace", message: `${leaving} entries of ${name} leave after their grace` };
  }
  if (list.removal.policy === "add-only" && plan.unwanted.length > 0) {
    const surplus = plan.unwanted.join(", ");
    const message = `${name} only adds; ${plan.unwanted.length} surplus entries stay: ${surplus}`;
    return { reason: "add-only", message };
  }
  const unknown = missingOf(list, question.membership.voices);
  if (unknown !== null) return unknown;
  return { reason: null, message: `${name} holds what is desired` };
}

function fullMessage(question: Case, found: Found): string {
  const { plan, desired } = found;
  const pool = tightest(question.observation.capacity);
  const held = found.departures.withheld;
  const also = held === null ? "" : `. ${held.message}`;
  const room =
    pool === null ? "the backend takes no more" : `${pool.used} of ${pool.limit} are used`;
  return (
    `Cannot add ${plan.unfit.length} of ${desired.cidrs.length} entries to ` +
    `"${question.list.name}": ${room}; ` +
    `raise the quota, or list a broader network as a static member${also}`
  );
}

function orphanedNote(orphaned: number): string {
  if (orphaned === 0) return "";
  return (
    `; ${orphaned} entries here belong to another list of this installation: ` +
    'if it was renamed, write its old name under "formerly", else remove them by hand'
  );
}

function skippedNote(skipped: number): string {
  return skipped === 0 ? "" : ` (${skipped} addresses of a family that this target does not hold)`;
}

function tightest(capacity: readonly Capacity[]): ListReport["capacity"] {
  const pools = capacity.toSorted((a, b) => a.limit - a.used - (b.limit - b.used));
  const pool = pools[0];
  return pool === undefined ? null : { used: pool.used, limit: pool.limit };
}

function sortRefusals(refused: readonly Refusal[]): readonly Refusal[] {
  const key = (one: Refusal) =>
    [one.cluster ?? "", one.node ?? "", one.address, one.reason].join("\n");
  const unique = new Map(refused.map((one) => [key(one), one]));
  return [...unique.entries()].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, one]) => one);
}

/** Removals of the last minute, with those just sent. */
export function nextRemoved(removed: Clocks, sent: readonly Cidr[], now: Instant): Clocks {
  const recent = Object.entries(removed).filter(([, at]) => Math.abs(now - at) < REMOVED_MEMORY_MS);
  return Object.fromEntries([...recent, ...sent.map((cidr) => [cidr, now] as const)]);
}
