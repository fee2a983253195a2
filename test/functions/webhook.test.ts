import assert from "node:assert/strict";
import test from "node:test";
import { gzipSync } from "node:zlib";
import type { HttpResponse } from "../../functions/http.ts";
import { StoreError } from "../../lib/stores/store.ts";
import { renderDelivery } from "../../lib/wire/protocol.ts";
import { parseAnswer } from "../../lib/wire/reply.ts";
import { parseSigningKey } from "../../lib/wire/signature.ts";
import { hosts, node, snapshot } from "../core/cases.ts";
import { CANARIES, receiver, signed } from "./receiver.ts";

const EU = parseSigningKey(CANARIES.EU_KEY);
const US = parseSigningKey(CANARIES.US_KEY);
const NODES = [node("a", ["203.0.113.1"]), node("b", ["203.0.113.2"])];

function problemOf(response: HttpResponse): Record<string, unknown> {
  assert.equal(response.headers["content-type"], "application/problem+json");
  const document = JSON.parse(response.body);
  assert.equal(document.status, response.statusCode);
  assert(!/ at .*\.ts|node_modules/.test(response.body), "no stack in an answer");
  return document;
}

/** Refused deliveries leave no trace in the store and on the targets. */
async function refused(
  room: ReturnType<typeof receiver>,
  response: HttpResponse,
  status: number,
): Promise<Record<string, unknown>> {
  assert.equal(response.statusCode, status, response.body);
  assert.deepEqual(await room.store.list("", 100), [], "nothing stored");
  assert.deepEqual(room.memory.entries("one"), [], "nothing written");
  return problemOf(response);
}

test("webhook admits a signed snapshot, opens the list for it and says which nodes are ready", async () => {
  const room = receiver();
  const response = await room.deliver({ nodes: NODES });
  assert.equal(response.statusCode, 200);
  const answer = parseAnswer(JSON.parse(response.body));
  assert.deepEqual(answer?.generation, { epoch: 1, sequence: 1 });
  assert.deepEqual(answer?.readyNodes, ["a", "b"]);
  assert.deepEqual(answer?.unlisted, []);
  assert.equal(answer?.again, null);
  assert.equal(answer?.lists[0]?.state, "converged");
  assert.deepEqual(
    room.memory.entries("one").map((entry) => entry.cidr),
    hosts(2),
  );
});

test("webhook takes a gzipped body, whose signature covers the bytes on the wire", async () => {
  const room = receiver();
  const body = gzipSync(renderDelivery(snapshot(NODES)));
  const headers = { ...signed(body, EU, room.world.now()), "content-encoding": "gzip" };
  assert.equal((await room.post({ body, headers })).statusCode, 200);
});

test("webhook answers 401 with its time to an unknown key, a missing and an old signature", async () => {
  const room = receiver();
  const body = Buffer.from(renderDelivery(snapshot(NODES)));
  const stranger = parseSigningKey(`whsec_${Buffer.alloc(32, 7).toString("base64")}`);
  for (const headers of [
    signed(body, stranger, room.world.now()),
    signed(body, EU, room.world.now() - 301_000),
    { "content-type": "application/cloudevents+json" },
    signed(Buffer.from("another body"), EU, room.world.now()),
  ]) {
    const document = await refused(room, await room.post({ body, headers }), 401);
    assert.equal(document.time, "2026-11-20T21:00:00.000Z");
  }
});

test("webhook answers 403 to a credential that speaks for another cluster, and to a retired one", async () => {
  const room = receiver();
  await refused(room, await room.deliver({ nodes: NODES }, US), 403);
  const retired = { us: { bounds: ["198.51.100.0/24"] }, eu: { bounds: ["203.0.113.0/24"] } };
  const clusters = {
    us: retired.us,
    eu: { ...retired.eu, retired: true, auth: { signature: { keys: ["env:EU_KEY"] } } },
  };
  const gone = receiver({
    file: { clusters: { ...clusters, us: { ...clusters.us, retired: true } } },
  });
  await refused(gone, await gone.deliver({ nodes: NODES }), 403);
});

test("webhook answers 413 by length before it reads, and to a body that inflates too far", async () => {
  const room = receiver();
  const large = Buffer.alloc(8 * 1024 * 1024 + 1, 32);
  await refused(room, await room.post({ body: large, headers: signed(large, EU, 0) }), 413);
  const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024, 32));
  const headers = { ...signed(bomb, EU, room.world.now()), "content-encoding": "gzip" };
  await refused(room, await room.post({ body: bomb, headers }), 413);
});

test("webhook answers 415 to another type before it looks at the signature", async () => {
  const room = receiver();
  const body = Buffer.from("{}");
  for (const type of [
    "application/json",
    "text/plain",
    "",
    "application/cloudevents+json; charset=latin1",
  ]) {
    await refused(room, await room.post({ body, headers: { "content-type": type } }), 415);
  }
  const encoded = { ...signed(body, EU, room.world.now()), "content-encoding": "br" };
  await refused(room, await room.post({ body, headers: encoded }), 415);
  const charset = { "Content-Type": "application/cloudevents+json; charset=UTF-8" };
  assert.equal((await room.post({ body, headers: charset })).statusCode, 401, "a charset is fine");
});

test("webhook answers 422 with every problem and its path", async () => {
  const room = receiver();
  const text = renderDelivery(snapshot([...NODES, node("a", ["203.0.113.3"])]));
  const broken = text.replace("203.0.113.2", "203.0.113.256");
  for (const body of [Buffer.from(broken), Buffer.from("{"), Buffer.from("[]")]) {
    const headers = signed(body, EU, room.world.now());
    const { problems } = await refused(room, await room.post({ body, headers }), 422);
    assert(Array.isArray(problems) && problems.length > 0);
  }
  const body = Buffer.from(broken);
  const response = await room.post({ body, headers: signed(body, EU, room.world.now()) });
  const paths = (problemOf(response).problems as { path: string }[]).map(({ path }) => path);
  assert.equal(paths.length, 2, paths.join());
  const cut = gzipSync(text).subarray(0, 40);
  const headers = { ...signed(cut, EU, room.world.now()), "content-encoding": "gzip" };
  await refused(room, await room.post({ body: cut, headers }), 422);
});

test("webhook answers 409 to a stale generation, with the one it holds", async () => {
  const room = receiver();
  await room.deliver({ nodes: NODES, generation: { epoch: 7, sequence: 1_042 } });
  const response = await room.deliver({ nodes: [], generation: { epoch: 7, sequence: 1_041 } });
  assert.equal(response.statusCode, 409);
  const document = problemOf(response);
  assert.equal(document.type, "https://kube-allowlist.dev/problems/stale");
  assert.deepEqual(document.held, { epoch: 7, sequence: 1_042 });
  assert.equal(room.memory.entries("one").length, 2);
});

test("webhook refuses the second of two clusters under one name, and loses nothing of the first", async () => {
  const room = receiver();
  await room.deliver({ nodes: NODES });
  const response = await room.deliver({
    clusterUid: "another",
    nodes: [],
    generation: { epoch: 9, sequence: 1 },
  });
  assert.equal(response.statusCode, 409);
  assert.equal(problemOf(response).type, "https://kube-allowlist.dev/problems/other-cluster");
  await room.resync();
  assert.equal(room.memory.entries("one").length, 2);
});

test("webhook takes a replayed delivery as a repeat and writes nothing for it", async () => {
  const room = receiver();
  const body = Buffer.from(renderDelivery(snapshot(NODES)));
  const request = { body, headers: signed(body, EU, room.world.now()) };
  const first = await room.post(request);
  const audits = room.world.audits.length;
  const stored = await room.store.list("", 100);
  const second = await room.post(request);
  assert.deepEqual(JSON.parse(second.body), JSON.parse(first.body));
  assert.equal(room.world.audits.length, audits);
  assert.deepEqual(await room.store.list("", 100), stored);
});

test("webhook answers 503 with Retry-After when the store is down, and admits nothing", async () => {
  const down = () => Promise.reject(new StoreError("Cannot reach the disk: secret path /canary"));
  const room = receiver({ store: { put: down, get: down, list: down, delete: down } });
  const response = await room.deliver({ nodes: NODES });
  assert.equal(response.statusCode, 503);
  assert.equal(response.headers["retry-after"], "5");
  assert(!response.body.includes("canary"), response.body);
  assert.deepEqual(room.memory.entries("one"), []);
});

test("webhook reports an address outside the bounds, keeps its node unready and harms no other", async () => {
  const room = receiver();
  const nodes = [...NODES, node("c", ["8.8.8.8"]), node("d", ["127.0.0.1"])];
  const answer = parseAnswer(JSON.parse((await room.deliver({ nodes })).body));
  assert.deepEqual(answer?.readyNodes, ["a", "b"]);
  assert.deepEqual(
    answer?.lists[0]?.refused.map((one) => [one.address, one.reason]),
    [
      ["8.8.8.8", "out-of-bounds"],
      ["127.0.0.1", "forbidden"],
    ],
  );
  assert.equal(room.memory.entries("one").length, 2);
});

test("webhook asks for the forwarder again just after the grace of what leaves", async () => {
  const room = receiver();
  await room.deliver({ nodes: [...NODES, node("c", ["203.0.113.3"])] });
  const answer = parseAnswer(JSON.parse((await room.deliver({ nodes: NODES })).body));
  assert.equal(answer?.again, 300);
  assert.equal(answer?.lists[0]?.reason, "grace");
});

test("webhook puts no secret into an answer or a log line, whatever it is sent", async () => {
  const room = receiver();
  const body = Buffer.from(renderDelivery(snapshot(NODES)));
  const good = signed(body, EU, room.world.now());
  const answers = [
    await room.post({ body, headers: good }),
    await room.post({ body, headers: { ...good, "webhook-signature": `v1,${CANARIES.EU_KEY}` } }),
    await room.post({
      body,
      headers: { ...good, authorization: `Bearer ${CANARIES.STATUS_TOKEN}` },
    }),
    await room.post({ body: Buffer.from(CANARIES.EU_KEY), headers: good }),
    await room.status(),
  ];
  const everything = JSON.stringify([answers, room.world.lines, room.world.audits]);
  for (const secret of Object.values(CANARIES)) assert(!everything.includes(secret));
  assert(!everything.includes("canary"), "not in part either");
  assert(!everything.includes(good["webhook-signature"] ?? "?"));
});

test("status shows every list, on loopback or to a bearer of its token only", async () => {
  const room = receiver();
  await room.deliver({ nodes: NODES });
  assert.equal((await room.status()).statusCode, 401);
  const wrong = await room.status({ authorization: "Bearer wrong" });
  assert.equal(wrong.statusCode, 401);
  assert.equal(wrong.headers["www-authenticate"], 'Bearer realm="kube-allowlist"');
  const [line] = room.world.lines.slice(-1);
  assert.deepEqual(line?.fields, {
    status: 401,
    type: "https://kube-allowlist.dev/problems/unauthenticated",
    route: "/v1/status",
    remote: "192.0.2.7",
  });
  const shown = await room.status({ authorization: `Bearer ${CANARIES.STATUS_TOKEN}` });
  assert.equal(shown.statusCode, 200);
  const document = JSON.parse(shown.body);
  assert.equal(document.version, 1);
  assert.equal(document.installation, "acme");
  assert.equal(document.lists[0].state, "converged");
  assert.equal((await room.status({}, { loopback: true })).statusCode, 401, "nobody can claim it");
});

test("status takes no token that can be guessed, and says which, without showing it", async () => {
  const file = { status: { tokens: ["env:STATUS_TOKEN", "env:FEED_TOKEN_WEAK"] } };
  const { status, wiring, world } = receiver({ file });
  assert.throws(wiring.statusTokens, {
    name: "ConfigurationError",
    message:
      "status.tokens[1]: Cannot use env:FEED_TOKEN_WEAK as a token: expected 16 to 512 visible " +
      "ASCII characters; make a new one",
  });
  const weak = { authorization: `Bearer ${CANARIES.FEED_TOKEN_WEAK}` };
  assert.equal((await status(weak)).statusCode, 503);
  assert(!JSON.stringify(world.lines).includes("canary"));
});

test("resync goes on when one of its targets cannot be made", async () => {
  const room = receiver({
    file: {
      lists: {
        db: {
          from: [{ cluster: "eu", nodes: {}, addresses: ["ExternalIP"] }],
          removal: { policy: "sync" },
          targets: [
            {
              kind: "aws/security-group",
              region: "eu-west-1",
              id: "sg-0a1b",
              permission: { protocol: "tcp", port: 5432 },
              endpoint: "env:NOT_SET",
            },
            { kind: "memory", id: "one" },
          ],
        },
      },
    },
  });
  await room.deliver({ nodes: NODES });
  const { lists } = await room.resync();
  assert.equal(lists[0]?.state, "failed");
  assert.match(lists[0]?.message ?? "", /NOT_SET/);
  assert.equal(lists[1]?.state, "converged");
});
