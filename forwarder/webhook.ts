import { isLoopback } from "../lib/core/host.ts";
import { connectionText } from "./connection-error.ts";
import type { Post } from "./delivery.ts";
import { openConnections, readBody, sendRequest } from "./http.ts";
import { isInCluster, type ProxyVariables, proxyOf } from "./proxy.ts";

/** An answer lists every node and every address that waits, and is never cut. */
const ANSWER_BYTES_MAX = 16 * 1024 * 1024;
const DEFAULT_PATH = "/v1/snapshots";
const TRUST = "give the PEM file of its authority as NODE_EXTRA_CA_CERTS";

/**
 * The receiver's URL. Throws a RangeError with a sentence that does not quote it, since it may hold
 * a secret. Plain HTTP reaches this host and Services of the cluster only. Without a path it means
 * the receiver's usual one.
 */
export function parseWebhookUrl(text: string): URL {
  if (!URL.canParse(text)) {
    throw new RangeError("Cannot read the URL: give it whole, as https://host/v1/snapshots");
  }
  const url = new URL(text);
  if (url.protocol !== "https:" && url.protocol !== "http:") {
    throw new RangeError(`Cannot deliver over "${url.protocol}": use https`);
  }
  if (url.protocol === "http:" && !isLoopback(url) && !isInCluster(url)) {
    const wayOut = "use https, or a Service of this cluster (http://NAME.NAMESPACE.svc)";
    throw new RangeError(`Cannot deliver to ${url.hostname} over http: ${wayOut}`);
  }
  if (url.pathname === "/") url.pathname = DEFAULT_PATH;
  url.hash = "";
  return url;
}

/** For logs: no user, no password, no query, which may be a signature. */
export function describeUrl(url: URL): string {
  return `${url.origin}${url.pathname}`;
}

/** Posts to one URL over connections that are kept; redirects are never followed. */
export function openWebhook(
  url: URL,
  options: { readonly proxy: ProxyVariables },
): { readonly post: Post; close(): void } {
  const connections = openConnections(proxyOf(options.proxy));
  const send: Post = async (body, headers, signal) => {
    const response = await sendRequest(
      url,
      {
        method: "POST",
        agent: connections.agentFor(url),
        headers: {
          ...headers,
          accept: "application/json, application/problem+json",
          "content-length": body.length,
          "user-agent": "kube-allowlist",
        },
        signal,
      },
      body,
    );
    const text = await readBody(response, ANSWER_BYTES_MAX, { signal });
    return {
      status: response.statusCode ?? 0,
      retryAfter: response.headers["retry-after"],
      body: text.toString("utf8"),
    };
  };
  return {
    post: (body, headers, signal) =>
      send(body, headers, signal).catch((error: unknown) => {
        if (signal.aborted) throw error;
        throw new Error(connectionText(error, { trust: TRUST }), { cause: error });
      }),
    close: () => connections.close(),
  };
}
