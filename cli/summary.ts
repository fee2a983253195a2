import type { Journey } from "./journey.ts";
import { durationText } from "./journey-lines.ts";
import { medianOf, NO_TARGET_TALLY, type Tally } from "./journey-tally.ts";
import type { Labels } from "./labels.ts";
import type { Paint } from "./paint.ts";
import { countText } from "./report-text.ts";
import type { Check } from "./stage.ts";

const NUMBER_WIDTH = 9;

/** What a run of `dev` came to. */
export interface Summary {
  readonly seconds: number;
  readonly nodes: Journey["nodes"];
  /** In the order of the configuration. */
  readonly targets: readonly TargetSummary[];
  /** From seen to ready. */
  readonly ready: Times;
  readonly check: Check | null;
}

export interface TargetSummary {
  readonly target: string;
  /** How long after it was read back an entry takes effect there. */
  readonly settleMs: number;
  readonly added: number;
  readonly removed: number;
  /** From seen to read back. */
  readonly readBack: Times;
}

/** How long nodes took, in milliseconds. */
export interface Times {
  /** Nodes that joined or changed; null when none of them arrived. */
  readonly later: {
    readonly count: number;
    readonly medianMs: number;
    readonly worstMs: number;
  } | null;
  /** The slowest node that was there at the start; null when none of them arrived. */
  readonly startedMs: number | null;
}

export interface SummaryOptions {
  readonly lastedMs: number;
  /** Of every target by name, in the order of the configuration. */
  readonly settleMs: ReadonlyMap<string, number>;
  readonly check: Check | null;
}

export function summaryOf({ nodes, tallies }: Journey, options: SummaryOptions): Summary {
  const { lastedMs, check } = options;
  return {
    seconds: Math.round(lastedMs / 1_000),
    nodes,
    targets: [...options.settleMs].map(([target, settleMs]) => {
      const { added, removed, readBack } = tallies.targets.get(target) ?? NO_TARGET_TALLY;
      return { target, settleMs, added, removed, readBack: timesOf(readBack) };
    }),
    ready: timesOf(tallies.ready),
    check,
  };
}

function timesOf({ durations, startedMs }: Tally): Times {
  const medianMs = medianOf(durations);
  const worstMs = durations.reduce((worst, duration) => Math.max(worst, duration), 0);
  const later = medianMs === null ? null : { count: durations.length, medianMs, worstMs };
  return { later, startedMs };
}

/** Ends with a line break. */
export function renderSummary(
  summary: Summary,
  options: { readonly labels: Labels; readonly paint: Paint },
): string {
  const { seconds, nodes, check } = summary;
  const { labels, paint } = options;
  const { joined, changed, left } = nodes;
  const present = countText(nodes.present, "node");
  const lines = [
    paint("strong", `After ${seconds} s`),
    `  ${present} at the start, ${joined} joined, ${left} left, ${changed} changed`,
    ...targetLines(summary.targets, labels).map((line) => `  ${line}`),
    `  from seen to ready: ${readyText(summary, labels)}`,
    ...(check === null ? [] : ["  what each holds, compared with the cluster:"]),
    ...(check?.findings ?? []).map(
      ({ isGood, sentence }) => `    ${paint(isGood ? "good" : "bad", sentence)}`,
    ),
  ];
  return `\n${lines.join("\n")}\n`;
}

function targetLines(targets: readonly TargetSummary[], labels: Labels): readonly string[] {
  const [only, ...others] = targets;
  if (only !== undefined && others.length === 0) {
    return [
      `from seen to read back: ${timesText(only.readBack)}`,
      `${countText(only.added, "entry", "entries")} added, ${only.removed} removed`,
    ];
  }
  const title = "from seen to read back";
  const names = targets.map(({ target }) => `  ${labels.get(target) ?? target}`);
  const width = Math.max(title.length, ...names.map((name) => name.length));
  const heading = ["median", "worst", "of", "at start", "added", "removed"];
  const rows = targets.map(({ added, removed, readBack: { later, startedMs } }) => [
    later === null ? "–" : durationText(later.medianMs),
    later === null ? "–" : durationText(later.worstMs),
    String(later?.count ?? 0),
    startedMs === null ? "–" : durationText(startedMs),
    String(added),
    String(removed),
  ]);
  const line = (name: string, cells: readonly string[]) =>
    name.padEnd(width) + cells.map((cell) => cell.padStart(NUMBER_WIDTH)).join("");
  return [line(title, heading), ...rows.map((cells, index) => line(names[index] ?? "", cells))];
}

function readyText({ ready, targets }: Summary, labels: Labels): string {
  if (ready.later !== null || ready.startedMs !== null) return timesText(ready);
  const [slowest] = targets.toSorted((a, b) => b.settleMs - a.settleMs);
  if (slowest === undefined || slowest.settleMs === 0) return "nothing yet";
  const where = labels.get(slowest.target) ?? slowest.target;
  const after = durationText(slowest.settleMs);
  return `nobody yet; ${where} takes effect ${after} after it is read back`;
}

function timesText({ later, startedMs }: Times): string {
  const start = startedMs === null ? [] : [`${durationText(startedMs)} for those at the start`];
  if (later === null) return start[0] ?? "nothing yet";
  const { count, medianMs, worstMs } = later;
  const text = `median ${durationText(medianMs)}, worst ${durationText(worstMs)} of ${count}`;
  return [text, ...start].join("; ");
}
