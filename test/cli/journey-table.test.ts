import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { advance, type JourneyEvent, START } from "../../cli/journey.ts";
import { linesBetween } from "../../cli/journey-lines.ts";
import { renderTable } from "../../cli/journey-table.ts";
import { labelsOf } from "../../cli/labels.ts";
import { makePaint } from "../../cli/paint.ts";
import {
  added,
  after,
  CONVERGED,
  change,
  claim,
  GRACE_END,
  LABELS,
  leaving,
  removed,
  settled,
  TARGET,
} from "./journeys.ts";

const DEPARTED: readonly JourneyEvent[] = [
  ...settled(claim("a", "203.0.113.1/32"), claim("b", "203.0.113.2/32", "2001:db8::2/128")),
  { kind: "seen", at: 1_000, changes: [change("removed", "b"), change("added", "c")] },
  { kind: "delivered", at: 1_050 },
  {
    kind: "admitted",
    at: 1_060,
    claims: [claim("a", "203.0.113.1/32"), claim("c", "203.0.113.3/32")],
  },
  added(1_080, "203.0.113.3/32"),
  {
    kind: "answered",
    at: 1_095,
    ready: ["a", "c"],
    lists: [leaving("203.0.113.2/32", "2001:db8::2/128")],
  },
  removed(12_000, "203.0.113.2/32", "2001:db8::2/128"),
  { kind: "resynced", at: 12_010, lists: [CONVERGED] },
];

function linesOf(events: readonly JourneyEvent[]): readonly string[] {
  let journey = START;
  return events.flatMap((event) => {
    const before = journey;
    journey = advance(journey, event);
    return linesBetween(before, journey, LABELS);
  });
}

test("linesBetween() tells each trip once when it begins to wait and once at its end", () => {
  const lines = linesOf(DEPARTED).map((line) => line.replace(/\d\d:\d\d:\d\d/, "CLOCK"));
  assert.deepEqual(lines, [
    "+ node-a 203.0.113.1 present: delivered after 0 ms, added after 0 ms, read back after 0 ms",
    "+ node-b 203.0.113.2 +1 present: delivered after 0 ms, added after 0 ms, read back after 0 ms",
    "- node-b 203.0.113.2 +1 left: delivered after 50 ms, in grace until CLOCK",
    "+ node-c 203.0.113.3 joined: delivered after 50 ms, added after 80 ms, read back after 95 ms",
    "- node-b 203.0.113.2 +1 left: removed after 11 s",
  ]);
});

test("linesBetween() tells many that go the same way at once in one line", () => {
  const claims = Array.from({ length: 100 }, (_, index) =>
    claim(`n${index}`, `203.0.113.${index + 1}/32`),
  );
  assert.deepEqual(linesOf(settled(...claims)), [
    "+ 100 nodes present: delivered after 0 ms, added after 0 ms, read back after 0 ms",
  ]);
});

const plain = makePaint(false);

test("renderTable() shows where each node is, with a legend and the counts", () => {
  const render = (events: readonly JourneyEvent[], now: number) =>
    renderTable(after(...events), {
      now,
      columns: 120,
      rows: 40,
      paint: plain,
      title: ["cluster eu → db"],
      notes: ["a note"],
      labels: LABELS,
    });
  const grace = render(DEPARTED.slice(0, -2), Date.parse(GRACE_END) - 2_500).join("\n");
  assert.match(grace, /^cluster eu → db\n/);
  assert.match(grace, /READ BACK: a read showed it/);
  assert.match(
    grace,
    /node-b +203\.0\.113\.2 \+1 +left +\S+ +\+50 ms +– +grace +in grace for 3 s\n/,
  );
  assert.match(grace, /node-c .* joined +\S+ +\+50 ms +\+80 ms +\+95 ms +ready \+95 ms\n/);
  assert.match(grace, /2 nodes listed, 2 ready · at the start 2, joined 1, changed 0, left 1/);
  assert.match(grace, / · added 4, removed 0\n/);
  assert.match(grace, /\na note$/);
  assert.match(render(DEPARTED, 13_000).join("\n"), /node-b .* – +\+11 s +removed\n/);
});

test("renderTable() fits any terminal", () => {
  const claims = Array.from({ length: 60 }, (_, index) =>
    claim(`n${index}-${"x".repeat(40)}`, `203.0.113.${index + 1}/32`),
  );
  const journey = after(...settled(...claims));
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 200 }),
      fc.integer({ min: 1, max: 60 }),
      fc.integer({ min: 0, max: 8 }),
      (columns, rows, targets) => {
        const others = Array.from({ length: targets }, (_, index) => `aws/group/sg-${index}`);
        const labels = labelsOf([TARGET, ...others]);
        const title = ["t".repeat(300), "second"];
        const notes = ["n".repeat(300)];
        const options = { now: 0, columns, rows, paint: plain, title, notes, labels };
        const lines = renderTable(journey, options);
        for (const line of lines) assert(line.length <= columns, `${line.length} of ${columns}`);
        assert(lines.length <= Math.max(1, rows - 1), `${lines.length} of ${rows}`);
      },
    ),
    { numRuns: 200 },
  );
});

test("renderTable() lets no name drive the terminal", () => {
  const evil = { ...claim("a", "203.0.113.1/32"), node: "a" };
  const journey = after(...settled(evil));
  const trips = journey.trips.map((one) => ({ ...one, node: "a\u001b[2Jb\nc" }));
  const screen = { now: 0, columns: 100, rows: 30, paint: plain };
  const options = { ...screen, title: [], notes: [], labels: LABELS };
  const text = renderTable({ ...journey, trips }, options).join("|");
  assert(!text.includes("\u001b") && !text.includes("\n"), JSON.stringify(text));
});

test("renderTable() has colours only where they are wanted", () => {
  const options = { now: 0, columns: 100, rows: 30, title: ["t"], notes: [], labels: LABELS };
  const journey = after(...DEPARTED);
  const coloured = renderTable(journey, { ...options, paint: makePaint(true) }).join("\n");
  assert(coloured.includes("\u001b[32m"));
  // biome-ignore lint/suspicious/noControlCharactersInRegex: it is what a terminal is sent
  const bare = coloured.replaceAll(/\u001b\[\d+m/g, "");
  const uncoloured = renderTable(journey, { ...options, paint: plain }).join("\n");
  assert.equal(bare.replaceAll(/ +$/gm, ""), uncoloured.replaceAll(/ +$/gm, ""));
});
