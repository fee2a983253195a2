import type { Problem } from "../lib/core/snapshot.ts";

/** A stream that people or programs read. */
export interface Output {
  write(text: string): void;
  readonly isTerminal: boolean;
  /** Of the terminal as it is now; 80 and 24 where there is none. */
  size(): { readonly columns: number; readonly rows: number };
  /** Aborts when nobody reads any more; what is written then is dropped. */
  readonly closed: AbortSignal;
}

/** Everything that a command is given by the process it runs in. */
export interface Shell {
  /** Without the names of the program. */
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** What relative paths on the command line are relative to. */
  readonly folder: string;
  readonly stdout: Output;
  readonly stderr: Output;
  /**
   * Aborts when the process was asked to end: it finishes the call it is in, and begins no other.
   */
  readonly signal: AbortSignal;
}

/** Ends a command with exit code 2: what it was told cannot be used. Every problem at once. */
export class UsageError extends Error {
  override readonly name = "UsageError";
  readonly problems: readonly Problem[];

  constructor(message: string, problems: readonly Problem[] = []) {
    super(message);
    this.problems = problems;
  }
}

/** Tells people what ended a program; returns its exit code: 2 for what cannot be used, else 1. */
export function sayError(stderr: Pick<Output, "write">, error: unknown): number {
  if (!(error instanceof UsageError)) {
    stderr.write(`Cannot go on: ${sentenceOf(error)}\n`);
    return 1;
  }
  stderr.write(`${printable(error.message)}\n`);
  for (const { path, message } of error.problems) {
    stderr.write(`  ${printable(path === "" ? message : `${path}: ${message}`)}\n`);
  }
  return 2;
}

/** The sentence of an error, for people: never a stack. */
export function sentenceOf(error: unknown): string {
  return printable(error instanceof Error ? error.message : String(error));
}

/** Text that others wrote, on one line and without the characters that drive a terminal. */
export function printable(text: string): string {
  return text.replaceAll(/[\p{C}\p{Zl}\p{Zp}]/gu, "?");
}

/** Resolves when one of the signals aborts. */
export function untilAborted(...signals: readonly AbortSignal[]): Promise<void> {
  const any = AbortSignal.any([...signals]);
  return new Promise((resolve) => {
    if (any.aborted) resolve();
    else any.addEventListener("abort", () => resolve(), { once: true });
  });
}

/**
 * Colours only where a person looks at a terminal and has not asked for none
 * (https://no-color.org).
 */
export function wantsColour(output: Output, env: Shell["env"]): boolean {
  return output.isTerminal && !env.NO_COLOR && env.TERM !== "dumb";
}
