import assert from "node:assert/strict";
import { Agent } from "node:http";
import { createServer } from "node:net";
import test from "node:test";
import { sendRequest } from "../../forwarder/http.ts";

test("sendRequest() rejects when the answer is none, as 101 is", { timeout: 10_000 }, async (t) => {
  for (const answer of [
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "",
  ]) {
    const server = createServer((socket) => {
      socket.on("error", () => {});
      socket.once("data", () => socket.end(answer));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    t.after(() => server.close());
    const address = server.address();
    assert(address !== null && typeof address === "object");
    const url = new URL(`http://127.0.0.1:${address.port}/`);
    const { signal } = new AbortController();
    await assert.rejects(sendRequest(url, { method: "POST", signal }, null));
  }
});

test("sendRequest() rejects at once when it is aborted while it has no connection", {
  timeout: 10_000,
}, async (t) => {
  const agent = new Agent();
  t.after(() => agent.destroy());
  // As behind a proxy that takes the connection and says nothing more.
  agent.createConnection = () => null;
  const abort = new AbortController();
  const options = { method: "POST", agent, signal: abort.signal };
  const sent = sendRequest(new URL("http://127.0.0.1:9/"), options, Buffer.from("{}"));
  abort.abort(new Error("no answer within 35 s"));
  await assert.rejects(sent, /^Error: no answer within 35 s$/);
});
