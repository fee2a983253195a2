import type { Change } from "../lib/core/snapshot.ts";
import type { Collection, Held, Observed, Sight } from "./collection.ts";

/** What follows from a list or an event: to be announced first, and committed then. */
export interface Update<T extends Observed> {
  /** Uids of what is no longer held. */
  readonly gone: readonly string[];
  readonly kept: readonly T[];
  /** In the order of the events; of a list: removed, changed, added, each by name. */
  readonly changes: readonly Change[];
  /** Objects with addresses that are not sent, where that is new. */
  readonly unsent: readonly T[];
  /** Whether a gate has something new to judge. */
  readonly marks: boolean;
}

/** A complete list replaces everything: who is not on it is gone. */
export function judgeList<T extends Observed>(
  collection: Collection<T>,
  held: Held<T>,
  listed: Held<T>,
): Update<T> {
  const removed = [...held].filter(([uid]) => !listed.has(uid)).map(([, observed]) => observed);
  // What did not change is the very object that is held.
  const kept = [...listed].filter(([uid, observed]) => held.get(uid) !== observed);
  const added: T[] = [];
  const changed: T[] = [];
  for (const [uid, observed] of kept) {
    const before = held.get(uid);
    if (before === undefined) added.push(observed);
    else if (!collection.isSame(before, observed)) changed.push(observed);
  }
  return {
    gone: removed.map(collection.uidOf),
    kept: kept.map(([, observed]) => observed),
    changes: [
      ...describe(collection, "removed", removed),
      ...describe(collection, "changed", changed),
      ...describe(collection, "added", added),
    ],
    unsent: kept.flatMap(([uid, observed]) => unsentNews(held.get(uid), observed)),
    marks: kept.some(([uid, observed]) => isMarkNews(collection, held.get(uid), observed)),
  };
}

/**
 * One event of a watch; null when it changes nothing. A name belongs to one object at a time, so an
 * object seen under the name of another replaces it; the end of an object that is not held changes
 * nothing, also when its name lives on.
 */
export function judgeEvent<T extends Observed>(
  collection: Collection<T>,
  held: Held<T>,
  { kind, uid, observed }: Sight<T> & { readonly kind: "present" | "gone" },
): Update<T> | null {
  const before = held.get(uid);
  if (kind === "gone" || observed === null) {
    if (before === undefined) return null;
    const changes = describe(collection, "removed", [before]);
    return { gone: [uid], kept: [], changes, unsent: [], marks: false };
  }
  if (observed === before) return null;
  const unsent = unsentNews(before, observed);
  const marks = isMarkNews(collection, before, observed);
  if (before !== undefined) {
    const changed = collection.isSame(before, observed) ? [] : [observed];
    const changes = describe(collection, "changed", changed);
    return { gone: [], kept: [observed], changes, unsent, marks };
  }
  const replaced = namesakes(collection, held, observed);
  const changes = [
    ...describe(collection, "removed", replaced),
    ...describe(collection, "added", [observed]),
  ];
  return { gone: replaced.map(collection.uidOf), kept: [observed], changes, unsent, marks };
}

/** Carries out what was judged of this very state. */
export function commitUpdate<T extends Observed>(
  collection: Collection<T>,
  held: Map<string, T>,
  { gone, kept }: Update<T>,
): void {
  for (const uid of gone) held.delete(uid);
  for (const observed of kept) held.set(collection.uidOf(observed), observed);
}

/** Looked for only when an unknown object comes, so that no second index need be kept. */
function namesakes<T extends Observed>(
  collection: Collection<T>,
  held: Held<T>,
  observed: T,
): readonly T[] {
  const found: T[] = [];
  for (const other of held.values()) if (collection.isNamesake(other, observed)) found.push(other);
  return found;
}

function unsentNews<T extends Observed>(before: T | undefined, observed: T): readonly T[] {
  const { unsent } = observed;
  const known = before?.unsent ?? [];
  return unsent.length > 0 && unsent.join() !== known.join() ? [observed] : [];
}

function isMarkNews<T extends Observed>(
  collection: Collection<T>,
  before: T | undefined,
  observed: T,
): boolean {
  return before === undefined || !collection.isMarkedAlike(before, observed);
}

function describe<T extends Observed>(
  { noun, nameOf, uidOf }: Collection<T>,
  what: "added" | "changed" | "removed",
  observed: readonly T[],
): Change[] {
  return observed
    .map((one) => ({ kind: `${noun}.${what}`, name: nameOf(one), uid: uidOf(one) }))
    .toSorted((a, b) => (a.name === b.name ? 0 : a.name < b.name ? -1 : 1));
}
