/**
 * What every platform's HTTP event is turned into; only `middleware/event.ts` knows their shapes.
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

/** The part of the platforms' context that we look at. */
export interface InvocationContext {
  getRemainingTimeInMillis?(): number;
}
