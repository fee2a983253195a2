import { setImmediate as nextTurn } from "node:timers/promises";
import { Ec2Error } from "../../cli/embedded/ec2-error.ts";

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

/** One call: what it was asked, how it is done, and how it is done by half. */
export interface Act<I, T> {
  readonly input: I;
  readonly whole: (input: I) => T;
  readonly halve: (input: I) => I;
}

/** A backend on a bad day: by plan and not by chance. */
export interface FaultPlan<O extends string> {
  /** The next calls of an operation go wrong one after the other, then they go right again. */
  inject(operation: O, ...faults: readonly Ec2Fault[]): void;
  /** Calls so far; every page of a read is one. */
  readonly calls: Readonly<Record<O, number>>;
}

interface FaultSettings {
  /** What the text of every error quotes. */
  readonly secret: string;
  /** Reads as it was before the newest `writes` changes. */
  readonly lagging: <T>(writes: number, read: () => T) => T;
}

/** Comes between a backend and its callers: `call` is what every operation goes through. */
export function faultPlan<O extends string>(operations: readonly O[], settings: FaultSettings) {
  const plan = new Map<O, Ec2Fault[]>(operations.map((operation) => [operation, []]));
  const calls = Object.fromEntries(operations.map((operation) => [operation, 0])) as Record<
    O,
    number
  >;
  return {
    calls,
    inject(operation: O, ...faults: readonly Ec2Fault[]) {
      plan.get(operation)?.push(...faults);
    },
    async call<I, T>(operation: O, signal: AbortSignal, act: Act<I, T>): Promise<T> {
      calls[operation] += 1;
      const fault = plan.get(operation)?.shift() ?? { kind: "none" };
      // An answer is never there in the turn that asked for it.
      await nextTurn();
      return meet(fault, act, { ...settings, signal });
    },
  };
}

function meet<I, T>(
  fault: Ec2Fault,
  act: Act<I, T>,
  options: FaultSettings & { readonly signal: AbortSignal },
): T | Promise<T> {
  const { secret, signal } = options;
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
      return options.lagging(fault.writes, done);
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

export function firstHalf<T>(items: readonly T[]): readonly T[] {
  return items.slice(0, Math.ceil(items.length / 2));
}

function untilGone(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    const end = () => reject(Object.assign(new Error("Request aborted"), { name: "AbortError" }));
    if (signal.aborted) end();
    signal.addEventListener("abort", end, { once: true });
  });
}
