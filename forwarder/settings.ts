import type { Problem } from "../lib/core/snapshot.ts";
import { LABELS_MAX } from "../lib/core/snapshot.ts";
import type { SigningKey } from "../lib/wire/signature.ts";
import type { ProxyVariables } from "./http.ts";
import { parseWebhookUrl } from "./webhook.ts";

/** What a forwarder is told: where to deliver, for whom, and what to look at. */
export interface Settings {
  /** The receiver; may hold a password or a signed query, so it is never logged whole. */
  readonly url: URL;
  /** The cluster's name in the receiver's configuration. */
  readonly cluster: string;
  readonly credential:
    | { readonly kind: "secret-file"; readonly path: string }
    | { readonly kind: "keys"; readonly keys: readonly SigningKey[] };
  /** Keys of the node labels that are sent; ascending. */
  readonly labels: readonly string[];
  /**
   * `namespace` null means the forwarder's own. `memory` is for a forwarder outside of the cluster.
   */
  readonly lease:
    | { readonly kind: "kubernetes"; readonly namespace: string | null; readonly name: string }
    | { readonly kind: "memory" };
  readonly heartbeatMs: number;
  readonly proxy: ProxyVariables;
}

const LEASE_NAME = "kube-allowlist";
const HEARTBEAT_MS = 300_000;
const HEARTBEAT_MS_MIN = 10_000;
/** With its spread still below the shortest time after which a receiver calls a cluster stale. */
const HEARTBEAT_MS_MAX = 600_000;

const PREFIX = "KUBE_ALLOWLIST_";
const LATER = ["TOKEN_FILE", "PODS", "GATE", "GATE_TIMEOUT"] as const;
const CLUSTER_NAME = /^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$/;
// Kubernetes: a label key is an optional DNS subdomain and "/", then a name.
const LABEL_KEY =
  /^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$/;
const NAMESPACE = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const OBJECT_NAME = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;
const DURATION = /^([1-9][0-9]{0,5})(s|m|h)$/;
const UNIT_MS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000 };

export type SettingsReading =
  | { readonly kind: "parsed"; readonly settings: Settings }
  | { readonly kind: "invalid"; readonly problems: readonly Problem[] };

/**
 * Reads `KUBE_ALLOWLIST_*` and the proxy variables; every problem at once, its path the variable's
 * name, no value of a secret or URL in its message. Blank counts as absent.
 */
export function parseSettings(env: Readonly<Record<string, string | undefined>>): SettingsReading {
  const problems: Problem[] = [];
  const textOf = (name: string) => env[PREFIX + name]?.trim() ?? "";
  /** The value as `read` makes it of the text; its RangeErrors become problems. */
  function take<T>(name: string, read: (text: string) => T): T | null {
    try {
      return read(textOf(name));
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      problems.push({ path: PREFIX + name, message: error.message });
      return null;
    }
  }
  for (const name of LATER) {
    if (textOf(name) === "") continue;
    const message = `Cannot use ${PREFIX}${name}: not supported yet; leave it out`;
    problems.push({ path: PREFIX + name, message });
  }
  const url = take("URL", readUrl);
  const cluster = take("CLUSTER", readCluster);
  const path = take("SECRET_FILE", readSecretFile);
  const labels = take("LABELS", readLabels);
  const lease = take("LEASE", readLease);
  const heartbeatMs = take("HEARTBEAT", readHeartbeat);
  const proxy = proxyVariables(env);
  problems.push(...proxyProblems(proxy));
  if (
    url === null ||
    cluster === null ||
    path === null ||
    labels === null ||
    lease === null ||
    heartbeatMs === null ||
    problems.length > 0
  ) {
    return { kind: "invalid", problems: problems.toSorted(byPath) };
  }
  const credential = { kind: "secret-file", path } as const;
  return {
    kind: "parsed",
    settings: { url, cluster, credential, labels, lease, heartbeatMs, proxy },
  };
}

function byPath(a: Problem, b: Problem): number {
  return a.path < b.path ? -1 : a.path > b.path ? 1 : 0;
}

function readUrl(text: string): URL {
  if (text === "") {
    throw new RangeError(
      "Cannot deliver anywhere: the receiver's URL is missing; give its https URL",
    );
  }
  return parseWebhookUrl(text);
}

function readCluster(text: string): string {
  if (CLUSTER_NAME.test(text)) return text;
  const given = text === "" ? "nothing" : JSON.stringify(text);
  const wayOut = "give the name that the receiver's configuration has for it";
  throw new RangeError(`Cannot take ${given} as the cluster's name: ${wayOut}`);
}

function readSecretFile(text: string): string {
  if (text !== "") return text;
  throw new RangeError(
    "Cannot sign deliveries: no file is named; give the path of a file with a whsec_ key",
  );
}

function readLabels(text: string): readonly string[] {
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

function readLease(text: string): Extract<Settings["lease"], { kind: "kubernetes" }> {
  if (text === "") return { kind: "kubernetes", namespace: null, name: LEASE_NAME };
  const [namespace, name, ...rest] = text.includes("/") ? text.split("/") : [null, text];
  const isNamespace = namespace === null || NAMESPACE.test(namespace ?? "");
  if (!isNamespace || name === undefined || !OBJECT_NAME.test(name) || rest.length > 0) {
    const wayOut = "write NAMESPACE/NAME, or NAME in the own namespace";
    throw new RangeError(`Cannot take ${JSON.stringify(text)} as a Lease: ${wayOut}`);
  }
  return { kind: "kubernetes", namespace: namespace ?? null, name };
}

function readHeartbeat(text: string): number {
  if (text === "") return HEARTBEAT_MS;
  const [, count, unit = ""] = DURATION.exec(text) ?? [];
  const ms = Number(count) * (UNIT_MS[unit] ?? Number.NaN);
  if (ms >= HEARTBEAT_MS_MIN && ms <= HEARTBEAT_MS_MAX) return ms;
  const wayOut = "write 10s to 10m, since a receiver calls stale what it hears more seldom";
  throw new RangeError(`Cannot take ${JSON.stringify(text)} as a heartbeat: ${wayOut}`);
}

/** Never with the value: people put passwords into it. */
function proxyProblems(proxy: ProxyVariables): Problem[] {
  return Object.entries(proxy).flatMap(([path, value]) => {
    if (/^no_proxy$/i.test(path) || value === undefined || value === "") return [];
    const scheme = URL.canParse(value) ? new URL(value).protocol : null;
    if (scheme === "http:" || scheme === "https:") return [];
    const wayOut = "correct or unset it";
    const message = `Cannot use ${path}: expected the http or https URL of a proxy; ${wayOut}`;
    return [{ path, message }];
  });
}

/** The variables that Node's agents know, in either case. */
function proxyVariables(env: Readonly<Record<string, string | undefined>>): ProxyVariables {
  const names = ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"].flatMap((name) => [
    name,
    name.toLowerCase(),
  ]);
  return Object.fromEntries(
    names.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]]])),
  );
}
