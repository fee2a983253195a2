import { feedKind } from "../feed.ts";
import { ownOf } from "../registration.ts";
import { openFeed } from "./log.ts";

export const feedKinds = {
  ...ownOf("feed", feedKind, ({ owner }, { feed, world }) => ({
    ...openFeed(owner, feed),
    now: world.now,
  })),
};
