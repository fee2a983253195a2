import type { Instant } from "../lib/core/record.ts";
import type { World } from "../lib/world.ts";
import { type Collection, type Observed, queryOf } from "./collection.ts";
import type { Ended, Step } from "./course.ts";
import { isRecord, recordAt, textAt } from "./json.ts";
import { KubeError, statusError } from "./kube.ts";
import { versionOf } from "./projection.ts";
import { errorText, slept } from "./signal.ts";

const INITIAL_EVENTS_END = "k8s.io/initial-events-end";

/** The request that opens the stream of a step; the server ends it after `timeoutS`. */
export function watchPath(
  collection: Pick<Collection<Observed>, "path" | "labelSelector">,
  step: Step,
  { timeoutS }: { readonly timeoutS: number },
): string {
  const query = queryOf(collection);
  query.set("watch", "true");
  query.set("allowWatchBookmarks", "true");
  query.set("timeoutSeconds", String(timeoutS));
  if (step.kind !== "list") query.set("resourceVersion", step.version);
  if (step.kind !== "resume") {
    query.set("sendInitialEvents", "true");
    query.set("resourceVersionMatch", "NotOlderThan");
  }
  return `${collection.path}?${query}`;
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
      const annotations = recordAt(recordAt(object, "metadata"), "annotations");
      const endsInitial = textAt(annotations, INITIAL_EVENTS_END) === "true";
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

/** Why we end a stream ourselves; what each means is told with {@link Ended}. */
export type StreamEndReason = "refresh" | "silent" | "overdue" | "unproven";

export class StreamEnd extends Error {
  override readonly name = "StreamEnd";
  readonly why: StreamEndReason;

  constructor(why: StreamEndReason) {
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
 * Ends a stream that outlives one of its deadlines, which move as bytes come in. Looks again at
 * least every `lookMs`, since a deadline may also come nearer.
 */
export function startWatchdog(
  world: Pick<World, "now" | "sleep">,
  stream: AbortController,
  options: {
    readonly lookMs: number;
    /** The earliest of them is the reason. */
    readonly deadlines: () => readonly (readonly [StreamEndReason, Instant])[];
  },
): { stop(): Promise<void> } {
  const over = new AbortController();
  const watching = (async () => {
    for (;;) {
      const now = world.now();
      const deadlines = options.deadlines();
      const past = deadlines.filter(([, at]) => at <= now).toSorted(([, a], [, b]) => a - b);
      const [reason] = past[0] ?? [null];
      if (reason !== null) {
        stream.abort(new StreamEnd(reason));
        return;
      }
      const ms = Math.min(options.lookMs, ...deadlines.map(([, at]) => at - now));
      if (!(await slept(world, ms, over.signal))) return;
    }
  })();
  return {
    stop() {
      over.abort();
      return watching;
    },
  };
}
