import { type DestinationStream, pino } from "pino";
import { auditMessage, type LogLevel } from "./log-line.ts";
import type { Logger } from "./world.ts";

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
 * JSON lines with `level`, `timestamp` and `message`, of processes that stay: commands, `serve` and
 * the forwarder. Audit lines carry `"audit": true` and pass at every level. Functions have a log of
 * their own (`functions/line-log.ts`), since this library is a quarter of what they may hold.
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
    audit: (fields) => audit.info({ audit: true, ...fields }, auditMessage(fields)),
  };
}
