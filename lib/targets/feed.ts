import assert from "node:assert/strict";
import * as z from "zod/mini";
import { type Cidr, FAMILIES, sortCidrs } from "../core/cidr.ts";
import { FEED_ENTRIES_MAX, feedNameOf, nextFeed } from "../core/feed.ts";
import type { TargetConfig } from "../core/list.ts";
import { containerOf } from "../core/marker.ts";
import type { Traits } from "../core/observation.ts";
import { entriesText } from "./errors.ts";
import type { FeedLog } from "./feed/log.ts";
import type { TargetKind } from "./kind.ts";
import { secretShape } from "./settings.ts";
import { type Batch, type Target, TargetError } from "./target.ts";

/**
 * Most entries of a list that is not told otherwise: what the smallest of the firewalls that read
 * feeds holds. PAN-OS skips what exceeds its 50,000 addresses ("External Dynamic Lists", PAN-OS web
 * interface reference), and what it skips would be cut off. `limit` lowers or raises it.
 */
const ENTRIES_DEFAULT = 50_000;

const TOKENS_MAX = 10;

const feedShape = z.strictObject({
  tokens: z.optional(
    z.array(secretShape).check(
      z.minLength(1, {
        error: 'Cannot use no tokens: name one like "env:FEED_TOKEN", or write open: true',
      }),
      z.maxLength(TOKENS_MAX, {
        error: `Cannot use more than ${TOKENS_MAX} tokens: two are enough`,
      }),
    ),
  ),
  open: z.optional(
    z.literal(true, {
      // Never the value: somebody may have written a token here.
      error: "Cannot use this value of open: write open: true or leave it out",
    }),
  ),
  empty: z.optional(
    z.boolean({
      error: ({ input }) => `Cannot use empty ${JSON.stringify(input)}: true or false`,
    }),
  ),
});

export type FeedSettings = z.output<typeof feedShape>;

/** The log of one feed, and the time: all that this target meets of the world. */
export interface FeedClient extends FeedLog {
  now(): number;
}

const FEED_TRAITS: Omit<Traits, "whenEmpty"> = {
  families: FAMILIES,
  ranges: true,
  overlap: true,
  // The whole log is ours: it is named after the list, and nobody else writes there.
  marking: "container",
  write: "entry",
  // Readers replace what they hold by what they read: after a lost store, by what comes first.
  beginsWhole: true,
  batchMax: FEED_ENTRIES_MAX,
  settleMs: 0,
  callMs: 5_000,
};

/** `feed`: the list itself, for hosts and firewalls that fetch it. */
export const feedKind: TargetKind<FeedSettings, FeedClient> = {
  shape: feedShape,
  check: ({ tokens, open }) => {
    if ((tokens === undefined) !== (open === undefined)) return null;
    return open === undefined
      ? 'Cannot publish a feed to nobody: write tokens: ["env:FEED_TOKEN"], or open: true for all'
      : "Cannot ask for tokens on an open feed: leave out tokens or open";
  },
  traits: ({ empty }) => ({ ...FEED_TRAITS, whenEmpty: empty === true ? "closed" : "rejected" }),
  parts: (_settings, owner) => ({ object: [feedNameOf(owner)] }),
  // It lives in the store, which every function may write anyway.
  permissions: () => ({ dialect: "scopes", read: [], add: [], remove: [] }),
  make: feedTarget,
};

/**
 * The content of a list's feed. Each change is one object of the log with all entries: readers see
 * a batch whole or not at all, and of two writers the later one is told.
 */
function feedTarget(config: TargetConfig, settings: FeedSettings, client: FeedClient): Target {
  const { name, object, owner } = config;
  const traits = feedKind.traits(settings);
  const text = containerOf(owner);
  const limit = Math.min(config.limit ?? ENTRIES_DEFAULT, FEED_ENTRIES_MAX);
  const newest = (signal: AbortSignal, doing: string) =>
    untilAborted(signal, doing, () => client.newest());

  return {
    name,
    object,
    traits,

    async observe(signal) {
      const found = await newest(signal, `read ${name}`);
      const cidrs = found?.body.entries ?? [];
      return {
        entries: cidrs.map((cidr) => ({ cidr, text, effect: "allow" })),
        revision: found?.revision ?? null,
        capacity: [{ families: FAMILIES, used: cidrs.length, limit }],
      };
    },

    async apply(batch, revision, signal) {
      const count = batch.cidrs.length;
      assert(count > 0 && count <= FEED_TRAITS.batchMax, "a batch is within its limit");
      assert(batch.instead.length === 0, "entries may overlap, so none stands for another");
      const doing = `${batch.verb} ${entriesText(count)} on ${name}`;
      const found = await newest(signal, doing);
      // What is planned from an older state may remove what a newer one still needs.
      if ((found?.revision ?? null) !== revision) throw overtaken(doing);
      const before = found?.body.entries ?? [];
      const after = changed(before, batch);
      // An addition is written whatever is there already. It takes the next number, and with it the
      // place of a removal of the same entries that is still on its way.
      if (batch.verb === "remove" && after.length === before.length) return revision;
      if (after.length > Math.max(limit, before.length)) {
        throw full(doing, { used: before.length, limit });
      }
      if (after.length === 0 && traits.whenEmpty !== "closed") throw emptying(doing);
      const content = nextFeed(found?.body ?? null, after, { now: client.now() });
      const written = await untilAborted(signal, doing, () => client.append(found, content));
      if (written === "exists") throw overtaken(doing);
      return written;
    },
  };
}

function changed(before: readonly Cidr[], { verb, cidrs }: Batch): readonly Cidr[] {
  const named = new Set<Cidr>(cidrs);
  const others = before.filter((cidr) => !named.has(cidr));
  return verb === "remove" ? others : sortCidrs([...others, ...named]);
}

/**
 * The log knows no signals: what was begun goes on, and only nobody waits for it any more. An
 * append that arrives late is harmless, because it creates the number after the one that was read
 * or finds it taken; it never undoes another write.
 */
async function untilAborted<T>(
  signal: AbortSignal,
  doing: string,
  work: () => Promise<T>,
): Promise<T> {
  const outOfTime = () =>
    new TargetError("unavailable", `Cannot ${doing}: the store did not answer; it is tried again`);
  if (signal.aborted) throw outOfTime();
  let onAbort = () => {};
  const aborted = new Promise<never>((_resolve, reject) => {
    onAbort = () => reject(outOfTime());
    signal.addEventListener("abort", onAbort, { once: true });
  });
  try {
    return await Promise.race([work(), aborted]);
  } catch (thrown) {
    throw isStoreError(thrown) ? storeFailure(doing, thrown) : thrown;
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

// By name: targets know nothing of stores.
function isStoreError(thrown: unknown): thrown is Error {
  return thrown instanceof Error && thrown.name === "StoreError";
}

/** Its sentence names the object that cannot be read, and what to do about it. */
function storeFailure(doing: string, error: Error): TargetError {
  const wayOut = error.message.includes("; ") ? "" : "; it is tried again";
  const message = `Cannot ${doing}: ${error.message}${wayOut}`;
  return new TargetError("unavailable", message, { cause: error });
}

function overtaken(doing: string): TargetError {
  return new TargetError(
    "conflict",
    `Cannot ${doing}: it was changed since it was read; it is read again`,
  );
}

function full(doing: string, room: { readonly used: number; readonly limit: number }): TargetError {
  const wayOut =
    room.limit < FEED_ENTRIES_MAX
      ? "raise its limit, if all that read the feed can hold more"
      : "list broader networks, or split the list";
  const message = `Cannot ${doing}: ${room.used} of ${room.limit} are used; ${wayOut}`;
  return new TargetError("full", message);
}

function emptying(doing: string): TargetError {
  return new TargetError(
    "invalid",
    `Cannot ${doing}: nothing would be left, and this feed is never emptied; write empty: true ` +
      "where its readers take an empty list as no access",
  );
}
