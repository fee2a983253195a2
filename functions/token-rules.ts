import { oneAccountMessage } from "../lib/config/cluster.ts";
import type { Config, ServiceAccountAuth } from "../lib/config.ts";
import type { Problem } from "../lib/core/snapshot.ts";
import { type KeySet, parseKeySet, type VerifyingKey } from "../lib/wire/jwks.ts";
import type { TokenRule } from "../lib/wire/token.ts";
import type { World } from "../lib/world.ts";
import { fetchIssuerKeys } from "./issuer-keys.ts";
import { fixedKeys, type KeySource, keySource } from "./key-source.ts";
import { ConfigurationError } from "./tokens.ts";

/** A rule, and where the keys for it come from. */
export interface ClusterTokens {
  readonly rule: TokenRule;
  readonly source: KeySource;
}

/** The issuer is asked again this seldom, unless a token names a key that is not known; */
const DISCOVERED_FRESH_MS = 3_600_000;
/** and then this seldom. */
const DISCOVERED_PAUSE_MS = 30_000;
/** A file is read again this often, so that a key that was taken out of it is soon forgotten; */
const FILE_FRESH_MS = 60_000;
const FILE_PAUSE_MS = 10_000;

interface Surroundings {
  readonly world: World;
  readonly secret: (reference: string) => string;
}

/**
 * Whose tokens speak for which cluster. Pinned keys are read here: throws a ConfigurationError with
 * all that is wrong with them, also where one is pinned for the same subject of two clusters.
 * Clusters of one issuer share what is discovered.
 */
export function resolveTokenRules(
  auth: Config["auth"],
  surroundings: Surroundings,
): readonly ClusterTokens[] {
  const problems: Problem[] = [];
  const discovered = new Map<string, Keys>();
  const clusterOf = new Map<string, string>();
  const rules = Object.entries(auth).flatMap(([cluster, { serviceAccount }]) => {
    if (serviceAccount === null) return [];
    const { issuer, audience, subject } = serviceAccount;
    try {
      const shared = serviceAccount.keys.kind === "discover" ? discovered.get(issuer) : undefined;
      const { source, pinned } = shared ?? sourceOf(serviceAccount, surroundings);
      for (const { key } of pinned) {
        const signer = `${subject} ${key.export({ type: "spki", format: "der" }).toString("hex")}`;
        const other = clusterOf.get(signer) ?? cluster;
        if (other !== cluster) throw new Error(oneAccountMessage(other, cluster));
        clusterOf.set(signer, cluster);
      }
      if (serviceAccount.keys.kind === "discover") discovered.set(issuer, { source, pinned });
      return [{ rule: { cluster, issuer, audience, subject }, source }];
    } catch (error) {
      const message = error instanceof Error ? error.message : "Cannot read the keys";
      problems.push({ path: `clusters.${cluster}.auth.serviceAccount.jwks`, message });
      return [];
    }
  });
  if (problems.length > 0) throw new ConfigurationError(problems);
  return rules;
}

interface Keys {
  readonly source: KeySource;
  /** Those that are known from the beginning. */
  readonly pinned: readonly VerifyingKey[];
}

function sourceOf(given: ServiceAccountAuth, surroundings: Surroundings): Keys {
  const { keys, issuer } = given;
  const { world, secret } = surroundings;
  switch (keys.kind) {
    case "discover": {
      const read = () => fetchIssuerKeys(issuer, world);
      const times = { freshMs: DISCOVERED_FRESH_MS, pauseMs: DISCOVERED_PAUSE_MS };
      return { source: keySource({ name: issuer, world, read, ...times }), pinned: [] };
    }
    case "inline": {
      const set = told(readPinned(keys.text, issuer), world);
      return { source: fixedKeys(set), pinned: set.keys };
    }
    case "reference": {
      const { reference } = keys;
      const read = () => readPinned(secret(reference), issuer);
      const first = told(read(), world);
      const pinned = first.keys;
      if (!reference.startsWith("file:")) return { source: fixedKeys(first), pinned };
      const times = { freshMs: FILE_FRESH_MS, pauseMs: FILE_PAUSE_MS };
      return { source: keySource({ name: reference, world, read, first, ...times }), pinned };
    }
    default:
      throw new Error(`Unreachable: ${JSON.stringify(keys satisfies never)}`);
  }
}

function readPinned(text: string, issuer: string): KeySet {
  const set = parseKeySet(text);
  if (set.issuer === null || set.issuer === issuer) return set;
  throw new Error(
    "Cannot use the key set: the issuer in it is not the configured one; take the one from " +
      '"kube-allowlist doctor jwks" as it stands',
  );
}

/** What of a pinned set cannot be used is said where people look when it does not work. */
function told(set: KeySet, { log }: Pick<World, "log">): KeySet {
  for (const sentence of set.refused) log.warn({}, sentence);
  return set;
}
