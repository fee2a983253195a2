import { desiredDigest, isDue, listDigest, runningClocks } from "./core/due.ts";
import type { List, Policy, TargetConfig } from "./core/list.ts";
import { membersOf, type Snapshots } from "./core/members.ts";
import type { Traits } from "./core/observation.ts";
import type { OutsideSource } from "./core/outside.ts";
import type { SourceOutcome, SourceReading } from "./core/reading.ts";
import type { Instant, Slot, Slots } from "./core/record.ts";
import { blankReport, type ListReport, stateOf } from "./core/report.ts";
import type { AdmittedSnapshot } from "./core/snapshot.ts";
import { inParallel } from "./parallel.ts";
import {
  hurried,
  messageOf,
  type Objects,
  readObjects,
  readTruth,
  slotFor,
  slotsOf,
  type Truth,
  troubled,
  troubleOf,
} from "./recall.ts";
import { reconcile } from "./reconcile.ts";
import { refreshSources } from "./refresh.ts";
import { acquireLease, type Lease, type TargetObject } from "./stores/lease.ts";
import type { Log } from "./stores/log.ts";
import { StoreError } from "./stores/store.ts";
import { type Target, TargetError } from "./targets/target.ts";
import type { Heard } from "./turn.ts";
import type { World } from "./world.ts";

/** Everything outside that a sync meets, made by the wiring. */
export interface SyncContext {
  readonly policy: Policy;
  readonly world: World;
  readonly clusterLog: (cluster: string) => Log<AdmittedSnapshot>;
  readonly objectLog: (object: string) => Log<TargetObject>;
  /** By {@link outsideKey}. */
  readonly sourceLog: (key: string) => Log<SourceReading>;
  /** Asks once. What the world does is in the outcome; must honour the signal. */
  readonly readSource: (source: OutsideSource, signal: AbortSignal) => Promise<SourceOutcome>;
  readonly targetOf: (config: TargetConfig) => Promise<Target>;
  readonly traitsOf: (config: TargetConfig) => Traits;
  /**
   * Aborts when the process was asked to end: no further call is begun, the one under way is
   * awaited.
   */
  readonly signal?: AbortSignal;
}

export interface SyncOptions {
  readonly lists: readonly List[];
  /** No call is begun that would not end before this. */
  readonly deadline: Instant;
  /**
   * webhook: due targets, adds only, asks no outside source · resync: due targets, removes too ·
   * command: all targets, removes too.
   */
  readonly mode: "webhook" | "resync" | "command";
  /** How long to wait for another holder of a target's lease. */
  readonly waitMs: number;
  /** Said in every audit line: delivery, cluster, generation. */
  readonly cause: Readonly<Record<string, unknown>>;
  /** By target name; null when the guard judges. Targets not named remove nothing. */
  readonly accepted: ReadonlyMap<string, ReadonlySet<string>> | null;
}

export interface TargetOutcome {
  readonly list: List;
  readonly config: TargetConfig;
  readonly traits: Traits;
  /** What is remembered now; null when the target has never been synced. */
  readonly slot: Slot | null;
  readonly report: ListReport;
}

export interface SyncOutcome {
  /** Lists in ascending order of name, targets in the order of the configuration. */
  readonly targets: readonly TargetOutcome[];
  readonly snapshots: Snapshots;
  /** Why what is stored of a speaker cannot be read: nothing is known of it, not even its age. */
  readonly unreadable: Truth["unreadable"];
}

/** One target of one list, with what the stored snapshots say of it. */
interface Job {
  readonly list: List;
  readonly config: TargetConfig;
  readonly traits: Traits;
  readonly heard: Heard;
  readonly digest: string;
}

/**
 * Brings every due target of the lists to what the newest admitted snapshots say. One target's or
 * one stored object's trouble is in its reports and holds up no other. When it resolves, nothing of
 * it is running any more.
 */
export async function sync(context: SyncContext, options: SyncOptions): Promise<SyncOutcome> {
  if (options.mode !== "webhook") await refreshSources(context, options);
  const truth = await readTruth(context, options.lists);
  const readable = options.lists.filter((list) => troubleOf(list, truth) === null);
  const jobs = jobsOf(context, readable, truth);
  const objects = await readObjects(context, jobs);
  const remembered = slotsOf(objects);
  const due = jobs.filter((job) => {
    const slot = remembered[job.config.name];
    const isStopping = slot !== undefined && stopped(slot, { ...context, job }) !== slot;
    return isStopping || isJobDue(context, options, { job, slots: remembered });
  });
  const outcomes = new Map<string, Outcome>();
  await inParallel(byObject(due, remembered), async (group) => {
    const found = { jobs: group, remembered, objects };
    for (const [name, outcome] of await syncObject(context, options, found)) {
      outcomes.set(name, outcome);
    }
  });
  const targets = options.lists.flatMap((list) => {
    const trouble = troubleOf(list, truth);
    return list.targets.map((config) => {
      const slot = slotFor(list, remembered[config.name]);
      const report = slot?.report ?? blankReport(list.name, config.name);
      const unknown = { slot, report: trouble === null ? report : troubled(report, trouble) };
      const traits = context.traitsOf(config);
      return { list, config, traits, ...(outcomes.get(config.name) ?? unknown) };
    });
  });
  return { targets, snapshots: truth.snapshots, unreadable: truth.unreadable };
}

function jobsOf(context: SyncContext, lists: readonly List[], truth: Truth): Job[] {
  const { policy, world } = context;
  return lists.flatMap((list) => {
    const heard = heardOf(list, truth, { policy, now: world.now() });
    const digest = listDigest(list, policy);
    return list.targets.map((config) => {
      const traits = context.traitsOf(config);
      return { list, config, traits, heard, digest };
    });
  });
}

function heardOf(
  list: List,
  { snapshots, readings }: Truth,
  options: { readonly policy: Policy; readonly now: Instant },
): Heard {
  const membership = membersOf(list, snapshots, { ...options, readings });
  return { membership, desired: desiredDigest(membership), at: options.now };
}

function isJobDue(
  context: SyncContext,
  options: SyncOptions,
  found: { readonly job: Job; readonly slots: Slots },
): boolean {
  if (options.mode === "command") return true;
  const { job, slots } = found;
  return isDue(slots[job.config.name] ?? null, {
    list: job.list,
    digest: job.digest,
    desired: job.heard.desired,
    voices: job.heard.membership.voices,
    now: context.world.now(),
    settleMs: job.traits.settleMs,
    removes: options.mode === "resync",
  });
}

/** The same slot where all of its clocks go on. */
function stopped(
  slot: Slot,
  { job, policy }: { readonly job: Job; readonly policy: Policy },
): Slot {
  const { membership } = job.heard;
  const unwanted = runningClocks(slot, { membership, policy, traits: job.traits });
  const isSame = Object.keys(unwanted).length === Object.keys(slot.unwanted).length;
  // Of another configuration every clock begins anew when it is looked at.
  return isSame || slot.digest !== job.digest ? slot : { ...slot, unwanted };
}

/** Jobs of one object together, because they share its lease; longest unchecked first. */
function byObject(jobs: readonly Job[], slots: Slots): (readonly Job[])[] {
  const groups = new Map<string, Job[]>();
  for (const job of jobs) {
    const { object } = job.config;
    groups.set(object, [...(groups.get(object) ?? []), job]);
  }
  const oldest = (group: readonly Job[]) =>
    Math.min(...group.map((job) => slots[job.config.name]?.checkedAt ?? 0));
  return [...groups.values()].toSorted((a, b) => oldest(a) - oldest(b));
}

interface Outcome {
  readonly slot: Slot | null;
  readonly report: ListReport;
}
type Outcomes = ReadonlyMap<string, Outcome>;

interface Group {
  /** Due jobs of one object. */
  readonly jobs: readonly Job[];
  readonly remembered: Slots;
  readonly objects: Objects;
}

/** All due slots of one object, one after the other, under its lease. */
async function syncObject(
  context: SyncContext,
  options: SyncOptions,
  group: Group,
): Promise<Outcomes> {
  const { world } = context;
  // Of our own time; a lease counts a minute of it at most, and waiting for it costs some.
  const remainingMs = options.deadline - world.now();
  if (remainingMs <= 0) return spoiled(group, hurried);
  const object = group.jobs[0]?.config.object ?? "";
  let lease: Lease | null;
  try {
    const waitMs = Math.min(options.waitMs, remainingMs);
    const signal = context.signal === undefined ? {} : { signal: context.signal };
    lease = await acquireLease(context.objectLog(object), {
      look: group.objects.get(object),
      world,
      remainingMs,
      waitMs,
      ...signal,
    });
  } catch (error) {
    if (context.signal?.aborted) return spoiled(group, interrupted);
    return spoiled(group, (report) => troubled(report, messageOf(error)));
  }
  if (lease === null) return spoiled(group, contended);
  let slots = lease.slots;
  const outcomes = new Map<string, Outcome>();
  for (const job of group.jobs) {
    const { name } = job.config;
    let isDisturbed = false;
    const disturb = () => {
      isDisturbed = true;
    };
    try {
      const slot = await syncTarget(context, options, { job, lease, slots, group, disturb });
      slots = { ...(isDisturbed ? unfinished(slots) : slots), [name]: slot };
      outcomes.set(name, { slot, report: slot.report });
    } catch (error) {
      // Neither an outcome nor the world's failure: a fault of ours or of the store. It stays here.
      world.log.error({ target: name, error: messageOf(error) }, "Cannot finish a sync");
      const report = slots[name]?.report ?? blankReport(job.list.name, name);
      const known = error instanceof TargetError ? error.kind : "unavailable";
      const message = `Cannot sync ${name}: ${messageOf(error)}`;
      const spoilt = { ...troubled(report, message), reason: known };
      outcomes.set(name, { slot: slots[name] ?? null, report: spoilt });
    }
  }
  await release(context, { lease, slots, object });
  return outcomes;
}

/** Due again, whatever they remember: what was brought about there may be undone. */
function unfinished(slots: Slots): Slots {
  return Object.fromEntries(
    Object.entries(slots).map(([name, slot]) => [name, { ...slot, desired: "" }]),
  );
}

async function syncTarget(
  context: SyncContext,
  options: SyncOptions,
  found: {
    readonly disturb: () => void;
    readonly job: Job;
    readonly lease: Lease;
    readonly slots: Slots;
    readonly group: Group;
  },
): Promise<Slot> {
  const { policy, world } = context;
  const { lease, slots, group } = found;
  const { name } = found.job.config;
  const slot = slots[name];
  let job = found.job;
  let memory = slots;
  if (slot !== undefined) {
    const isTouched = wasTouched(slot, group.remembered[name]);
    // Somebody was here while we waited, perhaps with a newer truth than the one we have read.
    if (isTouched) job = { ...job, heard: await refreshed(context, job.list) };
    const kept = stopped(slot, { ...context, job });
    memory = { ...slots, [name]: kept };
    // What only stops its clocks calls no target.
    if ((isTouched || kept !== slot) && !isJobDue(context, options, { job, slots })) return kept;
  }
  const { accepted } = options;
  return reconcile({
    ...job,
    world,
    policy,
    open: () => context.targetOf(job.config),
    refresh: () => refreshed(context, job.list),
    deadline: options.deadline,
    isEnding: () => context.signal?.aborted ?? false,
    removes: options.mode !== "webhook",
    accepted: accepted === null ? null : (accepted.get(name) ?? new Set()),
    lease,
    slots: memory,
    disturb: found.disturb,
    cause: options.cause,
  });
}

function wasTouched(slot: Slot, before: Slot | undefined): boolean {
  if (before === undefined) return true;
  return slot.checkedAt !== before.checkedAt || slot.notBefore !== before.notBefore;
}

async function refreshed(context: SyncContext, list: List): Promise<Heard> {
  const now = context.world.now();
  const truth = await readTruth(context, [list]);
  const trouble = troubleOf(list, truth);
  if (trouble !== null) throw new StoreError(trouble);
  return heardOf(list, truth, { policy: context.policy, now });
}

// Should the record be lost, the next run does the work again, which is harmless.
async function release(
  context: SyncContext,
  held: { readonly lease: Lease; readonly slots: Slots; readonly object: string },
): Promise<void> {
  const { object } = held;
  try {
    const kept = await held.lease.release(held.slots);
    if (!kept) context.world.log.warn({ object }, "Lost the lease of an object before its release");
  } catch (error) {
    const fields = { object, error: messageOf(error) };
    context.world.log.warn(fields, "Cannot release the lease of an object");
  }
}

function spoiled(group: Group, spoil: (report: ListReport) => ListReport): Outcomes {
  return new Map(
    group.jobs.map(({ list, config }) => {
      const slot = slotFor(list, group.remembered[config.name]);
      const report = slot?.report ?? blankReport(list.name, config.name);
      return [config.name, { slot, report: spoil(report) }] as const;
    }),
  );
}

function contended(report: ListReport): ListReport {
  const message = `Another run is working on ${report.target}`;
  return { ...report, state: stateOf("contended"), reason: "contended", message };
}

function interrupted(report: ListReport): ListReport {
  const message = `The process ended before its turn at ${report.target}; the next run goes on`;
  return { ...report, state: stateOf("batch"), reason: "batch", message };
}
