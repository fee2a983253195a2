import { setImmediate as nextTurn } from "node:timers/promises";
import type { Ec2Backend } from "../../cli/embedded/ec2.ts";
import {
  Ec2Error,
  type Ec2Groups,
  type Ec2Permission,
  type Ec2Rule,
} from "../../cli/embedded/ec2-groups.ts";
import { awsErrorOf, type IngressRule, type SecurityGroupClient } from "../../lib/clouds/aws.ts";

export type Ec2Operation = "describe" | "authorize" | "revoke";

/** What goes wrong with one call. */
export type Ec2Fault =
  /** Goes right: takes the place of a call before the one that goes wrong. */
  | { readonly kind: "none" }
  /** Refused with this code; nothing is done. */
  | {
      readonly kind: "refuse";
      readonly code: string;
      readonly status?: number;
      readonly retryAfterS?: number;
    }
  /** Done whole, and the answer is lost on the way. */
  | { readonly kind: "lose-answer" }
  /** Never arrives. */
  | { readonly kind: "lose-request" }
  /** Done whole, and answered with status 500. */
  | { readonly kind: "fail-after" }
  /** Done for the first half of the rules, and answered with status 500. */
  | { readonly kind: "half" }
  /** Nothing is done, nothing is answered until the caller gives up. */
  | { readonly kind: "hang" }
  /** Done whole, nothing is answered until the caller gives up. */
  | { readonly kind: "hang-after" }
  /** A read of how it was before the newest `writes` changes. */
  | { readonly kind: "stale"; readonly writes: number }
  /** Somebody else acts immediately before it is carried out, well. */
  | { readonly kind: "preceded"; readonly by: () => void };

export interface FaultyEc2 extends Ec2Backend {
  /** The next calls of an operation go wrong one after the other, then they go right again. */
  inject(operation: Ec2Operation, ...faults: readonly Ec2Fault[]): void;
  /** Calls so far; every page of a read is one. */
  readonly calls: Readonly<Record<Ec2Operation, number>>;
}

/** One call: what it was asked, how it is done, and how it is done by half. */
interface Act<I, T> {
  readonly input: I;
  readonly whole: (input: I) => T;
  readonly halve: (input: I) => I;
}

/** EC2 on a bad day: faults come between the groups and the caller, by plan and not by chance. */
export function faultyEc2(
  groups: Ec2Groups,
  options: { readonly secret?: string } = {},
): FaultyEc2 {
  const plan: Record<Ec2Operation, Ec2Fault[]> = { describe: [], authorize: [], revoke: [] };
  const calls: Record<Ec2Operation, number> = { describe: 0, authorize: 0, revoke: 0 };
  const { secret = "" } = options;
  async function call<I, T>(
    operation: Ec2Operation,
    signal: AbortSignal,
    act: Act<I, T>,
  ): Promise<T> {
    calls[operation] += 1;
    const fault = plan[operation].shift() ?? { kind: "none" };
    // An answer is never there in the turn that asked for it.
    await nextTurn();
    return meet(fault, act, { groups, secret, signal });
  }
  return {
    calls,
    inject: (operation, ...faults) => {
      plan[operation].push(...faults);
    },
    describe: (input, signal) =>
      call("describe", signal, { input, whole: groups.describe, halve: (whole) => whole }),
    authorize: (input, signal) =>
      call("authorize", signal, {
        input,
        whole: groups.authorize,
        halve: (whole) => ({ ...whole, permissions: whole.permissions.map(halfOf) }),
      }),
    revoke: (input, signal) =>
      call("revoke", signal, {
        input,
        whole: groups.revoke,
        halve: (whole) => ({ ...whole, ruleIds: firstHalf(whole.ruleIds ?? []) }),
      }),
  };
}

function meet<I, T>(
  fault: Ec2Fault,
  act: Act<I, T>,
  options: { readonly groups: Ec2Groups; readonly secret: string; readonly signal: AbortSignal },
): T | Promise<T> {
  const { groups, secret, signal } = options;
  const done = () => rethrowing(() => act.whole(act.input), secret);
  switch (fault.kind) {
    case "none":
      return done();
    case "refuse":
      throw refusal(fault.code, secret, fault);
    case "lose-answer":
      done();
      throw refusal("Lost", secret, { status: null });
    case "lose-request":
      throw refusal("Lost", secret, { status: null });
    case "fail-after":
      done();
      throw refusal("InternalError", secret, { status: 500 });
    case "half":
      act.whole(act.halve(act.input));
      throw refusal("InternalError", secret, { status: 500 });
    case "hang":
      return untilGone(signal);
    case "hang-after":
      done();
      return untilGone(signal);
    case "preceded":
      fault.by();
      return done();
    case "stale":
      return lagging(groups, fault.writes, done);
    default:
      throw new Error(`Unreachable: ${JSON.stringify(fault satisfies never)}`);
  }
}

/** The text of every error quotes a secret, as AWS quotes headers when a signature is bad. */
function refusal(
  code: string,
  secret: string,
  options: { readonly status?: number | null; readonly retryAfterS?: number },
): Ec2Error {
  return new Ec2Error(code, `The canonical string should have been ${secret}`, options);
}

function rethrowing<T>(act: () => T, secret: string): T {
  try {
    return act();
  } catch (error) {
    if (!(error instanceof Ec2Error)) throw error;
    throw refusal(error.code, secret, { status: error.status });
  }
}

function halfOf(permission: Ec2Permission): Ec2Permission {
  return { ...permission, ranges: firstHalf(permission.ranges) };
}

function firstHalf<T>(items: readonly T[]): readonly T[] {
  return items.slice(0, Math.ceil(items.length / 2));
}

function untilGone(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    const end = () => reject(Object.assign(new Error("Request aborted"), { name: "AbortError" }));
    if (signal.aborted) end();
    signal.addEventListener("abort", end, { once: true });
  });
}

function lagging<T>(groups: Ec2Groups, writes: number, read: () => T): T {
  const { lagWrites } = groups.settings;
  groups.settings.lagWrites = writes;
  try {
    return read();
  } finally {
    groups.settings.lagWrites = lagWrites;
  }
}

/** The narrow client over a backend, without HTTP and SDK; errors pass through the real table. */
export function fakeSecurityGroups(backend: Ec2Backend): SecurityGroupClient {
  async function calling<T>(
    operation: string,
    signal: AbortSignal,
    work: () => Promise<T>,
  ): Promise<T> {
    try {
      signal.throwIfAborted();
      return await work();
    } catch (error) {
      const thrown = error instanceof Ec2Error ? asSdkError(error) : error;
      throw awsErrorOf(thrown, { operation: `ec2:${operation}`, now: 0 });
    }
  }
  return {
    describe: (groupId, signal) =>
      calling("DescribeSecurityGroupRules", signal, async () => {
        const rules: Ec2Rule[] = [];
        let nextToken: string | null = null;
        do {
          const input = { groupIds: [groupId], maxResults: 1_000, nextToken };
          const page: Awaited<ReturnType<Ec2Backend["describe"]>> = await backend.describe(
            input,
            signal,
          );
          rules.push(...page.rules);
          nextToken = page.nextToken;
        } while (nextToken !== null);
        return rules.filter((rule) => !rule.egress).map(ingressOf);
      }),
    authorize: (groupId, change, signal) =>
      calling("AuthorizeSecurityGroupIngress", signal, async () => {
        const { protocol, fromPort, toPort, description } = change;
        const ranges = [
          ...change.ipv4.map((cidr) => ({ family: "ipv4" as const, cidr, description })),
          ...change.ipv6.map((cidr) => ({ family: "ipv6" as const, cidr, description })),
        ];
        const permissions = [{ protocol, fromPort, toPort, ranges }];
        await backend.authorize({ groupId, permissions }, signal);
      }),
    revoke: (groupId, ruleIds, signal) =>
      calling("RevokeSecurityGroupIngress", signal, async () => {
        await backend.revoke({ groupId, ruleIds }, signal);
      }),
  };
}

function ingressOf(rule: Ec2Rule): IngressRule {
  const { id, protocol, fromPort, toPort, description } = rule;
  const { kind, text } = rule.source;
  const source = kind === "ipv4" || kind === "ipv6" ? { family: kind, cidr: text } : null;
  return { id, protocol, fromPort, toPort, source, description };
}

/** As the SDK would throw it. */
function asSdkError(error: Ec2Error): object {
  if (error.status === null) return Object.assign(new Error(error.message), { code: "ECONNRESET" });
  const headers = error.retryAfterS === null ? {} : { "retry-after": String(error.retryAfterS) };
  return Object.assign(new Error(error.message), {
    name: error.code,
    $metadata: { httpStatusCode: error.status },
    $response: { headers },
  });
}
