import assert from "node:assert/strict";
import * as z from "zod/mini";
import type { DatabaseClient, DatabaseState } from "../../clouds/linode.ts";
import { type Cidr, parseCidr, sortCidrs } from "../../core/cidr.ts";
import { digestOf } from "../../core/digest.ts";
import type { TargetConfig } from "../../core/list.ts";
import type { Traits } from "../../core/observation.ts";
import { entriesText } from "../errors.ts";
import type { TargetKind } from "../kind.ts";
import { type Batch, type Target, TargetError } from "../target.ts";
import { wholeListWriter } from "../whole-list.ts";
import { idShape, targetErrorOf } from "./common.ts";

const SCOPE = "databases";

const DATABASE_TRAITS: Traits = {
  // The only form that the API describes (`allow_list` of put-databases-postgre-sql-instance);
  // whether IPv6 is taken was not tried.
  families: ["ipv4"],
  ranges: true,
  overlap: true,
  marking: "none",
  write: "whole",
  // The API says that an empty list blocks everybody. That was not tried on an account, and being
  // wrong would open a database, so the list is never emptied.
  whenEmpty: "open",
  // One write carries any number, and no maximum is published.
  batchMax: 1_000,
  // "A short period of time", says the API, during which the database is `updating`.
  settleMs: 60_000,
  // A read and a write.
  callMs: 8_000,
};

const databaseShape = z.strictObject({
  engine: z.enum(["mysql", "postgresql"], {
    error: ({ input }) => `Cannot use engine ${JSON.stringify(input)}: write mysql or postgresql`,
  }),
  id: idShape("123"),
});

type Settings = z.output<typeof databaseShape>;

/** `linode/database`, without its HTTP. */
export const databaseKind: TargetKind<Settings, DatabaseClient> = {
  shape: databaseShape,
  traits: () => DATABASE_TRAITS,
  // Nobody says that ids are unique over the engines.
  parts: ({ engine, id }) => ({ object: [engine, String(id)], id: `${engine}-${id}` }),
  permissions: () => ({
    dialect: "scopes",
    read: [`${SCOPE}:read_only`],
    add: [`${SCOPE}:read_write`],
    remove: [`${SCOPE}:read_write`],
  }),
  make: databaseTarget,
};

/**
 * The whole allow list of a Linode Managed Database. Nothing can be kept beside an address, so all
 * of it is the list's. What is not named by a batch goes back in the words in which it was read.
 */
function databaseTarget(
  config: Pick<TargetConfig, "name" | "object" | "limit">,
  settings: Settings,
  client: DatabaseClient,
): Target {
  const explain = (thrown: unknown, doing: string) => targetErrorOf(thrown, doing, SCOPE);
  const replace = wholeListWriter<DatabaseState>({
    read: (signal) => client.read(settings, signal),
    write: ({ allowList }, signal) => client.write(settings, allowList, signal),
    digest: ({ allowList }) => meaningOf(allowList),
    explain,
  });
  return {
    name: config.name,
    object: config.object,
    traits: DATABASE_TRAITS,
    async observe(signal) {
      const doing = `read ${config.name}`;
      const { allowList } = await client.read(settings, signal).catch((thrown) => {
        throw explain(thrown, doing);
      });
      const { limit } = config;
      const { families } = DATABASE_TRAITS;
      return {
        entries: sortCidrs(cidrsOf(allowList, doing)).map((cidr) => ({
          cidr,
          text: null,
          effect: "allow",
        })),
        revision: meaningOf(allowList),
        capacity: limit === null ? [] : [{ families, used: allowList.length, limit }],
      };
    },
    async apply(batch, revision, signal) {
      const { batchMax } = DATABASE_TRAITS;
      const size = batch.cidrs.length + batch.instead.length;
      assert(batch.cidrs.length > 0 && size <= batchMax, "batch of the wrong size");
      const doing = `${batch.verb} ${entriesText(batch.cidrs.length)} on ${config.name}`;
      const change = ({ status, allowList }: DatabaseState) => {
        const wanted = changed(allowList, batch, doing);
        if (meaningOf(wanted) !== meaningOf(allowList)) {
          refuse(wanted, { status, batch, limit: config.limit, doing });
        }
        return { status, allowList: wanted };
      };
      return replace({ revision, change, doing, signal });
    },
  };
}

function changed(allowList: readonly string[], batch: Batch, doing: string): readonly string[] {
  const gone = new Set<string>([...batch.late, ...(batch.verb === "remove" ? batch.cidrs : [])]);
  const kept = allowList.filter((text) => !cidrsOf([text], doing).some((cidr) => gone.has(cidr)));
  const present = new Set<string>(cidrsOf(kept, doing));
  const added = sortCidrs(batch.verb === "add" ? batch.cidrs : batch.instead);
  return [...kept, ...added.filter((cidr) => !present.has(cidr))];
}

/** What must not even be tried. */
function refuse(
  wanted: readonly string[],
  options: {
    readonly status: string;
    readonly batch: Batch;
    readonly limit: number | null;
    readonly doing: string;
  },
): void {
  const { status, batch, limit, doing } = options;
  if (wanted.length === 0) {
    throw new TargetError(
      "invalid",
      `Cannot ${doing}: nothing would remain, and an empty allow list may let everybody in; ` +
        "keep one entry",
    );
  }
  if (batch.verb === "add" && limit !== null && wanted.length > limit) {
    throw new TargetError(
      "full",
      `Cannot ${doing}: ${wanted.length} entries would stand where its limit is ${limit}; ` +
        "raise the limit, or list fewer",
    );
  }
  if (status !== "active") {
    const shown = /^[a-z_]{1,32}$/.test(status) ? status : "not active";
    throw new TargetError(
      "busy",
      `Cannot ${doing}: the database is ${shown}; it is tried again when it is active`,
    );
  }
}

function cidrsOf(allowList: readonly string[], doing: string): readonly Cidr[] {
  return allowList.map((text) => {
    const cidr = parseCidr(text);
    if (cidr !== null) return cidr;
    throw new TargetError(
      "unavailable",
      `Cannot ${doing}: something on its allow list is neither address nor network; remove it`,
    );
  });
}

/** Equal for lists that allow the same, in whatever words and order. */
function meaningOf(allowList: readonly string[]): string {
  return digestOf([...new Set(allowList.map((text) => parseCidr(text) ?? text))].toSorted());
}
