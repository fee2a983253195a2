import assert from "node:assert/strict";
import * as z from "zod/mini";
import type {
  FirewallClient,
  FirewallRule,
  FirewallRules,
  FirewallState,
} from "../../clouds/linode.ts";
import { addressSet } from "../../core/aggregate.ts";
import { type Cidr, FAMILIES, sortCidrs } from "../../core/cidr.ts";
import type { TargetConfig } from "../../core/list.ts";
import { ownership } from "../../core/marker.ts";
import type { ObservedEntry, Traits } from "../../core/observation.ts";
import { entriesText } from "../errors.ts";
import type { TargetKind } from "../kind.ts";
import { permissionName, permissionShape, portsOf } from "../permission.ts";
import { type Batch, type Target, TargetError } from "../target.ts";
import { idShape, targetErrorOf } from "./common.ts";
import { capacityOf, RULES_MAX, refuseFull } from "./room.ts";
import {
  isOfSlot,
  listedCidrs,
  meaningOf,
  overlaps,
  ownCidrs,
  ownRules,
  RULE_ADDRESSES_MAX,
  type Slot,
  slotOf,
  textOf,
} from "./rules.ts";

const SCOPE = "firewall";

const FIREWALL_TRAITS: Traits = {
  families: FAMILIES,
  ranges: true,
  overlap: true,
  marking: "entry",
  write: "whole",
  // Without our rules the inbound policy decides. Under DROP that is nobody; under ACCEPT everybody
  // is let in with our rules as without them, so emptying the list never opens anything.
  whenEmpty: "closed",
  // All that a firewall holds in one write: no addition waits for another one.
  batchMax: RULES_MAX * RULE_ADDRESSES_MAX,
  // Rules are brought to the hosts of the firewall's Linodes; how soon, Linode does not say.
  settleMs: 5_000,
  // A read and a write.
  callMs: 8_000,
};

const firewallShape = z.strictObject({
  id: idShape("4711"),
  permission: permissionShape.check(
    z.refine((permission) => portsOf(permission)?.[0] !== 0, {
      path: ["port"],
      error: "Cannot use port 0: Linode's ports begin at 1",
    }),
  ),
});

type Settings = z.output<typeof firewallShape>;

/** `linode/firewall`, without its HTTP. */
export const firewallKind: TargetKind<Settings, FirewallClient> = {
  shape: firewallShape,
  traits: () => FIREWALL_TRAITS,
  parts: ({ id, permission }) => ({ object: [String(id)], slot: permissionName(permission) }),
  permissions: () => ({
    dialect: "scopes",
    read: [`${SCOPE}:read_only`],
    add: [`${SCOPE}:read_write`],
    remove: [`${SCOPE}:read_write`],
  }),
  make: firewallTarget,
};

/**
 * The inbound rules of one protocol and port of a Linode Cloud Firewall. Ours are those that accept
 * and whose description begins with our marker; everything else goes back as it was read, because a
 * write replaces all rules of both directions.
 */
function firewallTarget(
  config: Pick<TargetConfig, "name" | "object" | "limit" | "owner">,
  settings: Settings,
  client: FirewallClient,
): Target {
  const slot = slotOf(settings.permission);
  const whose = ownership(config.owner);
  const isOurs = (rule: FirewallRule) =>
    rule.match?.action === "ACCEPT" &&
    isOfSlot(rule.match, slot) &&
    whose(textOf(rule.match)) === "owned";
  const calling = async <T>(doing: string, call: Promise<T>): Promise<T> =>
    call.catch((thrown) => {
      throw targetErrorOf(thrown, doing, SCOPE);
    });
  // The newest version that was seen: a read may lag, and to write by it would undo what is newer.
  let newest = 0;
  return {
    name: config.name,
    object: config.object,
    traits: FIREWALL_TRAITS,
    async observe(signal) {
      const doing = `read ${config.name}`;
      const state = await calling(doing, client.read(settings.id, signal));
      newest = Math.max(newest, state.version);
      const ours = state.inbound.filter(isOurs);
      return {
        entries: observedEntries(state, { slot, isOurs, doing }),
        revision: String(state.version),
        capacity: [capacityOf(state, ours, config.limit)],
      };
    },
    async apply(batch, revision, signal) {
      const { batchMax } = FIREWALL_TRAITS;
      const size = batch.cidrs.length + batch.instead.length;
      assert(batch.cidrs.length > 0 && size <= batchMax, "batch of the wrong size");
      const doing = `${batch.verb} ${entriesText(batch.cidrs.length)} on ${config.name}`;
      const before = await calling(doing, client.read(settings.id, signal));
      const version = String(before.version);
      const expected = revision ?? version;
      if (expected !== version || before.version < newest) {
        throw new TargetError(
          "conflict",
          `Cannot ${doing}: its rules are shown at version ${version}, and version ` +
            `${Math.max(newest, Number(expected))} was seen; read again`,
        );
      }
      const ours = before.inbound.filter(isOurs);
      const held = sortCidrs(ours.flatMap(({ match }) => (match ? ownCidrs(match, doing) : [])));
      const wanted = changed(held, batch);
      if (wanted.join() === held.join()) return version;
      const rules = ownRules(wanted, { slot, text: batch.text });
      const sent = { ...before, inbound: replaced(before.inbound, isOurs, rules) };
      if (batch.verb === "add") refuseFull(sent, { rules, limit: config.limit, doing });
      const after = await calling(doing, client.write(settings.id, sent, signal));
      newest = Math.max(newest, after.version);
      refuseOverwritten({ before, sent, after }, doing);
      return String(after.version);
    },
  };
}

function changed(held: readonly Cidr[], batch: Batch): readonly Cidr[] {
  const late = new Set<string>(batch.late);
  if (batch.verb === "add") {
    return sortCidrs([...held.filter((cidr) => !late.has(cidr)), ...batch.cidrs]);
  }
  const gone = new Set<string>([...batch.late, ...batch.cidrs]);
  return sortCidrs([...held.filter((cidr) => !gone.has(cidr)), ...batch.instead]);
}

/**
 * Each of ours stands where one of ours stood, further ones behind the last, and the first at the
 * end: people order their own rules, between ours as well.
 */
function replaced(
  inbound: readonly FirewallRule[],
  isOurs: (rule: FirewallRule) => boolean,
  rules: readonly FirewallRule[],
): readonly FirewallRule[] {
  const queue = [...rules];
  const last = inbound.findLastIndex(isOurs);
  const placed = inbound.flatMap((rule, index) => {
    if (!isOurs(rule)) return [rule];
    return queue.splice(0, index === last ? queue.length : 1);
  });
  return [...placed, ...queue];
}

/**
 * A write cannot be tied to the version that was read. What came in between shows afterwards: the
 * version went up by more than one, or the answer is not what was sent.
 */
function refuseOverwritten(
  rules: {
    readonly before: FirewallState;
    readonly sent: FirewallRules;
    readonly after: FirewallState;
  },
  doing: string,
): void {
  const { before, sent, after } = rules;
  if (after.version === before.version + 1 && meaningOf(after) === meaningOf(sent)) return;
  throw new TargetError(
    "conflict",
    `Cannot ${doing}: its rules went from version ${before.version} to ${after.version} ` +
      "during the " +
      "write, so that somebody's change may have been overwritten; compare with the firewall's " +
      "history",
  );
}

/**
 * Addresses that the slot's rules accept, and those that a rule before ours drops: the first that
 * matches wins. While we have no rule it would come last, so that any of them would win.
 */
function observedEntries(
  { inbound }: FirewallRules,
  options: {
    readonly slot: Slot;
    readonly isOurs: (rule: FirewallRule) => boolean;
    readonly doing: string;
  },
): readonly ObservedEntry[] {
  const { slot, isOurs, doing } = options;
  const lastOurs = inbound.findLastIndex(isOurs);
  const found = new Map<Cidr, ObservedEntry[]>();
  const dropped: Cidr[] = [];
  for (const [index, rule] of inbound.entries()) {
    const { match } = rule;
    if (match === null) continue;
    const isDeny = match.action === "DROP";
    if (isDeny ? !overlaps(match, slot) : !isOfSlot(match, slot)) continue;
    const cidrs = sortCidrs(listedCidrs(match, doing));
    if (isDeny) dropped.push(...cidrs);
    if (isDeny && lastOurs >= 0 && index > lastOurs) continue;
    const text = textOf(match);
    const beaten = addressSet(dropped);
    for (const cidr of cidrs) {
      // Somebody's rule behind one that drops the same lets nobody in: it keeps nothing of ours.
      if (!isDeny && !isOurs(rule) && beaten.overlaps(cidr)) continue;
      const entry = { cidr, text, effect: isDeny ? "deny" : "allow" } as const;
      found.set(cidr, [...(found.get(cidr) ?? []), entry]);
    }
  }
  return sortCidrs(found.keys()).flatMap((cidr) => found.get(cidr) ?? []);
}
