import { type Family, familyOf, parseCidr } from "../../lib/core/cidr.ts";
import {
  type AlibabaAction,
  AlibabaError,
  recordItems,
  requiredParam,
  textParam,
} from "./alibaba.ts";
import type { AlibabaParams } from "./alibaba-form.ts";

export interface EcsListEntry {
  readonly cidr: string;
  readonly description: string | null;
}

/** What differs between lists and moments. Read at every call: it may be changed. */
export interface EcsListSettings {
  family: Family;
  entriesMax: number;
  /** What a batch leaves behind when there is no room for all of it. */
  batch: "all-or-nothing" | "up-to-the-refused";
  /** How many of the newest writes a read does not show yet. */
  lagWrites: number;
}

export interface EcsPrefixLists {
  readonly settings: EcsListSettings;
  /** Of the version 2014-05-26. */
  readonly actions: Readonly<Record<string, AlibabaAction>>;
  /** Everything there now, in the order of creation. */
  entries(listId: string): readonly EcsListEntry[];
  /** Somebody else's hand: replaces all entries, unchecked. */
  set(listId: string, entries: readonly EcsListEntry[]): void;
}

const DEFAULTS: EcsListSettings = {
  family: "ipv4",
  entriesMax: 200,
  batch: "all-or-nothing",
  lagWrites: 0,
};
const VERSIONS_KEPT_MAX = 16;
const CALL_ENTRIES_MAX = 200;

/**
 * ECS prefix lists in memory, strict where ECS is: networks without host bits only, nothing named
 * twice; an entry that is there already gets the new description.
 */
export function ecsPrefixLists(
  listIds: readonly string[],
  settings: Partial<EcsListSettings> = {},
): EcsPrefixLists {
  const current: EcsListSettings = { ...DEFAULTS, ...settings };
  // Newest first; what a lagging read shows is an older one.
  const versions = new Map<string, readonly (readonly EcsListEntry[])[]>(
    listIds.map((listId) => [listId, [[]]]),
  );
  const existing = (params: AlibabaParams, lag = 0) => {
    requiredParam(params, "RegionId");
    const listId = requiredParam(params, "PrefixListId");
    const known = versions.get(listId);
    if (known === undefined) {
      const message = "The specified prefix list was not found.";
      throw new AlibabaError("InvalidPrefixListId.NotFound", message, { status: 404 });
    }
    return { listId, entries: known[Math.min(lag, known.length - 1)] ?? [] };
  };
  const write = (listId: string, entries: readonly EcsListEntry[]) => {
    const known = versions.get(listId) ?? [];
    versions.set(listId, [entries, ...known].slice(0, VERSIONS_KEPT_MAX));
  };
  return {
    settings: current,
    entries: (listId) => versions.get(listId)?.[0] ?? [],
    set: write,
    actions: {
      DescribePrefixListAttributes: ({ params }) => {
        const { listId, entries } = existing(params, current.lagWrites);
        return {
          PrefixListId: listId,
          AddressFamily: current.family === "ipv4" ? "IPv4" : "IPv6",
          MaxEntries: current.entriesMax,
          Entries: {
            Entry: entries.map(({ cidr, description }) => ({
              Cidr: cidr,
              Description: description ?? "",
            })),
          },
        };
      },
      ModifyPrefixList: ({ params }) => {
        const { listId, entries } = existing(params);
        const added = entriesOf(params, "AddEntry", current.family);
        const removed = entriesOf(params, "RemoveEntry", current.family);
        refuseDouble([...added, ...removed]);
        const gone = new Set(removed.map(({ cidr }) => cidr));
        const left = entries.filter(({ cidr }) => !gone.has(cidr));
        const after = upsert(left, added);
        if (after.length <= current.entriesMax) {
          write(listId, after);
          return {};
        }
        if (current.batch === "up-to-the-refused")
          write(listId, after.slice(0, current.entriesMax));
        const message = "The number of entries exceeds the MaxEntries of the prefix list.";
        throw new AlibabaError("LimitExceed.MaxEntries", message);
      },
    },
  };
}

function entriesOf(
  params: AlibabaParams,
  name: "AddEntry" | "RemoveEntry",
  family: Family,
): readonly EcsListEntry[] {
  const items = recordItems(params, name);
  if (items.length > CALL_ENTRIES_MAX) {
    const message = "The number of entries added or removed exceeds the limit.";
    throw new AlibabaError("LimitExceed.Entry", message);
  }
  return items.map((item) => {
    const description = textParam(item, "Description") ?? null;
    if (description !== null && (description.length < 2 || description.length > 32)) {
      const message = "The specified Description is wrongly formed.";
      throw new AlibabaError("InvalidDescription.Malformed", message);
    }
    return { cidr: strictOf(requiredParam(item, "Cidr"), family), description };
  });
}

/** A single address becomes a network of one; one with host bits is refused. */
function strictOf(text: string, family: Family): string {
  const cidr = parseCidr(text);
  const address = cidr?.slice(0, cidr.indexOf("/")) ?? "";
  const whole = cidr !== null && parseCidr(text.split("/")[0] ?? "") === parseCidr(address);
  if (cidr !== null && whole && familyOf(cidr) === family) return cidr;
  throw new AlibabaError("InvalidParameter.CidrMalformed", `${text} is malformed.`);
}

function refuseDouble(named: readonly EcsListEntry[]): void {
  if (new Set(named.map(({ cidr }) => cidr)).size === named.length) return;
  throw new AlibabaError("InvalidParameter.CidrDuplicated", "Duplicate CIDR blocks are specified.");
}

function upsert(
  entries: readonly EcsListEntry[],
  added: readonly EcsListEntry[],
): readonly EcsListEntry[] {
  const fresh = new Map(added.map((entry) => [entry.cidr, entry]));
  const known = new Set(entries.map(({ cidr }) => cidr));
  return [
    ...entries.map((entry) => fresh.get(entry.cidr) ?? entry),
    ...added.filter(({ cidr }) => !known.has(cidr)),
  ];
}
