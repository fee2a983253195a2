import assert from "node:assert/strict";
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
