import * as z from "zod/mini";
import type { JsonAnswer, JsonHandler } from "../../cli/embedded/json-server.ts";
import { familyOf, parseCidr } from "../../lib/core/cidr.ts";

export type TrustedSourceRow = Readonly<Record<string, unknown>>;

/** Trusted sources of managed databases in memory, strict where DigitalOcean is. */
export interface DigitalOceanCloud {
  readonly handle: JsonHandler;
  sources(id: string): readonly TrustedSourceRow[];
  /** Somebody else's hand: replaces them, unchecked. */
  set(id: string, sources: readonly TrustedSourceRow[]): void;
}

const SOURCES_MAX = 100;
const uuid = z.string().check(z.regex(/^$|^[0-9a-f-]{36}$/));
const source = z.strictObject({
  uuid: z.optional(uuid),
  cluster_uuid: z.optional(uuid),
  type: z.enum(["droplet", "k8s", "ip_addr", "tag", "app"]),
  value: z.string().check(z.minLength(1)),
  created_at: z.optional(z.string()),
  description: z.optional(z.string()),
});
const body = z.strictObject({ rules: z.array(source) });

export function digitalOceanCloud(ids: readonly string[], token: string): DigitalOceanCloud {
  const databases = new Map<string, readonly TrustedSourceRow[]>(ids.map((id) => [id, []]));
  let made = 0;
  const withId = (row: TrustedSourceRow, id: string): TrustedSourceRow => {
    if (row.uuid) return row;
    made += 1;
    const number = made.toString(16).padStart(12, "0");
    return {
      uuid: `79f26d28-ea8a-41f2-8ad8-${number}`,
      cluster_uuid: id,
      created_at: "2026-11-20T21:00:00Z",
      ...row,
    };
  };
  return {
    sources: (id) => databases.get(id) ?? [],
    set: (id, rows) => {
      databases.set(
        id,
        rows.map((row) => withId(row, id)),
      );
    },
    handle({ method, path, authorization, body: sent }) {
      if (authorization !== `Bearer ${token}`) return refusal(401, "unauthorized");
      const [, , id = "", last] = path;
      const held = databases.get(id);
      if (held === undefined || last !== "firewall") return refusal(404, "not_found");
      if (method === "GET") return { status: 200, body: { rules: held } };
      if (method !== "PUT") return refusal(405, "method_not_allowed");
      const { data: asked } = body.safeParse(sent);
      if (asked === undefined || !asked.rules.every(isTakable))
        return refusal(422, "unprocessable");
      const known = new Set(asked.rules.map(({ type, value }) => `${type}/${value}`));
      if (known.size < asked.rules.length) return refusal(422, "unprocessable");
      if (asked.rules.length > SOURCES_MAX) return refusal(422, "unprocessable");
      // As they were sent: parsing would change the order of their members.
      const { rules } = sent as { readonly rules: readonly TrustedSourceRow[] };
      databases.set(
        id,
        rules.map((row) => withId(row, id)),
      );
      return { status: 204 };
    },
  };
}

function isTakable({ type, value }: z.output<typeof source>): boolean {
  if (type !== "ip_addr") return true;
  const cidr = parseCidr(value);
  return cidr !== null && familyOf(cidr) === "ipv4";
}

function refusal(status: number, id: string): JsonAnswer {
  return { status, body: { id, message: "in prose" } };
}
