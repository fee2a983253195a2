import type { ClusterAuth, ServiceAccountAuth } from "../config.ts";
import { type Cidr, sortCidrs } from "../core/cidr.ts";
import { discoveryUrl, opensMore } from "../core/issuer.ts";
import type { Bounds, Cluster, Widest } from "../core/list.ts";
import type { Path, Reader } from "./problems.ts";
import { isRecord, itemsOf, recordOf } from "./raw.ts";
import { clusterShape, nameShape } from "./shape.ts";

const MAX_ENTRIES_DEFAULT = 1_000;
const STALE_AFTER_DEFAULT_MS = 15 * 60_000;
const WIDEST_DEFAULT = { ipv4: 20, ipv6: 56 };

export interface ParsedCluster {
  readonly name: string;
  readonly cluster: Cluster | null;
  readonly auth: ClusterAuth;
}

/** One cluster of the file; whatever is wrong with it is added to the reader. */
export function parseCluster(name: string, raw: unknown, reader: Reader): ParsedCluster {
  const at = ["clusters", name];
  reader.check(nameShape, name, at);
  const parsed = reader.check(clusterShape, raw, at);
  if (isRecord(raw)) {
    refuseWeakAuth(raw, at, reader);
    refuseUnlimitedPublic(raw, at, reader);
  }
  const signature = parsed?.auth?.signature ?? null;
  const serviceAccount = parsed?.auth?.serviceAccount ?? null;
  const auth: ClusterAuth = {
    serviceAccount: serviceAccount === null ? null : readServiceAccount(serviceAccount),
    signature: signature === null ? null : { keys: [...new Set(signature.keys)] },
  };
  if (parsed === null) return { name, cluster: null, auth };
  const cluster: Cluster = {
    name,
    bounds: boundsOf(parsed.bounds),
    maxEntries: parsed.maxEntries ?? MAX_ENTRIES_DEFAULT,
    staleAfterMs: parsed.staleAfter ?? STALE_AFTER_DEFAULT_MS,
    uid: parsed.uid ?? null,
    retired: parsed.retired ?? false,
    widest: widestOf(parsed.widest),
  };
  return { name, cluster, auth };
}

export function widestOf(
  parsed: { readonly ipv4?: number | undefined; readonly ipv6?: number | undefined } | undefined,
): Widest {
  const { ipv4 = WIDEST_DEFAULT.ipv4, ipv6 = WIDEST_DEFAULT.ipv6 } = parsed ?? {};
  return { ipv4, ipv6 };
}

export function boundsOf(parsed: readonly (Cidr | "public")[]): Bounds {
  const cidrs = parsed.filter((bound): bound is Cidr => bound !== "public");
  return cidrs.length < parsed.length ? "public" : sortCidrs(cidrs);
}

function readServiceAccount({
  jwks,
  ...rule
}: Omit<ServiceAccountAuth, "keys"> & { readonly jwks: string | object }): ServiceAccountAuth {
  if (typeof jwks !== "string") {
    return { ...rule, keys: { kind: "inline", text: JSON.stringify(jwks) } };
  }
  const isDiscovered = jwks === "discover";
  return {
    ...rule,
    keys: isDiscovered ? { kind: "discover" } : { kind: "reference", reference: jwks },
  };
}

function refuseWeakAuth(raw: Readonly<Record<string, unknown>>, at: Path, reader: Reader): void {
  const auth = recordOf(raw.auth);
  if (auth.serviceAccount !== undefined) {
    refuseWeakTokens(recordOf(auth.serviceAccount), [...at, "auth", "serviceAccount"], reader);
  }
  if (raw.retired === true || Object.keys(auth).length > 0) return;
  const message =
    "Cannot take deliveries without proof: no method is given; write signature: { keys: " +
    '["env:NAME"] } or serviceAccount: { issuer, audience, subject, jwks }, or retired: true';
  reader.add([...at, "auth"], message);
}

function refuseWeakTokens(
  { issuer, audience, jwks }: Readonly<Record<string, unknown>>,
  at: Path,
  reader: Reader,
): void {
  if (typeof issuer !== "string") return;
  if (jwks === "discover") {
    try {
      discoveryUrl(issuer);
    } catch (error) {
      reader.add([...at, "issuer"], error instanceof Error ? error.message : "Cannot use it");
    }
  }
  if (typeof audience !== "string" || !opensMore(audience, { issuer, server: null })) return;
  const message =
    "Cannot use this audience: tokens for it open the API server or a cloud account, too, and " +
    "must not leave the cluster; write the receiver's own URL, and ask the projected volume for it";
  reader.add([...at, "audience"], message);
}

/**
 * Issuer, audience and subject name the cluster. An audience alone parts only clusters of different
 * keys: whoever may ask for tokens of an account chooses their audience (TokenRequest), and a
 * discovered issuer has one set of keys.
 */
export function refuseSharedTokens(
  clusters: readonly (readonly [string, unknown])[],
  reader: Reader,
): void {
  const earlier: Given[] = [];
  for (const [cluster, raw] of clusters) {
    const { serviceAccount } = recordOf(recordOf(raw).auth);
    if (serviceAccount === undefined) continue;
    const given: Given = [cluster, recordOf(serviceAccount)];
    const message = earlier.flatMap((other) => sharedTokensMessage(other, given) ?? [])[0];
    if (message !== undefined) reader.add(["clusters", cluster, "auth", "serviceAccount"], message);
    earlier.push(given);
  }
}

type Given = readonly [cluster: string, given: Readonly<Record<string, unknown>>];

function sharedTokensMessage([one, a]: Given, [other, b]: Given): string | null {
  if (a.issuer !== b.issuer || a.subject !== b.subject) return null;
  if (a.jwks === "discover" || b.jwks === "discover") return oneAccountMessage(one, other);
  if (a.audience !== b.audience) return null;
  return (
    `Cannot tell clusters "${one}" and "${other}" apart: issuer, audience and subject are the ` +
    "same; give each its own issuer or subject, or its own audience where their keys differ"
  );
}

/** Of two clusters whose tokens one account could ask for. */
export function oneAccountMessage(one: string, other: string): string {
  return (
    `Cannot tell clusters "${one}" and "${other}" apart: one key signs for the same subject in ` +
    "both, and whoever asks for a token chooses its audience; give each cluster its own issuer " +
    "with its own keys, or each forwarder its own subject"
  );
}

function refuseUnlimitedPublic(
  raw: Readonly<Record<string, unknown>>,
  at: Path,
  reader: Reader,
): void {
  refuseMixedBounds(raw.bounds, [...at, "bounds"], reader);
  if (!itemsOf(raw.bounds).includes("public") || raw.maxEntries !== undefined) return;
  const message =
    'Cannot leave out "maxEntries" with bounds [public]: say how many addresses this ' +
    "cluster may put on one list";
  reader.add([...at, "maxEntries"], message);
}

export function refuseMixedBounds(raw: unknown, at: Path, reader: Reader): void {
  const bounds = itemsOf(raw);
  if (!bounds.includes("public") || bounds.length === 1) return;
  reader.add(at, 'Cannot mix "public" with other bounds: write [public] alone, or networks only');
}

/**
 * The matching key names the cluster, so a key that two clusters share would let each speak for the
 * other.
 */
export function refuseSharedReferences(
  clusters: readonly (readonly [string, unknown])[],
  reader: Reader,
): void {
  const first = new Map<string, string>();
  for (const [cluster, raw] of clusters) {
    const keys = itemsOf(recordOf(recordOf(recordOf(raw).auth).signature).keys);
    for (const [index, reference] of keys.entries()) {
      if (typeof reference !== "string") continue;
      const other = first.get(reference) ?? cluster;
      first.set(reference, other);
      if (other === cluster) continue;
      const at = ["clusters", cluster, "auth", "signature", "keys", index];
      reader.add(at, sharedKeyMessage(other, cluster));
    }
  }
}

export function sharedKeyMessage(one: string, other: string): string {
  return (
    `Cannot use one key for clusters "${one}" and "${other}": the key tells which cluster ` +
    "speaks; give each its own"
  );
}
