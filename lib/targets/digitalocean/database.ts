import assert from "node:assert/strict";
import * as z from "zod";
import type { TrustedSource, TrustedSourcesClient } from "../../clouds/digitalocean.ts";
import { addressText, type Cidr, parseCidr, sortCidrs } from "../../core/cidr.ts";
import { digestOf } from "../../core/digest.ts";
import type { TargetConfig } from "../../core/list.ts";
import { markerWithin, ownership } from "../../core/marker.ts";
import type { Traits } from "../../core/observation.ts";
import { entriesText, targetErrorOf } from "../errors.ts";
import type { TargetKind } from "../kind.ts";
import { type Batch, type Target, TargetError } from "../target.ts";

const TRAITS: Traits = {
  // "You cannot add IPv6 addresses as trusted sources" (databases_update_firewall_rules).
  families: ["ipv4"],
  ranges: true,
  overlap: true,
  marking: "entry",
  write: "whole",
  // A database without trusted sources is accessible from any source.
  whenEmpty: "open",
  batchMax: 50,
  // How soon a source is trusted, DigitalOcean does not say.
  settleMs: 30_000,
  // A read, a write, and another read, because the write answers nothing.
  callMs: 8_000,
};
const ADDRESS = "ip_addr";
const SOURCES_MAX = 100;
// No length is published: where names are long, the marker alone is kept.
const DESCRIPTION_CHARACTERS_MAX = 50;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

const shape = z.strictObject({
  id: z.string().regex(UUID, {
    error: ({ input }) =>
      `Cannot use id ${JSON.stringify(input)}: write the cluster's UUID in lower case, like ` +
      '"9cc10173-e9ea-4176-9dbc-a4cee4c4ff30"',
  }),
});
type Settings = z.output<typeof shape>;

/** `digitalocean/database`, without its HTTP. */
export const databaseKind: TargetKind<Settings, TrustedSourcesClient> = {
  shape,
  traits: () => TRAITS,
  parts: ({ id }) => ({ object: [id] }),
  permissions: () => ({
    dialect: "scopes",
    read: ["database:read"],
    add: ["database:update"],
    remove: ["database:update"],
  }),
  make: databaseTarget,
};

/**
 * The addresses among the trusted sources of a DigitalOcean Managed Database. Droplets, clusters,
 * tags and apps are nobody's entries; they go back as they were read, and take room.
 */
function databaseTarget(
  config: TargetConfig,
  { id }: Settings,
  client: TrustedSourcesClient,
): Target {
  const { name, object } = config;
  const whose = ownership(config.owner);
  const limit = Math.min(config.limit ?? SOURCES_MAX, SOURCES_MAX);
  // What the last write replaced: a read that shows it lags, and to write by it would undo that.
  let replaced: string | null = null;
  return {
    name,
    object,
    traits: TRAITS,
    async observe(signal) {
      const doing = `read ${name}`;
      const sources = await calling(doing, client.read(id, signal));
      const rows = rowsOf(sources, doing);
      const entries = sortCidrs(rows.map(({ cidr }) => cidr)).flatMap((cidr) =>
        rows.filter((row) => row.cidr === cidr).map(({ text }) => ({ cidr, text })),
      );
      return {
        entries: entries.map((entry) => ({ ...entry, effect: "allow" })),
        revision: revisionOf(sources),
        capacity: [{ families: TRAITS.families, used: sources.length, limit }],
      };
    },
    async apply(batch, revision, signal) {
      const count = batch.cidrs.length;
      assert(count > 0 && count <= TRAITS.batchMax, "batch of the wrong size");
      const doing = `${batch.verb} ${entriesText(count)} on ${name}`;
      const before = await calling(doing, client.read(id, signal));
      const current = revisionOf(before);
      if ((revision ?? current) !== current || current === replaced) {
        // Said once: somebody may also have put the old ones back.
        replaced = null;
        throw refusal("changed", doing);
      }
      const named = new Set<string>(batch.cidrs);
      const rows = rowsOf(before, doing).filter(({ cidr }) => named.has(cidr));
      const ours = rows.filter(({ text }) => whose(text) === "owned");
      // It was not there when the plan was made, or we would not add what somebody lists already.
      if (batch.verb === "add" && ours.length < rows.length) throw refusal("changed", doing);
      const gone = new Set(ours.map(({ source }) => source));
      const wanted =
        batch.verb === "add"
          ? withAdded(before, ours, batch)
          : before.filter((source) => !gone.has(source));
      if (wanted.length === before.length) return current;
      if (wanted.length === 0) throw refusal("empty", doing);
      if (batch.verb === "add" && wanted.length > limit) {
        const why = `${wanted.length} trusted sources would stand where ${limit} fit`;
        throw new TargetError("full", `Cannot ${doing}: ${why}; remove some, or list fewer`);
      }
      await calling(doing, client.write(id, wanted, signal));
      replaced = current;
      const after = await calling(doing, client.read(id, signal));
      const written = revisionOf(after);
      if (written !== revisionOf(wanted)) throw refusal("overwritten", doing);
      return written;
    },
  };
}

const REFUSALS = {
  changed: ["conflict", "its trusted sources are not those that were read; read again"],
  empty: ["invalid", "without trusted sources everybody would be let in; keep one"],
  overwritten: ["conflict", "somebody else wrote its trusted sources meanwhile; it is read again"],
} as const;

function refusal(what: keyof typeof REFUSALS, doing: string): TargetError {
  const [kind, why] = REFUSALS[what];
  return new TargetError(kind, `Cannot ${doing}: ${why}`);
}

async function calling<T>(doing: string, call: Promise<T>): Promise<T> {
  return call.catch((thrown) => {
    throw targetErrorOf(thrown, doing);
  });
}

interface Row {
  readonly source: TrustedSource;
  readonly cidr: Cidr;
  readonly text: string | null;
}

function rowsOf(sources: readonly TrustedSource[], doing: string): readonly Row[] {
  return sources
    .filter(({ type }) => type === ADDRESS)
    .map((source) => {
      const cidr = parseCidr(source.value);
      if (cidr !== null) return { source, cidr, text: source.description };
      const why = "a trusted source is neither address nor network; it is tried again";
      throw new TargetError("unavailable", `Cannot ${doing}: ${why}`);
    });
}

function withAdded(sources: readonly TrustedSource[], ours: readonly Row[], batch: Batch) {
  const present = new Set(ours.map(({ cidr }) => cidr));
  const description = markerWithin(batch.text, DESCRIPTION_CHARACTERS_MAX);
  const missing = sortCidrs(batch.cidrs).filter((cidr) => !present.has(cidr));
  const raws = missing.map((cidr) => ({ type: ADDRESS, value: addressText(cidr), description }));
  return [...sources, ...raws.map((raw) => ({ raw, ...raw }))];
}

/**
 * Equal for sources that trust the same for the same reason, whatever their ids. By it a change
 * between a read and a write is noticed: the API has no version.
 */
function revisionOf(sources: readonly TrustedSource[]): string {
  const known = sources.map(({ type, value, description }) => [
    type,
    parseCidr(value) ?? value,
    description,
  ]);
  return digestOf(known.map(digestOf).toSorted());
}
