import { admitSnapshot } from "../lib/admit.ts";
import { addressSet } from "../lib/core/aggregate.ts";
import type { List, Policy } from "../lib/core/list.ts";
import type { Traits } from "../lib/core/observation.ts";
import { outsideKey } from "../lib/core/outside.ts";
import type { SourceOutcome } from "../lib/core/reading.ts";
import type { ListReport } from "../lib/core/report.ts";
import {
  type AdmittedSnapshot,
  type Node,
  parseStoredSnapshot,
  type Snapshot,
  storedSnapshot,
} from "../lib/core/snapshot.ts";
import { parseTargetObject } from "../lib/stores/lease.ts";
import { openLog } from "../lib/stores/log.ts";
import { memoryStore } from "../lib/stores/memory.ts";
import { parseSourceReading } from "../lib/stores/readings.ts";
import type { Store } from "../lib/stores/store.ts";
import { type SyncContext, type SyncOptions, type SyncOutcome, sync } from "../lib/sync.ts";
import { MEMORY_TRAITS, memoryTarget, memoryTargets } from "../lib/targets/memory.ts";
import { type Target, TargetError } from "../lib/targets/target.ts";
import { cidr, hosts, node, snapshot } from "./core/cases.ts";
import { type VirtualWorld, virtualWorld } from "./virtual-world.ts";

/** Done around a call to a target: may throw instead of it, after it, or wait. */
export type Interference = (
  call: { readonly target: string; readonly verb: "observe" | "add" | "remove" },
  proceed: () => Promise<unknown>,
) => Promise<unknown>;

/**
 * The receiver's whole inside over memory, on a clock of its own, with every call to a target
 * counted.
 */
export interface Corridor {
  readonly world: VirtualWorld;
  readonly context: SyncContext;
  readonly store: Store;
  readonly contents: ReturnType<typeof memoryTargets>;
  /** Calls since the last time this was read, as `one:observe`. */
  calls(): readonly string[];
  /** Calls that have begun and not ended. */
  inFlight(): number;
  /** What outside sources answer, by key; what is not there cannot be read. */
  readonly outside: Map<string, (signal: AbortSignal) => Promise<SourceOutcome>>;
  /** Keys of the outside sources that were asked since the last time this was read. */
  asked(): readonly string[];
  interfere(how: Interference | null): void;
  /** Admits a snapshot of these nodes at the next sequence and syncs as the webhook does. */
  deliver(nodes: readonly Node[], given?: Partial<Snapshot>): Promise<SyncOutcome>;
  admit(nodes: readonly Node[], given?: Partial<Snapshot>): Promise<AdmittedSnapshot>;
  run(mode: SyncOptions["mode"], given?: Partial<SyncOptions>): Promise<SyncOutcome>;
  /** Texts of the CIDRs on a target. */
  on(id: string): readonly string[];
}

export interface CorridorOptions {
  readonly policy: Policy;
  readonly world?: VirtualWorld;
  readonly store?: Store;
  readonly contents?: ReturnType<typeof memoryTargets>;
  readonly traits?: Partial<Traits>;
  /** Instead of memory targets, those whose names the configuration has; calls are not counted. */
  readonly targets?: readonly Target[];
  /** Of the last snapshot that an earlier corridor over the same store admitted. */
  readonly sequence?: number;
}

export function corridor(options: CorridorOptions): Corridor {
  const { policy } = options;
  const world = options.world ?? virtualWorld();
  const store = options.store ?? memoryStore(world);
  const contents = options.contents ?? memoryTargets();
  const traits: Traits = { ...MEMORY_TRAITS, ...options.traits };
  const given = (name: string) => options.targets?.find((target) => target.name === name);
  const meter = makeMeter();
  const sources = makeSources();
  const context: SyncContext = {
    policy,
    world,
    ...logsOf(store, world),
    readSource: sources.read,
    targetOf: async (config) => given(config.name) ?? metered(config, { contents, traits, meter }),
    traitsOf: (config) => given(config.name)?.traits ?? traits,
  };
  let sequence = options.sequence ?? 0;
  const run: Corridor["run"] = (mode, given = {}) =>
    sync(context, {
      lists: policy.lists,
      deadline: world.now() + 26_000,
      mode,
      waitMs: 0,
      cause: {},
      accepted: null,
      ...given,
    });
  const admit: Corridor["admit"] = async (nodes, given = {}) => {
    sequence += 1;
    const generation = { epoch: 1, sequence };
    const receivedAt = world.now();
    const sent = snapshot(nodes, { receivedAt, generation, ...given });
    const cluster = policy.clusters[sent.cluster];
    if (cluster === undefined) throw new Error(`No cluster "${sent.cluster}"`);
    const log = context.clusterLog(cluster.name);
    const admitted = await admitSnapshot(log, sent, { cluster, world });
    if (admitted.kind !== "newer" && admitted.kind !== "repeat") throw new Error(admitted.kind);
    return admitted.snapshot;
  };
  return {
    world,
    context,
    store,
    contents,
    calls: meter.calls,
    inFlight: meter.inFlight,
    interfere: meter.interfere,
    outside: sources.outside,
    asked: sources.asked,
    admit,
    async deliver(nodes, given) {
      await admit(nodes, given);
      return run("webhook", { waitMs: 5_000 });
    },
    run,
    on: (id) => contents.entries(id).map((entry) => entry.cidr),
  };
}

function makeSources() {
  const outside: Corridor["outside"] = new Map();
  let keys: string[] = [];
  const read: SyncContext["readSource"] = async (source, signal) => {
    const key = outsideKey(source);
    keys.push(key);
    const answer = outside.get(key);
    return answer === undefined ? unread(`Cannot read ${key}: nobody answers`) : answer(signal);
  };
  const asked = () => {
    const made = keys.toSorted();
    keys = [];
    return made;
  };
  return { outside, read, asked };
}

/** An outside source that names these networks. */
export function says(...texts: readonly string[]) {
  const outcome: SourceOutcome = { kind: "read", cidrs: texts.map(cidr), free: null };
  return async () => outcome;
}

export function unread(message: string): SourceOutcome {
  return { kind: "failed", cidrs: [], message };
}

type Logs = Pick<SyncContext, "clusterLog" | "objectLog" | "sourceLog">;

function logsOf(store: Store, world: VirtualWorld): Logs {
  const logs = { store, prefix: "", installation: "acme", world };
  const snapshots = { parse: parseStoredSnapshot, render: storedSnapshot };
  return {
    clusterLog: (name) => openLog({ ...logs, kind: "clusters", name, ...snapshots }),
    objectLog: (name) => openLog({ ...logs, kind: "targets", name, parse: parseTargetObject }),
    sourceLog: (name) => openLog({ ...logs, kind: "sources", name, parse: parseSourceReading }),
  };
}

/** Counts calls, and lets a test stand in their way. */
function makeMeter() {
  let interference: Interference | null = null;
  let calls: string[] = [];
  let inFlight = 0;
  return {
    async around<T>(call: Parameters<Interference>[0], proceed: () => Promise<T>): Promise<T> {
      calls.push(`${call.target.slice("memory/".length)}:${call.verb}`);
      inFlight += 1;
      try {
        if (interference === null) return await proceed();
        return (await interference(call, proceed)) as T;
      } finally {
        inFlight -= 1;
      }
    },
    calls() {
      const made = calls;
      calls = [];
      return made;
    },
    inFlight: () => inFlight,
    interfere(how: Interference | null) {
      interference = how;
    },
  };
}

function metered(
  config: List["targets"][number],
  parts: {
    readonly contents: ReturnType<typeof memoryTargets>;
    readonly traits: Traits;
    readonly meter: ReturnType<typeof makeMeter>;
  },
): Target {
  const { contents, traits, meter } = parts;
  const { id } = config.settings as { id: string };
  const memory = memoryTarget(config, { id }, contents);
  const inner = traits.overlap ? memory : disjoint(memory, { id, contents, limit: config.limit });
  const target = config.name;
  return {
    ...inner,
    traits,
    observe: (signal) => meter.around({ target, verb: "observe" }, () => inner.observe(signal)),
    apply: (batch, revision, signal) =>
      meter.around({ target, verb: batch.verb }, () => inner.apply(batch, revision, signal)),
  };
}

/** A memory target as of a backend that refuses overlaps and writes its group whole. */
function disjoint(
  target: Target,
  held: {
    readonly id: string;
    readonly contents: ReturnType<typeof memoryTargets>;
    readonly limit: number | null;
  },
): Target {
  const { id, contents, limit } = held;
  return {
    ...target,
    async apply({ verb, cidrs, text, instead }) {
      const now = contents.entries(id).map((entry) => entry.cidr);
      const [gone, added] = verb === "add" ? [[], cidrs] : [cidrs, instead];
      const news = addressSet(added);
      const kept = now.filter((cidr) => !gone.includes(cidr) && !news.covers(cidr));
      const next = [...kept, ...added];
      if (added.some((cidr) => addressSet(kept).overlaps(cidr)) || next.length === 0) {
        throw new TargetError("invalid", "Cannot write memory: entries overlap; read again");
      }
      if (next.length > Math.max(limit ?? next.length, now.length)) {
        throw new TargetError("full", "Cannot write memory: it is full; raise its limit");
      }
      for (const cidr of now) contents.drop(id, cidr);
      for (const cidr of next) contents.put(id, { cidr, text, effect: "allow" });
      return null;
    },
  };
}

/** The only report of an outcome, or the one of a target. */
export function reportOf(outcome: SyncOutcome, target?: string): ListReport {
  const found = outcome.targets.find((one) => target === undefined || one.config.name === target);
  if (found === undefined) throw new Error(`No report of ${target}`);
  return found.report;
}

/** `count` nodes with the addresses of `hosts(count, first)`, called n1, n2 …. */
export function nodes(count: number, first = 1): Node[] {
  return hosts(count, first).map((host, index) =>
    node(`n${first + index}`, [host.replace("/32", "")]),
  );
}

/**
 * The same truth again after a while, as a heartbeat, and a resync: what the passing of time does.
 */
export async function timePasses(
  room: Corridor,
  ms: number,
  given: readonly Node[],
): Promise<SyncOutcome> {
  await room.world.advance(ms);
  await room.deliver(given);
  return room.run("resync");
}
