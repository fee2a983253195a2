import assert from "node:assert/strict";
import { test } from "node:test";
import { startServer } from "../../cli/server.ts";
import { makeFeed } from "../../functions/feed.ts";
import type { HttpResponse } from "../../functions/http.ts";
import { type FeedContent, nextFeed, parseFeed } from "../../lib/core/feed.ts";
import { formats } from "../../lib/feeds/formats.ts";
import { openLog } from "../../lib/stores/log.ts";
import { memoryStore } from "../../lib/stores/memory.ts";
import { type Store, StoreError } from "../../lib/stores/store.ts";
import { parseAnswer } from "../../lib/wire/reply.ts";
import { parseSigningKey } from "../../lib/wire/signature.ts";
import { makeWorld } from "../../lib/world.ts";
import { cidr, cidrs, hosts, node } from "../core/cases.ts";
import { nodes } from "../corridor.ts";
import { START, virtualWorld } from "../virtual-world.ts";
import { CANARIES, gatewayEvent, receiver } from "./receiver.ts";

const FROM = [{ cluster: "eu", nodes: {}, addresses: ["ExternalIP"] }];
const REMOVAL = { policy: "sync" };
const TOKENS = ["env:FEED_TOKEN", "env:FEED_TOKEN_NEXT"];
const BEARER = { authorization: `Bearer ${CANARIES.FEED_TOKEN}` };

function listOf(target: object, given: object = {}) {
  return { from: FROM, removal: REMOVAL, targets: [{ kind: "feed", ...target }], ...given };
}

const LISTS = {
  db: listOf({ tokens: TOKENS }),
  "open-db": listOf({ open: true }),
  "empty-db": listOf({ open: true, empty: true }),
};

/** The receiver with feeds, and a reader of them. */
function room(given: { readonly lists?: object; readonly store?: Store } = {}) {
  const lists = given.lists ?? LISTS;
  const instead = given.store === undefined ? {} : { store: given.store };
  const { deliver, resync, store, wiring, world } = receiver({ file: { lists }, ...instead });
  const feed = makeFeed(wiring);
  const log = (name: string) =>
    openLog<FeedContent>({
      store,
      prefix: "",
      installation: "acme",
      kind: "feeds",
      name,
      parse: parseFeed,
      world,
    });
  return {
    deliver,
    resync,
    store,
    wiring,
    world,
    async get(path: string, headers: Readonly<Record<string, string>> = BEARER, method = "GET") {
      const event = gatewayEvent(method, path, { headers });
      return (await feed(event as never, {} as never)) as HttpResponse;
    },
    /** Puts content where the target would, as the next change of the feed. */
    async publish(name: string, entries: readonly ReturnType<typeof cidr>[]) {
      const before = await log(name).newest();
      const next = nextFeed(before?.body ?? null, entries, { now: world.now() });
      await log(name).append(before?.revision ?? 0, next);
      return next;
    },
  };
}

function problemOf(response: HttpResponse, status: number): Record<string, string> {
  assert.equal(response.statusCode, status, response.body);
  assert.equal(response.headers["content-type"], "application/problem+json");
  assert.equal(response.headers["cache-control"], "no-store");
  assert.equal(response.headers.etag, undefined);
  assert(!/ at .*\.ts|node_modules/.test(response.body), "no stack in an answer");
  return JSON.parse(response.body);
}

function refusedNow(response: HttpResponse): Record<string, string> {
  const document = problemOf(response, 503);
  assert.equal(document.type, "https://kube-allowlist.dev/problems/unavailable");
  assert.equal(response.headers["retry-after"], "60");
  return document;
}

const basic = (password: string, user = "firewall") => ({
  authorization: `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`,
});

test("feed shows what the webhook published, in every format, with everything a reader checks", async () => {
  const { deliver, get } = room();
  await deliver({ nodes: nodes(2) });
  const serial = START / 1_000;
  for (const [name, { contentType }] of Object.entries(formats)) {
    const { statusCode, headers, body } = await get(`/v1/lists/db.${name}`);
    assert.equal(statusCode, 200, body);
    assert.deepEqual(headers, {
      etag: `"${serial}"`,
      "last-modified": "Fri, 20 Nov 2026 21:00:00 GMT",
      "cache-control": "no-cache",
      "content-type": contentType,
      "content-length": String(Buffer.byteLength(body)),
    });
    const again = await get(`/v1/lists/db.${name}`);
    assert.equal(again.body, body, "one revision, the same bytes");
    const head = await get(`/v1/lists/db.${name}`, BEARER, "HEAD");
    assert.deepEqual({ ...head, body }, { statusCode, headers, body });
    assert.equal(head.body, "");
  }
  assert.equal((await get("/v1/lists/db.txt")).body, "203.0.113.1/32\n203.0.113.2/32\n");
  const { revision, list } = JSON.parse((await get("/v1/lists/db.json")).body);
  assert.deepEqual({ revision, list }, { revision: serial, list: "db" });
});

test("feed answers 503 with Retry-After while nothing was published", async () => {
  const { get } = room();
  for (const list of ["db", "open-db", "empty-db"]) {
    const { detail } = refusedNow(await get(`/v1/lists/${list}.txt`));
    assert.match(detail ?? "", /nothing was published; keep what you have/);
  }
});

test("feed answers 304 to whoever has the revision, and to nobody else", async () => {
  const { get, publish } = room();
  const { serial } = await publish("db", hosts(2));
  const given = (tag: string) => get("/v1/lists/db.txt", { ...BEARER, "If-None-Match": tag });
  for (const tag of [
    `"${serial}"`,
    `W/"${serial}"`,
    "*",
    `"other", "${serial}"`,
    `W/"x" ,W/"${serial}"`,
  ]) {
    const { statusCode, headers, body } = await given(tag);
    assert.equal(statusCode, 304, tag);
    assert.equal(body, "");
    assert.deepEqual(Object.keys(headers).toSorted(), ["cache-control", "etag", "last-modified"]);
    assert.equal(headers.etag, `"${serial}"`);
  }
  for (const tag of [`"${serial - 1}"`, `${serial}`, `"${serial}`, `"${serial}0"`, `"*"`, ""]) {
    assert.equal((await given(tag)).statusCode, 200, tag);
  }
  await publish("db", hosts(3));
  assert.equal((await given(`"${serial}"`)).statusCode, 200);
});

test("feed takes any of its tokens, as a bearer's or as the password of basic authentication", async () => {
  const { get, publish } = room();
  await publish("db", hosts(2));
  for (const headers of [
    BEARER,
    { Authorization: `bearer ${CANARIES.FEED_TOKEN_NEXT}` },
    basic(CANARIES.FEED_TOKEN),
    basic(CANARIES.FEED_TOKEN_NEXT, ""),
    { authorization: basic(CANARIES.FEED_TOKEN).authorization.replace("Basic", "BASIC") },
  ]) {
    assert.equal((await get("/v1/lists/db.txt", headers)).statusCode, 200);
  }
});

test("feed answers a wrong token and an unknown list alike, to the byte", async () => {
  const { get, publish, world } = room();
  await publish("db", hosts(2));
  const wrong: readonly Readonly<Record<string, string>>[] = [
    {},
    { authorization: "" },
    { authorization: "Bearer" },
    { authorization: `Bearer ${CANARIES.STATUS_TOKEN}` },
    { authorization: `Bearer ${CANARIES.FEED_TOKEN}x` },
    { authorization: CANARIES.FEED_TOKEN },
    basic(""),
    basic("wrong", CANARIES.FEED_TOKEN),
    { authorization: `Basic ${Buffer.from(CANARIES.FEED_TOKEN).toString("base64")}` },
    { authorization: "Basic %%%" },
  ];
  const answers = new Set<string>();
  for (const headers of wrong) {
    const response = await get("/v1/lists/db.txt", headers);
    problemOf(response, 401);
    answers.add(JSON.stringify(response));
  }
  for (const path of ["/v1/lists/unknown.txt", "/v1/lists/db%2e.txt", "/v1/lists/__proto__.txt"]) {
    answers.add(JSON.stringify(await get(path)));
  }
  // Neither does an unknown format tell whether the list is there.
  answers.add(JSON.stringify(await get("/v1/lists/db.pdf", {})));
  assert.equal(answers.size, 1, [...answers].join("\n"));
  const [answer = ""] = answers;
  assert.match(JSON.parse(answer).headers["www-authenticate"], /^Basic realm=.*, Bearer realm=/);
  assert(!JSON.stringify(world.lines).includes("canary"));
});

test("feed that is open asks for nothing", async () => {
  const { get, publish } = room();
  await publish("open-db", hosts(2));
  for (const headers of [{}, BEARER, basic("whatever")]) {
    assert.equal((await get("/v1/lists/open-db.txt", headers)).statusCode, 200);
  }
});

test("feed whose tokens cannot be used answers 503 and not 401, and holds up no other", async () => {
  const lists = {
    ...LISTS,
    lost: listOf({ tokens: ["env:FEED_TOKEN", "env:NOT_SET"] }),
    weak: listOf({ tokens: ["env:FEED_TOKEN_WEAK"] }),
  };
  const { get, publish, world } = room({ lists });
  await publish("db", hosts(2));
  await publish("lost", hosts(2));
  await publish("weak", hosts(2));
  const weak = { authorization: `Bearer ${CANARIES.FEED_TOKEN_WEAK}` };
  refusedNow(await get("/v1/lists/lost.txt"));
  refusedNow(await get("/v1/lists/weak.txt", weak));
  const lines = JSON.stringify(world.lines);
  assert.match(lines, /Cannot resolve env:NOT_SET/);
  assert.match(
    lines,
    /lists\.weak\.targets\[0\]\.tokens\[0\]: Cannot use env:FEED_TOKEN_WEAK as a token: exp/,
  );
  assert.match(lines, /lists\.lost\.targets\[0\]\.tokens\[1\]: Cannot resolve env:NOT_SET/);
  assert(!lines.includes("canary"));
  assert.equal((await get("/v1/lists/db.txt")).statusCode, 200);
});

test("feed answers 503 when the store fails or holds what cannot be read, never less", async () => {
  const down = () => Promise.reject(new StoreError("Cannot reach the disk: secret path /canary"));
  const dark = room({ store: { put: down, get: down, list: down, delete: down } });
  const response = await dark.get("/v1/lists/db.txt");
  refusedNow(response);
  assert(!response.body.includes("canary"), response.body);
  for (const body of ["", "{}", '{"entries":[]}']) {
    const { get, store } = room();
    await store.put("v1/feeds/db/999999999998.json", body);
    refusedNow(await get("/v1/lists/db.txt"));
    refusedNow(await get("/v1/lists/db.txt", { ...BEARER, "if-none-match": "*" }));
  }
});

test("feed shows an empty list only where that is configured", async () => {
  const { get, publish } = room();
  await publish("open-db", []);
  await publish("empty-db", []);
  assert.match(refusedNow(await get("/v1/lists/open-db.txt")).detail ?? "", /it is empty, and not/);
  const { statusCode, headers, body } = await get("/v1/lists/empty-db.txt");
  assert.deepEqual([statusCode, headers["content-length"], body], [200, "0", ""]);
});

test("feed never shows a list that holds all addresses", async () => {
  const { get, publish } = room();
  for (const all of ["0.0.0.0/0", "::/0"]) {
    await publish("open-db", [...hosts(2), cidr(all)]);
    refusedNow(await get("/v1/lists/open-db.txt"));
  }
});

test("feed answers 404 to an unknown format with those it knows, and 405 to other methods", async () => {
  const { get, publish } = room();
  await publish("db", hosts(2));
  for (const path of ["/v1/lists/db.pdf", "/v1/lists/db.TXT", "/v1/lists/db.constructor"]) {
    const { detail } = problemOf(await get(path), 404);
    for (const name of Object.keys(formats)) assert(detail?.includes(name), detail);
  }
  for (const path of ["/v1/lists/db", "/v1/lists/", "/v1/lists/.txt", "/v1/lists/a/db.txt"]) {
    problemOf(await get(path), 404);
  }
  const posted = await get("/v1/lists/db.txt", BEARER, "POST");
  problemOf(posted, 405);
  assert.equal(posted.headers.allow, "GET, HEAD");
});

test("feed that is too long for a format is refused there with the limit, and shown in the others", async () => {
  const { get, publish } = room();
  const many = Array.from({ length: 10_001 }, (_, index) =>
    cidr(`198.18.${index >> 8}.${index & 255}`),
  );
  await publish("open-db", many);
  const { detail } = refusedNow(await get("/v1/lists/open-db.iptables"));
  assert.match(detail ?? "", /it would have 10001 entries, while 10000 are allowed; fetch it in/);
  assert.equal((await get("/v1/lists/open-db.txt")).body.split("\n").length, 10_002);
});

test("feed of a renamed list goes on under all of its names", async () => {
  const store = memoryStore(virtualWorld());
  const before = room({ store });
  await before.publish("db", hosts(2));
  const lists = { payments: listOf({ tokens: TOKENS }, { formerly: ["db", "pay"] }) };
  const after = room({ store, lists });
  for (const name of ["payments", "db", "pay"]) {
    const { body, headers } = await after.get(`/v1/lists/${name}.json`);
    assert.deepEqual(JSON.parse(body).list, name, "names on devices stay as they are");
    assert.equal(headers.etag, `"${START / 1_000}"`);
  }
});

test("feed of a list whose former name is written down late is never set back in time", async () => {
  const store = memoryStore(virtualWorld());
  const old = room({ store });
  await old.publish("db", hosts(2));
  await old.world.advance(60_000);
  await old.publish("payments", hosts(5));
  const lists = { payments: listOf({ tokens: TOKENS }, { formerly: ["db"] }) };
  const { deliver, get, resync, world } = room({ store, lists });
  const before = await get("/v1/lists/payments.txt");
  assert.equal(before.body.split("\n").length, 6);
  assert.equal((await get("/v1/lists/db.txt")).headers.etag, before.headers.etag);
  await world.advance(120_000);
  await deliver({ nodes: nodes(6) });
  await resync();
  const after = await get("/v1/lists/payments.txt");
  assert.equal(after.body.split("\n").length, 7, "it goes on from there");
  assert.equal((await store.list("v1/feeds/payments/", 10)).length, 2);
  assert.equal((await store.list("v1/feeds/db/", 10)).length, 1);
});

test("feed that may not begin asks nobody to deliver again, and begins when the last one is heard", async () => {
  const from = [...FROM, { cluster: "us", nodes: {}, addresses: ["ExternalIP"] }];
  const { deliver, get, store, world } = room({
    lists: { db: { ...listOf({ tokens: TOKENS }), from } },
  });
  const key = parseSigningKey(CANARIES.US_KEY);
  const looks = new Set<number>();
  for (let minute = 0; minute < 3; minute += 1) {
    const answer = parseAnswer(JSON.parse((await deliver({ nodes: nodes(1) })).body));
    assert.equal(answer?.again, null);
    await world.advance(60_000);
    looks.add((await store.list("v1/targets/", 99)).length);
  }
  assert.equal(looks.size, 1, "it was looked at once");
  await deliver({ cluster: "us", clusterUid: "uid-us", nodes: [] }, key);
  assert.equal((await get("/v1/lists/db.txt")).body, "203.0.113.1/32\n", "though it has no nodes");
});

test("feed whose list is longer than its limit does not begin with as many as fit", async () => {
  const lists = { db: listOf({ tokens: TOKENS, limit: 3 }) };
  const { deliver, get, resync, store, world } = room({ lists });
  const some = [17, 28, 39].map((id) => node(`n${id}`, [`203.0.113.${id}`]));
  const more = [4, 9].map((id) => node(`n${id}`, [`203.0.113.${id}`]));
  await deliver({ nodes: [...some, ...more] });
  refusedNow(await get("/v1/lists/db.txt"));
  await world.advance(400_000);
  await deliver({ nodes: [...some, ...more] });
  const { lists: reports } = (await resync()) as { lists: readonly { reason: string }[] };
  assert.deepEqual(
    reports.map(({ reason }) => reason),
    ["full"],
  );
  refusedNow(await get("/v1/lists/db.txt"));
  assert.equal((await store.list("v1/feeds/", 10)).length, 0);
  await world.advance(400_000);
  await deliver({ nodes: some });
  await resync();
  const { body } = await get("/v1/lists/db.txt");
  await deliver({ nodes: [...some, ...more] });
  await resync();
  assert.equal((await get("/v1/lists/db.txt")).body, body, "what is there stays");
});

test("feed keeps a removed node until its grace is over, and changes its ETag only then", async () => {
  const { deliver, resync, get, world } = room();
  await deliver({ nodes: nodes(4) });
  const first = await get("/v1/lists/db.txt");
  const etag = first.headers.etag ?? "";
  const given = () => get("/v1/lists/db.txt", { ...BEARER, "if-none-match": etag });
  await world.advance(10_000);
  await deliver({ nodes: nodes(3) });
  await resync();
  assert.equal((await given()).statusCode, 304);
  await world.advance(299_000);
  await deliver({ nodes: nodes(3) });
  await resync();
  assert.equal((await given()).statusCode, 304);
  await world.advance(2_000);
  await deliver({ nodes: nodes(3) });
  await resync();
  const { statusCode, headers, body } = await given();
  assert.equal(statusCode, 200);
  assert.equal(body, "203.0.113.1/32\n203.0.113.2/32\n203.0.113.3/32\n");
  assert(Number(headers.etag?.slice(1, -1)) > Number(etag.slice(1, -1)));
});

test("feed is never emptied by an emptied cluster, and says why nothing goes", async () => {
  const { deliver, resync, get, world } = room();
  await deliver({ nodes: nodes(4) });
  const { headers, body } = await get("/v1/lists/db.txt");
  let lists: readonly { readonly target: string; readonly reason: string | null }[] = [];
  for (let hours = 0; hours < 24; hours += 1) {
    await world.advance(3_600_000);
    await deliver({ nodes: [] });
    ({ lists } = (await resync()) as { lists: typeof lists });
  }
  const reasons = lists.map(({ target, reason }) => [target, reason]);
  assert.deepEqual(reasons, [
    ["feed/db", "ratio"],
    ["feed/empty-db", "ratio"],
    ["feed/open-db", "ratio"],
  ]);
  const after = await get("/v1/lists/db.txt");
  assert.deepEqual([after.statusCode, after.body], [200, body]);
  assert.equal(after.headers.etag, headers.etag);
});

test("feed never begins with a part of its list, neither at first nor after the store was lost", async () => {
  const from = [...FROM, { cluster: "us", nodes: {}, addresses: ["ExternalIP"] }];
  const lists = {
    db: { ...listOf({ tokens: TOKENS }), from: [{ static: ["192.0.2.0/28"] }, ...from] },
  };
  const us = [node("us1", ["198.51.100.1"])];
  const key = parseSigningKey(CANARIES.US_KEY);
  const whole = "192.0.2.0/28\n198.51.100.1/32\n203.0.113.1/32\n";
  for (let life = 1; life <= 2; life += 1) {
    const { deliver, resync, get, world, store } = room({ lists });
    await resync();
    refusedNow(await get("/v1/lists/db.txt"));
    const [report] =
      parseAnswer(JSON.parse((await deliver({ nodes: nodes(1) })).body))?.lists ?? [];
    assert.deepEqual([report?.state, report?.reason], ["withheld", "not-heard"]);
    assert.match(
      report?.message ?? "",
      /^Cannot begin "db" with a part of it: cluster "us" was nev/,
    );
    await world.advance(600_000);
    await deliver({ nodes: nodes(1) });
    await resync();
    refusedNow(await get("/v1/lists/db.txt"));
    await deliver({ cluster: "us", clusterUid: "uid-us", nodes: us }, key);
    assert.equal((await get("/v1/lists/db.txt")).body, whole);
    assert.equal((await store.list("v1/feeds/db/", 10)).length, 1, "in one change");
  }
});

test("feed that has begun gains what is heard, whoever else is silent", async () => {
  const before = room();
  await before.deliver({ nodes: nodes(1) });
  const from = [...FROM, { cluster: "us", nodes: {}, addresses: ["ExternalIP"] }];
  const lists = { db: { ...listOf({ tokens: TOKENS }), from } };
  const after = room({ lists, store: before.store });
  await after.deliver({ nodes: nodes(2), generation: { epoch: 2, sequence: 1 } });
  assert.equal((await after.get("/v1/lists/db.txt")).body, "203.0.113.1/32\n203.0.113.2/32\n");
});

test("feed gets one revision for a burst, and none when nothing has changed", async () => {
  const { deliver, resync, store, world } = room();
  await deliver({
    nodes: Array.from({ length: 200 }, (_, index) => node(`n${index}`, [`203.0.113.${index}`])),
  });
  for (let round = 0; round < 5; round += 1) {
    await world.advance(60_000);
    await resync();
  }
  assert.equal((await store.list("v1/feeds/db/", 10)).length, 1);
});

test("trim() trims every log that a feed has", async () => {
  const lists = { payments: listOf({ tokens: TOKENS }, { formerly: ["db"] }) };
  const { publish, store, wiring, world } = room({ lists });
  for (const name of ["db", "payments", "db", "payments"]) await publish(name, hosts(2));
  await world.advance(25 * 3_600_000);
  await wiring.trim();
  assert.equal((await store.list("v1/feeds/", 10)).length, 2);
});

test("trim() trims the logs of feeds with the others, and leaves the newest", async () => {
  const { publish, store, wiring, world, get } = room();
  for (let count = 1; count <= 3; count += 1) await publish("db", hosts(count));
  await world.advance(25 * 3_600_000);
  await wiring.trim();
  assert.equal((await store.list("v1/feeds/db/", 10)).length, 1);
  assert.equal((await get("/v1/lists/db.txt")).body.split("\n").length, 4);
});

test("feed over HTTP has its whole length, and for a HEAD the same without the body", async (t) => {
  const { wiring, publish } = room();
  await publish("db", [...hosts(3), ...cidrs("2001:db8::/64")]);
  const unused = async () => null;
  const quiet = () => undefined;
  const server = await startServer({
    functions: { feed: makeFeed(wiring) as never, status: unused, webhook: unused },
    host: "127.0.0.1",
    port: 0,
    world: makeWorld({ debug: quiet, info: quiet, warn: quiet, error: quiet, audit: quiet }),
    loopbackKey: Symbol("loopback"),
  });
  t.after(() => server.close());
  const url = `${server.url}/v1/lists/db.txt`;
  const headers = basic(CANARIES.FEED_TOKEN);
  const got = await fetch(url, { headers });
  const text = await got.text();
  assert.equal(got.status, 200);
  assert.equal(got.headers.get("content-length"), String(text.length));
  const head = await fetch(url, { method: "HEAD", headers });
  assert.equal(head.headers.get("content-length"), String(text.length));
  assert.equal(head.headers.get("etag"), got.headers.get("etag"));
  const known = await fetch(url, {
    headers: { ...headers, "if-none-match": got.headers.get("etag") ?? "" },
  });
  assert.equal(known.status, 304);
  assert.equal((await fetch(url)).status, 401);
});

test("feed puts no token into an answer or a log line, whatever it is sent", async () => {
  const { get, publish, world } = room();
  await publish("db", hosts(2));
  const answers = [
    await get("/v1/lists/db.txt"),
    await get(`/v1/lists/db.${CANARIES.FEED_TOKEN}`),
    await get(`/v1/lists/${CANARIES.FEED_TOKEN}.txt`),
    await get("/v1/lists/db.txt", basic("wrong", CANARIES.FEED_TOKEN)),
    await get("/v1/lists/db.txt", { authorization: CANARIES.FEED_TOKEN_NEXT }),
    await get("/v1/lists/db.txt", BEARER, "PUT"),
  ];
  const everything = JSON.stringify([answers, world.lines, world.audits]);
  assert(!everything.includes("canary"), everything);
});
