import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const OUTPUT_CHARACTERS_MAX = 4_000_000;
const STOP_GRACE_MS = 10_000;
/**
 * Below the range from which Linux takes the ports of outgoing connections, so that nobody sits on
 * a port while its server is being restarted.
 */
const PORT_MIN = 20_000;
const PORT_MAX = 32_000;

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A process of our own: it never outlives the test process and is signalled by pid only. */
export interface Child {
  readonly pid: number;
  readonly exited: Promise<Exit>;
  /** How it ended, or null while it runs. */
  exit(): Exit | null;
  stdout(): string;
  stderr(): string;
  /** Both, in the order of arrival. */
  output(): string;
  /** Does nothing once the process has ended: its pid may be somebody else's by then. */
  kill(signal: NodeJS.Signals): void;
  /** SIGTERM, and SIGKILL after `graceMs`; a stopped process is continued first. */
  stop(graceMs?: number): Promise<Exit>;
}

const running = new Set<ChildProcess>();
const folders = new Set<string>();

process.on("exit", () => {
  killChildren();
  for (const folder of folders) remove(folder);
});
// Node ends at once on these without running the hook above.
for (const [signal, code] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
  ["SIGHUP", 129],
] as const) {
  process.once(signal, () => process.exit(code));
}

/** Starts a program with exactly this environment: a developer's own settings never matter. */
export async function startChild(
  command: string,
  args: readonly string[],
  options: { readonly env: Readonly<Record<string, string>>; readonly folder: string },
): Promise<Child> {
  const child = spawn(command, args, {
    cwd: options.folder,
    env: options.env,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const written = { stdout: "", stderr: "", output: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name].setEncoding("utf8").on("data", (text: string) => {
      written[name] = (written[name] + text).slice(-OUTPUT_CHARACTERS_MAX);
      written.output = (written.output + text).slice(-OUTPUT_CHARACTERS_MAX);
    });
  }
  const ended = new Promise<Exit>((resolve) => {
    child.once("close", (code, signal) => {
      running.delete(child);
      resolve({ code, signal });
    });
  });
  const pid = await started(child);
  return asChild({ child, pid, ended, written });
}

/** Kills what is left: a test process ends by itself only when none of its children runs. */
export function killChildren(): void {
  for (const child of running) child.kill("SIGKILL");
}

/** A new folder that is removed when the test process ends. */
export function temporaryFolder(purpose: string): string {
  const folder = mkdtempSync(join(tmpdir(), `kube-allowlist-${purpose}-`));
  folders.add(folder);
  return folder;
}

/** A loopback port that nobody listened on a moment ago. */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const port = PORT_MIN + Math.floor(Math.random() * (PORT_MAX - PORT_MIN));
    if (await listens(port)) return port;
  }
  throw new Error(`Cannot find a free port: all tries between ${PORT_MIN} and ${PORT_MAX} failed`);
}

/**
 * A killed process may still be writing there for a moment; one folder that stays must not keep
 * the others.
 */
function remove(folder: string): void {
  try {
    rmSync(folder, { recursive: true, force: true, maxRetries: 10 });
  } catch (error) {
    process.stderr.write(
      `Cannot remove ${folder}: ${error instanceof Error ? error.message : error}\n`,
    );
  }
}

function started(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("spawn", () => {
      running.add(child);
      resolve(child.pid ?? 0);
    });
  });
}

function asChild(parts: {
  readonly child: ChildProcess;
  readonly pid: number;
  readonly ended: Promise<Exit>;
  readonly written: { stdout: string; stderr: string; output: string };
}): Child {
  const { child, pid, ended, written } = parts;
  const exit = () =>
    child.exitCode === null && child.signalCode === null
      ? null
      : { code: child.exitCode, signal: child.signalCode };
  const kill = (signal: NodeJS.Signals) => {
    if (exit() === null) child.kill(signal);
  };
  return {
    pid,
    exited: ended,
    exit,
    stdout: () => written.stdout,
    stderr: () => written.stderr,
    output: () => written.output,
    kill,
    async stop(graceMs = STOP_GRACE_MS) {
      kill("SIGTERM");
      kill("SIGCONT");
      const alarm = setTimeout(() => kill("SIGKILL"), graceMs);
      try {
        return await ended;
      } finally {
        clearTimeout(alarm);
      }
    },
  };
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}
