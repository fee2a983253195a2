import { once } from "node:events";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/** A TCP proxy on a free loopback port that can do to connections what networks do to them. */
export interface TcpProxy {
  readonly port: number;
  /** Connections open now. */
  connections(): number;
  /** Resets all connections at once; new ones are served. */
  cut(): void;
  /** From now on nothing passes, on old and new connections, until {@link TcpProxy.heal}. */
  blackHole(): void;
  /** Connections open now stay open and silent for good; new ones are served. */
  freeze(): void;
  /** Every piece of bytes waits this long before it is passed on. */
  delay(ms: number): void;
  /** Ends black hole and delay; what waited is passed on. Frozen connections stay frozen. */
  heal(): void;
  stop(): Promise<void>;
}

export interface ProxyOptions {
  /** Sees each piece on its way and may hold it back: it is passed on when the answer is there. */
  readonly tap?: (piece: Buffer, direction: "up" | "down") => void | Promise<void>;
}

interface Pair {
  readonly near: Socket;
  readonly far: Socket;
  frozen: boolean;
}

interface Weather {
  delayMs: number;
  hole: Latch | null;
}

/** Closed until it is opened, once. */
export interface Latch {
  readonly opened: Promise<void>;
  open(): void;
}

export function makeLatch(): Latch {
  let open: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

const NEVER = new Promise<void>(() => undefined);

export async function startProxy(
  upstreamPort: number,
  options: ProxyOptions = {},
): Promise<TcpProxy> {
  const pairs = new Set<Pair>();
  const weather: Weather = { delayMs: 0, hole: null };
  const server = createServer({ allowHalfOpen: true }, (near) => {
    const far = createConnection({ host: "127.0.0.1", port: upstreamPort, allowHalfOpen: true });
    const pair: Pair = { near, far, frozen: false };
    pairs.add(pair);
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      // Errors are the point of this proxy; a reset of one end is a reset of the other.
      socket.on("error", () => reset(other));
      socket.on("close", () => near.closed && far.closed && pairs.delete(pair));
    }
    const gate = () => gateOf(pair, weather);
    void relay(near, far, (piece) =>
      admitPiece(piece, { gate, weather, tap: options.tap, direction: "up" }),
    );
    void relay(far, near, (piece) =>
      admitPiece(piece, { gate, weather, tap: options.tap, direction: "down" }),
    );
  });
  const port = await listening(server);
  return asProxy({ server, port, pairs, weather });
}

function asProxy(parts: {
  readonly server: Server;
  readonly port: number;
  readonly pairs: Set<Pair>;
  readonly weather: Weather;
}): TcpProxy {
  const { server, port, pairs, weather } = parts;
  const cut = () => {
    for (const { near, far } of [...pairs]) {
      reset(near);
      reset(far);
    }
  };
  const heal = () => {
    weather.delayMs = 0;
    weather.hole?.open();
    weather.hole = null;
  };
  return {
    port,
    connections: () => pairs.size,
    cut,
    blackHole() {
      weather.hole ??= makeLatch();
    },
    freeze() {
      for (const pair of pairs) pair.frozen = true;
    },
    delay(ms) {
      weather.delayMs = ms;
    },
    heal,
    async stop() {
      if (!server.listening) return;
      const closed = once(server, "close");
      server.close();
      heal();
      cut();
      await closed;
    },
  };
}

async function listening(server: Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string")
    throw new Error("Cannot read the proxy's port");
  return address.port;
}

function gateOf(pair: Pair, weather: Weather): Promise<void> | null {
  if (pair.frozen) return NEVER;
  return weather.hole?.opened ?? null;
}

async function admitPiece(
  piece: Buffer,
  options: {
    readonly gate: () => Promise<void> | null;
    readonly weather: Weather;
    readonly tap: ProxyOptions["tap"];
    readonly direction: "up" | "down";
  },
): Promise<void> {
  await options.tap?.(piece, options.direction);
  if (options.weather.delayMs > 0) await sleep(options.weather.delayMs);
  for (let gate = options.gate(); gate !== null; gate = options.gate()) await gate;
}

/**
 * Resets a connection. Not where its end is already on its way: Node accepts a reset then, and
 * hangs when the process ends.
 */
function reset(socket: Socket): void {
  if (socket.destroyed || socket.writableEnded || socket.connecting) socket.destroy();
  else socket.resetAndDestroy();
}

/** Passes bytes on in order; half-closed connections are passed on as such. */
async function relay(
  from: Socket,
  to: Socket,
  admit: (piece: Buffer) => Promise<void>,
): Promise<void> {
  try {
    for await (const piece of from) {
      await admit(piece);
      if (!to.write(piece)) await once(to, "drain");
    }
    to.end();
  } catch {
    to.destroy();
  }
}
