import type { Config } from "../lib/config.ts";
import { outsidesOf } from "../lib/core/list.ts";
import { outsideKey } from "../lib/core/outside.ts";
import type { Instant } from "../lib/core/record.ts";
import type { World } from "../lib/world.ts";
import type { PublishedFeed } from "./feeds.ts";
import type { Logs } from "./logs.ts";

const INTERVAL_MS = 3_600_000;

/** Trims every log of a configuration, at most once an hour each, for as long as there is time. */
export function trimmer(options: {
  readonly config: Config;
  readonly feeds: ReadonlyMap<string, PublishedFeed>;
  readonly logs: Logs;
  readonly world: World;
}): (deadline?: Instant) => Promise<void> {
  const { config, feeds, logs, world } = options;
  const trimmed = new Map<string, Instant>();
  const kinds = [
    { kind: "clusters", open: logs.clusterLog, names: Object.keys(config.clusters) },
    {
      kind: "targets",
      open: logs.objectLog,
      names: config.lists.flatMap((list) => list.targets.map((target) => target.object)),
    },
    { kind: "sources", open: logs.sourceLog, names: outsidesOf(config.lists).map(outsideKey) },
    {
      kind: "feeds",
      open: logs.feedLog,
      names: [...feeds.values()].flatMap(({ parts }) => Object.keys(parts)),
    },
  ];
  return async (deadline = Number.POSITIVE_INFINITY) => {
    for (const { kind, open, names } of kinds) {
      for (const name of new Set(names)) {
        const log = `${kind}/${name}`;
        const now = world.now();
        // What there is no time for is due at the next run.
        if (now >= deadline) return;
        if (now - (trimmed.get(log) ?? Number.NEGATIVE_INFINITY) < INTERVAL_MS) continue;
        trimmed.set(log, now);
        await trimOne(world, log, open(name, deadline));
      }
    }
  };
}

// History that is left lying costs storage, nothing else: the next hour tries again.
async function trimOne(
  world: World,
  name: string,
  log: { trim(): Promise<number> },
): Promise<void> {
  try {
    const gone = await log.trim();
    if (gone > 0) world.log.info({ log: name, gone }, "Trimmed a log");
  } catch (error) {
    const message = error instanceof Error ? error.message : "unknown error";
    world.log.warn({ log: name, error: message }, "Cannot trim a log");
  }
}
