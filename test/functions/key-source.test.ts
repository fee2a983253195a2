import assert from "node:assert/strict";
import { test } from "node:test";
import { type KeySource, KeysUnavailable, keySource } from "../../functions/key-source.ts";
import { type KeySet, parseKeySet } from "../../lib/wire/jwks.ts";
import { virtualWorld } from "../virtual-world.ts";
import { makeIssuer } from "../wire/issuer.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

const SETS: Readonly<Record<string, KeySet>> = Object.fromEntries(
  ["old", "new"].map((id) => [id, parseKeySet(makeIssuer({ id }).keySet)]),
);

/** An issuer whose answer a test chooses; how often it was asked is what costs. */
function stage(first?: string) {
  const world = virtualWorld();
  const issuer = { answer: "old" as string | Error, asked: 0, gate: Promise.resolve() };
  const source = keySource({
    name: "test",
    world,
    async read() {
      issuer.asked += 1;
      await issuer.gate;
      if (issuer.answer instanceof Error) throw issuer.answer;
      const set = SETS[issuer.answer];
      assert(set !== undefined);
      return set;
    },
    freshMs: HOUR_MS,
    pauseMs: MINUTE_MS,
    ...(first === undefined ? {} : { first: SETS[first] as KeySet }),
  });
  const idsOf = async (asking: ReturnType<KeySource["keys"]>) =>
    (await asking).map(({ id }) => id).join();
  return {
    world,
    issuer,
    keys: () => idsOf(source.keys()),
    /** With "?" behind where a newer key may exist that this one does not know of. */
    async renewed() {
      const { keys, doubt } = await source.renewed();
      const ids = await idsOf(Promise.resolve(keys));
      return doubt === null ? ids : `${ids}? ${doubt.retryAfterMs}`;
    },
  };
}

const DOWN = new Error("Cannot fetch the key set: ECONNREFUSED");

test("keySource() asks once, and again after its time, when a request needs the keys", async () => {
  const { world, issuer, keys } = stage();
  assert.equal(issuer.asked, 0, "nobody needed them yet");
  for (let at = 0; at < HOUR_MS; at += MINUTE_MS) {
    assert.equal(await keys(), "old");
    await world.advance(MINUTE_MS);
  }
  assert.equal(issuer.asked, 1);
  issuer.answer = "new";
  assert.equal(await keys(), "new");
  assert.equal(issuer.asked, 2);
});

test("keySource() judges by the clock when an instance was frozen for a day between two requests", async () => {
  const { world, issuer, keys } = stage();
  await keys();
  await world.advance(30 * HOUR_MS);
  issuer.answer = "new";
  assert.deepEqual(await Promise.all([keys(), keys()]), ["new", "new"]);
  assert.equal(issuer.asked, 2);
});

test("keySource() shares one read among requests at the same time", async () => {
  const { issuer, keys, renewed } = stage();
  let open = () => {};
  issuer.gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  const asking = Array.from({ length: 50 }, (_, index) => (index % 2 === 0 ? keys() : renewed()));
  open();
  assert.deepEqual([...new Set(await Promise.all(asking))], ["old"]);
  assert.equal(issuer.asked, 1);
});

test("keySource() renews for an unknown key at once, but not for a flood of them", async () => {
  const { world, issuer, keys, renewed } = stage();
  await keys();
  await world.advance(MINUTE_MS);
  issuer.answer = "new";
  assert.equal(await renewed(), "new");
  for (let at = 0; at < 10 * MINUTE_MS; at += 100) {
    assert.equal(await renewed(), "new");
    await world.advance(100);
  }
  assert(issuer.asked <= 12, `asked ${issuer.asked} times`);
});

test("keySource() keeps good keys while the issuer fails, and asks it once a minute", async () => {
  const { world, issuer, keys, renewed } = stage();
  await keys();
  issuer.answer = DOWN;
  await world.advance(HOUR_MS);
  for (let at = 0; at < 10 * MINUTE_MS; at += 1_000) {
    assert.equal(await keys(), "old");
    assert.match(await renewed(), /^old\? \d+$/, "a failing read does not tell what is new");
    await world.advance(1_000);
  }
  assert(issuer.asked <= 12, `asked ${issuer.asked} times`);
  const warned = world.lines.filter(({ level }) => level === "warn");
  assert.equal(warned.length, issuer.asked - 1, "each failure is told");
  assert.match(warned[0]?.message ?? "", /ECONNREFUSED; going on with those that are known/);
  issuer.answer = "new";
  await world.advance(MINUTE_MS);
  assert.equal(await keys(), "new");
});

test("keySource() no longer believes keys that could not be read again for a day", async () => {
  const { world, issuer, keys, renewed } = stage();
  await keys();
  issuer.answer = DOWN;
  await world.advance(24 * HOUR_MS - 1);
  assert.equal(await keys(), "old");
  await world.advance(1);
  await assert.rejects(keys(), KeysUnavailable);
  await assert.rejects(renewed(), KeysUnavailable);
  issuer.answer = "old";
  await world.advance(5_000);
  assert.equal(await keys(), "old", "until they can");
});

test("keySource() says when to ask again while it has no keys, and does not ask for every request", async () => {
  const { world, issuer, keys, renewed } = stage();
  issuer.answer = DOWN;
  const error = await keys().catch((thrown: unknown) => thrown);
  assert(error instanceof KeysUnavailable);
  assert.equal(error.retryAfterMs, 5_000);
  for (let request = 0; request < 100; request += 1) {
    await assert.rejects(keys(), KeysUnavailable);
    await assert.rejects(renewed(), KeysUnavailable);
  }
  assert.equal(issuer.asked, 1);
  issuer.answer = "old";
  await world.advance(5_000);
  assert.equal(await keys(), "old");
});

test("keySource() lets nobody wait for a slow issuer who has keys to go by", {
  timeout: 10_000,
}, async () => {
  const { world, issuer, keys } = stage();
  await keys();
  await world.advance(HOUR_MS);
  let open = () => {};
  issuer.gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  const first = keys();
  assert.equal(await keys(), "old", "while another request asks");
  open();
  await first;
});

test("keySource() goes on when the clock is set back", async () => {
  const { world, issuer, keys, renewed } = stage();
  await keys();
  await world.advance(-2 * HOUR_MS);
  assert.equal(await keys(), "old");
  issuer.answer = "new";
  await world.advance(MINUTE_MS);
  assert.equal(await renewed(), "new");
});

test("keySource() gives new keys to whoever comes while they are asked for", async () => {
  const { world, issuer, keys, renewed } = stage();
  await keys();
  await world.advance(MINUTE_MS);
  let open = () => {};
  issuer.gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  issuer.answer = "new";
  const first = renewed();
  await world.advance(500);
  const second = renewed();
  open();
  assert.deepEqual(await Promise.all([first, second]), ["new", "new"]);
});

test("keySource() begins with what was read already", async () => {
  const { world, issuer, keys, renewed } = stage("old");
  assert.equal(await keys(), "old");
  assert.equal(await renewed(), "old");
  assert.equal(issuer.asked, 0);
  await world.advance(MINUTE_MS);
  issuer.answer = "new";
  assert.equal(await renewed(), "new");
});
