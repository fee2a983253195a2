import * as z from "zod";
import { type Cidr, parseCidr } from "../core/cidr.ts";
import type { SourceReading } from "../core/reading.ts";

// What cannot be read whole is refused: an address that is left out would be one to remove.
const cidr = z.string().transform((text, context): Cidr => {
  const parsed = parseCidr(text);
  if (parsed !== null) return parsed;
  context.issues.push({ code: "custom", input: text, message: "Cannot read a CIDR" });
  return z.NEVER;
});

// Unknown members are dropped rather than refused: within one version, members may be added.
const reading: z.ZodType<SourceReading> = z.object({
  readAt: z.number().nullable(),
  answers: z.array(z.object({ cidr, since: z.number(), seenAt: z.number() })),
  free: z.int().min(0).nullable(),
  trouble: z.object({ at: z.number(), message: z.string() }).nullable(),
});

/** What a log of an outside source holds; throws what cannot be read of it. */
export function parseSourceReading(stored: unknown): SourceReading {
  const parsed = reading.safeParse(stored);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`);
  throw new RangeError(problems.join("; "), { cause: parsed.error });
}
