import * as z from "zod/mini";
import type { LogFields, World } from "../lib/world.ts";
import type { InvocationContext } from "./http.ts";
import { withinPayload } from "./payload.ts";
import { internalProblem, problemResponse } from "./problem.ts";
import { inRun } from "./run.ts";
import { environment, environmentWiring, standardLog, type Wiring } from "./wiring.ts";

/** What a platform calls for every event. */
export type PlatformHandler = (event: unknown, context: unknown) => Promise<unknown>;

/** What becomes of an event while the configuration cannot be used. */
type Unstarted = "answer" | "throw";

/**
 * The platform's entry to a function. Its wiring is made once per instance, at the first event;
 * keys of Function Compute come with each, and are kept no longer than until the next. While the
 * configuration cannot be read, every event has one line in the log, is answered 503 or, where
 * nobody reads an answer, fails; and it is read again. Function Compute shows whoever asks what a
 * handler throws, so nothing of the configuration is in it.
 */
export function platformEntry(
  make: (wiring: Wiring) => (event: never, context: never) => unknown,
  unstarted: Unstarted = "answer",
): PlatformHandler {
  let instance: ReturnType<typeof start> | null = null;
  const start = () => {
    const env: Record<string, string | undefined> = environment();
    const wiring = environmentWiring(env);
    return { env, world: wiring.world, run: make(wiring) };
  };
  return async (event, context) => {
    const isCold = instance === null;
    try {
      instance ??= start();
    } catch (error) {
      return notStarted(error, { names: runNames(namesOf(context), isCold), unstarted });
    }
    const { env, world, run } = instance;
    Object.assign(env, NO_SESSION, environment(), sessionOf(context));
    const invocation = invocationOf(context, world);
    return inRun(runNames(invocation, isCold), async () => {
      const response = plainResponse(await run(event as never, invocation as never));
      return withinPayload(response, world.log);
    });
  };
}

function notStarted(
  error: unknown,
  { names, unstarted }: { readonly names: LogFields; readonly unstarted: Unstarted },
): unknown {
  const reason = error instanceof Error ? error.message : "unknown error";
  standardLog("info").error({ ...names, error: reason }, "Cannot start: mend the configuration");
  if (unstarted === "throw") throw new Error("Cannot start: the function's log says why");
  const { document, headers } = internalProblem();
  return plainResponse(problemResponse(document, headers));
}

const PROGRAM = "kube-allowlist";

/** What every line says of a run, by the names that are known from Powertools for AWS Lambda. */
function runNames({ functionName, requestId }: InvocationContext, isCold: boolean): LogFields {
  return {
    service: PROGRAM,
    cold_start: isCold,
    ...(functionName ? { function_name: functionName } : {}),
    ...(requestId ? { function_request_id: requestId } : {}),
  };
}

/**
 * What Function Compute hands over beside an event ("Context" of its Node.js runtime), as far as it
 * is looked at. A role that a function does not have gives empty texts.
 */
const SESSION = z.object({
  credentials: z.object({
    accessKeyId: z.string().check(z.minLength(1)),
    accessKeySecret: z.string().check(z.minLength(1)),
    securityToken: z.string(),
  }),
});

/** Names under which clients ask for keys; without a session those of the environment are left. */
const NO_SESSION = {
  ALIBABA_CLOUD_ACCESS_KEY_ID: undefined,
  ALIBABA_CLOUD_ACCESS_KEY_SECRET: undefined,
  ALIBABA_CLOUD_SECURITY_TOKEN: undefined,
};

/** A session hides variables of the same names. */
function sessionOf(context: unknown): Partial<Record<keyof typeof NO_SESSION, string>> {
  const found = SESSION.safeParse(context).data;
  if (found === undefined) return {};
  const { accessKeyId, accessKeySecret, securityToken } = found.credentials;
  // All three or none: a key without its token, or with another's, is refused.
  return {
    ALIBABA_CLOUD_ACCESS_KEY_ID: accessKeyId,
    ALIBABA_CLOUD_ACCESS_KEY_SECRET: accessKeySecret,
    ALIBABA_CLOUD_SECURITY_TOKEN: securityToken,
  };
}

/** By the names of Lambda, and of Function Compute. */
const NAMES = z.object({
  awsRequestId: z.optional(z.string()),
  requestId: z.optional(z.string()),
  functionName: z.optional(z.string()),
  function: z.optional(z.object({ name: z.string() })),
});
const LIMIT = z.object({ function: z.object({ timeout: z.number().check(z.positive()) }) });

/**
 * One context for all platforms. Lambda says how much time is left; Function Compute says how long
 * a function may run in all, in seconds, and this run has just begun.
 */
export function invocationOf(context: unknown, { now }: Pick<World, "now">): InvocationContext {
  const known = namesOf(context);
  const clock = context as InvocationContext | null | undefined;
  if (typeof clock?.getRemainingTimeInMillis === "function") {
    return { ...known, getRemainingTimeInMillis: () => clock.getRemainingTimeInMillis?.() ?? 0 };
  }
  const timeoutS = LIMIT.safeParse(context).data?.function.timeout;
  if (timeoutS === undefined) return known;
  const endsAt = now() + timeoutS * 1_000;
  return { ...known, getRemainingTimeInMillis: () => endsAt - now() };
}

function namesOf(context: unknown): Pick<InvocationContext, "functionName" | "requestId"> {
  const names = NAMES.safeParse(context).data;
  return {
    requestId: names?.awsRequestId ?? names?.requestId ?? null,
    functionName: names?.functionName ?? names?.function?.name ?? null,
  };
}

const RESPONSE = z.looseObject({ statusCode: z.number(), body: z.string() });

/** Says of an HTTP response what every platform assumes unless told, each in its own words. */
function plainResponse(result: unknown): unknown {
  return RESPONSE.safeParse(result).success
    ? { ...(result as object), isBase64Encoded: false }
    : result;
}
