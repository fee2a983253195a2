/** By what a platform tells a function its name, in the order in which they are asked. */
const VARIABLES = [
  // "Defined runtime environment variables" in the Lambda developer guide.
  "AWS_LAMBDA_FUNCTION_NAME",
  // "Environment variables" of Function Compute, among those that the system sets.
  "FC_FUNCTION_NAME",
] as const;
const NO_FUNCTION = "kube-allowlist";

/**
 * What a session is called after: the function whose it is, whatever platform it runs on, or the
 * program where it is no function. By that name the owner of a role that several assume can tell
 * who may remove.
 */
export function sessionNameOf(env: Readonly<Record<string, string | undefined>>): string {
  for (const variable of VARIABLES) {
    const name = env[variable];
    if (name) return name;
  }
  return NO_FUNCTION;
}
