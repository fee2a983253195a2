import assert from "node:assert/strict";
import * as z from "zod/mini";
import type { TrustedSource, TrustedSourcesClient } from "../../clouds/digitalocean.ts";
import { addressText, type Cidr, parseCidr, sortCidrs } from "../../core/cidr.ts";
import { digestOf } from "../../core/digest.ts";
import type { TargetConfig } from "../../core/list.ts";
import { markerWithin, ownership } from "../../core/marker.ts";
import type { Traits } from "../../core/observation.ts";
import { entriesText, targetErrorOf } from "../errors.ts";
import type { TargetKind } from "../kind.ts";
import { type Target, TargetError } from "../target.ts";
import { wholeListWriter } from "../whole-list.ts";

const SOURCES_MAX = 100;

const TRAITS: Traits = {
  // "You cannot add IPv6 addresses as trusted sources" (databases_update_firewall_rules).
  families: ["ipv4"],
  ranges: true,
  overlap: true,
  marking: "entry",
  write: "whole",
  // A database without trusted sources is accessible from any source.
  whenEmpty: "open",
  // All that it holds in one write: a list that is restored is never half of it for a moment.
  batchMax: SOURCES_MAX,
  // How soon a source is trusted, DigitalOcean does not say.
  settleMs: 30_000,
  // A read, a write, and another read, because the write answers nothing.
  callMs: 8_000,
};
const ADDRESS = "ip_addr";
// No length is published: where names are long, the marker alone is kept.
const DESCRIPTION_CHARACTERS_MAX = 50;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

const shape = z.strictObject({
  id: z.string().check(
    z.regex(UUID, {
      error: ({ input }) =>
        `Cannot use id ${JSON.stringify(input)}: write the cluster's UUID in lower case, like ` +
        '"9cc10173-e9ea-4176-9dbc-a4cee4c4ff30"',
    }),
  ),
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
  const replace = wholeListWriter<readonly TrustedSource[]>({
    read: (signal) => client.read(id, signal),
    write: async (sources, signal) => {
      await client.write(id, sources, signal);
      return client.read(id, signal);
    },
    digest: digestOfSources,
    explain: targetErrorOf,
  });
  return {
    name,
    object,
    traits: TRAITS,
    async observe(signal) {
      const doing = `read ${name}`;
      const sources = await client.read(id, signal).catch((thrown) => {
        throw targetErrorOf(thrown, doing);
      });
      const entries = rowsOf(sources, doing).map(({ cidr, text }) => ({ cidr, text }));
      return {
        entries: entries.map((entry) => ({ ...entry, effect: "allow" })),
        revision: digestOfSources(sources),
        capacity: [{ families: TRAITS.families, used: sources.length, limit }],
      };
    },
    async apply(batch, revision, signal) {
      const count = batch.cidrs.length;
      assert(count > 0 && count <= TRAITS.batchMax, "batch of the wrong size");
      const doing = `${batch.verb} ${entriesText(count)} on ${name}`;
      const change = (read: readonly TrustedSource[]) => {
        const late = new Set<string>(batch.late);
        const isLate = ({ cidr, text }: Row) => late.has(cidr) && whose(text) === "owned";
        const before = without(read, rowsOf(read, doing).filter(isLate));
        const named = new Set<string>(batch.cidrs);
        const rows = rowsOf(before, doing).filter(({ cidr }) => named.has(cidr));
        const ours = rows.filter(({ text }) => whose(text) === "owned");
        if (batch.verb === "remove") return refuseNone(without(before, ours), doing);
        // It was not there when the plan was made, or we would not add what somebody lists already.
        if (ours.length < rows.length) {
          throw refusal("conflict", doing, "somebody lists the same address meanwhile; read again");
        }
        const there = new Set<string>(ours.map(({ cidr }) => cidr));
        const missing = sortCidrs(batch.cidrs).filter((cidr) => !there.has(cidr));
        const wanted = [...before, ...missing.map((cidr) => sourceOf(cidr, batch.text))];
        if (missing.length === 0 || wanted.length <= limit) return wanted;
        const why = `${wanted.length} trusted sources would stand where ${limit} fit`;
        throw refusal("full", doing, `${why}; remove some, or list fewer`);
      };
      return replace({ revision, change, doing, signal });
    },
  };
}

function refusal(kind: TargetError["kind"], doing: string, why: string): TargetError {
  return new TargetError(kind, `Cannot ${doing}: ${why}`);
}

interface Row {
  readonly source: TrustedSource;
  readonly cidr: Cidr;
  readonly text: string | null;
}

/** Sorted by address. */
function rowsOf(sources: readonly TrustedSource[], doing: string): readonly Row[] {
  const rows = sources
    .filter(({ type }) => type === ADDRESS)
    .map((source) => {
      const cidr = parseCidr(source.value);
      if (cidr !== null) return { source, cidr, text: source.description };
      const why = "a trusted source is neither address nor network; it is tried again";
      throw refusal("unavailable", doing, why);
    });
  const order = sortCidrs(rows.map(({ cidr }) => cidr));
  return rows.toSorted((a, b) => order.indexOf(a.cidr) - order.indexOf(b.cidr));
}

function without(sources: readonly TrustedSource[], rows: readonly Row[]) {
  const gone = new Set(rows.map(({ source }) => source));
  return sources.filter((source) => !gone.has(source));
}

function refuseNone(sources: readonly TrustedSource[], doing: string) {
  if (sources.length > 0) return sources;
  const why = "without trusted sources everybody would be let in; keep one";
  throw refusal("invalid", doing, why);
}

function sourceOf(cidr: Cidr, text: string): TrustedSource {
  const description = markerWithin(text, DESCRIPTION_CHARACTERS_MAX);
  const raw = { type: ADDRESS, value: addressText(cidr), description };
  return { raw, ...raw };
}

/** Equal for sources that trust the same for the same reason, whatever their ids. */
function digestOfSources(sources: readonly TrustedSource[]): string {
  const known = sources.map(({ type, value, description }) =>
    digestOf([type, parseCidr(value) ?? value, description]),
  );
  return digestOf(known.toSorted());
}
