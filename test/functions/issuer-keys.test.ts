import assert from "node:assert/strict";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { fetchIssuerKeys } from "../../functions/issuer-keys.ts";
import { virtualWorld } from "../virtual-world.ts";
import { makeIssuer } from "../wire/issuer.ts";

/*
 * Against a server that can do everything wrong, over real sockets and the real fetch; the clock
 * alone is the test's.
 */

const KEYS = makeIssuer();
const DISCOVERY = "/.well-known/openid-configuration";

type Route = (url: string) => RequestListener;

const json =
  (body: unknown): Route =>
  () =>
  (_request, response) => {
    response.end(typeof body === "string" ? body : JSON.stringify(body));
  };
const discovery =
  (change: object = {}): Route =>
  (url) =>
  (_request, response) => {
    response.end(JSON.stringify({ issuer: url, jwks_uri: `${url}/keys`, ...change }));
  };

const GOOD: Readonly<Record<string, Route>> = {
  [DISCOVERY]: discovery(),
  // As a real API server does.
  "/keys": () => (request, response) => {
    if (!request.headers.accept?.includes("application/jwk-set+json")) response.writeHead(406);
    response.end(KEYS.keySet);
  },
};

async function startIssuer(t: TestContext, routes: Readonly<Record<string, Route>>) {
  const asked: string[] = [];
  let url = "";
  const server = createServer((request, response) => {
    asked.push(request.url ?? "");
    const route = { ...GOOD, ...routes }[request.url ?? ""];
    if (route === undefined) response.writeHead(404).end();
    else route(url)(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const world = { ...virtualWorld(), fetch: globalThis.fetch };
  return { url, asked, world, keys: (issuer = url) => fetchIssuerKeys(issuer, world) };
}

async function reasonWith(t: TestContext, routes: Readonly<Record<string, Route>>) {
  const { keys, url } = await startIssuer(t, routes);
  const error = await keys().then(
    () => assert.fail("the keys were taken"),
    (thrown: unknown) => thrown,
  );
  assert(error instanceof Error && /^Cannot /.test(error.message), String(error));
  assert(!error.message.includes(url) && !error.message.includes("canary"), error.message);
  return error.message;
}

test("fetchIssuerKeys() follows jwks_uri of the issuer's discovery document", {
  timeout: 20_000,
}, async (t) => {
  const { keys, asked } = await startIssuer(t, {});
  assert.deepEqual(
    (await keys()).keys.map(({ id }) => id),
    ["key-1"],
  );
  assert.deepEqual(asked, [DISCOVERY, "/keys"]);
});

test("fetchIssuerKeys() refuses the document of another issuer, to the letter", {
  timeout: 20_000,
}, async (t) => {
  for (const issuer of ["https://other.example", undefined, 1, null]) {
    const reason = await reasonWith(t, { [DISCOVERY]: discovery({ issuer }) });
    assert.match(reason, /of another issuer|no JSON with issuer/);
  }
  const { keys, url, asked } = await startIssuer(t, {});
  await assert.rejects(keys(`${url}/`), /with or without a slash at the end/);
  assert.deepEqual(asked, [DISCOVERY], "its keys are not even asked for");
});

test("fetchIssuerKeys() follows no redirect, of neither", {
  timeout: 20_000,
}, async (t) => {
  const redirect =
    (to: string): Route =>
    (url) =>
    (_request, response) =>
      response.writeHead(302, { location: url + to }).end();
  for (const path of Object.keys(GOOD)) {
    const reason = await reasonWith(t, { [path]: redirect("/elsewhere"), "/elsewhere": json("") });
    assert.match(reason, /it redirects, which is not followed/);
  }
});

test("fetchIssuerKeys() reads no more than a limit, inflated or not", {
  timeout: 20_000,
}, async (t) => {
  const sizes = { [DISCOVERY]: 64 * 1024, "/keys": 256 * 1024 };
  for (const [path, bytes] of Object.entries(sizes)) {
    const long = json("x".repeat(bytes + 1));
    assert.match(await reasonWith(t, { [path]: long }), new RegExp(`longer than ${bytes} bytes`));
    const bomb: Route = () => (_request, response) => {
      response.writeHead(200, { "content-encoding": "gzip" });
      response.end(gzipSync(Buffer.alloc(50 * 1024 * 1024)));
    };
    assert.match(await reasonWith(t, { [path]: bomb }), /longer than/);
    let written = 0;
    const endless: Route = () => (_request, response) => {
      const more = () => {
        while (!response.destroyed && response.write("x".repeat(65_536))) written += 65_536;
      };
      response.on("drain", more);
      more();
    };
    assert.match(await reasonWith(t, { [path]: endless }), /longer than/);
    assert(written < 64 * 1024 * 1024, `${written} bytes were taken`);
  }
});

test("fetchIssuerKeys() waits three seconds for each answer, whether it never begins or never ends", {
  timeout: 20_000,
}, async (t) => {
  const silent: Route = () => () => undefined;
  const dripping: Route = () => (_request, response) => {
    response.write("{");
  };
  for (const path of Object.keys(GOOD)) {
    for (const route of [silent, dripping]) {
      const { keys, world, asked } = await startIssuer(t, { [path]: route });
      const reading = assert.rejects(keys(), /no answer within 3000 ms/);
      // Sockets are real: the request must be there before its time is over.
      while (!asked.includes(path)) await pause(1);
      await world.advance(3_000);
      await reading;
    }
  }
});

test("fetchIssuerKeys() keeps no connection, and hangs up on a refusal without end", {
  timeout: 20_000,
}, async (t) => {
  const wishes: (string | undefined)[] = [];
  const asking: Route = (url) => (request, response) => {
    wishes.push(request.headers.connection);
    if (request.url === "/keys") response.end(KEYS.keySet);
    else response.end(JSON.stringify({ issuer: url, jwks_uri: `${url}/keys` }));
  };
  await (await startIssuer(t, { [DISCOVERY]: asking, "/keys": asking })).keys();
  assert.deepEqual(wishes, ["close", "close"]);
  let hungUp = () => {};
  const ended = new Promise<void>((resolve) => {
    hungUp = resolve;
  });
  const endless: Route = () => (_request, response) => {
    response.writeHead(500).write("x".repeat(1_000_000));
    response.once("close", hungUp);
  };
  assert.match(await reasonWith(t, { [DISCOVERY]: endless }), /HTTP 500/);
  await ended;
});

test("fetchIssuerKeys() refuses errors, garbage and key sets without a usable key", {
  timeout: 20_000,
}, async (t) => {
  const failing: Route = () => (_request, response) => response.writeHead(403).end("canary");
  for (const path of Object.keys(GOOD)) {
    assert.match(await reasonWith(t, { [path]: failing }), /HTTP 403/);
    for (const body of ["", "<html>canary</html>", "[]", '{"keys":[]}', "{"]) {
      await reasonWith(t, { [path]: json(body) });
    }
    const broken: Route = () => (request) => request.socket.destroy();
    assert.match(await reasonWith(t, { [path]: broken }), /UND_ERR_SOCKET|ECONNRESET|network/);
  }
  const empty = await reasonWith(t, { "/keys": json({ keys: [{ kty: "oct", k: "canary" }] }) });
  assert.match(empty, /no key that can verify tokens/);
});

test("fetchIssuerKeys() asks nobody that jwks_uri may not lead to", {
  timeout: 20_000,
}, async (t) => {
  const { port } = await new Promise<AddressInfo>((resolve) => {
    const trap = createServer(() => assert.fail("somebody asked"));
    t.after(() => trap.close());
    trap.listen(0, "127.0.0.1", () => resolve(trap.address() as AddressInfo));
  });
  for (const uri of [
    `http://localhost:${port}/keys`,
    `https://localhost:${port}/keys`,
    `http://user:canary@127.0.0.1:${port}/keys`,
    "file:///etc/passwd",
    "",
  ]) {
    const reason = await reasonWith(t, { [DISCOVERY]: discovery({ jwks_uri: uri }) });
    assert.match(reason, /Cannot follow jwks_uri/);
  }
});
