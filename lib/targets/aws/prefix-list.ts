import assert from "node:assert/strict";
import * as z from "zod/mini";
import type {
  PrefixListClient,
  PrefixListEntry,
  PrefixListStatus,
} from "../../clouds/aws/prefix-lists.ts";
import { partitionOf } from "../../clouds/partitions.ts";
import { type Cidr, parseCidr, sortCidrs } from "../../core/cidr.ts";
import type { TargetConfig } from "../../core/list.ts";
import { markerWithin } from "../../core/marker.ts";
import type { Observation, Revision, Traits } from "../../core/observation.ts";
import { entriesText } from "../errors.ts";
import type { TargetKind } from "../kind.ts";
import { familyShape } from "../settings.ts";
import { type Batch, type Target, TargetError } from "../target.ts";
import { regionShape } from "./common.ts";
import { told } from "./errors.ts";

const LIST_ID = /^pl-[0-9a-f]{1,17}$/;
// AddPrefixListEntry in the EC2 API reference.
const DESCRIPTION_CHARACTERS_MAX = 255;

const prefixListShape = z.strictObject({
  region: regionShape,
  id: z.string().check(
    z.regex(LIST_ID, {
      error: ({ input }) =>
        `Cannot use id ${JSON.stringify(input)}: write a list's id like "pl-0a1b2c3d4e5f60718"`,
    }),
  ),
  family: z.optional(familyShape),
});

type Settings = z.output<typeof prefixListShape>;

/** `aws/prefix-list`, without its SDK. */
export const prefixListKind: TargetKind<Settings, PrefixListClient> = {
  shape: prefixListShape,
  traits: ({ family }) => ({
    families: [family === "ipv6" ? "ipv6" : "ipv4"],
    ranges: true,
    // Entries may overlap, but none may stand twice (aws_ec2_managed_prefix_list of Terraform).
    overlap: true,
    marking: "entry",
    write: "entry",
    // Rules and routes that refer to it then match nothing.
    whenEmpty: "closed",
    // AddEntries and RemoveEntries in the EC2 API reference.
    batchMax: 100,
    // A change is complete when what refers to the list has it.
    settleMs: 0,
    callMs: 8_000,
  }),
  parts: ({ region, id }) => ({ object: [region, id] }),
  permissions: ({ region, id }, account) => {
    const list = `arn:${partitionOf(region)}:ec2:${region}:${account}:prefix-list/${id}`;
    // EC2 has one action for both: it cannot grant adding without removing.
    const modify = { actions: ["ec2:ModifyManagedPrefixList"], resources: [list] };
    return {
      dialect: "iam",
      read: [
        // EC2 knows no resources for what only describes.
        { actions: ["ec2:DescribeManagedPrefixLists"], resources: ["*"] },
        { actions: ["ec2:GetManagedPrefixListEntries"], resources: [list] },
      ],
      add: [modify],
      remove: [modify],
    };
  },
  make: prefixListTarget,
};

/**
 * What was read, or is there after a write of ours. True of its version for ever, and of no other:
 * a write that names the version finds exactly this, or is refused.
 */
interface Content {
  readonly version: number;
  /** As EC2 writes them, by what they mean. */
  readonly rows: ReadonlyMap<Cidr, readonly PrefixListEntry[]>;
}

/** All entries of one customer-managed prefix list; whose each is, its text says. */
export function prefixListTarget(
  config: Pick<TargetConfig, "name" | "object" | "limit">,
  settings: Settings,
  client: PrefixListClient,
): Target {
  const { id } = settings;
  const { name, object, limit } = config;
  const traits = prefixListKind.traits(settings);
  let known: Content | null = null;
  async function read(signal: AbortSignal, doing: string) {
    const status = usable(await told(client.describe(id, signal), doing), { traits, doing });
    const entries = await told(client.entries(id, status.version, signal), doing);
    const content = { version: status.version, rows: rowsOf(entries, doing) };
    known = content;
    return { ...content, status };
  }
  return {
    name,
    object,
    traits,
    async observe(signal) {
      const { rows, status } = await read(signal, `read ${name}`);
      return observationOf(rows, status, { traits, limit });
    },
    async apply(batch, revision, signal) {
      const size = batch.cidrs.length;
      assert(size > 0 && size <= traits.batchMax, "batch of the wrong size");
      const doing = `${batch.verb} ${entriesText(size)} on ${name}`;
      const before =
        known !== null && String(known.version) === revision ? known : await read(signal, doing);
      refuseChanged(before, revision, doing);
      const change = changeOf(batch, before, doing);
      const status = await told(client.modify(id, change, signal), doing);
      known = {
        version: versionAfter(status, before.version, doing),
        rows: changed(before, change),
      };
      return String(known.version);
    },
  };
}

/** Nobody may have written since the read that the batch was made from. */
function refuseChanged({ version }: Content, revision: Revision, doing: string): void {
  if (revision === null || String(version) === revision) return;
  throw new TargetError("conflict", `Cannot ${doing}: somebody else wrote meanwhile; read again`);
}

/** Refuses a list that is not there, is not ours to write, or is about to be another. */
function usable(
  status: PrefixListStatus | "aws-managed",
  { traits, doing }: { readonly traits: Traits; readonly doing: string },
): PrefixListStatus {
  const refuse = (kind: TargetError["kind"], because: string) =>
    new TargetError(kind, `Cannot ${doing}: ${because}`);
  if (status === "aws-managed") {
    throw refuse("invalid", "the list belongs to AWS; name one of your own");
  }
  const { state, family, synced } = status;
  const stateText = `${state.doing}-${state.outcome}`;
  if (state.doing === "delete" && state.outcome !== "failed") {
    throw refuse("missing", `its state is ${stateText}; name a list that stays`);
  }
  if (state.doing === "create" && state.outcome === "failed") {
    throw refuse("missing", `its state is ${stateText}; make the list anew`);
  }
  if (state.outcome === "in-progress") {
    throw refuse("busy", `its state is ${stateText}; it is tried again later`);
  }
  if (synced) {
    throw refuse("invalid", "IPAM writes its entries; switch that off, or name another list");
  }
  if (!traits.families.includes(family)) {
    throw refuse("invalid", `it holds ${family} only; write family: ${family}`);
  }
  return status;
}

/** Several rows for one CIDR are possible only where a server does not write addresses one way. */
function rowsOf(entries: readonly PrefixListEntry[], doing: string): Content["rows"] {
  const rows = new Map<Cidr, readonly PrefixListEntry[]>();
  for (const entry of entries) {
    const cidr = parseCidr(entry.cidr);
    if (cidr === null) {
      throw new TargetError(
        "unavailable",
        `Cannot ${doing}: an address of the list cannot be read; it is tried again`,
      );
    }
    rows.set(cidr, [...(rows.get(cidr) ?? []), entry]);
  }
  return rows;
}

function observationOf(
  rows: Content["rows"],
  { version, maxEntries }: PrefixListStatus,
  { traits, limit }: { readonly traits: Traits; readonly limit: number | null },
): Observation {
  const entries = sortCidrs(rows.keys()).flatMap((cidr) =>
    (rows.get(cidr) ?? []).map(
      ({ description }) => ({ cidr, text: description, effect: "allow" }) as const,
    ),
  );
  const most = Math.min(limit ?? maxEntries, maxEntries);
  return {
    entries,
    revision: String(version),
    capacity: [{ families: traits.families, used: entries.length, limit: most }],
  };
}

type Change = Parameters<PrefixListClient["modify"]>[1];

function changeOf(batch: Batch, { version, rows }: Content, doing: string): Change {
  const cidrs = sortCidrs(batch.cidrs);
  const conflict = (cidr: Cidr, state: string) =>
    new TargetError("conflict", `Cannot ${doing}: ${cidr} is ${state}; read again`);
  if (batch.verb === "add") {
    const description = markerWithin(batch.text, DESCRIPTION_CHARACTERS_MAX);
    // Not left to EC2: whether it refuses such an entry or writes our text over another's is not
    // documented.
    const present = cidrs.find((cidr) => rows.has(cidr));
    if (present !== undefined) throw conflict(present, "already there");
    return { version, add: cidrs.map((cidr) => ({ cidr, description })), remove: [] };
  }
  const remove = cidrs.map((cidr) => {
    const [row, ...others] = rows.get(cidr) ?? [];
    if (row === undefined) throw conflict(cidr, "not there");
    if (others.length === 0) return row.cidr;
    const wayOut = "remove all but one by hand";
    throw new TargetError("invalid", `Cannot ${doing}: ${cidr} stands there twice; ${wayOut}`);
  });
  return { version, add: [], remove };
}

/** The version of our change, or what became of it instead. */
function versionAfter(status: PrefixListStatus, before: number, doing: string): number {
  const { state, version } = status;
  const stateText = `${state.doing}-${state.outcome}`;
  const refuse = (kind: TargetError["kind"], because: string) =>
    new TargetError(kind, `Cannot ${doing}: ${because}`);
  if (state.doing === "delete" && state.outcome !== "failed") {
    throw refuse("missing", `its state became ${stateText}; name a list that stays`);
  }
  if (state.outcome === "failed") {
    const wayOut = "look at the list in the VPC console; it is tried again";
    throw refuse(
      "unavailable",
      `EC2 took the change, and its state became ${stateText}; ${wayOut}`,
    );
  }
  if (state.outcome === "in-progress" || version <= before) {
    throw refuse("busy", "EC2 took the change and has not completed it; it is read again later");
  }
  // Every change of entries makes one more version, so another one was made after ours, and what it
  // did is not known.
  if (version !== before + 1) {
    throw refuse("conflict", "somebody else wrote right after it; it is read again");
  }
  return version;
}

function changed({ rows }: Content, { add, remove }: Change): Content["rows"] {
  const next = new Map(rows);
  for (const text of remove) {
    const cidr = parseCidr(text);
    if (cidr !== null) next.delete(cidr);
  }
  for (const entry of add) {
    const cidr = parseCidr(entry.cidr);
    if (cidr !== null) next.set(cidr, [entry]);
  }
  return next;
}
