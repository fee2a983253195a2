import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { inspect } from "node:util";
import { type Cidr, familyOf, parseCidr, sortCidrs } from "../../lib/core/cidr.ts";
import { markerText } from "../../lib/core/marker.ts";
import type { Observation } from "../../lib/core/observation.ts";
import type { TargetErrorKind } from "../../lib/core/report.ts";
import { type Target, TargetError } from "../../lib/targets/target.ts";
import { soon, until } from "../fakes/soon.ts";

/** What a backend can be asked to do wrong. Each holds for the next call of that verb only. */
export type Fault =
  | "none"
  | "throttle"
  | "deny"
  | "fail"
  | "lose-request"
  | "lose-answer"
  | "fail-after"
  | "half"
  | "hang"
  | "hang-after"
  | "stale";

export type Verb = "read" | "add" | "remove";

export interface StageOptions {
  /** `limit` of the target's configuration. */
  readonly limit?: number;
  /** The backend's own quota, where it has one; in entries of one family. */
  readonly quota?: number;
  /** Entries on one page of a read, where it has pages. */
  readonly page?: number;
  /** Whether a batch leaves nothing behind, or what came before the refused entry. */
  readonly batch?: "whole" | "partial";
  /** The object does not exist. */
  readonly missing?: boolean;
}

/** A target with its backend, and somebody else's hands on the backend. */
export interface Stage {
  readonly target: Target;
  /** Whatever must not be seen: credentials, and what the backend quotes in its errors. */
  readonly secrets: readonly string[];
  /** Everything on the object, own, foreign and beside the slot, as the backend keeps it. */
  lines(): readonly string[];
  /** Writes by another hand, in the slot, as people write: the address may be in any form. */
  put(address: string, text: string | null): void;
  drop(cidr: Cidr): void;
  /** Puts on the object what is no entry of the slot: other ports, directions, sources. */
  surround(): void;
  inject(verb: Verb, fault: Fault): void;
  /** Calls so far; a read of several pages counts each. */
  calls(verb: Verb): number;
  close(): Promise<void>;
}

export interface Skip {
  /** A sentence; printed with every case it skips. */
  readonly reason: string;
  readonly cases: readonly CaseName[];
}

interface Play {
  readonly stage: Stage;
  readonly target: Target;
  observe(): Promise<Observation>;
  add(...cidrs: readonly string[]): Promise<unknown>;
  remove(...cidrs: readonly string[]): Promise<unknown>;
  /** Rejects as a target must, without a secret; gives the error. */
  refused(work: Promise<unknown>, ...kinds: readonly TargetErrorKind[]): Promise<TargetError>;
}

const TEXT = markerText("acme", "payments-db");
const FOREIGN = "office, by hand (do not touch)";

/** Runs every case that a target must pass, each on a stage of its own. */
export function testTarget(options: {
  readonly name: string;
  readonly make: (options: StageOptions) => Promise<Stage>;
  readonly skip: readonly Skip[];
}): void {
  const reasons = new Map(
    options.skip.flatMap(({ reason, cases }) => cases.map((name) => [name, reason])),
  );
  for (const [name, { stage: wanted = {}, play }] of Object.entries(CASES) as [CaseName, Case][]) {
    const skip = reasons.get(name) ?? false;
    assert(skip === false || skip.length > 20, "a skipped case needs a reason in words");
    test(`${options.name}: ${name}`, { skip, timeout: 20_000 }, async (context) => {
      const stage = await options.make(wanted);
      context.after(() => stage.close());
      await play(playOn(stage), context);
    });
  }
}

function playOn(stage: Stage): Play {
  const { target, secrets } = stage;
  const signal = new AbortController().signal;
  const apply = (verb: "add" | "remove", cidrs: readonly string[]) =>
    target.apply({ verb, cidrs: cidrs.map(cidrOf), text: TEXT }, null, signal);
  return {
    stage,
    target,
    observe: () => target.observe(signal),
    add: (...cidrs) => apply("add", cidrs),
    remove: (...cidrs) => apply("remove", cidrs),
    refused: (work, ...kinds) => refused(work, { kinds, target, secrets }),
  };
}

async function refused(
  work: Promise<unknown>,
  options: {
    readonly kinds: readonly TargetErrorKind[];
    readonly target: Target;
    readonly secrets: readonly string[];
  },
): Promise<TargetError> {
  const error = await work.then(
    () => assert.fail("it was not refused"),
    (thrown: unknown) => thrown,
  );
  assert(error instanceof TargetError, `no TargetError but ${inspect(error)}`);
  assert(options.kinds.includes(error.kind), `${error.kind}: ${error.message}`);
  assert.match(error.message, /^Cannot [a-z]+ .+: .+; .+[^.]$/);
  assert(error.message.includes(options.target.name), error.message);
  const shown = inspect(error, { depth: Number.POSITIVE_INFINITY, showHidden: true });
  for (const secret of options.secrets) {
    assert(!shown.includes(secret) && !JSON.stringify(error).includes(secret), "a secret is shown");
  }
  return error;
}

function cidrOf(text: string): Cidr {
  const cidr = parseCidr(text);
  assert(cidr !== null, text);
  return cidr;
}

/** What was read, as `cidr = text`. */
function seen(observation: Observation): readonly string[] {
  return observation.entries.map(({ cidr, text }) => `${cidr} = ${text}`);
}

function ours(...cidrs: readonly string[]): readonly string[] {
  return sortCidrs(cidrs.map(cidrOf)).map((cidr) => `${cidr} = ${TEXT}`);
}

function hosts(count: number, first = 0): readonly string[] {
  return Array.from({ length: count }, (_, index) => {
    const number = first + index;
    return `198.18.${Math.floor(number / 256)}.${number % 256}/32`;
  });
}

/** A batch of so many addresses of the families that the target holds, in turns. */
function mixed(target: Target, count: number): readonly string[] {
  const ipv4 = hosts(count);
  const families = target.traits.families;
  return ipv4.map((cidr, index) =>
    families[index % families.length] === "ipv6"
      ? `2001:db8::${(index + 1).toString(16)}/128`
      : cidr,
  );
}

interface Case {
  readonly stage?: StageOptions;
  play(play: Play, context: TestContext): Promise<void>;
}

type CaseName = keyof typeof CASES;

/** Only so that every entry of the table is checked while its names stay known. */
function cases<T extends Record<string, Case>>(table: T): T {
  return table;
}

const CASES = cases({
  "it has a name, an object and traits that make sense": {
    async play({ target }) {
      const { traits } = target;
      assert.match(target.name, /^[a-z0-9-]+(\/[a-z0-9-]+)+$/);
      assert.match(target.object, /^[a-z0-9-]+(\.[a-z0-9-]+)+$/);
      assert(traits.families.length > 0 && traits.batchMax >= 1);
      assert(traits.callMs > 0 && traits.callMs <= 60_000 && traits.settleMs >= 0);
    },
  },

  "observe() of an object without entries is empty": {
    async play({ observe }) {
      assert.deepEqual(seen(await observe()), []);
    },
  },

  "observe() shows every entry once, canonical, sorted, with the text beside it": {
    async play({ stage, observe, add, target }) {
      stage.put("203.0.113.9/24", FOREIGN);
      stage.put("198.51.100.7/32", null);
      const more = mixed(target, 4);
      await add(...more);
      const { entries } = await observe();
      const expected = new Map<Cidr, string | null>([
        [cidrOf("203.0.113.0/24"), FOREIGN],
        [cidrOf("198.51.100.7/32"), null],
        ...more.map((cidr) => [cidrOf(cidr), TEXT] as const),
      ]);
      assert.deepEqual(
        entries,
        sortCidrs(expected.keys()).map((cidr) => ({
          cidr,
          text: expected.get(cidr),
          effect: "allow",
        })),
      );
    },
  },

  "observe() shows IPv6 in one form, however it was written": {
    async play({ stage, observe, target }) {
      assert(target.traits.families.includes("ipv6"));
      stage.put("2001:DB8:0:0::00A1/128", FOREIGN);
      stage.put("2001:db8:1::ffff/48", FOREIGN);
      assert.deepEqual(seen(await observe()), [
        `2001:db8::a1/128 = ${FOREIGN}`,
        `2001:db8:1::/48 = ${FOREIGN}`,
      ]);
    },
  },

  "observe() shows what people opened to everybody": {
    async play({ stage, observe }) {
      stage.put("0.0.0.0/0", FOREIGN);
      assert.deepEqual(seen(await observe()), [`0.0.0.0/0 = ${FOREIGN}`]);
    },
  },

  "observe() shows nothing but its own slot": {
    async play({ stage, observe, add }) {
      stage.surround();
      assert.deepEqual(seen(await observe()), []);
      await add("192.0.2.1/32");
      assert.deepEqual(seen(await observe()), ours("192.0.2.1/32"));
    },
  },

  "observe() reads all pages": {
    stage: { page: 7 },
    async play({ stage, observe, add }) {
      const cidrs = hosts(50);
      await add(...cidrs);
      assert.deepEqual(seen(await observe()), ours(...cidrs));
      assert(stage.calls("read") >= 8);
    },
  },

  "observe() rejects when one page fails, rather than show the others": {
    stage: { page: 7 },
    async play({ stage, observe, add, refused }) {
      const cidrs = hosts(20);
      await add(...cidrs);
      await observe();
      for (const fault of ["throttle", "fail", "lose-answer"] as const) {
        const before = stage.calls("read");
        stage.inject("read", "none");
        stage.inject("read", fault);
        await refused(observe(), "throttled", "unavailable");
        assert.equal(stage.calls("read"), before + 2);
      }
      assert.deepEqual(seen(await observe()), ours(...cidrs));
    },
  },

  "observe() changes nothing": {
    async play({ stage, observe, add }) {
      stage.surround();
      stage.put("203.0.113.9/24", FOREIGN);
      await add("192.0.2.1/32");
      const before = stage.lines();
      await observe();
      assert.deepEqual(stage.lines(), before);
      assert.equal(stage.calls("add"), 1);
      assert.equal(stage.calls("remove"), 0);
    },
  },

  "observe() knows no capacity without a limit": {
    async play({ observe }) {
      assert.deepEqual((await observe()).capacity, []);
    },
  },

  "observe() counts everything that takes room against the limit": {
    stage: { limit: 40 },
    async play({ stage, observe, add, target }) {
      const empty = await observe();
      stage.surround();
      stage.put("203.0.113.9/24", FOREIGN);
      const surrounded = await observe();
      const more = mixed(target, 4);
      await add(...more);
      const { capacity } = await observe();
      const pooled = capacity.flatMap((pool) => pool.families);
      assert.deepEqual(pooled.toSorted(), target.traits.families.toSorted());
      for (const [index, pool] of capacity.entries()) {
        assert.equal(pool.limit, 40);
        assert.equal(empty.capacity[index]?.used, 0);
        const before = surrounded.capacity[index]?.used ?? 0;
        const added = more.filter((cidr) => pool.families.includes(familyOf(cidrOf(cidr)))).length;
        assert.equal(pool.used, before + added);
        if (pool.families.includes("ipv4")) assert(before >= 1);
      }
    },
  },

  "add writes each entry with the text, in one call": {
    async play({ stage, observe, add, target }) {
      const cidrs = mixed(target, 6);
      await add(...cidrs);
      assert.deepEqual(seen(await observe()), ours(...cidrs));
      assert.equal(stage.calls("add"), 1);
    },
  },

  "add takes as many entries as its traits say, in one call": {
    stage: { quota: 1_000 },
    async play({ stage, observe, add, target }) {
      const cidrs = mixed(target, target.traits.batchMax);
      await add(...cidrs);
      assert.deepEqual(seen(await observe()), ours(...cidrs));
      assert.equal(stage.calls("add"), 1);
    },
  },

  "add takes a range": {
    async play({ observe, add, target }) {
      assert(target.traits.ranges);
      await add("10.2.0.0/16", "10.3.7.0/24");
      assert.deepEqual(seen(await observe()), ours("10.2.0.0/16", "10.3.7.0/24"));
    },
  },

  "add of an address named twice writes it once": {
    async play({ observe, add }) {
      await add("192.0.2.1/32", "192.0.2.1/32", "192.0.2.2/32");
      assert.deepEqual(seen(await observe()), ours("192.0.2.1/32", "192.0.2.2/32"));
    },
  },

  "add of what is there is a conflict at most, and what is missing can be added after another read":
    {
      async play(play) {
        await addAgain(play);
      },
    },

  "add of what is there is a conflict at most, also where half of the batch stays": {
    stage: { batch: "partial" },
    async play(play) {
      await addAgain(play);
    },
  },

  "add beside somebody else's identical entry leaves theirs as it is": {
    async play({ stage, observe, add, refused }) {
      stage.put("192.0.2.1/32", FOREIGN);
      const before = stage.lines();
      await add("192.0.2.1/32").then(
        () => undefined,
        (error) => refused(Promise.reject(error), "conflict"),
      );
      assert.deepEqual(
        before.filter((line) => !stage.lines().includes(line)),
        [],
      );
      assert(seen(await observe()).includes(`192.0.2.1/32 = ${FOREIGN}`));
    },
  },

  "add and remove leave everything else as it is, to the byte": {
    async play({ stage, observe, add, remove }) {
      stage.surround();
      stage.put("203.0.113.9/24", FOREIGN);
      stage.put("198.51.100.7/32", null);
      stage.put("198.51.100.8/32", "");
      const before = stage.lines();
      await add("192.0.2.1/32", "192.0.2.2/32");
      await observe();
      await remove("192.0.2.1/32", "192.0.2.2/32");
      assert.deepEqual(stage.lines(), before);
    },
  },

  "remove of one entry keeps the others": {
    async play({ stage, observe, add, remove, target }) {
      const cidrs = mixed(target, 6);
      await add(...cidrs);
      await observe();
      const [gone = "", ...rest] = cidrs;
      await remove(gone);
      assert.deepEqual(seen(await observe()), ours(...rest));
      assert.equal(stage.calls("remove"), 1);
    },
  },

  "remove of a broad entry keeps the narrow ones within it": {
    async play({ observe, add, remove, target }) {
      assert(target.traits.overlap);
      await add("10.2.0.0/16", "10.2.0.0/24", "10.2.0.1/32");
      await observe();
      await remove("10.2.0.0/16");
      assert.deepEqual(seen(await observe()), ours("10.2.0.0/24", "10.2.0.1/32"));
    },
  },

  "remove of what is gone is a conflict at most, and the rest can be removed after another read": {
    async play({ stage, observe, add, remove, refused }) {
      await add("192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32");
      await observe();
      stage.drop(cidrOf("192.0.2.1/32"));
      await remove("192.0.2.1/32", "192.0.2.2/32").then(
        () => undefined,
        (error) => refused(Promise.reject(error), "conflict"),
      );
      const left = (await observe()).entries.map(({ cidr }) => cidr);
      assert(left.includes(cidrOf("192.0.2.3/32")));
      if (left.includes(cidrOf("192.0.2.2/32"))) await remove("192.0.2.2/32");
      assert.deepEqual(seen(await observe()), ours("192.0.2.3/32"));
    },
  },

  "remove spares the entry that somebody put in the place of ours since the read": {
    async play({ stage, observe, add, remove, refused }) {
      await add("192.0.2.1/32", "192.0.2.2/32");
      await observe();
      stage.drop(cidrOf("192.0.2.1/32"));
      stage.put("192.0.2.1/32", FOREIGN);
      await refused(remove("192.0.2.1/32"), "conflict");
      assert.deepEqual(seen(await observe()), [
        `192.0.2.1/32 = ${FOREIGN}`,
        ...ours("192.0.2.2/32"),
      ]);
    },
  },

  "a removed entry can be added again, although a read still shows it": {
    async play({ stage, observe, add, remove }) {
      await add("192.0.2.1/32", "192.0.2.2/32");
      await observe();
      await remove("192.0.2.1/32");
      stage.inject("read", "stale");
      assert.deepEqual(seen(await observe()), ours("192.0.2.1/32", "192.0.2.2/32"));
      await add("192.0.2.1/32");
      assert.deepEqual(seen(await observe()), ours("192.0.2.1/32", "192.0.2.2/32"));
    },
  },

  "an added entry that a read does not show yet is a conflict to add again, and stays": {
    async play({ stage, observe, add, refused }) {
      await add("192.0.2.1/32");
      stage.inject("read", "stale");
      assert.deepEqual(seen(await observe()), []);
      await refused(add("192.0.2.1/32"), "conflict");
      assert.deepEqual(seen(await observe()), ours("192.0.2.1/32"));
    },
  },

  "a write whose answer was lost is seen by the next read": {
    async play({ stage, observe, add, remove, refused }) {
      for (const fault of ["lose-answer", "fail-after"] as const) {
        stage.inject("add", fault);
        await refused(add("192.0.2.1/32", "192.0.2.2/32"), "unavailable");
        assert.deepEqual(seen(await observe()), ours("192.0.2.1/32", "192.0.2.2/32"));
        stage.inject("remove", fault);
        await refused(remove("192.0.2.1/32", "192.0.2.2/32"), "unavailable");
        assert.deepEqual(seen(await observe()), []);
      }
    },
  },

  "a call that never arrived did nothing and can be made again": {
    async play({ stage, observe, add, remove, refused }) {
      stage.inject("add", "lose-request");
      await refused(add("192.0.2.1/32"), "unavailable");
      assert.deepEqual(seen(await observe()), []);
      await add("192.0.2.1/32");
      await observe();
      stage.inject("remove", "lose-request");
      await refused(remove("192.0.2.1/32"), "unavailable");
      assert.deepEqual(seen(await observe()), ours("192.0.2.1/32"));
      stage.inject("read", "lose-request");
      await refused(observe(), "unavailable");
    },
  },

  "each call is one attempt": {
    async play({ stage, observe, add, remove, refused }) {
      await add("192.0.2.1/32");
      await observe();
      for (const fault of ["throttle", "fail", "lose-request"] as const) {
        const before = [stage.calls("read"), stage.calls("add"), stage.calls("remove")];
        stage.inject("read", fault);
        await refused(observe(), "throttled", "unavailable");
        stage.inject("add", fault);
        await refused(add("192.0.2.2/32"), "throttled", "unavailable");
        stage.inject("remove", fault);
        await refused(remove("192.0.2.1/32"), "throttled", "unavailable");
        const after = [stage.calls("read"), stage.calls("add"), stage.calls("remove")];
        assert.deepEqual(
          after,
          before.map((count) => count + 1),
        );
      }
    },
  },

  "a throttled call is called throttled, says how long to wait, and did nothing": {
    async play({ stage, observe, add, remove, refused }) {
      await add("192.0.2.1/32");
      await observe();
      const before = stage.lines();
      stage.inject("read", "throttle");
      const error = await refused(observe(), "throttled");
      assert.equal(error.retryAfterMs, 7_000);
      stage.inject("add", "throttle");
      await refused(add("192.0.2.2/32"), "throttled");
      stage.inject("remove", "throttle");
      await refused(remove("192.0.2.1/32"), "throttled");
      assert.deepEqual(stage.lines(), before);
    },
  },

  "a denied call is called denied": {
    async play({ stage, observe, add, refused }) {
      stage.inject("read", "deny");
      await refused(observe(), "denied");
      stage.inject("add", "deny");
      await refused(add("192.0.2.1/32"), "denied");
      assert.deepEqual(seen(await observe()), []);
    },
  },

  "half a batch is seen by the next read, and the rest can be written": {
    async play({ stage, observe, add, remove, refused }) {
      const cidrs = hosts(6);
      stage.inject("add", "half");
      await refused(add(...cidrs), "unavailable");
      assert.deepEqual(seen(await observe()), ours(...cidrs.slice(0, 3)));
      await add(...cidrs.slice(3));
      assert.deepEqual(seen(await observe()), ours(...cidrs));
      stage.inject("remove", "half");
      await refused(remove(...cidrs.slice(0, 4)), "unavailable");
      assert.deepEqual(seen(await observe()), ours(...cidrs.slice(2)));
      await remove(...cidrs.slice(2, 4));
      assert.deepEqual(seen(await observe()), ours(...cidrs.slice(4)));
    },
  },

  "what does not fit is called full, and takes nothing away": {
    stage: { quota: 5 },
    async play({ stage, observe, add, refused }) {
      stage.put("203.0.113.0/24", FOREIGN);
      await add(...hosts(3));
      const before = stage.lines();
      await refused(add(...hosts(3, 100)), "full");
      assert.deepEqual(stage.lines(), before);
      await add(...hosts(1, 100));
      assert.equal((await observe()).entries.length, 5);
    },
  },

  "what fits of a batch that does not may stay, and is seen by the next read": {
    stage: { quota: 5, batch: "partial" },
    async play({ stage, observe, add, refused }) {
      await add(...hosts(3));
      await refused(add(...hosts(3, 100)), "full");
      assert.deepEqual(seen(await observe()), ours(...hosts(3), ...hosts(2, 100)));
      assert.equal(stage.lines().length, 5);
    },
  },

  "families that the backend counts apart do not take each other's room": {
    stage: { quota: 3 },
    async play({ observe, add }) {
      const ipv6 = ["2001:db8::1/128", "2001:db8::2/128", "2001:db8::3/128"];
      await add(...hosts(3), ...ipv6);
      assert.deepEqual(seen(await observe()), ours(...hosts(3), ...ipv6));
    },
  },

  "a missing object is never filled": {
    stage: { missing: true },
    async play({ stage, observe, add, refused }) {
      await refused(add("192.0.2.1/32"), "missing");
      assert.deepEqual(stage.lines(), []);
      await observe().then(
        (observation) => assert.deepEqual(seen(observation), []),
        (error) => refused(Promise.reject(error), "missing"),
      );
    },
  },

  "a call whose signal has aborted is not made": {
    async play({ stage, target, refused }) {
      const signal = AbortSignal.abort();
      await refused(target.observe(signal), "unavailable");
      const batch = { verb: "add", cidrs: [cidrOf("192.0.2.1/32")], text: TEXT } as const;
      await refused(target.apply(batch, null, signal), "unavailable");
      assert.deepEqual(stage.lines(), []);
    },
  },

  "a hung call ends as soon as its signal aborts": {
    async play({ stage, target, observe, refused }) {
      const cidrs = [cidrOf("192.0.2.1/32")];
      stage.inject("read", "hang");
      await refused(
        abortedSoon(stage, "read", (signal) => target.observe(signal)),
        "unavailable",
      );
      for (const fault of ["hang", "hang-after"] as const) {
        const batch = { verb: "add", cidrs, text: TEXT } as const;
        stage.inject("add", fault);
        await refused(
          abortedSoon(stage, "add", (signal) => target.apply(batch, null, signal)),
          "unavailable",
        );
        assert.deepEqual(seen(await observe()), fault === "hang" ? [] : ours(...cidrs));
      }
      const batch = { verb: "remove", cidrs, text: TEXT } as const;
      stage.inject("remove", "hang-after");
      await refused(
        abortedSoon(stage, "remove", (signal) => target.apply(batch, null, signal)),
        "unavailable",
      );
      assert.deepEqual(seen(await observe()), []);
    },
  },

  "a batch of no entry, or of more than its traits say, is a bug of the caller": {
    stage: { quota: 1_000 },
    async play({ stage, target, observe, add, remove }) {
      const tooMany = hosts(target.traits.batchMax + 1);
      const isBug = { name: "AssertionError" };
      await assert.rejects(add(...tooMany), isBug);
      await assert.rejects(add(), isBug);
      assert.deepEqual(stage.lines(), []);
      await add("192.0.2.1/32");
      await observe();
      await assert.rejects(remove(...tooMany), isBug);
      await assert.rejects(remove(), isBug);
      assert.deepEqual(seen(await observe()), ours("192.0.2.1/32"));
    },
  },
});

/** Aborts once the call has reached the backend. */
async function abortedSoon(
  stage: Stage,
  verb: Verb,
  work: (signal: AbortSignal) => Promise<unknown>,
): Promise<unknown> {
  const abort = new AbortController();
  const before = stage.calls(verb);
  const done = work(abort.signal);
  // Whatever comes of it is looked at below; until then it must not count as unhandled.
  done.catch(() => undefined);
  await until(() => stage.calls(verb) > before, `a call to ${verb}`);
  await new Promise((resolve) => setTimeout(resolve, 20));
  abort.abort();
  return soon(done, `the end of an aborted call to ${verb}`);
}

async function addAgain({ observe, add, refused }: Play): Promise<void> {
  await add("192.0.2.2/32");
  const cidrs = ["192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32"];
  await add(...cidrs).then(
    () => undefined,
    (error) => refused(Promise.reject(error), "conflict"),
  );
  const present = new Set<string>((await observe()).entries.map(({ cidr }) => cidr));
  const missing = cidrs.filter((cidr) => !present.has(cidr));
  if (missing.length > 0) await add(...missing);
  assert.deepEqual(seen(await observe()), ours(...cidrs));
}
