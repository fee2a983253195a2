import assert from "node:assert/strict";
import { test } from "node:test";
import type { HttpResponse } from "../../functions/http.ts";
import { makeRead } from "../../functions/read.ts";
import { nodes } from "../corridor.ts";
import { CANARIES, gatewayEvent, receiver } from "./receiver.ts";

const LISTS = {
  db: {
    from: [{ cluster: "eu", nodes: {}, addresses: ["ExternalIP"] }],
    removal: { policy: "sync" },
    targets: [{ kind: "feed", tokens: ["env:FEED_TOKEN"] }],
  },
};

function room() {
  const { deliver, wiring, world } = receiver({ file: { lists: LISTS } });
  const read = makeRead(wiring);
  return {
    deliver,
    world,
    async get(path: string, token: string, method = "GET") {
      const headers = { authorization: `Bearer ${token}` };
      const event = gatewayEvent(method, path, { headers });
      return (await read(event as never, {} as never)) as HttpResponse;
    },
  };
}

test("makeRead() shows lists and the status, each to those with its own tokens", async () => {
  const { deliver, get } = room();
  await deliver({ nodes: nodes(2) });
  const list = await get("/v1/lists/db.txt", CANARIES.FEED_TOKEN);
  assert.deepEqual([list.statusCode, list.body], [200, "203.0.113.1/32\n203.0.113.2/32\n"]);
  const status = await get("/v1/status", CANARIES.STATUS_TOKEN);
  assert.equal(status.statusCode, 200);
  assert.equal(JSON.parse(status.body).installation, "acme");
  assert.equal((await get("/v1/lists/db.txt", CANARIES.STATUS_TOKEN)).statusCode, 401);
  assert.equal((await get("/v1/status", CANARIES.FEED_TOKEN)).statusCode, 401);
});

test("makeRead() takes no snapshots, and answers what it does not know with 404", async () => {
  const { get } = room();
  assert.equal((await get("/v1/snapshots", CANARIES.STATUS_TOKEN)).statusCode, 404);
  assert.equal((await get("/", CANARIES.STATUS_TOKEN)).statusCode, 404);
  assert.equal((await get("/v1/status", CANARIES.STATUS_TOKEN, "POST")).statusCode, 405);
  assert.equal((await get("/v1/lists/db.txt", CANARIES.FEED_TOKEN, "DELETE")).statusCode, 405);
});

test("makeRead() logs no path that it does not know: people put tokens there", async () => {
  const { get, world } = room();
  await get(`/v1/status/${CANARIES.STATUS_TOKEN}`, "another-token-0123");
  await get(`/v1/lists/${CANARIES.FEED_TOKEN}.txt`, "another-token-0123");
  assert(world.lines.length > 0);
  assert(!JSON.stringify(world.lines).includes("canary"));
});
