/**
 * What every platform's HTTP event is turned into; only `platform-event.ts` knows their shapes.
 */
export interface HttpRequest {
  readonly method: string;
  readonly path: string;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string | undefined>>;
  /** The bytes as they came. */
  readonly body: Uint8Array;
  /** The sender's address as the platform tells it: a proxy's where there is one; or null. */
  readonly remote: string | null;
  /** Whether the sender can only be a process of this machine. */
  readonly loopback: boolean;
}

export interface HttpResponse {
  readonly statusCode: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export function jsonResponse(statusCode: number, value: unknown): HttpResponse {
  return {
    statusCode,
    headers: { "content-type": "application/json", "cache-control": "no-store" },
    body: `${JSON.stringify(value)}\n`,
  };
}

/** One run of a function, as the platform tells of it. */
export interface InvocationContext {
  /** The platform's own number of it, as its log shows it; null where there is none. */
  readonly requestId?: string | null;
  readonly functionName?: string | null;
  getRemainingTimeInMillis?(): number;
}
