import type { Instant } from "../lib/core/record.ts";
import type { ListReport } from "../lib/core/report.ts";
import type { Emit } from "./journal.ts";

/** Follows the state of every list on every target through the answers. */
export interface Lists {
  answered(reports: readonly ListReport[]): void;
}

/** An answer of that many targets is a mistake or an attack; what is told must stay bounded. */
const TARGETS_MAX = 2_000;

/**
 * Says when a list on a target begins to be withheld or failed, when the reason becomes another
 * one, and when it is converged again. What is pending in between is neither: a list that fails,
 * tries and fails again has not been well meanwhile. Targets that were withheld or failed when this
 * process first heard of them are told, since nobody else may have done so.
 */
export function followLists({
  now,
  emit,
}: {
  readonly now: () => Instant;
  readonly emit: Emit;
}): Lists {
  let troubles: ReadonlyMap<string, string> = new Map();
  return {
    answered(reports) {
      const next = new Map<string, string>();
      for (const report of reports.slice(0, TARGETS_MAX)) {
        const { list, target, state, reason } = report;
        const key = JSON.stringify([list, target]);
        const before = troubles.get(key);
        const trouble = state === "withheld" || state === "failed" ? `${state} ${reason}` : null;
        const kept = trouble ?? (state === "pending" ? before : undefined);
        if (kept !== undefined) next.set(key, kept);
        if (kept !== before) emit({ kind: "list-changed", at: now(), report });
      }
      // Targets that are named no more are forgotten: their configuration is gone.
      troubles = next;
    },
  };
}
