import { heardAt } from "./core/admission.ts";
import { addressSet } from "./core/aggregate.ts";
import { digestOf } from "./core/digest.ts";
import { desiredDigest, listDigest } from "./core/due.ts";
import { desiredEntries } from "./core/entries.ts";
import { clusterOf, clustersOf, type List, outsidesOf, type Policy } from "./core/list.ts";
import { type Membership, membersOf, type Snapshots } from "./core/members.ts";
import { type OutsideSource, outsideKey, outsideName } from "./core/outside.ts";
import { staleAfterMs } from "./core/reading.ts";
import type { Instant, Slot } from "./core/record.ts";
import { blankReport, type ListReport, stateOf } from "./core/report.ts";
import type { Generation } from "./core/snapshot.ts";
import { judge } from "./core/verdict.ts";
import type { Voice } from "./core/voice.ts";
import {
  readObjects,
  readTruth,
  slotFor,
  slotsOf,
  type Truth,
  troubled,
  troubleOf,
} from "./recall.ts";
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
  /** As many as its forwarder looks at. */
  readonly pods: number;
  /** ISO 8601, or null when it was never heard. */
  readonly heardAt: string | null;
  /** Whether it was heard of late. One that is retired counts as heard. */
  readonly fresh: boolean;
  readonly retired: boolean;
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

/** A status that looked at the targets. */
export interface Survey extends Status {
  /** The id of exactly these removals; null when there are none. */
  readonly plan: string | null;
  /** Targets whose additions wait until everybody was heard. Ascending. */
  readonly waiting: readonly string[];
  /** Targets that could not be looked at: what is said of them is old or counted. Ascending. */
  readonly unread: readonly string[];
}

/** Longest that a look takes which has no deadline of its own. */
const SURVEY_MS_MAX = 60_000;

/** From the store alone: never calls a target or a source. */
export async function statusOf(context: SyncContext, lists: readonly List[]): Promise<Status> {
  const targets = lists.flatMap((list) => list.targets.map((config) => ({ list, config })));
  const truth = await readTruth(context, lists);
  const slots = slotsOf(await readObjects(context, targets));
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
  const slots = slotsOf(await readObjects(context, targets));
  const sights = await Promise.all(
    targets.map(async ({ list, config }): Promise<Sight> => {
      const trouble = troubleOf(list, truth);
      const slot = slotFor(list, slots[config.name]);
      if (trouble === null) return inspect(context, { list, config, slot, truth });
      return { kind: "unread", report: troubled(unreadReport(list, config, slot), trouble) };
    }),
  );
  const reports = sights.map(({ report }) => report);
  const targetsOf = (kind: Sight["kind"]) =>
    sights.flatMap((sight) => (sight.kind === kind ? sight.report.target : [])).toSorted();
  return {
    ...head(context, truth, { lists, reports }),
    plan: planIdOf(reports),
    waiting: targetsOf("waiting"),
    unread: targetsOf("unread"),
  };
}

/** What a look at one target found: whether additions go, wait for somebody, or nobody knows. */
interface Sight {
  readonly kind: "read" | "waiting" | "unread";
  readonly report: ListReport;
}

interface Subject {
  readonly list: List;
  readonly config: List["targets"][number];
  readonly slot: Slot | null;
  readonly truth: Truth;
}

async function inspect(context: SyncContext, subject: Subject): Promise<Sight> {
  const { policy, world } = context;
  const { list, config, truth, slot } = subject;
  const { snapshots, readings } = truth;
  const membership = membersOf(list, snapshots, { policy, readings, now: world.now() });
  try {
    const target = await context.targetOf(config);
    const reason = () =>
      new TargetError("unavailable", `Cannot read ${target.name}: no answer in time`);
    const observation = await withTimeout(world, target.traits.callMs, { reason }, (signal) =>
      target.observe(signal),
    );
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
    const { plan, report } = verdict;
    const isHeld = plan.add.length === 0 && plan.unfit.length === 0 && report.add.length > 0;
    return { kind: target.traits.beginsWhole === true && isHeld ? "waiting" : "read", report };
  } catch (error) {
    if (!(error instanceof TargetError)) throw error;
    const { kind: reason, message } = error;
    const desired = countDesired(context, subject, membership);
    const report = { ...unreadReport(list, config, slot), desired };
    return { kind: "unread", report: { ...report, state: stateOf(reason), reason, message } };
  }
}

/** Of a target that cannot be looked at: what was there last, and no changes, for nobody knows. */
function unreadReport(list: List, config: Subject["config"], slot: Slot | null): ListReport {
  const last = slot?.report ?? blankReport(list.name, config.name);
  // A list that was renamed keeps what was remembered, not the name it was said under.
  return { ...last, list: list.name, add: [], remove: [], leaving: [], refused: [] };
}

function countDesired(context: SyncContext, subject: Subject, membership: Membership): number {
  const { policy } = context;
  const { config, slot } = subject;
  const traits = context.traitsOf(config);
  const wantedSince = slot?.entries ?? {};
  // What is there is not known, so nothing of it is ours; that only decides who is first.
  const owned = addressSet([]);
  return desiredEntries(membership.members, { policy, traits, wantedSince, owned }).cidrs.length;
}

function head(
  context: SyncContext,
  truth: Truth,
  found: { readonly lists: readonly List[]; readonly reports: readonly ListReport[] },
): Status {
  const { policy, world } = context;
  const { snapshots, readings } = truth;
  const clusters = [...new Set(found.lists.flatMap(clustersOf))].toSorted();
  const now = world.now();
  const voices = found.lists.flatMap(
    (list) => membersOf(list, snapshots, { policy, readings, now }).voices,
  );
  return {
    version: 1,
    installation: policy.installation,
    at: new Date(now).toISOString(),
    clusters: clusters.map((name) => clusterStatus(name, snapshots, { policy, now })),
    sources: outsidesOf(found.lists).map((source) => sourceStatus(source, truth, { voices, now })),
    lists: found.reports,
  };
}

function clusterStatus(
  name: string,
  snapshots: Snapshots,
  options: { readonly policy: Policy; readonly now: Instant },
): ClusterStatus {
  const snapshot = snapshots[name] ?? null;
  const { staleAfterMs: staleMs, retired } = clusterOf(options.policy, name);
  if (snapshot === null) {
    const nothing = { clusterUid: null, generation: null, nodes: 0, pods: 0, heardAt: null };
    return { cluster: name, ...nothing, fresh: retired, retired };
  }
  const heard = heardAt(snapshot);
  return {
    cluster: name,
    clusterUid: snapshot.clusterUid,
    generation: snapshot.generation,
    nodes: snapshot.nodes.length,
    pods: snapshot.pods.length,
    heardAt: new Date(heard).toISOString(),
    fresh: retired || options.now - heard <= staleMs,
    retired,
  };
}

function sourceStatus(
  source: OutsideSource,
  { readings, unreadable }: Truth,
  found: { readonly voices: readonly Voice[]; readonly now: Instant },
): SourceStatus {
  const key = outsideKey(source);
  const name = outsideName(source);
  const reading = readings[key] ?? null;
  const useless = found.voices.flatMap((voice) => {
    if (voice.kind !== "not-heard" || "cluster" in voice || voice.source !== name) return [];
    return voice.refused === true ? [voice.message] : [];
  });
  const readAt = reading?.readAt ?? null;
  return {
    source: name,
    cidrs: (reading?.answers ?? []).map(({ cidr }) => cidr),
    free: reading?.free ?? null,
    readAt: readAt === null ? null : new Date(readAt).toISOString(),
    fresh: readAt !== null && Math.abs(found.now - readAt) <= staleAfterMs(source),
    message: unreadable.get(key) ?? reading?.trouble?.message ?? useless[0] ?? null,
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
