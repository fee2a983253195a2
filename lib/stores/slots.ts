import * as z from "zod/mini";
import type { Clocks, Slot, Slots } from "../core/record.ts";
import { type ListReport, type Reason, stateOf } from "../core/report.ts";

// Unknown members are dropped rather than refused: within one version, members may be added.
const count = z.int().check(z.minimum(0));
const texts = z.array(z.string());
const clocks: z.ZodMiniType<Clocks> = z.record(z.string(), z.number());

const report: z.ZodMiniType<ListReport> = z.object({
  list: z.string(),
  target: z.string(),
  state: z.enum(["converged", "pending", "withheld", "failed"]),
  reason: z.custom<Reason | null>(isReason, "unknown reason"),
  message: z.string(),
  desired: count,
  owned: count,
  borrowed: count,
  foreign: count,
  orphaned: count,
  add: texts,
  remove: texts,
  leaving: z.array(z.object({ cidr: z.string(), since: z.string(), until: z.string() })),
  refused: z.array(
    z.object({
      address: z.string(),
      cluster: z.nullable(z.string()),
      node: z.nullable(z.string()),
      reason: z.enum(["out-of-bounds", "forbidden", "too-wide", "max-entries"]),
    }),
  ),
  capacity: z.nullable(z.object({ used: z.number(), limit: z.number() })),
  checkedAt: z.string(),
});

const slot: z.ZodMiniType<Slot> = z.object({
  list: z.string(),
  config: z.record(z.string(), z.unknown()),
  digest: z.string(),
  desired: z.string(),
  report,
  entries: clocks,
  unwanted: clocks,
  removed: clocks,
  sizes: z.array(z.object({ at: z.number(), desired: count })),
  failures: count,
  notBefore: z.number(),
  checkedAt: z.number(),
  judgedAt: z.number(),
  claimed: z.boolean(),
});

/** The slots of one object as they are stored, by target name. */
export const slotsSchema: z.ZodMiniType<Slots> = z.record(z.string(), slot);

function isReason(value: unknown): boolean {
  if (value !== null && typeof value !== "string") return false;
  try {
    stateOf(value as Reason | null);
    return true;
  } catch {
    return false;
  }
}
