import * as z from "zod/mini";
import type { Config } from "../config.ts";
import { clustersOf, type List, outsidesOf } from "../core/list.ts";
import type { Subnet } from "../core/outside.ts";
import { type StoreRole, storePermissions } from "../stores/permissions.ts";
import type { Grant } from "../targets/kind.ts";
import { kinds } from "../targets/registry.ts";
import { type Atom, atomsOf, type Dialect } from "./policy.ts";

/*
 * Which function needs what, and whose credentials it comes with.
 */

/** The functions of an installation, each with a role of its own. */
export type FunctionName = StoreRole;

export const FUNCTION_NAMES: readonly FunctionName[] = ["webhook", "resync", "read"];

/** How something outside is reached. */
export interface Way {
  /** The role that is assumed for it, or null for none. */
  readonly role: { readonly arn: string; readonly externalId: string | null } | null;
  /** References to keys that are used instead of the function's own; empty for its own. */
  readonly keys: readonly string[];
}

/** What one function needs at one vendor with policies. */
export interface Need {
  readonly function: FunctionName;
  readonly dialect: Dialect;
  readonly way: Way;
  readonly atoms: readonly Atom[];
}

/** What one function needs of a token. */
export interface TokenNeed {
  readonly function: FunctionName;
  readonly vendor: string;
  readonly references: readonly string[];
  readonly scopes: readonly string[];
}

/** Numbers of the accounts that the functions' own credentials are of. */
export interface OwnAccounts {
  readonly iam: string;
  readonly ram: string;
}

// What settings of targets, subnets and stores have in common. They were parsed before.
const WAY = z.object({
  role: z.optional(
    z.union([z.string(), z.object({ arn: z.string(), externalId: z.optional(z.string()) })]),
  ),
  credentials: z.optional(z.record(z.string(), z.string())),
  token: z.optional(z.string()),
  endpoint: z.optional(z.string()),
});

/** Variables that a vendor's targets are reached with where the configuration names no others. */
const DEFAULT_VARIABLES: Readonly<Record<string, readonly string[]>> = {
  alibaba: ["ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET"],
  atlas: ["MONGODB_ATLAS_CLIENT_ID", "MONGODB_ATLAS_CLIENT_SECRET"],
  aws: ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"],
  digitalocean: ["DIGITALOCEAN_TOKEN"],
  linode: ["LINODE_TOKEN"],
};

/** References to what something of a vendor is reached with, its endpoint apart. */
export function secretsOf(vendor: string, settings: object): readonly string[] {
  const { credentials, token } = WAY.parse(settings);
  const named = [...Object.values(credentials ?? {}), ...(token === undefined ? [] : [token])];
  return named.length > 0
    ? named
    : (DEFAULT_VARIABLES[vendor] ?? []).map((variable) => `env:${variable}`);
}

/** The endpoint that something's settings name, as written, or null. */
export function endpointOf(settings: object): string | null {
  return WAY.parse(settings).endpoint ?? null;
}

export function wayOf(settings: object): Way {
  const { role, credentials = {} } = WAY.parse(settings);
  const keys = Object.values(credentials);
  if (role === undefined) return { role: null, keys };
  if (typeof role === "string") return { role: { arn: role, externalId: null }, keys };
  return { role: { arn: role.arn, externalId: role.externalId ?? null }, keys };
}

/** The number in the ARN of a role, of either vendor. */
export function accountOf(arn: string): string {
  return /:([0-9]+):role\//.exec(arn)?.[1] ?? "";
}

export function vendorOf({ kind }: { readonly kind: string }): string {
  return kind.split("/")[0] ?? kind;
}

/**
 * The lists that the webhook may ever work on: some cluster of theirs must be able to speak.
 * Everything else is the resync's alone.
 */
function webhookLists({ lists, clusters }: Config): readonly List[] {
  return lists.filter((list) => clustersOf(list).some((name) => clusters[name]?.retired === false));
}

/** Every pair of a function and a target that it works on, with the list it does so for. */
export function worksOf(config: Config) {
  const onAll = (lists: readonly List[], name: "webhook" | "resync") =>
    lists.flatMap((list) => list.targets.map((target) => ({ function: name, list, target })));
  return [...onAll(webhookLists(config), "webhook"), ...onAll(config.lists, "resync")];
}

/** The subnets of all lists; only the resync asks for them. */
export function subnetsOf({ lists }: Config): readonly Subnet[] {
  return outsidesOf(lists).flatMap((source) => (source.kind === "subnet" ? [source] : []));
}

/** All that functions need of vendors with policies. */
export function needsOf(
  config: Config,
  options: { readonly accounts: OwnAccounts; readonly region: string },
): readonly Need[] {
  const { accounts, region } = options;
  const targets = worksOf(config).flatMap(({ function: name, list, target }): readonly Need[] => {
    const way = wayOf(target.settings);
    const dialect = vendorOf(target) === "alibaba" ? "ram" : "iam";
    const account = way.role === null ? accounts[dialect] : accountOf(way.role.arn);
    const needed = kinds[target.kind]?.permissions(target.settings, account);
    if (needed === undefined || needed.dialect === "scopes") return [];
    const removes = name === "resync" && list.removal.policy === "sync";
    const grants = [...needed.read, ...needed.add, ...(removes ? needed.remove : [])];
    return [{ function: name, dialect: needed.dialect, way, atoms: atomsOf(grants) }];
  });
  const subnets = subnetsOf(config).map(({ vendor, settings }): Need => {
    const { dialect, grant } = SUBNET_GRANTS[vendor];
    return { function: "resync", dialect, way: wayOf(settings), atoms: atomsOf([grant]) };
  });
  return [...targets, ...subnets, ...storeNeeds(config, region)];
}

// Neither vendor knows resources for what only describes.
const SUBNET_GRANTS: Readonly<Record<Subnet["vendor"], { dialect: Dialect; grant: Grant }>> = {
  aws: { dialect: "iam", grant: { actions: ["ec2:DescribeSubnets"], resources: ["*"] } },
  alibaba: { dialect: "ram", grant: { actions: ["vpc:DescribeVSwitches"], resources: ["*"] } },
};

function storeNeeds({ store }: Config, region: string): readonly Need[] {
  return FUNCTION_NAMES.flatMap((name): readonly Need[] => {
    const { dialect, grants } = storePermissions(store, name, { region });
    if (dialect === "none") return [];
    return [{ function: name, dialect, way: wayOf(store), atoms: atomsOf(grants) }];
  });
}

/** All that functions need of vendors whose tokens have scopes. */
export function tokenNeedsOf(config: Config): readonly TokenNeed[] {
  return worksOf(config).flatMap(({ function: name, list, target }): readonly TokenNeed[] => {
    const needed = kinds[target.kind]?.permissions(target.settings, "");
    if (needed?.dialect !== "scopes") return [];
    const removes = name === "resync" && list.removal.policy === "sync";
    const scopes = [...needed.read, ...needed.add, ...(removes ? needed.remove : [])];
    if (scopes.length === 0) return [];
    const vendor = vendorOf(target);
    return [{ function: name, vendor, references: secretsOf(vendor, target.settings), scopes }];
  });
}
