import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { listen } from "../../cli/embedded/listening.ts";
import { sendRequest } from "../../forwarder/http.ts";
import { memoryStore } from "../../lib/stores/memory.ts";
import type { Store } from "../../lib/stores/store.ts";
import { MEDIA_TYPE, renderDelivery } from "../../lib/wire/protocol.ts";
import { parseSigningKey } from "../../lib/wire/signature.ts";
import { node, snapshot } from "../core/cases.ts";
import { CANARIES, receiver, signed } from "../functions/receiver.ts";
import { START, type virtualWorld } from "../virtual-world.ts";
import { AUDIENCE, type Issuer, makeIssuer, SUBJECT } from "../wire/issuer.ts";

/*
 * What strangers can make the receiver do: answer, and nothing else.
 */

const EU = parseSigningKey(CANARIES.EU_KEY);
const NODES = [node("a", ["203.0.113.1"])];
const LIMIT = { timeout: 60_000 };

/** A store that counts every call to it. */
function watched(inner: Store): { readonly store: Store; calls(): number } {
  let calls = 0;
  const count = <T>(work: Promise<T>): Promise<T> => {
    calls += 1;
    return work;
  };
  return {
    calls: () => calls,
    store: {
      put: (key, body) => count(inner.put(key, body)),
      get: (key) => count(inner.get(key)),
      list: (prefix, limit) => count(inner.list(prefix, limit)),
      delete: (key) => count(inner.delete(key)),
    },
  };
}

test("webhook asks neither its store nor any target for whom it does not believe", async () => {
  const { store, calls } = watched(memoryStore({ now: () => START }));
  const room = receiver({ store });
  const body = Buffer.from(renderDelivery(snapshot(NODES)));
  const now = room.world.now();
  const stranger = parseSigningKey(`whsec_${Buffer.alloc(32, 7).toString("base64")}`);
  const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024));
  const gzip = { "content-encoding": "gzip" };
  const requests = [
    [401, body, { "content-type": MEDIA_TYPE }],
    [401, body, signed(body, stranger, now)],
    [401, body, signed(body, EU, now - 301_000)],
    [401, body, { "content-type": MEDIA_TYPE, authorization: "Bearer a.b.c" }],
    [401, bomb, { ...signed(bomb, stranger, now), ...gzip }],
    [403, body, signed(body, parseSigningKey(CANARIES.US_KEY), now)],
    [413, Buffer.alloc(8 * 1024 * 1024 + 1), signed(body, EU, now)],
    [413, body, { ...signed(body, EU, now), "content-length": "99999999999" }],
    [413, bomb, { ...signed(bomb, EU, now), ...gzip }],
    [415, body, {}],
    [422, Buffer.from("{}"), signed(Buffer.from("{}"), EU, now)],
  ] as const;
  for (const [status, bytes, headers] of requests) {
    const response = await room.post({ body: bytes, headers });
    assert.equal(response.statusCode, status, response.body);
    assert.equal(calls(), 0, `${status}: ${JSON.stringify(headers)}`);
  }
  assert.deepEqual(room.memory.entries("one"), []);
  assert.equal((await room.post({ body, headers: signed(body, EU, now) })).statusCode, 200);
  assert(calls() > 0);
});

type Fetch = typeof globalThis.fetch;

/** As fetch does where it is told not to follow; where it is, it arrives at the keys. */
function redirected(init: Parameters<Fetch>[1], keySet: string): Response {
  if (init?.redirect === "error") {
    throw new TypeError("fetch failed", { cause: new Error("unexpected redirect") });
  }
  return new Response(keySet);
}

function endless(text: string): Response {
  let sent = 0;
  const stream = new ReadableStream({
    pull(controller) {
      // Valid JSON to the end, and forty times what a key set may have.
      const isLast = sent > 40;
      controller.enqueue(Buffer.from(isLast ? text : " ".repeat(1024 * 1024)));
      if (isLast) controller.close();
      sent += 1;
    },
  });
  return new Response(stream);
}

/** Answers to the request for the keys that must not be taken for them. */
const KEY_SETS: readonly {
  readonly name: string;
  readonly uri?: string;
  readonly answer: (issuer: Issuer, init: Parameters<Fetch>[1]) => Response | Promise<Response>;
}[] = [
  { name: "redirects", answer: ({ keySet }, init) => redirected(init, keySet) },
  { name: "is huge", answer: ({ keySet }) => endless(keySet) },
  { name: "never comes", answer: (_, init) => aborted(init) },
  { name: "is an error", answer: ({ keySet }) => new Response(keySet, { status: 500 }) },
  { name: "is no key set", answer: () => new Response("<html>") },
  ...[
    "https://169.254.169.254/keys",
    "https://10.0.0.1/keys",
    "https://[fd00::1]/keys",
    "https://localhost/keys",
    "http://oidc.example/id/eu/keys",
    "file:///etc/passwd",
  ].map((uri) => ({
    name: `is said to be at ${uri}`,
    uri,
    answer: ({ keySet }: Issuer) => new Response(keySet),
  })),
];

function aborted(init: Parameters<Fetch>[1]): Promise<Response> {
  return new Promise((_resolve, reject) => {
    init?.signal?.addEventListener("abort", () => reject(init.signal?.reason));
  });
}

for (const { name, uri, answer } of KEY_SETS) {
  test(`webhook answers 503 and writes nothing while a key set ${name}`, LIMIT, async () => {
    const issuer = makeIssuer();
    let isMended = false;
    const fetch: Fetch = async (input, init) => {
      const home = `${issuer.url}/keys`;
      if (String(input).endsWith("/openid-configuration")) {
        const jwks_uri = isMended ? home : (uri ?? home);
        return Response.json({ issuer: issuer.url, jwks_uri });
      }
      return isMended ? new Response(issuer.keySet) : answer(issuer, init);
    };
    const serviceAccount = {
      issuer: issuer.url,
      audience: AUDIENCE,
      subject: SUBJECT,
      jwks: "discover",
    };
    const clusters = { eu: { auth: { serviceAccount }, bounds: ["203.0.113.0/24"] } };
    const room = receiver({ file: { clusters }, fetch });
    const body = Buffer.from(renderDelivery(snapshot(NODES)));
    const headers = { "content-type": MEDIA_TYPE, authorization: `Bearer ${issuer.token()}` };
    const answering = room.post({ body, headers });
    await settled(room.world, answering);
    const response = await answering;
    assert.equal(response.statusCode, 503, response.body);
    assert.match(String(response.headers["retry-after"]), /^\d+$/);
    assert.deepEqual(await room.store.list("", 10), []);
    assert.deepEqual(room.memory.entries("one"), []);
    isMended = true;
    await room.world.advance(30_000);
    const again = await room.post({ body, headers });
    assert.equal(again.statusCode, 200, again.body);
  });
}

/** Lets at most half a minute pass until it is answered. */
async function settled(
  world: ReturnType<typeof virtualWorld>,
  work: Promise<unknown>,
): Promise<void> {
  let isDone = false;
  const done = () => {
    isDone = true;
  };
  work.then(done, done);
  for (let step = 0; !isDone && step < 300; step += 1) await world.advance(100);
}

test(
  "sendRequest() follows no redirect, so that token and nodes go nowhere else",
  LIMIT,
  async (t) => {
    const heard: string[] = [];
    const thief = await listen(
      createServer((request, response) => {
        heard.push(String(request.headers.authorization));
        response.end("{}");
      }),
      {},
    );
    t.after(() => thief.close());
    for (const status of [301, 302, 307, 308]) {
      const door = await listen(
        createServer((_request, response) => {
          response.writeHead(status, { location: thief.url }).end();
        }),
        {},
      );
      t.after(() => door.close());
      const headers = { authorization: "Bearer canary" };
      const { signal } = new AbortController();
      const options = { method: "POST", headers, signal };
      const response = await sendRequest(new URL(door.url), options, Buffer.from("{}"));
      response.resume();
      assert.equal(response.statusCode, status);
    }
    assert.deepEqual(heard, []);
  },
);
