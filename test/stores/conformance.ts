import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { type Store, StoreError } from "../../lib/stores/store.ts";

/** One store under test. Every handle speaks to the same storage, as another process would. */
export interface StoreUnderTest {
  open(): Store;
  /**
   * Lets about this much time pass on the store's own clock; at most 100 ms where that clock is
   * real.
   */
  pass(ms: number): Promise<void>;
}

/**
 * What every store must do. `make` returns an empty store and cleans up after the test by itself
 * (`context.after`).
 */
export function testStore(options: {
  readonly name: string;
  readonly make: (context: TestContext) => Promise<StoreUnderTest>;
  /** In which the store's clock tells ages. Kernels stamp files in steps of up to 10 ms. */
  readonly stepMs?: number;
}): void {
  const { name, make, stepMs = 10 } = options;

  test(`${name}: put() creates once, and says who was late`, async (context) => {
    const store = (await make(context)).open();
    assert.equal(await store.put("v1/a/1.json", "first"), "created");
    assert.equal(await store.put("v1/a/1.json", "second"), "exists");
    assert.equal(await store.put("v1/a/1.json", "first"), "exists");
    assert.equal(await store.get("v1/a/1.json"), "first");
  });

  test(`${name}: put() lets exactly one of 20 parallel writers win, whole`, async (context) => {
    const storage = await make(context);
    for (let round = 0; round < 5; round += 1) {
      const key = `v1/race/${round}.json`;
      const bodies = Array.from({ length: 20 }, (_, writer) => `${writer}:`.repeat(20_000));
      const stores = bodies.map(() => storage.open());
      const answers = await Promise.all(
        stores.map((store, at) => store.put(key, bodies[at] ?? "")),
      );
      const winners = bodies.filter((_, at) => answers[at] === "created");
      assert.equal(winners.length, 1);
      assert.deepEqual(answers.toSorted().slice(1), Array(19).fill("exists"));
      assert.equal(await storage.open().get(key), winners[0]);
    }
  });

  test(`${name}: get() gives the whole body or nothing while it is being written`, async (context) => {
    const storage = await make(context);
    const body = "x".repeat(2_000_000);
    const reader = storage.open();
    let writing = true;
    const put = storage
      .open()
      .put("v1/large.json", body)
      .finally(() => {
        writing = false;
      });
    while (writing) {
      const seen = await reader.get("v1/large.json");
      assert.ok(seen === null || seen === body, `saw ${seen?.length} of ${body.length} characters`);
      const listed = await reader.list("v1/", 10);
      if (listed.length > 0) assert.equal(await reader.get("v1/large.json"), body);
      await new Promise(setImmediate);
    }
    await put;
    assert.equal(await reader.get("v1/large.json"), body);
  });

  test(`${name}: get() gives back unusual bodies unchanged`, async (context) => {
    const storage = await make(context);
    const bodies = {
      empty: "",
      blank: " \n",
      unicode: "Ünïcödé 漢字 🚀 \u{10ffff} e\u0301 \u00e9",
      mark: "\ufeffbyte order mark",
      controls: "a\0b\u0001\u007f\u2028\u2029",
      lines: "one\r\ntwo\rthree\n",
      quotes: `<a href="x">'&amp;'</a> \\ %2F +`,
      large: "0123456789é".repeat(450_000),
    };
    const store = storage.open();
    for (const [key, body] of Object.entries(bodies)) {
      assert.equal(await store.put(`v1/${key}`, body), "created");
    }
    for (const [key, body] of Object.entries(bodies)) {
      assert.ok((await storage.open().get(`v1/${key}`)) === body, `${key} came back changed`);
    }
  });

  test(`${name}: get() gives null for what is not there`, async (context) => {
    const store = (await make(context)).open();
    assert.equal(await store.get("v1/nothing.json"), null);
    await store.put("v1/a/b.json", "body");
    assert.equal(await store.get("v1/a"), null);
    assert.equal(await store.get("v1/a/b"), null);
    assert.equal(await store.get("v1/a/b.json/c"), null);
  });

  test(`${name}: list() gives keys in ascending byte order, whatever the folder`, async (context) => {
    const storage = await make(context);
    const store = storage.open();
    const keys = [
      "a-b",
      "a.b/1",
      "a/2",
      "a/10",
      "a/1/x",
      "a/1-x",
      "a0",
      "ab",
      "b",
      "9",
      "10",
      "z/-",
    ];
    for (const key of keys) await store.put(`v1/${key}`, key);
    const ascending = keys
      .map((key) => `v1/${key}`)
      .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    const listed = await storage.open().list("", 1_000);
    assert.deepEqual(
      listed.map(({ key }) => key),
      ascending,
    );
  });

  test(`${name}: list() takes any beginning of a key as prefix, and no more`, async (context) => {
    const store = (await make(context)).open();
    const keys = ["v1/targets/a/1", "v1/targets/a/2", "v1/targets/ab/1", "v1/targets/b/1", "v1/x"];
    for (const key of keys) await store.put(key, "body");
    const expected = {
      "": keys,
      v: keys,
      "v1/targets/a/": keys.slice(0, 2),
      "v1/targets/a": keys.slice(0, 3),
      "v1/targets/ab/1": keys.slice(2, 3),
      "v1/targets/a/1/": [],
      "v1/targets/c/": [],
      v2: [],
    };
    for (const [prefix, found] of Object.entries(expected)) {
      const listed = await store.list(prefix, 1_000);
      assert.deepEqual(
        listed.map(({ key }) => key),
        found,
        `prefix "${prefix}"`,
      );
    }
  });

  test(`${name}: list() gives the first keys up to the limit`, async (context) => {
    const store = (await make(context)).open();
    const keys = Array.from({ length: 30 }, (_, at) => `v1/${String(at).padStart(12, "0")}.json`);
    for (const key of keys.toReversed()) await store.put(key, "body");
    for (const limit of [0, 1, 2, 29, 30, 31]) {
      const listed = await store.list("v1/", limit);
      assert.deepEqual(
        listed.map(({ key }) => key),
        keys.slice(0, limit),
      );
    }
  });

  test(`${name}: list() is empty, and no error, before anything was put`, async (context) => {
    const store = (await make(context)).open();
    assert.deepEqual(await store.list("", 10), []);
    assert.deepEqual(await store.list("v1/clusters/a/", 1), []);
  });

  test(`${name}: list() tells ages by the store's own clock`, async (context) => {
    const storage = await make(context);
    await storage.open().put("v1/1", "older");
    await storage.pass(6 * stepMs);
    await storage.open().put("v1/2", "younger");
    const [older, younger] = await storage.open().list("v1/", 10);
    assert.ok(older !== undefined && younger !== undefined);
    assert.ok(Number.isInteger(older.ageMs) && Number.isInteger(younger.ageMs));
    assert.ok(younger.ageMs >= 0 && younger.ageMs < 60_000, `younger: ${younger.ageMs} ms`);
    const between = older.ageMs - younger.ageMs;
    assert.ok(between >= 4 * stepMs, `${older.ageMs} and ${younger.ageMs} ms`);
  });

  test(`${name}: delete() deletes one key, also one that is not there`, async (context) => {
    const storage = await make(context);
    const store = storage.open();
    for (const key of ["v1/a", "v1/ab", "v1/b/1"]) await store.put(key, key);
    await store.delete("v1/a");
    await storage.open().delete("v1/a");
    await store.delete("v1/nothing/at/all");
    await store.delete("v1/b");
    assert.equal(await store.get("v1/a"), null);
    assert.deepEqual(
      (await storage.open().list("v1/", 10)).map(({ key }) => key),
      ["v1/ab", "v1/b/1"],
    );
    assert.equal(await store.put("v1/a", "again"), "created");
    assert.equal(await store.get("v1/a"), "again");
  });

  test(`${name}: all verbs refuse what is not a key, with a StoreError`, async (context) => {
    const store = (await make(context)).open();
    const keys = ["", "/", "/etc/x", "a/", "a//b", "..", "../a", "a/../b", "a/./b", ".a", "a/.b"];
    const more = ["A", "a b", "a\0b", "a\\b", "ä", "a:b", "a%2fb", "x".repeat(1_001)];
    for (const key of [...keys, ...more]) {
      const verbs = [() => store.put(key, "body"), () => store.get(key), () => store.delete(key)];
      for (const verb of verbs)
        await assert.rejects(async () => verb(), StoreError, `key "${key}"`);
    }
    for (const prefix of ["/", "..", "../", "a/../", ".", "a/.", "A", "a//", "a b", "a\0"]) {
      await assert.rejects(async () => store.list(prefix, 1), StoreError, `prefix "${prefix}"`);
    }
    assert.deepEqual(await store.list("", 10), []);
  });
}
