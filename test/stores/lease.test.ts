import assert from "node:assert/strict";
import { test } from "node:test";
import type { Slot, Slots } from "../../lib/core/record.ts";
import {
  acquireLease,
  lookAt,
  parseTargetObject,
  type TargetObject,
} from "../../lib/stores/lease.ts";
import { type Log, openLog } from "../../lib/stores/log.ts";
import { StoreError } from "../../lib/stores/store.ts";
import { type StoreKind, storeKinds } from "./kinds.ts";

function slotsOf(failures: number): Slots {
  const slot: Slot = {
    list: "payments-db",
    config: { kind: "memory", id: "one" },
    digest: "d",
    desired: "e",
    report: {
      list: "payments-db",
      target: "memory/one",
      state: "pending",
      reason: "grace",
      message: "1 entry leaves",
      desired: 1,
      owned: 2,
      borrowed: 0,
      foreign: 0,
      orphaned: 0,
      add: [],
      remove: [],
      leaving: [
        { cidr: "203.0.113.7/32", since: "2026-01-01T00:00:00Z", until: "2026-01-01T00:05:00Z" },
      ],
      refused: [{ address: "10.0.0.1", cluster: "prod", node: null, reason: "out-of-bounds" }],
      capacity: { used: 2, limit: 60 },
      checkedAt: "2026-01-01T00:00:00Z",
    },
    entries: { "203.0.113.6/32": 1 },
    unwanted: { "203.0.113.7/32": 2 },
    removed: {},
    sizes: [{ at: 1, desired: 1 }],
    failures,
    notBefore: 0,
    checkedAt: 3,
    judgedAt: 0,
    claimed: true,
  };
  return { "memory/one": slot };
}

const DAY_MS = 25 * 3_600_000;

for (const kind of storeKinds) testOver(kind);

function testOver({ name, make, slackMs }: StoreKind): void {
  /** One store; everybody has a clock and a sleep of their own, which is the same one. */
  function makeWorld() {
    const clock = { now: 1_700_000_000_000 };
    const alarms: { readonly at: number; ring(): void }[] = [];
    const pauses: number[] = [];
    const world = {
      now: () => clock.now,
      monotonic: () => clock.now,
      random: () => Math.random(),
      sleep: (ms: number, signal?: AbortSignal) =>
        new Promise<void>((resolve, reject) => {
          pauses.push(ms);
          signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
          alarms.push({ at: clock.now + ms, ring: resolve });
        }),
    };
    const pass = async (ms: number): Promise<void> => {
      const end = clock.now + ms;
      for (;;) {
        await new Promise(setImmediate);
        const next = alarms.toSorted((a, b) => a.at - b.at)[0];
        if (next === undefined || next.at > end) break;
        alarms.splice(alarms.indexOf(next), 1);
        clock.now = Math.max(clock.now, next.at);
        next.ring();
      }
      clock.now = end;
    };
    const store = make(world);
    const log = openLog<TargetObject>({
      store,
      prefix: "",
      installation: "acme",
      kind: "targets",
      name: "memory.one",
      parse: parseTargetObject,
      world,
    });
    return { clock, world, pass, pauses, store, log };
  }

  const NOW = { remainingMs: 20_000, waitMs: 0 };

  test(`${name}: acquireLease() holds a new object with its own time left and 5 s more for others`, async () => {
    const { log, world } = makeWorld();
    const lease = await acquireLease(log, { world, ...NOW });
    assert.equal(lease?.remainingMs(), 20_000);
    assert.deepEqual(lease.slots, {});
    const newest = await log.newest();
    assert.deepEqual(newest?.body, { state: "held", forMs: 25_000, slots: {} });
  });

  test(`${name}: acquireLease() never holds for more than a minute, and others wait 65 s at most`, async () => {
    const { log, world, clock } = makeWorld();
    const lease = await acquireLease(log, { world, remainingMs: 600_000, waitMs: 0 });
    assert.equal(lease?.remainingMs(), 60_000);
    clock.now += 59_999;
    assert.equal(lease.remainingMs(), 1);
    clock.now += 5_001;
    assert.equal(lease.remainingMs(), 0);
    assert.equal(await acquireLease(log, { world, ...NOW }), null);
    clock.now += slackMs + 1;
    assert.equal((await acquireLease(log, { world, ...NOW }))?.remainingMs(), 20_000);
  });

  test(`${name}: acquireLease() never counts longer than others wait, whoever sets the holder's clock`, async () => {
    for (const stepMs of [-120_000, -1_000, 120_000]) {
      const { log, world, clock } = makeWorld();
      let offMs = 0;
      // The store's clock, and everybody else's, goes on as before.
      const holder = { ...world, now: () => clock.now + offMs };
      const lease = await acquireLease(log, { world: holder, remainingMs: 60_000, waitMs: 0 });
      offMs = stepMs;
      assert.ok((lease?.remainingMs() ?? 0) <= 60_000);
      clock.now += 59_000;
      assert.ok((lease?.remainingMs() ?? 0) <= 1_000, `${stepMs} ms`);
      assert.equal(await lease?.extend({}, 60_000), true, "it is still nobody else's");
      offMs = 0;
      assert.ok((lease?.remainingMs() ?? 0) <= 60_000, "set right again");
      clock.now += 65_000 + slackMs + 1;
      assert.notEqual(await acquireLease(log, { world, ...NOW }), null);
      assert.equal(lease?.remainingMs(), 0, `${stepMs} ms`);
    }
  });

  test(`${name}: acquireLease() asks for no more than it was given when the clock is set back while it waits`, async () => {
    const { log, world, clock } = makeWorld();
    let offMs = 0;
    const slow: Log<TargetObject> = {
      ...log,
      newest: async () => {
        offMs = -120_000;
        clock.now += 15_000;
        return log.newest();
      },
    };
    const holder = { ...world, now: () => clock.now + offMs };
    const lease = await acquireLease(slow, { world: holder, ...NOW });
    assert.equal(lease?.remainingMs(), 5_000);
  });

  test(`${name}: acquireLease() counts the time for which an instance was frozen with its monotonic clock`, async () => {
    const { log, world, clock } = makeWorld();
    const begunAt = clock.now;
    const frozen = { ...world, monotonic: () => begunAt };
    const lease = await acquireLease(log, { world: frozen, ...NOW });
    clock.now += 20_000;
    assert.equal(lease?.remainingMs(), 0);
  });

  test(`${name}: acquireLease() counts from before it asked, and asks for no more than is left by then`, async () => {
    const { log, world, clock } = makeWorld();
    const slow: Log<TargetObject> = {
      ...log,
      newest: async () => {
        clock.now += 3_000;
        return log.newest();
      },
      append: async (after, body) => {
        const entry = await log.append(after, body);
        clock.now += 4_000;
        return entry;
      },
    };
    const lease = await acquireLease(slow, { world, ...NOW });
    assert.equal(lease?.remainingMs(), 13_000);
    assert.equal(await acquireLease(slow, { world, remainingMs: 0, waitMs: 0 }), null);
    assert.equal((await log.newest())?.revision, 1);
  });

  test(`${name}: acquireLease() is content with a look of the last minute that showed nobody, and looks anew after any other`, async () => {
    const { log, world, clock } = makeWorld();
    const deaf = { ...log, newest: () => Promise.reject(new StoreError("Cannot list")) };
    const free = await lookAt(log, world);
    clock.now += 60_000;
    const lease = await acquireLease(deaf, { look: free, world, ...NOW });
    assert.equal(lease?.remainingMs(), 20_000, "counts from the call");

    const held = await lookAt(log, world);
    await lease.release(slotsOf(2));
    await assert.rejects(acquireLease(deaf, { look: held, world, ...NOW }), StoreError);
    const next = await acquireLease(log, { look: held, world, ...NOW });
    assert.deepEqual(next?.slots, slotsOf(2), "what was held may be free by now");
    await next?.release(slotsOf(3));

    const old = await lookAt(log, world);
    clock.now += 60_001;
    await assert.rejects(acquireLease(deaf, { look: old, world, ...NOW }), StoreError);
  });

  test(`${name}: acquireLease() that was overtaken since its look finds what is there by now`, async () => {
    const { log, world } = makeWorld();
    const look = await lookAt(log, world);
    const faster = await acquireLease(log, { world, ...NOW });
    assert.equal(await acquireLease(log, { look, world, ...NOW }), null);
    await faster?.release(slotsOf(4));
    const lease = await acquireLease(log, { look, world, ...NOW });
    assert.deepEqual(lease?.slots, slotsOf(4));
  });

  test(`${name}: acquireLease() takes nothing from a look whose number was used and trimmed since, whoever sets the clock back`, async () => {
    const { log, world, clock } = makeWorld();
    let offMs = 0;
    const begunAt = clock.now;
    const stopped = {
      ...world,
      now: () => clock.now + offMs,
      monotonic: () => clock.now - begunAt,
    };
    const look = await lookAt(log, stopped);
    for (let round = 0; round < 2; round += 1) {
      await (await acquireLease(log, { world, ...NOW }))?.release({});
    }
    clock.now += DAY_MS;
    offMs = -DAY_MS;
    assert.equal(await log.trim(), 3, "the first number is free again");
    const holder = await acquireLease(log, { world, ...NOW });
    assert.equal(holder?.remainingMs(), 20_000);
    assert.equal(await acquireLease(log, { look, world: stopped, ...NOW }), null);
    assert.equal(await holder.release({}), true);
  });

  test(`${name}: acquireLease() gives null at once when the object is held and it may not wait`, async () => {
    const { log, world, pauses } = makeWorld();
    await acquireLease(log, { world, ...NOW });
    assert.equal(await acquireLease(log, { world, ...NOW }), null);
    assert.deepEqual(pauses, []);
  });

  test(`${name}: acquireLease() waits for a release, and finds the slots that were released`, async () => {
    const { log, world, pass } = makeWorld();
    const first = await acquireLease(log, { world, ...NOW });
    const waiting = acquireLease(log, { world, remainingMs: 20_000, waitMs: 5_000 });
    await pass(1_000);
    assert.equal(await first?.release(slotsOf(3)), true);
    await pass(4_500);
    const second = await waiting;
    assert.deepEqual(second?.slots, slotsOf(3));
    const body = (await log.newest())?.body;
    assert.ok(body?.state === "held" && body.forMs <= 24_000, "what the wait cost is gone");
  });

  test(`${name}: acquireLease() gives null when the wait is over, with pauses that grow and stay small`, async () => {
    const { log, world, pass, pauses, clock } = makeWorld();
    await acquireLease(log, { world, remainingMs: 60_000, waitMs: 0 });
    const start = clock.now;
    let endedAt = 0;
    const waiting = acquireLease(log, { world, remainingMs: 60_000, waitMs: 30_000 }).finally(
      () => {
        endedAt = clock.now;
      },
    );
    await pass(31_000);
    assert.equal(await waiting, null);
    assert.ok(Math.abs(endedAt - start - 30_000) < 1e-3, `${endedAt - start} ms`);
    assert.ok((pauses[0] ?? 0) <= 150);
    assert.ok(Math.max(...pauses) <= 3_000);
    assert.ok(pauses.length >= 10 && pauses.length <= 40, `${pauses.length} looks in 30 s`);
  });

  test(`${name}: acquireLease() takes over what a dead holder left, with its slots, after its time`, async () => {
    const { log, world, pass } = makeWorld();
    const dead = await acquireLease(log, { world, ...NOW });
    assert.equal(await dead?.extend(slotsOf(1), 10_000), true);
    const waiting = acquireLease(log, { world, remainingMs: 600_000, waitMs: 70_000 });
    await pass(14_900);
    assert.equal((await log.newest())?.revision, 2);
    await pass(5_000);
    assert.deepEqual((await waiting)?.slots, slotsOf(1));
    assert.equal(await dead?.extend(slotsOf(9), 10_000), false);
    assert.equal(await dead?.release(slotsOf(9)), false);
    assert.deepEqual((await log.newest())?.body.slots, slotsOf(1));
  });

  test(`${name}: acquireLease() rejects with the signal's reason, and takes nothing`, async () => {
    const { log, world, pass } = makeWorld();
    const first = await acquireLease(log, { world, ...NOW });
    const stop = new AbortController();
    const waiting = acquireLease(log, { world, ...NOW, waitMs: 9_000, signal: stop.signal });
    const rejected = assert.rejects(waiting, /stopped/);
    await pass(200);
    stop.abort(new Error("stopped"));
    await rejected;
    await first?.release({});
    await assert.rejects(acquireLease(log, { world, ...NOW, signal: stop.signal }), /stopped/);
    assert.equal((await log.newest())?.body.state, "done");
  });

  test(`${name}: acquireLease() gives up after five lost appends`, async () => {
    const { log, world } = makeWorld();
    const losing: Log<TargetObject> = {
      ...log,
      append: async (after) => {
        await log.append(after, { state: "done", slots: slotsOf(after) });
        return "exists";
      },
    };
    assert.equal(await acquireLease(losing, { world, remainingMs: 20_000, waitMs: 70_000 }), null);
    assert.equal((await log.newest())?.revision, 5);
  });

  test(`${name}: acquireLease() gives to exactly one of 20 at once`, async () => {
    const { log, world } = makeWorld();
    const leases = await Promise.all(
      Array.from({ length: 20 }, () => acquireLease(log, { world, ...NOW })),
    );
    assert.equal(leases.filter((lease) => lease !== null).length, 1);
  });

  test(`${name}: extend() holds on from now, and stores the slots`, async () => {
    const { log, world, clock } = makeWorld();
    const lease = await acquireLease(log, { world, ...NOW });
    clock.now += 15_000;
    assert.equal(await lease?.extend(slotsOf(1), 30_000), true);
    assert.equal(lease?.remainingMs(), 30_000);
    assert.deepEqual((await log.newest())?.body, {
      state: "held",
      forMs: 35_000,
      slots: slotsOf(1),
    });
    assert.equal(await lease?.extend(slotsOf(2), -5), true);
    assert.equal(lease?.remainingMs(), 0);
    assert.deepEqual((await log.newest())?.body, {
      state: "held",
      forMs: 5_000,
      slots: slotsOf(2),
    });
  });

  test(`${name}: extend() finds out that the lease is lost, and then nothing is begun or released`, async () => {
    const { log, world, clock } = makeWorld();
    const lost = await acquireLease(log, { world, ...NOW });
    clock.now += slackMs + 25_001;
    const other = await acquireLease(log, { world, ...NOW });
    assert.equal(await lost?.extend(slotsOf(1), 30_000), false);
    assert.equal(lost?.remainingMs(), 0);
    assert.equal(await lost?.release(slotsOf(1)), false);
    assert.equal(await lost?.extend(slotsOf(1), 30_000), false);
    assert.equal(other?.remainingMs(), 20_000);
    assert.equal((await log.newest())?.revision, 2);
  });

  test(`${name}: extend() after the lease ran out holds again while nobody else came`, async () => {
    const { log, world, clock } = makeWorld();
    const lease = await acquireLease(log, { world, ...NOW });
    clock.now += 3_599_000;
    assert.equal(lease?.remainingMs(), 0);
    assert.equal(await lease?.extend({}, 20_000), true);
    assert.equal(lease?.remainingMs(), 20_000);
    clock.now += 3_600_001;
    assert.equal(await lease?.extend({}, 20_000), false, "who was silent that long cannot know");
    assert.equal(lease?.remainingMs(), 0);
  });

  test(`${name}: extend() that rejects leaves what was held, and release still works`, async () => {
    const { log, world, clock } = makeWorld();
    let fails = false;
    const failing: Log<TargetObject> = {
      ...log,
      append: async (after, body) => {
        if (fails) throw new StoreError("Cannot reach store: no answer");
        return log.append(after, body);
      },
    };
    const lease = await acquireLease(failing, { world, ...NOW });
    clock.now += 5_000;
    fails = true;
    await assert.rejects(async () => lease?.extend(slotsOf(1), 30_000), StoreError);
    assert.equal(lease?.remainingMs(), 15_000);
    await assert.rejects(async () => lease?.extend(slotsOf(1), 5_000), StoreError);
    assert.equal(lease?.remainingMs(), 5_000, "others may already see the shorter one");
    fails = false;
    assert.equal(await lease?.release(slotsOf(2)), true);
    assert.deepEqual((await log.newest())?.body, { state: "done", slots: slotsOf(2) });
  });

  test(`${name}: release() ends the lease from the moment of asking, and appends instead of deleting`, async () => {
    const { log, world, store } = makeWorld();
    const lease = await acquireLease(log, { world, ...NOW });
    const releasing = lease?.release(slotsOf(1));
    assert.equal(lease?.remainingMs(), 0);
    assert.equal(await releasing, true);
    assert.equal((await store.list("v1/targets/memory.one/", 10)).length, 2);
    const next = await acquireLease(log, { world, ...NOW });
    assert.deepEqual(next?.slots, slotsOf(1));
    assert.equal((await log.newest())?.revision, 3);
  });
}

test("parseTargetObject() gives back what was stored, and drops members it does not know", () => {
  const held: TargetObject = { state: "held", forMs: 65_000, slots: slotsOf(0) };
  const done: TargetObject = { state: "done", slots: {} };
  for (const body of [held, done]) {
    const stored: unknown = JSON.parse(JSON.stringify({ ...body, later: "version" }));
    assert.deepEqual(parseTargetObject(stored), body);
  }
});

test("parseTargetObject() names every problem with its path", () => {
  const broken = JSON.parse(JSON.stringify({ state: "held", forMs: 65_001, slots: slotsOf(-1) }));
  broken.slots["memory/one"].report.reason = "bad weather";
  delete broken.slots["memory/one"].claimed;
  assert.throws(
    () => parseTargetObject(broken),
    (error) => {
      assert.ok(error instanceof RangeError);
      for (const path of ["forMs", "failures", "report.reason: unknown reason", "claimed"]) {
        assert.ok(error.message.includes(path), `${path} in ${error.message}`);
      }
      assert.ok(!error.message.includes("Invalid input"), error.message);
      return true;
    },
  );
  for (const stored of [null, {}, { state: "free", slots: {} }, { state: "held", slots: {} }]) {
    assert.throws(() => parseTargetObject(stored), RangeError);
  }
});
