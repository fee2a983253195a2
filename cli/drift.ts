import type { ListReport } from "../lib/core/report.ts";
import type { Status } from "../lib/survey.ts";

/** Where one list's own entries on one target are not what they should be. */
export interface Drift {
  readonly list: string;
  readonly target: string;
  /** Desired addresses that the target does not hold. */
  readonly missing: readonly string[];
  /** Own entries that are neither desired nor in their grace. */
  readonly unexpected: readonly string[];
  /** Why the list cannot be there what it should be, or could not be compared; null otherwise. */
  readonly failure: string | null;
}

/**
 * What `verify` finds: `seen` is what the targets hold now, `remembered` what was stored before. An
 * own entry is in its grace when its clock was running already, and stays so until it may go; one
 * whose clock nobody has started is somebody's mistake. Surplus of lists that only add is expected.
 */
export function findDrift(seen: Status, remembered: Status): readonly Drift[] {
  const known = new Map(remembered.lists.map((report) => [keyOf(report), report]));
  return seen.lists.flatMap((report) => {
    const drift = driftOf(report, known.get(keyOf(report)) ?? null, Date.parse(seen.at));
    const isDrift =
      drift.missing.length > 0 || drift.unexpected.length > 0 || drift.failure !== null;
    return isDrift ? [drift] : [];
  });
}

function keyOf({ list, target }: Pick<ListReport, "list" | "target">): string {
  return JSON.stringify([list, target]);
}

function driftOf(report: ListReport, before: ListReport | null, now: number): Drift {
  const clocked = new Set<string>([
    ...(before?.leaving ?? []).map(({ cidr }) => cidr),
    ...(before?.remove ?? []),
  ]);
  const overdue = report.leaving.filter(
    ({ cidr, until }) =>
      !clocked.has(cidr) || (report.state === "withheld" && Date.parse(until) <= now),
  );
  return {
    list: report.list,
    target: report.target,
    missing: report.add,
    unexpected: [...report.remove, ...overdue.map(({ cidr }) => cidr)],
    failure: report.state === "failed" ? report.message : null,
  };
}
