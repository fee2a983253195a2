import type { Instant } from "../lib/core/record.ts";
import { microTime } from "./lease-object.ts";
import { NOTE_REASONS, type Note } from "./notes.ts";

/*
 * The object behind an Event (events.k8s.io/v1), as the API server's validation demands it: with
 * eventTime, reportingController, reportingInstance, action, reason and type, without the members
 * of the older form, at most 1,024 bytes of note, and in a namespace that fits what it is about.
 */

/** A note as an Event: where it is written, and how often it was taken so far. */
export interface EventSeries {
  readonly namespace: string;
  readonly name: string;
  readonly note: Note;
  readonly count: number;
  /** When it was last taken. */
  readonly lastAt: Instant;
}

/** The Lease that stands for the forwarder as a whole. */
export interface LeaseReference {
  readonly namespace: string;
  readonly name: string;
}

const CONTROLLER = "kube-allowlist.dev/forwarder";
const NOTE_BYTES_MAX = 1_024;
const INSTANCE_CHARACTERS_MAX = 128;
/** Names have 253 characters at the most; a point and sixteen are added. */
const PREFIX_CHARACTERS_MAX = 230;

/** Nodes are in no namespace; Events about them are in `default`, as the kubelet's are. */
export function namespaceOf({ regarding }: Note, lease: LeaseReference): string {
  return regarding.kind === "node" ? "default" : lease.namespace;
}

/** `suffix`: up to 16 letters and digits that make the name unique. */
export function nameOf({ regarding }: Note, lease: LeaseReference, suffix: string): string {
  const about = regarding.kind === "node" ? regarding.name : lease.name;
  return `${about.slice(0, PREFIX_CHARACTERS_MAX).replace(/[.-]+$/, "")}.${suffix}`;
}

/** What is POSTed; `uid` is that of the object it is about, where it is known. */
export function eventObject(
  { namespace, name, note, count, lastAt }: EventSeries,
  options: {
    readonly lease: LeaseReference;
    readonly uid: string | null;
    /** Of this process. */
    readonly identity: string;
  },
): object {
  const { lease, uid, identity } = options;
  const { reason, regarding } = note;
  const { type, action } = NOTE_REASONS[reason];
  const about =
    regarding.kind === "node"
      ? { apiVersion: "v1", kind: "Node", name: regarding.name }
      : { apiVersion: "coordination.k8s.io/v1", kind: "Lease", ...lease };
  return {
    apiVersion: "events.k8s.io/v1",
    kind: "Event",
    metadata: { namespace, name },
    eventTime: microTime(note.at),
    reportingController: CONTROLLER,
    reportingInstance: identity.slice(-INSTANCE_CHARACTERS_MAX),
    action,
    reason,
    type,
    note: noteText(note.text),
    regarding: uid === null ? about : { ...about, uid },
    ...(count > 1 ? seriesOf({ count, lastAt }) : {}),
  };
}

/** What is merged into an Event that was taken again: everything else of it is immutable. */
export function seriesOf({ count, lastAt }: Pick<EventSeries, "count" | "lastAt">): object {
  return { series: { count, lastObservedTime: microTime(lastAt) } };
}

/** One line, within the limit, which counts bytes; what was cut ends with an ellipsis. */
export function noteText(text: string): string {
  const line = text.replaceAll(/[\s\p{Cc}]+/gu, " ").trim();
  if (Buffer.byteLength(line) <= NOTE_BYTES_MAX) return line;
  const decoder = new TextDecoder("utf-8");
  const ellipsis = "…";
  const room = NOTE_BYTES_MAX - Buffer.byteLength(ellipsis);
  // A character that is cut in the middle is held back by the decoder until the rest of it comes.
  return decoder.decode(Buffer.from(line).subarray(0, room), { stream: true }) + ellipsis;
}
