import assert from "node:assert/strict";
import * as z from "zod/mini";
import { randomId, type World } from "../world.ts";
import { type Store, StoreError } from "./store.ts";

const VERSION = 1;
/** Keys count down from here, so that the newest entry is the first key listed. */
const NUMBER_MAX = 999_999_999_999;
const ENTRY_NAME = /^([0-9]{12})\.json$/;
const LAST_NAME = `${NUMBER_MAX}.json`;
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
 * `version`, `writer`, `revision` and `installation` in front; `parse` gets it without these four,
 * and throws what is wrong with it. An object of a newer version, of another installation, or that
 * cannot be parsed, rejects with its key. What was stored before there was an `installation` in it
 * counts as ours.
 */
export function openLog<T extends object>(options: {
  readonly store: Store;
  readonly prefix: string;
  readonly kind: "clusters" | "targets" | "feeds" | "sources";
  readonly name: string;
  /** Whose log this is. Two that share a store would take each other's entries for their own. */
  readonly installation: string;
  readonly parse: (stored: unknown) => T;
  /** What `parse` reads again; the body itself unless it is given. */
  readonly render?: (body: T) => object;
  readonly world: Pick<World, "random">;
}): Log<T> {
  const { store, installation, parse, world, render = (body) => body } = options;
  assert(!options.name.includes("/"), "the name of a log is one segment of its keys");
  const base = `${options.prefix}v1/${options.kind}/${options.name}/`;
  const wayOut = WAYS_OUT[options.kind] ?? WAY_OUT;
  const reading = { base, installation, parse, wayOut };

  return {
    async newest() {
      for (let look = 0; look < LOOKS_MAX; look += 1) {
        const [first] = await store.list(base, 1);
        if (first === undefined || isBehindAll(base, first.key)) return null;
        const text = await store.get(first.key);
        // A trimmer was faster, and it leaves the newest: there is a newer one to be found.
        if (text === null) continue;
        return { ...parseEntry(first.key, text, reading), ageMs: first.ageMs };
      }
      throw new StoreError(
        `Cannot read log "${base}": the newest entry vanished ${LOOKS_MAX} times`,
      );
    },

    async append(after, body) {
      const revision = after + 1;
      const key = keyOf(base, revision);
      const writer = randomId(world);
      const header = { version: VERSION, writer, revision, installation };
      const entry = { revision, ageMs: 0, writer, body };
      // The header stands in front for people, and once more behind so that no body replaces it.
      const text = JSON.stringify({ ...header, ...render(body), ...header });
      const answer = await store.put(key, text).catch(keepStoreError);
      if (answer === "created") return entry;
      if (answer !== "exists" && answer.isFinal) throw answer;
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
      const [, ...older] = listed.filter(({ key }) => numberOf(base, key) !== null);
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

/** Of an entry of this log; null for whatever else lies there, and deeper. */
function numberOf(base: string, key: string): number | null {
  const digits = ENTRY_NAME.exec(key.slice(base.length))?.[1];
  return digits === undefined ? null : Number(digits);
}

/**
 * Whether a folder of somebody else, whose keys stand behind every entry that there may be, is the
 * first to be found: then there is no entry.
 */
function isBehindAll(base: string, key: string): boolean {
  const name = key.slice(base.length);
  return name.includes("/") && name > LAST_NAME;
}

function keepStoreError(error: unknown): StoreError {
  if (error instanceof StoreError) return error;
  throw error;
}

const versioned = z.looseObject({ version: z.int().check(z.positive()) });
const envelope = z.extend(versioned, {
  writer: z.string().check(z.minLength(1)),
  revision: z.int().check(z.positive()),
  installation: z.optional(z.string().check(z.minLength(1))),
});

interface EntryReading<T> {
  readonly base: string;
  readonly installation: string;
  readonly parse: (stored: unknown) => T;
  readonly wayOut: string;
}

function parseEntry<T>(
  key: string,
  text: string,
  options: EntryReading<T>,
): Omit<LogEntry<T>, "ageMs"> {
  const unreadable = (problem: string, cause: unknown) =>
    new StoreError(`Cannot read "${key}": ${problem}; ${options.wayOut}`, { cause });
  const number = numberOf(options.base, key);
  if (number === null && key.slice(options.base.length).includes("/")) throw intruder(key, options);
  if (number === null) throw unreadable("not the name of an entry", undefined);
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
  const { version: _, writer, revision, installation, ...stored } = parsed.data;
  if (installation !== undefined && installation !== options.installation) {
    throw foreign(key, { theirs: installation, ours: options.installation });
  }
  if (revision !== NUMBER_MAX - number) {
    throw unreadable(`revision ${revision} under another number`, undefined);
  }
  try {
    return { revision, writer, body: options.parse(stored) };
  } catch (error) {
    throw unreadable(error instanceof Error ? error.message : String(error), error);
  }
}

function foreign(
  key: string,
  { theirs, ours }: { readonly theirs: string; readonly ours: string },
): StoreError {
  return new StoreError(
    `Cannot read "${key}": it is of installation "${theirs}", and this is "${ours}"; give each ` +
      "a store.prefix or a folder of its own, and an installation the name that it always had",
  );
}

function intruder(key: string, { base }: { readonly base: string }): StoreError {
  return new StoreError(
    `Cannot read log "${base}": "${key}" lies in it, in front of its entries; give what is ` +
      "stored there a prefix outside of this store's",
  );
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
