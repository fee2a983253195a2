import { type Output, type Shell, sayError, sentenceOf } from "./shell.ts";

/*
 * The process, as entries hand it to a program: nothing else of `cli` knows it. npm passes Ctrl-C
 * on although the terminal has sent it to everybody, so a second signal counts only some time after
 * the first.
 */

const SECOND_SIGNAL_MS_MIN = 1_000;
const INTERRUPTED = 130;

/** Runs one program as this process, which ends with its exit code; called once. */
export async function runProcess(program: (shell: Shell) => Promise<number>): Promise<void> {
  const shell: Shell = {
    args: process.argv.slice(2),
    env: process.env,
    folder: process.cwd(),
    stdout: outputOf(process.stdout),
    stderr: outputOf(process.stderr),
    signal: signalOf(),
  };
  const fail = (error: unknown) => {
    // For whoever reports it: a stack only where it was asked for.
    const isDebugging = process.env.KUBE_ALLOWLIST_LOG_LEVEL === "debug" && error instanceof Error;
    shell.stderr.write(`Cannot go on: ${isDebugging ? error.stack : sentenceOf(error)}\n`);
    process.exit(1);
  };
  process.on("uncaughtException", fail);
  process.on("unhandledRejection", fail);
  process.exitCode = await program(shell).catch((error: unknown) => sayError(shell.stderr, error));
}

function outputOf(stream: NodeJS.WriteStream): Output {
  const closed = new AbortController();
  stream.on("error", (error: NodeJS.ErrnoException) => {
    // Whoever reads has seen enough (`| head`); there is nobody left to tell.
    if (error.code !== "EPIPE" && error.code !== "EIO") throw error;
    closed.abort();
  });
  return {
    write(text) {
      if (!closed.signal.aborted) stream.write(text);
    },
    isTerminal: stream.isTTY === true,
    size: () => ({ columns: stream.columns || 80, rows: stream.rows || 24 }),
    closed: closed.signal,
  };
}

function signalOf(): AbortSignal {
  const ending = new AbortController();
  let firstAt: number | null = null;
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(name, () => {
      const now = Date.now();
      firstAt ??= now;
      if (now - firstAt > SECOND_SIGNAL_MS_MIN) process.exit(INTERRUPTED);
      ending.abort(new Error("the process was asked to end"));
    });
  }
  return ending.signal;
}
