import { type Survey, survey } from "../../lib/survey.ts";
import { paintFor } from "../paint.ts";
import { countText, renderStatus } from "../report-text.ts";
import type { Shell } from "../shell.ts";
import { openStored, type StoredOptions, writeJson } from "../stored.ts";

export interface PlanOptions extends StoredOptions {
  readonly check?: boolean;
}

/** Shows what a resync would change now. Changes nothing. */
export async function runPlan(options: PlanOptions, shell: Shell): Promise<number> {
  const { wiring, path } = await openStored("plan", options, shell);
  const found = await survey(wiring, wiring.policy.lists);
  if (options.json) writeJson(shell, found);
  else shell.stdout.write(renderPlan(found, path, shell));
  return options.check && hasChanges(found) ? 1 : 0;
}

/**
 * A target that could not be looked at may hide changes, so it counts as one. Additions that wait
 * for somebody are none: a resync would not make them.
 */
function hasChanges({ lists, waiting }: Survey): boolean {
  return lists.some(
    ({ add, remove, state, target }) =>
      (add.length > 0 && !waiting.includes(target)) || remove.length > 0 || state === "failed",
  );
}

function renderPlan(found: Survey, path: string, shell: Shell): string {
  const paint = paintFor(shell);
  const { waiting } = found;
  const wording = { add: "would be added", remove: "would be removed", waiting };
  const text = renderStatus(found, { paint, wording });
  const counts = countsText(found);
  if (found.plan === null) return `${text}\n${counts}\n`;
  const file = /^[\w./-]+$/.test(path) ? path : JSON.stringify(path);
  const accept = `kube-allowlist sync --config ${file} --accept-removals ${found.plan}`;
  const withheld = found.lists.some(
    ({ state, remove }) => state === "withheld" && remove.length > 0,
  );
  const wayOut = withheld
    ? `Removals are withheld. To carry out exactly these and no others:\n  ${accept}\n`
    : "";
  return `${text}\n${counts}\nplan ${paint("strong", found.plan)}\n${wayOut}`;
}

function countsText({ lists, waiting, unread }: Survey): string {
  const sum = (of: "add" | "remove" | "leaving", reports = lists) =>
    reports.reduce((count, report) => count + report[of].length, 0);
  const withheld = sum(
    "add",
    lists.filter(({ target }) => waiting.includes(target)),
  );
  return [
    `${sum("add") - withheld} to add`,
    ...(withheld === 0 ? [] : [`${countText(withheld, "addition")} withheld`]),
    `${sum("remove")} to remove`,
    `${sum("leaving")} in grace`,
    ...(unread.length === 0 ? [] : [`${countText(unread.length, "target")} could not be read`]),
  ].join(", ");
}
