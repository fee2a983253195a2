import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { familyOf } from "../../lib/core/cidr.ts";
import {
  abortedSoon,
  batchOf,
  cidrOf,
  FOREIGN,
  hosts,
  mixed,
  type Play,
  RACER,
  seen,
} from "./play.ts";
import type { Stage, StageOptions } from "./target.ts";

export interface Case {
  readonly stage?: StageOptions;
  /** Why this backend cannot show the case, or null where it can. */
  readonly needs?: (stage: Stage) => string | null;
  play(play: Play, context: TestContext): Promise<void>;
}

export type CaseName = keyof typeof CASES;

/** Only so that every entry of the table is checked while its names stay known. */
function cases<T extends Record<string, Case>>(table: T): T {
  return table;
}

const closes = (stage: Stage) =>
  stage.target.traits.whenEmpty === "closed" ? "this backend may be emptied" : null;
const overlaps = (stage: Stage) =>
  stage.target.traits.overlap ? "this backend takes entries that overlap" : null;
const disjoint = (stage: Stage) =>
  stage.target.traits.overlap ? null : "this backend refuses entries that overlap";
const ranges = (stage: Stage) =>
  stage.target.traits.ranges ? null : "this backend takes single hosts only";
const ipv6 = (stage: Stage) =>
  stage.target.traits.families.includes("ipv6") ? null : "this target holds no IPv6";
const marked = (stage: Stage) =>
  stage.target.traits.marking === "entry" ? null : "here nobody's entries can be told apart";

export const CASES = cases({
  "it has a name, an object and traits that make sense": {
    async play({ target }) {
      const { traits } = target;
      assert.match(target.name, /^[a-z0-9-]+(\/[a-z0-9_-]+)+$/);
      assert.match(target.object, /^[a-z0-9-]+(\.[a-z0-9-]+)+$/);
      assert(traits.families.length > 0 && traits.batchMax >= 1);
      assert(traits.callMs > 0 && traits.callMs <= 8_000 && traits.settleMs >= 0);
    },
  },

  "observe() of an object without entries is empty": {
    async play({ observe }) {
      assert.deepEqual(seen(await observe()), []);
    },
  },

  "observe() shows every entry once, canonical, sorted, with the text beside it": {
    async play({ stage, observe, add, both, target }) {
      stage.put("203.0.113.9/24", FOREIGN);
      stage.put("198.51.100.7/32", null);
      await observe();
      const more = mixed(target, 4);
      await add(...more);
      const { entries } = await observe();
      assert.deepEqual(
        entries.map(({ cidr, text }) => `${cidr} = ${text}`),
        both(more, { "203.0.113.0/24": FOREIGN, "198.51.100.7/32": null }),
      );
      assert(entries.every(({ effect }) => effect === "allow"));
    },
  },

  "observe() shows IPv6 in one form, however it was written": {
    needs: ipv6,
    async play({ stage, observe, both }) {
      stage.put("2001:DB8:0:0::00A1/128", FOREIGN);
      stage.put("2001:db8:1::ffff/48", FOREIGN);
      const foreign = { "2001:db8::a1/128": FOREIGN, "2001:db8:1::/48": FOREIGN };
      assert.deepEqual(seen(await observe()), both([], foreign));
    },
  },

  "observe() shows what people opened to everybody": {
    async play({ stage, observe, both }) {
      stage.put("0.0.0.0/0", FOREIGN);
      assert.deepEqual(seen(await observe()), both([], { "0.0.0.0/0": FOREIGN }));
    },
  },

  "observe() shows nothing but its own slot": {
    async play({ stage, observe, add, ours }) {
      stage.surround();
      assert.deepEqual(seen(await observe()), []);
      await add("192.0.2.1/32");
      assert.deepEqual(seen(await observe()), ours("192.0.2.1/32"));
    },
  },

  "observe() reads all pages": {
    stage: { page: 7 },
    async play({ stage, observe, add, ours, target }) {
      const cidrs = hosts(Math.min(50, target.traits.batchMax));
      await observe();
      await add(...cidrs);
      const before = stage.calls("read");
      assert.deepEqual(seen(await observe()), ours(...cidrs));
      assert(stage.calls("read") - before >= Math.floor(cidrs.length / 7));
    },
  },

  "observe() rejects when one page fails, rather than show the others": {
    stage: { page: 7 },
    async play({ stage, observe, add, refused, ours }) {
      const cidrs = hosts(20);
      await observe();
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
      await observe();
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
    async play({ stage, observe, add, ours, target }) {
      const cidrs = mixed(target, 6);
      await observe();
      await add(...cidrs);
      assert.deepEqual(seen(await observe()), ours(...cidrs));
      assert.equal(stage.calls("add"), 1);
    },
  },

  "add takes as many entries as its traits say, in one call": {
    stage: { quota: 10_000 },
    async play({ stage, observe, add, ours, target }) {
      const cidrs = mixed(target, target.traits.batchMax);
      await observe();
      await add(...cidrs);
      assert.deepEqual(seen(await observe()), ours(...cidrs));
      assert.equal(stage.calls("add"), 1);
    },
  },

  "add takes a range": {
    needs: ranges,
    async play({ observe, add, ours }) {
      await add("10.2.0.0/16", "10.3.7.0/24");
      assert.deepEqual(seen(await observe()), ours("10.2.0.0/16", "10.3.7.0/24"));
    },
  },

  "add of an address named twice writes it once": {
    async play({ observe, add, ours }) {
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
    async play({ stage, observe, add, conflictAtMost, both }) {
      await observe();
      stage.put("192.0.2.1/32", FOREIGN);
      const before = stage.lines();
      await conflictAtMost(add("192.0.2.1/32"));
      const now = seen(await observe());
      // Every entry of a container or a plain list is ours, and may be written anew.
      if (marked(stage) !== null) return;
      assert.deepEqual(
        before.filter((line) => !stage.lines().includes(line)),
        [],
      );
      const theirs = both([], { "192.0.2.1/32": FOREIGN });
      assert(theirs.every((line) => now.includes(line)));
    },
  },

  "add and remove leave everything else as it is, to the byte": {
    async play({ stage, observe, add, remove }) {
      stage.surround();
      stage.put("203.0.113.9/24", FOREIGN);
      stage.put("198.51.100.7/32", null);
      stage.put("198.51.100.8/32", "");
      const before = stage.lines();
      await observe();
      await add("192.0.2.1/32", "192.0.2.2/32");
      await observe();
      await remove("192.0.2.1/32", "192.0.2.2/32");
      assert.deepEqual(stage.lines(), before);
    },
  },

  "add keeps what somebody wrote since the read": {
    async play({ stage, observe, add, conflictAtMost, both }) {
      await add("192.0.2.1/32");
      await observe();
      stage.put("203.0.113.7/32", FOREIGN);
      const theirs = stage.lines();
      await conflictAtMost(add("192.0.2.2/32"));
      const now = (await observe()).entries.map(({ cidr }) => cidr);
      if (!now.includes(cidrOf("192.0.2.2/32"))) await add("192.0.2.2/32");
      const own = ["192.0.2.1/32", "192.0.2.2/32"];
      assert.deepEqual(seen(await observe()), both(own, { "203.0.113.7/32": FOREIGN }));
      assert(theirs.length >= 1);
    },
  },

  "somebody else's write just before ours is kept, or said to be lost": {
    async play({ stage, observe, add, refused, both, target }) {
      await observe();
      await add("192.0.2.1/32");
      await observe();
      stage.inject("add", "raced");
      const outcome = add("192.0.2.2/32").then(
        () => null,
        (error) => error,
      );
      const error = await outcome;
      const now = seen(await observe());
      const raced = both([], { [RACER]: FOREIGN });
      const isThere = raced.every((line) => now.includes(line));
      assert(isThere || error !== null, "another's write was lost in silence");
      if (error !== null) await refused(Promise.reject(error), "conflict");
      assert(now.includes(both(["192.0.2.1/32"], {})[0] ?? ""), "an entry of ours was lost");
      assert(target.traits.write === "whole" || isThere, "only a whole list may lose a write");
    },
  },

  "a failed read before a write is never followed by the write": {
    needs: ({ readsBefore }) =>
      (readsBefore?.add ?? 0) + (readsBefore?.remove ?? 0) > 0
        ? null
        : "this target needs no read of its own for a write",
    async play({ stage, observe, add, remove, refused, keep }) {
      await keep();
      await add("192.0.2.1/32", "192.0.2.2/32");
      await observe();
      const before = stage.lines();
      const writes = () => stage.calls("add") + stage.calls("remove");
      const written = writes();
      for (const fault of ["throttle", "deny", "fail", "lose-request", "lose-answer"] as const) {
        for (const verb of ["add", "remove"] as const) {
          if ((stage.readsBefore?.[verb] ?? 0) === 0) continue;
          stage.inject("read", fault);
          const work = verb === "add" ? add("192.0.2.3/32") : remove("192.0.2.1/32");
          await refused(work, "throttled", "denied", "unavailable");
        }
      }
      assert.deepEqual(stage.lines(), before);
      assert.equal(writes(), written);
    },
  },

  "remove of one entry keeps the others": {
    async play({ stage, observe, add, remove, ours, target }) {
      const cidrs = mixed(target, 6);
      await observe();
      await add(...cidrs);
      await observe();
      const [gone = "", ...rest] = cidrs;
      await remove(gone);
      assert.deepEqual(seen(await observe()), ours(...rest));
      assert.equal(stage.calls("remove"), 1);
    },
  },

  "remove of a broad entry keeps the narrow ones within it": {
    needs: disjoint,
    async play({ observe, add, remove, ours, keep }) {
      await keep();
      await add("10.2.0.0/16", "10.2.0.0/24", "10.2.0.1/32");
      await observe();
      await remove("10.2.0.0/16");
      assert.deepEqual(seen(await observe()), ours("10.2.0.0/24", "10.2.0.1/32"));
    },
  },

  "add of a broad entry takes the place of the narrow ones within it": {
    needs: overlaps,
    async play({ stage, observe, add, ours }) {
      await add("10.2.0.1/32", "10.2.0.2/32", "10.3.0.1/32");
      await observe();
      const before = stage.calls("add") + stage.calls("remove");
      await add("10.2.0.0/24");
      assert.deepEqual(seen(await observe()), ours("10.2.0.0/24", "10.3.0.1/32"));
      assert.equal(stage.calls("add") + stage.calls("remove"), before + 1);
    },
  },

  "remove of a broad entry writes what is desired within it in the same call": {
    needs: overlaps,
    async play({ stage, observe, add, replace, ours }) {
      await add("10.2.0.0/24");
      await observe();
      const before = stage.calls("add") + stage.calls("remove");
      await replace(["10.2.0.0/24"], ["10.2.0.1/32", "10.2.0.2/32"]);
      assert.deepEqual(seen(await observe()), ours("10.2.0.1/32", "10.2.0.2/32"));
      assert.equal(stage.calls("add") + stage.calls("remove"), before + 1);
    },
  },

  "remove of all is refused where a list may not be empty, and takes nothing away": {
    needs: closes,
    async play({ stage, observe, add, remove, refused, ours }) {
      await add("192.0.2.1/32", "192.0.2.2/32");
      await observe();
      const before = stage.lines();
      await refused(remove("192.0.2.1/32", "192.0.2.2/32"), "invalid");
      assert.deepEqual(stage.lines(), before);
      await observe();
      await remove("192.0.2.1/32");
      await observe();
      await refused(remove("192.0.2.2/32"), "invalid");
      assert.deepEqual(seen(await observe()), ours("192.0.2.2/32"));
    },
  },

  "remove of what is gone is a conflict at most, and the rest can be removed after another read": {
    async play({ stage, observe, add, remove, conflictAtMost, ours }) {
      await add("192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32");
      await observe();
      stage.drop(cidrOf("192.0.2.1/32"));
      await conflictAtMost(remove("192.0.2.1/32", "192.0.2.2/32"));
      const left = (await observe()).entries.map(({ cidr }) => cidr);
      assert(left.includes(cidrOf("192.0.2.3/32")));
      if (left.includes(cidrOf("192.0.2.2/32"))) await remove("192.0.2.2/32");
      assert.deepEqual(seen(await observe()), ours("192.0.2.3/32"));
    },
  },

  "remove spares the entry that somebody put in the place of ours since the read": {
    needs: marked,
    async play({ stage, observe, add, remove, refused, both }) {
      await add("192.0.2.1/32", "192.0.2.2/32");
      await observe();
      stage.drop(cidrOf("192.0.2.1/32"));
      stage.put("192.0.2.1/32", FOREIGN);
      await refused(remove("192.0.2.1/32"), "conflict");
      assert.deepEqual(seen(await observe()), both(["192.0.2.2/32"], { "192.0.2.1/32": FOREIGN }));
    },
  },

  "a removed entry can be added again, although a read still shows it": {
    async play({ stage, observe, add, remove, conflictAtMost, ours }) {
      await add("192.0.2.1/32", "192.0.2.2/32");
      await observe();
      await remove("192.0.2.1/32");
      stage.inject("read", "stale");
      assert.deepEqual(seen(await observe()), ours("192.0.2.1/32", "192.0.2.2/32"));
      await conflictAtMost(add("192.0.2.1/32"));
      const now = (await observe()).entries.map(({ cidr }) => cidr);
      if (!now.includes(cidrOf("192.0.2.1/32"))) await add("192.0.2.1/32");
      assert.deepEqual(seen(await observe()), ours("192.0.2.1/32", "192.0.2.2/32"));
    },
  },

  "an added entry that a read does not show yet is a conflict to add again, and stays": {
    async play({ stage, observe, add, conflictAtMost, ours }) {
      await observe();
      await add("192.0.2.1/32");
      stage.inject("read", "stale");
      assert.deepEqual(seen(await observe()), []);
      await conflictAtMost(add("192.0.2.1/32"));
      assert.deepEqual(seen(await observe()), ours("192.0.2.1/32"));
    },
  },

  "an added entry that a read does not show yet outlives the next write": {
    async play({ stage, observe, add, conflictAtMost, ours }) {
      await observe();
      await add("192.0.2.1/32");
      stage.inject("read", "stale");
      assert.deepEqual(seen(await observe()), []);
      // The read that a write of a whole list begins with is late, too.
      if ((stage.readsBefore?.add ?? 0) > 0) stage.inject("read", "stale");
      await conflictAtMost(add("192.0.2.2/32"));
      const now = (await observe()).entries.map(({ cidr }) => cidr);
      if (!now.includes(cidrOf("192.0.2.2/32"))) await add("192.0.2.2/32");
      assert.deepEqual(seen(await observe()), ours("192.0.2.1/32", "192.0.2.2/32"));
    },
  },

  "a write whose answer was lost is seen by the next read": {
    async play({ stage, observe, add, remove, refused, keep, ours }) {
      await keep();
      for (const fault of ["lose-answer", "fail-after"] as const) {
        await observe();
        stage.inject("add", fault);
        await refused(add("192.0.2.1/32", "192.0.2.2/32"), "unavailable");
        assert.deepEqual(seen(await observe()), ours("192.0.2.1/32", "192.0.2.2/32"));
        if (stage.removesOneByOne) await remove("192.0.2.1/32");
        stage.inject("remove", fault);
        const rest = stage.removesOneByOne ? ["192.0.2.2/32"] : ["192.0.2.1/32", "192.0.2.2/32"];
        await refused(remove(...rest), "unavailable");
        assert.deepEqual(seen(await observe()), ours());
      }
    },
  },

  "a call that never arrived did nothing and can be made again": {
    async play({ stage, observe, add, remove, refused, keep, ours }) {
      await keep();
      await observe();
      stage.inject("add", "lose-request");
      await refused(add("192.0.2.1/32"), "unavailable");
      assert.deepEqual(seen(await observe()), ours());
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
    async play({ stage, observe, add, remove, refused, keep }) {
      await keep();
      await add("192.0.2.1/32");
      for (const fault of ["throttle", "fail", "lose-request"] as const) {
        await observe();
        let before = [stage.calls("read"), stage.calls("add"), stage.calls("remove")];
        const sinceThen = () => {
          const now = [stage.calls("read"), stage.calls("add"), stage.calls("remove")];
          const grown = now.map((count, index) => count - (before[index] ?? 0));
          before = now;
          return grown;
        };
        stage.inject("read", fault);
        await refused(observe(), "throttled", "unavailable");
        assert.deepEqual(sinceThen(), [1, 0, 0]);
        stage.inject("add", fault);
        await refused(add("192.0.2.2/32"), "throttled", "unavailable");
        assert.deepEqual(sinceThen(), [stage.readsBefore?.add ?? 0, 1, 0]);
        stage.inject("remove", fault);
        await refused(remove("192.0.2.1/32"), "throttled", "unavailable");
        assert.deepEqual(sinceThen(), [stage.readsBefore?.remove ?? 0, 0, 1]);
      }
    },
  },

  "a throttled call is called throttled, says how long to wait, and did nothing": {
    async play({ stage, observe, add, remove, refused, keep }) {
      await keep();
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
      await observe();
      stage.inject("add", "deny");
      await refused(add("192.0.2.1/32"), "denied");
      assert.deepEqual(seen(await observe()), []);
    },
  },

  "a busy backend is called busy, and takes the same write later": {
    async play({ stage, observe, add, remove, refused, keep, ours }) {
      await keep();
      await observe();
      stage.inject("add", "busy");
      await refused(add("192.0.2.1/32"), "busy");
      assert.deepEqual(seen(await observe()), ours());
      await add("192.0.2.1/32");
      await observe();
      stage.inject("remove", "busy");
      await refused(remove("192.0.2.1/32"), "busy");
      assert.deepEqual(seen(await observe()), ours("192.0.2.1/32"));
      await remove("192.0.2.1/32");
      assert.deepEqual(seen(await observe()), ours());
    },
  },

  "half a batch is seen by the next read, and the rest can be written": {
    async play({ stage, observe, add, remove, refused, ours }) {
      const cidrs = hosts(6);
      await observe();
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
      await observe();
      await add(...hosts(3));
      const before = stage.lines();
      await observe();
      await refused(add(...hosts(3, 100)), "full");
      assert.deepEqual(stage.lines(), before);
      await add(...hosts(1, 100));
      assert.equal((await observe()).entries.length, 5);
    },
  },

  "what fits of a batch that does not may stay, and is seen by the next read": {
    stage: { quota: 5, batch: "partial" },
    async play({ stage, observe, add, refused, ours }) {
      await observe();
      await add(...hosts(3));
      await refused(add(...hosts(3, 100)), "full");
      assert.deepEqual(seen(await observe()), ours(...hosts(3), ...hosts(2, 100)));
      assert.equal(stage.lines().length, 5);
    },
  },

  "families that the backend counts apart do not take each other's room": {
    stage: { quota: 3 },
    needs: ipv6,
    async play({ observe, add, ours }) {
      const all = ["2001:db8::1/128", "2001:db8::2/128", "2001:db8::3/128"];
      await add(...hosts(3), ...all);
      assert.deepEqual(seen(await observe()), ours(...hosts(3), ...all));
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
      const before = stage.lines();
      await refused(target.observe(signal), "unavailable");
      const batch = batchOf("add", ["192.0.2.1/32"]);
      await refused(target.apply(batch, null, signal), "unavailable");
      assert.deepEqual(stage.lines(), before);
    },
  },

  "a hung call ends as soon as its signal aborts": {
    async play({ stage, target, observe, refused, keep, ours }) {
      await keep();
      const cidrs = ["192.0.2.1/32"];
      stage.inject("read", "hang");
      await refused(
        abortedSoon(stage, "read", (signal) => target.observe(signal)),
        "unavailable",
      );
      for (const fault of ["hang", "hang-after"] as const) {
        const { revision } = await observe();
        const batch = batchOf("add", cidrs);
        stage.inject("add", fault);
        await refused(
          abortedSoon(stage, "add", (signal) => target.apply(batch, revision, signal)),
          "unavailable",
        );
        assert.deepEqual(seen(await observe()), fault === "hang" ? ours() : ours(...cidrs));
      }
      const { revision } = await observe();
      const batch = batchOf("remove", cidrs);
      stage.inject("remove", "hang-after");
      await refused(
        abortedSoon(stage, "remove", (signal) => target.apply(batch, revision, signal)),
        "unavailable",
      );
      assert.deepEqual(seen(await observe()), ours());
    },
  },

  "a batch of no entry, or of more than its traits say, is a bug of the caller": {
    stage: { quota: 10_000 },
    async play({ stage, target, observe, add, remove, keep, ours }) {
      await keep();
      const tooMany = hosts(target.traits.batchMax + 1);
      const isBug = { name: "AssertionError" };
      const before = stage.lines();
      await assert.rejects(add(...tooMany), isBug);
      await assert.rejects(add(), isBug);
      assert.deepEqual(stage.lines(), before);
      await observe();
      await add("192.0.2.1/32");
      await observe();
      await assert.rejects(remove(...tooMany), isBug);
      await assert.rejects(remove(), isBug);
      assert.deepEqual(seen(await observe()), ours("192.0.2.1/32"));
    },
  },
});

async function addAgain({ observe, add, conflictAtMost, ours }: Play): Promise<void> {
  await observe();
  await add("192.0.2.2/32");
  const cidrs = ["192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32"];
  await conflictAtMost(add(...cidrs));
  const present = new Set<string>((await observe()).entries.map(({ cidr }) => cidr));
  const missing = cidrs.filter((cidr) => !present.has(cidr));
  if (missing.length > 0) await add(...missing);
  assert.deepEqual(seen(await observe()), ours(...cidrs));
}
