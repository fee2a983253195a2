import type { Cidr } from "./cidr.ts";
import type { Removal } from "./list.ts";
import type { Traits } from "./observation.ts";
import type { Clocks, Instant } from "./record.ts";
import type { WithheldReason } from "./report.ts";

/** A handful of removals is always a handful, however short the list. */
const REMOVALS_FREE = 2;

export interface GuardQuestion {
  readonly list: string;
  /** Own entries that may go: grace is over and every cluster was heard. */
  readonly mayGo: readonly Cidr[];
  readonly owned: number;
  /**
   * Desired entries that what was read covers, in whatever shape: one network may stand for many.
   */
  readonly covered: number;
  /** Own entries that are not desired, those in grace included. */
  readonly unwantedNow: number;
  /** Everything on the slot that allows, whoever's. */
  readonly total: number;
  /** Entries that the removal of one writes in its place. */
  readonly replaced: (cidr: Cidr) => number;
  /** Largest number of desired entries within the last hour, now included. */
  readonly peak: number;
  readonly removal: Removal;
  readonly traits: Traits;
  /** Whether a container or a plain list is known to be ours: by its marker, a run or a person. */
  readonly claimed: boolean;
  readonly unwanted: Clocks;
  readonly now: Instant;
  /** CIDRs that a person accepted by plan id; nothing else may go in such a run. */
  readonly accepted: ReadonlySet<string> | null;
}

export type GuardAnswer =
  | { readonly kind: "allowed"; readonly go: readonly Cidr[] }
  | { readonly kind: "withheld"; readonly reason: WithheldReason; readonly message: string };

/**
 * Withholds removals, never additions; judges one target and withholds all removals of the run:
 * (a) `ratio`: too large a share at once · (b) `shrink`: too far below the last hour's largest
 * desired size, so that creeping is caught and rolling replacement is not · (c) `min-remaining`: an
 * empty truth never empties a list by itself · (d) `would-open` · (e) `first-sync`: nobody has
 * claimed this container for us yet. An accepted plan passes all but (d).
 */
export function guardPlan(question: GuardQuestion): GuardAnswer {
  const { accepted } = question;
  const going = accepted ? question.mayGo.filter((cidr) => accepted.has(cidr)) : question.mayGo;
  if (going.length === 0) return { kind: "allowed", go: [] };
  const refusal = accepted ? null : doubt(question, going);
  if (refusal === null) return opens(question, going) ?? { kind: "allowed", go: going };
  const confirmed = confirmedOf(question, going);
  if (confirmed.length === 0) return refusal;
  return opens(question, confirmed) ?? { kind: "allowed", go: confirmed };
}

/** Rules (a), (b), (c) and (e), which a person or lasting confirmation may overrule. */
function doubt(question: GuardQuestion, going: readonly Cidr[]): GuardAnswer | null {
  const { owned, peak, removal } = question;
  const percent = Math.round(removal.maxRatio * 100);
  const remaining = owned - going.length + replacedBy(question, going);
  const left = question.covered + question.unwantedNow - going.length;
  if (going.length > allowance(removal, owned)) {
    return withheld(question, going, { reason: "ratio", because: `guard allows ${percent} %` });
  }
  if (peak - left > allowance(removal, peak)) {
    const most = `${peak} within the last hour`;
    const because = `${left} would remain of ${most}, guard allows ${percent} % less`;
    return withheld(question, going, { reason: "shrink", because });
  }
  const floor = Math.max(1, removal.minRemaining);
  if (remaining < floor) {
    const because = `guard keeps at least ${floor}`;
    return withheld(question, going, { reason: "min-remaining", because });
  }
  if (!question.claimed && question.traits.marking !== "entry") {
    const because = "nobody has confirmed yet that these entries are ours";
    return withheld(question, going, { reason: "first-sync", because });
  }
  return null;
}

/** Rule (d), which nothing overrules. */
function opens(question: GuardQuestion, going: readonly Cidr[]): GuardAnswer | null {
  const left = question.total - going.length + replacedBy(question, going);
  if (question.traits.whenEmpty === "closed" || left > 0) return null;
  const meaning = question.traits.whenEmpty === "open" ? "means open to all" : "is refused";
  return {
    kind: "withheld",
    reason: "would-open",
    message:
      `Cannot remove the last ${going.length} of ${question.owned} entries from ` +
      `"${question.list}": ` +
      `an empty list ${meaning} there; add a static member, or take the target out of the list`,
  };
}

function replacedBy(question: GuardQuestion, going: readonly Cidr[]): number {
  return going.reduce((sum, cidr) => sum + question.replaced(cidr), 0);
}

function withheld(
  question: GuardQuestion,
  going: readonly Cidr[],
  options: { readonly reason: WithheldReason; readonly because: string },
): GuardAnswer {
  return {
    kind: "withheld",
    reason: options.reason,
    message:
      `Cannot remove ${going.length} of ${question.owned} entries from "${question.list}": ` +
      `${options.because}; look at "plan", then run "sync --accept-removals <plan id>"`,
  };
}

function allowance(removal: Removal, entries: number): number {
  return Math.max(REMOVALS_FREE, Math.floor(removal.maxRatio * entries));
}

/** Entries that every snapshot has left unwanted for `acceptAfter`. */
function confirmedOf(question: GuardQuestion, going: readonly Cidr[]): readonly Cidr[] {
  const { acceptAfterMs } = question.removal;
  if (acceptAfterMs === null) return [];
  return going.filter((cidr) => {
    const since = question.unwanted[cidr];
    return since !== undefined && question.now - since >= acceptAfterMs;
  });
}
