/*
 * npm run bench:forwarder [-- --quick]: what a forwarder costs, beside the client library's own
 * informer in the same run: same Node, same flags, same API server, bundled alike. Every program is
 * a process of its own and measured from outside, by what the kernel counts for it. Printed, not
 * asserted: the exit code tells only whether everything ran.
 */

import { availableParallelism } from "node:os";
import {
  playBurst,
  playChurn,
  playHeartbeats,
  playList,
  playSingles,
  playStart,
} from "./forwarder-scenes.ts";
import { prepareWays, type Way, type Ways } from "./forwarder-stage.ts";
import { printTable, quantile } from "./table.ts";

/**
 * Young objects get a megabyte instead of sixteen, as the manifests have it: an event of the watch
 * is garbage as soon as it was read. The second flag is what a forwarder sets for itself; here the
 * informer gets both, too.
 */
const FLAGS = ["--max-semi-space-size=1", "--optimize-for-size"];
const IS_QUICK = process.argv.includes("--quick");
const RUNS = IS_QUICK ? 1 : 3;
const STARTS = IS_QUICK ? 3 : 15;
const SECONDS = IS_QUICK ? 5 : 30;
const SINGLES = IS_QUICK ? 20 : 100;
const CHURN_EVENTS = IS_QUICK ? 5_000 : 50_000;
const CHURN_ROUNDS = IS_QUICK ? 2 : 4;

type Row = readonly [what: string, figure: string, informer: string, budget: string, kept: string];

const rows: Row[] = [["", "forwarder", "informer, bundled / not", "budget", ""]];

/** A figure beside the informer's; `kept`: within its budget. */
function addRow(what: string, figure: string, rest: { informer?: string; budget?: Budget }): void {
  const { informer = "", budget } = rest;
  const kept = budget === undefined ? "" : budget.kept ? "ok" : "MISSED";
  rows.push([what, figure, informer, budget?.text ?? "", kept]);
}

interface Budget {
  readonly text: string;
  readonly kept: boolean;
}

const mb = (value: number) => `${value.toFixed(0)} MB`;
const ms = (value: number) => `${value.toFixed(0)} ms`;
const percent = (share: number) => `${(share * 100).toFixed(2)} %`;
const times = (ratio: number) => `${ratio.toFixed(2)} x`;
const median = (samples: readonly number[]) => quantile(samples, 0.5);

/** Runs a scene a few times for each way, in turn, since the machine's speed may drift. */
async function repeat<T>(
  ways: readonly Way[],
  runs: number,
  play: (way: Way) => Promise<T>,
): Promise<(name: (figures: T) => number) => readonly number[]> {
  const results: T[][] = ways.map(() => []);
  for (let run = 0; run < runs; run += 1) {
    for (const [at, way] of ways.entries()) results[at]?.push(await play(way));
  }
  return (figureOf) => results.map((each) => median(each.map(figureOf)));
}

async function lists({ forwarder, bundledInformer, informer }: Ways): Promise<void> {
  const ways = [forwarder, bundledInformer, informer];
  const variants = [
    ["streamed", { watchList: true }],
    ["page by page", { watchList: false }],
    ["streamed, TLS", { watchList: true, tls: true }],
  ] as const;
  for (const [name, variant] of variants) {
    const of = await repeat(ways, RUNS, (way) =>
      playList(way, { nodes: 5_000, flags: FLAGS, ...variant }),
    );
    const title = `5,000 nodes, ${name}:`;
    const [peak = 0, bundledPeak = 0, plainPeak = 0] = of((figures) => figures.peak);
    const ratio = peak / Math.min(bundledPeak, plainPeak);
    addRow(`${title} peak RSS`, mb(peak), {
      informer: `${mb(bundledPeak)} / ${mb(plainPeak)}`,
      budget: { text: "110 MB", kept: peak <= 110 },
    });
    addRow("  of the smaller informer's", times(ratio), {
      budget: { text: "0.25 x", kept: ratio <= 0.25 },
    });
    const [start = 0, bundledStart = 0, plainStart = 0] = of((figures) => figures.sinceStart);
    addRow("  first list, since the process began", ms(start), {
      informer: `${ms(bundledStart)} / ${ms(plainStart)}`,
      budget: { text: "informer's", kept: start <= Math.min(bundledStart, plainStart) },
    });
    const [asked = 0, bundledAsked = 0, plainAsked = 0] = of((figures) => figures.sinceRequest);
    addRow("  first list, since the first request", ms(asked), {
      informer: `${ms(bundledAsked)} / ${ms(plainAsked)}`,
      budget: { text: "informer's", kept: asked <= Math.min(bundledAsked, plainAsked) },
    });
  }
}

async function heartbeats({ forwarder, bundledInformer, informer }: Ways): Promise<void> {
  const ways = [forwarder, bundledInformer, informer];
  const load = { nodes: 1_000, perSecond: 100, seconds: SECONDS, flags: FLAGS };
  const of = await repeat(ways, RUNS, (way) => playHeartbeats(way, load));
  const [rss = 0, bundledRss = 0, plainRss = 0] = of((figures) => figures.rss);
  addRow("1,000 nodes, 100 heartbeats/s: RSS", mb(rss), {
    informer: `${mb(bundledRss)} / ${mb(plainRss)}`,
    budget: { text: "90 MB", kept: rss <= 90 },
  });
  const [cpu = 0, bundledCpu = 0, plainCpu = 0] = of((figures) => figures.cpuShare);
  const ratio = cpu / Math.min(bundledCpu, plainCpu);
  addRow("  of one processor", percent(cpu), {
    informer: `${percent(bundledCpu)} / ${percent(plainCpu)}`,
  });
  addRow("  of the smaller informer's", times(ratio), {
    budget: { text: "0.33 x", kept: ratio <= 1 / 3 },
  });
  const [deliveries = 0] = of((figures) => figures.deliveries);
  addRow("  deliveries", String(deliveries), { budget: { text: "0", kept: deliveries === 0 } });
}

async function joins({ forwarder }: Ways): Promise<void> {
  const options = { nodes: 1_000, flags: FLAGS };
  const singles = await playSingles(forwarder, { ...options, count: SINGLES });
  addRow(`one node joins 1,000: event to delivery, median of ${SINGLES}`, ms(median(singles)), {
    budget: { text: "20 ms", kept: median(singles) <= 20 },
  });
  addRow("  p99", ms(quantile(singles, 0.99)), {});
  const burst = await playBurst(forwarder, { ...options, count: 1_000 });
  addRow("1,000 nodes join 1,000 within 1 s: deliveries", String(burst.deliveries), {
    budget: { text: "5", kept: burst.deliveries <= 5 },
  });
  addRow("  last event to the delivery that holds all", ms(burst.lastMs), {});
}

async function starts({ forwarder, command, bundledInformer, informer }: Ways): Promise<void> {
  const ways = [forwarder, command, bundledInformer, informer];
  const [first] = (await repeat([forwarder], 1, start))((time) => time);
  const of = await repeat(ways, STARTS, start);
  const [own = 0, whole = 0, bundled = 0, plain = 0] = of((time) => time);
  addRow(`start to first request, median of ${STARTS}`, ms(own), {
    informer: `${ms(bundled)} / ${ms(plain)}`,
    budget: { text: "250 ms", kept: own <= 250 },
  });
  addRow("  the very first, just written to disk", ms(first ?? Number.NaN), {});
  addRow("  as a command of the whole program", ms(whole), {});
}

function start(way: Way): Promise<number> {
  return playStart(way, { nodes: 10, flags: FLAGS });
}

async function pods({ forwarder }: Ways): Promise<void> {
  const selectors = ["api", "worker"].map((app) => ({
    namespace: "pay",
    labels: { app },
    count: 2_500,
  }));
  const figures = await playList(forwarder, { nodes: 10, pods: selectors, flags: FLAGS });
  addRow("5,000 pods in two selectors: peak RSS", mb(figures.peak), {});
}

async function churn({ forwarder, bundledInformer }: Ways): Promise<void> {
  for (const way of [forwarder, bundledInformer]) {
    const options = { nodes: 1_000, flags: FLAGS, events: CHURN_EVENTS, rounds: CHURN_ROUNDS };
    const { rss, perSecond } = await playChurn(way, options);
    const isOurs = way === forwarder;
    const text = rss.map((value) => value.toFixed(0)).join(" → ");
    const title = `RSS before and after each ${CHURN_EVENTS.toLocaleString("en")} events, MB`;
    addRow(title, isOurs ? text : "", isOurs ? {} : { informer: text });
    const rate = `${perSecond.toFixed(0)}/s`;
    addRow("  taken at full speed", isOurs ? rate : "", isOurs ? {} : { informer: rate });
  }
}

const SCENES = { lists, heartbeats, joins, starts, pods, churn };

const named = process.argv.slice(2).filter((name) => name in SCENES);
const ways = await prepareWays();
for (const [name, play] of Object.entries(SCENES)) {
  if (named.length > 0 && !named.includes(name)) continue;
  process.stderr.write(`${name} …\n`);
  await play(ways).catch((error: unknown) => {
    process.exitCode = 1;
    addRow(`${name}: did not run`, error instanceof Error ? error.message.slice(0, 80) : "", {});
    process.stderr.write(`${error instanceof Error ? error.stack : error}\n`);
  });
}
const node = `Node ${process.versions.node} ${FLAGS.join(" ")}`;
const where = `${node}, ${availableParallelism()} processors`;
const width = Math.max(...rows.map(([what]) => what.length));
printTable(
  `Footprint of the forwarder: ${where}; medians of ${RUNS} runs`,
  rows.map(([what, ...rest]) => [what.padEnd(width), ...rest]),
);
process.stdout.write(`
Objects: nodes of 15.9 kB, pods of 8 kB, made and served by another process over HTTP on loopback.
RSS: VmHWM (peak) and VmRSS (median of a sample each second) of /proc/PID/status, MB of 10^6 bytes.
CPU: utime + stime of /proc/PID/stat over the time of the heartbeats.
Lists: until the program logs that its first list is complete. Starts: files in the page cache.
Deliveries: from the first byte of an event to the request at the receiver, no other event near.
The informer is client-node's makeInformer, which keeps the addresses and delivers nothing.
`);
