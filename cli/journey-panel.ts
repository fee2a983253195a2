import { durationText } from "./journey-lines.ts";
import { medianOf, NO_TARGET_TALLY, type Tallies, type TargetTally } from "./journey-tally.ts";
import type { Labels } from "./labels.ts";
import { type Paint, TONE_OF_STATE } from "./paint.ts";
import { printable } from "./shell.ts";
import { cut, pad } from "./text-columns.ts";

const STATE_WIDTH = 24;
const NUMBER_WIDTH = 8;
const NUMBERS = ["HOLDS", "MEDIAN", "WORST"];

/**
 * How each target is: its list's state there, how many entries of ours it held when it was last
 * read, and how long nodes took from seen to read back. Pure.
 */
export function renderPanel(
  tallies: Tallies,
  options: { readonly labels: Labels; readonly columns: number; readonly paint: Paint },
): readonly string[] {
  const { labels, columns, paint } = options;
  const numbers = NUMBERS.map((title) => title.padStart(NUMBER_WIDTH)).join("");
  const width = Math.max(8, columns - STATE_WIDTH - numbers.length);
  const heading = `${pad("TARGET", width)}${pad("STATE", STATE_WIDTH)}${numbers}`;
  const lines = [...labels.keys()].map((target) => {
    const tally = tallies.targets.get(target) ?? NO_TARGET_TALLY;
    const name = pad(printable(target), width);
    return `${name}${stateText(tally, paint)}${numbersText(tally)}`;
  });
  return columns < width + STATE_WIDTH + numbers.length
    ? []
    : [paint("strong", cut(heading, columns)), ...lines];
}

function stateText({ report }: TargetTally, paint: Paint): string {
  if (report === null) return paint("faint", pad("not looked at yet", STATE_WIDTH));
  const { state, reason } = report;
  const text = reason === null ? state : `${state}: ${reason}`;
  return paint(TONE_OF_STATE[state], pad(text, STATE_WIDTH));
}

function numbersText({ report, readBack }: TargetTally): string {
  const { durations } = readBack;
  const median = medianOf(durations);
  const worst = median === null ? null : durations.reduce((most, ms) => Math.max(most, ms), 0);
  const texts = [
    report === null ? "" : String(report.owned),
    median === null ? "–" : durationText(median),
    worst === null ? "–" : durationText(worst),
  ];
  return texts.map((text) => text.padStart(NUMBER_WIDTH)).join("");
}
