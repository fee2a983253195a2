import {
  AuthorizeSecurityGroupIngressCommand,
  DescribeSecurityGroupRulesCommand,
  EC2Client,
  type EC2ClientConfig,
  RevokeSecurityGroupIngressCommand,
  type SecurityGroupRule,
} from "@aws-sdk/client-ec2";
import type { Family } from "../core/cidr.ts";
import type { TargetErrorKind } from "../core/report.ts";
import { type World, withTimeout } from "../world.ts";
import { CloudError, kindOfStatus, retryAfterOf } from "./error.ts";

/** One inbound rule of a security group, as EC2 wrote it. */
export interface IngressRule {
  readonly id: string;
  /** `tcp`, `udp`, `-1` for all, or another protocol's name or number. */
  readonly protocol: string;
  /** -1 where the protocol has no ports. */
  readonly fromPort: number;
  readonly toPort: number;
  /** Null where the source is another group or a prefix list. */
  readonly source: { readonly family: Family; readonly cidr: string } | null;
  readonly description: string | null;
}

export interface IngressPermission {
  readonly protocol: string;
  readonly fromPort: number;
  readonly toPort: number;
}

export interface IngressChange extends IngressPermission {
  readonly ipv4: readonly string[];
  readonly ipv6: readonly string[];
  readonly description: string;
}

/**
 * The three calls that a security group needs. Each makes one attempt, honours its signal, takes at
 * most {@link CALL_MS_MAX} and rejects only with CloudError.
 */
export interface SecurityGroupClient {
  /**
   * Every inbound rule of the group, over all pages. A group that does not exist may read as one
   * without rules.
   */
  describe(groupId: string, signal: AbortSignal): Promise<readonly IngressRule[]>;
  authorize(groupId: string, change: IngressChange, signal: AbortSignal): Promise<void>;
  revoke(groupId: string, ruleIds: readonly string[], signal: AbortSignal): Promise<void>;
}

export interface AwsConnection {
  readonly region: string;
  /** Instead of the region's own; null for that. */
  readonly endpoint: string | null;
  /** Where roles are assumed, instead of the region's own; null for that. */
  readonly stsEndpoint: string | null;
  readonly role: { readonly arn: string; readonly externalId?: string | undefined } | null;
}

export interface AwsContext {
  readonly world: World;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** Upper bound of one call of {@link SecurityGroupClient}: all its pages and assuming the role. */
export const CALL_MS_MAX = 5_000;
const CONNECT_MS_MAX = 3_000;
// EC2 takes 5 to 1,000. Quotas multiply to 1,000 rules per network interface: one page is the rule.
const PAGE_RULES_MAX = 1_000;
const PAGES_MAX = 50;
const ROLE_SESSION_S = 3_600;
const ROLE_REFRESH_MS = 300_000;

// Sources: error codes of the EC2 and STS API references and of Node's sockets.
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

  ConcurrentMutationLimitExceeded: "busy",
  IncorrectState: "busy",

  RulesPerSecurityGroupLimitExceeded: "full",

  "InvalidGroup.NotFound": "missing",
  "InvalidSecurityGroupID.NotFound": "missing",

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

  "InvalidGroupId.Malformed": "invalid",
  "InvalidPermission.Malformed": "invalid",
  InvalidParameterCombination: "invalid",
  InvalidParameterValue: "invalid",
  MissingParameter: "invalid",
};

const SESSION_ENDED = new Set([
  "AuthFailure",
  "ExpiredToken",
  "ExpiredTokenException",
  "RequestExpired",
]);
const CODE = /^[A-Za-z][A-Za-z0-9_.-]{0,63}$/;
const UNREADABLE = "UnreadableAnswer";
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
  const code = typeof name === "string" && CODE.test(name) ? name : UNREADABLE;
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

interface Session {
  /** With credentials that are good for this call. */
  client(signal: AbortSignal): Promise<EC2Client>;
  /** The credentials were refused: the next call gets others. */
  forget(): void;
}

interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

// By world, so that what one process assumed is shared by all its targets and by nothing else.
const sessions = new WeakMap<World, Map<string, Session>>();

/** Connects to nothing yet. Sessions of one region, endpoint and role are shared within a World. */
export function openSecurityGroups(
  connection: AwsConnection,
  context: AwsContext,
): SecurityGroupClient {
  const { world } = context;
  const session = sessionOf(connection, context);
  return {
    describe: (groupId, signal) =>
      calling("ec2:DescribeSecurityGroupRules", { session, world, signal }, (client, inner) =>
        describeRules(client, groupId, inner),
      ),
    authorize: (groupId, change, signal) =>
      calling("ec2:AuthorizeSecurityGroupIngress", { session, world, signal }, (client, inner) =>
        client.send(authorizeCommand(groupId, change), { abortSignal: inner }),
      ).then(() => undefined),
    revoke: (groupId, ruleIds, signal) =>
      calling("ec2:RevokeSecurityGroupIngress", { session, world, signal }, (client, inner) =>
        client.send(
          new RevokeSecurityGroupIngressCommand({
            GroupId: groupId,
            SecurityGroupRuleIds: [...ruleIds],
          }),
          { abortSignal: inner },
        ),
      ).then(() => undefined),
  };
}

/** One attempt of one operation, with everything it may throw as CloudError. */
function calling<T>(
  operation: string,
  options: { readonly session: Session; readonly world: World; readonly signal: AbortSignal },
  work: (client: EC2Client, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const { session, world } = options;
  const reason = () => new CloudError("unavailable", "TimeoutError", { operation });
  return withTimeout(world, CALL_MS_MAX, { signal: options.signal, reason }, async (signal) => {
    try {
      return await work(await session.client(signal), signal);
    } catch (thrown) {
      const options = { operation, now: world.now() };
      const error = thrown instanceof CloudError ? thrown : awsErrorOf(thrown, options);
      if (SESSION_ENDED.has(error.code)) session.forget();
      // The SDK names every abort alike; ours knows that the time was over.
      if (error.code === "AbortError" && signal.reason instanceof CloudError) throw signal.reason;
      throw error;
    }
  });
}

async function describeRules(
  client: EC2Client,
  groupId: string,
  signal: AbortSignal,
): Promise<readonly IngressRule[]> {
  const rules: IngressRule[] = [];
  let token: string | undefined;
  for (let page = 0; page < PAGES_MAX; page += 1) {
    const answer = await client.send(
      new DescribeSecurityGroupRulesCommand({
        Filters: [{ Name: "group-id", Values: [groupId] }],
        MaxResults: PAGE_RULES_MAX,
        NextToken: token,
      }),
      { abortSignal: signal },
    );
    // Of any page with status 200, a proxy's greeting included, the SDK makes an answer without the
    // member; of a group without rules it makes an empty array.
    if (answer.SecurityGroupRules === undefined) throw unreadable();
    for (const row of answer.SecurityGroupRules) {
      if (row.GroupId === groupId && row.IsEgress === false) rules.push(ruleOf(row));
      // A row that does not say whose and which way it is may be one of these rules.
      else if (row.GroupId === undefined || row.IsEgress === undefined) throw unreadable();
    }
    token = answer.NextToken || undefined;
    if (token === undefined) return rules;
  }
  throw unreadable();
}

function ruleOf(row: SecurityGroupRule): IngressRule {
  if (row.SecurityGroupRuleId === undefined || row.IpProtocol === undefined) throw unreadable();
  return {
    id: row.SecurityGroupRuleId,
    protocol: row.IpProtocol,
    fromPort: row.FromPort ?? -1,
    toPort: row.ToPort ?? -1,
    source: sourceOf(row),
    description: row.Description ?? null,
  };
}

function sourceOf(row: SecurityGroupRule): IngressRule["source"] {
  if (row.CidrIpv4 !== undefined) return { family: "ipv4", cidr: row.CidrIpv4 };
  if (row.CidrIpv6 !== undefined) return { family: "ipv6", cidr: row.CidrIpv6 };
  if (row.PrefixListId === undefined && row.ReferencedGroupInfo === undefined) throw unreadable();
  return null;
}

/** A read that is not understood whole is no read. */
function unreadable(): CloudError {
  return new CloudError("unavailable", UNREADABLE, { operation: "ec2:DescribeSecurityGroupRules" });
}

function authorizeCommand(groupId: string, change: IngressChange) {
  const Description = change.description;
  return new AuthorizeSecurityGroupIngressCommand({
    GroupId: groupId,
    IpPermissions: [
      {
        IpProtocol: change.protocol,
        FromPort: change.fromPort,
        ToPort: change.toPort,
        IpRanges: change.ipv4.map((CidrIp) => ({ CidrIp, Description })),
        Ipv6Ranges: change.ipv6.map((CidrIpv6) => ({ CidrIpv6, Description })),
      },
    ],
  });
}

function sessionOf(connection: AwsConnection, context: AwsContext): Session {
  const shared = sessions.get(context.world) ?? new Map<string, Session>();
  sessions.set(context.world, shared);
  const own = environmentCredentials(context.env);
  const key = JSON.stringify([connection, own?.accessKeyId ?? null]);
  const session = shared.get(key) ?? openSession(connection, { world: context.world, own });
  shared.set(key, session);
  return session;
}

function openSession(
  connection: AwsConnection,
  options: { readonly world: World; readonly own: Credentials | null },
): Session {
  const settings = clientSettings(connection);
  const { role } = connection;
  if (role === null) {
    const client = new EC2Client(
      options.own ? { ...settings, credentials: options.own } : settings,
    );
    return {
      client: async (signal) => {
        // The default chain may ask a metadata service, and knows no signal.
        await untilAborted(client.config.credentials(), signal);
        return client;
      },
      forget: () => undefined,
    };
  }
  let assumed: { readonly client: EC2Client; readonly refreshAt: number } | null = null;
  return {
    client: async (signal) => {
      const now = options.world.now();
      if (assumed !== null && now < assumed.refreshAt) return assumed.client;
      const { credentials, expiresAt } = await assumeRole(
        { ...connection, role },
        { ...options, signal },
      );
      // A client for each set of credentials: the SDK would watch their end by another clock.
      const client = new EC2Client({ ...settings, credentials });
      assumed = {
        client,
        refreshAt: Math.min(expiresAt, now + ROLE_SESSION_S * 1_000) - ROLE_REFRESH_MS,
      };
      return client;
    },
    forget: () => {
      assumed = null;
    },
  };
}

async function assumeRole(
  connection: AwsConnection & { readonly role: NonNullable<AwsConnection["role"]> },
  options: {
    readonly world: World;
    readonly own: Credentials | null;
    readonly signal: AbortSignal;
  },
): Promise<{ readonly credentials: Credentials; readonly expiresAt: number }> {
  const operation = "sts:AssumeRole";
  try {
    const { AssumeRoleCommand, STSClient } = await import("@aws-sdk/client-sts");
    const settings = clientSettings({ ...connection, endpoint: connection.stsEndpoint });
    const client = new STSClient(
      options.own ? { ...settings, credentials: options.own } : settings,
    );
    await untilAborted(client.config.credentials(), options.signal);
    const { role } = connection;
    const answer = await client.send(
      new AssumeRoleCommand({
        RoleArn: role.arn,
        RoleSessionName: "kube-allowlist",
        DurationSeconds: ROLE_SESSION_S,
        ExternalId: role.externalId,
      }),
      { abortSignal: options.signal },
    );
    const { AccessKeyId, SecretAccessKey, SessionToken, Expiration } = answer.Credentials ?? {};
    if (!AccessKeyId || !SecretAccessKey || !SessionToken || !Expiration) {
      throw new CloudError("unavailable", UNREADABLE, { operation });
    }
    return {
      credentials: {
        accessKeyId: AccessKeyId,
        secretAccessKey: SecretAccessKey,
        sessionToken: SessionToken,
      },
      expiresAt: Expiration.getTime(),
    };
  } catch (thrown) {
    if (thrown instanceof CloudError) throw thrown;
    throw awsErrorOf(thrown, { operation, now: options.world.now() });
  }
}

/** What the client of any service is made with. */
function clientSettings(connection: AwsConnection) {
  // No connection is kept: a function's instance is frozen between its runs, and a connection that
  // died meanwhile would fail a write whose one attempt must not be wasted.
  const agent = { keepAlive: false };
  return {
    region: connection.region,
    ...(connection.endpoint === null ? {} : { endpoint: connection.endpoint }),
    maxAttempts: 1,
    requestHandler: {
      connectionTimeout: CONNECT_MS_MAX,
      requestTimeout: CALL_MS_MAX,
      throwOnRequestTimeout: true,
      httpAgent: agent,
      httpsAgent: agent,
    },
  } satisfies EC2ClientConfig;
}

/**
 * The credentials of the environment that was handed in; null leaves it to the SDK's default chain,
 * which reads the environment of the process. A named profile comes first there, too.
 */
function environmentCredentials(env: AwsContext["env"]): Credentials | null {
  const accessKeyId = env.AWS_ACCESS_KEY_ID;
  const secretAccessKey = env.AWS_SECRET_ACCESS_KEY;
  const sessionToken = env.AWS_SESSION_TOKEN;
  if (!accessKeyId || !secretAccessKey || env.AWS_PROFILE) return null;
  return { accessKeyId, secretAccessKey, ...(sessionToken ? { sessionToken } : {}) };
}

/** The result, or the signal's reason as soon as it aborts; what was begun goes on by itself. */
async function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const over = new AbortController();
  const aborted = new Promise<never>((_resolve, reject) => {
    const options = { once: true, signal: over.signal };
    signal.addEventListener("abort", () => reject(signal.reason), options);
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    over.abort();
  }
}
