import { setImmediate as nextTurn } from "node:timers/promises";
import type { JsonAnswer, JsonHandler, JsonRequest } from "../../cli/embedded/json-server.ts";

/** What goes wrong with one request. */
export type RestFault =
  | "none"
  /** Refused in the vendor's words; nothing is done. */
  | "throttle"
  | "deny"
  | "fail"
  | "busy"
  /** Never arrives. */
  | "lose-request"
  /** Done whole, and the answer is lost on the way. */
  | "lose-answer"
  /** Done whole, and answered with status 500. */
  | "fail-after"
  /** Done for the first half, and answered with status 500. */
  | "half"
  /** Nothing is done, nothing is answered until the caller gives up. */
  | "hang"
  /** Done whole, nothing is answered until the caller gives up. */
  | "hang-after"
  /** A read of how it was before the newest write. */
  | "stale"
  /** Somebody else's write is carried out immediately before this one. */
  | "raced";

export type RestVerb = "read" | "add" | "remove";

export interface FaultyRest {
  readonly handle: JsonHandler;
  /** The next requests of a verb go wrong one after the other, then they go right again. */
  inject(verb: RestVerb, ...faults: readonly RestFault[]): void;
  calls(verb: RestVerb): number;
  /** What the next writes are: a request that replaces a list does not say it. */
  expect(verb: "add" | "remove"): void;
}

export interface RestBackend {
  readonly handle: JsonHandler;
  /** Everything there; what it gives puts that back. */
  snapshot(): () => void;
  readonly refusals: Readonly<Record<"throttle" | "deny" | "fail" | "busy", JsonAnswer>>;
  /** What a request that asks for a part of it would be. */
  halve(request: JsonRequest): JsonRequest;
  /** Somebody else's write. */
  race(): void;
}

/** A backend on a bad day: faults come between it and the caller, by plan and not by chance. */
export function faultyRest(backend: RestBackend): FaultyRest {
  const plan: Record<RestVerb, RestFault[]> = { read: [], add: [], remove: [] };
  const calls: Record<RestVerb, number> = { read: 0, add: 0, remove: 0 };
  let writing: "add" | "remove" = "add";
  let restore = backend.snapshot();
  return {
    inject: (verb, ...faults) => {
      plan[verb].push(...faults);
    },
    calls: (verb) => calls[verb],
    expect: (verb) => {
      writing = verb;
    },
    async handle(request, signal) {
      // Tokens are asked for on the way to a request.
      if (request.path.at(-1) === "token") return backend.handle(request, signal);
      const verb = request.method === "GET" ? "read" : writing;
      calls[verb] += 1;
      const fault = plan[verb].shift() ?? "none";
      // An answer is never there in the turn that asked for it.
      await nextTurn();
      const before = backend.snapshot();
      const act = (asked: JsonRequest) => {
        if (verb !== "read") restore = before;
        return backend.handle(asked, signal);
      };
      return meet(fault, { backend, request, act, restore, before, signal });
    },
  };
}

async function meet(
  fault: RestFault,
  call: {
    readonly backend: RestBackend;
    readonly request: JsonRequest;
    readonly act: (request: JsonRequest) => ReturnType<JsonHandler>;
    /** Puts back what was there before the newest write, and what is there now. */
    readonly restore: () => void;
    readonly before: () => void;
    readonly signal: AbortSignal;
  },
): Promise<JsonAnswer | null> {
  const { backend, request, act, signal } = call;
  switch (fault) {
    case "none":
      return act(request);
    case "throttle":
    case "deny":
    case "fail":
    case "busy":
      return backend.refusals[fault];
    case "lose-request":
      return null;
    case "lose-answer":
      await act(request);
      return null;
    case "fail-after":
      await act(request);
      return backend.refusals.fail;
    case "half":
      await act(backend.halve(request));
      return backend.refusals.fail;
    case "hang":
      return untilGone(signal);
    case "hang-after":
      await act(request);
      return untilGone(signal);
    case "stale": {
      call.restore();
      const answer = await backend.handle(request, signal);
      call.before();
      return answer;
    }
    case "raced":
      backend.race();
      return act(request);
    default:
      throw new Error(`Unreachable: ${JSON.stringify(fault satisfies never)}`);
  }
}

function untilGone(signal: AbortSignal): Promise<null> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(null);
    signal.addEventListener("abort", () => resolve(null), { once: true });
  });
}
