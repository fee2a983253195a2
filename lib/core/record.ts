import type { ListReport } from "./report.ts";

/** Milliseconds since the Unix epoch. */
export type Instant = number;

/** When something began, by CIDR. */
export type Clocks = Readonly<Record<string, Instant>>;

/**
 * The memory of one slot between two runs. Losing it is safe: every clock starts again, and every
 * loss errs towards keeping.
 */
export interface Slot {
  readonly list: string;
  /**
   * The target's own configuration without secrets: what was written where, also
   * when the file no longer names it.
   */
  readonly config: Readonly<Record<string, unknown>>;
  /**
   * Of the list's configuration as far as it decides membership; another digest restarts every
   * clock.
   */
  readonly digest: string;
  /** Hash of the addresses that the last finished sync was for. */
  readonly desired: string;
  readonly report: ListReport;
  /**
   * Own and borrowed entries that cover desired addresses, by the time they were first read back.
   */
  readonly entries: Clocks;
  /** Own entries that are not desired, by the time that was first seen. */
  readonly unwanted: Clocks;
  /** What we removed within the last minute: a read that still shows it is late. */
  readonly removed: Clocks;
  /** Numbers of desired entries within the last hour. */
  readonly sizes: readonly { readonly at: Instant; readonly desired: number }[];
  /** Failures in a row. */
  readonly failures: number;
  /** Nothing is tried before. */
  readonly notBefore: Instant;
  readonly checkedAt: Instant;
  /**
   * When a run that may remove last judged this slot: a webhook's check must not hide a removal
   * that became due.
   */
  readonly judgedAt: Instant;
  /** Guard (e): a container that is not marked as ours removes nothing until it was claimed. */
  readonly claimed: boolean;
}

/** Slots of one object, by target name. */
export type Slots = Readonly<Record<string, Slot>>;
