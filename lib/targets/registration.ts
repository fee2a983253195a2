import * as z from "zod/mini";
import type { TargetConfig } from "../core/list.ts";
import type { TargetContext } from "./connection.ts";
import type { Kind, SlotParts, TargetKind } from "./kind.ts";
import { exclusiveShape, limitShape } from "./settings.ts";

/*
 * How a kind's file becomes an entry of the registry.
 */

type Open<Connection, C> = (connection: Connection, context: TargetContext) => C;

/** Kinds of one vendor: they share settings, connection and the file that is loaded for them. */
export function kindsOfVendor<G extends object, Connection, Cloud>(
  common: z.core.$ZodShape,
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
export function ownOf<S, C>(
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
  common: z.core.$ZodShape,
  open: (config: TargetConfig, context: TargetContext) => Promise<C>,
): Kind {
  const own = { limit: z.optional(limitShape), exclusive: z.optional(exclusiveShape) };
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

function checked<S, C>(schema: z.ZodMiniObject, kind: TargetKind<S, C>): z.ZodMiniType {
  return schema.check(
    z.refine((settings) => (kind.check?.(settings as S) ?? null) === null, {
      error: ({ input }) => kind.check?.(input as S) ?? "",
    }),
  );
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
