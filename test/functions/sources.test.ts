import assert from "node:assert/strict";
import test from "node:test";
import type { Family } from "../../lib/core/cidr.ts";
import { node } from "../core/cases.ts";
import { CANARIES, receiver } from "./receiver.ts";

const HOUR_MS = 3_600_000;

function stage() {
  let asked = 0;
  const names = {
    async resolve(_name: string, family: Family) {
      asked += 1;
      return family === "ipv4" ? ["8.8.8.8"] : [];
    },
  };
  const db = {
    from: [
      { cluster: "eu", nodes: {}, addresses: ["ExternalIP"] },
      { dns: [{ name: "nat.example.com" }] },
    ],
    removal: { policy: "sync" },
    targets: [{ kind: "memory", id: "one" }],
  };
  const room = receiver({ file: { lists: { db } }, names });
  return {
    deliver: room.deliver,
    resync: room.resync,
    status: room.status,
    store: room.store,
    world: room.world,
    asked: () => asked,
    on: () => room.memory.entries("one").map(({ cidr }) => cidr as string),
  };
}

const bearer = { Authorization: `Bearer ${CANARIES.STATUS_TOKEN}` };

test("webhook asks no source and makes nodes ready without them; resync asks and adds", async () => {
  const room = stage();
  const response = await room.deliver({ nodes: [node("a", ["203.0.113.1"])] });
  assert.equal(response.statusCode, 200);
  assert.deepEqual(JSON.parse(String(response.body)).readyNodes, ["a"]);
  assert.equal(room.asked(), 0);
  const { lists } = await room.resync();
  assert.equal(room.asked(), 2, "one question for each family");
  assert.deepEqual(room.on(), ["8.8.8.8/32", "203.0.113.1/32"]);
  assert.equal(lists[0]?.state, "converged");
  await room.deliver({ nodes: [node("a", ["203.0.113.1"])] });
  assert.equal(room.asked(), 2);
});

test("status shows what sources gave, from the store alone", async () => {
  const room = stage();
  const before = JSON.parse(String((await room.status(bearer)).body));
  assert.equal(before.sources[0].readAt, null);
  await room.resync();
  const asked = room.asked();
  const { sources } = JSON.parse(String((await room.status(bearer)).body));
  assert.deepEqual(sources, [
    {
      source: "dns/nat.example.com",
      cidrs: ["8.8.8.8/32"],
      free: null,
      readAt: new Date(room.world.now()).toISOString(),
      fresh: true,
      message: null,
    },
  ]);
  assert.equal(room.asked(), asked);
});

test("resync trims what sources said, and keeps the newest", async () => {
  const room = stage();
  for (let hour = 0; hour < 30; hour += 1) {
    await room.resync();
    await room.world.advance(HOUR_MS);
  }
  const kept = await room.store.list("v1/sources/dns.nat.example.com/", 100);
  assert(kept.length >= 24 && kept.length <= 26, `${kept.length} are kept`);
  await room.world.advance(48 * HOUR_MS);
  await room.resync();
  assert.deepEqual(room.on(), ["8.8.8.8/32"]);
});
