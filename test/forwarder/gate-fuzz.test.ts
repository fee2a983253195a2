import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { GATE_TAINT, type GateMark } from "../../forwarder/variables.ts";
import { play, type Step } from "./gate-play.ts";

const NAMES = ["a", "b"] as const;
const RUNS = 200;

const name = fc.constantFrom(...NAMES);
const turns = fc.integer({ min: 0, max: 6 });
const only = <K extends string>(...kinds: readonly K[]) => fc.constantFrom(...kinds);

const STEP: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ turns, kind: only("join"), name }) },
  {
    weight: 5,
    arbitrary: fc.record({ turns, kind: only("leave", "shut", "open", "heartbeat"), name }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      turns,
      kind: only("address", "label"),
      name,
      value: fc.integer({ min: 1, max: 2 }),
    }),
  },
  { weight: 6, arbitrary: fc.record({ turns, kind: only("watch") }) },
  { weight: 6, arbitrary: fc.record({ turns, kind: only("send") }) },
  {
    weight: 8,
    arbitrary: fc.record({
      turns,
      kind: only("answer"),
      ready: fc.subarray([...NAMES]),
      shift: fc.constantFrom(0, 0, 0, 0, -1, 1),
    }),
  },
  { weight: 3, arbitrary: fc.record({ turns, kind: only("lose", "acquire", "acquire") }) },
  {
    weight: 4,
    arbitrary: fc.record({
      turns,
      kind: only("time"),
      ms: fc.constantFrom(1_000, 11_000, 61_000, 301_000, 605_000),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      turns,
      kind: only("clock"),
      ms: fc.constantFrom(-3_600_000, 3_600_000, -1_000),
    }),
  },
  { weight: 1, arbitrary: fc.record({ turns, kind: only("restart") }) },
  {
    weight: 1,
    arbitrary: fc.record({
      turns,
      kind: only("api"),
      how: only("works", "is away", "loses answers"),
    }),
  },
);

for (const mark of [
  { kind: "taint", key: GATE_TAINT },
  { kind: "condition" },
] satisfies GateMark[]) {
  test(`makeGate() opens a node only when it was read back as it is, or its time is over, whatever happens: ${mark.kind}`, {
    timeout: 120_000,
  }, async () => {
    const openings = new Set<string>();
    await fc.assert(
      fc.asyncProperty(fc.array(STEP, { minLength: 5, maxLength: 40 }), async (steps) => {
        const played = await play(mark, steps);
        for (const opening of played.openings) openings.add(opening);
        assert.deepEqual(played.violations, []);
        assert.deepEqual(played.shutAtEnd, [], "once all is well, all is open");
      }),
      { numRuns: RUNS },
    );
    assert.deepEqual([...openings].toSorted(), ["ready", "timeout"], "both were tried");
  });
}
