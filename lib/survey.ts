import { heardAt } from "./core/admission.ts";
import { digestOf } from "./core/digest.ts";
import { desiredDigest, listDigest } from "./core/due.ts";
import { clustersOf, type List, outsidesOf, type Policy } from "./core/list.ts";
import { membersOf, type Snapshots } from "./core/members.ts";
import { type OutsideSource, outsideKey, outsideName } from "./core/outside.ts";
import { type SourceReading, staleAfterMs } from "./core/reading.ts";
import type { Instant, Slot } from "./core/record.ts";
import { blankReport, type ListReport, stateOf } from "./core/report.ts";
import type { Generation } from "./core/snapshot.ts";
import { judge } from "./core/verdict.ts";
import { readSlots, readTruth, type Truth, troubled, troubleOf } from "./recall.ts";
import { askSources } from "./refresh.ts";
import type { SyncContext } from "./sync.ts";
import { TargetError } from "./targets/target.ts";
import { withTimeout } from "./world.ts";

/** What is known of one cluster. */
export interface ClusterStatus {
  readonly cluster: string;
  readonly clusterUid: string | null;
  readonly generation: Generation | null;
  readonly nodes: number;
  /** ISO 8601, or null when it was never heard. */
  readonly heardAt: string | null;
  readonly fresh: boolean;
}

/** What is known of one subnet or name that gives members. */
export interface SourceStatus {
  /** `aws/subnet/subnet-0a1b`, `dns/nat.example.com`. */
  readonly source: string;
  /** All that it gives to lists, before bounds; sorted. */
  readonly cidrs: readonly string[];
  /** Addresses of a subnet that nobody uses yet; null where nobody counts them. */
  readonly free: number | null;
  /** ISO 8601, or null when it was never read. */
  readonly readAt: string | null;
  readonly fresh: boolean;
  /** Why it could not be read since, with a way out; null when all is well. */
  readonly message: string | null;
}

/** Every list on every target, in one of four states. */
export interface Status {
  readonly version: 1;
  readonly installation: string;
  readonly at: string;
  readonly clusters: readonly ClusterStatus[];
  readonly sources: readonly SourceStatus[];
  readonly lists: readonly ListReport[];
}

/**
 * A status that looked at the targets, with the id of exactly these removals; null when there are
 * none.
 */
export interface Survey extends Status {
  readonly plan: string | null;
}

/** Longest that a look takes which has no deadline of its own. */
const SURVEY_MS_MAX = 60_000;

/** From the store alone: never calls a target or a source. */
export async function statusOf(context: SyncContext, lists: readonly List[]): Promise<Status> {
  const targets = lists.flatMap((list) => list.targets.map((config) => ({ list, config })));
  const truth = await readTruth(context, lists);
  const slots = await readSlots(context, targets);
  const reports = targets.map(({ list, config }) => {
    const report = rememberedReport(context, slots[config.name], { list, config, truth });
    const trouble = troubleOf(list, truth);
    return trouble === null ? report : troubled(report, trouble);
  });
  return head(context, truth, { lists, reports });
}

/** What was last read, or that a newer truth or configuration has not been brought about yet. */
function rememberedReport(
  { policy, world }: SyncContext,
  slot: Slot | undefined,
  subject: Pick<Subject, "list" | "config" | "truth">,
): ListReport {
  const { list, config, truth } = subject;
  if (slot === undefined || slot.list !== list.name) return blankReport(list.name, config.name);
  const { snapshots, readings } = truth;
  const membership = membersOf(list, snapshots, { policy, readings, now: world.now() });
  const current =
    slot.digest === listDigest(list, policy) && slot.desired === desiredDigest(membership);
  if (current || stateOf(slot.report.reason) === "failed") return slot.report;
  const message = `"${list.name}" has changed since the target was last synced`;
  return { ...slot.report, state: stateOf("batch"), reason: "batch", message };
}

/**
 * Asks the sources, looks at every target and judges as a resync would now. Writes nothing, neither
 * to targets nor to the store.
 */
export async function survey(context: SyncContext, lists: readonly List[]): Promise<Survey> {
  const targets = lists.flatMap((list) => list.targets.map((config) => ({ list, config })));
  const stored = await readTruth(context, lists);
  const deadline = context.world.now() + SURVEY_MS_MAX;
  const readings = await askSources(context, { ...stored, lists, deadline });
  const truth = { ...stored, readings };
  const slots = await readSlots(context, targets);
  const reports = await Promise.all(
    targets.map(async ({ list, config }) => {
      const trouble = troubleOf(list, truth);
      const slot = slots[config.name] ?? null;
      if (trouble === null) return inspect(context, { list, config, slot, truth });
      return troubled(blankReport(list.name, config.name), trouble);
    }),
  );
  const status = head(context, truth, { lists, reports });
  return { ...status, plan: planIdOf(reports) };
}

interface Subject {
  readonly list: List;
  readonly config: List["targets"][number];
  readonly slot: Slot | null;
  readonly truth: Truth;
}

async function inspect(context: SyncContext, subject: Subject): Promise<ListReport> {
  const { policy, world } = context;
  const { list, config, truth } = subject;
  const { snapshots, readings } = truth;
  const membership = membersOf(list, snapshots, { policy, readings, now: world.now() });
  try {
    const target = await context.targetOf(config);
    const reason = () =>
      new TargetError("unavailable", `Cannot read ${target.name}: no answer in time`);
    const observation = await withTimeout(world, target.traits.callMs, { reason }, (signal) =>
      target.observe(signal),
    );
    const slot = subject.slot?.list === list.name ? subject.slot : null;
    const current = slot?.digest === listDigest(list, policy);
    const verdict = judge({
      policy,
      list,
      target: config,
      traits: target.traits,
      membership,
      memory: slot === null || current ? slot : { ...slot, unwanted: {} },
      removed: slot?.removed ?? {},
      doubts: {},
      observation,
      now: world.now(),
      full: false,
      sent: false,
      accepted: null,
    });
    return verdict.report;
  } catch (error) {
    if (!(error instanceof TargetError)) throw error;
    const { kind: reason, message } = error;
    return { ...blankReport(list.name, config.name), state: stateOf(reason), reason, message };
  }
}

function head(
  context: SyncContext,
  { snapshots, readings }: Truth,
  found: { readonly lists: readonly List[]; readonly reports: readonly ListReport[] },
): Status {
  const { policy, world } = context;
  const clusters = [...new Set(found.lists.flatMap(clustersOf))].toSorted();
  const now = world.now();
  return {
    version: 1,
    installation: policy.installation,
    at: new Date(now).toISOString(),
    clusters: clusters.map((name) => clusterStatus(name, snapshots, { policy, now })),
    sources: outsidesOf(found.lists).map((source) =>
      sourceStatus(source, readings[outsideKey(source)] ?? null, now),
    ),
    lists: found.reports,
  };
}

function clusterStatus(
  name: string,
  snapshots: Snapshots,
  options: { readonly policy: Policy; readonly now: Instant },
): ClusterStatus {
  const snapshot = snapshots[name] ?? null;
  if (snapshot === null) {
    const nothing = { clusterUid: null, generation: null, nodes: 0, heardAt: null };
    return { cluster: name, ...nothing, fresh: false };
  }
  const heard = heardAt(snapshot);
  return {
    cluster: name,
    clusterUid: snapshot.clusterUid,
    generation: snapshot.generation,
    nodes: snapshot.nodes.length,
    heardAt: new Date(heard).toISOString(),
    fresh: options.now - heard <= (options.policy.clusters[name]?.staleAfterMs ?? 0),
  };
}

function sourceStatus(
  source: OutsideSource,
  reading: SourceReading | null,
  now: Instant,
): SourceStatus {
  const readAt = reading?.readAt ?? null;
  return {
    source: outsideName(source),
    cidrs: (reading?.answers ?? []).map(({ cidr }) => cidr),
    free: reading?.free ?? null,
    readAt: readAt === null ? null : new Date(readAt).toISOString(),
    fresh: readAt !== null && Math.abs(now - readAt) <= staleAfterMs(source),
    message: reading?.trouble?.message ?? null,
  };
}

/** Names exactly these removals: another address, list or target gives another id. */
export function planIdOf(reports: readonly ListReport[]): string | null {
  const removals = reports
    .filter((report) => report.remove.length > 0)
    .map(({ list, target, remove }) => ({ list, target, remove }))
    .toSorted((a, b) => (a.target < b.target ? -1 : 1));
  return removals.length === 0 ? null : digestOf(removals).slice(0, 12);
}
