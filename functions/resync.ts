import middy from "@middy/core";
import type { ListReport } from "../lib/core/report.ts";
import { sync } from "../lib/sync.ts";
import type { InvocationContext } from "./http.ts";
import { scheduledEvent } from "./middleware/event.ts";
import { type PlatformHandler, platformEntry } from "./platform.ts";
import { until, type Wiring } from "./wiring.ts";

const FUNCTION_MS = 60_000;
const MARGIN_MS = 3_000;
/** Of the margin, for what remains to be written down: records, and that leases are free. */
const RECORD_MS = 2_000;

/** What a resync says of itself; the platform's log keeps it. */
export interface ResyncResult {
  readonly lists: readonly ListReport[];
}

/** On a schedule: every list from the newest stored snapshots. The only function that removes. */
export function makeResync(wiring: Wiring) {
  return middy({ timeoutEarlyInMillis: 0 })
    .use(scheduledEvent())
    .handler((_event: unknown, context: unknown) => resync(wiring, context as InvocationContext));
}

/** The platform's entry. */
export const handler: PlatformHandler = platformEntry(makeResync);

async function resync(wiring: Wiring, context: InvocationContext): Promise<ResyncResult> {
  const { world, policy } = wiring;
  const remainingMs = context.getRemainingTimeInMillis?.() ?? FUNCTION_MS;
  const deadline = world.now() + Math.min(remainingMs, FUNCTION_MS) - MARGIN_MS;
  const outcome = await sync(until(wiring, deadline + RECORD_MS), {
    lists: policy.lists,
    deadline,
    mode: "resync",
    waitMs: 0,
    cause: { delivery: null, cluster: null, generation: null },
    accepted: null,
  });
  const lists = outcome.targets.map((target) => target.report);
  for (const { list, target, state, reason, message } of lists) {
    if (state === "converged") world.log.debug({ list, target, state, reason }, message);
    else world.log.warn({ list, target, state, reason }, message);
  }
  await wiring.trim(deadline);
  return { lists };
}
