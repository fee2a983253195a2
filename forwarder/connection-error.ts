import { isRecord } from "./json.ts";
import { errorText } from "./signal.ts";

/**
 * Why there was no connection, as a sentence for a log with a way out where one is known. `trust`
 * says how the other side's authority is made known here. Shows no credential: neither Node nor
 * the names of proxies hold one.
 */
export function connectionText(error: unknown, { trust }: { readonly trust: string }): string {
  const failure = isRecord(error) ? (error as Failure) : {};
  // Several addresses of one name were tried; the first failure is as good as the others.
  const [first] = failure.errors ?? [];
  if (first !== undefined) return connectionText(first, { trust });
  const text = errorText(error);
  const { code = "" } = failure;
  if (code === "ERR_PROXY_TUNNEL") return `${text}; ${proxyWayOut(failure.statusCode)}`;
  if (code === "EPROTO" && /wrong version number|packet length too long/.test(text)) {
    return `${text}; ${NO_TLS}`;
  }
  const wayOut = UNKNOWN_AUTHORITY.has(code) ? trust : WAYS_OUT[code];
  return wayOut === undefined ? text : `${text}; ${wayOut}`;
}

/** What errors of Node's sockets, of TLS and of tunnels have beside their message. */
interface Failure {
  readonly code?: string;
  /** Of the proxy. */
  readonly statusCode?: number;
  /** Of an AggregateError. */
  readonly errors?: readonly unknown[];
}

/** X509_V_ERR_* of OpenSSL, by the names that Node gives them. */
const UNKNOWN_AUTHORITY: ReadonlySet<string> = new Set([
  "CERT_UNTRUSTED",
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "INVALID_CA",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
]);

const NO_TLS = "no TLS is spoken there: check scheme and port";
const NO_NAME = "check the name, and that the DNS of this process knows it";

const WAYS_OUT: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: "renew that certificate",
  CERT_NOT_YET_VALID: "set the clocks right",
  EAI_AGAIN: NO_NAME,
  ENOTFOUND: NO_NAME,
  ERR_TLS_CERT_ALTNAME_INVALID: "use a name that its certificate is for",
};

function proxyWayOut(status: number | undefined): string {
  if (status === 407) {
    return "give the proxy's user and password, as http://USER:PASSWORD@HOST:PORT";
  }
  return "ask those who run the proxy, or except the host from it (NO_PROXY)";
}
