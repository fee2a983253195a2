import * as z from "zod/mini";
import { discoveryUrl, keySetUrl } from "../lib/core/issuer.ts";
import { KEY_SET_BYTES_MAX, type KeySet, parseKeySet } from "../lib/wire/jwks.ts";
import { textWithin, type World, withTimeout } from "../lib/world.ts";

const DISCOVERY_BYTES_MAX = 64 * 1024;
/** Each of the two. */
const FETCH_MS = 3_000;
/** An API server answers 406 to who does not name the first (RFC 7517 §8.5.1). */
const KEY_SET_TYPES = "application/jwk-set+json, application/json";
const CODE = /^[A-Z][A-Z0-9_]{0,63}$/;

const DISCOVERY = z.object({ issuer: z.string(), jwks_uri: z.string() });

/**
 * The keys that an issuer publishes now, found as OpenID Connect Discovery has it. Only its own URL
 * is asked, and the one that its document names ({@link keySetUrl}); no redirect is followed, and
 * each answer has a limit of bytes and of time. Rejects with an Error whose message is for the log:
 * it holds nothing of what was answered.
 */
export async function fetchIssuerKeys(
  issuer: string,
  world: Pick<World, "fetch" | "sleep">,
): Promise<KeySet> {
  const name = "the discovery document";
  const text = await fetchText(discoveryUrl(issuer), {
    world,
    name,
    accept: "application/json",
    bytesMax: DISCOVERY_BYTES_MAX,
  });
  const document = DISCOVERY.safeParse(parseJson(text)).data;
  if (document === undefined) {
    throw new Error(`Cannot read ${name}: it is no JSON with issuer and jwks_uri`);
  }
  // What another issuer publishes, or the same one under another name, is not believed.
  if (document.issuer !== issuer) {
    throw new Error(
      `Cannot use ${name}: it is of another issuer; write the issuer as the cluster does, with ` +
        "or without a slash at the end",
    );
  }
  const keySet = await fetchText(keySetUrl(document.jwks_uri, issuer), {
    world,
    name: "the key set",
    accept: KEY_SET_TYPES,
    bytesMax: KEY_SET_BYTES_MAX,
  });
  return parseKeySet(keySet);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

interface Fetching {
  readonly world: Pick<World, "fetch" | "sleep">;
  readonly name: string;
  readonly accept: string;
  readonly bytesMax: number;
}

function fetchText(url: URL, { world, name, accept, bytesMax }: Fetching): Promise<string> {
  const reason = () => new Error(`Cannot fetch ${name}: no answer within ${FETCH_MS} ms`);
  return withTimeout(world, FETCH_MS, { reason }, async (signal) => {
    // No connection is kept: an instance that was frozen would begin with a dead one.
    const headers = { accept, connection: "close" };
    try {
      const response = await world.fetch(url, { headers, redirect: "error", signal });
      if (response.status !== 200) {
        await response.body?.cancel();
        throw new AnswerError(`Cannot fetch ${name}: HTTP ${response.status}`);
      }
      const text = await textWithin(response, bytesMax);
      if (text !== null) return text;
      throw new AnswerError(`Cannot read ${name}: longer than ${bytesMax} bytes`);
    } catch (error) {
      if (error instanceof AnswerError) throw error;
      if (signal.aborted) throw signal.reason;
      throw new Error(`Cannot fetch ${name}: ${networkText(error)}`);
    }
  });
}

class AnswerError extends Error {
  override readonly name = "AnswerError";
}

const UNTRUSTED = /CERT|SIGNED|LEAF_SIGNATURE|ISSUER/;

// The texts of such errors quote addresses and more, so only Node's code is told.
function networkText(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined;
  if (cause instanceof Error && cause.message === "unexpected redirect") {
    return "it redirects, which is not followed";
  }
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : "";
  if (!CODE.test(code)) return "the network failed";
  if (!UNTRUSTED.test(code)) return code;
  return `${code}; name the certificate authority of the issuer in NODE_EXTRA_CA_CERTS`;
}
