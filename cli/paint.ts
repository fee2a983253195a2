import { styleText } from "node:util";
import type { State } from "../lib/core/report.ts";
import { type Shell, wantsColour } from "./shell.ts";

export type Tone = "good" | "waiting" | "guarded" | "bad" | "faint" | "strong";

/** Gives text a tone where a person sees it, and leaves it alone elsewhere. */
export type Paint = (tone: Tone, text: string) => string;

const FORMATS = {
  good: "green",
  waiting: "yellow",
  guarded: "magenta",
  bad: "red",
  faint: "dim",
  strong: "bold",
} as const;

export const TONE_OF_STATE: Readonly<Record<State, Tone>> = {
  converged: "good",
  pending: "waiting",
  withheld: "guarded",
  failed: "bad",
};

export function makePaint(isColoured: boolean): Paint {
  if (!isColoured) return (_tone, text) => text;
  return (tone, text) => styleText(FORMATS[tone], text, { validateStream: false });
}

export function paintFor(shell: Pick<Shell, "stdout" | "env">): Paint {
  return makePaint(wantsColour(shell.stdout, shell.env));
}
