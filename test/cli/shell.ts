import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { runProgram } from "../../cli/program.ts";
import type { Output, Shell } from "../../cli/shell.ts";

/** A command in this process: its output, and a way to end it as Ctrl-C would. */
export interface Run {
  stdout(): string;
  stderr(): string;
  /** Both, for tests that look for what must be nowhere. */
  output(): string;
  interrupt(): void;
  readonly ended: Promise<number>;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly folder?: string;
  readonly terminal?: { readonly columns: number; readonly rows: number };
}

/**
 * Starts a command line as `cli/main.ts` does, with an environment of its own; it ends with the
 * test.
 */
export function start(t: TestContext, args: readonly string[], options: RunOptions = {}): Run {
  const running = begin(args, options);
  t.after(() => {
    running.interrupt();
    return running.ended;
  });
  return running;
}

function begin(args: readonly string[], options: RunOptions): Run {
  const ending = new AbortController();
  const written = { stdout: "", stderr: "" };
  const outputOf = (name: "stdout" | "stderr"): Output => ({
    write(text) {
      written[name] += text;
    },
    isTerminal: options.terminal !== undefined,
    size: () => options.terminal ?? { columns: 80, rows: 24 },
    closed: new AbortController().signal,
  });
  const shell: Shell = {
    args,
    env: options.env ?? {},
    folder: options.folder ?? "/nonexistent",
    stdout: outputOf("stdout"),
    stderr: outputOf("stderr"),
    signal: ending.signal,
  };
  return {
    stdout: () => written.stdout,
    stderr: () => written.stderr,
    output: () => written.stdout + written.stderr,
    interrupt: () => ending.abort(new Error("interrupted")),
    ended: runProgram(shell),
  };
}

/** Runs a command line to its end. */
export async function run(args: readonly string[], options: RunOptions = {}) {
  const running = begin(args, options);
  const code = await running.ended;
  return { code, stdout: running.stdout(), stderr: running.stderr() };
}

const POLL_MS = 10;
const SOON_MS = 15_000;

/** Waits for what happens soon; throws with the sentence when it does not. */
export async function soon<T>(
  what: string,
  probe: () => T | null | false | undefined,
  withinMs = SOON_MS,
): Promise<T> {
  for (let poll = 0; poll < withinMs / POLL_MS; poll += 1) {
    const found = probe();
    if (found !== null && found !== undefined && found !== false) return found;
    await sleep(POLL_MS);
  }
  throw new Error(`Cannot see that ${what}`);
}
