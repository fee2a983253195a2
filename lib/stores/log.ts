import assert from "node:assert/strict";
import * as z from "zod";
import { randomId, type World } from "../world.ts";
import { type Store, StoreError } from "./store.ts";

const VERSION = 1;
/** Keys count down from here, so that the newest entry is the first key listed. */
const NUMBER_MAX = 999_999_999_999;
const ENTRY_KEY = /\/([0-9]{12})\.json$/;
const KEPT_MS = 24 * 3_600_000;
const LOOKS_MAX = 10;
const WAY_OUT = "restore it, or delete it while nothing else is running";
// Without its newest object a feed would show an older list. Without any it shows none until it is
// whole, and readers keep what they have.
const WAYS_OUT: Readonly<Record<string, string>> = {
  feeds:
    "restore it, or delete the whole folder, and those of the list's former names, while nothing " +
    "else is running: never this object alone, or an older list is shown",
};
const TRIM_KEYS_MAX = 100_000;
const TRIM_DELETES_MAX = 2_000;
const TRIM_PARALLEL_MAX = 16;

export interface LogEntry<T> {
  /** 1, 2, 3 …; never used twice. */
  readonly revision: number;
  /** By the store's clock, at most the true age. */
  readonly ageMs: number;
  /** Random, of one append: the same process writes under another name the next time. */
  readonly writer: string;
  readonly body: T;
}

/**
 * A history in a store that only creates. All verbs reject with StoreError; then the outcome is
 * unknown.
 */
export interface Log<T> {
  /** Null while nothing was ever appended. */
  newest(): Promise<LogEntry<T> | null>;
  /**
   * Writes revision `after + 1`, where `after` is what {@link Log.newest} showed (0 for null) less
   * than a day ago. `exists`: someone was faster, so read the newest and decide again. Tries once,
   * and finds out by itself whether a write of its own arrived whose answer did not.
   */
  append(after: number, body: T): Promise<LogEntry<T> | "exists">;
  /**
   * Deletes what is older than a day, never the newest, whatever its age; tells how many. What one
   * call leaves, the next finds.
   */
  trim(): Promise<number>;
}

/**
 * Opens `<prefix>v1/<kind>/<name>/`, which need not exist. The stored JSON is the body with
 * `version`, `writer` and `revision` in front; `parse` gets it without these three, and throws what
 * is wrong with it. An object of a newer version, or that cannot be parsed, rejects with its key.
 */
export function openLog<T extends object>(options: {
  readonly store: Store;
  readonly prefix: string;
  readonly kind: "clusters" | "targets" | "feeds" | "sources";
  readonly name: string;
  readonly parse: (stored: unknown) => T;
  /** What `parse` reads again; the body itself unless it is given. */
  readonly render?: (body: T) => object;
  readonly world: Pick<World, "random">;
}): Log<T> {
  const { store, parse, world, render = (body) => body } = options;
  assert(!options.name.includes("/"), "the name of a log is one segment of its keys");
  const base = `${options.prefix}v1/${options.kind}/${options.name}/`;
  const wayOut = WAYS_OUT[options.kind] ?? WAY_OUT;

  return {
    async newest() {
      for (let look = 0; look < LOOKS_MAX; look += 1) {
        const [first] = await store.list(base, 1);
        if (first === undefined) return null;
        const text = await store.get(first.key);
        // A trimmer was faster, and it leaves the newest: there is a newer one to be found.
        if (text === null) continue;
        return { ...parseEntry(first.key, text, { parse, wayOut }), ageMs: first.ageMs };
      }
      throw new StoreError(
        `Cannot read log "${base}": the newest entry vanished ${LOOKS_MAX} times`,
      );
    },

    async append(after, body) {
      const revision = after + 1;
      const key = keyOf(base, revision);
      const writer = randomId(world);
      const header = { version: VERSION, writer, revision };
      const entry = { revision, ageMs: 0, writer, body };
      // The header stands in front for people, and once more behind so that no body replaces it.
      const text = JSON.stringify({ ...header, ...render(body), ...header });
      const answer = await store.put(key, text).catch(keepStoreError);
      if (answer === "created") return entry;
      // Neither an error nor `exists` says whose write it was: a transport may have sent ours
      // twice.
      const found = await store.get(key);
      if (found !== null && writerOf(found) === writer) return entry;
      if (found === null && answer !== "exists") throw answer;
      return "exists";
    },

    async trim() {
      const listed = await store.list(base, TRIM_KEYS_MAX);
      // The first is the newest and leaves the list before anything is asked about its age. What
      // was appended since stands before it.
      const [, ...older] = listed.filter(({ key }) => ENTRY_KEY.test(key));
      const old = older.filter(({ ageMs }) => ageMs > KEPT_MS).reverse();
      const going = old.slice(0, TRIM_DELETES_MAX);
      for (let start = 0; start < going.length; start += TRIM_PARALLEL_MAX) {
        const batch = going.slice(start, start + TRIM_PARALLEL_MAX);
        const results = await Promise.allSettled(batch.map(({ key }) => store.delete(key)));
        for (const result of results) if (result.status === "rejected") throw result.reason;
      }
      return going.length;
    },
  };
}

function keyOf(base: string, revision: number): string {
  assert(Number.isInteger(revision) && revision >= 1 && revision <= NUMBER_MAX);
  return `${base}${String(NUMBER_MAX - revision).padStart(12, "0")}.json`;
}

function keepStoreError(error: unknown): StoreError {
  if (error instanceof StoreError) return error;
  throw error;
}

const versioned = z.looseObject({ version: z.int().positive() });
const envelope = versioned.extend({
  writer: z.string().min(1),
  revision: z.int().positive(),
});

function parseEntry<T>(
  key: string,
  text: string,
  options: { readonly parse: (stored: unknown) => T; readonly wayOut: string },
): Omit<LogEntry<T>, "ageMs"> {
  const unreadable = (problem: string, cause: unknown) =>
    new StoreError(`Cannot read "${key}": ${problem}; ${options.wayOut}`, { cause });
  const number = ENTRY_KEY.exec(key)?.[1];
  if (number === undefined) throw unreadable("not the name of an entry", undefined);
  const json = parseJson(text);
  // First, since nothing else is known about the shape of what is newer.
  const { data: known } = versioned.safeParse(json);
  if (known !== undefined && known.version > VERSION) {
    throw new StoreError(
      `Cannot read "${key}": version ${known.version} of an entry, while this program knows ` +
        `${VERSION}; update the program`,
    );
  }
  const parsed = envelope.safeParse(json);
  if (!parsed.success) throw unreadable("not an entry of a log", parsed.error);
  const { version: _, writer, revision, ...stored } = parsed.data;
  if (revision !== NUMBER_MAX - Number(number)) {
    throw unreadable(`revision ${revision} under another number`, undefined);
  }
  try {
    return { revision, writer, body: options.parse(stored) };
  } catch (error) {
    throw unreadable(error instanceof Error ? error.message : String(error), error);
  }
}

/** Whose write this is; null for what nobody here could have written. */
function writerOf(text: string): string | null {
  const parsed = envelope.safeParse(parseJson(text));
  return parsed.success ? parsed.data.writer : null;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
