import assert from "node:assert/strict";
import { inspect } from "node:util";
import { type Cidr, parseCidr, sortCidrs } from "../../lib/core/cidr.ts";
import { markerText } from "../../lib/core/marker.ts";
import type { Observation, Revision } from "../../lib/core/observation.ts";
import type { TargetErrorKind } from "../../lib/core/report.ts";
import { type Batch, type Target, TargetError } from "../../lib/targets/target.ts";
import { soon, until } from "../fakes/soon.ts";
import type { Stage, Verb } from "./target.ts";

/** What a case plays with: a target, and everything around it that can be asked or done. */
export interface Play {
  readonly stage: Stage;
  readonly target: Target;
  observe(): Promise<Observation>;
  add(...cidrs: readonly string[]): Promise<unknown>;
  remove(...cidrs: readonly string[]): Promise<unknown>;
  /** Removes, and writes what stands inside in the same call. */
  replace(cidrs: readonly string[], instead: readonly string[]): Promise<unknown>;
  /** Adds an entry that stays, where the backend may not be emptied; `ours` counts it in. */
  keep(): Promise<void>;
  /** Own entries as {@link seen} shows them, sorted, with the kept one. */
  ours(...cidrs: readonly string[]): readonly string[];
  /** Own and somebody else's entries, sorted by address. */
  both(own: readonly string[], foreign: Readonly<Record<string, string | null>>): readonly string[];
  /** Rejects as a target must, without a secret; gives the error. */
  refused(work: Promise<unknown>, ...kinds: readonly TargetErrorKind[]): Promise<TargetError>;
  /** Carried out, or a conflict: then it is read again, and nothing else is said of it. */
  conflictAtMost(work: Promise<unknown>): Promise<void>;
}

export const TEXT = markerText("acme", "payments-db");
export const FOREIGN = "office, by hand (do not touch)";
const KEPT = "192.0.2.254/32";
/** What the fault `raced` makes somebody else write, with {@link FOREIGN} beside it. */
export const RACER = "203.0.113.99/32";

export function playOn(stage: Stage): Play {
  const { target, secrets } = stage;
  const signal = new AbortController().signal;
  const kept: string[] = [];
  let revision: Revision = null;
  async function apply(batch: Batch) {
    revision = await target.apply(batch, revision, signal);
  }
  async function observe() {
    const observation = await target.observe(signal);
    revision = observation.revision;
    return observation;
  }
  const shownAs = (cidrs: readonly string[], text: string | null) =>
    new Map(cidrs.map((cidr) => [cidrOf(cidr), stage.shown(text)] as const));
  const sorted = (entries: ReadonlyMap<Cidr, string | null>) =>
    sortCidrs(entries.keys()).map((cidr) => `${cidr} = ${entries.get(cidr)}`);
  const refuse = (work: Promise<unknown>, ...kinds: readonly TargetErrorKind[]) =>
    refused(work, { kinds, target, secrets });
  return {
    stage,
    target,
    observe,
    add: (...cidrs) => apply(batchOf("add", cidrs)),
    remove: (...cidrs) => apply(batchOf("remove", cidrs)),
    replace: (cidrs, instead) =>
      apply({ ...batchOf("remove", cidrs), instead: instead.map(cidrOf), late: [] }),
    async keep() {
      if (target.traits.whenEmpty === "closed") return;
      await apply(batchOf("add", [KEPT]));
      kept.push(KEPT);
    },
    ours: (...cidrs) => sorted(shownAs([...cidrs, ...kept], TEXT)),
    both(own, foreign) {
      const others = Object.entries(foreign).map(([cidr, text]) => shownAs([cidr], text));
      return sorted(
        new Map([...shownAs([...own, ...kept], TEXT), ...others.flatMap((one) => [...one])]),
      );
    },
    refused: refuse,
    async conflictAtMost(work) {
      await work.then(
        () => undefined,
        (error) => refuse(Promise.reject(error), "conflict"),
      );
      await observe();
    },
  };
}

export function batchOf(verb: "add" | "remove", cidrs: readonly string[]): Batch {
  return { verb, cidrs: cidrs.map(cidrOf), text: TEXT, instead: [], late: [] };
}

async function refused(
  work: Promise<unknown>,
  options: {
    readonly kinds: readonly TargetErrorKind[];
    readonly target: Target;
    readonly secrets: readonly string[];
  },
): Promise<TargetError> {
  const error = await work.then(
    () => assert.fail("it was not refused"),
    (thrown: unknown) => thrown,
  );
  assert(error instanceof TargetError, `no TargetError but ${inspect(error)}`);
  assert(options.kinds.includes(error.kind), `${error.kind}: ${error.message}`);
  assert.match(error.message, /^Cannot [a-z]+ .+: .+; .+[^.]$/);
  assert(error.message.includes(options.target.name), error.message);
  const shown = inspect(error, { depth: Number.POSITIVE_INFINITY, showHidden: true });
  for (const secret of options.secrets) {
    assert(!shown.includes(secret) && !JSON.stringify(error).includes(secret), "a secret is shown");
  }
  return error;
}

export function cidrOf(text: string): Cidr {
  const cidr = parseCidr(text);
  assert(cidr !== null, text);
  return cidr;
}

/** What was read, as `cidr = text`. */
export function seen(observation: Observation): readonly string[] {
  return observation.entries.map(({ cidr, text }) => `${cidr} = ${text}`);
}

export function hosts(count: number, first = 0): readonly string[] {
  return Array.from({ length: count }, (_, index) => {
    const number = first + index;
    return `198.${18 + (number >> 16)}.${(number >> 8) & 255}.${number & 255}/32`;
  });
}

/** A batch of so many addresses of the families that the target holds, in turns. */
export function mixed(target: Target, count: number): readonly string[] {
  const ipv4 = hosts(count);
  const families = target.traits.families;
  const ipv6 = (number: number) =>
    `2001:db8::${(number >> 16).toString(16)}:${(number & 65_535).toString(16)}/128`;
  return ipv4.map((cidr, index) =>
    families[index % families.length] === "ipv6" ? ipv6(index + 1) : cidr,
  );
}

/** Aborts once the call has reached the backend. */
export async function abortedSoon(
  stage: Stage,
  verb: Verb,
  work: (signal: AbortSignal) => Promise<unknown>,
): Promise<unknown> {
  const abort = new AbortController();
  const before = stage.calls(verb);
  const done = work(abort.signal);
  // Whatever comes of it is looked at below; until then it must not count as unhandled.
  done.catch(() => undefined);
  await until(() => stage.calls(verb) > before, `a call to ${verb}`);
  await new Promise((resolve) => setTimeout(resolve, 20));
  abort.abort();
  return soon(done, `the end of an aborted call to ${verb}`);
}
