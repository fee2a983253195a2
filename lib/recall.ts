import { clustersOf, type List, outsidesOf, type TargetConfig } from "./core/list.ts";
import type { Snapshots } from "./core/members.ts";
import { outsideKey } from "./core/outside.ts";
import type { Readings } from "./core/reading.ts";
import type { Slot, Slots } from "./core/record.ts";
import { type ListReport, stateOf } from "./core/report.ts";
import { type Look, lookAt } from "./stores/lease.ts";
import type { Log } from "./stores/log.ts";
import type { SyncContext } from "./sync.ts";

/*
 * What the store remembers, read so that what cannot be read is said and never taken for empty.
 */

/** A slot's memory, unless it is of another list that had the target before. */
export function slotFor(list: List, slot: Slot | undefined): Slot | null {
  return slot !== undefined && slot.list === list.name ? slot : null;
}

/** What the store holds of those who give members to lists. */
export interface Truth {
  readonly snapshots: Snapshots;
  readonly readings: Readings;
  /** What cannot be read, and why: names of clusters, keys of outside sources. */
  readonly unreadable: ReadonlyMap<string, string>;
}

/** Why a list cannot be judged: what is stored of one of its sources cannot be read. */
export function troubleOf(list: List, { unreadable }: Pick<Truth, "unreadable">): string | null {
  const speakers = [...clustersOf(list), ...outsidesOf([list]).map(outsideKey)];
  const speaker = speakers.find((name) => unreadable.has(name));
  return speaker === undefined ? null : (unreadable.get(speaker) ?? null);
}

/** A report whose numbers are old because something kept us from looking. */
export function troubled(report: ListReport, message: string): ListReport {
  return { ...report, state: stateOf("unavailable"), reason: "unavailable", message };
}

/** A report whose numbers are old because no time was left for even one look. */
export function hurried(report: ListReport): ListReport {
  const message = `No time was left to look at "${report.list}" in this run`;
  return { ...report, state: stateOf("batch"), reason: "batch", message };
}

/**
 * The newest admitted snapshot of every cluster of these lists, and the newest reading of every
 * outside source; what cannot be read is never empty.
 */
export async function readTruth(
  context: Pick<SyncContext, "clusterLog" | "sourceLog">,
  lists: readonly List[],
): Promise<Truth> {
  const clusters = [...new Set(lists.flatMap(clustersOf))].toSorted();
  const [spoken, asked] = await Promise.all([
    readNewest(clusters, context.clusterLog),
    readReadings(context, lists),
  ]);
  const unreadable = new Map([...spoken.unreadable, ...asked.unreadable]);
  return { snapshots: spoken.bodies, readings: asked.readings, unreadable };
}

/** The part of {@link readTruth} that outside sources said. */
export async function readReadings(
  context: Pick<SyncContext, "sourceLog">,
  lists: readonly List[],
): Promise<Pick<Truth, "readings" | "unreadable">> {
  const keys = outsidesOf(lists).map(outsideKey);
  const { bodies, unreadable } = await readNewest(keys, context.sourceLog);
  return { readings: bodies, unreadable };
}

async function readNewest<T>(names: readonly string[], logOf: (name: string) => Log<T>) {
  const unreadable = new Map<string, string>();
  const newest = await Promise.all(
    names.map(async (name) => {
      try {
        return [name, (await logOf(name).newest())?.body ?? null] as const;
      } catch (error) {
        unreadable.set(name, messageOf(error));
        return [name, null] as const;
      }
    }),
  );
  return { bodies: Object.fromEntries(newest), unreadable };
}

/** What the logs of objects showed, by object; those that could not be read are not there. */
export type Objects = ReadonlyMap<string, Look>;

/** The newest of the log of each object of these targets. */
export async function readObjects(
  context: Pick<SyncContext, "objectLog" | "world">,
  targets: readonly { readonly config: TargetConfig }[],
): Promise<Objects> {
  const objects = [...new Set(targets.map(({ config }) => config.object))].toSorted();
  const newest = await Promise.all(
    objects.map(async (object) => {
      try {
        return [[object, await lookAt(context.objectLog(object), context.world)] as const];
      } catch (error) {
        context.world.log.warn({ object, error: messageOf(error) }, "Cannot read a record");
        return [];
      }
    }),
  );
  return new Map(newest.flat());
}

/**
 * What is remembered of the targets of these objects, by target name. What could not be read is met
 * again under the lease.
 */
export function slotsOf(objects: Objects): Slots {
  return Object.assign({}, ...[...objects.values()].map(({ newest }) => newest?.body.slots));
}

/** What is known of a failure, in one sentence. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : "unknown error";
}
