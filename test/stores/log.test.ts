import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { type Log, openLog } from "../../lib/stores/log.ts";
import { type Store, StoreError } from "../../lib/stores/store.ts";
import { type StoreKind, storeKinds } from "./kinds.ts";

const HOUR_MS = 3_600_000;
const BASE = "acme/v1/clusters/prod-eu/";
const KEYS = [1, 2, 3].map((revision) => `${BASE}${999_999_999_999 - revision}.json`);

interface Body {
  readonly text: string;
}

function parseBody(stored: unknown): Body {
  const { text, ...rest } = stored as { text: unknown };
  if (typeof text !== "string") throw new RangeError("text: not a string");
  assert.deepEqual(rest, {}, "the members of the log itself do not reach the body");
  return { text };
}

// Shared by all worlds: two processes that draw the same numbers are one writer.
let draws = 0;

function makeWorld() {
  const clock = { now: 1_700_000_000_000 };
  const random = () => draws++ / 2 ** 20;
  return { clock, world: { now: () => clock.now, random } };
}

function open(
  store: Store,
  world = makeWorld().world,
  given: { readonly prefix?: string; readonly installation?: string } = {},
): Log<Body> {
  return openLog({
    store,
    prefix: "acme/",
    installation: "acme",
    ...given,
    kind: "clusters",
    name: "prod-eu",
    parse: parseBody,
    world,
  });
}

for (const kind of storeKinds) testOver(kind);

function testOver({ name, make, slackMs }: StoreKind): void {
  function makeLog() {
    const { clock, world } = makeWorld();
    const store = make(world);
    return { clock, store, log: open(store, world), world };
  }

  /** Does what it is asked to, or not, and says something else. */
  function lying(store: Store, lies: Partial<Record<keyof Store, "done" | "not done">>): Store {
    const fail = async (verb: keyof Store, work: () => Promise<unknown>): Promise<never> => {
      if (lies[verb] === "done") await work();
      throw new StoreError(`Cannot ${verb}: no answer`);
    };
    return {
      put: (key, body) =>
        lies.put ? fail("put", () => store.put(key, body)) : store.put(key, body),
      get: (key) => (lies.get ? fail("get", () => store.get(key)) : store.get(key)),
      list: (prefix, limit) =>
        lies.list ? fail("list", async () => []) : store.list(prefix, limit),
      delete: (key) => (lies.delete ? fail("delete", () => store.delete(key)) : store.delete(key)),
    };
  }

  test(`${name}: append() stores JSON under a number that counts down, and newest() finds it`, async () => {
    const { clock, store, log } = makeLog();
    assert.equal(await log.newest(), null);
    const first = await log.append(0, { text: "first" });
    assert.ok(first !== "exists");
    assert.deepEqual(
      { ...first, writer: "" },
      { revision: 1, ageMs: 0, writer: "", body: { text: "first" } },
    );
    await log.append(1, { text: "second" });
    clock.now += 5_000;
    const newest = await log.newest();
    assert.equal(newest?.revision, 2);
    const { ageMs = -1 } = newest ?? {};
    assert.ok(ageMs >= 5_000 - slackMs && ageMs <= 5_000, `${ageMs} ms`);
    assert.deepEqual(newest.body, { text: "second" });
    assert.notEqual(newest.writer, first.writer);
    assert.deepEqual(JSON.parse((await store.get(KEYS[0] ?? "")) ?? ""), {
      version: 1,
      writer: first.writer,
      revision: 1,
      installation: "acme",
      text: "first",
    });
  });

  test(`${name}: newest() refuses what another installation stored, names both, and takes what names none`, async () => {
    const { store, log, world } = makeLog();
    const beta = open(store, world, { installation: "beta" });
    const key = KEYS[0] ?? "";
    await store.put(key, '{"version":1,"writer":"a","revision":1,"text":"older"}');
    assert.deepEqual((await log.newest())?.body, { text: "older" });
    await beta.append(1, { text: "another's" });
    await assert.rejects(log.newest(), (error) => {
      assert.ok(error instanceof StoreError);
      assert.equal(
        error.message,
        `Cannot read "${KEYS[1]}": it is of installation "beta", and this is "acme"; give each a ` +
          "store.prefix or a folder of its own, and an installation the name that it always had",
      );
      return true;
    });
    assert.equal(await log.append(1, { text: "own" }), "exists");
    assert.deepEqual((await beta.newest())?.body, { text: "another's" });
  });

  test(`${name}: newest() and trim() leave alone what lies deeper, as the store of whoever has a prefix in here`, async () => {
    const { clock, store, log, world } = makeLog();
    const inner = open(store, world, { prefix: `${BASE}v1/`, installation: "beta" });
    await inner.append(0, { text: "another's" });
    assert.equal(await log.newest(), null, "no entry of ours");
    await log.append(0, { text: "own" });
    await log.append(1, { text: "own" });
    assert.deepEqual((await log.newest())?.body, { text: "own" });
    await inner.append(1, { text: "another's" });
    clock.now += 25 * HOUR_MS;
    assert.equal(await log.trim(), 1);
    assert.equal((await store.list(`${BASE}v1/`, 10)).length, 2);
    assert.deepEqual((await inner.newest())?.body, { text: "another's" });
  });

  test(`${name}: newest() refuses a folder that stands in front of its entries, and says where it is`, async () => {
    const { store, log } = makeLog();
    await log.append(0, { text: "own" });
    const key = `${BASE}000/v1/clusters/prod-eu/999999999998.json`;
    await store.put(key, '{"version":1,"writer":"a","revision":1,"text":"another\'s"}');
    await assert.rejects(log.newest(), (error) => {
      assert.ok(error instanceof StoreError);
      const start = `Cannot read log "${BASE}": "${key}" lies in it, in front of its entries; `;
      assert.ok(error.message.startsWith(start), error.message);
      return true;
    });
  });

  test(`${name}: append() may leave numbers out, and says exists for one that is taken`, async () => {
    const { log } = makeLog();
    await log.append(1_700_000_000, { text: "by the clock" });
    assert.equal((await log.newest())?.revision, 1_700_000_001);
    assert.equal(await log.append(1_700_000_000, { text: "late" }), "exists");
    assert.deepEqual((await log.newest())?.body, { text: "by the clock" });
  });

  test(`${name}: append() never lets a body replace the members of the log itself`, async () => {
    const { store, world } = makeLog();
    const parse = (stored: unknown) => stored as object;
    const log = openLog({
      store,
      prefix: "acme/",
      installation: "acme",
      kind: "clusters",
      name: "prod-eu",
      parse,
      world,
    });
    const members = { version: 7, writer: "me", revision: 7, installation: "beta" };
    await log.append(0, { ...members, text: "body" });
    const newest = await log.newest();
    assert.equal(newest?.revision, 1);
    assert.notEqual(newest.writer, "me");
    assert.deepEqual(newest.body, { text: "body" });
  });

  test(`${name}: append() recognises its own write when the answer was lost`, async () => {
    const { store, log } = makeLog();
    const entry = await open(lying(store, { put: "done" })).append(0, { text: "own" });
    assert.ok(entry !== "exists");
    assert.deepEqual(await log.newest(), entry);
  });

  test(`${name}: append() recognises its own write when a transport sent it twice`, async () => {
    const { store, log } = makeLog();
    const twice: Store = {
      ...store,
      put: async (key, body) => {
        await store.put(key, body);
        return store.put(key, body);
      },
    };
    const entry = await open(twice).append(0, { text: "own" });
    assert.ok(entry !== "exists");
    assert.deepEqual(await log.newest(), entry);
  });

  test(`${name}: append() says exists when an error hid that another was faster`, async () => {
    const { store, log } = makeLog();
    await log.append(0, { text: "another's" });
    const blind = open(lying(store, { put: "done" }));
    assert.equal(await blind.append(0, { text: "own" }), "exists");
  });

  test(`${name}: append() rejects when nobody knows whether it was done`, async () => {
    const { store, log } = makeLog();
    const notDone = open(lying(store, { put: "not done" }));
    await assert.rejects(notDone.append(0, { text: "own" }), StoreError);
    assert.equal(await log.newest(), null);
    const unread = open(lying(store, { put: "done", get: "not done" }));
    await assert.rejects(unread.append(0, { text: "own" }), StoreError);
  });

  test(`${name}: append() of 20 at once gives each revision to exactly one`, async () => {
    const { log } = makeLog();
    for (let after = 0; after < 5; after += 1) {
      const bodies = Array.from({ length: 20 }, (_, at) => ({ text: `${after}/${at}` }));
      const entries = await Promise.all(bodies.map((body) => log.append(after, body)));
      const created = entries.filter((entry) => entry !== "exists");
      assert.equal(created.length, 1);
      assert.deepEqual((await log.newest())?.body, created[0]?.body);
    }
  });

  test(`${name}: newest() looks again when a trimmer was faster than its get`, async () => {
    const { store, log } = makeLog();
    await log.append(0, { text: "old" });
    let raced = false;
    const racing: Store = {
      ...store,
      get: async (key) => {
        if (!raced) {
          raced = true;
          await log.append(1, { text: "new" });
          await store.delete(key);
        }
        return store.get(key);
      },
    };
    assert.deepEqual((await open(racing).newest())?.body, { text: "new" });
  });

  test(`${name}: newest() gives up, with the log's name, when entries keep vanishing`, async () => {
    const { store, log } = makeLog();
    await log.append(0, { text: "old" });
    const vanishing: Store = { ...store, get: async () => null };
    await assert.rejects(open(vanishing).newest(), (error) => {
      assert.ok(error instanceof StoreError);
      assert.match(error.message, /Cannot read log "acme\/v1\/clusters\/prod-eu\/": .* vanished/);
      return true;
    });
  });

  const UNREADABLE = {
    "not JSON": "{",
    "no object": "[]",
    "no version": '{"writer":"a","revision":1,"text":""}',
    "a version that is no number": '{"version":"1","writer":"a","revision":1,"text":""}',
    "no writer": '{"version":1,"revision":1,"text":""}',
    "another revision": '{"version":1,"writer":"a","revision":2,"text":""}',
    "a body that does not parse": '{"version":1,"writer":"a","revision":1,"text":7}',
  };

  for (const [problem, text] of Object.entries(UNREADABLE)) {
    test(`newest() names the key of an object with ${problem}, and a way out`, async () => {
      const { store, log } = makeLog();
      const key = KEYS[0] ?? "";
      await store.put(key, text);
      await assert.rejects(log.newest(), (error) => {
        assert.ok(error instanceof StoreError);
        assert.ok(error.message.startsWith(`Cannot read "${key}": `), error.message);
        assert.match(error.message, /; restore it, or delete it/);
        return true;
      });
      assert.equal(await log.append(0, { text: "over it" }), "exists");
      assert.equal(await store.get(key), text);
    });
  }

  test(`${name}: newest() refuses an object of a newer version, whatever else is in it`, async () => {
    const { store, log } = makeLog();
    await store.put(KEYS[0] ?? "", '{"version":2,"by":"the future"}');
    await assert.rejects(log.newest(), (error) => {
      assert.ok(error instanceof StoreError);
      assert.equal(
        error.message,
        `Cannot read "${KEYS[0]}": version 2 of an entry, ` +
          "while this program knows 1; update the program",
      );
      return true;
    });
  });

  test(`${name}: newest() of a feed never tells to delete the newest object alone`, async () => {
    const { store, world } = makeLog();
    const options = {
      store,
      prefix: "",
      installation: "acme",
      name: "db",
      parse: parseBody,
      world,
    };
    for (const kind of ["feeds", "sources"] as const) {
      await store.put(`v1/${kind}/db/999999999998.json`, "{");
      const error = await openLog({ ...options, kind })
        .newest()
        .catch(String);
      const whole = /delete the whole folder, and those of the list's former names, while nothing/;
      assert.equal(whole.test(String(error)), kind === "feeds", String(error));
    }
  });

  test(`${name}: newest() names a key that is no entry's`, async () => {
    const { store, log } = makeLog();
    await store.put(`${BASE}000-notes.txt`, "by hand");
    await assert.rejects(log.newest(), /Cannot read ".*000-notes\.txt": not the name of an entry/);
  });

  test(`${name}: trim() deletes what is older than a day, and never the newest`, async () => {
    const { clock, store, log } = makeLog();
    for (const after of [0, 1, 2]) {
      await log.append(after, { text: `${after + 1}` });
      clock.now += HOUR_MS;
    }
    clock.now += 22 * HOUR_MS;
    assert.equal(await log.trim(), 1, "the first is 25 h old, the second 24 h and not older");
    clock.now += slackMs + 1;
    const failing = open(lying(store, { delete: "not done" }));
    await assert.rejects(failing.trim(), StoreError);
    assert.equal(await log.trim(), 1);
    clock.now += 1_000 * HOUR_MS;
    assert.equal(await log.trim(), 0, "the newest stays, whatever its age");
    assert.equal((await log.newest())?.revision, 3);
    assert.equal(await log.append(0, { text: "late" }).then((entry) => entry !== "exists"), true);
  });

  test(`${name}: trim() that is cut off leaves no hole between what it kept and what it did not reach`, async () => {
    const { clock, store, log } = makeLog();
    for (let after = 0; after < 60; after += 1) await log.append(after, { text: `${after}` });
    clock.now += 25 * HOUR_MS;
    let deletes = 0;
    const cut: Store = {
      ...store,
      delete: async (key) => {
        deletes += 1;
        if (deletes > 16) throw new StoreError("Cannot delete: no answer");
        return store.delete(key);
      },
    };
    await assert.rejects(open(cut).trim(), StoreError);
    const left = (await store.list(BASE, 100)).map(({ key }) => Number(key.slice(-17, -5)));
    assert.deepEqual(
      left.map((number) => 999_999_999_999 - number),
      Array.from({ length: 44 }, (_, at) => 60 - at),
    );
    assert.equal(await log.trim(), 43);
  });

  test(`${name}: append() stores what render makes of the body, and newest() parses it again`, async () => {
    const { store, world } = makeLog();
    const log = openLog<Body>({
      store,
      prefix: "",
      installation: "acme",
      kind: "feeds",
      name: "payments-db",
      parse: (stored) => ({ text: (stored as { short: string }).short.repeat(3) }),
      render: ({ text }) => ({ short: text.slice(0, 2) }),
      world,
    });
    const entry = await log.append(0, { text: "ababab" });
    assert.ok(entry !== "exists");
    assert.deepEqual((await log.newest())?.body, entry.body);
    assert.match((await store.get("v1/feeds/payments-db/999999999998.json")) ?? "", /"short":"ab"/);
  });

  test(`${name}: trim() leaves what is no entry of its log alone`, async () => {
    const { clock, store, log, world } = makeLog();
    const parse = parseBody;
    const other = openLog({
      store,
      prefix: "acme/",
      installation: "acme",
      kind: "clusters",
      name: "prod-eu-2",
      parse,
      world,
    });
    await store.put(`${BASE}999999999999.json.bak`, "by hand");
    for (const after of [0, 1]) {
      await log.append(after, { text: "own" });
      await other.append(after, { text: "another's" });
    }
    clock.now += 25 * HOUR_MS;
    assert.equal(await log.trim(), 1);
    const left = (await store.list("", 100)).map(({ key }) => key);
    assert.deepEqual(left, [
      "acme/v1/clusters/prod-eu-2/999999999997.json",
      "acme/v1/clusters/prod-eu-2/999999999998.json",
      KEYS[1],
      `${BASE}999999999999.json.bak`,
    ]);
  });

  test(`${name}: openLog() keeps to its model through any sequence of appends, trims and hours`, async () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant("append" as const), lag: fc.nat({ max: 2 }) }),
      fc.record({ kind: fc.constant("trim" as const), lag: fc.constant(0) }),
      fc.record({ kind: fc.constant("wait" as const), lag: fc.nat({ max: 30 }) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const { clock, store, log } = makeLog();
        let model: { revision: number; at: number }[] = [];
        for (const { kind, lag } of steps) {
          const newest = model.at(-1)?.revision ?? 0;
          if (kind === "wait") clock.now += lag * HOUR_MS;
          if (kind === "append") {
            // Who decided on an older entry that still stands must lose.
            const after = model.some(({ revision }) => revision === newest - lag)
              ? newest - lag
              : newest;
            const entry = await log.append(after, { text: `${after}` });
            assert.equal(entry === "exists", after !== newest);
            if (entry !== "exists") model.push({ revision: entry.revision, at: clock.now });
          }
          if (kind === "trim") {
            const kept = model.filter(
              ({ revision, at }) => revision === newest || clock.now - at <= 24 * HOUR_MS,
            );
            assert.equal(await log.trim(), model.length - kept.length);
            model = kept;
          }
          const found = await log.newest();
          assert.equal(found?.revision, model.at(-1)?.revision);
          assert.equal((await store.list(BASE, 1_000)).length, model.length);
        }
      }),
      { numRuns: 200 },
    );
  });
}
