import * as z from "zod/mini";
import type { World } from "../world.ts";
import { type Failure, openRest, readAs } from "./rest.ts";

/** One trusted source of a managed database. */
export interface TrustedSource {
  /** As DigitalOcean wrote it, its id included: so it goes back. */
  readonly raw: Readonly<Record<string, unknown>>;
  /** `ip_addr`, or what stands for addresses that are known elsewhere: `droplet`, `k8s`, `tag` … */
  readonly type: string;
  readonly value: string;
  readonly description: string | null;
}

/**
 * The two calls that trusted sources need. Each makes one attempt, honours its signal and rejects
 * only with CloudError.
 */
export interface TrustedSourcesClient {
  read(database: string, signal: AbortSignal): Promise<readonly TrustedSource[]>;
  /** Replaces all of them. The answer says nothing about what is there then. */
  write(database: string, sources: readonly TrustedSource[], signal: AbortSignal): Promise<void>;
}

export interface DigitalOceanConnection {
  readonly endpoint: string;
  readonly token: string;
}

// A write is a read, this and another read: all fit into the time of one call to a target.
const CALL_MS_MAX = 2_600;

const SOURCE = z.looseObject({
  type: z.string(),
  value: z.string(),
  description: z.nullish(z.string()),
});
const SOURCES = z.looseObject({
  // Not copied, so that not even the order of its members changes on the way back.
  rules: z.array(
    z.custom<Readonly<Record<string, unknown>>>((raw) => SOURCE.safeParse(raw).success),
  ),
});

/** `id` of an error is a word for its status; what is wrong is said in prose only. */
function failureOf({ status }: { readonly status: number }): Failure | null {
  if (status === 404) return { kind: "missing", code: "NotFound" };
  // A cluster that is being made, moved or resized.
  if (status === 409 || status === 423) return { kind: "busy", code: "Busy" };
  return null;
}

/** Connects to nothing yet. */
export function openTrustedSources(
  { endpoint, token }: DigitalOceanConnection,
  { world }: { readonly world: World },
): TrustedSourcesClient {
  const headers = { authorization: `Bearer ${token}` };
  const credentials = { headers: async () => headers, forget: () => undefined };
  const rest = openRest({ baseUrl: endpoint, credentials, world, callMs: CALL_MS_MAX, failureOf });
  const pathOf = (database: string) => ["v2", "databases", database, "firewall"];
  return {
    async read(database, signal) {
      const operation = "databases_list_firewall_rules";
      const answer = await rest.call({ method: "GET", path: pathOf(database), operation }, signal);
      return readAs(SOURCES, answer, operation).rules.map((raw) => {
        const { type, value, description } = readAs(SOURCE, raw, operation);
        return { raw, type, value, description: description ?? null };
      });
    },
    async write(database, sources, signal) {
      const operation = "databases_update_firewall_rules";
      const body = { rules: sources.map(({ raw }) => raw) };
      await rest.call({ method: "PUT", path: pathOf(database), body, operation }, signal);
    },
  };
}
