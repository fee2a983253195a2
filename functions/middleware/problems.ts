import type { MiddlewareObj } from "@middy/core";
import { StoreError } from "../../lib/stores/store.ts";
import type { Logger } from "../../lib/world.ts";
import { problem, problemResponse, RequestProblem } from "../problem.ts";

const RETRY_AFTER_S = 5;

/**
 * Every error becomes a problem document. What we did not foresee is logged here and never shown.
 */
export function problems(log: Logger): MiddlewareObj {
  return {
    onError(request) {
      const found = explain(request.error, log);
      request.response = problemResponse(found.document, found.headers);
    },
  };
}

function explain(error: unknown, log: Logger): RequestProblem {
  if (error instanceof RequestProblem) {
    const { status, type, detail } = error.document;
    log.info({ status, type }, detail);
    return error;
  }
  const message = error instanceof Error ? error.message : "unknown error";
  log.error({ error: message }, "Cannot answer a request");
  const detail =
    error instanceof StoreError
      ? "Cannot reach the store: nothing was admitted; deliver the newest snapshot again"
      : "Cannot answer: an internal error; see the receiver's log";
  const retry = { "retry-after": String(RETRY_AFTER_S) };
  const made = problem("unavailable", 503, { detail });
  return new RequestProblem(made.document, retry);
}
