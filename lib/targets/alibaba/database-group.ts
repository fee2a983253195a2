import assert from "node:assert/strict";
import type {
  AddressGroup,
  DatabaseClient,
  DatabaseNetwork,
} from "../../clouds/alibaba/databases.ts";
import { addressSet } from "../../core/aggregate.ts";
import { addressText, type Cidr, parseCidr, sortCidrs } from "../../core/cidr.ts";
import type { TargetConfig } from "../../core/list.ts";
import { containerOf, type Owner } from "../../core/marker.ts";
import type { Revision, Traits } from "../../core/observation.ts";
import { entriesText } from "../errors.ts";
import { type Batch, type Target, TargetError } from "../target.ts";
import { targetErrorOf } from "./errors.ts";

/*
 * The allow lists of Alibaba Cloud's databases. An instance has named groups of addresses, and who
 * is in any of them may connect; one group is ours, and no other is ever written.
 *
 * The group is written whole (`ModifyMode=Cover`), never by `Append` and `Delete`: those fail as a
 * whole over one entry that is, or is not, there; what `Delete` does differs between the products'
 * pages, up to deleting the group; and neither can put a broad entry in the place of the narrow
 * ones inside it without a gap. Cover can be repeated, and mends what is wrong. Its danger is that
 * what it is made from is not the truth: it would cut off whoever is missing there. Against that
 * stand:
 *
 * - A read that fails, or is not understood whole, is followed by no write.
 * - The group is read right before the write and must be as it was when the caller decided, or as
 *   this target left it: what another writer did in between is a conflict, not overwritten.
 * - What this target replaced itself within the last minute and still reads is late: a conflict,
 *   not a base to write on. (Longer ago it may well be there again: another process, such as the
 *   resync, has written what was there once.) The next run, in which everything desired and not
 *   read is added first, in one batch, heals a read that was late twice; for that a batch is as
 *   large as a list may be.
 * - A group that is not there counts as empty: then nothing that is desired was read, and all of it
 *   is in the batch. A group that the vendor hides, or whose list is kept for each kind of network
 *   although the settings name none (or the other way round), is no group to write.
 * - A reply that was lost is followed by a read, and the content by itself: writing it once more
 *   changes nothing.
 * - What would leave the group empty is refused, here and by the guard.
 *
 * What nothing protects from, because the vendor has no version to compare: a write of somebody
 * else to our own group within the one round trip between our read and our write; and a write of
 * ours whose reply was lost, if it arrives after a later one. Nothing more is written in a run
 * whose write has no known end, and a target that failed is read again soon, which shows and mends
 * either.
 */

/** SecurityIps in the products' API references. */
const ENTRIES_MAX = 1_000;

/** How long a read may show what a write has replaced. */
const LATE_READ_MS = 60_000;

export const DATABASE_TRAITS: Traits = {
  families: ["ipv4"],
  ranges: true,
  // RDS for MySQL refuses an address inside a listed network; the others are given no occasion.
  overlap: false,
  marking: "container",
  write: "whole",
  // "At least one is needed."
  whenEmpty: "rejected",
  batchMax: ENTRIES_MAX,
  // "About one minute", says the vendor of RDS; the other products say nothing.
  settleMs: 60_000,
  // One read, one write and the wait for the instance.
  callMs: 8_000,
};

/** What may hold at most {@link ENTRIES_MAX}: a group, or all groups of an instance together. */
export type LimitOf = "group" | "instance";

export interface DatabaseSettings {
  readonly region: string;
  readonly id: string;
  readonly group?: string | undefined;
  /** Of an instance that keeps a list for each kind of network. */
  readonly network?: DatabaseNetwork | undefined;
}

const HIDDEN = "hidden";

export function groupOf({ group }: DatabaseSettings, owner: Owner): string {
  return group ?? containerOf(owner);
}

/** One entry of our group, and how it is written there: people may have written it. */
interface Row {
  readonly cidr: Cidr;
  readonly address: string;
}

/** What was read of an instance. */
interface Content {
  /** Of our group, in the vendor's order. */
  readonly rows: readonly Row[];
  /** What counts against the limit beside our group. */
  readonly others: number;
  readonly revision: string;
}

interface Making {
  readonly config: Pick<TargetConfig, "limit" | "name" | "object" | "owner">;
  readonly settings: DatabaseSettings;
  readonly client: DatabaseClient;
  readonly limitOf: LimitOf;
}

/** One group of one instance. */
export function databaseTarget({ config, settings, client, limitOf }: Making): Target {
  const group = groupOf(settings, config.owner);
  const network = settings.network ?? null;
  const limit = Math.min(config.limit ?? ENTRIES_MAX, ENTRIES_MAX);
  // What this target has written last, and what it has replaced by that.
  let written: string | null = null;
  const replaced = new Map<string, number>();
  const late = (revision: string) => client.now() - (replaced.get(revision) ?? 0) < LATE_READ_MS;
  async function read(doing: string, signal: AbortSignal): Promise<Content> {
    const groups = await client.groups(settings.id, signal).catch((thrown) => {
      throw targetErrorOf(thrown, doing);
    });
    refuseMode(groups, { network, doing });
    return contentOf(groups, { group, network, limitOf, doing });
  }
  return {
    name: config.name,
    object: config.object,
    traits: DATABASE_TRAITS,
    async observe(signal) {
      const { rows, others, revision } = await read(`read ${config.name}`, signal);
      const cidrs = sortCidrs(rows.map(({ cidr }) => cidr));
      return {
        entries: cidrs.map((cidr) => ({ cidr, text: group, effect: "allow" })),
        revision,
        capacity: [{ families: ["ipv4"], used: others + rows.length, limit }],
      };
    },
    async apply(batch, revision, signal) {
      const size = batch.cidrs.length + batch.instead.length;
      assert(batch.cidrs.length > 0 && size <= DATABASE_TRAITS.batchMax, "batch of the wrong size");
      const doing = `${batch.verb} ${entriesText(batch.cidrs.length)} on ${config.name}`;
      const before = await read(doing, signal);
      refuseOtherBase(before.revision, { revision, written, late, doing });
      const after = contentAfter(before.rows, batch);
      refuseContent(after, { before, limit, doing });
      const content = { group, network, addresses: after.map(({ address }) => address) };
      await client.cover(settings.id, content, signal).catch((thrown) => {
        throw targetErrorOf(thrown, doing, {
          codes: waysOut({ used: before.others + after.length, limit: ENTRIES_MAX }),
        });
      });
      written = revisionOf(after);
      for (const one of replaced.keys()) if (!late(one)) replaced.delete(one);
      replaced.set(before.revision, client.now());
      replaced.delete(written);
      return written;
    },
  };
}

/** An instance keeps one list for all networks, or one for each kind: the settings must agree. */
function refuseMode(
  groups: readonly AddressGroup[],
  options: { readonly network: DatabaseNetwork | null; readonly doing: string },
): void {
  const { network, doing } = options;
  const kept = new Set(groups.map((group) => group.network));
  const split = kept.has("classic") || kept.has("vpc");
  if (network === null && split) {
    throw new TargetError(
      "invalid",
      `Cannot ${doing}: the instance keeps a list for each kind of network; ` +
        "set network to vpc or classic",
    );
  }
  if (network !== null && !kept.has(network)) {
    throw new TargetError(
      "invalid",
      `Cannot ${doing}: the instance keeps no lists for network ${network}; ` +
        (split ? "set the other one" : "leave network out"),
    );
  }
}

function contentOf(
  groups: readonly AddressGroup[],
  options: {
    readonly group: string;
    readonly network: DatabaseNetwork | null;
    readonly limitOf: LimitOf;
    readonly doing: string;
  },
): Content {
  const { group, network, limitOf, doing } = options;
  const own = groups.find((one) => one.name === group && one.network === network);
  if (own?.attribute.toLowerCase().includes(HIDDEN)) {
    throw new TargetError(
      "invalid",
      `Cannot ${doing}: group ${group} is hidden, which makes it the vendor's own; ` +
        "take another group",
    );
  }
  const rows = (own?.addresses ?? []).map((address) => ({ address, cidr: cidrOf(address, doing) }));
  const counted = limitOf === "group" ? [] : groups.filter((one) => one !== own);
  const others = counted.reduce((sum, { addresses }) => sum + addresses.length, 0);
  return { rows, others, revision: revisionOf(rows) };
}

function cidrOf(address: string, doing: string): Cidr {
  const cidr = parseCidr(address);
  if (cidr !== null) return cidr;
  throw new TargetError(
    "unavailable",
    `Cannot ${doing}: an address of the group cannot be read; it is tried again`,
  );
}

/** The content itself: sorted, it is the same text for the same entries. */
function revisionOf(rows: readonly Row[]): string {
  return sortCidrs(rows.map(({ cidr }) => cidr)).join(" ");
}

/** Whether the group is what the caller decided upon, or what this target made of that. */
function refuseOtherBase(
  found: string,
  known: {
    readonly revision: Revision;
    readonly written: string | null;
    /** Whether this target has replaced that content itself, a moment ago. */
    readonly late: (revision: string) => boolean;
    readonly doing: string;
  },
): void {
  const { revision, written, late, doing } = known;
  if (late(found)) {
    throw new TargetError(
      "conflict",
      `Cannot ${doing}: a read shows what was there before the last write; it is read again`,
    );
  }
  // The caller's own read was late, which the write that made it so outweighs.
  const expected = revision !== null && late(revision) ? written : revision;
  if (expected === null || found === expected) return;
  throw new TargetError(
    "conflict",
    `Cannot ${doing}: somebody else wrote to the group meanwhile; it is read again`,
  );
}

/**
 * What the group is to hold: what stays as it is written there, none of it inside an entry that
 * comes, then what comes, sorted.
 */
function contentAfter(before: readonly Row[], batch: Batch): readonly Row[] {
  const gone = new Set<string>(batch.verb === "remove" ? batch.cidrs : []);
  for (const cidr of batch.late) gone.add(cidr);
  const coming = sortCidrs(batch.verb === "add" ? batch.cidrs : batch.instead);
  const named = new Set<string>(coming);
  const broad = addressSet(coming);
  const stays = ({ cidr }: Row) => !gone.has(cidr) && (named.has(cidr) || !broad.covers(cidr));
  const kept = before.filter(stays);
  const there = new Set<string>(kept.map(({ cidr }) => cidr));
  const added = coming.filter((cidr) => !there.has(cidr));
  return [...kept, ...added.map((cidr) => ({ cidr, address: addressText(cidr) }))];
}

function refuseContent(
  after: readonly Row[],
  options: { readonly before: Content; readonly limit: number; readonly doing: string },
): void {
  const { before, limit, doing } = options;
  if (after.length === 0) {
    throw new TargetError(
      "invalid",
      `Cannot ${doing}: the group would be empty, which its backend refuses; ` +
        "add a static member, or take the target out of the list",
    );
  }
  const used = before.others + before.rows.length;
  if (after.length > before.rows.length && before.others + after.length > limit) {
    throw new TargetError(
      "full",
      `Cannot ${doing}: ${used} of ${limit} entries are used; ` +
        "list fewer, or a broader network as a static member",
    );
  }
}

function waysOut(numbers: { readonly used: number; readonly limit: number }) {
  const room = `it would use ${numbers.used} of ${numbers.limit} entries`;
  return {
    "Forbbiden.MinorVersion": "upgrade the minor version of the instance",
    IncorrectDBInstanceLockMode: "unlock the instance; it is tried again later",
    "InvalidGroupName.DuplicatedWithTemplate":
      "a template of the account has the name of this group: take another group",
    "InvalidInstanceIp.Duplicate": `${room}; it is read again`,
    "InvalidSecurityIPListGroup.QuotaExceeded":
      "the instance takes no more groups: remove one, or take a group that is there",
    "InvalidSecurityIPListLength.Malformed": `${room}; look for one that overlaps another group`,
  };
}
