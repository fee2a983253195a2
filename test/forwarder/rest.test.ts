import assert from "node:assert/strict";
import { test } from "node:test";
import { makeRest } from "../../forwarder/rest.ts";

const SIGNAL = new AbortController().signal;

interface Event {
  readonly at: number;
  readonly isNews: boolean;
}

/** So many a second, evenly, for three seconds. */
function evenly(perSecond: number, isNews = false): readonly Event[] {
  return Array.from({ length: 3 * perSecond }, (_, n) => ({
    at: (1_000 * (n + 1)) / perSecond,
    isNews,
  }));
}

/** How long after each event nothing is read, and how late each is taken. */
function follow(events: readonly Event[]) {
  let now = 0;
  let slept = 0;
  const rest = makeRest({
    now: () => now,
    async sleep(ms) {
      slept = ms;
    },
  });
  return events.map(({ at, isNews }) => {
    rest.ask();
    // What came while nobody read was there already.
    now = Math.max(now, at);
    const late = now - at;
    slept = 0;
    void rest.after(isNews, SIGNAL);
    now += slept;
    return { late, slept };
  });
}

test("makeRest() lets heartbeats gather, and takes all that gathered at once", () => {
  const taken = follow(evenly(100));
  const rested = taken.flatMap(({ slept }, at) => (slept > 0 ? [at] : []));
  assert.ok(rested.length >= 8 && rested.length <= 11, `${rested.length} rests in two seconds`);
  for (const [nth, at] of rested.slice(1).entries()) {
    assert.ok(at - (rested[nth] ?? 0) >= 20, "what gathered is taken without another rest");
  }
  assert.ok(taken.every(({ late }) => late <= 200));
});

test("makeRest() never lets anything wait in a quiet cluster", () => {
  assert.ok(follow(evenly(10)).every(({ slept }) => slept === 0));
});

test("makeRest() never lets anything wait behind a change", () => {
  assert.ok(follow(evenly(100, true)).every(({ slept }) => slept === 0));
});

test("makeRest() keeps up with whatever comes: it rests no more when there is much", () => {
  // Ten at a time, so that the first of them was waited for.
  const flood = Array.from({ length: 3_000 }, (_, n) => {
    return { at: 3_010 + 10 * Math.floor(n / 10), isNews: false };
  });
  const taken = follow(evenly(400).concat(flood));
  assert.ok(taken.every(({ late }) => late <= 200));
  assert.ok(taken.slice(-1_000).every(({ slept }) => slept === 0));
});

test("makeRest() ends its rest when the signal aborts", { timeout: 5_000 }, async () => {
  const ending = new AbortController();
  let now = 0;
  const rest = makeRest({
    now: () => now,
    sleep: (_ms, signal) =>
      new Promise((_resolve, reject) => {
        signal?.addEventListener("abort", () => reject(signal.reason));
      }),
  });
  let resting: Promise<void> | null = null;
  for (; resting === null && now < 5_000; now += 10) {
    resting = rest.after(false, ending.signal);
    rest.ask();
  }
  assert.ok(resting !== null);
  ending.abort(new Error("the end"));
  await assert.rejects(resting, /the end/);
});
