import middy from "@middy/core";
import { admitSnapshot } from "../lib/admit.ts";
import { againAfter, type RememberedTarget, readinessOf } from "../lib/core/answer.ts";
import { clustersOf } from "../lib/core/list.ts";
import type { AdmittedSnapshot, Snapshot } from "../lib/core/snapshot.ts";
import { type SyncOutcome, sync } from "../lib/sync.ts";
import { type Answer, deliveryId, parseDelivery } from "../lib/wire/protocol.ts";
import { type HttpResponse, type InvocationContext, jsonResponse } from "./http.ts";
import { concludeDelivery, measuredRuns } from "./measured.ts";
import { type AuthenticatedRequest, authenticate } from "./middleware/authenticate.ts";
import { inflate, mediaDoor } from "./middleware/doors.ts";
import { httpEvent } from "./middleware/event.ts";
import { problems } from "./middleware/problems.ts";
import { type PlatformHandler, platformEntry } from "./platform.ts";
import { problem } from "./problem.ts";
import { measureInRun, tellRun } from "./run.ts";
import { until, type Wiring } from "./wiring.ts";

const FUNCTION_MS = 29_000;
/** Kept for the answer. */
const MARGIN_MS = 3_000;
/** Of the margin, for what remains to be written down: records, and that leases are free. */
const RECORD_MS = 2_000;
const LEASE_WAIT_MS = 5_000;

/**
 * `POST /v1/snapshots`: authenticate, parse, admit, sync (adds only), answer. When it returns,
 * nothing of it is running: middy's early answer at a timeout is off, because it would leave writes
 * running in a frozen instance.
 */
export function makeWebhook(wiring: Wiring) {
  const handler = middy({ timeoutEarlyInMillis: 0 })
    .use(problems(wiring.world.log, () => "/v1/snapshots"))
    .use(httpEvent())
    .use(mediaDoor())
    .use(authenticate(wiring))
    .handler((event: unknown, context: unknown) =>
      receive(wiring, event as AuthenticatedRequest, context as InvocationContext),
    );
  const message = "Measured a delivery";
  return measuredRuns<HttpResponse>(wiring, { handler, conclude: concludeDelivery, message });
}

/** The platform's entry. */
export const handler: PlatformHandler = platformEntry(makeWebhook);

async function receive(
  unbounded: Wiring,
  request: AuthenticatedRequest,
  context: InvocationContext,
): Promise<HttpResponse> {
  tellRun({ cluster: request.cluster });
  const remainingMs = context.getRemainingTimeInMillis?.() ?? FUNCTION_MS;
  const deadline = unbounded.world.now() + Math.min(remainingMs, FUNCTION_MS) - MARGIN_MS;
  const wiring = until(unbounded, deadline + RECORD_MS);
  const cluster = wiring.policy.clusters[request.cluster];
  if (cluster === undefined || cluster.retired) {
    throw problem("forbidden", 403, {
      detail:
        `Cannot take snapshots of "${request.cluster}": the cluster is retired; stop its ` +
        "forwarder",
    });
  }
  const snapshot = parse(request);
  tellRun({ correlation_id: deliveryId(snapshot) });
  const { world } = wiring;
  const log = wiring.clusterLog(cluster.name);
  const admitted = await admitSnapshot(log, snapshot, { cluster, world });
  tellRun({ admission: admitted.kind });
  switch (admitted.kind) {
    case "newer":
    case "repeat":
      measureInRun("Nodes", snapshot.nodes.length);
      measureInRun("SnapshotAge", Math.max(0, snapshot.time - snapshot.observedAt));
      return jsonResponse(200, await bringAbout(wiring, admitted.snapshot, deadline));
    case "stale":
      throw problem("stale", 409, {
        detail:
          `Cannot take generation ${generationText(snapshot)} of "${cluster.name}": a ` +
          "newer one is held",
        held: admitted.held,
      });
    case "other-cluster":
      throw problem("other-cluster", 409, { detail: admitted.message, held: admitted.held });
    case "invalid":
      throw invalid(admitted.problems);
    default:
      throw new Error(`Unreachable: ${JSON.stringify(admitted satisfies never)}`);
  }
}

function parse(request: AuthenticatedRequest): Snapshot {
  const reading = parseDelivery(inflate(request));
  if (reading.kind === "invalid") throw invalid(reading.problems);
  const { snapshot } = reading;
  if (snapshot.cluster === request.cluster) return snapshot;
  throw problem("forbidden", 403, {
    detail:
      `Cannot take a snapshot of "${snapshot.cluster}": this credential speaks for ` +
      `"${request.cluster}"`,
  });
}

function invalid(found: NonNullable<Parameters<typeof problem>[2]["problems"]>) {
  const detail = `Cannot read the snapshot: ${found.length} problems, listed with their paths`;
  return problem("invalid", 422, { detail, problems: found });
}

function generationText({ generation }: Pick<Snapshot, "generation">): string {
  return `${generation.epoch}/${generation.sequence}`;
}

async function bringAbout(
  wiring: Wiring,
  snapshot: AdmittedSnapshot,
  deadline: number,
): Promise<Answer> {
  const lists = wiring.policy.lists.filter((list) => clustersOf(list).includes(snapshot.cluster));
  const { generation, cluster } = snapshot;
  const outcome = await sync(wiring, {
    lists,
    deadline,
    mode: "webhook",
    waitMs: LEASE_WAIT_MS,
    cause: { delivery: deliveryId(snapshot), cluster, generation },
    accepted: null,
  });
  return answerOf(wiring, snapshot, outcome);
}

function answerOf(wiring: Wiring, snapshot: AdmittedSnapshot, outcome: SyncOutcome): Answer {
  const { policy, world } = wiring;
  const now = world.now();
  // While this run worked, a newer snapshot may have been admitted; what was computed is said of
  // it.
  const newest = outcome.snapshots[snapshot.cluster] ?? snapshot;
  const byList = new Map<string, RememberedTarget[]>();
  for (const target of outcome.targets) {
    byList.set(target.list.name, [...(byList.get(target.list.name) ?? []), target]);
  }
  const { snapshots } = outcome;
  const { ready, unlisted } = readinessOf(newest, byList, { policy, snapshots, now });
  return {
    generation: newest.generation,
    readyNodes: ready,
    unlisted,
    again: againAfter(outcome.targets, { receivedAt: newest.receivedAt, now }),
    lists: outcome.targets.map((target) => target.report),
  };
}
