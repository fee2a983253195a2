import { gunzipSync } from "node:zlib";
import type { MiddlewareObj } from "@middy/core";
import { DELIVERY_BYTES_MAX, MEDIA_TYPE } from "../../lib/wire/protocol.ts";
import type { HttpRequest } from "../http.ts";
import { problem } from "../problem.ts";

const PARAMETERS = /^\s*charset\s*=\s*"?utf-8"?\s*$/i;

/** 413 by length and 415, before anything is read. */
export function mediaDoor(): MiddlewareObj {
  return {
    before(request) {
      const { headers, body, method } = request.event as HttpRequest;
      if (method !== "POST") {
        throw problem("unsupported", 405, {
          detail: `Cannot ${method} here: deliveries are POSTed`,
        });
      }
      const declared = Number(headers["content-length"] ?? body.byteLength);
      if (declared > DELIVERY_BYTES_MAX || body.byteLength > DELIVERY_BYTES_MAX) throw tooLarge();
      refuseMediaType(headers["content-type"]);
      refuseEncoding(headers["content-encoding"]);
    },
  };
}

function refuseMediaType(given: string | undefined): void {
  const [type = "", ...parameters] = (given ?? "").split(";");
  const known = type.trim().toLowerCase() === MEDIA_TYPE;
  if (known && parameters.every((parameter) => PARAMETERS.test(parameter))) return;
  throw problem("unsupported", 415, {
    detail: `Cannot read this content type: send one CloudEvent as ${MEDIA_TYPE} in UTF-8`,
  });
}

function refuseEncoding(given: string | undefined): void {
  if (given === undefined || ["", "identity", "gzip"].includes(given.trim().toLowerCase())) return;
  throw problem("unsupported", 415, {
    detail: "Cannot read this content encoding: send gzip or nothing",
  });
}

function tooLarge() {
  return problem("too-large", 413, {
    detail:
      `Cannot take this body: more than ${DELIVERY_BYTES_MAX} bytes; narrow the ` +
      "forwarder's scope",
  });
}

/** The text of a body. Never inflates more than a message may hold. */
export function inflate({ headers, body }: HttpRequest): string {
  const zipped = headers["content-encoding"]?.trim().toLowerCase() === "gzip";
  return Buffer.from(zipped ? gunzip(body) : body).toString("utf8");
}

function gunzip(body: Uint8Array): Uint8Array {
  try {
    return gunzipSync(body, { maxOutputLength: DELIVERY_BYTES_MAX });
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : null;
    if (code === "ERR_BUFFER_TOO_LARGE") throw tooLarge();
    const message = "Cannot inflate the body: it is no whole gzip stream";
    throw problem("invalid", 422, { detail: message, problems: [{ path: "", message }] });
  }
}
