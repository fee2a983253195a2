import { makeLogger } from "../lib/logger.ts";
import type { LogFields, Logger } from "../lib/world.ts";
import { type Output, printable } from "./shell.ts";

/**
 * The log of a command: warnings and errors as sentences, audit lines as JSON, all of them on
 * stderr.
 */
export function commandLogger(stderr: Output): Logger {
  const say = (fields: LogFields, message: string) => {
    // What a source answered is part of what every command shows, with the same sentence.
    if ("source" in fields && !("error" in fields)) return;
    stderr.write(`${sentence(fields, message)}\n`);
  };
  return {
    debug: () => undefined,
    info: () => undefined,
    warn: say,
    error: say,
    audit: makeLogger("error", { log: stderr, audit: stderr }).audit,
  };
}

/** `Cannot read a record (object: aws-sg, error: …)`. */
function sentence(fields: LogFields, message: string): string {
  const pairs = Object.entries(fields).map(([name, value]) => {
    const text = typeof value === "string" ? value : (JSON.stringify(value) ?? "");
    return `${name}: ${text}`;
  });
  return printable(pairs.length === 0 ? message : `${message} (${pairs.join(", ")})`);
}
