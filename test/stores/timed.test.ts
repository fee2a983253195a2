import assert from "node:assert/strict";
import { test } from "node:test";
import { memoryStore } from "../../lib/stores/memory.ts";
import { type Store, StoreError } from "../../lib/stores/store.ts";
import { timedStore, VERB_MS_MAX } from "../../lib/stores/timed.ts";
import { virtualWorld } from "../virtual-world.ts";
import { testStore } from "./conformance.ts";

const NEVER = new Promise<never>(() => undefined);
const HUNG: Store = {
  put: () => NEVER,
  get: () => NEVER,
  list: () => NEVER,
  delete: () => NEVER,
};

testStore({
  name: "timedStore()",
  make: async () => {
    const world = virtualWorld();
    const store = timedStore(memoryStore(world), { world, deadline: world.now() + 60_000 });
    return { open: () => store, pass: (ms) => world.advance(ms) };
  },
});

const verbs: readonly ((store: Store) => Promise<unknown>)[] = [
  (store) => store.put("v1/a", "body"),
  (store) => store.get("v1/a"),
  (store) => store.list("v1/", 1),
  (store) => store.delete("v1/a"),
];

test("timedStore() gives up every verb of a store that hangs, also one that knows no signal", async () => {
  const world = virtualWorld();
  for (const verb of verbs) {
    const refused = assert.rejects(verb(timedStore(HUNG, { world })), (error) => {
      assert.ok(error instanceof StoreError);
      assert.match(
        error.message,
        /^Cannot (create|read|list|delete) "v1\/a?": no answer within 15/,
      );
      assert.equal(error.isFinal, false, "what was begun may still be done");
      return true;
    });
    await world.advance(VERB_MS_MAX);
    await refused;
  }
});

test("timedStore() waits for no longer than until its deadline, and begins nothing after it", async () => {
  const world = virtualWorld();
  let begun = 0;
  const counting: Store = {
    ...HUNG,
    get: () => {
      begun += 1;
      return NEVER;
    },
  };
  const store = timedStore(counting, { world, deadline: world.now() + 2_000 });
  const refused = assert.rejects(store.get("v1/a"), /no answer within 2.0 s/);
  await world.advance(2_000);
  await refused;
  await assert.rejects(store.get("v1/a"), /Cannot read "v1\/a": no time is left/);
  assert.equal(begun, 1);
});

test("timedStore() ends what it began by the signal that it gives", async () => {
  const world = virtualWorld();
  let reason: unknown = null;
  const honouring: Store = {
    ...HUNG,
    put: (_key, _body, signal) =>
      new Promise((_resolve, reject) => {
        signal?.addEventListener("abort", () => {
          reason = signal.reason;
          reject(new StoreError("Cannot create: given up"));
        });
      }),
  };
  const given = new AbortController();
  const put = timedStore(honouring, { world }).put("v1/a", "body", given.signal);
  const refused = assert.rejects(put, StoreError);
  given.abort(new Error("enough"));
  await refused;
  assert.equal((reason as Error).message, "enough");
});

test("timedStore() leaves no alarm behind", async () => {
  const world = virtualWorld();
  const alarms = new Set<object>();
  const counting = {
    ...world,
    sleep: (ms: number, signal?: AbortSignal) => {
      const alarm = {};
      alarms.add(alarm);
      return world.sleep(ms, signal).finally(() => alarms.delete(alarm));
    },
  };
  const store = timedStore(memoryStore(world), { world: counting });
  for (const verb of verbs) await verb(store);
  assert.equal(alarms.size, 0);
});
