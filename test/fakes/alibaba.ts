import { setImmediate as nextTurn } from "node:timers/promises";
import {
  type AlibabaAction,
  type AlibabaAnswer,
  type AlibabaBetween,
  type AlibabaCall,
  AlibabaError,
} from "../../cli/embedded/alibaba.ts";
import type { Fault, Verb } from "../conformance/target.ts";

/** What a stage has to say about its backend, so that faults can come between it and the wire. */
export interface FaultyOptions {
  /** What a call is for; null for what no fault meets and nobody counts. */
  verbOf(call: AlibabaCall): Verb | null;
  /** The same call with the first half of what it is to write. */
  halve(call: AlibabaCall): AlibabaCall;
  /** Runs a read as it would have been before the newest write. */
  stale<T>(read: () => T): T;
  /** Somebody else's write: what the conformance suite calls the racer. */
  race(): void;
  /** How this product says that it takes no writes now. */
  readonly busy: { readonly code: string; readonly status: number };
  /** Quoted by every error. */
  readonly secret: string;
}

export interface FaultyAlibaba {
  readonly between: AlibabaBetween;
  /** The next calls of a verb go wrong one after the other, then they go right again. */
  inject(verb: Verb, ...faults: readonly Fault[]): void;
  /** Calls so far; every page of a read is one. */
  calls(verb: Verb): number;
}

/** Alibaba Cloud on a bad day, by plan and not by chance. */
export function faultyAlibaba(options: FaultyOptions): FaultyAlibaba {
  const plan: Record<Verb, Fault[]> = { read: [], add: [], remove: [] };
  const calls: Record<Verb, number> = { read: 0, add: 0, remove: 0 };
  return {
    inject: (verb, ...faults) => {
      plan[verb].push(...faults);
    },
    calls: (verb) => calls[verb],
    async between(call, act, signal) {
      const verb = options.verbOf(call);
      const fault = (verb === null ? undefined : plan[verb].shift()) ?? "none";
      if (verb !== null) calls[verb] += 1;
      // An answer is never there in the turn that asked for it.
      await nextTurn();
      return meet(fault, { ...options, call, act, signal });
    },
  };
}

interface Meeting extends FaultyOptions {
  readonly call: AlibabaCall;
  readonly act: AlibabaAction;
  readonly signal: AbortSignal;
}

async function meet(fault: Fault, meeting: Meeting): Promise<AlibabaAnswer> {
  const { call, act, signal, secret, busy } = meeting;
  const done = () => rethrowing(() => act(call, signal), secret);
  switch (fault) {
    case "none":
      return done();
    case "throttle":
      throw refusal("Throttling.User", secret, { status: 400, retryAfterS: 7 });
    case "deny":
      throw refusal("Forbidden.RAM", secret, { status: 403 });
    case "fail":
      throw refusal("InternalError", secret, { status: 500 });
    case "busy":
      throw refusal(busy.code, secret, { status: busy.status });
    case "lose-request":
      throw refusal("Lost", secret, { status: null });
    case "lose-answer":
      await done();
      throw refusal("Lost", secret, { status: null });
    case "fail-after":
      await done();
      throw refusal("InternalError", secret, { status: 500 });
    case "half":
      await act(meeting.halve(call), signal);
      throw refusal("InternalError", secret, { status: 500 });
    case "hang":
      return untilGone(signal);
    case "hang-after":
      await done();
      return untilGone(signal);
    case "stale":
      return meeting.stale(done);
    case "raced":
      meeting.race();
      return done();
    default:
      throw new Error(`Unreachable: ${JSON.stringify(fault satisfies never)}`);
  }
}

/** The text of every error quotes a secret, as the real ones quote what was signed. */
function refusal(
  code: string,
  secret: string,
  options: { readonly status: number | null; readonly retryAfterS?: number | null },
): AlibabaError {
  return new AlibabaError(code, `server string to sign is: ${secret}`, options);
}

async function rethrowing<T>(act: () => T | Promise<T>, secret: string): Promise<T> {
  try {
    return await act();
  } catch (error) {
    if (!(error instanceof AlibabaError)) throw error;
    throw refusal(error.code, secret, { status: error.status });
  }
}

export function firstHalf<T>(items: readonly T[]): readonly T[] {
  return items.slice(0, Math.ceil(items.length / 2));
}

function untilGone(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    const end = () => reject(new AlibabaError("Gone", "The caller went away.", { status: null }));
    if (signal.aborted) end();
    signal.addEventListener("abort", end, { once: true });
  });
}
