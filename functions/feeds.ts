import type { Config } from "../lib/config.ts";
import { type FeedContent, feedNameOf } from "../lib/core/feed.ts";
import type { TargetConfig } from "../lib/core/list.ts";
import type { Log } from "../lib/stores/log.ts";
import type { FeedSettings } from "../lib/targets/feed.ts";

/** A list that can be fetched. */
export interface PublishedFeed {
  /** `lists.<list>.targets`, for messages. */
  readonly path: string;
  /** The name of its log. */
  readonly name: string;
  readonly log: Log<FeedContent>;
  /** Whether an empty list may be shown. */
  readonly mayBeEmpty: boolean;
  /**
   * Any one of them opens the feed; null where it is open to all. Each is resolved once. Throws an
   * Error that names the reference, never its value.
   */
  tokens(): readonly string[] | null;
}

// What both kinds of credentials can carry, and nobody guesses.
const TOKEN = /^[\x21-\x7e]{16,512}$/;

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
    list.targets
      .filter((target) => target.kind === "feed")
      .map((target) => ({ list, feed: publish(target, world) })),
  );
  return new Map(
    feeds.flatMap(({ list, feed }) =>
      [list.name, ...list.formerly].map((name) => [name, feed] as const),
    ),
  );
}

function publish(
  { owner, settings }: TargetConfig,
  world: Parameters<typeof publishedFeeds>[1],
): PublishedFeed {
  const { tokens, open, empty } = settings as FeedSettings;
  const name = feedNameOf(owner);
  let resolved: readonly string[] | null = null;
  return {
    path: `lists.${owner.list}.targets`,
    name,
    log: world.feedLog(name),
    mayBeEmpty: empty === true,
    tokens() {
      if (open === true) return null;
      resolved ??= (tokens ?? []).map((reference) => usable(reference, world.secret(reference)));
      return resolved;
    },
  };
}

function usable(reference: string, token: string): string {
  if (TOKEN.test(token)) return token;
  throw new Error(
    `Cannot use ${reference} as a token: expected 16 to 512 visible ASCII characters; ` +
      "make a new one",
  );
}
