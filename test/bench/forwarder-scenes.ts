import { setTimeout as sleep } from "node:timers/promises";
import { eventually } from "../e2e/eventually.ts";
import { nameOf } from "./cluster-objects.ts";
import { openStage, type Stage, untilDelivered, type Way } from "./forwarder-stage.ts";
import { clockMs } from "./subject.ts";
import { quantile } from "./table.ts";

/** After a list, before what is steady is measured. */
const SETTLE_MS = 3_000;
const SAMPLE_MS = 1_000;
/** Longer than deliveries are kept apart, so that each node is a delivery of its own, at once. */
const SINGLE_PAUSE_MS = 400;
const DELIVERED_MS_MAX = 30_000;

export interface SceneOptions {
  readonly nodes: number;
  /** Of Node. */
  readonly flags: readonly string[];
  readonly tls?: boolean;
  readonly watchList?: boolean;
  readonly pods?: readonly {
    readonly namespace: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly count: number;
  }[];
}

/** A stage whose program knows all nodes, and has delivered them if that is what it does. */
async function settled<T>(
  way: Way,
  options: SceneOptions,
  play: (stage: Stage, listedAt: number) => Promise<T>,
): Promise<T> {
  const stage = await openStage(way, options);
  try {
    const listedAt = await stage.subject.listed();
    const pods = options.pods?.reduce((sum, { count }) => sum + count, 0) ?? 0;
    await untilDelivered(stage, way, { nodes: options.nodes, pods });
    return await play(stage, listedAt);
  } finally {
    await stage.close();
  }
}

export interface ListFigures {
  readonly peak: number;
  readonly steady: number;
  /** Milliseconds until the first list was complete, since the process and the first request. */
  readonly sinceStart: number;
  readonly sinceRequest: number;
}

/** A first list, as it costs memory and time. */
export function playList(way: Way, options: SceneOptions): Promise<ListFigures> {
  return settled(way, options, async ({ subject, cluster }, listedAt) => {
    await sleep(SETTLE_MS);
    const { now: steady, peak } = subject.memory();
    const requestAt = clockMs(cluster.requests[0]?.at);
    const sinceStart = listedAt - subject.startedAt;
    return { peak, steady, sinceStart, sinceRequest: listedAt - requestAt };
  });
}

export interface LoadFigures {
  readonly rss: number;
  readonly peak: number;
  /** Of one processor. */
  readonly cpuShare: number;
  readonly deliveries: number;
}

/** Heartbeats of kubelets, which change nothing that anybody is sent. */
export function playHeartbeats(
  way: Way,
  options: SceneOptions & { readonly perSecond: number; readonly seconds: number },
): Promise<LoadFigures> {
  const { perSecond, seconds, ...stageOptions } = options;
  return settled(way, stageOptions, async ({ subject, cluster, receiver }) => {
    await sleep(SETTLE_MS);
    const deliveries = receiver.received.length;
    const cpuMs = subject.cpuMs();
    const startedAt = clockMs();
    const samples: number[] = [];
    const sampler = setInterval(() => samples.push(subject.memory().now), SAMPLE_MS);
    await cluster.command({ kind: "heartbeats", perSecond, seconds });
    clearInterval(sampler);
    return {
      rss: quantile(samples, 0.5),
      peak: subject.memory().peak,
      cpuShare: (subject.cpuMs() - cpuMs) / (clockMs() - startedAt),
      deliveries: receiver.received.length - deliveries,
    };
  });
}

/** Single nodes that join, one after the other: from the first byte of each to its delivery. */
export function playSingles(
  way: Way,
  options: SceneOptions & { readonly count: number },
): Promise<readonly number[]> {
  const { count, ...stageOptions } = options;
  return settled(way, stageOptions, async ({ cluster, receiver }) => {
    const samples: number[] = [];
    for (let index = options.nodes; index < options.nodes + count; index += 1) {
      await cluster.command({ kind: "join", nodes: 1, overMs: 1 });
      const find = () => receiver.received.find(({ nodes }) => nodes.has(nameOf("node", index)));
      const delivery = await eventually(`node ${index} is delivered`, find, {
        withinMs: DELIVERED_MS_MAX,
        everyMs: 5,
      });
      samples.push(delivery.at - clockMs(cluster.joined.get(index)));
      await sleep(SINGLE_PAUSE_MS);
    }
    return samples;
  });
}

/** Many nodes that join within a second: how many deliveries they cost, and until when. */
export function playBurst(
  way: Way,
  options: SceneOptions & { readonly count: number },
): Promise<{ readonly deliveries: number; readonly lastMs: number }> {
  const { count, ...stageOptions } = options;
  return settled(way, stageOptions, async (stage) => {
    const before = stage.receiver.received.length;
    await stage.cluster.command({ kind: "join", nodes: count, overMs: 1_000 });
    await untilDelivered(stage, way, { nodes: options.nodes + count });
    const last = stage.receiver.received.at(-1)?.at ?? Number.NaN;
    const joinedAt = clockMs(stage.cluster.joined.get(options.nodes + count - 1));
    return { deliveries: stage.receiver.received.length - before, lastMs: last - joinedAt };
  });
}

/** Resident memory after each of several rounds of events at full speed, the first before any. */
export function playChurn(
  way: Way,
  options: SceneOptions & { readonly events: number; readonly rounds: number },
): Promise<{ readonly rss: readonly number[]; readonly perSecond: number }> {
  const { events, rounds, ...stageOptions } = options;
  return settled(way, stageOptions, async ({ subject, cluster }) => {
    await sleep(SETTLE_MS);
    const rss = [subject.memory().now];
    let ms = 0;
    for (let round = 0; round < rounds; round += 1) {
      const startedAt = clockMs();
      await cluster.command({ kind: "churn", events });
      ms += clockMs() - startedAt;
      await sleep(SETTLE_MS);
      rss.push(subject.memory().now);
    }
    return { rss, perSecond: (events * rounds * 1_000) / ms };
  });
}

/** From the making of a process to its first request, in milliseconds. */
export async function playStart(way: Way, options: SceneOptions): Promise<number> {
  const stage = await openStage(way, options);
  try {
    const { requests } = stage.cluster;
    await eventually("the API server is asked", () => requests.length > 0, {
      withinMs: DELIVERED_MS_MAX,
      everyMs: 5,
      hopeless: () => (stage.subject.exit() === null ? null : stage.subject.output()),
    });
    return clockMs(requests[0]?.at) - stage.subject.startedAt;
  } finally {
    await stage.close();
  }
}
