import type { Family } from "../../core/cidr.ts";
import { CloudError } from "../error.ts";
import { fieldsOf, UNREADABLE } from "./errors.ts";
import { ECS } from "./products.ts";
import { type AlibabaConnection, type AlibabaContext, openRpc } from "./rpc.ts";

/** A prefix list of ECS, as ECS wrote it. It has no version. */
export interface PrefixList {
  readonly family: Family;
  /** Set when the list was made, and never after. */
  readonly entriesMax: number;
  readonly entries: readonly PrefixListEntry[];
}

export interface PrefixListEntry {
  readonly address: string;
  readonly description: string | null;
}

/**
 * The three calls that a prefix list needs. Each makes one attempt, honours its signal, takes at
 * most {@link PREFIX_LIST_CALL_MS_MAX} and rejects only with CloudError.
 */
export interface PrefixListClient {
  describe(listId: string, signal: AbortSignal): Promise<PrefixList>;
  /** An address that is there already gets the description instead of its own. */
  add(listId: string, entries: readonly PrefixListEntry[], signal: AbortSignal): Promise<void>;
  remove(listId: string, addresses: readonly string[], signal: AbortSignal): Promise<void>;
}

/** A change is read right before it is written: both fit into what a target may take. */
export const PREFIX_LIST_CALL_MS_MAX = 4_000;

const DESCRIBE = "ecs:DescribePrefixListAttributes";
const FAMILIES: ReadonlyMap<unknown, Family> = new Map([
  ["IPv4", "ipv4"],
  ["IPv6", "ipv6"],
]);

/** Connects to nothing yet. */
export function prefixListClient(
  connection: AlibabaConnection,
  context: AlibabaContext,
): PrefixListClient {
  const rpc = openRpc(connection, context);
  const timeoutMs = PREFIX_LIST_CALL_MS_MAX;
  const list = (listId: string) => ({ RegionId: connection.region, PrefixListId: listId });
  return {
    async describe(listId, signal) {
      const action = "DescribePrefixListAttributes";
      const request = { product: ECS, action, params: list(listId), timeoutMs };
      return prefixListOf(await rpc.call(request, signal), listId);
    },
    async add(listId, entries, signal) {
      const AddEntry = entries.map(({ address, description }) => ({
        Cidr: address,
        Description: description ?? undefined,
      }));
      const params = { ...list(listId), AddEntry };
      await rpc.call({ product: ECS, action: "ModifyPrefixList", params, timeoutMs }, signal);
    },
    async remove(listId, addresses, signal) {
      const params = { ...list(listId), RemoveEntry: addresses.map((Cidr) => ({ Cidr })) };
      await rpc.call({ product: ECS, action: "ModifyPrefixList", params, timeoutMs }, signal);
    },
  };
}

function prefixListOf(answer: Readonly<Record<string, unknown>>, listId: string): PrefixList {
  const { AddressFamily, MaxEntries, PrefixListId } = answer;
  const family = FAMILIES.get(AddressFamily);
  const rows = fieldsOf(answer.Entries).Entry;
  const known = Number.isSafeInteger(MaxEntries) && Number(MaxEntries) > 0;
  if (PrefixListId !== listId || family === undefined || !known || !Array.isArray(rows)) {
    throw unreadable();
  }
  return { family, entriesMax: Number(MaxEntries), entries: rows.map(entryOf) };
}

function entryOf(row: unknown): PrefixListEntry {
  const { Cidr, Description } = fieldsOf(row);
  if (typeof Cidr !== "string" || Cidr === "") throw unreadable();
  const described = typeof Description === "string" && Description !== "";
  return { address: Cidr, description: described ? Description : null };
}

/** A read that is not understood whole is no read. */
function unreadable(): CloudError {
  return new CloudError("unavailable", UNREADABLE, { operation: DESCRIBE });
}
