import * as z from "zod/mini";
import type { AlibabaConnection } from "../clouds/alibaba/rpc.ts";
import type { AtlasConnection } from "../clouds/atlas.ts";
import type { AwsConnection } from "../clouds/aws/session.ts";
import type { TargetConfig } from "../core/list.ts";
import type { World } from "../world.ts";
import type { ContentLog } from "./feed/log.ts";
import type { MemoryTargets } from "./memory.ts";
import {
  endpointShape,
  isEndpoint,
  isPrivate,
  isReference,
  OPEN_WAY,
  secretEndpointShape,
  secretShape,
} from "./settings.ts";
import { TargetError } from "./target.ts";

/** What anything outside is reached with. */
export interface ConnectionContext {
  readonly world: World;
  readonly env: Readonly<Record<string, string | undefined>>;
  /**
   * The value of a reference, `env:NAME` or `file:PATH`. Throws an Error whose sentence names the
   * reference and never its value.
   */
  readonly secret: (reference: string) => string;
}

/** What a target is made with besides its configuration. */
export interface TargetContext extends ConnectionContext {
  /** Shared contents of the kind `memory`. */
  readonly memory: MemoryTargets;
  /** A log of feeds, by its name there. */
  readonly feed: (name: string) => ContentLog;
}

/** A target, or an outside source: whom the sentences are about. */
type Named = Pick<TargetConfig, "name">;

const ROLE = /^arn:aws[a-z-]*:iam::[0-9]{12}:role\/[\w+=,.@/-]{1,512}$/;
// AssumeRole in the STS API references, AWS's and Alibaba Cloud's: 2 to 1,224 of this alphabet.
const EXTERNAL_ID = /^[\w+=,.@:/-]{2,1224}$/;

const roleArnShape = z.string().check(
  z.regex(ROLE, {
    error: ({ input }) =>
      `Cannot use role ${JSON.stringify(input)}: write it like ` +
      '"arn:aws:iam::123456789012:role/allowlist"',
  }),
);

/** Settings of every target of AWS, besides its own. */
export const awsSettings = {
  endpoint: z.optional(endpointShape),
  role: z.optional(roleShape(roleArnShape, "an IAM role")),
};

/** A role by its ARN alone, or with the word that its owner agreed on with us. */
function roleShape<Arn extends z.ZodMiniType<string>>(arn: Arn, what: string) {
  const externalId = z.optional(
    z.string().check(
      z.regex(EXTERNAL_ID, {
        error: "Cannot use externalId: expected 2 to 1224 of A-Z, a-z, 0-9 and _+=,.@:/-",
      }),
    ),
  );
  return z.union([arn, z.strictObject({ arn, externalId })], {
    error: `Cannot use role: write the ARN of ${what}, or { arn, externalId }`,
  });
}

interface AwsSettings extends z.output<z.ZodMiniObject<typeof awsSettings>> {
  readonly region: string;
}

/** How one of AWS's services is reached, by the name it has in `AWS_ENDPOINT_URL_<service>`. */
export function awsConnection(service: string, regionOf = ({ region }: AwsSettings) => region) {
  return (settings: AwsSettings, config: Named, context: ConnectionContext): AwsConnection => {
    const { endpoint, role } = settings;
    const variables = (own: string) =>
      variableEndpoint([`AWS_ENDPOINT_URL_${own}`, "AWS_ENDPOINT_URL"], config, context);
    return {
      region: regionOf(settings),
      endpoint:
        endpoint === undefined ? variables(service) : resolveEndpoint(endpoint, config, context),
      stsEndpoint: variables("STS"),
      role: typeof role === "string" ? { arn: role } : (role ?? null),
    };
  };
}

const RAM_ROLE = /^acs:ram::[0-9]{16}:role\/[A-Za-z0-9._-]{1,64}$/;

const ramRoleArnShape = z.string().check(
  z.regex(RAM_ROLE, {
    error: ({ input }) =>
      `Cannot use role ${JSON.stringify(input)}: write it like ` +
      '"acs:ram::1234567890123456:role/allowlist"',
  }),
);

/** Settings of every target of Alibaba Cloud, besides its own. */
export const alibabaSettings = {
  endpoint: z.optional(endpointShape),
  role: z.optional(roleShape(ramRoleArnShape, "a RAM role")),
  /** Of an account or user, where those of the environment are not meant. */
  credentials: z.optional(
    z.strictObject(
      { accessKeyId: secretShape, accessKeySecret: secretShape },
      { error: "Cannot use credentials: write { accessKeyId, accessKeySecret }, both references" },
    ),
  ),
};

interface AlibabaSettings extends z.output<z.ZodMiniObject<typeof alibabaSettings>> {
  readonly region: string;
}

/** How Alibaba Cloud is reached. Every product of a region has its own endpoint. */
export function alibabaConnection(
  { region, endpoint, role, credentials }: AlibabaSettings,
  config: Named,
  context: ConnectionContext,
): AlibabaConnection {
  const key = (reference: string) => resolveSecret(reference, config, context);
  return {
    region,
    endpoint: endpoint === undefined ? null : resolveEndpoint(endpoint, config, context),
    stsEndpoint: stsEndpoint(config, context),
    credentials: credentials
      ? {
          accessKeyId: key(credentials.accessKeyId),
          accessKeySecret: key(credentials.accessKeySecret),
          securityToken: null,
        }
      : null,
    role: typeof role === "string" ? { arn: role } : (role ?? null),
  };
}

/** Alibaba Cloud's own tools write a host there, without a scheme. */
function stsEndpoint(config: Named, context: ConnectionContext): string | null {
  const variable = "ALIBABA_CLOUD_STS_ENDPOINT";
  const value = context.env[variable];
  if (!value) return null;
  const url = value.includes("://") ? value : `https://${value}`;
  if (isEndpoint(url)) return url;
  throw new TargetError(
    "invalid",
    `Cannot open ${config.name}: ${variable} is no host and no http or https URL without ` +
      "credentials; set it, or unset it for the region's own",
  );
}

/** Settings of every target of a vendor whose API asks for one token. */
export const tokenSettings = {
  endpoint: z.optional(secretEndpointShape),
  /** Where the environment's is not meant. */
  token: z.optional(secretShape),
};

type TokenSettings = z.output<z.ZodMiniObject<typeof tokenSettings>>;

/** How an API with one token is reached; `variables` are the vendor's own, the first set counts. */
export function tokenConnection(vendor: {
  readonly endpoint: string;
  readonly variables: readonly [string, ...string[]];
}) {
  return (settings: TokenSettings, config: Named, context: ConnectionContext) => {
    const [first] = vendor.variables;
    const variable = vendor.variables.find((name) => context.env[name]) ?? first;
    const reference = settings.token ?? `env:${variable}`;
    const endpoint = privateEndpoint(settings.endpoint ?? vendor.endpoint, config, context);
    return { endpoint, token: headerSecret(reference, config, context) };
  };
}

/** Settings of every target of MongoDB Atlas, besides its own. */
export const atlasSettings = {
  endpoint: z.optional(secretEndpointShape),
  /** Of a service account, where that of the environment is not meant. */
  credentials: z.optional(
    z.strictObject(
      { clientId: secretShape, clientSecret: secretShape },
      { error: "Cannot use credentials: write { clientId, clientSecret }, both references" },
    ),
  ),
};

/** How MongoDB Atlas is reached; the variables are those of its own tools. */
export function atlasConnection(
  {
    endpoint = "https://cloud.mongodb.com",
    credentials,
  }: z.output<z.ZodMiniObject<typeof atlasSettings>>,
  config: Named,
  context: ConnectionContext,
): AtlasConnection {
  const secret = (reference: string) => headerSecret(reference, config, context);
  return {
    endpoint: privateEndpoint(endpoint, config, context),
    clientId: secret(credentials?.clientId ?? "env:MONGODB_ATLAS_CLIENT_ID"),
    clientSecret: secret(credentials?.clientSecret ?? "env:MONGODB_ATLAS_CLIENT_SECRET"),
  };
}

// What a header takes. A line end within, of a file with two lines, would fail in other words.
const HEADER_SECRET = /^[\x21-\x7e]+$/;

/** {@link resolveSecret} of what is sent in a header. */
function headerSecret(reference: string, config: Named, context: ConnectionContext): string {
  const secret = resolveSecret(reference, config, context);
  if (HEADER_SECRET.test(secret)) return secret;
  throw new TargetError(
    "invalid",
    `Cannot open ${config.name}: ${reference} holds blanks, line ends or letters that no token ` +
      "has; write the token alone",
  );
}

/** A URL as it stands, or the one that a reference stands for. */
function resolveEndpoint(endpoint: string, config: Named, context: ConnectionContext): string {
  if (!isReference(endpoint)) return endpoint;
  const value = resolveSecret(endpoint, config, context);
  if (isEndpoint(value)) return value;
  throw new TargetError(
    "invalid",
    `Cannot open ${config.name}: its endpoint comes from ${endpoint.replace(/^env:/, "")}, which ` +
      "is no http or https URL without credentials; set it",
  );
}

/** {@link resolveEndpoint} where a secret is sent as it is. */
function privateEndpoint(endpoint: string, config: Named, context: ConnectionContext): string {
  const url = resolveEndpoint(endpoint, config, context);
  if (isPrivate(url)) return url;
  throw new TargetError("invalid", `Cannot open ${config.name}: ${OPEN_WAY}`);
}

/** The value of a reference of a target's settings. */
function resolveSecret(reference: string, config: Named, context: ConnectionContext): string {
  try {
    return context.secret(reference);
  } catch (error) {
    const reason = error instanceof Error ? error.message : `Cannot resolve ${reference}`;
    throw new TargetError("invalid", `Cannot open ${config.name}: ${reason}`);
  }
}

/** The endpoint in the first of these variables that is set, or null. */
function variableEndpoint(
  variables: readonly string[],
  config: Named,
  context: ConnectionContext,
): string | null {
  const variable = variables.find((name) => context.env[name]);
  return variable === undefined ? null : resolveEndpoint(`env:${variable}`, config, context);
}
