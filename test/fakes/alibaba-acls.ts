import {
  AlibabaError,
  type AlibabaProduct,
  recordItems,
  requiredParam,
  textItems,
  textParam,
} from "../../cli/embedded/alibaba.ts";
import type { AlibabaParams } from "../../cli/embedded/alibaba-form.ts";
import { type Family, familyOf, parseCidr } from "../../lib/core/cidr.ts";

/** One entry as its product shows it. */
export interface AclRow {
  readonly address: string;
  readonly text: string;
  readonly status: "Adding" | "Available" | "Removing";
}

/** What differs between ACLs and moments. Read at every call: it may be changed. */
export interface AclSettings {
  family: Family;
  entriesMax: number;
  /** Most entries that one answer shows, whatever was asked for. */
  pageEntriesMax: number;
  /** What a batch leaves behind when there is no room for all of it. */
  batch: "all-or-nothing" | "up-to-the-refused";
  /** Looks at the list that still show an entry on its way; meanwhile writes are refused. */
  looksUntilSettled: number;
  /** How many of the newest writes a read does not show yet. */
  lagWrites: number;
  /** Listeners that turn away whoever is on it. */
  denying: number;
}

/** One ACL of each id, with an empty list that lets everybody in, as the vendor has it. */
export interface AlibabaAcls {
  readonly settings: AclSettings;
  readonly clb: AlibabaProduct;
  readonly alb: AlibabaProduct;
  /** Everything there now. */
  rows(id: string): readonly AclRow[];
  /** Somebody else's hand: replaces all entries, unchecked. */
  set(id: string, rows: readonly AclRow[]): void;
}

const DEFAULTS: AclSettings = {
  family: "ipv4",
  entriesMax: 1_000,
  pageEntriesMax: 100,
  batch: "all-or-nothing",
  looksUntilSettled: 0,
  lagWrites: 0,
  denying: 0,
};
const CLB_CALL_ENTRIES_MAX = 50;
const CLB_PAGE_ENTRIES_MAX = 50;
const ALB_CALL_ENTRIES_MAX = 20;
const VERSIONS_KEPT_MAX = 16;

/** How each product says the same. */
interface Words {
  readonly missing: string;
  readonly full: string;
  readonly illegal: string;
  readonly gone: string;
  readonly busy: string;
}

const CLB: Words = {
  missing: "AclNotExist",
  full: "AclEntryExceedLimit",
  illegal: "AclEntryIllegal",
  gone: "AclEntryEmpty",
  busy: "AclEntryProcessing",
};
const ALB: Words = {
  missing: "ResourceNotFound.Acl",
  full: "QuotaExceeded.AclEntriesNum",
  illegal: "IllegalParam.Entry",
  gone: "ResourceNotFound.AclEntry",
  busy: "IncorrectStatus.Acl",
};

interface Store {
  readonly settings: AclSettings;
  read(id: string, lag?: number): readonly AclRow[] | undefined;
  write(id: string, rows: readonly AclRow[]): void;
  /** One look at the list: what is on its way comes nearer. */
  look(id: string): void;
}

export function alibabaAcls(ids: readonly string[], given: Partial<AclSettings> = {}): AlibabaAcls {
  const store = storeOf(ids, { ...DEFAULTS, ...given });
  return {
    settings: store.settings,
    clb: { version: "2014-05-15", actions: clbActions(store) },
    alb: { version: "2020-06-16", actions: albActions(store) },
    rows: (id) => store.read(id) ?? [],
    set: store.write,
  };
}

function storeOf(ids: readonly string[], settings: AclSettings): Store {
  // Newest first; what a lagging read shows is an older one.
  const versions = new Map<string, readonly (readonly AclRow[])[]>(ids.map((id) => [id, [[]]]));
  let looks = 0;
  const read = (id: string, lag = 0) => {
    const known = versions.get(id) ?? [];
    return known[Math.min(lag, known.length - 1)];
  };
  return {
    settings,
    read,
    write(id, rows) {
      versions.set(id, [rows, ...(versions.get(id) ?? [])].slice(0, VERSIONS_KEPT_MAX));
    },
    look(id) {
      const [newest = [], ...older] = versions.get(id) ?? [];
      if (newest.every(({ status }) => status === "Available")) return;
      looks += 1;
      if (looks <= settings.looksUntilSettled) return;
      looks = 0;
      const settled = newest.filter(({ status }) => status !== "Removing");
      versions.set(id, [settled.map((row) => ({ ...row, status: "Available" })), ...older]);
    },
  };
}

function clbActions(store: Store): AlibabaProduct["actions"] {
  const asked = (params: AlibabaParams) => {
    requiredParam(params, "RegionId");
    const rows: readonly { entry: string; comment?: string }[] = JSON.parse(
      requiredParam(params, "AclEntrys"),
    );
    if (rows.length > CLB_CALL_ENTRIES_MAX) throw new AlibabaError("AclEntryIllegal", "too many");
    return rows.map(({ entry, comment = "" }) => ({ address: entry, text: comment }));
  };
  return {
    DescribeAccessControlListAttribute: ({ params }) => {
      requiredParam(params, "RegionId");
      const rows = existing(store, params, { words: CLB, lag: store.settings.lagWrites });
      const size = Math.min(
        Number(textParam(params, "PageSize") ?? "10"),
        CLB_PAGE_ENTRIES_MAX,
        store.settings.pageEntriesMax,
      );
      const first = (Number(textParam(params, "Page") ?? "1") - 1) * size;
      const shown = rows.slice(first, first + size);
      const listener = { AclType: "black", ListenerPort: 443, Protocol: "tcp" };
      return {
        AclId: params.AclId,
        AddressIPVersion: store.settings.family,
        TotalAclEntry: rows.length,
        RelatedListeners: {
          RelatedListener: Array.from({ length: store.settings.denying }, () => listener),
        },
        AclEntrys: {
          AclEntry: shown.map(({ address, text }) => ({
            AclEntryIP: address,
            ...(text === "" ? {} : { AclEntryComment: text }),
          })),
        },
      };
    },
    AddAccessControlListEntry: ({ params }) => {
      add(store, params, { words: CLB, asked: asked(params), status: "Available" });
      return {};
    },
    RemoveAccessControlListEntry: ({ params }) => {
      const addresses = asked(params).map(({ address }) => address);
      remove(store, params, { words: CLB, addresses, status: null });
      return {};
    },
  };
}

function albActions(store: Store): AlibabaProduct["actions"] {
  return {
    ListAclEntries: ({ params }) => {
      store.look(requiredParam(params, "AclId"));
      const rows = existing(store, params, { words: ALB, lag: store.settings.lagWrites });
      const asked = Number(textParam(params, "MaxResults") ?? "20");
      const size = Math.min(asked, store.settings.pageEntriesMax);
      const first = Number(textParam(params, "NextToken") ?? "0");
      const next = first + size;
      return {
        TotalCount: rows.length,
        MaxResults: size,
        ...(next < rows.length ? { NextToken: String(next) } : {}),
        AclEntries: rows.slice(first, next).map(({ address, text, status }) => ({
          Entry: address,
          ...(text === "" ? {} : { Description: text }),
          Status: status,
        })),
      };
    },
    AddEntriesToAcl: ({ params }) => {
      const asked = recordItems(params, "AclEntries").map((item) => ({
        address: requiredParam(item, "Entry"),
        text: textParam(item, "Description") ?? "",
      }));
      refuseCount(asked.length);
      add(store, params, { words: ALB, asked, status: "Adding" });
      return { JobId: "job-1" };
    },
    RemoveEntriesFromAcl: ({ params }) => {
      const addresses = textItems(params, "Entries");
      refuseCount(addresses.length);
      remove(store, params, { words: ALB, addresses, status: "Removing" });
      return { JobId: "job-2" };
    },
  };
}

function refuseCount(count: number): void {
  if (count === 0 || count > ALB_CALL_ENTRIES_MAX) {
    throw new AlibabaError("IllegalParam.AclEntries", "not 1 to 20 entries");
  }
}

function existing(
  store: Store,
  params: AlibabaParams,
  options: { readonly words: Words; readonly lag?: number },
): readonly AclRow[] {
  const rows = store.read(requiredParam(params, "AclId"), options.lag);
  if (rows !== undefined) return rows;
  throw new AlibabaError(options.words.missing, "The ACL does not exist.", { status: 404 });
}

/** What is there already is left as it is, without a word. */
function add(
  store: Store,
  params: AlibabaParams,
  options: {
    readonly words: Words;
    readonly asked: readonly { readonly address: string; readonly text: string }[];
    readonly status: AclRow["status"];
  },
): void {
  const { words, asked, status } = options;
  const before = existing(store, params, { words });
  refuseBusy(before, words);
  for (const { address } of asked) {
    const cidr = address.includes("/") ? parseCidr(address) : null;
    if (cidr === null || familyOf(cidr) !== store.settings.family) {
      throw new AlibabaError(words.illegal, "The entry is illegal.");
    }
  }
  const present = new Set(before.map(({ address }) => parseCidr(address)));
  const added = asked.filter(({ address }) => !present.has(parseCidr(address)));
  const room = store.settings.entriesMax - before.length;
  const fitting = added.slice(0, Math.max(0, room));
  const isFull = fitting.length < added.length;
  if (!isFull || store.settings.batch === "up-to-the-refused") {
    const rows = fitting.map((row) => ({ ...row, status }));
    store.write(requiredParam(params, "AclId"), [...before, ...rows]);
  }
  if (isFull) throw new AlibabaError(words.full, "There is no room for more entries.");
}

/** Goes by address alone, whatever text stands beside it. */
function remove(
  store: Store,
  params: AlibabaParams,
  options: {
    readonly words: Words;
    readonly addresses: readonly string[];
    /** Of what is on its way out; null where it is gone at once. */
    readonly status: "Removing" | null;
  },
): void {
  const { words, addresses, status } = options;
  const before = existing(store, params, { words });
  refuseBusy(before, words);
  const going = new Set(addresses);
  if (!before.some(({ address }) => going.has(address))) {
    throw new AlibabaError(words.gone, "There is no such entry.", { status: 404 });
  }
  const after = before.flatMap((row) => {
    if (!going.has(row.address)) return [row];
    return status === null ? [] : [{ ...row, status }];
  });
  store.write(requiredParam(params, "AclId"), after);
}

function refuseBusy(rows: readonly AclRow[], words: Words): void {
  if (rows.every(({ status }) => status === "Available")) return;
  throw new AlibabaError(words.busy, "The ACL is being changed.", { status: 409 });
}
