import {
  DescribeManagedPrefixListsCommand,
  type EC2Client,
  GetManagedPrefixListEntriesCommand,
  type ManagedPrefixList,
  ModifyManagedPrefixListCommand,
} from "@aws-sdk/client-ec2";
import type { Family } from "../../core/cidr.ts";
import type { World } from "../../world.ts";
import { unreadable } from "./errors.ts";
import { calling, type Session } from "./session.ts";

/** `PrefixListState` in the EC2 API reference, in its two parts. */
export interface PrefixListState {
  readonly doing: "create" | "modify" | "restore" | "delete";
  readonly outcome: "in-progress" | "complete" | "failed";
}

/** A list that a customer made. What EC2 says about a state is not here: it names resources. */
export interface PrefixListStatus {
  readonly state: PrefixListState;
  /** Another one after every change of entries; a change of name or size makes none. */
  readonly version: number;
  readonly maxEntries: number;
  readonly family: Family;
  /** Whether IPAM writes its entries, by the rules of a resolver. */
  readonly synced: boolean;
}

export interface PrefixListEntry {
  readonly cidr: string;
  readonly description: string | null;
}

export interface PrefixListChange {
  /** Which version it is a change of. Any other one there is a conflict. */
  readonly version: number;
  /** Both together are at most 100: whether EC2 counts them apart is not documented. */
  readonly add: readonly { readonly cidr: string; readonly description: string }[];
  readonly remove: readonly string[];
}

/** What a prefix list needs. Every call honours its signal and rejects only with CloudError. */
export interface PrefixListClient {
  /** One attempt, within {@link DESCRIBE_MS_MAX}. AWS's own lists have neither version nor size. */
  describe(listId: string, signal: AbortSignal): Promise<PrefixListStatus | "aws-managed">;
  /**
   * All entries of one version, over all pages, one attempt each; within {@link ENTRIES_MS_MAX}.
   */
  entries(
    listId: string,
    version: number,
    signal: AbortSignal,
  ): Promise<readonly PrefixListEntry[]>;
  /**
   * One attempt to change the list, then waits for what becomes of it; within
   * {@link MODIFY_MS_MAX}. Resolves with the last that was seen, which after
   * {@link SETTLE_MS_MAX} may still be a change in progress, or the version from before.
   */
  modify(listId: string, change: PrefixListChange, signal: AbortSignal): Promise<PrefixListStatus>;
}

export const DESCRIBE_MS_MAX = 2_500;
export const ENTRIES_MS_MAX = 5_500;
export const MODIFY_MS_MAX = 8_000;
const SETTLE_MS_MAX = 7_000;
const POLL_MS = 250;
// The most that GetManagedPrefixListEntries gives, and as many pages as the quota of 1,000 entries
// has, ten times over.
const PAGE_ENTRIES_MAX = 100;
const PAGES_MAX = 100;

const DESCRIBE = "ec2:DescribeManagedPrefixLists";
const ENTRIES = "ec2:GetManagedPrefixListEntries";
const MODIFY = "ec2:ModifyManagedPrefixList";

export function prefixListClient(session: Session<EC2Client>, world: World): PrefixListClient {
  return {
    describe: (listId, signal) =>
      calling(DESCRIBE, { session, world, signal, msMax: DESCRIBE_MS_MAX }, (client, inner) =>
        describeList(client, listId, inner),
      ),
    entries: (listId, version, signal) =>
      calling(ENTRIES, { session, world, signal, msMax: ENTRIES_MS_MAX }, (client, inner) =>
        readEntries(client, { listId, version }, inner),
      ),
    modify: (listId, change, signal) =>
      calling(MODIFY, { session, world, signal, msMax: MODIFY_MS_MAX }, (client, inner) =>
        modifyAndWait(client, { listId, change, world }, inner),
      ),
  };
}

async function describeList(
  client: EC2Client,
  listId: string,
  signal: AbortSignal,
): Promise<PrefixListStatus | "aws-managed"> {
  const command = new DescribeManagedPrefixListsCommand({ PrefixListIds: [listId] });
  const answer = await client.send(command, { abortSignal: signal });
  const [list, ...others] = answer.PrefixLists ?? [];
  // A list that is not there is an error of EC2's and never an empty answer.
  if (list === undefined || others.length > 0) throw unreadable(DESCRIBE);
  if (list.PrefixListId === listId && list.OwnerId === "AWS") return "aws-managed";
  return statusOf(list, listId, DESCRIBE);
}

async function readEntries(
  client: EC2Client,
  { listId, version }: { readonly listId: string; readonly version: number },
  signal: AbortSignal,
): Promise<readonly PrefixListEntry[]> {
  const entries: PrefixListEntry[] = [];
  let token: string | undefined;
  for (let page = 0; page < PAGES_MAX; page += 1) {
    const answer = await client.send(
      new GetManagedPrefixListEntriesCommand({
        PrefixListId: listId,
        // Pages of one version fit together, whatever is written meanwhile.
        TargetVersion: version,
        MaxResults: PAGE_ENTRIES_MAX,
        NextToken: token,
      }),
      { abortSignal: signal },
    );
    // The SDK makes an answer without the member of any page with status 200, a proxy's greeting
    // included.
    if (answer.Entries === undefined) throw unreadable(ENTRIES);
    for (const { Cidr, Description } of answer.Entries) {
      if (Cidr === undefined) throw unreadable(ENTRIES);
      entries.push({ cidr: Cidr, description: Description ?? null });
    }
    token = answer.NextToken || undefined;
    if (token === undefined) return entries;
  }
  throw unreadable(ENTRIES);
}

async function modifyAndWait(
  client: EC2Client,
  options: {
    readonly listId: string;
    readonly change: PrefixListChange;
    readonly world: World;
  },
  signal: AbortSignal,
): Promise<PrefixListStatus> {
  const { listId, change, world } = options;
  const settleBy = world.now() + SETTLE_MS_MAX;
  const { PrefixList } = await client.send(modifyCommand(listId, change), { abortSignal: signal });
  let status = statusOf(PrefixList, listId, MODIFY);
  while (!isSettled(status, change.version) && world.now() + POLL_MS <= settleBy) {
    await world.sleep(POLL_MS, signal);
    status = await lookAgain(client, { listId, status }, signal);
  }
  return status;
}

/**
 * The change was accepted, and no failed look at it may say anything else: a look that is throttled
 * would read as a change that never happened.
 */
async function lookAgain(
  client: EC2Client,
  { listId, status }: { readonly listId: string; readonly status: PrefixListStatus },
  signal: AbortSignal,
): Promise<PrefixListStatus> {
  try {
    const seen = await describeList(client, listId, signal);
    return seen === "aws-managed" ? status : seen;
  } catch (thrown) {
    if (signal.aborted) throw thrown;
    return status;
  }
}

/** A complete change of the version from before is an earlier one: EC2's reads may lag. */
function isSettled({ state, version }: PrefixListStatus, before: number): boolean {
  if (state.outcome === "in-progress") return state.doing === "delete";
  return state.outcome === "failed" || state.doing === "delete" || version > before;
}

function modifyCommand(listId: string, { version, add, remove }: PrefixListChange) {
  return new ModifyManagedPrefixListCommand({
    PrefixListId: listId,
    CurrentVersion: version,
    // EC2 refuses entries together with a size, and an empty array, of which the SDK makes nothing
    // today. A name that is left out stays.
    ...(add.length === 0
      ? {}
      : {
          AddEntries: add.map(({ cidr, description }) => ({
            Cidr: cidr,
            Description: description,
          })),
        }),
    ...(remove.length === 0 ? {} : { RemoveEntries: remove.map((cidr) => ({ Cidr: cidr })) }),
  });
}

const STATE = /^(create|modify|restore|delete)-(in-progress|complete|failed)$/;
const FAMILIES: Readonly<Record<string, Family>> = { IPv4: "ipv4", IPv6: "ipv6" };

function statusOf(
  list: ManagedPrefixList | undefined,
  listId: string,
  operation: string,
): PrefixListStatus {
  const { PrefixListId, State, Version, MaxEntries, AddressFamily } = list ?? {};
  const [, doing, outcome] = STATE.exec(State ?? "") ?? [];
  const family = FAMILIES[AddressFamily ?? ""];
  if (PrefixListId !== listId || family === undefined) throw unreadable(operation);
  if (doing === undefined || Version === undefined || MaxEntries === undefined) {
    throw unreadable(operation);
  }
  return {
    state: { doing, outcome } as PrefixListState,
    version: Version,
    maxEntries: MaxEntries,
    family,
    synced: isSynced(list ?? {}),
  };
}

/** A list with a resolver that does not say whether it is switched off counts as synced. */
function isSynced(list: ManagedPrefixList): boolean {
  const enabled = list.IpamPrefixListResolverSyncEnabled;
  return enabled ?? list.IpamPrefixListResolverTargetId !== undefined;
}
