import type { Lease } from "../../lib/stores/lease.ts";
import { type Store, StoreError } from "../../lib/stores/store.ts";
import type { World } from "../../lib/world.ts";

/*
 * Searches every interleaving of a few processes on one store, up to bounds.
 *
 * The processes run the real code. Whatever they ask of the store parks here until the search picks
 * it, and may then be answered, be answered much later, fail, fail although it was done, or be done
 * long after it failed; time passes only when the search says so. A process is a function of the
 * answers it was given, so its states form a tree that is built by running it once for each new
 * answer; all that is multiplied by interleaving is plain data, and states met before are not
 * entered again. No step is left out for being unlikely.
 *
 * A crash needs no event of its own: whoever is never picked again has crashed, before or after
 * its last write was done. Only who waits for a crashed one must be looked at: from every state,
 * and from every state with any one process dead, a fair end is played and everybody alive must get
 * there.
 */

/** What a process may use, and tell. */
export interface Seat {
  /** From 0. */
  readonly index: number;
  readonly store: Store;
  readonly world: Pick<World, "now" | "monotonic" | "sleep" | "random">;
  /** Parks until the search goes on: work that needs no store. */
  idle(): Promise<void>;
  /** From now on the search watches whether this lease is believed to be held. */
  hold(lease: Lease): void;
  /** An append was acknowledged under this revision. */
  acknowledge(revision: number): void;
  /**
   * Declares, right before asking the store, that all this process will do follows from this text,
   * the clock and the answers to come. Histories that agree in it are searched once.
   */
  forget(essence: string): void;
}

export interface Program {
  /** StoreError ends the process; any other error is a violation. */
  run(seat: Seat): Promise<void>;
  /** Whether a day may pass in the middle of what it does, and not only while it is idle. */
  readonly unhurried?: boolean;
}

export type Property =
  | "two-holders"
  | "number-used-twice"
  | "out-of-order"
  | "lost-append"
  | "applied-twice"
  | "waits-for-itself"
  | "never-ends"
  | "program";

export interface Setting {
  readonly programs: readonly Program[];
  /** So many programs, the first ones, are the same: it suffices that they start in order. */
  readonly alike?: number;
  /** Revision, body and age of what is stored at the start, in this folder. */
  readonly base: string;
  readonly objects: readonly {
    readonly revision: number;
    readonly body: string;
    readonly ageMs: number;
  }[];
  /**
   * How far time jumps, and how often at most. `resting`: only while all are idle who are not
   * unhurried.
   */
  readonly jumps: readonly {
    readonly ms: number;
    readonly times: number;
    readonly resting?: boolean;
  }[];
  /** Older than this is told as this: where nothing asks for more, states are saved. */
  readonly ageMsMax: number;
  /**
   * Nothing is ever deleted, and only the newest is listed. So a get shows the same whenever it is
   * done, and is done at once; and an older object matters only to who is just now writing there.
   */
  readonly growing?: boolean;
  /**
   * Believes no {@link Seat.forget}: far more states, and proof that what is forgotten did not
   * matter.
   */
  readonly forgetsNothing?: boolean;
  /** How many answers may go wrong. */
  readonly faults: number;
  /** Whether answers to reads may be late too, and not only answers to writes. */
  readonly lateReads?: boolean;
  readonly properties: readonly Property[];
  /** Two created bodies with one intent are one append done twice. */
  readonly intent?: (body: string) => string | null;
  /** Drawn by a process for the n-th time; by default no two draws are equal. */
  readonly random?: (index: number, draw: number) => number;
  readonly statesMax: number;
}

export interface Outcome {
  readonly states: number;
  readonly transitions: number;
  /** Different local states of processes: how often the real code was run. */
  readonly runs: number;
  readonly violation: {
    readonly property: Property;
    readonly message: string;
    readonly trace: readonly string[];
  } | null;
}

type Verb = "put" | "get" | "list" | "delete" | "sleep" | "idle";

interface Request {
  readonly id: number;
  readonly verb: Verb;
  readonly key: string;
  readonly body: string;
  readonly limit: number;
}

type Answer = { readonly value: unknown } | "error";

interface Edge {
  readonly request: number;
  readonly answer: Answer;
  readonly timeMs: number;
}

/** What a process is after the answers that lead here. */
interface Local {
  readonly id: number;
  readonly edges: readonly Edge[];
  readonly requests: readonly Request[];
  readonly untilMs: number;
  /** The highest revision, or 0. */
  readonly acknowledged: number;
  readonly essence: string | null;
  /** The last list, and what it showed. */
  readonly looked: (Request & { readonly saw: string }) | null;
  readonly ended: boolean;
  readonly problem: string | null;
  readonly readClock: boolean;
  readonly children: Map<string, Local>;
  /** The run that came here, until one child takes it further. */
  live: Run | null;
}

interface Run {
  readonly waiting: Map<
    number,
    { resolve(value: unknown): void; reject(error: Error): void; request: Request }
  >;
  acknowledged: number;
  essence: string | null;
  looked: Local["looked"];
  timeMs: number;
  readClock: boolean;
  /** What the clock showed when it was last looked at. */
  readMs: number;
  ended: boolean;
  problem: string | null;
  lease: Lease | null;
}

interface Place {
  readonly local: Local;
  readonly dead: boolean;
  /** Done by the store, answer not yet delivered. */
  readonly answered: ReadonlyMap<number, Answer>;
}

interface StoredObject {
  readonly key: string;
  readonly revision: number;
  readonly body: string;
  readonly createdMs: number;
}

interface Flight {
  readonly verb: "put" | "delete";
  readonly key: string;
  readonly body: string;
}

interface State {
  readonly timeMs: number;
  /** In ascending order of key. */
  readonly objects: readonly StoredObject[];
  /** Failed for their process, and perhaps still on their way. */
  readonly flights: readonly Flight[];
  readonly places: readonly Place[];
  readonly jumpsLeft: readonly number[];
  readonly faultsLeft: number;
  readonly used: readonly number[];
  readonly intents: readonly string[];
  readonly parent: State | null;
  readonly label: string;
}

interface Violation {
  readonly property: Property;
  readonly message: string;
}

interface Search {
  readonly setting: Setting;
  readonly keys: ReturnType<typeof makeKeys>;
  readonly fair: Set<string>;
  readonly merged: Map<string, Local>;
  runs: number;
}

const START_MS = 1_000_000_000_000;
/** Each process has a clock of its own, so that comparing two of them shows. */
const CLOCK_OFFSET_MS = 7_777_777;
const FAIR_STEPS_MAX = 500;
const NUMBER_MAX = 999_999_999_999;

export async function explore(setting: Setting): Promise<Outcome> {
  const search: Search = {
    setting,
    keys: makeKeys(setting),
    fair: new Set(),
    merged: new Map(),
    runs: 0,
  };
  const stack = [await startOf(search)];
  const seen = new Set<string>();
  let transitions = 0;
  for (let state = stack.pop(); state !== undefined; state = stack.pop()) {
    const key = search.keys.keyOf(state);
    if (seen.has(key)) continue;
    seen.add(key);
    if (seen.size > setting.statesMax) throw new Error(`More than ${setting.statesMax} states`);
    let next = expand(search, state);
    while ("unknown" in next) {
      await runOnce(search, next.unknown);
      next = expand(search, state);
    }
    if ("violation" in next) {
      const { states, runs } = { states: seen.size, runs: search.runs };
      return { states, transitions, runs, violation: { ...next.violation, trace: traceOf(state) } };
    }
    transitions += next.states.length;
    stack.push(...next.states);
  }
  return { states: seen.size, transitions, runs: search.runs, violation: null };
}

/**
 * A step of a process that was not run before. Thrown, so that all the rest need not be
 * asynchronous: that is ten times as fast.
 */
class UnknownStep extends Error {
  override readonly name = "UnknownStep";
  readonly index: number;
  readonly local: Local;
  readonly edge: Edge;

  constructor(index: number, local: Local, edge: Edge) {
    super("Cannot go on before this was run");
    this.index = index;
    this.local = local;
    this.edge = edge;
  }
}

type Expansion =
  | { readonly states: readonly State[] }
  | { readonly violation: Violation }
  | { readonly unknown: UnknownStep };

function expand(search: Search, state: State): Expansion {
  const { setting } = search;
  try {
    const violation = violationOf(setting, state) ?? unfairnessOf(search, state);
    if (violation !== null) return { violation };
    const next = successorsOf(search, state);
    const states: State[] = [];
    for (const one of next) {
      if (!("property" in one)) states.push(one);
      else if (setting.properties.includes(one.property)) return { violation: one };
    }
    return { states };
  } catch (error) {
    if (error instanceof UnknownStep) return { unknown: error };
    throw error;
  }
}

async function startOf(search: Search): Promise<State> {
  const { programs, objects, base, jumps, faults } = search.setting;
  const places: Place[] = [];
  for (const index of programs.keys()) {
    const local = await localAfter(search, index, { edges: [], from: null });
    places.push({ local, dead: false, answered: new Map() });
  }
  return {
    timeMs: START_MS,
    objects: objects
      .map(({ revision, body, ageMs }) => {
        const key = `${base}${String(NUMBER_MAX - revision).padStart(12, "0")}.json`;
        return { key, revision, body, createdMs: START_MS - ageMs };
      })
      .toSorted((a, b) => (a.key < b.key ? -1 : 1)),
    flights: [],
    places,
    jumpsLeft: jumps.map(({ times }) => times),
    faultsLeft: faults,
    used: objects.map(({ revision }) => revision),
    intents: [],
    parent: null,
    label: "start",
  };
}

// ---- What may happen next

function successorsOf(search: Search, state: State): (State | Violation)[] {
  const { setting } = search;
  const next: (State | Violation)[] = [];
  for (const [index, place] of state.places.entries()) {
    if (place.dead) continue;
    const mustWait = index > 0 && index < (setting.alike ?? 0);
    if (mustWait && isFresh(place) && isFresh(state.places[index - 1])) continue;
    for (const request of place.local.requests) {
      const answers = answersOf(search, state, { index, place, request });
      if (setting.growing && request.verb === "get") return answers;
      next.push(...answers);
    }
  }
  for (const [at, flight] of state.flights.entries()) {
    const flights = state.flights.toSpliced(at, 1);
    const { state: done } = perform(setting, { ...state, flights }, flight);
    next.push(
      "property" in done
        ? done
        : labelled(done, state, `late ${flight.verb} ${flight.key.slice(-17)} arrives`),
    );
  }
  for (const [at, jump] of setting.jumps.entries()) {
    const left = state.jumpsLeft[at] ?? 0;
    if (left === 0 || (jump.resting && !isResting(setting, state))) continue;
    const jumped = { ...passed(state, jump.ms), jumpsLeft: state.jumpsLeft.with(at, left - 1) };
    next.push(labelled(jumped, state, `${jump.ms / 1_000} s pass`));
  }
  return next;
}

function isFresh(place: Place | undefined): boolean {
  return place !== undefined && place.local.edges.length === 0 && place.answered.size === 0;
}

function isResting(setting: Setting, state: State): boolean {
  return (
    state.flights.length === 0 &&
    state.places.every(
      ({ local }, index) =>
        setting.programs[index]?.unhurried === true ||
        local.edges.length === 0 ||
        local.requests.every(({ verb }) => verb === "idle"),
    )
  );
}

interface Choice {
  readonly index: number;
  readonly place: Place;
  readonly request: Request;
}

/**
 * All that the world may do about one parked request. The first is what happens when nothing goes
 * wrong.
 */
function answersOf(search: Search, state: State, choice: Choice): (State | Violation)[] {
  const { setting } = search;
  const { index, place, request } = choice;
  const name = `${index}: ${request.verb} ${request.key.slice(-17)}`;
  const mayFail = state.faultsLeft > 0;
  const failing = { ...state, faultsLeft: state.faultsLeft - 1 };
  const deliver = (from: State, answer: Answer, label: string) =>
    labelled(delivered(from, { index, request: request.id, answer }), state, label);

  const early = place.answered.get(request.id);
  if (early !== undefined) {
    const next = [deliver(state, early, `${name} = ${textOf(early)}`)];
    if (mayFail && request.verb === "put")
      next.push(deliver(failing, "error", `${name}: done, and its answer lost`));
    return next;
  }
  switch (request.verb) {
    case "sleep":
      return seesNews(setting, state, place.local)
        ? [deliver(state, { value: undefined }, `${index}: wakes`)]
        : [];
    case "idle":
      return [deliver(state, { value: undefined }, `${index}: goes on`)];
    case "get":
    case "list": {
      const answer = { value: read(setting, state, request) };
      const next = [
        setting.lateReads
          ? labelled(withAnswer(state, choice, answer), state, `${name} is done`)
          : deliver(state, answer, `${name} = ${textOf(answer)}`),
      ];
      if (mayFail) next.push(deliver(failing, "error", `${name} fails`));
      return next;
    }
    case "put":
    case "delete": {
      const flight = { verb: request.verb, key: request.key, body: request.body };
      const { state: done, answer } = perform(setting, state, flight);
      if ("property" in done) return [done];
      // When a delete was answered makes no difference to anybody; when a put was, does.
      const next = [
        request.verb === "put"
          ? labelled(withAnswer(done, choice, answer), state, `${name} is done`)
          : deliver(done, answer, `${name} is done`),
      ];
      if (!mayFail) return next;
      const flights = [...state.flights, flight].toSorted((a, b) => (a.body < b.body ? -1 : 1));
      next.push(deliver({ ...failing, flights }, "error", `${name} fails, or is done later`));
      return next;
    }
    default:
      throw new Error(`Unreachable: ${JSON.stringify(request.verb satisfies never)}`);
  }
}

/** Whether a sleeper who looks again would see anything else; else it is left asleep. */
function seesNews(setting: Setting, state: State, local: Local): boolean {
  const { looked } = local;
  return looked === null || looked.saw !== textOf({ value: read(setting, state, looked) });
}

function read(setting: Setting, state: State, request: Request): unknown {
  if (request.verb === "get") {
    return state.objects.find(({ key }) => key === request.key)?.body ?? null;
  }
  return state.objects
    .filter(({ key }) => key.startsWith(request.key))
    .slice(0, request.limit)
    .map(({ key, createdMs }) => ({ key, ageMs: ageOf(setting, state, createdMs) }));
}

function ageOf(setting: Setting, state: State, createdMs: number): number {
  return Math.min(state.timeMs - createdMs, setting.ageMsMax);
}

/** The write as the store does it, at one moment. */
function perform(
  setting: Setting,
  state: State,
  write: Flight,
): { readonly state: State | Violation; readonly answer: Answer } {
  const there = state.objects.some(({ key }) => key === write.key);
  if (write.verb === "delete") {
    const objects = state.objects.filter(({ key }) => key !== write.key);
    return { state: { ...state, objects }, answer: { value: undefined } };
  }
  if (there) return { state, answer: { value: "exists" } };
  const revision = NUMBER_MAX - Number(write.key.slice(-17, -5));
  const violation = misorderOf(setting, state, { revision, body: write.body });
  if (violation !== null) return { state: violation, answer: "error" };
  const intent = setting.intent?.(write.body) ?? null;
  const created = { key: write.key, revision, body: write.body, createdMs: state.timeMs };
  const objects = [...state.objects, created].toSorted((a, b) => (a.key < b.key ? -1 : 1));
  return {
    state: {
      ...state,
      objects,
      used: [...state.used, revision].toSorted((a, b) => a - b),
      intents: intent === null ? state.intents : [...state.intents, intent].toSorted(),
    },
    answer: { value: "created" },
  };
}

function misorderOf(
  setting: Setting,
  state: State,
  created: { readonly revision: number; readonly body: string },
): Violation | null {
  const { revision, body } = created;
  const intent = setting.intent?.(body) ?? null;
  const found: Violation[] = [];
  if (state.used.includes(revision)) {
    found.push({ property: "number-used-twice", message: `revision ${revision} is used again` });
  }
  if (state.used.some((used) => used > revision)) {
    const message = `revision ${revision} is created after revision ${Math.max(...state.used)}`;
    found.push({ property: "out-of-order", message });
  }
  if (intent !== null && state.intents.includes(intent)) {
    found.push({ property: "applied-twice", message: `append ${intent} is done twice` });
  }
  return found.find(({ property }) => setting.properties.includes(property)) ?? null;
}

function passed(state: State, ms: number): State {
  return { ...state, timeMs: state.timeMs + ms };
}

function withAnswer(state: State, choice: Choice, answer: Answer): State {
  const place = state.places[choice.index] ?? choice.place;
  const answered = new Map(place.answered).set(choice.request.id, answer);
  return { ...state, places: state.places.with(choice.index, { ...place, answered }) };
}

function labelled(state: State, parent: State, label: string): State {
  return { ...state, parent, label };
}

function delivered(
  state: State,
  delivery: { readonly index: number; readonly request: number; readonly answer: Answer },
): State {
  const { index, request, answer } = delivery;
  const place = state.places[index];
  if (place === undefined) throw new Error(`No process ${index}`);
  const local = childOf(index, {
    local: place.local,
    edge: { request, answer, timeMs: state.timeMs },
  });
  const answered = new Map(place.answered);
  answered.delete(request);
  return { ...state, places: state.places.with(index, { local, dead: false, answered }) };
}

// ---- Running the real code

/** The local state after one more answer. */
function childOf(index: number, step: { readonly local: Local; readonly edge: Edge }): Local {
  const { local, edge } = step;
  const timeless = `${edge.request} ${textOf(edge.answer)}`;
  // Who does not look at the clock does the same at any time.
  const known = local.children.get(timeless) ?? local.children.get(`${timeless} ${edge.timeMs}`);
  if (known === undefined) throw new UnknownStep(index, local, edge);
  return known;
}

async function runOnce(search: Search, step: UnknownStep): Promise<void> {
  const { index, local, edge } = step;
  const edges = [...local.edges, edge];
  const child = merged(search, index, await localAfter(search, index, { edges, from: local }));
  const timeless = `${edge.request} ${textOf(edge.answer)}`;
  local.children.set(child.readClock ? `${timeless} ${edge.timeMs}` : timeless, child);
}

/** Of the local states that the process declares to be alike, the first. */
function merged(search: Search, index: number, local: Local): Local {
  const essence = local.ended ? "ended" : local.essence;
  if (search.setting.forgetsNothing) return local;
  if (essence === null || local.requests.length > 1) return local;
  const isAsleep = local.requests.some(({ verb }) => verb === "sleep");
  const looked = isAsleep ? [local.looked?.key, local.looked?.saw] : [];
  const { acknowledged, problem, readClock } = local;
  const requests = local.requests.map(({ verb, key, body, limit }) => ({ verb, key, body, limit }));
  const at = readClock ? (local.edges.at(-1)?.timeMs ?? 0) : 0;
  // What is over is over, whenever it ended.
  const untilMs = local.untilMs > at ? local.untilMs : 0;
  const key = JSON.stringify([
    index,
    essence,
    at,
    looked,
    requests,
    untilMs,
    acknowledged,
    problem,
  ]);
  const known = search.merged.get(key);
  if (known !== undefined) return known;
  search.merged.set(key, local);
  return local;
}

async function localAfter(
  search: Search,
  index: number,
  path: { readonly edges: readonly Edge[]; readonly from: Local | null },
): Promise<Local> {
  const { edges, from } = path;
  const live = from?.live ?? null;
  if (from !== null) from.live = null;
  const run = live ?? (await startRun(search, index));
  for (const edge of live === null ? edges : edges.slice(-1)) await resume(run, edge);
  search.runs += 1;
  return {
    id: search.runs,
    edges,
    requests: [...run.waiting.values()].map(({ request }) => request),
    untilMs: heldUntil(run),
    acknowledged: run.acknowledged,
    essence: run.essence,
    looked: run.looked,
    ended: run.ended,
    problem: run.problem,
    readClock: run.readClock,
    children: new Map(),
    live: run,
  };
}

/** By a clock that shows what it last showed, so that nobody notices that it was looked at. */
function heldUntil(run: Run): number {
  const { timeMs, readClock } = run;
  run.timeMs = Number.NaN;
  const leftMs = run.lease?.remainingMs() ?? 0;
  run.timeMs = timeMs;
  run.readClock = readClock;
  return leftMs === 0 ? 0 : run.readMs + leftMs;
}

async function startRun(search: Search, index: number): Promise<Run> {
  const run: Run = {
    waiting: new Map(),
    acknowledged: 0,
    essence: null,
    looked: null,
    timeMs: START_MS,
    readClock: false,
    readMs: START_MS,
    ended: false,
    problem: null,
    lease: null,
  };
  search.setting.programs[index]
    ?.run(makeSeat(search.setting, index, run))
    .catch((error: unknown) => {
      if (!(error instanceof StoreError)) run.problem = String(error);
    })
    .finally(() => {
      run.ended = true;
    });
  await settle();
  return run;
}

async function resume(run: Run, edge: Edge): Promise<void> {
  const waiting = run.waiting.get(edge.request);
  if (waiting === undefined) throw new Error(`The program is not a function of its answers`);
  run.waiting.delete(edge.request);
  run.timeMs = edge.timeMs;
  run.readClock = false;
  run.essence = null;
  if (waiting.request.verb === "list")
    run.looked = { ...waiting.request, saw: textOf(edge.answer) };
  if (edge.answer === "error") waiting.reject(new StoreError("Cannot reach store: no answer"));
  else waiting.resolve(edge.answer.value);
  await settle();
}

/** Everything that can go on without an answer has gone on. */
function settle(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

function makeSeat(setting: Setting, index: number, run: Run): Seat {
  let requests = 0;
  let draws = 0;
  const ask = (verb: Verb, key = "", options: { body?: string; limit?: number } = {}) =>
    new Promise<unknown>((resolve, reject) => {
      const request = {
        id: requests,
        verb,
        key,
        body: options.body ?? "",
        limit: options.limit ?? 0,
      };
      requests += 1;
      run.waiting.set(request.id, { resolve, reject, request });
    });
  const now = () => {
    run.readClock = true;
    if (!Number.isNaN(run.timeMs)) run.readMs = run.timeMs;
    return run.readMs + index * CLOCK_OFFSET_MS;
  };
  return {
    index,
    store: {
      put: (key, body) => ask("put", key, { body }) as ReturnType<Store["put"]>,
      get: (key) => ask("get", key) as ReturnType<Store["get"]>,
      list: (prefix, limit) => ask("list", prefix, { limit }) as ReturnType<Store["list"]>,
      delete: (key) => ask("delete", key) as ReturnType<Store["delete"]>,
    },
    world: {
      now,
      monotonic: now,
      random: () => {
        draws += 1;
        // The first of 16 digits tells whose draw it is.
        return setting.random?.(index, draws) ?? (index + 1) / 16 + draws / 2 ** 40;
      },
      sleep: () => ask("sleep") as Promise<void>,
    },
    idle: () => ask("idle") as Promise<void>,
    hold: (lease) => {
      run.lease = lease;
    },
    acknowledge: (revision) => {
      run.acknowledged = Math.max(run.acknowledged, revision);
    },
    forget: (essence) => {
      run.essence = essence;
    },
  };
}

// ---- What must hold

function violationOf(setting: Setting, state: State): Violation | null {
  const checks: readonly (() => Violation | null)[] = [
    () => programErrorOf(state),
    () => twoHoldersOf(state),
    () => lostAppendOf(state),
    () => selfWaitOf(state),
  ];
  for (const check of checks) {
    const violation = check();
    if (violation !== null && setting.properties.includes(violation.property)) return violation;
  }
  return null;
}

function programErrorOf(state: State): Violation | null {
  const problem = state.places.find(({ local }) => local.problem !== null)?.local.problem;
  return problem === undefined || problem === null
    ? null
    : { property: "program", message: problem };
}

function twoHoldersOf(state: State): Violation | null {
  const holders = state.places
    .map(({ local, dead }, index) => ({ index, holds: !dead && local.untilMs > state.timeMs }))
    .filter(({ holds }) => holds)
    .map(({ index }) => index);
  if (holders.length < 2) return null;
  return {
    property: "two-holders",
    message: `${holders.join(" and ")} both believe that they hold`,
  };
}

/** What was acknowledged is there, or something newer is. */
function lostAppendOf(state: State): Violation | null {
  const newest = state.objects[0]?.revision ?? 0;
  for (const { local } of state.places) {
    if (local.acknowledged <= newest) continue;
    const message = `revision ${local.acknowledged} was acknowledged and is gone`;
    return { property: "lost-append", message };
  }
  return null;
}

/** Asleep until a lease ends that this very process wrote. */
function selfWaitOf(state: State): Violation | null {
  const newest = state.objects[0];
  const writer = newest === undefined ? null : /"writer":"(.)/.exec(newest.body)?.[1];
  const index = state.places.findIndex(
    ({ local }, at) =>
      (at + 1).toString(16) === writer && local.requests.some(({ verb }) => verb === "sleep"),
  );
  if (index < 0 || newest === undefined || !newest.body.includes('"held"')) return null;
  return { property: "waits-for-itself", message: `${index} waits for its own ${newest.revision}` };
}

/** Plays to the end without faults, with and without the death of any process at this moment. */
function unfairnessOf(search: Search, state: State): Violation | null {
  if (!search.setting.properties.includes("never-ends")) return null;
  for (let dying = -1; dying < state.places.length; dying += 1) {
    const places = state.places.map((place, index) => ({ ...place, dead: index === dying }));
    const violation = fairEndOf(search, { ...state, places });
    if (violation !== null) return violation;
  }
  return null;
}

function fairEndOf(search: Search, start: State): Violation | null {
  const { setting, keys, fair } = search;
  const jumpMs = setting.jumps[0]?.ms ?? 1_000;
  const passedKeys: string[] = [];
  let state: State = { ...start, flights: [], faultsLeft: 0 };
  for (let step = 0; step < FAIR_STEPS_MAX; step += 1) {
    const key = keys.keyOf(state);
    if (fair.has(key) || state.places.every(({ local, dead }) => dead || local.ended)) {
      for (const passedKey of passedKeys) fair.add(passedKey);
      return programErrorOf(state);
    }
    passedKeys.push(key);
    const next = fairStepOf(search, state);
    if (next !== null && "property" in next) return played(next, state);
    state = next ?? passed(state, jumpMs);
  }
  return played({ property: "never-ends", message: "somebody waits for ever" }, state);
}

/** With the end that was played, which is no part of the trace to where it began. */
function played(violation: Violation, state: State): Violation {
  const end = traceOf(state).slice(-12).join(" · ");
  return { ...violation, message: `${violation.message}, once faults had stopped: … ${end}` };
}

function fairStepOf(search: Search, state: State): State | Violation | null {
  for (const [index, place] of state.places.entries()) {
    if (place.dead) continue;
    for (const request of place.local.requests) {
      const [next] = answersOf(search, state, { index, place, request });
      if (next !== undefined) return next;
    }
  }
  return null;
}

// ---- Names of states

function traceOf(state: State): string[] {
  const labels: string[] = [];
  for (let at: State | null = state; at !== null; at = at.parent) labels.push(at.label);
  return labels.reverse();
}

function textOf(answer: Answer): string {
  return answer === "error" ? "error" : (JSON.stringify(answer.value) ?? "-");
}

function writtenKeys(state: State): ReadonlySet<string> {
  const requests = state.places.flatMap(({ local, dead }) => (dead ? [] : local.requests));
  return new Set([...requests, ...state.flights].map(({ key }) => key));
}

/** Short and exact: two states with one key have the same future. */
function makeKeys(setting: Setting) {
  const numbers = new Map<string, number>();
  const numberOf = (text: string) => {
    const known = numbers.get(text);
    if (known !== undefined) return known;
    numbers.set(text, numbers.size);
    return numbers.size - 1;
  };
  const placeKey = ({ local, dead, answered }: Place) => {
    if (dead) return "x";
    let key = `${local.id}`;
    for (const [request, answer] of answered) key += `=${request}:${numberOf(textOf(answer))}`;
    return key;
  };
  return {
    keyOf(state: State): string {
      const wanted = setting.growing ? writtenKeys(state) : null;
      const objects = state.objects.map(({ key, revision, body, createdMs }, at) =>
        wanted === null || at === 0 || wanted.has(key)
          ? `${numberOf(body)}@${ageOf(setting, state, createdMs)}`
          : revision,
      );
      const flights = state.flights.map(({ verb, key, body }) => numberOf(verb + key + body));
      const left = `${state.jumpsLeft.join(".")}.${state.faultsLeft}`;
      const history = `${state.used.join(".")};${state.intents.join(".")}`;
      return [
        state.timeMs - START_MS,
        objects,
        flights,
        state.places.map(placeKey),
        left,
        history,
      ].join("|");
    },
  };
}
