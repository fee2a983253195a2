import * as http from "node:http";
import * as https from "node:https";
import { abortError } from "./signal.ts";

/**
 * Variables of the process as far as proxies are concerned: HTTP_PROXY, HTTPS_PROXY, NO_PROXY, in
 * either case.
 */
export type ProxyVariables = Readonly<Record<string, string | undefined>>;

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

export function openConnections(proxy: ProxyVariables): Connections {
  const agents = new Map<string, http.Agent>();
  return {
    agentFor(url) {
      // A loopback address means this host, never the proxy's.
      const proxyEnv = isLoopback(url) ? {} : proxy;
      const key = `${url.protocol} ${isLoopback(url)}`;
      const known = agents.get(key);
      if (known !== undefined) return known;
      const options = { keepAlive: true, timeout: IDLE_SOCKET_MS, proxyEnv };
      const agent = url.protocol === "https:" ? new https.Agent(options) : new http.Agent(options);
      agents.set(key, agent);
      return agent;
    },
    close() {
      for (const agent of agents.values()) agent.destroy();
    },
  };
}

/** 127.0.0.0/8, ::1 or localhost. */
export function isLoopback({ hostname }: Pick<URL, "hostname">): boolean {
  return hostname === "localhost" || hostname === "[::1]" || /^127(\.\d{1,3}){3}$/.test(hostname);
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
  const request = url.protocol === "https:" ? https.request : http.request;
  return new Promise((resolve, reject) => {
    const outgoing = request(url, options);
    // Stays after the response: a connection that breaks later reports to both ends.
    outgoing.on("error", (error) =>
      reject(options.signal.aborted ? abortError(options.signal) : error),
    );
    outgoing.on("response", resolve);
    // An answer may end without being one, as 101 Switching Protocols does, which nobody asked for:
    // then there is neither an error nor a response. After a response this changes nothing.
    outgoing.on("close", () =>
      reject(
        options.signal.aborted
          ? abortError(options.signal)
          : new Error("the connection ended without an answer"),
      ),
    );
    outgoing.end(body ?? undefined);
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
