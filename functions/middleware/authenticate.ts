import type { MiddlewareObj } from "@middy/core";
import { problemDocument } from "../../lib/wire/protocol.ts";
import { verifyDelivery } from "../../lib/wire/signature.ts";
import {
  readToken,
  type Token,
  type TokenVerification,
  verifyToken,
} from "../../lib/wire/token.ts";
import type { HttpRequest } from "../http.ts";
import { type KeySource, KeysUnavailable, type RenewedKeys } from "../key-source.ts";
import { problem, RequestProblem } from "../problem.ts";
import type { ClusterTokens } from "../token-rules.ts";
import type { Wiring } from "../wiring.ts";

/** A request whose sender has proved for which cluster it speaks. */
export interface AuthenticatedRequest extends HttpRequest {
  readonly cluster: string;
}

/** What of a wiring tells who may speak for whom. */
export type Credentials = Pick<Wiring, "world" | "keys" | "tokenRules"> & {
  readonly config: Pick<Wiring["config"], "auth">;
};

/**
 * Finds the one cluster that a request's credentials may speak for; the body is not asked. Where a
 * cluster demands a token and a signature, both must be of it. A credential that the cluster does
 * not demand is not looked at: gateways use the header `Authorization`, too, and a forwarder may
 * send both before its receiver demands both.
 */
export function authenticate(credentials: Credentials): MiddlewareObj {
  return {
    async before(request) {
      const event = request.event as HttpRequest;
      const cluster = await speakerOf(event, credentials);
      const authenticated: AuthenticatedRequest = { ...event, cluster };
      request.event = authenticated;
    },
  };
}

async function speakerOf(event: HttpRequest, credentials: Credentials): Promise<string> {
  const { world, config } = credentials;
  const signature = verifyDelivery(credentials.keys(), event, { now: world.now() });
  const signer = signature.kind === "verified" ? signature.cluster : null;
  if (signer !== null && config.auth[signer]?.serviceAccount === null) return signer;
  const rules = credentials.tokenRules();
  const isSigned = event.headers["webhook-signature"] !== undefined;
  const unsigned = signature.kind === "refused" && (isSigned || rules.length === 0);
  const signatureReasons = unsigned ? [signature.reason] : [];
  const bearer = BEARER.exec(event.headers.authorization ?? "")?.[1];
  if (bearer === undefined || rules.length === 0) {
    const reasons = rules.length === 0 ? signatureReasons : [NO_TOKEN, ...signatureReasons];
    throw refusal(world, reasons);
  }
  const token = await verifyBearer(bearer, { rules, world });
  if (token.kind !== "verified") throw refusal(world, [token.reason, ...signatureReasons]);
  const { cluster } = token;
  if (signer !== null && signer !== cluster) {
    throw refusal(world, ["Cannot tell which cluster speaks: token and signature are of two"]);
  }
  if (config.auth[cluster]?.signature !== null && signature.kind === "refused") {
    throw refusal(world, [signature.reason]);
  }
  return cluster;
}

const BEARER = /^Bearer +([\x21-\x7e]+) *$/i;
const NO_TOKEN = 'Cannot find a token: send it as "Authorization: Bearer …"';

/** The receiver's time tells a sender whose clock is wrong. */
function refusal(world: Credentials["world"], reasons: readonly string[]): RequestProblem {
  const time = new Date(world.now()).toISOString();
  return problem("unauthenticated", 401, { detail: reasons.join(". "), time });
}

interface Verifying {
  readonly rules: readonly ClusterTokens[];
  readonly world: Credentials["world"];
}

/**
 * The keys of its issuer are asked for once more where none of them fits. As long as keys that it
 * may have been signed with cannot be had, it is neither taken nor refused. Whoever has a known key
 * waits for nothing that strangers forge.
 */
async function verifyBearer(text: string, context: Verifying): Promise<TokenVerification> {
  const reading = readToken(text);
  if (reading.kind === "refused") return reading;
  const { token } = reading;
  const first = await verifyWith(token, { ...context, ask: known });
  if (first.kind !== "unknown-key") return first;
  return verifyWith(token, { ...context, ask: (source) => source.renewed() });
}

async function known(source: KeySource): Promise<RenewedKeys> {
  return { keys: await source.keys(), doubt: null };
}

async function verifyWith(
  token: Token,
  context: Verifying & { readonly ask: (source: KeySource) => Promise<RenewedKeys> },
): Promise<TokenVerification> {
  const { world, ask } = context;
  const rules = context.rules.filter(({ rule }) => rule.issuer === token.issuer);
  const asked = rules.map(async ({ rule, source }) => ({ rule, ...(await ask(source)) }));
  const answers = await Promise.allSettled(asked);
  const had = answers.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
  const [failure] = answers.flatMap((one) => (one.status === "rejected" ? [one.reason] : []));
  if (failure !== undefined && !(failure instanceof KeysUnavailable)) throw failure;
  const verdict = verifyToken(token, had, { now: world.now() });
  if (verdict.kind === "verified") return verdict;
  if (failure !== undefined) throw unavailable(failure);
  const [doubt] = had.flatMap((one) => one.doubt ?? []);
  if (doubt !== undefined && verdict.kind === "unknown-key") throw unavailable(doubt);
  return verdict;
}

function unavailable(failure: KeysUnavailable): RequestProblem {
  const document = problemDocument("unavailable", 503, { detail: `${failure.message}; try again` });
  const seconds = Math.ceil(failure.retryAfterMs / 1_000);
  return new RequestProblem(document, { "retry-after": String(seconds) });
}
