import type { Instant } from "../lib/core/record.ts";
import { conditionMark, type GateReason, type Wish } from "./gate-sight.ts";
import { isRecord, type JsonRecord, recordAt, textAt } from "./json.ts";
import type { PatchForm } from "./kube.ts";

/** The condition that says whether the lists hold a node's addresses. */
export const GATE_CONDITION = "kube-allowlist.dev/Allowlisted";

/** What is to be sent, and what it makes of the node. */
export interface GatePatch {
  readonly form: PatchForm;
  readonly path: string;
  readonly body: unknown;
  /** The node takes pods after it, and did not before. */
  readonly opens: boolean;
}

/**
 * What makes a Node object, as it was just read, as wished; null when it is so already. A patch
 * applies to the node with this uid and nothing else, and only while what it was judged by is as it
 * was read.
 */
export function patchFor(object: JsonRecord, wish: Wish, now: Instant): GatePatch | null {
  const name = encodeURIComponent(textAt(recordAt(object, "metadata"), "name") ?? "");
  const path = `/api/v1/nodes/${name}`;
  if (wish.kind === "no-taint") {
    const body = removeTaints(object, wish);
    return body === null ? null : { form: "json", path, body, opens: true };
  }
  const body = setCondition(object, wish, now);
  if (body === null) return null;
  const opens = wish.status === "True" && textAt(findCondition(object), "status") !== "True";
  return { form: "strategic", path: `${path}/status`, body, opens };
}

interface Operation {
  readonly op: "test" | "remove";
  readonly path: string;
  readonly value?: unknown;
}

/**
 * RFC 6902: `spec.taints` is an atomic list, so an entry can be taken out without overwriting what
 * others write only by its place, and only if it is still at that place. From the last to the
 * first, so that no removal moves another's place.
 */
function removeTaints(
  object: JsonRecord,
  { key, why }: Extract<Wish, { kind: "no-taint" }>,
): readonly Operation[] | null {
  const { taints } = recordAt(object, "spec");
  const given: readonly unknown[] = Array.isArray(taints) ? taints : [];
  const removals = given.flatMap((taint, index): readonly Operation[] => {
    if (!isRecord(taint) || taint.key !== key) return [];
    const path = `/spec/taints/${index}`;
    return [
      { op: "test", path: `${path}/key`, value: taint.key },
      { op: "test", path: `${path}/effect`, value: taint.effect },
      { op: "remove", path },
    ];
  });
  if (removals.length === 0) return null;
  return [
    { op: "test", path: "/metadata/uid", value: recordAt(object, "metadata").uid },
    ...(why === "ready" ? guards(object) : []),
    ...chunk(removals, OPERATIONS_A_TAINT).toReversed().flat(),
  ];
}

/**
 * A ready node is one with these addresses and ranges, on the lists that these labels put it on.
 * What is not there cannot be tested for (RFC 6902, 4.6), but may come: then nothing at all may
 * have been written since.
 */
function guards(object: JsonRecord): readonly Operation[] {
  const { labels, resourceVersion } = recordAt(object, "metadata");
  const { addresses } = recordAt(object, "status");
  const { podCIDRs } = recordAt(object, "spec");
  const judgedBy = { "/metadata/labels": labels, "/status/addresses": addresses };
  const tests = Object.entries({ ...judgedBy, "/spec/podCIDRs": podCIDRs });
  return tests.every(([, value]) => value !== undefined)
    ? tests.map(([path, value]) => ({ op: "test", path, value }) as const)
    : [{ op: "test", path: "/metadata/resourceVersion", value: resourceVersion }];
}

const OPERATIONS_A_TAINT = 3;

function chunk<T>(items: readonly T[], size: number): readonly (readonly T[])[] {
  return items.flatMap((_item, at) => (at % size === 0 ? [items.slice(at, at + size)] : []));
}

/**
 * A strategic merge, which merges conditions by their type. The version makes it fail where
 * anything was written since the object was read; without a time of transition the old one stays.
 */
function setCondition(
  object: JsonRecord,
  { status, reason }: Extract<Wish, { kind: "condition" }>,
  now: Instant,
): object | null {
  const { uid, resourceVersion } = recordAt(object, "metadata");
  const before = findCondition(object);
  const mark = conditionMark(status, reason);
  if (conditionMark(textAt(before, "status") ?? "", textAt(before, "reason") ?? "") === mark) {
    return null;
  }
  // The API's times have no fractions.
  const time = new Date(now).toISOString().replace(/\.\d+/, "");
  const condition = {
    type: GATE_CONDITION,
    status,
    reason,
    message: MESSAGES[reason],
    lastHeartbeatTime: time,
    ...(textAt(before, "status") === status ? {} : { lastTransitionTime: time }),
  };
  return { metadata: { uid, resourceVersion }, status: { conditions: [condition] } };
}

const MESSAGES: Readonly<Record<GateReason, string>> = {
  Allowlisted: "Every list that selects this node was read back and covers its addresses",
  GateTimeout: "The node is not ready on its lists, but the time that the gate gives it is over",
  AllowlistPending: "Not every list that selects this node covers its addresses yet",
  Unlisted: "No list selects this node",
};

function findCondition(object: JsonRecord): JsonRecord {
  const { conditions } = recordAt(object, "status");
  const given = Array.isArray(conditions) ? conditions.filter(isRecord) : [];
  return given.find(({ type }) => type === GATE_CONDITION) ?? {};
}
