import type { Snapshot } from "../lib/core/snapshot.ts";
import type { Answer } from "../lib/wire/protocol.ts";
import type { Logger, World } from "../lib/world.ts";
import type { ProcessFigures } from "./gauges.ts";
import type { Emit, ForwarderEvent } from "./journal.ts";
import type { Kube } from "./kube.ts";
import type { Lease } from "./lease.ts";
import { followLists } from "./lists.ts";
import { makeEventLog } from "./log-line.ts";
import { makeMetrics } from "./metrics.ts";
import type { Nodes } from "./nodes.ts";
import { openProbes } from "./probes.ts";
import { followReadiness } from "./readiness.ts";
import { makeRecorder, type Recorder } from "./recorder.ts";
import type { Settings } from "./settings.ts";
import { errorText, slept } from "./signal.ts";
import { followStaleness } from "./staleness.ts";
import type { Truth } from "./truth.ts";

export type Hear = (event: ForwarderEvent) => void;

/** Where everything that happens is said, once, to whoever was added. */
export interface Voice {
  readonly emit: Emit;
  add(hear: Hear): void;
}

/** The log hears first. What a hearer throws is logged, and harms no other. */
export function makeVoice(log: Logger): Voice {
  const hearers: Hear[] = [];
  const logEvent = makeEventLog(log);
  return {
    emit(event) {
      logEvent(event);
      for (const hear of hearers) {
        try {
          hear(event);
        } catch (error) {
          log.error({ event: event.kind }, `Cannot show an event: ${errorText(error)}`);
        }
      }
    },
    add(hear) {
      hearers.push(hear);
    },
  };
}

/** Everything that tells people and machines how the forwarder is doing. */
export interface Hearers {
  /** Where probes and metrics are served, as host:port; null where they are not. */
  readonly listening: string | null;
  /** A snapshot was admitted, and this is the answer. */
  answered(sent: Snapshot, answer: Answer): void;
  /** Looks after what takes too long until `signal` aborts, and writes Events until `last` does. */
  run(signal: AbortSignal, last: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

const BUG_DELAY_MS = 30_000;

/** Rejects when it cannot listen where it should, with a sentence. */
export async function openHearers(
  settings: Pick<Settings, "lease" | "listen">,
  surroundings: {
    readonly world: World;
    readonly voice: Voice;
    readonly kube: Kube;
    /** What is known. */
    readonly watch: { readonly nodes: () => Nodes; readonly truth: () => Truth | null };
    readonly lease: Pick<Lease, "held">;
    /** Of this process. */
    readonly identity: string;
    readonly process: () => ProcessFigures;
    readonly version: string;
  },
): Promise<Hearers> {
  const { world, voice, watch, lease, process, version } = surroundings;
  const { emit } = voice;
  const { nodes, truth } = watch;
  const isLeader = () => lease.held() !== null;
  const readiness = followReadiness({ world, emit, nodes, isLeader });
  const lists = followLists({ now: world.now, emit });
  const staleness = followStaleness({ world, emit, truth });
  const recorder = recorderOf(settings, surroundings);
  const metrics = makeMetrics({
    now: world.now,
    truth,
    held: lease.held,
    counts: readiness.counts,
    events: () => recorder?.tally() ?? null,
    process,
    version,
  });
  const { listen } = settings;
  const probes = listen === null ? null : await openProbes({ listen, world, metrics, truth });
  for (const hearer of [metrics, recorder, probes, readiness]) {
    if (hearer !== null) voice.add(hearer.hear);
  }
  return {
    listening: probes?.address ?? null,
    answered(sent, answer) {
      try {
        lists.answered(answer.lists);
        readiness.answered(sent, answer);
      } catch (error) {
        // A bug, and no reason to deliver again what was admitted.
        world.log.error({ event: "answered" }, `Cannot follow an answer: ${errorText(error)}`);
      }
    },
    async run(signal, last) {
      await Promise.all([
        keepOn(readiness.run, world, signal),
        keepOn(staleness.run, world, signal),
        recorder === null ? null : keepOn(recorder.run, world, last),
      ]);
    },
    async close() {
      await probes?.close();
    },
  };
}

/** What comes here is a bug, and no reason for the rest of the forwarder to end. */
async function keepOn(
  run: (signal: AbortSignal) => Promise<void>,
  world: Pick<World, "log" | "sleep">,
  signal: AbortSignal,
): Promise<void> {
  do {
    try {
      await run(signal);
    } catch (error) {
      world.log.error({ event: "warning" }, `Cannot go on telling: ${errorText(error)}`);
    }
  } while (!signal.aborted && (await slept(world, BUG_DELAY_MS, signal)));
}

/** Null without a Lease, which Events could be about: then nothing is written to the cluster. */
function recorderOf(
  { lease }: Pick<Settings, "lease">,
  { kube, world, identity, watch }: Parameters<typeof openHearers>[1],
): Recorder | null {
  switch (lease.kind) {
    case "memory":
      return null;
    case "kubernetes": {
      const reference = { namespace: lease.namespace ?? kube.namespace, name: lease.name };
      return makeRecorder({ kube, world, identity, nodes: watch.nodes, lease: reference });
    }
    default:
      throw new Error(`Unreachable: ${JSON.stringify(lease satisfies never)}`);
  }
}
