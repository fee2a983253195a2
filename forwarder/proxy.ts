import { type Cidr, isWithin, parseAddress, parseCidr } from "../lib/core/cidr.ts";
import { isLoopback } from "../lib/core/host.ts";

/**
 * Variables of the process as far as proxies are concerned: HTTP_PROXY, HTTPS_PROXY, NO_PROXY, in
 * either case.
 */
export type ProxyVariables = Readonly<Record<string, string | undefined>>;

/** The URL of the proxy for requests to this URL, or null where they go directly. */
export type ProxyChoice = (url: URL) => string | null;

/**
 * As the environment says; the lower-case variable goes first, as with curl. This host and names
 * that only the cluster's own DNS knows are never asked of a proxy.
 */
export function proxyOf(variables: ProxyVariables): ProxyChoice {
  const setTo = (name: string) => variables[name.toLowerCase()] || variables[name] || null;
  const exceptions = parseExceptions(setTo("NO_PROXY") ?? "");
  return (url) => {
    const proxy = setTo(url.protocol === "https:" ? "HTTPS_PROXY" : "HTTP_PROXY");
    if (proxy === null || isLoopback(url) || isInCluster(url)) return null;
    return exceptions.some((excepts) => excepts(url)) ? null : proxy;
  };
}

/** A Service of this cluster, by a name that nobody outside of it can resolve. */
export function isInCluster({ hostname }: Pick<URL, "hostname">): boolean {
  return /\.svc(\.cluster\.local)?$/.test(hostname);
}

type Exception = (url: URL) => boolean;

/**
 * Everything that Node, Go and curl understand together, because each of them is somebody's habit:
 * `*`; a name, with all names below it; `.name` or `*.name`, only those below; an address, a
 * network or a range of addresses; each but a network with `:port` where only that port is meant.
 * What is none of these matches nothing.
 */
function parseExceptions(text: string): readonly Exception[] {
  return text
    .toLowerCase()
    .split(/[\s,]+/)
    .filter((entry) => entry !== "")
    .map(parseException);
}

function parseException(entry: string): Exception {
  if (entry === "*") return () => true;
  const network = parseCidr(entry);
  if (network !== null) return (url) => isIn(url, network);
  const [, first = "", last = ""] = /^([\d.]+)-([\d.]+)$/.exec(entry) ?? [];
  const [from, to] = [ipv4Number(first), ipv4Number(last)];
  if (from !== null && to !== null) {
    return ({ hostname }) => {
      const number = ipv4Number(hostname);
      return number !== null && number >= from && number <= to;
    };
  }
  const [, host = "", port = ""] = /^(.*?)(?::(\d+))?$/.exec(entry) ?? [];
  const isMeant = (url: URL) => port === "" || port === portOf(url);
  const address = parseAddress(unbracketed(host));
  if (address !== null) return (url) => isMeant(url) && isIn(url, address);
  const name = host.replace(/^\*?\./, "");
  const isOnlyBelow = name !== host;
  return (url) => {
    const hostname = url.hostname.replace(/\.$/, "");
    const isNamed = hostname.endsWith(`.${name}`) || (hostname === name && !isOnlyBelow);
    return isMeant(url) && isNamed;
  };
}

function isIn({ hostname }: URL, network: Cidr): boolean {
  const address = parseAddress(unbracketed(hostname));
  return address !== null && isWithin(address, [network]);
}

function unbracketed(host: string): string {
  return host.replace(/^\[(.*)\]$/, "$1");
}

/** Null for what is no IPv4 address. */
function ipv4Number(text: string): number | null {
  if (text.includes(":") || parseAddress(text) === null) return null;
  return text.split(".").reduce((number, part) => number * 256 + Number(part), 0);
}

function portOf({ port, protocol }: URL): string {
  if (port !== "") return port;
  return protocol === "https:" ? "443" : "80";
}
