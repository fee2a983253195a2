import middy from "@middy/core";
import { heardAt } from "../lib/core/admission.ts";
import { clusterOf, clustersOf } from "../lib/core/list.ts";
import type { Instant } from "../lib/core/record.ts";
import type { ListReport, State } from "../lib/core/report.ts";
import { type SyncOutcome, sync } from "../lib/sync.ts";
import { deliveryId } from "../lib/wire/protocol.ts";
import type { Logger } from "../lib/world.ts";
import type { InvocationContext } from "./http.ts";
import { concludeResync, measuredRuns } from "./measured.ts";
import { scheduledEvent } from "./middleware/event.ts";
import { type PlatformHandler, platformEntry } from "./platform.ts";
import { measureInRun, tellRun } from "./run.ts";
import { until, type Wiring } from "./wiring.ts";

const FUNCTION_MS = 60_000;
const MARGIN_MS = 3_000;
/** Of the margin, for what remains to be written down: records, and that leases are free. */
const RECORD_MS = 2_000;

/**
 * What became of the lists. Whole reports have no limit, an answer of Lambda has (6 MB), and a
 * schedule throws it away: the log says more.
 */
export interface ResyncResult {
  readonly lists: readonly ListState[];
  /** Lists on targets that are not shown, where there are too many. */
  readonly omitted?: number;
}

type ListState = Pick<ListReport, "list" | "target" | "state" | "reason" | "message">;

const LISTS_SHOWN_MAX = 1_000;
const MESSAGE_CHARS_MAX = 1_000;

/**
 * On a schedule: every list from the newest stored snapshots. The only function that removes.
 * `hear` is told what was found.
 */
export function makeResync(wiring: Wiring, hear?: (lists: readonly ListReport[]) => void) {
  const handler = middy({ timeoutEarlyInMillis: 0 })
    .use(scheduledEvent())
    .handler(async (_event: unknown, context: unknown) => {
      const lists = await resync(wiring, context as InvocationContext);
      hear?.(lists);
      return resultOf(lists);
    });
  return measuredRuns<ResyncResult>(wiring, {
    handler,
    conclude: concludeResync,
    message: "Measured a resync",
  });
}

/** The platform's entry. What it throws counts as a failure, which alarms see. */
export const handler: PlatformHandler = platformEntry((wiring) => makeResync(wiring), "throw");

async function resync(wiring: Wiring, context: InvocationContext): Promise<readonly ListReport[]> {
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
  measureLists(lists);
  measureClusters(wiring, outcome);
  for (const report of lists) tellReport(world.log, report);
  await wiring.trim(deadline);
  return lists;
}

/** What waits for nobody is no warning. The whole report only for who asks for everything. */
function tellReport(log: Logger, report: ListReport): void {
  const { list, target, state, reason, message } = report;
  const fields = { list, target, state, reason };
  if (state === "pending") log.info(fields, message);
  else if (state !== "converged") log.warn(fields, message);
  log.debug({ ...fields, report }, message);
}

function resultOf(reports: readonly ListReport[]): ResyncResult {
  const lists = reports
    .slice(0, LISTS_SHOWN_MAX)
    .map(({ list, target, state, reason, message }) => ({
      list,
      target,
      state,
      reason,
      message: message.slice(0, MESSAGE_CHARS_MAX),
    }));
  const omitted = reports.length - lists.length;
  return omitted === 0 ? { lists } : { lists, omitted };
}

function measureLists(lists: readonly ListReport[]): void {
  const count = (wanted: State) => lists.filter(({ state }) => state === wanted).length;
  measureInRun("ListsConverged", count("converged"));
  measureInRun("ListsPending", count("pending"));
  measureInRun("ListsWithheld", count("withheld"));
  measureInRun("ListsFailed", count("failed"));
  const waiting = lists.flatMap(({ state, remove }) => (state === "withheld" ? remove : []));
  measureInRun("RemovalsWithheld", waiting.length);
}

/**
 * Who gives members to lists, and was heard of late or not; also where no list had anything to do.
 * Of a cluster whose log cannot be read nobody knows that: then nothing is said of any.
 */
function measureClusters({ policy, world }: Wiring, outcome: SyncOutcome): void {
  const { snapshots, unreadable } = outcome;
  const names = [...new Set(policy.lists.flatMap(clustersOf))]
    .filter((name) => !clusterOf(policy, name).retired)
    .toSorted();
  const newest = names.flatMap((name) => snapshots[name] ?? []);
  tellRun({ deliveries: newest.map(deliveryId) });
  if (names.some((name) => unreadable.has(name))) return;
  const now: Instant = world.now();
  const ages = newest.map((snapshot) => ({
    ms: Math.max(0, now - heardAt(snapshot)),
    most: clusterOf(policy, snapshot.cluster).staleAfterMs,
  }));
  const heard = ages.filter(({ ms, most }) => ms <= most).length;
  measureInRun("ClustersHeard", heard);
  measureInRun("ClustersStale", names.length - heard);
  if (ages.length > 0) measureInRun("TruthAge", Math.max(...ages.map(({ ms }) => ms)));
}
