import assert from "node:assert/strict";
import * as z from "zod/mini";
import type { AccessEntry, AccessListClient } from "../../clouds/atlas.ts";
import { type Cidr, parseCidr, sortCidrs } from "../../core/cidr.ts";
import type { TargetConfig } from "../../core/list.ts";
import { markerWithin, ownership } from "../../core/marker.ts";
import type { Traits } from "../../core/observation.ts";
import { entriesText, targetErrorOf } from "../errors.ts";
import type { TargetKind } from "../kind.ts";
import { type Target, TargetError } from "../target.ts";

const TRAITS: Traits = {
  // IPv6 was not tried on an account.
  families: ["ipv4"],
  ranges: true,
  overlap: true,
  marking: "entry",
  write: "entry",
  whenEmpty: "closed",
  // Removing takes a call for each, one after the other.
  batchMax: 20,
  // An entry is `PENDING` before it is `ACTIVE`; for how long, Atlas does not say.
  settleMs: 60_000,
  callMs: 8_000,
};
// NetworkPermissionEntry.comment in the API's description.
const COMMENT_CHARACTERS_MAX = 80;

const shape = z.strictObject({
  project: z.string().check(
    z.regex(/^[0-9a-f]{24}$/, {
      error: ({ input }) =>
        `Cannot use project ${JSON.stringify(input)}: write the project's id in lower case, like ` +
        '"32b6e34b3d91647abb20e7b8"',
    }),
  ),
});
type Settings = z.output<typeof shape>;

/** `atlas/access-list`, without its HTTP. */
export const accessListKind: TargetKind<Settings, AccessListClient> = {
  shape,
  traits: () => TRAITS,
  parts: ({ project }) => ({ object: [project] }),
  permissions: () => ({
    dialect: "scopes",
    read: ["Project Read Only"],
    add: ["Project Network Access Manager"],
    remove: ["Project Network Access Manager"],
  }),
  make: accessListTarget,
};

/**
 * The IP access list of a MongoDB Atlas project. Groups of AWS are nobody's entries. An entry of
 * ours that somebody gave an end is not shown: it is about to leave, so it counts as missing and is
 * written again, without an end. Somebody else's is shown until Atlas removes it.
 */
function accessListTarget(
  config: TargetConfig,
  { project }: Settings,
  client: AccessListClient,
): Target {
  const whose = ownership(config.owner);
  const isOurs = ({ comment }: AccessEntry) => whose(comment) === "owned";
  const read = (doing: string, signal: AbortSignal) => calling(doing, client.list(project, signal));
  return {
    name: config.name,
    object: config.object,
    traits: TRAITS,
    async observe(signal) {
      const doing = `read ${config.name}`;
      const listed = await read(doing, signal);
      const found = byCidr(
        listed.filter((entry) => !(entry.isTemporary && isOurs(entry))),
        doing,
      );
      const { limit } = config;
      return {
        entries: sortCidrs(found.keys()).map((cidr) => ({
          cidr,
          text: found.get(cidr)?.comment ?? null,
          effect: "allow",
        })),
        revision: null,
        capacity: limit === null ? [] : [{ families: TRAITS.families, used: listed.length, limit }],
      };
    },
    async apply(batch, _revision, signal) {
      const size = batch.cidrs.length + batch.instead.length;
      assert(batch.cidrs.length > 0 && size <= TRAITS.batchMax, "batch of the wrong size");
      const doing = `${batch.verb} ${entriesText(batch.cidrs.length)} on ${config.name}`;
      // An addition replaces whatever has the same network, a removal takes it away, both without
      // looking at the comment: so it is looked at right before.
      const found = byCidr(await read(doing, signal), doing);
      const named = sortCidrs(batch.cidrs).map((cidr) => ({
        cidr,
        entry: found.get(cidr) ?? null,
      }));
      const others = named.find(({ entry }) => entry !== null && !isOurs(entry));
      if (others !== undefined) {
        throw new TargetError(
          "conflict",
          `Cannot ${doing}: ${others.cidr} is somebody else's entry; read again`,
        );
      }
      if (batch.verb === "add") {
        const comment = markerWithin(batch.text, COMMENT_CHARACTERS_MAX);
        const missing = named.filter(({ entry }) => entry === null || entry.isTemporary);
        const added = missing.map(({ cidr }) => ({ cidr, comment }));
        if (added.length > 0) await calling(doing, client.add(project, added, signal));
        return null;
      }
      for (const { entry } of named) {
        if (entry !== null) await calling(doing, client.remove(project, entry.value, signal));
      }
      return null;
    },
  };
}

async function calling<T>(doing: string, call: Promise<T>): Promise<T> {
  return call.catch((thrown) => {
    throw targetErrorOf(thrown, doing);
  });
}

function byCidr(entries: readonly AccessEntry[], doing: string): ReadonlyMap<Cidr, AccessEntry> {
  const found = new Map<Cidr, AccessEntry>();
  for (const entry of entries) {
    if (entry.address === null) continue;
    const cidr = parseCidr(entry.address);
    if (cidr === null) {
      throw new TargetError(
        "unavailable",
        `Cannot ${doing}: an entry is neither address nor network; it is tried again`,
      );
    }
    found.set(cidr, entry);
  }
  return found;
}
