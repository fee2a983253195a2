import { isGlobalHost, parseAddress } from "./cidr.ts";
import { isLoopback } from "./host.ts";

/*
 * What the issuer of a cluster's tokens, and an audience of them, may look like. An issuer is a
 * URL, and at the same time a text that is compared to the letter.
 */

const DISCOVERY_PATH = "/.well-known/openid-configuration";

/**
 * Where an issuer says where its keys are (OpenID Connect Discovery 1.0 §4.1). Throws a RangeError
 * with a sentence for what may not be asked: only https is, except on this machine.
 */
export function discoveryUrl(issuer: string): URL {
  const url = URL.canParse(issuer) ? new URL(issuer) : null;
  if (url === null || !isAskable(url)) {
    throw new RangeError(
      "Cannot discover the keys of this issuer: it is no https URL; pin its keys with jwks: " +
        '"file:PATH", as "kube-allowlist doctor jwks" prints them',
    );
  }
  if (/[?#]/.test(issuer) || url.username !== "" || url.password !== "") {
    throw new RangeError(
      "Cannot discover the keys of this issuer: an issuer has no user, password, query or " +
        'fragment; take it from "kube-allowlist doctor jwks"',
    );
  }
  url.pathname = url.pathname.replace(/\/$/, "") + DISCOVERY_PATH;
  return url;
}

/**
 * Where an issuer says that its keys are. Another host is fine, as long as it is none that only
 * means something where we are: an address of this machine or of a private network, unless the
 * issuer itself is there. Throws a RangeError with a sentence that does not quote it.
 */
export function keySetUrl(given: string, issuer: string): URL {
  const url = URL.canParse(given) ? new URL(given) : null;
  const home = new URL(issuer);
  if (url === null || !isAskable(url) || url.username !== "" || url.password !== "") {
    throw new RangeError("Cannot follow jwks_uri: it is no https URL without user and password");
  }
  if (url.hostname === home.hostname && url.protocol === home.protocol) return url;
  if (url.protocol !== "https:" || isInner(url)) {
    throw new RangeError(
      "Cannot follow jwks_uri: it leads to this machine or a private network, and its issuer " +
        'is not there; pin the keys, as "kube-allowlist doctor jwks" prints them',
    );
  }
  return url;
}

function isAskable(url: URL): boolean {
  return url.protocol === "https:" || (url.protocol === "http:" && isHere(url));
}

function isHere(url: URL): boolean {
  return isLocalName(url.hostname) || isLoopback(url);
}

function isLocalName(hostname: string): boolean {
  return /^(.*\.)?localhost\.?$/.test(hostname);
}

/** A name of this machine, or an address that the internet cannot route to. */
function isInner({ hostname }: URL): boolean {
  if (isLocalName(hostname)) return true;
  const isLiteral = hostname.startsWith("[") || /^[\d.]+$/.test(hostname);
  const address = isLiteral ? parseAddress(hostname.replaceAll(/[[\]]/g, "")) : null;
  return isLiteral && (address === null || !isGlobalHost(address));
}

const API_SERVER = /^kubernetes(\.default(\.svc(\.[a-z0-9.-]+)?)?)?(:\d{1,5})?$/;
/** K3s and RKE2 give their API servers these, too. */
const DISTRIBUTIONS = ["k3s", "rke2"];
/**
 * What the clouds exchange tokens by, for credentials of an account: "IAM roles for service
 * accounts" and "EKS Pod Identity" in the EKS user guide, "RRSA" in that of ACK, "Workload identity
 * federation" in the documentation of Entra ID.
 */
const EXCHANGES = [
  "sts.amazonaws.com",
  "sts.amazonaws.com.cn",
  "pods.eks.amazonaws.com",
  "sts.aliyuncs.com",
  "api://azureadtokenexchange",
];
/**
 * Of Google Cloud: a provider of a workload identity pool, with its scheme or without, and the pool
 * of a GKE project, `PROJECT.svc.id.goog`.
 */
const GOOGLE = /^(\/\/iam\.googleapis\.com(\/.*)?|(.+[.:])?[a-z0-9-]+\.svc\.id\.goog)$/;

/**
 * Whether a token for this audience opens more than our door: the API server's, which without
 * `--api-audiences` is the issuer itself, or a cloud's. Such a token must neither be sent to a
 * receiver nor be asked for by one. `server` is the API server's URL, where it is known: its host
 * with any port, since API servers are reached by several.
 */
export function opensMore(
  audience: string,
  known: { readonly issuer: string; readonly server: string | null },
): boolean {
  if (trimSlash(audience) === trimSlash(known.issuer)) return true;
  // In any spelling: who takes only one of them is nobody that another could stand for.
  const plain = trimSlash(audience.toLowerCase());
  const name = plain.replace(/^https:\/\//, "");
  if (API_SERVER.test(name) || [...DISTRIBUTIONS, ...EXCHANGES].includes(name)) return true;
  if (GOOGLE.test(plain.replace(/^https:/, "")) || GOOGLE.test(name)) return true;
  const { server } = known;
  return server !== null && URL.canParse(audience) && hostOf(audience) === hostOf(server);
}

function trimSlash(text: string): string {
  return text.replace(/\/$/, "");
}

/** Without a dot at its end, which names the same host. */
function hostOf(url: string): string {
  return new URL(url).hostname.replace(/\.$/, "");
}
