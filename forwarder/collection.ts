/** What is kept of one object of the API. */
export interface Observed {
  /** Texts of addresses that are not sent: no IP addresses, or too many. */
  readonly unsent: readonly string[];
}

/** One object of a list or an event as a collection sees it. */
export interface Sight<T extends Observed> {
  readonly uid: string;
  /** What is kept of it; null when it does not count, which is as good as gone. */
  readonly observed: T | null;
}

/** By uid: two objects with one uid are the same, whatever their names. */
export type Held<T extends Observed> = ReadonlyMap<string, T>;

/** What one watch follows: all objects of a kind, or those that a selector takes of a namespace. */
export interface Collection<T extends Observed> {
  /** For people and metrics: "nodes", or "pods of pay/app=api". */
  readonly name: string;
  /** What one object is called in changes: "node", "pod". */
  readonly noun: string;
  /** Where it is listed and watched, without query. */
  readonly path: string;
  /** Labels that an object must have, as `labelSelector` has them; empty for every object. */
  readonly labelSelector: string;
  /** `kind` of its lists. */
  readonly listKind: string;
  /** What to grant when the API server refuses. */
  readonly rights: string;
  /**
   * An object of the API as ours; the very object of `held` where nothing differs. Throws a
   * RangeError for what has no identity.
   */
  see(object: unknown, held: Held<T>): Sight<T>;
  uidOf(observed: T): string;
  /** For people, at most 253 characters. */
  nameOf(observed: T): string;
  /** Whether both bear one name, which only one object has at a time. */
  isNamesake(a: T, b: T): boolean;
  /** Whether a receiver is told the same of both. */
  isSame(a: T, b: T): boolean;
  /** Whether a gate would judge both alike. */
  isMarkedAlike(a: T, b: T): boolean;
}

/** The query of a request for a collection, before what the request is about is added. */
export function queryOf({ labelSelector }: Pick<Collection<Observed>, "labelSelector">) {
  return new URLSearchParams(labelSelector === "" ? {} : { labelSelector });
}
