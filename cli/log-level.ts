import { isLogLevel, LOG_LEVELS, type LogLevel } from "../lib/log-line.ts";
import { type Shell, UsageError } from "./shell.ts";

/** `KUBE_ALLOWLIST_LOG_LEVEL`, `info` when it is not set. */
export function logLevelOf(env: Shell["env"]): LogLevel {
  const level = env.KUBE_ALLOWLIST_LOG_LEVEL || "info";
  if (isLogLevel(level)) return level;
  const message = `Cannot use log level ${JSON.stringify(level)}: one of ${LOG_LEVELS.join(", ")}`;
  throw new UsageError("Cannot use the environment", [
    { path: "KUBE_ALLOWLIST_LOG_LEVEL", message },
  ]);
}
