import { type DestinationStream, pino } from "pino";
import type { Logger } from "./world.ts";

export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export function isLogLevel(text: string): text is LogLevel {
  return (LOG_LEVELS as readonly string[]).includes(text);
}

// The last line of defence: nothing hands secrets to a log, and these names never get through if it
// does.
const SECRET_PATHS = [
  "authorization",
  "headers",
  "key",
  "keys",
  "secret",
  "token",
  "signature",
].flatMap((name) => [name, `*.${name}`]);

/**
 * JSON lines with `level`, `timestamp` and `message`. Audit lines carry `"audit": true` and pass at
 * every level. Lines are written at once, because a function may be frozen right after its answer.
 */
export function makeLogger(
  level: LogLevel,
  streams: { readonly log: DestinationStream; readonly audit: DestinationStream },
): Logger {
  const options = {
    base: null,
    messageKey: "message",
    timestamp: () => `,"timestamp":"${new Date(Date.now()).toISOString()}"`,
    formatters: { level: (label: string) => ({ level: label.toUpperCase() }) },
    redact: { paths: SECRET_PATHS, censor: "[redacted]" },
  };
  const lines = pino({ ...options, level }, streams.log);
  const audit = pino({ ...options, level: "info" }, streams.audit);
  return {
    debug: (fields, message) => lines.debug(fields, message),
    info: (fields, message) => lines.info(fields, message),
    warn: (fields, message) => lines.warn(fields, message),
    error: (fields, message) => lines.error(fields, message),
    audit: (fields) => {
      const message = fields.result === "done" ? "Changed a target" : "Tried to change a target";
      audit.info({ audit: true, ...fields }, message);
    },
  };
}
