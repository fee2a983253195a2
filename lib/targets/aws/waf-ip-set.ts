import assert from "node:assert/strict";
import * as z from "zod/mini";
import type { IpSet, IpSetClient, IpSetKey } from "../../clouds/aws/waf.ts";
import { partitionOf } from "../../clouds/partitions.ts";
import { type Cidr, parseCidr, sortCidrs } from "../../core/cidr.ts";
import type { TargetConfig } from "../../core/list.ts";
import type { Revision, Traits } from "../../core/observation.ts";
import { entriesText } from "../errors.ts";
import type { TargetKind } from "../kind.ts";
import { familyShape } from "../settings.ts";
import { type Batch, type Target, TargetError } from "../target.ts";
import { regionShape } from "./common.ts";
import { told } from "./errors.ts";

// Name and Id of UpdateIPSet in the WAF API reference.
const NAME = /^[\w-]{1,128}$/;
const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
/** Where WAF keeps the sets of CloudFront, and answers for them. */
const CLOUDFRONT_REGION = "us-east-1";
// "Addresses in CIDR notation in an IP set" of the WAF quotas; nobody can raise it.
const ADDRESSES_MAX = 10_000;

const ipSetShape = z.strictObject({
  region: z.optional(regionShape),
  scope: z.optional(
    z.enum(["regional", "cloudfront"], {
      error: ({ input }) =>
        `Cannot use scope ${JSON.stringify(input)}: write regional or cloudfront`,
    }),
  ),
  name: z.string().check(
    z.regex(NAME, {
      error: ({ input }) =>
        `Cannot use name ${JSON.stringify(input)}: expected the set's name, 1 to 128 of ` +
        "A-Z, a-z, " +
        "0-9, _ and -",
    }),
  ),
  id: z.string().check(
    z.regex(ID, {
      error: ({ input }) =>
        `Cannot use id ${JSON.stringify(input)}: write the set's id like ` +
        '"0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"',
    }),
  ),
  family: z.optional(familyShape),
  usedBy: z.enum(["allow", "block"], {
    error: ({ input }) =>
      `Cannot use usedBy ${JSON.stringify(input)}: write allow where a rule lets in who is in ` +
      "the set, block where a rule keeps out who is in it; an empty set lets in nobody in the " +
      "one case and everybody in the other",
  }),
});

type Settings = z.output<typeof ipSetShape>;

/** `aws/waf-ip-set`, without its SDK. */
export const ipSetKind: TargetKind<Settings, IpSetClient> = {
  shape: ipSetShape,
  check({ region, scope }) {
    if (scope === "cloudfront" && region !== undefined && region !== CLOUDFRONT_REGION) {
      return `Cannot use region "${region}" with scope cloudfront: leave the region out`;
    }
    if (scope === "cloudfront" || region !== undefined) return null;
    return "Cannot find the set without a region: add it, or scope: cloudfront";
  },
  traits: ({ family, usedBy }) => ({
    families: [family === "ipv6" ? "ipv6" : "ipv4"],
    ranges: true,
    overlap: true,
    marking: "none",
    write: "whole",
    whenEmpty: usedBy === "allow" ? "closed" : "open",
    // An update holds all of them anyway, and WAF takes one a second.
    batchMax: 1_000,
    // "A few seconds to a number of minutes", says UpdateIPSet; most of it is over by then.
    settleMs: 60_000,
    callMs: 8_000,
  }),
  parts: ({ region, scope, id }) => ({
    object: [scope === "cloudfront" ? scope : (region ?? ""), id],
  }),
  permissions: (settings, account) => {
    const { name, id, scope } = settings;
    const region = ipSetRegion(settings);
    const place = scope === "cloudfront" ? "global" : "regional";
    const sets = `arn:${partitionOf(region)}:wafv2:${region}:${account}:${place}/ipset`;
    const set = `${sets}/${name}/${id}`;
    // WAF has one action for both: it cannot grant adding without removing.
    const update = { actions: ["wafv2:UpdateIPSet"], resources: [set] };
    const read = { actions: ["wafv2:GetIPSet"], resources: [set] };
    return { dialect: "iam", read: [read], add: [update], remove: [update] };
  },
  make: ipSetTarget,
};

/** The region that is called for a set. */
export function ipSetRegion({ region, scope }: Pick<Settings, "region" | "scope">): string {
  return scope === "cloudfront" ? CLOUDFRONT_REGION : (region ?? "");
}

/** All addresses of one WAF IP set. WAF keeps no text beside them: they are all ours. */
function ipSetTarget(
  config: Pick<TargetConfig, "name" | "object" | "limit">,
  settings: Settings,
  client: IpSetClient,
): Target {
  const { name, object, limit } = config;
  const traits = ipSetKind.traits(settings);
  const scope = settings.scope === "cloudfront" ? "CLOUDFRONT" : "REGIONAL";
  const key: IpSetKey = { id: settings.id, name: settings.name, scope };
  let known: IpSet | null = null;
  async function read(signal: AbortSignal, doing: string): Promise<IpSet> {
    const set = await told(client.get(key, signal), doing);
    if (!traits.families.includes(set.family)) {
      const because = `it holds ${set.family} only; write family: ${set.family}`;
      throw new TargetError("invalid", `Cannot ${doing}: ${because}`);
    }
    known = set;
    return set;
  }
  return {
    name,
    object,
    traits,
    async observe(signal) {
      const doing = `read ${name}`;
      const set = await read(signal, doing);
      const cidrs = sortCidrs(meanings(set, doing).keys());
      const used = set.addresses.length;
      return {
        entries: cidrs.map((cidr) => ({ cidr, text: null, effect: "allow" })),
        revision: set.lockToken,
        capacity: [
          {
            families: traits.families,
            used,
            limit: Math.min(limit ?? ADDRESSES_MAX, ADDRESSES_MAX),
          },
        ],
      };
    },
    async apply(batch, revision, signal) {
      const size = batch.cidrs.length;
      assert(size > 0 && size <= traits.batchMax, "batch of the wrong size");
      const doing = `${batch.verb} ${entriesText(size)} on ${name}`;
      const before =
        known !== null && known.lockToken === revision ? known : await read(signal, doing);
      refuseChanged(before, revision, doing);
      const addresses = addressesAfter(batch, meanings(before, doing));
      refuseEmpty(addresses, { batch, traits, doing });
      const { description, lockToken } = before;
      // The next write begins with a read of what this one made: WAF may write an address in a form
      // of its own, and what is known stays true of its token only.
      return told(client.update(key, { addresses, description, lockToken }, signal), doing);
    },
  };
}

/** The texts of every address, as WAF has them: IPv6 may be written long. */
function meanings(set: IpSet, doing: string): ReadonlyMap<Cidr, readonly string[]> {
  const texts = new Map<Cidr, readonly string[]>();
  for (const text of set.addresses) {
    const cidr = parseCidr(text);
    if (cidr === null) {
      throw new TargetError(
        "unavailable",
        `Cannot ${doing}: an address of the set cannot be read; it is tried again`,
      );
    }
    texts.set(cidr, [...(texts.get(cidr) ?? []), text]);
  }
  return texts;
}

function refuseChanged(set: IpSet, revision: Revision, doing: string): void {
  if (revision === null || set.lockToken === revision) return;
  throw new TargetError("conflict", `Cannot ${doing}: somebody else wrote meanwhile; read again`);
}

/** All that the set shall hold, what stays in the form and order that WAF gave it. */
function addressesAfter(
  batch: Batch,
  before: ReadonlyMap<Cidr, readonly string[]>,
): readonly string[] {
  const named = new Set(batch.cidrs);
  if (batch.verb === "remove") {
    return [...before].flatMap(([cidr, texts]) => (named.has(cidr) ? [] : texts));
  }
  const added = sortCidrs(named).filter((cidr) => !before.has(cidr));
  return [...[...before.values()].flat(), ...added];
}

/** The guard sees to it as well; whatever asks, a rule must not begin to let in everybody. */
function refuseEmpty(
  addresses: readonly string[],
  { batch, traits, doing }: { batch: Batch; traits: Traits; doing: string },
): void {
  if (batch.verb === "add" || addresses.length > 0 || traits.whenEmpty === "closed") return;
  throw new TargetError(
    "invalid",
    `Cannot ${doing}: nothing would remain, and a rule that blocks the set would let in ` +
      "everybody; add a static member, or take the target out of the list",
  );
}
