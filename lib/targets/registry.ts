import * as z from "zod";
import type { TargetConfig } from "../core/list.ts";
import type { Owner } from "../core/marker.ts";
import type { Traits } from "../core/observation.ts";
import { securityGroupKind } from "./aws/security-group.ts";
import { awsConnection, awsSettings, type TargetContext } from "./connection.ts";
import type { Permissions, SlotParts, TargetKind } from "./kind.ts";
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
const aws = vendorOf(awsSettings, awsConnection("EC2"), () => import("../clouds/aws.ts"));

/** Every kind that `targets` of a list may name, in ascending order. */
export const kinds: Readonly<Record<string, Kind>> = {
  ...aws("aws/security-group", securityGroupKind, (cloud) => cloud.openSecurityGroups),
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
  return {
    schema: z.strictObject({ ...kind.shape.shape, ...common, ...own }),
    traits: (settings) => kind.traits(settings as S),
    identify: (settings, owner) => identity(name, kind.parts(settings as S, owner)),
    permissions: (settings, account) => kind.permissions(settings as S, account),
    async create(config, context) {
      return kind.make(config, config.settings as S, await open(config, context));
    },
  };
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
