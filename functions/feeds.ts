import type { Config } from "../lib/config.ts";
import type { FeedContent } from "../lib/core/feed.ts";
import type { TargetConfig } from "../lib/core/list.ts";
import type { Log } from "../lib/stores/log.ts";
import { type FeedLog, feedLogNames, openFeed } from "../lib/targets/feed/log.ts";
import type { FeedSettings } from "../lib/targets/feed.ts";
import { resolveTokens } from "./tokens.ts";

/** A list that can be fetched. */
export interface PublishedFeed {
  readonly log: FeedLog;
  /** Every log that may hold it, by name; for whoever keeps house. */
  readonly parts: Readonly<Record<string, Log<FeedContent>>>;
  /** Whether an empty list may be shown. */
  readonly mayBeEmpty: boolean;
  /**
   * Any one of them opens the feed; null where it is open to all. Each is resolved once. Throws a
   * ConfigurationError that names the references, never their values.
   */
  tokens(): readonly string[] | null;
}

/**
 * Every feed of the configuration, by the names it answers to: a list that was renamed is still
 * found under its former names, since a firewall that is told 401 may stop enforcing its list.
 */
export function publishedFeeds(
  config: Config,
  world: {
    readonly feedLog: (name: string) => Log<FeedContent>;
    readonly secret: (reference: string) => string;
  },
): ReadonlyMap<string, PublishedFeed> {
  const feeds = config.lists.flatMap((list) =>
    list.targets.flatMap((target, index) => {
      if (target.kind !== "feed") return [];
      const path = `lists.${list.name}.targets[${index}].tokens`;
      return [{ list, feed: publish(target, path, world) }];
    }),
  );
  return new Map(
    feeds.flatMap(({ list, feed }) =>
      [list.name, ...list.formerly].map((name) => [name, feed] as const),
    ),
  );
}

function publish(
  { owner, settings }: TargetConfig,
  path: string,
  world: Parameters<typeof publishedFeeds>[1],
): PublishedFeed {
  const { tokens, open, empty } = settings as FeedSettings;
  const logs = feedLogNames(owner).map((name) => [name, world.feedLog(name)] as const);
  let resolved: readonly string[] | null = null;
  return {
    log: openFeed(owner, world.feedLog),
    parts: Object.fromEntries(logs),
    mayBeEmpty: empty === true,
    tokens() {
      if (open === true) return null;
      resolved ??= resolveTokens(tokens ?? [], { path, secret: world.secret });
      return resolved;
    },
  };
}
