export type State = "converged" | "pending" | "withheld" | "failed";

/**
 * throttled: asked to slow down, nothing was done · conflict: someone wrote meanwhile, or an entry
 * is already (or no longer) there · busy: the object does not take writes now · unavailable: no
 * clear answer · denied: our credentials · missing: the object · full: a quota · invalid: our
 * request.
 */
export type TargetErrorKind =
  | "throttled"
  | "conflict"
  | "busy"
  | "unavailable"
  | "denied"
  | "missing"
  | "full"
  | "invalid";

/** Why a list on a target is in its state; each belongs to one state ({@link stateOf}). */
export type Reason =
  | "add-only"
  | "grace"
  | "batch"
  | "settling"
  | "contended"
  | WithheldReason
  | TargetErrorKind
  | "shadowed";

/** Removals wait, additions never do. */
export type WithheldReason =
  | "not-heard"
  | "stale"
  | "out-of-scope"
  | "ratio"
  | "shrink"
  | "min-remaining"
  | "would-open"
  | "first-sync";

export type RefusalReason = "out-of-bounds" | "forbidden" | "too-wide" | "max-entries";

/** An address of a cluster that is not written, and why; it harms no other. */
export interface Refusal {
  readonly address: string;
  readonly cluster: string | null;
  readonly node: string | null;
  readonly reason: RefusalReason;
}

/** An own entry on its way out: unwanted since, and the earliest moment it may go. ISO 8601. */
export interface Leaving {
  readonly cidr: string;
  readonly since: string;
  readonly until: string;
}

/**
 * One shape everywhere: answer, `status --json`, `plan --json`, record. Arrays are sorted and never
 * cut.
 */
export interface ListReport {
  readonly list: string;
  readonly target: string;
  readonly state: State;
  readonly reason: Reason | null;
  /** What holds, and a way out where there is one. */
  readonly message: string;
  readonly desired: number;
  readonly owned: number;
  readonly borrowed: number;
  readonly foreign: number;
  readonly orphaned: number;
  /** Desired addresses that the last read did not show. */
  readonly add: readonly string[];
  /** Own entries that may go now, guard or not. */
  readonly remove: readonly string[];
  readonly leaving: readonly Leaving[];
  readonly refused: readonly Refusal[];
  /** The pool with the least room, or null where no limit is known. */
  readonly capacity: { readonly used: number; readonly limit: number } | null;
  /** ISO 8601; when the target was last read, 1970 when it never was. */
  readonly checkedAt: string;
}

/** The state a reason belongs to. */
export function stateOf(reason: Reason | null): State {
  switch (reason) {
    case null:
    case "add-only":
      return "converged";
    case "grace":
    case "batch":
    case "settling":
    case "contended":
      return "pending";
    case "not-heard":
    case "stale":
    case "out-of-scope":
    case "ratio":
    case "shrink":
    case "min-remaining":
    case "would-open":
    case "first-sync":
      return "withheld";
    case "throttled":
    case "conflict":
    case "busy":
    case "unavailable":
    case "denied":
    case "missing":
    case "full":
    case "invalid":
    case "shadowed":
      return "failed";
    default:
      throw new Error(`Unreachable: ${JSON.stringify(reason satisfies never)}`);
  }
}

/** Of a target that was never read. */
export function blankReport(list: string, target: string): ListReport {
  return {
    list,
    target,
    state: "pending",
    reason: "batch",
    message: `"${list}" was not looked at yet; run sync, or serve, which does it by itself`,
    desired: 0,
    owned: 0,
    borrowed: 0,
    foreign: 0,
    orphaned: 0,
    add: [],
    remove: [],
    leaving: [],
    refused: [],
    capacity: null,
    checkedAt: new Date(0).toISOString(),
  };
}
