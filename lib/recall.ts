import { clustersOf, type List, type TargetConfig } from "./core/list.ts";
import type { Snapshots } from "./core/members.ts";
import type { Slot, Slots } from "./core/record.ts";
import { type ListReport, stateOf } from "./core/report.ts";
import type { SyncContext } from "./sync.ts";

/*
 * What the store remembers, read so that what cannot be read is said and never taken for empty.
 */

/** A slot's memory, unless it is of another list that had the target before. */
export function slotFor(list: List, slot: Slot | undefined): Slot | null {
  return slot !== undefined && slot.list === list.name ? slot : null;
}

/** Why a list cannot be judged: one of its clusters' stored snapshots cannot be read. */
export function troubleOf(list: List, unreadable: ReadonlyMap<string, string>): string | null {
  const cluster = clustersOf(list).find((name) => unreadable.has(name));
  return cluster === undefined ? null : (unreadable.get(cluster) ?? null);
}

/** A report whose numbers are old because something kept us from looking. */
export function troubled(report: ListReport, message: string): ListReport {
  return { ...report, state: stateOf("unavailable"), reason: "unavailable", message };
}

/**
 * The newest admitted snapshot of every cluster of these lists; a cluster that cannot be read is
 * never an empty one.
 */
export async function readSnapshots(
  context: Pick<SyncContext, "clusterLog">,
  lists: readonly List[],
): Promise<{ readonly snapshots: Snapshots; readonly unreadable: ReadonlyMap<string, string> }> {
  const clusters = [...new Set(lists.flatMap(clustersOf))].toSorted();
  const unreadable = new Map<string, string>();
  const newest = await Promise.all(
    clusters.map(async (cluster) => {
      try {
        return [cluster, (await context.clusterLog(cluster).newest())?.body ?? null] as const;
      } catch (error) {
        unreadable.set(cluster, messageOf(error));
        return [cluster, null] as const;
      }
    }),
  );
  return { snapshots: Object.fromEntries(newest), unreadable };
}

/**
 * What is remembered of these targets, by target name. What cannot be read is met again under the
 * lease.
 */
export async function readSlots(
  context: Pick<SyncContext, "objectLog" | "world">,
  targets: readonly { readonly config: TargetConfig }[],
): Promise<Slots> {
  const objects = [...new Set(targets.map(({ config }) => config.object))].toSorted();
  const newest = await Promise.all(
    objects.map(async (object) => {
      try {
        return (await context.objectLog(object).newest())?.body.slots ?? {};
      } catch (error) {
        context.world.log.warn({ object, error: messageOf(error) }, "Cannot read a record");
        return {};
      }
    }),
  );
  return Object.assign({}, ...newest);
}

/** What is known of a failure, in one sentence. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : "unknown error";
}
