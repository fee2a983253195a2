import { STATUS_CODES } from "node:http";
import { createServer, type Server, type Socket } from "node:net";
import type { World } from "../lib/world.ts";
import { slept } from "./signal.ts";

/** What is asked for: the target as it was sent, as `/metrics?x=1`. */
export interface Asking {
  readonly method: string;
  readonly target: string;
}

export interface Page {
  readonly status: number;
  readonly type: string;
  readonly body: Buffer;
  /** Of a 405: the methods that there are. */
  readonly allow?: string;
}

export interface PageServer {
  /** Not yet listening. */
  readonly server: Server;
  /** Ends connections too; resolves when nothing is served any more. */
  close(): Promise<void>;
}

/** A kubelet or two and a few scrapers, each with one question. */
const CONNECTIONS_MAX = 16;
/** From the first byte to the last one of the answer: as long as a scraper waits, by default. */
const CONNECTION_MS_MAX = 10_000;
const HEAD_BYTES_MAX = 8_192;
const HEAD_END = "\r\n\r\n";

/**
 * Serves small pages, one for each connection, to whoever reaches the port. Node's own HTTP server
 * would take thousands of requests off one connection at once, each a few kilobytes of objects, so
 * that a few connections use up all memory. Here the first request is read, up to the end of its
 * head; what follows is let go by unread. Neither a body nor a header means anything to a page.
 *
 * Over the limit the oldest connection is closed, not the newest refused: whoever holds many and
 * says nothing would otherwise shut the kubelet out, which then restarts the process.
 */
export function makePageServer(
  world: Pick<World, "now" | "sleep">,
  pageOf: (asking: Asking) => Promise<Page>,
): PageServer {
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    const [oldest] = open;
    if (oldest !== undefined && open.size >= CONNECTIONS_MAX) {
      open.delete(oldest);
      oldest.destroy();
    }
    open.add(socket);
    const over = new AbortController();
    socket.once("close", () => {
      open.delete(socket);
      over.abort();
    });
    // A connection that breaks is nobody's trouble; without a listener it would end the process.
    socket.on("error", () => undefined);
    slept(world, CONNECTION_MS_MAX, over.signal).then(
      (isLate) => (isLate ? socket.destroy() : undefined),
      () => socket.destroy(),
    );
    hearAsking(socket, (asking) => {
      // Nothing that is asked may end the process; no answer is an answer, too.
      answer(socket, asking, { world, pageOf }).catch(() => socket.destroy());
    });
  });
  return {
    server,
    async close() {
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        for (const socket of open) socket.destroy();
      });
    },
  };
}

/** Calls once, with the status instead where it is no request. */
function hearAsking(socket: Socket, call: (asking: Asking | number) => void): void {
  let head: Buffer | null = Buffer.alloc(0);
  socket.on("data", (chunk: Buffer) => {
    if (head === null) return;
    head = Buffer.concat([head, chunk]);
    const end = head.indexOf(HEAD_END);
    const isLong = (end < 0 ? head.length : end) > HEAD_BYTES_MAX;
    if (end < 0 && !isLong) return;
    const line = head.toString("latin1", 0, Math.max(0, head.indexOf("\r\n")));
    head = null;
    const [, method, target] = /^([A-Z]+) (\S+) HTTP\/1\.[01]$/.exec(line) ?? [];
    const isRead = method !== undefined && target !== undefined;
    call(isLong ? 431 : isRead ? { method, target } : 400);
  });
}

async function answer(
  socket: Socket,
  asking: Asking | number,
  options: {
    readonly world: Pick<World, "now">;
    readonly pageOf: (asking: Asking) => Promise<Page>;
  },
): Promise<void> {
  const page =
    typeof asking === "number"
      ? { status: asking, type: "text/plain", body: Buffer.from("Cannot read the request\n") }
      : await options.pageOf(asking);
  const lines = [
    `HTTP/1.1 ${page.status} ${STATUS_CODES[page.status] ?? ""}`,
    `date: ${new Date(options.world.now()).toUTCString()}`,
    `content-type: ${page.type}`,
    `content-length: ${page.body.length}`,
    "cache-control: no-store",
    "connection: close",
    ...(page.allow === undefined ? [] : [`allow: ${page.allow}`]),
  ];
  const isHead = typeof asking !== "number" && asking.method === "HEAD";
  socket.cork();
  socket.write(lines.join("\r\n") + HEAD_END);
  if (!isHead) socket.write(page.body);
  // Ended, not destroyed: what still arrives, as a body does, would otherwise cost the answer.
  socket.end();
}
