import "./node-version.ts";
import { parseArgs } from "node:util";
import { setFlagsFromString } from "node:v8";
import { runForward } from "./commands/forward.ts";
import { runProcess } from "./process.ts";
import { type Shell, sentenceOf, UsageError } from "./shell.ts";

/*
 * What an image starts: the command `forward` alone, without the rest of the program. Everything is
 * told by KUBE_ALLOWLIST_* variables; outside of a cluster --kubeconfig FILE says which one.
 */

function optionsOf(args: readonly string[]): { readonly kubeconfig?: string } {
  try {
    // An image that holds more than this program is started with the command's name.
    const rest = args[0] === "forward" ? args.slice(1) : [...args];
    return parseArgs({ args: rest, options: { kubeconfig: { type: "string" } } }).values;
  } catch (error) {
    const wayOut = "only --kubeconfig FILE is, the rest are KUBE_ALLOWLIST_* variables";
    throw new UsageError(`Cannot take these arguments: ${sentenceOf(error)}; ${wayOut}`);
  }
}

void runProcess(async (shell: Shell) => {
  // What was read of a list is cleared away sooner. The engine looks at this flag whenever it
  // thinks of clearing away, and NODE_OPTIONS does not take it.
  setFlagsFromString("--optimize-for-size");
  return runForward(optionsOf(shell.args), shell);
});
