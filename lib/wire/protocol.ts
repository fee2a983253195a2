import * as z from "zod/mini";
import { capProblems, problemsOf, quote, readWith } from "../core/problem.ts";
import type { ListReport } from "../core/report.ts";
import {
  documentOf,
  type Generation,
  type Problem,
  parseSnapshot,
  SNAPSHOT_CHANGES_MAX,
  type Snapshot,
  type SnapshotReading,
} from "../core/snapshot.ts";

/** CloudEvents 1.0, structured mode, JSON format. */
export const MEDIA_TYPE = "application/cloudevents+json";
/** RFC 9457. */
export const PROBLEM_MEDIA_TYPE = "application/problem+json";
export const SNAPSHOT_TYPE = "dev.kube-allowlist.snapshot.v1";
/** Largest body, inflated. */
export const DELIVERY_BYTES_MAX = 8 * 1024 * 1024;
/** The forwarder gzips bodies from this size on. */
export const GZIP_FROM_BYTES = 64 * 1024;

const SPEC_VERSION = "1.0";
const DATA_CONTENT_TYPE = "application/json";
const GENERATION_DIGITS = 10;

/**
 * One delivery as the text of a CloudEvent: the same snapshot always gives the same bytes. Changes
 * beyond the limit of a message are left out, since nothing is decided from them and ten thousand
 * joining nodes must not become a message that every receiver refuses.
 */
export function renderDelivery(snapshot: Snapshot): string {
  const changes = snapshot.changes.slice(0, SNAPSHOT_CHANGES_MAX);
  return JSON.stringify({
    specversion: SPEC_VERSION,
    type: SNAPSHOT_TYPE,
    ...envelopeOf(snapshot),
    time: new Date(snapshot.time).toISOString(),
    datacontenttype: DATA_CONTENT_TYPE,
    data: documentOf({ ...snapshot, changes }),
  });
}

/**
 * What the envelope repeats of the data: `prod-eu/7/1042` and twenty digits that sort by
 * generation.
 */
function envelopeOf({ cluster, generation }: Pick<Snapshot, "cluster" | "generation">) {
  const { epoch, sequence } = generation;
  return {
    source: `/clusters/${cluster}`,
    id: deliveryId({ cluster, generation }),
    sequence: [epoch, sequence]
      .map((part) => String(part).padStart(GENERATION_DIGITS, "0"))
      .join(""),
  };
}

/** Names one attempt, for `webhook-id` and logs: every attempt has its own generation. */
export function deliveryId({
  cluster,
  generation,
}: Pick<Snapshot, "cluster" | "generation">): string {
  return `${cluster}/${generation.epoch}/${generation.sequence}`;
}

/**
 * Reads a body: every problem at once, of the envelope by its attribute (`specversion`) and of the
 * data by its path within `data` (`nodes[3].addresses[0].address`); a body that is no JSON has one
 * problem, with the path "". Unknown attributes and unknown members of the data are ignored.
 */
export function parseDelivery(text: string): SnapshotReading {
  const body = parseJson(text);
  if (body === undefined) {
    const message = "Cannot read the body as JSON: send one CloudEvent in structured mode";
    return { kind: "invalid", problems: [{ path: "", message }] };
  }
  const envelope = readWith(ENVELOPE, body);
  const carrier = readWith(CARRIER, body);
  if (carrier.kind === "invalid") {
    const problems = envelope.kind === "invalid" ? envelope.problems : carrier.problems;
    return { kind: "invalid", problems: capProblems(problems) };
  }
  const { data, ...attributes } = carrier.value;
  const reading = parseSnapshot({ ...data, time: attributes.time });
  const problems = [
    ...problemsOf(envelope),
    ...disagreements(attributes, data),
    ...(reading.kind === "invalid" ? reading.problems : []),
  ];
  return problems.length === 0 ? reading : { kind: "invalid", problems: capProblems(problems) };
}

/** `undefined` for what is no JSON. The parser's own message quotes the body, so it is dropped. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const ENVELOPE = z.object({
  specversion: z.literal(SPEC_VERSION),
  type: z.literal(SNAPSHOT_TYPE),
  source: z.string(),
  id: z.string(),
  sequence: z.string(),
  // CloudEvents: without it, the data of a JSON event is JSON.
  datacontenttype: z.optional(z.literal(DATA_CONTENT_TYPE)),
  data: z.looseObject({}),
});

const CARRIER = z.looseObject({ data: z.looseObject({}) });

const IDENTITY = z.object({
  cluster: z.string(),
  generation: z.object({ epoch: z.number(), sequence: z.number() }),
});

/**
 * Only the signed data counts, but two truths in one message mean that one of them is a mistake.
 */
function disagreements(attributes: Readonly<Record<string, unknown>>, data: unknown): Problem[] {
  const identity = readWith(IDENTITY, data);
  if (identity.kind === "invalid") return [];
  return Object.entries(envelopeOf(identity.value)).flatMap(([path, expected]) => {
    const given = attributes[path];
    if (typeof given !== "string" || given === expected) return [];
    const message = `Cannot take ${quote(given)}: the data says ${quote(expected)}`;
    return [{ path, message }];
  });
}

/** What the receiver answers to an admitted snapshot. */
export interface Answer {
  /** The generation that the rest was computed from. */
  readonly generation: Generation;
  /** Uids of nodes whose addresses every gating list covers; ascending. */
  readonly readyNodes: readonly string[];
  /** Uids of nodes that no list selects; ascending. */
  readonly unlisted: readonly string[];
  /** Seconds after which the forwarder is to deliver again, or null: 1 to 300. */
  readonly again: number | null;
  readonly lists: readonly ListReport[];
}

export type ProblemKind =
  | "stale"
  | "other-cluster"
  | "invalid"
  | "unauthenticated"
  | "forbidden"
  | "too-large"
  | "unavailable"
  | "unsupported";

/** Why a delivery was not admitted (RFC 9457). Must never hold a secret or a stack. */
export interface ProblemDocument {
  /** `https://kube-allowlist.dev/problems/<kind>`. */
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly problems?: readonly Problem[];
  /** The generation that the receiver holds, null for none. */
  readonly held?: Generation | null;
  /** The receiver's clock, ISO 8601, where the sender's may be the trouble. */
  readonly time?: string;
}

const PROBLEM_TYPE_PREFIX = "https://kube-allowlist.dev/problems/";

const PROBLEM_TITLES: Readonly<Record<ProblemKind, string>> = {
  stale: "Something newer is held",
  "other-cluster": "Another cluster speaks under this name",
  invalid: "The snapshot cannot be read",
  unauthenticated: "The sender is not known",
  forbidden: "The sender may not do this",
  "too-large": "The body is too large",
  unavailable: "Nothing was admitted",
  unsupported: "The media type is not supported",
};

/**
 * `detail` says what is wrong with this delivery, and a way out. Members that are left out stay
 * out.
 */
export function problemDocument(
  kind: ProblemKind,
  status: number,
  options: Pick<ProblemDocument, "detail" | "problems" | "held" | "time">,
): ProblemDocument {
  const { detail, problems, held, time } = options;
  return {
    type: `${PROBLEM_TYPE_PREFIX}${kind}`,
    title: PROBLEM_TITLES[kind],
    status,
    detail,
    ...(problems === undefined ? {} : { problems }),
    ...(held === undefined ? {} : { held }),
    ...(time === undefined ? {} : { time }),
  };
}

/** The kind of a problem document; null for one that this version does not know. */
export function problemKindOf({ type }: Pick<ProblemDocument, "type">): ProblemKind | null {
  const kind = type.startsWith(PROBLEM_TYPE_PREFIX) ? type.slice(PROBLEM_TYPE_PREFIX.length) : "";
  return isProblemKind(kind) ? kind : null;
}

function isProblemKind(kind: string): kind is ProblemKind {
  return Object.hasOwn(PROBLEM_TITLES, kind);
}
