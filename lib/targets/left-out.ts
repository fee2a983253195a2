import * as z from "zod/mini";
import type { Traits } from "../core/observation.ts";
import type { Kind } from "./kind.ts";

// Nobody asks for more than the marking of settings that are refused.
const TRAITS: Traits = {
  families: [],
  ranges: false,
  overlap: false,
  marking: "entry",
  write: "entry",
  whenEmpty: "closed",
  batchMax: 1,
  settleMs: 0,
  callMs: 0,
};

/**
 * What stands for kinds that functions were packaged without: a configuration that names one later
 * is refused with a sentence.
 */
export function leftOut(names: readonly string[]): Readonly<Record<string, Kind>> {
  return Object.fromEntries(names.map((name) => [name, leftOutKind(name)]));
}

function leftOutKind(name: string): Kind {
  const message = leftOutMessage(`a target of kind "${name}"`);
  const refuse = (): never => {
    throw new Error(message);
  };
  return {
    schema: z.unknown().check(z.refine(() => false, { error: message })),
    traits: () => TRAITS,
    identify: refuse,
    permissions: refuse,
    create: async () => refuse(),
  };
}

/** What to do where a function was packaged without something. */
export function leftOutMessage(what: string): string {
  return (
    `Cannot use ${what}: these functions were packaged without it; run "npm run package" with ` +
    "the new configuration"
  );
}
