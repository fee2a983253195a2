import { familyOf, parseCidr } from "../../lib/core/cidr.ts";
import { Ec2Error, invalid, pageFrom } from "./ec2-error.ts";

/** One prefix list as EC2 shows it. */
export interface Ec2PrefixList {
  readonly id: string;
  readonly name: string;
  readonly family: "IPv4" | "IPv6";
  readonly maxEntries: number;
  /** The account's number; `AWS` for AWS's own. */
  readonly ownerId: string;
  readonly state: string;
  readonly version: number;
  /** Whether IPAM writes its entries. */
  readonly synced: boolean;
}

export interface Ec2PrefixListEntry {
  readonly cidr: string;
  readonly description: string | null;
}

export interface Ec2PrefixListChange {
  readonly id: string;
  readonly currentVersion: number | null;
  readonly add: readonly Ec2PrefixListEntry[];
  readonly remove: readonly string[];
  readonly name: string | null;
  readonly maxEntries: number | null;
}

/** What differs between accounts, lists and moments. Read at every call: it may be changed. */
export interface Ec2PrefixListSettings {
  /** After how many looks a change is complete; null: the answer to it says so already. */
  pendingLooks: number | null;
  /** What becomes of the next change. */
  outcome: "complete" | "failed";
  /** Most entries that one answer shows, whatever was asked for. */
  pageEntriesMax: number;
  /** Most entries that one change may add and remove together. */
  callEntriesMax: number;
  /** The size that whatever refers to the list has room for: a resize beyond it fails. */
  sizeMax: number;
  /** How many of the newest versions a look does not show yet. */
  lagVersions: number;
}

/** The three operations on prefix lists that the embedded endpoint speaks; throw Ec2Error. */
export interface Ec2PrefixLists {
  readonly settings: Ec2PrefixListSettings;
  describe(ids: readonly string[]): readonly Ec2PrefixList[];
  entries(input: {
    readonly id: string;
    readonly targetVersion: number | null;
    readonly maxResults: number | null;
    readonly nextToken: string | null;
  }): { readonly entries: readonly Ec2PrefixListEntry[]; readonly nextToken: string | null };
  modify(change: Ec2PrefixListChange): Ec2PrefixList;
  /** Everything that is there, or will be once what is in progress is complete. */
  list(id: string): readonly Ec2PrefixListEntry[];
  /** Somebody else's hand: a new version, complete at once and unchecked. */
  set(id: string, entries: readonly Ec2PrefixListEntry[]): void;
  /** Somebody else's hand: what is no entry. */
  alter(id: string, change: Partial<Omit<Ec2PrefixList, "id" | "version">>): void;
}

interface Kept {
  list: Omit<Ec2PrefixList, "version">;
  /** Newest last; the first is version 1. */
  versions: (readonly Ec2PrefixListEntry[])[];
  /** What is in progress: looks until it is over, what it leaves, and whether it will. */
  pending: { looks: number; readonly outcome: Outcome; readonly failed: boolean } | null;
}

/** What a change leaves; null where it is as before. */
interface Outcome {
  readonly entries: readonly Ec2PrefixListEntry[] | null;
  readonly name: string | null;
  readonly maxEntries: number | null;
}

const DEFAULTS: Ec2PrefixListSettings = {
  pendingLooks: 1,
  outcome: "complete",
  pageEntriesMax: 100,
  callEntriesMax: 100,
  sizeMax: 1_000,
  lagVersions: 0,
};
const DESCRIPTION_CHARACTERS_MAX = 255;

export type NewPrefixList = Pick<Ec2PrefixList, "id"> & Partial<Omit<Ec2PrefixList, "version">>;

/** EC2 prefix lists in memory, strict where EC2 is: versions, states, sizes and families count. */
export function ec2PrefixLists(
  lists: readonly NewPrefixList[],
  settings: Partial<Ec2PrefixListSettings> = {},
): Ec2PrefixLists {
  const current: Ec2PrefixListSettings = { ...DEFAULTS, ...settings };
  const all = new Map<string, Kept>(lists.map((list) => [list.id, newList(list)]));
  const existing = (id: string) => {
    const kept = all.get(id);
    if (kept !== undefined) return kept;
    const message = `The prefix list ID '${id}' does not exist`;
    throw new Ec2Error("InvalidPrefixListID.NotFound", message);
  };
  return {
    settings: current,
    describe(ids) {
      return ids.map((id) => {
        const kept = existing(id);
        look(kept);
        return shownOf(kept, current.lagVersions);
      });
    },
    entries({ id, targetVersion, maxResults, nextToken }) {
      const { versions } = existing(id);
      const entries = versions[(targetVersion ?? versions.length) - 1];
      if (entries === undefined) throw invalid("The specified value for version is not valid.");
      if (maxResults !== null && !(maxResults >= 1 && maxResults <= 100)) {
        throw invalid("The value for maxResults must be between 1 and 100.");
      }
      const most = Math.min(maxResults ?? 100, current.pageEntriesMax);
      const { items, next } = pageFrom(entries, nextToken, most);
      return { entries: items, nextToken: next };
    },
    modify(change) {
      const kept = existing(change.id);
      refuseState(kept.list);
      begin(kept, outcomeOf(kept, change, current), current);
      return shownOf(kept, 0);
    },
    list(id) {
      const { pending, versions } = existing(id);
      const next = pending?.failed ? null : pending?.outcome.entries;
      return next ?? versions.at(-1) ?? [];
    },
    set(id, entries) {
      const kept = existing(id);
      finish(kept);
      kept.versions.push(entries);
    },
    alter(id, change) {
      const kept = existing(id);
      kept.list = { ...kept.list, ...change };
    },
  };
}

function newList(given: NewPrefixList): Kept {
  const defaults = {
    name: "nodes",
    family: "IPv4",
    maxEntries: 100,
    ownerId: "000000000000",
    state: "create-complete",
    synced: false,
  } as const;
  return { list: { ...defaults, ...given }, versions: [[]], pending: null };
}

function shownOf({ list, versions }: Kept, lag: number): Ec2PrefixList {
  return { ...list, version: Math.max(1, versions.length - lag) };
}

/** Every look brings what is in progress nearer to its end. */
function look(kept: Kept): void {
  if (kept.pending === null) return;
  if (kept.pending.looks > 0) kept.pending.looks -= 1;
  else finish(kept);
}

function finish(kept: Kept): void {
  if (kept.pending === null) return;
  const { outcome, failed } = kept.pending;
  kept.pending = null;
  kept.list = { ...kept.list, state: failed ? "modify-failed" : "modify-complete" };
  if (failed) return;
  const { entries, name, maxEntries } = outcome;
  if (entries !== null) kept.versions.push(entries);
  const { name: oldName, maxEntries: oldSize } = kept.list;
  kept.list = { ...kept.list, name: name ?? oldName, maxEntries: maxEntries ?? oldSize };
}

function begin(kept: Kept, outcome: Outcome, settings: Ec2PrefixListSettings): void {
  kept.list = { ...kept.list, state: "modify-in-progress" };
  const failed = settings.outcome === "failed" || (outcome.maxEntries ?? 0) > settings.sizeMax;
  settings.outcome = "complete";
  kept.pending = { looks: settings.pendingLooks ?? 0, outcome, failed };
  if (settings.pendingLooks === null) finish(kept);
}

function refuseState({ id, ownerId, state, synced }: Kept["list"]): void {
  if (ownerId === "AWS") {
    throw new Ec2Error("OperationNotPermitted", "The prefix list is not yours to modify.");
  }
  if (synced) {
    const message = "The prefix list is managed by IPAM.";
    throw new Ec2Error("UnsupportedOperation", message);
  }
  if (!state.endsWith("-in-progress")) return;
  const message =
    `The request cannot be completed while the prefix list (${id}) is in the current state ` +
    `(${state}).`;
  throw new Ec2Error("IncorrectState", message);
}

/** Refuses what EC2 refuses. */
function outcomeOf(
  kept: Kept,
  change: Ec2PrefixListChange,
  settings: Ec2PrefixListSettings,
): Outcome {
  const { add, remove, name, maxEntries } = change;
  const writes = add.length + remove.length > 0;
  if (!writes && name === null && maxEntries === null) {
    throw new Ec2Error("MissingParameter", "The request changes nothing.");
  }
  if (writes && maxEntries !== null) {
    const message = "You cannot modify the entries and the maximum entries in the same request.";
    throw new Ec2Error("InvalidParameterCombination", message);
  }
  return { entries: writes ? entriesAfter(kept, change, settings) : null, name, maxEntries };
}

function entriesAfter(
  { list, versions }: Kept,
  { currentVersion, add, remove }: Ec2PrefixListChange,
  { callEntriesMax }: Ec2PrefixListSettings,
): readonly Ec2PrefixListEntry[] {
  const before = versions.at(-1) ?? [];
  if (!currentVersion) throw invalid("The specified value for version is not valid.");
  if (currentVersion !== versions.length) {
    const message = "The prefix list has the incorrect version number.";
    throw new Ec2Error("PrefixListVersionMismatch", message);
  }
  if (add.length + remove.length > callEntriesMax) {
    throw invalid(`The number of entries per request cannot exceeds limit (${callEntriesMax}).`);
  }
  for (const entry of add) refuseEntry(entry, list.family);
  const both = add.find(({ cidr }) => remove.includes(cidr));
  if (both !== undefined) throw invalid(`Request cannot contain Cidr ${both.cidr} in both lists.`);
  const present = new Set(before.map(({ cidr }) => cidr));
  const absent = remove.find((cidr) => !present.has(cidr));
  if (absent !== undefined) throw badChange(`The entry ${absent} does not exist.`);
  for (const { cidr } of add) {
    if (present.has(cidr)) throw badChange(`The entry ${cidr} already exists.`);
    present.add(cidr);
  }
  const after = [...before.filter(({ cidr }) => !remove.includes(cidr)), ...add];
  if (after.length <= list.maxEntries) return after;
  const message = "The maximum number of entries of the prefix list has been reached.";
  throw new Ec2Error("PrefixListMaxEntriesExceeded", message);
}

function refuseEntry(
  { cidr: text, description }: Ec2PrefixListEntry,
  family: Ec2PrefixList["family"],
): void {
  // A bare address is no CIDR block.
  const cidr = text.includes("/") ? parseCidr(text) : null;
  if (cidr === null || familyOf(cidr) !== family.toLowerCase()) {
    throw invalid(`The CIDR block ${text} is not valid for the address family ${family}.`);
  }
  if ((description ?? "").length > DESCRIPTION_CHARACTERS_MAX) {
    throw invalid("Invalid description. It must be at most 255 characters.");
  }
}

function badChange(message: string): Ec2Error {
  return new Ec2Error("InvalidPrefixListModification", message);
}
