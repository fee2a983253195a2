import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { proveAll, readTokenFile, sendTokenOf, signWith } from "../../forwarder/authenticator.ts";
import { runForwarder } from "../../forwarder/main.ts";
import { parseSettings } from "../../forwarder/settings.ts";
import { parseDelivery } from "../../lib/wire/protocol.ts";
import { parseSigningKey, verifyDelivery } from "../../lib/wire/signature.ts";
import {
  AUDIENCE,
  CLAIMS,
  compact,
  ISSUER,
  makeIssuer,
  NOW,
  NOW_S,
  SUBJECT,
} from "../wire/issuer.ts";
import { manualWorld } from "./clock.ts";
import { SECRET } from "./receiver.ts";
import { external, startCluster } from "./stage.ts";

const EU = makeIssuer();
const SERVER = "https://10.0.0.1:6443";
const BODY = Buffer.from("{}");

function fileOf(t: TestContext, text: string, name = "token") {
  const folder = mkdtempSync(join(tmpdir(), "kube-allowlist-token-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, name);
  mkdirSync(dirname(path), { recursive: true });
  const write = (next: string) => writeFileSync(path, next);
  write(text);
  return { path, write, remove: () => rmSync(path) };
}

function senderOf(path: string, server: string | null = SERVER) {
  const warnings: string[] = [];
  const send = sendTokenOf(path, { server, warn: (message) => warnings.push(message) });
  const bearer = async (time = NOW) => (await send(BODY, { id: "a/1/1", time })).authorization;
  return { bearer, warnings };
}

test("sendTokenOf() sends the token of its file, without what editors put around it", async (t) => {
  const token = EU.token();
  const { path } = fileOf(t, `\n ${token}\r\n\n`);
  assert.equal(await senderOf(path).bearer(), `Bearer ${token}`);
});

test("sendTokenOf() reads the file for every delivery, as the kubelet exchanges what it links to", async (t) => {
  const { path } = fileOf(t, EU.token(), "..2026/token");
  const mount = dirname(dirname(path));
  symlinkSync("..2026", join(mount, "..data"));
  symlinkSync("..data/token", join(mount, "token"));
  const { bearer, warnings } = senderOf(join(mount, "token"));
  assert.equal(await bearer(), `Bearer ${EU.token()}`);
  const next = EU.token({ exp: NOW_S + 1_200 });
  mkdirSync(join(mount, "..2027"));
  writeFileSync(join(mount, "..2027", "token"), next);
  symlinkSync("..2027", join(mount, "..data_tmp"));
  renameSync(join(mount, "..data_tmp"), join(mount, "..data"));
  assert.equal(await bearer(), `Bearer ${next}`);
  assert.deepEqual(warnings, []);
});

test("sendTokenOf() goes on with the last token until it expires while its file cannot be used, and says so", async (t) => {
  const token = EU.token({ exp: NOW_S + 600 });
  const { path, write, remove } = fileOf(t, token);
  const { bearer, warnings } = senderOf(path);
  await bearer();
  for (const text of ["", " \n", token.slice(0, 100), "{}", EU.token({ aud: [ISSUER] })]) {
    write(text);
    assert.equal(await bearer(NOW + 599_000), `Bearer ${token}`);
    assert.match(
      warnings.at(-1) ?? "",
      /^Cannot send the token in .*; going on with the last one$/,
    );
  }
  remove();
  assert.equal(await bearer(NOW + 599_000), `Bearer ${token}`);
  assert.match(warnings.at(-1) ?? "", /ENOENT/);
  await assert.rejects(bearer(NOW + 600_000), /ENOENT.*; the last one has expired$/);
  write(EU.token({ exp: NOW_S + 1_200 }));
  assert.match((await bearer(NOW + 600_000)) ?? "", /^Bearer /);
  assert(!JSON.stringify(warnings).includes(token.slice(0, 20)), "no warning shows a token");
});

test("sendTokenOf() rejects with a sentence while there never was a token", async (t) => {
  const { path, remove } = fileOf(t, "");
  await assert.rejects(senderOf(path).bearer(), /the file is empty$/);
  remove();
  await assert.rejects(senderOf(path).bearer(), /^Error: Cannot send the token in .*ENOENT/);
});

test("readTokenFile() never gives what the API server or a cloud account would take", async (t) => {
  const canary = "canary";
  for (const aud of [
    "https://kubernetes.default.svc",
    ["https://kubernetes.default.svc.cluster.local", "k3s"],
    [AUDIENCE, "https://kubernetes.default.svc"],
    [ISSUER],
    [SERVER],
    ["https://10.0.0.1:6443/"],
    ["sts.amazonaws.com"],
  ]) {
    const { path } = fileOf(t, EU.token({ aud, jti: canary }));
    const refusal = /the API server or a cloud would take it, too; ask for one with an audience/;
    await assert.rejects(readTokenFile(path, SERVER), refusal, JSON.stringify(aud));
  }
  // A legacy token of a Secret: for everything, and for ever.
  const legacy = compact(
    { alg: "RS256", kid: "key-1" },
    { iss: "kubernetes/serviceaccount", sub: SUBJECT },
    EU.privateKey,
  );
  for (const text of [legacy, "opaque-canary", `${EU.token()} ${EU.token()}`]) {
    await assert.rejects(readTokenFile(fileOf(t, text).path, SERVER), (error: Error) => {
      assert.match(error.message, /ask for one with an audience of its own/);
      return !error.message.includes(canary);
    });
  }
  const own = "var/run/secrets/kubernetes.io/serviceaccount/token";
  for (const name of [own, own.replace("token", "..data/token")]) {
    const { path } = fileOf(t, EU.token(), name);
    await assert.rejects(readTokenFile(path, SERVER), /it is the one for the API server/);
  }
});

test("proveAll() gives one delivery a token and a signature, each of which verifies", async (t) => {
  const { path } = fileOf(t, EU.token());
  const key = parseSigningKey(SECRET);
  const send = sendTokenOf(path, { server: null, warn: () => undefined });
  const headers = await proveAll([signWith([key]), send])(BODY, { id: "a/1/1", time: NOW });
  assert.equal(headers.authorization, `Bearer ${EU.token()}`);
  const keys = [{ cluster: "a", keys: [key] }];
  const verdict = verifyDelivery(keys, { headers, body: BODY }, { now: NOW });
  assert.equal(verdict.kind, "verified");
});

test("parseSettings() refuses a token beside a password in the URL, and shows neither", () => {
  const reading = parseSettings({
    KUBE_ALLOWLIST_URL: "https://user:canary@hook.example",
    KUBE_ALLOWLIST_CLUSTER: "eu",
    KUBE_ALLOWLIST_TOKEN_FILE: "/token",
  });
  assert(reading.kind === "invalid");
  assert.deepEqual(
    reading.problems.map(({ path }) => path),
    ["KUBE_ALLOWLIST_TOKEN_FILE"],
  );
  assert(!JSON.stringify(reading).includes("canary"));
});

/** A receiver that takes one token at a time, as if all others had expired or been taken back. */
async function startReceiver(t: TestContext, accepted: string) {
  const state = { accepted, authorizations: [] as (string | undefined)[], admitted: 0 };
  const server = createServer((request, response) => {
    void request.toArray().then((chunks) => {
      const { authorization } = request.headers;
      state.authorizations.push(authorization);
      if (authorization !== `Bearer ${state.accepted}`) {
        response.writeHead(401, { "content-type": "application/problem+json" }).end("{}");
        return;
      }
      const reading = parseDelivery(Buffer.concat(chunks).toString("utf8"));
      assert(reading.kind === "parsed");
      state.admitted += 1;
      const { generation } = reading.snapshot;
      const answer = { generation, readyNodes: [], unlisted: [], again: null, lists: [] };
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answer));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/snapshots`);
  return Object.assign(state, { url });
}

async function forward(
  t: TestContext,
  options: { readonly accepted: string; readonly path: string },
) {
  const world = manualWorld();
  const server = await startCluster(t, { world });
  const receiver = await startReceiver(t, options.accepted);
  const end = new AbortController();
  let isOver = false;
  const settings = {
    url: receiver.url,
    cluster: "eu",
    credential: { signing: null, tokenFile: options.path },
    labels: [],
    pods: [],
    gate: null,
    listen: null,
    lease: { kind: "memory" },
    heartbeatMs: 300_000,
    proxy: {},
  } as const;
  const running = runForwarder(settings, {
    world,
    signal: end.signal,
    kubeConfig: { kind: "text", text: server.kubeconfig },
  }).finally(() => {
    isOver = true;
  });
  t.after(async () => {
    end.abort(new Error("the end"));
    await world.until("the forwarder's end", () => isOver, { withinMs: 40_000 });
    await running;
  });
  return { world, server, receiver };
}

test("runForwarder() sends the token that is in the file now, after a rotation", {
  timeout: 30_000,
}, async (t) => {
  const { path, write } = fileOf(t, EU.token());
  const { world, server, receiver } = await forward(t, { accepted: EU.token(), path });
  await world.until("an admission", () => receiver.admitted === 1);
  const next = EU.token({ exp: NOW_S + 1_200 });
  write(next);
  receiver.accepted = next;
  server.nodes.put("a", external("203.0.113.1"));
  await world.until("another admission", () => receiver.admitted === 2);
  assert.deepEqual(receiver.authorizations, [`Bearer ${EU.token()}`, `Bearer ${next}`]);
});

test("runForwarder() reads the token again after a 401, and sends that one at once, one time", {
  timeout: 30_000,
}, async (t) => {
  const { path, write } = fileOf(t, EU.token());
  const { world, receiver } = await forward(t, { accepted: EU.token(), path });
  await world.until("an admission", () => receiver.admitted === 1);
  const next = EU.token({ exp: NOW_S + 1_200 });
  // Exchanged between the reading and the answer.
  receiver.accepted = next;
  const take = receiver.authorizations.push.bind(receiver.authorizations);
  receiver.authorizations.push = (...given) => {
    write(next);
    return take(...given);
  };
  await world.until("the next admission", () => receiver.admitted === 2, { withinMs: 400_000 });
  const sent = receiver.authorizations.map((one) => one === `Bearer ${next}`);
  assert.deepEqual(sent, [false, false, true]);
  receiver.accepted = EU.token({ exp: NOW_S + 1_800 });
  await world.advance(600_000);
  const refused = receiver.authorizations.length - 3;
  assert(
    refused >= 3 && refused <= 20,
    `${refused} attempts: never given up, but ever more seldom`,
  );
});

test("runForwarder() never sends the API server's token to the webhook, nor logs any", {
  timeout: 30_000,
}, async (t) => {
  const own = EU.token({ aud: ["https://kubernetes.default.svc"] });
  const { path, write } = fileOf(t, own);
  const { world, receiver } = await forward(t, { accepted: own, path });
  await world.advance(120_000);
  assert.deepEqual(receiver.authorizations, [], "nothing was sent at all");
  assert(
    world.lines.some(({ message }) => /the API server or a cloud would take it/.test(message)),
  );
  const good = EU.token();
  write(good);
  receiver.accepted = good;
  await world.until("an admission", () => receiver.admitted === 1, { withinMs: 120_000 });
  const said = JSON.stringify(world.lines);
  assert.doesNotMatch(JSON.stringify(receiver.authorizations), /embedded-1/);
  for (const secret of ["embedded-1", ...own.split("."), ...good.split(".")]) {
    assert(!said.includes(secret));
  }
  assert(!said.includes(CLAIMS.jti));
});
