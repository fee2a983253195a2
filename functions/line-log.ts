import { auditMessage, LOG_LEVELS, type LogLevel } from "../lib/log-line.ts";
import type { LogFields, Logger } from "../lib/world.ts";
import { renderLine } from "./line.ts";

/**
 * The functions' log: JSON lines with `level`, `message` and `timestamp` before the fields. Audit
 * lines carry `"audit": true` and pass at every level. Never throws, whatever it is given and
 * whatever `write` does. That must have written when it returns, because a function may be frozen
 * right after its answer.
 */
export function lineLogger(
  level: LogLevel,
  options: { readonly write: (line: string) => void; readonly now: () => number },
): Logger {
  const print = (name: LogLevel, fields: LogFields, message: string) => {
    const timestamp = new Date(options.now()).toISOString();
    const head = { level: name.toUpperCase(), message, timestamp };
    try {
      options.write(`${renderLine({ ...head, ...fields, ...head })}\n`);
    } catch {
      // There is nowhere left to say it, and a delivery must not fail for want of a line.
    }
  };
  const least = LOG_LEVELS.indexOf(level);
  const say = (name: LogLevel) => (fields: LogFields, message: string) => {
    if (LOG_LEVELS.indexOf(name) >= least) print(name, fields, message);
  };
  return {
    debug: say("debug"),
    info: say("info"),
    warn: say("warn"),
    error: say("error"),
    audit: (fields) => print("info", { audit: true, ...fields }, auditMessage(fields)),
  };
}
