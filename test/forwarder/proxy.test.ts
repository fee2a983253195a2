import assert from "node:assert/strict";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { connectionText } from "../../forwarder/connection-error.ts";
import { openConnections, sendRequest } from "../../forwarder/http.ts";
import { proxyOf } from "../../forwarder/proxy.ts";
import { openWebhook } from "../../forwarder/webhook.ts";

const PROXY = "http://proxy.example:3128";

function isProxied(url: string, exceptions: string): boolean {
  return proxyOf({ HTTPS_PROXY: PROXY, NO_PROXY: exceptions })(new URL(url)) !== null;
}

test("proxyOf() takes the lower-case variable first, and one for each scheme", () => {
  const url = (scheme: string) => new URL(`${scheme}://hook.example/`);
  assert.equal(proxyOf({ HTTPS_PROXY: "a", https_proxy: "b" })(url("https")), "b");
  assert.equal(proxyOf({ HTTPS_PROXY: "a", https_proxy: "" })(url("https")), "a");
  assert.equal(proxyOf({ HTTPS_PROXY: "a", HTTP_PROXY: "c" })(url("http")), "c");
  assert.equal(proxyOf({ HTTP_PROXY: "c" })(url("https")), null);
  const both = { HTTPS_PROXY: "a", NO_PROXY: "*", no_proxy: "other.example" };
  assert.equal(proxyOf(both)(url("https")), "a");
});

test("proxyOf() asks no proxy for this host and for names that only the cluster knows", () => {
  for (const host of [
    "127.0.0.1",
    "127.8.0.1",
    "localhost",
    "[::1]",
    "a.b.svc",
    "a.b.svc.cluster.local",
  ]) {
    assert.equal(isProxied(`https://${host}/`, ""), false, host);
  }
  assert.equal(isProxied("https://svc.example/", ""), true);
});

for (const [exceptions, direct, proxied] of [
  ["*", ["https://a.example/", "https://10.0.0.1/"], []],
  [
    "hook.example",
    ["https://hook.example/", "https://a.hook.example/"],
    ["https://xhook.example/"],
  ],
  ["HOOK.example.", [], ["https://hook.example.org/"]],
  [".hook.example", ["https://a.hook.example/"], ["https://hook.example/"]],
  ["*.hook.example", ["https://a.b.hook.example/"], ["https://hook.example/"]],
  ["other.example, hook.example", ["https://HOOK.example/"], ["https://third.example/"]],
  ["a.example hook.example:8443", ["https://hook.example:8443/"], ["https://hook.example/"]],
  ["hook.example:443", ["https://hook.example/"], ["https://hook.example:8443/"]],
  ["10.96.0.1", ["https://10.96.0.1/"], ["https://10.96.0.11/"]],
  ["10.96.0.1:6443", ["https://10.96.0.1:6443/"], ["https://10.96.0.1/"]],
  [
    "10.96.0.0/12",
    ["https://10.96.0.1/", "https://10.111.255.255/"],
    ["https://10.112.0.0/", "https://a.example/"],
  ],
  ["10.0.0.1-10.0.0.9", ["https://10.0.0.5/"], ["https://10.0.0.10/"]],
  ["fd00::/8", ["https://[fd00::1]/"], ["https://[fe80::1]/", "https://10.0.0.1/"]],
  ["fd00::1", ["https://[fd00:0::1]/"], ["https://[fd00::2]/"]],
  ["[fd00::1]:6443", ["https://[fd00::1]:6443/"], ["https://[fd00::1]/"]],
  ["10.0.0.0/99, ,nonsense/", [], ["https://10.0.0.1/", "https://nonsense/"]],
] as const) {
  test(`proxyOf() excepts what NO_PROXY=${JSON.stringify(exceptions)} names`, () => {
    for (const url of direct) assert.equal(isProxied(url, exceptions), false, url);
    for (const url of proxied) assert.equal(isProxied(url, exceptions), true, url);
  });
}

/** A proxy that does one thing with every CONNECT; ended with the test. */
async function startTunnels(
  t: TestContext,
  onConnect: (socket: Socket, request: IncomingMessage) => void,
) {
  const server = createServer((_request, response) => response.writeHead(400).end());
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  const asked: (string | undefined)[] = [];
  server.on("connect", (request: IncomingMessage, socket: Socket) => {
    asked.push(request.url);
    // What is not read has no end, and this side stays open after the other's.
    socket.on("error", () => undefined).resume();
    socket.on("end", () => socket.destroy());
    onConnect(socket, request);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { url: `http://user:canary%40@127.0.0.1:${port}`, asked, open: () => sockets.size };
}

/** Looks again and again, since sockets close in their own time. */
async function eventually(what: string, probe: () => boolean): Promise<void> {
  for (let n = 0; n < 200 && !probe(); n += 1) await sleep(10);
  assert.ok(probe(), what);
}

const SILENCES = {
  "never answers": () => undefined,
  "opens the tunnel and passes nothing on": (socket: Socket) =>
    socket.write("HTTP/1.1 200 Connection established\r\n\r\n"),
};

for (const [name, silence] of Object.entries(SILENCES)) {
  test(`sendRequest() ends with its signal, connection and all, behind a proxy that ${name}`, {
    timeout: 20_000,
  }, async (t) => {
    const proxy = await startTunnels(t, silence);
    const connections = openConnections(() => proxy.url);
    t.after(() => connections.close());
    const url = new URL("https://hook.example/");
    const ending = new AbortController();
    const options = { method: "POST", agent: connections.agentFor(url), signal: ending.signal };
    const sending = sendRequest(url, options, null);
    sending.catch(() => undefined);
    await eventually("the proxy is asked", () => proxy.asked.length === 1);
    // So that the handshake behind the answer has begun, too.
    await sleep(50);
    ending.abort(new Error("the signal's own reason"));
    await assert.rejects(sending, /the signal's own reason/);
    await eventually("no connection is left", () => proxy.open() === 0);
  });
}

for (const [answer, sentence] of [
  ["HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", /407.*user and password/],
  ["HTTP/1.1 502 Bad Gateway\r\n\r\n<html>", /502.*NO_PROXY/],
  ["SSH-2.0-OpenSSH_9\r\n\r\n", /SSH-2.0.*NO_PROXY/],
  ["", /ended unexpectedly.*NO_PROXY/],
] as const) {
  test(`openWebhook() says what a proxy did that answers ${JSON.stringify(answer.slice(0, 12))}`, {
    timeout: 20_000,
  }, async (t) => {
    const proxy = await startTunnels(t, (socket) => socket.end(answer));
    const webhook = openWebhook(new URL("https://hook.example/"), {
      proxy: { HTTPS_PROXY: proxy.url },
    });
    t.after(() => webhook.close());
    const { signal } = new AbortController();
    await assert.rejects(webhook.post(Buffer.from("{}"), {}, signal), (error: Error) => {
      assert.match(error.message, sentence);
      assert.doesNotMatch(error.message, /canary/);
      return true;
    });
    assert.deepEqual(proxy.asked, ["hook.example:443"]);
  });
}

test("openWebhook() says that a name is unknown, and what to check", {
  timeout: 20_000,
}, async (t) => {
  const webhook = openWebhook(new URL("https://hook.invalid/"), { proxy: {} });
  t.after(() => webhook.close());
  const { signal } = new AbortController();
  const sentence = /hook\.invalid; check the name/;
  await assert.rejects(webhook.post(Buffer.from("{}"), {}, signal), sentence);
});

test("connectionText() tells of one address where several were tried", () => {
  const tried = ["10.0.0.1", "fd00::1"].map((to) => new Error(`connect ECONNREFUSED ${to}:443`));
  const text = connectionText(new AggregateError(tried), { trust: "" });
  assert.equal(text, "connect ECONNREFUSED 10.0.0.1:443");
});

test("connectionText() says how an unknown authority is made known", () => {
  const error = Object.assign(new Error("self-signed certificate in certificate chain"), {
    code: "SELF_SIGNED_CERT_IN_CHAIN",
  });
  assert.match(connectionText(error, { trust: "trust it" }), /chain; trust it$/);
});
