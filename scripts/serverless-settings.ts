import type { Config } from "../lib/config.ts";
import { FUNCTION_NAMES, type FunctionName, wayOf } from "../lib/roles/needs.ts";
import { platformOf, referencesOf } from "../lib/roles/references.ts";
import { type Place, rolesOf } from "../lib/roles.ts";

/** CloudFormation puts the number of the stack's own account there. */
const OWN_ACCOUNT = "$".concat("{AWS::AccountId}");
/** "Dynamic references" in the CloudFormation user guide. */
const REFERENCES_MAX = 60;

/**
 * What `serverless.yml` includes: names, policies and variables of this installation. Values of
 * variables are left to CloudFormation, which reads them from one secret of Secrets Manager when it
 * deploys; they stand neither here nor in the template. Null unless the store is in S3.
 */
export function serverlessSettings(config: Config, place: Place): object | null {
  const { store, installation } = config;
  if (store.kind !== "s3") return null;
  const roles = rolesOf(config, { ...place, account: OWN_ACCOUNT });
  const variables = variablesOf(config);
  const functions = Object.fromEntries(
    FUNCTION_NAMES.map((name) => {
      const { name: fullName, iam } = roles.functions[name];
      const environment = Object.fromEntries(
        variables[name].map((variable) => [
          variable,
          `{{resolve:secretsmanager:${secretName(config)}:SecretString:${variable}}}`,
        ]),
      );
      return [name, { name: fullName, policy: substituted(iam), environment }];
    }),
  );
  return {
    version: 1,
    installation,
    name: `kube-allowlist-${installation}`,
    region: place.region ?? store.region,
    bucket: store.bucket,
    secret: secretName(config),
    functions,
    bucketPolicy: substituted(roles.bucketPolicy),
  };
}

/** The same, with every text that names the account left to CloudFormation to complete. */
function substituted(value: unknown): unknown {
  if (typeof value === "string") return value.includes(OWN_ACCOUNT) ? { "Fn::Sub": value } : value;
  if (Array.isArray(value)) return value.map(substituted);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, substituted(one)]));
}

/** Of the secret that holds the functions' variables, as one JSON object. */
function secretName({ installation }: Pick<Config, "installation">): string {
  return `kube-allowlist/${installation}`;
}

/** Names of the variables that each function needs where it runs. */
export function variablesOf(config: Config): Readonly<Record<FunctionName, readonly string[]>> {
  const references = referencesOf(config, platformOf(config) ?? "aws");
  const variablesIn = (name: FunctionName) =>
    references[name].flatMap((reference) => /^env:(.*)$/.exec(reference)?.[1] ?? []);
  return {
    webhook: variablesIn("webhook"),
    resync: variablesIn("resync"),
    read: variablesIn("read"),
  };
}

/** Sentences about what a stack cannot do. */
export function serverlessNotes(config: Config): readonly string[] {
  const { store } = config;
  if (store.kind !== "s3") return [];
  const count = Object.values(variablesOf(config)).flat().length;
  const many =
    `Cannot take ${count} variables of the functions from a secret: CloudFormation resolves at ` +
    `most ${REFERENCES_MAX} of one stack; use service accounts' tokens in place of keys`;
  const elsewhere =
    `Cannot make the bucket ${store.bucket} with the functions, since the store is reached ` +
    "through a role: make it where it belongs, and deploy with bucket=existing";
  return [
    ...(wayOf(store).role === null ? [] : [elsewhere]),
    ...(count > REFERENCES_MAX ? [many] : []),
  ];
}
