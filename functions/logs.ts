import { type FeedContent, parseFeed } from "../lib/core/feed.ts";
import type { SourceReading } from "../lib/core/reading.ts";
import type { Instant } from "../lib/core/record.ts";
import {
  type AdmittedSnapshot,
  parseStoredSnapshot,
  storedSnapshot,
} from "../lib/core/snapshot.ts";
import { parseTargetObject, type TargetObject } from "../lib/stores/lease.ts";
import { type Log, openLog } from "../lib/stores/log.ts";
import { parseSourceReading } from "../lib/stores/readings.ts";
import type { Store } from "../lib/stores/store.ts";
import { timedStore } from "../lib/stores/timed.ts";
import type { World } from "../lib/world.ts";
import { countedStore } from "./run.ts";

/** Opens a log by its name. No call to the store is begun or waited for after a deadline. */
export type OpenLog<T> = (name: string, deadline?: Instant) => Log<T>;

/** Everything that lies in a store. */
export interface Logs {
  readonly clusterLog: OpenLog<AdmittedSnapshot>;
  readonly objectLog: OpenLog<TargetObject>;
  readonly sourceLog: OpenLog<SourceReading>;
  readonly feedLog: OpenLog<FeedContent>;
}

export function openLogs(
  store: Store,
  { installation, world }: { readonly installation: string; readonly world: World },
): Logs {
  const place = (deadline: Instant = Number.POSITIVE_INFINITY) => ({
    store: countedStore(timedStore(store, { world, deadline })),
    prefix: "",
    installation,
    world,
  });
  return {
    clusterLog: (name, deadline) =>
      openLog({
        ...place(deadline),
        kind: "clusters",
        name,
        parse: parseStoredSnapshot,
        render: storedSnapshot,
      }),
    objectLog: (name, deadline) =>
      openLog({ ...place(deadline), kind: "targets", name, parse: parseTargetObject }),
    sourceLog: (name, deadline) =>
      openLog({ ...place(deadline), kind: "sources", name, parse: parseSourceReading }),
    feedLog: (name, deadline) =>
      openLog({ ...place(deadline), kind: "feeds", name, parse: parseFeed }),
  };
}
