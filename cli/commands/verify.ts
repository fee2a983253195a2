import { type Survey, statusOf, survey } from "../../lib/survey.ts";
import { type Drift, findDrift } from "../drift.ts";
import { type Paint, paintFor } from "../paint.ts";
import { printable, type Shell } from "../shell.ts";
import { openStored, type StoredOptions, writeJson } from "../stored.ts";

/**
 * Compares every target with its list. Exit code 1 on drift, and where a target could not be
 * compared. Changes nothing.
 */
export async function runVerify(options: StoredOptions, shell: Shell): Promise<number> {
  const { wiring } = await openStored("verify", options, shell);
  const { lists } = wiring.policy;
  // Before the targets: what leaves meanwhile was remembered, what is met unremembered is a find.
  const remembered = await statusOf(wiring, lists);
  const seen = await survey(wiring, lists);
  const drift = findDrift(seen, remembered);
  if (options.json) writeJson(shell, { ...seen, drift });
  else shell.stdout.write(renderDrift(seen, drift, paintFor(shell)));
  return drift.length > 0 ? 1 : 0;
}

function renderDrift(seen: Survey, drift: readonly Drift[], paint: Paint): string {
  const lines = seen.lists.flatMap(({ list, target, leaving, desired }) => {
    const title = `${paint("strong", printable(list))} on ${printable(target)}`;
    const found = drift.find((one) => one.list === list && one.target === target);
    if (found === undefined) {
      const grace = leaving.length === 0 ? "" : `, ${leaving.length} in grace`;
      return [`${title}: ${paint("good", "as it should be")}; ${desired} desired${grace}`];
    }
    if (seen.unread.includes(target)) {
      return [`${title}: ${paint("bad", "not verified")}: ${printable(found.failure ?? "")}`];
    }
    return [
      `${title}: ${paint("bad", "drift")}`,
      ...(found.failure === null ? [] : [`  ${printable(found.failure)}`]),
      ...found.missing.map((cidr) => `  + ${printable(cidr)}  missing`),
      ...found.unexpected.map((cidr) => `  - ${printable(cidr)}  unexpected`),
    ];
  });
  return `${lines.join("\n")}\n`;
}
