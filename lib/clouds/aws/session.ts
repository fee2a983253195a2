import { type World, withTimeout } from "../../world.ts";
import { CloudError } from "../error.ts";
import { sessionNameOf } from "../session-name.ts";
import { awsErrorOf, SESSION_ENDED } from "./errors.ts";

export interface AwsConnection {
  readonly region: string;
  /** Instead of the region's own; null for that. */
  readonly endpoint: string | null;
  /** Where roles are assumed, instead of the region's own; null for that. */
  readonly stsEndpoint: string | null;
  readonly role: { readonly arn: string; readonly externalId?: string | undefined } | null;
}

export interface AwsContext {
  readonly world: World;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** Upper bound of one operation: all its requests and assuming the role. */
export const CALL_MS_MAX = 5_000;
const CONNECT_MS_MAX = 3_000;
const ROLE_REFRESH_MS = 300_000;

export interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

/** Where the calls of one service go, and as whom. */
export interface Session<C> {
  /** A client with credentials that are good for this call. */
  client(signal: AbortSignal): Promise<C>;
  /** The credentials were refused: the next call gets others. */
  forget(): void;
}

/** What the SDK's clients have in common. */
interface Client {
  readonly config: { readonly credentials: () => Promise<unknown> };
}

type ClientSettings = ReturnType<typeof clientSettings> & { readonly credentials?: Credentials };

/**
 * How the sessions of one service are had. Those of one region, endpoint and role are shared within
 * a World: what one process assumed serves all its targets and nothing else.
 */
export function sessionsOf<C extends Client>(create: (settings: ClientSettings) => C) {
  const sessions = new WeakMap<World, Map<string, Session<C>>>();
  return (connection: AwsConnection, context: AwsContext): Session<C> => {
    const shared = sessions.get(context.world) ?? new Map<string, Session<C>>();
    sessions.set(context.world, shared);
    const own = environmentCredentials(context.env);
    const key = JSON.stringify([connection, own?.accessKeyId ?? null]);
    // The SDK's own variable comes first, for whoever runs commands.
    const sessionName = context.env.AWS_ROLE_SESSION_NAME || sessionNameOf(context.env);
    const options = { connection, world: context.world, own, sessionName };
    const session = shared.get(key) ?? openSession(create, options);
    shared.set(key, session);
    return session;
  };
}

interface SessionOptions {
  readonly connection: AwsConnection;
  readonly world: World;
  readonly own: Credentials | null;
  readonly sessionName: string;
}

function openSession<C extends Client>(
  create: (settings: ClientSettings) => C,
  { connection, world, own, sessionName }: SessionOptions,
): Session<C> {
  const settings = clientSettings(connection);
  const { role } = connection;
  if (role === null) {
    const client = create(own ? { ...settings, credentials: own } : settings);
    return {
      client: async (signal) => {
        // The default chain may ask a metadata service, and knows no signal.
        await untilAborted(client.config.credentials(), signal);
        return client;
      },
      forget: () => undefined,
    };
  }
  let assumed: { readonly client: C; readonly refreshAt: number } | null = null;
  return {
    client: async (signal) => {
      const now = world.now();
      if (assumed !== null && now < assumed.refreshAt) return assumed.client;
      const { assumeRole, ROLE_SESSION_S } = await import("./roles.ts");
      const { credentials, expiresAt } = await assumeRole(role, {
        settings: clientSettings({ ...connection, endpoint: connection.stsEndpoint }),
        world,
        own,
        sessionName,
        signal,
      });
      // A client for each set of credentials: the SDK would watch their end by another clock.
      const client = create({ ...settings, credentials });
      assumed = {
        client,
        refreshAt: Math.min(expiresAt, now + ROLE_SESSION_S * 1_000) - ROLE_REFRESH_MS,
      };
      return client;
    },
    forget: () => {
      assumed = null;
    },
  };
}

/** Whose operation it is, and for how long at most, assuming the role included. */
export interface CallOptions<C> {
  readonly session: Session<C>;
  readonly world: World;
  readonly signal: AbortSignal;
  /** {@link CALL_MS_MAX} unless it is said. */
  readonly msMax?: number;
}

/** One attempt of one operation, with everything it may throw as CloudError. */
export function calling<C, T>(
  operation: string,
  options: CallOptions<C>,
  work: (client: C, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const { session, world, msMax = CALL_MS_MAX } = options;
  const reason = () => new CloudError("unavailable", "TimeoutError", { operation });
  return withTimeout(world, msMax, { signal: options.signal, reason }, async (signal) => {
    try {
      return await work(await session.client(signal), signal);
    } catch (thrown) {
      const options = { operation, now: world.now() };
      const error = thrown instanceof CloudError ? thrown : awsErrorOf(thrown, options);
      if (SESSION_ENDED.has(error.code)) session.forget();
      // The SDK names every abort alike; ours knows that the time was over.
      if (error.code === "AbortError" && signal.reason instanceof CloudError) throw signal.reason;
      throw error;
    }
  });
}

/** What the client of any service is made with. */
function clientSettings(connection: AwsConnection) {
  // No connection is kept: a function's instance is frozen between its runs, and a connection that
  // died meanwhile would fail a write whose one attempt must not be wasted.
  const agent = { keepAlive: false };
  return {
    region: connection.region,
    ...(connection.endpoint === null ? {} : { endpoint: connection.endpoint }),
    maxAttempts: 1,
    requestHandler: {
      connectionTimeout: CONNECT_MS_MAX,
      requestTimeout: CALL_MS_MAX,
      throwOnRequestTimeout: true,
      httpAgent: agent,
      httpsAgent: agent,
    },
  };
}

/**
 * The credentials of the environment that was handed in; null leaves it to the SDK's default chain,
 * which reads the environment of the process. A named profile comes first there, too.
 */
function environmentCredentials(env: AwsContext["env"]): Credentials | null {
  const accessKeyId = env.AWS_ACCESS_KEY_ID;
  const secretAccessKey = env.AWS_SECRET_ACCESS_KEY;
  const sessionToken = env.AWS_SESSION_TOKEN;
  if (!accessKeyId || !secretAccessKey || env.AWS_PROFILE) return null;
  return { accessKeyId, secretAccessKey, ...(sessionToken ? { sessionToken } : {}) };
}

/** The result, or the signal's reason as soon as it aborts; what was begun goes on by itself. */
export async function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const over = new AbortController();
  const aborted = new Promise<never>((_resolve, reject) => {
    const options = { once: true, signal: over.signal };
    signal.addEventListener("abort", () => reject(signal.reason), options);
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    over.abort();
  }
}
