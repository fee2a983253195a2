import type { World } from "../lib/world.ts";
import { type Journey, START } from "./journey.ts";
import { clockText, linesBetween } from "./journey-lines.ts";
import { renderTable } from "./journey-table.ts";
import type { Labels } from "./labels.ts";
import { paintFor } from "./paint.ts";
import { printable, type Shell } from "./shell.ts";

/** Where a journey is shown. */
export interface Screen {
  /** The journey went from one state to the next. */
  show(before: Journey, after: Journey): void;
  /** Something that people should know beside it. */
  note(text: string): void;
  /** Leaves what is there standing, and the cursor below it. */
  close(): Promise<void>;
}

export interface ScreenOptions {
  readonly world: Pick<World, "now" | "sleep">;
  /** Who follows whom, and how. */
  readonly title: readonly string[];
  /** Of every target. */
  readonly labels: Labels;
}

const REDRAW_MS = 200;
const NOTES_MAX = 4;

/** A table that lives on a terminal, lines anywhere else. */
export function openScreen(shell: Shell, options: ScreenOptions): Screen {
  const { isTerminal } = shell.stdout;
  return isTerminal && shell.env.TERM !== "dumb"
    ? openTable(shell, options)
    : openLines(shell, options);
}

function openLines(shell: Shell, { world, title, labels }: ScreenOptions): Screen {
  const say = (text: string) => shell.stdout.write(`${clockText(world.now())} ${text}\n`);
  say(title.join("; "));
  return {
    show(before, after) {
      for (const text of linesBetween(before, after, labels)) say(text);
    },
    note: (text) => say(printable(text)),
    close: async () => undefined,
  };
}

/** One JSON object a line: what {@link openLines} says, and the whole trip that it says it of. */
export function openJsonLines(shell: Shell, { world, title }: ScreenOptions): Screen {
  const say = (value: object) => shell.stdout.write(`${JSON.stringify(value)}\n`);
  const iso = (at: number) => new Date(at).toISOString();
  say({ at: iso(world.now()), kind: "started", text: title.join("; ") });
  return {
    show(before, after) {
      const earlier = new Map(before.trips.map((trip) => [trip.id, trip]));
      for (const trip of after.trips) {
        if (earlier.get(trip.id) !== trip) say({ at: iso(world.now()), kind: "trip", ...trip });
      }
    },
    note: (text) => say({ at: iso(world.now()), kind: "note", text }),
    close: async () => undefined,
  };
}

// ECMA-48: cursor up, erase below, and DEC's cursor on and off.
const ESCAPE = "\u001b[";
const HIDE_CURSOR = `${ESCAPE}?25l`;
const SHOW_CURSOR = `${ESCAPE}?25h`;

function openTable(shell: Shell, { world, title, labels }: ScreenOptions): Screen {
  const paint = paintFor(shell);
  const closing = new AbortController();
  let journey: Journey = START;
  let notes: readonly string[] = [];
  let drawn = 0;
  const draw = () => {
    const { columns, rows } = shell.stdout.size();
    const about = { title, labels, notes };
    const lines = renderTable(journey, { now: world.now(), columns, rows, paint, ...about });
    const up = drawn === 0 ? "" : `${ESCAPE}${drawn}A\r`;
    shell.stdout.write(`${up}${ESCAPE}0J${lines.join("\n")}\n`);
    drawn = lines.length;
  };
  const redraw = async () => {
    while (!closing.signal.aborted) {
      draw();
      await world.sleep(REDRAW_MS, closing.signal).catch(() => undefined);
    }
  };
  shell.stdout.write(HIDE_CURSOR);
  const drawing = redraw();
  return {
    show(_before, after) {
      journey = after;
    },
    note(text) {
      notes = [...notes, `${clockText(world.now())} ${printable(text)}`].slice(-NOTES_MAX);
    },
    async close() {
      closing.abort();
      await drawing;
      draw();
      shell.stdout.write(SHOW_CURSOR);
    },
  };
}
