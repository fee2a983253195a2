import { createHash, timingSafeEqual } from "node:crypto";
import middy from "@middy/core";
import { statusOf } from "../lib/survey.ts";
import { problemDocument } from "../lib/wire/protocol.ts";
import { type HttpRequest, type HttpResponse, jsonResponse } from "./http.ts";
import { httpEvent } from "./middleware/event.ts";
import { problems } from "./middleware/problems.ts";
import { problem, RequestProblem } from "./problem.ts";
import type { Wiring } from "./wiring.ts";

export const STATUS_PATH = "/v1/status";
const BEARER = /^Bearer ([\x21-\x7e]{1,512})$/i;

/**
 * `GET /v1/status`: the state of every list, from the store alone. Open on loopback, with a bearer
 * token elsewhere.
 */
export function makeStatus(wiring: Wiring) {
  return middy({ timeoutEarlyInMillis: 0 })
    .use(problems(wiring.world.log, () => STATUS_PATH))
    .use(httpEvent())
    .handler((event: unknown) => showStatus(wiring, event as HttpRequest));
}

/** The answer of {@link makeStatus} to a request, for functions that answer other routes, too. */
export async function showStatus(wiring: Wiring, request: HttpRequest): Promise<HttpResponse> {
  if (request.method !== "GET") {
    throw problem("unsupported", 405, { detail: `Cannot ${request.method} a status: GET it` });
  }
  // A proxy on this machine speaks from loopback for everybody: where tokens are configured, they
  // are asked for there, too.
  const tokens = wiring.statusTokens();
  if (!request.loopback || tokens.length > 0) requireToken(request, tokens);
  return jsonResponse(200, await statusOf(wiring, wiring.policy.lists));
}

function requireToken(request: HttpRequest, tokens: readonly string[]): void {
  const given = BEARER.exec(request.headers.authorization ?? "")?.[1];
  // Every token is compared, so that the time taken tells nothing.
  const matches = tokens.filter((token) => given !== undefined && isSame(given, token));
  if (matches.length > 0) return;
  const detail = "Cannot show the status: send a bearer token of the receiver's status.tokens";
  const document = problemDocument("unauthenticated", 401, { detail });
  throw new RequestProblem(document, { "www-authenticate": 'Bearer realm="kube-allowlist"' });
}

function isSame(a: string, b: string): boolean {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}
