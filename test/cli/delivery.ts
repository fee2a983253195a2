import type { Snapshot } from "../../lib/core/snapshot.ts";
import { deliveryId, MEDIA_TYPE, renderDelivery } from "../../lib/wire/protocol.ts";
import { type SigningKey, signDelivery } from "../../lib/wire/signature.ts";
import { snapshot } from "../core/cases.ts";

/**
 * A delivery of cluster eu, signed now as a forwarder signs; what is given replaces parts of it.
 */
export function deliveryOf(given: Partial<Snapshot>, key: SigningKey) {
  const sent = snapshot([], { receivedAt: Date.now(), ...given });
  return signedBody(Buffer.from(renderDelivery(sent)), key, deliveryId(sent));
}

/** Any bytes under a genuine signature. */
export function signedBody(body: Buffer<ArrayBuffer>, key: SigningKey, id = "eu/1/1") {
  const timestampS = Math.floor(Date.now() / 1_000);
  const headers: Record<string, string> = {
    "content-type": MEDIA_TYPE,
    ...signDelivery([key], { id, timestampS, body }),
  };
  return { body, headers };
}
