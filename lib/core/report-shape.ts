import * as z from "zod/mini";
import { type ListReport, type Reason, stateOf } from "./report.ts";

const count = z.int().check(z.minimum(0));
const texts = z.array(z.string());

/**
 * A report as it was stored or answered. Unknown members are dropped rather than refused: within
 * one version, members may be added.
 */
export const listReportShape: z.ZodMiniType<ListReport> = z.object({
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

function isReason(value: unknown): boolean {
  if (value !== null && typeof value !== "string") return false;
  try {
    stateOf(value as Reason | null);
    return true;
  } catch {
    return false;
  }
}
