import type { Cidr, Family } from "./cidr.ts";

/** Opaque version of what a target holds; `null` where the backend has none. */
export type Revision = string | null;

/** One line of the target as read back, of this slot's permission or group only. */
export interface ObservedEntry {
  /**
   * Canonical; unlike a desired entry it may be as wide as /0, because people may have written it.
   */
  readonly cidr: Cidr;
  /**
   * What the backend keeps beside the entry (description, comment, group name); the plan decides
   * ownership from it.
   */
  readonly text: string | null;
  readonly effect: "allow" | "deny";
  /** The backend says itself that the entry is not in effect yet. */
  readonly arriving?: boolean;
}

/**
 * Room for entries. One pool for backends that count all families together, one per family where
 * they are counted apart (EC2 counts IPv4 and IPv6 rules separately: VPC user guide, L-0EA8095F).
 */
export interface Capacity {
  readonly families: readonly Family[];
  /**
   * Everything that counts against the limit, foreign entries and other slots of the object
   * included.
   */
  readonly used: number;
  readonly limit: number;
}

export interface Observation {
  readonly entries: readonly ObservedEntry[];
  readonly revision: Revision;
  /**
   * Empty where the backend does not tell and no `limit` is configured: then `full` is learned from
   * the error.
   */
  readonly capacity: readonly Capacity[];
}

/** Facts about a backend that the corridor plans with; data, never code. */
export interface Traits {
  readonly families: readonly Family[];
  /** Whether an entry may be broader than a single host. */
  readonly ranges: boolean;
  /** Whether entries may overlap each other. */
  readonly overlap: boolean;
  /** Where the owner's marker lives: beside each entry, as the container's name, or nowhere. */
  readonly marking: "entry" | "container" | "none";
  /** `whole`: every write replaces the whole list. */
  readonly write: "entry" | "whole";
  /** What an empty list means to the backend. `open` and `rejected` lists are never emptied. */
  readonly whenEmpty: "closed" | "open" | "rejected";
  /**
   * Whether what is written first is taken for the whole list at once, also by readers who knew
   * what was there before it was lost. Then nothing is written until everybody was heard.
   */
  readonly beginsWhole?: boolean;
  /** Most entries one `apply` takes. */
  readonly batchMax: number;
  /** How long after it was read back an entry takes effect. */
  readonly settleMs: number;
  /** Upper bound of one `observe` or `apply`, all its requests together. */
  readonly callMs: number;
}
