import { CloudError } from "../error.ts";
import { sessionNameOf } from "../session-name.ts";
import { type Credentials, environmentKeys } from "./environment.ts";
import { fieldsOf, UNREADABLE } from "./errors.ts";
import type { AlibabaConnection, AlibabaContext } from "./rpc.ts";

/** Whose keys a call is signed with. */
export interface Session {
  /** Good for this call, and asked for anew at the next. */
  credentials(signal: AbortSignal): Promise<Credentials>;
  /** These were refused: the next call gets others. */
  forget(refused: Credentials): void;
}

/** `AssumeRole`, signed with these keys; rejects only with CloudError. */
export type AssumeRole = (
  own: Credentials,
  params: Readonly<Record<string, string | number | undefined>>,
  signal: AbortSignal,
) => Promise<Readonly<Record<string, unknown>>>;

type Role = NonNullable<AlibabaConnection["role"]>;

interface Assumed {
  /** The keys that it was assumed with: after those were changed it is somebody else's. */
  readonly by: string;
  readonly credentials: Credentials;
  readonly refreshAt: number;
}

const ROLE_SESSION_S = 3_600;
const ROLE_REFRESH_MS = 300_000;
const ASSUME_ROLE = "sts:AssumeRole";

// By world, so that what one process assumed is shared by all its targets and by nothing else.
const roleSessions = new WeakMap<AlibabaContext["world"], Map<string, Assumed>>();

/** Asks for nothing yet. What was assumed is shared by all calls for a role within a World. */
export function sessionOf(
  connection: AlibabaConnection,
  context: AlibabaContext,
  options: { readonly assumeRole: AssumeRole },
): Session {
  const { role } = connection;
  const own = () => connection.credentials ?? environmentKeys(context.env);
  if (role === null) return { credentials: async () => own(), forget: () => undefined };
  const { world } = context;
  const shared = roleSessions.get(world) ?? new Map<string, Assumed>();
  roleSessions.set(world, shared);
  const { region, stsEndpoint, credentials } = connection;
  const key = JSON.stringify([region, stsEndpoint, role, credentials?.accessKeyId ?? null]);
  return {
    async credentials(signal) {
      const by = own();
      const now = world.now();
      const known = shared.get(key);
      if (known?.by === by.accessKeyId && now < known.refreshAt) return known.credentials;
      const answer = await options.assumeRole(by, roleParams(role, context.env), signal);
      const assumed = { by: by.accessKeyId, ...assumedOf(answer, now) };
      shared.set(key, assumed);
      return assumed.credentials;
    },
    forget(refused) {
      // Another call may have got new ones meanwhile.
      if (shared.get(key)?.credentials === refused) shared.delete(key);
    },
  };
}

function roleParams({ arn, externalId }: Role, env: AlibabaContext["env"]) {
  return {
    RoleArn: arn,
    RoleSessionName: sessionNameOf(env),
    DurationSeconds: ROLE_SESSION_S,
    ExternalId: externalId,
  };
}

function assumedOf(
  answer: Readonly<Record<string, unknown>>,
  now: number,
): Pick<Assumed, "credentials" | "refreshAt"> {
  const given = fieldsOf(answer.Credentials);
  const accessKeyId = textOf(given.AccessKeyId);
  const accessKeySecret = textOf(given.AccessKeySecret);
  const securityToken = textOf(given.SecurityToken);
  const expiresAt = Date.parse(textOf(given.Expiration) ?? "");
  if (!accessKeyId || !accessKeySecret || !securityToken || Number.isNaN(expiresAt)) {
    throw new CloudError("unavailable", UNREADABLE, { operation: ASSUME_ROLE });
  }
  return {
    credentials: { accessKeyId, accessKeySecret, securityToken },
    refreshAt: Math.min(expiresAt, now + ROLE_SESSION_S * 1_000) - ROLE_REFRESH_MS,
  };
}

function textOf(value: unknown): string | null {
  return typeof value === "string" && value !== "" ? value : null;
}
