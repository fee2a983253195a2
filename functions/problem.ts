import {
  PROBLEM_MEDIA_TYPE,
  type ProblemDocument,
  type ProblemKind,
  problemDocument,
} from "../lib/wire/protocol.ts";
import type { HttpResponse } from "./http.ts";

/** Ends a request with a problem document. Its message is for the sender: no secret, no stack. */
export class RequestProblem extends Error {
  override readonly name = "RequestProblem";
  readonly document: ProblemDocument;
  readonly headers: Readonly<Record<string, string>>;

  constructor(document: ProblemDocument, headers: Readonly<Record<string, string>> = {}) {
    super(document.detail);
    this.document = document;
    this.headers = headers;
  }
}

/** A RequestProblem of one of the documented kinds. */
export function problem(
  kind: ProblemKind,
  status: number,
  options: Parameters<typeof problemDocument>[2],
): RequestProblem {
  return new RequestProblem(problemDocument(kind, status, options));
}

const RETRY_AFTER_S = 5;
const INTERNAL = "Cannot answer: an internal error; see the receiver's log";

/** 503, for what its sender cannot mend and may try again. Why stands in the log alone. */
export function internalProblem(detail = INTERNAL): RequestProblem {
  const { document } = problem("unavailable", 503, { detail });
  return new RequestProblem(document, { "retry-after": String(RETRY_AFTER_S) });
}

export function problemResponse(document: ProblemDocument, headers = {}): HttpResponse {
  return {
    statusCode: document.status,
    headers: { "content-type": PROBLEM_MEDIA_TYPE, "cache-control": "no-store", ...headers },
    body: `${JSON.stringify(document)}\n`,
  };
}
