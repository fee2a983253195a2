import type { TargetErrorKind } from "../../core/report.ts";
import { CloudError, kindOfStatus, retryAfterOf } from "../error.ts";

/*
 * Sources: the error code sections of the actions that are called, the common errors of RPC calls
 * and of STS, and Node's sockets. A code that means two things gets the kind that makes the caller
 * read again.
 */
const CODES_BY_KIND: Readonly<Record<TargetErrorKind, readonly string[]>> = {
  // Those that begin with Throttling besides.
  throttled: ["Rejected.Throttling"],

  conflict: [
    // AddAccessControlListEntry and its removal; AddEntriesToAcl and its removal.
    "AclEntryEmpty",
    "ResourceNotFound.AclEntry",
    // ModifySecurityIps, of all databases: there already, or beyond the quota (MongoDB says so).
    "InvalidInstanceIp.Duplicate",
    "InvalidSecurityIPList.Duplicate",
    // Overlaps another entry, is too long or is no address.
    "InvalidSecurityIPListLength.Malformed",
    // Is not there, or is the last one.
    "InvalidSecurityIPs.NotFound",
    // RevokeSecurityGroup, ModifySecurityGroupRule.
    "InvalidOperation.RuleDuplicate",
    "InvalidParam.SecurityGroupRuleId",
    "InvalidSecurityGroupRule.RuleNotExist",
    "InvalidSecurityGroupRuleId.NotFound",
    "SecurityGroupRule.NotFound",
  ],

  // Those that begin with IncorrectStatus or OperationDenied besides: of states that pass.
  busy: [
    "AclEntryProcessing",
    "BackendServer.configuring",
    "ConcurrentTaskExceeded",
    "IncorrectDBInstanceLockMode",
    "IncorrectDBInstanceState",
    "IncorrectMasterDBInstanceState",
    "LastTokenProcessing",
    "LockTimeout",
    "OperationBusy",
    "OperationConflict",
    "OperationFailed.ResourceGroupStatusCheckFail",
    "ResourceInConfiguring",
    "ServiceIsConfiguring",
    "ServiceIsStopping",
    "SystemBusy",
    // ModifyPrefixList: "too frequent, please wait a moment".
    "TaskConflict",
  ],

  unavailable: [
    "AbortError",
    "ExternalFailure",
    "InstanceConnectTimeoutFault",
    "InternalError",
    "InvokeProxyFailure",
    "RequestMetaDataFailed",
    "RequestTimeoutError",
    "ServiceUnavailable",
    // Credentials come and go by themselves, and the next call is signed anew. Waiting five
    // minutes, as for `denied`, would keep nodes out for nothing.
    "InvalidSecurityToken.Expired",
    "InvalidTimeStamp.Expired",
    "SignatureNonceUsed",
  ],

  full: [
    "AuthorizationLimitExceed",
    "InvalidSecurityIPList.QuotaExceeded",
    "InvalidSecurityIPListGroup.QuotaExceeded",
    "LimitExceed.MaxEntries",
  ],

  missing: [
    "AclNotExist",
    "InvalidDBClusterId.NotFound",
    "InvalidDBInstanceId.NotFound",
    "InvalidDBInstanceName.NotFound",
    "InvalidGroup.NotFound",
    "InvalidInstanceId.NotFound",
    "InvalidPrefixListId.NotFound",
    "InvalidSecurityGroupId.NotFound",
    "InvalidVSwitchId.NotFound",
    "InvalidVswitchID.NotFound",
    "ResourceNotFound.Acl",
  ],

  // Those that begin with Forbidden besides.
  denied: [
    // AssumeRole: the role is not there, or not for us.
    "EntityNotExist.Role",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidAccessKeyId.Inactive",
    "InvalidAccessKeyId.NotFound",
    "InvalidOperation.ResourceManagedByCloudProduct",
    "InvalidOperation.SecurityGroupNotAuthorized",
    "InvalidSecurityToken.Malformed",
    "InvalidSecurityToken.MismatchWithAccessKey",
    "MissingSecurityToken",
    "NoPermission",
    "SignatureDoesNotMatch",
    "UnauthorizedOperation",
  ],

  invalid: [
    // A minor version of Redis that is too old; so spelt.
    "Forbbiden.MinorVersion",
    "InvalidAction.NotFound",
    "InvalidGroupName.DuplicatedWithTemplate",
    "InvalidGroupName.Format",
    "InvalidOperation.ModifySgRuleEntityType",
    "InvalidParam.DuplicatePermissions",
    "InvalidParam.Ipv4ProtocolConflictWithIpv6Address",
    "InvalidParam.Permissions",
    "InvalidParam.SecurityGroupRuleIdRepeated",
    "InvalidParam.SourceIp",
    "InvalidParameter.CidrDuplicated",
    "InvalidParameter.CidrMalformed",
    "InvalidRegionId.NotFound",
    // So spelt.
    "InvalidSecurityGroupDiscription.Malformed",
    "InvalidSecurityIps.MalFormed",
    "InvalidVersion",
    "InvalidWhitelistNetType.Malformed",
    // More than one call may carry, which we never send.
    "LimitExceed.Entry",
    "MissingParameter",
    "SecurityIPList.Format",
  ],
};

const KIND_BY_CODE: ReadonlyMap<string, TargetErrorKind> = new Map(
  Object.entries(CODES_BY_KIND).flatMap(([kind, codes]) =>
    codes.map((code) => [code, kind as TargetErrorKind] as const),
  ),
);

const KIND_BY_BEGINNING: readonly (readonly [string, TargetErrorKind])[] = [
  ["Throttling", "throttled"],
  ["IncorrectStatus", "busy"],
  ["OperationDenied.", "busy"],
  ["Forbidden", "denied"],
];

const CODE = /^[A-Za-z][A-Za-z0-9_.-]{0,63}$/;
const REQUEST_ID = /^[0-9A-Za-z-]{1,64}$/;
export const UNREADABLE = "UnreadableAnswer";

/** The one place where what the SDK throws gets a kind. Safe with any value. */
export function alibabaErrorOf(
  thrown: unknown,
  options: { readonly operation: string; readonly now: number },
): CloudError {
  const error = fieldsOf(thrown);
  const response = fieldsOf(fieldsOf(error.entry).response);
  const status = typeof response.statusCode === "number" ? response.statusCode : null;
  // An answer's code, or that of Node's sockets; else what the error is called. Node gives aborts
  // both.
  const isNamed = typeof error.code !== "string" || error.name === "AbortError";
  const name = isNamed ? error.name : error.code;
  const code = typeof name === "string" && CODE.test(name) ? name : UNREADABLE;
  const requestId = fieldsOf(error.data).RequestId;
  return new CloudError(kindOf(code, status), code, {
    operation: options.operation,
    status,
    requestId: typeof requestId === "string" && REQUEST_ID.test(requestId) ? requestId : null,
    retryAfterMs: retryAfterOf(fieldsOf(response.headers)["retry-after"], options.now),
  });
}

function kindOf(code: string, status: number | null): TargetErrorKind {
  const known = KIND_BY_CODE.get(code);
  if (known !== undefined) return known;
  const similar = KIND_BY_BEGINNING.find(([beginning]) => code.startsWith(beginning));
  return similar?.[1] ?? kindOfStatus(status);
}

/** The members of an object; none of anything else. */
export function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}
