import { spawnSync } from "node:child_process";
import { ROOT } from "../bundle.ts";
import type { Origin } from "./image-config.ts";

/**
 * The commit that this clone is at; where it is none, the image names no revision. Its time is the
 * commit's, unless `SOURCE_DATE_EPOCH` (reproducible-builds.org) says another, in seconds.
 */
export function readOrigin(version: string, env: NodeJS.ProcessEnv): Origin {
  const commit = git("log", "-1", "--format=%H %ct");
  const [hash = null, seconds = "0"] = commit?.split(" ") ?? [];
  const isDirty = hash !== null && git("status", "--porcelain") !== "";
  const epoch = env.SOURCE_DATE_EPOCH ?? seconds;
  if (!/^\d{1,12}$/.test(epoch)) {
    throw new Error(`Cannot read SOURCE_DATE_EPOCH: "${epoch}"; write seconds since 1970`);
  }
  return {
    version,
    revision: isDirty ? `${hash}-dirty` : hash,
    created: new Date(Number(epoch) * 1_000),
  };
}

function git(...args: readonly string[]): string | null {
  const run = spawnSync("git", args, { cwd: ROOT, encoding: "utf8" });
  return run.status === 0 ? run.stdout.trim() : null;
}
