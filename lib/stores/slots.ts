import * as z from "zod";
import type { Clocks, Slot, Slots } from "../core/record.ts";
import { type ListReport, type Reason, stateOf } from "../core/report.ts";

// Unknown members are dropped rather than refused: within one version, members may be added.
const count = z.int().min(0);
const texts = z.array(z.string());
const clocks: z.ZodType<Clocks> = z.record(z.string(), z.number());

const report: z.ZodType<ListReport> = z.object({
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
      cluster: z.string().nullable(),
      node: z.string().nullable(),
      reason: z.enum(["out-of-bounds", "forbidden", "too-wide", "max-entries"]),
    }),
  ),
  capacity: z.object({ used: z.number(), limit: z.number() }).nullable(),
  checkedAt: z.string(),
});

const slot: z.ZodType<Slot> = z.object({
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
export const slotsSchema: z.ZodType<Slots> = z.record(z.string(), slot);

function isReason(value: unknown): boolean {
  if (value !== null && typeof value !== "string") return false;
  try {
    stateOf(value as Reason | null);
    return true;
  } catch {
    return false;
  }
}
