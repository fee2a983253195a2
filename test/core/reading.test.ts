import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { outsidesOf } from "../../lib/core/list.ts";
import { type OutsideSource, outsideKey, outsideName } from "../../lib/core/outside.ts";
import {
  isAskedAgain,
  isWorthKeeping,
  nextReading,
  type SourceOutcome,
  type SourceReading,
  staleAfterMs,
} from "../../lib/core/reading.ts";
import { isSegment } from "../../lib/stores/key.ts";
import { parseSourceReading } from "../../lib/stores/readings.ts";
import { START } from "../virtual-world.ts";
import { cidrs, EXTERNAL, hosts, list, NAT, SUBNET } from "./cases.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

const read = (...texts: readonly string[]): SourceOutcome => {
  return { kind: "read", cidrs: cidrs(...texts), free: null };
};
const failed = (message = "Cannot read it", ...texts: readonly string[]): SourceOutcome => {
  return { kind: "failed", cidrs: cidrs(...texts), message };
};

function after(
  source: OutsideSource,
  ...asked: readonly (readonly [number, SourceOutcome])[]
): SourceReading {
  let reading: SourceReading | null = null;
  for (const [at, outcome] of asked) reading = nextReading(source, reading, { outcome, at });
  assert(reading !== null);
  return reading;
}

/** The same good answer every minute, from the first minute on. */
function minutely(outcome: SourceOutcome, count: number) {
  return Array.from({ length: count }, (_, index) => {
    return [START + (index + 1) * MINUTE_MS, outcome] as const;
  });
}

const texts = ({ answers }: SourceReading) => answers.map((answer) => answer.cidr as string);

test("nextReading() takes a subnet for what it last said", () => {
  const found = after(
    SUBNET,
    [START, read("10.0.0.0/24", "2001:db8::/64")],
    [START + 1, read("10.0.1.0/24")],
  );
  assert.deepEqual(texts(found), ["10.0.1.0/24"]);
  assert.equal(found.readAt, START + 1);
});

test("nextReading() keeps every address of a name for an hour after it was last given", () => {
  const early = after(NAT, [START, read("8.8.8.8")], ...minutely(read("8.8.4.4"), 65));
  assert.deepEqual(texts(early), ["8.8.4.4/32", "8.8.8.8/32"], "it is written down with a delay");
  const again = { outcome: read("8.8.4.4"), at: START + 65 * MINUTE_MS + 1 };
  assert.deepEqual(texts(nextReading(NAT, early, again)), ["8.8.4.4/32"]);
  const slow = { ...NAT, intervalMs: 30 * MINUTE_MS };
  const later = after(slow, [START, read("8.8.8.8")], ...minutely(read("8.8.4.4"), 90));
  assert.deepEqual(texts(later), ["8.8.4.4/32", "8.8.8.8/32"], "its own interval counts, too");
  const past = { outcome: read("8.8.4.4"), at: START + 90 * MINUTE_MS + 1 };
  assert.deepEqual(texts(nextReading(slow, later, past)), ["8.8.4.4/32"]);
});

test("nextReading() does not count the time in which nobody asked, or nobody answered", () => {
  const outage = 70 * MINUTE_MS;
  const before: readonly (readonly [number, SourceOutcome])[] = [
    [START, read("8.8.8.8", "1.1.1.1")],
  ];
  for (const between of [[], [[START + outage / 2, failed()] as const]]) {
    const found = after(NAT, ...before, ...between, [START + outage, read("8.8.4.4")]);
    assert.deepEqual(texts(found), ["1.1.1.1/32", "8.8.4.4/32", "8.8.8.8/32"]);
    const ages = found.answers.map(({ seenAt }) => (START + outage - seenAt) / MINUTE_MS);
    assert.deepEqual(ages, [5, 0, 5], "an outage counts like the five minutes between writes");
  }
  const hourly = Array.from({ length: 13 }, (_, hour) => {
    return [START + (hour + 1) * HOUR_MS, read("8.8.4.4")] as const;
  });
  const rare = after(NAT, ...before, ...hourly);
  assert.deepEqual(texts(rare).length, 3);
  const last = { outcome: read("8.8.4.4"), at: START + 14 * HOUR_MS };
  assert.deepEqual(texts(nextReading(NAT, rare, last)), ["8.8.4.4/32"], "it ends all the same");
});

test("nextReading() forgets of a name that is never read whole only what exceeds a hundred and is old", () => {
  const host = (index: number) => `9.0.${index >> 8}.${index & 255}`;
  let reading: SourceReading | null = null;
  let at = START;
  const half = (...named: readonly string[]) => {
    reading = nextReading(NAT, reading, { outcome: failed("half", ...named), at });
    return texts(reading);
  };
  for (let index = 0; index < 100; index += 1, at += MINUTE_MS) half(host(index));
  assert.equal(half(host(99)).length, 100, "a hundred stay, however old");
  const more = half(host(100), host(101));
  assert.equal(more.length, 100);
  assert(!more.includes("9.0.0.0/32") && !more.includes("9.0.0.1/32"), "the oldest went");
  const flood = Array.from({ length: 50 }, (_, index) => host(200 + index));
  const young = after(
    NAT,
    [START, failed("half", ...more.map((one) => one.replace("/32", "")))],
    [START + MINUTE_MS, failed("half", ...flood)],
  );
  assert.equal(texts(young).length, 150, "what was given within the hour is never pushed out");
  const silent = { outcome: failed(), at: START + 48 * HOUR_MS };
  assert.equal(texts(nextReading(NAT, young, silent)).length, 150, "nobody answered, so all stay");
});

test("nextReading() never takes anything away for a failure, however old it is", () => {
  for (const source of [NAT, SUBNET]) {
    const found = after(
      source,
      [START, read("8.8.8.8")],
      [START + 48 * HOUR_MS, failed("Cannot read it: vanished")],
    );
    assert.deepEqual(texts(found), ["8.8.8.8/32"]);
    assert.equal(found.readAt, START, "a failure is no reading");
    assert.deepEqual(found.trouble, {
      at: START + 48 * HOUR_MS,
      message: "Cannot read it: vanished",
    });
    assert.equal(after(source, [START, failed()], [START + 1, read("8.8.8.8")]).trouble, null);
  }
});

test("nextReading() adds what was learnt although the rest failed", () => {
  const found = after(NAT, [START, read("8.8.8.8")], [START + 1, failed("half", "8.8.4.4")]);
  assert.deepEqual(texts(found), ["8.8.4.4/32", "8.8.8.8/32"]);
  assert.equal(found.readAt, START);
});

test("nextReading() refuses to make a source empty", () => {
  const nothing: SourceOutcome = { kind: "read", cidrs: [], free: null };
  assert.throws(() => after(NAT, [START, read("8.8.8.8")], [START + 1, nothing]), /good answer/);
});

test("nextReading() remembers a bounded number, those that stand longest", () => {
  const many = Array.from({ length: 1_200 }, (_, index) => `9.${index >> 8}.${index & 255}.1`);
  const found = after(NAT, [START, read("8.8.8.8")], [START + 1, read(...many)]);
  assert.equal(found.answers.length, 500);
  assert.equal(texts(found)[0], "8.8.8.8/32");
});

test("nextReading() believes no time from a clock that ran ahead", () => {
  const ahead = START + 48 * HOUR_MS;
  const held = after(NAT, [ahead, read("8.8.8.8")]);
  let reading = nextReading(NAT, held, { outcome: read("8.8.4.4"), at: START });
  for (let minute = 1; minute <= 66; minute += 1) {
    const at = START + minute * MINUTE_MS;
    reading = nextReading(NAT, reading, { outcome: read("8.8.4.4"), at });
  }
  assert.deepEqual(texts(reading), ["8.8.4.4/32"]);
  const again = nextReading(NAT, held, { outcome: read("8.8.8.8", "1.1.1.1"), at: START });
  const since = again.answers.map((answer) => answer.since);
  assert.deepEqual(since, [START, START], "it has no place before others for a time to come");
  const asked = after(NAT, [START, read("8.8.8.8")], [START + 1, read("8.8.8.8")]);
  assert.equal(asked.answers[0]?.since, START, "it counts from when it was given first");
});

test("nextReading() never loses what the last good answer named, and is never empty after one", () => {
  const step = fc.record({
    gapMs: fc.integer({ min: 1, max: 2 * HOUR_MS }),
    good: fc.boolean(),
    named: fc.subarray(hosts(6), { minLength: 1 }),
  });
  fc.assert(
    fc.property(
      fc.constantFrom(NAT, SUBNET),
      fc.array(step, { maxLength: 12 }),
      (source, steps) => {
        let reading: SourceReading | null = null;
        let last: readonly string[] = [];
        let at = START;
        for (const { gapMs, good, named } of steps) {
          at += gapMs;
          const outcome = good ? read(...named) : failed();
          if (good) last = named;
          reading = nextReading(source, reading, { outcome, at });
          const held = texts(reading);
          for (const one of last) assert(held.includes(one));
          assert.deepEqual(parseSourceReading(JSON.parse(JSON.stringify(reading))), reading);
        }
      },
    ),
    { numRuns: 200 },
  );
});

test("isAskedAgain() waits for the interval, less after a failure, and not for a time that lies ahead", () => {
  const subnet = after(SUBNET, [START, read("10.0.0.0/24")]);
  assert.equal(isAskedAgain(SUBNET, null, START), true);
  assert.equal(isAskedAgain(SUBNET, subnet, START + 5 * MINUTE_MS - 1), false);
  assert.equal(isAskedAgain(SUBNET, subnet, START + 5 * MINUTE_MS), true);
  assert.equal(isAskedAgain(SUBNET, subnet, START - HOUR_MS), true);
  const broken = after(SUBNET, [START, failed()]);
  assert.equal(isAskedAgain(SUBNET, broken, START + MINUTE_MS - 1), false);
  assert.equal(isAskedAgain(SUBNET, broken, START + MINUTE_MS), true);
  const slow = { ...NAT, intervalMs: HOUR_MS };
  const name = after(slow, [START, read("8.8.8.8")]);
  assert.equal(isAskedAgain(slow, name, START + HOUR_MS - 1), false);
  assert(
    staleAfterMs(slow) > HOUR_MS,
    "what is asked every hour is not stale after fifteen minutes",
  );
});

test("isWorthKeeping() writes down changes at once, and that nothing changes every five minutes", () => {
  const held = after(NAT, [START, read("8.8.8.8", "8.8.4.4")]);
  const next = (ms: number, outcome: SourceOutcome) =>
    isWorthKeeping(held, nextReading(NAT, held, { outcome, at: START + ms }));
  assert.equal(isWorthKeeping(null, held), true);
  assert.equal(next(MINUTE_MS, read("8.8.4.4")), false, "the other is remembered");
  assert.equal(next(MINUTE_MS, read("8.8.8.8", "1.1.1.1")), true);
  assert.equal(next(MINUTE_MS, failed()), true);
  assert.equal(next(5 * MINUTE_MS, read("8.8.8.8")), true);
  const turns = after(NAT, [START, read("1.1.1.1")], [START + 4 * MINUTE_MS, read("8.8.8.8")]);
  const same = (outcome: SourceOutcome) =>
    isWorthKeeping(turns, nextReading(NAT, turns, { outcome, at: START + 5 * MINUTE_MS }));
  assert.equal(same(read("8.8.8.8")), false);
  assert.equal(same(read("1.1.1.1")), true, "each counts from when it was last given itself");
  const broken = after(NAT, [START, failed("Cannot read it: a")]);
  const again = (message: string) =>
    isWorthKeeping(broken, nextReading(NAT, broken, { outcome: failed(message), at: START + 1 }));
  assert.equal(again("Cannot read it: a"), false);
  assert.equal(again("Cannot read it: b"), true);
});

test("outsideKey() gives every source a log of its own, and names that a store can keep", () => {
  const long = [...Array(4).fill("a".repeat(62)), "b"].join(".");
  const sources: readonly OutsideSource[] = [
    SUBNET,
    { ...SUBNET, region: "eu-west-2" },
    { ...SUBNET, vendor: "alibaba", region: "cn-beijing", id: "vsw-1" },
    NAT,
    { ...NAT, families: ["ipv4"] },
    { ...NAT, families: ["ipv6"] },
    { ...NAT, name: long },
  ];
  assert.equal(long.length, 253);
  const keys = sources.map(outsideKey);
  assert.equal(new Set(keys).size, keys.length);
  for (const key of keys) assert(isSegment(key), key);
  assert.equal(keys[0], "aws-subnet.eu-west-1.subnet-0a1b");
  assert.equal(keys[2], "alibaba-vswitch.cn-beijing.vsw-1");
  assert.equal(keys[3], "dns.nat.example.com");
  assert.deepEqual(sources.slice(0, 5).map(outsideName), [
    "aws/subnet/subnet-0a1b",
    "aws/subnet/subnet-0a1b",
    "alibaba/vswitch/vsw-1",
    "dns/nat.example.com",
    "dns/nat.example.com/ipv4",
  ]);
});

test("outsidesOf() names each once, as often as the most impatient list asks", () => {
  const names = (intervalMs: number) => {
    return { kind: "dns", names: [{ ...NAT, intervalMs }], bounds: "public" } as const;
  };
  for (const intervals of [
    [30_000, 300_000],
    [300_000, 30_000],
  ]) {
    const lists = intervals.map((ms) => list({ sources: [EXTERNAL, names(ms)] }));
    assert.deepEqual(outsidesOf(lists), [{ ...NAT, intervalMs: 30_000 }]);
  }
});

test("parseSourceReading() refuses what it cannot read whole, instead of leaving an address out", () => {
  const good = { readAt: START, answers: [], free: null, trouble: null };
  const answer = (cidr: string) => ({ cidr, since: START, seenAt: START });
  assert.throws(
    () => parseSourceReading({ ...good, answers: [answer("8.8.8.8/32"), answer("8.8.8")] }),
    /answers\[1\]\.cidr: Cannot read a CIDR/,
  );
  assert.throws(() => parseSourceReading({ ...good, answers: undefined }), /answers/);
  assert.deepEqual(parseSourceReading({ ...good, later: 1 }), good);
});
