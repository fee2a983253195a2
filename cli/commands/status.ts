import { statusOf } from "../../lib/survey.ts";
import { paintFor } from "../paint.ts";
import { renderStatus } from "../report-text.ts";
import type { Shell } from "../shell.ts";
import { openStored, type StoredOptions, writeJson } from "../stored.ts";

/** Shows what the store knows. Calls no target. */
export async function runStatus(options: StoredOptions, shell: Shell): Promise<number> {
  const { wiring } = await openStored("tell the status", options, shell);
  const status = await statusOf(wiring, wiring.policy.lists);
  if (options.json) {
    writeJson(shell, status);
    return 0;
  }
  const wording = { add: "is not on the target yet", remove: "may go" };
  shell.stdout.write(renderStatus(status, { paint: paintFor(shell), wording }));
  return 0;
}
