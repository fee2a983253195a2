import type { Journey } from "./journey.ts";
import {
  addressesText,
  clockText,
  durationText,
  eventText,
  graceEnd,
  waitsText,
} from "./journey-lines.ts";
import { renderPanel } from "./journey-panel.ts";
import type { Stop } from "./journey-stops.ts";
import { effectiveAt, readBackAt, type Trip } from "./journey-trip.ts";
import type { Labels } from "./labels.ts";
import type { Paint, Tone } from "./paint.ts";
import { printable } from "./shell.ts";
import { cut, fitColumns, pad, type Width } from "./text-columns.ts";

export interface TableOptions {
  readonly now: number;
  readonly columns: number;
  readonly rows: number;
  readonly paint: Paint;
  /** Of every target, in the order in which they are shown. */
  readonly labels: Labels;
  /** Who follows whom, above the table. */
  readonly title: readonly string[];
  /** The newest notes, below the table. */
  readonly notes: readonly string[];
}

interface Cell {
  readonly text: string;
  readonly tone: Tone | null;
}

interface Column extends Width {
  readonly title: string;
  readonly cell: (trip: Trip, now: number) => Cell;
}

/** More of them share a column. */
const TARGET_COLUMNS_MAX = 4;
const TARGET_WIDTH = 8;
const TARGET_WIDTH_MAX = 14;
/** Names of real nodes are long: they get what is left, up to this. */
const NODE_WIDTH_MAX = 44;
const ADDRESS_WIDTH_MAX = 44;
/** Columns between the event and the targets. */
const TIMES = new Set(["SEEN", "DELIVERED"]);
const STATE_WIDTH = 19;
const STATE_WIDTH_MAX = 40;

/** What stands around the trips, and how many of those there must be room for, the best first. */
const LAYOUTS = [
  { trips: 10, title: true, panel: true, legend: true },
  { trips: 7, title: true, panel: true, legend: false },
  { trips: 4, title: true, panel: false, legend: false },
  { trips: 0, title: false, panel: false, legend: false },
] as const;

/**
 * The journey as lines that fit a terminal: title, targets, legend, the newest trips, notes. Pure.
 */
export function renderTable(journey: Journey, options: TableOptions): readonly string[] {
  const { columns: width, rows, paint, notes, title, now, labels } = options;
  const columns = fitColumns(columnsOf(journey, labels), width);
  const legend = legendOf(columns.map((column) => column.title));
  const heading = columns.map((column) => pad(column.title, column.width)).join("");
  const panel =
    labels.size > 1 ? renderPanel(journey.tallies, { labels, columns: width, paint }) : [];
  const counts = [
    "",
    cut(countsText(journey, labels), width),
    ...notes.map((note) => cut(note, width)),
  ];
  // One line is left for the cursor, so that the terminal never scrolls.
  const linesMax = Math.max(1, rows - 1);
  for (const layout of LAYOUTS) {
    const about = [
      ...(layout.title ? title.map((line) => paint("strong", cut(line, width))) : []),
      ...(layout.legend ? legend.map((line) => paint("faint", cut(line, width))) : []),
      ...(layout.panel && panel.length > 0 ? ["", ...panel] : []),
      ...(layout.title ? [""] : []),
    ];
    const foot = layout.title ? counts : [];
    const room = Math.max(0, linesMax - about.length - foot.length - 1);
    if (room < layout.trips) continue;
    const shown = journey.trips.filter((trip) => trip.end !== "nothing");
    const trips = room === 0 ? [] : shown.slice(-room);
    const lines = trips.map((trip) => row(trip, columns, { now, paint }));
    return [...about, paint("strong", heading.trimEnd()), ...lines, ...foot];
  }
  return [];
}

/** What the columns mean that are shown. */
function legendOf(titles: readonly string[]): readonly string[] {
  const isShared = titles.includes("ADDED");
  const targets = titles
    .slice(titles.indexOf("EVENT") + 1, -1)
    .filter((title) => !TIMES.has(title));
  const parts = [
    ...(titles.includes("DELIVERED") ? ["DELIVERED: its POST began"] : []),
    isShared
      ? "ADDED: the write was done · READ BACK: a read showed it"
      : `${targets.join(", ")}: read back there, or removed`,
  ];
  return [
    "Times count from the moment when the watch event of a node was processed.",
    parts.join(" · "),
    "Ready: the answer names the node; read back, and in effect, wherever it must be.",
  ];
}

function hasOwnColumns(labels: Labels): boolean {
  return labels.size > 1 && labels.size <= TARGET_COLUMNS_MAX;
}

function columnsOf({ trips }: Journey, labels: Labels): readonly Column[] {
  const longest = (text: (trip: Trip) => string) =>
    trips.reduce((most, trip) => Math.max(most, text(trip).length), 0) + 2;
  const fixed = (least: number, sparing = 0) => ({ least, most: least, sparing });
  const node = (trip: Trip) => printable(trip.node);
  const deliveredCell = (trip: Trip) =>
    since(trip, trip.admittedAt === null ? null : trip.deliveredAt, "waiting");
  return [
    {
      title: "NODE",
      ...{ least: 8, most: Math.min(NODE_WIDTH_MAX, longest(node)), sparing: 0 },
      cell: (trip) => plain(node(trip)),
    },
    {
      title: "ADDRESS",
      ...{ least: 13, most: Math.min(ADDRESS_WIDTH_MAX, longest(addressesText)), sparing: 1 },
      cell: (trip) => plain(addressesText(trip)),
    },
    { title: "EVENT", ...fixed(12, 2), cell: (trip) => plain(eventText(trip)) },
    { title: "SEEN", ...fixed(9, 4), cell: (trip) => plain(clockText(trip.seenAt)) },
    { title: "DELIVERED", ...fixed(10, 3), cell: deliveredCell },
    ...(hasOwnColumns(labels) ? targetColumns(labels) : sharedColumns(fixed)),
    {
      title: "STATE",
      ...{ least: STATE_WIDTH, most: STATE_WIDTH_MAX, sparing: 0 },
      cell: (trip, now) => stateCell(trip, now, labels),
    },
  ];
}

function targetColumns(labels: Labels): readonly Column[] {
  return [...labels].map(([target, label]) => ({
    title: label.toUpperCase(),
    least: TARGET_WIDTH,
    most: Math.min(TARGET_WIDTH_MAX, Math.max(TARGET_WIDTH, label.length + 1)),
    sparing: 0,
    cell: (trip, now) =>
      stopCell(trip, trip.stops.find((stop) => stop.target === target) ?? null, now),
  }));
}

function sharedColumns(fixed: (least: number) => Width): readonly Column[] {
  return [
    { title: "ADDED", ...fixed(8), cell: addedCell },
    { title: "READ BACK", ...fixed(10), cell: readBackCell },
  ];
}

function row(
  trip: Trip,
  columns: readonly (Column & { readonly width: number })[],
  options: { readonly now: number; readonly paint: Paint },
): string {
  return columns
    .map((column, index) => {
      const { text, tone } = column.cell(trip, options.now);
      const isLast = index === columns.length - 1;
      const padded = isLast ? cut(text, column.width) : pad(text, column.width);
      return tone === null ? padded : options.paint(tone, padded);
    })
    .join("")
    .trimEnd();
}

function plain(text: string): Cell {
  return { text, tone: null };
}

function since(trip: Trip, at: number | null, otherwise: string): Cell {
  if (at === null) return { text: otherwise, tone: "waiting" };
  return plain(`+${durationText(at - trip.seenAt)}`);
}

/** One target's part in a trip. */
function stopCell(trip: Trip, stop: Stop | null, now: number): Cell {
  if (stop === null) return plain("");
  const { end, readBackAt: at, writtenAt, until, waits } = stop;
  const after = (time: number | null) => `+${durationText((time ?? trip.seenAt) - trip.seenAt)}`;
  if (end === "kept") return { text: "kept", tone: "good" };
  if (end === "removed") return { text: after(writtenAt), tone: "good" };
  // Not in effect yet, it is as good as on its way.
  if (at !== null)
    return { text: after(at), tone: now < (stop.effectiveAt ?? 0) ? "waiting" : "good" };
  if (waits !== null) return { text: waits, tone: "bad" };
  if (trip.direction === "arrival")
    return { text: writtenAt === null ? "…" : "added", tone: "waiting" };
  if (until === null) return { text: "…", tone: "waiting" };
  return { text: until > now ? "grace" : "due", tone: "waiting" };
}

function addedCell(trip: Trip): Cell {
  if (trip.direction === "departure") return { text: "–", tone: "faint" };
  const times = trip.stops.flatMap(({ writtenAt }) => writtenAt ?? []);
  if (readBackAt(trip) !== null && times.length === 0) return plain("there");
  const at = times.length === 0 ? null : Math.max(...times);
  return since(trip, at, trip.admittedAt === null ? "" : "…");
}

function readBackCell(trip: Trip, now: number): Cell {
  const { stops, direction } = trip;
  const [only, ...others] = stops;
  if (only !== undefined && others.length === 0) return stopCell(trip, only, now);
  const done = stops.filter(({ end }) => end !== null).length;
  if (direction === "departure" || done < stops.length) {
    return stops.length === 0 ? plain("") : plain(`${done} of ${stops.length}`);
  }
  return since(trip, readBackAt(trip), "");
}

/** What comes next, or how it ended. */
function stateCell(trip: Trip, now: number, labels: Labels): Cell {
  if (trip.end === "overtaken") return { text: "gone before ready", tone: "faint" };
  if (trip.end === "kept") return { text: "stays: still wanted", tone: "good" };
  if (trip.end === "removed") return { text: "removed", tone: "good" };
  const waits = waitsText(trip, labels);
  if (trip.end === null && waits !== null) return { text: waits, tone: "bad" };
  if (trip.admittedAt === null) return { text: "to be delivered", tone: "waiting" };
  return trip.direction === "arrival" ? readyCell(trip, now) : graceCell(trip, now);
}

function readyCell(trip: Trip, now: number): Cell {
  const { readyAt, seenAt } = trip;
  if (readyAt !== null) return { text: `ready +${durationText(readyAt - seenAt)}`, tone: "good" };
  const at = effectiveAt(trip);
  if (at === null) return { text: "on its way", tone: "waiting" };
  // The answer that says so comes a moment after it.
  const text = at > now ? `ready in ${Math.ceil((at - now) / 1_000)} s` : "ready in a moment";
  return { text, tone: "waiting" };
}

function graceCell(trip: Trip, now: number): Cell {
  const { stops } = trip;
  const removed = stops.filter(({ end }) => end === "removed").length;
  if (removed > 0) {
    return { text: `removed from ${removed} of ${stops.length}`, tone: "waiting" };
  }
  const until = graceEnd(trip);
  if (until === null) return plain("");
  const leftMs = until - now;
  const text = leftMs > 0 ? `in grace for ${Math.ceil(leftMs / 1_000)} s` : "goes at next resync";
  return { text, tone: "waiting" };
}

function countsText({ nodes, ready, claims, tallies }: Journey, labels: Labels): string {
  const { present, joined, changed, left } = nodes;
  const counts = `${claims.size} nodes listed, ${ready} ready`;
  const events = `at the start ${present}, joined ${joined}, changed ${changed}, left ${left}`;
  const all = [...tallies.targets.values()];
  const added = all.reduce((sum, tally) => sum + tally.added, 0);
  const removed = all.reduce((sum, tally) => sum + tally.removed, 0);
  const writes = `added ${added}, removed ${removed}`;
  return [counts, events, ...(labels.size === 1 ? [writes] : [])].join(" · ");
}
