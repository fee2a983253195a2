import type { Instant } from "../lib/core/record.ts";
import type { World } from "../lib/world.ts";
import type { Ended, Step } from "./course.ts";
import { isRecord, recordAt, textAt } from "./json.ts";
import { KubeError, statusError } from "./kube.ts";
import { versionOf } from "./projection.ts";
import { errorText, slept } from "./signal.ts";

export const NODES_PATH = "/api/v1/nodes";
const INITIAL_EVENTS_END = "k8s.io/initial-events-end";

/** The request that opens the stream of a step; the server ends it after `timeoutS`. */
export function watchPath(step: Step, timeoutS: number): string {
  const query = new URLSearchParams({
    watch: "true",
    allowWatchBookmarks: "true",
    timeoutSeconds: String(timeoutS),
  });
  if (step.kind !== "list") query.set("resourceVersion", step.version);
  if (step.kind !== "resume") {
    query.set("sendInitialEvents", "true");
    query.set("resourceVersionMatch", "NotOlderThan");
  }
  return `${NODES_PATH}?${query}`;
}

/** One line of a watch. */
export type WatchEvent =
  | { readonly kind: "present" | "gone"; readonly version: string; readonly object: unknown }
  | { readonly kind: "bookmark"; readonly version: string; readonly endsInitial: boolean };

/**
 * Throws a KubeError for an ERROR event, and a RangeError for what is no event: both end the watch.
 */
export function parseWatchEvent(line: string): WatchEvent {
  const event = parseLine(line);
  const { type, object } = event;
  switch (type) {
    case "ADDED":
    case "MODIFIED":
      return { kind: "present", version: versionOf(object), object };
    case "DELETED":
      return { kind: "gone", version: versionOf(object), object };
    case "BOOKMARK": {
      const metadata = isRecord(object) ? recordAt(object, "metadata") : {};
      const endsInitial = textAt(recordAt(metadata, "annotations"), INITIAL_EVENTS_END) === "true";
      return { kind: "bookmark", version: versionOf(object), endsInitial };
    }
    case "ERROR":
      throw statusError("follow the watch", object, { status: null, retryAfterMs: null });
    default:
      throw new RangeError(`Cannot read a watch event: its type is ${JSON.stringify(type)}`);
  }
}

/** The parser's own message quotes the line, so it is dropped. */
function parseLine(line: string): Readonly<Record<string, unknown>> {
  try {
    const event: unknown = JSON.parse(line);
    if (isRecord(event)) return event;
  } catch {
    // Said below, for both.
  }
  throw new RangeError("Cannot read a watch event: the line is garbled");
}

/** Why we ended a stream ourselves. */
export class StreamEnd extends Error {
  override readonly name = "StreamEnd";
  readonly why: "refresh" | "silent" | "overdue";

  constructor(why: "refresh" | "silent" | "overdue") {
    super(`The stream was ended: ${why}`);
    this.why = why;
  }
}

/** What came was older than what had been seen. */
export class StaleError extends Error {
  override readonly name = "StaleError";
}

/** The end of a step that threw: 410 and its like by name, everything unknown as `broken`. */
export function endOf(error: unknown): Ended {
  if (error instanceof StreamEnd) return { kind: error.why };
  const message = errorText(error);
  if (error instanceof StaleError) return { kind: "unbelievable", message };
  if (!(error instanceof KubeError) || error.status === null) return { kind: "broken", message };
  const { status, reason, retryAfterMs } = error;
  if (status === 410 || reason === "Expired" || reason === "Gone") return { kind: "expired" };
  if (reason === "ResourceVersionTooLarge") return { kind: "too-new" };
  return { kind: "refused", message, status, retryAfterMs };
}

/**
 * Ends a stream that outlives its deadlines, which move as bytes come in. Looks again at least
 * every
 * `lookMs`, since a deadline may also come nearer.
 */
export function startWatchdog(
  world: Pick<World, "now" | "sleep">,
  stream: AbortController,
  options: {
    readonly lookMs: number;
    readonly deadlines: () => { readonly silent: Instant; readonly overdue: Instant };
  },
): { stop(): Promise<void> } {
  const over = new AbortController();
  const watching = (async () => {
    for (;;) {
      const { silent, overdue } = options.deadlines();
      const ms = Math.min(silent, overdue) - world.now();
      if (ms <= 0) {
        stream.abort(new StreamEnd(silent <= overdue ? "silent" : "overdue"));
        return;
      }
      if (!(await slept(world, Math.min(ms, options.lookMs), over.signal))) return;
    }
  })();
  return {
    stop() {
      over.abort();
      return watching;
    },
  };
}
