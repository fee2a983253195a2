import type { Journey, Trip } from "./journey.ts";
import { addressesText, clockText, durationText, eventText } from "./journey-lines.ts";
import type { Paint, Tone } from "./paint.ts";
import { printable } from "./shell.ts";

export interface TableOptions {
  readonly now: number;
  readonly columns: number;
  readonly rows: number;
  readonly paint: Paint;
  /** Who follows whom, above the table. */
  readonly title: readonly string[];
  /** The newest notes, below the table. */
  readonly notes: readonly string[];
}

interface Cell {
  readonly text: string;
  readonly tone: Tone | null;
}

interface Column {
  readonly title: string;
  readonly width: number;
  /** Given up on narrow terminals, the highest first; 0 never. */
  readonly sparing: number;
  readonly cell: (trip: Trip, now: number) => Cell;
}

/** On terminals that have no room for more, there is nothing but the table. */
const TRIPS_MIN = 4;
/** Names of real nodes are long: they get what is left, up to this. */
const NODE_WIDTH_MAX = 44;
const NODE_WIDTH = 10;

// Together they take 79 columns without SEEN, which is the first to go.
const COLUMNS: readonly Column[] = [
  { title: "NODE", width: NODE_WIDTH, sparing: 0, cell: (trip) => plain(printable(trip.node)) },
  { title: "ADDRESS", width: 16, sparing: 1, cell: (trip) => plain(addressesText(trip)) },
  { title: "EVENT", width: 12, sparing: 2, cell: (trip) => plain(eventText(trip)) },
  { title: "SEEN", width: 9, sparing: 3, cell: (trip) => plain(clockText(trip.seenAt)) },
  {
    title: "DELIVERED",
    width: 10,
    sparing: 0,
    cell: (trip) => since(trip, trip.admittedAt === null ? null : trip.deliveredAt, "waiting"),
  },
  { title: "ADDED", width: 9, sparing: 0, cell: addedCell },
  { title: "READ BACK", width: 22, sparing: 0, cell: lastCell },
];

const LEGEND = [
  "SEEN: its watch event was processed; times count from there",
  "DELIVERED: the POST with it began · ADDED: the write on the target was done",
  "READ BACK: the answer says that it is there",
];

/** The journey as lines that fit a terminal: title, legend, the newest trips, notes. Pure. */
export function renderTable(journey: Journey, options: TableOptions): readonly string[] {
  const { columns: width, rows, paint, notes, title, now } = options;
  const longest = Math.max(0, ...journey.trips.map((trip) => trip.node.length));
  const columns = fitting(width, longest);
  const heading = columns.map((column) => pad(column.title, column.width)).join("");
  const about = [
    ...title.map((line) => paint("strong", cut(line, width))),
    ...LEGEND.map((line) => paint("faint", cut(line, width))),
    "",
  ];
  const counts = ["", cut(countsText(journey), width), ...notes.map((note) => cut(note, width))];
  // One line is left for the cursor, so that the terminal never scrolls.
  const linesMax = Math.max(1, rows - 1);
  const isRoomy = linesMax - about.length - counts.length - 1 >= TRIPS_MIN;
  const head = [...(isRoomy ? about : []), paint("strong", heading)];
  const foot = isRoomy ? counts : [];
  const room = Math.max(0, linesMax - head.length - foot.length);
  const shown = journey.trips.filter((trip) => trip.end !== "nothing");
  const trips = room === 0 ? [] : shown.slice(-room);
  return [...head, ...trips.map((trip) => row(trip, columns, { now, paint })), ...foot];
}

function fitting(width: number, longestName: number): readonly Column[] {
  let columns = COLUMNS;
  const widthOf = (some: readonly Column[]) => some.reduce((sum, column) => sum + column.width, 0);
  while (widthOf(columns) > width) {
    const most = Math.max(...columns.map((column) => column.sparing));
    if (most === 0) break;
    columns = columns.filter((column) => column.sparing !== most);
  }
  const spare = Math.max(0, width - widthOf(columns));
  let left = width;
  return columns.flatMap((column) => {
    const isName = column.title === "NODE";
    const most = Math.max(NODE_WIDTH, Math.min(NODE_WIDTH_MAX, longestName + 2));
    const wish = isName ? Math.min(most, NODE_WIDTH + spare) : column.width;
    const own = Math.min(wish, left);
    left -= own;
    return own > 1 ? [{ ...column, width: own }] : [];
  });
}

function row(
  trip: Trip,
  columns: readonly Column[],
  options: { readonly now: number; readonly paint: Paint },
): string {
  return columns
    .map((column) => {
      const { text, tone } = column.cell(trip, options.now);
      const padded = pad(text, column.width);
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

function addedCell(trip: Trip): Cell {
  if (trip.direction === "departure") return { text: "–", tone: "faint" };
  if (trip.readBackAt !== null && trip.writtenAt === null) return plain("was there");
  return since(trip, trip.writtenAt, trip.admittedAt === null ? "" : "…");
}

function lastCell(trip: Trip, now: number): Cell {
  if (trip.end === "kept") return { text: "stays: still wanted", tone: "good" };
  if (trip.waits !== null) return { text: trip.waits, tone: "bad" };
  if (trip.direction === "arrival") {
    if (trip.readBackAt === null) return plain(trip.admittedAt === null ? "" : "…");
    return { text: `+${durationText(trip.readBackAt - trip.seenAt)}`, tone: "good" };
  }
  if (trip.end === "removed") {
    const afterMs = (trip.writtenAt ?? trip.seenAt) - trip.seenAt;
    return { text: `removed +${durationText(afterMs)}`, tone: "good" };
  }
  if (trip.until === null) return plain("");
  const leftMs = trip.until - now;
  const text = leftMs > 0 ? `in grace for ${Math.ceil(leftMs / 1_000)} s` : "goes at next resync";
  return { text, tone: "waiting" };
}

function countsText({ nodes, rules, claims }: Journey): string {
  const { present, joined, changed, left } = nodes;
  const events = `at the start ${present}, joined ${joined}, changed ${changed}, left ${left}`;
  const writes = `rules added ${rules.added}, removed ${rules.removed}`;
  return `${claims.size} nodes listed · ${events} · ${writes}`;
}

/** Cut to its column, with a blank between it and the next. */
function pad(text: string, width: number): string {
  return `${cut(text, width - 1)} `.padEnd(width);
}

function cut(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, Math.max(0, width - 1))}…`;
}
