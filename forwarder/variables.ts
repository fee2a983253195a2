import { selectorText } from "../lib/core/scope.ts";
import { LABELS_MAX, type PodSelector, SCOPE_PODS_MAX } from "../lib/core/snapshot.ts";
import { parseWebhookUrl } from "./webhook.ts";

/*
 * One reader for each variable of the forwarder. A reader throws a RangeError with a sentence that
 * ends in a way out, and that shows no secret; blank text means that the variable is not set.
 */

/** The Lease by which several forwarders take turns; `namespace` null is the forwarder's own. */
export interface LeaseName {
  readonly kind: "kubernetes";
  readonly namespace: string | null;
  readonly name: string;
}

/** How a node is kept free of pods until it may be reached: a taint of this key, or a condition. */
export type GateMark =
  | { readonly kind: "taint"; readonly key: string }
  | { readonly kind: "condition" };

/** Where probes and metrics are served. */
export interface Listening {
  readonly host: string;
  readonly port: number;
}

/** The taint that Cluster Autoscaler takes for one of a starting node without being told. */
export const GATE_TAINT = "startup-taint.cluster-autoscaler.kubernetes.io/kube-allowlist";

const LEASE_NAME = "kube-allowlist";
const HEARTBEAT_MS = 300_000;
const HEARTBEAT_MS_MIN = 10_000;
/** With its spread still below the shortest time after which a receiver calls a cluster stale. */
const HEARTBEAT_MS_MAX = 600_000;
const GATE_TIMEOUT_MS = 600_000;
const GATE_TIMEOUT_MS_MIN = 60_000;
const GATE_TIMEOUT_MS_MAX = 86_400_000;
const PORT_MAX = 65_535;

const CLUSTER_NAME = /^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$/;
// Kubernetes: a label key is an optional DNS subdomain and "/", then a name; taint keys are alike.
const LABEL_KEY =
  /^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$/;
const LABEL_VALUE = /^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$/;
const NAMESPACE = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const OBJECT_NAME = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;
const DURATION = /^([1-9][0-9]{0,5})(s|m|h)$/;
const UNIT_MS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000 };

export function readUrl(text: string): URL {
  if (text === "") {
    throw new RangeError(
      "Cannot deliver anywhere: the receiver's URL is missing; give its https URL",
    );
  }
  return parseWebhookUrl(text);
}

export function readCluster(text: string): string {
  if (CLUSTER_NAME.test(text)) return text;
  const given = text === "" ? "nothing" : JSON.stringify(text);
  const wayOut = "give the name that the receiver's configuration has for it";
  throw new RangeError(`Cannot take ${given} as the cluster's name: ${wayOut}`);
}

/** The path of a file, or null. What is in it is read when it is needed, since it may rotate. */
export function readPath(text: string): string | null {
  return text === "" ? null : text;
}

export function readLabels(text: string): readonly string[] {
  const keys = text
    .split(",")
    .map((key) => key.trim())
    .filter((key) => key !== "");
  const wrong = keys.filter((key) => !LABEL_KEY.test(key));
  if (wrong.length > 0) {
    const given = wrong.map((key) => JSON.stringify(key)).join(", ");
    const wayOut = "write keys only, with commas between, as pool,topology.kubernetes.io/zone";
    throw new RangeError(`Cannot take ${given} as label keys: ${wayOut}`);
  }
  const unique = [...new Set(keys)].toSorted();
  if (unique.length > LABELS_MAX) {
    throw new RangeError(`Cannot take ${unique.length} label keys: at most ${LABELS_MAX} allowed`);
  }
  return unique;
}

export function readLease(text: string): LeaseName {
  if (text === "") return { kind: "kubernetes", namespace: null, name: LEASE_NAME };
  const [namespace, name, ...rest] = text.includes("/") ? text.split("/") : [null, text];
  const isNamespace = namespace === null || NAMESPACE.test(namespace ?? "");
  if (!isNamespace || name === undefined || !OBJECT_NAME.test(name) || rest.length > 0) {
    const wayOut = "write NAMESPACE/NAME, or NAME in the own namespace";
    throw new RangeError(`Cannot take ${JSON.stringify(text)} as a Lease: ${wayOut}`);
  }
  return { kind: "kubernetes", namespace: namespace ?? null, name };
}

export function readHeartbeat(text: string): number {
  if (text === "") return HEARTBEAT_MS;
  const ms = durationMs(text);
  if (ms >= HEARTBEAT_MS_MIN && ms <= HEARTBEAT_MS_MAX) return ms;
  const wayOut = "write 10s to 10m, since a receiver calls stale what it hears more seldom";
  throw new RangeError(`Cannot take ${JSON.stringify(text)} as a heartbeat: ${wayOut}`);
}

/** NaN for what is no duration. */
function durationMs(text: string): number {
  const [, count, unit = ""] = DURATION.exec(text) ?? [];
  return Number(count) * (UNIT_MS[unit] ?? Number.NaN);
}

/**
 * `pay/app=api,tier=web; ops`: a namespace, a slash and the labels that a pod must have, all of
 * them; a namespace alone is every pod in it. In ascending order, each selector once.
 */
export function readPods(text: string): readonly PodSelector[] {
  const selectors = new Map<string, PodSelector>();
  for (const part of text.split(";")) {
    const given = part.trim();
    if (given === "") continue;
    const selector = readSelector(given);
    selectors.set(selectorText(selector), selector);
  }
  if (selectors.size > SCOPE_PODS_MAX) {
    throw new RangeError(
      `Cannot take ${selectors.size} selectors of pods: at most ${SCOPE_PODS_MAX} allowed`,
    );
  }
  return [...selectors].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, selector]) => selector);
}

/**
 * A pod is sent with the labels of the scope and with those of all selectors that take it, and no
 * message holds more than {@link LABELS_MAX} of one pod. Throws a RangeError where there may be
 * more: one that was left out would be taken for a label that the pod does not have.
 */
export function expectRoomForLabels(pods: readonly PodSelector[], labels: readonly string[]): void {
  const keys = new Map<string, Set<string>>();
  for (const { namespace, labels: own } of pods) {
    const known = keys.get(namespace) ?? new Set(labels);
    for (const key of Object.keys(own)) known.add(key);
    keys.set(namespace, known);
  }
  const wide = [...keys].filter(([, known]) => known.size > LABELS_MAX);
  if (wide.length === 0) return;
  const given = wide.map(([namespace, { size }]) => `${size} in "${namespace}"`).join(", ");
  throw new RangeError(
    `Cannot send so many labels of one pod (${given}): at most ${LABELS_MAX} allowed; name fewer ` +
      "in KUBE_ALLOWLIST_LABELS and in the selectors of this namespace",
  );
}

function readSelector(given: string): PodSelector {
  const slash = given.indexOf("/");
  const namespace = slash < 0 ? given : given.slice(0, slash).trim();
  const pairs = slash < 0 ? [] : readPairs(given.slice(slash + 1));
  if (!NAMESPACE.test(namespace) || pairs === null) {
    const wayOut =
      "write NAMESPACE/KEY=VALUE,KEY=VALUE, or NAMESPACE for every pod, as pay/app=api";
    throw new RangeError(`Cannot take ${JSON.stringify(given)} as a selector of pods: ${wayOut}`);
  }
  const labels = Object.fromEntries(pairs.toSorted(([a], [b]) => (a < b ? -1 : 1)));
  return { namespace, labels };
}

/** Null when one is no pair, or two have one key. */
function readPairs(text: string): readonly (readonly [key: string, value: string])[] | null {
  const given = text.split(",").map((pair) => pair.trim());
  const pairs: [string, string][] = [];
  for (const pair of given.filter((one) => one !== "")) {
    const [key = "", value, ...rest] = pair.split("=").map((side) => side.trim());
    const isPair = value !== undefined && rest.length === 0;
    if (!isPair || !LABEL_KEY.test(key) || !LABEL_VALUE.test(value)) return null;
    if (pairs.some(([other]) => other === key)) return null;
    pairs.push([key, value]);
  }
  return pairs;
}

/** Null for none. `taint` is {@link GATE_TAINT}. */
export function readGate(text: string): GateMark | null {
  if (text === "" || text === "off") return null;
  if (text === "condition") return { kind: "condition" };
  if (text === "taint") return { kind: "taint", key: GATE_TAINT };
  if (text.includes("/") && LABEL_KEY.test(text)) return { kind: "taint", key: text };
  const wayOut = `write "taint" (${GATE_TAINT}), a taint's key with a domain, "condition" or "off"`;
  throw new RangeError(`Cannot take ${JSON.stringify(text)} as a gate: ${wayOut}`);
}

/** How long a gate stays shut at most; null for as long as it takes. */
export function readGateTimeout(text: string): number | null {
  if (text === "") return GATE_TIMEOUT_MS;
  if (text === "never") return null;
  const ms = durationMs(text);
  if (ms >= GATE_TIMEOUT_MS_MIN && ms <= GATE_TIMEOUT_MS_MAX) return ms;
  const wayOut = 'write 1m to 24h, or "never" to keep nodes shut for as long as it takes';
  throw new RangeError(`Cannot take ${JSON.stringify(text)} as the gate's timeout: ${wayOut}`);
}

/**
 * `8080`, `127.0.0.1:8080`, `[::]:8080`; a port alone is every interface, as a kubelet needs it.
 * Null for none. Port 0 takes a free one.
 */
export function readListen(text: string): Listening | null {
  if (text === "" || text === "off") return null;
  const [, host, port] = /^(?:(\[[0-9a-f:.]+\]|[^:[\]/]*):)?(\d{1,5})$/i.exec(text) ?? [];
  if (port !== undefined && Number(port) <= PORT_MAX) {
    return { host: (host || "[::]").replaceAll(/[[\]]/g, ""), port: Number(port) };
  }
  const wayOut = 'write a port, HOST:PORT or "off"';
  throw new RangeError(`Cannot listen on ${JSON.stringify(text)}: ${wayOut}`);
}
