import assert from "node:assert/strict";
import { connect } from "node:net";
import { type TestContext, test } from "node:test";
import { gzipSync } from "node:zlib";
import { type FunctionHandler, type LocalServer, startServer } from "../../cli/server.ts";
import { DELIVERY_BYTES_MAX } from "../../lib/wire/protocol.ts";
import { makeWorld } from "../../lib/world.ts";
import { soon } from "./shell.ts";

interface SeenEvent {
  readonly rawPath: string;
  readonly rawQueryString: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly isBase64Encoded: boolean;
  readonly requestContext: {
    readonly http: { readonly method: string; readonly sourceIp: string };
  };
  readonly [LOOPBACK]?: boolean;
}

const LOOPBACK: unique symbol = Symbol("loopback of the tests");

/** A server over functions that answer at once, or as they are told. */
async function serving(
  t: TestContext,
  given: {
    host?: string;
    webhook?: FunctionHandler;
    feed?: FunctionHandler;
    /** Instead of the 30 s that an answer may take to be read. */
    alarm?: (signal?: AbortSignal) => Promise<void>;
  } = {},
) {
  const events: SeenEvent[] = [];
  const lefts: number[] = [];
  const lines: string[] = [];
  const say = (_fields: unknown, message: string) => void lines.push(message);
  const whispers: string[] = [];
  const whisper = (_fields: unknown, message: string) => void whispers.push(message);
  const log = { debug: whisper, info: say, warn: say, error: say, audit: () => undefined };
  const world = makeWorld(log);
  const ok: FunctionHandler = async (event, context) => {
    events.push(event as SeenEvent);
    lefts.push((context as { getRemainingTimeInMillis(): number }).getRemainingTimeInMillis());
    return { statusCode: 200, headers: { "x-function": "ran" }, body: "done" };
  };
  const server = await startServer({
    functions: { feed: given.feed ?? ok, status: ok, webhook: given.webhook ?? ok },
    host: given.host ?? "127.0.0.1",
    port: 0,
    world: {
      ...world,
      sleep: (ms, signal) =>
        ms === 30_000 && given.alarm ? given.alarm(signal) : world.sleep(ms, signal),
    },
    loopbackKey: LOOPBACK,
  });
  t.after(() => server.close());
  return { server, events, lefts, lines, whispers };
}

function portOf({ url }: LocalServer): number {
  return Number(new URL(url).port);
}

const post = (url: string, body: string | Uint8Array<ArrayBuffer>, headers = {}) =>
  fetch(`${url}/v1/snapshots`, { method: "POST", body, headers });

test("startServer() hands the webhook the bytes as they were on the wire", async (t) => {
  const { server, events, lefts } = await serving(t);
  const body = gzipSync(Buffer.from([0, 255, 128, 10, 13]));
  const response = await fetch(`${server.url}/v1/snapshots?a=1`, {
    method: "POST",
    body,
    headers: { "content-type": "application/x", "content-encoding": "gzip", "X-Mixed": "Case" },
  });
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("x-function"), "ran");
  assert.equal(await response.text(), "done");
  const [event] = events;
  assert(event !== undefined);
  assert.equal(event.rawPath, "/v1/snapshots");
  assert.equal(event.rawQueryString, "a=1");
  assert.equal(event.headers["x-mixed"], "Case");
  assert.equal(event.headers["content-encoding"], "gzip");
  assert.equal(event.requestContext.http.method, "POST");
  assert.equal(event.requestContext.http.sourceIp, "127.0.0.1");
  assert.equal(event.isBase64Encoded, true);
  assert.deepEqual(Buffer.from(event.body, "base64"), body);
  // 25 s, and what the functions keep for their answer.
  assert((lefts[0] ?? 0) > 27_000 && (lefts[0] ?? 0) <= 28_000);
});

test("startServer() knows its routes and says which methods they take", async (t) => {
  const { server } = await serving(t);
  const cases = [
    ["GET", "/healthz", 200, null],
    ["HEAD", "/healthz", 200, null],
    ["POST", "/healthz", 405, "GET, HEAD"],
    ["GET", "/v1/snapshots", 405, "POST"],
    ["GET", "/v1/status?x", 200, null],
    ["DELETE", "/v1/status", 405, "GET"],
    ["GET", "/", 404, null],
    ["GET", "/v1/status/", 404, null],
    ["GET", "/v1/lists/a.txt", 200, null],
    ["GET", "/v1/lists", 404, null],
  ] as const;
  for (const [method, path, status, allow] of cases) {
    const response = await fetch(server.url + path, { method });
    const text = await response.text();
    assert.equal(response.status, status, `${method} ${path}`);
    assert.equal(response.headers.get("allow"), allow, `${method} ${path}`);
    if (status < 400) continue;
    assert.equal(response.headers.get("content-type"), "application/problem+json");
    const document = JSON.parse(text);
    assert.equal(document.status, status);
    assert.match(document.detail, /^Cannot /);
  }
});

test("startServer() marks an event as local only on loopback, and never behind a proxy", async (t) => {
  const { server, events } = await serving(t);
  const isLocal = async (headers: Readonly<Record<string, string>>) => {
    await raw(portOf(server), `GET /v1/status HTTP/1.1\r\n${lines(headers)}\r\n`);
    return events.at(-1)?.[LOOPBACK] === true;
  };
  assert.equal(await isLocal({ host: `127.0.0.1:${portOf(server)}` }), true);
  assert.equal(await isLocal({ host: "localhost" }), true);
  assert.equal(await isLocal({ host: "[::1]:80" }), true);
  assert.equal(await isLocal({ host: "rebound.example" }), false);
  assert.equal(await isLocal({ host: "127.0.0.1.example" }), false);
  assert.equal(await isLocal({ host: "127.0.0.1", "x-forwarded-for": "192.0.2.1" }), false);
  assert.equal(await isLocal({ host: "127.0.0.1", Forwarded: "for=192.0.2.1" }), false);
  const open = await serving(t, { host: "0.0.0.0" });
  await raw(portOf(open.server), "GET /v1/status HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
  assert.equal(open.events.length, 1);
  assert.equal(open.events[0]?.[LOOPBACK], undefined);
});

test("startServer() refuses a body by its declared length before it is sent", async (t) => {
  const { server, events } = await serving(t);
  const length = DELIVERY_BYTES_MAX + 1;
  const answer = await raw(
    portOf(server),
    `POST /v1/snapshots HTTP/1.1\r\nhost: a\r\ncontent-length: ${length}\r\n\r\n`,
  );
  assert.match(answer, /^HTTP\/1\.1 413 /);
  assert.match(answer, /connection: close/i);
  assert.match(answer, /problems\/too-large/);
  assert.equal(events.length, 0);
});

test("startServer() refuses a body without a length as soon as it is too long, and closes", async (t) => {
  const { server, events } = await serving(t);
  let sent = 0;
  const answer = await raw(
    portOf(server),
    "POST /v1/snapshots HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n",
    (write) => {
      const chunk = Buffer.alloc(1_048_576, 97);
      while (sent < 64 && write(`100000\r\n${chunk.toString()}\r\n`)) sent += 1;
    },
  );
  assert.match(answer, /^HTTP\/1\.1 413 /);
  assert.equal(events.length, 0);
  const next = await post(server.url, "small");
  assert.equal(next.status, 200, "others go on");
  await next.text();
});

test("startServer() lets a sender that reads only at its end hear the refusal", async (t) => {
  const { server } = await serving(t);
  const socket = connect(portOf(server), "127.0.0.1");
  t.after(() => socket.destroy());
  const chunk = "a".repeat(0x100000);
  const body = Array.from({ length: 12 }, () => `100000\r\n${chunk}\r\n`).join("");
  const head = "POST /v1/snapshots HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
  await new Promise<void>((resolve, reject) => {
    socket.once("error", reject);
    socket.write(`${head}${body}0\r\n\r\n`, (error) => (error ? reject(error) : resolve()));
  });
  const answer = await new Promise<string>((resolve, reject) => {
    socket.once("error", reject);
    socket.setEncoding("utf8").once("data", resolve);
  });
  assert.match(answer, /^HTTP\/1\.1 413 /);
});

test("startServer() takes a body of the greatest length", async (t) => {
  const { server, events } = await serving(t);
  const response = await post(server.url, Buffer.alloc(DELIVERY_BYTES_MAX, 97));
  assert.equal(response.status, 200);
  await response.text();
  assert.equal(Buffer.from(events[0]?.body ?? "", "base64").byteLength, DELIVERY_BYTES_MAX);
});

test("startServer() bounds what all bodies hold together", async (t) => {
  let release = () => {};
  const gate = new Promise<void>((resolve) => {
    release = resolve;
  });
  const held: unknown[] = [];
  const webhook: FunctionHandler = async (event) => {
    held.push(event);
    await gate;
    return { statusCode: 200, headers: {}, body: "" };
  };
  const { server } = await serving(t, { webhook });
  const body = Buffer.alloc(DELIVERY_BYTES_MAX, 97);
  const first = Array.from({ length: 16 }, () => post(server.url, body));
  await soon("sixteen are worked on", () => held.length === 16);
  const refused = await post(server.url, Buffer.alloc(1_000, 97));
  assert.equal(refused.status, 503);
  assert.equal(refused.headers.get("retry-after"), "5");
  await refused.text();
  release();
  for (const response of await Promise.all(first)) {
    assert.equal(response.status, 200);
    await response.text();
  }
  const after = await post(server.url, body);
  assert.equal(after.status, 200, "what was let go is free again");
  await after.text();
});

test("close() answers what is in flight, takes nothing new and leaves nothing running", async (t) => {
  let release = () => {};
  const gate = new Promise<void>((resolve) => {
    release = resolve;
  });
  let running = 0;
  const webhook: FunctionHandler = async () => {
    running += 1;
    await gate;
    running -= 1;
    return { statusCode: 200, headers: {}, body: "finished" };
  };
  const { server } = await serving(t, { webhook });
  const idle = connect(portOf(server), "127.0.0.1");
  const dropped = new Promise((resolve) => idle.once("close", resolve));
  const answer = post(server.url, "x");
  await soon("the function runs", () => running === 1);
  let isClosed = false;
  const closing = server.close().then(() => {
    isClosed = true;
  });
  await assert.rejects(fetch(`${server.url}/healthz`));
  assert.equal(isClosed, false);
  release();
  const response = await answer;
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("connection"), "close");
  assert.equal(await response.text(), "finished");
  await closing;
  assert.equal(running, 0);
  await dropped;
});

test("close() turns away a request whose body comes too late", async (t) => {
  const { server, events } = await serving(t);
  const socket = connect(portOf(server), "127.0.0.1");
  let answer = "";
  socket.setEncoding("utf8").on("data", (text) => {
    answer += text;
  });
  socket.write("POST /v1/snapshots HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nab");
  // The request is under way as soon as a second one, sent later, was answered.
  await (await fetch(`${server.url}/healthz`)).text();
  const closing = server.close();
  socket.write("cd");
  await closing;
  await soon("the answer is whole", () => answer.includes("problems/unavailable"));
  assert.match(answer, /^HTTP\/1\.1 503 /);
  assert.match(answer, /retry-after: 5/i);
  assert.equal(events.length, 0);
  socket.destroy();
});

test("startServer() survives senders that hang up and functions that throw", async (t) => {
  const { server, lines: logged } = await serving(t, {
    webhook: async () => {
      throw new Error("a bug with a secret stack");
    },
  });
  const socket = connect(portOf(server), "127.0.0.1");
  socket.write("POST /v1/snapshots HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nab");
  await (await fetch(`${server.url}/healthz`)).text();
  socket.destroy();
  await assert.rejects(post(server.url, "x"), "nothing is shown of it");
  const health = await fetch(`${server.url}/healthz`);
  assert.equal(health.status, 200);
  await health.text();
  assert.deepEqual(logged, ["Cannot answer a request"]);
});

test("startServer() rejects with the system's code where it cannot listen", async (t) => {
  const { server } = await serving(t);
  await assert.rejects(
    startServer({
      functions: { feed: async () => null, status: async () => null, webhook: async () => null },
      host: "127.0.0.1",
      port: portOf(server),
      world: makeWorld({
        debug: () => undefined,
        info: () => undefined,
        warn: () => undefined,
        error: () => undefined,
        audit: () => undefined,
      }),
      loopbackKey: LOOPBACK,
    }),
    { code: "EADDRINUSE" },
  );
});

test("startServer() hands the feed whatever is below /v1/lists, to GET and HEAD only", async (t) => {
  const { server, events } = await serving(t);
  for (const method of ["GET", "HEAD"]) {
    assert.equal((await fetch(`${server.url}/v1/lists/db.txt`, { method })).status, 200);
  }
  const posted = await fetch(`${server.url}/v1/lists/db.txt`, { method: "POST", body: "x" });
  assert.equal(posted.status, 405);
  assert.equal(posted.headers.get("allow"), "GET, HEAD");
  assert.deepEqual(
    events.map((event) => `${event.requestContext.http.method} ${event.rawPath}`),
    ["GET /v1/lists/db.txt", "HEAD /v1/lists/db.txt"],
  );
});

test("startServer() hangs up on whoever reads an answer too slowly, and on nobody else", async (t) => {
  const body = "x".repeat(16_000_000);
  const feed: FunctionHandler = async () => ({ statusCode: 200, headers: {}, body });
  const rings: (() => void)[] = [];
  const alarm = (signal?: AbortSignal) =>
    new Promise<void>((resolve, reject) => {
      rings.push(resolve);
      signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
    });
  const { server, lines, whispers } = await serving(t, { feed, alarm });
  const quick = await fetch(`${server.url}/v1/lists/db.txt`);
  assert.equal((await quick.text()).length, body.length);
  const socket = connect(portOf(server), "127.0.0.1");
  const closed = new Promise((resolve) => socket.once("close", resolve));
  socket.on("error", () => undefined);
  try {
    socket.pause();
    socket.write("GET /v1/lists/db.txt HTTP/1.1\r\nhost: x\r\n\r\n");
    await soon("the answer is on its way", () => rings.length >= 2);
    for (const ring of rings) ring();
    await soon("the reader is left", () => whispers.length >= 1);
    let read = 0;
    socket.on("data", (chunk: Buffer) => {
      read += chunk.byteLength;
    });
    socket.resume();
    await closed;
    assert(read < body.length, `${read} bytes came`);
    assert.deepEqual(lines, [], "a slow reader is no news");
  } finally {
    // The server waits for its readers before it closes, also where the test fails.
    for (const ring of rings) ring();
    socket.destroy();
  }
});

test("startServer() shows 32 feeds at once, and takes deliveries beside them", async (t) => {
  const release = { now: () => {} };
  const released = new Promise<void>((resolve) => {
    release.now = resolve;
  });
  // Also where the test fails: the server waits for its functions.
  t.after(() => release.now());
  let shown = 0;
  const feed: FunctionHandler = async () => {
    shown += 1;
    await released;
    return { statusCode: 200, headers: {}, body: "done" };
  };
  const { server } = await serving(t, { feed });
  const get = async () => {
    const signal = AbortSignal.timeout(5_000);
    const response = await fetch(`${server.url}/v1/lists/db.txt`, { signal });
    return { status: response.status, after: response.headers.get("retry-after") };
  };
  const first = Array.from({ length: 32 }, get);
  await soon("32 feeds are asked for", () => shown === 32);
  assert.deepEqual(await get(), { status: 503, after: "5" });
  assert.equal((await post(server.url, "x")).status, 200);
  release.now();
  for (const one of await Promise.all(first)) assert.equal(one.status, 200);
  assert.equal((await get()).status, 200);
});

test("startServer() tells a HEAD the length that a GET would bring, and a 304 none", async (t) => {
  const feed: FunctionHandler = async (event) => {
    const isKnown = (event as SeenEvent).headers["if-none-match"] !== undefined;
    return isKnown
      ? { statusCode: 304, headers: { etag: '"1"' }, body: "" }
      : { statusCode: 200, headers: { "content-length": "4711" }, body: "" };
  };
  const { server } = await serving(t, { feed });
  const url = `${server.url}/v1/lists/db.txt`;
  const head = await fetch(url, { method: "HEAD" });
  assert.equal(head.headers.get("content-length"), "4711");
  const known = await fetch(url, { headers: { "if-none-match": '"1"' } });
  assert.equal(known.status, 304);
  assert.equal(known.headers.get("content-length"), null);
  assert.equal(known.headers.get("etag"), '"1"');
});

function lines(headers: Readonly<Record<string, string>>): string {
  return Object.entries(headers)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join("");
}

/** Sends bytes and resolves with what came back until the other side closed, or a whole answer. */
function raw(
  port: number,
  text: string,
  pump: (write: (more: string) => boolean) => void = () => undefined,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1");
    let answer = "";
    const done = () => {
      socket.destroy();
      resolve(answer);
    };
    socket.setEncoding("utf8");
    socket.on("data", (chunk) => {
      answer += chunk;
      const [head = "", body] = answer.split("\r\n\r\n", 2);
      const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? Number.NaN);
      if (body !== undefined && Buffer.byteLength(body) >= length) done();
    });
    socket.on("end", done);
    socket.on("error", (error) => (answer === "" ? reject(error) : done()));
    const write = (more: string) => socket.write(more);
    socket.on("drain", () => pump(write));
    write(text);
    pump(write);
  });
}
