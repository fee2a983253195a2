import assert from "node:assert/strict";
import { createReader } from "../../lib/config/problems.ts";
import { resolveReference } from "../../lib/config.ts";
import type { TargetConfig } from "../../lib/core/list.ts";
import type { TargetErrorKind } from "../../lib/core/report.ts";
import type { TargetContext } from "../../lib/targets/connection.ts";
import type { Kind } from "../../lib/targets/kind.ts";
import { memoryTargets } from "../../lib/targets/memory.ts";
import { kinds } from "../../lib/targets/registry.ts";
import type { Target, TargetError } from "../../lib/targets/target.ts";
import { virtualWorld } from "../virtual-world.ts";

export const OWNER = { installation: "acme", list: "payments-db", formerly: [] };

/** What the settings of a kind are refused with, as people read it. */
export function settingsProblems(name: string, settings: unknown): readonly string[] {
  const reader = createReader();
  reader.check(kindNamed(name).schema, settings, []);
  return reader.problems.map(({ path, message }) => `${path}: ${message}`);
}

export function kindNamed(name: string): Kind {
  const kind = kinds[name];
  if (kind === undefined) throw new Error(`Cannot find the kind ${name}`);
  return kind;
}

/** What the configuration makes of these settings, in the list `payments-db` of `acme`. */
export function targetConfig(
  kind: string,
  settings: Readonly<Record<string, unknown>>,
  given: { readonly limit?: number | undefined } = {},
): TargetConfig {
  const names = kindNamed(kind).identify(settings, OWNER);
  const limit = given.limit ?? null;
  return { kind, ...names, owner: OWNER, exclusive: false, limit, settings };
}

/** A world of its own; references are looked up in `env`, and no file is read. */
export function targetContext(
  env: Readonly<Record<string, string>>,
  given: Partial<TargetContext> = {},
): TargetContext {
  const readFile = () => {
    throw new Error("no file is read here");
  };
  return {
    world: virtualWorld(),
    env,
    secret: (reference) => resolveReference(reference, { env, readFile }),
    memory: memoryTargets(),
    feed: (name) => {
      throw new Error(`no feed is opened here: ${name}`);
    },
    ...given,
  };
}

/** The target as the product makes it, its vendor's client included. */
export function makeTarget(
  kind: string,
  settings: Readonly<Record<string, unknown>>,
  options: {
    readonly env: Readonly<Record<string, string>>;
    readonly limit?: number | undefined;
    readonly context?: Partial<TargetContext>;
  },
): Promise<Target> {
  const context = targetContext(options.env, options.context);
  return kindNamed(kind).create(targetConfig(kind, settings, options), context);
}

/** Rejects as a target must, with this kind and a sentence like this that shows no canary. */
export async function refusal(
  work: Promise<unknown>,
  kind: TargetErrorKind,
  message: RegExp,
): Promise<void> {
  await assert.rejects(work, (error: TargetError) => {
    assert.equal(error.name, "TargetError", String(error));
    assert.equal(error.kind, kind, error.message);
    assert.match(error.message, message);
    assert(!error.message.includes("canary"));
    return true;
  });
}
