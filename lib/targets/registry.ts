import * as z from "zod";
import type { TargetConfig } from "../core/list.ts";
import type { Owner } from "../core/marker.ts";
import type { Traits } from "../core/observation.ts";
import { albAclKind } from "./alibaba/alb-acl.ts";
import { clbAclKind } from "./alibaba/clb-acl.ts";
import { databaseKind } from "./alibaba/database.ts";
import { prefixListKind as alibabaPrefixListKind } from "./alibaba/prefix-list.ts";
import { securityGroupKind as alibabaSecurityGroupKind } from "./alibaba/security-group.ts";
import { accessListKind } from "./atlas/access-list.ts";
import { prefixListKind } from "./aws/prefix-list.ts";
import { securityGroupKind } from "./aws/security-group.ts";
import { ipSetKind, ipSetRegion } from "./aws/waf-ip-set.ts";
import {
  alibabaConnection,
  alibabaSettings,
  atlasConnection,
  atlasSettings,
  awsConnection,
  awsSettings,
  type TargetContext,
  tokenConnection,
  tokenSettings,
} from "./connection.ts";
import { databaseKind as digitalOceanDatabaseKind } from "./digitalocean/database.ts";
import { openFeed } from "./feed/log.ts";
import { feedKind } from "./feed.ts";
import type { Permissions, SlotParts, TargetKind } from "./kind.ts";
import { databaseKind as linodeDatabaseKind } from "./linode/database.ts";
import { firewallKind } from "./linode/firewall.ts";
import { memoryKind } from "./memory.ts";
import { exclusiveShape, limitShape } from "./settings.ts";
import type { Target } from "./target.ts";

/** Settings as the kind's own schema parsed them. */
type Settings = Readonly<Record<string, unknown>>;

/** A kind of target: what may be configured, what it is called, and how it is made. */
export interface Kind {
  /**
   * Strict object of the kind's settings and the common ones, without `kind`. Checks only and
   * changes nothing, so that settings which were stored can be parsed again.
   */
  readonly schema: z.ZodType;
  traits(settings: Settings): Traits;
  /** `Target.name` and `Target.object` of parsed settings, without making the target. */
  identify(settings: Settings, owner: Owner): { readonly name: string; readonly object: string };
  permissions(settings: Settings, account: string): Permissions;
  /**
   * Loads the vendor's SDK. Rejects with TargetError, kind `invalid`, when the environment lacks
   * what the settings name.
   */
  create(config: TargetConfig, context: TargetContext): Promise<Target>;
}

// A function that names no target of a vendor never loads its SDK.
const alibaba = vendorOf(alibabaSettings, alibabaConnection, () => import("../clouds/alibaba.ts"));
const aws = vendorOf(awsSettings, awsConnection("EC2"), () => import("../clouds/aws.ts"));
const waf = vendorOf(awsSettings, awsConnection("WAFV2", ipSetRegion), async () => {
  const { loadWaf } = await import("../clouds/aws.ts");
  return loadWaf();
});
const atlas = vendorOf(atlasSettings, atlasConnection, () => import("../clouds/atlas.ts"));
const digitalocean = vendorOf(
  tokenSettings,
  tokenConnection({
    endpoint: "https://api.digitalocean.com",
    variables: ["DIGITALOCEAN_TOKEN", "DIGITALOCEAN_ACCESS_TOKEN"],
  }),
  () => import("../clouds/digitalocean.ts"),
);
const linode = vendorOf(
  tokenSettings,
  tokenConnection({ endpoint: "https://api.linode.com/v4", variables: ["LINODE_TOKEN"] }),
  () => import("../clouds/linode.ts"),
);

/** Every kind that `targets` of a list may name, in ascending order. */
export const kinds: Readonly<Record<string, Kind>> = {
  ...alibaba("alibaba/alb-acl", albAclKind, (cloud) => cloud.openAlbAcls),
  ...alibaba("alibaba/clb-acl", clbAclKind, (cloud) => cloud.openClbAcls),
  ...alibaba("alibaba/mongodb", databaseKind("mongodb"), (cloud) => cloud.openDatabases("mongodb")),
  ...alibaba("alibaba/polardb", databaseKind("polardb"), (cloud) => cloud.openDatabases("polardb")),
  ...alibaba("alibaba/prefix-list", alibabaPrefixListKind, (cloud) => cloud.openPrefixLists),
  ...alibaba("alibaba/rds", databaseKind("rds"), (cloud) => cloud.openDatabases("rds")),
  ...alibaba("alibaba/redis", databaseKind("redis"), (cloud) => cloud.openDatabases("redis")),
  ...alibaba(
    "alibaba/security-group",
    alibabaSecurityGroupKind,
    (cloud) => cloud.openSecurityGroups,
  ),
  ...atlas("atlas/access-list", accessListKind, (cloud) => cloud.openAccessLists),
  ...aws("aws/prefix-list", prefixListKind, (cloud) => cloud.openPrefixLists),
  ...aws("aws/security-group", securityGroupKind, (cloud) => cloud.openSecurityGroups),
  ...waf("aws/waf-ip-set", ipSetKind, (cloud) => cloud.openIpSets),
  ...digitalocean(
    "digitalocean/database",
    digitalOceanDatabaseKind,
    (cloud) => cloud.openTrustedSources,
  ),
  ...ownOf("feed", feedKind, ({ owner }, { feed, world }) => ({
    ...openFeed(owner, feed),
    now: world.now,
  })),
  ...linode("linode/database", linodeDatabaseKind, (cloud) => cloud.openDatabases),
  ...linode("linode/firewall", firewallKind, (cloud) => cloud.openFirewalls),
  ...ownOf("memory", memoryKind, (_config, context) => context.memory),
};

type Open<Connection, C> = (connection: Connection, context: TargetContext) => C;

/** Kinds of one vendor: they share settings, connection and the file that is loaded for them. */
function vendorOf<G extends object, Connection, Cloud>(
  common: z.ZodRawShape,
  connect: (settings: G, config: TargetConfig, context: TargetContext) => Connection,
  load: () => Promise<Cloud>,
) {
  return <S, C>(
    name: string,
    kind: TargetKind<S, C>,
    open: (cloud: Cloud) => Open<Connection, C>,
  ): Readonly<Record<string, Kind>> => ({
    [name]: kindOf(name, kind, common, async (config, context) => {
      const cloud = await load();
      return open(cloud)(connect(config.settings as G, config, context), context);
    }),
  });
}

/** A kind without a vendor. */
function ownOf<S, C>(
  name: string,
  kind: TargetKind<S, C>,
  clientOf: (config: TargetConfig, context: TargetContext) => C,
): Readonly<Record<string, Kind>> {
  const open = async (config: TargetConfig, context: TargetContext) => clientOf(config, context);
  return { [name]: kindOf(name, kind, {}, open) };
}

/** Forgets the type of the settings: callers hand in what `schema` let through. */
function kindOf<S, C>(
  name: string,
  kind: TargetKind<S, C>,
  common: z.ZodRawShape,
  open: (config: TargetConfig, context: TargetContext) => Promise<C>,
): Kind {
  const own = { limit: limitShape.optional(), exclusive: exclusiveShape.optional() };
  const schema = z.strictObject({ ...kind.shape.shape, ...common, ...own });
  return {
    schema: kind.check === undefined ? schema : checked(schema, kind),
    traits: (settings) => kind.traits(settings as S),
    identify: (settings, owner) => identity(name, kind.parts(settings as S, owner)),
    permissions: (settings, account) => kind.permissions(settings as S, account),
    async create(config, context) {
      return kind.make(config, config.settings as S, await open(config, context));
    },
  };
}

function checked<S, C>(schema: z.ZodObject, kind: TargetKind<S, C>): z.ZodType {
  return schema.superRefine((settings, context) => {
    const message = kind.check?.(settings as S) ?? null;
    if (message !== null) context.addIssue({ code: "custom", message });
  });
}

function identity(kind: string, { object, slot, id }: SlotParts) {
  const last = id ?? object.at(-1) ?? "";
  const name = [kind, last, ...(slot === undefined ? [] : [slot])].join("/");
  return { name, object: objectName(kind, ...object) };
}

/** The name of an object in the store: lower case, parts joined by ".", everything else "-". */
function objectName(...parts: readonly string[]): string {
  return parts.map((part) => part.toLowerCase().replace(/[^a-z0-9-]/g, "-")).join(".");
}
