import type { Config } from "./config.ts";
import { type AssumedRole, assumedRoles } from "./roles/assumed.ts";
import { groupsBy } from "./roles/group.ts";
import {
  endpointOf,
  FUNCTION_NAMES,
  type FunctionName,
  type Need,
  needsOf,
  subnetsOf,
  type TokenNeed,
  tokenNeedsOf,
  vendorOf,
  wayOf,
  worksOf,
} from "./roles/needs.ts";
import { type Atom, type Dialect, type PolicyDocument, policyOf } from "./roles/policy.ts";
import { s3BucketPolicy } from "./stores/permissions.ts";
import { partitionOf } from "./targets/aws/common.ts";

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
  /** Of the function, and of its role. */
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

/** Stands for the number of an account that nobody named. */
const ACCOUNT_UNKNOWN = "ACCOUNT_ID";
/** RAM's policies are of one account; they take this for its number. */
const OWN_ACCOUNT = "*";
/** "IAM and AWS STS quotas" in the IAM user guide: of all inline policies of a role together. */
const INLINE_CHARACTERS_MAX = 10_240;

/** The name of a function and of its role. At most 55 characters. */
export function functionName(installation: string, name: FunctionName): string {
  return `kube-allowlist-${installation}-${name}`;
}

/** Same configuration, same result: everything in ascending order. */
export function rolesOf(config: Config, place: Place = {}): Roles {
  const { installation, store } = config;
  const region = place.region ?? (store.kind === "s3" ? (store.region ?? "") : "");
  const partition = place.partition ?? partitionOf(region);
  const account = place.account ?? ACCOUNT_UNKNOWN;
  const nameOf = (name: FunctionName) => functionName(installation, name);
  const roleArn = (name: FunctionName) => `arn:${partition}:iam::${account}:role/${nameOf(name)}`;
  const alibabaAccount = place.alibabaAccount ?? ACCOUNT_UNKNOWN;
  const principalOf = (name: FunctionName, { dialect, way }: Need) => {
    if (dialect === "iam") return roleArn(name);
    const who = way.keys.length === 0 ? `role/${nameOf(name)}` : "user/USER";
    return `acs:ram::${alibabaAccount}:${who}`;
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
    notes: notesOn({ config, partition, functions, assumed }),
  };
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

interface Judging {
  readonly config: Config;
  readonly partition: string;
  readonly functions: Roles["functions"];
  readonly assumed: readonly AssumedRole[];
}

function notesOn({ config, partition, functions, assumed }: Judging): readonly string[] {
  const strange = thingsOf(config).flatMap(({ name, vendor, settings, region }) => {
    const { role } = wayOf(settings);
    if (vendor !== "aws" || endpointOf(settings) !== null) return [];
    if (role !== null && partitionOfArn(role.arn) !== partition) {
      return [
        `Cannot assume ${role.arn} for ${name}: the functions run in partition ${partition}; ` +
          "credentials never cross partitions",
      ];
    }
    if (region === null || partitionOf(region) === partition) return [];
    return [
      `Cannot reach ${name} from partition ${partition}: its region ${region} is in ` +
        `${partitionOf(region)}; run functions there, too`,
    ];
  });
  const shared = assumed.flatMap(({ dialect, arn, functions: names }) =>
    dialect === "ram" && names.includes("webhook")
      ? [
          `Cannot keep the webhook from removing through ${arn}: RAM cannot tell apart who ` +
            "assumed a role; it never does, but its credentials could",
        ]
      : [],
  );
  const long = FUNCTION_NAMES.flatMap((name) => {
    const characters = JSON.stringify(functions[name].iam ?? "").length;
    if (characters <= INLINE_CHARACTERS_MAX) return [];
    return [
      `Cannot put the policy of ${functions[name].name} into its role: ${characters} ` +
        `characters, at most ${INLINE_CHARACTERS_MAX}; split the installation, or reach some ` +
        "of its targets through a role",
    ];
  });
  return [...new Set([...strange, ...shared, ...long])].toSorted();
}

/** Everything of vendors that the configuration names. */
function thingsOf(config: Config) {
  const targets = worksOf(config).map(({ target }) => ({
    name: target.name,
    vendor: vendorOf(target),
    settings: target.settings,
    region: typeof target.settings.region === "string" ? target.settings.region : null,
  }));
  const subnets = subnetsOf(config).map(({ id, vendor, settings, region }) => ({
    name: `${vendor}/subnet/${id}`,
    vendor,
    settings,
    region,
  }));
  return [...targets, ...subnets];
}

function partitionOfArn(arn: string): string {
  return arn.split(":")[1] ?? "";
}
