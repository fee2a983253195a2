import type { MiddlewareObj } from "@middy/core";
import type { HttpRequest } from "../http.ts";

/**
 * Payload 2.0 of an HTTP API or a function URL, and what `serve` and `dev` make of a local request.
 */
interface GatewayEvent {
  readonly rawPath: string;
  readonly headers?: Readonly<Record<string, string | undefined>>;
  readonly body?: string | null;
  readonly isBase64Encoded?: boolean;
  readonly requestContext: {
    readonly http: { readonly method: string; readonly sourceIp?: string };
  };
  /**
   * Set by our own local server alone, where it listens on loopback; a platform's events never
   * carry it.
   */
  readonly [LOOPBACK]?: boolean;
}

/** A symbol cannot be sent, so no event from outside can claim to be local. */
export const LOOPBACK = Symbol("loopback");

/** Turns the platform's event into an {@link HttpRequest}. Must be the first middleware. */
export function httpEvent(): MiddlewareObj {
  return {
    before(request) {
      request.event = fromGateway(request.event as GatewayEvent);
    },
  };
}

function fromGateway(event: GatewayEvent): HttpRequest {
  const headers = Object.entries(event.headers ?? {}).map(
    ([name, value]) => [name.toLowerCase(), value] as const,
  );
  return {
    method: event.requestContext.http.method.toUpperCase(),
    path: event.rawPath,
    headers: Object.fromEntries(headers),
    body: Buffer.from(event.body ?? "", event.isBase64Encoded ? "base64" : "utf8"),
    remote: event.requestContext.http.sourceIp ?? null,
    loopback: event[LOOPBACK] === true,
  };
}
