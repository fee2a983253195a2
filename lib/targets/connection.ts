import * as z from "zod";
import type { AwsConnection } from "../clouds/aws.ts";
import type { TargetConfig } from "../core/list.ts";
import type { World } from "../world.ts";
import type { MemoryTargets } from "./memory.ts";
import { endpointShape, isEndpoint, isReference } from "./settings.ts";
import { TargetError } from "./target.ts";

/** What a target is made with besides its configuration. */
export interface TargetContext {
  readonly world: World;
  readonly env: Readonly<Record<string, string | undefined>>;
  /**
   * The value of a reference, `env:NAME` or `file:PATH`. Throws an Error whose sentence names the
   * reference and never its value.
   */
  readonly secret: (reference: string) => string;
  /** Shared contents of the kind `memory`. */
  readonly memory: MemoryTargets;
}

const ROLE = /^arn:aws[a-z-]*:iam::[0-9]{12}:role\/[\w+=,.@/-]{1,512}$/;
// AssumeRole in the STS API reference: 2 to 1,224 characters of this alphabet.
const EXTERNAL_ID = /^[\w+=,.@:/-]{2,1224}$/;

const roleArnShape = z.string().regex(ROLE, {
  error: ({ input }) =>
    `Cannot use role ${JSON.stringify(input)}: write it like ` +
    '"arn:aws:iam::123456789012:role/allowlist"',
});

/** Settings of every target of AWS, besides its own. */
export const awsSettings = {
  endpoint: endpointShape.optional(),
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
};

interface AwsSettings extends z.output<z.ZodObject<typeof awsSettings>> {
  readonly region: string;
}

/** How one of AWS's services is reached, by the name it has in `AWS_ENDPOINT_URL_<service>`. */
export function awsConnection(service: string) {
  return (
    { region, endpoint, role }: AwsSettings,
    config: TargetConfig,
    context: TargetContext,
  ): AwsConnection => {
    const variables = (own: string) =>
      variableEndpoint([`AWS_ENDPOINT_URL_${own}`, "AWS_ENDPOINT_URL"], config, context);
    return {
      region,
      endpoint:
        endpoint === undefined ? variables(service) : resolveEndpoint(endpoint, config, context),
      stsEndpoint: variables("STS"),
      role: typeof role === "string" ? { arn: role } : (role ?? null),
    };
  };
}

/** A URL as it stands, or the one that a reference stands for. */
export function resolveEndpoint(
  endpoint: string,
  config: TargetConfig,
  context: TargetContext,
): string {
  if (!isReference(endpoint)) return endpoint;
  const value = resolveSecret(endpoint, config, context);
  if (isEndpoint(value)) return value;
  throw new TargetError(
    "invalid",
    `Cannot open ${config.name}: its endpoint comes from ${endpoint.replace(/^env:/, "")}, which ` +
      "is no http or https URL without credentials; set it",
  );
}

/** The value of a reference of a target's settings. */
export function resolveSecret(
  reference: string,
  config: TargetConfig,
  context: TargetContext,
): string {
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
  config: TargetConfig,
  context: TargetContext,
): string | null {
  const variable = variables.find((name) => context.env[name]);
  return variable === undefined ? null : resolveEndpoint(`env:${variable}`, config, context);
}
