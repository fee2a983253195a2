import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { ObjectFault, ObjectRequest } from "../../cli/embedded/object-storage.ts";
import { type Log, openLog } from "../../lib/stores/log.ts";
import { type Store, StoreError } from "../../lib/stores/store.ts";
import { bucketWorld, KEYS, listening, type Vendor, vendors } from "./buckets.ts";
import { testStore } from "./conformance.ts";

const START = Date.parse("2026-11-20T21:00:00.400Z");
const HOUR_MS = 3_600_000;
const TIMEOUT = { timeout: 60_000 };

for (const vendor of vendors) {
  testStore({
    name: `${vendor.name}Store() over HTTP`,
    stepMs: 1_000,
    make: async (context) => {
      let now = START;
      const { endpoint } = await listening(context, vendor, { now: () => now });
      const world = bucketWorld(() => now);
      return {
        open: () => vendor.store({ endpoint, world, prefix: "some/where/" }),
        pass: async (ms) => {
          now += ms;
        },
      };
    },
  });
  testRequests(vendor);
  testFaults(vendor);
}

interface Room {
  readonly store: Store;
  readonly objects: Map<string, { readonly body: string; readonly modifiedAt: number }>;
  /** Since the last time this was read. */
  requests(): readonly string[];
  /** What happens to the next requests, one after the other; then nothing. */
  fail(...faults: readonly (ObjectFault | null)[]): void;
  readonly clock: { ours: number; theirs: number };
  readonly world: ReturnType<typeof bucketWorld>;
  readonly endpoint: string;
}

interface RoomOptions {
  readonly pageKeysMax?: number;
  readonly versioning?: () => "" | "Enabled" | "Suspended";
  readonly overwrites?: boolean;
  /** Has the one thing been asked that a store asks once? */
  readonly isWarm?: boolean;
}

async function room(
  context: TestContext,
  vendor: Vendor,
  { isWarm = true, ...options }: RoomOptions = {},
): Promise<Room> {
  const clock = { ours: START, theirs: START };
  const faults: (ObjectFault | null)[] = [];
  const fault = (_: ObjectRequest) => faults.shift() ?? null;
  const settings = { ...options, fault, now: () => clock.theirs };
  const { endpoint, objects, requests } = await listening(context, vendor, settings);
  const world = bucketWorld(() => clock.ours);
  const store = vendor.store({ endpoint, world });
  if (isWarm) {
    await store.put("v1/warm", "");
    objects.clear();
    requests.length = 0;
  }
  return {
    store,
    objects,
    requests: () => requests.splice(0),
    fail: (...given) => faults.push(...given),
    clock,
    world,
    endpoint,
  };
}

/** Somebody in between, who answers by a clock that is ahead by so much. */
function dated(world: Room["world"], aheadMs: () => number): Room["world"] {
  const fetch: typeof globalThis.fetch = async (input, init) => {
    const answer = await world.fetch(input, init);
    const headers = new Headers(answer.headers);
    const date = Date.parse(headers.get("date") ?? "") + aheadMs();
    headers.set("date", new Date(date).toUTCString());
    return new Response(answer.body, { status: answer.status, headers });
  };
  return { ...world, fetch };
}

function refused(message: RegExp, isFinal?: boolean) {
  return (error: unknown) => {
    assert.ok(error instanceof StoreError, String(error));
    assert.match(error.message, message);
    if (isFinal !== undefined) assert.equal(error.isFinal, isFinal, error.message);
    for (const secret of Object.values(KEYS)) {
      if (secret.startsWith("canary")) assert.ok(!inspect(error).includes(secret));
    }
    return true;
  };
}

function inspect(error: Error): string {
  return `${error.stack} ${JSON.stringify(error)} ${JSON.stringify(error.cause)}`;
}

function testRequests(vendor: Vendor): void {
  const name = `${vendor.name}Store()`;

  test(
    `${name} makes one request a verb, and two more for its first write through an own endpoint`,
    TIMEOUT,
    async (context) => {
      const { store, requests } = await room(context, vendor, { isWarm: false });
      await store.list("v1/", 1);
      await store.get("v1/a");
      assert.deepEqual(requests(), ["list", "get v1/a"]);
      await store.put("v1/a", "body");
      const first = {
        s3: ["put v1/a", "put v1/a", "list"],
        oss: ["versioning", "put v1/a", "list"],
      };
      assert.deepEqual(requests(), first[vendor.name]);
      assert.equal(await store.put("v1/a", "body"), "exists");
      await store.put("v1/b", "body");
      await store.get("v1/b");
      await store.list("v1/", 1);
      await store.delete("v1/b");
      assert.deepEqual(requests(), ["put v1/a", "put v1/b", "get v1/b", "list", "delete v1/b"]);
    },
  );

  test(
    `${name} lists through pages, and passes over what is no key of its own`,
    TIMEOUT,
    async (context) => {
      const { store, objects } = await room(context, vendor, { pageKeysMax: 3 });
      const strange = [
        "v1/",
        "v1/.hidden",
        "v1/A",
        "v1/a b",
        "v1/a&<b>",
        "v1/a\u0001",
        "v1/é",
        "v1//x",
      ];
      const keys = Array.from({ length: 20 }, (_, at) => `v1/${100 + at}`);
      for (const key of [...strange, ...keys]) objects.set(key, { body: "", modifiedAt: START });
      const listed = async (limit: number) =>
        (await store.list("v1/", limit)).map(({ key }) => key);
      assert.deepEqual(await listed(1_000), keys);
      for (const limit of [1, 2, 7, 19, 20])
        assert.deepEqual(await listed(limit), keys.slice(0, limit));
    },
  );

  test(
    `${name} asks once for the newest object below a folder that a console made`,
    TIMEOUT,
    async (context) => {
      const { store, objects, requests } = await room(context, vendor);
      for (const key of ["v1/a/", "v1/a/1", "v1/a/2"])
        objects.set(key, { body: "", modifiedAt: START });
      assert.deepEqual(
        (await store.list("v1/a/", 1)).map(({ key }) => key),
        ["v1/a/1"],
      );
      assert.deepEqual(requests(), ["list"]);
    },
  );

  test(
    `${name} judges ages by the storage's clock, and never makes one older than it is`,
    TIMEOUT,
    async (context) => {
      const { store, objects, clock } = await room(context, vendor);
      for (const apart of [0, 400, 999]) {
        objects.clear();
        objects.set("v1/a", { body: "", modifiedAt: START + apart });
        clock.theirs = START + apart + 61_500;
        clock.ours = clock.theirs - 10 * 60_000;
        const [found] = await store.list("v1/", 1);
        assert.ok(
          found !== undefined && found.ageMs <= 61_500 && found.ageMs >= 59_500,
          `${found?.ageMs}`,
        );
      }
    },
  );

  test(
    `${name} works with a clock that is hours behind or ahead of the storage's`,
    TIMEOUT,
    async (context) => {
      const { store, clock, requests } = await room(context, vendor);
      for (const hours of [-7, 9]) {
        clock.ours = clock.theirs + hours * HOUR_MS;
        assert.equal(await store.put(`v1/${hours}`, "body"), "created");
        assert.equal(requests().length, 2, "refused once, and then the storage's time is known");
        assert.equal(await store.get(`v1/${hours}`), "body");
        assert.equal((await store.list("v1/", 1))[0]?.ageMs, 0);
        assert.equal(requests().length, 2);
      }
    },
  );

  test(
    `${name} writes nothing where whoever answers has a clock that is ahead of the storage's`,
    TIMEOUT,
    async (context) => {
      const { endpoint, world, clock, requests } = await room(context, vendor);
      let aheadMs = 120_000;
      const proxied = vendor.store({ endpoint, world: dated(world, () => aheadMs) });
      const wayOut = /makes objects older than they are.*set the clock of the proxy before it/;
      await assert.rejects(logOver(proxied).append(0, { text: "own" }), refused(wayOut, true));
      requests();
      await assert.rejects(logOver(proxied).append(1, { text: "own" }), refused(wayOut, true));
      assert.deepEqual(requests(), []);
      assert.equal((await logOver(proxied).newest())?.body.text, "own", "reading goes on");
      aheadMs = 4_000;
      clock.ours += 60_000;
      clock.theirs += 60_000;
      await assert.rejects(logOver(proxied).append(1, { text: "own" }), refused(wayOut, true));
      aheadMs = 0;
      clock.ours += 60_000;
      clock.theirs += 60_000;
      assert.notEqual(await logOver(proxied).append(2, { text: "right again" }), "exists");
      requests();
      await logOver(proxied).append(3, { text: "proven" });
      assert.equal(requests().length, 1);
    },
  );

  test(
    `${name} takes an object for as old as its own slow write made it`,
    TIMEOUT,
    async (context) => {
      const { endpoint, world, clock } = await room(context, vendor);
      const fetch: typeof globalThis.fetch = async (input, init) => {
        const answer = await world.fetch(input, init);
        if (init?.method === "PUT") {
          clock.ours += 4_000;
          clock.theirs += 4_000;
        }
        return answer;
      };
      const frozen = { ...world, fetch, monotonic: () => 0 };
      const store = vendor.store({ endpoint, world: frozen });
      assert.equal(await store.put("v1/a", "body"), "created");
    },
  );

  test(`${name} says in one sentence what is wrong, and what to do`, TIMEOUT, async (context) => {
    const { endpoint, world, clock, store, fail } = await room(context, vendor);
    const open = (given: object) => vendor.store({ endpoint, world, ...given });
    const place = `Cannot read "v1/a" in ${vendor.name}://`;
    const elsewhere = open({ bucket: "another-bucket" });
    await assert.rejects(
      elsewhere.get("v1/a"),
      refused(
        /^Cannot read "v1\/a" in .*NoSuchBucket.*create the bucket, or correct store.bucket$/,
        true,
      ),
    );
    const stranger = open({
      env: { ...KEYS, AWS_ACCESS_KEY_ID: "other", ALIBABA_CLOUD_ACCESS_KEY_ID: "other" },
    });
    await assert.rejects(stranger.get("v1/a"), (error: Error) => error.message.startsWith(place));
    await assert.rejects(stranger.list("v1/", 1), refused(/InvalidAccessKeyId, HTTP 403/));
    fail({ kind: "refuse", done: false, status: 403, code: "AccessDenied" });
    await assert.rejects(
      store.get("v1/a"),
      refused(/grant (s3|oss):GetObject there to whom/, true),
    );
    fail({ kind: "refuse", done: false, status: 503, code: "SlowDown" });
    await assert.rejects(store.put("v1/a", "body"), refused(/SlowDown.*asked too often/, false));
    assert.equal(clock.ours, START);
  });

  test(`${name} ends a call as soon as its signal aborts`, TIMEOUT, async (context) => {
    const { store, fail } = await room(context, vendor);
    for (const verb of [
      (signal: AbortSignal) => store.put("v1/a", "body", signal),
      (signal: AbortSignal) => store.get("v1/a", signal),
      (signal: AbortSignal) => store.list("v1/", 1, signal),
      (signal: AbortSignal) => store.delete("v1/a", signal),
    ]) {
      fail({ kind: "hang", done: false });
      const given = new AbortController();
      setTimeout(() => given.abort(new Error("enough")), 20);
      await assert.rejects(verb(given.signal), refused(/ended in AbortError; it is asked again/));
    }
  });
}

/** Everything that leaves open whether a request was carried out. */
const AMBIGUOUS: readonly ObjectFault[] = [
  { kind: "cut", done: true },
  { kind: "cut", done: false },
  { kind: "refuse", done: true, status: 500, code: "InternalError" },
  { kind: "refuse", done: false, status: 500, code: "InternalError" },
  { kind: "refuse", done: true, status: 503, code: "SlowDown" },
  { kind: "refuse", done: false, status: 503, code: "ServiceUnavailable" },
];

function logOver(store: Store): Log<{ readonly text: string }> {
  return openLog({
    store,
    prefix: "",
    installation: "acme",
    kind: "clusters",
    name: "eu",
    parse: (stored) => stored as { text: string },
    world: { random: Math.random },
  });
}

function testFaults(vendor: Vendor): void {
  const name = `${vendor.name}Store()`;

  test(
    `${name} rejects what was not answered, and the log finds out whether it was done`,
    TIMEOUT,
    async (context) => {
      const { store, fail, objects } = await room(context, vendor);
      for (const fault of AMBIGUOUS) {
        objects.clear();
        fail(fault);
        await assert.rejects(store.put("v1/a", "body"), refused(/./, false));
        assert.equal(objects.size, "done" in fault && fault.done ? 1 : 0);
        objects.clear();
        const log = logOver(store);
        fail(fault);
        const appended = log.append(0, { text: "own" });
        if ("done" in fault && fault.done) assert.notEqual(await appended, "exists");
        else await assert.rejects(appended, StoreError);
        const again = await log.newest();
        assert.equal(again?.body.text, "done" in fault && fault.done ? "own" : undefined);
      }
    },
  );

  test(
    `${name} leaves to the log whose write was there when an answer got lost`,
    TIMEOUT,
    async (context) => {
      const { store, fail } = await room(context, vendor);
      const other = logOver(store);
      await other.append(0, { text: "other" });
      for (const fault of AMBIGUOUS) {
        fail(fault);
        assert.equal(await logOver(store).append(0, { text: "own" }), "exists");
        assert.equal((await other.newest())?.body.text, "other");
      }
    },
  );

  test(
    `${name} never takes a failure for an absent object, or half a list for a list`,
    TIMEOUT,
    async (context) => {
      const { store, fail, objects } = await room(context, vendor, { pageKeysMax: 2 });
      for (const key of ["v1/1", "v1/2", "v1/3"])
        objects.set(key, { body: "12345678", modifiedAt: START });
      const odd: readonly ObjectFault[] = [
        ...AMBIGUOUS,
        { kind: "shorten" },
        { kind: "refuse", done: false, status: 404, code: "NoSuchBucket" },
        { kind: "refuse", done: false, status: 404, code: "<>" },
        { kind: "refuse", done: false, status: 301, code: "PermanentRedirect" },
        { kind: "refuse", done: false, status: 429, code: "TooManyRequests" },
      ];
      for (const fault of odd) {
        fail(fault);
        await assert.rejects(store.get("v1/1"), refused(/^Cannot read/));
        for (const before of [[], [null]]) {
          fail(...before, fault);
          await assert.rejects(store.list("v1/", 3), refused(/^Cannot list/));
        }
      }
      for (const kind of ["garble", "undated"] as const) {
        fail({ kind });
        await assert.rejects(store.list("v1/", 3), refused(/UnreadableAnswer/));
      }
      assert.equal(await store.get("v1/1"), "12345678");
      assert.equal((await store.list("v1/", 3)).length, 3);
    },
  );

  test(`${name} deletes what it can, and says when it does not know`, TIMEOUT, async (context) => {
    const { store, fail, objects } = await room(context, vendor);
    for (const fault of AMBIGUOUS) {
      objects.set("v1/a", { body: "", modifiedAt: START });
      fail(fault);
      await assert.rejects(store.delete("v1/a"), refused(/^Cannot delete/));
      await store.delete("v1/a");
      assert.equal(objects.size, 0);
    }
    fail({ kind: "refuse", done: false, status: 404, code: "NoSuchBucket" });
    await assert.rejects(store.delete("v1/a"), refused(/NoSuchBucket/, true));
  });
}

const [s3, oss] = vendors as [Vendor, Vendor];

const CONFLICT: ObjectFault = {
  kind: "refuse",
  done: false,
  status: 409,
  code: "ConditionalRequestConflict",
};

test(
  "s3Store() tries again when somebody else is writing to the key, five times in all",
  TIMEOUT,
  async (context) => {
    const { store, fail, objects, requests } = await room(context, s3);
    fail(CONFLICT, CONFLICT);
    assert.equal(await store.put("v1/a", "body"), "created");
    assert.equal(requests().length, 3);
    fail(CONFLICT);
    assert.equal(await store.put("v1/a", "other"), "exists");
    assert.equal(objects.get("v1/a")?.body, "body");
    requests();
    fail(CONFLICT, CONFLICT, CONFLICT, CONFLICT, CONFLICT);
    await assert.rejects(
      store.put("v1/b", "body"),
      refused(/ConditionalRequestConflict, HTTP 409/),
    );
    assert.equal(requests().length, 5);
    assert.equal(objects.has("v1/b"), false);
  },
);

test("s3Store() takes a conflict of another kind for what it is", TIMEOUT, async (context) => {
  const { store, fail, requests } = await room(context, s3);
  fail({ kind: "refuse", done: false, status: 409, code: "BucketAlreadyExists" });
  await assert.rejects(store.put("v1/a", "body"), refused(/BucketAlreadyExists/));
  assert.equal(requests().length, 1);
});

test(
  "s3Store() writes nothing more to a storage that overwrites, and no log takes it for " +
    "success",
  TIMEOUT,
  async (context) => {
    const { store, requests } = await room(context, s3, { overwrites: true, isWarm: false });
    const log = logOver(store);
    const wayOut = /this endpoint overwrites what exists.*use a store that knows If-None-Match/;
    await assert.rejects(log.append(0, { text: "own" }), refused(wayOut, true));
    requests();
    await assert.rejects(log.append(1, { text: "own" }), refused(wayOut, true));
    assert.deepEqual(requests(), []);
  },
);

test(
  "ossStore() refuses a bucket that has or had versions before its first write, and reads " + "on",
  TIMEOUT,
  async (context) => {
    for (const status of ["Enabled", "Suspended"] as const) {
      const options = { versioning: () => status, isWarm: false };
      const { store, objects } = await room(context, oss, options);
      const wayOut =
        /OSS overwrites objects in a bucket that has versions.*use a new bucket without$/;
      for (const _ of [1, 2])
        await assert.rejects(store.put("v1/a", "body"), refused(wayOut, true));
      assert.equal(objects.size, 0);
      objects.set("v1/a", { body: "body", modifiedAt: START });
      assert.equal(await store.get("v1/a"), "body");
      assert.equal((await store.list("v1/", 1)).length, 1);
    }
  },
);

test(
  "ossStore() that may not see whether there are versions writes nothing, and names the " +
    "permission",
  TIMEOUT,
  async (context) => {
    const { store, fail, objects } = await room(context, oss, { isWarm: false });
    fail({ kind: "refuse", done: false, status: 403, code: "AccessDenied" });
    await assert.rejects(store.put("v1/a", "body"), refused(/grant oss:GetBucketVersioning/, true));
    for (const fault of [...AMBIGUOUS, { kind: "garble" } as const, { kind: "shorten" } as const]) {
      fail(fault);
      await assert.rejects(store.put("v1/a", "body"), StoreError);
    }
    assert.equal(objects.size, 0);
    assert.equal(await store.put("v1/a", "body"), "created", "what passes is asked again");
  },
);

test(
  "ossStore() notices versions that are switched on later, at its first write to them",
  TIMEOUT,
  async (context) => {
    let status: "" | "Enabled" = "";
    const { store } = await room(context, oss, { versioning: () => status });
    const log = logOver(store);
    await log.append(0, { text: "own" });
    status = "Enabled";
    await assert.rejects(log.append(0, { text: "late" }), refused(/has versions/, true));
    await assert.rejects(
      log.append(1, { text: "later" }),
      refused(/GetBucketVersioning.*has versions/, true),
    );
  },
);

test("ossStore() takes a 409 for a taken key only when OSS says so", TIMEOUT, async (context) => {
  const { store, fail } = await room(context, oss);
  fail({ kind: "refuse", done: false, status: 409, code: "FileImmutable" });
  await assert.rejects(store.put("v1/a", "body"), refused(/FileImmutable/));
});
