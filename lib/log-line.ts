import type { LogFields } from "./world.ts";

/*
 * What the logs of all processes have in common, however they are written.
 */

export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export function isLogLevel(text: string): text is LogLevel {
  return (LOG_LEVELS as readonly string[]).includes(text);
}

/** The sentence of an audit line. */
export function auditMessage({ result }: LogFields): string {
  return result === "done" ? "Changed a target" : "Tried to change a target";
}
