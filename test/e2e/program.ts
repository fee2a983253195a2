import { fileURLToPath } from "node:url";
import { type Child, type Exit, startChild, temporaryFolder } from "./child.ts";
import { eventually } from "./eventually.ts";

const ENTRY = fileURLToPath(new URL("../../cli/kube-allowlist.cjs", import.meta.url));
const RUN_WITHIN_MS = 120_000;

/** The product as a user starts it. */
export interface Program extends Child {
  /** Waits for matching output or until the condition holds; fails when the program ends. */
  waitFor(what: RegExp | (() => unknown), withinMs: number): Promise<void>;
}

export interface ProgramOptions {
  /** Added to PATH and an empty HOME; nothing else is inherited. */
  readonly env?: Readonly<Record<string, string>>;
  readonly folder?: string;
}

/** Starts `kube-allowlist …args`. */
export async function startProgram(
  args: readonly string[],
  options: ProgramOptions = {},
): Promise<Program> {
  const home = temporaryFolder("home");
  const child = await startChild(process.execPath, [ENTRY, ...args], {
    env: { PATH: process.env.PATH ?? "", HOME: home, ...options.env },
    folder: options.folder ?? home,
  });
  const { exit, output } = child;
  return {
    ...child,
    async waitFor(what, withinMs) {
      const sentence =
        what instanceof RegExp ? `the output matches ${what}` : "the condition holds";
      const probe = async () =>
        what instanceof RegExp ? what.test(output()) : Boolean(await what());
      await eventually(`${args[0]}: ${sentence}`, probe, {
        withinMs,
        hopeless: () => (exit() ? `it ended: ${JSON.stringify(exit())}\n${output()}` : null),
      });
    },
  };
}

/** Runs `kube-allowlist …args` to its end. */
export async function runProgram(
  args: readonly string[],
  options: ProgramOptions = {},
): Promise<Exit & { readonly stdout: string; readonly stderr: string }> {
  const program = await startProgram(args, options);
  const alarm = setTimeout(() => program.kill("SIGKILL"), RUN_WITHIN_MS);
  const exit = await program.exited;
  clearTimeout(alarm);
  return { ...exit, stdout: program.stdout(), stderr: program.stderr() };
}
