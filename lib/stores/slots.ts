import * as z from "zod/mini";
import type { Clocks, Slot, Slots } from "../core/record.ts";
import { listReportShape } from "../core/report-shape.ts";

// Unknown members are dropped rather than refused: within one version, members may be added.
const count = z.int().check(z.minimum(0));
const clocks: z.ZodMiniType<Clocks> = z.record(z.string(), z.number());

const slot: z.ZodMiniType<Slot> = z.object({
  list: z.string(),
  config: z.record(z.string(), z.unknown()),
  digest: z.string(),
  desired: z.string(),
  report: listReportShape,
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
