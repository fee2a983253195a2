import type { Server } from "node:net";
import type { World } from "../lib/world.ts";
import type { ForwarderEvent } from "./journal.ts";
import type { Metrics } from "./metrics.ts";
import { type Asking, makePageServer, type Page } from "./page-server.ts";
import { errorText } from "./signal.ts";
import type { Truth } from "./truth.ts";
import type { Listening } from "./variables.ts";
import { makeVigil, type Vigil } from "./vigil.ts";

/** `/healthz`, `/readyz` and `/metrics`. */
export interface Probes {
  hear(event: ForwarderEvent): void;
  /** Where they are served, as host:port. */
  readonly address: string;
  /** Ends connections too; resolves when nothing is served any more. */
  close(): Promise<void>;
}

export interface ProbesOptions {
  readonly listen: Listening;
  readonly world: Pick<World, "monotonic" | "now" | "sleep">;
  readonly metrics: Pick<Metrics, "contentType" | "render">;
  readonly truth: () => Truth | null;
}

/** Metrics are rendered no more often, however many ask: what asks must not slow what watches. */
const RENDER_SPACE_MS = 1_000;

const TEXT = "text/plain; charset=utf-8";

/** Rejects when it cannot listen there, with a sentence. */
export async function openProbes(options: ProbesOptions): Promise<Probes> {
  const { listen, world, truth } = options;
  const vigil = makeVigil({ world, truth });
  let isReady = false;
  const ready = () => {
    // Once is enough: what is known then stays known, also while it is listed anew.
    isReady ||= truth() !== null;
    return isReady;
  };
  const asked = { metricsPage: makeMetricsPage(options), vigil, ready };
  const pages = makePageServer(world, (asking) => pageOf(asked, asking));
  const address = await listenOn(pages.server, listen);
  // Without a listener, a connection that cannot be accepted would end the process.
  pages.server.on("error", () => undefined);
  const end = new AbortController();
  const watching = vigil.run(end.signal);
  return {
    hear: vigil.hear,
    address,
    async close() {
      end.abort();
      await pages.close();
      await watching;
    },
  };
}

async function listenOn(server: Server, { host, port }: Listening): Promise<string> {
  try {
    return await tryListen(server, { host, port });
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "";
    // "Every interface" is said by an IPv6 address that a kernel without IPv6 does not know.
    if (host === "::" && (code === "EAFNOSUPPORT" || code === "EADDRNOTAVAIL")) {
      return await listenOn(server, { host: "0.0.0.0", port });
    }
    const wayOut = 'set KUBE_ALLOWLIST_LISTEN to a free port, HOST:PORT or "off"';
    const why = REFUSALS[code] ?? errorText(error);
    throw new Error(`Cannot listen on ${addressText(host, port)}: ${why}; ${wayOut}`);
  }
}

const REFUSALS: Readonly<Record<string, string>> = {
  EADDRINUSE: "the port is in use",
  EADDRNOTAVAIL: "this host has no such address",
  EACCES: "this account may not use the port",
  ENOTFOUND: "nobody knows the host",
};

function tryListen(server: Server, { host, port }: Listening): Promise<string> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host, port }, () => {
      server.off("error", reject);
      const address = server.address();
      const bound = typeof address === "object" && address !== null ? address.port : port;
      resolve(addressText(host, bound));
    });
  });
}

function addressText(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** One rendering at a time, shared by all who ask meanwhile and shortly after. */
function makeMetricsPage({ metrics, world }: ProbesOptions): () => Promise<Page> {
  let newest: { readonly page: Promise<Page>; readonly begunAt: number } | null = null;
  let isRendering = false;
  const render = async (): Promise<Page> => {
    isRendering = true;
    try {
      const body = Buffer.from(await metrics.render());
      return { status: 200, type: metrics.contentType, body };
    } catch (error) {
      return plain(500, `Cannot render the metrics: ${errorText(error)}`);
    } finally {
      isRendering = false;
    }
  };
  return () => {
    const now = world.monotonic();
    const isNew = newest !== null && (isRendering || now - newest.begunAt < RENDER_SPACE_MS);
    if (newest === null || !isNew) newest = { page: render(), begunAt: now };
    return newest.page;
  };
}

interface Asked {
  readonly metricsPage: () => Promise<Page>;
  readonly vigil: Vigil;
  readonly ready: () => boolean;
}

async function pageOf(
  { metricsPage, vigil, ready }: Asked,
  { method, target }: Asking,
): Promise<Page> {
  const [path] = target.split("?");
  const isKnown = path === "/healthz" || path === "/readyz" || path === "/metrics";
  if (!isKnown) return plain(404, "Cannot find the page: there are /healthz, /readyz and /metrics");
  if (method !== "GET" && method !== "HEAD") {
    return { ...plain(405, "Cannot do that here: use GET or HEAD"), allow: "GET, HEAD" };
  }
  switch (path) {
    case "/healthz": {
      const trouble = vigil.trouble();
      return trouble === null ? plain(200, "alive: the watch goes on") : plain(503, trouble);
    }
    case "/readyz":
      // Neither the receiver nor the Lease is asked: a forwarder that follows is as ready as the
      // one that delivers, and taking it away would bring no receiver back.
      return ready()
        ? plain(200, "ready: the nodes are known")
        : plain(503, "not ready: no complete list of the nodes was taken yet; the log says why");
    case "/metrics":
      return await metricsPage();
    default:
      throw new Error(`Unreachable: ${JSON.stringify(path satisfies never)}`);
  }
}

function plain(status: number, text: string): Page {
  return { status, type: TEXT, body: Buffer.from(`${text}\n`) };
}
