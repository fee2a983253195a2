import {
  ACL_READ_MS_MAX,
  ACL_WRITE_MS_MAX,
  type Acl,
  type AclChange,
  type AclClient,
  type AclEntry,
  withinReadTime,
} from "./acl.ts";
import { optionalTextIn, rowsAt, textIn, unreadable, valueAt } from "./answer.ts";
import { type Kinds, withKinds } from "./kinds.ts";
import { SLB } from "./products.ts";
import { type AlibabaConnection, type AlibabaContext, openRpc, type Rpc } from "./rpc.ts";

// Source: the error table of slb 2014-05-15.
const KINDS: Kinds = {
  AclEntryExceedLimit: "full",
  "InvalidParam.AclEntryExists": "conflict",
};

const READ = "DescribeAccessControlListAttribute";
const OPERATION = `slb:${READ}`;
const PAGE_ENTRIES_MAX = 50;
// Far beyond the 300 entries that an ACL may have.
const PAGES_MAX = 40;

/** ACLs of Classic Load Balancer. Connects to nothing yet. */
export function clbAclClient(connection: AlibabaConnection, context: AlibabaContext): AclClient {
  const rpc = withKinds(openRpc(connection, context), KINDS);
  const { region } = connection;
  const write = async (
    action: string,
    entries: readonly AclChange[],
    { id, signal }: { readonly id: string; readonly signal: AbortSignal },
  ) => {
    // A list in one parameter: the text of a JSON array.
    const AclEntrys = JSON.stringify(
      entries.map(({ cidr, text }) => ({ entry: cidr, comment: text })),
    );
    const params = { RegionId: region, AclId: id, AclEntrys };
    await rpc.call({ product: SLB, action, params, timeoutMs: ACL_WRITE_MS_MAX }, signal);
  };
  return {
    read: (id, signal) =>
      withinReadTime(context, { operation: OPERATION, signal }, (inner) =>
        readPages(rpc, { id, region, signal: inner }),
      ),
    add: (id, entries, signal) => write("AddAccessControlListEntry", entries, { id, signal }),
    remove: (id, entries, signal) => write("RemoveAccessControlListEntry", entries, { id, signal }),
  };
}

interface Reading {
  readonly id: string;
  readonly region: string;
  readonly signal: AbortSignal;
}

/**
 * Pages have numbers and no version: where the number of all entries changes from page to page, or
 * is not that of the entries read, something was written meanwhile and this is no whole list.
 */
async function readPages(rpc: Rpc, reading: Reading): Promise<Acl> {
  const entries: AclEntry[] = [];
  let first: number | null = null;
  for (let page = 1; page <= PAGES_MAX; page += 1) {
    const answer = await rpc.call(readRequest(reading, page), reading.signal);
    const total = valueAt(answer, ["TotalAclEntry"]);
    if (typeof total !== "number" || total !== (first ?? total)) throw unreadable(OPERATION);
    first = total;
    const rows = total === 0 ? [] : rowsAt(answer, ["AclEntrys", "AclEntry"], OPERATION);
    entries.push(...rows.map(entryOf));
    if (entries.length > total || (rows.length === 0 && entries.length < total)) {
      throw unreadable(OPERATION);
    }
    if (entries.length < total) continue;
    if (new Set(entries.map(({ address }) => address)).size < total) throw unreadable(OPERATION);
    return {
      family: textIn(answer, "AddressIPVersion", OPERATION).toLowerCase(),
      denying: denyingOf(answer),
      entries,
    };
  }
  throw unreadable(OPERATION);
}

function readRequest({ id, region }: Reading, page: number) {
  const params = { RegionId: region, AclId: id, Page: page, PageSize: PAGE_ENTRIES_MAX };
  return { product: SLB, action: READ, params, timeoutMs: ACL_READ_MS_MAX };
}

function entryOf(row: Readonly<Record<string, unknown>>): AclEntry {
  return {
    address: textIn(row, "AclEntryIP", OPERATION),
    text: optionalTextIn(row, "AclEntryComment", OPERATION),
    state: "there",
  };
}

/** An ACL allows or denies by how a listener uses it. */
function denyingOf(answer: unknown): number {
  const listeners = valueAt(answer, ["RelatedListeners", "RelatedListener"]);
  if (!Array.isArray(listeners)) return 0;
  return listeners.filter((listener) => valueAt(listener, ["AclType"]) === "black").length;
}
