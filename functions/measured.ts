import type { HttpResponse } from "./http.ts";
import { embeddedMetrics, type MetricName } from "./metrics.ts";
import { countInRun, inRun, measureInRun, runFields, runValues } from "./run.ts";
import type { Wiring } from "./wiring.ts";

type Surroundings = Pick<Wiring, "world" | "config" | "measure">;

/** Works on each event as a run, and tells what was measured of it, whatever became of it. */
export function measuredRuns<T>(
  wiring: Surroundings,
  options: {
    readonly handler: (event: never, context: never) => unknown;
    /** Counts what became of the event; `result` is null where the handler threw. */
    readonly conclude: (result: unknown, ms: number) => void;
    /** Said beside the numbers. */
    readonly message: string;
  },
) {
  const { world } = wiring;
  const { handler, conclude, message } = options;
  return (event: unknown, context: unknown): Promise<T> =>
    inRun({}, async () => {
      const begunAt = world.monotonic();
      let result: unknown = null;
      try {
        result = await handler(event as never, context as never);
        return result as T;
      } finally {
        try {
          conclude(result, Math.round(world.monotonic() - begunAt));
          tell(wiring, message);
        } catch (error) {
          // What became of the event stays, whoever hears of it.
          const text = error instanceof Error ? error.message : "unknown error";
          world.log.warn({ error: text }, "Cannot tell what was measured");
        }
      }
    });
}

function tell({ world, config, measure }: Surroundings, message: string): void {
  const { cluster } = runFields();
  const { installation } = config;
  const at = world.now();
  const fields = embeddedMetrics({
    at,
    installation,
    cluster: typeof cluster === "string" ? cluster : null,
    values: runValues(),
  });
  const timestamp = new Date(at).toISOString();
  if (fields !== null) measure({ message, timestamp, ...runFields(), ...fields });
}

/** By what a delivery was to what is held; the rest by its status. */
const BY_ADMISSION: Readonly<Record<string, MetricName>> = {
  newer: "DeliveriesNewer",
  repeat: "DeliveriesRepeated",
  stale: "DeliveriesStale",
  "other-cluster": "DeliveriesOtherCluster",
};

/** One delivery, from its request to its answer. Each is counted under one name. */
export function concludeDelivery(result: unknown, ms: number): void {
  const statusCode = statusOf(result);
  const { admission, cluster } = runFields();
  const known = typeof admission === "string" ? BY_ADMISSION[admission] : undefined;
  // Strangers are answered at once: among them a slow answer to a cluster would not be seen.
  if (cluster !== undefined) measureInRun("AnswerTime", ms);
  if (statusCode >= 500) countInRun("DeliveriesFailed");
  else if (statusCode === 422) countInRun("DeliveriesInvalid");
  else countInRun(known ?? "DeliveriesRefused");
}

/** Readings that went well are not told: some readers come every few seconds. */
export function concludeReading(result: unknown): void {
  const statusCode = statusOf(result);
  if (statusCode >= 500) countInRun("ReadsFailed");
  else if (statusCode >= 400) countInRun("ReadsRefused");
}

/** One run of the resync; what it found it has measured itself. An answer over HTTP is no run. */
export function concludeResync(result: unknown, ms: number): void {
  if (result !== null && "statusCode" in (result as object)) return;
  measureInRun("ResyncTime", ms);
  if (result === null) countInRun("ResyncsFailed");
}

function statusOf(result: unknown): number {
  return (result as HttpResponse | null)?.statusCode ?? 500;
}
