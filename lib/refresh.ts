import { type List, outsidesOf } from "./core/list.ts";
import { intervalOf, type OutsideSource, outsideKey, outsideName } from "./core/outside.ts";
import {
  askedAt,
  isAskedAgain,
  isWorthKeeping,
  nextReading,
  type Readings,
  type SourceOutcome,
  type SourceReading,
} from "./core/reading.ts";
import type { Instant } from "./core/record.ts";
import { inParallel } from "./parallel.ts";
import { messageOf, readReadings, type Truth } from "./recall.ts";
import type { SyncContext } from "./sync.ts";
import { type World, withTimeout } from "./world.ts";

/*
 * Outside sources do not speak by themselves: they are asked, before a run looks at any target.
 * What they say is written down first and read from there, so that webhook, resync, status and the
 * last look before a removal all judge by the same.
 */

/** Longest that one source may take. */
const ASK_MS_MAX = 8_000;
/** With less than this left it is not begun. */
const ASK_MS_MIN = 500;
/** Most of a run that asking may take; a third of what is left, where that is less. */
const ASKING_MS_MAX = 15_000;
/** Readings lost to somebody faster before it is left to the next run. */
const APPENDS_MAX = 5;

interface AskRequest {
  readonly lists: readonly List[];
  /** Of the run. */
  readonly deadline: Instant;
}

type Stored = Pick<Truth, "readings" | "unreadable">;

/** An outcome, and from when: what it says may have been true no later than it was asked for. */
interface Asked {
  readonly outcome: SourceOutcome;
  readonly at: Instant;
}

/**
 * Asks every source of these lists that it is time for, and writes down what is new. Never rejects:
 * a failure is part of a reading, and what cannot be written down is asked for again by the next
 * run.
 */
export async function refreshSources(context: SyncContext, request: AskRequest): Promise<void> {
  if (outsidesOf(request.lists).length === 0) return;
  const stored = await readReadings(context, request.lists);
  await askDue(context, { ...request, ...stored }, async (source, asked) => {
    try {
      await keep(context, source, asked);
    } catch (error) {
      const fields = { source: outsideName(source), error: messageOf(error) };
      context.world.log.warn(fields, "Cannot write down what a source said");
    }
  });
}

/**
 * What the sources of these lists say: now, where it is time to ask, else what is stored. Writes
 * nothing down.
 */
export async function askSources(
  context: Pick<SyncContext, "world" | "readSource" | "signal">,
  request: AskRequest & Stored,
): Promise<Readings> {
  const readings: Record<string, SourceReading | null> = { ...request.readings };
  await askDue(context, request, async (source, asked) => {
    const key = outsideKey(source);
    readings[key] = nextReading(source, readings[key] ?? null, asked);
  });
  return readings;
}

async function askDue(
  context: Pick<SyncContext, "world" | "readSource" | "signal">,
  request: AskRequest & Stored,
  hear: (source: OutsideSource, asked: Asked) => Promise<void>,
): Promise<void> {
  const { world } = context;
  const begun = world.now();
  const until = begun + Math.min(ASKING_MS_MAX, (request.deadline - begun) / 3);
  const readingOf = (source: OutsideSource) => request.readings[outsideKey(source)] ?? null;
  const due = outsidesOf(request.lists)
    // Where nothing can be written down, nothing is asked: its lists are not judged either.
    .filter((source) => !request.unreadable.has(outsideKey(source)))
    .filter((source) => isAskedAgain(source, readingOf(source), begun))
    .filter((source) => readingOf(source) === null || !wasUnchanged(world, source, begun))
    // Those that were not asked for longest come first, so that a short run starves none.
    .toSorted((a, b) => lastAsked(readingOf(a)) - lastAsked(readingOf(b)));
  await inParallel(due, async (source) => {
    const at = world.now();
    const ms = Math.min(ASK_MS_MAX, until - at);
    if (ms < ASK_MS_MIN || context.signal?.aborted) return;
    const outcome = await ask(context, source, ms);
    if (outcome.kind === "failed") {
      world.log.warn({ source: outsideName(source) }, outcome.message);
    }
    await hear(source, { outcome, at });
  });
}

function lastAsked(reading: SourceReading | null): Instant {
  return reading === null ? 0 : askedAt(reading);
}

/** One attempt, awaited to its end. A fault of ours is as good as no answer, and stays here. */
async function ask(
  context: Pick<SyncContext, "world" | "readSource">,
  source: OutsideSource,
  ms: number,
): Promise<SourceOutcome> {
  const { world, readSource } = context;
  const reason = () => new Error("no answer in time");
  try {
    return await withTimeout(world, ms, { reason }, (signal) => readSource(source, signal));
  } catch (error) {
    const message = `Cannot read ${outsideName(source)}: ${messageOf(error)}; it is tried again`;
    return { kind: "failed", cidrs: [], message };
  }
}

/** Appends what came of it, on top of what is held by then. Rejects with StoreError. */
async function keep(
  context: Pick<SyncContext, "world" | "sourceLog">,
  source: OutsideSource,
  asked: Asked,
): Promise<void> {
  const log = context.sourceLog(outsideKey(source));
  for (let attempt = 0; attempt < APPENDS_MAX; attempt += 1) {
    const held = await log.newest();
    const before = held?.body ?? null;
    // Another run asked later than this one: its answer is the newer truth.
    const last = lastAsked(before);
    if (last > asked.at && last <= context.world.now()) return;
    const next = nextReading(source, before, asked);
    if (!isWorthKeeping(before, next)) {
      if (next.trouble === null) unchangedIn(context.world).set(outsideKey(source), asked.at);
      return;
    }
    if ((await log.append(held?.revision ?? 0, next)) !== "exists") return;
  }
}

// A good answer that says nothing new is not written down, but this process knows that it asked.
const unchanged = new WeakMap<World, Map<string, Instant>>();

function unchangedIn(world: World): Map<string, Instant> {
  const known = unchanged.get(world) ?? new Map<string, Instant>();
  unchanged.set(world, known);
  return known;
}

function wasUnchanged(world: World, source: OutsideSource, now: Instant): boolean {
  const at = unchangedIn(world).get(outsideKey(source));
  return at !== undefined && Math.abs(now - at) < intervalOf(source);
}
