import assert from "node:assert/strict";
import * as z from "zod/mini";
import { type Cidr, FAMILIES, sortCidrs } from "../core/cidr.ts";
import type { TargetConfig } from "../core/list.ts";
import type { ObservedEntry, Traits } from "../core/observation.ts";
import type { TargetKind } from "./kind.ts";
import { type Target, TargetError } from "./target.ts";

export const MEMORY_TRAITS: Traits = {
  families: FAMILIES,
  ranges: true,
  overlap: true,
  marking: "entry",
  write: "entry",
  whenEmpty: "closed",
  batchMax: 100,
  settleMs: 0,
  callMs: 100,
};

const ID = /^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$/;

export const memoryShape = z.strictObject({
  id: z.string().check(
    z.regex(ID, {
      error: ({ input }) =>
        `Cannot use id ${JSON.stringify(input)}: expected 1 to 64 of a-z, 0-9 and "-", ` +
        'no "-" at either end',
    }),
  ),
});

/**
 * What the targets of the kind `memory` hold, by id; lives as long as its owner. To everybody but
 * the targets, `put` and `drop` are the hands of somebody else: they ask no questions.
 */
export interface MemoryTargets {
  /** Sorted; empty where nothing was ever put. */
  entries(id: string): readonly ObservedEntry[];
  /** Adds an entry, or replaces the one with its CIDR. */
  put(id: string, entry: ObservedEntry): void;
  drop(id: string, cidr: Cidr): void;
}

export function memoryTargets(): MemoryTargets {
  const contents = new Map<string, Map<Cidr, ObservedEntry>>();
  return {
    entries(id) {
      const entries = contents.get(id) ?? new Map<Cidr, ObservedEntry>();
      return sortCidrs(entries.keys()).flatMap((cidr) => entries.get(cidr) ?? []);
    },
    put(id, entry) {
      const entries = contents.get(id) ?? new Map<Cidr, ObservedEntry>();
      contents.set(id, entries.set(entry.cidr, entry));
    },
    drop(id, cidr) {
      contents.get(id)?.delete(cidr);
    },
  };
}

/** `memory`: contents of this process, for tests and for trying out. */
export const memoryKind: TargetKind<z.output<typeof memoryShape>, MemoryTargets> = {
  shape: memoryShape,
  traits: () => MEMORY_TRAITS,
  parts: ({ id }) => ({ object: [id] }),
  permissions: () => ({ dialect: "scopes", read: [], add: [], remove: [] }),
  make: memoryTarget,
};

/**
 * The reference of what a target does, without a backend: writes are all or nothing, an entry that
 * is already there or already gone is a conflict, `limit` is a quota over both families.
 */
export function memoryTarget(
  config: Pick<TargetConfig, "name" | "object" | "limit">,
  settings: z.output<typeof memoryShape>,
  memory: MemoryTargets,
): Target {
  const { id } = settings;
  return {
    name: config.name,
    object: config.object,
    traits: MEMORY_TRAITS,
    async observe(signal) {
      refuseAborted(signal, `Cannot read ${config.name}`);
      const entries = memory.entries(id);
      const { limit } = config;
      const capacity = limit === null ? [] : [{ families: FAMILIES, used: entries.length, limit }];
      return { entries, revision: null, capacity };
    },
    async apply(batch, _revision, signal) {
      assert(batch.cidrs.length > 0 && batch.cidrs.length <= MEMORY_TRAITS.batchMax);
      refuseAborted(signal, `Cannot write ${config.name}`);
      const present = new Set(memory.entries(id).map((entry) => entry.cidr));
      const cidrs = sortCidrs(batch.cidrs);
      const odd = cidrs.find((cidr) => present.has(cidr) === (batch.verb === "add"));
      if (odd !== undefined) throw conflict(config.name, batch.verb, odd);
      if (batch.verb === "remove") {
        for (const cidr of cidrs) memory.drop(id, cidr);
        return null;
      }
      if (config.limit !== null && present.size + cidrs.length > config.limit) {
        throw full(config.name, { used: present.size, more: cidrs.length, limit: config.limit });
      }
      for (const cidr of cidrs) memory.put(id, { cidr, text: batch.text, effect: "allow" });
      return null;
    },
  };
}

function refuseAborted(signal: AbortSignal, what: string): void {
  if (!signal.aborted) return;
  throw new TargetError("unavailable", `${what}: the time for it is over; it is tried again`);
}

function conflict(name: string, verb: "add" | "remove", cidr: Cidr): TargetError {
  const state = verb === "add" ? "already there" : "not there";
  return new TargetError(
    "conflict",
    `Cannot ${verb} an entry on ${name}: ${cidr} is ${state}; read again`,
  );
}

function full(
  name: string,
  room: { readonly used: number; readonly more: number; readonly limit: number },
): TargetError {
  return new TargetError(
    "full",
    `Cannot add ${room.more} more on ${name}: ${room.used} of ${room.limit} are used; ` +
      "raise its limit",
  );
}
