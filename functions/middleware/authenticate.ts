import type { MiddlewareObj } from "@middy/core";
import { type ClusterKeys, verifyDelivery } from "../../lib/wire/signature.ts";
import type { World } from "../../lib/world.ts";
import type { HttpRequest } from "../http.ts";
import { problem } from "../problem.ts";

/** A request whose sender has proved for which cluster it speaks. */
export interface AuthenticatedRequest extends HttpRequest {
  readonly cluster: string;
}

/**
 * Finds the one cluster that a credential may speak for; the body is not asked. The door for
 * service-account tokens is here too: a second verifier whose cluster must be the same.
 */
export function authenticate(
  world: Pick<World, "now">,
  keys: () => readonly ClusterKeys[],
): MiddlewareObj {
  return {
    before(request) {
      const event = request.event as HttpRequest;
      const now = world.now();
      const verification = verifyDelivery(keys(), event, { now });
      if (verification.kind === "refused") {
        throw problem("unauthenticated", 401, {
          detail: verification.reason,
          time: new Date(now).toISOString(),
        });
      }
      const authenticated: AuthenticatedRequest = { ...event, cluster: verification.cluster };
      request.event = authenticated;
    },
  };
}
