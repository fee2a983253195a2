import * as z from "zod/mini";
import { type Cidr, parseCidr } from "../core/cidr.ts";
import { readStored } from "../core/problem.ts";
import type { SourceReading } from "../core/reading.ts";

// What cannot be read whole is refused: an address that is left out would be one to remove.
const cidr = z.pipe(
  z.string(),
  z.transform((text, context): Cidr => {
    const parsed = parseCidr(text);
    if (parsed !== null) return parsed;
    context.issues.push({ code: "custom", input: text, message: "Cannot read a CIDR" });
    return z.NEVER;
  }),
);

// Unknown members are dropped rather than refused: within one version, members may be added.
const reading: z.ZodMiniType<SourceReading> = z.object({
  readAt: z.nullable(z.number()),
  answers: z.array(z.object({ cidr, since: z.number(), seenAt: z.number() })),
  free: z.nullable(z.int().check(z.minimum(0))),
  trouble: z.nullable(z.object({ at: z.number(), message: z.string() })),
});

/** What a log of an outside source holds; throws what cannot be read of it. */
export function parseSourceReading(stored: unknown): SourceReading {
  return readStored(reading, stored);
}
