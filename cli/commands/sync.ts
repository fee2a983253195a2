import type { Wiring } from "../../functions/wiring.ts";
import type { ListReport } from "../../lib/core/report.ts";
import { statusOf, survey } from "../../lib/survey.ts";
import { sync } from "../../lib/sync.ts";
import { paintFor } from "../paint.ts";
import { renderStatus } from "../report-text.ts";
import type { Shell } from "../shell.ts";
import { openStored, type StoredOptions, writeJson } from "../stored.ts";

export interface SyncCommandOptions extends StoredOptions {
  /** Id of a plan whose removals a person has accepted. */
  readonly acceptRemovals?: string;
}

/** Leases are extended meanwhile. */
const COMMAND_MS_MAX = 600_000;
/** Longer than another run may hold a lease. */
const LEASE_WAIT_MS = 70_000;

/**
 * Brings every target to its list, removals included. Exit code 1 when something was withheld or
 * failed.
 */
export async function runSync(options: SyncCommandOptions, shell: Shell): Promise<number> {
  const { wiring } = await openStored("sync", options, shell);
  const { policy, world } = wiring;
  const id = options.acceptRemovals;
  const accepted = id === undefined ? null : await acceptPlan(wiring, id);
  if (accepted !== null && accepted.kind === "other") {
    shell.stderr.write(`${accepted.message}\n`);
    return 1;
  }
  const outcome = await sync(wiring, {
    lists: policy.lists,
    deadline: world.now() + COMMAND_MS_MAX,
    mode: "command",
    waitMs: LEASE_WAIT_MS,
    cause: { delivery: null, cluster: null, generation: null },
    accepted: accepted?.removals ?? null,
  });
  const lists = outcome.targets.map((target) => target.report);
  const status = { ...(await statusOf(wiring, policy.lists)), lists };
  if (options.json) writeJson(shell, status);
  else {
    const wording = { add: "not on the target yet", remove: "goes at the next resync" };
    shell.stdout.write(renderStatus(status, { paint: paintFor(shell), wording }));
  }
  return lists.some(isTrouble) ? 1 : 0;
}

function isTrouble({ state }: ListReport): boolean {
  return state === "withheld" || state === "failed";
}

type Acceptance =
  | { readonly kind: "same"; readonly removals: ReadonlyMap<string, ReadonlySet<string>> }
  | { readonly kind: "other"; readonly message: string };

/** What a person saw must be what would be removed now, to the last address. */
async function acceptPlan(wiring: Wiring, id: string): Promise<Acceptance> {
  const found = await survey(wiring, wiring.policy.lists);
  if (found.plan !== id) {
    const now = found.plan === null ? "nothing would be removed now" : `it is ${found.plan} now`;
    const what = `Cannot accept the removals of plan ${JSON.stringify(id)}`;
    return { kind: "other", message: `${what}: ${now}; look at "plan" again` };
  }
  const removals = new Map(found.lists.map(({ target, remove }) => [target, new Set(remove)]));
  return { kind: "same", removals };
}
