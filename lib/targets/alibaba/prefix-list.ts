import assert from "node:assert/strict";
import * as z from "zod/mini";
import type { PrefixList, PrefixListClient } from "../../clouds/alibaba/prefix-lists.ts";
import { type Cidr, type Family, familyOf, parseCidr, sortCidrs } from "../../core/cidr.ts";
import type { TargetConfig } from "../../core/list.ts";
import { markerWithin, ownership } from "../../core/marker.ts";
import type { ObservedEntry, Traits } from "../../core/observation.ts";
import { entriesText, type WaysOut } from "../errors.ts";
import type { TargetKind } from "../kind.ts";
import { familyShape } from "../settings.ts";
import { type Batch, type Target, TargetError } from "../target.ts";
import { arnOf, regionShape } from "./common.ts";
import { targetErrorOf } from "./errors.ts";

const LIST_ID = /^pl-[a-z0-9]{1,64}$/;
const FAMILY_DEFAULT: Family = "ipv4";
// AddEntry.N.Description in the ECS API reference: 2 to 32 characters.
const DESCRIPTION_CHARACTERS_MAX = 32;
const DESCRIPTION = /^[a-zA-Z0-9][a-zA-Z0-9 /_.-]{1,31}$/;

const prefixListShape = z.strictObject({
  region: regionShape,
  id: z.string().check(
    z.regex(LIST_ID, {
      error: ({ input }) =>
        `Cannot use id ${JSON.stringify(input)}: write a list's id like "pl-x1j1k5ykzqlixdcy0abc"`,
    }),
  ),
  family: z.optional(familyShape),
});

type Settings = z.output<typeof prefixListShape>;

const WAYS_OUT: WaysOut = {
  codes: {
    "LimitExceed.MaxEntries":
      "a list's largest number of entries cannot be changed; make a larger list, let the rules " +
      "refer to it, and name it here, or list fewer",
  },
};

function prefixListTraits({ family }: Settings): Traits {
  return {
    families: [family === "ipv6" ? "ipv6" : FAMILY_DEFAULT],
    ranges: true,
    overlap: true,
    marking: "entry",
    write: "entry",
    whenEmpty: "closed",
    // AddEntry.N and RemoveEntry.N in the ECS API reference, and the most that a list may hold.
    batchMax: 200,
    settleMs: 0,
    // A read, and a write after it.
    callMs: 8_000,
  };
}

/** `alibaba/prefix-list`, without its SDK. */
export const prefixListKind: TargetKind<Settings, PrefixListClient> = {
  shape: prefixListShape,
  traits: prefixListTraits,
  parts: ({ region, id }) => ({ object: [region, id] }),
  permissions: ({ region, id }, account) => {
    const resources = [arnOf("ecs", { region, account, resource: `prefixlist/${id}` })];
    // One action adds and removes: no policy can tell them apart.
    const modify = [{ actions: ["ecs:ModifyPrefixList"], resources }];
    const read = [{ actions: ["ecs:DescribePrefixListAttributes"], resources }];
    return { dialect: "ram", read, add: modify, remove: modify };
  },
  make: prefixListTarget,
};

/**
 * The entries of one prefix list of ECS. To add an address that is there already rewrites its
 * description, and a removal looks at none: so every write is preceded by a read, and what somebody
 * else does in the one round trip between the two may be overwritten.
 */
export function prefixListTarget(
  config: Pick<TargetConfig, "name" | "object" | "owner" | "limit">,
  settings: Settings,
  client: PrefixListClient,
): Target {
  const { id } = settings;
  const traits = prefixListTraits(settings);
  const read = async (doing: string, signal: AbortSignal) => {
    const list = await client.describe(id, signal).catch((thrown) => {
      throw targetErrorOf(thrown, doing, WAYS_OUT);
    });
    return { entries: entriesOf(list, settings, doing), entriesMax: list.entriesMax };
  };
  return {
    name: config.name,
    object: config.object,
    traits,
    async observe(signal) {
      const { entries, entriesMax } = await read(`read ${config.name}`, signal);
      const limit = Math.min(entriesMax, config.limit ?? entriesMax);
      const capacity = [{ families: traits.families, used: entries.length, limit }];
      return { entries, revision: null, capacity };
    },
    async apply(batch, _revision, signal) {
      const { cidrs } = batch;
      assert(cidrs.length > 0 && cidrs.length <= traits.batchMax, "batch of the wrong size");
      const doing = `${batch.verb} ${entriesText(cidrs.length)} on ${config.name}`;
      const { entries } = await read(doing, signal);
      const change = changeOf(batch, { present: entries, config, doing });
      if (change.length === 0) return null;
      const addresses = change.map((cidr) => ({ address: cidr, description: textOf(batch) }));
      const call =
        batch.verb === "add"
          ? client.add(id, addresses, signal)
          : client.remove(id, change, signal);
      await call.catch((thrown) => {
        throw targetErrorOf(thrown, doing, WAYS_OUT);
      });
      return null;
    },
  };
}

function entriesOf(list: PrefixList, settings: Settings, doing: string): readonly ObservedEntry[] {
  const { family = FAMILY_DEFAULT } = settings;
  if (list.family !== family) {
    throw new TargetError(
      "invalid",
      `Cannot ${doing}: it is a list of ${list.family} addresses, and family is ${family}; ` +
        `set family: ${list.family}, or name another list`,
    );
  }
  const found = new Map<Cidr, ObservedEntry>();
  for (const { address, description } of list.entries) {
    const cidr = parseCidr(address);
    // Addresses are unique in a list; two that are one network would be read as one of them.
    if (cidr === null || familyOf(cidr) !== family || found.has(cidr)) {
      throw new TargetError(
        "unavailable",
        `Cannot ${doing}: one of its entries cannot be read; it is tried again`,
      );
    }
    found.set(cidr, { cidr, text: description, effect: "allow" });
  }
  return sortCidrs(found.keys()).flatMap((cidr) => found.get(cidr) ?? []);
}

function textOf({ text }: Batch): string {
  const within = markerWithin(text, DESCRIPTION_CHARACTERS_MAX);
  assert(DESCRIPTION.test(within), "text that ECS takes as an entry's description");
  return within;
}

/** What of a batch is to be written, with nothing of somebody else's in its way; sorted. */
function changeOf(
  batch: Batch,
  options: {
    readonly present: readonly ObservedEntry[];
    readonly config: Pick<TargetConfig, "owner">;
    readonly doing: string;
  },
): readonly Cidr[] {
  const texts = new Map(options.present.map(({ cidr, text }) => [cidr, text]));
  const whose = ownership(options.config.owner);
  const cidrs = sortCidrs(batch.cidrs);
  const others = cidrs.filter(
    (cidr) => texts.has(cidr) && whose(texts.get(cidr) ?? null) !== "owned",
  );
  if (others.length > 0) {
    throw new TargetError(
      "conflict",
      `Cannot ${options.doing}: somebody wrote an entry of their own for ${others.join(", ")} ` +
        "meanwhile; it is read again",
    );
  }
  // What a read shows may be gone: an own entry that is added again stays as it is.
  return batch.verb === "add" ? cidrs : cidrs.filter((cidr) => texts.has(cidr));
}
