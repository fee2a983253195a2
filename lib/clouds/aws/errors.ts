import type { TargetErrorKind } from "../../core/report.ts";
import { CloudError, kindOfStatus, retryAfterOf } from "../error.ts";

// Sources: error codes of the EC2, WAF (wafv2) and STS API references and of Node's sockets.
const KIND_BY_CODE: Readonly<Record<string, TargetErrorKind>> = {
  BandwidthLimitExceeded: "throttled",
  EC2ThrottledException: "throttled",
  PriorRequestNotComplete: "throttled",
  RequestLimitExceeded: "throttled",
  RequestThrottled: "throttled",
  RequestThrottledException: "throttled",
  SlowDown: "throttled",
  TooManyRequestsException: "throttled",

  "InvalidPermission.Duplicate": "conflict",
  "InvalidPermission.NotFound": "conflict",
  "InvalidSecurityGroupRuleId.NotFound": "conflict",
  // An entry to add that is there already, or one to remove that is not: what is there decides.
  InvalidPrefixListModification: "conflict",
  PrefixListVersionMismatch: "conflict",
  WAFDuplicateItemException: "conflict",
  WAFOptimisticLockException: "conflict",

  ConcurrentMutationLimitExceeded: "busy",
  IncorrectState: "busy",

  PrefixListMaxEntriesExceeded: "full",
  RulesPerSecurityGroupLimitExceeded: "full",
  WAFLimitsExceededException: "full",

  "InvalidGroup.NotFound": "missing",
  // EC2 writes this one in both ways (seen by its Terraform provider).
  "InvalidPrefixListID.NotFound": "missing",
  "InvalidPrefixListId.NotFound": "missing",
  "InvalidSecurityGroupID.NotFound": "missing",
  "InvalidSubnetID.NotFound": "missing",
  WAFNonexistentItemException: "missing",

  AccessDenied: "denied",
  AccessDeniedException: "denied",
  AuthFailure: "denied",
  Blocked: "denied",
  IncompleteSignature: "denied",
  InvalidAccessKeyId: "denied",
  InvalidClientTokenId: "denied",
  MissingAuthenticationToken: "denied",
  NotAuthorized: "denied",
  OperationNotPermitted: "denied",
  OptInRequired: "denied",
  PendingVerification: "denied",
  RegionDisabledException: "denied",
  SignatureDoesNotMatch: "denied",
  UnauthorizedOperation: "denied",
  UnrecognizedClientException: "denied",

  // Credentials come and go by themselves: a metadata server is slow, a session ends, an answer
  // puts a clock right. Waiting five minutes, as for `denied`, would keep nodes out for nothing.
  CredentialsProviderError: "unavailable",
  ExpiredToken: "unavailable",
  ExpiredTokenException: "unavailable",
  RequestExpired: "unavailable",
  RequestTimeout: "unavailable",
  RequestTimeoutException: "unavailable",
  TokenProviderError: "unavailable",

  AbortError: "unavailable",
  TimeoutError: "unavailable",

  // Answered with status 400, although it passes: the entity is not ready yet, or WAF is not well.
  WAFInternalErrorException: "unavailable",
  WAFUnavailableEntityException: "unavailable",

  "InvalidGroupId.Malformed": "invalid",
  "InvalidPermission.Malformed": "invalid",
  InvalidParameterCombination: "invalid",
  InvalidParameterValue: "invalid",
  MissingParameter: "invalid",
  WAFInvalidOperationException: "invalid",
  WAFInvalidParameterException: "invalid",
};

/** After these codes other credentials may do. */
export const SESSION_ENDED: ReadonlySet<string> = new Set([
  "AuthFailure",
  "ExpiredToken",
  "ExpiredTokenException",
  "RequestExpired",
]);
const CODE = /^[A-Za-z][A-Za-z0-9_.-]{0,63}$/;
const REQUEST_ID = /^[0-9A-Za-z-]{1,64}$/;

/** The one place where what the SDK throws gets a kind. Safe with any value. */
export function awsErrorOf(
  thrown: unknown,
  options: { readonly operation: string; readonly now: number },
): CloudError {
  const error = fieldsOf(thrown);
  const metadata = fieldsOf(error.$metadata);
  const status = typeof metadata.httpStatusCode === "number" ? metadata.httpStatusCode : null;
  // Node's socket errors are all named "Error" and say what happened in `code`.
  const name = error.name === "Error" ? (error.code ?? error.name) : error.name;
  const code = typeof name === "string" && CODE.test(name) ? name : "UnreadableAnswer";
  const requestId = metadata.requestId;
  return new CloudError(kindOf(code, status), code, {
    operation: options.operation,
    status,
    requestId: typeof requestId === "string" && REQUEST_ID.test(requestId) ? requestId : null,
    retryAfterMs: retryAfterOf(
      fieldsOf(fieldsOf(error.$response).headers)["retry-after"],
      options.now,
    ),
  });
}

function kindOf(code: string, status: number | null): TargetErrorKind {
  const known = Object.hasOwn(KIND_BY_CODE, code) ? KIND_BY_CODE[code] : undefined;
  if (known !== undefined) return known;
  return code.startsWith("Throttl") ? "throttled" : kindOfStatus(status);
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}

/** A read that is not understood whole is no read. */
export function unreadable(operation: string): CloudError {
  return new CloudError("unavailable", "UnreadableAnswer", { operation });
}
