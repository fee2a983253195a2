import assert from "node:assert/strict";
import { type Cidr, sortCidrs } from "./cidr.ts";
import { intervalOf, type OutsideSource } from "./outside.ts";
import type { Instant } from "./record.ts";

/** A network that an outside source named. */
export interface Answer {
  readonly cidr: Cidr;
  /** Since when, without a gap longer than it is remembered. */
  readonly since: Instant;
  readonly seenAt: Instant;
}

/** What an outside source last said, as the store keeps it. */
export interface SourceReading {
  /** When the newest good answer was asked for; null when there was none yet. */
  readonly readAt: Instant | null;
  /** Each network once, sorted. */
  readonly answers: readonly Answer[];
  /** Addresses of a subnet that nobody uses yet, or null where nobody counts them. */
  readonly free: number | null;
  /** Why it could not be read since; null after a good answer. One sentence with a way out. */
  readonly trouble: { readonly at: Instant; readonly message: string } | null;
}

/** The newest readings by key of their source; null where nothing was ever kept. */
export type Readings = Readonly<Record<string, SourceReading | null>>;

/** What came of asking once. */
export type SourceOutcome =
  /** Understood whole, and at least one network. */
  | { readonly kind: "read"; readonly cidrs: readonly Cidr[]; readonly free: number | null }
  /** Nothing, or not all: `cidrs` are what was learnt nevertheless. */
  | { readonly kind: "failed"; readonly cidrs: readonly Cidr[]; readonly message: string };

/** What is asked each minute and says the same is written down this often. */
const KEPT_INTERVAL_MS = 300_000;
/** After a failure it is asked again this soon, or sooner where its own interval is shorter. */
const RETRY_INTERVAL_MS = 60_000;
/** A name is given several of many addresses, others each time: each counts for this long. */
const NAME_MEMORY_MS = 3_600_000;
const STALE_AFTER_MS = 900_000;
/** Most that is kept of one source; those that stand longest stay. */
const ANSWERS_MAX = 500;
/** Beyond so many, a name that is never read whole forgets, too. */
const PARTLY_READ_ANSWERS_MAX = 100;

const NOTHING: SourceReading = { readAt: null, answers: [], free: null, trouble: null };

/** After this long without a good answer, removals from its lists wait. */
export function staleAfterMs(source: OutsideSource): number {
  return Math.max(STALE_AFTER_MS, 2 * intervalOf(source));
}

/** Whether it is time to ask again. */
export function isAskedAgain(
  source: OutsideSource,
  reading: SourceReading | null,
  now: Instant,
): boolean {
  if (reading === null) return true;
  const intervalMs = intervalOf(source);
  const waitMs = reading.trouble === null ? intervalMs : Math.min(intervalMs, RETRY_INTERVAL_MS);
  // A time from a clock that ran ahead must not count for ever.
  return Math.abs(now - askedAt(reading)) >= waitMs;
}

/** When it was last asked, as far as that was written down. */
export function askedAt(reading: SourceReading): Instant {
  return Math.max(reading.readAt ?? 0, reading.trouble?.at ?? 0);
}

/**
 * What is known after asking at `at`. A subnet is what it last said; a name is all that it said
 * within the last hour. A failure takes nothing away, and no source ever becomes empty. Only where
 * half of a name never answers does its other half forget beyond {@link PARTLY_READ_ANSWERS_MAX}.
 */
export function nextReading(
  source: OutsideSource,
  held: SourceReading | null,
  asked: { readonly outcome: SourceOutcome; readonly at: Instant },
): SourceReading {
  const { outcome, at } = asked;
  const before = held ?? NOTHING;
  const known = new Map(before.answers.map((answer) => [answer.cidr, answer]));
  const seen = new Set(outcome.cidrs);
  const fresh = [...seen].map((cidr) => {
    return { cidr, since: Math.min(known.get(cidr)?.since ?? at, at), seenAt: at };
  });
  // A time from a clock that ran ahead must not count for ever.
  const others = before.answers
    .filter(({ cidr }) => !seen.has(cidr))
    .map((answer) => ({ ...answer, seenAt: Math.min(answer.seenAt, at) }));
  if (outcome.kind === "failed") {
    const trouble = { at, message: outcome.message };
    const spare = fresh.length + others.length - PARTLY_READ_ANSWERS_MAX;
    // Nothing was learnt where nobody answered, so nothing was left out either.
    const left = fresh.length === 0 ? others : withoutForgotten(source, others, { spare, at });
    return { ...before, answers: ordered([...fresh, ...left]), trouble };
  }
  assert(fresh.length > 0, "a good answer names something");
  const unheardMs = unheardFor(source, before, at);
  const kept = others
    .map((answer) => ({ ...answer, seenAt: Math.min(answer.seenAt + unheardMs, at) }))
    .filter((answer) => isRemembered(source, answer, at));
  return { readAt: at, answers: ordered([...fresh, ...kept]), free: outcome.free, trouble: null };
}

/**
 * How much of the time since the last good answer says nothing: after an outage, that an address
 * was not given for an hour means only that nobody asked, or nobody answered.
 */
function unheardFor(source: OutsideSource, before: SourceReading, at: Instant): number {
  const gapMs = at - (before.readAt ?? at);
  return gapMs > staleAfterMs(source) ? gapMs - KEPT_INTERVAL_MS : 0;
}

/** Without as many as are to spare of those that nobody gave for too long, the oldest first. */
function withoutForgotten(
  source: OutsideSource,
  answers: readonly Answer[],
  { spare, at }: { readonly spare: number; readonly at: Instant },
): readonly Answer[] {
  const old = answers.filter((answer) => !isRemembered(source, answer, at));
  const oldest = old.toSorted((a, b) => a.seenAt - b.seenAt).slice(0, Math.max(0, spare));
  const going = new Set(oldest);
  return answers.filter((answer) => !going.has(answer));
}

function isRemembered(source: OutsideSource, answer: Answer, at: Instant): boolean {
  if (source.kind === "subnet") return false;
  // That an address was seen again is written down with a delay: the hour is one at least.
  const delayMs = Math.max(KEPT_INTERVAL_MS, source.intervalMs);
  return at - answer.seenAt <= NAME_MEMORY_MS + delayMs;
}

function ordered(answers: readonly Answer[]): readonly Answer[] {
  const byCidr = new Map(answers.map((answer) => [answer.cidr, answer]));
  const sorted = sortCidrs(byCidr.keys()).flatMap((cidr) => byCidr.get(cidr) ?? []);
  if (sorted.length <= ANSWERS_MAX) return sorted;
  const oldest = new Set(sorted.toSorted((a, b) => a.since - b.since).slice(0, ANSWERS_MAX));
  return sorted.filter((answer) => oldest.has(answer));
}

/** Whether a reading says anything new, or anything of the one that is held grows old. */
export function isWorthKeeping(held: SourceReading | null, next: SourceReading): boolean {
  if (held === null || textOf(held) !== textOf(next)) return true;
  // Of many that are given by turns, each is counted from when it was last given itself.
  const seenAt = new Map(held.answers.map((answer) => [answer.cidr, answer.seenAt]));
  const isOld = (answer: Answer) =>
    Math.abs(answer.seenAt - (seenAt.get(answer.cidr) ?? 0)) >= KEPT_INTERVAL_MS;
  if (next.answers.some(isOld)) return true;
  return Math.abs(askedAt(next) - askedAt(held)) >= KEPT_INTERVAL_MS;
}

function textOf({ answers, trouble }: SourceReading): string {
  return JSON.stringify([answers.map(({ cidr }) => cidr), trouble?.message ?? null]);
}
