import type { Wiring, WiringOptions } from "../functions/wiring.ts";
import type { ListReport } from "../lib/core/report.ts";
import type { Problem } from "../lib/core/snapshot.ts";
import type { ClusterKeys } from "../lib/wire/signature.ts";
import { startResyncLoop } from "./resync-loop.ts";
import { type LocalServer, startServer } from "./server.ts";
import { sentenceOf, UsageError } from "./shell.ts";

/** A process that takes deliveries and resyncs. */
export interface Receiver {
  readonly url: string;
  /** Finishes what it is in; nothing of it is running when it resolves. */
  close(): Promise<void>;
}

export interface ReceiverOptions {
  readonly host: string;
  readonly port: number;
  readonly resyncMs: number;
  /** Default: the first resync begins at once. */
  readonly firstResyncMs?: number;
  /** Hears what every resync found. */
  readonly onResync?: (lists: readonly ListReport[]) => void;
}

/** The functions keep 3 s of it. */
const RESYNC_MS = 58_000;
/** Of an address that cannot be listened on; what the operator has to change. */
const WAY_OUT: Readonly<Record<string, string>> = {
  EADDRINUSE: "the port is in use; end the other process, or choose another one with --port",
  EACCES: "this account may not; choose a port above 1023 with --port",
  EADDRNOTAVAIL: "no network interface of this machine has the address; choose another --host",
  ENOTFOUND: "the host's name is not known; choose another --host",
};

/**
 * Serves the functions of a wiring and resyncs on schedule. Throws a UsageError when it cannot
 * listen.
 */
export async function startReceiver(wiring: Wiring, options: ReceiverOptions): Promise<Receiver> {
  const [{ makeWebhook }, { makeStatus }, { makeFeed }, { makeResync }, event] = await Promise.all([
    import("../functions/webhook.ts"),
    import("../functions/status.ts"),
    import("../functions/feed.ts"),
    import("../functions/resync.ts"),
    import("../functions/middleware/event.ts"),
  ]);
  const ending = new AbortController();
  const serving: Wiring = { ...wiring, signal: ending.signal };
  const { world } = wiring;
  const { host, port } = options;
  const functions = {
    feed: makeFeed(serving),
    status: makeStatus(serving),
    webhook: makeWebhook(serving),
  };
  const resync = makeResync(serving, options.onResync);
  const server: LocalServer = await startServer({
    functions: functions as Parameters<typeof startServer>[0]["functions"],
    host,
    port,
    world,
    loopbackKey: event.LOOPBACK,
  }).catch((error: unknown) => {
    throw listenError(error, { host, port });
  });
  const loop = startResyncLoop(
    async () => {
      const startedAt = world.now();
      const left = { getRemainingTimeInMillis: () => RESYNC_MS - (world.now() - startedAt) };
      await resync({}, left);
    },
    { world, intervalMs: options.resyncMs, firstAfterMs: options.firstResyncMs ?? 0 },
  );
  return {
    url: server.url,
    async close() {
      ending.abort(new Error("this process is ending"));
      await Promise.all([server.close(), loop.stop()]);
    },
  };
}

function listenError(error: unknown, where: { readonly host: string; readonly port: number }) {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  const reason = WAY_OUT[code] ?? sentenceOf(error);
  return new UsageError(`Cannot listen on ${where.host}:${where.port}: ${reason}`);
}

/** `makeWiring`, loaded only by commands that need it. */
export async function openWiring(options: WiringOptions): Promise<Wiring> {
  const { makeWiring } = await import("../functions/wiring.ts");
  return makeWiring(options);
}

/**
 * What all clusters sign with; or nothing, and what is wrong with that or with the keys that verify
 * their tokens.
 */
export async function resolveKeys(
  wiring: Wiring,
): Promise<{ readonly keys: readonly ClusterKeys[]; readonly problems: readonly Problem[] }> {
  const { found, problems } = await resolved(wiring.keys);
  const rules = await resolved(wiring.tokenRules);
  return { keys: found ?? [], problems: [...problems, ...rules.problems] };
}

/** What it resolves; or null, and what is wrong with the configuration. */
async function resolved<T>(resolve: () => T) {
  const { ConfigurationError } = await import("../functions/tokens.ts");
  try {
    return { found: resolve(), problems: [] };
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    return { found: null, problems: error.problems };
  }
}

/** Resolves all that the receiver needs; throws a UsageError with everything that is missing. */
export async function resolveSecrets(wiring: Wiring): Promise<readonly ClusterKeys[]> {
  const { keys, problems } = await resolveKeys(wiring);
  const found = [...problems, ...(await resolved(wiring.statusTokens)).problems];
  for (const feed of new Set(wiring.feeds.values())) {
    found.push(...(await resolved(feed.tokens)).problems);
  }
  if (found.length === 0) return keys;
  throw new UsageError("Cannot use the secrets of the configuration", found);
}
