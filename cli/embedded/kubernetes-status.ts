/** A failure as the Kubernetes API words it: HTTP status and the body, which is a Status object. */
export interface Failure {
  readonly status: number;
  readonly retryAfterS: number | null;
  readonly body: object;
}

/** The reasons that clients look at; the words are for people. */
export function failure(
  status: number,
  reason: string,
  options: {
    readonly message: string;
    readonly causes?: readonly { readonly reason: string; readonly message: string }[];
    readonly retryAfterS?: number | null;
  },
): Failure {
  const { message, causes, retryAfterS = null } = options;
  const details = {
    ...(causes === undefined ? {} : { causes }),
    ...(retryAfterS === null ? {} : { retryAfterSeconds: retryAfterS }),
  };
  return {
    status,
    retryAfterS,
    body: {
      kind: "Status",
      apiVersion: "v1",
      metadata: {},
      status: "Failure",
      message,
      reason,
      ...(Object.keys(details).length === 0 ? {} : { details }),
      code: status,
    },
  };
}

export function notFound(resource: string, name: string): Failure {
  return failure(404, "NotFound", { message: `${resource} "${name}" not found` });
}

export function alreadyExists(resource: string, name: string): Failure {
  return failure(409, "AlreadyExists", { message: `${resource} "${name}" already exists` });
}

export function conflict(resource: string, name: string): Failure {
  const message = `Operation cannot be fulfilled on ${resource} "${name}": it has been modified`;
  return failure(409, "Conflict", { message });
}

export function invalid(message: string): Failure {
  return failure(422, "Invalid", { message });
}

export function badRequest(message: string): Failure {
  return failure(400, "BadRequest", { message });
}

export function expired(message: string): Failure {
  return failure(410, "Expired", { message });
}

/** The version lies in the future of this server, which waits for it in vain. */
export function tooLarge(asked: string, current: string): Failure {
  return failure(504, "Timeout", {
    message: `Timeout: Too large resource version: ${asked}, current: ${current}`,
    causes: [{ reason: "ResourceVersionTooLarge", message: "Too large resource version" }],
    retryAfterS: 1,
  });
}

const REASONS: Readonly<Record<number, string>> = {
  401: "Unauthorized",
  403: "Forbidden",
  410: "Expired",
  429: "TooManyRequests",
  500: "InternalError",
  503: "ServiceUnavailable",
  504: "Timeout",
};

/** A failure by its status alone. */
export function failureOf(status: number, retryAfterS: number | null): Failure {
  const reason = REASONS[status] ?? "Unknown";
  return failure(status, reason, { message: `${reason} (on purpose)`, retryAfterS });
}
