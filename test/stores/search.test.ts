import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { acquireLease, type Look, lookAt, type TargetObject } from "../../lib/stores/lease.ts";
import { type Log, openLog } from "../../lib/stores/log.ts";
import { StoreError } from "../../lib/stores/store.ts";
import {
  explore,
  type Outcome,
  type Program,
  type Property,
  type Seat,
  type Setting,
} from "./explorer.ts";
import { type Modules, type Mutation, mutate } from "./mutant.ts";

// The default bounds take half a minute. `KUBE_ALLOWLIST_SEARCH=deep` takes a few minutes and
// gigabytes (`--max-old-space-size`): for whoever changes the log, the lease or the explorer.
const isDeep = process.env.KUBE_ALLOWLIST_SEARCH === "deep";
const STATES_MAX = isDeep ? 12_000_000 : 1_000_000;

const real: Modules = { openLog, acquireLease, lookAt };
const DAY_MS = 25 * 3_600_000;
/**
 * A holder counts for 60 s and others wait for 65 s: after one step both hold on, after two both
 * are through.
 */
const STEP_MS = 35_000;
const FOREVER_MS = 1_000_000_000_000;

const EVERYTHING: readonly Property[] = [
  "two-holders",
  "number-used-twice",
  "out-of-order",
  "lost-append",
  "applied-twice",
  "waits-for-itself",
  "never-ends",
  "program",
];

const SAFETY = EVERYTHING.filter((property) => property !== "never-ends");

// ---- Programs

/**
 * Tells the search what happens, and what matters from there on: what the program itself remembers,
 * and of the log's and the lease's variables those that were not computed anew since.
 */
function watched<T extends object>(
  seat: Seat,
  log: Log<T>,
  remembered: () => string = () => "",
): Log<T> & { essence(): string; ask(): void } {
  let askedAt = 0;
  let lost = 0;
  let appends = 0;
  const essence = () => `${askedAt} ${lost} ${appends} ${remembered()}`;
  const ask = () => {
    askedAt = seat.world.now();
  };
  return {
    ...log,
    essence,
    ask,
    newest() {
      ask();
      seat.forget(`look ${lost} ${appends} ${remembered()}`);
      return log.newest();
    },
    async append(after, body) {
      seat.forget(`append ${essence()}`);
      appends += 1;
      const entry = await log.append(after, body);
      if (entry === "exists") lost += 1;
      else seat.acknowledge(entry.revision);
      return entry;
    },
  };
}

interface LeaseWork {
  readonly extendMs?: number;
  readonly rounds?: number;
  /** Looks first, as a run does, and has other work before it asks for the lease. */
  readonly looks?: boolean;
  /** Somebody sets the wall clock back all the time. */
  readonly setBack?: boolean;
}

/** Waits for the lease, works, extends it if asked to, works, releases it; so many times. */
function leaseProgram(modules: Modules, work: LeaseWork = {}): Program {
  return {
    async run(seat) {
      let round = 1;
      let turn = "";
      const log = watched(seat, openTarget(modules, seat), () => `${round}${turn}`);
      const world = work.setBack ? { ...seat.world, now: () => 0 } : seat.world;
      for (; round <= (work.rounds ?? 1); round += 1) {
        seat.forget(`rests ${log.essence()}`);
        await seat.idle();
        // Else the look that is asked for with the lease would be taken for this one, for ever.
        turn = " looks";
        const look = work.looks ? await lookFirst(modules, { seat, log, world }) : undefined;
        turn = "";
        if (!(await hold(modules, { seat, log, world, look, extendMs: work.extendMs }))) return;
      }
    },
  };
}

interface Holding {
  readonly seat: Seat;
  readonly log: ReturnType<typeof watched<TargetObject>>;
  readonly world: Seat["world"];
}

async function lookFirst(
  modules: Modules,
  { seat, log, world }: Holding,
): Promise<Look | undefined> {
  const seen = await modules.lookAt(log, world).catch(ignoreStoreError);
  const look = seen === "unknown" ? undefined : seen;
  const { revision, body } = look?.newest ?? {};
  seat.forget(`looked ${log.essence()} ${look !== undefined} ${revision} ${body?.state}`);
  await seat.idle();
  return look;
}

async function hold(
  modules: Modules,
  options: Holding & { readonly look: Look | undefined; readonly extendMs: number | undefined },
): Promise<boolean> {
  const { seat, log, world, look, extendMs } = options;
  // The length of a pause means nothing here: a sleeper wakes when the search says so.
  const sleep = (ms: number) => {
    seat.forget(`sleep ${log.essence()}`);
    return seat.world.sleep(ms);
  };
  log.ask();
  const lease = await modules.acquireLease(log, {
    look,
    world: { ...world, random: () => 0.5, sleep },
    remainingMs: FOREVER_MS,
    waitMs: FOREVER_MS,
  });
  if (lease === null) throw new Error("waited without end and got nothing");
  seat.hold(lease);
  seat.forget(`holds ${log.essence()}`);
  await seat.idle();
  if (extendMs !== undefined) {
    if ((await lease.extend({}, extendMs).catch(ignoreStoreError)) === false) return false;
    await seat.idle();
  }
  return lease.release({});
}

function openTarget(modules: Modules, seat: Seat): Log<TargetObject> {
  return modules.openLog<TargetObject>({
    store: seat.store,
    prefix: "",
    installation: "acme",
    kind: "targets",
    name: "object",
    parse: (stored) => stored as TargetObject,
    world: seat.world,
  });
}

interface Admitted {
  readonly intent: string;
  readonly generation: number;
}

/**
 * Appends, and decides again when it lost, as the webhook does. With generations: what is newer
 * than the newest. Without: something every time, whatever stands there.
 */
function appendProgram(
  modules: Modules,
  options: { readonly generations: readonly number[]; readonly anyway?: boolean },
): Program {
  return {
    async run(seat) {
      let seen = 0;
      let turn = "";
      const log = watched(seat, openAdmitted(modules, seat), () => `${turn} ${seen}`);
      for (const generation of options.generations) {
        turn = `${generation}`;
        seat.forget(`rests ${log.essence()}`);
        await seat.idle();
        const body = { intent: `${seat.index}/${generation}`, generation };
        for (let tries = 1; ; tries += 1) {
          turn = `${generation} ${tries}`;
          assert.ok(tries <= 5, "lost five times");
          // An error means that the outcome is unknown: the sender comes again with the next.
          const newest = await log.newest().catch(ignoreStoreError);
          if (newest === "unknown") break;
          const revision = newest?.revision ?? 0;
          assert.ok(revision >= seen, `revision ${revision} was read after revision ${seen}`);
          seen = revision;
          if (!options.anyway && (newest?.body.generation ?? 0) >= generation) break;
          const entry = await log.append(revision, body).catch(ignoreStoreError);
          if (entry === "unknown") break;
          if (entry === "exists") continue;
          seen = entry.revision;
          break;
        }
      }
    },
  };
}

function openAdmitted(modules: Modules, seat: Seat): Log<Admitted> {
  return modules.openLog<Admitted>({
    store: seat.store,
    prefix: "",
    installation: "acme",
    kind: "clusters",
    name: "a",
    parse: (stored) => stored as Admitted,
    world: seat.world,
  });
}

function trimProgram(modules: Modules, kind: "clusters" | "targets", name: string): Program {
  return {
    unhurried: true,
    async run(seat) {
      await seat.idle();
      const { store, world } = seat;
      const parse = (stored: unknown) => stored as object;
      await modules
        .openLog({ store, prefix: "", installation: "acme", kind, name, parse, world })
        .trim();
    },
  };
}

function ignoreStoreError(error: unknown): "unknown" {
  if (error instanceof StoreError) return "unknown";
  throw error;
}

// ---- Settings

const LEASE_BASE = "v1/targets/object/";
const LOG_BASE = "v1/clusters/a/";

const common = { faults: 0, ageMsMax: 2 * STEP_MS, properties: EVERYTHING, statesMax: STATES_MAX };

function leaseSetting(programs: readonly Program[], rest: Partial<Setting> = {}): Setting {
  return {
    ...common,
    base: LEASE_BASE,
    objects: [],
    programs,
    alike: programs.length,
    growing: true,
    jumps: [{ ms: STEP_MS, times: 2 }],
    ...rest,
  };
}

/**
 * One process that sleeps through days anywhere, while another takes leases and a trimmer deletes:
 * it may meet numbers that were used and are free again, and must know that it came too late.
 */
function daySetting(modules: Modules, options: LeaseWork & { readonly days: number }): Setting {
  const { days, ...work } = options;
  const programs = [
    { ...leaseProgram(modules, work), unhurried: true },
    leaseProgram(modules, { rounds: 2 }),
    trimProgram(modules, "targets", "object"),
  ];
  return leaseSetting(programs, {
    // Who extends makes the first entry himself.
    objects: work.extendMs === undefined ? [stored(1, { state: "done", slots: {} })] : [],
    alike: 0,
    growing: false,
    lateReads: work.extendMs === undefined,
    ageMsMax: DAY_MS,
    jumps: [{ ms: DAY_MS, times: days, resting: !isDeep }],
    properties: ["two-holders", "program"],
  });
}

function stored(revision: number, body: object, ageMs = DAY_MS): Setting["objects"][number] {
  return {
    revision,
    ageMs,
    body: JSON.stringify({ version: 1, writer: "seed", revision, ...body }),
  };
}

/** A log that was silent for more than a day, written to by some and trimmed by one. */
function logSetting(
  modules: Modules,
  writers: readonly Program[],
  rest: Partial<Setting> = {},
): Setting {
  return {
    ...common,
    base: LOG_BASE,
    objects: [stored(1, { intent: "seed", generation: 1 })],
    programs: [...writers, trimProgram(modules, "clusters", "a")],
    jumps: [{ ms: DAY_MS, times: 1, resting: true }],
    ageMsMax: DAY_MS,
    // Nobody waits for anybody here.
    properties: SAFETY,
    intent: (body) => /"intent":"([^"]+)"/.exec(body)?.[1] ?? null,
    ...rest,
  };
}

// ---- The search

const extended = leaseProgram(real, { extendMs: FOREVER_MS });
const pair = [extended, extended];
const looking = leaseProgram(real, { extendMs: FOREVER_MS, looks: true });
const behind: LeaseWork = { looks: true, setBack: true };
const three = [leaseProgram(real), leaseProgram(real), leaseProgram(real)];
const searches: readonly (readonly [string, Setting])[] = [
  [
    "two processes, two faults",
    leaseSetting(pair, {
      faults: isDeep ? 3 : 2,
      jumps: [{ ms: STEP_MS, times: isDeep ? 3 : 2 }],
    }),
  ],
  [
    "two processes that shorten their lease",
    leaseSetting(
      [leaseProgram(real, { extendMs: 10_000 }), leaseProgram(real, { extendMs: 10_000 })],
      {
        faults: isDeep ? 2 : 1,
      },
    ),
  ],
  [
    "two processes, nothing forgotten",
    leaseSetting(pair, { forgetsNothing: true, growing: false }),
  ],
  ["three processes", leaseSetting(three, isDeep ? {} : { properties: SAFETY })],
  [
    "three processes, a fault",
    leaseSetting(three, {
      faults: 1,
      ...(isDeep ? {} : { jumps: [{ ms: 2 * STEP_MS, times: 1 }], properties: SAFETY }),
    }),
  ],
  [
    "three processes of which one dies",
    leaseSetting(three, { jumps: [{ ms: 2 * STEP_MS, times: 1 }] }),
  ],
  ["a process that is asleep for a day", daySetting(real, { days: 1 })],
  ["a holder that is asleep for days", daySetting(real, { extendMs: FOREVER_MS, days: 2 })],
  [
    "two processes that looked before, a fault",
    leaseSetting([looking, looking], { faults: isDeep ? 2 : 1 }),
  ],
  [
    "two processes that looked before, nothing forgotten",
    leaseSetting([looking, looking], { forgetsNothing: true, growing: false }),
  ],
  ["a process that looked and is asleep for a day", daySetting(real, { ...behind, days: 1 })],
  [
    "a holder that looked and is asleep for days",
    daySetting(real, { ...behind, extendMs: FOREVER_MS, days: 2 }),
  ],
];

const first = appendProgram(real, { generations: [3, 5] });
const second = appendProgram(real, { generations: [4, 6] });
const twice = appendProgram(real, { generations: [1, 2], anyway: true });
const once = appendProgram(real, { generations: [1], anyway: true });
const logs: readonly (readonly [string, Setting])[] = [
  [
    "two admitting processes and a trimmer",
    logSetting(real, [first, second], { faults: isDeep ? 2 : 1 }),
  ],
  [
    "two appending processes and a trimmer",
    logSetting(real, [twice, twice], { faults: isDeep ? 2 : 1, alike: 2 }),
  ],
  [
    "two admitting processes and a trimmer, nothing forgotten",
    logSetting(real, [first, second], { forgetsNothing: true }),
  ],
  [
    "three appending processes and a trimmer",
    logSetting(real, [once, once, once], { faults: 1, alike: 3 }),
  ],
];

for (const [name, setting] of searches) {
  test(`acquireLease() holds in every interleaving of ${name}`, (context) =>
    expectNothing(context, setting));
}
for (const [name, setting] of logs) {
  test(`openLog() holds in every interleaving of ${name}`, (context) =>
    expectNothing(context, setting));
}

async function expectNothing(context: TestContext, setting: Setting): Promise<void> {
  const outcome = await explore(setting);
  report(context, outcome);
  assert.equal(textOf(outcome), "");
}

function textOf({ violation }: Outcome): string {
  if (violation === null) return "";
  return [`${violation.property}: ${violation.message}`, ...violation.trace].join("\n");
}

function report(context: TestContext, { states, transitions, runs }: Outcome): void {
  context.diagnostic(`${states} states, ${transitions} transitions, ${runs} runs of the code`);
}

// ---- The search finds what it is there for

interface Mutant {
  readonly name: string;
  readonly mutation: Mutation;
  readonly setting: (modules: Modules) => Setting;
  readonly finds: Property;
}

const alternating = (modules: Modules, faults = 0) =>
  logSetting(
    modules,
    [
      appendProgram(modules, { generations: [3, 5] }),
      appendProgram(modules, { generations: [4, 6] }),
    ],
    { faults },
  );
const leases = (modules: Modules, rest: Partial<Setting> = {}) =>
  leaseSetting([leaseProgram(modules), leaseProgram(modules)], rest);
const extending = (modules: Modules, extendMs: number) =>
  leaseSetting([leaseProgram(modules, { extendMs }), leaseProgram(modules, { extendMs })]);

const OWN_WRITE = "if (found !== null && writerOf(found) === writer) return entry;";
const ASKED = "const askedAt = world.now();\n    const remainingMs";

const mutants: readonly Mutant[] = [
  {
    name: "release deletes instead of appending",
    mutation: {
      log: [
        [
          "async trim() {",
          "drop: (revision) => store.delete(keyOf(base, revision)),\n    async trim() {",
        ],
      ],
      lease: [
        [
          'return append({ state: "done", slots }, now);',
          "await log.drop(revision);\n      return true;",
        ],
      ],
    },
    setting: (modules) => leases(modules, { growing: false }),
    finds: "number-used-twice",
  },
  {
    name: "keys carry generations instead of revisions",
    mutation: { log: [["const revision = after + 1;", "const revision = body.generation;"]] },
    setting: (modules) => alternating(modules),
    finds: "out-of-order",
  },
  {
    name: "an append whose answer was lost is taken for another's",
    mutation: { log: [[OWN_WRITE, ""]] },
    setting: (modules) =>
      logSetting(modules, [appendProgram(modules, { generations: [1], anyway: true })], {
        faults: 1,
      }),
    finds: "applied-twice",
  },
  {
    name: "a lease whose answer was lost is taken for another's",
    mutation: { log: [[OWN_WRITE, ""]] },
    setting: (modules) => leases(modules, { faults: 1 }),
    finds: "waits-for-itself",
  },
  {
    name: "all appends have one writer",
    mutation: { log: [["const writer = randomId(world);", 'const writer = "one";']] },
    setting: (modules) => leases(modules),
    finds: "two-holders",
  },
  {
    name: "the holder counts from after the answer",
    mutation: {
      lease: [
        ["untilAt: askedAt + holdMs(remainingMs)", "untilAt: world.now() + holdMs(remainingMs)"],
      ],
    },
    setting: (modules) => leases(modules),
    finds: "two-holders",
  },
  {
    name: "an extension counts from after the answer",
    mutation: {
      lease: [
        [
          "untilAt = nextUntilAt;\n      return true;",
          "untilAt = world.now() + holdMs(remainingMs);\n      return true;",
        ],
      ],
    },
    setting: (modules) => extending(modules, FOREVER_MS),
    finds: "two-holders",
  },
  {
    name: "a shorter extension counts only once it is answered",
    mutation: { lease: [["untilAt = Math.min(untilAt, nextUntilAt);", ""]] },
    setting: (modules) => extending(modules, 10_000),
    finds: "two-holders",
  },
  {
    name: "a release counts only once it is answered",
    mutation: { lease: [["untilAt = Math.min(untilAt, now);", ""]] },
    setting: (modules) => leases(modules),
    finds: "two-holders",
  },
  {
    name: "others wait for less time than the holder counts",
    mutation: {
      lease: [["newest.ageMs > newest.body.forMs", "newest.ageMs > newest.body.forMs / 2"]],
    },
    setting: (modules) => leases(modules),
    finds: "two-holders",
  },
  {
    name: "a lost lease is still believed in",
    mutation: {
      lease: [
        [
          "return lost ? 0 : Math.max(0, untilAt - world.now());",
          "return Math.max(0, 60_000 + untilAt - world.now());",
        ],
      ],
    },
    setting: (modules) => leases(modules),
    finds: "two-holders",
  },
  {
    name: "what is held never ends",
    mutation: { lease: [["return newest.ageMs > newest.body.forMs;", "return false;"]] },
    setting: (modules) => leases(modules),
    finds: "never-ends",
  },
  {
    name: "the holder counts from after its look",
    mutation: {
      lease: [
        [ASKED, ASKED.replace("const", "let")],
        ["await log.newest();", "await log.newest();\n    askedAt = world.now();"],
      ],
    },
    setting: (modules) => daySetting(modules, { days: 1 }),
    finds: "two-holders",
  },
  {
    name: "a holder that was silent for a day may extend",
    mutation: { lease: [["if (now - askedAt > SILENCE_MS_MAX) lost = true;", ""]] },
    setting: (modules) => daySetting(modules, { extendMs: FOREVER_MS, days: 2 }),
    finds: "two-holders",
  },
  {
    name: "a lease is taken from a look of any age",
    mutation: { lease: [["return now - look.askedAt <= LOOK_MS_MAX;", "return true;"]] },
    setting: (modules) => daySetting(modules, { looks: true, days: 1 }),
    finds: "two-holders",
  },
  {
    name: "the clock of a look does not go on",
    mutation: {
      lease: [["options.look?.clock ?? onwardClock(options.world)", "onwardClock(options.world)"]],
    },
    setting: (modules) => daySetting(modules, { ...behind, days: 1 }),
    finds: "two-holders",
  },
  {
    name: "the age of a look counts from its answer",
    mutation: {
      lease: [
        ["await log.newest(), askedAt, clock", "await log.newest(), askedAt: clock(), clock"],
      ],
    },
    setting: (modules) => daySetting(modules, { ...behind, days: 1 }),
    finds: "two-holders",
  },
  {
    name: "trim deletes the newest",
    mutation: { log: [["const [, ...older] = ", "const older = "]] },
    setting: (modules) => ({ ...alternating(modules), properties: ["lost-append"] }),
    finds: "lost-append",
  },
  {
    name: "a newest that was trimmed while it was read is taken for an empty log",
    mutation: { log: [["if (text === null) continue;", "if (text === null) return null;"]] },
    setting: (modules) => alternating(modules),
    finds: "number-used-twice",
  },
  {
    name: "an error is taken for a success",
    mutation: {
      log: [
        [
          'if (found === null && answer !== "exists") throw answer;',
          'if (found === null && answer !== "exists") return entry;',
        ],
      ],
    },
    setting: (modules) => alternating(modules, 1),
    finds: "lost-append",
  },
];

for (const { name, mutation, setting, finds } of mutants) {
  test(`explore() finds it when ${name}`, async (context) => {
    const modules = await mutate(context, mutation);
    const outcome = await explore(setting(modules));
    report(context, outcome);
    assert.equal(outcome.violation?.property, finds, textOf(outcome));
  });
}
