import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { makeWiring } from "../../functions/wiring.ts";
import { parseConfig } from "../../lib/config.ts";
import type { Snapshot } from "../../lib/core/snapshot.ts";
import { memoryStore } from "../../lib/stores/memory.ts";
import { MEDIA_TYPE, renderDelivery } from "../../lib/wire/protocol.ts";
import { parseSigningKey, signDelivery } from "../../lib/wire/signature.ts";
import { node, snapshot } from "../core/cases.ts";
import { virtualWorld } from "../virtual-world.ts";
import {
  AUDIENCE,
  CLAIMS,
  encode,
  type Issuer,
  makeIssuer,
  NOW_S,
  SUBJECT,
} from "../wire/issuer.ts";
import { CANARIES, receiver } from "./receiver.ts";

const EU = makeIssuer({ url: "https://oidc.example/id/eu" });
const US = makeIssuer({ url: "https://oidc.example/id/us", kind: "EC", id: "us-1" });
const NODES = [node("a", ["203.0.113.1"]), node("b", ["203.0.113.2"])];
const DISCOVERY = "/.well-known/openid-configuration";

/** Issuers behind a fetch, which count what they are asked and can be taken down. */
function internet(...issuers: readonly Issuer[]) {
  const published = new Map<string, string>();
  const asked: string[] = [];
  const state = { isDown: false, gate: Promise.resolve() };
  const publish = ({ url, keySet }: Issuer) => {
    published.set(url + DISCOVERY, JSON.stringify({ issuer: url, jwks_uri: `${url}/keys` }));
    published.set(`${url}/keys`, keySet);
  };
  issuers.forEach(publish);
  const fetch: typeof globalThis.fetch = async (input, init) => {
    const url = String(input);
    asked.push(url);
    assert.equal(init?.redirect, "error");
    await state.gate;
    if (state.isDown) throw new TypeError("fetch failed: canary");
    const body = published.get(url);
    return new Response(body ?? "", { status: body === undefined ? 404 : 200 });
  };
  return { fetch, asked, publish, state };
}

function authOf(issuer: Issuer, given: object = {}) {
  const { url } = issuer;
  return { issuer: url, audience: AUDIENCE, subject: SUBJECT, jwks: "discover", ...given };
}

const SIGNED = { signature: { keys: ["env:EU_KEY"] } };
const BOUNDS = { bounds: ["203.0.113.0/24"] };

function fileOf(auths: Readonly<Record<string, object>>) {
  const clusters = Object.entries(auths).map(
    ([name, auth]) => [name, { auth, ...BOUNDS }] as const,
  );
  return { clusters: Object.fromEntries(clusters) };
}

interface Room {
  readonly eu: object;
  readonly us?: object;
  readonly net?: ReturnType<typeof internet>;
  readonly env?: Readonly<Record<string, string>>;
  readonly folder?: string;
}

function open({ eu, us = { serviceAccount: authOf(US) }, net = internet(EU, US), ...rest }: Room) {
  const room = receiver({ file: fileOf({ eu, us }), fetch: net.fetch, ...rest });
  const post = (
    credentials: {
      readonly token?: string;
      readonly key?: string;
      readonly authorization?: string;
    },
    given: Partial<Snapshot> = {},
  ) => {
    const body = Buffer.from(renderDelivery(snapshot(NODES, given)));
    const { token, key, authorization } = credentials;
    const timestampS = Math.floor(room.world.now() / 1_000);
    const signature =
      key === undefined
        ? {}
        : signDelivery([parseSigningKey(key)], { id: "eu/1/1", timestampS, body });
    const bearer = authorization ?? (token === undefined ? null : `Bearer ${token}`);
    const headers = {
      "Content-Type": MEDIA_TYPE,
      ...signature,
      ...(bearer === null ? {} : { Authorization: bearer }),
    };
    return room.post({ body, headers });
  };
  /** Its detail; and nothing was stored or written. */
  const refused = async (answering: ReturnType<typeof post>, status = 401) => {
    const response = await answering;
    assert.equal(response.statusCode, status, response.body);
    assert.deepEqual(await room.store.list("", 100), [], "nothing stored");
    assert.deepEqual(room.memory.entries("one"), [], "nothing written");
    const document = JSON.parse(response.body);
    if (status === 401) assert.equal(document.time, new Date(room.world.now()).toISOString());
    return String(document.detail);
  };
  return Object.assign(room, { net, deliverWith: post, refused });
}

const OTHER_SUBJECT = "system:serviceaccount:other:forwarder";
const TOKEN_ONLY = { serviceAccount: authOf(EU) };
const BOTH = { ...TOKEN_ONLY, ...SIGNED };

test("webhook admits a delivery with a token of the cluster's service account, from keys that it discovers", async () => {
  const { deliverWith, memory, net } = open({ eu: TOKEN_ONLY });
  const response = await deliverWith({ token: EU.token() });
  assert.equal(response.statusCode, 200, response.body);
  assert.equal(memory.entries("one").length, 2);
  assert.deepEqual(net.asked, [EU.url + DISCOVERY, `${EU.url}/keys`]);
  assert.equal((await deliverWith({ token: EU.token() })).statusCode, 200);
  assert.equal(net.asked.length, 2, "once");
});

test("webhook takes any spelling of the scheme, and nothing that only resembles a bearer token", async () => {
  const { deliverWith, refused } = open({ eu: TOKEN_ONLY });
  const token = EU.token();
  for (const authorization of [
    token,
    `Basic ${token}`,
    `Bearer${token}`,
    `Bearer ${token}, Bearer ${token}`,
    "Bearer",
    "Bearer ",
    `Bearer "${token}"`,
  ]) {
    await refused(deliverWith({ authorization }));
  }
  assert.equal((await deliverWith({ authorization: `bearer  ${token} ` })).statusCode, 200);
});

test("webhook refuses forged, expired, wrong-audience and wrong-subject tokens, and writes nothing", async () => {
  const { deliverWith, refused } = open({ eu: TOKEN_ONLY });
  const [head = "", body = "", tail = ""] = EU.token().split(".");
  const hmac = (secret: string) => {
    const signed = `${encode({ alg: "HS256", kid: "key-1" })}.${body}`;
    return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
  };
  const stranger = makeIssuer({ url: EU.url });
  const cases: readonly (readonly [string, RegExp])[] = [
    [stranger.token(), /not of its issuer's key/],
    [`${head}.${encode({ ...CLAIMS, exp: NOW_S + 9_999 })}.${tail}`, /not of its issuer's key/],
    [EU.token({ exp: NOW_S - 61 }), /it expired 61 s ago/],
    [EU.token({ nbf: NOW_S + 62 }), /begins in 62 s/],
    [EU.token({ aud: [EU.url] }), /another audience/],
    [EU.token({ sub: "system:serviceaccount:default:default" }), /another service account/],
    [EU.token({ iss: "https://evil.example" }), /no cluster is configured with its issuer/],
    [`${encode({ alg: "none" })}.${body}.`, /no signed JSON Web Token/],
    [hmac(EU.pem), /token's header/],
    ["canary-opaque-token", /no signed JSON Web Token/],
  ];
  for (const [token, reason] of cases) assert.match(await refused(deliverWith({ token })), reason);
});

test("webhook asks no issuer but the configured ones, whatever a token names", async () => {
  const { deliverWith, refused, net } = open({ eu: TOKEN_ONLY });
  const evil = makeIssuer({ url: "https://evil.example" });
  net.publish(evil);
  await refused(deliverWith({ token: evil.token({}, { jku: "https://evil.example/keys" }) }));
  assert.deepEqual(net.asked, []);
});

test("webhook answers 403 to a valid token of cluster A in a message of cluster B", async () => {
  const { deliverWith, refused } = open({ eu: TOKEN_ONLY });
  const detail = await refused(deliverWith({ token: US.token() }), 403);
  assert.match(detail, /this credential speaks for "us"/);
  const other = await refused(deliverWith({ token: EU.token() }, { cluster: "us" }), 403);
  assert.match(other, /this credential speaks for "eu"/);
});

test("webhook answers 409 to an old body with a fresh token: the generation decides", async () => {
  const { deliverWith, memory } = open({ eu: TOKEN_ONLY });
  const generation = (sequence: number) => ({ generation: { epoch: 1, sequence } });
  await deliverWith({ token: EU.token() }, generation(2));
  const replayed = await deliverWith({ token: EU.token() }, { ...generation(1), nodes: [] });
  assert.equal(replayed.statusCode, 409, replayed.body);
  assert.equal(JSON.parse(replayed.body).type, "https://kube-allowlist.dev/problems/stale");
  assert.equal(memory.entries("one").length, 2);
});

test("webhook demands both where both are configured, and of the same cluster", async () => {
  const { deliverWith, refused } = open({ eu: BOTH });
  const token = EU.token();
  const key = CANARIES.EU_KEY;
  assert.match(await refused(deliverWith({ token })), /webhook-id.*sign the delivery/);
  assert.match(await refused(deliverWith({ key })), /Cannot find a token/);
  const wrong = `whsec_${Buffer.alloc(32, 9).toString("base64")}`;
  assert.match(await refused(deliverWith({ token, key: wrong })), /no known key made it/);
  assert.match(await refused(deliverWith({ token: EU.token({ exp: 1 }), key })), /expired/);
  assert.match(
    await refused(deliverWith({ token: US.token(), key })),
    /token and signature are of two/,
  );
  assert.equal((await deliverWith({ token, key })).statusCode, 200);
});

test("webhook ignores the credential that a cluster does not demand, right or wrong", async () => {
  const signedOnly = open({ eu: SIGNED });
  const key = CANARIES.EU_KEY;
  for (const authorization of ["Bearer garbage", "Basic YTpi", `Bearer ${EU.token({ exp: 1 })}`]) {
    assert.equal((await signedOnly.deliverWith({ key, authorization })).statusCode, 200);
  }
  assert.deepEqual(signedOnly.net.asked, [], "nobody is asked for nothing");
  const tokenOnly = open({ eu: TOKEN_ONLY });
  const wrong = `whsec_${Buffer.alloc(32, 9).toString("base64")}`;
  assert.equal((await tokenOnly.deliverWith({ key: wrong, token: EU.token() })).statusCode, 200);
});

test("webhook takes neither credential for a cluster that demands the other", async () => {
  const signedOnly = open({ eu: SIGNED });
  assert.match(await signedOnly.refused(signedOnly.deliverWith({ token: EU.token() })), /issuer/);
  const tokenOnly = open({ eu: TOKEN_ONLY, us: SIGNED });
  // The key is of the cluster us here, so the message of eu is another cluster's.
  await tokenOnly.refused(tokenOnly.deliverWith({ key: CANARIES.EU_KEY }), 403);
  assert.match(await tokenOnly.refused(tokenOnly.deliverWith({})), /Cannot find a token/);
});

test("webhook answers 503 with Retry-After while no keys can be had, and admits once they can", async () => {
  const { deliverWith, refused, net, world } = open({ eu: TOKEN_ONLY });
  net.state.isDown = true;
  const response = await deliverWith({ token: EU.token() });
  assert.equal(response.headers["retry-after"], "5");
  assert.match(await refused(deliverWith({ token: EU.token() }), 503), /keys of their issuer/);
  for (let request = 0; request < 20; request += 1) {
    await refused(deliverWith({ token: EU.token() }), 503);
  }
  assert.equal(net.asked.length, 1, "a flood of deliveries is no flood of fetches");
  net.state.isDown = false;
  await world.advance(5_000);
  assert.equal((await deliverWith({ token: EU.token() })).statusCode, 200);
});

test("webhook takes a new key after one refetch, and a flood of forged key ids makes no more of them", async () => {
  const { deliverWith, net, world } = open({ eu: TOKEN_ONLY });
  assert.equal((await deliverWith({ token: EU.token() })).statusCode, 200);
  await world.advance(60_000);
  const rotated = makeIssuer({ url: EU.url, id: "key-2" });
  net.publish({ ...EU, keySet: JSON.stringify({ keys: [...EU.keys, ...rotated.keys] }) });
  const generation = { epoch: 1, sequence: 2 };
  assert.equal((await deliverWith({ token: rotated.token() }, { generation })).statusCode, 200);
  assert.equal(net.asked.length, 4);
  const clean = open({ eu: TOKEN_ONLY });
  await clean.refused(clean.deliverWith({ token: EU.token({}, { kid: "forged" }) }));
  const codes = new Map<number, number>();
  for (let forged = 0; forged < 200; forged += 1) {
    const { statusCode, body } = await clean.deliverWith({
      token: makeForgery(`forged-${forged}`),
    });
    assert.match(body, /none of its issuer's known keys/);
    codes.set(statusCode, (codes.get(statusCode) ?? 0) + 1);
    await clean.world.advance(500);
  }
  assert.deepEqual([...codes], [[401, 200]]);
  assert.deepEqual(await clean.store.list("", 1), []);
  assert(clean.net.asked.length <= 10, `${clean.net.asked.length} fetches in 100 s`);
  assert.equal((await clean.deliverWith({ token: EU.token() })).statusCode, 200, "good keys stay");
});

test("webhook answers 503 to a new key that cannot be asked for now, and takes it as soon as it can", async () => {
  const { deliverWith, net, world, memory } = open({ eu: TOKEN_ONLY });
  const generation = (sequence: number) => ({ generation: { epoch: 1, sequence } });
  await deliverWith({ token: EU.token() }, generation(1));
  await world.advance(60_000);
  const rotated = makeIssuer({ url: EU.url, id: "key-2" });
  const withNew = { ...EU, keySet: JSON.stringify({ keys: [...EU.keys, ...rotated.keys] }) };
  net.state.isDown = true;
  const waiting = await deliverWith({ token: rotated.token() }, generation(2));
  assert.equal(waiting.statusCode, 503, waiting.body);
  assert.equal(waiting.headers["retry-after"], "30");
  assert.match(waiting.body, /whether there are new ones cannot be asked for now; try again/);
  // It answers again, and is not asked before its time, whoever comes.
  net.state.isDown = false;
  await world.advance(1_000);
  const asked = net.asked.length;
  const paused = await deliverWith({ token: rotated.token() }, generation(2));
  assert.deepEqual([paused.statusCode, paused.headers["retry-after"]], [503, "29"]);
  assert.equal(net.asked.length, asked);
  assert.equal((await deliverWith({ token: EU.token() }, generation(3))).statusCode, 200);
  await world.advance(29_000);
  assert.equal((await deliverWith({ token: makeForgery("forged") })).statusCode, 401);
  net.publish(withNew);
  await world.advance(500);
  const behind = await deliverWith({ token: rotated.token() }, generation(4));
  assert.equal(behind.statusCode, 401, "the keys were asked for half a second ago");
  await world.advance(30_000);
  assert.equal((await deliverWith({ token: rotated.token() }, generation(4))).statusCode, 200);
  assert.equal(memory.entries("one").length, 2);
});

test("webhook judges by a new key that another request asked for, also before it came itself", {
  timeout: 10_000,
}, async () => {
  const { deliverWith, net, world } = open({ eu: TOKEN_ONLY });
  await deliverWith({ token: EU.token() });
  await world.advance(60_000);
  const rotated = makeIssuer({ url: EU.url, id: "key-2" });
  net.publish({ ...EU, keySet: JSON.stringify({ keys: [...EU.keys, ...rotated.keys] }) });
  let arrive = () => {};
  net.state.gate = new Promise<void>((resolve) => {
    arrive = resolve;
  });
  const generation = (sequence: number) => ({ generation: { epoch: 1, sequence } });
  const asking = deliverWith({ token: makeForgery("forged") });
  await world.advance(500);
  const later = [
    deliverWith({ token: rotated.token() }, generation(2)),
    deliverWith({ token: rotated.token({ exp: NOW_S - 300 }) }, generation(2)),
    deliverWith({ token: makeForgery("other") }),
  ];
  await world.advance(1);
  arrive();
  const answers = await Promise.all([asking, ...later]);
  assert.deepEqual(
    answers.map(({ statusCode }) => statusCode),
    [401, 200, 401, 401],
  );
  assert.match(answers[2]?.body ?? "", /it expired/);
});

test("webhook refuses no token while keys that may have signed it cannot be had, although others are known", async () => {
  const pinnedKeys = makeIssuer({ url: EU.url, id: "pinned" });
  const jwks = { keys: pinnedKeys.keys };
  const us = { serviceAccount: authOf(EU, { subject: OTHER_SUBJECT }) };
  const room = open({ eu: { serviceAccount: authOf(EU, { jwks }) }, us });
  room.net.state.isDown = true;
  const token = pinnedKeys.token();
  for (const doubtful of [EU.token({ sub: OTHER_SUBJECT }), pinnedKeys.token({ aud: ["other"] })]) {
    const detail = await room.refused(room.deliverWith({ token: doubtful }), 503);
    assert.match(detail, /the keys of their issuer cannot be had; try again/);
  }
  assert.equal((await room.deliverWith({ token })).statusCode, 200, "a known key of its own");
  room.net.state.isDown = false;
  await room.world.advance(5_000);
  const unfit = await room.deliverWith({ token: pinnedKeys.token({ aud: ["other"] }) });
  assert.equal(unfit.statusCode, 401, "all keys are known now");
});

test("webhook asks an issuer once for all clusters of it", async () => {
  const us = { serviceAccount: authOf(EU, { subject: OTHER_SUBJECT }) };
  const { deliverWith, net, world } = open({ eu: TOKEN_ONLY, us });
  assert.equal((await deliverWith({ token: EU.token() })).statusCode, 200);
  await deliverWith({ token: EU.token({ sub: OTHER_SUBJECT }) });
  assert.deepEqual(net.asked, [EU.url + DISCOVERY, `${EU.url}/keys`]);
  await world.advance(60_000);
  await deliverWith({ token: makeForgery("forged") });
  assert.equal(net.asked.length, 4);
});

const FORGER = makeIssuer({ url: EU.url });

function makeForgery(kid: string): string {
  return FORGER.token({}, { kid });
}

test("webhook goes on with the keys it has while the issuer is down, and forgets those it took back", async () => {
  const { deliverWith, net, world } = open({ eu: TOKEN_ONLY });
  await deliverWith({ token: EU.token() });
  net.state.isDown = true;
  await world.advance(3_600_000);
  const later = { exp: NOW_S + 9_999, nbf: NOW_S };
  assert.equal((await deliverWith({ token: EU.token(later) })).statusCode, 200);
  net.state.isDown = false;
  net.publish({ ...EU, keySet: makeIssuer({ url: EU.url, id: "key-2" }).keySet });
  await world.advance(60_000);
  assert.equal((await deliverWith({ token: EU.token(later) })).statusCode, 401);
});

function pinned(t: TestContext, text: string) {
  const folder = mkdtempSync(join(tmpdir(), "kube-allowlist-pinned-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const write = (next: string) => writeFileSync(join(folder, "eu.jwks.json"), next);
  write(text);
  return { folder, write };
}

test("webhook verifies with keys pinned in a file, a variable or the configuration, and asks nobody", async (t) => {
  const { folder } = pinned(t, EU.keySet);
  const issuer = "https://kubernetes.default.svc.cluster.local";
  for (const jwks of ["file:eu.jwks.json", "env:EU_JWKS", JSON.parse(EU.keySet)]) {
    const eu = { serviceAccount: authOf(EU, { jwks, issuer }) };
    const room = open({ eu, folder, env: { EU_JWKS: EU.keySet } });
    const token = EU.token({ iss: issuer });
    assert.equal((await room.deliverWith({ token })).statusCode, 200, JSON.stringify(jwks));
    assert.deepEqual(room.net.asked, []);
  }
});

test("webhook reads a pinned file again for a key that it does not know, and keeps the keys when it is broken", async (t) => {
  const { folder, write } = pinned(t, EU.keySet);
  const eu = { serviceAccount: authOf(EU, { jwks: "file:eu.jwks.json" }) };
  const { deliverWith, world } = open({ eu, folder });
  const rotated = makeIssuer({ url: EU.url, id: "key-2" });
  assert.equal((await deliverWith({ token: rotated.token() })).statusCode, 401);
  await world.advance(10_000);
  write(JSON.stringify({ keys: [...EU.keys, ...rotated.keys] }));
  assert.equal((await deliverWith({ token: rotated.token() })).statusCode, 200);
  write("{ half");
  await world.advance(61_000);
  const again = { generation: { epoch: 1, sequence: 2 } };
  assert.equal((await deliverWith({ token: EU.token() }, again)).statusCode, 200);
  assert(world.lines.some(({ message }) => message.includes("going on with those that are known")));
  write(rotated.keySet);
  await world.advance(60_000);
  assert.equal((await deliverWith({ token: EU.token() })).statusCode, 401, "taken out, forgotten");
});

test("webhook refuses what a known key signed wrongly, although other keys cannot be had", async (t) => {
  const { folder, write } = pinned(t, makeIssuer({ id: "first" }).keySet);
  const us = { serviceAccount: authOf(EU, { subject: OTHER_SUBJECT }) };
  const eu = { serviceAccount: authOf(EU, { jwks: "file:eu.jwks.json" }) };
  const { deliverWith, refused, net, world } = open({ eu, us, folder });
  await refused(deliverWith({ token: makeForgery("forged") }));
  // The file is read again because the key is not known, and not because of its age.
  await world.advance(40_000);
  net.state.isDown = true;
  const second = makeIssuer({ url: EU.url, id: "second" });
  write(second.keySet);
  const detail = await refused(deliverWith({ token: second.token({ aud: ["other"] }) }));
  assert.match(detail, /audience/);
  await world.advance(60_000);
  await refused(deliverWith({ token: makeForgery("forged") }), 503);
});

test("wiring refuses one pinned key for the same subject of two clusters, however it is written", () => {
  const other = makeIssuer({ url: EU.url, id: "other" });
  const kidless = EU.keys.map((key) => ({ ...key, kid: undefined }));
  const rulesWith = (given: object) => {
    const eu = { serviceAccount: authOf(EU, { jwks: { keys: EU.keys } }) };
    const us = { serviceAccount: authOf(EU, { audience: "us", ...given }) };
    const lists = { lists: {}, version: 1, installation: "a", store: { kind: "memory" } };
    const reading = parseConfig({ ...lists, ...fileOf({ eu, us }) });
    assert(reading.kind === "parsed", JSON.stringify(reading));
    const env = { US: JSON.stringify({ keys: kidless }) };
    const world = virtualWorld();
    const made = { config: reading.config, world, env, folder: ".", store: memoryStore(world) };
    return makeWiring(made).tokenRules;
  };
  const both = { keys: [...other.keys, ...kidless] };
  const sentence =
    /^clusters\.us\.auth\.serviceAccount\.jwks: Cannot tell clusters "eu" and "us" apart: one key/;
  for (const given of [{ jwks: both }, { jwks: "env:US" }, { jwks: both, issuer: "own" }]) {
    assert.throws(rulesWith(given), (error: Error) => sentence.test(error.message));
  }
  assert.equal(rulesWith({ jwks: { keys: other.keys } })().length, 2, "keys of its own");
  assert.equal(rulesWith({ jwks: both, subject: OTHER_SUBJECT })().length, 2, "its own subject");
});

test("wiring names every pinned key set that cannot be used, with its path", async (t) => {
  const { folder } = pinned(t, JSON.stringify({ issuer: EU.url, keys: EU.keys }));
  const rulesWith = (jwks: unknown, issuer = EU.url) => {
    const file = fileOf({ eu: { serviceAccount: authOf(EU, { jwks, issuer }) } });
    const lists = { lists: {}, version: 1, installation: "a", store: { kind: "memory" } };
    const reading = parseConfig({ ...lists, ...file });
    assert(reading.kind === "parsed", JSON.stringify(reading));
    const world = virtualWorld();
    const store = memoryStore(world);
    const wiring = makeWiring({ config: reading.config, world, env: { E: "{" }, folder, store });
    return wiring.tokenRules;
  };
  assert.equal(rulesWith("file:eu.jwks.json")().length, 1);
  const path = "clusters.eu.auth.serviceAccount.jwks: ";
  const cases: readonly (readonly [unknown, RegExp])[] = [
    ["file:none.json", /Cannot resolve file:none.json: ENOENT/],
    ["env:NONE", /variable is not set/],
    ["env:E", /Cannot read the key set/],
    [{ keys: [{ kty: "oct", k: "canary" }] }, /no key that can verify tokens/],
  ];
  for (const [jwks, reason] of cases) {
    assert.throws(rulesWith(jwks), (error: Error) => {
      assert(error.message.startsWith(path) && reason.test(error.message), error.message);
      return !error.message.includes("canary");
    });
  }
  const other = rulesWith("file:eu.jwks.json", "https://other.example");
  assert.throws(other, /the issuer in it is not the configured one/);
});

test("webhook puts no part of a token into an answer or a log line", async () => {
  const room = open({ eu: BOTH });
  const canary = "canary-subject";
  const tokens = [
    EU.token(),
    EU.token({ sub: canary }),
    EU.token({ iss: canary }),
    makeForgery("x"),
  ];
  const answers = await Promise.all(tokens.map((token) => room.deliverWith({ token })));
  const everything = JSON.stringify([answers, room.world.lines, room.world.audits]);
  assert(!everything.includes("canary"));
  for (const token of tokens) {
    for (const part of token.split(".")) assert(!everything.includes(part), part);
  }
});

test("webhook looks at length and media type before it looks at a token", async () => {
  const { post, net } = open({ eu: TOKEN_ONLY });
  const authorization = `Bearer ${EU.token()}`;
  const typed = { "content-type": "application/json", authorization };
  assert.equal((await post({ body: Buffer.from("{}"), headers: typed })).statusCode, 415);
  const large = Buffer.alloc(8 * 1024 * 1024 + 1);
  const headers = { "content-type": MEDIA_TYPE, authorization };
  assert.equal((await post({ body: large, headers })).statusCode, 413);
  assert.deepEqual(net.asked, []);
  assert.equal((await post({ body: Buffer.from("{"), headers })).statusCode, 422);
});

test("webhook takes deliveries of a retired cluster's service account no more", async () => {
  const file = fileOf({ eu: TOKEN_ONLY });
  const clusters = { eu: { ...file.clusters.eu, retired: true } };
  const room = receiver({ file: { clusters }, fetch: internet(EU).fetch });
  const body = Buffer.from(renderDelivery(snapshot(NODES)));
  const headers = { "content-type": MEDIA_TYPE, authorization: `Bearer ${EU.token()}` };
  assert.equal((await room.post({ body, headers })).statusCode, 403);
});
