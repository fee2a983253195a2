import type { ListReport } from "../lib/core/report.ts";
import type { Logger } from "../lib/world.ts";
import type { HttpResponse } from "./http.ts";
import { problem, problemResponse } from "./problem.ts";

/**
 * What Lambda takes of a synchronous answer, as JSON with the body as a text in it ("Lambda
 * quotas", 6 MB); the other platforms take more. Whoever gives more is answered for: 502, every
 * time.
 */
export const PAYLOAD_BYTES_MAX = 6 * 1024 * 1024 - 64 * 1024;
/** Entries of each kind that a shortened report shows, from many to none. */
const SHOWN = [1_000, 100, 10, 0];
const RETRY_AFTER_S = 300;

/**
 * The same response where a platform takes it. Reports of lists have as many entries as there are
 * addresses: where that is too much, each shows the first of them and the document says how many
 * at most (`shortened`); its counts are whole, but who counts refusals counts those that are shown,
 * and nobody decides by these entries. What else is too long is answered 503.
 */
export function withinPayload(response: unknown, log: Logger): unknown {
  if (!isResponse(response)) return response;
  const bytes = payloadBytes(response);
  if (bytes <= PAYLOAD_BYTES_MAX) return response;
  const { body, ...rest } = response;
  const document = reportsOf(body);
  for (const most of document === null ? [] : SHOWN) {
    const shorter = { ...rest, body: `${JSON.stringify(shortened(document, most))}\n` };
    if (payloadBytes(shorter) > PAYLOAD_BYTES_MAX) continue;
    log.warn(
      { bytes, shortened: most },
      "Cannot answer with whole reports: the first entries of each are shown",
    );
    return shorter;
  }
  const detail = `Cannot answer: ${bytes} bytes are more than the platform takes; split the lists`;
  log.error({ bytes }, detail);
  const { document: refusal } = problem("unavailable", 503, { detail });
  const headers = { "retry-after": String(RETRY_AFTER_S) };
  return { ...rest, ...problemResponse(refusal, headers) };
}

function isResponse(value: unknown): value is HttpResponse {
  return typeof (value as HttpResponse | null)?.body === "string";
}

/** Of a short body nobody has to write it twice: no character needs more than six bytes. */
function payloadBytes(response: HttpResponse): number {
  if (response.body.length * 6 < PAYLOAD_BYTES_MAX / 2) return 0;
  return Buffer.byteLength(JSON.stringify(response));
}

interface Reports {
  readonly lists: readonly ListReport[];
}

function reportsOf(body: string): Reports | null {
  try {
    const document = JSON.parse(body);
    return Array.isArray(document?.lists) ? document : null;
  } catch {
    return null;
  }
}

function shortened(document: Reports | null, most: number) {
  const lists = (document?.lists ?? []).map((report) => ({
    ...report,
    add: report.add.slice(0, most),
    remove: report.remove.slice(0, most),
    leaving: report.leaving.slice(0, most),
    refused: report.refused.slice(0, most),
  }));
  return { ...document, lists, shortened: most };
}
