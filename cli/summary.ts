import { type Journey, medianOf } from "./journey.ts";
import { durationText } from "./journey-lines.ts";
import type { Paint } from "./paint.ts";
import { countText } from "./report-text.ts";
import type { Check } from "./stage.ts";

/** What a run of `dev` came to. */
export interface Summary {
  readonly seconds: number;
  readonly nodes: Journey["nodes"];
  readonly rules: Journey["rules"];
  /**
   * From seen to read back, in milliseconds, of nodes that joined or changed; null when none did.
   */
  readonly readBack: ReadBack | null;
  /** The same of the slowest node that was there at the start; null when there was none. */
  readonly startedMs: number | null;
  readonly check: Check | null;
}

interface ReadBack {
  readonly count: number;
  readonly medianMs: number;
  readonly worstMs: number;
}

export function summaryOf(
  journey: Journey,
  options: { readonly lastedMs: number; readonly check: Check | null },
): Summary {
  const { nodes, rules, durations, startedMs } = journey;
  const medianMs = medianOf(durations);
  const worstMs = durations.reduce((worst, duration) => Math.max(worst, duration), 0);
  return {
    seconds: Math.round(options.lastedMs / 1_000),
    nodes,
    rules,
    readBack: medianMs === null ? null : { count: durations.length, medianMs, worstMs },
    startedMs,
    check: options.check,
  };
}

/** Ends with a line break. */
export function renderSummary(summary: Summary, paint: Paint): string {
  const { seconds, nodes, rules, check } = summary;
  const { joined, changed, left } = nodes;
  const present = countText(nodes.present, "node");
  const lines = [
    paint("strong", `After ${seconds} s`),
    `  ${present} at the start, ${joined} joined, ${left} left, ${changed} changed`,
    `  from seen to read back: ${readBackText(summary)}`,
    `  ${countText(rules.added, "rule")} added, ${rules.removed} removed`,
    ...(check === null ? [] : [`  ${paint(check.isGood ? "good" : "bad", check.sentence)}`]),
  ];
  return `\n${lines.join("\n")}\n`;
}

function readBackText({ readBack, startedMs }: Summary): string {
  const start = startedMs === null ? [] : [`${durationText(startedMs)} for those at the start`];
  if (readBack === null) return start[0] ?? "nothing yet";
  const { count, medianMs, worstMs } = readBack;
  const later = `median ${durationText(medianMs)}, worst ${durationText(worstMs)} of ${count}`;
  return [later, ...start].join("; ");
}
