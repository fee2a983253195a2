import assert from "node:assert/strict";
import { request } from "node:http";
import { connect } from "node:net";
import { type TestContext, test } from "node:test";
import { openProbes } from "../../forwarder/probes.ts";
import type { Truth } from "../../forwarder/truth.ts";
import type { Listening } from "../../forwarder/variables.ts";
import { manualWorld } from "./clock.ts";

const MINUTE_MS = 60_000;
const LIMIT = { timeout: 20_000 };
const LOOPBACK: Listening = { host: "127.0.0.1", port: 0 };

async function stageOf(t: TestContext, listen: Listening = LOOPBACK) {
  const world = manualWorld();
  const state: { truth: Truth | null; text: string | Error; renders: number } = {
    truth: null,
    text: "a 1\n",
    renders: 0,
  };
  const render = async () => {
    state.renders += 1;
    if (state.text instanceof Error) throw state.text;
    return state.text;
  };
  const metrics = { contentType: "text/plain; version=0.0.4", render };
  const probes = await openProbes({ listen, world, metrics, truth: () => state.truth });
  t.after(() => probes.close());
  const url = `http://${probes.address}`;
  const observe = () => {
    const scope = { labels: [], pods: [] };
    state.truth = { clusterUid: "u", scope, nodes: [], pods: [], observedAt: world.now() };
  };
  return {
    world,
    state,
    probes,
    observe,
    async ask(path: string, method = "GET") {
      const answer = await fetch(url + path, { method });
      return { status: answer.status, headers: answer.headers, text: await answer.text() };
    },
    status: async (path: string) => (await fetch(url + path)).status,
    failed: (collection: string) =>
      probes.hear({
        kind: "watch-failed",
        at: world.now(),
        collection,
        message: "no",
        retryInMs: 60_000,
        lasting: true,
      }),
    ended: (collection: string) =>
      probes.hear({ kind: "watch-ended", at: world.now(), collection, why: "closed" }),
  };
}

test("openProbes() is ready once the nodes were listed, and stays so", LIMIT, async (t) => {
  const stage = await stageOf(t);
  const before = await stage.ask("/readyz");
  assert.equal(before.status, 503);
  assert.match(before.text, /no complete list/);
  stage.observe();
  assert.equal(await stage.status("/readyz"), 200);
  stage.state.truth = null;
  assert.equal(await stage.status("/readyz"), 200);
});

test("openProbes() serves the metrics, and says when they cannot be rendered", LIMIT, async (t) => {
  const stage = await stageOf(t);
  const page = await stage.ask("/metrics?x=1");
  assert.deepEqual([page.status, page.text], [200, "a 1\n"]);
  assert.equal(page.headers.get("content-type"), "text/plain; version=0.0.4");
  stage.state.text = new Error("broken");
  await stage.world.advance(1_000);
  const broken = await stage.ask("/metrics");
  assert.equal(broken.status, 500);
  assert.match(broken.text, /Cannot render the metrics: broken/);
});

test("openProbes() knows GET and HEAD of three pages, and nothing else", LIMIT, async (t) => {
  const stage = await stageOf(t);
  const head = await stage.ask("/healthz", "HEAD");
  assert.deepEqual([head.status, head.text], [200, ""]);
  assert.ok(Number(head.headers.get("content-length")) > 0);
  for (const method of ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"]) {
    const refused = await stage.ask("/healthz", method);
    assert.equal(refused.status, 405);
    assert.equal(refused.headers.get("allow"), "GET, HEAD");
  }
  for (const path of ["/", "/healthz/", "/metrics/x", "/METRICS"]) {
    const missing = await stage.ask(path);
    assert.equal(missing.status, 404, path);
    assert.match(missing.text, /\/healthz, \/readyz and \/metrics/);
  }
});

test(
  "openProbes() is alive while the watch goes on or tries again, for however long",
  LIMIT,
  async (t) => {
    const stage = await stageOf(t);
    for (let minute = 0; minute < 60; minute += 1) {
      await stage.world.advance(MINUTE_MS);
      stage.failed("nodes");
      assert.equal(await stage.status("/healthz"), 200);
    }
    // A server without bookmarks, and without news: all that is heard is the end of a stream.
    for (let stream = 0; stream < 6; stream += 1) {
      await stage.world.advance(10 * MINUTE_MS + 30_000);
      stage.ended("nodes");
      assert.equal(await stage.status("/healthz"), 200);
    }
    for (let minute = 0; minute < 60; minute += 1) {
      await stage.world.advance(MINUTE_MS);
      stage.observe();
    }
    assert.equal(await stage.status("/healthz"), 200, "bookmarks are enough");
  },
);

test(
  "openProbes() is not alive when the watch shows no life for a quarter of an hour",
  LIMIT,
  async (t) => {
    const stage = await stageOf(t);
    stage.observe();
    await stage.world.advance(15 * MINUTE_MS);
    assert.equal(await stage.status("/healthz"), 200);
    await stage.world.advance(MINUTE_MS + 1_000);
    const page = await stage.ask("/healthz");
    assert.equal(page.status, 503);
    assert.match(page.text, /the watch of nodes shows no life for 15 min/);
    stage.ended("nodes");
    assert.equal(await stage.status("/healthz"), 200);
  },
);

test("openProbes() notices one dead watch among many that live", LIMIT, async (t) => {
  const stage = await stageOf(t);
  stage.ended("pods of pay/app=api");
  for (let minute = 0; minute < 16; minute += 1) {
    await stage.world.advance(MINUTE_MS);
    stage.ended("nodes");
    stage.ended("pods of ops");
  }
  assert.match(
    (await stage.ask("/healthz")).text,
    /the watch of pods of pay\/app=api shows no life/,
  );
});

test(
  "openProbes() does not take a jump of the clock for the death of the watch",
  LIMIT,
  async (t) => {
    const stage = await stageOf(t);
    stage.observe();
    stage.world.setClock(600 * MINUTE_MS);
    await stage.world.advance(MINUTE_MS);
    assert.equal(await stage.status("/healthz"), 200);
    stage.world.setClock(-1_200 * MINUTE_MS);
    await stage.world.advance(MINUTE_MS);
    assert.equal(await stage.status("/healthz"), 200);
  },
);

test("openProbes() rejects with a sentence where it cannot listen", LIMIT, async (t) => {
  const stage = await stageOf(t);
  const port = Number(stage.probes.address.split(":")[1]);
  const refusals: readonly (readonly [Listening, RegExp])[] = [
    [
      { host: "127.0.0.1", port },
      /Cannot listen on 127\.0\.0\.1:\d+: the port is in use; .*_LISTEN/,
    ],
    [{ host: "192.0.2.1", port: 0 }, /this host has no such address/],
  ];
  for (const [listen, sentence] of refusals) {
    await assert.rejects(stageOf(t, listen), sentence);
  }
});

test(
  "openProbes() ends connections that say nothing, and all of them when it closes",
  LIMIT,
  async (t) => {
    const stage = await stageOf(t);
    const [host = "", port = ""] = stage.probes.address.split(":");
    const idle = connect(Number(port), host);
    const closed = new Promise((resolve) => idle.once("close", resolve));
    idle.on("error", () => undefined);
    await new Promise((resolve) => idle.once("connect", resolve));
    idle.write("GET /healthz HTTP/1.1\r\nHost: x\r\n");
    await stage.probes.close();
    await closed;
    await assert.rejects(fetch(`http://${stage.probes.address}/healthz`));
  },
);

test("openProbes() answers a request with a body, however it is sent", LIMIT, async (t) => {
  const stage = await stageOf(t);
  const status = await new Promise((resolve, reject) => {
    const sent = request(`http://${stage.probes.address}/healthz`, { method: "POST" });
    sent.on("response", (answer) => {
      answer.resume();
      resolve(answer.statusCode);
    });
    sent.on("error", reject);
    sent.end("x".repeat(100_000));
  });
  assert.equal(status, 405);
});

/** What is read of a connection until it is closed; nothing as long as it is paused. */
async function callOf(t: TestContext, address: string, text: string) {
  const [host = "", port = ""] = address.split(":");
  const socket = connect(Number(port), host);
  t.after(() => socket.destroy());
  const chunks: Buffer[] = [];
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  socket.on("error", () => undefined);
  await new Promise((resolve) => socket.once("connect", resolve));
  socket.write(text);
  return {
    socket,
    read: () => socket.on("data", (chunk: Buffer) => chunks.push(chunk)),
    closed,
    text: () => Buffer.concat(chunks).toString(),
  };
}

const METRICS_REQUEST = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";

test("openProbes() answers the first request of a connection and closes it", LIMIT, async (t) => {
  const stage = await stageOf(t);
  const call = await callOf(t, stage.probes.address, METRICS_REQUEST.repeat(20_000));
  call.read();
  await call.closed;
  assert.equal(call.text().match(/HTTP\/1\.1 200 OK/g)?.length, 1);
  assert.match(call.text(), /connection: close/);
  assert.match(call.text(), /a 1\n$/);
});

test("openProbes() reads a request however it arrives, and no more than one", LIMIT, async (t) => {
  const stage = await stageOf(t);
  const cases: readonly (readonly [readonly string[], RegExp])[] = [
    [[..."GET /healthz HTTP/1.1\r\n\r\n"], /^HTTP\/1\.1 200 OK\r\n.*alive/s],
    [["GET /healthz HTTP/1.0\r\nHost: x\r\n", "\r\n"], /^HTTP\/1\.1 200 OK\r\n/],
    [[`GET /healthz HTTP/1.1\r\nx: ${"y".repeat(8_000)}\r\n\r\n`], /^HTTP\/1\.1 200 OK\r\n/],
    [[`GET /healthz HTTP/1.1\r\nx: ${"y".repeat(9_000)}\r\n\r\n`], /^HTTP\/1\.1 431 /],
    [["x".repeat(9_000)], /^HTTP\/1\.1 431 /],
    [["PRI * HTTP/2.0\r\n\r\n"], /^HTTP\/1\.1 400 Bad Request\r\n/],
    [["\u0016\u0003\u0001\r\n\r\n"], /^HTTP\/1\.1 400 /],
    [["\r\n\r\n"], /^HTTP\/1\.1 400 /],
  ];
  for (const [parts, pattern] of cases) {
    const call = await callOf(t, stage.probes.address, "");
    call.read();
    for (const part of parts) {
      call.socket.write(part);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await call.closed;
    assert.match(call.text(), pattern);
  }
});

test("openProbes() renders the metrics once for all who ask within a second", LIMIT, async (t) => {
  const stage = await stageOf(t);
  const askAll = () => Promise.all(Array.from({ length: 8 }, () => stage.status("/metrics")));
  assert.deepEqual([...new Set(await askAll())], [200]);
  await stage.world.advance(999);
  await askAll();
  assert.equal(stage.state.renders, 1);
  await stage.world.advance(1);
  await askAll();
  assert.equal(stage.state.renders, 2);
  // The clock plays no part.
  stage.world.setClock(-MINUTE_MS);
  await stage.world.advance(1_000);
  stage.state.text = "a 2\n";
  assert.equal((await stage.ask("/metrics")).text, "a 2\n");
});

test("openProbes() closes after 10 s what takes no answer, or asks nothing", LIMIT, async (t) => {
  const stage = await stageOf(t);
  stage.state.text = "x".repeat(30_000_000);
  const reader = await callOf(t, stage.probes.address, METRICS_REQUEST);
  const silent = await callOf(t, stage.probes.address, "");
  await stage.world.advance(9_999);
  assert.equal(await stage.status("/healthz"), 200);
  await stage.world.advance(1);
  silent.read();
  await silent.closed;
  reader.read();
  await reader.closed;
  assert.ok(reader.text().length < stage.state.text.length, "the rest was never sent");
});

test("openProbes() answers a probe though others hold more connections", LIMIT, async (t) => {
  const stage = await stageOf(t);
  const silent = [];
  for (let n = 0; n < 40; n += 1) silent.push(await callOf(t, stage.probes.address, ""));
  assert.equal(await stage.status("/healthz"), 200);
  let closed = 0;
  for (const call of silent) {
    call.read();
    call.closed.then(() => {
      closed += 1;
    });
  }
  await stage.world.advance(0);
  assert.ok(closed >= 24, `${closed} were closed`);
});
