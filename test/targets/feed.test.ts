import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Cidr } from "../../lib/core/cidr.ts";
import { FEED_ENTRIES_MAX, type FeedContent, nextFeed, parseFeed } from "../../lib/core/feed.ts";
import { containerOf } from "../../lib/core/marker.ts";
import { type Log, openLog } from "../../lib/stores/log.ts";
import { memoryStore } from "../../lib/stores/memory.ts";
import { type Store, StoreError } from "../../lib/stores/store.ts";
import { openFeed } from "../../lib/targets/feed/log.ts";
import { TargetError } from "../../lib/targets/target.ts";
import { cidrs, hosts } from "../core/cases.ts";
import { START, virtualWorld } from "../virtual-world.ts";
import { kindNamed, makeTarget, OWNER, settingsProblems } from "./making.ts";

const SIGNAL = new AbortController().signal;
const OPEN = { open: true } as const;

/** A feed over a memory store; `wrap` stands between the log and the store. */
async function room(
  given: {
    readonly settings?: Readonly<Record<string, unknown>>;
    readonly wrap?: (store: Store) => Store;
    readonly limit?: number;
  } = {},
) {
  const world = virtualWorld();
  const inner = memoryStore(world);
  const store = given.wrap?.(inner) ?? inner;
  const feed = (name: string): Log<FeedContent> =>
    openLog({
      store,
      prefix: "",
      installation: "acme",
      kind: "feeds",
      name,
      parse: parseFeed,
      world,
    });
  const target = await makeTarget("feed", given.settings ?? OPEN, {
    env: {},
    limit: given.limit,
    context: { world, feed },
  });
  const write = async (verb: "add" | "remove", entries: readonly Cidr[]) => {
    const { revision } = await target.observe(SIGNAL);
    return target.apply(
      { verb, cidrs: entries, text: "", instead: [], late: [] },
      revision,
      SIGNAL,
    );
  };
  return {
    world,
    store: inner,
    target,
    add: (...entries: readonly Cidr[]) => write("add", entries),
    remove: (...entries: readonly Cidr[]) => write("remove", entries),
    newest: async () => (await feed("payments-db").newest()) ?? assert.fail("nothing published"),
  };
}

async function refusal(work: Promise<unknown>): Promise<TargetError> {
  const error = await work.then(
    () => assert.fail("it was not refused"),
    (thrown: unknown) => thrown,
  );
  assert(error instanceof TargetError, String(error));
  return error;
}

function problemsOf(settings: unknown): readonly string[] {
  return settingsProblems("feed", settings);
}

test("schema of a feed asks for exactly one of tokens and open", () => {
  for (const settings of [
    { tokens: ["env:A"] },
    { tokens: ["env:A", "file:/run/b"], empty: true, limit: 60_000 },
    { open: true, empty: false },
  ]) {
    assert.deepEqual(kindNamed("feed").schema.parse(settings), settings);
  }
  assert.deepEqual(problemsOf({}), [
    ': Cannot publish a feed to nobody: write tokens: ["env:FEED_TOKEN"], or open: true for all',
  ]);
  assert.deepEqual(problemsOf({ tokens: ["env:A"], open: true }), [
    ": Cannot ask for tokens on an open feed: leave out tokens or open",
  ]);
  assert.match(problemsOf({ tokens: [] }).join(), /^tokens: Cannot use no tokens: name one/);
  assert.match(
    problemsOf({ open: false }).join(),
    /^open: Cannot use this value of open: write open: true/,
  );
  assert(!problemsOf({ open: "canary-token" }).join().includes("canary"));
  assert.match(problemsOf({ open: true, empty: "no" }).join(), /^empty: Cannot use empty "no"/);
  assert.match(problemsOf({ open: true, tokn: [] }).join(), /tokn/);
});

test("schema of a feed refuses a token that stands in the file, without repeating it", () => {
  const problems = problemsOf({ tokens: ["canary-0123456789abcdef"] });
  assert.match(problems.join(), /^tokens\[0\]: Cannot use a value written in the file as a secret/);
  assert(!problems.join().includes("canary"));
});

test("a feed is named after its list, or after the first name that the list had", () => {
  const { identify } = kindNamed("feed");
  assert.deepEqual(identify(OPEN, OWNER), {
    name: "feed/payments-db",
    object: "feed.payments-db",
  });
  assert.deepEqual(identify(OPEN, { ...OWNER, formerly: ["pay", "pay-db"] }), {
    name: "feed/pay",
    object: "feed.pay",
  });
});

test("a feed may be emptied only where that is configured", async () => {
  const traits = (settings: object) => kindNamed("feed").traits({ ...settings });
  assert.equal(traits(OPEN).whenEmpty, "rejected");
  assert.equal(traits({ ...OPEN, empty: false }).whenEmpty, "rejected");
  assert.equal(traits({ ...OPEN, empty: true }).whenEmpty, "closed");
  const never = await room();
  await never.add(...hosts(2));
  const error = await refusal(never.remove(...hosts(2)));
  assert.equal(error.kind, "invalid");
  assert.match(error.message, /^Cannot remove 2 entries on feed\/payments-db: nothing would be/);
  assert.deepEqual((await never.newest()).body.entries, hosts(2));
  const may = await room({ settings: { ...OPEN, empty: true } });
  await may.add(...hosts(2));
  await may.remove(...hosts(2));
  assert.deepEqual((await may.newest()).body.entries, []);
});

test("observe() shows the feed as a container of its own list", async () => {
  const { target, add } = await room();
  assert.deepEqual(await target.observe(SIGNAL), {
    entries: [],
    revision: null,
    capacity: [{ families: ["ipv4", "ipv6"], used: 0, limit: 50_000 }],
  });
  assert.equal(await add(...hosts(1)), "payments-db/1");
  const { entries, revision } = await target.observe(SIGNAL);
  assert.equal(revision, "payments-db/1");
  assert.deepEqual(
    entries.map(({ text }) => text),
    [containerOf(OWNER)],
  );
});

test("apply() that removes what is gone already writes nothing", async () => {
  const { store, add, remove } = await room();
  await add(...hosts(3));
  const before = await store.list("", 10);
  assert.equal(await remove(...hosts(2, 100)), "payments-db/1");
  assert.deepEqual(await store.list("", 10), before);
});

test("apply() that adds what a removal on its way would take keeps it from arriving", async () => {
  const release = { now: () => {} };
  let isHung = false;
  const { add, newest, target, store } = await room({
    wrap: (inner) => ({
      ...inner,
      async put(key, body) {
        if (!isHung) return inner.put(key, body);
        isHung = false;
        await new Promise<void>((resolve) => {
          release.now = resolve;
        });
        return inner.put(key, body);
      },
    }),
  });
  await add(...hosts(3));
  const { revision } = await target.observe(SIGNAL);
  isHung = true;
  const given = new AbortController();
  const batch = { verb: "remove", cidrs: hosts(1), text: "", instead: [], late: [] } as const;
  const removing = refusal(target.apply(batch, revision, given.signal));
  await new Promise(setImmediate);
  given.abort();
  assert.equal((await removing).kind, "unavailable");
  const { body } = await newest();
  await add(...hosts(1));
  release.now();
  await new Promise(setImmediate);
  assert.deepEqual((await newest()).body.entries, hosts(3));
  assert((await newest()).body.serial > body.serial);
  assert.equal((await store.list("", 10)).length, 2, "the removal found its number taken");
});

test("a feed goes on from the newest content of all names of its list, whatever the order of them", async () => {
  const world = virtualWorld();
  const store = memoryStore(world);
  const log = (name: string): Log<FeedContent> =>
    openLog({
      store,
      prefix: "",
      installation: "acme",
      kind: "feeds",
      name,
      parse: parseFeed,
      world,
    });
  const publish = async (name: string, count: number) => {
    await world.advance(1_000);
    const content = nextFeed(null, hosts(count), { now: world.now() });
    await log(name).append((await log(name).newest())?.revision ?? 0, content);
  };
  const owner = (list: string, ...formerly: readonly string[]) => ({ list, formerly });
  const begun = openFeed(owner("c", "a", "b"), log);
  assert.equal(await begun.newest(), null);
  const first = nextFeed(null, hosts(1), { now: world.now() });
  assert.equal(await begun.append(null, first), "a/1", "it begins under its first name");
  await publish("c", 2);
  await publish("b", 3);
  await publish("stranger", 9);
  for (const feed of [
    begun,
    openFeed(owner("c", "b", "a"), log),
    openFeed(owner("a", "c", "b"), log),
  ]) {
    assert.equal((await feed.newest())?.revision, "b/1");
  }
  const newest = await begun.newest();
  const next = nextFeed(newest?.body ?? null, hosts(4), { now: world.now() });
  assert.equal(await begun.append(newest, next), "b/2");
  assert.equal(await begun.append(newest, next), "exists");
  assert.equal((await openFeed(owner("c", "a"), log).newest())?.revision, "c/1");
});

test("a feed of several names shows nothing while one of them cannot be read", async () => {
  const world = virtualWorld();
  const store = memoryStore(world);
  const log = (name: string): Log<FeedContent> =>
    openLog({
      store,
      prefix: "",
      installation: "acme",
      kind: "feeds",
      name,
      parse: parseFeed,
      world,
    });
  await log("b").append(0, nextFeed(null, hosts(1), { now: world.now() }));
  await store.put("v1/feeds/a/999999999998.json", "{");
  const feed = openFeed({ list: "b", formerly: ["a"] }, log);
  await assert.rejects(feed.newest(), /feeds\/a\/999999999998/);
});

test("apply() after somebody else's change is a conflict, and of two at once one succeeds", async () => {
  const { target, add, newest } = await room();
  await add(...hosts(1));
  const { revision } = await target.observe(SIGNAL);
  const batch = (first: number) =>
    ({ verb: "add", cidrs: hosts(1, first), text: "", instead: [], late: [] }) as const;
  const results = await Promise.allSettled([
    target.apply(batch(10), revision, SIGNAL),
    target.apply(batch(20), revision, SIGNAL),
  ]);
  const lost = results.flatMap((one) => (one.status === "rejected" ? [one.reason] : []));
  assert.equal(lost.length, 1);
  assert.equal(lost[0].kind, "conflict");
  assert.equal((await newest()).body.entries.length, 2);
  assert.equal((await refusal(target.apply(batch(30), revision, SIGNAL))).kind, "conflict");
});

test("apply() whose answer was lost is settled by the log, and is written once", async () => {
  let lost = 0;
  const { add, newest } = await room({
    wrap: (store) => ({
      ...store,
      async put(key, body) {
        await store.put(key, body);
        lost += 1;
        throw new StoreError("Cannot reach the store: no answer");
      },
    }),
  });
  assert.equal(await add(...hosts(1)), "payments-db/1");
  assert.equal(lost, 1);
  assert.equal((await newest()).revision, 1);
});

test("apply() keeps the limit, and one that was lowered takes nothing away", async () => {
  const { target, add, remove, newest } = await room({ limit: 3 });
  await add(...hosts(3));
  const error = await refusal(add(...hosts(1, 100)));
  assert.equal(error.kind, "full");
  assert.match(error.message, /: 3 of 3 are used; raise its limit, if all that read the feed/);
  await remove(...hosts(1));
  await add(...hosts(1, 100));
  assert.equal((await newest()).body.entries.length, 3);
  assert.deepEqual((await target.observe(SIGNAL)).capacity[0]?.limit, 3);
  const wide = await room({ limit: 100_000 });
  assert.equal((await wide.target.observe(SIGNAL)).capacity[0]?.limit, FEED_ENTRIES_MAX);
});

test("an object that cannot be read is an error that names it, never an empty feed, and nothing is written over it", async () => {
  const good = { serial: 5, changedAt: "2026-11-20T21:00:00.000Z", entries: ["203.0.113.1/32"] };
  const header = { version: 1, writer: "w", revision: 1 };
  const bodies = [
    "",
    "{",
    JSON.stringify({ ...good }),
    JSON.stringify({ ...good, ...header, entries: undefined }),
    JSON.stringify({ ...good, ...header, entries: ["203.0.113.1/32", "evil.example"] }),
    JSON.stringify({ ...good, ...header, entries: ["1.2.3.4; drop"] }),
    JSON.stringify({ ...good, ...header, entries: {} }),
    JSON.stringify({ ...good, ...header, serial: 0 }),
    JSON.stringify({ ...good, ...header, serial: "5" }),
    JSON.stringify({ ...good, ...header, changedAt: "yesterday" }),
    JSON.stringify({ ...good, ...header, version: 2 }),
  ];
  for (const body of bodies) {
    const { store, target } = await room();
    await store.put("v1/feeds/payments-db/999999999998.json", body);
    const batch = { verb: "add", cidrs: hosts(1), text: "", instead: [], late: [] } as const;
    for (const error of [
      await refusal(target.observe(SIGNAL)),
      await refusal(target.apply(batch, "1", SIGNAL)),
      await refusal(target.apply(batch, null, SIGNAL)),
    ]) {
      assert.equal(error.kind, "unavailable", body);
      assert.match(error.message, /^Cannot .* feed\/payments-db: .*999999999998\.json.*; .+/);
    }
    assert.equal((await store.list("", 10)).length, 1);
  }
});

test("nextFeed() never lets the revision fall or repeat, whatever the clock does", () => {
  const step = fc.record({ advanceMs: fc.integer({ min: -86_400_000, max: 86_400_000 }) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      let now = START;
      let content = nextFeed(null, hosts(1), { now });
      assert.equal(content.serial, START / 1_000);
      for (const [index, { advanceMs }] of steps.entries()) {
        now = Math.max(1, now + advanceMs);
        const next = nextFeed(content, hosts(1, index + 1), { now });
        assert(next.serial > content.serial);
        assert(next.serial >= Math.floor(now / 1_000) || next.serial === content.serial + 1);
        content = next;
      }
    }),
  );
});

test("the revision that readers see goes on rising after the store was lost", async () => {
  const first = await room();
  for (let count = 1; count <= 5; count += 1) await first.add(...hosts(count));
  const { body } = await first.newest();
  assert.equal(body.serial, START / 1_000 + 4, "one each, though the clock stood still");
  const second = await room();
  await second.world.advance(10_000);
  await second.add(...hosts(1));
  const after = await second.newest();
  assert.equal(after.revision, 1, "the log counts from the beginning");
  assert(after.body.serial > body.serial);
});

test("parseFeed() reads what nextFeed() makes, and brings what it reads into order", () => {
  const content = nextFeed(null, cidrs("2001:db8::1", "203.0.113.7", "10.0.0.0/8"), { now: START });
  assert.deepEqual(parseFeed(JSON.parse(JSON.stringify(content))), content);
  const entries = ["2001:DB8:0::1", "203.0.113.7", "10.1.2.3/8", "203.0.113.7/32"];
  assert.deepEqual(parseFeed({ ...content, entries }), content);
});
