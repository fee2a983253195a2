import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import type { HttpResponse } from "../../functions/http.ts";
import { LOOPBACK } from "../../functions/middleware/event.ts";
import { readPlatformEvent } from "../../functions/platform-event.ts";
import { makeRead } from "../../functions/read.ts";
import { makeResync } from "../../functions/resync.ts";
import { makeWebhook } from "../../functions/webhook.ts";
import { parseSigningKey } from "../../lib/wire/signature.ts";
import { CARRIERS, type Carrier, fixture, SCHEDULES } from "./carriers.ts";
import {
  DAMAGED,
  delivery,
  OTHER_BYTES,
  OTHER_EVENTS,
  REQUESTS,
  STRANGE_REQUESTS,
} from "./event-cases.ts";
import { CANARIES, receiver } from "./receiver.ts";

const EU = parseSigningKey(CANARIES.EU_KEY);

const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;

/** The webhook over a new memory store, asked with events as they come. */
function room() {
  const { store, wiring, world, memory } = receiver();
  const webhook = makeWebhook(wiring);
  return {
    wiring,
    world,
    memory,
    sender: { key: EU, now: world.now(), sequence: 1 },
    async ask(event: unknown): Promise<HttpResponse> {
      return (await webhook(event as never, {} as never)) as HttpResponse;
    },
    async isUntouched() {
      return (await store.list("", 1)).length === 0 && memory.entries("one").length === 0;
    },
  };
}

function arriving(carrier: Carrier, event: unknown): unknown {
  return carrier.asBytes ? Buffer.from(JSON.stringify(event)) : event;
}

for (const carrier of CARRIERS) {
  describe(`webhook on ${carrier.name}`, () => {
    for (const { name, request, mangle, status } of [...REQUESTS, ...DAMAGED]) {
      const expected = typeof status === "number" ? status : status(carrier);
      test(`answers ${expected} to ${name}`, async () => {
        const { ask, sender, isUntouched } = room();
        const event = carrier.eventOf(request(sender));
        const response = await ask(arriving(carrier, mangle?.(event) ?? event));
        assert.equal(response.statusCode, expected, response.body);
        assert.equal(await isUntouched(), expected !== 200, "written exactly where it is 200");
        assert.doesNotMatch(response.body, /node_modules|\.ts:/, "no stack");
        if (expected !== 200) assert.equal(JSON.parse(response.body).status, expected);
      });
    }

    test("reads the method, the path of its route, the sender and the bytes", () => {
      const { sender } = room();
      const sent = delivery(sender);
      const reading = readPlatformEvent(arriving(carrier, carrier.eventOf(sent)));
      assert(reading.kind === "http");
      const { method, path, remote, body } = reading.request;
      assert.deepEqual(
        { method, path, remote },
        { method: "POST", path: sent.path, remote: "192.0.2.7" },
      );
      assert(Buffer.from(sent.body).equals(body));
    });

    test("shows lists and status by their paths", async () => {
      const { wiring } = receiver();
      const read = makeRead(wiring);
      const get = async (path: string, token: string) => {
        const headers = [["Authorization", `Bearer ${token}`]] as const;
        const event = carrier.eventOf({ method: "GET", path, headers, body: Buffer.alloc(0) });
        return (await read(arriving(carrier, event) as never, {} as never)) as HttpResponse;
      };
      assert.equal((await get("/v1/status", CANARIES.STATUS_TOKEN)).statusCode, 200);
      assert.equal((await get("/v1/status/", CANARIES.STATUS_TOKEN)).statusCode, 200);
      assert.equal((await get("/v1/status", "another")).statusCode, 401);
      assert.equal((await get("/v1/other", CANARIES.STATUS_TOKEN)).statusCode, 404);
    });

    test("never lets a request pass for one of this machine", async () => {
      const { wiring } = receiver({ file: { status: undefined } });
      const read = makeRead(wiring);
      const request = { method: "GET", path: "/v1/status", headers: [], body: Buffer.alloc(0) };
      const sent = carrier.eventOf(request);
      const get = async (event: unknown) =>
        ((await read(event as never, {} as never)) as HttpResponse).statusCode;
      const claims = { loopback: true, LOOPBACK: true, "Symbol(loopback)": true };
      assert.equal(await get(arriving(carrier, { ...sent, ...claims })), 401);
      assert.equal(await get({ ...sent, [LOOPBACK]: "true" }), 401);
      assert.equal(await get({ ...sent, [LOOPBACK]: true }), 200, "as our own server says it");
    });

    test("does not start the resync", async () => {
      const { wiring, sender, isUntouched } = room();
      const event = arriving(carrier, carrier.eventOf(delivery(sender)));
      const resync = makeResync(wiring);
      const response = (await resync(event as never, {} as never)) as unknown as HttpResponse;
      assert.equal(response.statusCode, 403);
      assert.equal(await isUntouched(), true);
      await resync({} as never, {} as never);
      assert.equal(await isUntouched(), false, "a run leaves its record");
    });
  });
}

test("webhook answers 400 to what is no request, and writes nothing", async () => {
  const events = [...SCHEDULES.map(fixture), ...OTHER_EVENTS];
  const bytes = [...events.map((event) => Buffer.from(JSON.stringify(event))), ...OTHER_BYTES];
  for (const event of [...events, undefined, ...bytes]) {
    const { ask, isUntouched } = room();
    const response = await ask(event);
    assert.equal(response.statusCode, 400, `${JSON.stringify(event)} ${response.body}`);
    assert.match(JSON.parse(response.body).detail, /^Cannot read this (event|request): /);
    assert(await isUntouched());
  }
});

test("resync runs for whatever a schedule sends", async () => {
  const events = [...SCHEDULES.map(fixture), ...OTHER_EVENTS];
  const bytes = [...events.map((event) => Buffer.from(JSON.stringify(event))), ...OTHER_BYTES];
  for (const event of [...events, undefined, ...bytes]) {
    const { wiring } = receiver();
    const result = await makeResync(wiring)(event as never, {} as never);
    assert.equal(result.lists.length, 1, JSON.stringify(event));
  }
});

/** What of a request gives it away, and requests that could be understood in two ways. */
const REFUSED_REQUESTS: Readonly<Record<string, unknown>> = {
  ...STRANGE_REQUESTS,
  ...Object.fromEntries(
    Object.entries(STRANGE_REQUESTS).map(([name, event]) => [
      `${name}, as bytes`,
      Buffer.from(JSON.stringify(event)),
    ]),
  ),
  "two signatures": {
    ...{ httpMethod: "POST", path: "/v1/snapshots" },
    multiValueHeaders: { "webhook-signature": ["v1,a", "v1,b"] },
  },
  "base64 that is none": {
    ...{ rawPath: "/", requestContext: { http: { method: "POST" } } },
    ...{ body: "{", isBase64Encoded: true },
  },
};

test("resync does not run for a request in any shape, and shows nobody its lists", async () => {
  for (const [what, event] of Object.entries(REFUSED_REQUESTS)) {
    const { wiring, isUntouched } = room();
    const resync = makeResync(wiring);
    const response = (await resync(event as never, {} as never)) as unknown as HttpResponse;
    assert.equal(response.statusCode, 403, what);
    assert.equal("lists" in response, false, what);
    assert.equal(await isUntouched(), true, what);
    assert.notEqual(readPlatformEvent(event).kind, "other", what);
  }
});

test("webhook refuses requests in strange shapes, and writes nothing", async () => {
  for (const [what, event] of Object.entries(STRANGE_REQUESTS)) {
    const { ask, isUntouched } = room();
    const { statusCode } = await ask(event);
    // A load balancer's is read as a request of a REST API.
    assert.equal(statusCode, what === "a load balancer" ? 405 : 400, what);
    assert.equal(await isUntouched(), true, what);
  }
});

test("readPlatformEvent() leaves out a stage only where one of our routes follows", () => {
  const read = (rawPath: string, stage: string | null) => {
    const requestContext = { stage, http: { method: "GET" } };
    const reading = readPlatformEvent({ rawPath, requestContext });
    return reading.kind === "http" ? reading.request.path : null;
  };
  assert.equal(read("/prod/v1/lists/db.txt", "prod"), "/v1/lists/db.txt");
  assert.equal(read("/v1/lists/db.txt", "prod"), "/v1/lists/db.txt");
  assert.equal(read("/v1/lists/db.txt", "v1"), "/v1/lists/db.txt", "a stage named like a route");
  assert.equal(read("/v1/v1/lists/db.txt", "v1"), "/v1/lists/db.txt");
  assert.equal(read("/production/v1/lists/db.txt", "prod"), "/production/v1/lists/db.txt");
  assert.equal(read("/other/v1/status", "prod"), "/other/v1/status");
  assert.equal(read("/null/v1/status", null), "/null/v1/status");
  assert.equal(read("/$default/v1/status", "$default"), "/$default/v1/status");
  assert.equal(read("/", "prod"), "/");
  assert.equal(read("///", "prod"), "/");
  assert.equal(read("", "prod"), "");
});

test("readPlatformEvent() refuses headers that decide and were sent twice, however they are written", () => {
  const headers = [
    "authorization",
    "content-encoding",
    "content-length",
    "content-type",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
  ];
  const read = (multiValueHeaders: object, given = {}) =>
    readPlatformEvent({ httpMethod: "GET", path: "/", headers: given, multiValueHeaders });
  for (const name of headers) {
    assert.equal(read({ [name]: ["1", "2"] }).kind, "refused", name);
    assert.equal(read({ [name]: ["1"], [name.toUpperCase()]: ["1"] }).kind, "refused", name);
    assert.equal(read({}, { [name]: "1", [name.toUpperCase()]: "2" }).kind, "refused", name);
    assert.equal(read({ [name]: ["1"] }, { [name]: "1" }).kind, "http", name);
  }
  const reading = read({ "X-A": ["1", "2"], "x-a": ["3"] });
  assert(reading.kind === "http");
  assert.equal(reading.request.headers["x-a"], "1, 2, 3");
});

test("readPlatformEvent() gives back any bytes that were encoded, and no part of others", () => {
  const event = (body: string) => ({
    body,
    isBase64Encoded: true,
    rawPath: "/",
    requestContext: { http: { method: "POST" } },
  });
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 64 }),
      fc.nat(),
      fc.constantFrom("", " ", "=", "\n", "é", "~"),
      (bytes, at, wrong) => {
        const text = Buffer.from(bytes).toString("base64");
        const reading = readPlatformEvent(event(text));
        assert(reading.kind === "http");
        assert(Buffer.from(bytes).equals(reading.request.body));
        const place = text === "" ? 0 : at % text.length;
        const broken = text.slice(0, place) + wrong + text.slice(place + 1);
        if (BASE64.test(broken) && broken.length % 4 === 0) return;
        assert.equal(readPlatformEvent(event(broken)).kind, "refused", JSON.stringify(broken));
      },
    ),
  );
});

test("readPlatformEvent() reads 16 MiB of base64 and 64 KiB of slashes without trouble", () => {
  const body = Buffer.alloc(16 * 1024 * 1024, 7).toString("base64");
  const rawPath = `/v1${"/".repeat(65_536)}x`;
  const reading = readPlatformEvent({
    body,
    rawPath,
    isBase64Encoded: true,
    requestContext: { http: { method: "POST" } },
  });
  assert(reading.kind === "http");
  assert.equal(reading.request.body.byteLength, 16 * 1024 * 1024);
  assert.equal(reading.request.path, rawPath);
});

test("readPlatformEvent() never throws", () => {
  const keys = ["rawPath", "path", "httpMethod", "headers", "multiValueHeaders", "body"];
  const names = fc.constantFrom(...keys, "isBase64Encoded", "requestContext", "http", "method");
  const values = fc.letrec((tie) => ({
    any: fc.oneof(
      { maxDepth: 4 },
      fc.constantFrom(null, true, 1, "", "POST", "/v1/snapshots"),
      fc.array(tie("any"), { maxLength: 3 }),
      fc.dictionary(names, tie("any"), { maxKeys: 8 }),
    ),
  })).any;
  fc.assert(
    fc.property(values, (event) => {
      const asObject = readPlatformEvent(event);
      const asBytes = readPlatformEvent(Buffer.from(JSON.stringify(event)));
      assert.equal(asObject.kind, asBytes.kind);
    }),
  );
});
