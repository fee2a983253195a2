import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { type ParseArgsOptionsConfig, parseArgs } from "node:util";

/*
 * How scripts take their command lines: `--help` tells what there is, and whatever cannot be used
 * is answered by one sentence and exit code 2.
 */

/** Exit code of a command line or a configuration that cannot be used. */
const USAGE = 2;

type Values<O extends ParseArgsOptionsConfig> = ReturnType<
  typeof parseArgs<{ options: O }>
>["values"];

/**
 * The options of this process' command line. Ends it where they cannot be read, where one that
 * takes a text is empty (an unset variable would name the current folder), and after `--help`.
 * `usage` begins with the command, on a line of its own.
 */
export function readArguments<const O extends ParseArgsOptionsConfig>(
  usage: string,
  options: O,
): Values<O> {
  const [command = ""] = usage.split(/ -- |\n/);
  const refuse = (why: string) => failUsage(`Cannot use the command line: ${why}; ${hint}`);
  const hint = `"${command} -- --help" tells what it takes`;
  const help = { help: { type: "boolean", short: "h" } } as const;
  const parse = () => {
    try {
      return parseArgs({ options: { ...options, ...help } }).values;
    } catch (error) {
      return refuse(sentenceOf(error));
    }
  };
  const values: Readonly<Record<string, unknown>> = parse();
  if (values.help === true) {
    process.stdout.write(`${usage.trimEnd()}\n`);
    process.exit(0);
  }
  for (const [name, value] of Object.entries(values)) {
    if ([value].flat().includes("")) refuse(`--${name} is empty`);
  }
  return values as Values<O>;
}

/** Ends this process: what it was told cannot be used, for this reason. */
export function failUsage(...sentences: readonly string[]): never {
  process.stderr.write(sentences.map((sentence) => `${sentence}\n`).join(""));
  process.exit(USAGE);
}

/** The text of the configuration file of this name; ends this process where it cannot be read. */
export function readConfigText(name: string): string {
  const path = resolve(name);
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "unreadable";
    return failUsage(
      `Cannot read the configuration ${path}: ${code}; write it, or name another one with --config`,
    );
  }
}

/** Node adds advice to some of its sentences that is not ours. */
function sentenceOf(error: unknown): string {
  const [first = ""] = (error instanceof Error ? error.message : String(error)).split(/\. |\n/);
  return first.replace(/^[A-Z]/, (letter) => letter.toLowerCase());
}
