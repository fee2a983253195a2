import type { MiddlewareObj } from "@middy/core";
import { readPlatformEvent } from "../platform-event.ts";
import { problemResponse, RequestProblem } from "../problem.ts";

/** A symbol cannot be sent, so no event from outside can claim to be local. */
export const LOOPBACK = Symbol("loopback");

/**
 * Turns the platform's event into an HttpRequest. Must be the first middleware. What is no
 * HTTP request, or is one that could be understood in two ways, is answered 400 and goes no
 * further.
 */
export function httpEvent(): MiddlewareObj {
  return {
    before(request) {
      const reading = readPlatformEvent(request.event);
      if (reading.kind === "http") {
        request.event = { ...reading.request, loopback: isOurs(request.event) };
        return;
      }
      throw badRequest(reading.kind === "refused" ? reading.detail : NOT_HTTP);
    },
  };
}

/**
 * Lets pass whatever a schedule sends: nothing of it is needed. A request that came over HTTP ends
 * here, because nobody may start a run, or be shown what it found, without having proved who they
 * are.
 */
export function scheduledEvent(): MiddlewareObj {
  return {
    before(request) {
      if (readPlatformEvent(request.event).kind === "other") return undefined;
      const detail = "Cannot be asked over HTTP: this function runs on a schedule; remove its URL";
      return problemResponse({ type: "about:blank", title: "Forbidden", status: 403, detail });
    },
  };
}

const NOT_HTTP =
  "Cannot read this event: it is no HTTP request; call this function by its URL, and give " +
  "schedules to the function resync";

function badRequest(detail: string): RequestProblem {
  return new RequestProblem({ type: "about:blank", title: "Bad Request", status: 400, detail });
}

/**
 * Our own local server alone sets this, where it listens on loopback; a platform's events never
 * carry it.
 */
function isOurs(event: unknown): boolean {
  return (event as { readonly [LOOPBACK]?: unknown })[LOOPBACK] === true;
}
