import * as http from "node:http";
import * as https from "node:https";
import { Socket } from "node:net";
import type { ProxyChoice } from "./proxy.ts";
import { abortable, abortError } from "./signal.ts";

/**
 * Idle sockets older than this are closed rather than used: a silent NAT may have forgotten them.
 */
const IDLE_SOCKET_MS = 20_000;

/** Connections of one destination, kept alive between requests. */
export interface Connections {
  agentFor(url: URL): http.Agent;
  /** Closes idle sockets; those in use end with their requests. */
  close(): void;
}

export function openConnections(proxyFor: ProxyChoice): Connections {
  const agents = new Map<string, http.Agent>();
  return {
    agentFor(url) {
      const proxy = proxyFor(url);
      const key = `${url.protocol} ${proxy ?? "direct"}`;
      const known = agents.get(key);
      if (known !== undefined) return known;
      const agent = openAgent(url, proxy);
      agents.set(key, agent);
      return agent;
    },
    close() {
      for (const agent of agents.values()) agent.destroy();
    },
  };
}

function openAgent({ protocol }: URL, proxy: string | null): http.Agent {
  // What the process is told of proxies was judged before: Node's own reading of NO_PROXY, which
  // knows no networks, must not judge again.
  const proxyEnv = proxy === null ? {} : { HTTP_PROXY: proxy, HTTPS_PROXY: proxy };
  // Nothing is read ahead of whoever reads: what waits in the kernel costs no waking up.
  const options = { keepAlive: true, timeout: IDLE_SOCKET_MS, proxyEnv, highWaterMark: 1 };
  if (protocol !== "https:") return new http.Agent(options);
  const agent = new https.Agent(options);
  if (proxy !== null) obeySignals(agent);
  return agent;
}

/**
 * While an agent of Node asks a proxy for a tunnel, and while it then speaks TLS through it, an
 * aborted request goes on, without end where the other side is silent. So the connection to the
 * proxy is ended here.
 */
function obeySignals(agent: https.Agent): void {
  const connect = agent.createConnection.bind(agent);
  agent.createConnection = (options, callback) => {
    const { abandon: signal } = options as Abandonable;
    let end = () => {};
    const socket = connect(options, (error, made) => {
      signal?.removeEventListener("abort", end);
      callback?.(error, made);
    });
    if (signal === undefined || !(socket instanceof Socket)) return socket;
    // Reported through the callback; without a listener it would end the process.
    socket.on("error", () => undefined);
    end = () => socket.destroy(abortError(signal));
    signal.addEventListener("abort", end, { once: true });
    return socket;
  };
}

/** What a request tells its agent; of its own signal Node tells nothing. */
interface Abandonable {
  readonly abandon?: AbortSignal;
}

/**
 * Sends one request and resolves with the response as soon as its headers are there. Redirects are
 * never followed, so credentials go to no other host. Rejects with the signal's reason when it
 * aborts;
 * the signal also ends the response's body.
 */
export function sendRequest(
  url: URL,
  options: https.RequestOptions & { readonly signal: AbortSignal },
  body: Uint8Array | null,
): Promise<http.IncomingMessage> {
  const { signal } = options;
  const request = url.protocol === "https:" ? https.request : http.request;
  const answer = new Promise<http.IncomingMessage>((resolve, reject) => {
    const abandonable: https.RequestOptions & Abandonable = { ...options, abandon: signal };
    const outgoing = request(url, abandonable);
    // Stays after the response: a connection that breaks later reports to both ends.
    outgoing.on("error", reject);
    outgoing.on("response", resolve);
    // An answer may end without being one, as 101 Switching Protocols does, which nobody asked for:
    // then there is neither an error nor a response. After a response this changes nothing.
    outgoing.on("close", () => reject(new Error("the connection ended without an answer")));
    outgoing.end(body ?? undefined);
  });
  // A request that has no connection yet says nothing of its abort.
  return abortable(answer, signal).catch((error: unknown) => {
    throw signal.aborted ? abortError(signal) : error;
  });
}

/**
 * The whole body; rejects when it is longer than `bytesMax`, cut short, or when the signal aborts.
 */
export async function readBody(
  message: http.IncomingMessage,
  bytesMax: number,
  options: { readonly signal: AbortSignal },
): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of message) {
      bytes += chunk.length;
      if (bytes > bytesMax) {
        throw new RangeError(`Cannot read the answer: longer than ${bytesMax} bytes`);
      }
      chunks.push(chunk);
    }
  } catch (error) {
    throw options.signal.aborted ? abortError(options.signal) : error;
  }
  return Buffer.concat(chunks);
}

const RETRY_AFTER_MS_MAX = 5 * 60_000;

/**
 * `Retry-After` as milliseconds from now, null when absent or unreadable: seconds or an HTTP date
 * (RFC 9110 §10.2.3). Bounded, so that a mistaken header cannot silence us.
 */
export function parseRetryAfter(header: string | undefined, now: number): number | null {
  if (header === undefined) return null;
  const text = header.trim();
  const ms = /^\d{1,10}$/.test(text) ? Number(text) * 1000 : Date.parse(text) - now;
  return Number.isNaN(ms) ? null : Math.min(RETRY_AFTER_MS_MAX, Math.max(0, ms));
}
