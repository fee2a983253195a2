import * as z from "zod/mini";
import {
  parseCluster,
  refuseSharedReferences,
  refuseSharedTokens,
  sharedKeyMessage,
} from "./config/cluster.ts";
import { refuseStrangeFamilies, refuseUnsayableScopes } from "./config/combinations.ts";
import { type Kinds, parseList, refuseSharedNames, refuseSharedSlots } from "./config/list.ts";
import { createReader, type Reader, unknownMessage } from "./config/problems.ts";
import { entriesOf, isRecord, recordOf } from "./config/raw.ts";
import { fileShape, storeShapes } from "./config/shape.ts";
import { refuseTwoWays } from "./config/source.ts";
import type { Policy } from "./core/list.ts";
import { capProblems } from "./core/problem.ts";
import type { Problem } from "./core/snapshot.ts";
import type { OssSettings, S3Settings } from "./stores/settings.ts";
import { kinds as registeredKinds } from "./targets/registry.ts";

export type StoreConfig =
  | { readonly kind: "memory" }
  /**
   * `path` as written: relative paths are relative to the configuration file, which only the entry
   * knows.
   */
  | { readonly kind: "file"; readonly path: string }
  | S3Settings
  | OssSettings;

/**
 * How a cluster's deliveries prove themselves; every method that is not null must hold. Both are
 * null only for retired clusters.
 */
export interface ClusterAuth {
  /** Tokens of a service account of the cluster. */
  readonly serviceAccount: ServiceAccountAuth | null;
  /** Unresolved references to keys ({@link resolveReference}), at least one. */
  readonly signature: { readonly keys: readonly string[] } | null;
}

/** All three to the letter; no two clusters have the same three. */
export interface ServiceAccountAuth {
  readonly issuer: string;
  readonly audience: string;
  readonly subject: string;
  /** Where the issuer's public keys come from: from itself, or pinned. */
  readonly keys:
    | { readonly kind: "discover" }
    | { readonly kind: "reference"; readonly reference: string }
    /** A JSON Web Key Set, not read yet. */
    | { readonly kind: "inline"; readonly text: string };
}

/** The receiver's configuration. Holds references to secrets, never secrets. */
export interface Config extends Policy {
  readonly store: StoreConfig;
  /**
   * By cluster, one for each of `clusters`. Like `clusters` without a prototype, so any text may be
   * looked up.
   */
  readonly auth: Readonly<Record<string, ClusterAuth>>;
  /** Unresolved references to the bearer tokens that may read the status from another machine. */
  readonly statusTokens: readonly string[];
}

export type ConfigReading =
  | { readonly kind: "parsed"; readonly config: Config }
  | { readonly kind: "invalid"; readonly problems: readonly Problem[] };

/**
 * The configuration that `value`, the parsed YAML or JSON, describes; or every problem of it at
 * once, each with its path, in the order of the file. Pure: resolves no reference and looks at no
 * environment. Same value, same result: clusters and lists in ascending order of name.
 */
export function parseConfig(value: unknown, kinds: Kinds = registeredKinds): ConfigReading {
  const reader = createReader();
  const root = recordOf(value);
  const head = reader.check(FILE_SHAPE, value, []);
  const store = parseStore(root.store, reader);
  const clusters = entriesOf(root.clusters).map(([name, raw]) => parseCluster(name, raw, reader));
  refuseSharedReferences(entriesOf(root.clusters), reader);
  refuseSharedTokens(entriesOf(root.clusters), reader);
  const context = {
    reader,
    kinds,
    installation: head?.installation ?? "",
    clusters: entriesOf(root.clusters).map(([name]) => name),
  };
  const lists = entriesOf(root.lists).map(([name, raw]) => parseList(name, raw, context));
  refuseSharedSlots(lists, { kinds, reader });
  refuseSharedNames(lists, reader);
  refuseTwoWays(lists, reader);
  const whole = clusters.flatMap(({ cluster }) => (cluster === null ? [] : [cluster]));
  const byCluster = byName(whole.map((cluster) => [cluster.name, cluster]));
  // Judged over whole lists only: of half a list nothing can be said to be impossible.
  if (reader.problems.length === 0) {
    refuseStrangeFamilies(lists, byCluster, { kinds, reader });
    refuseUnsayableScopes(lists, context.clusters, reader);
  }
  if (reader.problems.length > 0 || head === null || store === null) {
    return { kind: "invalid", problems: capProblems(reader.problems) };
  }
  return {
    kind: "parsed",
    config: {
      installation: head.installation,
      clusters: byCluster,
      lists: lists
        .flatMap(({ list }) => (list === null ? [] : [list]))
        .toSorted((a, b) => (a.name < b.name ? -1 : 1)),
      store,
      auth: byName(clusters.map(({ name, auth }) => [name, auth])),
      statusTokens: head.status?.tokens ?? [],
    },
  };
}

/**
 * {@link parseConfig} for the JSON that is packaged with the functions; YAML is read by
 * `config/yaml.ts`, which they do without.
 */
export function parseJsonConfig(text: string): ConfigReading {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return {
      kind: "invalid",
      problems: [{ path: "", message: `Cannot read JSON: ${reason}; run "npm run package" again` }],
    };
  }
  return parseConfig(value);
}

// Clusters and lists are parsed one by one, so that one bad part hides no other.
const FILE_SHAPE = fileShape({
  name: z.string(),
  store: z.record(z.string(), z.unknown()),
  cluster: z.unknown(),
  list: z.unknown(),
});

function byName<T>(pairs: readonly (readonly [string, T])[]): Readonly<Record<string, T>> {
  const record: Record<string, T> = Object.create(null);
  for (const [name, value] of pairs.toSorted(([a], [b]) => (a < b ? -1 : 1))) record[name] = value;
  return record;
}

function parseStore(raw: unknown, reader: Reader): StoreConfig | null {
  if (!isRecord(raw)) return null;
  const kind = raw.kind;
  if (kind === "memory") return reader.check(storeShapes.memory, raw, ["store"]);
  if (kind === "file") return reader.check(storeShapes.file, raw, ["store"]);
  if (kind === "s3") return reader.check(storeShapes.s3, raw, ["store"]);
  if (kind === "oss") return reader.check(storeShapes.oss, raw, ["store"]);
  const message = unknownMessage("kind of store", kind, Object.keys(storeShapes));
  reader.add(["store", "kind"], message);
  return null;
}

/**
 * The secret that a reference (`env:NAME`, `file:PATH`) stands for, without surrounding blanks.
 * `readFile` decides what relative paths are relative to. Throws an Error that names the reference,
 * never its value.
 */
export function resolveReference(
  reference: string,
  options: {
    readonly env: Readonly<Record<string, string | undefined>>;
    readonly readFile: (path: string) => string;
  },
): string {
  const value = readReference(reference, options).trim();
  if (value !== "") return value;
  throw new Error(`Cannot use ${reference}: it is empty`);
}

function readReference(reference: string, options: Parameters<typeof resolveReference>[1]): string {
  const colon = reference.indexOf(":");
  const place = reference.slice(colon + 1);
  switch (reference.slice(0, Math.max(colon, 0))) {
    case "env": {
      const value = Object.hasOwn(options.env, place) ? options.env[place] : undefined;
      if (value !== undefined) return value;
      throw new Error(
        `Cannot resolve ${reference}: the variable is not set; set it or correct the name`,
      );
    }
    case "file":
      try {
        return options.readFile(place);
      } catch (error) {
        const code = error instanceof Error && "code" in error ? String(error.code) : "unreadable";
        throw new Error(`Cannot resolve ${reference}: ${code}; check the path and its permissions`);
      }
    default:
      // Not shown, since it may be the secret itself.
      throw new Error('Cannot resolve a reference: it must begin with "env:" or "file:"');
  }
}

/** One key of one cluster with its value. */
export interface ResolvedKey {
  readonly cluster: string;
  readonly reference: string;
  readonly value: string;
}

/**
 * What `parseConfig` can only check for references: one key under two clusters, also when it is
 * kept in two places. To be called by whoever resolves the references; messages never show a value.
 */
export function findSharedKeys(keys: readonly ResolvedKey[]): readonly Problem[] {
  const reader = createReader();
  const first = new Map<string, ResolvedKey>();
  for (const key of keys) {
    const material = keyMaterial(key.value);
    const other = first.get(material) ?? key;
    first.set(material, other);
    if (other.cluster === key.cluster) continue;
    const shared = sharedKeyMessage(other.cluster, key.cluster);
    const message = `${shared} (${other.reference} and ${key.reference} hold the same)`;
    reader.add(["clusters", key.cluster, "auth", "signature", "keys"], message);
  }
  return reader.problems;
}

// Base64 has several spellings of the same bytes, with and without padding.
function keyMaterial(value: string): string {
  const text = value.trim().replace(/^whsec_/, "");
  return Buffer.from(text, "base64").toString("hex");
}
