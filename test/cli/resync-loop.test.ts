import assert from "node:assert/strict";
import { test } from "node:test";
import { startResyncLoop } from "../../cli/resync-loop.ts";
import { START, virtualWorld } from "../virtual-world.ts";

const INTERVAL_MS = 60_000;

test("startResyncLoop() begins at once and then from beginning to beginning", async () => {
  const world = virtualWorld();
  const begun: number[] = [];
  const resync = async () => {
    begun.push(world.now() - START);
    await world.sleep(15_000);
  };
  const loop = startResyncLoop(resync, { world, intervalMs: INTERVAL_MS });
  await world.advance(185_000);
  assert.deepEqual(begun, [0, 60_000, 120_000, 180_000]);
  const stopped = loop.stop();
  await world.advance(600_000);
  await stopped;
  assert.equal(begun.length, 4);
});

test("startResyncLoop() may begin later", async () => {
  const world = virtualWorld();
  const begun: number[] = [];
  const resync = async () => void begun.push(world.now() - START);
  const options = { world, intervalMs: 10_000, firstAfterMs: 5_000 };
  const loop = startResyncLoop(resync, options);
  await world.advance(26_000);
  await loop.stop();
  assert.deepEqual(begun, [5_000, 15_000, 25_000]);
});

test("startResyncLoop() never runs two at once, however long one takes", async () => {
  const world = virtualWorld();
  let running = 0;
  let most = 0;
  let runs = 0;
  const resync = async () => {
    running += 1;
    runs += 1;
    most = Math.max(most, running);
    await world.sleep(150_000);
    running -= 1;
  };
  const loop = startResyncLoop(resync, { world, intervalMs: INTERVAL_MS });
  await world.advance(460_000);
  assert.equal(most, 1);
  assert.equal(runs, 4, "one follows the other");
  const stopped = loop.stop();
  await world.advance(150_000);
  await stopped;
});

test("startResyncLoop() logs what a run rejects with, and goes on", async () => {
  const world = virtualWorld();
  let runs = 0;
  const resync = async () => {
    runs += 1;
    throw new Error("the store is away");
  };
  const loop = startResyncLoop(resync, { world, intervalMs: INTERVAL_MS });
  await world.advance(130_000);
  await loop.stop();
  assert.equal(runs, 3);
  assert.deepEqual(
    world.lines.map(({ level, fields }) => [level, fields.error]),
    Array.from({ length: 3 }, () => ["error", "the store is away"]),
  );
});

test("stop() waits for the run that is under way and begins no other", async () => {
  const world = virtualWorld();
  let finished = 0;
  let runs = 0;
  const resync = async () => {
    runs += 1;
    await world.sleep(30_000);
    finished += 1;
  };
  const loop = startResyncLoop(resync, { world, intervalMs: INTERVAL_MS });
  await world.advance(10_000);
  let isStopped = false;
  const stopped = loop.stop().then(() => {
    isStopped = true;
  });
  await world.advance(10_000);
  assert.equal(isStopped, false);
  await world.advance(10_000);
  await stopped;
  assert.deepEqual([runs, finished], [1, 1]);
  await world.advance(INTERVAL_MS * 3);
  assert.equal(runs, 1);
});
