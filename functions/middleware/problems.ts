import type { MiddlewareObj } from "@middy/core";
import { StoreError } from "../../lib/stores/store.ts";
import type { LogFields, Logger } from "../../lib/world.ts";
import type { HttpRequest } from "../http.ts";
import { internalProblem, problemResponse, RequestProblem } from "../problem.ts";
import { runFields } from "../run.ts";

/**
 * Every error becomes a problem document. What we did not foresee is logged here and never shown.
 * A line says where a request went and who sent it. `routeOf` must hand on only such parts of the
 * path as it knows: people put tokens into paths, too.
 */
export function problems(log: Logger, routeOf: (path: string) => string): MiddlewareObj {
  return {
    onError(request) {
      const { path, remote, headers } = (request.event ?? {}) as Partial<HttpRequest>;
      const claimed = claimedDelivery(headers?.["webhook-id"]);
      const fields = { route: routeOf(path ?? ""), remote: remote ?? null, ...claimed };
      const found = explain(request.error, fields, log);
      request.response = problemResponse(found.document, found.headers);
    },
  };
}

const DELIVERY_ID = /^[a-z0-9-]{1,32}\/[0-9]{1,10}\/[0-9]{1,10}$/;

/**
 * Which delivery a request says it is, as long as nobody knows that it is true. What does not look
 * like one is not told: strangers write into no log.
 */
function claimedDelivery(id: unknown): LogFields {
  if (runFields().correlation_id !== undefined) return {};
  return typeof id === "string" && DELIVERY_ID.test(id) ? { unverified_delivery: id } : {};
}

function explain(error: unknown, request: LogFields, log: Logger): RequestProblem {
  if (error instanceof RequestProblem) {
    const { status, type, detail } = error.document;
    log.info({ status, type, ...request }, detail);
    return error;
  }
  const message = error instanceof Error ? error.message : "unknown error";
  log.error({ error: message, ...request }, "Cannot answer a request");
  if (!(error instanceof StoreError)) return internalProblem();
  return internalProblem(
    "Cannot reach the store: nothing was admitted; deliver the newest snapshot again",
  );
}
