import * as z from "zod/mini";
import { addressText, type Cidr, parseAddress, parseCidr, sortCidrs } from "./cidr.ts";
import {
  capProblems,
  PROBLEMS_MAX,
  pathText,
  problemsOf,
  quote,
  type Reading,
  readWith,
} from "./problem.ts";
import type { Instant } from "./record.ts";

/** The fencing token: (epoch, sequence), compared in that order. */
export interface Generation {
  readonly epoch: number;
  readonly sequence: number;
}

/** Why a snapshot was sent; for people and latency, never the data. */
export interface Change {
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
}

export interface PodSelector {
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
}

/**
 * What the forwarder looked at. Outside of it nothing was observed, which is not the same as empty.
 */
export interface Scope {
  readonly labels: readonly string[];
  readonly pods: readonly PodSelector[];
}

export interface NodeAddress {
  readonly type: "InternalIP" | "ExternalIP";
  /**
   * A single host in canonical form; may be forbidden or out of bounds, which is judged entry by
   * entry.
   */
  readonly address: Cidr;
}

export interface Node {
  readonly uid: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly addresses: readonly NodeAddress[];
  readonly podCidrs: readonly Cidr[];
}

export interface Pod {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly addresses: readonly Cidr[];
}

/**
 * All that one cluster says at one generation. Sorted by uid, keys sorted, addresses canonical and
 * unique.
 */
export interface Snapshot {
  readonly cluster: string;
  readonly clusterUid: string;
  readonly generation: Generation;
  /** When this attempt was rendered, by the forwarder's clock. */
  readonly time: Instant;
  /** Up to when the watch was known to be current, by the forwarder's clock. */
  readonly observedAt: Instant;
  readonly scope: Scope;
  readonly changes: readonly Change[];
  readonly nodes: readonly Node[];
  readonly pods: readonly Pod[];
}

/** A snapshot as admitted: with the receiver's own clock beside it. */
export interface AdmittedSnapshot extends Snapshot {
  readonly receivedAt: Instant;
}

/** What is wrong with a document, and where: `nodes[3].addresses[0].address`. */
export interface Problem {
  readonly path: string;
  readonly message: string;
}

// Limits of one message. A receiver refuses what exceeds them, so a sender must not begin it.
export const SNAPSHOT_NODES_MAX = 20_000;
export const SNAPSHOT_PODS_MAX = 50_000;
export const SNAPSHOT_CHANGES_MAX = 1_000;
export const NODE_ADDRESSES_MAX = 256;
export const NODE_POD_CIDRS_MAX = 64;
export const POD_ADDRESSES_MAX = 64;
/** Label keys that a scope, a node or a pod may name. */
export const LABELS_MAX = 64;
export const SCOPE_PODS_MAX = 256;
/** Epoch and sequence have at most ten digits each, so that twenty digits hold both in order. */
export const GENERATION_NUMBER_MAX = 9_999_999_999;

// Kubernetes: names are DNS subdomains, namespaces DNS labels, a label key is a DNS subdomain, "/"
// and 63 characters. Uids are opaque.
const NAME_CHARACTERS_MAX = 253;
const NAMESPACE_CHARACTERS_MAX = 63;
const LABEL_KEY_CHARACTERS_MAX = 317;
const LABEL_VALUE_CHARACTERS_MAX = 63;
const UID_CHARACTERS_MAX = 128;
const WORD_CHARACTERS_MAX = 64;

export type SnapshotReading =
  | { readonly kind: "parsed"; readonly snapshot: Snapshot }
  | { readonly kind: "invalid"; readonly problems: readonly Problem[] };

/**
 * Reads the `data` of a message with its `time` added: limits first, then every problem at once.
 *
 * What is not an IP address is a problem, since the sender must not send it. What is an address but
 * may not be written (forbidden, out of bounds) is kept, to be judged entry by entry. Unknown
 * members and unknown types of node addresses are ignored: a newer forwarder may send them.
 */
export function parseSnapshot(data: unknown): SnapshotReading {
  const head = readWith(HEAD, data);
  if (!isObject(data)) return { kind: "invalid", problems: problemsOf(head) };
  const nodes = readElements("nodes", data.nodes, { max: SNAPSHOT_NODES_MAX, schema: NODE });
  const pods = readElements("pods", data.pods, { max: SNAPSHOT_PODS_MAX, schema: POD });
  if (head.kind === "parsed" && nodes.kind === "parsed" && pods.kind === "parsed") {
    return {
      kind: "parsed",
      snapshot: {
        ...head.value,
        nodes: nodes.value.toSorted((a, b) => compareText(a.uid, b.uid)),
        pods: pods.value.toSorted((a, b) => compareText(a.uid, b.uid)),
      },
    };
  }
  const problems = [...problemsOf(head), ...problemsOf(nodes), ...problemsOf(pods)];
  return { kind: "invalid", problems: capProblems(problems) };
}

/**
 * Each element on its own, up to the first that makes the list of problems full: a hostile body of
 * millions of broken elements must not become millions of problems in memory.
 */
function readElements<T extends { readonly uid: string }>(
  name: string,
  value: unknown,
  options: { readonly max: number; readonly schema: z.ZodMiniType<T> },
): Reading<readonly T[]> {
  const list = readWith(z.array(z.unknown()).check(z.maxLength(options.max)), value, {
    at: [name],
  });
  if (list.kind === "invalid") return list;
  const elements: T[] = [];
  const problems: Problem[] = [];
  const indexByUid = new Map<string, number>();
  for (const [index, given] of list.value.entries()) {
    if (problems.length > PROBLEMS_MAX) break;
    const element = readWith(options.schema, given, { at: [name, index] });
    if (element.kind === "parsed") elements.push(element.value);
    else problems.push(...element.problems);
    const uid = uidOf(given);
    if (uid === null) continue;
    const earlier = indexByUid.get(uid);
    if (earlier === undefined) indexByUid.set(uid, index);
    else problems.push(duplicate(uid, { name, index, earlier }));
  }
  if (problems.length > 0) return { kind: "invalid", problems };
  return { kind: "parsed", value: elements };
}

function duplicate(
  uid: string,
  where: { readonly name: string; readonly index: number; readonly earlier: number },
): Problem {
  return {
    path: pathText([where.name, where.index, "uid"]),
    message:
      `Cannot take the uid ${quote(uid)} twice: ${pathText([where.name, where.earlier])} ` +
      "has it",
  };
}

function uidOf(element: unknown): string | null {
  return isObject(element) && typeof element.uid === "string" ? element.uid : null;
}

/**
 * Order of two generations of one cluster: negative when `a` is older, 0 when they are the same.
 */
export function compareGenerations(a: Generation, b: Generation): number {
  return a.epoch === b.epoch ? a.sequence - b.sequence : a.epoch - b.epoch;
}

/**
 * The truth of a snapshot as canonical text: scope, nodes and pods. Two deliveries of one
 * generation are repeats of each other exactly when these texts are equal; times and changes do not
 * count.
 */
export function contentOf(snapshot: Pick<Snapshot, "scope" | "nodes" | "pods">): string {
  return JSON.stringify(truthOf(snapshot));
}

/**
 * The members of `data` as they are sent and stored; {@link parseSnapshot} reads them, with `time`
 * added.
 */
export function documentOf(snapshot: Snapshot) {
  const { cluster, clusterUid, generation, observedAt, changes } = snapshot;
  return {
    cluster,
    clusterUid,
    generation: { epoch: generation.epoch, sequence: generation.sequence },
    observedAt: new Date(observedAt).toISOString(),
    changes: changes.map(({ kind, name, uid }) => ({ kind, name, uid })),
    ...truthOf(snapshot),
  };
}

function truthOf({ scope, nodes, pods }: Pick<Snapshot, "scope" | "nodes" | "pods">) {
  return {
    scope: {
      labels: scope.labels,
      pods: scope.pods.map(({ namespace, labels }) => ({ namespace, labels: sortKeys(labels) })),
    },
    nodes: nodes.map((node) => ({
      uid: node.uid,
      name: node.name,
      labels: sortKeys(node.labels),
      addresses: node.addresses.map(({ type, address }) => ({
        type,
        address: addressText(address),
      })),
      podCidrs: node.podCidrs,
    })),
    pods: pods.map((pod) => ({
      uid: pod.uid,
      namespace: pod.namespace,
      name: pod.name,
      labels: sortKeys(pod.labels),
      addresses: pod.addresses.map(addressText),
    })),
  };
}

/** What the cluster's log keeps of an admitted snapshot: the message's members and when it came. */
export function storedSnapshot(snapshot: AdmittedSnapshot): object {
  return {
    receivedAt: new Date(snapshot.receivedAt).toISOString(),
    time: new Date(snapshot.time).toISOString(),
    ...documentOf(snapshot),
  };
}

/**
 * Reads what {@link storedSnapshot} wrote, strictly as a message; throws an Error that says what
 * cannot be read.
 */
export function parseStoredSnapshot(stored: unknown): AdmittedSnapshot {
  const received = readWith(z.object({ receivedAt: TIMESTAMP }), stored);
  const reading = parseSnapshot(stored);
  if (received.kind === "parsed" && reading.kind === "parsed") {
    return { ...reading.snapshot, receivedAt: received.value.receivedAt };
  }
  const problems = [
    ...problemsOf(received),
    ...(reading.kind === "invalid" ? reading.problems : []),
  ];
  const [first] = problems;
  const where = first === undefined || first.path === "" ? "" : `${first.path}: `;
  const more = problems.length > 1 ? ` (and ${problems.length - 1} more)` : "";
  throw new Error(`Cannot read the stored snapshot: ${where}${first?.message}${more}`);
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/**
 * `Object.fromEntries` makes own members of any key, `__proto__` included; an assignment would not.
 */
function sortKeys(labels: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(labels).sort(([a], [b]) => compareText(a, b)));
}

const CLUSTER_NAME = z.string().check(
  z.regex(/^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$/, {
    error: ({ input }) =>
      `Cannot take ${quote(String(input))} as a name: use 1 to 32 of a-z, 0-9 and inner hyphens`,
  }),
);

// Visible ASCII holds every name and uid that Kubernetes admits, and nothing that could forge a
// line of a log or a terminal.
function visible(min: number, max: number) {
  return z.string().check(
    z.minLength(min),
    z.maxLength(max, { abort: true }),
    z.regex(/^[\x21-\x7e]*$/, {
      error: ({ input }) =>
        `Cannot take ${quote(String(input))}: use visible ASCII characters only`,
    }),
  );
}

const UID = visible(1, UID_CHARACTERS_MAX);
const NAME = visible(1, NAME_CHARACTERS_MAX);
const NAMESPACE = visible(1, NAMESPACE_CHARACTERS_MAX);
const LABEL_KEY = visible(1, LABEL_KEY_CHARACTERS_MAX);
const LABEL_VALUE = visible(0, LABEL_VALUE_CHARACTERS_MAX);

const GENERATION_NUMBER = z
  .number()
  .check(z.minimum(0, { abort: true }), z.maximum(GENERATION_NUMBER_MAX, { abort: true }), z.int());

const RFC_3339_UTC = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?Z$/;
const EXAMPLE_TIME = "2026-11-20T21:00:05Z";
const RFC_3339_SECONDS = "2026-11-20T21:00:05".length;

/** RFC 3339 in UTC with seconds, as it is sent and stored; null where that is no time. */
export function parseTime(text: string): Instant | null {
  const instant = RFC_3339_UTC.test(text) ? Date.parse(text) : Number.NaN;
  // Date.parse takes 30 February for 2 March; only a time that is written back the same exists.
  const exists =
    !Number.isNaN(instant) &&
    new Date(instant).toISOString().slice(0, RFC_3339_SECONDS) === text.slice(0, RFC_3339_SECONDS);
  return exists ? instant : null;
}

const TIMESTAMP = z.pipe(
  z.string(),
  z.transform((text, context): Instant => {
    const instant = parseTime(text);
    if (instant !== null) return instant;
    const shown = quote(text);
    const message = `Cannot read ${shown} as a time: must be RFC 3339 in UTC, as ${EXAMPLE_TIME}`;
    context.issues.push({ code: "custom", input: text, message });
    return z.NEVER;
  }),
);

const HOST = z.pipe(
  z.string(),
  z.transform((text, context): Cidr => {
    const address = parseAddress(text);
    if (address !== null) return address;
    context.issues.push(notAnAddress(text));
    return z.NEVER;
  }),
);

function notAnAddress(text: string) {
  const message = `Cannot read ${quote(text)} as an IP address`;
  return { code: "custom" as const, input: text, message };
}

const NETWORK = z.pipe(
  z.string(),
  z.transform((text, context): Cidr => {
    const network = parseCidr(text);
    if (network !== null) return network;
    const message = `Cannot read ${quote(text)} as a CIDR`;
    context.issues.push({ code: "custom", input: text, message });
    return z.NEVER;
  }),
);

/** The count is judged before any element is looked at. */
function atMost<T>(max: number, element: z.ZodMiniType<T>) {
  return z.pipe(z.array(z.unknown()).check(z.maxLength(max)), z.array(element));
}

const LABELS = z.pipe(
  z.pipe(
    z.record(z.string(), z.unknown()).check(
      z.refine((labels) => Object.keys(labels).length <= LABELS_MAX, {
        error: ({ input }) =>
          `Cannot take ${Object.keys(Object(input)).length} labels: at most ${LABELS_MAX} allowed`,
      }),
    ),
    z.record(LABEL_KEY, LABEL_VALUE),
  ),
  z.transform(sortKeys),
);

const SCOPE = z.pipe(
  z.object({
    labels: atMost(LABELS_MAX, LABEL_KEY),
    pods: atMost(SCOPE_PODS_MAX, z.object({ namespace: NAMESPACE, labels: LABELS })),
  }),
  z.transform(({ labels, pods }): Scope => {
    const selectors = new Map(pods.map((pod) => [selectorKey(pod), pod]));
    return {
      labels: [...new Set(labels)].toSorted(),
      pods: [...selectors].toSorted(([a], [b]) => compareText(a, b)).map(([, pod]) => pod),
    };
  }),
);

function selectorKey({ namespace, labels }: PodSelector): string {
  return JSON.stringify([namespace, Object.entries(labels)]);
}

// The texts may be empty: a change need not be about one object, and nothing is decided from it.
const CHANGE = z.object({
  kind: visible(1, WORD_CHARACTERS_MAX),
  name: visible(0, NAME_CHARACTERS_MAX),
  uid: visible(0, UID_CHARACTERS_MAX),
});

const HEAD = z.object({
  cluster: CLUSTER_NAME,
  clusterUid: UID,
  generation: z.object({ epoch: GENERATION_NUMBER, sequence: GENERATION_NUMBER }),
  time: TIMESTAMP,
  observedAt: TIMESTAMP,
  scope: SCOPE,
  changes: atMost(SNAPSHOT_CHANGES_MAX, CHANGE),
});

const ADDRESS_TYPES = ["ExternalIP", "InternalIP"] as const;

// Kubernetes knows Hostname, InternalDNS and ExternalDNS beside these, and may learn more.
const TYPED_ADDRESS = z.pipe(
  z.object({ type: z.string(), address: z.string() }),
  z.transform(({ type, address }, context): NodeAddress | null => {
    const known = ADDRESS_TYPES.find((candidate) => candidate === type);
    if (known === undefined) return null;
    const host = parseAddress(address);
    if (host !== null) return { type: known, address: host };
    context.issues.push({ ...notAnAddress(address), path: ["address"] });
    return z.NEVER;
  }),
);

const NODE = z.pipe(
  z.object({
    uid: UID,
    name: NAME,
    labels: LABELS,
    addresses: atMost(NODE_ADDRESSES_MAX, TYPED_ADDRESS),
    podCidrs: atMost(NODE_POD_CIDRS_MAX, NETWORK),
  }),
  z.transform(
    (node): Node => ({
      ...node,
      addresses: sortAddresses(node.addresses),
      podCidrs: sortCidrs(node.podCidrs),
    }),
  ),
);

function sortAddresses(addresses: readonly (NodeAddress | null)[]): NodeAddress[] {
  return ADDRESS_TYPES.flatMap((type) => {
    const ofType = addresses.flatMap((given) => (given?.type === type ? [given.address] : []));
    return sortCidrs(ofType).map((address) => ({ type, address }));
  });
}

const POD = z.pipe(
  z.object({
    uid: UID,
    namespace: NAMESPACE,
    name: NAME,
    labels: LABELS,
    addresses: atMost(POD_ADDRESSES_MAX, HOST),
  }),
  z.transform((pod): Pod => ({ ...pod, addresses: sortCidrs(pod.addresses) })),
);
