import type { PodSelector, Problem } from "../lib/core/snapshot.ts";
import type { SigningKey } from "../lib/wire/signature.ts";
import type { ProxyVariables } from "./proxy.ts";
import {
  expectRoomForLabels,
  type GateMark,
  type LeaseName,
  type Listening,
  readCluster,
  readGate,
  readGateTimeout,
  readHeartbeat,
  readLabels,
  readLease,
  readListen,
  readPath,
  readPods,
  readUrl,
} from "./variables.ts";

/** What a forwarder is told: where to deliver, for whom, and what to look at. */
export interface Settings {
  /** The receiver; may hold a password or a signed query, so it is never logged whole. */
  readonly url: URL;
  /** The cluster's name in the receiver's configuration. */
  readonly cluster: string;
  readonly credential: Credential;
  /** Keys of the labels that are sent, of nodes and of pods; ascending. */
  readonly labels: readonly string[];
  /** Which pods are sent beside the nodes; ascending. */
  readonly pods: readonly PodSelector[];
  /** `memory` is for a forwarder outside of the cluster. */
  readonly lease: LeaseName | { readonly kind: "memory" };
  readonly heartbeatMs: number;
  /** Null where nodes are not held back. */
  readonly gate: GateSettings | null;
  /** Null where neither probes nor metrics are served. */
  readonly listen: Listening | null;
  readonly proxy: ProxyVariables;
}

/**
 * What proves whose deliveries these are. With both, a delivery carries both, since a receiver may
 * demand both; at least one is there.
 */
export interface Credential {
  readonly signing:
    | { readonly kind: "file"; readonly path: string }
    | { readonly kind: "keys"; readonly keys: readonly SigningKey[] }
    | null;
  /** Path of a file with a service account's token for the receiver, which rotates in place. */
  readonly tokenFile: string | null;
}

export interface GateSettings {
  readonly mark: GateMark;
  /** A node that is not ready for so long is let go, loudly; null: never. */
  readonly timeoutMs: number | null;
}

export type SettingsReading =
  | { readonly kind: "parsed"; readonly settings: Settings }
  | { readonly kind: "invalid"; readonly problems: readonly Problem[] };

const PREFIX = "KUBE_ALLOWLIST_";

const READERS = {
  URL: readUrl,
  CLUSTER: readCluster,
  TOKEN_FILE: readPath,
  SECRET_FILE: readPath,
  LABELS: readLabels,
  PODS: readPods,
  LEASE: readLease,
  HEARTBEAT: readHeartbeat,
  GATE: readGate,
  GATE_TIMEOUT: readGateTimeout,
  LISTEN: readListen,
} as const;

/** Every variable that a forwarder reads of its own. */
export const VARIABLES: readonly string[] = Object.keys(READERS).map((name) => PREFIX + name);

/**
 * Reads `KUBE_ALLOWLIST_*` and the proxy variables; every problem at once, its path the variable's
 * name, no value of a secret or URL in its message. Blank counts as absent.
 */
export function parseSettings(env: Readonly<Record<string, string | undefined>>): SettingsReading {
  const textOf = (name: keyof typeof READERS) => env[PREFIX + name]?.trim() ?? "";
  const proxy = proxyVariables(env);
  const problems = [...proxyProblems(proxy)];
  const attempt = (name: string, read: () => unknown) => {
    try {
      read();
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      problems.push({ path: PREFIX + name, message: error.message });
    }
  };
  for (const [name, read] of Object.entries(READERS)) {
    attempt(name, () => read(textOf(name as keyof typeof READERS)));
  }
  if (!problems.some(({ path }) => path === `${PREFIX}PODS` || path === `${PREFIX}LABELS`)) {
    const pods = readPods(textOf("PODS"));
    attempt("PODS", () => expectRoomForLabels(pods, readLabels(textOf("LABELS"))));
  }
  const secretFile = textOf("SECRET_FILE");
  const tokenFile = readPath(textOf("TOKEN_FILE"));
  if (secretFile === "" && tokenFile === null) problems.push(NO_CREDENTIAL);
  if (tokenFile !== null && hasPassword(textOf("URL"))) problems.push(TWO_AUTHORIZATIONS);
  const gate = textOf("GATE");
  if (textOf("GATE_TIMEOUT") !== "" && (gate === "" || gate === "off")) problems.push(NO_GATE);
  if (problems.length > 0) return { kind: "invalid", problems: problems.toSorted(byPath) };
  const signing = secretFile === "" ? null : ({ kind: "file", path: secretFile } as const);
  const mark = readGate(gate);
  const timeoutMs = readGateTimeout(textOf("GATE_TIMEOUT"));
  return {
    kind: "parsed",
    settings: {
      url: readUrl(textOf("URL")),
      cluster: readCluster(textOf("CLUSTER")),
      credential: { signing, tokenFile },
      labels: readLabels(textOf("LABELS")),
      pods: readPods(textOf("PODS")),
      lease: readLease(textOf("LEASE")),
      heartbeatMs: readHeartbeat(textOf("HEARTBEAT")),
      gate: mark === null ? null : { mark, timeoutMs },
      listen: readListen(textOf("LISTEN")),
      proxy,
    },
  };
}

const NO_CREDENTIAL: Problem = {
  path: `${PREFIX}SECRET_FILE`,
  message:
    "Cannot prove whose deliveries these are: no file is named; give the path of a file with a " +
    `whsec_ key, or of a service account's token as ${PREFIX}TOKEN_FILE`,
};

const TWO_AUTHORIZATIONS: Problem = {
  path: `${PREFIX}TOKEN_FILE`,
  message:
    "Cannot send a token to a URL with a user and a password: both are the header Authorization; " +
    "leave one of them out",
};

function hasPassword(url: string): boolean {
  if (!URL.canParse(url)) return false;
  const { username, password } = new URL(url);
  return username !== "" || password !== "";
}

const NO_GATE: Problem = {
  path: `${PREFIX}GATE_TIMEOUT`,
  message: `Cannot time a gate that is not there: set ${PREFIX}GATE, or leave this out`,
};

function byPath(a: Problem, b: Problem): number {
  return a.path < b.path ? -1 : a.path > b.path ? 1 : 0;
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
