import assert from "node:assert/strict";
import { test } from "node:test";
import type { Cidr } from "../../lib/core/cidr.ts";
import type { Target } from "../../lib/targets/target.ts";
import { CASES, type Case, type CaseName } from "./cases.ts";
import { playOn } from "./play.ts";

/** What a backend can be asked to do wrong. Each holds for the next call of that verb only. */
export type Fault =
  | "none"
  | "throttle"
  | "deny"
  | "fail"
  | "lose-request"
  | "lose-answer"
  | "fail-after"
  | "half"
  | "hang"
  | "hang-after"
  | "stale"
  /** The object does not take writes now; nothing is done. */
  | "busy"
  /** Somebody else's write is carried out immediately before ours. */
  | "raced";

export type Verb = "read" | "add" | "remove";

export interface StageOptions {
  /** `limit` of the target's configuration. */
  readonly limit?: number;
  /** The backend's own quota, where it has one; in entries of one family. */
  readonly quota?: number;
  /** Entries on one page of a read, where it has pages. */
  readonly page?: number;
  /** Whether a batch leaves nothing behind, or what came before the refused entry. */
  readonly batch?: "whole" | "partial";
  /** The object does not exist. */
  readonly missing?: boolean;
}

/** A target with its backend, and somebody else's hands on the backend. */
export interface Stage {
  readonly target: Target;
  /** Whatever must not be seen: credentials, and what the backend quotes in its errors. */
  readonly secrets: readonly string[];
  /** What a read shows beside an entry that was written with this text. */
  shown(text: string | null): string | null;
  /** Everything on the object, own, foreign and beside the slot, as the backend keeps it. */
  lines(): readonly string[];
  /** Writes by another hand, in the slot, as people write: the address may be in any form. */
  put(address: string, text: string | null): void;
  drop(cidr: Cidr): void;
  /** Puts on the object what is no entry of the slot: other ports, directions, sources. */
  surround(): void;
  inject(verb: Verb, fault: Fault): void;
  /**
   * Requests so far; a read of several pages counts each. `add` and `remove` are the writing ones;
   * waiting for a state counts as nothing.
   */
  calls(verb: Verb): number;
  /** Reads that a write makes right before it, where its backend takes whole lists. Default 0. */
  readonly readsBefore?: Readonly<Record<"add" | "remove", number>>;
  /** Whether each removed entry is a request of its own. */
  readonly removesOneByOne?: boolean;
  close(): Promise<void>;
}

export interface Skip {
  /** A sentence; printed with every case it skips. */
  readonly reason: string;
  readonly cases: readonly CaseName[];
}

/** Runs every case that a target must pass, each on a stage of its own. */
export function testTarget(options: {
  readonly name: string;
  readonly make: (options: StageOptions) => Promise<Stage>;
  readonly skip: readonly Skip[];
}): void {
  const reasons = new Map(
    options.skip.flatMap(({ reason, cases }) => cases.map((name) => [name, reason])),
  );
  for (const [name, { stage: wanted = {}, needs, play }] of Object.entries(CASES) as [
    CaseName,
    Case,
  ][]) {
    const skip = reasons.get(name) ?? false;
    assert(skip === false || skip.length > 20, "a skipped case needs a reason in words");
    test(`${options.name}: ${name}`, { skip, timeout: 20_000 }, async (context) => {
      const stage = await options.make(wanted);
      context.after(() => stage.close());
      const reason = needs?.(stage) ?? null;
      if (reason === null) await play(playOn(stage), context);
      else context.skip(reason);
    });
  }
}
