import * as z from "zod";
import type { TargetConfig } from "../core/list.ts";
import type { Traits } from "../core/observation.ts";
import type { World } from "../world.ts";
import {
  permissionName,
  SECURITY_GROUP_TRAITS,
  securityGroupShape,
  securityGroupTarget,
} from "./aws/security-group.ts";
import { MEMORY_TRAITS, type MemoryTargets, memoryShape, memoryTarget } from "./memory.ts";
import { type Target, TargetError } from "./target.ts";

/** What a target is made with besides its configuration. */
export interface TargetContext {
  readonly world: World;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Shared contents of the kind `memory`. */
  readonly memory: MemoryTargets;
}

/** Settings as the kind's own schema parsed them. */
type Settings = Readonly<Record<string, unknown>>;

/** A kind of target: what may be configured, what it is called, and how it is made. */
export interface Kind {
  /**
   * Strict object of the kind's settings and the common ones, without `kind`. Checks only and
   * changes nothing, so that settings which were stored can be parsed again.
   */
  readonly schema: z.ZodType;
  /** `Target.name` and `Target.object` of parsed settings, without making the target. */
  identify(settings: Settings): { readonly name: string; readonly object: string };
  readonly traits: Traits;
  /**
   * Loads the vendor's SDK. Rejects with TargetError, kind `invalid`, when the environment lacks
   * what the settings name.
   */
  create(config: TargetConfig, context: TargetContext): Promise<Target>;
}

const REFERENCE = /^env:([A-Za-z_][A-Za-z0-9_]*)$/;
const ROLE = /^arn:aws[a-z-]*:iam::[0-9]{12}:role\/[\w+=,.@/-]{1,512}$/;
// AssumeRole in the STS API reference: 2 to 1,224 characters of this alphabet.
const EXTERNAL_ID = /^[\w+=,.@:/-]{2,1224}$/;
const LIMIT_MAX = 100_000;

const roleArnShape = z.string().regex(ROLE, {
  error: ({ input }) =>
    `Cannot use role ${JSON.stringify(input)}: write it like ` +
    '"arn:aws:iam::123456789012:role/allowlist"',
});

/** Settings that every kind takes. */
const common = {
  endpoint: z
    .string()
    .refine((text) => REFERENCE.test(text) || isEndpoint(text), {
      // The text is not repeated: people put credentials into URLs.
      error: 'Cannot use endpoint: write a http or https URL without credentials, or "env:NAME"',
    })
    .optional(),
  role: z
    .union(
      [
        roleArnShape,
        z.strictObject({
          arn: roleArnShape,
          externalId: z
            .string()
            .regex(EXTERNAL_ID, {
              error: "Cannot use externalId: expected 2 to 1224 of A-Z, a-z, 0-9 and _+=,.@:/-",
            })
            .optional(),
        }),
      ],
      { error: "Cannot use role: write the ARN of an IAM role, or { arn, externalId }" },
    )
    .optional(),
  limit: z
    .int({ error: ({ input }) => limitMessage(input) })
    .min(1, { error: ({ input }) => limitMessage(input) })
    .max(LIMIT_MAX, { error: ({ input }) => limitMessage(input) })
    .optional(),
  exclusive: z
    .boolean({
      error: ({ input }) => `Cannot use exclusive ${JSON.stringify(input)}: true or false`,
    })
    .optional(),
};

function limitMessage(input: unknown): string {
  return `Cannot use limit ${JSON.stringify(input)}: expected a number from 1 to ${LIMIT_MAX}`;
}

const memorySchema = memoryShape.extend(common);
const securityGroupSchema = securityGroupShape.extend(common);

/** Every kind that `targets` of a list may name, in ascending order. */
export const kinds: Readonly<Record<string, Kind>> = {
  "aws/security-group": kindOf<z.output<typeof securityGroupSchema>>({
    schema: securityGroupSchema,
    traits: SECURITY_GROUP_TRAITS,
    identify: ({ region, id, permission }) => ({
      name: `aws/security-group/${id}/${permissionName(permission)}`,
      object: objectName("aws/security-group", region, id),
    }),
    create: async (settings, config, context) => {
      // A function that names no target of this vendor never loads its SDK.
      const { openSecurityGroups } = await import("../clouds/aws.ts");
      const client = openSecurityGroups(
        {
          region: settings.region,
          endpoint:
            settings.endpoint === undefined
              ? variableEndpoint(["AWS_ENDPOINT_URL_EC2", "AWS_ENDPOINT_URL"], config, context)
              : resolveEndpoint(settings.endpoint, config, context),
          stsEndpoint: variableEndpoint(
            ["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"],
            config,
            context,
          ),
          role:
            typeof settings.role === "string" ? { arn: settings.role } : (settings.role ?? null),
        },
        context,
      );
      return securityGroupTarget(config, settings, client);
    },
  }),
  memory: kindOf<z.output<typeof memorySchema>>({
    schema: memorySchema,
    traits: MEMORY_TRAITS,
    identify: ({ id }) => ({ name: `memory/${id}`, object: objectName("memory", id) }),
    create: async (settings, config, context) => memoryTarget(config, settings, context.memory),
  }),
};

interface TypedKind<S> {
  readonly schema: z.ZodType;
  readonly traits: Traits;
  identify(settings: S): { readonly name: string; readonly object: string };
  create(settings: S, config: TargetConfig, context: TargetContext): Promise<Target>;
}

/** Forgets the type of the settings: callers hand in what `schema` let through. */
function kindOf<S>(kind: TypedKind<S>): Kind {
  return {
    schema: kind.schema,
    traits: kind.traits,
    identify: (settings) => kind.identify(settings as S),
    create: (config, context) => kind.create(config.settings as S, config, context),
  };
}

/** The name of an object in the store: lower case, parts joined by ".", everything else "-". */
function objectName(...parts: readonly string[]): string {
  return parts.map((part) => part.toLowerCase().replace(/[^a-z0-9-]/g, "-")).join(".");
}

/** A URL as it stands, or that of the variable which `env:NAME` names. */
function resolveEndpoint(endpoint: string, config: TargetConfig, context: TargetContext): string {
  const variable = REFERENCE.exec(endpoint)?.[1];
  if (variable === undefined) return endpoint;
  const value = context.env[variable];
  if (value !== undefined && isEndpoint(value)) return value;
  const state = value ? "no http or https URL without credentials" : "not set";
  throw new TargetError(
    "invalid",
    `Cannot open ${config.name}: its endpoint comes from ${variable}, which is ${state}; set it`,
  );
}

/** The endpoint in the first of these variables that is set, or null. */
function variableEndpoint(
  variables: readonly string[],
  config: TargetConfig,
  context: TargetContext,
): string | null {
  const variable = variables.find((name) => context.env[name]);
  return variable === undefined ? null : resolveEndpoint(`env:${variable}`, config, context);
}

function isEndpoint(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, username, password, search, hash } = new URL(text);
  return ["http:", "https:"].includes(protocol) && `${username}${password}${search}${hash}` === "";
}
