import type { MiddlewareObj } from "@middy/core";
import { StoreError } from "../../lib/stores/store.ts";
import type { LogFields, Logger } from "../../lib/world.ts";
import type { HttpRequest } from "../http.ts";
import { problem, problemResponse, RequestProblem } from "../problem.ts";

const RETRY_AFTER_S = 5;

/**
 * Every error becomes a problem document. What we did not foresee is logged here and never shown.
 * A line says where a request went and who sent it. `routeOf` must hand on only such parts of the
 * path as it knows: people put tokens into paths, too.
 */
export function problems(log: Logger, routeOf: (path: string) => string): MiddlewareObj {
  return {
    onError(request) {
      const { path, remote } = (request.event ?? {}) as Partial<HttpRequest>;
      const fields = { route: routeOf(path ?? ""), remote: remote ?? null };
      const found = explain(request.error, fields, log);
      request.response = problemResponse(found.document, found.headers);
    },
  };
}

function explain(error: unknown, request: LogFields, log: Logger): RequestProblem {
  if (error instanceof RequestProblem) {
    const { status, type, detail } = error.document;
    log.info({ status, type, ...request }, detail);
    return error;
  }
  const message = error instanceof Error ? error.message : "unknown error";
  log.error({ error: message, ...request }, "Cannot answer a request");
  const detail =
    error instanceof StoreError
      ? "Cannot reach the store: nothing was admitted; deliver the newest snapshot again"
      : "Cannot answer: an internal error; see the receiver's log";
  const retry = { "retry-after": String(RETRY_AFTER_S) };
  const made = problem("unavailable", 503, { detail });
  return new RequestProblem(made.document, retry);
}
