import assert from "node:assert/strict";
import * as z from "zod/mini";
import type { Acl, AclClient, AclEntry } from "../../clouds/alibaba/acl.ts";
import { type Cidr, type Family, parseCidr, sortCidrs } from "../../core/cidr.ts";
import type { TargetConfig } from "../../core/list.ts";
import { markerWithin } from "../../core/marker.ts";
import type { Traits } from "../../core/observation.ts";
import { entriesText } from "../errors.ts";
import { type Target, TargetError } from "../target.ts";
import { targetErrorOf } from "./errors.ts";

/*
 * What the access control lists of Alibaba Cloud's load balancers have in common. An empty list
 * lets everybody in, so none is ever emptied: what would leave nothing is refused, after a look at
 * everything on it, whoever's.
 *
 * Entries go by their address, and the vendor does not look at the text beside them: so the list is
 * read right before a removal, and what does not stand as it was observed is not removed.
 */

const ACL_ID = /^acl-[a-z0-9]{1,60}$/;

export const aclIdShape = z.string().check(
  z.regex(ACL_ID, {
    error: ({ input }) =>
      `Cannot use id ${JSON.stringify(input)}: write an ACL's id like "acl-bp1l0kk4gxce43k****"`,
  }),
);

// The marker alone: letters and digits are taken by every product, whatever else is.
const TEXT_CHARACTERS_MAX = 15;

/** Where the products of the vendor differ. */
export interface AclRules {
  readonly traits: Traits;
  readonly family: Family;
  /** Most entries of one list, by the vendor's pages. */
  readonly entriesMax: number;
}

/** Of traits, what all ACLs share. */
export const ACL_TRAITS = {
  ranges: true,
  // No page forbids it: UNVERIFIED. There is no call that puts one entry in the place of another.
  overlap: true,
  marking: "entry",
  write: "entry",
  whenEmpty: "open",
  // How long a change takes to reach the listeners is written nowhere: UNVERIFIED.
  settleMs: 10_000,
  // One read, one write and the wait for its end.
  callMs: 8_000,
} as const satisfies Partial<Traits>;

/**
 * The entries of one ACL: allowing ones, by the operator's word and, where it says, the vendor's.
 */
export function aclTarget(
  config: Pick<TargetConfig, "limit" | "name" | "object">,
  options: { readonly id: string; readonly rules: AclRules },
  client: AclClient,
): Target {
  const { id, rules } = options;
  const limit = Math.min(config.limit ?? rules.entriesMax, rules.entriesMax);
  let observed: readonly Row[] = [];
  async function read(doing: string, signal: AbortSignal): Promise<readonly Row[]> {
    const acl = await client.read(id, signal).catch((thrown) => {
      throw targetErrorOf(thrown, doing);
    });
    refuseUse(acl, rules.family, doing);
    return acl.entries.map((entry) => ({ ...entry, cidr: cidrOf(entry, doing) }));
  }
  return {
    name: config.name,
    object: config.object,
    traits: rules.traits,
    async observe(signal) {
      const rows = await read(`read ${config.name}`, signal);
      observed = presentOf(rows);
      const entries = sortCidrs(observed.map(({ cidr }) => cidr)).flatMap((cidr) =>
        observed.filter((row) => row.cidr === cidr),
      );
      return {
        entries: entries.map(({ cidr, text, state }) => ({
          cidr,
          text: text || null,
          effect: "allow",
          ...(state === "arriving" ? { arriving: true } : {}),
        })),
        revision: null,
        // What is leaving takes its room until it is gone.
        capacity: [{ families: [rules.family], used: rows.length, limit }],
      };
    },
    async apply(batch, _revision, signal) {
      const size = batch.cidrs.length;
      assert(size > 0 && size <= rules.traits.batchMax, "batch of the wrong size");
      assert(batch.instead.length === 0, "entries may overlap, so none takes another's place");
      const doing = `${batch.verb} ${entriesText(size)} on ${config.name}`;
      const cidrs = sortCidrs(batch.cidrs);
      const text = markerWithin(batch.text, TEXT_CHARACTERS_MAX);
      const call =
        batch.verb === "add"
          ? client.add(
              id,
              cidrs.map((cidr) => ({ cidr, text })),
              signal,
            )
          : client.remove(
              id,
              removalOf(cidrs, await read(doing, signal), { observed, doing }),
              signal,
            );
      await call.catch((thrown) => {
        throw targetErrorOf(thrown, doing);
      });
      return null;
    },
  };
}

interface Row extends AclEntry {
  readonly cidr: Cidr;
}

/** An entry that is leaving is not there: what desires it must add it again. */
function presentOf(rows: readonly Row[]): readonly Row[] {
  return rows.filter(({ state }) => state !== "leaving");
}

/** A list of another family would take none of ours, and one that denies would cut them off. */
function refuseUse(acl: Acl, family: Family, doing: string): void {
  if (acl.denying > 0) {
    throw new TargetError(
      "invalid",
      `Cannot ${doing}: ${acl.denying} listeners deny whoever is on it; ` +
        "take an ACL that listeners use to allow",
    );
  }
  if (acl.family !== null && acl.family !== family) {
    throw new TargetError(
      "invalid",
      `Cannot ${doing}: it does not hold ${family} addresses; set family, or take another ACL`,
    );
  }
}

function cidrOf({ address }: AclEntry, doing: string): Cidr {
  const cidr = parseCidr(address);
  if (cidr !== null) return cidr;
  throw new TargetError(
    "unavailable",
    `Cannot ${doing}: an address on it cannot be read; it is tried again`,
  );
}

/**
 * What to remove, as it stands there now. Refuses what does not stand as it was observed, and what
 * would leave nothing in effect.
 */
function removalOf(
  cidrs: readonly Cidr[],
  rows: readonly Row[],
  options: { readonly observed: readonly Row[]; readonly doing: string },
): readonly { readonly cidr: string; readonly text: string }[] {
  const { observed, doing } = options;
  const present = presentOf(rows);
  const going = new Set<string>(cidrs);
  const found = cidrs.map((cidr) => {
    const [row, ...others] = present.filter((one) => one.cidr === cidr);
    if (others.length > 0) {
      throw new TargetError(
        "invalid",
        `Cannot ${doing}: ${cidr} stands there several times; remove all but one by hand`,
      );
    }
    const before = observed.find((one) => one.cidr === cidr);
    if (row === undefined || before === undefined || row.text !== before.text) {
      throw new TargetError(
        "conflict",
        `Cannot ${doing}: ${cidr} does not stand there as it was read; read again`,
      );
    }
    // The address as the vendor has it.
    return { cidr: row.address, text: row.text };
  });
  const staying = present.filter(({ cidr }) => !going.has(cidr));
  if (staying.some(({ state }) => state === "there")) return found;
  if (staying.length > 0) {
    throw new TargetError(
      "busy",
      `Cannot ${doing}: what stays is not in effect yet; it is tried again later`,
    );
  }
  throw new TargetError(
    "invalid",
    `Cannot ${doing}: nothing would stay, and an empty list lets everybody in; ` +
      "add a static member, or take the target out of the list",
  );
}
