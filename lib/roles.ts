import { partitionOf } from "./clouds/partitions.ts";
import type { Config } from "./config.ts";
import { ACCOUNT_UNKNOWN } from "./roles/account.ts";
import { type AssumedRole, assumedRoles } from "./roles/assumed.ts";
import { groupsBy } from "./roles/group.ts";
import {
  FUNCTION_NAMES,
  type FunctionName,
  type Need,
  needsOf,
  type TokenNeed,
  tokenNeedsOf,
  wayOf,
} from "./roles/needs.ts";
import { notesOn, ownPartition } from "./roles/notes.ts";
import { type Atom, type Dialect, type PolicyDocument, policyOf } from "./roles/policy.ts";
import { type Platform, platformOf } from "./roles/references.ts";
import { s3BucketPolicy } from "./stores/permissions.ts";

/*
 * Exactly what each function of an installation may do, from its configuration: the functions' own
 * policies, those of the roles that they assume, and the scopes of tokens. The webhook gets nothing
 * that only a removal needs.
 */

/** Where the functions run. All of it may be left out; what is not known gets a placeholder. */
export interface Place {
  /** Number of the functions' AWS account. */
  readonly account?: string | undefined;
  /** Number of the functions' Alibaba Cloud account. */
  readonly alibabaAccount?: string | undefined;
  /** Of the functions' AWS account: that of `region` unless it is said. */
  readonly partition?: string | undefined;
  /** Region of the functions on AWS: the bucket's unless it is said. */
  readonly region?: string | undefined;
}

export interface FunctionRole {
  /** Of the function and its role, or of its user in a cloud where it does not run. */
  readonly name: string;
  readonly iam: PolicyDocument | null;
  readonly ram: PolicyDocument | null;
}

/** What keys need that the configuration names for targets of Alibaba Cloud. */
export interface KeyPolicies {
  /** Where they are kept. */
  readonly references: readonly string[];
  /** By the functions that use them. */
  readonly functions: Readonly<Partial<Record<FunctionName, PolicyDocument>>>;
}

/** What a token needs, of vendors that know no policies. */
export interface TokenScopes {
  readonly vendor: string;
  readonly references: readonly string[];
  readonly functions: Readonly<Partial<Record<FunctionName, readonly string[]>>>;
}

export interface Roles {
  readonly version: 1;
  readonly installation: string;
  readonly functions: Readonly<Record<FunctionName, FunctionRole>>;
  readonly assumed: readonly AssumedRole[];
  readonly keys: readonly KeyPolicies[];
  readonly tokens: readonly TokenScopes[];
  /** Of the bucket that holds the store, where it is one of S3; else null. */
  readonly bucketPolicy: ReturnType<typeof s3BucketPolicy> | null;
  /** Sentences about what cannot be as exact as it should, or cannot work. */
  readonly notes: readonly string[];
}

/** RAM's policies are of one account; they take this for its number. */
const OWN_ACCOUNT = "*";
/** Whose policies the roles of a platform have. Another cloud knows users there, by their keys. */
const DIALECTS: Readonly<Record<Platform, Dialect>> = { aws: "iam", alibaba: "ram" };

/** The name of a function and of its role. At most 55 characters. */
export function functionName(installation: string, name: FunctionName): string {
  return `kube-allowlist-${installation}-${name}`;
}

/** Same configuration, same result: everything in ascending order. */
export function rolesOf(config: Config, place: Place = {}): Roles {
  const { installation, store } = config;
  const region = place.region ?? (store.kind === "s3" ? (store.region ?? "") : "");
  const platform = platformOf(config);
  const partition =
    place.partition ?? (platform === "alibaba" ? ownPartition(config) : partitionOf(region));
  const account = place.account ?? ACCOUNT_UNKNOWN;
  const nameOf = (name: FunctionName) => functionName(installation, name);
  // On AWS both take each variable from one secret, and so have the keys of one user elsewhere.
  const userOf = (name: FunctionName) => nameOf(platform === "aws" ? "resync" : name);
  const roleArn = (name: FunctionName) => `arn:${partition}:iam::${account}:role/${nameOf(name)}`;
  const alibabaAccount = place.alibabaAccount ?? ACCOUNT_UNKNOWN;
  const principalOf = (name: FunctionName, need: Need) => {
    const own = isForeign(need, platform) ? `user/${userOf(name)}` : `role/${nameOf(name)}`;
    if (need.dialect === "iam") return `arn:${partition}:iam::${account}:${own}`;
    return `acs:ram::${alibabaAccount}:${need.way.keys.length === 0 ? own : "user/USER"}`;
  };
  const accounts = { iam: account, ram: place.alibabaAccount ?? OWN_ACCOUNT };
  const needs = needsOf(config, { accounts, region });
  const roleOf = (name: FunctionName): FunctionRole => {
    const own = needs.filter((need) => need.function === name && need.way.keys.length === 0);
    return { name: nameOf(name), iam: policyFor("iam", own), ram: policyFor("ram", own) };
  };
  const functions = {
    webhook: roleOf("webhook"),
    resync: roleOf("resync"),
    read: roleOf("read"),
  };
  const foreign = needs
    .filter((need) => isForeign(need, platform))
    .map((need) => ({ ...need, user: userOf(need.function) }));
  const assumed = assumedRoles(needs, { nameOf, principalOf });
  return {
    version: 1,
    installation,
    functions,
    assumed,
    keys: keyPolicies(needs),
    tokens: tokenScopes(tokenNeedsOf(config)),
    bucketPolicy:
      store.kind === "s3"
        ? s3BucketPolicy(store, { resyncRoleArn: roleOfStore(config) ?? roleArn("resync"), region })
        : null,
    notes: notesOn({ config, partition, functions, assumed, foreign }),
  };
}

/** Whether the platform, where one is known, has no role of its own for it, so that users must. */
function isForeign({ dialect, way }: Need, platform: Platform | null): boolean {
  return platform !== null && dialect !== DIALECTS[platform] && way.keys.length === 0;
}

/** Whoever reaches the bucket through a role is, for the bucket, that role. */
function roleOfStore({ store }: Config): string | null {
  return wayOf(store).role?.arn ?? null;
}

/** What the credentials of these needs must allow themselves: the rest is what their roles do. */
function policyFor(dialect: Dialect, needs: readonly Need[]): PolicyDocument | null {
  const own = needs.filter((need) => need.dialect === dialect);
  const atoms = own.flatMap(({ way, atoms }) =>
    way.role === null ? atoms : [assuming(dialect, way.role.arn)],
  );
  return policyOf(dialect, atoms);
}

function assuming(dialect: Dialect, arn: string): Atom {
  // RAM names a role with a region, which is any ("Grant permissions" of STS in its API reference).
  const resource = dialect === "iam" ? arn : arn.replace(/^acs:ram::/, "acs:ram:*:");
  return { action: "sts:AssumeRole", resource, condition: {} };
}

function keyPolicies(needs: readonly Need[]): readonly KeyPolicies[] {
  const withKeys = needs.filter(({ way }) => way.keys.length > 0);
  return groupsBy(withKeys, ({ way }) => way.keys).map((own) => ({
    references: own[0].way.keys,
    functions: byFunction(own, (same) => policyFor("ram", same)),
  }));
}

function tokenScopes(needs: readonly TokenNeed[]): readonly TokenScopes[] {
  const scopesOf = (same: readonly TokenNeed[]) =>
    [...new Set(same.flatMap(({ scopes }) => scopes))].toSorted();
  return groupsBy(needs, ({ vendor, references }) => [vendor, references]).map((own) => ({
    vendor: own[0].vendor,
    references: own[0].references,
    functions: byFunction(own, scopesOf),
  }));
}

function byFunction<N extends { readonly function: FunctionName }, T>(
  needs: readonly N[],
  make: (same: readonly N[]) => T | null,
): Readonly<Partial<Record<FunctionName, T>>> {
  const made: Partial<Record<FunctionName, T>> = {};
  for (const name of FUNCTION_NAMES) {
    const own = needs.filter((need) => need.function === name);
    const one = own.length === 0 ? null : make(own);
    if (one !== null) made[name] = one;
  }
  return made;
}
